//! Other injectors: before us, after us (then we are called again), on both sides. What is ours comes out the same.

use std::collections::BTreeSet;

use heapship::inject::{Decision, Outcome};
use serde_json::{Value, json};

use super::qos::class;
use super::{Faults, container, containers};
use crate::case::{Case, Trial};
use crate::hotspot::tokens;
use injectors::{Injector, NEIGHBOURS, Place};

mod injectors;

/// The neighbour of this pod: each pod meets one.
pub(crate) fn of(case: &Case) -> &'static Injector {
    &NEIGHBOURS[usize::try_from(case.salt / 64 % NEIGHBOURS.len() as u64).unwrap()]
}

pub(super) fn check(trial: &Trial<'_>, faults: &mut Faults) {
    if trial.case.copy {
        return;
    }
    let Injector { name, place, change } = of(trial.case);
    // What its type cannot hold, it passes on; once we have filled an empty place, it can.
    if *name == "a typed round trip" && !injectors::decodes(trial.before()) {
        return;
    }
    let hooks = |pod: &Value| -> Vec<Value> {
        containers(pod)
            .map(|(found, _)| found["lifecycle"].clone())
            .collect()
    };
    if *name == "a typed round trip" && hooks(&change(trial.before())) != hooks(trial.before()) {
        // It took away a hook of a kind that nobody knows yet: what is left is another pod.
        return;
    }
    let mut case = trial.case.clone();
    // It sets the variable: whether the image's own is to be carried over then depends on who came first.
    case.cluster.env_files &= *name != "OpenTelemetry";
    let inject = |pod: &Value| case.inject(pod);
    let neighbours = change(trial.before());
    let before = inject(&neighbours);
    let both = inject(&change(&before.pod));
    let mut orders = vec![("on both sides", both)];
    match place {
        Place::Anywhere => orders.push(("after us", inject(&change(&inject(trial.before()).pod)))),
        // What the API server does of its own accord it has done before anybody is asked.
        Place::Before => {}
    }
    let grows = |outcome: &Outcome| {
        outcome
            .notes
            .iter()
            .any(|note| note.code == "options-in-java-options")
            || outcome.decision.reason() == "options-too-long"
    };
    if *name == "OpenTelemetry" && (grows(&before) || orders.iter().any(|(_, outcome)| grows(outcome))) {
        // Its option came to a variable that JDK 8 reads no further: who came last does not fit any more.
        return;
    }
    // It chooses for us where nobody else does: then it matters whether we had chosen before.
    let names_default = *name == "a mesh that names the default container";
    for (order, outcome) in orders {
        // Where annotations hardly fit, what a neighbour brings may be the last straw.
        let too_large = |outcome: &Outcome| outcome.decision.reason() == "annotations-too-large";
        if too_large(&outcome) || too_large(&before) {
            continue;
        }
        let decided = |outcome: &Outcome| (outcome.decision.label(), outcome.decision.reason());
        if !names_default && decided(&outcome) != decided(&before) {
            faults.push(format!(
                "{name} {order}: {:?} instead of {:?}",
                outcome.decision, before.decision
            ));
            continue;
        }
        if outcome.decision != Decision::Injected || before.decision != Decision::Injected {
            continue;
        }
        unheard(&outcome.pod, &format!("{name} {order}"), faults);
        let (one, other) = (ours(&before.pod), ours(&outcome.pod));
        if !names_default && one != other {
            faults.push(format!("{name} {order}: ours is {}", difference(&one, &other)));
        }
        if class(&outcome.pod) != class(&neighbours) {
            faults.push(format!(
                "{name} {order}: {:?} instead of {:?}",
                class(&outcome.pod),
                class(&neighbours)
            ));
        }
    }
}

