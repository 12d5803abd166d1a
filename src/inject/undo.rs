//! The exact inverse of the injection.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::inject::damage;
use crate::inject::pod::{carries_injection, from_field, is_ours, mounts_dumps};
use crate::inject::replaced::{AddedOptions, Replaced, ReplacedInContainer};
use crate::names::{self, variable};

/// Takes everything of ours out of a pod and puts back what was replaced. What is not ours stays as it is; a pod without
/// an injection comes back unchanged.
#[must_use]
pub fn uninject(pod: &Value) -> Value {
    let mut pod = pod.clone();
    let replaced = Replaced::of(&pod);
    let injected = carries_injection(&pod);
    if let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) {
        retain(
            spec,
            "initContainers",
            |container| !is_ours(container),
            "initContainers",
            &replaced,
        );
        let ours = |volume: &Value| {
            volume["name"]
                .as_str()
                .is_some_and(|name| names::VOLUMES.contains(&name))
        };
        // A pod that was left alone because it has a volume of that name itself keeps it, and its mounts.
        if injected {
            retain(spec, "volumes", |volume| !ours(volume), "volumes", &replaced);
        }
        for list in ["initContainers", "containers"].into_iter().filter(|_| injected) {
            for container in spec
                .get_mut(list)
                .and_then(Value::as_array_mut)
                .into_iter()
                .flatten()
            {
                clean(container, &replaced);
            }
        }
        if let Some(original) = &replaced.termination_grace_period_seconds {
            restore(spec, GRACE, original, GRACE, &replaced);
        }
    }
    if let Some(metadata) = pod.get_mut("metadata").and_then(Value::as_object_mut) {
        let emptied = metadata
            .get_mut("annotations")
            .and_then(Value::as_object_mut)
            .is_some_and(|annotations| {
                let status = annotations.shift_remove(names::STATUS);
                let noted = annotations.shift_remove(names::REPLACED);
                (status.is_some() || noted.is_some()) && annotations.is_empty()
            });
        if emptied {
            give_back_empty(metadata, "annotations", "annotations", &replaced);
        }
        // A template may do without metadata.
        if emptied
            && metadata.is_empty()
            && let Some(pod) = pod.as_object_mut()
        {
            give_back_empty(pod, "metadata", "metadata", &replaced);
        }
    }
    pod
}

/// The pod without the remains of an injection that cannot be completed. `None` where it carries none, where they still do
/// their work (with other settings than ours, perhaps), or where they are in use by now: without a volume that something
/// still mounts the API server would refuse the pod.
pub(super) fn without_remains(pod: &Value) -> Option<Value> {
    let remains = carries_injection(pod) && !works_by_itself(pod);
    let clean = remains.then(|| uninject(pod))?;
    let volumes = clean["spec"]["volumes"].as_array().map_or(&[][..], Vec::as_slice);
    let mut mounts = ["initContainers", "containers", "ephemeralContainers"]
        .into_iter()
        .filter_map(|list| clean["spec"][list].as_array())
        .flatten()
        .filter_map(|container| container["volumeMounts"].as_array())
        .flatten();
    let there = |name: &Value| volumes.iter().any(|volume| volume["name"] == *name);
    let whole = mounts.all(|mount| there(&mount["name"])) && !reads_files_of_ours(&clean);
    (whole && !carries_injection(&clean)).then_some(clean)
}

/// Whether a container reads a file on a volume that is not there any more.
fn reads_files_of_ours(pod: &Value) -> bool {
    let mut entries = ["initContainers", "containers", "ephemeralContainers"]
        .into_iter()
        .filter_map(|list| pod["spec"][list].as_array())
        .flatten()
        .filter_map(|container| container["env"].as_array())
        .flatten();
    entries.any(|entry| entry["valueFrom"]["fileKeyRef"]["volumeName"] == names::IMAGE_OPTIONS_VOLUME)
}

/// Dumps are written, an agent ships them, and what is started from the tools volume is there.
fn works_by_itself(pod: &Value) -> bool {
    let of = |list: &str| pod["spec"][list].as_array().map_or(&[][..], Vec::as_slice);
    let (before, containers) = (of("initContainers"), of("containers"));
    let filled = before
        .iter()
        .any(|container| is_ours(container) && container["name"] == names::TOOLS_CONTAINER);
    let all = || before.iter().chain(containers);
    let needs_tools = all().any(|container| {
        container["command"][0] == names::AGENT_IN_TOOLS
            || container["lifecycle"]["preStop"]["exec"]["command"][0] == names::AGENT_IN_TOOLS
    });
    let ships = before
        .iter()
        .any(|container| is_ours(container) && container["restartPolicy"] == "Always");
    !damage::holds_the_pod(pod)
        && !damage::is_beyond_completion(pod)
        && ships
        && (filled || !needs_tools)
        && all().filter(|container| !is_ours(container)).any(mounts_dumps)
}

