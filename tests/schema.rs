//! What `heapship inject` writes fits Kubernetes 1.36.

use serde_json::{Value, json};

pub(crate) mod openapi;

fn pod() -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {
        "containers": [{"name": "app", "resources": {"limits": {"cpu": 1, "memory": "1Gi"}}, "livenessProbe": {"tcpSocket": {"port": "http"}}}],
    }})
}

#[test]
fn a_right_manifest_has_no_faults() {
    let Some(openapi) = openapi::openapi() else { return };
    assert_eq!(openapi.faults(&pod()), Vec::<String>::new());
}

#[test]
fn every_kind_of_fault_is_found() {
    let Some(openapi) = openapi::openapi() else { return };
    for (pointer, member, value, fault) in [
        (
            "/spec",
            "imagePolicy",
            json!("x"),
            "Pod.spec.imagePolicy does not exist",
        ),
        (
            "/spec",
            "containers",
            json!({}),
            "Pod.spec.containers: {} is not of type \"array\"",
        ),
        (
            "/spec/containers/0",
            "env",
            json!([{"value": "x"}]),
            "Pod.spec.containers[0].env[0].name is missing",
        ),
        (
            "/spec",
            "terminationGracePeriodSeconds",
            json!("30"),
            "Pod.spec.terminationGracePeriodSeconds: \"30\" is not of type \"integer\"",
        ),
        (
            "/metadata",
            "annotations",
            json!({"a": true}),
            "Pod.metadata.annotations.a: true is not of type \"string\"",
        ),
        (
            "/spec/containers/0",
            "livenessProbe",
            json!({"tcpSocket": {"port": true}}),
            "Pod.spec.containers[0].livenessProbe.tcpSocket.port: true is not of type \"string\"",
        ),
    ] {
        let mut wrong = pod();
        wrong.pointer_mut(pointer).unwrap()[member] = value;
        assert_eq!(
            openapi.faults(&json!({"kind": "List", "items": [wrong]})),
            [fault]
        );
    }
}
