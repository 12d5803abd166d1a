//! Installed, upgraded, uninstalled: by kustomize and by Helm. Nothing is left behind and nothing is broken.

use crate::bed::installed::Way;
use crate::bed::inventory;
use crate::bed::workloads::App;
use crate::bed::{Bed, SOON, eventually, installed, kubectl, store};

/// Comes and goes with everything that is of the suite's own.
async fn comes_and_goes(bed: &Bed, way: Way) {
    let already = store::shipped(&bed.namespace).len();
    let leftovers = async || {
        let namespaces = kubectl::run(&[
            "get",
            "namespaces",
            "-o",
            "jsonpath={.items[?(@.status.phase=='Terminating')].metadata.name}",
        ]);
        namespaces.is_empty().then_some(())
    };
    // One that asked before anybody was there to hear it.
    let opted = [
        "annotate",
        "--overwrite",
        "namespace",
        &bed.namespace,
        "heapship.io/inject=true",
    ];
    kubectl::run(&opted);
    eventually("namespaces of other tests are gone", SOON, leftovers).await;
    let before = settled_inventory().await;

    way.install();
    eventually("the namespace's label is there", SOON, async || {
        let namespace = kubectl::run(&["get", "namespace", &bed.namespace, "-o", "json"]);
        namespace.contains("heapship.io/injection").then_some(())
    })
    .await;
    way.upgrade();
    let app = App {
        name: "survivor",
        annotations: &["heapship.io/pre-stop: live"],
        java: "-Xmx64m, -XX:+UseSerialGC, -cp, /app, Serve",
        container: "readinessProbe: {httpGet: {port: 8080}, periodSeconds: 1}",
        ..App::default()
    };
    bed.apply(&app.pod());
    kubectl::run(&[
        "-n",
        &bed.namespace,
        "wait",
        "--for=condition=Ready",
        "pod/survivor",
        "--timeout=180s",
    ]);
    way.uninstall();

    // It was injected, it runs, and it goes on shipping.
    kubectl::run(&["-n", &bed.namespace, "delete", "pod", "survivor"]);
    let shipped = store::shipped(&bed.namespace);
    assert_eq!(shipped.len(), already + 1);
    shipped[already].assert_whole();

    let nothing = eventually("nothing is left behind", SOON, async || {
        let left = inventory::difference(&before, &inventory::take());
        println!("{}", left.join("\n"));
        left.is_empty().then_some(())
    });
    nothing.await;
}

/// Once two looks in a row see the same.
async fn settled_inventory() -> std::collections::BTreeMap<String, serde_json::Value> {
    let mut last = inventory::take();
    eventually("nothing changes any more", SOON, async || {
        let next = inventory::take();
        let same = inventory::difference(&last, &next).is_empty();
        last = next;
        same.then(|| last.clone())
    })
    .await
}

#[tokio::test]
async fn kustomize_and_helm_leave_nothing_behind_and_running_pods_go_on_shipping() {
    let bed = Bed::alone("installation").await;
    installed::uninstall();
    comes_and_goes(&bed, Way::Kustomize).await;
    comes_and_goes(&bed, Way::Helm).await;
    installed::install();
}
