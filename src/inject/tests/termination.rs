//! The dump on termination: whose hook, in which order, and how much time there is.

use super::*;

/// A pod that asks for a dump on termination, with more annotations, and fields of its spec and of its container.
fn pod(annotations: &Value, spec: &Value, container: &Value) -> Value {
    let merged = |base: Value, more: &Value| {
        let mut base = base;
        for (key, value) in more.as_object().unwrap() {
            base[key] = value.clone();
        }
        base
    };
    let app = merged(json!({"name": "app", "image": "app:1"}), container);
    let mut annotated = json!({"heapship.io/pre-stop": "live"});
    for (key, value) in annotations.as_object().unwrap() {
        annotated[format!("heapship.io/{key}")] = value.clone();
    }
    json!({"metadata": {"annotations": annotated}, "spec": merged(json!({"containers": [app]}), spec)})
}

fn hook(get: &Value) -> Value {
    json!({
        "ports": [{"name": "metrics", "containerPort": 9090}, {"name": "http", "containerPort": 8080}],
        "lifecycle": {"preStop": get},
    })
}

/// The words of the hook, as text.
fn command(outcome: &Outcome) -> Vec<String> {
    let words = outcome.pod["spec"]["containers"][0]["lifecycle"]["preStop"]["exec"]["command"].as_array();
    words
        .into_iter()
        .flatten()
        .map(|word| word.as_str().unwrap().to_owned())
        .collect()
}

fn after<'w>(words: &'w [String], flag: &str) -> Option<&'w str> {
    let at = words.iter().position(|word| word == flag)?;
    words.get(at + 1).map(String::as_str)
}

fn codes(outcome: &Outcome) -> Vec<&'static str> {
    outcome.notes.iter().map(|note| note.code).collect()
}

#[test]
fn a_request_goes_to_the_port_that_the_kubelet_would_ask() {
    for (port, expected) in [
        (json!(8081), Some(8081)),
        (json!("8082"), Some(8082)),
        (json!("http"), Some(8080)),
        (json!(""), Some(80)),
        (Value::Null, Some(80)),
        (json!(1), Some(1)),
        (json!(65535), Some(65535)),
        (json!(0), None),
        (json!(65536), None),
        (json!("https"), None),
    ] {
        let get = json!({"httpGet": {"path": "/bye", "port": port}});
        let outcome = outcome(&pod(&json!({}), &json!({}), &hook(&get)));
        let words = command(&outcome);
        let asked = after(&words, "--http-get").map(|get| serde_json::from_str::<Value>(get).unwrap());
        let expected = expected.map(|port| json!({"path": "/bye", "port": port}));
        assert_eq!(asked, expected, "{port}");
        assert_eq!(
            codes(&outcome).contains(&"pre-stop-unwrapped"),
            expected.is_none()
        );
        let left = outcome.pod["spec"]["containers"][0]["lifecycle"]["preStop"] == get;
        assert_eq!(left, expected.is_none(), "{port}");
    }
}

#[test]
fn a_request_to_another_host_stays_where_pod_security_sees_it() {
    for (host, wrapped) in [("elsewhere", false), ("", true)] {
        let get = json!({"httpGet": {"port": 80, "host": host}});
        let outcome = outcome(&pod(&json!({}), &json!({}), &hook(&get)));
        assert_eq!(after(&command(&outcome), "--http-get").is_some(), wrapped);
    }
}

#[test]
fn the_dump_comes_after_a_sleep_and_before_anything_else_unless_somebody_says_so() {
    let exec = json!({"exec": {"command": ["sh", "-c", "bye"]}});
    let sleep = json!({"sleep": {"seconds": 5}});
    let get = json!({"httpGet": {"port": 80}});
    for (order, expected) in [
        ("auto", ["before", "after", "before"]),
        ("before", ["before"; 3]),
        ("after", ["after"; 3]),
    ] {
        for (own, expected) in [&exec, &sleep, &get].into_iter().zip(expected) {
            let pod = pod(&json!({"pre-stop-order": order}), &json!({}), &hook(own));
            assert_eq!(
                after(&command(&outcome(&pod)), "--order"),
                Some(expected),
                "{own}"
            );
        }
    }
    let wrapped = |own: &Value| command(&outcome(&pod(&json!({}), &json!({}), &hook(own))));
    assert!(wrapped(&exec).ends_with(&["--".into(), "sh".into(), "-c".into(), "bye".into()]));
    assert_eq!(after(&wrapped(&sleep), "--sleep"), Some("5s"));
    for nothing in [json!({}), json!({"exec": null}), json!({"exec": {}})] {
        assert_eq!(after(&wrapped(&nothing), "--order"), None, "{nothing}");
        assert_eq!(after(&wrapped(&nothing), "--dump"), Some("live"));
    }
    assert!(wrapped(&json!({"tcpSocket": {"port": 80}})).is_empty());
    // The same word behind another program, and our program with another word, are the user's own.
    for own in [["sh", "pre-stop"], ["/heapship/tools/heapship-agent", "jps"]] {
        let wrapped = wrapped(&json!({"exec": {"command": own}}));
        assert!(
            wrapped.ends_with(&["--".into(), own[0].into(), own[1].into()]),
            "{wrapped:?}"
        );
    }
}

