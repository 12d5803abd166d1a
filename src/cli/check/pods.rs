//! Which pods should carry the injection and do not, and which agents cannot work?

use std::collections::BTreeMap;

use super::found::Found;
use super::report::{Level, Line, Section};
use crate::cli::standing::agents::Agent;
use crate::cli::standing::{Injection, Standing};
use crate::names;

/// Workloads named for each kind of finding; a cluster where more are wrong has one cause, not a hundred.
const NAMED: usize = 50;

/// All pods that were looked at.
#[derive(Clone, Debug, Default)]
pub(super) struct Pods {
    /// Of those that heapship has to do with.
    pub(super) seen: Vec<Standing>,
    /// How many there are that have not ended.
    pub(super) total: usize,
    /// Where; `None` is everywhere.
    pub(super) namespace: Option<String>,
    /// What could not be told because something could not be read.
    pub(super) blind: Vec<Line>,
}

impl Pods {
    /// Keeps a pod if there is anything to say about it.
    pub(super) fn add(&mut self, pod: Standing) {
        self.total += usize::from(!pod.over);
        if pod.injection != Injection::NotWanted || pod.evicted.is_some() {
            self.seen.push(pod);
        }
    }
}

pub(super) fn judge(found: &Found) -> Section {
    let lines = match &found.pods {
        Ok(pods) => {
            let mut lines = lines(pods);
            lines.extend(suspects(pods, found));
            lines
        }
        Err(refusal) => vec![Line::unread("the pods", refusal, names::VIEWER_ROLE)],
    };
    Section { name: "pods", lines }
}

fn lines(pods: &Pods) -> Vec<Line> {
    let whole = pods
        .seen
        .iter()
        .filter(|pod| pod.injection == Injection::Whole && !pod.over)
        .count();
    let place = match &pods.namespace {
        Some(namespace) => format!("namespace {namespace}"),
        None => "all namespaces".to_owned(),
    };
    let mut lines = vec![Line::ok(format!(
        "{whole} of {} pods in {place} carry the injection",
        pods.total
    ))];
    lines.extend(pods.blind.iter().cloned());
    lines.extend(missed(pods));
    lines.extend(partial(pods));
    lines.extend(evicted(pods));
    lines.extend(agents(pods));
    lines.extend(left_alone(pods));
    lines
}

fn missed(pods: &Pods) -> Vec<Line> {
    grouped(
        pods.seen.iter().filter(|pod| !pod.over),
        |pod| match &pod.injection {
            Injection::Missed(cause) => Some(cause.words().to_owned()),
            Injection::Whole | Injection::Partial(_) | Injection::LeftAlone(..) | Injection::NotWanted => {
                None
            }
        },
        |group| {
            Line::fault(
                format!(
                    "{} should carry the injection and {} not: {}",
                    group.who(),
                    group.does(),
                    group.why
                ),
                group.first.restart(),
            )
        },
    )
}

fn partial(pods: &Pods) -> Vec<Line> {
    grouped(
        pods.seen.iter().filter(|pod| !pod.over),
        |pod| match &pod.injection {
            // A restart would go the same way; its agent is told about below.
            Injection::Partial(_) if pod.agents.iter().any(|agent| agent.is_stripped) => None,
            Injection::Partial(missing) => Some(missing.join("; ")),
            Injection::Whole | Injection::Missed(_) | Injection::LeftAlone(..) | Injection::NotWanted => None,
        },
        |group| {
            Line::fault(
                format!(
                    "{} {} parts of the injection: another webhook removed them, or annotations or policy asked for more \
                     since. A restart {}",
                    group.who(),
                    if group.count == 1 { "lacks" } else { "lack" },
                    group.why
                ),
                group.first.restart(),
            )
        },
    )
}

fn evicted(pods: &Pods) -> Vec<Line> {
    grouped(
        pods.seen.iter(),
        |pod| pod.evicted.clone(),
        |group| {
            let first = group.first;
            let workload = first
                .workload
                .clone()
                .unwrap_or_else(|| format!("Pod/{}", first.name));
            let room = if group.why.contains(names::DUMPS_VOLUME) {
                "a limit that the heap fits in: heapship.io/volume: emptyDir (none), emptyDir:SIZE or pvc:NAME"
            } else {
                "a disk of their own: heapship.io/volume: pvc:NAME or ephemeral:CLASS:SIZE"
            };
            Line::fault(
                format!(
                    "{} {} evicted, and the dump with it: {}",
                    group.who(),
                    group.was(),
                    group.why
                ),
                format!("give the dumps of {workload} {room}"),
            )
            .remedy(format!(
                "kubectl delete pod {} -n {}   # what is left of it, once you have read this",
                first.name, first.namespace
            ))
        },
    )
}

