//! The agent's containers, and the init container that fills the tools volume.

use serde_json::{Value, json};

use crate::destination::Scheme;
use crate::inject::containers::Target;
use crate::inject::damage;
use crate::inject::identity::{self, Identity};
use crate::inject::image_options::{self, Writer};
use crate::inject::plan::Plan;
use crate::inject::pod::{from_field, is_ours, spec};
use crate::inject::reasons::{Note, Skip};
use crate::inject::{resources, volumes, workload};
use crate::names::{self, variable};
use crate::patch::Place;
use crate::settings::policy::Policy;
use crate::settings::{Settings, Volume};

/// One agent and whose dumps it ships.
#[derive(Clone, Debug)]
pub(super) struct Agent {
    pub(super) name: String,
    pub(super) identity: Identity,
    pub(super) targets: Vec<Target>,
}

/// One agent for each distinct identity among the targets, in their order.
pub(super) fn agents(plan: &mut Plan<'_>) -> Vec<Agent> {
    let mut agents: Vec<Agent> = Vec::new();
    if !plan.settings.agent {
        return agents;
    }
    if plan.settings.run_as_user == Some(0) {
        let states = |place: &Value| place["securityContext"]["runAsNonRoot"] == true;
        let containers = plan.pod["spec"]["containers"].as_array();
        if states(&plan.pod["spec"]) || containers.is_some_and(|all| all.iter().any(states)) {
            let said = "heapship.io/run-as-user is 0, which runAsNonRoot forbids: the agent runs from the application's image";
            plan.warn("run-as-user-refused", said.to_owned());
        }
    }
    for target in &plan.targets.clone() {
        let identity = identity::of(plan, &target.name);
        match agents.iter_mut().find(|agent| agent.identity == identity) {
            Some(agent) => agent.targets.push(target.clone()),
            None => agents.push(Agent {
                name: String::new(),
                identity,
                targets: vec![target.clone()],
            }),
        }
    }
    give_names(&mut agents, plan.pod);
    agents
}

/// An agent that is there keeps its name, though a neighbour may have put a container with another identity in front of its
/// own meanwhile: it would be told to read what it cannot.
fn give_names(agents: &mut [Agent], pod: &Value) {
    let mut there: Vec<&Value> = pod["spec"]["initContainers"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|found| damage::ships(found))
        .collect();
    let mut used: Vec<String> = there.iter().filter_map(|found| name_of(found)).collect();
    for agent in agents.iter_mut() {
        if let Some(index) = there.iter().position(|found| agent.identity.is_of(found)) {
            agent.name = name_of(there.remove(index)).unwrap_or_default();
        }
    }
    for agent in agents.iter_mut().filter(|agent| agent.name.is_empty()) {
        agent.name = if there.is_empty() {
            let free = (1..=used.len() + 1)
                .map(numbered)
                .find(|name| !used.contains(name));
            free.unwrap_or_default()
        } else {
            // Somebody gave it another identity; it is still ours.
            name_of(there.remove(0)).unwrap_or_default()
        };
        used.push(agent.name.clone());
    }
}

fn name_of(container: &Value) -> Option<String> {
    container["name"].as_str().map(str::to_owned)
}

/// Names stay below the 63 characters of a label whatever the application's containers are called.
fn numbered(number: usize) -> String {
    match number {
        1 => names::AGENT_CONTAINER.to_owned(),
        number => format!("{}-{number}", names::AGENT_CONTAINER),
    }
}

/// Whether the tools volume must be filled.
fn needs_tools(agents: &[Agent], writers: &[Writer], toolbox_in: &[String]) -> bool {
    !toolbox_in.is_empty()
        || !writers.is_empty()
        || agents.iter().any(|agent| agent.identity.borrowed.is_some())
}