#[test]
fn the_hook_is_told_what_to_dump_and_when() {
    let words = |annotations: &Value| command(&outcome(&pod(annotations, &json!({}), &json!({}))));
    let plain = words(&json!({}));
    assert_eq!(after(&plain, "--dump"), Some("live"));
    assert_eq!(after(&plain, "--delay"), None);
    assert_eq!(after(&words(&json!({"pre-stop": "all"})), "--dump"), Some("all"));
    assert_eq!(
        after(&words(&json!({"pre-stop-delay": "15s"})), "--delay"),
        Some("15s")
    );
}

#[test]
fn the_grace_period_holds_the_applications_share_the_dump_and_the_upload() {
    for (annotations, spec, expected) in [
        (json!({}), json!({}), ["10m", "30s", "30s"]),
        (
            json!({}),
            json!({"terminationGracePeriodSeconds": 45}),
            ["10m", "45s", "45s"],
        ),
        (
            json!({}),
            json!({"terminationGracePeriodSeconds": 900}),
            ["15m", "15m", "15m"],
        ),
        (json!({}), json!({"restartPolicy": "Never"}), ["10m", "30s", "2m"]),
        (
            json!({}),
            json!({"restartPolicy": "OnFailure"}),
            ["10m", "30s", "2m"],
        ),
        (
            json!({}),
            json!({"restartPolicy": "Always"}),
            ["10m", "30s", "30s"],
        ),
        (
            json!({"upload-grace": "20m"}),
            json!({"restartPolicy": "Never"}),
            ["20m", "30s", "20m"],
        ),
        (
            json!({"termination-grace-period": "1m"}),
            json!({}),
            ["1m", "30s", "30s"],
        ),
    ] {
        let outcome = outcome(&pod(&annotations, &spec, &json!({})));
        let words = command(&outcome);
        let found =
            ["--grace", "--application-share", "--upload-grace"].map(|flag| after(&words, flag).unwrap());
        assert_eq!(found, expected, "{annotations} {spec}");
        let given = outcome.pod["spec"]["terminationGracePeriodSeconds"]
            .as_u64()
            .unwrap();
        assert_eq!(
            crate::quantity::parse_duration(expected[0]).unwrap().as_secs(),
            given
        );
    }
}

#[test]
fn without_a_hook_only_the_upload_asks_for_time_and_without_an_agent_nothing() {
    let grace = |annotations: &Value| {
        let pod = pod(annotations, &json!({"restartPolicy": "Never"}), &json!({}));
        outcome(&pod).pod["spec"]["terminationGracePeriodSeconds"].clone()
    };
    assert_eq!(grace(&json!({"pre-stop": "off"})), 120);
    assert_eq!(grace(&json!({"pre-stop": "off", "agent": "off"})), Value::Null);
    assert_eq!(
        grace(&json!({"pre-stop": "off", "upload-grace": "30s"})),
        Value::Null,
        "what it has already"
    );
}

#[test]
fn a_dump_that_has_no_time_left_is_said() {
    let limit = |memory: &str| json!({"resources": {"limits": {"memory": memory}}});
    let warned = |annotations: &Value, container: &Value| {
        codes(&outcome(&pod(annotations, &json!({}), container))).contains(&"grace-too-short")
    };
    // 30s are the application's and 30s are for the upload; 3 GB take 30s.
    for (grace, memory, short) in [
        ("90s", "3G", false),
        ("89s", "3G", true),
        ("91s", "3100M", false),
        ("90s", "3001M", true),
    ] {
        let annotations = json!({"termination-grace-period": grace});
        assert_eq!(warned(&annotations, &limit(memory)), short, "{grace} {memory}");
    }
    assert!(!warned(&json!({"termination-grace-period": "61s"}), &json!({})));
    assert!(warned(&json!({"termination-grace-period": "60s"}), &json!({})));
    assert!(warned(
        &json!({"termination-grace-period": "90s", "pre-stop-delay": "1s"}),
        &limit("3G")
    ));
    assert!(!warned(
        &json!({"termination-grace-period": "60s", "pre-stop": "off"}),
        &limit("3G")
    ));
}

