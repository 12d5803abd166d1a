//! The conversation with a HotSpot JVM: find its socket, or have it opened, ask, read to the end.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{Access, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};

use super::process::{self, Status};
use super::reply::{self, Dump, Objects, Reply};
use super::trigger::Trigger;
use super::{Error, Jvm};
use crate::quantity::Bytes;

impl Jvm {
    /// Has the JVM write its heap to `path`, which must be absolute and new: the JVM creates it, as its own user and in its
    /// own file system. Without a `deadline` it waits as long as it takes, since a dump stops the program for seconds to
    /// minutes.
    ///
    /// `gzip_level` is 1 to 9; JVMs before 17 ignore it without a word.
    pub fn dump_heap(
        &self,
        path: &Path,
        objects: Objects,
        gzip_level: Option<u8>,
        deadline: Option<Instant>,
    ) -> Result<Dump, Error> {
        let begun = Instant::now();
        let level = gzip_level.map(|level| level.to_string()).unwrap_or_default();
        let arguments = [
            path.as_os_str().as_bytes(),
            objects.option().as_bytes(),
            level.as_bytes(),
        ];
        let reply = self.execute("dumpheap", arguments, deadline)?;
        if reply.says_dumped() {
            // The shipping agent may have claimed the file by now: it need not be there any more.
            let size = fs::metadata(process::seen_by(self.pid, path))
                .ok()
                .map(|file| Bytes(file.len()));
            return Ok(Dump {
                size: size.or_else(|| reply.dump_size()),
                took: begun.elapsed(),
            });
        }
        if reply.code != 0 {
            return Err(self.refused(&reply));
        }
        let text = if self.is_running() {
            reply.complaint()
        } else {
            "it ended in the middle"
        };
        Err(Error::NotDumped {
            pid: self.pid,
            path: path.to_owned(),
            text: text.to_owned(),
        })
    }

    /// Counts objects by class, biggest first, as the JVM prints it.
    pub fn histogram(&self, objects: Objects) -> Result<String, Error> {
        let reply = self.execute("inspectheap", [objects.option().as_bytes(), b"", b""], None)?;
        if reply.code == 0 {
            Ok(reply.text)
        } else {
            Err(self.refused(&reply))
        }
    }

    /// Runs a diagnostic command, such as `GC.heap_info`.
    pub fn diagnose(&self, line: &str, deadline: Option<Instant>) -> Result<String, Error> {
        let reply = self.execute("jcmd", [line.as_bytes(), b"", b""], deadline)?;
        if reply.code == 0 {
            Ok(reply.text)
        } else {
            Err(self.refused(&reply))
        }
    }

    /// The stacks of all threads, and deadlocks, as the JVM prints them. `extended` is passed over before JDK 11.
    pub fn stacks(&self, locks: bool, extended: bool) -> Result<String, Error> {
        let option: &[u8] = match (locks, extended) {
            (true, true) => b"-le",
            (true, false) => b"-l",
            (false, true) => b"-e",
            (false, false) => b"",
        };
        let reply = self.execute("threaddump", [option, b"", b""], None)?;
        if reply.code == 0 {
            Ok(reply.text)
        } else {
            Err(self.refused(&reply))
        }
    }

    pub(super) fn refused(&self, reply: &Reply) -> Error {
        Error::Refused {
            pid: self.pid,
            code: reply.code,
            text: reply.complaint().to_owned(),
        }
    }

    pub(super) fn execute(
        &self,
        command: &str,
        arguments: [&[u8]; 3],
        deadline: Option<Instant>,
    ) -> Result<Reply, Error> {
        let request =
            reply::request(command, arguments).map_err(|unfit| Error::TooLong { length: unfit.length })?;
        let begun = Instant::now();
        let mut stream = match self.open_socket(deadline)? {
            Some(stream) => stream,
            None => self.start_listener(deadline)?,
        };
        let broken = |source: io::Error| match source.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Error::TimedOut {
                pid: self.pid,
                waited: begun.elapsed(),
            },
            _ if !self.is_running() => Error::Ended { pid: self.pid },
            _ => Error::Broken {
                pid: self.pid,
                source,
            },
        };
        stream.set_write_timeout(time_left(deadline)).map_err(broken)?;
        // A JVM that does not like who asks hangs up before it has read: the empty reply then says more than EPIPE.
        let sent = stream.write_all(&request);

