//! The agent: `heapship-agent ship` in its sidecar, `heapship-agent jmap` and so on in an application's container.

use std::process::ExitCode;

use clap::Parser as _;
use heapship::agent;

fn main() -> ExitCode {
    agent::run(agent::Arguments::parse())
}
