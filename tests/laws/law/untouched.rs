//! What nobody asked to change: compared as text, member by member and in their order.

use serde_json::{Map, Value};

use super::{Faults, same_text, targets};
use crate::case::Trial;

const VOLUMES: [&str; 5] = [
    "heapship-dumps",
    "heapship-tools",
    "heapship-no-token",
    "heapship-store",
    "heapship-image-options",
];
/// Of variables that are ours alone.
const PREFIX: &str = "HEAPSHIP_";

pub(super) fn check(trial: &Trial<'_>, faults: &mut Faults) {
    if trial.case.copy {
        return;
    }
    let (before, after) = (trial.before(), trial.after());
    let comparison = Comparison {
        targets: targets(after),
        faults: std::cell::RefCell::new(faults),
    };
    comparison.members(
        "",
        before,
        after,
        &["metadata", "spec"],
        |path, key, old, new| match key {
            "metadata" => comparison.members(
                path,
                old,
                new,
                &["annotations"],
                |path, key, old, new| match key {
                    "annotations" => comparison.members(
                        path,
                        old,
                        new,
                        &["heapship.io/status", "heapship.io/replaced"],
                        |_, key, _, _| key == "heapship.io/replaced",
                    ),
                    _ => false,
                },
            ),
            "spec" => comparison.spec(path, old, new),
            _ => false,
        },
    );
}

struct Comparison<'f> {
    targets: Vec<String>,
    faults: std::cell::RefCell<&'f mut Faults>,
}

