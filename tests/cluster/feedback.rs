//! What people hear who did not mean it that way: at `kubectl apply`, and afterwards on the workload.

use std::fs;

use serde_json::Value;

use crate::bed::installed::state;
use crate::bed::workloads::App;
use crate::bed::{Bed, SOON, eventually, kubectl};

/// A Deployment of nobody, so that nothing runs for a sentence.
fn deployment(name: &str, annotations: &[&str]) -> String {
    let app = App {
        name,
        annotations,
        ..App::default()
    };
    app.deployment()
        .replacen("spec:\n  selector", "spec:\n  replicas: 0\n  selector", 1)
}

const ASKS: &str = "heapship.io/inject: 'true'";
const WRONG_KEY: &str = "heapship.io/pre-stopp: live";
const WRONG_VALUE: &str = "heapship.io/pre-stop: alive";
const OF_THE_KEY: &str = "Warning: heapship: unknown annotation heapship.io/pre-stopp on the pod; did you mean heapship.io/pre-stop?";
const OF_THE_VALUE: &str =
    "Warning: heapship: not injected: heapship.io/pre-stop: \"alive\" is not allowed: use off, live or all";

#[tokio::test]
async fn kubectl_apply_of_a_workload_says_what_its_pods_would_be_told() {
    let bed = Bed::shared("applied").await;
    let nothing: [&str; 0] = [];
    assert_eq!(bed.apply(&deployment("right", &[ASKS])), nothing);
    assert_eq!(bed.apply(&deployment("other", &["nobody/asks: here"])), nothing);
    assert_eq!(bed.apply(&deployment("key", &[ASKS, WRONG_KEY])), [OF_THE_KEY]);
    assert_eq!(
        bed.apply(&deployment("value", &[ASKS, WRONG_VALUE])),
        [OF_THE_VALUE]
    );
    let misplaced = deployment("misplaced", &["nobody/asks: here"]).replacen(
        "metadata: {name: misplaced}",
        "metadata: {name: misplaced, annotations: {heapship.io/inject: 'true'}}",
        1,
    );
    assert_eq!(
        bed.apply(&misplaced),
        [
            "Warning: heapship: heapship.io/inject on the Deployment's own metadata is read by nobody: move it to \
          spec.template.metadata.annotations"
        ]
    );
    let job = App {
        name: "night",
        annotations: &[ASKS, WRONG_VALUE],
        spec: "restartPolicy: Never",
        ..App::default()
    }
    .job();
    let job = job.replacen("spec:\n", "spec:\n  suspend: true\n", 1);
    assert_eq!(bed.apply(&job), [OF_THE_VALUE]);
    let dry = ["-n", &bed.namespace, "apply", "--dry-run=server", "-f", "-"];
    assert_eq!(
        kubectl::apply_with(&dry, &deployment("dry", &[ASKS, WRONG_VALUE])),
        [OF_THE_VALUE]
    );
}

#[tokio::test]
async fn an_update_that_is_none_of_ours_is_not_spoken_of_again() {
    let bed = Bed::shared("updated").await;
    assert_eq!(
        bed.apply(&deployment("shop", &[ASKS, WRONG_VALUE])),
        [OF_THE_VALUE]
    );
    for arguments in [
        &["annotate", "deployment/shop", "team=shop"][..],
        &["scale", "deployment/shop", "--replicas=0"],
        &[
            "patch",
            "deployment/shop",
            "-p",
            r#"{"spec":{"minReadySeconds":1}}"#,
        ],
    ] {
        let output = kubectl::output(&[&["-n", &bed.namespace], arguments].concat(), "");
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        assert!(output.stderr.is_empty(), "{arguments:?}: {output:?}");
    }
    let set = ["-n", &bed.namespace, "set", "env", "deployment/shop", "NEW=1"];
    let output = kubectl::output(&set, "");
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.trim_end(), OF_THE_VALUE, "the template is another");
}

#[tokio::test]
async fn in_a_namespace_that_asks_a_silent_deployment_is_looked_at_as_well() {
    let asks = "  annotations: {heapship.io/inject: 'true', heapship.io/pre-stop: alive}\n";
    let bed = Bed::shared_with("silent", asks).await;
    eventually("the namespace's annotations are known", SOON, async || {
        let said = kubectl::apply_with(
            &["-n", &bed.namespace, "apply", "--dry-run=server", "-f", "-"],
            &deployment("shop", &["nobody/asks: here"]),
        );
        (said == [OF_THE_VALUE]).then_some(())
    })
    .await;
}

fn events(namespace: &str) -> Vec<Value> {
    let events = kubectl::run(&["-n", namespace, "get", "events.events.k8s.io", "-o", "json"]);
    let events: Value = serde_json::from_str(&events).unwrap();
    let ours = events["items"].as_array().unwrap().iter();
    ours.filter(|event| event["reportingController"] == "heapship")
        .cloned()
        .collect()
}