fn clean(container: &mut Value, replaced: &Replaced) {
    let Some(container) = container.as_object_mut() else {
        return;
    };
    let name = container
        .get("name")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    let nothing = ReplacedInContainer::default();
    let ReplacedInContainer {
        pre_stop,
        probes,
        failure_threshold,
        options,
    } = replaced.containers.get(&name).unwrap_or(&nothing);

    let own = [
        (names::DUMPS_VOLUME, names::DUMPS_PATH),
        (names::TOOLS_VOLUME, names::TOOLS_PATH),
    ];
    let mounted = |mount: &Value| {
        own.iter()
            .any(|(name, path)| mount["name"] == *name && mount["mountPath"] == *path)
    };
    retain(
        container,
        "volumeMounts",
        |mount| !mounted(mount),
        &format!("{name}.volumeMounts"),
        replaced,
    );

    clean_environment(container, &name, options, replaced);

    for kind in probes {
        if let Some(probe) = container.get_mut(kind).and_then(Value::as_object_mut) {
            restore(
                probe,
                GRACE,
                &Value::Null,
                &format!("{name}.{kind}.{GRACE}"),
                replaced,
            );
        }
    }
    if let (Some(original), Some(probe)) = (
        failure_threshold,
        container.get_mut("livenessProbe").and_then(Value::as_object_mut),
    ) {
        restore(
            probe,
            "failureThreshold",
            original,
            &format!("{name}.failureThreshold"),
            replaced,
        );
    }
    let emptied = container
        .get_mut("lifecycle")
        .and_then(Value::as_object_mut)
        .is_some_and(|lifecycle| {
            let program = lifecycle.get("preStop").map(|hook| &hook["exec"]["command"]);
            let ours = program
                .is_some_and(|command| command[0] == names::AGENT_IN_TOOLS && command[1] == "pre-stop");
            if ours {
                match pre_stop {
                    Some(original) => drop(lifecycle.insert("preStop".to_owned(), original.clone())),
                    None => drop(lifecycle.shift_remove("preStop")),
                }
            }
            ours && lifecycle.is_empty()
        });
    if emptied {
        give_back_empty(container, "lifecycle", &format!("{name}.lifecycle"), replaced);
    }
}

fn clean_environment(
    container: &mut Map<String, Value>,
    name: &str,
    options: &BTreeMap<String, AddedOptions>,
    replaced: &Replaced,
) {
    let downward = [
        from_field(variable::POD_UID, "metadata.uid"),
        from_field(variable::POD_IP, "status.podIP"),
    ];
    let ours = |entry: &Value| {
        let emptied = entry["name"]
            .as_str()
            .and_then(|name| options.get(name))
            .is_some_and(|added| added.absent && added.links.is_none() && entry["value"] == "");
        let own_field = downward.iter().any(|own| {
            entry["name"] == own["name"]
                && entry["valueFrom"]["fieldRef"]["fieldPath"] == own["valueFrom"]["fieldRef"]["fieldPath"]
        });
        emptied || own_field
    };
    let emptied = container
        .get_mut("env")
        .and_then(Value::as_array_mut)
        .is_some_and(|entries| {
            let before = entries.len();
            let unnoted = unnoted(entries, options);
            for (variable, added) in options.iter().chain(&unnoted) {
                take_options_back(
                    entries,
                    variable,
                    added,
                    replaced.empty.get(&format!("{name}.{variable}")),
                );
            }
            entries.retain(|entry| !ours(entry));
            entries.len() < before && entries.is_empty()
        });
    if emptied {
        give_back_empty(container, "env", &format!("{name}.env"), replaced);
    }
}

/// Chains of which nothing is noted: a copy of the pod has lost the annotation. Ours are the empty beginning and the file;
/// what stands behind them says what the pod's own sources say.
fn unnoted(entries: &[Value], noted: &BTreeMap<String, AddedOptions>) -> BTreeMap<String, AddedOptions> {
    let mut chains = BTreeMap::new();
    for entry in entries {
        let name = entry["name"].as_str().unwrap_or_default();
        let Some(variable) = name
            .strip_prefix(names::ORIGINAL_OPTIONS_PREFIX)
            .filter(|variable| !noted.contains_key(*variable))
        else {
            continue;
        };
        let of_the_chain = entries.iter().filter(|entry| entry["name"] == name);
        let ours = of_the_chain.take_while(|entry| {
            entry["valueFrom"]["fileKeyRef"]["volumeName"] == names::IMAGE_OPTIONS_VOLUME
                || entry["valueFrom"].is_null() && entry["value"].as_str().unwrap_or_default().is_empty()
        });
        let added = AddedOptions {
            links: Some(ours.count()),
            ..AddedOptions::default()
        };
        chains.insert(variable.to_owned(), added);
    }
    chains
}

