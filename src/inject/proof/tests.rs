//! Pods that a fault of ours would have broken.

use serde_json::json;

use super::*;
use crate::inject::{Cluster, Context, Decision, KubernetesVersion, Namespace, inject};
use crate::settings::policy::Policies;
use crate::settings::{Layers, resolve};

fn injected(pod: &Value) -> Value {
    let context = Context {
        namespace: &Namespace::default(),
        policies: &Policies::default(),
        cluster: &Cluster {
            name: "test".to_owned(),
            version: KubernetesVersion::NEWEST,
            own_namespace: None,
            env_files: false,
        },
        workload: None,
    };
    let outcome = inject(pod, &context);
    assert_eq!(outcome.decision, Decision::Injected);
    outcome.pod
}

fn settings(pod: &Value) -> Settings {
    let annotations = crate::inject::texts(&pod["metadata"]["annotations"]);
    let layers = Layers {
        policy: None,
        namespace: &crate::settings::Annotations::default(),
        pod: &annotations,
    };
    resolve(&layers).settings.unwrap()
}

fn pod(container: &Value, annotations: &[(&str, &str)]) -> Value {
    let mut pod = json!({
        "metadata": {"annotations": {"heapship.io/inject": "true", "heapship.io/destination": "s3://d"}},
        "spec": {
            "securityContext": {"runAsUser": 1},
            "containers": [{"name": "app", "image": "a"}, {"name": "istio-proxy", "env": [{"name": "A", "value": "1"}]}],
        },
    });
    for (key, value) in container.as_object().unwrap() {
        pod["spec"]["containers"][0][key] = value.clone();
    }
    for (key, value) in annotations {
        pod["metadata"]["annotations"][*key] = json!(value);
    }
    pod
}

fn finding(before: &Value, after: &Value) -> Option<String> {
    let settings = settings(before);
    let targets = crate::inject::containers::choose(before, &settings.containers).unwrap();
    let proof = Proof {
        before,
        after,
        settings: &settings,
        targets: &targets,
        attach: &[],
    };
    proof.check().err()
}

/// What is said about a pod that was patched and then spoilt.
fn spoilt(before: &Value, spoil: impl FnOnce(&mut Value)) -> String {
    let mut after = injected(before);
    assert_eq!(finding(before, &after), None);
    spoil(&mut after);
    finding(before, &after).unwrap()
}

fn env(pod: &mut Value) -> &mut Vec<Value> {
    pod["spec"]["containers"][0]["env"].as_array_mut().unwrap()
}

const VARIABLE: &str = "JAVA_TOOL_OPTIONS";

#[test]
fn a_flag_that_is_only_spoken_of_is_set_all_the_same() {
    let refers = json!({"name": "OTHER", "value": "$(JAVA_TOOL_OPTIONS)"});
    let options = json!({"name": VARIABLE, "value": "-Xmx1g"});
    let command = json!(["sh", "-c", "jinfo -flag +HeapDumpOnOutOfMemoryError 1"]);
    let echo =
        json!({"name": "JAVA_OPTS", "value": "-XX:OnOutOfMemoryError='echo HeapDumpOnOutOfMemoryError'"});
    for container in [
        json!({"command": command, "env": [options, refers]}),
        json!({"env": [options, refers, echo]}),
    ] {
        let before = pod(&container, &[]);
        let after = injected(&before);
        let strongest = env(&mut after.clone())
            .iter()
            .rfind(|entry| entry["name"] == STRONGEST)
            .cloned();
        let value = strongest.unwrap()["value"].to_string();
        assert!(value.contains("-XX:+HeapDumpOnOutOfMemoryError"), "{value}");
        assert_eq!(finding(&before, &after), None);
    }
}

#[test]
fn a_lost_or_reordered_option_is_found() {
    let before = pod(
        &json!({"env": [{"name": VARIABLE, "value": "-Da=1 -Db=\"x y\""}]}),
        &[],
    );
    let ours = "-XX:+HeapDumpOnOutOfMemoryError -XX:HeapDumpPath=/heapship/dumps";
    for (value, expected) in [
        (format!("{ours} -Da=1"), "would not arrive in order"),
        (format!("{ours} -Db=\"x y\" -Da=1"), "would not arrive in order"),
        (format!("{ours} -Da=1 -Db=x y"), "would not arrive in order"),
        (format!("{ours}-Da=1 -Db=\"x y\""), "would not arrive in order"),
        (format!("{ours} -Da=1 -Db=\"x y\" -Dc=3"), "what nobody wrote"),
        (format!("{ours} -Da=1 -Db=\"x y"), "would not be read"),
        ("-Da=1 -Db=\"x y\"".to_owned(), "would not be in force"),
        (
            "-XX:+HeapDumpOnOutOfMemoryError -Da=1 -Db=\"x y\"".to_owned(),
            "would not go where",
        ),
    ] {
        let said = spoilt(&before, |after| env(after)[0]["value"] = json!(value));
        assert!(said.contains(expected), "{value}: {said}");
    }
    let said = spoilt(&before, |after| env(after).clear());
    assert!(said.contains("would be gone"), "{said}");
}

