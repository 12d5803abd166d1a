//! The file that, together with SIGQUIT, makes a JVM open its attach socket.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, Uid};

use super::{Error, Jvm, process};

/// Removed on drop: one that stays would turn the next SIGQUIT, which asks for a thread dump, into an attach.
pub(super) struct Trigger {
    folder: OwnedFd,
    name: String,
}

impl Trigger {
    /// Creates it where the JVM looks: in /tmp, or in its working directory.
    ///
    /// /tmp comes first, although the JVM looks there last and the JDK's client goes the other way: while it starts, a JVM
    /// works in the folder of its counters for a moment, and the file would end up there (seen on 25).
    pub(super) fn create(jvm: &Jvm) -> Result<Self, Error> {
        let tmp = process::seen_by(jvm.pid, Path::new("/tmp"));
        let cwd = process::path(jvm.pid, "cwd");
        create(&tmp, jvm)
            .or_else(|_| create(&cwd, jvm))
            .map_err(|source| Error::Trigger {
                path: tmp.join(name(jvm)),
                uid: jvm.status.uid,
                source,
            })
    }
}

impl Drop for Trigger {
    fn drop(&mut self) {
        // It may be gone already, and nothing can be done about one that stays.
        let _ = rustix::fs::unlinkat(&self.folder, &self.name, AtFlags::empty());
    }
}

fn create(folder: &PathBuf, jvm: &Jvm) -> io::Result<Trigger> {
    let path_only = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(folder, path_only, Mode::empty())?;
    let name = name(jvm);
    // /tmp is everybody's: a FIFO of this name would keep us waiting for its reader.
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&folder, &name, flags, Mode::from_raw_mode(0o600))?;
    let file = fs::File::from(file);
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "something of that name is there that is not a file",
        ));
    }
    let trigger = Trigger { folder, name };
    let owner = jvm.status.uid;
    if file.metadata()?.uid() != owner {
        // JDK 8 ignores a trigger that is not its own, even root's; and some file systems hand files to others.
        rustix::fs::fchown(&file, Some(Uid::from_raw(owner)), None)?;
        if file.metadata()?.uid() != owner {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "the file system gave it to another user",
            ));
        }
    }
    Ok(trigger)
}

fn name(jvm: &Jvm) -> String {
    format!(".attach_pid{}", jvm.status.own_pid)
}
