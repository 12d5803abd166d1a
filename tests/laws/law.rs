//! The laws, each by its name. Their oracles know Kubernetes and HotSpot, and nothing of how heapship decides.

use std::collections::BTreeSet;

use heapship::inject::Decision;
use serde_json::Value;

use crate::case::{Case, Trial};

pub(crate) mod neighbours;
mod options;
mod patch;
pub(crate) mod pod_security;
pub(crate) mod qos;
mod references;
mod undo;
mod untouched;
mod valid;

/// What a law has against a pod: nothing, or sentences.
pub(crate) type Faults = Vec<String>;

/// A law's name and its check.
pub(crate) type Law = (&'static str, fn(&Trial<'_>, &mut Faults));

pub(crate) const LAWS: &[Law] = &[
    ("the patch applies, and only adds", patch::applies),
    (
        "applied twice is applied once, with the same words",
        patch::is_idempotent,
    ),
    ("a pod that is left alone keeps its spec", patch::leaves_alone),
    (
        "nothing outside the named places changes, byte for byte",
        untouched::check,
    ),
    ("uninject gives the pod back, byte for byte", undo::check),
    ("the QoS class and what a quota demands stay", qos::check),
    ("the Pod Security level stays", pod_security::check),
    (
        "no reference is left unresolved, no other variable changes",
        references::check,
    ),
    ("the user's options all arrive, in order", options::arrive),
    (
        "a dump goes where an agent looks for it",
        options::dumps_are_found,
    ),
    ("the patched pod is valid", valid::check),
    ("the text of a manifest comes back", valid::text),
    (
        "the order of injection with a neighbour does not matter",
        neighbours::check,
    ),
];

/// Byte for byte: the order of members counts, which equality of values does not look at.
pub(crate) fn same_text(one: &Value, other: &Value) -> bool {
    let text = |value| serde_json::to_vec(value).unwrap();
    text(one) == text(other)
}

/// Which neighbour broke the law of neighbours: each is a finding of its own.
pub(crate) fn whose(law: &str, case: &Case) -> &'static str {
    if law.contains("neighbour") {
        neighbours::of(case).name
    } else {
        ""
    }
}

/// Containers of both lists with whether they are init containers.
pub(crate) fn containers(pod: &Value) -> impl Iterator<Item = (&Value, bool)> {
    [("initContainers", true), ("containers", false)]
        .into_iter()
        .flat_map(|(list, init)| {
            pod["spec"][list]
                .as_array()
                .into_iter()
                .flatten()
                .map(move |found| (found, init))
        })
}

pub(crate) fn container<'v>(pod: &'v Value, name: &str) -> Option<&'v Value> {
    containers(pod)
        .map(|(found, _)| found)
        .find(|found| found["name"] == name)
}

/// Names that the injection adds to a pod's init containers: those that were not there before.
pub(crate) fn added<'v>(trial: &'v Trial<'_>) -> Vec<&'v Value> {
    let before: BTreeSet<&str> = containers(trial.before())
        .filter_map(|(found, _)| found["name"].as_str())
        .collect();
    containers(trial.after())
        .map(|(found, _)| found)
        .filter(|found| found["name"].as_str().is_some_and(|name| !before.contains(name)))
        .collect()
}

pub(crate) fn injected(trial: &Trial<'_>) -> bool {
    trial.outcome.decision == Decision::Injected
}

/// The containers whose JVM was told something: those that see our volume. The status says so too, where it had room.
pub(crate) fn targets(pod: &Value) -> Vec<String> {
    let sees = |found: &Value| {
        let mounts = found["volumeMounts"].as_array();
        mounts
            .into_iter()
            .flatten()
            .any(|mount| mount["name"] == "heapship-dumps")
    };
    containers(pod)
        // By what it runs: an application's container may be called as ours are.
        .filter(|(found, _)| sees(found) && found["command"][1] != "ship")
        .filter_map(|(found, _)| found["name"].as_str())
        .map(str::to_owned)
        .collect()
}
