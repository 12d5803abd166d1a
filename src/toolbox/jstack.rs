//! `jstack`: what every thread is doing, in the words of the JVM.

use super::Error;
use crate::exit::Exit;

/// Prints the stacks of a JVM's threads, with deadlocks, as the JDK's jstack does.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// With the locks of java.util.concurrent that each thread owns.
    #[arg(short = 'l')]
    locks: bool,
    /// With more about each thread (JDK 11 and later).
    #[arg(short)]
    extended: bool,
    /// The JVM; may be left out, or `auto`, where there is only one.
    pid: Option<String>,
}

/// Runs it to its end.
#[must_use]
pub fn run(arguments: &Arguments) -> Exit {
    super::end(print(arguments))
}

fn print(arguments: &Arguments) -> Result<(), Error> {
    let Arguments { locks, extended, pid } = arguments;
    let stacks = super::choose(pid.as_deref())?.stacks(*locks, *extended)?;
    super::print(&stacks)
}
