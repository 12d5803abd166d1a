//! Everything that a cluster holds, to be compared with what it held before.

use std::collections::BTreeMap;

use serde_json::Value;

use super::kubectl;

/// Every listable object of every namespace, by kind, namespace and name, without what changes by itself: events, leases,
/// the state of nodes, and versions.
pub fn take() -> BTreeMap<String, Value> {
    let kinds = kubectl::run(&["api-resources", "--verbs=list", "-o", "name"]);
    let kinds: Vec<&str> = kinds
        .lines()
        .filter(|kind| {
            ![
                "events",
                "events.events.k8s.io",
                "leases.coordination.k8s.io",
                "componentstatuses",
            ]
            .contains(kind)
        })
        .collect();
    let list = kubectl::run(&[
        "get",
        &kinds.join(","),
        "--all-namespaces",
        "-o",
        "json",
        "--ignore-not-found",
    ]);
    let list: Value = serde_json::from_str(&list).unwrap();
    let objects = list["items"].as_array().unwrap().iter().cloned();
    objects.map(|object| (title(&object), settled(object))).collect()
}

fn title(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let metadata = &object["metadata"];
    format!(
        "{} {}/{}",
        text(&object["kind"]),
        text(&metadata["namespace"]),
        text(&metadata["name"])
    )
}

fn settled(mut object: Value) -> Value {
    let is_a_node = object["kind"] == "Node";
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.retain(|key, _| !["resourceVersion", "managedFields", "generation"].contains(&key.as_str()));
    }
    if let Some(object) = object.as_object_mut().filter(|_| is_a_node) {
        object.remove("status");
    }
    object
}

/// What differs, for a person.
pub fn difference(before: &BTreeMap<String, Value>, after: &BTreeMap<String, Value>) -> Vec<String> {
    let gone = before
        .keys()
        .filter(|key| !after.contains_key(*key))
        .map(|key| format!("gone: {key}"));
    let left = after
        .keys()
        .filter(|key| !before.contains_key(*key))
        .map(|key| format!("left: {key}"));
    let changed = before.iter().filter_map(|(key, old)| {
        let new = after.get(key)?;
        (old != new).then(|| format!("changed: {key}\n{old}\n{new}"))
    });
    gone.chain(left).chain(changed).collect()
}
