//! What may differ between a pod with the injection and the same pod without it, both as the API server stores them.
//! Everything else has to be the same to the last byte.

use serde_json::{Map, Value, json};

const PREFIX: &str = "heapship.io/";
const OURS: &str = "heapship-";

/// Differences in other places, for a person.
pub fn faults(without: &Value, with: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    let (without, mut with) = (settled(without), settled(with));
    let asked = annotation(&with, "heapship.io/pre-stop").is_some();
    let extended = annotation(&with, "heapship.io/liveness").as_deref() == Some("extend");
    let chosen = chosen(&with);
    let (mut without, mut others) = (without, Vec::new());
    for pod in [&mut without, &mut with] {
        drop_annotations(pod);
    }
    keep_foreign(&without["spec"], &mut with["spec"], "volumes");
    keep_foreign(&without["spec"], &mut with["spec"], "initContainers");
    let grace = |pod: &Value| {
        pod["spec"]["terminationGracePeriodSeconds"]
            .as_i64()
            .unwrap_or(30)
    };
    let (old_grace, new_grace) = (grace(&without), grace(&with));
    if new_grace < old_grace {
        others.push(format!("the grace period was {old_grace} and is {new_grace}"));
    }
    with["spec"]["terminationGracePeriodSeconds"] = json!(old_grace);
    for list in ["initContainers", "containers"] {
        let before = without["spec"][list].as_array().cloned().unwrap_or_default();
        for (index, old) in before.iter().enumerate() {
            let Some(new) = with["spec"][list].get_mut(index) else {
                continue;
            };
            let chosen = chosen
                .as_ref()
                .is_none_or(|all| all.iter().any(|name| old["name"] == name.as_str()));
            let allowed = Allowed {
                ours: chosen,
                hook: chosen && asked,
                threshold: chosen && extended,
                grace: (new_grace > old_grace).then_some(old_grace),
            };
            allowed.undo(old, new, &mut others);
        }
    }
    compare("pod", &without, &with, &mut faults);
    faults.extend(others);
    faults
}

/// Where one container may differ.
struct Allowed {
    /// Variables and mounts.
    ours: bool,
    hook: bool,
    threshold: bool,
    /// The old one, which probes may have been given.
    grace: Option<i64>,
}

impl Allowed {
    fn undo(&self, old: &Value, new: &mut Value, faults: &mut Vec<String>) {
        let name = old["name"].as_str().unwrap_or_default().to_owned();
        if self.ours {
            keep_foreign(old, new, "volumeMounts");
            variables(&name, &old["env"], &new["env"], faults);
            put(new, "env", old.get("env").cloned());
        }
        let tool = &new["lifecycle"]["preStop"]["exec"]["command"][0];
        if self.hook
            && tool
                .as_str()
                .is_some_and(|path| path.starts_with("/heapship/tools/"))
        {
            put(
                &mut new["lifecycle"],
                "preStop",
                old["lifecycle"].get("preStop").cloned(),
            );
            if old.get("lifecycle").is_none() && new["lifecycle"] == json!({}) {
                put(new, "lifecycle", None);
            }
        }
        let threshold = |container: &Value| container["livenessProbe"]["failureThreshold"].as_i64();
        if self.threshold && threshold(new) > threshold(old) {
            new["livenessProbe"]["failureThreshold"] = old["livenessProbe"]["failureThreshold"].clone();
        }
        for probe in ["livenessProbe", "startupProbe"] {
            let key = "terminationGracePeriodSeconds";
            let added = new[probe].get(key).and_then(Value::as_i64);
            let expected = self.grace.map(|grace| grace.max(1));
            if old[probe].get(key).is_none() && added.is_some() && added == expected {
                put(&mut new[probe], key, None);
            }
        }
    }
}

