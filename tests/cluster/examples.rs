//! `manifests/examples`, as they stand: only the images, which no registry has, the healthy program in them, and the names of
//! namespaces and keys are the suite's.

use std::fs;
use std::path::Path;

use crate::bed::load::is_injected;
use crate::bed::{Bed, kubectl, store};
use crate::volumes;

/// An example with the suite's namespace and image in it.
fn example(bed: &Bed, file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("manifests/examples")
        .join(file);
    let text = fs::read_to_string(path).unwrap();
    let own = |line: &str| {
        let indent = &line[..line.len() - line.trim_start().len()];
        let (key, value) = line.trim_start().split_once(": ").unwrap_or_default();
        match (key, value) {
            ("namespace", _) => format!("{indent}namespace: {}", bed.namespace),
            ("image", _) => format!("{indent}image: localhost/heapship-test/jvm-17:1"),
            ("AWS_ACCESS_KEY_ID", _) => format!("{indent}AWS_ACCESS_KEY_ID: writer"),
            ("AWS_SECRET_ACCESS_KEY", _) => format!("{indent}AWS_SECRET_ACCESS_KEY: not-a-secret"),
            ("command", _) => line.replace("Orders]", "Serve]"),
            ("name", "checkout") => format!("{indent}name: {}", bed.namespace),
            _ => line.to_owned(),
        }
    };
    text.lines().map(|line| own(line) + "\n").collect()
}

#[tokio::test]
async fn a_leaking_deployment() {
    let bed = Bed::shared("ex-leaking").await;
    bed.apply(&example(&bed, "leaking-deployment.yaml"));
    bed.shipped(1).await[0].assert_whole();
}

#[tokio::test]
async fn an_uploader_with_a_credentials_secret() {
    let bed = Bed::shared("ex-credentials").await;
    // The policy's own Secret would do otherwise.
    store::wrong_credentials_for(&bed.namespace);
    bed.apply(&example(&bed, "s3-credentials.yaml"));
    bed.shipped(1).await[0].assert_whole();
}

#[tokio::test]
async fn a_namespace_that_opts_in() {
    let bed = Bed::shared("ex-namespace").await;
    bed.apply(&example(&bed, "namespace.yaml"));
    let shipped = bed.shipped(1).await;
    shipped[0].assert_whole();
    assert_eq!(shipped[0].says("workload"), "Deployment/cart");
    assert!(!is_injected(&bed.pod_of("cards").await), "it opts out");
}

#[tokio::test]
async fn a_dump_of_whatever_is_stopped() {
    let bed = Bed::shared("ex-stopped").await;
    bed.apply(&example(&bed, "pre-stop-deployment.yaml"));
    stopped(&bed, "orders", 1).await;
}

#[tokio::test]
async fn dumps_of_two_replicas_on_a_claim_when_they_are_stopped() {
    let bed = Bed::shared("ex-claim").await;
    volumes::volume_for(&bed, "heap-dumps");
    bed.apply(&example(&bed, "pre-stop-on-a-claim.yaml"));
    stopped(&bed, "ledger", 2).await;
}

/// Deletes a Deployment once it serves, and looks for the dumps of its pods when they are gone.
async fn stopped(bed: &Bed, name: &str, count: usize) {
    let deployment = format!("deployment/{name}");
    kubectl::run(&[
        "-n",
        &bed.namespace,
        "rollout",
        "status",
        &deployment,
        "--timeout=180s",
    ]);
    bed.eventually("the JVMs serve", async || {
        let label = format!("app={name}");
        let log = kubectl::run(&["-n", &bed.namespace, "logs", "-c", "app", "-l", &label]);
        (log.matches("ready").count() == count).then_some(())
    })
    .await;
    kubectl::run(&[
        "-n",
        &bed.namespace,
        "delete",
        &deployment,
        "--cascade=foreground",
    ]);
    let shipped = store::shipped(&bed.namespace);
    assert_eq!(shipped.len(), count, "{shipped:?}");
    for dump in shipped {
        dump.assert_whole();
    }
}
