//! Other webhooks take things away between our two calls, and people copy pods: never half an injection.

use super::*;

type Damage = fn(&mut Value);

fn containers(pod: &mut Value) -> impl Iterator<Item = &mut Value> {
    let spec = pod["spec"].as_object_mut().unwrap();
    spec.iter_mut()
        .filter(|(key, _)| ["containers", "initContainers"].contains(&key.as_str()))
        .flat_map(|(_, list)| list.as_array_mut().into_iter().flatten())
}

/// Takes elements out of a list, as a typed client does: an empty list is left out.
fn without(parent: &mut Value, key: &str, gone: impl Fn(&Value) -> bool) {
    if let Some(elements) = parent.get_mut(key).and_then(Value::as_array_mut) {
        elements.retain(|element| !gone(element));
        if elements.is_empty() {
            parent.as_object_mut().unwrap().shift_remove(key);
        }
    }
}

fn is_called_ours(element: &Value) -> bool {
    element["name"]
        .as_str()
        .is_some_and(|name| name.starts_with("heapship-"))
}

const DAMAGES: &[(&str, Damage)] = &[
    ("reordered containers", |pod| {
        pod["spec"]["containers"].as_array_mut().unwrap().reverse();
    }),
    ("took the variable away", |pod| {
        for container in containers(pod) {
            without(container, "env", |entry| entry["name"] == "JAVA_TOOL_OPTIONS");
        }
    }),
    ("took our mounts away", |pod| {
        for container in containers(pod) {
            without(container, "volumeMounts", is_called_ours);
        }
    }),
    ("took our volumes and mounts away", |pod| {
        for container in containers(pod) {
            without(container, "volumeMounts", is_called_ours);
        }
        without(&mut pod["spec"], "volumes", is_called_ours);
    }),
    ("took restartPolicy away", |pod| {
        for container in containers(pod) {
            container.as_object_mut().unwrap().shift_remove("restartPolicy");
        }
    }),
    ("took our containers away", |pod| {
        without(&mut pod["spec"], "initContainers", is_called_ours);
    }),
    (
        "took our containers and mounts away, and left the volumes",
        |pod| {
            without(&mut pod["spec"], "initContainers", is_called_ours);
            for container in containers(pod) {
                without(container, "volumeMounts", is_called_ours);
            }
        },
    ),
    ("took our agent's variables away", |pod| {
        for container in containers(pod).filter(|container| is_ours(container)) {
            container["env"] = json!([]);
        }
    }),
    ("took hooks away", |pod| {
        for container in containers(pod) {
            container.as_object_mut().unwrap().shift_remove("lifecycle");
        }
    }),
    ("took every security context away", |pod| {
        for container in containers(pod).filter(|container| is_ours(container)) {
            container.as_object_mut().unwrap().shift_remove("securityContext");
        }
    }),
];

