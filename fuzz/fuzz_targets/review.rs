//! Any bytes as the body of an API server's POST: refused, or answered with the same uid, allowed; a patch applies, and
//! the pod that it makes is answered without one.

#![no_main]

use std::sync::{Arc, LazyLock};

use heapship::admission::namespaces::Known;
use heapship::admission::{Admission, Look, answer::Answer};
use heapship::inject::{Cluster, KubernetesVersion, Namespace};
use heapship::settings::policy::Policies;
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

#[path = "review/shape.rs"]
mod shape;

/// Whose namespace asks for everything that can be asked.
static ADMISSION: LazyLock<Admission> = LazyLock::new(|| {
    let annotations = [
        ("inject", "true"),
        ("destination", "s3://dumps"),
        ("pre-stop", "live"),
        ("liveness", "extend"),
    ];
    let web = Namespace {
        name: "web".to_owned(),
        labels: [].into(),
        annotations: annotations
            .map(|(key, value)| (format!("heapship.io/{key}"), value.to_owned()))
            .into(),
    };
    Admission {
        namespaces: Arc::new(Known::from_iter([web])),
        policies: Arc::new(Policies::default()),
        cluster: Cluster {
            name: "fuzz".to_owned(),
            version: KubernetesVersion::NEWEST,
            own_namespace: None,
        },
        version: None,
    }
});

fn review(pod: &Value) -> Vec<u8> {
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "u", "operation": "CREATE", "namespace": "web",
        "resource": {"group": "", "version": "v1", "resource": "pods"}, "object": pod,
    }})
    .to_string()
    .into_bytes()
}

/// The answer's `response`, checked; `None` where the body was refused.
fn response(body: &[u8]) -> Option<(Answer, Value)> {
    let answer = match ADMISSION.admit(body) {
        Ok(Look::Answered(answer)) => answer,
        Ok(Look::NamespaceWanted(name)) => panic!("{name} is remembered, as every namespace is"),
        Err(refusal) => {
            assert!(!refusal.to_string().is_empty());
            return None;
        }
    };
    let document: Value = serde_json::from_slice(&answer.to_json().unwrap()).unwrap();
    assert_eq!(document["kind"], "AdmissionReview");
    let response = document["response"].clone();
    assert_eq!(response["allowed"], true);
    assert_eq!(response["uid"], answer.uid.as_str());
    assert_eq!(
        response["patch"].is_string(),
        response["patchType"] == "JSONPatch"
    );
    for warning in answer.warnings() {
        assert!(
            warning.len() <= 256 && !warning.contains(char::is_control),
            "{warning:?}"
        );
    }
    Some((answer, response))
}

fuzz_target!(|data: &[u8]| {
    let Some((kind, rest)) = data.split_first() else {
        return;
    };
    let pod = match kind % 3 {
        0 => {
            if let Some((answer, _)) = response(rest) {
                let review: Value = serde_json::from_slice(rest).unwrap();
                assert_eq!(review["request"]["uid"], answer.uid.as_str());
            }
            return;
        }
        1 => match serde_json::from_slice(rest) {
            Ok(pod) => pod,
            Err(_) => return,
        },
        _ => shape::pod(rest),
    };
    let Some((answer, first)) = response(&review(&pod)) else {
        panic!("a review is refused: {pod}")
    };
    let Some(patch) = first["patch"].as_str() else {
        return;
    };
    let patch: json_patch::Patch = serde_json::from_slice(&shape::base64(patch)).unwrap();
    // A text where a list belongs, which an API server never sends: nothing can be added there, and nothing is.
    let status_alone = patch.0.iter().all(|operation| operation.path().to_string().starts_with("/metadata"));
    assert!(answer.verdict.reason() != "internal-error" || status_alone, "{pod}");
    let mut patched = pod.clone();
    json_patch::patch(&mut patched, &patch).unwrap_or_else(|error| panic!("{error}: {pod}"));
    let (again, second) = response(&review(&patched)).unwrap();
    assert!(second["patch"].is_null(), "{pod}\nis patched again: {patched}");
    assert_eq!(again.verdict, answer.verdict);
    assert_eq!(again.warnings(), answer.warnings());
});
