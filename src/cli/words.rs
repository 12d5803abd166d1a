//! A changed pod in words, for people who do not read JSON Patch at three in the morning.

use serde_json::{Map, Value};

use crate::names;

/// Characters of a value that are shown; the manifest has the rest.
const SHOWN: usize = 300;

/// What differs between a pod and the pod after the patch, one sentence each, outermost first.
#[must_use]
pub fn changes(before: &Value, after: &Value) -> Vec<String> {
    let mut said = Vec::new();
    annotations(&mut said, before, after);
    maps(&mut said, "label ", before, after, "/metadata/labels");
    let (old, new) = (object(before, "/spec"), object(after, "/spec"));
    for key in keys(&old, &new) {
        match key.as_str() {
            "containers" | "initContainers" | "volumes" => {}
            _ => field(&mut said, "", &key, old.get(&key), new.get(&key)),
        }
    }
    named(
        &mut said,
        before,
        after,
        "/spec/volumes",
        |said, old, new| match (old, new) {
            (None, Some(volume)) => said.push(format!("adds the volume {}", volume_words(volume))),
            (Some(volume), None) => said.push(format!("removes the volume {}", volume_words(volume))),
            (Some(_), Some(volume)) => said.push(format!("changes the volume {}", volume_words(volume))),
            (None, None) => {}
        },
    );
    for (pointer, kind) in [
        ("/spec/initContainers", "init container"),
        ("/spec/containers", "container"),
    ] {
        named(&mut said, before, after, pointer, |said, old, new| {
            match (old, new) {
                (None, Some(new)) => said.push(format!("adds {}", container_words(kind, new))),
                (Some(old), None) => said.push(format!("removes {}", container_words(kind, old))),
                (Some(old), Some(new)) => container(said, kind, old, new),
                (None, None) => {}
            }
        });
    }
    said
}

/// The variables of a container that differ, as the process sees them: `NAME=value`, or where the kubelet gets it.
#[must_use]
pub fn environment(before: &Value, after: &Value) -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    for pointer in ["/spec/initContainers", "/spec/containers"] {
        named(&mut found, before, after, pointer, |found, old, new| {
            // Containers that are wholly ours are no JVMs.
            if let (Some(old), Some(new)) = (old, new) {
                let known = list(old, "/env");
                let entries = list(new, "/env").iter().filter(|entry| !known.contains(entry));
                let lines: Vec<String> = entries.map(variable).collect();
                if !lines.is_empty() {
                    found.push((name(new).to_owned(), lines));
                }
            }
        });
    }
    found
}

fn container(said: &mut Vec<String>, kind: &str, old: &Value, new: &Value) {
    let who = format!("{kind} {}: ", name(new));
    let known = list(old, "/env");
    for entry in list(new, "/env") {
        match known.iter().find(|known| name(known) == name(entry)) {
            Some(same) if same == entry || known.contains(entry) => {}
            Some(_) => said.push(format!("{who}changes the variable {}", variable(entry))),
            None => said.push(format!("{who}sets the variable {}", variable(entry))),
        }
    }
    for gone in known
        .iter()
        .filter(|known| list(new, "/env").iter().all(|entry| name(entry) != name(known)))
    {
        said.push(format!("{who}removes the variable {}", name(gone)));
    }
    let (known, mounts) = (list(old, "/volumeMounts"), list(new, "/volumeMounts"));
    said.extend(
        mounts
            .iter()
            .filter(|m| !known.contains(m))
            .map(|m| format!("{who}mounts {}", mount_words(m))),
    );
    said.extend(
        known
            .iter()
            .filter(|m| !mounts.contains(m))
            .map(|m| format!("{who}no longer mounts {}", mount_words(m))),
    );
    maps(said, &format!("{who}lifecycle."), old, new, "/lifecycle");
    let (old, new) = (object(old, ""), object(new, ""));
    for key in keys(&old, &new) {
        match key.as_str() {
            "env" | "volumeMounts" | "lifecycle" | "name" => {}
            _ => field(said, &who, &key, old.get(&key), new.get(&key)),
        }
    }
}

