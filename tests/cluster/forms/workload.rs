//! Pods that a controller makes from a template.

use serde_json::{Value, json};

use super::create::{Created, create};
use super::evidence::Evidence;
use super::form::Form;
use super::{judge, log_of, places};
use crate::bed::Bed;

/// The workload around a form's pod, which the API server stores as it would without heapship.
pub async fn create_around(bed: &Bed, form: &Form) {
    let kind = form.workload.as_deref().unwrap();
    let collection = collection(kind, &bed.namespace);
    let with = create(&bed.client, &collection, &around(kind, form, &form.pod), false).await;
    assert!(!with.is_refused(), "{}: {}", form.title, with.object);
    let mut plain = around(kind, form, &judge::unasked(&form.pod, false));
    plain["metadata"]["name"] = json!("plain");
    let without = create(&bed.client, &collection, &plain, true).await;
    let at = if kind == "CronJob" {
        "/spec/jobTemplate/spec/template"
    } else {
        "/spec/template"
    };
    let template = |created: &Created| {
        let mut template = created.object.pointer(at).cloned().unwrap_or_default();
        // Labels that a Job draws.
        template["metadata"] = json!({"annotations": template["metadata"]["annotations"]});
        template
    };
    assert_eq!(
        places::faults(&template(&without), &template(&with)),
        Vec::<String>::new(),
        "{}",
        form.title
    );
}

/// The JVM of the pod that the controller has made got its options.
pub async fn pod_speaks(bed: &Bed, form: &Form) {
    let pod = bed.pod_of(&form.name()).await;
    let name = pod.metadata.name.unwrap();
    let log = bed
        .eventually(&format!("{name} has spoken"), async || {
            let log = log_of(bed, &name, "app").await;
            log.contains("said").then_some(log)
        })
        .await;
    let faults = Evidence::of_log(&log).faults(form, "app");
    assert!(faults.is_empty(), "{}: {}", form.title, faults.join("\n"));
}

fn collection(kind: &str, namespace: &str) -> String {
    let (group, plural) = match kind {
        "ReplicationController" => ("api/v1", "replicationcontrollers"),
        "Job" => ("apis/batch/v1", "jobs"),
        "CronJob" => ("apis/batch/v1", "cronjobs"),
        "Deployment" => ("apis/apps/v1", "deployments"),
        "StatefulSet" => ("apis/apps/v1", "statefulsets"),
        "DaemonSet" => ("apis/apps/v1", "daemonsets"),
        "ReplicaSet" => ("apis/apps/v1", "replicasets"),
        other => panic!("no workload: {other}"),
    };
    format!("/{group}/namespaces/{namespace}/{plural}")
}

fn around(kind: &str, form: &Form, pod: &Value) -> Value {
    let labels = json!({"app": form.name()});
    let template = json!({"metadata": {"labels": pod["metadata"]["labels"], "annotations": pod["metadata"]["annotations"]}, "spec": pod["spec"]});
    let group = match kind {
        "ReplicationController" => "v1",
        "Job" | "CronJob" => "batch/v1",
        _ => "apps/v1",
    };
    let spec = match kind {
        "ReplicationController" => json!({"selector": labels, "template": template}),
        "Job" => json!({"template": template}),
        "CronJob" => json!({"schedule": "* * * * *", "jobTemplate": {"spec": {"template": template}}}),
        _ => json!({"selector": {"matchLabels": labels}, "template": template}),
    };
    json!({"apiVersion": group, "kind": kind, "metadata": {"name": form.name()}, "spec": spec})
}
