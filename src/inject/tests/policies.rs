//! What a policy, a namespace and the cluster decide about a pod.

use super::*;

/// Under a policy that asks for every pod; `spec` is the rest of it.
fn under(spec: &str, pod: &Value) -> Outcome {
    let text = format!("{{kind: HeapDumpPolicy, metadata: {{name: base}}, spec: {{mode: OptOut, {spec}}}}}");
    let policies = Policies::from_yaml(&text).unwrap();
    inject(
        pod,
        &Context {
            namespace: &Namespace {
                name: "team-a".into(),
                ..Namespace::default()
            },
            policies: &policies,
            cluster: &Cluster {
                name: "prod".into(),
                version: KubernetesVersion::NEWEST,
                own_namespace: Some("heapship-system".into()),
                env_files: false,
            },
            workload: None,
        },
    )
}

fn pod(spec: &Value) -> Value {
    let mut pod =
        json!({"metadata": {"name": "a"}, "spec": {"containers": [{"name": "app", "image": "app:1"}]}});
    for (key, value) in spec.as_object().unwrap() {
        pod["spec"][key] = value.clone();
    }
    pod
}

fn container<'p>(pod: &'p Value, name: &str) -> &'p Value {
    let found = ["initContainers", "containers"].into_iter().find_map(|list| {
        let containers = pod["spec"][list].as_array()?;
        containers.iter().find(|container| container["name"] == name)
    });
    found.unwrap_or(&Value::Null)
}

fn variable_of<'p>(pod: &'p Value, name: &str) -> Option<&'p str> {
    let entries = container(pod, "heapship-agent")["env"].as_array()?;
    entries.iter().find(|entry| entry["name"] == name)?["value"].as_str()
}

const S3: &str = "settings: {destination: 's3://dumps'}";

#[test]
fn an_image_that_may_meet_a_node_it_cannot_run_on_leaves_the_pod_alone() {
    let affinity = |key: &str, operator: &str, values: &[&str]| {
        json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": key, "operator": operator, "values": values}]}]}}}})
    };
    for (spec, missing) in [
        (json!({}), None),
        (json!({"nodeSelector": {"kubernetes.io/arch": "amd64"}}), None),
        (
            json!({"nodeSelector": {"kubernetes.io/arch": "s390x"}}),
            Some("s390x"),
        ),
        (json!({"nodeSelector": {"other": "s390x"}}), None),
        (affinity("kubernetes.io/arch", "In", &["amd64", "arm64"]), None),
        (
            affinity("kubernetes.io/arch", "In", &["amd64", "ppc64le"]),
            Some("ppc64le"),
        ),
        (affinity("kubernetes.io/arch", "NotIn", &["ppc64le"]), None),
        (affinity("kubernetes.io/os", "In", &["linux"]), None),
    ] {
        let outcome = under(
            &format!("{S3}, agent: {{architectures: [amd64, arm64]}}"),
            &pod(&spec),
        );
        let expected = match missing {
            Some(missing) => Decision::Skipped(Skip::Architecture(missing.to_owned())),
            None => Decision::Injected,
        };
        assert_eq!(outcome.decision, expected, "{spec}");
        assert_eq!(
            under(S3, &pod(&spec)).decision,
            Decision::Injected,
            "a policy that names none"
        );
    }
}

#[test]
fn an_image_that_is_not_needed_may_lack_the_node() {
    let spec = json!({"nodeSelector": {"kubernetes.io/arch": "s390x"}});
    let decided = |settings: &str| {
        let policy =
            format!("settings: {{destination: 's3://dumps', {settings}}}, agent: {{architectures: [amd64]}}");
        under(&policy, &pod(&spec)).decision
    };
    assert_eq!(decided("agent: 'off'"), Decision::Injected);
    assert_eq!(
        decided("agent: 'off', preStop: live"),
        Decision::Skipped(Skip::Architecture("s390x".to_owned())),
        "the toolbox comes from our image too"
    );
    assert_eq!(
        decided("agent: 'off', onOom: 'off'"),
        Decision::Skipped(Skip::NothingAsked)
    );
}