fn annotations(said: &mut Vec<String>, before: &Value, after: &Value) {
    let pointer = "/metadata/annotations";
    let without_notes = |pod: &Value| {
        let mut annotations = object(pod, pointer);
        let noted = [names::STATUS, names::REPLACED].map(|key| annotations.shift_remove(key));
        (Value::Object(annotations), noted)
    };
    let ((old, old_notes), (new, new_notes)) = (without_notes(before), without_notes(after));
    maps(said, "annotation ", &old, &new, "");
    let [status, replaced] = [0, 1].map(|index| old_notes.get(index) != new_notes.get(index));
    if status {
        said.push(format!("annotation {}: what was done", names::STATUS));
    }
    if replaced {
        said.push(format!(
            "annotation {}: what stood there before, for uninject",
            names::REPLACED
        ));
    }
}

/// The entries of a map that differ.
fn maps(said: &mut Vec<String>, what: &str, before: &Value, after: &Value, pointer: &str) {
    let (old, new) = (object(before, pointer), object(after, pointer));
    for key in keys(&old, &new) {
        field(said, what, &key, old.get(&key), new.get(&key));
    }
}

fn field(said: &mut Vec<String>, what: &str, key: &str, old: Option<&Value>, new: Option<&Value>) {
    match (old, new) {
        (old, new) if old == new => {}
        (None, Some(new)) => said.push(format!("{what}{key}: {}", short(new))),
        (Some(old), None) => said.push(format!("{what}{key}: removed, was {}", short(old))),
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            for inner in keys(old, new) {
                field(
                    said,
                    what,
                    &format!("{key}.{inner}"),
                    old.get(&inner),
                    new.get(&inner),
                );
            }
        }
        (Some(old), Some(new)) => said.push(format!("{what}{key}: {}, was {}", short(new), short(old))),
        (None, None) => {}
    }
}

/// Calls `visit` with the old and the new state of every item of a list of named things.
fn named<T>(
    said: &mut Vec<T>,
    before: &Value,
    after: &Value,
    pointer: &str,
    mut visit: impl FnMut(&mut Vec<T>, Option<&Value>, Option<&Value>),
) {
    let (old, new) = (list(before, pointer), list(after, pointer));
    for item in new {
        visit(
            said,
            old.iter()
                .find(|old| name(old) == name(item))
                .filter(|old| *old != item),
            Some(item).filter(|item| !old.contains(item)),
        );
    }
    for gone in old
        .iter()
        .filter(|old| new.iter().all(|item| name(item) != name(old)))
    {
        visit(said, Some(gone), None);
    }
}

fn container_words(kind: &str, container: &Value) -> String {
    let sidecar = container
        .get("restartPolicy")
        .is_some_and(|policy| policy == "Always");
    let kind = if sidecar { "sidecar" } else { kind };
    let image = container
        .get("image")
        .and_then(Value::as_str)
        .unwrap_or("no image");
    format!("the {kind} {}, image {image}", name(container))
}

fn volume_words(volume: &Value) -> String {
    let source = object(volume, "");
    let source = source.iter().find(|(key, _)| *key != "name");
    match source {
        Some((kind, Value::Object(details))) if details.is_empty() => format!("{}: {kind}", name(volume)),
        Some((kind, details)) => format!("{}: {kind} {}", name(volume), short(details)),
        None => name(volume).to_owned(),
    }
}

fn mount_words(mount: &Value) -> String {
    let text = |key| mount.get(key).and_then(Value::as_str);
    let folder = text("subPath").or_else(|| text("subPathExpr"));
    let folder = folder
        .map(|path| format!(", its folder {path}"))
        .unwrap_or_default();
    let read_only = if mount.get("readOnly") == Some(&Value::Bool(true)) {
        ", read-only"
    } else {
        ""
    };
    format!(
        "{} at {}{folder}{read_only}",
        name(mount),
        text("mountPath").unwrap_or("nowhere")
    )
}

