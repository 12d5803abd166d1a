use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde_json::json;

use crate::inject::{KubernetesVersion, Namespace};

use super::namespaces::Known;
use super::*;

/// The seam of the tests: a look-up that fails as only a bug can.
struct Broken;

impl Namespaces for Broken {
    fn find(&self, name: &str) -> Arc<Namespace> {
        panic!("no namespace {name}")
    }
}

fn admission(namespaces: impl Namespaces + 'static) -> Admission {
    Admission {
        namespaces: Arc::new(namespaces),
        policies: Arc::default(),
        cluster: Cluster {
            name: "test".to_owned(),
            version: KubernetesVersion::NEWEST,
            own_namespace: None,
        },
    }
}

fn body(object: &Value) -> Vec<u8> {
    serde_json::to_vec(&json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "u",
            "resource": { "group": "", "version": "v1", "resource": "pods" },
            "namespace": "shop",
            "operation": "CREATE",
            "object": object,
        },
    }))
    .unwrap()
}

fn response(answer: &Answer) -> Value {
    let mut json: Value = serde_json::from_slice(&answer.to_json().unwrap()).unwrap();
    json["response"].take()
}

#[test]
fn a_panic_admits_the_pod_and_says_so() {
    let answer = admission(Broken).admit(&body(&json!({}))).unwrap();
    assert_eq!(answer.verdict, Verdict::InternalError);
    let response = response(&answer);
    assert_eq!(
        (&response["uid"], &response["allowed"]),
        (&json!("u"), &json!(true))
    );
    assert_eq!(
        response["auditAnnotations"],
        json!({ "decision": "failed", "reason": "internal-error" })
    );
    assert!(
        response["warnings"][0]
            .as_str()
            .unwrap()
            .contains("internal error")
    );
}

#[test]
fn a_pod_that_nobody_asked_about_gets_the_shortest_answer() {
    let pod = json!({ "metadata": { "annotations": { "other": "x" } }, "spec": { "containers": [] } });
    let answer = admission(Known::default()).admit(&body(&pod)).unwrap();
    assert_eq!(answer.verdict, Verdict::NotAsked);
    assert_eq!(response(&answer), json!({ "uid": "u", "allowed": true }));
}

#[test]
fn a_namespace_that_asks_has_its_pods_looked_at() {
    let shop = Namespace {
        name: "shop".to_owned(),
        annotations: [("heapship.io/inject".to_owned(), "true".to_owned())].into(),
        ..Namespace::default()
    };
    let looked_at = |namespaces: Known| {
        let answer = admission(namespaces)
            .admit(&body(&json!({ "metadata": { "name": "app" } })))
            .unwrap();
        answer.subject.owner == "Pod/app"
    };
    assert!(looked_at(Known::from_iter([shop])));
    assert!(!looked_at(Known::default()));
}

#[test]
fn a_pod_that_is_asked_for_comes_back_injected_and_a_second_call_changes_nothing() {
    let pod = json!({
        "metadata": { "name": "app", "annotations": {
            "heapship.io/inject": "true", "heapship.io/destination": "s3://dumps/shop",
        } },
        "spec": { "containers": [{ "name": "app", "image": "app:1" }] },
    });
    let admission = admission(Known::default());
    let first = admission.admit(&body(&pod)).unwrap();
    assert_eq!(
        (first.verdict, first.subject.owner.as_str()),
        (Verdict::Injected, "Pod/app")
    );
    let first = response(&first);
    assert_eq!(first["patchType"], "JSONPatch");
    let operations = STANDARD.decode(first["patch"].as_str().unwrap()).unwrap();
    let mut patched = pod;
    json_patch::patch(
        &mut patched,
        &serde_json::from_slice::<json_patch::Patch>(&operations).unwrap(),
    )
    .unwrap();

    let second = response(&admission.admit(&body(&patched)).unwrap());
    assert_eq!(second.get("patch"), None);
    assert_eq!(second["auditAnnotations"], first["auditAnnotations"]);
    assert_eq!(second.get("warnings"), first.get("warnings"));
}

#[test]
fn a_skipped_pod_is_told_why() {
    let pod = json!({
        "metadata": { "name": "app", "annotations": { "heapship.io/inject": "true" } },
        "spec": { "containers": [{ "name": "app", "image": "app:1" }] },
    });
    let answer = admission(Known::default()).admit(&body(&pod)).unwrap();
    assert_eq!(answer.verdict, Verdict::Skipped("no-destination"));
    assert!(
        answer.warnings()[0].contains("no destination"),
        "{:?}",
        answer.warnings()
    );
}

proptest! {
    #[test]
    fn whatever_the_object_is_the_answer_allows(text in "[ -~]{0,60}", annotated in any::<bool>()) {
        let object = if annotated {
            json!({ "metadata": { "annotations": { "heapship.io/inject": text } }, "spec": text })
        } else {
            serde_json::from_str(&text).unwrap_or(json!(text))
        };
        let answer = admission(Known::default()).admit(&body(&object)).unwrap();
        prop_assert_eq!(&response(&answer)["allowed"], &json!(true));
    }
}
