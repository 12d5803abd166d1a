//! What an agent leaves on a claim that pods share, so that the others know whose folder it is and whether it lives.
//!
//! Below a pod's folder, `.heapship/agents/CONTAINER.lock` is locked as long as the agent runs, and its time is renewed every
//! few seconds; `CONTAINER` is the first whose dumps it ships. `CONTAINER.json` says whose dumps they are. The agent is
//! there before the containers that it serves, so a folder without these files is nobody's to touch.
//!
//! `flock` reaches across nodes on NFS (as a lock of the whole file, which is why it is a file that can be written and no
//! directory), on Ceph and on SMB. A volume that is mounted with `nolock` or `local_lock` locks within one node only:
//! there the time is what tells a living agent of another node.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::SystemTime;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::arguments::is_container;
use super::ledger::{self, Mark};
use super::record::Identity;

/// Whose dumps a folder holds: enough to ship them under their own names.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    /// The pod.
    #[serde(flatten)]
    pub identity: Identity,
    /// Images by container: all those that this agent ships the dumps of.
    pub images: BTreeMap<String, String>,
    /// How keys are made.
    pub key_template: String,
    /// How many dumps the pod may ship in 24 hours; an older agent has not noted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_dumps: Option<u32>,
}

/// The lock, held.
#[derive(Debug)]
pub struct Presence {
    lock: File,
    /// Where it lies.
    path: PathBuf,
    /// Whether the volume has locks.
    is_locked: bool,
    /// That nobody can tell whether it is held.
    said: Once,
}

/// The files of one agent in a pod's folder.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Marks {
    /// The pod's folder.
    pub folder: PathBuf,
    /// The first of its containers.
    pub container: String,
}

/// Nobody but the user who wrote the dumps can read them, so nobody else needs to lock them.
const MODE: u32 = 0o600;

impl Marks {
    /// All that lie in a pod's folder.
    ///
    /// # Errors
    /// When it cannot be read. That there are none is no error.
    pub fn all(folder: &Path) -> io::Result<Vec<Self>> {
        let entries = match fs::read_dir(agents(folder)) {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(Vec::new());
            }
            entries => entries?,
        };
        let mut all = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            if let Some(container) = name.to_str().and_then(|name| name.strip_suffix(".lock")) {
                all.push(Self {
                    folder: folder.to_owned(),
                    container: container.to_owned(),
                });
            }
        }
        Ok(all)
    }

    /// How the lock's file looks: another mark is a sign of life.
    ///
    /// # Errors
    /// When it is not there any more.
    pub fn sign(&self) -> io::Result<Mark> {
        // Opened, since a network file system then asks its server and does not answer from memory.
        Ok(Mark::of(&self.open()?.metadata()?))
    }

    /// Locks it where nobody else does.
    ///
    /// # Errors
    /// When it belongs to another user, or the file system has no locks: then nobody may adopt anything.
    pub fn take(&self) -> io::Result<Option<Presence>> {
        let lock = self.open()?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(error) if is_taken(error) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let presence = Presence {
            lock,
            path: self.lock(),
            is_locked: true,
            said: Once::new(),
        };
        Ok(presence.is_there()?.then_some(presence))
    }

    /// Whose it is.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn owner(&self) -> io::Result<Owner> {
        let owner: Owner = serde_json::from_slice(&fs::read(self.note())?)?;
        match owner.images.keys().find(|name| !is_container(name)) {
            Some(name) => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{name:?} is not the name of a container"),
            )),
            None => Ok(owner),
        }
    }

    /// Makes the files of an agent that starts, and locks them.
    ///
    /// # Errors
    /// When the folder is not writable. `None` where another agent holds the lock, or has just removed
    /// the folder: then it is to be tried again.
    pub fn begin(&self, owner: &Owner) -> io::Result<Option<Presence>> {
        ledger::shared_folder(&self.folder.join(".heapship"))?;
        ledger::shared_folder(&agents(&self.folder))?;
        let lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(MODE)
            .open(self.lock())?;
        let mut presence = Presence {
            lock,
            path: self.lock(),
            is_locked: false,
            said: Once::new(),
        };
        // Before the lock: one who has adopted the folder must know at once that the pod lives.
        presence.renew();
        match flock(&presence.lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) if presence.is_there()? => presence.is_locked = true,
            Ok(()) => return Ok(None),
            Err(error) if is_taken(error) => return Ok(None),
            Err(error) => {
                tracing::warn!(%error, "the volume has no locks: no other pod can adopt what this one leaves there");
            }
        }
        let noted = self.owner().ok();
        if noted.as_ref() != Some(owner) {
            let written = ledger::write_whole(
                &agents(&self.folder),
                &format!("{}.json", self.container),
                &serde_json::to_vec(owner)?,
            );
            match written {
                // The dump that fills the volume is ours to ship; the old note is good enough for whoever must do it for us.
                Err(error) if noted.is_some() => {
                    tracing::warn!(%error, "cannot note whose dumps these are: what is noted is older");
                }
                written => written?,
            }
        }
        Ok(Some(presence))
    }

    /// Removes the files. Whoever holds the lock keeps it.
    pub fn remove(&self) {
        drop(fs::remove_file(self.note()));
        drop(fs::remove_file(self.lock()));
    }

    fn open(&self) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).open(self.lock())
    }

    fn lock(&self) -> PathBuf {
        agents(&self.folder).join(format!("{}.lock", self.container))
    }

    fn note(&self) -> PathBuf {
        agents(&self.folder).join(format!("{}.json", self.container))
    }
}

