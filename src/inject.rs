//! Pod + settings + cluster facts -> patch and notes. Pure: no clock, no I/O, no randomness.
//!
//! The webhook, `heapship inject`, `heapship explain` and the tests call the one function [`inject`]; [`uninject`] is its
//! inverse. A pod is raw JSON all the way: a typed one would lose the fields that its version does not know.

use std::collections::BTreeMap;
use std::fmt;

use json_patch::Patch;
use serde_json::{Value, json};

use crate::destination::Scheme;
use crate::inject::plan::Plan;
use crate::inject::proof::Proof;
use crate::inject::replaced::Replaced;
use crate::names;
use crate::patch::{Draft, Place};
use crate::settings::policy::{Policies, Policy};
use crate::settings::{Annotations, Layers, OnOom, PreStop, Request, Resolved, Settings, resolve};

mod agent;
pub mod catalogue;
mod containers;
mod damage;
mod environment;
pub mod expansion;
mod identity;
mod image_options;
pub mod java_options;
mod launchers;
mod options;
mod plan;
mod pod;
mod pre_stop;
mod proof;
pub mod reasons;
pub mod replaced;
mod resources;
mod undo;
mod volumes;
mod workload;

pub use pod::{carries_injection, is_ours};
pub use reasons::{Note, Severity, Skip};
pub use undo::uninject;
pub use workload::owner;

/// What decides about a pod besides its own text. Whoever calls looks it up.
#[derive(Clone, Debug)]
pub struct Context<'a> {
    /// The namespace that the pod is created in.
    pub namespace: &'a Namespace,
    /// What the platform team decided.
    pub policies: &'a Policies,
    /// What is known of the cluster.
    pub cluster: &'a Cluster,
    /// `Kind/name` of the workload, where the caller holds it: a template has no owner references yet.
    pub workload: Option<String>,
}

/// A namespace's metadata.
#[derive(Clone, Debug, Default)]
pub struct Namespace {
    /// Its name; `default` where nobody says.
    pub name: String,
    /// Its labels, for the selectors of policies.
    pub labels: BTreeMap<String, String>,
    /// Its annotations: defaults for its pods.
    pub annotations: BTreeMap<String, String>,
}

/// Facts about the cluster.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// What `{cluster}` in an object key becomes.
    pub name: String,
    /// Version of the API server.
    pub version: KubernetesVersion,
    /// The namespace of the webhook itself, whose pods are never touched.
    pub own_namespace: Option<String>,
    /// Whether API server and every kubelet know environment files (`valueFrom.fileKeyRef`): a server without them rejects
    /// the pod, so unknown means no.
    pub env_files: bool,
}

/// `1.36` and so on; patch levels and vendors' suffixes do not matter to us.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct KubernetesVersion {
    /// Always 1 so far.
    pub major: u16,
    /// The release.
    pub minor: u16,
}

/// What [`inject`] decided, and the means to say and to do it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Injected, left alone with a reason, or nobody asked.
    pub decision: Decision,
    /// Operations that make [`Outcome::pod`] out of the given pod; proven to apply. May hold only the status annotation
    /// where the pod is left alone, and is empty where nothing changes.
    pub patch: Patch,
    /// The pod with the patch applied.
    pub pod: Value,
    /// What a person should know, in the order of the steps.
    pub notes: Vec<Note>,
    /// Every setting that somebody wrote, and where.
    pub settings: Resolved,
    /// The policy that selects the pod.
    pub policy: Option<String>,
}

/// The decision about one pod.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Decision {
    /// The pod carries the whole injection now, whether or not something was missing.
    Injected,
    /// The pod is left alone. The reason is reported where somebody asked for the injection.
    Skipped(Skip),
    /// Nobody asked for this pod: not an annotation, not a namespace, not a policy.
    NotAsked,
}

impl Decision {
    /// Whether the pod is none of ours: nobody asked, or what was asked is not even answered by a status.
    #[must_use]
    pub fn leaves_no_trace(&self) -> bool {
        match self {
            Self::Injected => false,
            Self::Skipped(skip) => skip.leaves_no_trace(),
            Self::NotAsked => true,
        }
    }

    /// The outcome as a metric's label and audit value.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Injected => "injected",
            Self::Skipped(_) => "skipped",
            Self::NotAsked => "not-asked",
        }
    }

    /// The reason code; empty where there is no reason to give.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Skipped(skip) => skip.label(),
            Self::Injected | Self::NotAsked => "",
        }
    }
}

impl Outcome {
    /// What the API server hands to whoever made the request.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let skipped = match &self.decision {
            Decision::Skipped(skip) if !skip.leaves_no_trace() => {
                Some(format!("heapship: not injected: {skip}"))
            }
            _ => None,
        };
        let notes = self
            .notes
            .iter()
            .filter(|note| note.severity == Severity::Warning);
        skipped
            .into_iter()
            .chain(notes.map(|note| format!("heapship: {}", note.text)))
            .collect()
    }
}

