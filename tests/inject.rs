//! What Kubernetes thinks of the pods in `tests/inject`: `src/inject/tests/cases.rs` says what a case is, and proves that
//! `patched.yaml` is what becomes of `pod.yaml`.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use heapship::inject::{KubernetesVersion, Note, Severity};
use heapship::yaml;
use serde_json::Value;

use crate::schema::openapi::openapi;

mod generated;
mod laws;

#[test]
fn what_nobody_asked_to_change_stays() {
    judge(laws::untouched);
}

#[test]
fn the_patched_pod_fits_kubernetes() {
    judge(|before, after, faults| {
        if let Err(error) = serde_json::from_value::<k8s_openapi::api::core::v1::Pod>(after.clone()) {
            faults.push(format!("it does not decode: {error}"));
        }
        laws::consistent(after, faults);
        if let Some(openapi) = openapi() {
            let known = openapi.faults(before);
            let ours = openapi.faults(after).into_iter();
            faults.extend(ours.filter(|fault| !known.contains(fault)));
        }
    });
}

/// Compares the pods of all cases, before and after, and fails with everything that was found.
fn judge(check: impl Fn(&Value, &Value, &mut Vec<String>)) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join("inject");
    let folders = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<PathBuf> = folders.filter(|path| path.is_dir()).collect();
    folders.sort();
    assert!(folders.len() > 20, "only {} cases were found", folders.len());
    let mut report = String::new();
    for folder in folders {
        let mut faults = Vec::new();
        check(
            &read(&folder.join("pod.yaml")),
            &read(&folder.join("patched.yaml")),
            &mut faults,
        );
        for fault in faults {
            writeln!(report, "{}: {fault}", folder.display()).unwrap();
        }
    }
    assert!(report.is_empty(), "\n{report}");
}

fn read(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let documents = yaml::read(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    documents[0].value.clone()
}

fn version(text: &str) -> KubernetesVersion {
    KubernetesVersion::parse(text).unwrap()
}

fn warnings(notes: &[Note]) -> Vec<&Note> {
    notes
        .iter()
        .filter(|note| note.severity == Severity::Warning)
        .collect()
}
