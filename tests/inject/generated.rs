//! The laws again, for pods that nobody thought of.

use heapship::inject::{self, Cluster, Context, Decision, Outcome};
use heapship::objects;
use heapship::settings::policy::Policies;
use heapship::yaml;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Map, Value, json};

use super::{laws, version, warnings};
use crate::schema::openapi::openapi;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_law_holds_for_every_pod(pod in pod(), old in any::<bool>()) {
        let first = decide(&pod, old);
        let mut faults = Vec::new();

        let mut patched = pod.clone();
        match json_patch::patch(&mut patched, &first.patch) {
            Ok(()) if patched == first.pod => {}
            Ok(()) => faults.push("the patch makes another pod".to_owned()),
            Err(error) => faults.push(format!("the patch does not apply: {error}")),
        }
        if first.decision != Decision::Injected && first.pod["spec"] != pod["spec"] {
            faults.push("left alone, and yet the spec changed".to_owned());
        }
        let second = decide(&first.pod, old);
        if second.pod != first.pod || !second.patch.0.is_empty() {
            faults.push(format!("the second pass has operations: {}", json!(second.patch)));
        }
        if second.decision != first.decision || warnings(&second.notes) != warnings(&first.notes) {
            faults.push(format!("the second pass says {:?} {:?}", second.decision, warnings(&second.notes)));
        }
        laws::untouched(&pod, &first.pod, &mut faults);
        laws::consistent(&first.pod, &mut faults);
        if let Some(openapi) = openapi() {
            let ours = openapi.faults(&first.pod).into_iter().filter(|fault| !fault.contains("ofTomorrow"));
            faults.extend(ours);
        }
        let restored = inject::uninject(&first.pod);
        if restored != pod {
            faults.push(format!("restored to {restored}"));
        }
        let text = yaml::write(&pod);
        let there = yaml::rewrite(&text, &yaml::read(&text).unwrap(), std::slice::from_ref(&first.pod)).text;
        let back = yaml::rewrite(&there, &yaml::read(&there).unwrap(), &[restored]).text;
        if back != text {
            faults.push(format!("the text came back as\n{back}"));
        }
        prop_assert!(faults.is_empty(), "{}\n{text}\n{:?}\n{there}", faults.join("\n"), first.decision);
    }
}

fn decide(pod: &Value, old: bool) -> Outcome {
    let context = Context {
        namespace: &objects::named("web"),
        policies: &Policies::default(),
        cluster: &Cluster {
            name: "test".to_owned(),
            version: version(if old { "1.33" } else { "1.36" }),
            own_namespace: None,
            env_files: !old,
        },
        workload: None,
    };
    inject::inject(pod, &context)
}

fn pod() -> impl Strategy<Value = Value> {
    let containers = subsequence(vec!["app", "worker", "istio-proxy"], 1..=3)
        .prop_flat_map(|names| names.into_iter().map(container).collect::<Vec<_>>());
    let inits = subsequence(vec!["migrate", "warm-up"], 0..=2)
        .prop_flat_map(|names| names.into_iter().map(container).collect::<Vec<_>>());
    (annotations(), containers, prop::option::of(inits), spec_fields()).prop_map(
        |(annotations, containers, inits, mut spec)| {
            spec.insert("containers".to_owned(), json!(containers));
            if let Some(inits) = inits {
                spec.insert("initContainers".to_owned(), json!(inits));
            }
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "annotations": annotations}, "spec": spec})
        },
    )
}

fn annotations() -> impl Strategy<Value = Value> {
    some_of(&[
        ("heapship.io/on-oom", json!("dump-and-exit")),
        ("heapship.io/on-oom", json!("off")),
        ("heapship.io/pre-stop", json!("live")),
        ("heapship.io/pre-stop", json!("all")),
        ("heapship.io/pre-stop-order", json!("before")),
        ("heapship.io/pre-stop-order", json!("after")),
        ("heapship.io/containers", json!("*")),
        ("heapship.io/containers", json!("app,migrate")),
        ("heapship.io/volume", json!("pvc:dumps")),
        ("heapship.io/volume", json!("emptyDir:1Gi")),
        ("heapship.io/liveness", json!("extend")),
        ("heapship.io/agent", json!("off")),
        ("heapship.io/image-options", json!("off")),
        ("heapship.io/upload-grace", json!("45s")),
        ("heapship.io/run-as-user", json!("1001")),
        ("heapship.io/java-options-variable", json!("ES_JAVA_OPTS")),
    ])
    .prop_map(|mut annotations| {
        annotations.insert("heapship.io/inject".to_owned(), json!("true"));
        annotations.insert("heapship.io/destination".to_owned(), json!("s3://dumps"));
        Value::Object(annotations)
    })
}

fn spec_fields() -> impl Strategy<Value = Map<String, Value>> {
    let config = select(vec![
        json!({"configMap": {"name": "c"}}),
        json!({"secret": {"secretName": "s"}}),
    ]);
    let others = some_of(&[
        ("restartPolicy", json!("Never")),
        ("restartPolicy", json!("OnFailure")),
        ("terminationGracePeriodSeconds", json!(5)),
        ("terminationGracePeriodSeconds", json!(3600)),
        ("securityContext", json!({})),
        (
            "securityContext",
            json!({"runAsUser": 1000, "runAsNonRoot": true}),
        ),
        ("shareProcessNamespace", json!(true)),
        ("resources", json!({"limits": {"cpu": 1, "memory": "1Gi"}})),
        ("ofTomorrow", json!({"kept": [1, 2.5, null]})),
    ]);
    (config, others).prop_map(|(mut config, mut spec)| {
        config["name"] = json!("config");
        spec.insert(
            "volumes".to_owned(),
            json!([{"name": "data", "emptyDir": {}}, config]),
        );
        spec
    })
}