impl KubernetesVersion {
    /// The version assumed where nobody says: the newest that the tests run on.
    pub const NEWEST: Self = Self { major: 1, minor: 36 };
    /// Native sidecars are on by default from here.
    pub const NATIVE_SIDECARS: Self = Self { major: 1, minor: 29 };
    /// Environment files (KEP-3721) are on by default from here.
    pub const ENV_FILES: Self = Self { major: 1, minor: 35 };

    /// Reads `1.36`, `v1.36.2`, `1.29+`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().trim_start_matches('v').split('.');
        let digits = |part: Option<&str>| {
            let part = part?;
            let end = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
            part.get(..end)?.parse().ok()
        };
        Some(Self {
            major: digits(parts.next())?,
            minor: digits(parts.next())?,
        })
    }
}

impl fmt::Display for KubernetesVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Decides about one pod and makes the patch.
///
/// Applied to its own result it gives no patch, with the same warnings. Never fails: what cannot be injected is left
/// alone, with the reason.
#[must_use]
pub fn inject(pod: &Value, context: &Context<'_>) -> Outcome {
    let annotations = texts(&pod["metadata"]["annotations"]);
    let labels = texts(&pod["metadata"]["labels"]);
    let policy = context
        .policies
        .select(&context.namespace.name, &context.namespace.labels, &labels);
    let layers = Layers {
        policy,
        namespace: &context.namespace.annotations,
        pod: &annotations,
    };
    let resolved = resolve(&layers);
    let mut notes: Vec<Note> = resolved
        .warnings
        .iter()
        .map(|(code, text)| Note::warning(code, text.clone()))
        .collect();
    let decided = match (&resolved.request, untouchable(pod, context)) {
        (Request::NotAsked, _) => Err(Decision::NotAsked),
        (_, Some(skip)) => Err(Decision::Skipped(skip)),
        (Request::OptedOut(level), None) => Err(Decision::Skipped(Skip::OptedOut(level.clone()))),
        (Request::Inject(_), None) => match &resolved.settings {
            Err(invalid) => Err(Decision::Skipped(Skip::InvalidAnnotation(invalid.clone()))),
            Ok(settings) => attempt(pod, settings, policy, context, &mut notes).map_err(Decision::Skipped),
        },
    };
    let (decision, patch, patched) = match decided {
        Ok((patch, patched)) => (Decision::Injected, patch, patched),
        Err(decision) => {
            let (patch, patched) = match &decision {
                Decision::Skipped(skip) if !skip.leaves_no_trace() => status_alone(pod, skip),
                // Whoever does not want it any more, or cannot have it, must not be left with what holds the pod.
                _ => removed(pod),
            }
            .unwrap_or_else(|| (Patch(Vec::new()), pod.clone()));
            (decision, patch, patched)
        }
    };
    let policy = policy.map(|policy| policy.name.clone());
    Outcome {
        decision,
        patch,
        pod: patched,
        notes,
        settings: resolved,
        policy,
    }
}

/// Pods that are not even given a status.
fn untouchable(pod: &Value, context: &Context<'_>) -> Option<Skip> {
    let namespace = &context.namespace.name;
    let excluded = names::SYSTEM_NAMESPACES.contains(&namespace.as_str())
        || context.cluster.own_namespace.as_ref() == Some(namespace);
    let spec = &pod["spec"];
    let annotations = &pod["metadata"]["annotations"];
    let source = annotations["kubernetes.io/config.source"].as_str();
    let host_process = |security: &Value| security["windowsOptions"]["hostProcess"] == true;
    let containers = spec["containers"].as_array();
    if excluded {
        Some(Skip::ExcludedNamespace(namespace.clone()))
    } else if annotations["kubernetes.io/config.mirror"].is_string()
        || source.is_some_and(|source| source != "api")
    {
        Some(Skip::MirrorPod)
    } else if pod["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "kubectl-debug" {
        Some(Skip::DebugPod)
    } else if spec["os"]["name"] == "windows"
        || spec["nodeSelector"]["kubernetes.io/os"] == "windows"
        || host_process(&spec["securityContext"])
        || containers.is_some_and(|all| {
            all.iter()
                .any(|container| host_process(&container["securityContext"]))
        })
    {
        Some(Skip::Windows)
    } else if containers.is_none_or(Vec::is_empty) {
        Some(Skip::NotAPod("it has no containers"))
    } else {
        None
    }
}