/// Every container that was told to write dumps is known to an agent, where there is one.
fn unheard(pod: &Value, order: &str, faults: &mut Faults) {
    let agents = || {
        containers(pod)
            .filter(|(found, _)| is_ours(found))
            .map(|(found, _)| found)
    };
    let heard: Vec<String> = agents()
        .flat_map(listed)
        .filter_map(|listed| Some(listed["name"].as_str()?.to_owned()))
        .collect();
    for (found, _) in containers(pod).filter(|(found, _)| !is_ours(found)) {
        let name = found["name"].as_str().unwrap_or_default();
        let mounts = found["volumeMounts"].as_array().into_iter().flatten();
        let writes = mounts.into_iter().any(|mount| mount["name"] == "heapship-dumps");
        if writes && !heard.is_empty() && !heard.iter().any(|heard| heard == name) {
            faults.push(format!("{order}: {name} writes dumps that no agent ships"));
        }
    }
}

/// What an agent is told of the containers whose dumps it ships.
fn listed(agent: &Value) -> Vec<Value> {
    let entries = agent["env"].as_array().into_iter().flatten();
    let text = entries
        .filter(|entry| entry["name"] == "HEAPSHIP_CONTAINERS")
        .find_map(|entry| entry["value"].as_str());
    serde_json::from_str(text.unwrap_or("[]")).unwrap_or_default()
}

fn is_ours(container: &Value) -> bool {
    container["name"]
        .as_str()
        .is_some_and(|name| name.starts_with("heapship-"))
}

