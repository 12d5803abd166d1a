//! What there is to tell about one live pod. Pure: the pod, what the core decides about it, and the ends of its agents' logs
//! in; sentences out.

use serde::Serialize;
use serde_json::Value;

use crate::cli::standing::agents::container_state;
use crate::cli::standing::{Agent, Cause, Injection, Standing, State, Times, status};
use crate::inject::{Decision, Outcome, Severity};
use crate::settings::Request;

mod log;
mod text;

/// The account of one pod.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Account {
    pod: String,
    namespace: String,
    workload: Option<String>,
    phase: String,
    node: Option<String>,
    /// `whole`, `partial`, `missed`, `left-alone`, `opted-out` or `not-asked`.
    injection: &'static str,
    /// One sentence.
    message: String,
    /// The code of the reason, where it was left alone.
    reason: Option<String>,
    asked_by: Option<String>,
    policy: Option<String>,
    containers: Vec<String>,
    dumps: Vec<String>,
    agents: Vec<String>,
    shipped: Vec<String>,
    attention: Vec<String>,
    next: Vec<String>,
}

/// The ends of agents' logs, by container.
pub(super) type Logs<'a> = &'a [(String, String)];

impl Account {
    pub(super) fn of(pod: &Value, outcome: &Outcome, times: &Times, logs: Logs<'_>) -> Self {
        let standing = Standing::with(pod, outcome, times);
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let mut attention = attention(pod, outcome, &standing);
        let mut shipped = Vec::new();
        for (container, log) in logs {
            let said = log::read(log);
            shipped.extend(said.shipped);
            attention.extend(said.trouble.map(|trouble| format!("{container} says: {trouble}")));
        }
        let (injection, message) = message(&standing, outcome);
        Self {
            phase: text(&pod["status"]["phase"]).unwrap_or_else(|| "Unknown".to_owned()),
            node: text(&pod["spec"]["nodeName"]),
            injection,
            message,
            reason: match &standing.injection {
                Injection::LeftAlone(code, _) => Some((*code).to_owned()),
                Injection::Whole | Injection::Partial(_) | Injection::Missed(_) | Injection::NotWanted => {
                    None
                }
            },
            asked_by: match &outcome.settings.request {
                Request::Inject(level) | Request::OptedOut(level) => Some(level.to_string()),
                Request::NotAsked => None,
            },
            policy: outcome.policy.clone(),
            containers: containers(pod, &standing),
            dumps: dumps(&standing),
            agents: standing.agents.iter().map(agent_words).collect(),
            shipped,
            attention,
            next: next(&standing),
            pod: standing.name,
            namespace: standing.namespace,
            workload: standing.workload,
        }
    }
}

fn message(standing: &Standing, outcome: &Outcome) -> (&'static str, String) {
    match (&standing.injection, &outcome.decision) {
        (Injection::Whole, Decision::Injected) if standing.agents.is_empty() => (
            "whole",
            "It carries the injection: dumps are written to its volume, and nobody ships them (heapship.io/agent is off)."
                .to_owned(),
        ),
        (Injection::Whole, _) if standing.over => {
            ("whole", "It carried the injection, and has ended.".to_owned())
        }
        (Injection::Whole, Decision::Injected) if standing.agents.iter().any(Agent::holds_the_pod) => (
            "whole",
            "It carries the injection, but a container of it cannot start, and holds the application in Init.".to_owned(),
        ),
        (Injection::Whole, Decision::Injected)
            if standing.agents.iter().any(|agent| agent.trouble().is_some()) =>
        {
            (
                "whole",
                "It carries the injection, but its agent does not work: dumps stay on the pod's volume, and go with the pod."
                    .to_owned(),
            )
        }
        (Injection::Whole, Decision::Injected) => {
            ("whole", "It carries the injection: its dumps are caught and shipped.".to_owned())
        }
        (Injection::Whole, Decision::Skipped(_) | Decision::NotAsked) => (
            "whole",
            "It carries the injection and works on; a new pod in its place would be without: nobody asks any more."
                .to_owned(),
        ),
        (Injection::Partial(_), _) => (
            "partial",
            "It carries only a part of the injection: a dump may be lost.".to_owned(),
        ),
        (Injection::Missed(cause), _) => (
            "missed",
            format!(
                "It does NOT carry the injection, though it should: {}. If its JVM dies now, there is no dump.",
                missed(*cause)
            ),
        ),
        (Injection::LeftAlone(_, sentence), _) => {
            ("left-alone", format!("It is asked for and was left alone: {sentence}."))
        }
        (Injection::NotWanted, Decision::Skipped(skip)) => ("opted-out", format!("It is left alone: {skip}.")),
        (Injection::NotWanted, Decision::Injected | Decision::NotAsked) => {
            ("not-asked", "It is left alone: nobody asks for it.".to_owned())
        }
    }
}

