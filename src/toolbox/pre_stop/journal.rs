//! Where a hook's words go: nobody sees the stderr of one, unless it fails.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// A file beside the dumps, `.pre-stop.log`, with a line for each thing that was done or not done, and why. At most
/// [`LARGEST`] bytes: the oldest lines go first.
pub(super) struct Journal(Mutex<PathBuf>);

impl Journal {
    pub(super) fn new(dir: &Path) -> Self {
        Self(Mutex::new(dir.join(".pre-stop.log")))
    }

    /// Tells stderr and the file. The file may be out of reach, which must not matter here.
    pub(super) fn say(&self, line: &str) {
        drop(writeln!(io::stderr(), "heapship-agent pre-stop: {line}"));
        let time = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ");
        drop(self.append(&format!("{time} {line}\n")));
    }

    fn append(&self, line: &str) -> io::Result<()> {
        // The dump and the container's own hook may speak at once, and the shortening below would lose a line.
        let path = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let length = fs::metadata(&*path).map_or(0, |file| file.len());
        let new = u64::try_from(line.len()).unwrap_or(u64::MAX);
        if length.saturating_add(new) > LARGEST {
            let text = fs::read(&*path)?;
            fs::write(&*path, newest_half(&text))?;
        }
        OpenOptions::new()
            .append(true)
            .create(true)
            .open(&*path)?
            .write_all(line.as_bytes())
    }
}

/// Whole lines from the middle on.
fn newest_half(text: &[u8]) -> &[u8] {
    let half = text.get(text.len() / 2..).unwrap_or_default();
    let start = half
        .iter()
        .position(|byte| *byte == b'\n')
        .map_or(half.len(), |newline| newline + 1);
    half.get(start..).unwrap_or_default()
}

const LARGEST: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_stays_small_and_keeps_whole_lines() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::new(dir.path());
        for number in 0..3000 {
            journal
                .append(&format!("line {number} of the hook's journal\n"))
                .unwrap();
        }
        let text = fs::read_to_string(dir.path().join(".pre-stop.log")).unwrap();
        assert!(text.len() <= 64 << 10);
        assert!(
            text.lines()
                .all(|line| line.starts_with("line ") && line.ends_with(" journal"))
        );
        assert!(text.ends_with("line 2999 of the hook's journal\n"));
    }
}
