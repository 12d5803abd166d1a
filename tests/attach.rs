//! `heapship-agent jmap` and `jps` against real JVMs.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use rustix::process::Signal;

use crate::support::java::{self, Jdk};
use crate::support::process::Process;

const SOON: Duration = Duration::from_mins(1);

/// What a run of the toolbox printed and how it ended.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    #[track_caller]
    pub(crate) fn done(self) -> String {
        assert_eq!(self.code, Some(0), "{}", self.err);
        self.out
    }

    #[track_caller]
    pub(crate) fn refused(self, code: i32, reason: &str) {
        assert_eq!(self.code, Some(code), "{}{}", self.out, self.err);
        assert!(self.err.contains(reason), "{}", self.err);
        assert_eq!(
            self.err.trim_end().lines().count(),
            1,
            "one sentence: {}",
            self.err
        );
    }
}

pub(crate) fn agent(arguments: &[&str]) -> Ran {
    ran(&mut command(arguments))
}

pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_heapship-agent"));
    command.args(arguments).env_remove("HEAPSHIP_POD_IP");
    command
}

pub(crate) fn ran(command: &mut Command) -> Ran {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran {
        code: status.code(),
        out: text(stdout),
        err: text(stderr),
    }
}

/// An idle JVM with so many megabytes of live data, past its start.
pub(crate) fn idle(jdk: &Jdk, options: &[&str], megabytes: u32) -> Process {
    let mut command = jdk.command();
    command.args(options).arg("Idle").arg(megabytes.to_string());
    let jvm = Process::spawn(&mut command);
    jvm.line("ready", SOON);
    jvm
}

pub(crate) fn ordinary_jdk() -> &'static Jdk {
    java::ordinary()
}

fn jmap(option: &str, jvm: &Process) -> Ran {
    agent(&["jmap", option, &jvm.id().to_string()])
}

#[track_caller]
fn assert_unharmed(jvm: &mut Process) {
    assert!(jvm.is_running(), "it ended: {}", jvm.lines().join("\n"));
    assert!(
        !jvm.lines().iter().any(|line| line.contains("thread dump")),
        "{}",
        jvm.lines().join("\n")
    );
}

/// A whole dump with the class of the test program in it.
#[track_caller]
pub(crate) fn assert_dump(file: &Path) {
    let bytes = fs::read(file).unwrap();
    assert!(bytes.starts_with(b"JAVA PROFILE 1.0.2\0"), "{}", file.display());
    assert!(
        bytes.ends_with(&[0x2c, 0, 0, 0, 0, 0, 0, 0, 0]),
        "{} has no end",
        file.display()
    );
    assert!(
        bytes.windows(12).any(|window| window == b"Idle$Ballast"),
        "{}",
        file.display()
    );
}

#[test]
fn dumps_and_counts_on_every_jvm() {
    for jdk in java::jdks() {
        let mut jvm = idle(jdk, &[], 5);
        let dir = tempfile::tempdir().unwrap();
        for (options, name) in [
            ("live,format=b", "live.hprof"),
            ("all,format=b", "all.hprof"),
            ("format=b", "x.hprof"),
        ] {
            let file = dir.path().join(name);
            let said = jmap(&format!("-dump:{options},file={}", file.display()), &jvm).done();
            assert_dump(&file);
            let size = fs::metadata(&file).unwrap().len();
            assert!(
                said.contains(&format!("{}: {size} bytes in ", file.display())),
                "JDK {}: {said}",
                jdk.major
            );
        }
        for option in ["-histo", "-histo:live", "-histo:all"] {
            let histogram = jmap(option, &jvm).done();
            let ballast = histogram
                .lines()
                .find(|line| line.contains("Idle$Ballast"))
                .unwrap();
            assert_eq!(
                ballast.split_whitespace().nth(1),
                Some("5"),
                "JDK {}: {ballast}",
                jdk.major
            );
            // Its five megabytes of byte arrays are what fills this heap.
            assert!(
                histogram.lines().nth(2).unwrap().contains("[B"),
                "JDK {}: {histogram}",
                jdk.major
            );
        }
        assert_unharmed(&mut jvm);
    }
}

