//! What holds for every pod, whatever was asked.

use std::collections::BTreeSet;

use serde_json::Value;

/// Everything of the pod is still there as it was, but for what the contract allows to replace.
pub(super) fn untouched(before: &Value, after: &Value, faults: &mut Vec<String>) {
    compare("pod", before, after, faults);
}

fn compare(path: &str, before: &Value, after: &Value, faults: &mut Vec<String>) {
    if before == after || may_be_replaced(path) {
        return;
    }
    match (before, after) {
        (Value::Object(old), Value::Object(new)) => {
            for (key, value) in old {
                match new.get(key) {
                    Some(now) => compare(&format!("{path}.{key}"), value, now, faults),
                    None => faults.push(format!("{path}.{key} is gone")),
                }
            }
        }
        (Value::Array(old), Value::Array(new)) if path.rsplit('.').next() == Some("env") => {
            variables(path, old, new, faults);
        }
        (Value::Array(old), Value::Array(new)) => {
            // What was there is still there in the same order; ours stands anywhere between.
            let mut rest = new.iter();
            for item in old {
                let name = label(item);
                match rest.find(|now| *now == item || label(now) == name && name.is_some()) {
                    Some(now) => compare(
                        &format!("{path}[{}]", name.unwrap_or_default()),
                        item,
                        now,
                        faults,
                    ),
                    None => faults.push(format!("{path}: {item} is gone, or came before another one")),
                }
            }
        }
        // An empty list or map that got something.
        (Value::Null, Value::Object(_) | Value::Array(_)) => {}
        _ => faults.push(format!("{path} was {before} and is {after}")),
    }
}

/// Every entry of the user's is still there, in order: as it was, or under a new name, or with ours around its text.
fn variables(path: &str, old: &[Value], new: &[Value], faults: &mut Vec<String>) {
    let mut rest = new.iter();
    for entry in old {
        let mut renamed = entry.clone();
        renamed["name"] = format!("HEAPSHIP_ORIGINAL_{}", entry["name"].as_str().unwrap_or_default()).into();
        let extended = |now: &Value| {
            let text = |entry: &Value| entry["value"].as_str().unwrap_or_default().to_owned();
            let without = |entry: &Value| {
                let mut entry = entry.clone();
                entry.as_object_mut().map(|entry| entry.shift_remove("value"));
                entry
            };
            without(now) == without(entry) && text(now).contains(&text(entry))
        };
        if !rest.any(|now| now == entry || *now == renamed || extended(now)) {
            faults.push(format!("{path}: {entry} is gone, or came before another one"));
        }
    }
}

fn may_be_replaced(path: &str) -> bool {
    path == "pod.spec.terminationGracePeriodSeconds"
        || path.ends_with(".lifecycle.preStop")
        || path.ends_with(".livenessProbe.failureThreshold")
}

fn label(item: &Value) -> Option<&str> {
    item["name"].as_str()
}

/// What the API server checks and its `OpenAPI` document does not say.
pub(super) fn consistent(pod: &Value, faults: &mut Vec<String>) {
    let list = |value: &Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
    let spec = &pod["spec"];
    let mut volumes = BTreeSet::new();
    for volume in list(spec, "volumes") {
        if !volumes.insert(volume["name"].as_str().unwrap_or_default().to_owned()) {
            faults.push(format!("volume {} is there twice", volume["name"]));
        }
    }
    let mut names = BTreeSet::new();
    for container in [list(spec, "initContainers"), list(spec, "containers")].concat() {
        let name = container["name"].as_str().unwrap_or_default().to_owned();
        let mut paths = BTreeSet::new();
        for mount in list(&container, "volumeMounts") {
            let volume = mount["name"].as_str().unwrap_or_default();
            if !volumes.contains(volume) {
                faults.push(format!(
                    "container {name} mounts {volume}, which is no volume of the pod"
                ));
            }
            if !paths.insert(mount["mountPath"].as_str().unwrap_or_default().to_owned()) {
                faults.push(format!(
                    "container {name} mounts two volumes at {}",
                    mount["mountPath"]
                ));
            }
        }
        for variable in list(&container, "env") {
            if !variable["value"].is_null() && !variable["valueFrom"].is_null() {
                faults.push(format!(
                    "container {name}: {} has value and valueFrom",
                    variable["name"]
                ));
            }
        }
        if !names.insert(name.clone()) {
            faults.push(format!("container {name} is there twice"));
        }
    }
    env_files(spec, faults);
}

/// What the kubelet asks of env files: a file that is missing holds the container, even where the reference is optional.
fn env_files(spec: &Value, faults: &mut Vec<String>) {
    let list = |value: &Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
    let inits = list(spec, "initContainers");
    let told = |container: &Value| {
        let entries = list(container, "env");
        let files = entries.iter().find(|entry| entry["name"] == "HEAPSHIP_ENV_FILES");
        files.map_or_else(Vec::new, |files| {
            let files = files["value"].as_str().unwrap_or_default().split(',');
            files.map(str::to_owned).collect()
        })
    };
    for (index, container) in inits.iter().chain(&list(spec, "containers")).enumerate() {
        for entry in list(container, "env") {
            let reference = &entry["valueFrom"]["fileKeyRef"];
            let Some(volume) = reference["volumeName"].as_str() else {
                continue;
            };
            let here = format!("container {} reads {reference}", container["name"]);
            if !list(spec, "volumes")
                .iter()
                .any(|found| found["name"] == volume && found["emptyDir"].is_object())
            {
                faults.push(format!("{here} of a volume that is no emptyDir of the pod"));
            }
            if list(container, "volumeMounts")
                .iter()
                .any(|mount| mount["name"] == volume)
            {
                faults.push(format!("{here} and mounts its volume"));
            }
            let file = format!(
                "/heapship/image-options/{}",
                reference["path"].as_str().unwrap_or_default()
            );
            let before: Vec<&Value> = inits
                .iter()
                .take(index)
                .filter(|found| told(found).contains(&file))
                .collect();
            let programs: Vec<&Value> = before.iter().map(|found| &found["command"][1]).collect();
            if programs != ["install", "image-options"] {
                faults.push(format!("{here}, which is written by {programs:?}"));
            }
            if before
                .last()
                .is_some_and(|writer| writer["image"] != container["image"])
            {
                faults.push(format!("{here}, which another image wrote"));
            }
        }
    }
}
