//! How one live pod stands: does it carry the injection, do its agents run, what became of it. Pure: raw JSON in, for
//! `check`, which sees all pods, and for `explain`, which tells about one.

use serde_json::{Map, Value};

use crate::cli::words;
use crate::inject::{self, Context, Decision, Outcome, carries_injection, is_ours};
use crate::names;
use crate::settings::{Level, Request};

pub(crate) mod agents;

pub use agents::{Agent, Ended, State};

/// One live pod, as much of it as is told about.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Standing {
    /// Where it is.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// `Kind/name` of what it belongs to.
    pub workload: Option<String>,
    /// Under which it and its agents run.
    pub service_account: String,
    /// Whether it carries the injection.
    pub injection: Injection,
    /// Our sidecars in it.
    pub agents: Vec<Agent>,
    /// Why the kubelet threw it out, where that cost a dump.
    pub evicted: Option<String>,
    /// Of the heapship that injected it.
    pub version: Option<String>,
    /// It has ended, or is about to: what it lacks cannot be put right any more.
    pub over: bool,
}

/// Whether a pod carries the injection.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Injection {
    /// All of it.
    Whole,
    /// Some of it; what is missing, one sentence each.
    Partial(Vec<String>),
    /// Nothing, though somebody asks for it.
    Missed(Cause),
    /// Somebody asks, and it is left alone: the reason's code and sentence.
    LeftAlone(&'static str, String),
    /// Nobody asks, or somebody said no.
    NotWanted,
}

/// How a pod came to be without the injection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cause {
    /// It is older than the registration.
    BeforeInstallation,
    /// It is older than the annotation that asks.
    BeforeAsked,
    /// The API server admitted it without an answer of the webhook.
    NoAnswer,
    /// Either it is older than the policy that asks, or there was no answer.
    PolicyOrNoAnswer,
}

/// What tells when things came about; RFC 3339 as the API server writes it, so that text compares as time.
#[derive(Clone, Debug, Default)]
pub struct Times {
    /// The registration was made.
    pub installed: Option<String>,
    /// The namespace's annotations of ours were last written.
    pub asked: Option<String>,
}

impl Standing {
    /// Judges a pod as it is now by what namespace and policies say now.
    #[must_use]
    pub fn of(pod: &Value, context: &Context<'_>, times: &Times) -> Self {
        let outcome = inject::inject(pod, context);
        Self::with(pod, &outcome, times)
    }

    /// The same, where the caller has the outcome.
    #[must_use]
    pub fn with(pod: &Value, outcome: &Outcome, times: &Times) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let phase = &pod["status"]["phase"];
        Self {
            namespace: text(&pod["metadata"]["namespace"]),
            name: text(&pod["metadata"]["name"]),
            workload: inject::owner(pod),
            service_account: text(&pod["spec"]["serviceAccountName"]),
            injection: injection(pod, outcome, times),
            agents: agents::of(pod),
            evicted: evicted(pod),
            version: status(pod)["version"].as_str().map(str::to_owned),
            over: phase == "Succeeded"
                || phase == "Failed"
                || !pod["metadata"]["deletionTimestamp"].is_null(),
        }
    }

    /// What brings a new pod in its place.
    #[must_use]
    pub fn restart(&self) -> String {
        let Self { namespace, name, .. } = self;
        let workload = self.workload.as_deref().unwrap_or_default();
        match workload.split_once('/') {
            Some((kind @ ("Deployment" | "StatefulSet" | "DaemonSet"), owner)) => {
                format!(
                    "kubectl rollout restart {}/{owner} -n {namespace}",
                    kind.to_lowercase()
                )
            }
            Some(("Job", _)) => "a Job is not restarted: delete it and apply it again".to_owned(),
            Some(("CronJob", _)) => "nothing: its next run carries the injection".to_owned(),
            Some(_) => format!("kubectl delete pod {name} -n {namespace}   # its {workload} makes a new one"),
            None => format!("nobody makes a bare pod anew: delete Pod/{name} and apply it again"),
        }
    }
}

impl Cause {
    /// In a sentence about the pod: "it is without because …".
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::BeforeInstallation => "created before heapship was installed",
            Self::BeforeAsked => "created before the annotation asked for it",
            Self::NoAnswer => "created while the webhook did not answer",
            Self::PolicyOrNoAnswer => {
                "created before the policy asked for it, or while the webhook did not answer"
            }
        }
    }
}