#[test]
fn a_file_destination_lies_on_the_volume_that_the_policy_mounts() {
    const STORE: &str = "store: {volume: {nfs: {server: nfs, path: /p}}, mountPath: /mnt/dumps/}";
    let to = |path: &str, store: &str| {
        under(
            &format!("settings: {{destination: 'file://{path}'}}, {store}"),
            &pod(&json!({})),
        )
    };
    for path in ["/mnt/dumps", "/mnt/dumps/prod"] {
        let outcome = to(path, STORE);
        assert_eq!(outcome.decision, Decision::Injected, "{path}");
        let mount = json!({"name": "heapship-store", "mountPath": "/mnt/dumps/"});
        let mounts = container(&outcome.pod, "heapship-agent")["volumeMounts"]
            .as_array()
            .unwrap();
        assert!(mounts.contains(&mount), "{mounts:?}");
        let volume = json!({"name": "heapship-store", "nfs": {"server": "nfs", "path": "/p"}});
        assert!(
            outcome.pod["spec"]["volumes"]
                .as_array()
                .unwrap()
                .contains(&volume)
        );
        assert_eq!(uninject(&outcome.pod), pod(&json!({})));
    }
    for (path, store) in [
        ("/mnt/dumps-of-others", STORE),
        ("/srv", STORE),
        ("/mnt/dumps", "store: {}"),
    ] {
        let refused = Decision::Skipped(Skip::FileDestination(format!("file://{path}")));
        assert_eq!(to(path, store).decision, refused, "{path}");
    }
}

#[test]
fn a_store_that_is_not_written_to_yet_is_said() {
    for destination in ["gs://dumps/x", "az://dumps/x"] {
        let outcome = under(
            &format!("settings: {{destination: '{destination}'}}"),
            &pod(&json!({})),
        );
        assert_eq!(
            outcome.decision,
            Decision::Skipped(Skip::UnsupportedStore(destination.to_owned()))
        );
    }
}

#[test]
fn the_agent_is_told_how_to_reach_the_store() {
    let told = |store: &str| under(&format!("{S3}, store: {{{store}}}"), &pod(&json!({}))).pod;
    let all = told(
        "endpoint: 'http://s3', allowHttp: true, region: eu, checksum: none, caBundle: '-----BEGIN CERTIFICATE-----$(X)'",
    );
    for (name, value) in [
        ("HEAPSHIP_STORE_ENDPOINT", "http://s3"),
        ("HEAPSHIP_STORE_ALLOW_HTTP", "true"),
        ("HEAPSHIP_STORE_REGION", "eu"),
        ("HEAPSHIP_STORE_CHECKSUM", "none"),
        // The kubelet would expand it.
        ("HEAPSHIP_STORE_CA", "-----BEGIN CERTIFICATE-----$$(X)"),
    ] {
        assert_eq!(variable_of(&all, name), Some(value));
        assert_eq!(variable_of(&told(""), name), None);
    }
}

