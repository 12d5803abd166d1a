//! Arguments of `heapship-agent`: the shipper in its sidecar and the toolbox in the application's container.

use clap::{Parser, Subcommand};

use crate::exit::Exit;

/// Catches and ships heap dumps, and looks into JVMs without a JDK.
#[derive(Debug, Parser)]
#[command(name = "heapship-agent", version, about)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {}

/// Runs one command to its end.
#[must_use]
pub fn run(arguments: Arguments) -> Exit {
    let Arguments { command } = arguments;
    match command {}
}
