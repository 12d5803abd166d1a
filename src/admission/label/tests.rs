use proptest::prelude::*;

use super::*;

fn policies() -> Policies {
    let text = "{kind: HeapDumpPolicy, metadata: {name: p}, spec: {mode: OptOut, namespaceSelector: {matchLabels: {tier: prod}}}}";
    Policies::from_yaml(text).unwrap()
}

fn patched(object: &Value, policies: &Policies) -> (Value, Decided) {
    let decided = decide(&object.to_string(), policies, Some("heapship-system")).unwrap();
    let mut after = object.clone();
    json_patch::patch(&mut after, &decided.patch).unwrap();
    (after, decided)
}

#[test]
fn an_annotation_of_ours_puts_the_label_there_and_its_removal_takes_it_away() {
    let asking = json!({ "metadata": { "name": "shop", "annotations": { "heapship.io/inject": "true" } } });
    let (labelled, decided) = patched(&asking, &Policies::default());
    assert!(decided.labelled);
    assert_eq!(
        labelled["metadata"]["labels"],
        json!({ "heapship.io/injection": "enabled" })
    );

    let mut silent = labelled;
    silent["metadata"]["annotations"] = json!({ "other": "x" });
    let (after, decided) = patched(&silent, &Policies::default());
    assert!(!decided.labelled);
    assert_eq!(after["metadata"]["labels"], json!({}));
}

#[test]
fn a_policy_that_asks_nobody_labels_the_namespaces_it_selects() {
    let of_tier = |tier: &str| json!({ "metadata": { "name": "shop", "labels": { "tier": tier } } });
    assert!(patched(&of_tier("prod"), &policies()).1.labelled);
    assert!(!patched(&of_tier("test"), &policies()).1.labelled);
}

#[test]
fn a_policy_never_selects_by_the_label_that_follows_from_it() {
    let text = "{kind: HeapDumpPolicy, metadata: {name: p}, spec: {mode: OptOut, namespaceSelector: \
                {matchLabels: {heapship.io/injection: enabled}}}}";
    let labelled =
        json!({ "metadata": { "name": "shop", "labels": { "heapship.io/injection": "enabled" } } });
    assert!(!patched(&labelled, &Policies::from_yaml(text).unwrap()).1.labelled);
}

#[test]
fn what_a_person_writes_into_the_label_is_put_right() {
    let wrong = json!({ "metadata": {
        "name": "shop", "annotations": { "heapship.io/on-oom": "dump" }, "labels": { "heapship.io/injection": "yes" },
    } });
    let (after, _) = patched(&wrong, &Policies::default());
    assert_eq!(after["metadata"]["labels"]["heapship.io/injection"], "enabled");
}

#[test]
fn namespaces_of_the_cluster_our_own_and_dying_ones_are_left_alone() {
    let object =
        |name: &str| json!({ "metadata": { "name": name, "annotations": { "heapship.io/inject": "true" } } });
    for name in ["kube-system", "kube-node-lease", "heapship-system"] {
        let decided = patched(&object(name), &policies()).1;
        assert_eq!((decided.name.as_str(), decided.labelled), (name, false));
        assert_eq!(decided.patch, Patch::default(), "{name}");
    }
    let mut dying = object("shop");
    dying["metadata"]["deletionTimestamp"] = json!("2026-11-26T00:00:00Z");
    assert_eq!(patched(&dying, &policies()).1.patch, Patch::default());
}

#[test]
fn what_is_no_namespace_is_said_and_not_patched() {
    for object in [
        "null",
        "{}",
        r#"{"metadata":{"labels":"text"}}"#,
        r#"{"metadata":{"annotations":{"a":1}}}"#,
    ] {
        let problem = decide(object, &policies(), None).unwrap_err();
        assert!(problem.starts_with("request.object is no namespace"), "{problem}");
    }
}

fn texts(keys: &'static [&'static str]) -> impl Strategy<Value = Option<BTreeMap<String, String>>> {
    let key = prop::sample::select(keys).prop_map(str::to_owned);
    let value = prop::sample::select(&["enabled", "true", "prod", ""][..]).prop_map(str::to_owned);
    prop::option::of(prop::collection::btree_map(key, value, 0..4))
}

proptest! {
    #[test]
    fn the_patch_touches_the_label_alone_and_applied_twice_changes_nothing(
        labels in texts(&["tier", names::INJECTION_LABEL, "kubernetes.io/metadata.name"]),
        annotations in texts(&["heapship.io/inject", "heapship.io/", "other", "heapship.iox/a"]),
    ) {
        let object = json!({ "metadata": { "name": "shop", "labels": labels, "annotations": annotations, "x": 1 } });
        let (after, decided) = patched(&object, &policies());
        let asks = annotations.iter().flatten().any(|(key, _)| key.starts_with(names::PREFIX));
        let selected = labels.iter().flatten().any(|(key, value)| key == "tier" && value == "prod");
        prop_assert_eq!(decided.labelled, asks || selected);
        let carried = after["metadata"]["labels"][names::INJECTION_LABEL].as_str();
        prop_assert_eq!(carried, decided.labelled.then_some("enabled"));

        let strip = |object: &Value| {
            let mut object = object.clone();
            let mut labels = object["metadata"]["labels"].as_object().cloned().unwrap_or_default();
            labels.remove(names::INJECTION_LABEL);
            object["metadata"]["labels"] = Value::Object(labels);
            object
        };
        prop_assert_eq!(strip(&after), strip(&object));
        prop_assert_eq!(patched(&after, &policies()).1.patch, Patch::default());
    }
}
