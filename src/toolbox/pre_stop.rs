//! `pre-stop`: the hook that dumps the heap of a container's JVMs when its pod is terminated.
//!
//! It stands in the place of the pod's own preStop hook, so it carries that one out as well, before or after the dump. The
//! pod's end comes first: a dump that cannot be made, does not fit into the grace period or fails is said, never an error.

use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use crate::attach::{self, Jvm, Objects};
use crate::names;
use crate::quantity::{Bytes, format_duration, parse_duration};

mod budget;
mod claim;
mod hook;
mod http;
mod journal;
mod trust;

use budget::Budget;
use hook::{Hook, Limits};
use http::HttpGet;
use journal::Journal;

/// Dumps the heap of every JVM of this container before it is stopped, and carries out the container's own preStop hook.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Live objects only, or all.
    #[arg(long, value_enum)]
    dump: Objects,
    /// Where the dumps are written.
    #[arg(long, default_value = names::DUMPS_PATH)]
    dir: PathBuf,
    /// The pod's grace period.
    #[arg(long, value_parser = parse_duration)]
    grace: Duration,
    /// What the application needs of it for its own end.
    #[arg(long, value_parser = parse_duration)]
    application_share: Duration,
    /// What shipping the dump needs of it after the JVM has ended.
    #[arg(long, value_parser = parse_duration)]
    upload_grace: Duration,
    /// Wait so long before the dump.
    #[arg(long, value_parser = parse_duration, default_value = "0s")]
    delay: Duration,
    /// Whether the dump comes before the container's own hook or after it, as in the annotation `pre-stop-order`.
    #[arg(long, value_enum, default_value = "before")]
    order: Order,
    /// Dump only this JVM instead of all in the container; may be given several times.
    #[arg(long)]
    pid: Vec<u32>,
    /// The container's own hook: sleep so long.
    #[arg(long, value_parser = parse_duration, group = "hook")]
    sleep: Option<Duration>,
    /// The container's own hook: an httpGet action as JSON, its port a number.
    #[arg(long, value_parser = HttpGet::parse, group = "hook")]
    http_get: Option<HttpGet>,
    /// Where an httpGet without a host goes.
    #[arg(long, env = names::variable::POD_IP)]
    pod_ip: Option<String>,
    /// The container's own hook: run this.
    #[arg(last = true, group = "hook")]
    exec: Vec<std::ffi::OsString>,
}

/// When the dump is taken, against the container's own hook.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
enum Order {
    /// First the dump, then the hook; a dump that takes long goes on beside it.
    Before,
    /// First the hook, then the dump.
    After,
}

/// Runs it to its end. The code is that of the container's own hook.
#[must_use]
pub fn run(arguments: Arguments) -> ExitCode {
    let begun = Instant::now();
    let Arguments {
        dump: objects,
        dir,
        grace,
        application_share,
        upload_grace,
        delay,
        order,
        pid: pids,
        sleep,
        http_get,
        pod_ip,
        exec,
    } = arguments;
    let journal = Journal::new(&dir);
    let hook = Hook::new(sleep, http_get, exec);
    let limits = Limits {
        pod_ip,
        deadline: begun + grace,
    };
    let hook_still_to_come = match order {
        Order::Before => hook.known_duration(),
        Order::After => Duration::ZERO,
    };
    let task = Task {
        objects,
        pids: &pids,
        dir: &dir,
        delay,
        budget: Budget {
            begun,
            grace,
            application_share,
            upload_grace,
            hook_still_to_come,
        },
        journal: &journal,
    };
    if order == Order::Before && !hook.is_none() {
        return task.dump_before(&hook, &limits);
    }
    let code = hook.run(&limits, &journal);
    let mut delay = delay;
    task.dump_each(task.find(), &mut delay, Silence::Judged);
    code
}

struct Task<'a> {
    objects: Objects,
    pids: &'a [u32],
    dir: &'a Path,
    delay: Duration,
    budget: Budget,
    journal: &'a Journal,
}

