//! The neighbours, as functions from a pod to a pod. Each leaves what it finds done.

use serde_json::{Value, json};

use k8s_openapi::api::core::v1::Pod;

/// Another injector.
pub(crate) struct Injector {
    pub(crate) name: &'static str,
    pub(crate) place: Place,
    pub(crate) change: fn(&Value) -> Value,
}

/// Where it stands against us.
pub(crate) enum Place {
    Anywhere,
    /// Always before, and possibly again.
    Before,
}

pub(crate) const NEIGHBOURS: [Injector; 11] = [
    at("a mesh with its proxy in front", |pod| mesh(pod, true)),
    at("a mesh with its proxy at the end", |pod| mesh(pod, false)),
    at("a mesh with a native sidecar", native_mesh),
    at("a mesh that names the default container", mesh_with_default),
    at("a proxy that nobody knows, in front", |pod| unknown(pod, true)),
    at("a proxy that nobody knows, at the end", |pod| unknown(pod, false)),
    at("a typed round trip", typed),
    at("OpenTelemetry", opentelemetry),
    at("a cloud identity", identity),
    at("Vault", vault),
    Injector {
        name: "the API server's defaults and a LimitRange",
        place: Place::Before,
        change: defaults,
    },
];

const fn at(name: &'static str, change: fn(&Value) -> Value) -> Injector {
    Injector {
        name,
        place: Place::Anywhere,
        change,
    }
}

/// A list of the pod's spec or of a container, made if need be.
fn list<'v>(parent: &'v mut Value, key: &str) -> &'v mut Vec<Value> {
    if !parent[key].is_array() {
        parent[key] = json!([]);
    }
    parent[key].as_array_mut().unwrap()
}

fn has(pod: &Value, key: &str, name: &str) -> bool {
    pod["spec"][key]
        .as_array()
        .is_some_and(|all| all.iter().any(|found| found["name"] == name))
}

fn is_a_pod(pod: &Value) -> bool {
    pod["spec"]["containers"]
        .as_array()
        .is_some_and(|all| !all.is_empty())
}

fn put(pod: &mut Value, key: &str, front: bool, element: Value) {
    let name = element["name"].as_str().unwrap().to_owned();
    if has(pod, key, &name) {
        return;
    }
    let elements = list(&mut pod["spec"], key);
    let at = if front { 0 } else { elements.len() };
    elements.insert(at, element);
}

