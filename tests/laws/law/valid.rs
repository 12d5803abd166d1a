//! What the API server checks, and what people's own files must survive.

use std::collections::BTreeSet;

use heapship::inject::uninject;
use heapship::yaml;
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;

use super::{Faults, containers};
use crate::case::Trial;
use crate::openapi::openapi;

/// Of so many pods one is held against the whole `OpenAPI` document, or its text is written, edited and read: both take longer
/// than all other laws together.
const ONE_IN: u64 = 16;

pub(super) fn check(trial: &Trial<'_>, faults: &mut Faults) {
    let (before, after) = (trial.before(), trial.after());
    if consistent(before).is_empty() {
        faults.extend(consistent(after));
    }
    if trial.case.salt.is_multiple_of(ONE_IN) {
        let typed =
            |pod: &Value| serde_json::from_value::<Pod>(pod.clone()).map_err(|error| error.to_string());
        if let (Ok(_), Err(error)) = (typed(before), typed(after)) {
            faults.push(format!("it does not decode any more: {error}"));
        }
        if let Some(openapi) = openapi() {
            let old = openapi.faults(before);
            faults.extend(
                openapi
                    .faults(after)
                    .into_iter()
                    .filter(|fault| !old.contains(fault) && !fault.contains("ofTomorrow")),
            );
        }
    }
}

/// Nothing is there twice, nothing is mounted that is not there.
fn consistent(pod: &Value) -> Faults {
    let mut faults = Faults::new();
    let list = |value: &Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
    let mut volumes = BTreeSet::new();
    for volume in list(&pod["spec"], "volumes") {
        if !volumes.insert(volume["name"].clone().to_string()) {
            faults.push(format!("volume {} is there twice", volume["name"]));
        }
    }
    let mut names = BTreeSet::new();
    for (container, init) in containers(pod) {
        let name = &container["name"];
        let text = name.as_str().unwrap_or_default();
        if !names.insert(text) || text.len() > 63 || text.is_empty() {
            faults.push(format!("container {name} is there twice, or cannot be called so"));
        }
        let mut paths = BTreeSet::new();
        for mount in list(container, "volumeMounts") {
            if !volumes.contains(&mount["name"].to_string()) {
                faults.push(format!(
                    "container {name} mounts {}, which is no volume of the pod",
                    mount["name"]
                ));
            }
            if !paths.insert(mount["mountPath"].to_string()) {
                faults.push(format!(
                    "container {name} mounts two volumes at {}",
                    mount["mountPath"]
                ));
            }
            if !mount["subPath"].is_null() && !mount["subPathExpr"].is_null() {
                faults.push(format!(
                    "container {name}: {} has subPath and subPathExpr",
                    mount["mountPath"]
                ));
            }
        }
        for entry in list(container, "env") {
            if entry["value"].as_str().is_some_and(|text| !text.is_empty()) && !entry["valueFrom"].is_null() {
                faults.push(format!(
                    "container {name}: {} has value and valueFrom",
                    entry["name"]
                ));
            }
        }
        let plain_init = init && container["restartPolicy"] != "Always";
        let forbidden = ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"];
        if plain_init && forbidden.iter().any(|key| container[key].is_object()) {
            faults.push(format!("init container {name} has hooks or probes"));
        }
        let hook = container["lifecycle"]["preStop"].as_object();
        if hook.is_some_and(|hook| hook.values().filter(|handler| !handler.is_null()).count() > 1) {
            faults.push(format!("container {name} has two handlers in one hook"));
        }
        for probe in ["livenessProbe", "startupProbe"] {
            let grace = &container[probe]["terminationGracePeriodSeconds"];
            if grace.is_number() && grace.as_u64() < Some(1) {
                faults.push(format!("container {name}: {probe} has a grace of {grace}"));
            }
        }
    }
    faults
}

/// The text of a manifest is edited in place, and uninjected it is the same text.
pub(super) fn text(trial: &Trial<'_>, faults: &mut Faults) {
    if trial.case.salt % ONE_IN != 1
        || trial.case.copy
        || trial.before()["metadata"]["annotations"]
            .get("heapship.io/replaced")
            .is_some()
    {
        return;
    }
    let written = yaml::write(trial.before());
    let rewritten = |text: &str, pod: &Value| {
        let documents = yaml::read(text).map_err(|error| error.to_string())?;
        Ok::<_, String>(yaml::rewrite(text, &documents, std::slice::from_ref(pod)).text)
    };
    let there = rewritten(&written, trial.after());
    let back = there
        .clone()
        .and_then(|there| rewritten(&there, &uninject(trial.after())));
    match (there, back) {
        (Err(error), _) | (_, Err(error)) => faults.push(format!("what was written cannot be read: {error}")),
        (Ok(there), Ok(back)) => {
            // `key:` is how people write null, and the editor too.
            let plain = |text: &str| text.replace(": null\n", ":\n");
            if plain(&back) != plain(&written) {
                faults.push(format!("the text came back as\n{back}"));
            }
            if yaml::read(&there).is_ok_and(|documents| documents[0].value != *trial.after()) {
                faults.push(format!("the text says something else than the pod:\n{there}"));
            }
        }
    }
}
