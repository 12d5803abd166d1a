//! Does a patch come back? A pod that is never created finds out.

use serde_json::{Value, json};

use super::found::Found;
use super::report::{Line, Section};
use crate::cli::live::{Read, Refusal};
use crate::names;

/// What came back.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    /// Where it was asked.
    pub(super) namespace: String,
    /// The pod as the API server would have created it.
    pub(super) pod: Read<Value>,
    /// From the request to its answer.
    pub(super) milliseconds: u128,
}

/// The pod of the probe: nothing is shipped, and every Pod Security level lets it pass.
#[must_use]
pub(super) fn pod() -> Value {
    let small = json!({"cpu": "1m", "memory": "1Mi"});
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "heapship-check",
            "annotations": {
                "heapship.io/inject": "true",
                "heapship.io/on-oom": "dump",
                "heapship.io/agent": "off",
            },
        },
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": false,
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [{
                "name": "app",
                "image": names::DEFAULT_IMAGE,
                "resources": {"requests": small, "limits": small},
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
            }],
        },
    })
}

pub(super) fn judge(found: &Found) -> Section {
    let Answer {
        namespace,
        pod,
        milliseconds,
    } = &found.probe;
    let line = match pod {
        Ok(_) | Err(_) if found.installation.registration == Err(Refusal::Absent) => {
            Line::not_checked("without a registration the API server calls nobody")
        }
        Ok(pod) => match status(pod).as_str() {
            "" => unpatched(namespace, found.installation.logs()),
            "injected" => {
                return answered(
                    pod,
                    Line::ok(format!(
                        "a pod for {namespace} came back injected, after {milliseconds} ms (dry run, nothing was created)"
                    )),
                );
            }
            // A policy may keep annotations from saying so much; an answer it is.
            decision => Line::ok(format!(
                "a pod for {namespace} came back with the decision {decision}, after {milliseconds} ms (dry run)"
            )),
        },
        Err(refusal @ Refusal::Forbidden(_)) => Line::unread(
            &format!("a dry run of a pod in {namespace}"),
            refusal,
            names::OPERATOR_ROLE,
        ),
        Err(Refusal::Absent) => {
            Line::not_checked(format!("there is no namespace {namespace}; choose one with -n"))
        }
        Err(refusal) => Line::not_checked(format!("a dry run of a pod in {namespace}: {refusal}"))
            .remedy("choose another namespace with -n"),
    };
    section(vec![line])
}

fn section(lines: Vec<Line>) -> Section {
    Section {
        name: "webhook",
        lines,
    }
}

/// The probe says nothing of its options, so its image's own would count: what came back shows what becomes of them.
fn answered(pod: &Value, line: Line) -> Section {
    let containers = pod["spec"]["initContainers"].as_array().into_iter().flatten();
    let carried = containers
        .filter_map(|container| container["name"].as_str())
        .any(|name| name == names::IMAGE_OPTIONS_CONTAINER);
    let options = if carried {
        Line::ok("what an image sets itself (ENV JAVA_TOOL_OPTIONS) is carried over")
    } else {
        Line::ok(
            "what an image sets itself (ENV JAVA_TOOL_OPTIONS) is replaced: carrying it over takes Kubernetes 1.35 or newer on \
             every node",
        )
    };
    section(vec![line, options])
}

fn unpatched(namespace: &str, logs: String) -> Line {
    Line::fault(
        format!(
            "a pod for {namespace} came back as it was: the API server did not get an answer from the webhook, or did not \
             ask. In this order: a fault above; a network policy or firewall between API server and webhook (port 8443); a \
             replica that is up but cannot answer"
        ),
        logs,
    )
}

/// The decision in the status annotation; empty without one.
fn status(pod: &Value) -> String {
    let text = pod["metadata"]["annotations"][names::STATUS].as_str();
    let status: Option<Value> = text.and_then(|text| serde_json::from_str(text).ok());
    let decision = status.as_ref().and_then(|status| status["decision"].as_str());
    decision.unwrap_or_default().to_owned()
}
