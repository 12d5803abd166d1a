use proptest::prelude::*;
use serde_json::json;

use super::*;

fn review(request: &Value) -> Vec<u8> {
    serde_json::to_vec(&json!({ "apiVersion": API_VERSION, "kind": KIND, "request": request })).unwrap()
}

fn pod_request() -> Value {
    json!({
        "uid": "705ab4f5",
        "kind": { "group": "", "version": "v1", "kind": "Pod" },
        "resource": { "group": "", "version": "v1", "resource": "pods" },
        "namespace": "shop",
        "operation": "CREATE",
        "object": { "metadata": { "annotations": { "heapship.io/inject": "true" } }, "spec": {} },
        "dryRun": false,
        "aFieldOfTheYear2030": { "a": [1] },
    })
}

#[test]
fn a_pods_creation_is_understood_and_its_text_kept_as_it_came() {
    let body = review(&pod_request());
    let Ok(Reading::Clear(review)) = read(&body) else {
        panic!("not understood")
    };
    assert_eq!((review.uid.as_ref(), review.namespace()), ("705ab4f5", "shop"));
    let Some(Asked::Namespaced(Namespaced::Pod(pod))) = review.asked() else {
        panic!("no pod")
    };
    assert_eq!(
        pod.get(),
        r#"{"metadata":{"annotations":{"heapship.io/inject":"true"}},"spec":{}}"#
    );
    assert!(carries_our_annotation(pod));
}

#[test]
fn a_namespace_is_of_interest_when_it_is_created_or_changed() {
    let written = |operation: &str, subresource: &str| {
        let mut request = pod_request();
        request["resource"]["resource"] = json!("namespaces");
        request["operation"] = json!(operation);
        request["subResource"] = json!(subresource);
        let body = review(&request);
        let Ok(Reading::Clear(review)) = read(&body) else {
            panic!("not understood")
        };
        matches!(review.asked(), Some(Asked::Namespace(_)))
    };
    assert!(written("CREATE", "") && written("UPDATE", ""));
    assert!(!written("DELETE", "") && !written("UPDATE", "status") && !written("UPDATE", "finalize"));
}

#[test]
fn a_workload_is_of_interest_when_it_is_created_or_changed_and_not_when_it_is_scaled() {
    let written = |group: &str, plural: &str, operation: &str, subresource: &str| {
        let mut request = pod_request();
        request["resource"] = json!({"group": group, "version": "v1", "resource": plural});
        request["operation"] = json!(operation);
        request["subResource"] = json!(subresource);
        let body = review(&request);
        let Ok(Reading::Clear(review)) = read(&body) else {
            panic!("not understood")
        };
        matches!(review.asked(), Some(Asked::Namespaced(Namespaced::Workload(_))))
    };
    for (group, plural) in WORKLOADS {
        assert!(written(group, plural, "CREATE", "") && written(group, plural, "UPDATE", ""));
        assert!(!written(group, plural, "UPDATE", "status") && !written(group, plural, "UPDATE", "scale"));
        assert!(!written(group, plural, "DELETE", ""));
    }
    assert!(!written("apps", "replicasets", "CREATE", ""));
    assert!(!written("extensions", "deployments", "CREATE", ""));
}

#[test]
fn nothing_but_the_creation_of_a_whole_pod_is_a_pods_creation() {
    for (pointer, value) in [
        ("/operation", json!("UPDATE")),
        ("/operation", json!("DELETE")),
        ("/subResource", json!("ephemeralcontainers")),
        ("/resource/resource", json!("namespaces")),
        ("/resource/group", json!("metrics.k8s.io")),
        ("/resource/version", json!("v2")),
        ("/object", Value::Null),
    ] {
        let mut request = pod_request();
        request["subResource"] = json!("");
        *request.pointer_mut(pointer).unwrap() = value.clone();
        let body = review(&request);
        let Ok(Reading::Clear(review)) = read(&body) else {
            panic!("{pointer} {value} is not understood")
        };
        assert!(
            !matches!(review.asked(), Some(Asked::Namespaced(_))),
            "{pointer} {value}"
        );
    }
}

