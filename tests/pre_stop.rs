//! `heapship-agent pre-stop`, as the kubelet would run it, against real JVMs.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::attach::{Ran, assert_dump, command, idle, ordinary_jdk, ran};
use crate::support::java;
use crate::support::process::Process;
use crate::support::wait::until;

const GRACE: &[&str] = &[
    "--grace",
    "600s",
    "--application-share",
    "30s",
    "--upload-grace",
    "30s",
];

fn hook(dir: &Path, jvms: &[&Process], more: &[&str]) -> Ran {
    hook_within(GRACE, dir, jvms, more)
}

fn hook_within(grace: &[&str], dir: &Path, jvms: &[&Process], more: &[&str]) -> Ran {
    let mut command = command(&["pre-stop", "--dump", "live", "--dir"]);
    command.arg(dir).args(grace);
    // This machine is not a container: other tests' JVMs, or a developer's, run beside ours.
    for jvm in jvms {
        command.arg("--pid").arg(jvm.id().to_string());
    }
    ran(command.args(more))
}

fn dumps(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries
        .filter(|path| path.extension().is_some_and(|extension| extension == "hprof"))
        .collect()
}

fn journal(dir: &Path) -> String {
    fs::read_to_string(dir.join(".pre-stop.log")).unwrap()
}

#[track_caller]
fn assert_said(ran: &Ran, dir: &Path, what: &str) {
    assert!(ran.err.contains(what), "{}", ran.err);
    assert!(journal(dir).contains(what), "{}", journal(dir));
}

#[test]
fn dumps_on_every_jvm_under_a_name_that_tells_the_reason() {
    for jdk in java::jdks() {
        for objects in ["live", "all"] {
            let jvm = idle(jdk, &["-XX:+StartAttachListener"], 2);
            let dir = tempfile::tempdir().unwrap();
            let mut command = command(&["pre-stop", "--dump", objects, "--dir"]);
            let pid = jvm.id().to_string();
            let ran = ran(command.arg(dir.path()).args(GRACE).args(["--pid", &pid]));
            assert_eq!(ran.code, Some(0), "{}", ran.err);
            let found = dumps(dir.path());
            assert_eq!(found.len(), 1, "JDK {}: {}", jdk.major, ran.err);
            assert_dump(&found[0]);
            let name = found[0].file_name().unwrap().to_str().unwrap();
            let time = name.strip_prefix(&format!("pre-stop-{objects}-{pid}-")).unwrap();
            // 20261125T211530123Z
            assert_eq!(time.len(), "20261125T211530123Z.hprof".len(), "{name}");
            assert_said(&ran, dir.path(), name);
        }
    }
}

#[test]
fn the_containers_own_hook_runs_on_the_side_of_the_dump_it_was_told() {
    for (order, dumped_when_it_ran) in [
        (&["--order", "before"][..], "1"),
        (&["--order", "after"], "0"),
        (&[], "1"),
    ] {
        let jvm = idle(ordinary_jdk(), &[], 1);
        let dir = tempfile::tempdir().unwrap();
        let script = format!(
            "ls {} | grep -c hprof; echo words >&2; exit 7",
            dir.path().display()
        );
        let ran = hook(
            dir.path(),
            &[&jvm],
            &[order, &["--", "sh", "-c", &script]].concat(),
        );
        assert_eq!(ran.code, Some(7), "its code is ours: {}", ran.err);
        assert_eq!(ran.out.trim(), dumped_when_it_ran, "{order:?}");
        assert!(ran.err.contains("words"), "{}", ran.err);
        assert_eq!(dumps(dir.path()).len(), 1);
    }
}

#[test]
fn a_sleep_is_slept_on_either_side() {
    for order in ["before", "after"] {
        let jvm = idle(ordinary_jdk(), &[], 1);
        let dir = tempfile::tempdir().unwrap();
        let begun = Instant::now();
        let ran = hook(
            dir.path(),
            &[&jvm],
            &["--order", order, "--sleep", "300ms", "--delay", "200ms"],
        );
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        assert!(begun.elapsed() >= Duration::from_millis(500));
        assert_eq!(dumps(dir.path()).len(), 1);
    }
}

