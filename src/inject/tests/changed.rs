//! A pod that somebody changed after the injection: completed, told apart, and given back.

use super::*;

fn pod() -> Value {
    json!({"metadata": {"name": "a"}, "spec": {
        "initContainers": [{"name": "migrate", "image": "app:1"}],
        "containers": [{"name": "app", "image": "app:1", "env": [{"name": "A", "value": "b"}],
            "volumeMounts": [{"name": "data", "mountPath": "/data"}]}],
        "volumes": [{"name": "data", "emptyDir": {}}],
    }})
}

fn remove(list: &mut Value, mut unwanted: impl FnMut(&Value) -> bool) {
    list.as_array_mut().unwrap().retain(|element| !unwanted(element));
}

#[test]
fn what_a_neighbour_dropped_comes_back() {
    let injected = outcome(&pod()).pod;
    let drops: [fn(&mut Value); 3] = [
        |pod| remove(&mut pod["spec"]["initContainers"], is_ours),
        |pod| {
            let mounts = &mut pod["spec"]["containers"][0]["volumeMounts"];
            remove(mounts, |mount| mount["name"] == names::DUMPS_VOLUME);
        },
        |pod| {
            let agent = pod["spec"]["initContainers"]
                .as_array_mut()
                .unwrap()
                .last_mut()
                .unwrap();
            remove(&mut agent["volumeMounts"], |mount| {
                mount["name"] == names::DUMPS_VOLUME
            });
            agent.as_object_mut().unwrap().shift_remove("restartPolicy");
        },
    ];
    for drop in drops {
        let mut partial = injected.clone();
        drop(&mut partial);
        assert_ne!(partial, injected);
        let completed = outcome(&partial);
        assert_eq!(completed.decision, Decision::Injected);
        let in_order = |pod: &Value, list: &str| -> Vec<Value> {
            let elements = pod["spec"][list].as_array().unwrap();
            elements.iter().map(|element| element["name"].clone()).collect()
        };
        for list in ["initContainers", "containers", "volumes"] {
            assert_eq!(in_order(&completed.pod, list), in_order(&injected, list));
        }
        assert_eq!(outcome(&completed.pod).patch.0, []);
        assert_eq!(uninject(&completed.pod), pod());
    }
    let mut diminished = injected;
    remove(&mut diminished["spec"]["initContainers"], |container| {
        container["name"] == "migrate"
    });
    assert_eq!(
        outcome(&diminished).patch.0,
        [],
        "what is not ours is nobody's loss"
    );
}

