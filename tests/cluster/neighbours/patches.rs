//! How each makes its patch.

use json_patch::{Patch, diff};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

const IMAGE: &str = "localhost/heapship-test/jvm-17:1";

pub fn azure_identity(pod: &Value) -> Patch {
    let mut new = typed(pod);
    for list in ["initContainers", "containers"] {
        for container in elements(&mut new["spec"][list]) {
            set(
                &mut container["env"],
                json!({"name": "AZURE_CLIENT_ID", "value": "7d3c2f6a"}),
            );
            let path = "/var/run/secrets/azure/tokens";
            set(
                &mut container["volumeMounts"],
                json!({"name": "azure-identity-token", "mountPath": path, "readOnly": true}),
            );
        }
    }
    set(
        &mut new["spec"]["volumes"],
        token("azure-identity-token", "api://AzureADTokenExchange"),
    );
    // What its types do not know is taken away.
    diff(pod, &new)
}

pub fn istio(pod: &Value) -> Patch {
    let old = typed(pod);
    let mut new = old.clone();
    let own = ["istio-init", "istio-proxy"];
    let list = elements(&mut new["spec"]["initContainers"]);
    list.retain(|container| !own.iter().any(|name| container["name"] == *name));
    list.insert(
        0,
        json!({"name": "istio-init", "image": IMAGE, "command": ["true"]}),
    );
    list.insert(1, proxy("istio-proxy"));
    new["metadata"]["annotations"]["sidecar.istio.io/status"] = json!("{\"revision\":\"default\"}");
    // From one typed pod to another: what the types do not know stays, wherever it then belongs.
    diff(&old, &new)
}

/// `at` is an index of a list, as JSON Pointer has it.
pub fn linkerd(pod: &Value, at: &str) -> Patch {
    let mut operations = Vec::new();
    if pod["spec"]["initContainers"].is_null() {
        operations.push(add("/spec/initContainers", &json!([])));
    }
    if pod["metadata"]["annotations"].is_null() {
        operations.push(add("/metadata/annotations", &json!({})));
    }
    operations.push(add(
        &format!("/spec/initContainers/{at}"),
        &proxy("linkerd-proxy"),
    ));
    operations.push(add(
        "/metadata/annotations/linkerd.io~1proxy-version",
        &json!("edge-26.11.1"),
    ));
    patch(&operations)
}

pub fn odigos(pod: &Value) -> Patch {
    let mut new = pod.clone();
    for container in elements(&mut new["spec"]["containers"]) {
        let list = elements(&mut container["env"]);
        match list.iter_mut().find(|entry| entry["name"] == "JAVA_TOOL_OPTIONS") {
            Some(entry) if entry["valueFrom"].is_object() => {
                entry["name"] = json!("ORIGINAL_JAVA_TOOL_OPTIONS");
                list.push(
                    json!({"name": "JAVA_TOOL_OPTIONS", "value": "$(ORIGINAL_JAVA_TOOL_OPTIONS) -Dodigos=1"}),
                );
            }
            Some(entry) => append(entry, " -Dodigos=1"),
            None => list.push(json!({"name": "JAVA_TOOL_OPTIONS", "value": "-Dodigos=1"})),
        }
    }
    diff(pod, &new)
}

pub fn opentelemetry(pod: &Value) -> Patch {
    let mut new = pod.clone();
    let volume =
        json!({"name": "opentelemetry-auto-instrumentation-java", "emptyDir": {"sizeLimit": "200Mi"}});
    let mount = json!({"name": "opentelemetry-auto-instrumentation-java", "mountPath": "/otel-auto-instrumentation-java"});
    set(&mut new["spec"]["volumes"], volume);
    let copies = json!({
        "name": "opentelemetry-auto-instrumentation-java", "image": IMAGE,
        "command": ["cp", "/app/Options.class", "/otel-auto-instrumentation-java/javaagent.jar"], "volumeMounts": [mount],
    });
    set(&mut new["spec"]["initContainers"], copies);
    let container = &mut new["spec"]["containers"][0];
    let list = elements(&mut container["env"]);
    match list.iter_mut().find(|entry| entry["name"] == "JAVA_TOOL_OPTIONS") {
        // It gives up on the container, but what it has added stays.
        Some(entry) if entry["valueFrom"].is_object() => {}
        Some(entry) => append(entry, " -Dotel=1"),
        None => list.push(json!({"name": "JAVA_TOOL_OPTIONS", "value": " -Dotel=1"})),
    }
    set(&mut container["volumeMounts"], mount);
    diff(pod, &new)
}

