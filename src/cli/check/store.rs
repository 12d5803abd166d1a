//! Can the agents write to their stores? They are asked themselves: theirs are the identity, the network and the trust.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::AttachParams;
use serde_json::Value;
use tokio::io::AsyncReadExt as _;

use super::found::Found;
use super::pods::Pods;
use super::report::{Line, Section};
use crate::cli::live::{Live, Refusal};
use crate::cli::standing::{Injection, State};
use crate::names;

/// Agents that are asked: one for each namespace, destination and identity.
const ASKED: usize = 20;
/// At one time.
const AT_ONCE: usize = 4;
/// Until one must have answered; the agent's own patience is shorter.
const PATIENCE: Duration = Duration::from_mins(1);
/// Of an answer: one line of JSON.
const ANSWER: u64 = 64 << 10;

/// An agent to be asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Asked {
    namespace: String,
    pod: String,
    container: String,
    program: String,
    destination: String,
}

/// What it says.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    /// Who.
    pub(super) asked: Asked,
    /// The JSON of `heapship-agent check-store`.
    pub(super) said: Result<Value, Refusal>,
}

/// One running agent for each distinct way to a store.
#[must_use]
pub(super) fn choose(pods: &Pods) -> Vec<Asked> {
    let mut known = BTreeSet::new();
    let whole = pods
        .seen
        .iter()
        .filter(|pod| !pod.over && pod.injection == Injection::Whole);
    let agents = whole.flat_map(|pod| pod.agents.iter().map(move |agent| (pod, agent)));
    agents
        .filter(|(_, agent)| matches!(agent.state, State::Running(_)))
        .filter(|(pod, agent)| {
            let way = (
                &pod.namespace,
                &agent.destination,
                &agent.secret,
                &pod.service_account,
            );
            known.insert(way)
        })
        .take(ASKED)
        .map(|(pod, agent)| Asked {
            namespace: pod.namespace.clone(),
            pod: pod.name.clone(),
            container: agent.container.clone(),
            program: agent.program.clone(),
            destination: agent.destination.clone(),
        })
        .collect()
}

/// Asks them.
pub(super) async fn ask(live: &Live, asked: Vec<Asked>) -> Vec<Answer> {
    stream::iter(asked)
        .map(|asked| async move {
            let said = tokio::time::timeout(PATIENCE, exec(live, &asked)).await;
            let late = || Refusal::Unreachable(format!("no answer within {} s", PATIENCE.as_secs()));
            Answer {
                asked,
                said: said.unwrap_or_else(|_| Err(late())),
            }
        })
        .buffered(AT_ONCE)
        .collect()
        .await
}

async fn exec(live: &Live, asked: &Asked) -> Result<Value, Refusal> {
    let Asked {
        namespace,
        pod,
        container,
        program,
        destination: _,
    } = asked;
    let pods: Api<Pod> = Api::namespaced(live.client(), namespace);
    let parameters = AttachParams::default()
        .container(container)
        .stdout(true)
        .stderr(true);
    let command = [program.as_str(), "check-store", "--output", "json"];
    let mut process = pods.exec(pod, command, &parameters).await?;
    let (mut said, mut complaint) = (Vec::new(), Vec::new());
    let (stdout, stderr) = (process.stdout(), process.stderr());
    // Both at once: a full pipe that nobody reads would hold the other.
    let both = tokio::join!(
        async {
            match stdout {
                Some(stdout) => stdout.take(ANSWER).read_to_end(&mut said).await.map(|_| ()),
                None => Ok(()),
            }
        },
        async {
            match stderr {
                Some(stderr) => stderr.take(ANSWER).read_to_end(&mut complaint).await.map(|_| ()),
                None => Ok(()),
            }
        }
    );
    let (Ok(()), Ok(())) = both else {
        return Err(Refusal::Unreachable("the connection to the pod broke".to_owned()));
    };
    serde_json::from_slice(&said).map_err(|_| {
        let complaint = String::from_utf8_lossy(&complaint);
        let last = complaint
            .trim()
            .lines()
            .last()
            .unwrap_or("it said nothing")
            .to_owned();
        Refusal::Refused(last)
    })
}

pub(super) fn judge(found: &Found) -> Section {
    let lines = match &found.stores {
        None => vec![Line::not_checked(
            "writing to the stores; add --store: one small object for each way, deleted again",
        )],
        Some(answers) if answers.is_empty() => vec![Line::not_checked("no agent runs that could be asked")],
        Some(answers) => answers.iter().map(line).collect(),
    };
    Section { name: "store", lines }
}

fn line(answer: &Answer) -> Line {
    let Asked {
        namespace,
        pod,
        container,
        program: _,
        destination,
    } = &answer.asked;
    let who = format!("{destination}, written to by {pod} in {namespace}");
    match &answer.said {
        Err(refusal) => Line::unread(&who, refusal, names::OPERATOR_ROLE),
        Ok(said) if said["written"] == true => {
            let seconds = said["seconds"].as_f64().unwrap_or_default();
            let deleted = if said["deleted"] == true {
                "deleted again".to_owned()
            } else {
                // Write-only credentials are what we recommend.
                format!(
                    "not deleted, since the agent may not: {}",
                    said["object"].as_str().unwrap_or_default()
                )
            };
            Line::ok(format!(
                "{who}: a small object arrived in {seconds:.1} s, {deleted}"
            ))
        }
        Ok(said) => Line::fault(
            format!(
                "{who}: {}",
                said["error"].as_str().unwrap_or("it could not be written")
            ),
            format!("kubectl logs {pod} -c {container} -n {namespace} --tail=20"),
        ),
    }
}
