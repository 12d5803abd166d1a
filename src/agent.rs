//! Arguments of `heapship-agent`: the shipper in its sidecar and the toolbox in the application's container.

use std::error::Error as StdError;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::exit::Exit;
use crate::names::variable;
use crate::ship::{self, check_store};
use crate::toolbox::{jcmd, jinfo, jmap, jps, jstack, jstat, pre_stop, with_causes};

pub mod env_file;
pub mod image_options;
pub mod install;

/// Catches and ships heap dumps, and looks into JVMs without a JDK.
#[derive(Debug, Parser)]
#[command(name = "heapship-agent", version, about)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    CheckStore(Box<check_store::Arguments>),
    ImageOptions(image_options::Arguments),
    /// Copy this executable into a folder, where other containers find it.
    Install {
        /// The folder.
        folder: PathBuf,
        /// Empty env file to make for `image-options`; several are separated by commas.
        #[arg(long, value_name = "FILE", env = variable::ENV_FILES, value_delimiter = ',')]
        env_file: Vec<PathBuf>,
    },
    Jcmd(jcmd::Arguments),
    Jinfo(jinfo::Arguments),
    Jmap(jmap::Arguments),
    Jps(jps::Arguments),
    Jstack(jstack::Arguments),
    Jstat(jstat::Arguments),
    PreStop(Box<pre_stop::Arguments>),
    /// Catch heap dumps in a directory and ship them to a store.
    #[command(args_override_self = true)]
    Ship(Box<ship::Arguments>),
}

/// Runs one command to its end. The code is a number of [`crate::exit`], except where a pod's own hook has one.
#[must_use]
pub fn run(arguments: Arguments) -> ExitCode {
    let Arguments { command } = arguments;
    match command {
        Command::CheckStore(arguments) => check_store::run(*arguments)
            .unwrap_or_else(|error| failed(&error))
            .into(),
        Command::ImageOptions(arguments) => image_options::run(&arguments).into(),
        Command::Install { folder, env_file } => done(install::install(&folder, &env_file)).into(),
        Command::Jcmd(arguments) => jcmd::run(&arguments).into(),
        Command::Jinfo(arguments) => jinfo::run(&arguments).into(),
        Command::Jmap(arguments) => jmap::run(&arguments).into(),
        Command::Jps(arguments) => jps::run(&arguments).into(),
        Command::Jstack(arguments) => jstack::run(&arguments).into(),
        Command::Jstat(arguments) => jstat::run(&arguments).into(),
        Command::PreStop(arguments) => pre_stop::run(*arguments),
        Command::Ship(arguments) => ship::run(&arguments)
            .unwrap_or_else(|error| failed(&error))
            .into(),
    }
}

fn done(result: Result<(), impl StdError>) -> Exit {
    match result {
        Ok(()) => Exit::Done,
        Err(error) => failed(&error),
    }
}

/// Says what went wrong, with everything that led to it, in one line.
fn failed(error: &dyn StdError) -> Exit {
    eprintln!("heapship-agent: {}", with_causes(error));
    Exit::Failed
}