fn agents(pods: &Pods) -> Vec<Line> {
    // By namespace, workload and what is wrong.
    let mut troubled = BTreeMap::<(&str, String, String), Troubled<'_>>::new();
    for pod in pods.seen.iter().filter(|pod| !pod.over) {
        for agent in &pod.agents {
            if let Some(trouble) = agent.trouble() {
                let what = if agent.is_stripped {
                    "it never ends and holds the application in Init"
                } else if agent.holds_the_pod() {
                    "it cannot start and holds the application in Init"
                } else {
                    "the agent does not work"
                };
                let why = format!("{what}: {}: {trouble}", agent.container);
                let key = (pod.namespace.as_str(), workload(pod), why);
                let found = troubled.entry(key).or_insert(Troubled { pod, agent, count: 0 });
                found.count += 1;
            }
        }
    }
    let all = troubled.len();
    let mut lines: Vec<Line> = troubled
        .into_iter()
        .take(NAMED)
        .map(|((_, _, why), Troubled { pod, agent, count })| {
            let group = Group {
                first: pod,
                count,
                why,
            };
            let text = format!("{}: {}", group.who(), group.why);
            Line::fault(text, agent.evidence(&pod.namespace, &pod.name))
        })
        .collect();
    lines.extend(rest(all, Level::Fault));
    lines
}

/// Who may have stripped agents. What was called before us had nothing of ours in its hands.
fn suspects(pods: &Pods, found: &Found) -> Option<Line> {
    let mut agents = pods
        .seen
        .iter()
        .filter(|pod| !pod.over)
        .flat_map(|pod| &pod.agents);
    if !agents.any(|agent| agent.is_stripped) {
        return None;
    }
    let names = found.registrations.as_ref().ok()?.iter();
    let after: Vec<_> = names
        .filter(|name| **name > found.registration_name)
        .map(String::as_str)
        .collect();
    (!after.is_empty()).then(|| {
        Line::warning(format!(
            "called after {}, and so the ones that can have removed restartPolicy: {}",
            found.registration_name,
            after.join(", ")
        ))
    })
}

fn left_alone(pods: &Pods) -> Vec<Line> {
    grouped(
        pods.seen.iter().filter(|pod| !pod.over),
        |pod| match &pod.injection {
            Injection::LeftAlone(code, sentence) => Some(format!("{sentence} ({code})")),
            Injection::Whole | Injection::Partial(_) | Injection::Missed(_) | Injection::NotWanted => None,
        },
        |group| {
            let asks = if group.count == 1 {
                "asks and is"
            } else {
                "ask and are"
            };
            Line::warning(format!("{} {asks} left alone: {}", group.who(), group.why))
        },
    )
}

/// The first agent of a workload that has one trouble, and how many have it.
struct Troubled<'a> {
    pod: &'a Standing,
    agent: &'a Agent,
    count: usize,
}

/// Pods of one workload that are wrong in one way.
struct Group<'a> {
    first: &'a Standing,
    count: usize,
    why: String,
}

impl Group<'_> {
    fn who(&self) -> String {
        let Standing { namespace, name, .. } = self.first;
        match (&self.first.workload, self.count) {
            (None, _) => format!("Pod/{name} in {namespace}"),
            (Some(workload), 1) => format!("{workload} in {namespace}: 1 pod"),
            (Some(workload), count) => format!("{workload} in {namespace}: {count} pods"),
        }
    }

    fn does(&self) -> &'static str {
        if self.count == 1 { "does" } else { "do" }
    }

    fn was(&self) -> &'static str {
        if self.count == 1 { "was" } else { "were" }
    }
}

fn grouped<'a>(
    pods: impl Iterator<Item = &'a Standing>,
    wrong: impl Fn(&Standing) -> Option<String>,
    line: impl Fn(&Group<'_>) -> Line,
) -> Vec<Line> {
    let mut groups: BTreeMap<(&str, String, String), Group<'_>> = BTreeMap::new();
    for pod in pods {
        if let Some(why) = wrong(pod) {
            let key = (pod.namespace.as_str(), workload(pod), why.clone());
            let group = groups.entry(key).or_insert(Group {
                first: pod,
                count: 0,
                why,
            });
            group.count += 1;
        }
    }
    let mut lines: Vec<Line> = groups.values().take(NAMED).map(line).collect();
    let level = lines.first().map_or(Level::Ok, Line::level);
    lines.extend(rest(groups.len(), level));
    lines
}

fn rest(all: usize, level: Level) -> Option<Line> {
    let more = all.checked_sub(NAMED).filter(|more| *more > 0)?;
    let text = format!("and {more} more workloads in the same way");
    let remedy = "heapship check -n NAMESPACE   # one namespace at a time";
    Some(Line::of(level, text).remedy(remedy))
}

/// A bare pod is its own workload.
fn workload(pod: &Standing) -> String {
    pod.workload.clone().unwrap_or_else(|| pod.name.clone())
}