#[test]
fn a_file_that_exists_is_left_alone_and_named() {
    for jdk in java::jdks() {
        let mut jvm = idle(jdk, &[], 1);
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("there.hprof");
        fs::write(&file, "precious").unwrap();
        jmap(&format!("-dump:file={}", file.display()), &jvm).refused(3, "File exists");
        assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
        assert_unharmed(&mut jvm);
    }
}

#[test]
fn a_directory_that_is_missing_is_the_jvms_complaint() {
    let jvm = idle(ordinary_jdk(), &[], 1);
    jmap("-dump:file=/nowhere/at/all.hprof", &jvm).refused(3, "No such file or directory");
}

#[test]
fn a_relative_file_is_ours_to_resolve() {
    let jvm = idle(ordinary_jdk(), &[], 1);
    let dir = tempfile::tempdir().unwrap();
    let mut here = command(&["jmap", "-dump:file=here.hprof", &jvm.id().to_string()]);
    ran(here.current_dir(dir.path())).done();
    assert_dump(&dir.path().join("here.hprof"));
}

#[test]
fn a_dump_is_taken_although_nobody_reads_what_is_said_about_it() {
    let jvm = idle(ordinary_jdk(), &[], 1);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.hprof");
    let mut command = command(&[
        "jmap",
        &format!("-dump:file={}", file.display()),
        &jvm.id().to_string(),
    ]);
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    assert!(command.stdout(full).status().unwrap().success());
    assert_dump(&file);
}

#[test]
fn a_fifo_in_the_place_of_the_trigger_neither_blocks_nor_stays_unnoticed() {
    let jvm = idle(ordinary_jdk(), &["-XX:-UsePerfData"], 1);
    let place = format!("/tmp/.attach_pid{}", jvm.id());
    assert!(Command::new("mkfifo").arg(&place).status().unwrap().success());
    // The JVM's working directory does as well.
    let ran = jmap("-histo", &jvm);
    fs::remove_file(&place).unwrap();
    assert!(ran.done().contains("Idle$Ballast"));
}

#[test]
fn compresses_inside_the_jvm_where_it_can() {
    let jvm = idle(ordinary_jdk(), &[], 1);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.hprof.gz");
    jmap(&format!("-dump:file={},gz=1", file.display()), &jvm).done();
    assert!(fs::read(&file).unwrap().starts_with(&[0x1f, 0x8b]));
}

#[test]
fn a_process_that_is_no_jvm_is_refused_and_lives() {
    let mut sleep = Process::spawn(Command::new("sleep").arg("600"));
    jmap("-histo", &sleep).refused(3, "(sleep) is not a JVM");
    assert!(sleep.is_running());
}

#[test]
fn a_pid_that_is_not_there_is_a_wrong_input() {
    let mut sleep = Process::spawn(Command::new("sleep").arg("600"));
    sleep.kill();
    jmap("-histo", &sleep).refused(2, "there is no process");
}

const NOBODY: u32 = 65_534;

/// A folder with a copy of the agent, because the build's folder may be closed to others; and a command that runs it.
fn as_nobody(arguments: &[&str]) -> (tempfile::TempDir, Command) {
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("agent");
    fs::copy(env!("CARGO_BIN_EXE_heapship-agent"), &copy).unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(copy);
    command.args(arguments).uid(NOBODY).gid(NOBODY).current_dir("/");
    (dir, command)
}