/// Why a JVM was not dumped.
#[derive(Debug, thiserror::Error)]
enum Skip {
    #[error("an earlier run of this hook has dumped it, or is doing so")]
    DumpedBefore,
    #[error("cannot write to {dir} as uid {uid}")]
    Directory {
        dir: PathBuf,
        uid: u32,
        source: io::Error,
    },
    #[error(transparent)]
    Budget(#[from] budget::Shortage),
    #[error(
        "{} in use may need {} of disk while the dump is written, and {dir} has {} left; give the volume more room",
        budget::in_words(*used), budget::in_words(*needed), budget::in_words(*free)
    )]
    Disk {
        dir: PathBuf,
        used: Bytes,
        needed: Bytes,
        free: Bytes,
    },
    #[error(
        "it has not answered within {} s; it is asked again after the container's own hook",
        waited.as_secs()
    )]
    Silent { waited: Duration },
    #[error(transparent)]
    Attach(#[from] attach::Error),
}

/// What becomes of a JVM that does not say how much heap it uses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Silence {
    /// It is asked again when the container's own hook is over.
    AskedAgain,
    /// Its counters or its memory must do.
    Judged,
}

impl Task<'_> {
    /// Dumps, then the container's own hook, which does not wait for ever: after a failed liveness probe the kubelet gives
    /// us no more than the application's share, whatever the pod's grace period says, and then kills whatever runs.
    fn dump_before(&self, hook: &Hook, limits: &Limits) -> ExitCode {
        let turn = self.budget.begun + self.budget.application_share / 2;
        let mut delay = self.delay;
        thread::scope(|scope| {
            let (running, over) = mpsc::channel::<Infallible>();
            let dumps = thread::Builder::new().spawn_scoped(scope, || {
                let silent = self.dump_each(self.find(), &mut delay, Silence::AskedAgain);
                drop(running);
                (silent, delay)
            });
            let wait = turn.saturating_duration_since(Instant::now());
            if over.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
                self.journal
                    .say("the container's own hook begins now, beside the dump that goes on");
            }
            let code = hook.run(limits, self.journal);
            // Without a thread there was no dump yet: the hook must not suffer from that.
            let (later, mut delay) = match dumps.map(thread::ScopedJoinHandle::join) {
                Ok(Ok((silent, delay))) => (silent, delay),
                Ok(Err(_)) => (Vec::new(), Duration::ZERO),
                Err(_) => (self.find(), self.delay),
            };
            self.dump_each(later, &mut delay, Silence::Judged);
            code
        })
    }

    /// Gives back those that are to be asked again.
    fn dump_each(&self, jvms: Vec<Jvm>, delay: &mut Duration, silence: Silence) -> Vec<Jvm> {
        let mut again = Vec::new();
        for jvm in jvms {
            match self.dump(&jvm, delay, silence) {
                Ok(told) => self.journal.say(&told),
                Err(skip) => {
                    self.journal.say(&format!(
                        "JVM {} not dumped: {}",
                        jvm.pid,
                        super::with_causes(&skip)
                    ));
                    if matches!(skip, Skip::Silent { .. }) {
                        again.push(jvm);
                    }
                }
            }
        }
        again
    }

    /// The JVMs to dump; says why there are none, or not all.
    fn find(&self) -> Vec<Jvm> {
        claim::forget_ended(self.dir);
        let found = if self.pids.is_empty() {
            Jvm::all().map(|mut found| {
                found.retain(|jvm| jvm.as_ref().map_or(true, Jvm::is_in_our_container));
                found
            })
        } else {
            Ok(self.pids.iter().map(|pid| Jvm::find(*pid)).collect())
        };
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                self.journal.say(&format!(
                    "not dumped: cannot list the processes in /proc: {error}"
                ));
                return Vec::new();
            }
        };
        if found.is_empty() {
            let uid = rustix::process::geteuid();
            self.journal.say(&format!(
                "not dumped: there is no JVM in this container that uid {uid} may look into"
            ));
        }
        let say = |error| {
            self.journal
                .say(&format!("not dumped: {}", super::with_causes(&error)));
        };
        found
            .into_iter()
            .filter_map(|jvm| jvm.map_err(say).ok())
            .collect()
    }

    /// `delay` is waited once, before the first dump that is really started.
    fn dump(&self, jvm: &Jvm, delay: &mut Duration, silence: Silence) -> Result<String, Skip> {
        let claim = claim::Claim::take(self.dir, jvm).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Skip::DumpedBefore,
            _ => self.directory(error),
        })?;
        // Where not even the smallest dump fits, there is no time for questions either.
        self.budget.check(None, *delay)?;
        let asked = self.budget.deadline().min(Instant::now() + QUESTION);
        let (used, major) = state(jvm, asked, silence)?;
        if let Some(used) = used {
            self.check_disk(used, major)?;
        }
        self.budget.check(used, *delay)?;
        std::thread::sleep(std::mem::take(delay));

        let objects = self.objects.as_str();
        let time = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S%3fZ");
        let file = self
            .dir
            .join(format!("pre-stop-{objects}-{}-{time}.hprof", jvm.pid));
        let dumped = jvm.dump_heap(&file, self.objects, None, Some(self.budget.deadline()));
        match &dumped {
            // The JVM goes on with it, and the agent ships what comes: not to be asked for again.
            Ok(_) | Err(attach::Error::TimedOut { .. }) => claim.keep(),
            Err(_) => {}
        }
        let dump = dumped?;
        let size = dump
            .size
            .map(|size| format!(", {}", budget::in_words(size)))
            .unwrap_or_default();
        Ok(format!(
            "JVM {} dumped to {}{size} in {}",
            jvm.pid,
            file.display(),
            rounded(dump.took)
        ))
    }

    fn check_disk(&self, used: Bytes, major: Option<u32>) -> Result<(), Skip> {
        let space = rustix::fs::statvfs(self.dir).map_err(|errno| self.directory(errno.into()))?;
        let free = Bytes(space.f_bavail.saturating_mul(space.f_frsize));
        let needed = budget::disk_needed(used, major);
        if free < needed {
            return Err(Skip::Disk {
                dir: self.dir.to_owned(),
                used,
                needed,
                free,
            });
        }
        Ok(())
    }

    fn directory(&self, source: io::Error) -> Skip {
        Skip::Directory {
            dir: self.dir.to_owned(),
            uid: rustix::process::geteuid().as_raw(),
            source,
        }
    }
}