/// Adds the containers: tools first, then what an image's own options need; agents last, or directly before the first init
/// container that is itself a target.
///
/// # Errors
/// [`Skip::NameTaken`], [`Skip::FileDestination`].
pub(super) fn add(
    plan: &mut Plan<'_>,
    agents: &[Agent],
    writers: &[Writer],
    tools: bool,
) -> Result<(), Skip> {
    let list = spec().key("initContainers");
    if tools {
        let container = tools_container(plan, writers);
        put(plan, &container, 0)?;
    }
    if tools || !agents.is_empty() {
        // The API server mounts the application's token into every container that has nothing at that path, and gives the pod a
        // volume for it where it had none.
        plan.volume(names::NO_TOKEN_VOLUME, &json!({"emptyDir": {}}))?;
    }
    image_options::add(plan, writers)?;
    let mut first_target = None;
    for (index, container) in list.array(plan.draft.document()).iter().enumerate() {
        let chosen = plan
            .targets
            .iter()
            .any(|target| target.init && container["name"] == target.name.as_str());
        if chosen && first_target.is_none() {
            first_target = Some(index);
        }
    }
    for agent in agents {
        let container = agent_container(plan, agent)?;
        let length = list.array(plan.draft.document()).len();
        let index = first_target.unwrap_or(length);
        if put(plan, &container, index)? {
            first_target = first_target.map(|first| first + 1);
        }
        let whose: Vec<&str> = agent.targets.iter().map(|target| target.name.as_str()).collect();
        let image = container["image"].as_str().unwrap_or_default();
        let why = match &agent.identity.borrowed {
            Some(_) => "the application's own image, since only that knows its user".to_owned(),
            None => format!("user {}", agent.identity.security_context["runAsUser"]),
        };
        plan.step(
            "agent",
            format!(
                "native sidecar {} from {image} ships the dumps of {} ({why})",
                agent.name,
                whose.join(", ")
            ),
        );
    }
    Ok(())
}

/// Adds a container unless it is there; completes one that lost something. `true` where it was added.
pub(super) fn put(plan: &mut Plan<'_>, container: &Value, index: usize) -> Result<bool, Skip> {
    let list = spec().key("initContainers");
    let taken = |found: &Value| found["name"] == container["name"];
    for kind in ["containers", "ephemeralContainers"] {
        if spec().key(kind).array(plan.draft.document()).iter().any(taken) {
            return Err(name_taken(container));
        }
    }
    match list.array(plan.draft.document()).iter().position(taken) {
        None => {
            plan.insert(&list, "initContainers", index, container.clone());
            Ok(true)
        }
        Some(at) if list.at(at).of(plan.draft.document()).is_some_and(is_ours) => {
            if container["restartPolicy"] == "Always" {
                make_sidecar_again(plan, &list.at(at));
            }
            plan.draft.complete(&list.at(at), container);
            // Whom it serves may have changed: another injector added a container meanwhile.
            let environment = list.at(at).key("env");
            for whom in [
                variable::CONTAINERS,
                variable::ENV_FILES,
                variable::IMAGE_VARIABLES,
            ] {
                let named = |entry: &&Value| entry["name"] == whom;
                let ours = container["env"].as_array().into_iter().flatten().find(named);
                let all = environment.array(plan.draft.document());
                let found = all.iter().position(|entry| named(&entry));
                if let (Some(ours), Some(index)) = (ours, found) {
                    plan.draft
                        .set(&environment.at(index), "value", ours["value"].clone());
                }
            }
            Ok(false)
        }
        Some(_) => Err(name_taken(container)),
    }
}

/// Whether another webhook has been seen to take `restartPolicy` off an agent of this pod.
pub(super) fn is_doubtful(pod: &Value) -> bool {
    let mut agents = pod["spec"]["initContainers"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|found| damage::ships(found));
    agents.any(|agent| {
        let mut told = agent["env"].as_array().into_iter().flatten();
        agent["restartPolicy"] != "Always" || told.any(|entry| entry["name"] == variable::PROVE_SIDECAR)
    })
}

/// Tells the agents of a pod that was written anew what [`make_sidecar_again`] tells those that were completed.
pub(super) fn let_prove(pod: &mut Value, notes: &mut Vec<Note>) {
    let agents = pod["spec"]["initContainers"]
        .as_array_mut()
        .into_iter()
        .flatten()
        .filter(|found| damage::ships(found));
    for agent in agents {
        let name = agent["name"].as_str().unwrap_or_default().to_owned();
        if let Some(entries) = agent["env"].as_array_mut() {
            entries.push(json!({"name": variable::PROVE_SIDECAR, "value": "true"}));
        }
        notes.push(Note::warning("restart-policy-taken", policy_taken(&name)));
    }
}

fn policy_taken(name: &str) -> String {
    format!(
        "another webhook took restartPolicy: Always off {name}; it is back, and the agent ends once at its start: should it be \
         taken again, the pod runs without an agent and no dump is shipped"
    )
}

/// Another webhook, built before there were sidecars, drops `restartPolicy`: the application would wait for the agent for
/// ever. It may do so once more after us, and then nobody is asked: so the agent is told to find out.
fn make_sidecar_again(plan: &mut Plan<'_>, agent: &Place) {
    let found = agent.of(plan.draft.document()).unwrap_or(&Value::Null);
    let name = found["name"].as_str().unwrap_or_default().to_owned();
    let mut told = found["env"].as_array().into_iter().flatten();
    let told = told.any(|entry| entry["name"] == variable::PROVE_SIDECAR);
    let taken = found["restartPolicy"] != "Always";
    if taken {
        plan.draft.set(agent, "restartPolicy", json!("Always"));
    }
    if taken && !told {
        let entry = json!({"name": variable::PROVE_SIDECAR, "value": "true"});
        plan.draft.append(&agent.key("env"), entry);
    }
    if taken || told {
        plan.warn("restart-policy-taken", policy_taken(&name));
    }
}

