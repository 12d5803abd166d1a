//! The agents of a live pod, and what their containers do.

use serde_json::Value;

use crate::inject::is_ours;
use crate::names::{self, variable};

/// One agent in a pod.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Agent {
    /// Its container.
    pub container: String,
    /// The executable in it.
    pub program: String,
    /// Whose dumps it ships.
    pub of: Vec<String>,
    /// Where to.
    pub destination: String,
    /// Under which key, with what is known already filled in.
    pub key: String,
    /// The Secret that its credentials come from, where there is one.
    pub secret: Option<String>,
    /// Whether another webhook has dropped its `restartPolicy: Always`, as a typed round trip of an old library does: the
    /// kubelet waits then until it ends, which it never does.
    pub is_stripped: bool,
    /// What it does now.
    pub state: State,
    /// How often it was started again.
    pub restarts: u64,
    /// How it ended before that.
    pub last: Option<Ended>,
}

/// What a container does.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum State {
    /// The kubelet has not said anything yet.
    Unknown,
    /// Since when.
    Running(String),
    /// The kubelet's reason and message.
    Waiting(String, String),
    /// It has ended.
    Ended(Ended),
}

/// How a container ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ended {
    /// Its exit code.
    pub code: i64,
    /// `OOMKilled`, `Error`, `Completed`
    pub reason: String,
    /// What it left behind, or the end of its log.
    pub message: String,
    /// When.
    pub at: String,
}

/// Whether a container of ours ends before the application starts: it fills the tools volume, or hands an image's options on.
pub(in crate::cli) fn prepares(container: &str) -> bool {
    container == names::TOOLS_CONTAINER || container.starts_with(names::IMAGE_OPTIONS_CONTAINER)
}

/// The agents of a pod, in the order of their containers.
pub(super) fn of(pod: &Value) -> Vec<Agent> {
    let containers = pod["spec"]["initContainers"].as_array().into_iter().flatten();
    containers
        .filter(|container| is_ours(container))
        .map(|container| agent(pod, container))
        // One that prepares the others has done its work, or holds everything up.
        .filter(|agent| !prepares(&agent.container) || agent.trouble().is_some())
        .collect()
}

fn agent(pod: &Value, container: &Value) -> Agent {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let name = text(&container["name"]);
    let told = |name: &str| {
        let entries = container["env"].as_array().into_iter().flatten();
        let mut named = entries.filter(|entry| entry["name"] == name);
        // The kubelet turns `$$` into `$`.
        named
            .find_map(|entry| entry["value"].as_str())
            .unwrap_or_default()
            .replace("$$", "$")
    };
    let sources: Vec<Value> = serde_json::from_str(&told(variable::CONTAINERS)).unwrap_or_default();
    let of: Vec<String> = sources.iter().map(|source| text(&source["name"])).collect();
    let (state, restarts, last) = container_state(pod, &name);
    let key = match of.as_slice() {
        [only] => key(pod, &told).replace("{container}", only),
        _ => key(pod, &told),
    };
    let destination = told(variable::DESTINATION);
    Agent {
        // Other containers of ours have no destination, and are to end.
        is_stripped: !destination.is_empty() && container["restartPolicy"] != "Always",
        program: text(&container["command"][0]),
        of,
        destination,
        key,
        secret: container["envFrom"][0]["secretRef"]["name"]
            .as_str()
            .map(str::to_owned),
        container: name,
        state,
        restarts,
        last,
    }
}