        let mut bytes = Vec::new();
        let mut buffer = vec![0; 1 << 16];
        loop {
            stream.set_read_timeout(time_left(deadline)).map_err(broken)?;
            match stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => bytes.extend(buffer.iter().take(length)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset && bytes.is_empty() => break,
                Err(error) => return Err(broken(error)),
            }
            if bytes.len() > LARGEST_REPLY {
                return Err(broken(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "the reply has no end",
                )));
            }
        }
        if bytes.is_empty() {
            let Status { uid, gid, .. } = self.status;
            return Err(match sent {
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => broken(error),
                _ if self.is_running() => Error::HungUp {
                    pid: self.pid,
                    uid,
                    gid,
                },
                _ => Error::Ended { pid: self.pid },
            });
        }
        Reply::parse(&bytes).ok_or_else(|| Error::Malformed {
            pid: self.pid,
            text: String::from_utf8_lossy(bytes.get(..80).unwrap_or(&bytes)).into_owned(),
        })
    }

    /// Connects to the socket that is there; `None` when there is none, or only that of a dead JVM with the same PID.
    fn open_socket(&self, deadline: Option<Instant>) -> Result<Option<UnixStream>, Error> {
        let begun = Instant::now();
        let folder = process::seen_by(self.pid, Path::new("/tmp"));
        let name = format!(".java_pid{}", self.status.own_pid);
        let path = folder.join(&name);
        let failed = |source: io::Error| Error::Connect {
            path: path.clone(),
            source,
        };
        let socket = match fs::symlink_metadata(&path) {
            Ok(socket) => socket,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        if !socket.file_type().is_socket() || socket.uid() != self.status.uid {
            return Err(Error::ForeignSocket {
                path,
                owner: socket.uid(),
            });
        }

        // An address holds 107 bytes, and a path through /proc/PID/root may be longer.
        let handle = rustix::fs::open(
            &folder,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|errno| failed(errno.into()))?;
        let short = format!(
            "/proc/self/fd/{}/{name}",
            std::os::fd::AsRawFd::as_raw_fd(&handle)
        );
        let open = || -> Result<UnixStream, Errno> {
            let socket = socket_with(
                AddressFamily::UNIX,
                SocketType::STREAM,
                SocketFlags::CLOEXEC,
                None,
            )?;
            // Blocks when five others wait already, for as long as a send may.
            set_socket_timeout(&socket, Timeout::Send, time_left(deadline))?;
            connect(&socket, &SocketAddrUnix::new(short.as_str())?)?;
            Ok(UnixStream::from(socket))
        };
        match open() {
            Ok(stream) => Ok(Some(stream)),
            Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(None),
            Err(Errno::AGAIN) => Err(Error::TimedOut {
                pid: self.pid,
                waited: begun.elapsed(),
            }),
            Err(errno) => Err(failed(errno.into())),
        }
    }

    /// Has the JVM open its socket, and connects. Sends a SIGQUIT only after seeing that it is caught.
    fn start_listener(&self, deadline: Option<Instant>) -> Result<UnixStream, Error> {
        let target = Target::hold(self)?;
        if let Some(stream) = self.wait_until_it_listens_to_signals(deadline)? {
            return Ok(stream);
        }
        if self.attach_is_disabled() {
            return Err(Error::Disabled { pid: self.pid });
        }
        let tmp = process::seen_by(self.pid, Path::new("/tmp"));
        if rustix::fs::access(&tmp, Access::WRITE_OK).is_err() {
            return Err(Error::TmpNotWritable {
                pid: self.pid,
                uid: self.status.uid,
            });
        }

        let _trigger = Trigger::create(self)?;
        target.quit()?;
        let begun = Instant::now();
        loop {
            thread::sleep(LOOK_EVERY);
            if let Some(stream) = self.open_socket(deadline)? {
                return Ok(stream);
            }
            let waited = begun.elapsed();
            if !self.is_running() {
                return Err(Error::Ended { pid: self.pid });
            }
            if waited > SOCKET_PATIENCE || deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Err(Error::NoSocket {
                    pid: self.pid,
                    waited,
                });
            }
        }
    }

    /// A signal too early kills; a bit later, it makes a socket that the starting JVM then takes for a left-over of an
    /// earlier one and removes.
    fn wait_until_it_listens_to_signals(
        &self,
        deadline: Option<Instant>,
    ) -> Result<Option<UnixStream>, Error> {
        let begun = Instant::now();
        loop {
            let late = deadline.is_some_and(|deadline| Instant::now() >= deadline)
                || begun.elapsed() > START_PATIENCE;
            match self.catches_quit()? {
                true if late || self.has_started() => return Ok(None),
                false if late => return Err(Error::Deaf { pid: self.pid }),
                true | false => {}
            }
            thread::sleep(LOOK_EVERY);
            // With -Xrs there never is a handler, but the socket comes at start.
            if let Some(stream) = self.open_socket(deadline)? {
                return Ok(Some(stream));
            }
        }
    }

    fn has_started(&self) -> bool {
        // Created after the removal on 8 to 25; an early JDK 8 does not name its threads.
        process::has_thread(self.pid, "Service Thread")
            || process::age(self.started).is_none_or(|age| age > START_PATIENCE)
    }

    fn catches_quit(&self) -> Result<bool, Error> {
        let status = Status::read(self.pid).map_err(|_| Error::Ended { pid: self.pid })?;
        match status.state {
            _ if status.has_ended() => Err(Error::Ended { pid: self.pid }),
            'T' | 't' => Err(Error::Stopped { pid: self.pid }),
            _ => Ok(status.catches_quit),
        }
    }
}

