//! `kubectl delete pod`: the dump of a healthy JVM is in the bucket before the pod is gone, and the pod's own hook ran.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use crate::bed::kubectl;
use crate::bed::workloads::App;
use crate::bed::{Bed, Shipped, installed};

/// A folder of the node that outlives the pod, where the application and its hooks leave an empty file for each thing
/// that happened.
struct Evidence(PathBuf);

impl Evidence {
    fn new(bed: &Bed) -> Self {
        let folder = installed::state().join("evidence").join(&bed.namespace);
        fs::create_dir_all(&folder).unwrap();
        // Whatever user the application has.
        fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        Self(folder)
    }

    /// The lines of a pod's spec that mount it.
    fn volume(&self) -> String {
        format!(
            "volumes:\n- name: evidence\n  hostPath: {{path: {}}}",
            self.0.display()
        )
    }

    const MOUNT: &'static str =
        "volumeMounts:\n- {name: evidence, mountPath: /evidence}\nenv:\n- {name: EVIDENCE, value: /evidence}";

    /// When it happened.
    #[track_caller]
    fn at(&self, what: &str) -> Timestamp {
        let file =
            fs::metadata(self.0.join(what)).unwrap_or_else(|error| panic!("{what} did not happen: {error}"));
        Timestamp::try_from(file.modified().unwrap()).unwrap()
    }
}

fn ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// When a container ended, by the kubelet.
#[track_caller]
fn ended(pod: &Pod, container: &str) -> Timestamp {
    let status = pod.status.as_ref().unwrap();
    let lists = [&status.container_statuses, &status.init_container_statuses];
    lists
        .into_iter()
        .flatten()
        .flatten()
        .find(|status| status.name == container)
        .and_then(|status| status.state.as_ref()?.terminated.as_ref()?.finished_at.clone())
        .unwrap_or_else(|| panic!("{container} has not ended: {status:#?}"))
        .0
}

/// When the JVM began to write, by the dump's own header.
fn began(dump: &Shipped) -> Timestamp {
    dump.record["times"]["began"].as_str().unwrap().parse().unwrap()
}

/// Starts an application with a hook, deletes it, and returns the evidence once it is gone.
async fn deleted(bed: &Bed, hook: &str) -> (Evidence, Shipped) {
    let evidence = Evidence::new(bed);
    let app = App {
        name: "orders",
        annotations: &["heapship.io/inject: 'true'", "heapship.io/pre-stop: live"],
        java: "-Xmx64m, -XX:+UseSerialGC, -cp, /app, Serve",
        container: &format!(
            "{}\nreadinessProbe: {{httpGet: {{port: 8080}}, periodSeconds: 1}}{hook}",
            Evidence::MOUNT
        ),
        spec: &evidence.volume(),
        ..App::default()
    };
    bed.apply(&app.pod());
    bed.pod_until("orders", "it is ready", ready).await;
    let last = bed.last_seen("orders", || {
        kubectl::run(&["-n", &bed.namespace, "delete", "pod", "orders", "--wait=false"]);
    });
    let last = last.await;
    assert!(
        ended(&last, "heapship-agent") >= ended(&last, "app"),
        "the agent ends after the application: {:#?}",
        last.status
    );
    // Not awaited: the pod is gone, and so must everything be there.
    let shipped = crate::bed::store::shipped(&bed.namespace);
    assert_eq!(shipped.len(), 1, "{shipped:?}");
    shipped[0].assert_whole();
    assert_eq!(shipped[0].says("reason"), "pre-stop-live");
    (evidence, shipped[0].clone())
}

#[tokio::test]
async fn a_healthy_jvm_without_a_hook_is_dumped_before_its_pod_is_gone() {
    let bed = Bed::shared("stop").await;
    let (evidence, dump) = deleted(&bed, "").await;
    assert!(began(&dump) <= evidence.at("sigterm"));
}

#[tokio::test]
async fn an_exec_hook_of_the_users_own_runs_after_the_dump() {
    let bed = Bed::shared("stop-exec").await;
    let hook = "\nlifecycle: {preStop: {exec: {command: [/bin/sh, -c, 'touch /evidence/exec']}}}";
    let (evidence, dump) = deleted(&bed, hook).await;
    assert!(began(&dump) <= evidence.at("exec"));
    assert!(evidence.at("exec") <= evidence.at("sigterm"));
}

#[tokio::test]
async fn an_http_get_hook_of_the_users_own_reaches_the_application_after_the_dump() {
    let bed = Bed::shared("stop-http").await;
    let (evidence, dump) = deleted(
        &bed,
        "\nlifecycle: {preStop: {httpGet: {path: /stop, port: 8080}}}",
    )
    .await;
    assert!(began(&dump) <= evidence.at("httpGet"));
    assert!(evidence.at("httpGet") <= evidence.at("sigterm"));
}

#[tokio::test]
async fn a_sleep_hook_of_the_users_own_comes_before_the_dump() {
    let bed = Bed::shared("stop-sleep").await;
    let before = Timestamp::now();
    let (evidence, dump) = deleted(&bed, "\nlifecycle: {preStop: {sleep: {seconds: 3}}}").await;
    assert!(began(&dump) >= before + Duration::from_secs(3));
    assert!(began(&dump) <= evidence.at("sigterm"));
}
