//! Arguments of `heapship`, and what every command shares: its console and how it ends.

use std::io::{self, Read, Write};

use clap::{Parser, Subcommand};

use crate::cli::documents::Written;
use crate::exit::Exit;

pub mod check;
pub mod completion;
pub mod demo;
pub mod deregister;
pub mod documents;
pub mod explain;
pub mod inject;
pub mod installation;
pub mod live;
pub mod standing;
pub mod surroundings;
pub mod uninject;
pub mod webhook;
pub mod words;

/// Catches the heap dump of a JVM that dies in Kubernetes and ships it to object storage
#[derive(Debug, Parser)]
#[command(name = "heapship", version, propagate_version = true, max_term_width = 100)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Check(check::Arguments),
    Completion(completion::Arguments),
    Demo(demo::Arguments),
    Deregister(deregister::Arguments),
    Explain(explain::Arguments),
    Inject(inject::Arguments),
    Uninject(uninject::Arguments),
    Webhook(Box<webhook::Arguments>),
}

/// Whom an answer is for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, clap::ValueEnum)]
enum Form {
    /// A program.
    Json,
    /// A person.
    #[default]
    Text,
}

/// Where a command reads and writes, so that tests own all three.
pub struct Console<'a> {
    /// Manifests for `-f -`.
    pub stdin: &'a mut dyn Read,
    /// The result.
    pub stdout: &'a mut dyn Write,
    /// What a person should know besides.
    pub stderr: &'a mut dyn Write,
}

/// A command that could not do what it was asked.
#[derive(Debug)]
pub struct Stop {
    exit: Exit,
    error: anyhow::Error,
}

/// Runs one command to its end; errors are printed here and nowhere else.
#[must_use]
pub fn run(arguments: Arguments) -> Exit {
    let mut console = Console {
        stdin: &mut io::stdin(),
        stdout: &mut io::stdout(),
        stderr: &mut io::stderr(),
    };
    match dispatch(arguments, &mut console) {
        Ok(exit) => exit,
        Err(Stop { exit, error }) => {
            // `heapship … | head` has read enough, and knows.
            let unread = error
                .downcast_ref::<io::Error>()
                .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe);
            if !unread {
                // Where standard error is closed there is nobody left to tell.
                let _ = writeln!(console.stderr, "heapship: {error:#}");
            }
            exit
        }
    }
}

fn dispatch(arguments: Arguments, console: &mut Console<'_>) -> Result<Exit, Stop> {
    let Arguments { command } = arguments;
    let exit = match command {
        Command::Check(arguments) => check::run(arguments, console),
        Command::Completion(arguments) => completion::run(&arguments, console),
        Command::Demo(arguments) => demo::run(arguments, console),
        Command::Deregister(arguments) => deregister::run(arguments, console),
        Command::Explain(arguments) => explain::run(arguments, console),
        Command::Inject(arguments) => inject::run(arguments, console),
        Command::Uninject(arguments) => uninject::run(arguments, console),
        Command::Webhook(arguments) => Ok(webhook::run(*arguments)),
    }?;
    console.stdout.flush()?;
    Ok(exit)
}

impl Console<'_> {
    fn manifests(&mut self, written: &Written) -> Result<(), Stop> {
        let Written { text, comments_lost } = written;
        match comments_lost {
            0 => {}
            1 => writeln!(
                self.stderr,
                "warning: 1 document had to be written anew: its comments are lost"
            )?,
            n => writeln!(
                self.stderr,
                "warning: {n} documents had to be written anew: their comments are lost"
            )?,
        }
        Ok(self.stdout.write_all(text.as_bytes())?)
    }
}

impl Stop {
    /// Wrong usage or input; nothing was done.
    fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self {
            exit: Exit::Usage,
            error: error.into(),
        }
    }

    /// It could not be done.
    fn failed(error: impl Into<anyhow::Error>) -> Self {
        Self {
            exit: Exit::Failed,
            error: error.into(),
        }
    }
}

/// Everything that is written goes to the console.
impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::failed(anyhow::Error::new(error).context("cannot write the result"))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_arguments_of_all_commands_fit_together() {
        super::Arguments::command().debug_assert();
    }
}