fn pods() -> Vec<Value> {
    let environments = [
        json!({"env": [{"name": "JAVA_TOOL_OPTIONS", "value": "-Xmx1g"}, {"name": "B", "value": "$(A)"}]}),
        json!({"env": [{"name": "JAVA_TOOL_OPTIONS", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}),
        json!({"envFrom": [{"configMapRef": {"name": "c"}}, {"secretRef": {"name": "s"}}]}),
        json!({"env": [{"name": "JAVA_TOOL_OPTIONS", "value": "-XX:HeapDumpPath=/tmp"}]}),
        json!({"args": ["$(JAVA_TOOL_OPTIONS)"], "env": [{"name": "JAVA_TOOL_OPTIONS", "value": "-Xmx1g"}]}),
    ];
    let annotations = [
        json!({}),
        json!({"heapship.io/pre-stop": "live", "heapship.io/volume": "pvc:dumps", "heapship.io/run-as-user": "7"}),
    ];
    let mut pods = Vec::new();
    for environment in &environments {
        for annotations in &annotations {
            let mut app = environment.clone();
            app["name"] = json!("app");
            app["image"] = json!("registry/app:1");
            app["lifecycle"] = json!({"preStop": {"exec": {"command": ["bye"]}}});
            pods.push(json!({
                "metadata": {"annotations": annotations},
                "spec": {"containers": [app, {"name": "worker", "image": "registry/worker:1", "securityContext": {"runAsUser": 5}}]},
            }));
        }
    }
    pods
}

#[test]
fn what_a_neighbour_took_away_is_put_back() {
    for pod in pods() {
        let first = outcome(&pod);
        assert_eq!(first.decision, Decision::Injected);
        for (what, damage) in DAMAGES {
            let mut damaged = first.pod.clone();
            damage(&mut damaged);
            let again = outcome(&damaged);
            assert_eq!(again.decision, Decision::Injected, "{what}: {damaged:#}");
            let third = outcome(&again.pod);
            assert!(third.patch.0.is_empty(), "{what}: {:#?}", third.patch);
            assert_eq!(third.warnings(), again.warnings(), "{what}");
            let agents = again.pod["spec"]["initContainers"].as_array().unwrap().iter();
            let agents: Vec<_> = agents
                .filter(|container| container["command"][1] == "ship")
                .collect();
            assert!(
                !agents.is_empty() && agents.iter().all(|agent| agent["restartPolicy"] == "Always"),
                "{what}"
            );
            let status: Value = serde_json::from_str(
                again.pod["metadata"]["annotations"][names::STATUS]
                    .as_str()
                    .unwrap(),
            )
            .unwrap();
            assert_eq!(status["decision"], "injected", "{what}");
            // What was the user's own is gone where the neighbour took that too.
            let mut without_it = pod.clone();
            damage(&mut without_it);
            let restored = uninject(&again.pod);
            assert!(
                restored == pod || restored == without_it,
                "{what}: {restored:#}\n{pod:#}"
            );
        }
    }
}

#[test]
fn an_agent_that_was_made_an_init_container_is_marked() {
    let mut pod = outcome(&pods().remove(0)).pod;
    assert!(!pod.to_string().contains("HEAPSHIP_PROVE_SIDECAR"));
    for container in containers(&mut pod) {
        container.as_object_mut().unwrap().shift_remove("restartPolicy");
    }
    let again = outcome(&pod);
    let agents = again.pod["spec"]["initContainers"].as_array().unwrap();
    let marked = agents
        .iter()
        .filter(|agent| agent["env"].to_string().contains("HEAPSHIP_PROVE_SIDECAR"));
    assert_eq!(
        marked.count(),
        2,
        "the container that fills the tools volume ends by itself"
    );
    let said = again.warnings().join("\n");
    assert!(said.contains("restartPolicy"), "{said}");
}

#[test]
fn remains_that_cannot_be_completed_are_taken_out_again() {
    for pod in pods() {
        let mut damaged = outcome(&pod).pod;
        for container in containers(&mut damaged) {
            without(container, "volumeMounts", |mount| {
                mount["mountPath"] == names::DUMPS_PATH
            });
        }
        let app = &mut damaged["spec"]["containers"][0];
        let taken = json!({"name": "own", "mountPath": "/heapship"});
        match app["volumeMounts"].as_array_mut() {
            Some(mounts) => mounts.push(taken.clone()),
            None => app["volumeMounts"] = json!([taken]),
        }
        damaged["spec"]["volumes"]
            .as_array_mut()
            .unwrap()
            .push(json!({"name": "own", "emptyDir": {}}));
        let left = outcome(&damaged);
        assert_eq!(left.decision.reason(), "path-taken");
        assert!(!carries_injection(&left.pod), "{:#}", left.pod);
        let mut wanted = pod.clone();
        wanted["spec"]["containers"][0]["volumeMounts"] = json!([taken]);
        wanted["spec"]["volumes"] = json!([{"name": "own", "emptyDir": {}}]);
        assert_eq!(left.pod["spec"], wanted["spec"]);
        let mut applied = damaged.clone();
        json_patch::patch(&mut applied, &left.patch).unwrap();
        assert_eq!(applied, left.pod);
        let again = outcome(&left.pod);
        assert!(again.patch.0.is_empty(), "{:#?}", again.patch);
        assert_eq!(again.warnings(), left.warnings());
        assert_eq!(uninject(&left.pod)["spec"], wanted["spec"]);
    }
}

#[test]
fn remains_that_somebody_else_uses_by_now_are_left_with_the_reason() {
    let mut damaged = outcome(&pods().remove(0)).pod;
    let agents = damaged["spec"]["initContainers"].as_array_mut().unwrap();
    // Another webhook wraps what the agent runs: it is not ours any more, and it uses our volumes.
    agents.last_mut().unwrap()["command"] = json!(["/wrapper", "ship"]);
    let left = outcome(&damaged);
    assert_eq!(left.decision.reason(), "name-taken");
    assert_eq!(
        left.pod["spec"], damaged["spec"],
        "without the volumes the pod would be refused"
    );
}

fn annotations_are_kept(annotations: &Value) -> bool {
    annotations.get(names::STATUS).is_some()
}

#[test]
fn a_copy_for_debugging_is_completed_or_works_without_us() {
    for pod in pods() {
        let whole = outcome(&pod).pod;
        // `kubectl debug --copy-to`: annotations may be kept or not, init containers and probes dropped, a container added,
        // commands replaced.
        let mut copy = whole.clone();
        copy["spec"]
            .as_object_mut()
            .unwrap()
            .shift_remove("initContainers");
        copy["spec"]["containers"][0]["command"] = json!(["sh"]);
        copy["spec"]["containers"]
            .as_array_mut()
            .unwrap()
            .push(json!({"name": "debugger-x", "image": "busybox"}));
        for annotations in [whole["metadata"]["annotations"].clone(), json!({})] {
            // Without its annotations it may ask for another volume than it has: then all of it is done anew, if it can be.
            let noted = annotations_are_kept(&annotations);
            copy["metadata"]["annotations"] = annotations;
            let completed = outcome(&copy);
            let injected = completed.decision == Decision::Injected;
            assert!(injected || !noted && !carries_injection(&completed.pod));
            let mut applied = copy.clone();
            json_patch::patch(&mut applied, &completed.patch).unwrap();
            assert_eq!(applied, completed.pod);
            assert!(outcome(&completed.pod).patch.0.is_empty());
        }
        // An ephemeral container comes by a subresource; one with our name is not ours to change.
        let mut with_ephemeral = whole.clone();
        with_ephemeral["spec"]["ephemeralContainers"] = json!([{"name": "debugger-y", "image": "busybox"}]);
        assert!(outcome(&with_ephemeral).patch.0.is_empty());
    }
}

/// What our three kinds of containers run from the application's image, with a chain through an env file.
fn with_image_options() -> (Value, Value) {
    let pod = json!({"metadata": {"annotations": {}}, "spec": {
        "containers": [{"name": "app", "image": "registry/app:1"}],
        "initContainers": [{"name": "migrate", "image": "registry/app:1"}],
    }});
    let mut asked = pod.clone();
    asked["metadata"]["annotations"]["heapship.io/containers"] = json!("app,migrate");
    let first = with_env_files(&asked);
    assert_eq!(first.decision, Decision::Injected);
    (asked, first.pod)
}

fn with_env_files(pod: &Value) -> Outcome {
    let policies = Policies::from_yaml(POLICY).unwrap();
    let namespace = Namespace {
        name: "web".into(),
        ..Namespace::default()
    };
    let context = Context {
        namespace: &namespace,
        policies: &policies,
        cluster: &Cluster {
            name: "prod".into(),
            version: KubernetesVersion::NEWEST,
            own_namespace: None,
            env_files: true,
        },
        workload: None,
    };
    inject(pod, &context)
}

#[test]
fn what_cannot_be_completed_is_taken_out_and_written_anew() {
    let (pod, whole) = with_image_options();
    let losses: [(&str, Damage); 4] = [
        ("turned the init containers round", |pod| {
            pod["spec"]["initContainers"].as_array_mut().unwrap().reverse();
        }),
        ("moved a reader of a file to the front", |pod| {
            let init = pod["spec"]["initContainers"].as_array_mut().unwrap();
            let at = init.iter().position(|found| found["name"] == "migrate").unwrap();
            let reader = init.remove(at);
            init.insert(0, reader);
        }),
        ("kept one entry of each name", |pod| {
            for container in containers(pod) {
                let mut last = Value::Null;
                if let Some(entries) = container["env"].as_array_mut() {
                    entries.reverse();
                    entries.retain(|entry| {
                        let again = entry["name"] == last;
                        last = entry["name"].clone();
                        !again
                    });
                    entries.reverse();
                }
            }
        }),
        ("set the variable anew", |pod| {
            let entries = pod["spec"]["containers"][0]["env"].as_array_mut().unwrap();
            for entry in entries
                .iter_mut()
                .filter(|entry| entry["name"] == "JAVA_TOOL_OPTIONS")
            {
                entry["value"] = json!("-javaagent:/theirs.jar");
            }
        }),
    ];
    for (what, lose) in losses {
        let mut partial = whole.clone();
        lose(&mut partial);
        assert_ne!(partial, whole, "{what}");
        let again = with_env_files(&partial);
        assert_eq!(again.decision, Decision::Injected, "{what}");
        assert!(!damage::holds_the_pod(&again.pod), "{what}: {}", again.pod);
        assert!(!damage::is_beyond_completion(&again.pod), "{what}: {}", again.pod);
        assert_eq!(with_env_files(&again.pod).patch.0, Vec::new(), "{what}");
        let init_containers = |pod: &Value| -> Vec<Value> {
            pod["spec"]["initContainers"]
                .as_array()
                .unwrap()
                .iter()
                .map(|found| found["name"].clone())
                .collect()
        };
        assert_eq!(init_containers(&again.pod), init_containers(&whole), "{what}");
        let text = uninject(&again.pod).to_string();
        assert!(
            !text.contains("heapship-") && !text.contains("HEAPSHIP"),
            "{what}: {text}"
        );
        if what != "set the variable anew" {
            let mut restored = uninject(&again.pod);
            let mut asked = pod.clone();
            for either in [&mut restored, &mut asked] {
                either["spec"]["initContainers"]
                    .as_array_mut()
                    .unwrap()
                    .sort_by_key(ToString::to_string);
            }
            assert_eq!(restored, asked, "{what}");
        }
    }
}

#[test]
fn what_runs_from_the_applications_image_follows_it_to_a_mirror() {
    let (_, mut whole) = with_image_options();
    for container in containers(&mut whole).filter(|container| !is_ours(container)) {
        container["image"] = json!("mirror/app:1");
    }
    let again = with_env_files(&whole);
    assert!(!again.pod.to_string().contains("registry/app:1"), "{}", again.pod);
    assert_eq!(with_env_files(&again.pod).patch.0, Vec::new());
}

#[test]
fn whoever_does_not_want_it_any_more_is_not_left_with_what_holds_the_pod() {
    let (_, whole) = with_image_options();
    for skips in [
        |pod: &mut Value| pod["metadata"]["annotations"]["heapship.io/inject"] = json!("false"),
        |pod: &mut Value| pod["metadata"]["annotations"]["heapship.io/volume"] = json!("nonsense"),
        |pod: &mut Value| pod["metadata"]["annotations"]["heapship.io/on-oom"] = json!("off"),
    ] {
        let mut stripped = whole.clone();
        for container in containers(&mut stripped) {
            container.as_object_mut().unwrap().shift_remove("restartPolicy");
        }
        skips(&mut stripped);
        let left = with_env_files(&stripped);
        assert!(matches!(left.decision, Decision::Skipped(_)));
        assert!(!carries_injection(&left.pod), "{}", left.pod);
    }
}

#[test]
fn one_argument_is_not_made_two() {
    let mut pod = json!({
        "metadata": {"annotations": {"heapship.io/java-options-variable": "JAVA_OPTS"}},
        "spec": {"containers": [{"name": "app", "image": "registry/app:1",
            "command": ["java", "$(JAVA_OPTS)", "-jar", "app.jar"],
            "env": [{"name": "JAVA_OPTS", "value": "-Xmx512m"}]}]},
    });
    let injected = outcome(&pod);
    assert_eq!(injected.decision, Decision::Injected);
    let entries = &injected.pod["spec"]["containers"][0]["env"];
    assert_eq!(entries[0], json!({"name": "JAVA_OPTS", "value": "-Xmx512m"}));
    assert!(entries.to_string().contains("_JAVA_OPTIONS"));
    // A folder is no place for options either.
    let mut mounting = pod.clone();
    let app = &mut mounting["spec"]["containers"][0];
    app["command"] = json!(["java"]);
    app["volumeMounts"] = json!([{"name": "data", "mountPath": "/data", "subPathExpr": "$(JAVA_OPTS)"}]);
    mounting["spec"]["volumes"] = json!([{"name": "data", "emptyDir": {}}]);
    let entries = &outcome(&mounting).pod["spec"]["containers"][0]["env"];
    assert_eq!(entries[0], json!({"name": "JAVA_OPTS", "value": "-Xmx512m"}));
    // A shell splits what it is given.
    pod["spec"]["containers"][0]["command"] = json!(["sh", "-c", "exec java $(JAVA_OPTS) -jar app.jar"]);
    let entries = &outcome(&pod).pod["spec"]["containers"][0]["env"];
    assert!(entries[0]["value"].as_str().unwrap().ends_with(" -Xmx512m"));
}

#[test]
fn a_copy_that_lost_our_notes_keeps_no_reference_to_what_is_taken_out() {
    let (_, mut whole) = with_image_options();
    let annotations = whole["metadata"]["annotations"].as_object_mut().unwrap();
    annotations.shift_remove("heapship.io/replaced");
    let text = uninject(&whole).to_string();
    assert!(
        !text.contains("heapship-") && !text.contains("HEAPSHIP"),
        "{text}"
    );
}