#[test]
fn a_hook_that_cannot_be_run_fails_as_it_would_have_without_us() {
    let jvm = idle(ordinary_jdk(), &[], 1);
    let dir = tempfile::tempdir().unwrap();
    let ran = hook(dir.path(), &[&jvm], &["--", "/no/such/program"]);
    assert_eq!(ran.code, Some(127));
    assert_said(
        &ran,
        dir.path(),
        "cannot run the container's own hook /no/such/program",
    );
    assert_eq!(dumps(dir.path()).len(), 1);
}

#[test]
fn several_jvms_are_dumped_one_after_another() {
    let newest = java::jdks().last().unwrap();
    let [first, second] = [idle(ordinary_jdk(), &[], 1), idle(newest, &[], 1)];
    let dir = tempfile::tempdir().unwrap();
    let ran = hook(dir.path(), &[&first, &second], &[]);
    assert_eq!((ran.code, dumps(dir.path()).len()), (Some(0), 2), "{}", ran.err);
}

#[test]
fn a_repeated_hook_dumps_once() {
    let jvm = idle(ordinary_jdk(), &[], 1);
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(hook(dir.path(), &[&jvm], &[]).code, Some(0));
    let again = hook(dir.path(), &[&jvm], &["--", "sh", "-c", "exit 5"]);
    assert_eq!(again.code, Some(5));
    assert_said(&again, dir.path(), "an earlier run of this hook has dumped it");
    assert_eq!(dumps(dir.path()).len(), 1);
}

#[test]
fn a_dump_that_does_not_fit_into_the_grace_period_is_not_begun_and_said() {
    let jvm = idle(ordinary_jdk(), &[], 1);
    let dir = tempfile::tempdir().unwrap();
    let short = [
        "--grace",
        "60s",
        "--application-share",
        "30s",
        "--upload-grace",
        "30s",
    ];
    let ran = hook_within(&short, dir.path(), &[&jvm], &["--", "sh", "-c", "exit 4"]);
    assert_eq!(ran.code, Some(4));
    assert_said(&ran, dir.path(), "raise heapship.io/termination-grace-period");
    assert_eq!(dumps(dir.path()).len(), 0);
    // Nothing was dumped, so a later run of the hook may.
    assert_eq!(hook(dir.path(), &[&jvm], &[]).code, Some(0));
    assert_eq!(dumps(dir.path()).len(), 1);
}

#[test]
fn a_sleep_that_follows_counts_and_one_that_is_over_does_not() {
    let jvm = idle(ordinary_jdk(), &[], 1);
    let dir = tempfile::tempdir().unwrap();
    let grace = [
        "--grace",
        "20s",
        "--application-share",
        "2s",
        "--upload-grace",
        "2s",
    ];
    let ran = hook_within(&grace, dir.path(), &[&jvm], &["--delay", "15500ms"]);
    assert_said(&ran, dir.path(), "after a delay of 15s500ms");
    assert_eq!(dumps(dir.path()).len(), 0);
}

#[test]
fn a_directory_that_takes_no_file_is_said_and_fails_nothing() {
    let jvm = idle(ordinary_jdk(), &[], 1);
    for dir in ["/proc", "/no/such/directory"] {
        let ran = hook(Path::new(dir), &[&jvm], &[]);
        assert_eq!(ran.code, Some(0));
        assert!(
            ran.err.contains(&format!("cannot write to {dir} as uid")),
            "{}",
            ran.err
        );
    }
}