#[test]
fn a_java_that_cannot_be_looked_into_is_listed_as_such() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("NOT RUN: only root can start a process that is closed to its own user");
        return;
    }
    let (dir, mut jps) = as_nobody(&["jps"]);
    // The kernel closes a process whose executable its user may not read.
    let java = dir.path().join("java");
    fs::copy("/bin/sleep", &java).unwrap();
    fs::set_permissions(&java, fs::Permissions::from_mode(0o711)).unwrap();
    let closed = Process::spawn(Command::new(java).arg("600").uid(NOBODY).gid(NOBODY));
    let listed = ran(&mut jps).done();
    let line = format!("{} -- cannot be looked into: not served", closed.id());
    assert!(listed.lines().any(|found| found == line), "{listed}");
}

#[test]
fn another_users_process_is_refused_with_both_uids() {
    // Whoever runs the tests: this is a JVM of somebody else, or pid 1 is.
    if rustix::process::geteuid().is_root() {
        let jvm = idle(ordinary_jdk(), &[], 1);
        let (_dir, mut stranger) = as_nobody(&["jmap", "-histo", &jvm.id().to_string()]);
        ran(&mut stranger).refused(3, "belongs to uid 0 and this is uid 65534");
    } else {
        agent(&["jmap", "-histo", "1"]).refused(3, "belongs to uid 0 and this is uid");
    }
}

#[test]
fn a_jvm_without_signal_handlers_is_served_by_the_socket_it_opens_at_start() {
    for jdk in java::jdks() {
        let mut jvm = idle(jdk, &["-Xrs"], 1);
        assert!(
            jmap("-histo", &jvm).done().contains("Idle$Ballast"),
            "JDK {}",
            jdk.major
        );
        assert_unharmed(&mut jvm);
    }
}

#[test]
fn a_jvm_that_would_die_of_the_signal_is_refused_and_lives() {
    let mut jvm = idle(ordinary_jdk(), &["-Xrs"], 1);
    fs::remove_file(format!("/tmp/.java_pid{}", jvm.id())).unwrap();
    jmap("-histo", &jvm).refused(3, "does not catch SIGQUIT");
    assert_unharmed(&mut jvm);
}

#[test]
fn a_jvm_that_lets_nobody_attach_is_refused_and_prints_nothing() {
    for jdk in java::jdks() {
        // Without counters only its command line and its environment can tell.
        for options in [
            &["-XX:+DisableAttachMechanism"][..],
            &["-XX:+DisableAttachMechanism", "-XX:-UsePerfData"],
        ] {
            let mut jvm = idle(jdk, options, 1);
            jmap("-histo", &jvm).refused(3, "DisableAttachMechanism");
            assert_unharmed(&mut jvm);
        }
    }
    let mut command = ordinary_jdk().command();
    command
        .env(
            "JAVA_TOOL_OPTIONS",
            "-XX:-UsePerfData '-XX:+DisableAttachMechanism'",
        )
        .args(["Idle", "1"]);
    let mut jvm = Process::spawn(&mut command);
    jvm.line("ready", SOON);
    jmap("-histo", &jvm).refused(3, "DisableAttachMechanism");
    assert_unharmed(&mut jvm);
}

#[test]
fn a_jvm_in_its_first_milliseconds_survives_every_attempt() {
    for attempt in 0..30 {
        let jdks = java::jdks();
        let jdk = &jdks[attempt % jdks.len()];
        let mut command = jdk.command();
        let mut jvm = Process::spawn(command.args(["Idle", "1"]));
        let ran = jmap("-histo", &jvm);
        assert_eq!(
            ran.code,
            Some(0),
            "JDK {}, attempt {attempt}: {}",
            jdk.major,
            ran.err
        );
        jvm.line("ready", SOON);
        assert_unharmed(&mut jvm);
    }
}

#[test]
fn a_stopped_jvm_is_left_alone() {
    let jvm = idle(ordinary_jdk(), &[], 1);
    jvm.signal(Signal::STOP);
    jmap("-histo", &jvm).refused(3, "is stopped");
    jvm.signal(Signal::CONT);
    jmap("-histo", &jvm).done();
}