/// Heap in use and Java version. Asked of the JVM, whose counters stand still between collections; one that does not answer
/// is judged by them, or by its memory.
fn state(jvm: &Jvm, deadline: Instant, silence: Silence) -> Result<(Option<Bytes>, Option<u32>), Skip> {
    use attach::Error::{Refused, TimedOut};
    let ask = |line| match jvm.diagnose(line, Some(deadline)) {
        Ok(text) => Ok(Some(text)),
        Err(TimedOut { waited, .. }) if silence == Silence::AskedAgain => Err(Skip::Silent { waited }),
        Err(Refused { .. } | TimedOut { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    };
    let counters = jvm.counters.as_ref();
    let used = ask("GC.heap_info")?
        .and_then(|text| attach::reply::heap_used(&text))
        .or_else(|| counters?.heap_used())
        .or_else(|| jvm.status.resident.map(Bytes));
    let major = match counters.and_then(crate::hsperfdata::Counters::major) {
        Some(major) => Some(major),
        None => ask("VM.version")?.and_then(|text| attach::reply::major(&text)),
    };
    Ok((used, major))
}

fn rounded(duration: Duration) -> String {
    let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    format_duration(Duration::from_millis(milliseconds))
}

/// For the questions before the dump: a JVM in a long pause answers late, and is dumped all the same if there is time.
const QUESTION: Duration = Duration::from_secs(10);