#[test]
fn what_cannot_be_dumped_is_said_and_fails_nothing() {
    let mut gone = idle(ordinary_jdk(), &[], 1);
    gone.kill();
    let deaf = idle(ordinary_jdk(), &["-XX:+DisableAttachMechanism"], 1);
    let sleep = Process::spawn(std::process::Command::new("sleep").arg("600"));
    for (process, reason) in [
        (&gone, "there is no process"),
        (&deaf, "DisableAttachMechanism"),
        (&sleep, "not a JVM"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let ran = hook(dir.path(), &[process], &[]);
        assert_eq!(ran.code, Some(0));
        assert_said(&ran, dir.path(), reason);
    }
}

#[test]
fn a_jvm_that_hangs_does_not_keep_the_containers_own_hook_from_running() {
    let jvm = idle(ordinary_jdk(), &["-XX:+StartAttachListener"], 1);
    jvm.signal(Signal::STOP);
    let dir = tempfile::tempdir().unwrap();
    let grace = [
        "--grace",
        "6s",
        "--application-share",
        "2s",
        "--upload-grace",
        "2s",
    ];
    let begun = Instant::now();
    let ran = hook_within(&grace, dir.path(), &[&jvm], &["--", "sh", "-c", "exit 9"]);
    assert_eq!(ran.code, Some(9), "{}", ran.err);
    assert!(
        begun.elapsed() < Duration::from_secs(6),
        "the application's share is its own"
    );
    assert_eq!(dumps(dir.path()).len(), 0);
}

#[test]
fn a_dump_that_takes_long_goes_on_beside_the_containers_own_hook() {
    let jvm = idle(ordinary_jdk(), &[], 1);
    let dir = tempfile::tempdir().unwrap();
    let grace = [
        "--grace",
        "60s",
        "--application-share",
        "2s",
        "--upload-grace",
        "2s",
        "--delay",
        "4s",
    ];
    let script = format!("ls {} | grep -c hprof; exit 6", dir.path().display());
    let ran = hook_within(&grace, dir.path(), &[&jvm], &["--", "sh", "-c", &script]);
    assert_eq!(ran.code, Some(6), "{}", ran.err);
    assert_eq!(
        ran.out.trim(),
        "0",
        "after a failed liveness probe it would never have run"
    );
    assert_said(&ran, dir.path(), "own hook begins now, beside the dump");
    assert_eq!(dumps(dir.path()).len(), 1);
}

#[test]
fn a_jvm_that_does_not_answer_is_asked_again_after_the_containers_own_hook() {
    let jvm = idle(ordinary_jdk(), &["-XX:+StartAttachListener"], 1);
    let dir = tempfile::tempdir().unwrap();
    // HotSpot serves one client after the other, and this one never finishes its request.
    let socket = format!("/tmp/.java_pid{}", jvm.id());
    let mut client = UnixStream::connect(&socket).unwrap();
    client.write_all(b"1").unwrap();
    let hook_ran = dir.path().join("hook-ran");
    let released = hook_ran.clone();
    let holder = thread::spawn(move || {
        until("the container's own hook runs", Duration::from_mins(1), || {
            released.exists().then_some(())
        });
        drop(client);
    });
    let touch = ["--", "touch", hook_ran.to_str().unwrap()];
    let ran = hook(dir.path(), &[&jvm], &touch);
    holder.join().unwrap();
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert_said(
        &ran,
        dir.path(),
        "it is asked again after the container's own hook",
    );
    assert_eq!(dumps(dir.path()).len(), 1, "{}", ran.err);
}

/// Answers so many connections with `answer` and gives back what was asked.
fn serve(listener: TcpListener, answers: Vec<&'static str>) -> JoinHandle<Vec<String>> {
    thread::spawn(move || {
        let serve_one = |answer: &str| {
            let (mut stream, _) = listener.accept().unwrap();
            converse(&mut stream, answer)
        };
        answers.into_iter().map(serve_one).collect()
    })
}

fn converse(stream: &mut (impl Read + Write), answer: &str) -> String {
    let mut asked = Vec::new();
    let mut buffer = [0; 1024];
    // A handshake in the place of a request ends with neither.
    while !asked.ends_with(b"\r\n\r\n") && !asked.starts_with(&[0x16]) {
        match stream.read(&mut buffer).unwrap() {
            0 => break,
            length => asked.extend(&buffer[..length]),
        }
    }
    stream.write_all(answer.as_bytes()).unwrap();
    stream.flush().unwrap();
    String::from_utf8_lossy(&asked).into_owned()
}

fn action(port: u16, more: &str) -> String {
    format!(r#"{{"path":"/drain?fast=1","port":{port}{more}}}"#)
}

#[test]
fn an_http_get_is_carried_out_as_the_kubelet_would() {
    for order in ["before", "after"] {
        let jvm = idle(ordinary_jdk(), &[], 1);
        let dir = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = serve(listener, vec!["HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno"]);
        let action = action(
            port,
            r#","scheme":"HTTP","httpHeaders":[{"name":"X-Token","value":"abc"}]"#,
        );
        let mut command = command(&[
            "pre-stop",
            "--dump",
            "live",
            "--order",
            order,
            "--http-get",
            &action,
            "--dir",
        ]);
        command
            .arg(dir.path())
            .args(GRACE)
            .args(["--pid", &jvm.id().to_string()])
            .env("HEAPSHIP_POD_IP", "127.0.0.1");
        let ran = ran(&mut command);
        assert_eq!(ran.code, Some(0), "the status does not matter: {}", ran.err);
        let asked = server.join().unwrap().remove(0);
        assert!(
            asked.starts_with(&format!(
                "GET /drain?fast=1 HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
            )),
            "{asked}"
        );
        assert!(
            asked.contains("\r\nUser-Agent: kube-lifecycle/") && asked.contains("\r\nX-Token: abc\r\n"),
            "{asked}"
        );
        assert_eq!(dumps(dir.path()).len(), 1);
    }
}

fn get(dir: &Path, action: &str) -> Ran {
    let mut gone = Process::spawn(std::process::Command::new("sleep").arg("600"));
    gone.kill();
    hook(dir, &[&gone], &["--http-get", action])
}

#[test]
fn redirects_are_followed_on_the_same_host_only() {
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = serve(
        listener,
        vec![
            "HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 302 Found\r\nLocation: http://192.0.2.1/never\r\nContent-Length: 0\r\n\r\n",
        ],
    );
    let ran = get(dir.path(), &action(port, r#","host":"127.0.0.1""#));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let asked = server.join().unwrap();
    assert!(
        asked[1].starts_with("GET /elsewhere HTTP/1.1\r\n"),
        "{}",
        asked[1]
    );
}

#[test]
fn https_that_meets_http_is_said_again_without_the_secret() {
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = serve(
        listener,
        vec![
            "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        ],
    );
    let headers =
        r#","host":"127.0.0.1","scheme":"HTTPS","httpHeaders":[{"name":"Authorization","value":"s3cret"}]"#;
    let ran = get(dir.path(), &action(port, headers));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let asked = server.join().unwrap();
    assert!(
        asked[1].starts_with("GET /drain?fast=1 HTTP/1.1\r\n"),
        "{}",
        asked[1]
    );
    assert!(!asked[1].contains("s3cret"));
}

#[test]
fn https_is_not_verified() {
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let made = rcgen::generate_simple_self_signed(vec!["somebody.else".to_owned()]).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![made.cert.der().clone()],
            PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap(),
        )
        .unwrap();
    let server = thread::spawn(move || {
        let (stream, _): (TcpStream, _) = listener.accept().unwrap();
        let mut stream = StreamOwned::new(ServerConnection::new(Arc::new(config)).unwrap(), stream);
        converse(&mut stream, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    });
    let headers =
        r#","host":"127.0.0.1","scheme":"HTTPS","httpHeaders":[{"name":"Authorization","value":"s3cret"}]"#;
    let ran = get(dir.path(), &action(port, headers));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(server.join().unwrap().contains("Authorization: s3cret"));
}

#[test]
fn an_http_get_that_reaches_nobody_fails_as_it_would_have_without_us() {
    let dir = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let ran = get(dir.path(), &action(port, r#","host":"127.0.0.1""#));
    assert_eq!(ran.code, Some(3));
    assert_said(&ran, dir.path(), "cannot connect to 127.0.0.1:");
    let ran = get(dir.path(), &action(port, ""));
    assert_eq!(ran.code, Some(3));
    assert_said(&ran, dir.path(), "HEAPSHIP_POD_IP is not set");
}
