//! The webhook and the command line.

use std::process::ExitCode;

use clap::Parser as _;
use heapship::cli;

fn main() -> ExitCode {
    cli::run(cli::Arguments::parse()).into()
}