fn name_taken(container: &Value) -> Skip {
    Skip::NameTaken {
        kind: "a container",
        name: container["name"].as_str().unwrap_or_default().to_owned(),
    }
}

fn our_image(plan: &Plan<'_>) -> String {
    plan.policy
        .and_then(|policy| policy.agent.image.clone())
        .unwrap_or_else(|| names::DEFAULT_IMAGE.to_owned())
}

pub(super) fn set_if(container: &mut Value, key: &str, value: Option<Value>) {
    if let Some(value) = value.filter(|value| !value.is_null()) {
        container[key] = value;
    }
}

fn tools_container(plan: &Plan<'_>, writers: &[Writer]) -> Value {
    let mut container = json!({
        "name": names::TOOLS_CONTAINER,
        "image": our_image(plan),
        "command": [names::AGENT_IN_IMAGE, "install", names::TOOLS_PATH],
        "volumeMounts": [{"name": names::TOOLS_VOLUME, "mountPath": names::TOOLS_PATH}, no_token()],
        "securityContext": identity::of_tools(plan),
    });
    image_options::prepare(&mut container, writers);
    set_if(&mut container, "imagePullPolicy", pull_policy(plan.policy));
    set_if(&mut container, "resources", Some(resources::ours(plan)));
    container
}

/// In the place of the application's token.
pub(super) fn no_token() -> Value {
    json!({"name": names::NO_TOKEN_VOLUME, "mountPath": names::SERVICE_ACCOUNT_PATH, "readOnly": true})
}

fn pull_policy(policy: Option<&Policy>) -> Option<Value> {
    policy
        .and_then(|policy| policy.agent.image_pull_policy.clone())
        .map(Value::String)
}

fn agent_container(plan: &mut Plan<'_>, agent: &Agent) -> Result<Value, Skip> {
    let Agent {
        name,
        identity,
        targets,
    } = agent;
    // Whole, so that one agent sees all containers' folders.
    let mut mounts = vec![
        json!({"name": names::DUMPS_VOLUME, "mountPath": names::DUMPS_PATH}),
        no_token(),
    ];
    let (image, pull, program) = match &identity.borrowed {
        Some((image, pull)) => {
            mounts
                .push(json!({"name": names::TOOLS_VOLUME, "mountPath": names::TOOLS_PATH, "readOnly": true}));
            (
                image.clone(),
                pull.clone().map(Value::String),
                names::AGENT_IN_TOOLS,
            )
        }
        None => (our_image(plan), pull_policy(plan.policy), names::AGENT_IN_IMAGE),
    };
    for target in targets {
        if let Some(foreign) = &target.foreign {
            let at = format!("{}/{}", names::FOREIGN_PATH, target.name);
            let mut mount = json!({"name": foreign.volume, "mountPath": at, "readOnly": true});
            set_if(&mut mount, "subPath", foreign.sub_path.clone().map(Value::String));
            mounts.push(mount);
        }
    }
    mounts.extend(store_mount(plan)?);
    let mut container = json!({
        "name": name,
        "image": image,
        "restartPolicy": "Always",
        "command": [program, "ship"],
        "env": environment(plan, agent),
        "volumeMounts": mounts,
        "securityContext": identity.security_context,
    });
    set_if(&mut container, "imagePullPolicy", pull);
    if let Some(secret) = &plan.settings.credentials_secret {
        // Optional: a Secret that is missing must not hold the application in Init.
        container["envFrom"] = json!([{"secretRef": {"name": secret, "optional": true}}]);
    }
    set_if(&mut container, "resources", Some(resources::ours(plan)));
    Ok(container)
}

/// A `file://` destination lies on a volume that the policy names.
fn store_mount(plan: &mut Plan<'_>) -> Result<Option<Value>, Skip> {
    let Some(destination) = plan
        .settings
        .destination
        .as_ref()
        .filter(|d| d.scheme == Scheme::File)
    else {
        return Ok(None);
    };
    let refused = Skip::FileDestination(destination.to_string());
    let store = plan
        .policy
        .and_then(|policy| Some((policy.store.volume.clone()?, policy.store.mount_path.clone()?)));
    let Some((source, path)) = store else {
        return Err(refused);
    };
    let inside = destination.prefix.strip_prefix(path.trim_end_matches('/'));
    if !inside.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
        return Err(refused);
    }
    plan.volume(names::STORE_VOLUME, &source)?;
    Ok(Some(json!({"name": names::STORE_VOLUME, "mountPath": path})))
}