/// When annotations of ours were last written to an object; `None` where it carries none, or nobody noted the time.
#[must_use]
pub fn asked_since(metadata: &Value) -> Option<String> {
    let ours = |fields: &Value| {
        let annotations = fields["f:metadata"]["f:annotations"].as_object();
        annotations.is_some_and(|keys| keys.keys().any(|key| is_a_wish(key.trim_start_matches("f:"))))
    };
    let managers = metadata["managedFields"].as_array()?.iter();
    let times = managers.filter(|manager| ours(&manager["fieldsV1"]));
    times
        .filter_map(|manager| manager["time"].as_str())
        .max()
        .map(str::to_owned)
}

fn is_a_wish(annotation: &str) -> bool {
    annotation.starts_with(names::PREFIX) && ![names::STATUS, names::REPLACED].contains(&annotation)
}

fn injection(pod: &Value, outcome: &Outcome, times: &Times) -> Injection {
    let carries = carries_injection(pod);
    match &outcome.decision {
        // Whoever stops asking keeps what runs.
        _ if carries && outcome.decision != Decision::Injected => Injection::Whole,
        Decision::NotAsked => Injection::NotWanted,
        Decision::Skipped(skip) if skip.leaves_no_trace() => Injection::NotWanted,
        Decision::Skipped(skip) => Injection::LeftAlone(skip.label(), skip.to_string()),
        Decision::Injected => match missing(pod, &outcome.pod) {
            missing if missing.is_empty() => Injection::Whole,
            missing if carries => Injection::Partial(missing),
            _ => Injection::Missed(cause(pod, &outcome.settings.request, times)),
        },
    }
}

/// What the patch would add today, the notes about it left out.
fn missing(pod: &Value, patched: &Value) -> Vec<String> {
    let bare = |pod: &Value| {
        let mut pod = without_nothing(pod);
        if let Some(annotations) = pod
            .pointer_mut("/metadata/annotations")
            .and_then(Value::as_object_mut)
        {
            annotations.shift_remove(names::STATUS);
            annotations.shift_remove(names::REPLACED);
        }
        pod
    };
    words::changes(&bare(pod), &bare(patched))
}

/// The API server leaves out what is empty: a variable of ours without a value comes back without the member.
fn without_nothing(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let kept = members
                .iter()
                .filter(|(_, value)| !value.is_null() && *value != "")
                .map(|(key, value)| (key.clone(), without_nothing(value)));
            Value::Object(kept.collect::<Map<_, _>>())
        }
        Value::Array(elements) => Value::Array(elements.iter().map(without_nothing).collect()),
        other => other.clone(),
    }
}

fn cause(pod: &Value, request: &Request, times: &Times) -> Cause {
    let Times { installed, asked } = times;
    let created = pod["metadata"]["creationTimestamp"].as_str().unwrap_or_default();
    let after = |time: Option<&str>| time.is_some_and(|time| time > created);
    if after(installed.as_deref()) {
        return Cause::BeforeInstallation;
    }
    match request {
        Request::Inject(Level::Pod) if after(asked_since(&pod["metadata"]).as_deref()) => Cause::BeforeAsked,
        Request::Inject(Level::Namespace) if after(asked.as_deref()) => Cause::BeforeAsked,
        // Nothing on a policy tells since when it asks.
        Request::Inject(Level::Policy(_)) => Cause::PolicyOrNoAnswer,
        Request::Inject(_) | Request::OptedOut(_) | Request::NotAsked => Cause::NoAnswer,
    }
}

/// What the webhook wrote on the pod.
#[must_use]
pub fn status(pod: &Value) -> Value {
    let text = pod["metadata"]["annotations"][names::STATUS].as_str();
    text.and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default()
}

/// The kubelet's message where our volume or its disk was the reason: the dumps went with the pod.
fn evicted(pod: &Value) -> Option<String> {
    let containers = pod["spec"]["initContainers"].as_array();
    let with_agent = containers.is_some_and(|all| all.iter().any(is_ours));
    let message = pod["status"]["message"].as_str().unwrap_or_default();
    let ours = message.contains(names::DUMPS_VOLUME) || (with_agent && message.contains("ephemeral"));
    (pod["status"]["reason"] == "Evicted" && ours).then(|| message.trim().to_owned())
}
