//! `heapship` on a person's machine.

use std::process::Command;

/// What a call came to.
pub struct Called {
    pub status: Option<i32>,
    /// Both streams.
    pub text: String,
}

impl Called {
    pub fn says(&self, text: &str) -> bool {
        self.text.contains(text)
    }
}

/// Runs the command line.
pub fn run(arguments: &[&str]) -> Called {
    let output = Command::new(env!("CARGO_BIN_EXE_heapship"))
        .args(arguments)
        .output()
        .unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    Called {
        status: output.status.code(),
        text,
    }
}
