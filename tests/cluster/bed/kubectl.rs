//! What people type. Its warnings are what they see.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use super::{SOON, wait};

/// Runs kubectl and returns what it printed.
///
/// # Panics
/// When it fails, with both streams.
#[track_caller]
pub fn run(arguments: &[&str]) -> String {
    let output = output(arguments, "");
    assert!(
        output.status.success(),
        "kubectl {}: {}{}",
        arguments.join(" "),
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// Runs kubectl with text on its standard input, whatever becomes of it.
#[track_caller]
pub fn output(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new("kubectl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("kubectl is in PATH: scripts/e2e.sh puts it there");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// `kubectl apply -f -`; returns the warnings.
#[track_caller]
pub fn apply(manifests: &str) -> Vec<String> {
    apply_with(&["apply", "-f", "-"], manifests)
}

/// The same, for objects that name no namespace.
#[track_caller]
pub fn apply_in(namespace: &str, manifests: &str) -> Vec<String> {
    apply_with(&["-n", namespace, "apply", "-f", "-"], manifests)
}

#[track_caller]
pub fn apply_with(arguments: &[&str], manifests: &str) -> Vec<String> {
    let output = output(arguments, manifests);
    let said = text(&output.stderr);
    assert!(output.status.success(), "kubectl apply: {said}\n{manifests}");
    said.lines().map(str::to_owned).collect()
}

#[track_caller]
pub fn until_there(namespace: &str, kind: &str, name: &str) {
    wait::until(&format!("{kind}/{name} in {namespace}"), SOON, || {
        output(&["-n", namespace, "get", kind, name], "")
            .status
            .success()
            .then_some(())
    });
}

/// Prints what one wants to know of a test that failed.
pub fn describe(namespace: &str) {
    for arguments in [
        &["-n", namespace, "get", "pods", "-o", "wide"][..],
        &["-n", namespace, "get", "pods", "-o", "yaml"],
        &["-n", namespace, "get", "events", "--sort-by=.lastTimestamp"],
        &[
            "-n",
            namespace,
            "logs",
            "--prefix",
            "--all-containers",
            "--ignore-errors",
            "--tail=60",
            "-l",
            "e2e=yes",
        ],
    ] {
        let output = output(arguments, "");
        println!(
            "--- kubectl {}\n{}{}",
            arguments.join(" "),
            text(&output.stdout),
            text(&output.stderr)
        );
    }
}

/// Asks for its end and does not wait.
pub fn delete_namespace(namespace: &str) {
    drop(output(&["delete", "namespace", namespace, "--wait=false"], ""));
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