fn proxy(name: &str) -> Value {
    json!({
        "name": name, "image": "registry.example/proxy:2",
        "env": [{"name": "PROXY_CONFIG", "value": "{}"}, {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
        "securityContext": {"runAsUser": 1337, "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
        "livenessProbe": {"tcpSocket": {"port": 15021}},
        "volumeMounts": [{"name": "mesh", "mountPath": "/etc/mesh"}],
    })
}

fn mesh(pod: &Value, front: bool) -> Value {
    let mut pod = pod.clone();
    if is_a_pod(&pod)
        && !has(&pod, "containers", "istio-proxy")
        && !has(&pod, "initContainers", "istio-proxy")
    {
        put(&mut pod, "containers", front, proxy("istio-proxy"));
        put(
            &mut pod,
            "initContainers",
            true,
            json!({"name": "istio-init", "image": "registry.example/proxy:2"}),
        );
        put(
            &mut pod,
            "volumes",
            false,
            json!({"name": "mesh", "emptyDir": {}}),
        );
    }
    pod
}

fn native_mesh(pod: &Value) -> Value {
    let mut pod = pod.clone();
    if is_a_pod(&pod) && !has(&pod, "containers", "istio-proxy") {
        let mut sidecar = proxy("istio-proxy");
        sidecar["restartPolicy"] = json!("Always");
        sidecar["startupProbe"] = json!({"tcpSocket": {"port": 15021}});
        put(&mut pod, "initContainers", true, sidecar);
        put(
            &mut pod,
            "volumes",
            false,
            json!({"name": "mesh", "emptyDir": {}}),
        );
    }
    pod
}

/// So that `kubectl logs` shows the application and not the proxy.
fn mesh_with_default(pod: &Value) -> Value {
    let first = pod["spec"]["containers"][0]["name"].clone();
    let mut pod = mesh(pod, false);
    if is_a_pod(&pod) && first != "istio-proxy" && pod["metadata"]["annotations"].is_object() {
        let annotations = &mut pod["metadata"]["annotations"];
        if annotations["kubectl.kubernetes.io/default-container"].is_null() {
            annotations["kubectl.kubernetes.io/default-container"] = first;
        }
    }
    pod
}

fn unknown(pod: &Value, front: bool) -> Value {
    let mut pod = pod.clone();
    if is_a_pod(&pod) {
        put(&mut pod, "containers", front, proxy("proxy-of-tomorrow"));
        put(&mut pod, "volumes", true, json!({"name": "mesh", "emptyDir": {}}));
    }
    pod
}

/// Members that this type does not know are lost, as in any webhook that is built on older ones.
fn typed(pod: &Value) -> Value {
    let decoded = serde_json::from_value::<Pod>(pod.clone());
    decoded
        .ok()
        .and_then(|pod| serde_json::to_value(pod).ok())
        .unwrap_or_else(|| pod.clone())
}

pub(super) fn decodes(pod: &Value) -> bool {
    serde_json::from_value::<Pod>(pod.clone()).is_ok()
}

fn opentelemetry(pod: &Value) -> Value {
    const AGENT: &str = " -javaagent:/otel-auto-instrumentation-java/javaagent.jar";
    let mut pod = pod.clone();
    if !is_a_pod(&pod) || has(&pod, "initContainers", "opentelemetry-auto-instrumentation-java") {
        return pod;
    }
    let container = &mut pod["spec"]["containers"][0];
    let entries = list(container, "env");
    match entries
        .iter()
        .rposition(|entry| entry["name"] == "JAVA_TOOL_OPTIONS")
    {
        None => entries.push(json!({"name": "JAVA_TOOL_OPTIONS", "value": AGENT})),
        Some(at) if entries[at]["valueFrom"].is_null() => {
            let text = entries[at]["value"].as_str().unwrap_or_default();
            entries[at]["value"] = json!(format!("{text}{AGENT}"));
        }
        Some(_) => {}
    }
    list(container, "volumeMounts")
        .push(json!({"name": "otel", "mountPath": "/otel-auto-instrumentation-java"}));
    put(
        &mut pod,
        "volumes",
        false,
        json!({"name": "otel", "emptyDir": {"sizeLimit": "200Mi"}}),
    );
    put(
        &mut pod,
        "initContainers",
        false,
        json!({"name": "opentelemetry-auto-instrumentation-java", "image": "registry.example/otel:1"}),
    );
    pod
}

/// As the cloud's own webhook does it: in every container, ours among them; the volume in front of all others.
fn identity(pod: &Value) -> Value {
    let mut pod = pod.clone();
    if !is_a_pod(&pod) {
        return pod;
    }
    put(
        &mut pod,
        "volumes",
        true,
        json!({"name": "aws-iam-token", "projected": {"sources": []}}),
    );
    for kind in ["initContainers", "containers"] {
        for container in pod["spec"][kind].as_array_mut().into_iter().flatten() {
            let entries = list(container, "env");
            for (name, value) in [
                ("AWS_ROLE_ARN", "arn:aws:iam::1:role/r"),
                ("AWS_WEB_IDENTITY_TOKEN_FILE", "/var/run/secrets/eks/token"),
            ] {
                if !entries.iter().any(|entry| entry["name"] == name) {
                    entries.push(json!({"name": name, "value": value}));
                }
            }
            let mounts = list(container, "volumeMounts");
            if !mounts.iter().any(|mount| mount["name"] == "aws-iam-token") {
                mounts.push(
                    json!({"name": "aws-iam-token", "mountPath": "/var/run/secrets/eks", "readOnly": true}),
                );
            }
        }
    }
    pod
}

fn vault(pod: &Value) -> Value {
    let mut pod = pod.clone();
    if !is_a_pod(&pod) || has(&pod, "initContainers", "vault-agent-init") {
        return pod;
    }
    for container in pod["spec"]["containers"].as_array_mut().into_iter().flatten() {
        list(container, "volumeMounts").push(json!({"name": "vault-secrets", "mountPath": "/vault/secrets"}));
    }
    put(
        &mut pod,
        "volumes",
        false,
        json!({"name": "vault-secrets", "emptyDir": {"medium": "Memory"}}),
    );
    put(
        &mut pod,
        "initContainers",
        true,
        json!({"name": "vault-agent-init", "image": "registry.example/vault:1"}),
    );
    put(
        &mut pod,
        "containers",
        false,
        json!({"name": "vault-agent", "image": "registry.example/vault:1", "lifecycle": {"preStop": {"exec": {"command": ["sh"]}}}}),
    );
    if pod["metadata"]["annotations"].is_object() {
        pod["metadata"]["annotations"]["vault.hashicorp.com/agent-inject-status"] = json!("injected");
    }
    pod
}

fn defaults(pod: &Value) -> Value {
    let mut pod = pod.clone();
    if !is_a_pod(&pod) {
        return pod;
    }
    let fill = |object: &mut Value, key: &str, value: Value| {
        if object[key].is_null() {
            object[key] = value;
        }
    };
    let pod_level = pod["spec"]["resources"].is_object();
    fill(&mut pod["spec"], "terminationGracePeriodSeconds", json!(30));
    fill(&mut pod["spec"], "restartPolicy", json!("Always"));
    for kind in ["initContainers", "containers"] {
        for container in pod["spec"][kind].as_array_mut().into_iter().flatten() {
            fill(container, "terminationMessagePath", json!("/dev/termination-log"));
            fill(container, "imagePullPolicy", json!("IfNotPresent"));
            for probe in ["livenessProbe", "startupProbe", "readinessProbe"] {
                if container[probe].is_object() {
                    fill(&mut container[probe], "periodSeconds", json!(10));
                    fill(&mut container[probe], "failureThreshold", json!(3));
                }
            }
            if pod_level {
                continue;
            }
            fill(container, "resources", json!({}));
            for resources in ["limits", "requests"] {
                fill(&mut container["resources"], resources, json!({}));
            }
            for (name, amount) in [("cpu", "2"), ("memory", "512Gi")] {
                fill(&mut container["resources"]["limits"], name, json!(amount));
                fill(&mut container["resources"]["requests"], name, json!("1m"));
            }
        }
    }
    pod
}