#[test]
fn a_container_that_came_later_is_shipped_by_the_agent_that_is_there() {
    let mut grown = outcome(&pod()).pod;
    let containers = grown["spec"]["containers"].as_array_mut().unwrap();
    containers.push(json!({"name": "worker", "image": "app:1"}));
    let completed = outcome(&grown).pod;
    let agents: Vec<&Value> = completed["spec"]["initContainers"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|container| container["name"].as_str().unwrap().starts_with("heapship-agent"))
        .collect();
    let [agent] = agents.as_slice() else {
        panic!("{agents:?}")
    };
    let told = agent["env"].as_array().unwrap();
    let told: Vec<&Value> = told
        .iter()
        .filter(|entry| entry["name"] == "HEAPSHIP_CONTAINERS")
        .collect();
    assert_eq!(
        told,
        [&json!({"name": "HEAPSHIP_CONTAINERS",
            "value": r#"[{"name":"app","image":"app:1"},{"name":"worker","image":"app:1"}]"#})]
    );
    assert_eq!(outcome(&completed).patch.0, []);
}

#[test]
fn a_pod_that_was_left_alone_says_so_no_more_once_it_is_injected() {
    let mut asking = pod();
    asking["metadata"]["annotations"] = json!({"heapship.io/volume": "disk"});
    let mut left_alone = outcome(&asking).pod;
    let status = |pod: &Value| {
        pod["metadata"]["annotations"]["heapship.io/status"]
            .as_str()
            .map(str::to_owned)
    };
    assert!(status(&left_alone).unwrap().contains("\"invalid-annotation\""));
    left_alone["metadata"]["annotations"]["heapship.io/volume"] = json!("emptyDir");
    let injected = outcome(&left_alone).pod;
    let said: Value = serde_json::from_str(&status(&injected).unwrap()).unwrap();
    assert_eq!(
        said,
        json!({"decision": "injected", "version": env!("CARGO_PKG_VERSION"), "containers": ["app"],
            "agents": ["heapship-agent"]})
    );
    asking["metadata"]["annotations"]["heapship.io/volume"] = json!("emptyDir");
    assert_eq!(uninject(&injected), asking);
}

#[test]
fn what_was_empty_in_a_container_that_is_not_chosen_stays_empty() {
    let mut pod = pod();
    pod["metadata"]["annotations"] = json!({"heapship.io/containers": "app"});
    let other = json!({"name": "other", "env": [], "volumeMounts": [], "lifecycle": {}});
    pod["spec"]["containers"]
        .as_array_mut()
        .unwrap()
        .push(other.clone());
    let injected = outcome(&pod).pod;
    assert_eq!(injected["spec"]["containers"][1], other);
    assert_eq!(uninject(&injected), pod);
}

#[test]
fn what_only_looks_like_ours_stays_with_its_owner() {
    let mut own = json!({"metadata": {}, "spec": {"containers": [{"name": "app"}]}});
    own["metadata"]["annotations"] = json!({"heapship.io/pre-stop": "live", "heapship.io/containers": "app"});
    let theirs = json!({
        "name": "theirs",
        "volumeMounts": [
            {"name": "heapship-dumps", "mountPath": "/their/own/place"},
            {"name": "data", "mountPath": "/heapship/tools"},
        ],
        "env": [
            {"name": "HEAPSHIP_POD_UID", "value": "mine"},
            {"name": "HEAPSHIP_POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}},
            {"name": "OTHER", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
            {"name": "JAVA_TOOL_OPTIONS", "value": ""},
        ],
        "lifecycle": {"preStop": {"exec": {"command": ["/heapship/tools/heapship-agent", "jps"]}}},
    });
    own["spec"]["containers"]
        .as_array_mut()
        .unwrap()
        .push(theirs.clone());
    let mut injected = outcome(&own).pod;
    assert_eq!(injected["spec"]["containers"][1], theirs);
    assert_eq!(uninject(&injected), own);
    injected["spec"]["containers"][1]["lifecycle"]["preStop"]["exec"]["command"] = json!(["sh", "pre-stop"]);
    own["spec"]["containers"][1]["lifecycle"]["preStop"]["exec"]["command"] = json!(["sh", "pre-stop"]);
    assert_eq!(uninject(&injected), own);
}

#[test]
fn what_a_neighbour_put_behind_ours_stays_with_the_pod() {
    let theirs = json!({"name": "JAVA_TOOL_OPTIONS", "value": "-javaagent:/otel/agent.jar"});
    for own in [
        json!([{"name": "JAVA_TOOL_OPTIONS", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}}]),
        json!([{"name": "B", "value": "c"}]),
    ] {
        let mut pod = pod();
        pod["spec"]["containers"][0]["env"] = own;
        let mut injected = outcome(&pod).pod;
        let with_theirs = |pod: &mut Value| {
            let entries = pod["spec"]["containers"][0]["env"].as_array_mut().unwrap();
            entries.push(theirs.clone());
        };
        with_theirs(&mut injected);
        with_theirs(&mut pod);
        assert_eq!(uninject(&injected), pod);
    }
}

#[test]
fn a_pod_without_an_injection_comes_back_unchanged() {
    for pod in [
        pod(),
        json!({"metadata": {"annotations": {}}, "spec": {"volumes": [{"name": "heapship-dumps", "emptyDir": {}}],
            "containers": [{"name": "a", "volumeMounts": [{"name": "heapship-dumps", "mountPath": "/data"}]}]}}),
        json!({"metadata": {}, "spec": {"initContainers": [], "volumes": [], "containers": []}}),
        json!({"spec": null}),
        json!("no pod"),
    ] {
        assert_eq!(uninject(&pod), pod);
    }
}

#[test]
fn annotations_have_room_for_256_kib_and_not_a_byte_more() {
    const MOST: usize = 256 * 1024;
    let pod =
        json!({"metadata": {"annotations": {"a": "x".repeat(1000), "key": "counts once", "number": 1}}});
    let room = MOST - ("a".len() + 1000 + "number".len()) - "key".len();
    assert!(fits(&pod, "key", &"x".repeat(room)));
    assert!(!fits(&pod, "key", &"x".repeat(room + 1)));
    assert!(fits(&json!({}), "key", &"x".repeat(MOST - 3)));
}

#[test]
fn a_pod_without_room_for_our_notes_is_left_without_a_trace() {
    let mut full = pod();
    full["metadata"]["annotations"] = json!({"a": "x".repeat(256 * 1024)});
    let outcome = outcome(&full);
    assert_eq!(outcome.decision, Decision::Skipped(Skip::AnnotationsTooLarge));
    assert_eq!((&outcome.pod, outcome.patch.0.len()), (&full, 0));
}

#[test]
fn a_decision_is_told_in_a_word_a_code_and_a_sentence() {
    let mut asking = pod();
    asking["metadata"]["annotations"] = json!({"heapship.io/on-oom": "off", "heapship.io/on-oomm": "off"});
    let skipped = outcome(&asking);
    assert_eq!(
        (skipped.decision.label(), skipped.decision.reason()),
        ("skipped", "nothing-asked")
    );
    assert_eq!(
        skipped.warnings(),
        [
            format!("heapship: not injected: {}", Skip::NothingAsked),
            "heapship: unknown annotation heapship.io/on-oomm on the pod; did you mean heapship.io/on-oom?"
                .to_owned(),
        ]
    );
    asking["metadata"]["annotations"] = json!({"heapship.io/inject": "false"});
    let refused = outcome(&asking);
    assert_eq!(
        (refused.decision.reason(), refused.warnings().len()),
        ("opted-out", 0)
    );
    let injected = outcome(&pod());
    assert_eq!(
        (injected.decision.label(), injected.decision.reason()),
        ("injected", "")
    );
    assert_eq!(
        injected.warnings(),
        Vec::<String>::new(),
        "steps are for `explain`"
    );
    assert!(
        injected
            .notes
            .iter()
            .all(|note| note.severity == Severity::Step && !note.text.is_empty())
    );
    assert_eq!(
        (Decision::NotAsked.label(), Decision::NotAsked.reason()),
        ("not-asked", "")
    );
}

#[test]
fn ours_are_taken_out_where_somebody_appended_behind_them() {
    let mut pod = pod();
    let users = "-Xmx1g -XX:HeapDumpPath=/tmp/x";
    pod["spec"]["containers"][0]["env"][0] = json!({"name": "JAVA_TOOL_OPTIONS", "value": users});
    let mut injected = outcome(&pod).pod;
    let value = &mut injected["spec"]["containers"][0]["env"][0]["value"];
    let ours = format!("{users} -XX:HeapDumpPath=/heapship/dumps");
    let text = value.as_str().unwrap();
    assert!(text.ends_with(&ours), "{text}");
    *value = json!(format!(
        "{text} -XX:HeapDumpPath=/heapship/dumps2 -javaagent:/a.jar"
    ));
    let restored = uninject(&injected);
    assert_eq!(
        restored["spec"]["containers"][0]["env"][0]["value"],
        format!("{users} -XX:HeapDumpPath=/heapship/dumps2 -javaagent:/a.jar")
    );
}