fn take_options_back(entries: &mut Vec<Value>, variable: &str, added: &AddedOptions, empty: Option<&Value>) {
    let AddedOptions {
        front,
        behind,
        absent: _,
        bare,
        links,
    } = added;
    let original = format!("{}{variable}", names::ORIGINAL_OPTIONS_PREFIX);
    let reference = format!("$({original})");
    match links {
        Some(count) => {
            let is_ours = |entry: &Value| {
                entry["name"] == variable
                    && entry["value"]
                        .as_str()
                        .is_some_and(|value| value.contains(&reference))
            };
            entries.retain(|entry| !is_ours(entry));
            let mut seen = 0;
            entries.retain(|entry| {
                seen += usize::from(entry["name"] == original.as_str());
                entry["name"] != original.as_str() || seen > *count
            });
            for entry in entries
                .iter_mut()
                .filter(|entry| entry["name"] == original.as_str())
            {
                entry["name"] = Value::String(variable.to_owned());
            }
        }
        None => {
            // Not simply the last of the name: a neighbour may have set the variable again behind ours.
            let mut found = entries.iter_mut().rev().filter(|entry| entry["name"] == variable);
            let begins_with_ours = found.find_map(|entry| {
                let rest = entry["value"].as_str()?.strip_prefix(front.as_str())?.to_owned();
                Some((entry, rest))
            });
            let Some((entry, rest)) = begins_with_ours else {
                return;
            };
            let mut rest = rest.as_str();
            if !front.is_empty() {
                rest = rest.strip_prefix(' ').unwrap_or(rest);
            }
            let rest = without(rest, behind);
            let rest = match empty {
                Some(original) if rest.is_empty() => original.clone(),
                _ => Value::String(rest),
            };
            match entry.as_object_mut() {
                Some(entry) if *bare && rest == "" => drop(entry.shift_remove("value")),
                _ => entry["value"] = rest,
            }
        }
    }
}

/// A text without the last of an option and the blank before it: a neighbour may have written on behind ours.
fn without(text: &str, option: &str) -> String {
    let alone = |(at, _): &(usize, &str)| {
        let (before, from) = text.split_at_checked(*at).unwrap_or_default();
        let after = from.strip_prefix(option).unwrap_or_default();
        let ends = |neighbour: Option<char>| neighbour.is_none_or(char::is_whitespace);
        ends(before.chars().next_back()) && ends(after.chars().next())
    };
    let found = (!option.is_empty())
        .then(|| text.rmatch_indices(option).find(alone))
        .flatten();
    let Some((before, after)) =
        found.and_then(|(at, _)| Some((text.get(..at)?, text.get(at + option.len()..)?)))
    else {
        return text.to_owned();
    };
    format!("{}{after}", before.strip_suffix(' ').unwrap_or(before))
}

/// Keeps the elements that `keep` wants; a list that becomes empty goes, unless it was there and empty before.
fn retain(
    parent: &mut Map<String, Value>,
    key: &str,
    keep: impl Fn(&Value) -> bool,
    label: &str,
    replaced: &Replaced,
) {
    let emptied = parent
        .get_mut(key)
        .and_then(Value::as_array_mut)
        .is_some_and(|elements| {
            let before = elements.len();
            elements.retain(|element| keep(element));
            elements.len() < before && elements.is_empty()
        });
    if emptied {
        give_back_empty(parent, key, label, replaced);
    }
}

fn give_back_empty(parent: &mut Map<String, Value>, key: &str, label: &str, replaced: &Replaced) {
    match replaced.empty.get(label) {
        Some(original) => drop(parent.insert(key.to_owned(), original.clone())),
        None => drop(parent.shift_remove(key)),
    }
}

/// Sets what it was, or removes what was not there.
fn restore(parent: &mut Map<String, Value>, key: &str, original: &Value, label: &str, replaced: &Replaced) {
    if original.is_null() {
        give_back_empty(parent, key, label, replaced);
    } else {
        parent.insert(key.to_owned(), original.clone());
    }
}

const GRACE: &str = "terminationGracePeriodSeconds";
