//! Exit codes: the same for every command of both executables.

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Exit {
    /// It was done.
    Done = 0,
    /// The answer is no: a check found faults.
    No = 1,
    /// Wrong usage or input; nothing was done.
    Usage = 2,
    /// It could not be done.
    Failed = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
