//! What other webhooks, and people who copy pods, have done to what stands of ours in a pod.
//!
//! What is missing is added where it was. What is there and stands in the wrong place, refers to nothing or belongs to
//! another image by now cannot be completed: it is taken out and written anew. And whatever becomes of the injection, a pod
//! is never left as it is where it would not start.

use serde_json::Value;

use crate::inject::environment::{is_literal, is_optional};
use crate::inject::pod::is_ours;
use crate::names;

/// Whether the pod would not start as it is: something of ours never ends, runs before its program is there, or refers to
/// nothing.
pub(super) fn holds_the_pod(pod: &Value) -> bool {
    let never_ends = |container: &Value| ships(container) && container["restartPolicy"] != "Always";
    list(&pod["spec"], "initContainers").iter().any(never_ends) || is_misplaced(pod) || has_a_loose_chain(pod)
}

/// Whether what is there of ours has to be taken out before the injection can be whole.
pub(super) fn is_beyond_completion(pod: &Value) -> bool {
    is_misplaced(pod) || has_a_loose_chain(pod) || is_of_another_image(pod)
}

/// Whether something runs from the tools volume, or reads a file on the volume of image options, before the container that
/// fills both.
fn is_misplaced(pod: &Value) -> bool {
    let init = list(&pod["spec"], "initContainers");
    let tools = init
        .iter()
        .position(|found| is_ours(found) && found["name"] == names::TOOLS_CONTAINER);
    let Some(tools) = tools else {
        return false;
    };
    let needs_it = |found: &Value| {
        found["command"][0] == names::AGENT_IN_TOOLS || list(found, "env").iter().any(reads_our_file)
    };
    init.iter().take(tools).any(needs_it)
}

fn reads_our_file(entry: &Value) -> bool {
    entry["valueFrom"]["fileKeyRef"]["volumeName"] == names::IMAGE_OPTIONS_VOLUME
}

/// Whether a chain of ours has lost its beginning, so that a reference to it may stay unresolved, or its end.
fn has_a_loose_chain(pod: &Value) -> bool {
    let spec = &pod["spec"];
    let mut containers = list(spec, "initContainers")
        .iter()
        .chain(list(spec, "containers"));
    containers.any(|container| {
        let entries = list(container, "env");
        let mut originals: Vec<&str> = entries
            .iter()
            .filter_map(|entry| entry["name"].as_str())
            .filter(|name| name.starts_with(names::ORIGINAL_OPTIONS_PREFIX))
            .collect();
        originals.dedup();
        originals.into_iter().any(|original| is_loose(entries, original))
    })
}

fn is_loose(entries: &[Value], original: &str) -> bool {
    let variable = original
        .strip_prefix(names::ORIGINAL_OPTIONS_PREFIX)
        .unwrap_or_default();
    let mut of_the_chain = entries.iter().filter(|entry| entry["name"] == original);
    let begins = of_the_chain
        .next()
        .is_some_and(|first| is_literal(first) || !is_optional(first));
    let reference = format!("$({original})");
    let end = entries.iter().rfind(|entry| entry["name"] == variable);
    // One without any end is completed.
    let ends = end.is_none_or(|end| {
        end["value"]
            .as_str()
            .is_some_and(|value| value.contains(&reference))
    });
    !begins || !ends
}

/// Whether a container of ours that runs from the application's image runs from one that no container has any more: a
/// neighbour has turned to a mirror, which the nodes may reach alone.
fn is_of_another_image(pod: &Value) -> bool {
    let spec = &pod["spec"];
    let all = || {
        list(spec, "initContainers")
            .iter()
            .chain(list(spec, "containers"))
    };
    let borrowed = |found: &&Value| is_ours(found) && found["command"][0] == names::AGENT_IN_TOOLS;
    all().filter(borrowed).any(|ours| {
        let image = |found: &Value| found["image"].as_str().unwrap_or_default().to_owned();
        !all()
            .filter(|found| !is_ours(found))
            .any(|found| image(found) == image(ours))
    })
}

/// Whether a container is an agent.
pub(super) fn ships(container: &Value) -> bool {
    is_ours(container) && container["command"][1] == "ship"
}

fn list<'v>(parent: &'v Value, key: &str) -> &'v [Value] {
    parent[key].as_array().map_or(&[], Vec::as_slice)
}
