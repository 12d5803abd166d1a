//! The pod around its containers.

use serde_json::{Value, json};

use super::{annotations, containers, of_tomorrow, security, volumes};
use crate::random::{Random, maybe};

pub(super) fn pod(random: &mut Random, clean: bool) -> Value {
    let volumes = volumes::volumes(random, clean);
    let mut metadata = json!({"name": random.pick(&["web-7d4b9c-x2x4z", "orders-0", "a"])});
    maybe(random, 50, &mut metadata, "labels", labels);
    if random.percent(98) {
        metadata["annotations"] = annotations::of_pod(random, clean);
    }
    maybe(random, 40, &mut metadata, "ownerReferences", |random| {
        random
            .pick(&[
                json!([{"kind": "ReplicaSet", "name": "web-7d4b9c", "controller": true}]),
                json!([{"kind": "Job", "name": "report-29000000", "controller": true}]),
                json!([{"kind": "StatefulSet", "name": "orders", "controller": false}]),
                json!([]),
            ])
            .clone()
    });
    let mut spec = json!({});
    maybe(random, 5, &mut spec, "ofTomorrow", of_tomorrow);
    if random.percent(50) {
        spec["volumes"] = volumes.clone();
    }
    let names = containers::regular_names(random);
    let inits = containers::init_names(random);
    let all = |random: &mut Random, names: &[String], init| -> Value {
        names
            .iter()
            .map(|name| containers::container(random, name, &volumes, init, clean))
            .collect()
    };
    if !inits.is_empty() || random.one_in(8) {
        spec["initContainers"] = all(random, &inits, true);
    } else if random.one_in(30) {
        spec["initContainers"] = Value::Null;
    }
    spec["containers"] = all(random, &names, false);
    if spec["volumes"].is_null() && !volumes.as_array().is_some_and(Vec::is_empty) {
        spec["volumes"] = volumes;
    }
    rest_of_spec(random, &mut spec);
    if random.percent(20) {
        security::restrict(&mut spec);
    }
    if !clean {
        odd(random, &mut metadata, &mut spec);
    }
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
}

fn labels(random: &mut Random) -> Value {
    let mut labels = json!({"app": random.pick(&["web", "orders", "legacy"]), "pod-template-hash": "7d4b9c"});
    maybe(random, 30, &mut labels, "team", |_| json!("a"));
    labels
}

fn rest_of_spec(random: &mut Random, spec: &mut Value) {
    maybe(random, 50, spec, "terminationGracePeriodSeconds", |random| {
        random
            .pick(&[
                json!(30),
                json!(0),
                json!(1),
                json!(5),
                json!(90),
                json!(600),
                json!(3600),
                Value::Null,
            ])
            .clone()
    });
    maybe(random, 40, spec, "restartPolicy", |random| {
        json!(random.pick(&["Always", "Never", "OnFailure"]))
    });
    security::of_pod(random, spec);
    maybe(random, 8, spec, "shareProcessNamespace", |_| json!(true));
    maybe(random, 10, spec, "hostUsers", |random| json!(random.percent(30)));
    maybe(
        random,
        10,
        spec,
        "imagePullSecrets",
        |_| json!([{"name": "pull"}]),
    );
    maybe(random, 8, spec, "resources", |random| {
        random
            .pick(&[
                json!({"limits": {"cpu": 2, "memory": "4Gi"}, "requests": {"cpu": 2, "memory": "4Gi"}}),
                json!({"requests": {"cpu": "500m"}}),
                json!({"limits": {"memory": "4Gi"}}),
                json!({"limits": {"hugepages-2Mi": "4Mi"}}),
                json!({}),
            ])
            .clone()
    });
    maybe(random, 15, spec, "nodeSelector", |random| {
        random
            .pick(&[
                json!({"kubernetes.io/arch": "amd64"}),
                json!({"kubernetes.io/arch": "s390x"}),
                json!({"kubernetes.io/arch": "arm64"}),
                json!({"disk": "fast"}),
                json!({}),
            ])
            .clone()
    });
    maybe(random, 8, spec, "affinity", |random| {
        let arch = random.pick(&["amd64", "arm64", "riscv64"]);
        json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64", arch]}]}]}}})
    });
    maybe(random, 20, spec, "serviceAccountName", |_| json!("web"));
    maybe(random, 5, spec, "ephemeralContainers", |random| {
        random
            .pick(&[json!([]), json!([{"name": "debugger", "image": "busybox"}])])
            .clone()
    });
}

/// What must be left alone, and what nobody should send.
fn odd(random: &mut Random, metadata: &mut Value, spec: &mut Value) {
    if metadata["annotations"].is_null() {
        metadata["annotations"] = json!({});
    }
    let annotations = &mut metadata["annotations"];
    match random.below(16) {
        0 => annotations["kubernetes.io/config.mirror"] = json!("0123"),
        1 => annotations["kubernetes.io/config.source"] = json!(random.pick(&["file", "api"])),
        2 => {
            if metadata["labels"].is_null() {
                metadata["labels"] = json!({});
            }
            metadata["labels"]["app.kubernetes.io/managed-by"] = json!("kubectl-debug");
        }
        3 => spec["os"] = json!({"name": random.pick(&["windows", "linux"])}),
        4 => spec["nodeSelector"] = json!({"kubernetes.io/os": random.pick(&["windows", "linux"])}),
        5 => spec["securityContext"] = json!({"windowsOptions": {"hostProcess": true}}),
        6 => spec["containers"][0]["securityContext"] = json!({"windowsOptions": {"hostProcess": true}}),
        7 => spec["containers"] = random.pick(&[json!([]), Value::Null]).clone(),
        // Ours would be one too many.
        8 => annotations["example.com/large"] = json!("x".repeat((256 << 10) - 100 - random.below(900))),
        9 => {
            let name = random.pick(&["heapship-agent", "heapship-tools"]);
            spec["containers"][0]["name"] = json!(name);
        }
        10 => spec["hostNetwork"] = json!(true),
        11 => spec["hostPID"] = json!(true),
        _ => {}
    }
}