#[test]
fn what_is_no_review_is_told_apart() {
    assert!(matches!(read(b""), Err(Refusal::NotJson(_))));
    assert!(matches!(
        read(b"{\"apiVersion\":\"admission"),
        Err(Refusal::NotJson(_))
    ));
    assert!(matches!(read(b"[1]"), Err(Refusal::NotAReview { .. })));
    let old = json!({ "apiVersion": "admission.k8s.io/v1beta1", "kind": KIND, "request": pod_request() });
    let refusal = read(&serde_json::to_vec(&old).unwrap()).unwrap_err();
    assert_eq!(refusal.label(), "not-a-review");
    assert!(
        refusal.to_string().contains("admission.k8s.io/v1beta1"),
        "{refusal}"
    );
    assert_eq!(
        read(&review(&json!({ "operation": "CREATE" }))).unwrap_err(),
        Refusal::NoUid
    );
    assert_eq!(read(&review(&json!({ "uid": "" }))).unwrap_err(), Refusal::NoUid);
}

#[test]
fn a_review_with_a_uid_and_nonsense_beside_it_can_still_be_answered() {
    let mut request = pod_request();
    request["operation"] = json!(7);
    let body = review(&request);
    let Ok(Reading::Unclear { uid, reason }) = read(&body) else {
        panic!("refused or believed")
    };
    assert_eq!(uid, "705ab4f5");
    assert!(reason.contains("invalid type"), "{reason}");
}

#[test]
fn a_uid_is_found_wherever_there_is_one() {
    assert_eq!(uid(&review(&json!({"uid": "u1"}))).as_deref(), Some("u1"));
    let mut request = pod_request();
    request["uid"] = json!("u2");
    assert_eq!(uid(&review(&request)).as_deref(), Some("u2"));
    assert_eq!(uid(b"nonsense"), None);
    assert_eq!(uid(&review(&json!({"uid": ""}))), None);
    // What no value could be made of is passed over like the rest.
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    let body = format!(r#"{{"request":{{"resource":3,"object":{deep},"uid":"u3"}}}}"#);
    assert_eq!(uid(body.as_bytes()).as_deref(), Some("u3"));
}

#[test]
fn every_refusal_has_its_code() {
    assert_eq!(Refusal::NotJson(String::new()).label(), "not-json");
    assert_eq!(
        Refusal::NotAReview { found: String::new() }.label(),
        "not-a-review"
    );
    assert_eq!(Refusal::NoUid.label(), "no-uid");
}

#[test]
fn an_escaped_annotation_is_an_annotation() {
    let carries = |text: &str| carries_our_annotation(&RawValue::from_string(text.to_owned()).unwrap());
    assert!(carries(
        r#"{"metadata":{"annotations":{"\u0068eapship.io\/inject":"true"}}}"#
    ));
    assert!(!carries(
        r#"{"metadata":{"annotations":{"other":"heapship.io/inject"}}}"#
    ));
    assert!(!carries(
        r#"{"metadata":{"labels":{"heapship.io/inject":"true"}}}"#
    ));
    assert!(!carries(
        r#"{"metadata":{"annotations":null,"name":"heapship.io/"}}"#
    ));
    assert!(!carries("[]"));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec(("[a-zA-Z]{0,10}", inner), 0..4)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Err(refusal) = read(&body) {
            prop_assert!(!refusal.to_string().contains('\n'));
        }
    }

    #[test]
    fn any_review_with_a_uid_can_be_answered(
        uid in ".{1,40}",
        field in prop::sample::select(vec!["resource", "operation", "object", "namespace", "subResource", "other"]),
        value in any_json(),
    ) {
        let mut request = pod_request();
        request[field] = value;
        request["uid"] = json!(uid);
        let body = review(&request);
        prop_assert_eq!(super::uid(&body), Some(uid));
    }
}