#[test]
fn the_agent_takes_its_resources_from_the_policy_where_the_class_allows() {
    let resources = |agent: &str, own: &Value| {
        let mut pod = pod(&json!({}));
        pod["spec"]["containers"][0]["resources"] = own.clone();
        let injected = under(&format!("{S3}, agent: {{{agent}}}"), &pod).pod;
        container(&injected, "heapship-agent")["resources"].clone()
    };
    let policys = "resources: {requests: {cpu: 5m}, limits: {memory: 100Mi}}";
    let guaranteed = json!({"limits": {"cpu": "1", "memory": "1Gi"}});
    assert_eq!(
        resources(policys, &guaranteed),
        json!({"requests": {"cpu": "250m", "memory": "100Mi"}, "limits": {"cpu": "250m", "memory": "100Mi"}})
    );
    // What all containers state, a quota may demand of ours; what the policy states stands.
    let burstable = json!({"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "2Gi"}});
    assert_eq!(
        resources(policys, &burstable),
        json!({"requests": {"cpu": "5m", "memory": "64Mi"}, "limits": {"memory": "100Mi"}})
    );
    assert_eq!(
        resources(policys, &json!({"requests": {"cpu": "1"}})),
        json!({"requests": {"cpu": "5m"}, "limits": {"memory": "100Mi"}})
    );
    assert_eq!(
        resources("", &json!({"limits": {"cpu": "2"}, "requests": {"cpu": "1"}})),
        json!({"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "192Mi", "cpu": "500m"}})
    );
    assert_eq!(resources(policys, &json!({})), Value::Null);
}

#[test]
fn a_volume_that_the_largest_dump_would_overflow_is_said() {
    let warned = |volume: &str| {
        let mut pod = pod(&json!({}));
        pod["spec"]["containers"][0]["resources"] = json!({"limits": {"memory": "1Gi"}});
        let outcome = under(
            &format!("settings: {{destination: 's3://dumps', volume: '{volume}'}}"),
            &pod,
        );
        outcome.notes.iter().any(|note| note.code == "volume-too-small")
    };
    assert!(warned("emptyDir:4095Mi") && !warned("emptyDir:4Gi") && !warned("emptyDir"));
}

#[test]
fn root_that_the_kubelet_would_refuse_is_not_taken_from_the_annotation() {
    let decided = |security: &Value| {
        under(
            "settings: {destination: 's3://dumps', runAsUser: 0}",
            &pod(&json!({"securityContext": security})),
        )
    };
    let refused = decided(&json!({"runAsNonRoot": true}));
    let code = |outcome: &Outcome| {
        outcome
            .notes
            .iter()
            .any(|note| note.code == "run-as-user-refused")
    };
    assert!(code(&refused));
    assert_eq!(container(&refused.pod, "heapship-agent")["image"], "app:1");
    let taken = decided(&json!({}));
    assert!(!code(&taken));
    assert_eq!(
        container(&taken.pod, "heapship-agent")["securityContext"]["runAsUser"],
        0
    );
    assert_eq!(
        container(&taken.pod, "heapship-agent")["securityContext"]["runAsNonRoot"],
        Value::Null
    );
}

#[test]
fn what_the_container_says_of_root_holds_for_the_agent_that_borrows_its_image() {
    for stated in [json!(true), json!(false)] {
        let mut pod = pod(&json!({}));
        pod["spec"]["containers"][0]["securityContext"] = json!({"runAsNonRoot": stated});
        let injected = under(S3, &pod).pod;
        let agent = container(&injected, "heapship-agent");
        assert_eq!(
            (&agent["image"], &agent["securityContext"]["runAsNonRoot"]),
            (&json!("app:1"), &stated)
        );
    }
}

#[test]
fn no_container_of_ours_runs_under_a_profile_that_was_written_for_the_application() {
    let profiles = |pods: &Value, own: &Value| -> Vec<Value> {
        let mut pod = pod(&json!({"securityContext": {"runAsUser": 1000, "appArmorProfile": pods}}));
        pod["spec"]["containers"][0]["securityContext"] =
            json!({"appArmorProfile": own, "seLinuxOptions": {"level": "s0"}});
        let injected = under(S3, &pod).pod;
        assert_eq!(
            container(&injected, "heapship-agent")["securityContext"]["seLinuxOptions"]["level"],
            "s0"
        );
        let containers = injected["spec"]["initContainers"].as_array().unwrap();
        let profile = |container: &Value| container["securityContext"]["appArmorProfile"].clone();
        containers.iter().map(profile).collect()
    };
    let local = json!({"type": "Localhost", "localhostProfile": "app"});
    let (default, none) = (json!({"type": "RuntimeDefault"}), json!({"type": "Unconfined"}));
    let only = |wanted: &Value, found: Vec<Value>| {
        assert!(
            !found.is_empty() && found.iter().all(|profile| profile == wanted),
            "{found:?}"
        );
    };
    only(&Value::Null, profiles(&Value::Null, &local));
    only(&Value::Null, profiles(&none, &local));
    only(&default, profiles(&local, &local));
    only(&default, profiles(&local, &Value::Null));
    // The application's own where it asks nothing of the node: an agent must be able to signal its JVM.
    assert_eq!(profiles(&Value::Null, &none).last(), Some(&none));
}

#[test]
fn the_agent_stands_directly_before_the_init_container_whose_dumps_it_ships_and_else_at_the_end() {
    let order = |annotations: &Value| -> Vec<Value> {
        let mut pod = pod(&json!({"securityContext": {"runAsUser": 1000},
            "initContainers": [{"name": "first"}, {"name": "migrate"}, {"name": "last"}]}));
        pod["metadata"]["annotations"] = annotations.clone();
        let injected = under(S3, &pod).pod;
        let containers = injected["spec"]["initContainers"].as_array().unwrap();
        containers
            .iter()
            .map(|container| container["name"].clone())
            .collect()
    };
    assert_eq!(
        order(&json!({"heapship.io/containers": "migrate"})),
        ["first", "heapship-agent", "migrate", "last"]
    );
    assert_eq!(order(&json!({})), ["first", "migrate", "last", "heapship-agent"]);
}

#[test]
fn what_a_webhook_must_not_touch_is_left_without_a_trace() {
    let annotated = |key: &str, value: &str| {
        let mut pod = pod(&json!({}));
        pod["metadata"]["annotations"] = json!({key: value});
        pod
    };
    let mut debug = pod(&json!({}));
    debug["metadata"]["labels"] = json!({"app.kubernetes.io/managed-by": "kubectl-debug"});
    let host_process = json!({"windowsOptions": {"hostProcess": true}});
    for (pod, skip) in [
        (
            annotated("kubernetes.io/config.mirror", "x"),
            Some(Skip::MirrorPod),
        ),
        (
            annotated("kubernetes.io/config.source", "file"),
            Some(Skip::MirrorPod),
        ),
        (annotated("kubernetes.io/config.source", "api"), None),
        (debug, Some(Skip::DebugPod)),
        (pod(&json!({"os": {"name": "windows"}})), Some(Skip::Windows)),
        (pod(&json!({"os": {"name": "linux"}})), None),
        (
            pod(&json!({"nodeSelector": {"kubernetes.io/os": "windows"}})),
            Some(Skip::Windows),
        ),
        (
            pod(&json!({"securityContext": host_process})),
            Some(Skip::Windows),
        ),
        (
            pod(&json!({"containers": [{"name": "app"}, {"name": "b", "securityContext": host_process}]})),
            Some(Skip::Windows),
        ),
        (
            pod(&json!({"containers": []})),
            Some(Skip::NotAPod("it has no containers")),
        ),
    ] {
        let outcome = under(S3, &pod);
        match skip {
            Some(skip) => {
                assert_eq!(
                    (&outcome.decision, &outcome.pod),
                    (&Decision::Skipped(skip), &pod)
                );
                assert_eq!((outcome.patch.0.len(), outcome.warnings().len()), (0, 0), "{pod}");
            }
            None => assert_eq!(outcome.decision, Decision::Injected, "{pod}"),
        }
    }
}

#[test]
fn our_own_namespace_is_left_alone() {
    let cluster = |own: Option<&str>| Cluster {
        name: "prod".into(),
        version: KubernetesVersion::NEWEST,
        own_namespace: own.map(str::to_owned),
        env_files: false,
    };
    let policies = Policies::from_yaml(POLICY).unwrap();
    let decided = |name: &str, own: Option<&str>| {
        let namespace = Namespace {
            name: name.into(),
            ..Namespace::default()
        };
        let context = Context {
            namespace: &namespace,
            policies: &policies,
            cluster: &cluster(own),
            workload: None,
        };
        inject(&pod(&json!({})), &context).decision
    };
    for (name, own) in [
        ("kube-system", None),
        ("kube-node-lease", None),
        ("heapship", Some("heapship")),
    ] {
        assert_eq!(
            decided(name, own),
            Decision::Skipped(Skip::ExcludedNamespace(name.to_owned()))
        );
    }
    assert_eq!(decided("kube-public", Some("heapship")), Decision::Injected);
}

#[test]
fn the_policy_that_decided_is_named() {
    assert_eq!(under(S3, &pod(&json!({}))).policy.as_deref(), Some("base"));
    assert_eq!(
        under(&format!("{S3}, namespaces: [other]"), &pod(&json!({}))).policy,
        None
    );
}

#[test]
fn reads_versions_as_vendors_write_them() {
    let version = |major, minor| Some(KubernetesVersion { major, minor });
    for (text, expected) in [
        ("1.36", version(1, 36)),
        (" v1.36.2 ", version(1, 36)),
        ("1.29+", version(1, 29)),
        ("2.0-gke.1", version(2, 0)),
        ("1", None),
        ("1.", None),
        ("one.two", None),
    ] {
        assert_eq!(KubernetesVersion::parse(text), expected, "{text}");
    }
    assert_eq!(KubernetesVersion::NEWEST.to_string(), "1.36");
}