#[test]
fn a_reference_that_resolves_to_nothing_is_found() {
    let optional = json!({"configMapKeyRef": {"name": "c", "key": "k", "optional": true}});
    let before = pod(&json!({"env": [{"name": VARIABLE, "valueFrom": optional}]}), &[]);
    // Without the empty literal the JVM would be told `$(HEAPSHIP_ORIGINAL_JAVA_TOOL_OPTIONS)` where the key is missing.
    let said = spoilt(&before, |after| drop(env(after).remove(0)));
    assert!(said.contains("what nobody wrote"), "{said}");
    let said = spoilt(&before, |after| drop(env(after).remove(1)));
    assert!(said.contains("would not arrive"), "{said}");
}

#[test]
fn a_chain_in_the_wrong_order_is_found() {
    let sources = json!([{"configMapRef": {"name": "one"}}, {"secretRef": {"name": "two"}}]);
    let before = pod(&json!({"envFrom": sources}), &[]);
    for swapped in [(0, 1), (0, 2), (1, 2)] {
        let said = spoilt(&before, |after| env(after).swap(swapped.0, swapped.1));
        assert!(said.contains("arrive") || said.contains("nobody wrote"), "{said}");
    }
    let said = spoilt(&before, |after| {
        after["spec"]["containers"][0]["envFrom"] = json!([]);
    });
    assert!(said.contains("envFrom would change"), "{said}");
}

#[test]
fn what_other_variables_and_the_command_line_see_must_not_change() {
    let container = json!({
        "args": ["-jar", "$(B)"],
        "env": [{"name": "B", "value": "$(C)"}, {"name": VARIABLE, "value": "-Xmx1g"}],
    });
    let before = pod(&container, &[]);
    let said = spoilt(&before, |after| {
        env(after).insert(0, json!({"name": "C", "value": "x"}));
    });
    assert!(said.contains("what B says would change"), "{said}");
    let said = spoilt(&before, |after| {
        env(after).push(json!({"name": "C", "value": "x"}));
    });
    assert!(said.contains("C would be new"), "{said}");
    let said = spoilt(&before, |after| {
        after["spec"]["containers"][0]["args"] = json!(["-jar"]);
    });
    assert!(said.contains("args would change"), "{said}");
    let said = spoilt(&before, |after| after["spec"]["containers"][1]["env"] = json!([]));
    assert_eq!(said, "container istio-proxy: its env would change");
    let said = spoilt(&before, |after| {
        drop(after["spec"]["containers"].as_array_mut().unwrap().remove(1));
    });
    assert_eq!(said, "container istio-proxy would be gone");
}

#[test]
fn libjvms_variable_keeps_what_refers_to_it_and_a_launchers_may_not() {
    let container =
        |name: &str| json!({"args": [format!("$({name})")], "env": [{"name": name, "value": "-Xmx1g"}]});
    // Ours are in _JAVA_OPTIONS here; in the variable itself they would reach args too.
    let before = pod(&container(VARIABLE), &[]);
    let said = spoilt(&before, |after| {
        let ours = env(after).pop().unwrap()["value"].as_str().unwrap().to_owned();
        env(after)[0]["value"] = json!(format!("{ours} -Xmx1g"));
    });
    assert!(said.contains("command line would change"), "{said}");
    let before = pod(
        &container("MY_OPTS"),
        &[("heapship.io/java-options-variable", "MY_OPTS")],
    );
    assert_eq!(finding(&before, &injected(&before)), None);
}

#[test]
fn what_jdk_8_would_drop_is_found() {
    let long = format!("-D{}", "x".repeat(1000));
    let before = pod(&json!({"env": [{"name": VARIABLE, "value": long}]}), &[]);
    let said = spoilt(&before, |after| {
        let ours = env(after).pop().unwrap()["value"].as_str().unwrap().to_owned();
        env(after)[0]["value"] = json!(format!("{ours} {long}"));
    });
    assert!(said.contains("JDK 8 would drop"), "{said}");
}

#[test]
fn a_missing_volume_and_an_agent_that_never_ends_are_found() {
    let before = pod(&json!({}), &[]);
    let said = spoilt(&before, |after| after["spec"]["volumes"] = json!([]));
    assert!(said.contains("heapship-"), "{said}");
    let said = spoilt(&before, |after| {
        let agent = after["spec"]["initContainers"][0].as_object_mut().unwrap();
        agent.shift_remove("restartPolicy");
    });
    assert!(said.contains("hold the application in Init"), "{said}");
}

#[test]
fn no_value_stands_in_a_finding() {
    let before = pod(&json!({"env": [{"name": "PASSWORD", "value": "hunter2"}]}), &[]);
    let said = spoilt(&before, |after| env(after)[0]["value"] = json!("other"));
    assert_eq!(said, "container app: what PASSWORD says would change");
}