fn missed(cause: Cause) -> &'static str {
    match cause {
        Cause::BeforeInstallation => "it was created before heapship was installed",
        Cause::BeforeAsked => "it was created before the annotation asked for it",
        Cause::PolicyOrNoAnswer => {
            "it was created before the policy asked for it, or the webhook did not answer then"
        }
        Cause::NoAnswer => {
            "when it was created the API server got no answer from the webhook (down, or its certificate was not accepted)"
        }
    }
}

/// What the JVMs did, so that nobody looks for a dump that was never written.
fn containers(pod: &Value, standing: &Standing) -> Vec<String> {
    let ours: Vec<String> = standing
        .agents
        .iter()
        .flat_map(|agent| agent.of.clone())
        .collect();
    let noted = status(pod);
    let noted = noted["containers"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    let mut names: Vec<String> = ours;
    for name in noted {
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names
        .iter()
        .map(|name| {
            let (state, restarts, last) = container_state(pod, name);
            let now = state_words(&state);
            let restarts = match restarts {
                0 => String::new(),
                1 => ", restarted once".to_owned(),
                n => format!(", restarted {n} times"),
            };
            let last = last
                .map(|last| format!("; before that: {}", last.words()))
                .unwrap_or_default();
            format!("{name}: {now}{restarts}{last}")
        })
        .collect()
}

fn dumps(standing: &Standing) -> Vec<String> {
    let one = |agent: &Agent| {
        let base = agent.destination.trim_end_matches('/');
        format!("{} -> {base}/{}", agent.of.join(", "), agent.key)
    };
    let ships = |agent: &&Agent| !agent.of.is_empty();
    standing.agents.iter().filter(ships).map(one).collect()
}

fn agent_words(agent: &Agent) -> String {
    let said = agent.trouble().unwrap_or_else(|| state_words(&agent.state));
    format!("{}: {said}", agent.container)
}

fn state_words(state: &State) -> String {
    match state {
        State::Unknown => "not started yet".to_owned(),
        State::Running(since) => format!("running since {since}"),
        State::Waiting(reason, message) if message.is_empty() => format!("waiting ({reason})"),
        State::Waiting(reason, message) => format!("waiting ({reason}): {message}"),
        State::Ended(ended) => format!("ended: {}", ended.words()),
    }
}

fn attention(pod: &Value, outcome: &Outcome, standing: &Standing) -> Vec<String> {
    let mut said = Vec::new();
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    let mut unscheduled = conditions.filter(|c| c["type"] == "PodScheduled" && c["status"] == "False");
    if let Some(why) = unscheduled.find_map(|condition| condition["message"].as_str()) {
        said.push(format!("no node takes it: {why}"));
    }
    if let Injection::Partial(missing) = &standing.injection {
        said.extend(
            missing
                .iter()
                .map(|missing| format!("missing; a restart {missing}")),
        );
    }
    if let Some(evicted) = &standing.evicted {
        said.push(format!("it was evicted, and the dump with it: {evicted}"));
    }
    let killed = |name: &str| {
        let (state, _, last) = container_state(pod, name);
        let now = match state {
            State::Ended(ended) => Some(ended),
            State::Unknown | State::Running(_) | State::Waiting(..) => None,
        };
        now.or(last).is_some_and(|ended| ended.reason == "OOMKilled")
    };
    for name in standing
        .agents
        .iter()
        .flat_map(|agent| &agent.of)
        .filter(|name| killed(name))
    {
        said.push(format!(
            "{name} was killed by the kernel at the container's memory limit (OOMKilled): the JVM had no time for a dump; give \
             it a smaller heap (-XX:MaxRAMPercentage) or a higher limit"
        ));
    }
    let warnings = outcome
        .notes
        .iter()
        .filter(|note| note.severity == Severity::Warning);
    said.extend(warnings.map(|note| format!("{} ({})", note.text, note.code)));
    said
}

fn next(standing: &Standing) -> Vec<String> {
    let Standing { namespace, name, .. } = standing;
    if standing.over {
        return vec!["nothing: this pod has ended".to_owned()];
    }
    let mut said: Vec<String> = standing
        .agents
        .iter()
        .filter(|agent| agent.trouble().is_some())
        .map(|agent| agent.evidence(namespace, name))
        .collect();
    match &standing.injection {
        Injection::Missed(Cause::NoAnswer | Cause::PolicyOrNoAnswer) => {
            said.push("heapship check   # is the webhook well now?".to_owned());
            said.push(standing.restart());
        }
        Injection::Missed(Cause::BeforeInstallation | Cause::BeforeAsked) | Injection::Partial(_) => {
            said.push(standing.restart());
        }
        Injection::LeftAlone(..) => {
            said.push("correct what the reason names, then restart the workload".to_owned());
        }
        Injection::NotWanted | Injection::Whole => {}
    }
    said
}

#[cfg(test)]
mod tests;
