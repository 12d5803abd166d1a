//! What the application's image sets itself (`ENV JAVA_TOOL_OPTIONS=…`), carried over to the pod's own variable. Only a
//! `HeapDumpPath` in it does not win: nobody has seen whether that is on a volume.
//!
//! A pod's variable replaces the image's, and neither webhook nor kubelet can see an image's variables. A container can: an
//! init container *of that image* writes them into env files (`valueFrom.fileKeyRef`, Kubernetes 1.35), from which the
//! kubelet reads them back as one link of the chain in [`options`](super::options). Nobody else could be asked: registries
//! need credentials, and nodes have no API for it.
//!
//! Rules of the kubelet (1.36.3, `kubelet_pods.go`, `env_util.go`): the volume is an `emptyDir`, mounted by init containers
//! only and never by one that reads a key of it. A key that is missing is skipped where the reference is optional, but a
//! *file* that is missing or cannot be parsed, or a volume that nobody mounts, holds the container for ever (seen on a real
//! one, too). So the files are there, and empty, before
//! anything of the application's image runs: the container that fills the tools volume makes them.

use serde_json::{Value, json};

use crate::inject::agent::{self, Agent};
use crate::inject::containers::Target;
use crate::inject::environment::{Environment, is_optional};
use crate::inject::identity::{self, Identity};
use crate::inject::plan::Plan;
use crate::inject::pod::{container_place, is_ours, spec};
use crate::inject::reasons::Skip;
use crate::inject::{resources, runs_everywhere};
use crate::names::{self, variable};
use crate::patch::Place;

/// The longest key of an env file (KEP-3721).
const LONGEST_KEY: usize = 128;

/// The name of the chain that a variable's own sources stand under.
pub(super) fn original(variable: &str) -> String {
    format!("{}{variable}", names::ORIGINAL_OPTIONS_PREFIX)
}

/// The link of a chain that reads the image's own value; `None` where the image's never counts, or cannot be had.
pub(super) fn link(
    plan: &Plan<'_>,
    container: &str,
    variable: &str,
    environment: &Environment<'_>,
) -> Option<Value> {
    let possible = plan.settings.image_options
        && plan.context.cluster.env_files
        // Without an agent nobody has looked at this yet.
        && runs_everywhere(plan.pod, plan.policy).is_ok()
        && variable.len() <= LONGEST_KEY
        && !runs_before_the_tools(plan.pod, container);
    (possible && environment.may_come_from_the_image(variable)).then(
        || json!({"name": original(variable), "valueFrom": {"fileKeyRef": reference(container, variable)}}),
    )
}

fn reference(container: &str, variable: &str) -> Value {
    json!({
        "volumeName": names::IMAGE_OPTIONS_VOLUME,
        "path": format!("{container}.env"),
        "key": variable,
        "optional": true,
    })
}

/// An init container that somebody put before what is there of ours already: its file would come too late.
fn runs_before_the_tools(pod: &Value, container: &str) -> bool {
    let list = spec().key("initContainers");
    let position = |name: &str| list.array(pod).iter().position(|found| found["name"] == name);
    match (position(container), position(names::TOOLS_CONTAINER)) {
        (Some(container), Some(tools)) => container < tools,
        (None, _) | (_, None) => false,
    }
}

/// Makes nothing of links that have lost their reference: a webhook whose Kubernetes library is older than 1.34 decodes the
/// pod and drops it, and a `valueFrom` with nothing in it makes the API server reject the pod. The reference does not come
/// back: that webhook may be called once more after us, and then nobody is asked.
pub(super) fn mend(plan: &mut Plan<'_>) {
    let mut broken = Vec::new();
    for (place, _) in containers(plan.draft.document()) {
        let list = place.key("env");
        for (index, entry) in list.array(plan.draft.document()).iter().enumerate() {
            let ours = entry["name"]
                .as_str()
                .is_some_and(|name| name.starts_with(names::ORIGINAL_OPTIONS_PREFIX));
            let empty = entry["valueFrom"]
                .as_object()
                .is_some_and(serde_json::Map::is_empty);
            if ours && empty {
                broken.push(list.at(index));
            }
        }
    }
    for entry in broken {
        plan.draft.set(&entry, "valueFrom", Value::Null);
    }
}

/// An init container that writes the env files of all containers of one image and user.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    name: String,
    identity: Identity,
    containers: Vec<String>,
    variables: Vec<String>,
}