pub fn eks_identity(pod: &Value) -> Patch {
    let mut new = old_types(&typed(pod));
    let mut operations = Vec::new();
    for list in ["initContainers", "containers"] {
        if !new["spec"][list].is_array() {
            continue;
        }
        for container in elements(&mut new["spec"][list]) {
            set(
                &mut container["env"],
                json!({"name": "AWS_WEB_IDENTITY_TOKEN_FILE", "value": "/var/run/secrets/eks/token"}),
            );
            set(
                &mut container["volumeMounts"],
                json!({"name": "aws-iam-token", "mountPath": "/var/run/secrets/eks", "readOnly": true}),
            );
        }
        operations.push(add(&format!("/spec/{list}"), &new["spec"][list]));
    }
    let volume = token("aws-iam-token", "sts.amazonaws.com");
    operations.push(if pod["spec"]["volumes"].is_array() {
        add("/spec/volumes/0", &volume)
    } else {
        add("/spec/volumes", &json!([volume]))
    });
    patch(&operations)
}

pub fn vault(pod: &Value) -> Patch {
    let mut all = vec![json!({"name": "vault-agent-init", "image": IMAGE, "command": ["true"]})];
    all.extend(
        typed(pod)["spec"]["initContainers"]
            .as_array()
            .cloned()
            .unwrap_or_default(),
    );
    let mut operations = Vec::new();
    if pod["spec"]["initContainers"].is_array() {
        operations.push(json!({"op": "remove", "path": "/spec/initContainers"}));
    }
    operations.push(add("/spec/initContainers", &json!(all)));
    if pod["metadata"]["annotations"].is_null() {
        operations.push(add("/metadata/annotations", &json!({})));
    }
    operations.push(add(
        "/metadata/annotations/vault.hashicorp.com~1agent-inject-status",
        &json!("injected"),
    ));
    patch(&operations)
}

pub fn strips_restart_policy(pod: &Value) -> Patch {
    let mut new = pod.clone();
    for container in elements(&mut new["spec"]["initContainers"]) {
        container
            .as_object_mut()
            .map(|members| members.shift_remove("restartPolicy"));
    }
    diff(pod, &new)
}

pub fn reorders(pod: &Value) -> Patch {
    let mut new = pod.clone();
    for list in ["initContainers", "containers"] {
        elements(&mut new["spec"][list]).reverse();
    }
    diff(pod, &new)
}

pub fn drops_flags(pod: &Value) -> Patch {
    let mut new = pod.clone();
    for container in elements(&mut new["spec"]["containers"]) {
        for entry in elements(&mut container["env"]) {
            if entry["name"] == "JAVA_TOOL_OPTIONS" {
                *entry = json!({"name": "JAVA_TOOL_OPTIONS", "value": "-Dtheirs=1"});
            }
        }
    }
    diff(pod, &new)
}

/// Through types that know all of this Kubernetes and nothing besides.
fn typed(pod: &Value) -> Value {
    let pod: Pod = serde_json::from_value(pod.clone()).unwrap();
    serde_json::to_value(pod).unwrap()
}

/// As structs of 1.27 would leave it: no native sidecars, nor what came later.
fn old_types(pod: &Value) -> Value {
    let mut pod = pod.clone();
    for list in ["initContainers", "containers"] {
        for container in elements(&mut pod["spec"][list]) {
            for key in ["restartPolicy", "restartPolicyRules"] {
                container.as_object_mut().map(|members| members.shift_remove(key));
            }
            for entry in elements(&mut container["env"]) {
                if let Some(source) = entry["valueFrom"].as_object_mut() {
                    source.shift_remove("fileKeyRef");
                }
            }
        }
    }
    pod
}

fn proxy(name: &str) -> Value {
    let waits = "trap 'exit 0' TERM; while :; do sleep 1; done";
    json!({"name": name, "image": IMAGE, "restartPolicy": "Always", "command": ["sh", "-c", waits]})
}

fn token(name: &str, audience: &str) -> Value {
    let source =
        json!({"serviceAccountToken": {"audience": audience, "expirationSeconds": 86400, "path": "token"}});
    json!({"name": name, "projected": {"sources": [source]}})
}

fn append(entry: &mut Value, text: &str) {
    entry["value"] = json!(format!("{}{text}", entry["value"].as_str().unwrap_or_default()));
}

/// A list, made where there is none.
fn elements(list: &mut Value) -> &mut Vec<Value> {
    if !list.is_array() {
        *list = json!([]);
    }
    list.as_array_mut().unwrap()
}

/// Adds an element unless one of its name is there.
fn set(list: &mut Value, element: Value) {
    let list = elements(list);
    if !list.iter().any(|found| found["name"] == element["name"]) {
        list.push(element);
    }
}

fn add(path: &str, value: &Value) -> Value {
    json!({"op": "add", "path": path, "value": value})
}

fn patch(operations: &[Value]) -> Patch {
    serde_json::from_value(json!(operations)).unwrap()
}
