//! The container's own preStop hook, which ours replaced: carried out as the kubelet would have done.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitCode, ExitStatus};
use std::time::{Duration, Instant};

use super::super::with_causes;
use super::http::{self, HttpGet};
use super::journal::Journal;
use crate::exit::Exit;

/// What the container wanted done.
#[derive(Debug)]
pub(super) enum Hook {
    None,
    Sleep(Duration),
    HttpGet(HttpGet),
    Exec(Vec<OsString>),
}

/// What a hook has to keep to.
#[derive(Debug)]
pub(super) struct Limits {
    pub(super) pod_ip: Option<String>,
    /// The end of the grace period, when the kubelet would give up on it.
    pub(super) deadline: Instant,
}

impl Hook {
    pub(super) fn new(sleep: Option<Duration>, http_get: Option<HttpGet>, exec: Vec<OsString>) -> Self {
        match (sleep, http_get) {
            (Some(duration), _) => Self::Sleep(duration),
            (None, Some(action)) => Self::HttpGet(action),
            (None, None) if exec.is_empty() => Self::None,
            (None, None) => Self::Exec(exec),
        }
    }

    pub(super) fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// How long it takes, where that can be told beforehand.
    pub(super) fn known_duration(&self) -> Duration {
        match self {
            Self::Sleep(duration) => *duration,
            Self::None | Self::HttpGet(_) | Self::Exec(_) => Duration::ZERO,
        }
    }

    /// Runs it. The code is what the kubelet would see: an event `FailedPreStopHook` comes as it came without us.
    pub(super) fn run(&self, limits: &Limits, journal: &Journal) -> ExitCode {
        match self {
            Self::None => Exit::Done.into(),
            Self::Sleep(duration) => {
                std::thread::sleep(*duration);
                Exit::Done.into()
            }
            Self::HttpGet(action) => match http::get(action, limits.pod_ip.as_deref(), limits.deadline) {
                Ok(()) => Exit::Done.into(),
                Err(error) => {
                    journal.say(&format!(
                        "the container's own httpGet hook failed: {}",
                        with_causes(&error)
                    ));
                    Exit::Failed.into()
                }
            },
            Self::Exec(words) => exec(words, journal),
        }
    }
}

fn exec(words: &[OsString], journal: &Journal) -> ExitCode {
    let Some((program, arguments)) = words.split_first() else {
        return Exit::Done.into();
    };
    match Command::new(program).args(arguments).status() {
        Ok(status) => ExitCode::from(code(status)),
        Err(error) => {
            journal.say(&format!(
                "cannot run the container's own hook {}: {error}",
                program.display()
            ));
            // As a shell says it.
            ExitCode::from(if error.kind() == io::ErrorKind::NotFound {
                127
            } else {
                126
            })
        }
    }
}

fn code(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| signal.saturating_add(128)));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_a_shell() {
        assert_eq!(code(ExitStatus::from_raw(7 << 8)), 7);
        assert_eq!(code(ExitStatus::from_raw(15)), 143);
        assert_eq!(code(ExitStatus::from_raw(0)), 0);
    }
}