/// One for each image and user whose variables a chain reads: the links that stand in the pod decide, and not why they do.
pub(super) fn writers(plan: &Plan<'_>) -> Vec<Writer> {
    let mut writers: Vec<Writer> = Vec::new();
    for (place, container) in containers(plan.draft.document()) {
        let variables = carried(plan.draft.document(), &place);
        if variables.is_empty() {
            continue;
        }
        let identity = identity::of_the_image(plan, &container);
        let index = writers
            .iter()
            .position(|writer| writer.identity == identity)
            .unwrap_or(writers.len());
        if index == writers.len() {
            writers.push(Writer {
                name: name_for(plan.draft.document(), &container, &writers),
                identity,
                containers: Vec::new(),
                variables: Vec::new(),
            });
        }
        if let Some(writer) = writers.get_mut(index) {
            writer.containers.push(container);
            for variable in variables {
                if !writer.variables.contains(&variable) {
                    writer.variables.push(variable);
                }
            }
        }
    }
    writers
}

/// The variables that a container reads from its env file.
fn carried(pod: &Value, container: &Place) -> Vec<String> {
    let entries = container.key("env").array(pod).iter();
    entries
        .map(|entry| &entry["valueFrom"]["fileKeyRef"])
        .filter(|reference| reference["volumeName"] == names::IMAGE_OPTIONS_VOLUME)
        .filter_map(|reference| reference["key"].as_str().map(str::to_owned))
        .collect()
}

/// The name of the writer that is there for a container's file, or the first free one: another injector may have added a
/// container, which must not change whose image a writer runs from.
fn name_for(pod: &Value, container: &str, others: &[Writer]) -> String {
    let own_file = file(container);
    let list = spec().key("initContainers");
    let ours = || list.array(pod).iter().filter(|found| is_ours(found));
    let name = |found: &Value| found["name"].as_str().unwrap_or_default().to_owned();
    let writes = |found: &&Value| {
        name(found).starts_with(names::IMAGE_OPTIONS_CONTAINER)
            && told(found, variable::ENV_FILES).any(|file| file == own_file)
    };
    let in_use = |name: &String| others.iter().any(|writer| writer.name == *name);
    if let Some(found) = ours().filter(writes).map(name).find(|name| !in_use(name)) {
        return found;
    }
    let taken: Vec<String> = ours()
        .map(name)
        .chain(others.iter().map(|writer| writer.name.clone()))
        .collect();
    // One more than are taken: one of them is free.
    let mut candidates = (1..=taken.len() + 1).map(|number| match number {
        1 => names::IMAGE_OPTIONS_CONTAINER.to_owned(),
        _ => format!("{}-{number}", names::IMAGE_OPTIONS_CONTAINER),
    });
    candidates
        .find(|candidate| !taken.contains(candidate))
        .unwrap_or_else(|| names::IMAGE_OPTIONS_CONTAINER.to_owned())
}

/// A variable of a container of ours that holds a list.
fn told<'v>(container: &'v Value, name: &str) -> impl Iterator<Item = &'v str> {
    let entries = container["env"].as_array().into_iter().flatten();
    let mut named = entries.filter(move |entry| entry["name"] == name);
    let text = named.find_map(|entry| entry["value"].as_str());
    text.unwrap_or_default().split(',')
}

fn file(container: &str) -> String {
    format!("{}/{container}.env", names::IMAGE_OPTIONS_PATH)
}

/// What a container of ours is told of the files.
fn files<'w>(writers: impl Iterator<Item = &'w Writer>) -> Value {
    let files: Vec<String> = writers
        .flat_map(|writer| &writer.containers)
        .map(|container| file(container))
        .collect();
    json!({"name": variable::ENV_FILES, "value": files.join(",")})
}

fn mount() -> Value {
    json!({"name": names::IMAGE_OPTIONS_VOLUME, "mountPath": names::IMAGE_OPTIONS_PATH})
}

/// Lets the container that fills the tools volume make the files, empty.
pub(super) fn prepare(tools: &mut Value, writers: &[Writer]) {
    if writers.is_empty() {
        return;
    }
    tools["env"] = json!([files(writers.iter())]);
    if let Some(mounts) = tools["volumeMounts"].as_array_mut() {
        mounts.push(mount());
    }
}