/// The template with everything filled in that is known before there is a dump.
fn key(pod: &Value, told: &impl Fn(&str) -> String) -> String {
    let text = |pointer: &str| {
        pod.pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let workload = told(variable::WORKLOAD);
    let suffix = match told(variable::COMPRESSION).as_str() {
        "gzip" => ".gz",
        "zstd" => ".zst",
        _ => "",
    };
    let known = [
        ("{cluster}", told(variable::CLUSTER)),
        ("{namespace}", text("/metadata/namespace")),
        (
            "{workload}",
            workload.rsplit('/').next().unwrap_or_default().to_owned(),
        ),
        ("{pod}", text("/metadata/name")),
        ("{uid}", text("/metadata/uid")),
        ("{node}", text("/spec/nodeName")),
    ];
    let template = told(variable::KEY_TEMPLATE);
    let filled = known.into_iter().fold(template, |key, (placeholder, value)| {
        // As the agent writes what it does not know.
        key.replace(placeholder, if value.is_empty() { "unknown" } else { &value })
    });
    format!("{filled}{suffix}")
}

/// What the kubelet says about a container: its state, how often it was restarted, and how it ended before.
pub(crate) fn container_state(pod: &Value, name: &str) -> (State, u64, Option<Ended>) {
    let lists = ["initContainerStatuses", "containerStatuses"];
    let statuses = lists
        .iter()
        .filter_map(|list| pod["status"][*list].as_array())
        .flatten();
    let Some(status) = statuses.into_iter().find(|status| status["name"] == name) else {
        return (State::Unknown, 0, None);
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let state = &status["state"];
    let now = if let Some(ended) = ended(&state["terminated"]) {
        State::Ended(ended)
    } else if state["waiting"].is_object() {
        State::Waiting(
            text(&state["waiting"]["reason"]),
            text(&state["waiting"]["message"]),
        )
    } else if state["running"].is_object() {
        State::Running(text(&state["running"]["startedAt"]))
    } else {
        State::Unknown
    };
    let restarts = status["restartCount"].as_u64().unwrap_or_default();
    (now, restarts, ended(&status["lastState"]["terminated"]))
}

fn ended(terminated: &Value) -> Option<Ended> {
    let text = |value: &Value| value.as_str().unwrap_or_default().trim().to_owned();
    terminated.is_object().then(|| Ended {
        code: terminated["exitCode"].as_i64().unwrap_or_default(),
        reason: text(&terminated["reason"]),
        message: text(&terminated["message"]),
        at: text(&terminated["finishedAt"]),
    })
}

const TAKEN: &str = "another webhook took its restartPolicy: Always away";

impl Agent {
    /// Whether the application waits for it: it has trouble and never ran.
    #[must_use]
    pub fn holds_the_pod(&self) -> bool {
        let never_ran = matches!(self.state, State::Waiting(..)) && self.last.is_none();
        let never_ends = self.is_stripped && matches!(self.state, State::Running(_));
        (never_ran || never_ends || prepares(&self.container)) && self.trouble().is_some()
    }

    /// What to look at.
    #[must_use]
    pub fn evidence(&self, namespace: &str, pod: &str) -> String {
        let container = &self.container;
        if self.is_stripped {
            return format!(
                "update the webhook that did it, or keep these pods from it (kubectl get mutatingwebhookconfigurations); until then \
                 annotate them heapship.io/agent: \"off\" or heapship.io/inject: \"false\", then: kubectl delete pod {pod} -n {namespace}"
            );
        }
        match (&self.state, &self.last) {
            (State::Waiting(..), None) => format!("kubectl describe pod {pod} -n {namespace}"),
            (State::Waiting(..), Some(_)) => {
                format!("kubectl logs {pod} -c {container} -n {namespace} --previous")
            }
            (State::Running(_) | State::Ended(_) | State::Unknown, _) => {
                format!("kubectl logs {pod} -c {container} -n {namespace}")
            }
        }
    }

    /// What keeps it from shipping, as far as the kubelet can tell; `None` while all is well. Restarts of one that runs are
    /// a node's or a store's past.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        if self.is_stripped {
            return Some(match &self.state {
                State::Running(_) => format!("{TAKEN}, and it waits for dumps"),
                State::Ended(ended) if ended.code == 0 => {
                    format!("{TAKEN}; it has ended for the application to start")
                }
                State::Waiting(..) | State::Ended(_) | State::Unknown => TAKEN.to_owned(),
            });
        }
        let last = self.last.as_ref().map(Ended::words);
        match &self.state {
            // PodInitializing is the way of every pod.
            State::Waiting(reason, _)
                if ["PodInitializing", "ContainerCreating"].contains(&reason.as_str()) =>
            {
                None
            }
            State::Waiting(reason, message) => Some(match last {
                Some(last) => format!("it waits ({reason}): {last}"),
                None => format!("it waits ({reason}): {message}"),
            }),
            State::Ended(ended) if ended.code != 0 => Some(format!("it has ended: {}", ended.words())),
            State::Running(_) | State::Ended(_) | State::Unknown => None,
        }
    }
}

impl Ended {
    /// In one line.
    #[must_use]
    pub fn words(&self) -> String {
        let Self {
            code,
            reason,
            message,
            at: _,
        } = self;
        let said = message.lines().last().unwrap_or_default();
        let said = if said.is_empty() {
            String::new()
        } else {
            format!(": {said}")
        };
        match reason.as_str() {
            "" | "Error" | "Completed" => format!("exit code {code}{said}"),
            reason => format!("{reason}, exit code {code}{said}"),
        }
    }
}
