//! What a process tree costs: wall time, CPU seconds, memory, and disk beyond the dump itself.

use std::{
    fmt, fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// The kernel's unit in `/proc/*/stat`, fixed at 100 for user space on every architecture.
const TICKS_PER_SECOND: u64 = 100;
const SAMPLE_EVERY: Duration = Duration::from_millis(10);

/// One run of one case.
#[derive(Clone, Copy)]
pub struct Run {
    pub wall: Duration,
    pub cpu: Duration,
    /// The tree's peak, in bytes.
    pub memory: u64,
    /// Bytes on disk beside the dump, at the peak.
    pub disk: u64,
    /// Bytes of the object; none for a floor, which stores nothing.
    pub object: u64,
    /// Cores that others kept busy meanwhile.
    pub foreign: f64,
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:7.2} s  {:7.2} CPU s  {:5} MB memory  {:5} MB disk  {:6.1} MB object  {:.2} cores busy elsewhere",
            self.wall.as_secs_f64(),
            self.cpu.as_secs_f64(),
            self.memory >> 20,
            self.disk >> 20,
            megabytes(self.object),
            self.foreign
        )
    }
}

#[allow(clippy::cast_precision_loss, reason = "for people to read")]
pub fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// Begun before the children start, ended after they were waited for.
pub struct Measurement {
    begun: Instant,
    children: Duration,
    ours: Duration,
    machine: Duration,
    sampler: JoinHandle<Peaks>,
    over: Arc<AtomicBool>,
}

#[derive(Default)]
struct Peaks {
    memory: u64,
    disk: u64,
}

impl Measurement {
    /// `folder` is where the case may write; the dump in it is not counted.
    pub fn begin(folder: &Path, dump: &Path) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let sampler = {
            let (over, folder) = (over.clone(), folder.to_path_buf());
            let inode = fs::metadata(dump).unwrap().ino();
            thread::spawn(move || sample(&over, &folder, inode))
        };
        let (ours, children) = own_and_childrens_cpu();
        Self {
            begun: Instant::now(),
            children,
            ours,
            machine: machine_cpu(),
            sampler,
            over,
        }
    }

    /// `wall` is the case's own idea of begin and end; sizes are filled by the caller.
    pub fn end(self, wall: Duration) -> Run {
        let elapsed = self.begun.elapsed();
        let (ours, children) = own_and_childrens_cpu();
        let cpu = children.saturating_sub(self.children);
        let known = cpu + ours.saturating_sub(self.ours);
        let busy = machine_cpu().saturating_sub(self.machine);
        self.over.store(true, Ordering::Relaxed);
        let Peaks { memory, disk } = self.sampler.join().unwrap();
        let foreign = busy.saturating_sub(known).as_secs_f64() / elapsed.as_secs_f64();
        Run {
            wall,
            cpu,
            memory,
            disk,
            object: 0,
            foreign,
        }
    }
}

/// CPU time of this process's threads so far.
pub fn own_cpu() -> Duration {
    own_and_childrens_cpu().0
}

fn own_and_childrens_cpu() -> (Duration, Duration) {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    // The name may hold spaces: fields count from the parenthesis after it, which is the second field's end.
    let fields: Vec<u64> = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .map(|field| field.parse().unwrap_or(0))
        .collect();
    let [own_user, own_system, children_user, children_system] = fields[11..15] else {
        unreachable!()
    };
    (
        ticks(own_user + own_system),
        ticks(children_user + children_system),
    )
}

fn machine_cpu() -> Duration {
    let stat = fs::read_to_string("/proc/stat").unwrap();
    let fields: Vec<u64> = stat
        .lines()
        .next()
        .unwrap()
        .split_whitespace()
        .skip(1)
        .map(|field| field.parse().unwrap())
        .collect();
    // user nice system, and after idle and iowait: irq softirq. What is stolen is nobody's work here.
    ticks(fields[0] + fields[1] + fields[2] + fields[5] + fields[6])
}

fn ticks(count: u64) -> Duration {
    Duration::from_millis(count * 1000 / TICKS_PER_SECOND)
}

fn sample(over: &AtomicBool, folder: &Path, dump: u64) -> Peaks {
    let mut peaks = Peaks::default();
    while !over.load(Ordering::Relaxed) {
        let mut sum = 0;
        for pid in descendants(std::process::id()) {
            let (now, highest) = resident(pid);
            sum += now;
            // Between two samples it may have been higher, which only the kernel saw.
            peaks.memory = peaks.memory.max(highest);
        }
        peaks.memory = peaks.memory.max(sum);
        peaks.disk = peaks.disk.max(disk(folder, dump));
        thread::sleep(SAMPLE_EVERY);
    }
    peaks
}

fn descendants(pid: u32) -> Vec<u32> {
    let mut found = Vec::new();
    for task in entries(&PathBuf::from(format!("/proc/{pid}/task"))) {
        let children = fs::read_to_string(task.join("children")).unwrap_or_default();
        for child in children.split_whitespace().filter_map(|child| child.parse().ok()) {
            found.push(child);
            found.extend(descendants(child));
        }
    }
    found
}

/// Now and at most so far, in bytes.
fn resident(pid: u32) -> (u64, u64) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    // Between fork and exec it is still our own image, with all that the sink keeps.
    if status.starts_with("Name:\tship-") {
        return (0, 0);
    }
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    (
        field("VmRSS:").unwrap_or(0) << 10,
        field("VmHWM:").unwrap_or(0) << 10,
    )
}

fn disk(folder: &Path, dump: u64) -> u64 {
    entries(folder)
        .into_iter()
        .map(|path| match fs::symlink_metadata(&path) {
            Ok(data) if data.is_dir() => disk(&path, dump),
            Ok(data) if data.ino() != dump => data.blocks() * 512,
            _ => 0,
        })
        .sum()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect()
}
