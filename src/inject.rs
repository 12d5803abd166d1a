//! Pod + settings + cluster facts -> patch and notes. Pure: no clock, no I/O, no randomness.
//!
//! The webhook, `heapship inject`, `heapship explain` and the tests call the one function [`inject`].

use std::collections::BTreeMap;

use serde_json::Value;

use crate::settings::policy::Policies;

/// What decides about a pod besides its own text. Whoever calls looks it up.
#[derive(Clone, Debug)]
pub struct Context<'a> {
    /// The namespace that the pod is created in.
    pub namespace: &'a Namespace,
    /// What the platform team decided.
    pub policies: &'a Policies,
    /// What is known of the cluster.
    pub cluster: &'a Cluster,
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
    /// Injected, already whole, left alone with a reason, or nobody asked.
    pub decision: Decision,
    /// Operations that make the patched pod out of the given one; proven to apply. May hold only the status
    /// annotation where the pod is left alone, and is empty where nothing changes.
    pub patch: json_patch::Patch,
    /// The pod with the patch applied.
    pub pod: Value,
    /// What a person should know: in order of the steps, each with a stable code.
    pub notes: Vec<Note>,
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

/// Why a pod that somebody asked about is left alone. `label` is the metric's label, `Display` what a person reads.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Skip {
    /// Placeholder.
    #[error("placeholder")]
    Placeholder,
}

impl Skip {
    /// The reason code: kebab-case and stable.
    #[must_use]
    pub fn label(&self) -> &'static str {
        "placeholder"
    }
}

/// Something a person should know about an injection.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Note {
    /// Whether it goes out as an admission warning or only into `explain`.
    pub severity: Severity,
    /// The reason code: kebab-case and stable.
    pub code: &'static str,
    /// One sentence.
    pub text: String,
}

/// Who hears a [`Note`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Severity {
    /// `explain` and `demo` tell it: what was done, step by step.
    Step,
    /// An admission warning.
    Warning,
}

/// Decides about one pod and makes the patch.
#[must_use]
pub fn inject(pod: &Value, context: &Context<'_>) -> Outcome {
    let _ = context;
    Outcome {
        decision: Decision::NotAsked,
        patch: json_patch::Patch(Vec::new()),
        pod: pod.clone(),
        notes: Vec::new(),
    }
}

/// Stand-in.
#[must_use]
pub fn uninject(pod: &Value) -> Value {
    pod.clone()
}
