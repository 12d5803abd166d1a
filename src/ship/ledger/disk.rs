//! The ledger's files: read at start, written at every step.

use std::fs::{self, File, Metadata, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::Entry;
use crate::ship::quota;
use crate::ship::time::Time;

/// How a file looks: another mark means another content. Its file system is left out: a volume that is mounted again can
/// have another number.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Mark {
    /// Its number in its file system.
    pub inode: u64,
    /// Bytes.
    pub size: u64,
    /// When it was written last, in nanoseconds since 1970.
    pub modified_ns: i64,
}

/// A claimed dump, as a restart finds it.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Name of the claimed file; the entry's is the same and `.json`.
    pub name: String,
    /// Whether the file is there.
    pub file: bool,
    /// The entry, where it is there and can be read.
    pub entry: Option<Entry>,
}

/// What was shipped in the last 24 hours, and what was not.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct History {
    /// Uploads that still count.
    pub uploads: Vec<Upload>,
    /// Dumps that the quota cost and that no record has told of yet.
    pub dropped: u64,
    /// What lay on volumes of the user's own before this pod was told from what came later.
    #[serde(default)]
    pub looked: bool,
}

/// One upload.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Upload {
    /// When.
    pub at: Time,
    /// The dump's key.
    pub key: String,
}

/// Folders of the ledger, and the lock that makes them ours.
#[derive(Debug)]
pub struct Disk {
    state: PathBuf,
    history: PathBuf,
    _locks: Vec<File>,
}

/// Folders that several agents of a pod share, each with another UID: everyone adds, nobody removes the others'.
const SHARED: u32 = 0o1777;
const PRIVATE: u32 = 0o700;

/// Why the ledger cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A folder cannot be made or opened.
    #[error(
        "cannot use {path} for uid {uid}; the agent must run as the user that writes the dumps, see heapship.io/run-as-user"
    )]
    Folder {
        /// Which.
        path: PathBuf,
        /// Who we are.
        uid: u32,
        /// Why.
        source: io::Error,
    },
    /// Another agent is at work.
    #[error("another heapship-agent ships the dumps of {0}; stop it, or give this one another directory")]
    Locked(PathBuf),
}

impl Mark {
    /// Of a file.
    #[must_use]
    pub fn of(metadata: &Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            size: metadata.len(),
            modified_ns: metadata
                .mtime()
                .saturating_mul(1_000_000_000)
                .saturating_add(metadata.mtime_nsec()),
        }
    }

    /// When it was written last, to the millisecond, where that is a time of ours.
    #[must_use]
    pub fn written(&self) -> Option<Time> {
        Time::from_millisecond(self.modified_ns.div_euclid(1_000_000))
    }
}

