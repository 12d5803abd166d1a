//! What an API server would ask.

use axum::body::Bytes;
use serde_json::{Value, json};

/// A pod as the API server would send it, of about `size` bytes.
pub(crate) fn pod(annotations: &Value, size: usize) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": "orders-7d4b9c-",
            "namespace": "shop",
            "annotations": annotations,
            "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "orders-7d4b9c",
                "uid": "2b7c", "controller": true, "blockOwnerDeletion": true }],
        },
        "spec": {
            "containers": [{
                "name": "app",
                "image": "registry.example/orders:1.4",
                "env": (0..size / 64).map(|index| json!({ "name": format!("SETTING_{index:04}"),
                    "value": "a value of ordinary length" })).collect::<Vec<_>>(),
            }],
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": 30,
        },
    })
}

/// A pod that asks for the injection.
pub(crate) fn asking(size: usize) -> Value {
    pod(
        &json!({ "heapship.io/inject": "true", "heapship.io/destination": "s3://dumps/shop" }),
        size,
    )
}

/// A pod that is none of ours.
pub(crate) fn other(size: usize) -> Value {
    pod(&json!({ "prometheus.io/scrape": "true" }), size)
}

/// The API server's question about a pod.
pub(crate) fn review(uid: &str, pod: &Value) -> Bytes {
    serde_json::to_vec(&json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": uid,
            "kind": { "group": "", "version": "v1", "kind": "Pod" },
            "resource": { "group": "", "version": "v1", "resource": "pods" },
            "requestKind": { "group": "", "version": "v1", "kind": "Pod" },
            "requestResource": { "group": "", "version": "v1", "resource": "pods" },
            "namespace": "shop",
            "operation": "CREATE",
            "userInfo": { "username": "system:serviceaccount:kube-system:replicaset-controller" },
            "object": pod,
            "oldObject": null,
            "dryRun": false,
            "options": { "kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1" },
        },
    }))
    .unwrap()
    .into()
}