impl Presence {
    /// Gives a sign of life. A volume that does not take it has other troubles, which are said elsewhere.
    pub fn renew(&self) {
        drop(self.lock.set_modified(SystemTime::now()));
    }

    /// Whether nobody else has taken it. An NFS server gives a lock away when it has not heard from its holder for a lease,
    /// and whoever was frozen for a day finds the folder removed. Asked by locking once more, which changes nothing for who
    /// has the lock and takes it again where it is free. An answer that says nothing about the lock takes it from nobody.
    ///
    /// # Errors
    /// When the volume does not answer.
    pub fn is_held(&self) -> io::Result<bool> {
        if !self.is_there()? {
            return Ok(false);
        }
        Ok(!self.is_locked || self.is_ours(flock(&self.lock, FlockOperation::NonBlockingLockExclusive)))
    }

    /// What the answer to locking once more says.
    fn is_ours(&self, answer: rustix::io::Result<()>) -> bool {
        match answer {
            // SMB refuses on account of our own lock: there it is mandatory, and nobody has it twice.
            Ok(()) | Err(Errno::ACCESS) => true,
            // EIO is how NFS says of this file that its lock was lost; another file of that name can be locked again.
            Err(Errno::WOULDBLOCK | Errno::IO) => false,
            Err(error) => {
                self.said.call_once(|| {
                    let path = self.path.display();
                    tracing::warn!(%error, "cannot ask whether {path} is still locked: taken to be so");
                });
                true
            }
        }
    }

    /// Somebody may have removed everything, and made it again.
    fn is_there(&self) -> io::Result<bool> {
        match fs::metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            there => Ok(there?.ino() == self.lock.metadata()?.ino()),
        }
    }
}

/// Whether a lock is not given because another has it. Local file systems and NFS say EWOULDBLOCK, SMB says EACCES.
fn is_taken(error: Errno) -> bool {
    matches!(error, Errno::WOULDBLOCK | Errno::ACCESS)
}

fn agents(folder: &Path) -> PathBuf {
    folder.join(".heapship").join("agents")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(node: &str) -> Owner {
        Owner {
            identity: Identity {
                node: node.to_owned(),
                ..Identity::default()
            },
            images: BTreeMap::from([("app".to_owned(), "shop:1".to_owned())]),
            key_template: "{pod}".to_owned(),
            max_dumps: Some(3),
        }
    }

    #[test]
    fn an_agent_that_comes_back_to_a_full_volume_begins_with_its_old_note() {
        let root = tempfile::tempdir().unwrap();
        let marks = Marks {
            folder: root.path().to_owned(),
            container: "app".to_owned(),
        };
        // In the way of what is about to be written.
        let full = root.path().join(".heapship/agents/.app.json");
        fs::create_dir_all(&full).unwrap();
        assert!(marks.begin(&owner("a")).is_err());
        fs::remove_dir(&full).unwrap();
        drop(marks.begin(&owner("a")).unwrap().unwrap());
        fs::create_dir(&full).unwrap();
        for node in ["a", "b"] {
            assert!(marks.begin(&owner(node)).unwrap().is_some());
            assert_eq!(marks.owner().unwrap(), owner("a"));
        }
    }

    #[test]
    fn a_lock_that_another_agent_has_or_that_is_gone_is_no_longer_held() {
        let root = tempfile::tempdir().unwrap();
        let marks = Marks {
            folder: root.path().to_owned(),
            container: "app".to_owned(),
        };
        let begin = || marks.begin(&owner("a")).unwrap().unwrap();
        let presence = begin();
        assert!(presence.is_held().unwrap() && presence.is_held().unwrap());
        assert!(marks.take().unwrap().is_none(), "asking has not let it go");

        // What becomes of it when the lease is over.
        flock(&presence.lock, FlockOperation::Unlock).unwrap();
        assert!(presence.is_held().unwrap(), "nobody wanted it");
        flock(&presence.lock, FlockOperation::Unlock).unwrap();
        let adopter = marks.take().unwrap().unwrap();
        assert!(!presence.is_held().unwrap());
        drop(adopter);

        marks.remove();
        assert!(!presence.is_held().unwrap());
        let _next = begin();
        assert!(!presence.is_held().unwrap());
    }

    #[test]
    fn on_smb_a_refused_lock_is_taken_to_who_has_none_and_held_to_who_has_it() {
        let root = tempfile::tempdir().unwrap();
        let marks = Marks {
            folder: root.path().to_owned(),
            container: "app".to_owned(),
        };
        let presence = marks.begin(&owner("a")).unwrap().unwrap();
        for (answer, is_ours, is_taken_now) in [
            (Errno::ACCESS, true, true),
            (Errno::WOULDBLOCK, false, true),
            (Errno::IO, false, false),
            // Of these no lock is lost, and none is taken: the volume has none, or does not answer.
            (Errno::NOLCK, true, false),
            (Errno::INTR, true, false),
            (Errno::OPNOTSUPP, true, false),
        ] {
            assert_eq!(presence.is_ours(Err(answer)), is_ours, "{answer}");
            assert_eq!(is_taken(answer), is_taken_now, "{answer}");
        }
        assert!(presence.said.is_completed(), "and it is said that nobody knows");
    }
}