/// Adds the writers, directly behind the container that fills the tools volume.
///
/// # Errors
/// [`Skip::NameTaken`].
pub(super) fn add(plan: &mut Plan<'_>, writers: &[Writer]) -> Result<(), Skip> {
    if writers.is_empty() {
        return Ok(());
    }
    plan.volume(names::IMAGE_OPTIONS_VOLUME, &json!({"emptyDir": {}}))?;
    let list = spec().key("initContainers");
    for (offset, writer) in writers.iter().enumerate() {
        let all = list.array(plan.draft.document());
        let tools = all
            .iter()
            .position(|found| found["name"] == names::TOOLS_CONTAINER)
            .map_or(0, |tools| tools + 1);
        let index = (tools + offset).min(all.len());
        let container = container(plan, writer);
        agent::put(plan, &container, index)?;
        let said = format!(
            "init container {} from {} hands the image's own {} on to {}",
            writer.name,
            container["image"].as_str().unwrap_or_default(),
            writer.variables.join(", "),
            writer.containers.join(", ")
        );
        plan.step("image-options", said);
    }
    Ok(())
}

fn container(plan: &Plan<'_>, writer: &Writer) -> Value {
    let Writer {
        name,
        identity,
        containers: _,
        variables,
    } = writer;
    let (image, pull) = identity.borrowed.clone().unwrap_or_default();
    let mut container = json!({
        "name": name,
        "image": image,
        "command": [names::AGENT_IN_TOOLS, "image-options"],
        // The image's own may be closed to the user that the pod states; its container may have another one, too.
        "workingDir": "/",
        "env": [
            files(std::iter::once(writer)),
            {"name": variable::IMAGE_VARIABLES, "value": variables.join(",")},
        ],
        "volumeMounts": [
            mount(),
            agent::no_token(),
            {"name": names::TOOLS_VOLUME, "mountPath": names::TOOLS_PATH, "readOnly": true},
        ],
        "securityContext": identity.security_context,
    });
    agent::set_if(&mut container, "imagePullPolicy", pull.map(Value::String));
    agent::set_if(&mut container, "resources", Some(resources::ours(plan)));
    container
}

/// The variables that an image may set itself and the pod's replace, unseen: not carried over.
pub(super) fn replaced(plan: &Plan<'_>, target: &Target) -> Vec<String> {
    let (Some(place), Some(noted)) = (
        container_place(plan.draft.document(), &target.name),
        plan.replaced.containers.get(&target.name),
    ) else {
        return Vec::new();
    };
    let carried = carried(plan.draft.document(), &place);
    let of_the_chain = |variable: &str| {
        let name = original(variable);
        let entries = place.key("env").array(plan.draft.document()).iter();
        entries.filter(move |entry| entry["name"] == name.as_str())
    };
    let unseen = noted
        .options
        .iter()
        .filter(|(variable, added)| match added.links {
            None => added.absent,
            // Behind ours stand the user's: one that is not optional decides.
            Some(ours) => of_the_chain(variable).skip(ours).all(is_optional),
        });
    unseen
        .map(|(variable, _)| variable.clone())
        .filter(|variable| !carried.contains(variable))
        .collect()
}

/// Says for each target what of its image may be replaced, and who will tell.
pub(super) fn tell(plan: &mut Plan<'_>, agents: &[Agent]) {
    for target in plan.targets.clone() {
        let variables = replaced(plan, &target).join(", ");
        if variables.is_empty() {
            continue;
        }
        let why = if !plan.settings.image_options {
            "heapship.io/image-options is off"
        } else if plan.context.cluster.env_files {
            "it cannot be carried over here"
        } else {
            "carrying it over takes Kubernetes 1.35 or newer on every node"
        };
        let seen = agents.iter().any(|agent| {
            let its = agent.targets.iter().any(|found| found.name == target.name);
            its && agent.identity.borrowed.is_some()
        });
        let who = if seen {
            "the agent runs from that image and reports it"
        } else {
            "nobody sees it: look into the image"
        };
        let said = format!(
            "container {}: where the image itself sets {variables}, that is replaced, since {why}; {who}",
            target.name
        );
        plan.step("image-options-replaced", said);
    }
}

/// The pod's own containers of both kinds, where they stand and what they are called.
fn containers(pod: &Value) -> Vec<(Place, String)> {
    ["initContainers", "containers"]
        .into_iter()
        .map(|list| spec().key(list))
        .flat_map(|list| {
            let elements = list.array(pod).iter().enumerate();
            let own = elements.filter(|(_, container)| !is_ours(container));
            own.filter_map(|(index, container)| {
                Some((list.at(index), container["name"].as_str()?.to_owned()))
            })
            .collect::<Vec<_>>()
        })
        .collect()
}

#[cfg(test)]
mod tests;