/// What the agent is told.
fn environment(plan: &Plan<'_>, agent: &Agent) -> Vec<Value> {
    // A new setting fails to compile here until someone decides whether the agent needs it.
    let Settings {
        destination,
        key_template,
        compression,
        max_dumps,
        containers: _,
        on_oom: _,
        pre_stop: _,
        pre_stop_order: _,
        pre_stop_delay: _,
        termination_grace_period: _,
        upload_grace: _,
        agent: _,
        image_options: _,
        liveness: _,
        volume,
        credentials_secret: _,
        run_as_user: _,
        java_options_variable: _,
    } = plan.settings;
    // The API server leaves out an empty value: written down, it would be missing in every stored pod.
    let text = |name: &str, value: String| match value.as_str() {
        "" => json!({ "name": name }),
        value => json!({"name": name, "value": escaped(value)}),
    };
    let shared = matches!(volume, Volume::Claim { .. });
    let dumps = if shared {
        // The kubelet puts the UID in. Beside the pod's own folder the agent sees those of pods that have died.
        format!("{}/$({})", names::DUMPS_PATH, variable::POD_UID)
    } else {
        names::DUMPS_PATH.to_owned()
    };
    let mut entries = vec![
        text(variable::CLUSTER, plan.context.cluster.name.clone()),
        from_field(variable::NAMESPACE, "metadata.namespace"),
        from_field(variable::POD, "metadata.name"),
        from_field(variable::POD_UID, "metadata.uid"),
        from_field(variable::NODE, "spec.nodeName"),
        text(variable::WORKLOAD, workload::of(plan).unwrap_or_default()),
        text(variable::CONTAINERS, described(&agent.targets)),
        json!({"name": variable::DUMPS, "value": dumps}),
        text(
            variable::DESTINATION,
            destination.as_ref().map(ToString::to_string).unwrap_or_default(),
        ),
        text(variable::KEY_TEMPLATE, key_template.to_string()),
        text(variable::COMPRESSION, compression.as_str().to_owned()),
        text(variable::MAX_DUMPS, max_dumps.to_string()),
    ];
    if shared {
        entries.push(text(variable::CLAIM, names::DUMPS_PATH.to_owned()));
    }
    if let Some(Policy { store, .. }) = plan.policy {
        let said = [
            (variable::STORE_ENDPOINT, store.endpoint.clone()),
            (variable::STORE_REGION, store.region.clone()),
            (variable::STORE_CA, store.ca_bundle.clone()),
            (variable::STORE_CHECKSUM, store.checksum.clone()),
            (
                variable::STORE_ALLOW_HTTP,
                store.allow_http.then(|| "true".to_owned()),
            ),
        ];
        entries.extend(
            said.into_iter()
                .filter_map(|(name, value)| Some(text(name, value?))),
        );
    }
    if agent.identity.borrowed.is_some() {
        let mut replaced: Vec<String> = Vec::new();
        for variable in agent
            .targets
            .iter()
            .flat_map(|target| image_options::replaced(plan, target))
        {
            if !replaced.contains(&variable) {
                replaced.push(variable);
            }
        }
        if !replaced.is_empty() {
            entries.push(text(variable::REPLACED_OPTIONS, replaced.join(",")));
        }
    }
    entries
}

/// The kubelet expands `$(…)` in a literal and turns `$$` into `$`.
fn escaped(value: &str) -> String {
    value.replace('$', "$$")
}

/// `[{"name": …, "image": …, "foreign": …}]`
fn described(targets: &[Target]) -> String {
    let one = |target: &Target| {
        let Target {
            name,
            image,
            init: _,
            launcher: _,
            foreign,
        } = target;
        let mut value = json!({"name": name, "image": image});
        if let Some(foreign) = foreign {
            value["foreign"] = json!(format!("{}/{name}/{}", names::FOREIGN_PATH, foreign.path));
        }
        value
    };
    Value::Array(targets.iter().map(one).collect()).to_string()
}

/// Adds the tools volume where the toolbox, a borrowed image or an image's own options need it.
///
/// # Errors
/// As [`volumes::tools`].
pub(super) fn tools_volume(
    plan: &mut Plan<'_>,
    agents: &[Agent],
    writers: &[Writer],
    toolbox_in: &[String],
) -> Result<bool, Skip> {
    let needed = needs_tools(agents, writers, toolbox_in);
    if needed {
        volumes::tools(plan, toolbox_in)?;
    }
    Ok(needed)
}
