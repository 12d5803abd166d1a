//! What a person reads at three in the morning.

use serde_json::json;

use super::*;
use crate::inject::{self, Cluster, Context, KubernetesVersion, Namespace, texts};
use crate::settings::policy::Policies;

#[test]
fn a_pod_that_works_and_has_shipped() {
    let mut pod = injected(&pod());
    pod["status"] = running(&json!({"running": {"startedAt": "2026-03-01T01:00:00Z"}}), 0);
    let shipped = r#"{"timestamp":"2026-03-01T02:00:00Z","level":"INFO","message":"shipped default/web/shop/shop-1/app/T-oom.hprof.gz","key":"default/web/shop/shop-1/app/T-oom.hprof.gz","completeness":"complete"}"#;
    let logs = [("heapship-agent".to_owned(), shipped.to_owned())];
    insta::assert_snapshot!(account(&pod, &logs));
}

#[test]
fn an_agent_that_cannot_start_and_a_jvm_that_the_kernel_killed() {
    let mut pod = injected(&pod());
    pod["status"] = running(
        &json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}}),
        4,
    );
    let statuses = pod["status"]["initContainerStatuses"].as_array_mut().unwrap();
    statuses[0]["lastState"] =
        json!({"terminated": {"exitCode": 2, "reason": "Error", "message": "heapship-agent: no region"}});
    pod["status"]["containerStatuses"][0]["lastState"] =
        json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}});
    insta::assert_snapshot!(account(&pod, &[]));
}

#[test]
fn a_pod_that_was_missed() {
    insta::assert_snapshot!(account(&pod(), &[]));
    let mut early = pod();
    early["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
    let account = account(&early, &[]);
    assert!(
        account.contains("created before heapship was installed"),
        "{account}"
    );
}

#[test]
fn a_pod_that_lost_its_agent() {
    let mut pod = injected(&pod());
    pod["spec"].as_object_mut().unwrap().remove("initContainers");
    insta::assert_snapshot!(account(&pod, &[]));
}

#[test]
fn a_pod_that_was_evicted() {
    let mut pod = injected(&pod());
    pod["status"] = json!({
        "phase": "Failed", "reason": "Evicted",
        "message": "Usage of EmptyDir volume \"heapship-dumps\" exceeds the limit \"1Gi\". ",
    });
    insta::assert_snapshot!(account(&pod, &[]));
}

#[test]
fn pods_that_are_left_alone_say_why() {
    let said = |key: &str, value: &str| {
        let mut pod = pod();
        pod["metadata"]["annotations"][key] = json!(value);
        account(&pod, &[])
    };
    let wrong = said("heapship.io/on-oom", "explode");
    assert!(
        wrong.contains("It is asked for and was left alone: heapship.io/on-oom: \"explode\""),
        "{wrong}"
    );
    assert!(wrong.contains("(invalid-annotation)"), "{wrong}");
    let refused = said("heapship.io/inject", "false");
    assert!(
        refused.contains("It is left alone: heapship.io/inject is \"false\" on the pod."),
        "{refused}"
    );
}

#[test]
fn a_pod_that_no_node_takes_says_why() {
    let mut pod = injected(&pod());
    pod["status"] = json!({"phase": "Pending", "conditions": [
        {"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available: 3 Insufficient memory."},
    ]});
    let account = account(&pod, &[]);
    assert!(
        account.contains("no node takes it: 0/3 nodes are available"),
        "{account}"
    );
}

fn running(agent: &Value, restarts: u64) -> Value {
    json!({
        "phase": "Running",
        "initContainerStatuses": [{"name": "heapship-agent", "restartCount": restarts, "state": agent}],
        "containerStatuses": [{"name": "app", "restartCount": 1, "state": {"running": {"startedAt": "2026-03-01T03:00:00Z"}}}],
    })
}

fn pod() -> Value {
    json!({
        "metadata": {
            "name": "shop-7d4-a", "namespace": "web", "uid": "u", "creationTimestamp": "2026-03-01T00:00:00Z",
            "annotations": {}, "labels": {"pod-template-hash": "7d4"},
            "ownerReferences": [{"kind": "ReplicaSet", "name": "shop-7d4", "controller": true}],
        },
        "spec": {
            "nodeName": "node1",
            "securityContext": {"runAsUser": 1000},
            "containers": [{"name": "app", "image": "shop:1"}],
        },
        "status": {"phase": "Running"},
    })
}

fn injected(pod: &Value) -> Value {
    outcome(pod).pod
}

fn account(pod: &Value, logs: Logs<'_>) -> String {
    let times = Times {
        installed: Some("2026-02-01T00:00:00Z".to_owned()),
        asked: Some("2026-02-10T00:00:00Z".to_owned()),
    };
    Account::of(pod, &outcome(pod), &times, logs).to_string()
}

fn outcome(pod: &Value) -> Outcome {
    let annotations = json!({"heapship.io/inject": "true", "heapship.io/destination": "s3://dumps"});
    inject::inject(
        pod,
        &Context {
            namespace: &Namespace {
                name: "web".into(),
                annotations: texts(&annotations),
                ..Namespace::default()
            },
            policies: &Policies::default(),
            cluster: &Cluster {
                name: "default".into(),
                version: KubernetesVersion::NEWEST,
                own_namespace: Some("heapship-system".into()),
                env_files: false,
            },
            workload: None,
        },
    )
}
