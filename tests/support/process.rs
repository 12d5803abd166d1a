//! Child processes that do not outlive their test and whose output can be waited for.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use super::wait;

/// A running child. Killed and reaped on drop.
pub struct Process {
    name: String,
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    readers: Vec<JoinHandle<()>>,
}

/// What is left of a child that has ended.
pub struct Finished {
    pub status: ExitStatus,
    /// Both streams, in the order in which the lines arrived.
    pub lines: Vec<String>,
}

impl Process {
    /// Starts it with stdin closed and both streams captured.
    pub fn spawn(command: &mut Command) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        let lines = Arc::new(Mutex::new(Vec::new()));
        let readers = vec![
            collect(child.stdout.take(), lines.clone()),
            collect(child.stderr.take(), lines.clone()),
        ];
        Self {
            name,
            child,
            lines,
            readers,
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The lines of both streams so far.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for a line that contains `text` and returns it.
    #[track_caller]
    pub fn line(&self, text: &str, deadline: Duration) -> String {
        let found = || {
            self.lines
                .lock()
                .unwrap()
                .iter()
                .find(|line| line.contains(text))
                .cloned()
        };
        let what = format!("{} prints {text:?}", self.name);
        let begun = std::time::Instant::now();
        while begun.elapsed() < deadline {
            if let Some(line) = found() {
                return line;
            }
            // Nothing more can come once both readers have met the end.
            if self.readers.iter().all(JoinHandle::is_finished) && found().is_none() {
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!(
            "not within {deadline:?}: {what}; it printed:\n{}",
            self.lines().join("\n")
        );
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap_or_else(|error| panic!("cannot signal {}: {error}", self.name));
    }

    /// Waits for its own end.
    #[track_caller]
    pub fn finish(mut self, deadline: Duration) -> Finished {
        let what = format!("{} ends", self.name);
        let status = wait::until(&what, deadline, || self.child.try_wait().unwrap());
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        Finished {
            status,
            lines: self.lines(),
        }
    }

    /// SIGKILL, as the kernel's out-of-memory killer sends it, and waits until it is gone.
    pub fn kill(&mut self) {
        // Fails only where it has ended by itself, which is what the caller wants.
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn collect(stream: Option<impl Read + Send + 'static>, lines: Arc<Mutex<Vec<String>>>) -> JoinHandle<()> {
    let mut reader = BufReader::new(stream.unwrap());
    thread::spawn(move || {
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
            let text = String::from_utf8_lossy(&line)
                .trim_end_matches(['\n', '\r'])
                .to_owned();
            lines.lock().unwrap().push(text);
            line.clear();
        }
    })
}

#[test]
fn a_process_is_gone_with_its_guard() {
    let process = Process::spawn(Command::new("sleep").arg("600"));
    let id = process.id();
    assert!(std::path::Path::new(&format!("/proc/{id}")).exists());
    drop(process);
    assert!(!std::path::Path::new(&format!("/proc/{id}")).exists());
}

#[test]
fn both_streams_and_the_status_are_kept() {
    let process = Process::spawn(Command::new("sh").args(["-c", "echo out; echo err >&2; exit 3"]));
    assert_eq!(process.line("err", Duration::from_secs(10)), "err");
    let Finished { status, mut lines } = process.finish(Duration::from_secs(10));
    lines.sort();
    assert_eq!(
        (status.code(), lines),
        (Some(3), vec!["err".to_owned(), "out".to_owned()])
    );
}