fn container(name: &'static str) -> impl Strategy<Value = Value> {
    let fields = some_of(&[
        ("args", json!(["-jar", "app.jar"])),
        ("args", json!(["$(JAVA_TOOL_OPTIONS)"])),
        (
            "command",
            json!(["java", "-XX:+HeapDumpOnOutOfMemoryError", "Main"]),
        ),
        ("lifecycle", json!({})),
        (
            "lifecycle",
            json!({"preStop": {"exec": {"command": ["sh", "-c", "bye"]}}}),
        ),
        (
            "lifecycle",
            json!({"preStop": {"sleep": {"seconds": 5}}, "postStart": {"exec": {"command": ["hi"]}}}),
        ),
        (
            "lifecycle",
            json!({"preStop": {"httpGet": {"port": "web", "path": "/bye"}}}),
        ),
        (
            "lifecycle",
            json!({"preStop": {"httpGet": {"port": 80, "host": "other"}}}),
        ),
        ("ports", json!([{"name": "web", "containerPort": 8080}])),
        (
            "livenessProbe",
            json!({"tcpSocket": {"port": 8080}, "failureThreshold": 2}),
        ),
        (
            "livenessProbe",
            json!({"tcpSocket": {"port": 8080}, "terminationGracePeriodSeconds": 3}),
        ),
        ("startupProbe", json!({"tcpSocket": {"port": 8080}})),
        ("resources", json!({})),
        ("resources", json!({"limits": {"cpu": "1", "memory": "8Gi"}})),
        ("resources", json!({"requests": {"memory": "1Gi"}})),
        ("securityContext", json!({"runAsUser": 0})),
        ("securityContext", json!({"runAsUser": 1234, "runAsGroup": 1})),
        ("volumeMounts", json!([])),
        ("volumeMounts", json!([{"name": "data", "mountPath": "/data"}])),
        (
            "volumeMounts",
            json!([{"name": "config", "mountPath": "/etc/c", "readOnly": true}, {"name": "data", "mountPath": "/tmp", "subPath": "t"}]),
        ),
        ("envFrom", json!([{"configMapRef": {"name": "c"}}])),
        (
            "envFrom",
            json!([{"secretRef": {"name": "s", "optional": true}, "prefix": "JAVA_"}]),
        ),
    ]);
    (fields, prop::option::of(prop::collection::vec(variable(), 0..4))).prop_map(move |(mut fields, env)| {
        fields.insert("name".to_owned(), json!(name));
        fields.insert("image".to_owned(), json!(format!("registry.example/{name}:1")));
        if let Some(env) = env {
            fields.insert("env".to_owned(), json!(env));
        }
        Value::Object(fields)
    })
}

fn variable() -> impl Strategy<Value = Value> {
    let name = select(vec![
        "JAVA_TOOL_OPTIONS",
        "JAVA_TOOL_OPTIONS",
        "_JAVA_OPTIONS",
        "ES_JAVA_OPTS",
        "OTHER",
    ]);
    let literal = select(vec![
        String::new(),
        "-Xmx1g".to_owned(),
        "  -Xmx1g  ".to_owned(),
        "-Dname='a b' -Dq=\"'\"".to_owned(),
        "-Dopen='".to_owned(),
        "-XX:+HeapDumpOnOutOfMemoryError".to_owned(),
        "-XX:-HeapDumpOnOutOfMemoryError".to_owned(),
        "-XX:HeapDumpPath=/data/x".to_owned(),
        "-XX:HeapDumpPath=/nowhere -XX:HeapDumpPath=/tmp".to_owned(),
        "-XX:HeapDumpPath=/heapship/dumps".to_owned(),
        "-XX:+HeapDumpOnOutOfMemoryError -XX:HeapDumpPath=/heapship/dumps".to_owned(),
        "-XX:+ExitOnOutOfMemoryError $(OTHER) $$(X)".to_owned(),
        "$(JAVA_TOOL_OPTIONS) -Dagain=1".to_owned(),
        "-Da=1\n-Db=2\n".to_owned(),
        format!("-Dlong={}", "x".repeat(1000)),
        vec!["-Xint"; 63].join(" "),
    ]);
    let source = select(vec![
        json!({"configMapKeyRef": {"name": "c", "key": "k"}}),
        json!({"secretKeyRef": {"name": "s", "key": "k", "optional": true}}),
        json!({"fieldRef": {"fieldPath": "metadata.name"}}),
        json!({"ofTomorrow": {"x": 1}}),
    ]);
    prop_oneof![
        4 => (name.clone(), literal).prop_map(|(name, value)| json!({"name": name, "value": value})),
        1 => name.clone().prop_map(|name| json!({"name": name})),
        2 => (name, source).prop_map(|(name, source)| json!({"name": name, "valueFrom": source})),
    ]
}

/// Any of the pairs; of those with the same key the last one counts.
fn some_of(pairs: &[(&str, Value)]) -> impl Strategy<Value = Map<String, Value>> + use<> {
    let pairs: Vec<(String, Value)> = pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.clone()))
        .collect();
    let most = pairs.len().min(5);
    subsequence(pairs, 0..=most).prop_map(|pairs| pairs.into_iter().collect())
}
