use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde_json::json;

use crate::inject::{KubernetesVersion, Namespace};
use arc_swap::ArcSwap;

use super::namespaces::Known;
use super::*;

/// The seam of the tests: a look-up that fails as only a bug can.
struct Broken;

impl Namespaces for Broken {
    fn find(&self, name: &str) -> Option<Arc<Namespace>> {
        panic!("no namespace {name}")
    }
}

fn admission(namespaces: impl Namespaces + 'static) -> Admission {
    Admission {
        namespaces: Arc::new(namespaces),
        policies: Arc::default(),
        cluster: Arc::new(ArcSwap::from_pointee(Cluster {
            name: "test".to_owned(),
            version: KubernetesVersion::NEWEST,
            own_namespace: None,
            env_files: false,
        })),
    }
}

fn answered(admission: &Admission, body: &[u8]) -> Answer {
    match admission.admit(body).unwrap() {
        Look::Answered(answer) => answer,
        Look::NamespaceWanted(name) => panic!("{name} is wanted"),
    }
}

/// Memory that is behind the cluster.
struct Behind(Known);

impl Namespaces for Behind {
    fn find(&self, name: &str) -> Option<Arc<Namespace>> {
        (name != "new").then(|| self.0.find(name)).flatten()
    }

    fn is_settled(&self, name: &str) -> bool {
        name == "settled"
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
    let answer = answered(&admission(Broken), &body(&json!({})));
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
    let answer = answered(&admission(Known::default()), &body(&pod));
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
        let answer = answered(
            &admission(namespaces),
            &body(&json!({ "metadata": { "name": "app" } })),
        );
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
    let first = answered(&admission, &body(&pod));
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

    let second = response(&answered(&admission, &body(&patched)));
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
    let answer = answered(&admission(Known::default()), &body(&pod));
    assert_eq!(answer.verdict, Verdict::Skipped("no-destination"));
    assert!(
        answer.warnings()[0].contains("no destination"),
        "{:?}",
        answer.warnings()
    );
}

fn in_namespace(name: &str, pod: &Value) -> Vec<u8> {
    let mut review: Value = serde_json::from_slice(&body(pod)).unwrap();
    review["request"]["namespace"] = json!(name);
    serde_json::to_vec(&review).unwrap()
}

#[test]
fn a_namespace_is_looked_up_when_memory_does_not_explain_why_we_were_asked() {
    let admission = admission(Behind(Known::default()));
    let silent = json!({ "metadata": { "name": "app" } });
    let asking = json!({ "metadata": { "name": "app", "annotations": { "heapship.io/inject": "true" } } });
    let wanted = |name, pod| matches!(admission.admit(&in_namespace(name, pod)).unwrap(), Look::NamespaceWanted(wanted) if wanted == name);
    assert!(
        wanted("new", &silent) && wanted("new", &asking),
        "nobody has heard of it"
    );
    assert!(
        wanted("old", &silent),
        "the label must have been put there meanwhile"
    );
    assert!(!wanted("old", &asking), "the pod itself is the reason");
    assert!(!wanted("settled", &silent), "it was looked up a moment ago");
}

#[test]
fn what_a_look_up_found_decides_and_nothing_found_is_said() {
    let admission = admission(Behind(Known::default()));
    let review = in_namespace(
        "new",
        &json!({ "metadata": { "name": "app" }, "spec": { "containers": [] } }),
    );
    let answer = |found: Option<Namespace>| admission.admit_from(&review, found.as_ref()).unwrap();
    let asking = Namespace {
        annotations: [("heapship.io/inject".to_owned(), "true".to_owned())].into(),
        ..Namespace::default()
    };
    assert_eq!(answer(Some(asking)).subject.owner, "Pod/app");
    assert_eq!(answer(Some(Namespace::default())).verdict, Verdict::NotAsked);
    let unknown = answer(None);
    assert_eq!(
        (unknown.verdict.decision(), unknown.verdict.reason()),
        ("failed", "namespace-unknown")
    );
    assert!(
        unknown.warnings()[0].contains("namespace new"),
        "{:?}",
        unknown.warnings()
    );
}

#[test]
fn a_namespace_that_is_written_is_answered_with_its_label() {
    let admission = admission(Known::default());
    let mut review: Value = serde_json::from_slice(&body(
        &json!({ "metadata": { "name": "shop", "annotations": { "heapship.io/inject": "true" } } }),
    ))
    .unwrap();
    review["request"]["resource"]["resource"] = json!("namespaces");
    let answer = answered(&admission, &serde_json::to_vec(&review).unwrap());
    assert_eq!(
        (answer.verdict, answer.subject.owner.as_str()),
        (Verdict::NamespaceLabelled, "Namespace/shop")
    );
    assert_eq!(response(&answer)["patchType"], "JSONPatch");
    review["request"]["object"] = json!("text");
    let answer = answered(&admission, &serde_json::to_vec(&review).unwrap());
    assert_eq!(answer.verdict, Verdict::Unreadable);
}

fn of_a_workload(template_annotations: &Value, namespace: &str) -> Value {
    let mut review: Value = serde_json::from_slice(&in_namespace(
        namespace,
        &json!({ "kind": "Deployment", "metadata": { "name": "shop" }, "spec": { "template": {
            "metadata": { "annotations": template_annotations },
            "spec": { "containers": [{ "name": "app", "image": "app:1" }] },
        } } }),
    ))
    .unwrap();
    review["request"]["resource"] = json!({ "group": "apps", "version": "v1", "resource": "deployments" });
    review
}

fn bytes(review: &Value) -> Vec<u8> {
    serde_json::to_vec(review).unwrap()
}

#[test]
fn a_workload_is_answered_with_words_and_nothing_else() {
    let admission = admission(Known::default());
    let wrong = of_a_workload(&json!({ "heapship.io/inject": "yes" }), "shop");
    let answer = answered(&admission, &bytes(&wrong));
    assert_eq!(
        (answer.verdict, answer.subject.owner.as_str()),
        (Verdict::WorkloadWarned("invalid-annotation"), "Deployment/shop")
    );
    assert_eq!(
        response(&answer),
        json!({
            "uid": "u", "allowed": true,
            "warnings": ["heapship: not injected: heapship.io/inject: \"yes\" is not allowed: use true or false"],
            "auditAnnotations": { "decision": "warned", "reason": "invalid-annotation" },
        })
    );
    let right = json!({ "heapship.io/inject": "true", "heapship.io/destination": "s3://dumps" });
    let answer = answered(&admission, &bytes(&of_a_workload(&right, "shop")));
    assert_eq!(answer.verdict, Verdict::WorkloadUnremarkable);
    assert_eq!(response(&answer), json!({ "uid": "u", "allowed": true }));
    let mut updated = wrong.clone();
    updated["request"]["operation"] = json!("UPDATE");
    updated["request"]["oldObject"] = wrong["request"]["object"].clone();
    let answer = answered(&admission, &bytes(&updated));
    assert_eq!(answer.verdict, Verdict::WorkloadUnremarkable);
}

#[test]
fn a_workload_hears_what_its_namespace_asks_for_and_nothing_where_that_is_not_known() {
    let asking = Namespace {
        annotations: [("heapship.io/inject".to_owned(), "true".to_owned())].into(),
        ..Namespace::default()
    };
    let silent = bytes(&of_a_workload(&json!({}), "new"));
    let admission = admission(Behind(Known::default()));
    assert!(matches!(
        admission.admit(&silent).unwrap(),
        Look::NamespaceWanted(_)
    ));
    let found = admission.admit_from(&silent, Some(&asking)).unwrap();
    assert_eq!(found.verdict, Verdict::WorkloadWarned("no-destination"));
    for unknown in [None, Some(&Namespace::default())] {
        let answer = admission.admit_from(&silent, unknown).unwrap();
        assert_eq!(answer.verdict, Verdict::WorkloadUnremarkable);
    }
}

#[test]
fn a_dry_run_is_answered_alike_and_leaves_nothing_to_be_written() {
    let admission = admission(Known::default());
    let pod = json!({
        "metadata": {
            "annotations": { "heapship.io/inject": "true" },
            "ownerReferences": [
                { "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "shop-7d4", "uid": "1", "controller": true },
            ],
        },
        "spec": { "containers": [{ "name": "app", "image": "app:1" }] },
    });
    let mut review: Value = serde_json::from_slice(&body(&pod)).unwrap();
    let real = answered(&admission, &bytes(&review));
    review["request"]["dryRun"] = json!(true);
    let dry = answered(&admission, &bytes(&review));
    assert_eq!(response(&real), response(&dry));
    assert_eq!((real.happenings.len(), dry.happenings.len()), (1, 0));
    assert_eq!(real.happenings[0].reason(), "NoDestination");
}

#[test]
fn the_second_call_about_a_pod_has_the_audit_values_and_happenings_of_the_first() {
    let admission = admission(Known::default());
    for annotations in [
        json!({ "heapship.io/inject": "true", "heapship.io/destination": "s3://dumps", "heapship.io/volum": "x" }),
        json!({ "heapship.io/inject": "true" }),
    ] {
        let mut pod = json!({
            "metadata": { "annotations": annotations },
            "spec": { "containers": [{ "name": "app", "image": "app:1" }] },
        });
        let first = answered(&admission, &body(&pod));
        let operations = STANDARD
            .decode(response(&first)["patch"].as_str().unwrap())
            .unwrap();
        let operations: json_patch::Patch = serde_json::from_slice(&operations).unwrap();
        json_patch::patch(&mut pod, &operations).unwrap();
        let second = answered(&admission, &body(&pod));
        assert_eq!(
            response(&first)["auditAnnotations"],
            response(&second)["auditAnnotations"]
        );
        assert_eq!(response(&first)["warnings"], response(&second)["warnings"]);
        assert_eq!(first.happenings, second.happenings);
        assert_eq!(response(&second)["patch"], Value::Null);
    }
}

#[test]
fn an_upgrade_of_the_cluster_is_heeded_by_the_next_review() {
    let admission = admission(Known::default());
    let upgrade = |minor| {
        admission.cluster.rcu(|cluster| Cluster {
            version: KubernetesVersion { major: 1, minor },
            ..Cluster::clone(cluster)
        })
    };
    upgrade(28);
    let pod = json!({
        "metadata": { "name": "app", "annotations": {
            "heapship.io/inject": "true", "heapship.io/destination": "s3://dumps/shop",
        } },
        "spec": { "containers": [{ "name": "app", "image": "app:1" }] },
    });
    assert!(matches!(
        answered(&admission, &body(&pod)).verdict,
        Verdict::Skipped(_)
    ));
    upgrade(29);
    assert_eq!(answered(&admission, &body(&pod)).verdict, Verdict::Injected);
}

proptest! {
    #[test]
    fn whatever_the_object_is_the_answer_allows(text in "[ -~]{0,60}", annotated in any::<bool>()) {
        let object = if annotated {
            json!({ "metadata": { "annotations": { "heapship.io/inject": text } }, "spec": text })
        } else {
            serde_json::from_str(&text).unwrap_or(json!(text))
        };
        let answer = answered(&admission(Known::default()), &body(&object));
        prop_assert_eq!(&response(&answer)["allowed"], &json!(true));
    }
}
