//! A pod's own text: where its containers stand, and which of them are ours.

use serde_json::{Value, json};

use crate::names;
use crate::patch::Place;

/// `spec`
pub(super) fn spec() -> Place {
    Place::root().key("spec")
}

/// Where a container stands, regular or init.
pub(super) fn container_place(pod: &Value, name: &str) -> Option<Place> {
    ["containers", "initContainers"].into_iter().find_map(|list| {
        let list = spec().key(list);
        let index = list
            .array(pod)
            .iter()
            .position(|container| container["name"] == name)?;
        Some(list.at(index))
    })
}

/// Whether a container is one of ours: by its name *and* by what it runs, never by a marker that a copy carries along.
#[must_use]
pub fn is_ours(container: &Value) -> bool {
    let runs = container["command"][0].as_str();
    bears_our_name(container)
        && runs.is_some_and(|program| [names::AGENT_IN_IMAGE, names::AGENT_IN_TOOLS].contains(&program))
}

/// Whether a container is called as one of ours is, whoever made it.
pub(super) fn bears_our_name(container: &Value) -> bool {
    container["name"].as_str().is_some_and(|name| {
        let mut numbered = [names::AGENT_CONTAINER, names::IMAGE_OPTIONS_CONTAINER]
            .into_iter()
            .filter_map(|ours| name.strip_prefix(ours));
        name == names::TOOLS_CONTAINER || numbered.any(|rest| rest.is_empty() || rest.starts_with('-'))
    })
}

/// `{name: …, valueFrom: {fieldRef: …}}`
pub(super) fn from_field(name: &str, field: &str) -> Value {
    json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": field}}})
}

/// Whether a volume is what remained of an injection: the pod's status tells of one, and nothing uses the volume. A name alone
/// proves nothing, and neither does a status that a copy may carry along.
pub(super) fn is_left_over(pod: &Value, volume: &str) -> bool {
    let status = pod["metadata"]["annotations"][names::STATUS].as_str();
    let status: Option<Value> = status.and_then(|status| serde_json::from_str(status).ok());
    let told = status.is_some_and(|status| status["decision"] == "injected");
    let mut mounts = ["initContainers", "containers", "ephemeralContainers"]
        .into_iter()
        .filter_map(|list| pod["spec"][list].as_array())
        .flatten()
        .filter_map(|container| container["volumeMounts"].as_array())
        .flatten();
    told && !mounts.any(|mount| mount["name"] == volume)
}

/// Whether anything of ours runs or is mounted in the pod: names of volumes alone prove nothing.
#[must_use]
pub fn carries_injection(pod: &Value) -> bool {
    let containers = ["initContainers", "containers"]
        .into_iter()
        .filter_map(|list| pod["spec"][list].as_array())
        .flatten();
    containers
        .into_iter()
        .any(|container| is_ours(container) || mounts_dumps(container))
}

/// Whether a container has our volume for dumps, where we mount it.
pub(super) fn mounts_dumps(container: &Value) -> bool {
    let mounts = container["volumeMounts"].as_array();
    mounts
        .into_iter()
        .flatten()
        .any(|mount| mount["name"] == names::DUMPS_VOLUME && mount["mountPath"] == names::DUMPS_PATH)
}
