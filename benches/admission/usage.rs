//! CPU time as the kernel counts it, and medians.

use std::time::Duration;

/// Linux's unit in `/proc` for user space, whatever the kernel's own tick is.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU seconds of a process so far, user and system, all threads.
pub(crate) fn of_process(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The name in brackets may hold anything; utime and stime are the 12th and 13th fields after it.
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    ticks(fields[11]) + ticks(fields[12])
}

/// CPU seconds that the whole machine was busy so far.
pub(crate) fn of_machine() -> f64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap();
    let fields: Vec<&str> = stat.lines().next().unwrap().split_whitespace().collect();
    // user, nice, system, then idle and iowait, then irq and softirq.
    [1, 2, 3, 6, 7].iter().map(|field| ticks(fields[*field])).sum()
}

fn ticks(field: &str) -> f64 {
    field.parse::<f64>().unwrap() / TICKS_PER_SECOND
}

/// A stretch of time, with what was used in it.
pub(crate) struct Watch {
    server: u32,
    began: std::time::Instant,
    before: [f64; 3],
}

pub(crate) struct Used {
    pub(crate) wall: Duration,
    pub(crate) server: f64,
    /// Cores that others kept busy.
    pub(crate) others: f64,
}

impl Watch {
    pub(crate) fn start(server: u32) -> Self {
        Self {
            server,
            began: std::time::Instant::now(),
            before: Self::look(server),
        }
    }

    pub(crate) fn stop(self) -> Used {
        let wall = self.began.elapsed();
        let after = Self::look(self.server);
        let [server, own, machine] = [0, 1, 2].map(|index| after[index] - self.before[index]);
        Used {
            wall,
            server,
            others: (machine - server - own).max(0.0) / wall.as_secs_f64(),
        }
    }

    fn look(server: u32) -> [f64; 3] {
        [of_process(server), of_process(std::process::id()), of_machine()]
    }
}

pub(crate) fn median(values: &[f64]) -> f64 {
    spread(values).0
}

/// Median, least, greatest.
pub(crate) fn spread(values: &[f64]) -> (f64, f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    (sorted[sorted.len() / 2], sorted[0], sorted[sorted.len() - 1])
}
