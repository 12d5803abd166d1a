//! Regular containers, init containers, native sidecars, proxies of a mesh.

use serde_json::{Value, json};

use super::{environment, hooks, of_tomorrow, security, volumes};
use crate::random::{Random, maybe};

pub(super) fn regular_names(random: &mut Random) -> Vec<String> {
    let mut names: Vec<String> = random
        .some(&["app", "worker", "web"], 60)
        .into_iter()
        .map(|name| (*name).to_owned())
        .collect();
    if random.one_in(12) {
        // As long as a label may be.
        names.push("a-container-with-a-name-that-is-as-long-as-kubernetes-allows-it".to_owned());
    }
    if names.is_empty() && random.percent(85) {
        names.push("app".to_owned());
    }
    if random.percent(20) || names.is_empty() {
        let proxy = (*random.pick(&["istio-proxy", "linkerd-proxy", "fluent-bit"])).to_owned();
        names.insert(random.below(names.len() + 1), proxy);
    }
    names
}

pub(super) fn init_names(random: &mut Random) -> Vec<String> {
    if random.percent(45) {
        return Vec::new();
    }
    let names = random.some(&["migrate", "warm-up", "istio-init", "log-shipper"], 55);
    names.into_iter().map(|name| (*name).to_owned()).collect()
}

pub(super) fn container(random: &mut Random, name: &str, volumes: &Value, init: bool, clean: bool) -> Value {
    let mut container = json!({"name": name, "image": format!("registry.example/{}:1", random.pick(&["app", "app", "app", "worker", "worker", "elasticsearch"]))});
    maybe(random, 15, &mut container, "imagePullPolicy", |random| {
        json!(random.pick(&["Always", "IfNotPresent"]))
    });
    if init && (name == "log-shipper" || random.one_in(6)) {
        container["restartPolicy"] = json!("Always");
    }
    environment::of_container(random, &mut container, clean);
    maybe(random, 45, &mut container, "command", |random| {
        random
            .pick(&[
                json!(["java", "-XX:+HeapDumpOnOutOfMemoryError", "-jar", "/app.jar"]),
                json!(["java", "-XX:HeapDumpPath=/data/of-the-command.hprof", "Main"]),
                json!(["java", "-XX:HeapDumpPath=/var/lost", "Main"]),
                json!(["sh", "-c", "exec java $JAVA_OPTS -jar it's.jar"]),
                json!(["java", "$(JDK_JAVA_OPTIONS)", "$$(NOT_A_REFERENCE)", "$(UNKNOWN)"]),
                json!(["/launch"]),
                json!(["env", "-u", "JAVA_TOOL_OPTIONS", "java", "Main"]),
                json!([]),
                Value::Null,
            ])
            .clone()
    });
    maybe(random, 30, &mut container, "args", |random| {
        random
            .pick(&[
                json!(["-jar", "app.jar"]),
                json!(["--name=$(POD_NAME)", "$(OTHER)"]),
                json!(["$(JAVA_TOOL_OPTIONS)"]),
                json!(["-XX:-HeapDumpOnOutOfMemoryError"]),
                json!([]),
            ])
            .clone()
    });
    volumes::mounts(random, &mut container, volumes, clean);
    maybe(random, 55, &mut container, "resources", resources);
    security::of_container(random, &mut container);
    if !init || container["restartPolicy"] == "Always" {
        hooks::of_container(random, &mut container);
    }
    maybe(random, 10, &mut container, "workingDir", |random| {
        json!(random.pick(&["/data/app", "/work", "/"]))
    });
    maybe(random, 4, &mut container, "ofTomorrow", of_tomorrow);
    container
}

/// Often the same for all containers of a pod: or a class that needs all of them would never come.
fn resources(random: &mut Random) -> Value {
    let full =
        json!({"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1000m", "memory": "1024Mi"}});
    random
        .pick(&[
            full.clone(),
            full.clone(),
            full,
            json!({"limits": {"cpu": 1, "memory": "8Gi"}}),
            json!({"limits": {"cpu": "1.5", "memory": 1_073_741_824}}),
            json!({"requests": {"memory": "1Gi"}}),
            json!({"requests": {"cpu": "100m"}, "limits": {"memory": "64Gi"}}),
            json!({"requests": {"cpu": "100000000n"}}),
            json!({"requests": {"cpu": "0.5000", "memory": "1Gi"}, "limits": {"cpu": "500m", "memory": "1Gi"}}),
            json!({"requests": {"cpu": "0", "memory": "0"}}),
            json!({"requests": {"ephemeral-storage": "1Gi"}, "limits": {"ephemeral-storage": "2Gi"}}),
            json!({}),
            Value::Null,
        ])
        .clone()
}
