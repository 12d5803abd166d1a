//! `heapship completion`: scripts for shells.

use clap::CommandFactory as _;

use crate::cli::{self, Console, Stop};
use crate::exit::Exit;

/// Print a completion script for a shell
///
/// For example: source <(heapship completion bash)
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// The shell
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

/// Runs the command.
///
/// # Errors
/// When the script cannot be written.
pub fn run(arguments: &Arguments, console: &mut Console<'_>) -> Result<Exit, Stop> {
    let Arguments { shell } = *arguments;
    // The generator panics when its writer fails: a shell that closes the pipe early must not see that.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut cli::Arguments::command(), "heapship", &mut script);
    console.stdout.write_all(&script)?;
    Ok(Exit::Done)
}