/// What is ours of a pod. Not what our containers ask for: that follows the class of the pod, which is compared by itself.
fn ours(pod: &Value) -> Value {
    let named = |list: &Value, ours: &dyn Fn(&Value) -> bool| -> Value {
        list.as_array()
            .into_iter()
            .flatten()
            .filter(|element| ours(element))
            .cloned()
            .collect()
    };
    let by_name = |element: &Value| {
        element["name"]
            .as_str()
            .is_some_and(|name| name.to_ascii_lowercase().starts_with("heapship"))
    };
    let mut agents: Vec<String> = containers(pod)
        .filter(|(found, _)| is_ours(found))
        .map(|(found, _)| {
            let mut agent = found.clone();
            // Where a neighbour sets the variable before us, nothing of the image's is replaced.
            agent["env"] = named(&found["env"], &|entry| {
                by_name(entry) && entry["name"] != "HEAPSHIP_REPLACED_OPTIONS"
            });
            let path = |mount: &Value| {
                mount["mountPath"]
                    .as_str()
                    .is_some_and(|path| path.starts_with("/heapship"))
            };
            agent["volumeMounts"] = named(&found["volumeMounts"], &|mount| by_name(mount) || path(mount));
            let members = agent.as_object_mut().unwrap();
            // Which of several agents has which number depends on who was there first.
            for key in [
                "resources",
                "name",
                "terminationMessagePath",
                "terminationMessagePolicy",
                "imagePullPolicy",
            ] {
                members.shift_remove(key);
            }
            sorted(&agent).to_string()
        })
        .collect();
    agents.sort();
    let list = pod["spec"]["initContainers"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    let position = |name: &str| list.iter().position(|found| found["name"] == name);
    let before_targets: Vec<bool> = list
        .iter()
        .filter(|found| mounts_dumps(found) && !is_ours(found))
        .map(|found| position("heapship-agent") < position(found["name"].as_str().unwrap_or_default()))
        .collect();
    let volumes = named(&pod["spec"]["volumes"], &by_name);
    let mut volumes: Vec<String> = volumes
        .as_array()
        .into_iter()
        .flatten()
        .map(|volume| sorted(volume).to_string())
        .collect();
    volumes.sort();
    let of_containers: serde_json::Map<String, Value> = containers(pod)
        .filter(|(found, _)| !is_ours(found))
        .filter_map(|(found, _)| Some((found["name"].as_str()?.to_owned(), in_container(found, &by_name))))
        .collect();
    json!({
        "volumes": volumes,
        "containers": agents,
        "agentsBeforeTargets": before_targets,
        "inContainers": of_containers,
        "grace": pod["spec"]["terminationGracePeriodSeconds"],
    })
}

fn mounts_dumps(container: &Value) -> bool {
    let mounts = container["volumeMounts"].as_array().into_iter().flatten();
    mounts.into_iter().any(|mount| mount["name"] == "heapship-dumps")
}

/// What is ours in a container of the application.
fn in_container(found: &Value, by_name: &dyn Fn(&Value) -> bool) -> Value {
    let mounts: Vec<Value> = found["volumeMounts"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|mount| by_name(mount))
        .map(sorted)
        .collect();
    let entries = || found["env"].as_array().into_iter().flatten();
    // The chain differs with what the neighbour makes of the sources, and so does the variable that has room for ours; that
    // they are right is another law's.
    let variables: Vec<&Value> = entries()
        .filter(|entry| by_name(entry) && !entry["name"].to_string().contains("ORIGINAL"))
        .collect();
    let flags = |variable: &str| -> Vec<String> {
        let text = entries()
            .filter(|entry| entry["name"] == variable)
            .filter_map(|entry| entry["value"].as_str())
            .next_back();
        let all = tokens(text.unwrap_or_default()).unwrap_or_default();
        let ours = ["HeapDump", "ExitOnOutOfMemoryError", "StartAttachListener"];
        all.into_iter()
            .filter(|token| ours.iter().any(|flag| token.contains(flag)))
            .collect()
    };
    let options: BTreeSet<String> = ["JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "ES_JAVA_OPTS", "JAVA_OPTS"]
        .into_iter()
        .flat_map(flags)
        .collect();
    let graces =
        ["livenessProbe", "startupProbe"].map(|probe| &found[probe]["terminationGracePeriodSeconds"]);
    let hook = &found["lifecycle"]["preStop"];
    let ours = hook["exec"]["command"][0] == "/heapship/tools/heapship-agent";
    // A request is an argument as JSON, whose order of keys is nobody's.
    let words = |hook: &Value| -> Vec<String> {
        let command = hook["exec"]["command"].as_array().into_iter().flatten();
        let word = |word: &Value| {
            let text = word.as_str().unwrap_or_default();
            serde_json::from_str(text).map_or(text.to_owned(), |request| sorted(&request).to_string())
        };
        command.map(word).collect()
    };
    json!({
        "mounts": mounts,
        "variables": variables,
        "options": options,
        "preStop": if ours { json!(words(hook)) } else { Value::Null },
        "graces": graces,
        "failureThreshold": found["livenessProbe"]["failureThreshold"],
    })
}

/// Without the order of members, which a typed round trip changes.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut members: Vec<(&String, &Value)> =
                members.iter().filter(|(_, member)| !member.is_null()).collect();
            members.sort_by_key(|(key, _)| *key);
            members
                .into_iter()
                .map(|(key, member)| (key.clone(), sorted(member)))
                .collect()
        }
        Value::Array(elements) => elements.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

/// The members that differ, for people to read.
fn difference(one: &Value, other: &Value) -> String {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            let differing = one.iter().filter(|(key, value)| other.get(*key) != Some(value));
            let all: Vec<String> = differing
                .map(|(key, value)| {
                    format!(
                        "{key}: {}",
                        difference(value, other.get(key).unwrap_or(&Value::Null))
                    )
                })
                .collect();
            all.join(", ")
        }
        _ => format!("{other} instead of {one}"),
    }
}

/// Used by the table of what was reached.
pub(crate) fn changes(case: &Case) -> bool {
    let changed = (of(case).change)(&case.pod);
    changed != case.pod && container(&changed, "app").is_some()
}

/// All neighbours.
pub(crate) fn names() -> Vec<String> {
    NEIGHBOURS
        .iter()
        .map(|neighbour| neighbour.name.to_owned())
        .collect()
}
