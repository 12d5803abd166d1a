//! The patch itself, and its fixed point.

use heapship::inject::{Decision, Note, Severity};
use serde_json::{Value, json};

use super::Faults;
use crate::case::Trial;

/// `test` would make the API server reject the pod, `replace` and `remove` lose what others wrote meanwhile.
pub(super) fn applies(trial: &Trial<'_>, faults: &mut Faults) {
    let mut pod = trial.before().clone();
    match json_patch::patch(&mut pod, &trial.outcome.patch) {
        Ok(()) if pod == *trial.after() => {}
        Ok(()) => faults.push("the patch makes another pod".to_owned()),
        Err(error) => faults.push(format!("it does not apply: {error}")),
    }
    for operation in json!(trial.outcome.patch).as_array().into_iter().flatten() {
        if operation["op"] != "add" {
            faults.push(format!("an operation does not add: {operation}"));
        }
    }
}

pub(super) fn is_idempotent(trial: &Trial<'_>, faults: &mut Faults) {
    let second = trial.case.inject(trial.after());
    if !second.patch.0.is_empty() || second.pod != *trial.after() {
        faults.push(format!("the second pass has operations: {}", json!(second.patch)));
    }
    if second.decision != trial.outcome.decision {
        faults.push(format!(
            "the second pass decided {:?}, the first {:?}",
            second.decision, trial.outcome.decision
        ));
    }
    let warnings = |notes: &[Note]| -> Vec<Note> {
        notes
            .iter()
            .filter(|note| note.severity == Severity::Warning)
            .cloned()
            .collect()
    };
    let (said, again) = (warnings(&trial.outcome.notes), warnings(&second.notes));
    if said != again {
        faults.push(format!("the second pass warned {again:?}, the first {said:?}"));
    }
}

pub(super) fn leaves_alone(trial: &Trial<'_>, faults: &mut Faults) {
    let (before, after) = (trial.before(), trial.after());
    let traceless = match &trial.outcome.decision {
        Decision::Injected => return,
        Decision::NotAsked => true,
        Decision::Skipped(skip) => {
            if skip.label() == "internal-error" {
                faults.push(skip.to_string());
            }
            skip.leaves_no_trace()
        }
    };
    if traceless && (after != before || !trial.outcome.patch.0.is_empty()) {
        faults.push("nobody asked, or nothing may be written, and yet the pod changed".to_owned());
    }
    let rest = |pod: &Value| {
        let mut pod = pod.clone();
        let annotations = pod
            .pointer_mut("/metadata/annotations")
            .and_then(Value::as_object_mut);
        if let Some(annotations) = annotations {
            annotations.shift_remove("heapship.io/status");
            annotations.shift_remove("heapship.io/replaced");
        }
        // A map that was missing may be there, and empty but for ours.
        if pod["metadata"]["annotations"]
            .as_object()
            .is_none_or(serde_json::Map::is_empty)
            && let Some(metadata) = pod["metadata"].as_object_mut()
        {
            metadata.shift_remove("annotations");
        }
        pod.to_string()
    };
    if rest(before) != rest(after) {
        faults.push(format!(
            "left alone, and yet more than the status changed: {after}"
        ));
    }
}