/// Every entry is still there, in its order: as it was, renamed, or with ours around its text. What is new has a name of ours.
fn variables(container: &str, old: &Value, new: &Value, faults: &mut Vec<String>) {
    let entries = |list: &Value| list.as_array().cloned().unwrap_or_default();
    let mut left = entries(old).into_iter().peekable();
    for entry in entries(new) {
        let same = |old: &Value| {
            let mut renamed = old.clone();
            renamed["name"] = json!(format!(
                "HEAPSHIP_ORIGINAL_{}",
                old["name"].as_str().unwrap_or_default()
            ));
            let text = |entry: &Value| entry["value"].as_str().unwrap_or_default().to_owned();
            let literal = |entry: &Value| entry.get("valueFrom").is_none();
            let around = old["name"] == entry["name"]
                && literal(old)
                && literal(&entry)
                && text(&entry).contains(&text(old));
            *old == entry || renamed == entry || around
        };
        if left.next_if(same).is_some() {
            continue;
        }
        let name = entry["name"].as_str().unwrap_or_default();
        if !name.starts_with("HEAPSHIP_")
            && !name.ends_with("JAVA_OPTIONS")
            && !["JAVA_TOOL_OPTIONS", "ES_JAVA_OPTS", "LIMIT"].contains(&name)
        {
            faults.push(format!("container {container}: the variable {entry} is new"));
        }
    }
    for lost in left {
        faults.push(format!(
            "container {container}: the variable {lost} is gone, or came before another one"
        ));
    }
}

/// What a person wrote, with the API server's defaults; names that it draws are all the same.
fn settled(pod: &Value) -> Value {
    let kept = [
        "labels",
        "annotations",
        "finalizers",
        "ownerReferences",
        "generateName",
    ];
    let metadata: Map<String, Value> = kept
        .iter()
        .filter_map(|key| Some(((*key).to_owned(), pod["metadata"].get(*key)?.clone())))
        .collect();
    let mut settled = json!({"metadata": metadata, "spec": pod["spec"]});
    undraw(&mut settled);
    settled
}

fn undraw(value: &mut Value) {
    match value {
        Value::String(text) if text.starts_with("kube-api-access-") => "kube-api-access".clone_into(text),
        Value::Array(list) => list.iter_mut().for_each(undraw),
        Value::Object(members) => members.values_mut().for_each(undraw),
        Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Null => {}
    }
}

/// The containers that the status names; `None` where there was no room for one.
fn chosen(pod: &Value) -> Option<Vec<String>> {
    let status: Value = serde_json::from_str(&annotation(pod, "heapship.io/status")?).ok()?;
    let names = status["containers"].as_array()?;
    Some(
        names
            .iter()
            .filter_map(|name| Some(name.as_str()?.to_owned()))
            .collect(),
    )
}

fn annotation(pod: &Value, key: &str) -> Option<String> {
    Some(pod["metadata"]["annotations"][key].as_str()?.to_owned())
}

fn drop_annotations(pod: &mut Value) {
    let metadata = &mut pod["metadata"];
    if let Some(annotations) = metadata["annotations"].as_object_mut() {
        annotations.retain(|key, _| !key.starts_with(PREFIX));
    }
    let empty = metadata["annotations"].is_null() || metadata["annotations"] == json!({});
    if empty {
        put(metadata, "annotations", None);
    }
}

/// Leaves out the elements that are new and ours by name, and the list if nothing is left.
fn keep_foreign(old: &Value, new: &mut Value, key: &str) {
    let name = |element: &Value| element["name"].as_str().unwrap_or_default().to_owned();
    let before: Vec<String> = old[key].as_array().into_iter().flatten().map(name).collect();
    if let Some(list) = new[key].as_array_mut() {
        list.retain(|element| !name(element).starts_with(OURS) || before.contains(&name(element)));
    }
    if new[key].as_array().is_none_or(Vec::is_empty) {
        put(new, key, old.get(key).filter(|list| **list == json!([])).cloned());
    }
}

fn put(object: &mut Value, key: &str, value: Option<Value>) {
    match (object.as_object_mut(), value) {
        (Some(members), Some(value)) => drop(members.insert(key.to_owned(), value)),
        (Some(members), None) => drop(members.shift_remove(key)),
        (None, _) => {}
    }
}

fn compare(path: &str, old: &Value, new: &Value, faults: &mut Vec<String>) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            for key in old.keys().chain(new.keys().filter(|key| !old.contains_key(*key))) {
                let at = format!("{path}.{key}");
                match (old.get(key), new.get(key)) {
                    (Some(old), Some(new)) => compare(&at, old, new, faults),
                    (Some(old), None) => faults.push(format!("{at} is gone: {old}")),
                    (None, new) => faults.push(format!("{at} is new: {}", new.unwrap_or(&Value::Null))),
                }
            }
        }
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            for (index, (old, new)) in old.iter().zip(new).enumerate() {
                compare(&format!("{path}[{index}]"), old, new, faults);
            }
        }
        _ if old == new => {}
        _ => faults.push(format!("{path} was {old} and is {new}")),
    }
}
