//! What `/proc/PID` says of a process. Parsers take text; the functions below them read.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The lines of `/proc/PID/status` that decide whether it can be attached to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Status {
    /// Its command name, at most 15 bytes.
    pub name: String,
    /// `R`, `S`, `T` (stopped), `Z` (ended, not yet reaped) …
    pub state: char,
    /// Effective user.
    pub uid: u32,
    /// Effective group.
    pub gid: u32,
    /// Its PID in the innermost PID namespace: the one that the JVM writes into file names.
    pub own_pid: u32,
    /// Whether it has a handler for SIGQUIT. Without one the signal ends it.
    pub catches_quit: bool,
    /// Resident memory in bytes, where stated.
    pub resident: Option<u64>,
}

impl Status {
    /// Reads the text of `/proc/PID/status`; `None` where a line is missing that every kernel writes.
    #[must_use]
    pub fn parse(pid: u32, text: &str) -> Option<Self> {
        let field = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .map(str::trim)
        };
        let effective = |name: &str| field(name)?.split_whitespace().nth(1)?.parse().ok();
        let caught = u64::from_str_radix(field("SigCgt")?, 16).ok()?;
        Some(Self {
            name: field("Name")?.to_owned(),
            state: field("State")?.chars().next()?,
            uid: effective("Uid")?,
            gid: effective("Gid")?,
            // Kernels before 4.1 do not have the line; there only one namespace can be served.
            own_pid: field("NStgid")
                .and_then(|ids| ids.split_whitespace().last()?.parse().ok())
                .unwrap_or(pid),
            catches_quit: caught & SIGQUIT_BIT != 0,
            resident: field("VmRSS").and_then(|size| {
                let kib: u64 = size.strip_suffix("kB")?.trim().parse().ok()?;
                kib.checked_mul(1024)
            }),
        })
    }

    /// Reads it of a running process.
    pub fn read(pid: u32) -> io::Result<Self> {
        let text = fs::read(path(pid, "status"))?;
        Self::parse(pid, &String::from_utf8_lossy(&text))
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a line is missing"))
    }

    /// Whether it is over: a zombie still has its folder in `/proc`.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }
}

/// What kind of virtual machine a process has loaded.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Machine {
    /// OpenJDK's, under any vendor's name.
    HotSpot,
    /// Eclipse `OpenJ9`, IBM Semeru.
    OpenJ9,
    /// None: another program, or a native image.
    #[default]
    None,
}

/// What the mapped files of a process say of it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Maps {
    /// The virtual machine it has loaded.
    pub machine: Machine,
    /// Its counters, as a path in its own file system. A file that it maps is its own: one that only lies there may be
    /// left over from a JVM that was killed and had the same PID.
    pub counters: Option<PathBuf>,
}

impl Maps {
    /// Reads the text of `/proc/PID/maps`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut maps = Self::default();
        for line in text.lines() {
            let Some(path) = line.find('/').and_then(|start| line.get(start..)) else {
                continue;
            };
            let present = path.strip_suffix(DELETED).unwrap_or(path);
            let Some((folder, file)) = present.rsplit_once('/') else {
                continue;
            };
            // OpenJ9 has a libjvm.so as well, which only hands over to this one.
            if file.starts_with("libj9vm") {
                maps.machine = Machine::OpenJ9;
            } else if file == "libjvm.so" && maps.machine == Machine::None {
                maps.machine = Machine::HotSpot;
            } else if folder.starts_with("/tmp/hsperfdata_") && !path.ends_with(DELETED) {
                maps.counters = Some(PathBuf::from(path));
            }
        }
        maps
    }

    /// Reads them of a running process; needs the same user and no fewer capabilities.
    pub fn read(pid: u32) -> io::Result<Self> {
        fs::read(path(pid, "maps")).map(|maps| Self::parse(&String::from_utf8_lossy(&maps)))
    }
}

/// The start time in the text of `/proc/PID/stat`: clock ticks since the machine booted. With the PID it names a process
/// for as long as the machine runs.
#[must_use]
pub fn parse_start_time(stat: &str) -> Option<u64> {
    // The command name may hold blanks and parentheses; nothing behind it does.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(19)?.parse().ok()
}

/// The start time of a running process, see [`parse_start_time`].
pub fn start_time(pid: u32) -> io::Result<u64> {
    let stat = fs::read(path(pid, "stat"))?;
    parse_start_time(&String::from_utf8_lossy(&stat))
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no start time"))
}

/// How long ago a process with this start time was started; `None` where the kernel does not say.
#[must_use]
pub fn age(started: u64) -> Option<Duration> {
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    let now: f64 = uptime.split_whitespace().next()?.parse().ok()?;
    let now = Duration::try_from_secs_f64(now).ok()?;
    Some(now.saturating_sub(Duration::from_millis(
        started.saturating_mul(1000 / TICKS_PER_SECOND),
    )))
}

/// Whether one of its threads has this name, of which the kernel keeps 15 bytes.
#[must_use]
pub fn has_thread(pid: u32, name: &str) -> bool {
    let threads = fs::read_dir(path(pid, "task")).into_iter().flatten().flatten();
    threads
        .filter_map(|thread| fs::read_to_string(thread.path().join("comm")).ok())
        .any(|comm| comm.trim_end() == name)
}

