//! The file that, together with SIGQUIT, makes a JVM open its attach socket.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::{Error, Jvm, process};

/// Removed on drop: one that stays would turn the next SIGQUIT, which asks for a thread dump, into an attach.
pub(super) struct Trigger(PathBuf);

impl Trigger {
    /// Creates it where the JVM looks: in its working directory, then in /tmp.
    pub(super) fn create(jvm: &Jvm) -> Result<Self, Error> {
        let name = format!(".attach_pid{}", jvm.status.own_pid);
        let in_cwd = process::path(jvm.pid, "cwd").join(&name);
        create(&in_cwd, jvm).or_else(|_| {
            let in_tmp = process::seen_by(jvm.pid, Path::new("/tmp")).join(&name);
            create(&in_tmp, jvm).map_err(|source| Error::Trigger {
                path: in_tmp,
                uid: jvm.status.uid,
                source,
            })
        })
    }
}

impl Drop for Trigger {
    fn drop(&mut self) {
        // It may be gone already, and nothing can be done about one that stays.
        drop(fs::remove_file(&self.0));
    }
}

fn create(path: &Path, jvm: &Jvm) -> io::Result<Trigger> {
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = fs::File::from(rustix::fs::open(path, flags, Mode::from_raw_mode(0o600))?);
    let trigger = Trigger(path.to_owned());
    if file.metadata()?.uid() != jvm.status.uid {
        // JDK 8 ignores a trigger that is not its own, even root's; and some file systems hand files to others.
        chown(path, Some(jvm.status.uid), None)?;
        if file.metadata()?.uid() != jvm.status.uid {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "the file system gave it to another user",
            ));
        }
    }
    Ok(trigger)
}