/// The process itself rather than its number, which another one may get in the meantime.
enum Target {
    Handle(u32, std::os::fd::OwnedFd),
    /// Linux before 5.3.
    Number(u32, Pid),
}

impl Target {
    fn hold(jvm: &Jvm) -> Result<Self, Error> {
        let ended = || Error::Ended { pid: jvm.pid };
        let pid = i32::try_from(jvm.pid)
            .ok()
            .and_then(Pid::from_raw)
            .ok_or_else(ended)?;
        let target = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(handle) => Self::Handle(jvm.pid, handle),
            Err(Errno::SRCH) => return Err(ended()),
            Err(_) => Self::Number(jvm.pid, pid),
        };
        // Held first, compared then: from here on it is the one that was examined.
        if jvm.is_running() {
            Ok(target)
        } else {
            Err(ended())
        }
    }

    fn quit(&self) -> Result<(), Error> {
        let (pid, sent) = match self {
            Self::Handle(pid, handle) => (*pid, pidfd_send_signal(handle, Signal::QUIT)),
            Self::Number(pid, number) => (*pid, kill_process(*number, Signal::QUIT)),
        };
        sent.map_err(|errno| match errno {
            Errno::SRCH => Error::Ended { pid },
            errno => Error::Signal {
                pid,
                source: errno.into(),
            },
        })
    }
}

/// A timeout of zero would mean none at all, so what has run out becomes the shortest there is.
fn time_left(deadline: Option<Instant>) -> Option<Duration> {
    let left = deadline?.saturating_duration_since(Instant::now());
    Some(left.max(Duration::from_millis(1)))
}

/// 17 to 25 caught SIGQUIT 10 to 40 ms after exec, on an idle machine.
const START_PATIENCE: Duration = Duration::from_secs(3);
/// As the JDK's own client waits; usually it takes 20 ms.
const SOCKET_PATIENCE: Duration = Duration::from_millis(10_500);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// A histogram has a line of about 100 bytes for each class, and no program has a million of them.
const LARGEST_REPLY: usize = 256 << 20;
