//! Which processes are JVMs, and what can be known of one without talking to it.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::thread;
use std::time::{Duration, Instant};

use super::Error;
use super::launch::{self, Launch};
use super::process::{self, Machine, Maps, Status};
use crate::hsperfdata::{self, Counters};

/// A HotSpot JVM that this process may look into.
#[derive(Clone, Debug)]
pub struct Jvm {
    /// In our PID namespace.
    pub pid: u32,
    /// State at the time it was found.
    pub status: Status,
    /// Clock ticks between the machine's boot and the start of the process.
    pub started: u64,
    /// What it publishes; `None` for a user without a name (8 to 27), with `-XX:-UsePerfData`, a read-only /tmp, or in the
    /// first moments.
    pub counters: Option<Counters>,
}

impl Jvm {
    /// Looks at one process. A `java` that has not loaded its JVM yet is waited for.
    pub fn find(pid: u32) -> Result<Self, Error> {
        let begun = Instant::now();
        loop {
            match Self::examine(pid) {
                Err(Error::NotAJvm { .. })
                    if process::is_launcher(pid) && begun.elapsed() < LAUNCH_PATIENCE =>
                {
                    thread::sleep(LOOK_EVERY);
                }
                found => return found,
            }
        }
    }

    /// All JVMs that this user may look into, by PID; in the place of one that cannot be served, because it is an `OpenJ9` or
    /// a `java` whose memory is closed to us (it has capabilities, as for a port below 1024), the reason.
    pub fn all() -> io::Result<Vec<Result<Self, Error>>> {
        // Of a closed process only its name can be read.
        let is_java = |pid: u32| Status::read(pid).is_ok_and(|status| status.name == "java");
        let found = process::all()?.into_iter().map(Self::examine);
        Ok(found
            .filter(|jvm| match jvm {
                Ok(_) | Err(Error::OpenJ9 { .. }) => true,
                Err(Error::Closed { pid, .. }) => is_java(*pid),
                Err(_) => false,
            })
            .collect())
    }

    fn examine(pid: u32) -> Result<Self, Error> {
        let gone = |_| Error::NoSuchProcess { pid };
        let status = Status::read(pid).map_err(gone)?;
        if status.has_ended() {
            return Err(Error::NoSuchProcess { pid });
        }
        let uid = rustix::process::geteuid().as_raw();
        if uid != status.uid && uid != 0 {
            return Err(Error::OtherUser {
                pid,
                owner: status.uid,
                uid,
            });
        }
        let maps = Maps::read(pid).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => Error::NoSuchProcess { pid },
            _ => Error::Closed { pid, source },
        })?;
        match maps.machine {
            Machine::HotSpot => {}
            Machine::OpenJ9 => return Err(Error::OpenJ9 { pid }),
            Machine::None => {
                return Err(Error::NotAJvm {
                    pid,
                    name: status.name,
                });
            }
        }
        let started = process::start_time(pid).map_err(gone)?;
        Ok(Self {
            pid,
            counters: counters(pid, &maps),
            status,
            started,
        })
    }

    /// Reads anew what it publishes. What it published last stays where that cannot be read.
    pub fn look_again(&mut self) {
        if let Some(now) = Maps::read(self.pid)
            .ok()
            .and_then(|maps| counters(self.pid, &maps))
        {
            self.counters = Some(now);
        }
    }

    /// Since the process was started; `None` where the kernel does not say.
    #[must_use]
    pub fn uptime(&self) -> Option<Duration> {
        process::age(self.started)
    }

    /// Whether it was told not to let anyone attach, as far as that can be seen from outside.
    pub(super) fn attach_is_disabled(&self) -> bool {
        // Looked at again: a JVM that was found in its first moments publishes nothing yet.
        let counters = Maps::read(self.pid)
            .ok()
            .and_then(|maps| counters(self.pid, &maps));
        if let Some(allowed) = counters.as_ref().and_then(Counters::attach_allowed) {
            return !allowed;
        }
        let variables = process::strings(self.pid, "environ").unwrap_or_default();
        let variable = |name: &str| -> Vec<String> {
            let text = variables.iter().find_map(|entry| {
                entry
                    .to_string_lossy()
                    .split_once('=')
                    .filter(|(n, _)| *n == name)
                    .map(|(_, v)| v.to_owned())
            });
            text.unwrap_or_default()
                .split_whitespace()
                .map(|word| word.replace(['"', '\''], ""))
                .collect()
        };
        let sources = [
            variable("JAVA_TOOL_OPTIONS"),
            variable("JDK_JAVA_OPTIONS"),
            self.launch().options,
            variable("_JAVA_OPTIONS"),
        ];
        launch::attach_disabled(sources.iter().flatten().map(String::as_str))
    }

    /// Its command line, taken apart.
    #[must_use]
    pub fn launch(&self) -> Launch {
        Launch::parse(&process::strings(self.pid, "cmdline").unwrap_or_default())
    }

    /// Main class or jar, and the program's arguments: from its counters, else from its command line.
    #[must_use]
    pub fn command(&self) -> (String, String) {
        if let Some(command) = self.counters.as_ref().and_then(Counters::java_command) {
            let (main, arguments) = command.split_once(' ').unwrap_or((command, ""));
            return (main.to_owned(), arguments.to_owned());
        }
        if !process::is_launcher(self.pid) {
            // An embedded JVM: the words are the embedding program's own.
            return (self.status.name.clone(), String::new());
        }
        let Launch {
            options: _,
            main,
            arguments,
        } = self.launch();
        (
            main.unwrap_or_else(|| self.status.name.clone()),
            arguments.join(" "),
        )
    }

    /// Options of the JVM from all sources, as far as they can be seen.
    #[must_use]
    pub fn options(&self) -> String {
        match self.counters.as_ref().and_then(Counters::vm_arguments) {
            Some(arguments) => arguments.to_owned(),
            None if process::is_launcher(self.pid) => self.launch().options.join(" "),
            None => String::new(),
        }
    }

    /// Whether it sees the same files as we do. In a pod whose containers share their processes, it may be another one's.
    #[must_use]
    pub fn is_in_our_container(&self) -> bool {
        let namespace = |process: &str| fs::read_link(format!("/proc/{process}/ns/mnt")).ok();
        namespace("self") == namespace(&self.pid.to_string())
    }

    /// Whether the process that was found still runs: the same one, not a later one with its PID.
    #[must_use]
    pub fn is_running(&self) -> bool {
        Status::read(self.pid).is_ok_and(|status| !status.has_ended())
            && process::start_time(self.pid).is_ok_and(|started| started == self.started)
    }
}

fn counters(pid: u32, maps: &Maps) -> Option<Counters> {
    let file = File::open(process::seen_by(pid, maps.counters.as_deref()?)).ok()?;
    let mut bytes = Vec::new();
    file.take(hsperfdata::LARGEST).read_to_end(&mut bytes).ok()?;
    Counters::parse(&bytes).ok()
}

/// From exec to a loaded libjvm.so took up to 10 ms on an idle machine; a cold page cache takes longer.
const LAUNCH_PATIENCE: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(10);