#[test]
fn a_socket_left_by_a_dead_jvm_does_not_stand_in_the_way() {
    let mut jvm = idle(ordinary_jdk(), &[], 1);
    let socket = format!("/tmp/.java_pid{}", jvm.id());
    drop(UnixListener::bind(&socket).unwrap());
    jmap("-histo", &jvm).done();
    // And one that a cleaner of /tmp has removed is made again.
    fs::remove_file(&socket).unwrap();
    jmap("-histo", &jvm).done();
    assert_unharmed(&mut jvm);
}

#[test]
fn what_is_not_a_socket_is_not_talked_to() {
    let jvm = idle(ordinary_jdk(), &[], 1);
    let planted = format!("/tmp/.java_pid{}", jvm.id());
    fs::write(&planted, "").unwrap();
    jmap("-histo", &jvm).refused(3, "is not the socket of the JVM");
    fs::remove_file(planted).unwrap();
}

#[test]
fn a_working_directory_that_takes_no_file_does_not_matter() {
    let mut command = ordinary_jdk().command();
    let mut jvm = Process::spawn(command.current_dir("/proc").args(["Idle", "1"]));
    jvm.line("ready", SOON);
    jmap("-histo", &jvm).done();
    assert!(!Path::new(&format!("/tmp/.attach_pid{}", jvm.id())).exists());
    assert_unharmed(&mut jvm);
}

#[test]
fn two_jvms_are_dumped_at_once_and_told_apart() {
    let newest = java::jdks().last().unwrap();
    let [first, second] = [idle(ordinary_jdk(), &[], 3), idle(newest, &[], 3)];
    let dir = tempfile::tempdir().unwrap();
    let dump = |jvm: &Process| {
        let file = dir.path().join(format!("{}.hprof", jvm.id()));
        jmap(&format!("-dump:live,file={}", file.display()), jvm).done();
        assert_dump(&file);
    };
    std::thread::scope(|scope| {
        scope.spawn(|| dump(&first));
        scope.spawn(|| dump(&second));
    });

    for arguments in [&["jmap", "-histo"][..], &["jmap", "-histo", "auto"]] {
        let undecided = agent(arguments);
        assert_eq!(undecided.code, Some(2));
        for jvm in [&first, &second] {
            assert!(
                undecided.err.contains(&format!("\n  {} Idle", jvm.id())),
                "{}",
                undecided.err
            );
        }
    }
}

#[test]
fn jps_names_every_jvm_with_and_without_counters() {
    let with = idle(ordinary_jdk(), &["-Xmx64m"], 1);
    let without = idle(ordinary_jdk(), &["-Xmx65m", "-XX:-UsePerfData"], 1);
    let listed = agent(&["jps"]).done();
    let detailed = agent(&["jps", "-lmv"]).done();
    for (jvm, heap) in [(&with, "-Xmx64m"), (&without, "-Xmx65m")] {
        assert!(
            listed.lines().any(|line| line == format!("{} Idle", jvm.id())),
            "{listed}"
        );
        let line = detailed
            .lines()
            .find(|line| line.starts_with(&format!("{} Idle 1", jvm.id())));
        assert!(line.unwrap().contains(heap), "{detailed}");
    }
    assert!(
        agent(&["jps", "-q"])
            .done()
            .lines()
            .any(|line| line == with.id().to_string())
    );
}

#[test]
fn wrong_words_are_answered_with_what_is_right() {
    for words in [
        &["jmap", "-clstats"][..],
        &["jmap", "-dump", "1"],
        &["jmap", "-dump:live", "1"],
        &["jmap", "-histo", "x"],
    ] {
        let ran = agent(words);
        assert_eq!(ran.code, Some(2), "{words:?}: {}", ran.err);
        assert!(ran.err.starts_with("heapship-agent: "), "{}", ran.err);
    }
}
