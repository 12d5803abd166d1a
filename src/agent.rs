//! Arguments of `heapship-agent`: the shipper in its sidecar and the toolbox in the application's container.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::toolbox::{jmap, jps, pre_stop};

/// Catches and ships heap dumps, and looks into JVMs without a JDK.
#[derive(Debug, Parser)]
#[command(name = "heapship-agent", version, about)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Jmap(jmap::Arguments),
    Jps(jps::Arguments),
    PreStop(Box<pre_stop::Arguments>),
}

/// Runs one command to its end. The code is a number of [`crate::exit`], except where a pod's own hook has one.
#[must_use]
pub fn run(arguments: Arguments) -> ExitCode {
    let Arguments { command } = arguments;
    match command {
        Command::Jmap(arguments) => jmap::run(&arguments).into(),
        Command::Jps(arguments) => jps::run(&arguments).into(),
        Command::PreStop(arguments) => pre_stop::run(*arguments),
    }
}
