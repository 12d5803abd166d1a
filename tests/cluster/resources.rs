//! Quality of service, pod-level resources, limits and quotas: nothing is rejected, nothing changes its class.

use crate::bed::Bed;
use crate::bed::workloads::App;

const EXACT: &str = "resources: {requests: {cpu: 300m, memory: 200Mi}, limits: {cpu: 300m, memory: 200Mi}}";

async fn class(bed: &Bed, name: &str) -> String {
    bed.pod(name).await.status.unwrap().qos_class.unwrap()
}

#[tokio::test]
async fn a_guaranteed_pod_stays_guaranteed_and_one_without_requests_stays_best_effort() {
    let bed = Bed::shared("classes").await;
    for (name, container, wanted) in [("exact", EXACT, "Guaranteed"), ("free", "", "BestEffort")] {
        let app = App {
            name,
            container,
            spec: "restartPolicy: Never",
            ..App::default()
        };
        bed.apply(&app.pod());
        assert_eq!(class(&bed, name).await, wanted);
    }
    for dump in bed.shipped(2).await {
        dump.assert_whole();
    }
}

#[tokio::test]
async fn a_pod_with_resources_of_its_own_keeps_them() {
    let bed = Bed::shared("pod-level").await;
    let app = App {
        name: "whole",
        spec: "restartPolicy: Never\nresources: {requests: {cpu: 300m, memory: 300Mi}, limits: {cpu: 300m, memory: 300Mi}}",
        ..App::default()
    };
    bed.apply(&app.pod());
    assert_eq!(class(&bed, "whole").await, "Guaranteed");
    bed.shipped(1).await[0].assert_whole();
}

#[tokio::test]
async fn limits_and_quotas_of_a_namespace_are_kept() {
    let bed = Bed::shared("quota").await;
    bed.apply(
        "apiVersion: v1
kind: LimitRange
metadata: {name: limits}
spec:
  limits:
  - type: Container
    default: {cpu: 300m, memory: 200Mi}
    defaultRequest: {cpu: 50m, memory: 100Mi}
    min: {cpu: 10m, memory: 16Mi}
    max: {cpu: '1', memory: 400Mi}
---
apiVersion: v1
kind: ResourceQuota
metadata: {name: quota}
spec:
  hard: {requests.cpu: '1', requests.memory: 1Gi, limits.cpu: '2', limits.memory: 2Gi, pods: '2'}
",
    );
    let app = App {
        name: "modest",
        spec: "restartPolicy: Never",
        ..App::default()
    };
    bed.apply(&app.pod());
    bed.shipped(1).await[0].assert_whole();
}