/// Patches. Where remains of an earlier injection are in the way of this one, without them.
fn attempt(
    pod: &Value,
    settings: &Settings,
    policy: Option<&Policy>,
    context: &Context<'_>,
    notes: &mut Vec<Note>,
) -> Result<(Patch, Value), Skip> {
    let skip = if damage::is_beyond_completion(pod) {
        None
    } else {
        match patched(pod, settings, policy, context, notes) {
            Err(skip) if skip.is_an_obstacle() => Some(skip),
            done => return done,
        }
    };
    let clean = match (undo::without_remains(pod), skip) {
        (Some(clean), _) => clean,
        (None, Some(skip)) => return Err(skip),
        (None, None) => return patched(pod, settings, policy, context, notes),
    };
    let (_, mut whole) = patched(&clean, settings, policy, context, notes)?;
    if agent::is_doubtful(pod) {
        agent::let_prove(&mut whole, notes);
    }
    let draft = replaced_by(pod, &whole);
    draft.finish().map_err(|error| Skip::Internal(error.to_string()))
}

/// From a pod to another form of it, in what an injection writes to.
fn replaced_by(pod: &Value, other: &Value) -> Draft {
    let mut draft = Draft::new(pod);
    draft.set(&Place::root(), "spec", other["spec"].clone());
    let annotations = other["metadata"]["annotations"].clone();
    let annotations = if annotations.is_null() {
        json!({})
    } else {
        annotations
    };
    draft.set(&Place::root().key("metadata"), "annotations", annotations);
    draft
}

/// Runs the rules in their order.
fn patched(
    pod: &Value,
    settings: &Settings,
    policy: Option<&Policy>,
    context: &Context<'_>,
    notes: &mut Vec<Note>,
) -> Result<(Patch, Value), Skip> {
    possible(pod, settings, policy, context)?;
    volumes::names_are_free(pod)?;
    let mut plan = Plan {
        pod,
        draft: Draft::new(pod),
        settings,
        policy,
        context,
        targets: containers::choose(pod, &settings.containers)?,
        replaced: Replaced::of(pod),
        notes: notes.clone(),
        qos: resources::qos(pod),
    };
    // A pod that is left alone after all has had no steps: what was said on the way is dropped with the draft.
    let attach = run(&mut plan)?;
    let Plan {
        draft,
        targets,
        notes: said,
        ..
    } = plan;
    let (patch, patched) = draft
        .finish()
        .map_err(|error| Skip::Internal(error.to_string()))?;
    if !patch.0.is_empty() {
        let proof = Proof {
            before: pod,
            after: &patched,
            settings,
            targets: &targets,
            attach: &attach,
        };
        proof.check().map_err(Skip::Internal)?;
    }
    *notes = said;
    Ok((patch, patched))
}

/// Returns the containers that the toolbox attaches to.
fn run(plan: &mut Plan<'_>) -> Result<Vec<String>, Skip> {
    let toolbox = pre_stop::containers(plan);
    for index in 0..plan.targets.len() {
        let Some(target) = plan.targets.get(index).cloned() else {
            break;
        };
        let foreign = options::set(plan, &target, toolbox.contains(&target.name))?;
        if let Some(target) = plan.targets.get_mut(index) {
            target.foreign = foreign;
        }
    }
    volumes::dumps(plan)?;
    pre_stop::add(plan, &toolbox);
    image_options::mend(plan);
    let agents = agent::agents(plan);
    let writers = image_options::writers(plan);
    let tools = agent::tools_volume(plan, &agents, &writers, &toolbox)?;
    agent::add(plan, &agents, &writers, tools)?;
    image_options::tell(plan, &agents);
    sign(plan, &agents)?;
    Ok(toolbox)
}

/// What the settings and the cluster rule out before the pod is looked at more closely.
fn possible(
    pod: &Value,
    settings: &Settings,
    policy: Option<&Policy>,
    context: &Context<'_>,
) -> Result<(), Skip> {
    if settings.on_oom == OnOom::Off && settings.pre_stop == PreStop::Off {
        return Err(Skip::NothingAsked);
    }
    if settings.agent || settings.pre_stop != PreStop::Off {
        runs_everywhere(pod, policy)?;
    }
    if !settings.agent {
        return Ok(());
    }
    if context.cluster.version < KubernetesVersion::NATIVE_SIDECARS {
        return Err(Skip::KubernetesTooOld(context.cluster.version));
    }
    match &settings.destination {
        None => return Err(Skip::NoDestination),
        Some(destination) if matches!(destination.scheme, Scheme::Gs | Scheme::Az) => {
            return Err(Skip::UnsupportedStore(destination.to_string()));
        }
        Some(_) => {}
    }
    Ok(())
}

