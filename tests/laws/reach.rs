//! What a run has reached: a law that no pod comes near to proves nothing.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use heapship::inject::{Severity, catalogue};

use crate::case::Trial;
use crate::law::{neighbours, pod_security, qos};

/// What no pod can reach, and why.
const UNREACHABLE: [(&str, &str); 1] = [("skipped", "internal-error")];

/// Counts under a kind and a name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reach(BTreeMap<(&'static str, String), u64>);

impl Reach {
    fn count(&mut self, kind: &'static str, name: &str) {
        *self.0.entry((kind, name.to_owned())).or_default() += 1;
    }

    pub(crate) fn note(&mut self, trial: &Trial<'_>) {
        let outcome = &trial.outcome;
        self.count("decision", outcome.decision.label());
        if !outcome.decision.reason().is_empty() {
            self.count("skipped", outcome.decision.reason());
        }
        for note in &outcome.notes {
            let kind = match note.severity {
                Severity::Step => "step",
                Severity::Warning => "warning",
            };
            self.count(kind, note.code);
        }
        if outcome.decision.label() != "injected" {
            return;
        }
        // The laws tell these apart: each must have met all of them.
        self.count("QoS class", &format!("{:?}", qos::class(trial.before())));
        self.count(
            "Pod Security",
            &format!("{:?}", pod_security::level(trial.before())),
        );
        if trial.case.copy {
            self.count("pod", "a copy of an injected one");
        } else if neighbours::changes(trial.case) {
            self.count("neighbour", neighbours::of(trial.case).name);
        }
        let level = outcome.policy.as_ref().map_or("none", |_| "one");
        self.count("policy", level);
    }

    pub(crate) fn add(&mut self, other: Self) {
        for (key, count) in other.0 {
            *self.0.entry(key).or_default() += count;
        }
    }

    /// The table, and what is missing from it.
    pub(crate) fn table(&self) -> (String, Vec<String>) {
        let mut counts = self.0.clone();
        for (kind, name) in expected() {
            counts.entry((kind, name)).or_default();
        }
        let mut table = String::new();
        let mut missing = Vec::new();
        for ((kind, name), count) in counts {
            writeln!(table, "{count:>8}  {kind}: {name}").unwrap();
            let excused = UNREACHABLE.iter().any(|(of, code)| *of == kind && *code == name);
            if count == 0 && !excused {
                missing.push(format!("{kind}: {name}"));
            }
        }
        (table, missing)
    }
}

/// Everything that has a name.
fn expected() -> Vec<(&'static str, String)> {
    let mut all: Vec<(&'static str, String)> = Vec::new();
    let mut of = |kind, names: Vec<String>| all.extend(names.into_iter().map(|name| (kind, name)));
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    of("decision", owned(&["injected", "skipped", "not-asked"]));
    of(
        "skipped",
        catalogue::SKIPPED
            .iter()
            .map(|entry| entry.code.to_owned())
            .collect(),
    );
    of(
        "warning",
        catalogue::WARNINGS
            .iter()
            .map(|entry| entry.code.to_owned())
            .collect(),
    );
    of("step", steps());
    of("QoS class", owned(&["BestEffort", "Burstable", "Guaranteed"]));
    of("Pod Security", owned(&["Privileged", "Baseline", "Restricted"]));
    of("neighbour", neighbours::names());
    of("policy", owned(&["none", "one"]));
    all
}

/// The codes of the steps, which no page lists: read from the sources that take them.
fn steps() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/inject");
    let mut codes: Vec<String> = sources(&folder).iter().flat_map(|text| codes_in(text)).collect();
    codes.sort();
    codes.dedup();
    assert!(codes.len() > 5, "only {codes:?} were found");
    codes
}

fn sources(folder: &Path) -> Vec<String> {
    let entries: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    let (folders, files): (Vec<PathBuf>, Vec<PathBuf>) = entries.into_iter().partition(|path| path.is_dir());
    let below = folders.iter().flat_map(|folder| sources(folder));
    files
        .into_iter()
        .map(|file| fs::read_to_string(file).unwrap())
        .chain(below)
        .collect()
}

fn codes_in(text: &str) -> Vec<String> {
    let calls = text.split(".step(").skip(1);
    let quoted = |call: &str| Some(call.trim_start().strip_prefix('"')?.split_once('"')?.0.to_owned());
    calls.filter_map(quoted).collect()
}
