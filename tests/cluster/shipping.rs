//! A JVM runs out of memory: its dump is in the bucket, before the pod is gone.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;

use crate::bed::Bed;
use crate::bed::workloads::App;

fn restarts(pod: &Pod, container: &str) -> i32 {
    let statuses = pod
        .status
        .as_ref()
        .and_then(|status| status.container_statuses.as_ref());
    statuses
        .into_iter()
        .flatten()
        .find(|status| status.name == container)
        .map_or(0, |status| status.restart_count)
}

fn phase(pod: &Pod) -> &str {
    pod.status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        .unwrap_or_default()
}

#[tokio::test]
async fn each_out_of_memory_error_of_a_deployment_is_a_dump_in_the_bucket() {
    let bed = Bed::shared("oom").await;
    bed.apply(
        &App {
            name: "leak",
            ..App::default()
        }
        .deployment(),
    );
    let pod = bed.pod_of("leak").await;
    let name = pod.metadata.name.as_deref().unwrap();
    // The container restarts under the same process ID and writes a file of the same name.
    bed.pod_until(name, "its container was restarted", |pod| {
        restarts(pod, "app") >= 1
    })
    .await;
    let shipped = bed.shipped(2).await;
    for dump in &shipped {
        dump.assert_whole();
        assert_eq!(dump.says("workload"), "Deployment/leak");
        assert_eq!(dump.says("reason"), "oom");
        assert!(
            dump.key
                .starts_with(&format!("e2e/e2e/{}/leak/{name}/app/", bed.namespace)),
            "{}",
            dump.key
        );
    }
}

#[tokio::test]
async fn a_pod_that_never_restarts_ends_when_its_dump_has_arrived() {
    let bed = Bed::shared("never").await;
    bed.apply(
        &App {
            name: "once",
            spec: "restartPolicy: Never",
            ..App::default()
        }
        .pod(),
    );
    bed.pod_until("once", "it has failed", |pod| phase(pod) == "Failed")
        .await;
    // Not awaited: nothing of the pod runs any more.
    let shipped = crate::bed::store::shipped(&bed.namespace);
    assert_eq!(shipped.len(), 1, "{shipped:?}");
    shipped[0].assert_whole();
}

#[tokio::test]
async fn a_job_whose_code_outlives_the_error_completes_and_its_dump_has_arrived() {
    let bed = Bed::shared("job").await;
    bed.apply(
        &App {
            name: "report",
            java: "-Xmx48m, -XX:+UseSerialGC, -cp, /app, Report",
            spec: "restartPolicy: Never",
            ..App::default()
        }
        .job(),
    );
    let jobs: Api<Job> = Api::namespaced(bed.client.clone(), &bed.namespace);
    bed.eventually("the Job completes", async || {
        let status = jobs.get("report").await.unwrap().status?;
        assert_eq!(status.failed.unwrap_or_default(), 0);
        (status.succeeded == Some(1)).then_some(())
    })
    .await;
    let shipped = crate::bed::store::shipped(&bed.namespace);
    assert_eq!(shipped.len(), 1, "{shipped:?}");
    shipped[0].assert_whole();
    assert_eq!(shipped[0].says("workload"), "Job/report");
}

#[tokio::test]
async fn an_init_container_that_runs_out_of_memory_is_shipped_too() {
    let bed = Bed::shared("init").await;
    let init = "\
restartPolicy: Never
initContainers:
- name: migrate
  image: localhost/heapship-test/jvm-17:1
  command: [/opt/java/bin/java, -Xmx48m, -XX:+UseSerialGC, -cp, /app, Leak]";
    bed.apply(
        &App {
            name: "shop",
            annotations: &["heapship.io/inject: 'true'", "heapship.io/containers: migrate"],
            spec: init,
            ..App::default()
        }
        .pod(),
    );
    let shipped = bed.shipped(1).await;
    shipped[0].assert_whole();
    assert_eq!(shipped[0].says("container"), "migrate");
    bed.pod_until("shop", "it has failed", |pod| phase(pod) == "Failed")
        .await;
}
