//! What people ask a cluster: is all well, and what became of this pod?

use crate::bed::workloads::App;
use crate::bed::{Bed, heapship, kubectl};

#[tokio::test]
async fn check_finds_no_fault_and_writes_to_the_store_by_an_agents_own_means() {
    let bed = Bed::shared("check").await;
    let app = App {
        name: "shop",
        java: "-Xmx64m, -XX:+UseSerialGC, -cp, /app, Serve",
        container: "readinessProbe: {httpGet: {port: 8080}, periodSeconds: 1}",
        ..App::default()
    };
    bed.apply(&app.deployment());
    let arguments = [
        "-n",
        &bed.namespace,
        "rollout",
        "status",
        "deployment/shop",
        "--timeout=180s",
    ];
    kubectl::run(&arguments);
    let check = heapship::run(&["check", "-n", &bed.namespace, "--store"]);
    assert_eq!(check.status, Some(0), "{}", check.text);
    // The credentials allow to write and nothing else.
    assert!(
        check.says("a small object arrived") && check.says("not deleted"),
        "{}",
        check.text
    );
}

#[tokio::test]
async fn explain_says_of_a_live_pod_where_its_dumps_go_and_what_was_shipped() {
    let bed = Bed::shared("explain").await;
    bed.apply(
        &App {
            name: "leak",
            ..App::default()
        }
        .deployment(),
    );
    bed.shipped(1).await;
    let pod = bed.pod_of("leak").await.metadata.name.unwrap();
    let explained = heapship::run(&["explain", &format!("pod/{pod}"), "-n", &bed.namespace]);
    assert_eq!(explained.status, Some(0), "{}", explained.text);
    for said in ["s3://dumps/e2e", "shipped"] {
        assert!(explained.says(said), "{said}: {}", explained.text);
    }
}
