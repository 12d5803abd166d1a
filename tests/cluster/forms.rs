//! Pods of every form that people write: each is created with heapship and without it, and what comes of both is compared.
//! The forms are the files in `forms/`; `docs/pods.md` has them as a table.

#![allow(unreachable_pub, reason = "of one binary")]

use std::fmt::Write as _;

use futures_util::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, LogParams};

use crate::bed::{Bed, installed, kubectl};

pub mod create;
pub mod evidence;
pub mod form;
pub mod judge;
pub mod places;
mod workload;

use create::create;
use evidence::Evidence;
use form::{Category, Form};
use judge::judge;

/// Pods that start at the same time: two cores are shared by all of the suite.
pub const AT_ONCE: usize = 10;

#[tokio::test]
async fn options_of_any_kind_reach_the_jvm() {
    run("options").await;
}

#[tokio::test]
async fn heap_dump_paths_of_the_users_own_are_kept_or_overruled() {
    run("paths").await;
}

#[tokio::test]
async fn hooks_are_carried_out_as_before() {
    run("hooks").await;
}

#[tokio::test]
async fn probes_and_grace_periods_keep_their_meaning() {
    run("probes").await;
}

#[tokio::test]
async fn other_containers_are_left_as_they_are() {
    run("containers").await;
}

#[tokio::test]
async fn volumes_and_mounts_do_not_collide() {
    run("volumes").await;
}

#[tokio::test]
async fn users_and_groups_of_any_kind_run() {
    run("security").await;
}

#[tokio::test]
async fn a_restricted_namespace_takes_what_it_took_before() {
    run("restricted").await;
}

#[tokio::test]
async fn a_baseline_namespace_takes_what_it_took_before() {
    run("baseline").await;
}

#[tokio::test]
async fn the_quality_of_service_stays() {
    run("resources").await;
}

#[tokio::test]
async fn nodes_and_networks_are_chosen_as_before() {
    run("scheduling").await;
}

#[tokio::test]
async fn pods_that_end_still_end() {
    run("lifecycle").await;
}

#[tokio::test]
async fn pods_of_every_workload_are_injected() {
    let category = Category::read("workloads");
    let bed = place("workloads", &category).await;
    for form in &category.forms {
        workload::create_around(&bed, form).await;
    }
    join_all(category.forms.iter().map(|form| workload::pod_speaks(&bed, form))).await;
}

#[tokio::test]
async fn images_are_pulled_as_before() {
    run("images").await;
}

#[tokio::test]
async fn odd_and_large_pods_are_admitted() {
    run("shapes").await;
}

#[tokio::test]
async fn a_namespace_asks_for_its_pods() {
    run("asked-by-the-namespace").await;
}

#[tokio::test]
async fn what_is_not_ours_is_left_alone() {
    run("not-ours").await;
}

#[tokio::test]
async fn what_the_api_server_refuses_it_refuses_still() {
    run("refused").await;
}

#[tokio::test]
async fn a_copy_for_debugging_and_an_ephemeral_container_are_left_as_they_are() {
    let mut category = Category::read("options");
    let bed = place("debug", &category).await;
    let form = category.forms.remove(0).staying();
    really(&bed, &form).await;
    let name = form.name();
    let runs = |pod: &Pod| {
        pod.status
            .as_ref()
            .is_some_and(|status| status.phase.as_deref() == Some("Running"))
    };
    let original = bed.pod_until(&name, "it runs", runs).await;

    let debug = [
        "-n",
        &bed.namespace,
        "debug",
        &name,
        "--attach=false",
        "--image=localhost/heapship-test/jvm-17:1",
    ];
    kubectl::run(
        &[
            &debug[..],
            &["--image-pull-policy=Never", "--target=app", "--", "true"],
        ]
        .concat(),
    );
    let with_a_debugger = bed.pod(&name).await.spec.unwrap();
    assert_eq!(with_a_debugger.ephemeral_containers.map(|all| all.len()), Some(1));

    let copy = [
        "-n",
        &bed.namespace,
        "debug",
        &name,
        "--attach=false",
        "--copy-to=copy",
        "--set-image=app=localhost/heapship-test/jvm-17:1",
    ];
    kubectl::run(&copy);
    let copy = bed.pod_until("copy", "it runs", runs).await;
    let names = |pod: &Pod| {
        let spec = pod.spec.clone().unwrap();
        let containers = spec
            .init_containers
            .unwrap_or_default()
            .into_iter()
            .chain(spec.containers);
        containers.map(|container| container.name).collect::<Vec<_>>()
    };
    assert_eq!(names(&copy), names(&original), "nothing is there twice");
}

/// All forms of a file.
async fn run(name: &str) {
    let category = Category::read(name);
    let bed = place(name, &category).await;
    judge(&bed, &category).await;
    for some in started(&category).chunks(AT_ONCE) {
        let pods = bed.pods();
        for form in some {
            really(&bed, form).await;
        }
        for form in some {
            let mut faults = Vec::new();
            for container in form.jvms.iter().chain(&form.without) {
                let evidence = ended_well(&bed, form, container).await;
                faults.extend(evidence.faults(form, container));
            }
            assert!(faults.is_empty(), "{}: {}", form.title, faults.join("\n"));
            // Two hundred pods that have ended are as many sandboxes.
            drop(
                pods.delete(&form.name(), &DeleteParams::default().grace_period(0))
                    .await,
            );
        }
    }
    installed::report(&format!(
        "{name}: {} forms of pods, {} of them started",
        category.forms.len(),
        started(&category).len()
    ));
}

/// A namespace as the file wants it, with the objects in it.
pub async fn place(name: &str, category: &Category) -> Bed {
    let mut metadata = String::new();
    for key in ["labels", "annotations"] {
        if category.namespace[key].is_object() {
            writeln!(metadata, "  {key}: {}", category.namespace[key]).unwrap();
        }
    }
    let short: String = name.chars().take(12).collect();
    let bed = Bed::shared_with(&format!("forms-{}", short.trim_end_matches('-')), &metadata).await;
    for object in &category.objects {
        bed.apply(&object.to_string());
    }
    bed
}

pub fn started(category: &Category) -> Vec<&Form> {
    category.forms.iter().filter(|form| form.starts).collect()
}

pub fn pods(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/pods")
}

pub async fn really(bed: &Bed, form: &Form) {
    let created = create(&bed.client, &pods(&bed.namespace), &form.pod, false).await;
    assert!(!created.is_refused(), "{}: {}", form.title, created.object);
    assert!(
        created.has_agent() || form.pod["metadata"]["annotations"]["heapship.io/agent"] == "off",
        "{}",
        form.title
    );
}

/// What a container said, whose pod has ended as it should.
pub async fn ended_well(bed: &Bed, form: &Form, container: &str) -> Evidence {
    let name = form.name();
    let phase = |pod: &Pod| {
        pod.status
            .as_ref()
            .and_then(|status| status.phase.clone())
            .unwrap_or_default()
    };
    let over = |pod: &Pod| ["Succeeded", "Failed"].contains(&phase(pod).as_str());
    let pod = bed.pod_until(&name, "it has ended", over).await;
    let log = log_of(bed, &name, container).await;
    assert_eq!(phase(&pod), "Succeeded", "{}: {log}", form.title);
    Evidence::of_log(&log)
}

async fn log_of(bed: &Bed, name: &str, container: &str) -> String {
    let parameters = LogParams {
        container: Some(container.to_owned()),
        ..LogParams::default()
    };
    bed.pods().logs(name, &parameters).await.unwrap_or_default()
}