impl Disk {
    /// Makes the folders below `dumps` for the named containers, and locks them and the directories that are watched.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn open(dumps: &Path, containers: &[(&str, &Path)]) -> Result<Self, Error> {
        let uid = rustix::process::geteuid().as_raw();
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::Folder { path, uid, source }
        };
        let state = dumps.join(".heapship");
        let mut locked: Vec<PathBuf> = containers
            .iter()
            .map(|(_, watched)| (*watched).to_owned())
            .collect();
        for shared in ["", "claimed", "rejected", "uploads"] {
            let path = state.join(shared);
            folder(&path, SHARED).map_err(failed(&path))?;
        }
        for kind in ["claimed", "rejected"] {
            for (container, _) in containers {
                let path = state.join(kind).join(container);
                folder(&path, PRIVATE).map_err(failed(&path))?;
                if kind == "claimed" {
                    locked.push(path);
                }
            }
        }
        let mut locks = Vec::new();
        for path in locked {
            let lock = File::open(&path).map_err(failed(&path))?;
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => locks.push(lock),
                Err(rustix::io::Errno::WOULDBLOCK) => return Err(Error::Locked(path)),
                // Network file systems cannot lock directories. On a claim there is a file for it.
                Err(error) => tracing::info!(%error, path = %path.display(), "cannot lock the directory"),
            }
        }
        let first = containers.first().map_or("none", |(container, _)| container);
        let history = state.join("uploads").join(format!("{first}.json"));
        Ok(Self {
            state,
            history,
            _locks: locks,
        })
    }

    /// Folder of a container's claimed dumps.
    #[must_use]
    pub fn claimed(&self, container: &str) -> PathBuf {
        self.state.join("claimed").join(container)
    }

    /// What is there from before, oldest first. Temporary files of ours are removed.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn found(&self, container: &str) -> io::Result<Vec<Found>> {
        let folder = self.claimed(container);
        let mut names: Vec<String> = Vec::new();
        for entry in fs::read_dir(&folder)? {
            names.extend(entry?.file_name().into_string());
        }
        let (temporary, names): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| name.starts_with('.'));
        for name in temporary {
            // NFS keeps a deleted file that is open as `.nfsXXXX`, which cannot be removed. It costs nothing.
            drop(fs::remove_file(folder.join(name)));
        }
        let mut dumps: Vec<String> = names
            .iter()
            .map(|name| name.strip_suffix(".json").unwrap_or(name).to_owned())
            .collect();
        dumps.sort();
        dumps.dedup();
        let found = dumps.into_iter().map(|name| {
            Found {
                file: names.contains(&name),
                // One that cannot be read is made again from the file's name.
                entry: self.entry(container, &name),
                name,
            }
        });
        Ok(found.collect())
    }

    /// What is noted about a dump, where it can be read.
    #[must_use]
    pub fn entry(&self, container: &str, name: &str) -> Option<Entry> {
        let bytes = fs::read(self.claimed(container).join(format!("{name}.json"))).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Renames a dump into our folder. Both are on one file system, so the JVM may still be writing.
    ///
    /// # Errors
    /// When one of the directories is not writable.
    pub fn claim(&self, container: &str, file: &Path, name: &str) -> io::Result<PathBuf> {
        let claimed = self.claimed(container).join(name);
        fs::rename(file, &claimed)?;
        Ok(claimed)
    }

    /// Notes where a dump stands.
    ///
    /// # Errors
    /// When the disk is full, for example by the dump.
    pub fn save(&self, name: &str, entry: &Entry) -> io::Result<()> {
        let folder = self.claimed(&entry.container);
        write(&folder, &format!("{name}.json"), &serde_json::to_vec(entry)?)
    }

    /// Removes the note.
    ///
    /// # Errors
    /// When the directory is not writable any more.
    pub fn forget(&self, container: &str, name: &str) -> io::Result<()> {
        gone(fs::remove_file(
            self.claimed(container).join(format!("{name}.json")),
        ))
    }

    /// Removes a dump that has arrived, or that the quota does not allow.
    ///
    /// # Errors
    /// When the directory is not writable any more.
    pub fn delete(&self, file: &Path) -> io::Result<()> {
        gone(fs::remove_file(file))
    }

    /// Moves a file that is no dump out of the way and returns where it is.
    ///
    /// # Errors
    /// When the directory is not writable any more.
    pub fn reject(&self, container: &str, file: &Path, name: &str) -> io::Result<PathBuf> {
        let rejected = self.state.join("rejected").join(container).join(name);
        fs::rename(file, &rejected)?;
        Ok(rejected)
    }

    /// Removes what is empty of a container's and of the folders that agents share, and nothing else: what a dead pod has
    /// left when all of its dumps have arrived. Notes on dumps that lay on other volumes of that pod go with it.
    pub fn clear(&self, containers: &[(&str, &Path)]) {
        for (container, watched) in containers {
            for Found { name, file, entry } in self.found(container).unwrap_or_default() {
                if !file && entry.is_none_or(|entry| entry.foreign.is_some()) {
                    drop(self.forget(container, &name));
                }
            }
            drop(fs::remove_dir(self.claimed(container)));
            drop(fs::remove_dir(self.state.join("rejected").join(container)));
            drop(fs::remove_dir(watched));
        }
    }

    /// Removes the rest of the state where [`Self::clear`] has left nothing.
    pub fn clear_shared(&self) {
        drop(fs::remove_file(&self.history));
        for shared in ["claimed", "rejected"] {
            if fs::remove_dir(self.state.join(shared)).is_err() {
                return;
            }
        }
        for shared in ["uploads", "agents", ""] {
            drop(fs::remove_dir(self.state.join(shared)));
        }
    }

    /// What was shipped lately. Unreadable counts as nothing: better a dump too many than one too few.
    #[must_use]
    pub fn history(&self, now: Time) -> History {
        let bytes = fs::read(&self.history).unwrap_or_default();
        let mut history: History = serde_json::from_slice(&bytes).unwrap_or_default();
        history.uploads.retain(|upload| quota::counts(upload.at, now));
        history
    }

    /// Notes what was shipped.
    ///
    /// # Errors
    /// When the disk is full.
    pub fn save_history(&self, history: &History) -> io::Result<()> {
        let name = self
            .history
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        write(&self.state.join("uploads"), &name, &serde_json::to_vec(history)?)
    }
}