#[test]
fn probes_without_a_grace_of_their_own_kill_as_fast_as_before() {
    let probes = json!({
        "livenessProbe": {"httpGet": {"port": 80}},
        "startupProbe": {"terminationGracePeriodSeconds": 5},
        "readinessProbe": {"httpGet": {"port": 80}},
    });
    for (grace, expected) in [(45, 45), (0, 1)] {
        let pod = pod(
            &json!({}),
            &json!({"terminationGracePeriodSeconds": grace}),
            &probes,
        );
        let injected = outcome(&pod).pod;
        let probe = |kind: &str| &injected["spec"]["containers"][0][kind]["terminationGracePeriodSeconds"];
        assert_eq!(*probe("livenessProbe"), expected);
        assert_eq!(*probe("startupProbe"), 5);
        assert_eq!(*probe("readinessProbe"), Value::Null);
        assert_eq!(uninject(&injected), pod);
    }
}

#[test]
fn a_liveness_probe_outlasts_the_dump_or_the_warning_says_that_it_does_not() {
    let container = |memory: &str, probe: Value| json!({"resources": {"limits": {"memory": memory}}, "livenessProbe": probe});
    // By default a probe fails after 3 periods of 10s and a timeout of 1s: 31s, in which 3.1 GB are written.
    for (memory, probe, short, raised) in [
        ("3100M", json!({}), false, Value::Null),
        ("3101M", json!({}), true, json!(4)),
        ("9G", json!({"periodSeconds": 30}), false, Value::Null),
        (
            "10G",
            json!({"periodSeconds": 30, "timeoutSeconds": 10}),
            false,
            Value::Null,
        ),
        (
            "11G",
            json!({"periodSeconds": 30, "timeoutSeconds": 10}),
            true,
            json!(4),
        ),
        ("1G", json!({"failureThreshold": 1}), false, Value::Null),
        ("2G", json!({"failureThreshold": 1}), true, json!(2)),
        (
            "3100M",
            json!({"failureThreshold": 0, "periodSeconds": 0, "timeoutSeconds": 0}),
            false,
            Value::Null,
        ),
    ] {
        let before = probe["failureThreshold"].clone();
        let kept = outcome(&pod(&json!({}), &json!({}), &container(memory, probe.clone())));
        assert_eq!(
            codes(&kept).contains(&"liveness-too-short"),
            short,
            "{memory} {probe}"
        );
        assert_eq!(
            kept.pod["spec"]["containers"][0]["livenessProbe"]["failureThreshold"],
            before
        );

        let asking = pod(
            &json!({"liveness": "extend"}),
            &json!({}),
            &container(memory, probe.clone()),
        );
        let extended = outcome(&asking);
        let found = &extended.pod["spec"]["containers"][0]["livenessProbe"]["failureThreshold"];
        assert_eq!(
            *found,
            if raised.is_null() { before } else { raised },
            "{memory} {probe}"
        );
        assert!(!codes(&extended).contains(&"liveness-too-short"));
        assert_eq!(uninject(&extended.pod), asking);
    }
}

#[test]
fn a_pause_that_nobody_can_estimate_is_five_minutes_and_none_is_expected_where_nothing_dumps() {
    let threshold = |annotations: &Value| {
        let pod = pod(annotations, &json!({}), &json!({"livenessProbe": {}}));
        outcome(&pod).pod["spec"]["containers"][0]["livenessProbe"]["failureThreshold"].clone()
    };
    assert_eq!(threshold(&json!({"liveness": "extend"})), 30);
    assert_eq!(threshold(&json!({"liveness": "keep"})), Value::Null);
    assert_eq!(
        threshold(&json!({"liveness": "extend", "on-oom": "off"})),
        Value::Null
    );
}

#[test]
fn init_containers_have_a_hook_only_where_they_stay() {
    let of = |policy: &Value| {
        let mut pod = pod(&json!({"containers": "first"}), &json!({}), &json!({}));
        pod["spec"]["initContainers"] = json!([{"name": "first", "restartPolicy": policy}]);
        outcome(&pod)
    };
    let wrapped = |outcome: &Outcome| {
        let containers = outcome.pod["spec"]["initContainers"].as_array().unwrap();
        containers
            .iter()
            .any(|container| container["name"] == "first" && container["lifecycle"].is_object())
    };
    assert!(
        wrapped(&of(&json!("Always"))) && !codes(&of(&json!("Always"))).contains(&"pre-stop-init-container")
    );
    assert!(!wrapped(&of(&Value::Null)) && codes(&of(&Value::Null)).contains(&"pre-stop-init-container"));
}
