//! Commands inside the application's container, where there is neither a JDK nor a shell.
//!
//! In: a command line. Out: text on stdout, the reason of a failure on stderr, an exit code. Whatever they ask of a JVM goes
//! through [`crate::attach`].

use std::io::{self, Write as _};

use crate::attach::{self, Jvm};
use crate::exit::Exit;
pub(crate) use crate::logging::with_causes;

pub mod jcmd;
pub mod jinfo;
pub mod jmap;
pub mod jps;
pub mod jstack;
pub mod jstat;
pub mod pre_stop;

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What was typed is not a command.
    #[error("{0}")]
    Usage(String),
    /// Neither a PID nor `auto`.
    #[error("{0:?} is not a PID; give a number, or `auto` where there is only one JVM")]
    NotAPid(String),
    /// Nothing to choose from.
    #[error("there is no JVM that uid {uid} may look into; run this in the JVM's container, as its user")]
    NoJvm {
        /// Ours.
        uid: u32,
    },
    /// No PID was given, and it could be any of these.
    #[error("there are several JVMs, give the PID of one:\n  {0}")]
    Several(String),
    /// `/proc` cannot be read.
    #[error("cannot list the processes in /proc; is it mounted?")]
    Processes(#[source] io::Error),
    /// Counters were asked for.
    #[error(
        "the JVM {pid} publishes no counters: its user has no name (before JDK 28), /tmp is read-only, or it runs with \
         -XX:-UsePerfData; `jcmd {pid} GC.heap_info` works all the same"
    )]
    NoCounters {
        /// The JVM.
        pid: u32,
    },
    /// Attaching, or what came of it.
    #[error(transparent)]
    Attach(#[from] attach::Error),
    /// The answer could not be handed on.
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
}

impl Error {
    /// 2 where another command line would do, else 3.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Usage(_)
            | Self::NotAPid(_)
            | Self::Several(_)
            | Self::Attach(
                attach::Error::NoSuchProcess { .. }
                | attach::Error::TooLong { .. }
                | attach::Error::NoSuchFlag { .. },
            ) => Exit::Usage,
            Self::NoJvm { .. }
            | Self::NoCounters { .. }
            | Self::Processes(_)
            | Self::Attach(_)
            | Self::Output(_) => Exit::Failed,
        }
    }
}

/// Prints an error with its causes, once, and turns it into an exit code.
pub(crate) fn end(result: Result<(), Error>) -> Exit {
    match result {
        Ok(()) => Exit::Done,
        // The reader has seen enough: `jmap -histo | head` is not a failure.
        Err(Error::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
        Err(error) => {
            let line = with_causes(&error);
            drop(writeln!(io::stderr(), "heapship-agent: {line}"));
            error.exit()
        }
    }
}

/// Hands an answer on.
pub(crate) fn print(text: &str) -> Result<(), Error> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(Error::Output)
}

/// The JVM that is meant by a PID, or by `auto` or nothing where there is only one.
pub(crate) fn choose(word: Option<&str>) -> Result<Jvm, Error> {
    match word {
        Some(word) if word != "auto" => {
            let pid = word.parse().map_err(|_| Error::NotAPid(word.to_owned()))?;
            Ok(Jvm::find(pid)?)
        }
        _ => {
            let mut found = Jvm::all().map_err(Error::Processes)?;
            match found.len() {
                0 => Err(Error::NoJvm {
                    uid: rustix::process::geteuid().as_raw(),
                }),
                1 => Ok(found.remove(0)?),
                _ => {
                    let lines: Vec<String> = found.iter().map(jps::short).collect();
                    Err(Error::Several(lines.join("\n  ")))
                }
            }
        }
    }
}
