//! Volumes and where they are mounted, ours already taken among them.

use serde_json::{Value, json};

use crate::random::Random;

pub(super) fn volumes(random: &mut Random, clean: bool) -> Value {
    let known = [
        json!({"name": "data", "emptyDir": {}}),
        json!({"name": "memory", "emptyDir": {"medium": "Memory"}}),
        json!({"name": "config", "configMap": {"name": "config"}}),
        json!({"name": "secret", "secret": {"secretName": "s"}}),
        json!({"name": "claim", "persistentVolumeClaim": {"claimName": "c"}}),
        json!({"name": "sealed", "persistentVolumeClaim": {"claimName": "s", "readOnly": true}}),
        json!({"name": "tokens", "projected": {"sources": []}}),
        json!({"name": "future", "ofTomorrow": {"kept": [1, {"x": null}]}}),
    ];
    let mut volumes: Vec<Value> = random.some(&known, 45).into_iter().cloned().collect();
    if random.one_in(15) {
        volumes.push(json!({"name": "host", "hostPath": {"path": "/var/dumps"}}));
    }
    if !clean && random.one_in(6) {
        let name = random.pick(&[
            "heapship-dumps",
            "heapship-tools",
            "heapship-no-token",
            "heapship-store",
        ]);
        volumes.push(json!({"name": name, "configMap": {"name": "users"}}));
    }
    json!(volumes)
}

pub(super) fn mounts(random: &mut Random, container: &mut Value, volumes: &Value, clean: bool) {
    // A volume of our name at our path is ours by every sign there is.
    let users = |volume: &&Value| {
        !volume["name"]
            .as_str()
            .is_some_and(|name| name.starts_with("heapship"))
    };
    let names: Vec<&Value> = volumes
        .as_array()
        .into_iter()
        .flatten()
        .filter(users)
        .map(|volume| &volume["name"])
        .collect();
    let mut mounts: Vec<Value> = Vec::new();
    let mut paths = vec!["/data", "/data/logs", "/tmp", "/etc/app", "/cache/"];
    if !clean && random.one_in(4) {
        paths = vec!["/heapship", "/heapship/dumps", "/heapship/tools/", "/data"];
    }
    for path in paths {
        if names.is_empty() || !random.percent(35) {
            continue;
        }
        let mut mount = json!({"name": random.pick(&names), "mountPath": path});
        match random.below(14) {
            0 => mount["readOnly"] = json!(true),
            1 => mount["subPath"] = json!("logs"),
            2 => mount["subPathExpr"] = json!("$(POD_NAME)/logs"),
            3 => {
                let expression = random.pick(&["$(OTHER)", "$(POD_NAME)", "$(JAVA_TOOL_OPTIONS)"]);
                mount["subPathExpr"] = json!(expression);
            }
            4 => mount["mountPropagation"] = json!("None"),
            5 => mount["ofTomorrow"] = json!({"x": []}),
            _ => {}
        }
        mounts.push(mount);
    }
    if !mounts.is_empty() {
        container["volumeMounts"] = json!(mounts);
    } else if random.one_in(4) {
        container["volumeMounts"] = random.pick(&[json!([]), Value::Null]).clone();
    }
}
