//! An annotation on a namespace opts its pods in: at once, and until it is removed.

use crate::bed::load::is_injected;
use crate::bed::workloads::App;
use crate::bed::{Bed, SOON, eventually, installed, kubectl};

const LABEL: &str = "{.metadata.labels.heapship\\.io/injection}";

fn label(namespace: &str) -> String {
    kubectl::run(&["get", "namespace", namespace, "-o", &format!("jsonpath={LABEL}")])
}

fn unasked(name: &'static str) -> App<'static> {
    App {
        name,
        annotations: &["nobody/asks: here"],
        java: "-Xmx64m, -XX:+UseSerialGC, -cp, /app, Serve",
        ..App::default()
    }
}

/// A namespace and a Deployment in one `kubectl apply`, and the first pod of it.
async fn both_at_once(bed: &Bed, number: usize) -> bool {
    let namespace = format!("{}-at-once-{number}", bed.namespace);
    let deployment = unasked("shop").deployment().replacen(
        "metadata: {name: shop}",
        &format!("metadata: {{name: shop, namespace: {namespace}}}"),
        1,
    );
    kubectl::apply(&format!(
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {namespace}\n  annotations: {{heapship.io/inject: 'true'}}\n---\n{deployment}"
    ));
    let there = Bed::within(bed, &namespace);
    is_injected(&there.pod_of("shop").await)
}

#[tokio::test]
async fn a_namespace_and_a_deployment_in_one_apply_both_work() {
    let bed = Bed::shared("at-once").await;
    for number in 0..10 {
        assert!(both_at_once(&bed, number).await, "missed in round {number}");
    }
}

#[tokio::test]
async fn removing_the_annotation_stops_it_for_new_pods() {
    let bed = Bed::shared_with("opted", "  annotations: {heapship.io/inject: 'true'}\n").await;
    assert_eq!(label(&bed.namespace), "enabled");
    bed.apply(&unasked("before").pod());
    assert!(is_injected(&bed.pod("before").await));
    kubectl::run(&["annotate", "namespace", &bed.namespace, "heapship.io/inject-"]);
    assert_eq!(label(&bed.namespace), "");
    // The webhook's own view follows a moment later.
    let mut number = 0;
    eventually("a new pod is left alone", SOON, async || {
        number += 1;
        let name = format!("after-{number}");
        bed.apply(
            &unasked("after")
                .pod()
                .replacen("name: after", &format!("name: {name}"), 1),
        );
        (!is_injected(&bed.pod(&name).await)).then_some(())
    })
    .await;
    assert!(number <= 3, "after {number} pods");
}

#[tokio::test]
async fn what_changed_while_the_webhook_was_down_is_put_right() {
    let bed = Bed::alone("away").await;
    installed::stop().await;
    kubectl::run(&["annotate", "namespace", &bed.namespace, "heapship.io/inject=true"]);
    assert_eq!(label(&bed.namespace), "");
    installed::start();
    eventually("the label is there", SOON, async || {
        (label(&bed.namespace) == "enabled").then_some(())
    })
    .await;
}
