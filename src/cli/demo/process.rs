//! Children that do not outlive the demo, and what they print.

use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, ExitStatus};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::bail;
use rustix::process::{Pid, Signal, kill_process};

/// A child that is killed when nobody holds it any more.
pub(super) struct Guard(pub(super) Child);

impl Guard {
    /// Sends SIGTERM.
    pub(super) fn terminate(&self) -> anyhow::Result<()> {
        let pid = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            kill_process(pid, Signal::TERM)?;
        }
        Ok(())
    }

    /// Waits for the end, with a deadline.
    pub(super) fn wait(&mut self, deadline: Duration) -> anyhow::Result<ExitStatus> {
        until(deadline, "a process to end", || Ok(self.0.try_wait()?))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Looks until something is there.
pub(super) fn until<T>(
    deadline: Duration,
    what: &str,
    mut look: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let started = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if started.elapsed() > deadline {
            bail!("waited {} s for {what}", deadline.as_secs());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Sends every line of a pipe on, from a thread of its own.
pub(super) fn lines(pipe: impl Read + Send + 'static, sender: mpsc::Sender<String>) {
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
}