/// The NUL-separated entries of `cmdline` or `environ`.
pub fn strings(pid: u32, file: &str) -> io::Result<Vec<OsString>> {
    let bytes = fs::read(path(pid, file))?;
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
    Ok(bytes
        .split(|byte| *byte == 0)
        .map(|entry| OsString::from_vec(entry.to_vec()))
        .collect())
}

/// Whether its executable is the `java` launcher, which loads the JVM a moment after it has started.
#[must_use]
pub fn is_launcher(pid: u32) -> bool {
    fs::read_link(path(pid, "exe")).is_ok_and(|exe| exe.file_name().is_some_and(|name| name == "java"))
}

/// Every PID that is visible, ascending.
pub fn all() -> io::Result<Vec<u32>> {
    let mut pids: Vec<u32> = fs::read_dir("/proc")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    pids.sort_unstable();
    Ok(pids)
}

/// A path as the process sees it, from here: through its own root where that may be entered.
#[must_use]
pub fn seen_by(pid: u32, inside: &Path) -> PathBuf {
    let relative = inside.strip_prefix("/").unwrap_or(inside);
    let root = path(pid, "root");
    // Entering needs the same rights as tracing it. Where those are missing it can only be a neighbour in one container.
    if fs::metadata(root.join(".")).is_ok() {
        root.join(relative)
    } else {
        inside.to_owned()
    }
}

/// `/proc/PID/file`.
#[must_use]
pub fn path(pid: u32, file: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/{file}"))
}

/// `USER_HZ`, the unit of what the kernel tells programs; 100 on every architecture that has a HotSpot.
const TICKS_PER_SECOND: u64 = 100;

const DELETED: &str = " (deleted)";

/// SIGQUIT is 3, and the lowest bit stands for signal 1.
const SIGQUIT_BIT: u64 = 1 << 2;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STATUS: &str = "Name:\tjava\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t20604\nUid:\t1000\t1001\t1000\t1000\n\
        Gid:\t1000\t1002\t1000\t1000\nNStgid:\t20604\t1\nVmRSS:\t   81212 kB\nSigCgt:\t0000000101005ccd\n";

    #[test]
    fn reads_the_status_of_a_jvm_in_a_namespace_of_its_own() {
        let status = Status::parse(20604, STATUS).unwrap();
        assert_eq!((status.uid, status.gid, status.own_pid), (1001, 1002, 1));
        assert!(status.catches_quit && !status.has_ended());
        assert_eq!(
            (status.name.as_str(), status.resident),
            ("java", Some(81212 << 10))
        );
    }

    #[test]
    fn a_process_without_a_handler_is_known() {
        let text = STATUS.replace("0000000101005ccd", "0000000101005cc9");
        assert!(!Status::parse(20604, &text).unwrap().catches_quit);
    }

    #[test]
    fn an_old_kernel_knows_one_namespace_only() {
        assert_eq!(
            Status::parse(7, &STATUS.replace("NStgid:\t20604\t1\n", ""))
                .unwrap()
                .own_pid,
            7
        );
    }

    #[test]
    fn tells_the_machines_apart() {
        let machine = |text: &str| Maps::parse(text).machine;
        let hotspot = "7f00-7f01 r-xp 00000000 08:01 123 /opt/java/lib/server/libjvm.so\n";
        let openj9 = "7f02-7f03 r-xp 00000000 08:01 9 /opt/java/lib/default/libj9vm29.so\n";
        assert_eq!(machine(hotspot), Machine::HotSpot);
        assert_eq!(
            machine(&hotspot.replace(".so", ".so (deleted)")),
            Machine::HotSpot
        );
        assert_eq!(machine(&format!("{hotspot}{openj9}")), Machine::OpenJ9);
        assert_eq!(machine(&format!("{openj9}{hotspot}")), Machine::OpenJ9);
        assert_eq!(
            machine("7f00-7f01 r-xp 0 08:01 123 /usr/bin/sleep\n"),
            Machine::None
        );
        assert_eq!(
            machine("7f00-7f01 rw-p 0 08:01 123 /tmp/notlibjvm.so\n7f00-7f01 rw-p 0 0 0 [heap]\n"),
            Machine::None
        );
    }

    #[test]
    fn finds_the_counters_that_are_still_there() {
        let line = "7f00-7f08 rw-s 00000000 08:01 123 /tmp/hsperfdata_root/1\n";
        assert_eq!(
            Maps::parse(line).counters.as_deref(),
            Some(Path::new("/tmp/hsperfdata_root/1"))
        );
        assert_eq!(
            Maps::parse(&line.replace("/1\n", "/1 (deleted)\n")).counters,
            None
        );
    }

    #[test]
    fn a_name_with_parentheses_does_not_move_the_start_time() {
        let stat = "7 (a) (b c) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 999 0";
        assert_eq!(parse_start_time(stat), Some(4711));
        assert_eq!(parse_start_time("7 (a) S 1"), None);
    }

    #[test]
    fn reads_this_very_process() {
        let pid = std::process::id();
        assert!(!Status::read(pid).unwrap().has_ended());
        assert!(age(start_time(pid).unwrap()).unwrap() < Duration::from_hours(1));
        assert_eq!(Maps::read(pid).unwrap().machine, Machine::None);
        assert!(all().unwrap().contains(&pid));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parsers_panic(text in "(?s).{0,400}") {
            let _ = (Status::parse(1, &text), Maps::parse(&text), parse_start_time(&text));
        }
    }
}
