//! The Pod Security Standards, latest version, over the whole pod: a container of ours that met less than the pod did would
//! have the pod rejected, in the validating phase, whatever the failurePolicy says.

use serde_json::Value;

use super::{Faults, containers};
use crate::case::Trial;

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Level {
    Privileged,
    Baseline,
    Restricted,
}

pub(super) fn check(trial: &Trial<'_>, faults: &mut Faults) {
    if trial.case.copy {
        return;
    }
    let (before, after) = (level(trial.before()), level(trial.after()));
    if before != after {
        faults.push(format!("the pod met {before:?} and meets {after:?}"));
    }
}

/// The strictest level that a pod meets.
pub(crate) fn level(pod: &Value) -> Level {
    if !baseline(pod) {
        Level::Privileged
    } else if !restricted(pod) {
        Level::Baseline
    } else {
        Level::Restricted
    }
}

const ADDABLE: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];
const SELINUX_TYPES: [&str; 5] = [
    "",
    "container_t",
    "container_init_t",
    "container_kvm_t",
    "container_engine_t",
];
const RESTRICTED_VOLUMES: [&str; 9] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

fn all(pod: &Value) -> Vec<&Value> {
    let ephemeral = pod["spec"]["ephemeralContainers"]
        .as_array()
        .into_iter()
        .flatten();
    containers(pod)
        .map(|(container, _)| container)
        .chain(ephemeral)
        .collect()
}

/// The pod's security context and those of all containers.
fn contexts(pod: &Value) -> Vec<&Value> {
    let own = all(pod)
        .into_iter()
        .map(|container| &container["securityContext"]);
    std::iter::once(&pod["spec"]["securityContext"])
        .chain(own)
        .collect()
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

fn user_namespace(pod: &Value) -> bool {
    pod["spec"]["hostUsers"] == false
}

fn baseline(pod: &Value) -> bool {
    let spec = &pod["spec"];
    let host = ["hostNetwork", "hostPID", "hostIPC"]
        .iter()
        .any(|key| spec[key] == true);
    let volumes = spec["volumes"].as_array().into_iter().flatten();
    let host_paths = volumes.into_iter().any(|volume| volume["hostPath"].is_object());
    let handlers = all(pod).into_iter().flat_map(|container| {
        let probes = ["livenessProbe", "readinessProbe", "startupProbe"].map(|probe| &container[probe]);
        let hooks = ["postStart", "preStop"].map(|hook| &container["lifecycle"][hook]);
        probes.into_iter().chain(hooks)
    });
    let hosts = handlers
        .flat_map(|handler| ["httpGet", "tcpSocket"].map(|kind| &handler[kind]["host"]))
        .any(|host| host.as_str().is_some_and(|host| !host.is_empty()));
    let context = |context: &Value| {
        let selinux = &context["seLinuxOptions"];
        let empty = |key: &str| selinux[key].as_str().unwrap_or_default().is_empty();
        context["privileged"] != true
            && context["windowsOptions"]["hostProcess"] != true
            && texts(&context["capabilities"]["add"])
                .iter()
                .all(|added| ADDABLE.contains(added))
            && context["seccompProfile"]["type"] != "Unconfined"
            && context["appArmorProfile"]["type"] != "Unconfined"
            && SELINUX_TYPES.contains(&selinux["type"].as_str().unwrap_or_default())
            && empty("user")
            && empty("role")
            && (user_namespace(pod) || matches!(context["procMount"].as_str(), None | Some("Default")))
    };
    let ports = all(pod)
        .into_iter()
        .flat_map(|container| container["ports"].as_array().into_iter().flatten());
    let host_ports = ports
        .into_iter()
        .any(|port| port["hostPort"].as_u64().unwrap_or(0) != 0);
    !host && !host_paths && !hosts && !host_ports && contexts(pod).into_iter().all(context)
}

fn restricted(pod: &Value) -> bool {
    let of_pod = &pod["spec"]["securityContext"];
    let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
    let kinds = |volume: &Value| {
        let members = volume.as_object().into_iter().flatten();
        members
            .filter(|(key, kind)| *key != "name" && !kind.is_null())
            .all(|(key, _)| RESTRICTED_VOLUMES.contains(&key.as_str()))
    };
    let confined = |profile: &Value| matches!(profile["type"].as_str(), Some("RuntimeDefault" | "Localhost"));
    let container = |container: &&Value| {
        let own = &container["securityContext"];
        let non_root = if own["runAsNonRoot"].is_null() {
            &of_pod["runAsNonRoot"]
        } else {
            &own["runAsNonRoot"]
        };
        let seccomp = if own["seccompProfile"].is_null() {
            &of_pod["seccompProfile"]
        } else {
            &own["seccompProfile"]
        };
        own["allowPrivilegeEscalation"] == false
            && texts(&own["capabilities"]["drop"]).contains(&"ALL")
            && texts(&own["capabilities"]["add"])
                .iter()
                .all(|added| *added == "NET_BIND_SERVICE")
            && (user_namespace(pod) || *non_root == true)
            && confined(seccomp)
            && matches!(own["procMount"].as_str(), None | Some("Default"))
    };
    let no_root = user_namespace(pod) || contexts(pod).iter().all(|context| context["runAsUser"] != 0);
    volumes.into_iter().all(kinds) && no_root && all(pod).iter().all(container)
}

#[test]
fn knows_the_three_levels() {
    let mut pod = serde_json::json!({"spec": {
        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}],
    }});
    assert_eq!(level(&pod), Level::Restricted);
    pod["spec"]["initContainers"] = serde_json::json!([{}]);
    assert_eq!(level(&pod), Level::Baseline);
    pod["spec"]["initContainers"][0]["lifecycle"] =
        serde_json::json!({"preStop": {"httpGet": {"host": "x"}}});
    assert_eq!(level(&pod), Level::Privileged);
}