/// With pods that no node takes: they are created, and cost nothing.
fn unschedulable(name: &str, replicas: usize) -> String {
    let app = App {
        name,
        annotations: &[ASKS, WRONG_VALUE],
        spec: "nodeSelector: {nobody: here}",
        ..App::default()
    };
    app.deployment().replacen(
        "spec:\n  selector",
        &format!("spec:\n  replicas: {replicas}\n  selector"),
        1,
    )
}

#[tokio::test]
async fn a_hundred_pods_that_are_left_alone_are_one_event_that_describe_shows() {
    let bed = Bed::shared("hundred").await;
    bed.apply(&unschedulable("shop", 100));
    let namespace = bed.namespace.as_str();
    eventually("a hundred pods", SOON, async || {
        let pods = kubectl::run(&["-n", namespace, "get", "pods", "-o", "name"]);
        (pods.lines().count() == 100).then_some(())
    })
    .await;
    let described = eventually("an Event on the Deployment", SOON, async || {
        let described = kubectl::run(&["-n", namespace, "describe", "deployment", "shop"]);
        described.contains("InvalidAnnotation").then_some(described)
    })
    .await;
    assert!(
        described.contains(
            "the pods of this workload are not injected: heapship.io/pre-stop: \"alive\" is not allowed: use off, live or all"
        ),
        "{described}"
    );
    let found = events(namespace);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0]["regarding"]["kind"], "Deployment");
    assert_eq!(found[0]["type"], "Warning");
    // The next roll-out makes the same mistake within the window: nothing is written again.
    kubectl::run(&["-n", namespace, "set", "env", "deployment/shop", "NEW=1"]);
    eventually("pods of the next roll-out", SOON, async || {
        let pods = kubectl::run(&[
            "-n",
            namespace,
            "get",
            "pods",
            "-o",
            "jsonpath={.items[*].spec.containers[*].env}",
        ]);
        pods.contains("NEW").then_some(())
    })
    .await;
    assert_eq!(events(namespace), found);
}

#[tokio::test]
async fn a_dry_run_writes_no_event() {
    let bed = Bed::shared("dry").await;
    let namespace = bed.namespace.as_str();
    bed.apply(&deployment("shop", &[ASKS]));
    let uid = kubectl::run(&[
        "-n",
        namespace,
        "get",
        "deployment",
        "shop",
        "-o",
        "jsonpath={.metadata.uid}",
    ]);
    let pod = |name: &str, annotation: &str| {
        let pod = App {
            name,
            annotations: &[ASKS, annotation],
            spec: "nodeSelector: {nobody: here}",
            ..App::default()
        };
        pod.pod().replacen(
            "metadata:\n",
            &format!(
                "metadata:\n  ownerReferences:\n  - {{apiVersion: apps/v1, kind: Deployment, name: shop, uid: {uid}, controller: true}}\n"
            ),
            1,
        )
    };
    let dry = ["-n", namespace, "create", "--dry-run=server", "-f", "-"];
    assert_eq!(
        kubectl::apply_with(&dry, &pod("dry", "heapship.io/on-oom: dumb")).len(),
        1
    );
    bed.apply(&pod("real", WRONG_VALUE));
    let found = eventually("the Event of the pod that is there", SOON, async || {
        Some(events(namespace)).filter(|events| !events.is_empty())
    })
    .await;
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0]["note"].as_str().unwrap().contains("alive"), "{found:#?}");
}

#[tokio::test]
async fn both_rounds_of_a_pods_admission_have_one_audit_value() {
    let bed = Bed::shared("rounds").await;
    let namespace = bed.namespace.as_str();
    let injected = App {
        name: "shop",
        annotations: &[ASKS, WRONG_KEY],
        spec: "nodeSelector: {nobody: here}",
        ..App::default()
    };
    // Whose plugin has something to add to our containers: only what was changed after our turn is shown to us again.
    bed.apply(
        "apiVersion: v1
kind: LimitRange
metadata: {name: defaults}
spec: {limits: [{type: Container, defaultRequest: {ephemeral-storage: 1Mi}}]}
",
    );
    bed.apply(&injected.pod());
    let log = fs::read_to_string(state().join("audit.log")).unwrap();
    let audited: Value = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find(|event| {
            let object = &event["objectRef"];
            object["namespace"] == namespace && object["resource"] == "pods" && object["name"] == "shop"
        })
        .unwrap();
    let annotations = audited["annotations"].as_object().unwrap();
    assert_eq!(annotations["annotated-pods.heapship.io/decision"], "injected");
    let rounds = |number: u8| {
        let prefix = format!("mutation.webhook.admission.k8s.io/round_{number}_");
        annotations.keys().any(|key| key.starts_with(&prefix))
    };
    assert!(rounds(0) && rounds(1), "{annotations:#?}");
    // What the API server says of a second value that is not the first.
    let server = fs::read_to_string(state().join("log/apiserver.log")).unwrap();
    let contradicted = server
        .lines()
        .find(|line| line.contains("heapship.io/decision\"]"));
    assert_eq!(contradicted, None);
}