/// Makes a folder that agents of several users share.
pub(in crate::ship) fn shared_folder(path: &Path) -> io::Result<()> {
    folder(path, SHARED)
}

/// Makes a folder with exactly this mode; the process's umask does not count. One that is there gets it as well, where it
/// is ours: a kill may have come before the mode.
fn folder(path: &Path, mode: u32) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let metadata = fs::metadata(path)?;
    let ours = metadata.uid() == rustix::process::geteuid().as_raw();
    if ours && metadata.permissions().mode() & 0o7777 != mode {
        fs::set_permissions(path, Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// Writes a file that is there whole or not at all.
pub(in crate::ship) fn write(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = folder.join(format!(".{name}"));
    let written = File::create(&temporary)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&temporary, folder.join(name)));
    if written.is_err() {
        drop(fs::remove_file(&temporary));
    }
    written?;
    // The rename itself must outlive a node that loses power: the upload's name is in there.
    File::open(folder)?.sync_all()
}

fn gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ship::ledger::Stage;

    fn disk(root: &Path) -> Disk {
        Disk::open(root, &[("app", root)]).unwrap()
    }

    #[test]
    fn what_cannot_be_removed_hides_no_dump() {
        let root = tempfile::tempdir().unwrap();
        let disk = disk(root.path());
        let claimed = disk.claimed("app");
        fs::create_dir(claimed.join(".nfs0001")).unwrap();
        fs::write(claimed.join(".nfs0001/open"), b"").unwrap();
        fs::write(claimed.join(".half.json"), b"{").unwrap();
        fs::write(claimed.join("20261125T210533.123Z~java_pid1.hprof"), b"x").unwrap();
        let found = disk.found("app").unwrap();
        assert_eq!(found.len(), 1);
        assert!(found[0].file);
        assert!(!claimed.join(".half.json").exists());
    }

    #[test]
    fn a_folder_of_ours_gets_its_mode_back() {
        let root = tempfile::tempdir().unwrap();
        drop(disk(root.path()));
        let claimed = root.path().join(".heapship/claimed");
        fs::set_permissions(&claimed, Permissions::from_mode(0o700)).unwrap();
        drop(disk(root.path()));
        assert_eq!(
            fs::metadata(&claimed).unwrap().permissions().mode() & 0o7777,
            SHARED
        );
    }

    #[test]
    fn a_note_is_read_back() {
        let root = tempfile::tempdir().unwrap();
        let disk = disk(root.path());
        let time = Time::from_millisecond(1_795_640_733_123).unwrap();
        let entry = Entry {
            container: "app".to_owned(),
            file: "java_pid1.hprof".to_owned(),
            reason: crate::ship::dump_name::Reason::Oom,
            sequence: 7,
            time,
            seen: time,
            key: "k".to_owned(),
            foreign: None,
            stage: Stage::Claimed,
        };
        disk.save("n", &entry).unwrap();
        assert_eq!(disk.entry("app", "n"), Some(entry));
        assert_eq!(disk.entry("app", "other"), None);
    }
}
