//! The webhook and the command line.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use heapship::cli::webhook;

#[derive(Parser)]
#[command(name = "heapship", version)]
struct Placeholder {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Webhook(webhook::Arguments),
}

fn main() -> ExitCode {
    let Command::Webhook(arguments) = Placeholder::parse().command;
    webhook::run(arguments).into()
}