/// An image that cannot run on the node would hold the application in Init for ever.
fn runs_everywhere(pod: &Value, policy: Option<&Policy>) -> Result<(), Skip> {
    const ARCH: &str = "kubernetes.io/arch";
    let Some(built_for) = policy.and_then(|policy| policy.agent.architectures.as_ref()) else {
        return Ok(());
    };
    let selected = pod["spec"]["nodeSelector"][ARCH].as_str();
    let required = &pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    let terms = required["nodeSelectorTerms"].as_array().into_iter().flatten();
    let allowed = terms
        .flat_map(|term| term["matchExpressions"].as_array().into_iter().flatten())
        .filter(|expression| expression["key"] == ARCH && expression["operator"] == "In")
        .flat_map(|expression| expression["values"].as_array().into_iter().flatten())
        .filter_map(Value::as_str);
    let mut asked = selected.into_iter().chain(allowed);
    match asked.find(|asked| !built_for.iter().any(|arch| arch == asked)) {
        Some(missing) => Err(Skip::Architecture(missing.to_owned())),
        None => Ok(()),
    }
}

/// The annotations: what was replaced, and what was done. A pod that carries the whole injection keeps the status that
/// it has.
fn sign(plan: &mut Plan<'_>, agents: &[agent::Agent]) -> Result<(), Skip> {
    let whole = plan.draft.is_untouched();
    let annotations = Place::root().key("metadata").key("annotations");
    if whole && annotations.key(names::STATUS).of(plan.pod).is_some() {
        return Ok(());
    }
    plan.note_if_empty(&Place::root().key("metadata"), "metadata");
    plan.note_if_empty(&annotations, "annotations");
    if let Some(replaced) = plan.replaced.to_text() {
        if !fits(plan.draft.document(), names::REPLACED, &replaced) {
            return Err(Skip::AnnotationsTooLarge);
        }
        plan.draft
            .set(&annotations, names::REPLACED, Value::String(replaced));
    }
    let containers: Vec<&str> = plan.targets.iter().map(|target| target.name.as_str()).collect();
    let agents: Vec<&str> = agents.iter().map(|agent| agent.name.as_str()).collect();
    let status = json!({
        "decision": "injected",
        "version": env!("CARGO_PKG_VERSION"),
        "containers": containers,
        "agents": agents,
    })
    .to_string();
    if fits(plan.draft.document(), names::STATUS, &status) {
        plan.draft.set(&annotations, names::STATUS, Value::String(status));
    }
    Ok(())
}

/// Whether an annotation has room: Kubernetes counts the keys and values of all of an object's annotations.
fn fits(pod: &Value, key: &str, value: &str) -> bool {
    const MOST: usize = 256 << 10;
    let found = pod["metadata"]["annotations"].as_object().into_iter().flatten();
    let others = found.filter(|(name, _)| *name != key);
    let used: usize = others
        .map(|(name, text)| name.len() + text.as_str().map_or(0, str::len))
        .sum();
    used + key.len() + value.len() <= MOST
}

/// A pod that is left alone says why, where it can still be said.
fn status_alone(pod: &Value, skip: &Skip) -> Option<(Patch, Value)> {
    // Enough for every sentence of ours with a user's value in it.
    const MOST: usize = 4096;
    let message: String = skip.to_string().chars().take(MOST).collect();
    let status = json!({"decision": "skipped", "reason": skip.label(), "message": message}).to_string();
    let annotations = Place::root().key("metadata").key("annotations");
    // Never half an injection: a hook without its toolbox would be neither ours nor the application's.
    let clean = (skip.is_an_obstacle() || damage::holds_the_pod(pod))
        .then(|| undo::without_remains(pod))
        .flatten();
    let mut draft = match &clean {
        Some(clean) => replaced_by(pod, clean),
        None => Draft::new(pod),
    };
    let original = clean.as_ref().unwrap_or(pod);
    let mut replaced = Replaced::of(original);
    replaced.note_if_empty(original.get("metadata"), "metadata");
    replaced.note_if_empty(annotations.of(original), "annotations");
    if let Some(replaced) = replaced.to_text() {
        draft.set(&annotations, names::REPLACED, Value::String(replaced));
    }
    if !fits(draft.document(), names::STATUS, &status) {
        return removed(pod);
    }
    draft.set(&annotations, names::STATUS, Value::String(status));
    draft.finish().ok()
}

/// The pod without what is left of an injection, where that would hold it.
fn removed(pod: &Value) -> Option<(Patch, Value)> {
    let clean = damage::holds_the_pod(pod)
        .then(|| undo::without_remains(pod))
        .flatten()?;
    replaced_by(pod, &clean).finish().ok()
}

/// The members of an annotation or label map that are text; nothing where it is none.
#[must_use]
pub fn texts(object: &Value) -> Annotations {
    let members = object.as_object().into_iter().flatten();
    members
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

#[cfg(test)]
mod tests;