impl Comparison<'_> {
    fn fault(&self, text: String) {
        self.faults.borrow_mut().push(text);
    }

    /// All members of an object are there, in their order, and say the same text, but for those that `judge` takes on
    /// itself (it says whether it did). Only `new_ones` may have come.
    fn members(
        &self,
        path: &str,
        before: &Value,
        after: &Value,
        new_ones: &[&str],
        judge: impl Fn(&str, &str, &Value, &Value) -> bool,
    ) -> bool {
        let nothing = Map::new();
        let Some(after) = after.as_object() else {
            if before != after {
                self.fault(format!("{path} was {before} and is {after}"));
            }
            return true;
        };
        let before = match before {
            Value::Object(members) => members,
            Value::Null => &nothing,
            other => {
                self.fault(format!("{path} was {other}"));
                return true;
            }
        };
        let kept: Vec<&String> = after.keys().filter(|key| before.contains_key(*key)).collect();
        if kept != before.keys().collect::<Vec<_>>() {
            self.fault(format!("{path}: members are gone or in another order: {kept:?}"));
        }
        for (key, now) in after {
            let place = format!("{path}.{key}");
            match before.get(key) {
                None if !new_ones.contains(&key.as_str()) => self.fault(format!("{place} is new: {now}")),
                None => drop(judge(&place, key, &Value::Null, now)),
                Some(old) if same_text(old, now) || judge(&place, key, old, now) => {}
                Some(old) => self.fault(format!("{place} was {old} and is {now}")),
            }
        }
        true
    }

    fn spec(&self, path: &str, before: &Value, after: &Value) -> bool {
        let new_ones = ["volumes", "initContainers", "terminationGracePeriodSeconds"];
        self.members(path, before, after, &new_ones, |path, key, old, new| match key {
            "terminationGracePeriodSeconds" => {
                let seconds = |value: &Value| value.as_u64().unwrap_or(30);
                seconds(new) > seconds(old)
            }
            "volumes" => self.list(
                path,
                old,
                new,
                |new| VOLUMES.iter().any(|name| new["name"] == *name),
                |_, _, _| false,
            ),
            "initContainers" => {
                let ours = |new: &Value| {
                    new["name"]
                        .as_str()
                        .is_some_and(|name| name.starts_with("heapship-"))
                };
                self.list(path, old, new, ours, |path, old, new| {
                    self.container(path, old, new)
                })
            }
            "containers" => self.list(
                path,
                old,
                new,
                |_| false,
                |path, old, new| self.container(path, old, new),
            ),
            _ => false,
        })
    }

    /// All elements of a list are there, in their order; between them only `ours`.
    fn list(
        &self,
        path: &str,
        before: &Value,
        after: &Value,
        ours: impl Fn(&Value) -> bool,
        judge: impl Fn(&str, &Value, &Value) -> bool,
    ) -> bool {
        let elements = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let before = elements(before);
        let mut rest = before.iter().peekable();
        for (index, now) in elements(after).iter().enumerate() {
            let place = format!("{path}[{index}]");
            match rest.peek() {
                Some(old) if same_text(old, now) || old["name"] == now["name"] && judge(&place, old, now) => {
                    rest.next();
                }
                _ if ours(now) => {}
                old => {
                    self.fault(format!("{place} was {old:?} and is {now}"));
                    rest.next();
                }
            }
        }
        if let Some(gone) = rest.next() {
            self.fault(format!("{path}: {gone} is gone"));
        }
        true
    }

    fn container(&self, path: &str, before: &Value, after: &Value) -> bool {
        let target = self.targets.iter().any(|name| before["name"] == name.as_str());
        let new_ones: &[&str] = if target {
            &["env", "volumeMounts", "lifecycle"]
        } else {
            &[]
        };
        self.members(path, before, after, new_ones, |path, key, old, new| match key {
            "livenessProbe" | "startupProbe" => {
                let liveness = target && key == "livenessProbe";
                let new_ones = ["terminationGracePeriodSeconds", "failureThreshold"];
                let new_ones = if liveness { &new_ones[..] } else { &new_ones[..1] };
                self.members(path, old, new, new_ones, |_, key, old, new| match key {
                    "terminationGracePeriodSeconds" => old.is_null() && new.as_u64() > Some(0),
                    "failureThreshold" => liveness && new.as_u64() > Some(old.as_u64().unwrap_or(3)),
                    _ => false,
                })
            }
            "lifecycle" if target => self.members(path, old, new, &["preStop"], |_, key, _, new| {
                key == "preStop" && new["exec"]["command"][0] == "/heapship/tools/heapship-agent"
            }),
            "volumeMounts" if target => {
                let ours = |new: &Value| {
                    ["heapship-dumps", "heapship-tools"]
                        .iter()
                        .any(|name| new["name"] == *name)
                };
                self.list(path, old, new, ours, |_, _, _| false)
            }
            "env" if target => self.variables(path, old, new),
            _ => false,
        })
    }

    /// Every entry is there, in order: as it was, under the name of ours that the chain gives it, or with ours around its
    /// text. What the entries come to is another law's.
    fn variables(&self, path: &str, before: &Value, after: &Value) -> bool {
        let name = |entry: &Value| entry["name"].as_str().unwrap_or_default().to_owned();
        let elements = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let before = elements(before);
        let known: Vec<String> = before.iter().map(name).collect();
        let mut rest = before.iter().peekable();
        for now in elements(after) {
            let Some(old) = rest.peek() else {
                let ours = name(&now).starts_with(PREFIX) || !known.contains(&name(&now)) || chained(&now);
                if !ours {
                    self.fault(format!("{path}: {now} is new"));
                }
                continue;
            };
            let mut renamed = (*old).clone();
            renamed["name"] = format!("HEAPSHIP_ORIGINAL_{}", name(old)).into();
            if same_text(old, &now) || same_text(&renamed, &now) || extended(old, &now) {
                rest.next();
            } else if !name(&now).starts_with(PREFIX) && !chained(&now) {
                self.fault(format!("{path}: {old} was expected, and {now} is there"));
                rest.next();
            }
        }
        if let Some(gone) = rest.next() {
            self.fault(format!("{path}: {gone} is gone"));
        }
        true
    }
}

/// `VARIABLE=ours $(NEW)`
fn chained(entry: &Value) -> bool {
    entry["value"]
        .as_str()
        .is_some_and(|value| value.contains("$(HEAPSHIP_ORIGINAL_"))
}

/// Ours around the user's text, byte for byte, and nothing else.
fn extended(old: &Value, now: &Value) -> bool {
    let text = |entry: &Value| entry["value"].as_str().unwrap_or_default().to_owned();
    let without = |entry: &Value| {
        let mut entry = entry.clone();
        entry.as_object_mut().map(|entry| entry.shift_remove("value"));
        entry.to_string()
    };
    without(old) == without(now) && text(now).contains(&text(old))
}