fn variable(entry: &Value) -> String {
    match (entry.get("value"), entry.get("valueFrom")) {
        (_, Some(from)) => format!("{} from {}", name(entry), short(from)),
        (Some(Value::String(value)), None) => format!("{}={value}", name(entry)),
        (value, None) => format!("{}={}", name(entry), value.map(short).unwrap_or_default()),
    }
}

fn short(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

fn name(value: &Value) -> &str {
    value.get("name").and_then(Value::as_str).unwrap_or_default()
}

fn list<'v>(value: &'v Value, pointer: &str) -> &'v [Value] {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn object(value: &Value, pointer: &str) -> Map<String, Value> {
    value
        .pointer(pointer)
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default()
}

fn keys(old: &Map<String, Value>, new: &Map<String, Value>) -> Vec<String> {
    let gone = old.keys().filter(|key| !new.contains_key(*key));
    new.keys().chain(gone).cloned().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn before() -> Value {
        json!({"metadata": {}, "spec": {"containers": [{
            "name": "app",
            "env": [{"name": "A", "value": "1"}, {"name": "JAVA_TOOL_OPTIONS", "value": "-Xmx1g"}],
            "lifecycle": {"preStop": {"exec": {"command": ["bye"]}}},
        }]}})
    }

    fn after() -> Value {
        json!({"metadata": {"annotations": {"heapship.io/status": "done"}}, "spec": {
            "containers": [{
                "name": "app",
                "env": [
                    {"name": "UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
                    {"name": "A", "value": "1"},
                    {"name": "JAVA_TOOL_OPTIONS", "value": "-XX:+X -Xmx1g"},
                ],
                "lifecycle": {"preStop": {"exec": {"command": ["dump"]}}},
                "volumeMounts": [{"name": "dumps", "mountPath": "/dumps", "subPath": "app"}],
            }],
            "initContainers": [{"name": "agent", "image": "i:1", "restartPolicy": "Always"}],
            "volumes": [{"name": "dumps", "emptyDir": {}}],
            "terminationGracePeriodSeconds": 600,
        }})
    }

    #[test]
    fn every_change_is_a_sentence() {
        assert_eq!(
            changes(&before(), &after()),
            [
                "annotation heapship.io/status: what was done",
                "terminationGracePeriodSeconds: 600",
                "adds the volume dumps: emptyDir",
                "adds the sidecar agent, image i:1",
                "container app: sets the variable UID from {\"fieldRef\":{\"fieldPath\":\"metadata.uid\"}}",
                "container app: changes the variable JAVA_TOOL_OPTIONS=-XX:+X -Xmx1g",
                "container app: mounts dumps at /dumps, its folder app",
                "container app: lifecycle.preStop.exec.command: [\"dump\"], was [\"bye\"]",
            ]
        );
        assert_eq!(changes(&after(), &after()), Vec::<String>::new());
    }

    #[test]
    fn the_way_back_is_said_too() {
        let said = changes(&after(), &before());
        assert!(
            said.contains(&"removes the sidecar agent, image i:1".to_owned()),
            "{said:?}"
        );
        assert!(
            said.contains(&"container app: removes the variable UID".to_owned()),
            "{said:?}"
        );
    }

    #[test]
    fn the_environment_is_what_is_new_or_changed() {
        let lines = vec![
            "UID from {\"fieldRef\":{\"fieldPath\":\"metadata.uid\"}}".to_owned(),
            "JAVA_TOOL_OPTIONS=-XX:+X -Xmx1g".to_owned(),
        ];
        assert_eq!(environment(&before(), &after()), [("app".to_owned(), lines)]);
    }

    #[test]
    fn long_values_are_cut() {
        let mut long = after();
        long["metadata"]["annotations"]["a"] = json!("ü".repeat(1000));
        assert_eq!(
            changes(&after(), &long)[0],
            format!("annotation a: {}…", "ü".repeat(300))
        );
    }
}
