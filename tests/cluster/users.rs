//! Under whose user the agent runs, where nobody states it and where each container has another one.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use crate::bed::Bed;
use crate::bed::workloads::{App, indented};

fn init_statuses(pod: &Pod) -> Vec<ContainerStatus> {
    pod.status
        .clone()
        .and_then(|status| status.init_container_statuses)
        .unwrap_or_default()
}

/// The user that a container really runs as, which the kubelet tells.
fn uid(status: &ContainerStatus) -> Option<i64> {
    Some(status.user.as_ref()?.linux.as_ref()?.uid)
}

fn agents(pod: &Pod) -> Vec<ContainerStatus> {
    init_statuses(pod)
        .into_iter()
        .filter(|status| status.name.starts_with("heapship-agent"))
        .collect()
}

#[tokio::test]
async fn a_restricted_namespace_takes_an_image_whose_user_nobody_states() {
    let bed = Bed::shared_with(
        "restricted",
        "  labels: {pod-security.kubernetes.io/enforce: restricted, pod-security.kubernetes.io/enforce-version: latest}\n",
    )
    .await;
    let app = App {
        name: "strict",
        spec: "\
restartPolicy: Never
securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}",
        container: "securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}",
        ..App::default()
    };
    bed.apply(&app.pod());
    let shipped = bed.shipped(1).await;
    shipped[0].assert_whole();
    let pod = bed.pod("strict").await;
    let agents = agents(&pod);
    assert_eq!(agents.len(), 1);
    assert_eq!(uid(&agents[0]), Some(1234), "{agents:?}");
    for container in pod.spec.unwrap().init_containers.unwrap() {
        let security = container.security_context.unwrap();
        assert_eq!(security.allow_privilege_escalation, Some(false));
        let capabilities = security.capabilities.unwrap();
        assert_eq!(capabilities.add, None);
        assert_eq!(capabilities.drop.as_deref(), Some(&["ALL".to_owned()][..]));
    }
}

#[tokio::test]
async fn two_jvms_of_two_users_and_two_images_are_both_shipped() {
    let bed = Bed::shared("users").await;
    // Goes into the list that the manifest ends with.
    let second = "\
- name: other
  image: localhost/heapship-test/jvm-17-other:1
  command: [/opt/java/bin/java, -Xmx48m, -XX:+UseSerialGC, -cp, /app, Leak]";
    let app = App {
        name: "pair",
        spec: "restartPolicy: Never",
        ..App::default()
    };
    bed.apply(&(app.pod() + &indented("  ", second)));
    let shipped = bed.shipped(2).await;
    for dump in &shipped {
        dump.assert_whole();
    }
    let containers: BTreeSet<&str> = shipped.iter().map(|dump| dump.says("container")).collect();
    assert_eq!(containers, BTreeSet::from(["app", "other"]));
    let users: BTreeSet<Option<i64>> = agents(&bed.pod("pair").await).iter().map(uid).collect();
    assert_eq!(users, BTreeSet::from([Some(1234), Some(4321)]));
}

#[tokio::test]
async fn an_image_that_names_its_user_and_one_that_runs_as_root_are_both_shipped() {
    let bed = Bed::shared("named").await;
    for (name, image) in [("by-name", "jvm-17-named"), ("by-root", "jvm-17-root")] {
        let app = App {
            name,
            image,
            spec: "restartPolicy: Never",
            ..App::default()
        };
        bed.apply(&app.pod());
    }
    for dump in bed.shipped(2).await {
        dump.assert_whole();
    }
}

#[tokio::test]
async fn every_jdk_that_is_supported_ships() {
    let bed = Bed::shared("jdks").await;
    for image in ["jvm-11", "jvm-21", "jvm-25"] {
        let app = App {
            name: image,
            image,
            spec: "restartPolicy: Never",
            ..App::default()
        };
        bed.apply(&app.pod());
    }
    for dump in bed.shipped(3).await {
        dump.assert_whole();
    }
}
