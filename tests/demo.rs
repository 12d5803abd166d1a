//! `heapship demo`: the whole job with the real executables, and a foreign parser that opens its dump.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::support::java::jdks;

fn demo(arguments: &[&str], java_home: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_heapship"))
        .arg("demo")
        .args(arguments)
        .env("JAVA_HOME", java_home)
        .output()
        .unwrap()
}

/// The newest runtime that has a compiler.
fn jdk() -> PathBuf {
    let with_compiler = jdks()
        .iter()
        .rev()
        .find(|jdk| jdk.home.join("bin/javac").exists());
    with_compiler.expect("a JDK with javac: make setup").home.clone()
}

fn records(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(records(&path));
        } else if path.extension().is_some_and(|extension| extension == "json") {
            found.push(path);
        }
    }
    found
}

#[test]
fn both_dumps_are_shipped_and_another_parser_finds_the_leak_on_top() {
    let folder = tempfile::tempdir().unwrap();
    let output = demo(&["--keep", folder.path().to_str().unwrap()], &jdk());
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    for said in [
        "Dumping heap to …/volumes/heapship-dumps/app/java_pid",
        "Terminating due to java.lang.OutOfMemoryError: Java heap space",
        "x Leak$Request",
        "Leak.main(Leak.java:",
        "x Orders$Order",
    ] {
        assert!(text.contains(said), "{said:?} is missing in\n{text}");
    }

    let mut facts: Vec<(Value, PathBuf)> = records(&folder.path().join("volumes/heapship-store"))
        .into_iter()
        .map(|record| {
            let facts: Value = serde_json::from_slice(&std::fs::read(&record).unwrap()).unwrap();
            (facts, record.with_extension(""))
        })
        .collect();
    facts.sort_by_key(|(facts, _)| facts["reason"].as_str().unwrap().to_owned());
    let reasons: Vec<&str> = facts
        .iter()
        .map(|(facts, _)| facts["reason"].as_str().unwrap())
        .collect();
    assert_eq!(reasons, ["oom", "pre-stop-live"]);
    for (facts, _) in &facts {
        assert_eq!(facts["completeness"], "complete", "{facts:#}");
        assert_eq!(facts["cluster"], "demo");
    }

    let oracle = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/oracle.sh");
    let (_, dump) = facts.first().unwrap();
    let opened = Command::new(oracle)
        .arg(dump)
        .arg("1")
        .env("JAVA_HOME", jdk())
        .output()
        .unwrap();
    let top = String::from_utf8_lossy(&opened.stdout);
    assert!(
        opened.status.success(),
        "{}",
        String::from_utf8_lossy(&opened.stderr)
    );
    assert!(top.starts_with("Leak$Request\t"), "{top}");
}

#[test]
fn a_folder_with_something_in_it_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let precious = folder.path().join("policy.yaml");
    std::fs::write(&precious, "mine").unwrap();
    let output = demo(&["--keep", folder.path().to_str().unwrap()], &jdk());
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("it is not empty; give --keep a new folder"),
        "{said}"
    );
    assert_eq!(std::fs::read_to_string(&precious).unwrap(), "mine");
}

#[test]
fn without_a_jdk_it_says_what_to_install() {
    let empty = tempfile::tempdir().unwrap();
    let output = demo(&[], empty.path());
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("holds no JDK (bin/javac); set --java-home or JAVA_HOME to one"),
        "{said}"
    );
}
