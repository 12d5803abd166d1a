//! One dump for each process: hooks are run at least once, and a second dump of the same heap helps nobody.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::attach::{Jvm, process};

/// The right to dump one process. Given back on drop unless it is kept, so that a dump that failed may be tried again.
#[derive(Debug)]
pub(super) struct Claim {
    path: PathBuf,
    kept: bool,
}

impl Claim {
    /// Takes it; [`io::ErrorKind::AlreadyExists`] when another run of the hook has it or has kept it.
    pub(super) fn take(dir: &Path, jvm: &Jvm) -> io::Result<Self> {
        let path = dir.join(format!("{PREFIX}{}-{}", jvm.pid, jvm.started));
        fs::File::create_new(&path)?;
        Ok(Self { path, kept: false })
    }

    /// It has been used.
    pub(super) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.kept {
            // One that stays costs a repeated dump, which nobody may ever ask for.
            drop(fs::remove_file(&self.path));
        }
    }
}

/// Removes the claims on processes that have ended, such as those of a container before its restart.
pub(super) fn forget_ended(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let ended = name.to_str().and_then(claimed).is_some_and(|(pid, started)| {
            // Whoever may not look must not judge either.
            match process::start_time(pid) {
                Ok(now) => now != started,
                Err(error) => error.kind() == io::ErrorKind::NotFound,
            }
        });
        if ended {
            drop(fs::remove_file(entry.path()));
        }
    }
}

fn claimed(name: &str) -> Option<(u32, u64)> {
    let (pid, started) = name.strip_prefix(PREFIX)?.split_once('-')?;
    Some((pid.parse().ok()?, started.parse().ok()?))
}

const PREFIX: &str = ".pre-stop-";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_on_the_dead_are_forgotten_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let pid = std::process::id();
        let started = process::start_time(pid).unwrap();
        let living = format!("{PREFIX}{pid}-{started}");
        let earlier = format!("{PREFIX}{pid}-{}", started - 1);
        for name in [&living, &earlier, ".pre-stop.log", "pre-stop-live-1-x.hprof"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        forget_ended(dir.path());
        assert!(!dir.path().join(earlier).exists());
        for name in [&living, ".pre-stop.log", "pre-stop-live-1-x.hprof"] {
            assert!(dir.path().join(name).exists(), "{name}");
        }
    }
}
