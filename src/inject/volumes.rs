//! Where dumps are written, and what the application's own mounts say about a path.

use serde_json::{Value, json};

use crate::inject::containers::{Foreign, Target};
use crate::inject::plan::Plan;
use crate::inject::pod::{bears_our_name, carries_injection, is_left_over, is_ours};
use crate::inject::reasons::Skip;
use crate::names::{self, variable};
use crate::quantity::Bytes;
use crate::settings::Volume;

/// Where a user's own path leads.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Writable {
    /// Below our own mount.
    Ours,
    /// A volume of the pod.
    Foreign(Foreign),
}

/// Looks for volumes and containers of the pod's own with names of ours, also such as are not needed this time: nobody could
/// tell later whose they are, and a second call, which may need them, would decide otherwise than the first.
///
/// # Errors
/// [`Skip::NameTaken`].
pub(super) fn names_are_free(pod: &Value) -> Result<(), Skip> {
    let mut containers = ["initContainers", "containers", "ephemeralContainers"]
        .into_iter()
        .filter_map(|kind| pod["spec"][kind].as_array())
        .flatten();
    if let Some(found) = containers.find(|found| bears_our_name(found) && !is_ours(found)) {
        return Err(Skip::NameTaken {
            kind: "a container",
            name: found["name"].as_str().unwrap_or_default().to_owned(),
        });
    }
    let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
    let taken =
        |name: &str| names::VOLUMES.contains(&name) && !carries_injection(pod) && !is_left_over(pod, name);
    match volumes
        .filter_map(|volume| volume["name"].as_str())
        .find(|name| taken(name))
    {
        Some(name) => Err(Skip::NameTaken {
            kind: "a volume",
            name: name.to_owned(),
        }),
        None => Ok(()),
    }
}

/// Adds the dump volume and mounts it in the targets.
///
/// # Errors
/// [`Skip::NameTaken`], [`Skip::PathTaken`].
pub(super) fn dumps(plan: &mut Plan<'_>) -> Result<(), Skip> {
    let source = match &plan.settings.volume {
        Volume::EmptyDir { size_limit: None } => json!({"emptyDir": {}}),
        Volume::EmptyDir {
            size_limit: Some(limit),
        } => json!({"emptyDir": {"sizeLimit": limit.to_string()}}),
        Volume::Claim { name } => json!({"persistentVolumeClaim": {"claimName": name}}),
        Volume::Ephemeral { class, size } => json!({"ephemeral": {"volumeClaimTemplate": {"spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": class,
            "resources": {"requests": {"storage": size.to_string()}},
        }}}}),
    };
    plan.volume(names::DUMPS_VOLUME, &source)?;
    let shared = matches!(plan.settings.volume, Volume::Claim { .. });
    for target in plan.targets.clone() {
        let Target { name, .. } = &target;
        let mut mount = json!({"name": names::DUMPS_VOLUME, "mountPath": names::DUMPS_PATH});
        if shared {
            // The kubelet resolves the expression from variables of the same container.
            plan.downward_variable(name, variable::POD_UID, "metadata.uid");
            mount["subPathExpr"] = json!(format!("$({})/{name}", variable::POD_UID));
        } else {
            mount["subPath"] = json!(name);
        }
        plan.mount(name, mount)?;
    }
    plan.step(
        "dumps-volume",
        format!(
            "dumps are written to {} on volume {}",
            names::DUMPS_PATH,
            describe(&source)
        ),
    );
    warn_of_a_small_limit(plan);
    warn_of_a_foreign_owner(plan);
    Ok(())
}

/// Adds the volume with the static binary, and mounts it where a hook needs it.
///
/// # Errors
/// [`Skip::NameTaken`], [`Skip::PathTaken`].
pub(super) fn tools(plan: &mut Plan<'_>, mounted_in: &[String]) -> Result<(), Skip> {
    plan.volume(names::TOOLS_VOLUME, &json!({"emptyDir": {}}))?;
    for container in mounted_in {
        let mount = json!({"name": names::TOOLS_VOLUME, "mountPath": names::TOOLS_PATH, "readOnly": true});
        plan.mount(container, mount)?;
    }
    Ok(())
}

/// Looks a path of the application up among its mounts.
///
/// `None`: not on a volume, or on one that cannot be written or found again. A mount by `subPathExpr` depends on the
/// application's variables, so the agent could not mount the same folder.
pub(super) fn writable(pod: &Value, container: &Value, path: &str) -> Option<Writable> {
    let path = if path.starts_with('/') {
        path.to_owned()
    } else {
        // Relative to the working directory; the image's own is not known here.
        format!(
            "{}/{path}",
            container["workingDir"].as_str()?.trim_end_matches('/')
        )
    };
    // What the kubelet, a shell or JDK 25 would still replace is a name that the agent cannot know.
    if path.split('/').any(|segment| segment == "..") || path.contains(['$', '`', '%']) {
        return None;
    }
    let below = |mount: &str| {
        let mount = mount.trim_end_matches('/');
        path.strip_prefix(mount)
            .filter(|rest| rest.is_empty() || rest.starts_with('/'))
            .map(str::to_owned)
    };
    if below(names::DUMPS_PATH).is_some() {
        return Some(Writable::Ours);
    }
    let mounts = container["volumeMounts"].as_array()?;
    let (mount, rest) = mounts
        .iter()
        .filter_map(|mount| Some((mount, below(mount["mountPath"].as_str()?)?)))
        .min_by_key(|(_, rest)| rest.len())?;
    let volume = mount["name"].as_str()?;
    let source = pod["spec"]["volumes"]
        .as_array()?
        .iter()
        .find(|found| found["name"] == volume)?;
    let read_only_kind = ["configMap", "secret", "downwardAPI", "projected", "image"];
    let has = |kind: &str| source.get(kind).is_some_and(|kind| !kind.is_null());
    let read_only_source = source
        .as_object()
        .is_some_and(|kinds| kinds.values().any(|kind| kind["readOnly"] == true));
    let cannot = mount["readOnly"] == true
        || mount["subPathExpr"].is_string()
        || read_only_source
        // Charged to the container's memory: a dump into one is killed halfway.
        || source["emptyDir"]["medium"] == "Memory"
        || read_only_kind.into_iter().any(has);
    (!cannot).then(|| {
        Writable::Foreign(Foreign {
            volume: volume.to_owned(),
            sub_path: mount["subPath"].as_str().map(str::to_owned),
            path: rest.trim_matches('/').to_owned(),
        })
    })
}

/// A claim's root belongs to root unless an fsGroup says otherwise; an emptyDir is open to all.
fn warn_of_a_foreign_owner(plan: &mut Plan<'_>) {
    if matches!(plan.settings.volume, Volume::EmptyDir { .. }) {
        return;
    }
    let security = &plan.pod["spec"]["securityContext"];
    if security["fsGroup"].is_null() && security["runAsUser"] != 0 {
        let said = "the claim's root may belong to root: set securityContext.fsGroup, or the JVM cannot write its dump";
        plan.warn("volume-not-writable", said.to_owned());
    }
}

/// An emptyDir that overflows evicts the pod, and the dump goes with it.
fn warn_of_a_small_limit(plan: &mut Plan<'_>) {
    let Volume::EmptyDir {
        size_limit: Some(limit),
    } = &plan.settings.volume
    else {
        return;
    };
    let limit = *limit;
    let memory = plan
        .targets
        .iter()
        .filter_map(|target| memory_limit(plan.pod, &target.name))
        .max();
    // A dump is up to 1.8 times the heap, and JDK 22 and later write it twice.
    let Some(Bytes(memory)) = memory else { return };
    let peak = Bytes(memory.saturating_mul(4));
    if limit < peak {
        let said = format!(
            "volume emptyDir:{limit} is below the largest dump's peak of {peak}: overfull, it evicts the pod and loses the dump"
        );
        plan.warn("volume-too-small", said);
    }
}

/// A container's memory limit.
pub(super) fn memory_limit(pod: &Value, container: &str) -> Option<Bytes> {
    let place = super::pod::container_place(pod, container)?;
    match &place.of(pod)?["resources"]["limits"]["memory"] {
        Value::String(text) => Bytes::parse(text).ok(),
        Value::Number(number) => number.as_u64().map(Bytes),
        _ => None,
    }
}

fn describe(source: &Value) -> String {
    let kind = source
        .as_object()
        .and_then(|source| source.keys().next().cloned())
        .unwrap_or_default();
    format!("{} ({kind})", names::DUMPS_VOLUME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_volume_under_a_path() {
        let pod = json!({"spec": {"volumes": [
            {"name": "data", "persistentVolumeClaim": {"claimName": "d"}},
            {"name": "conf", "configMap": {"name": "c"}},
            {"name": "tmp", "emptyDir": {"medium": "Memory"}},
            {"name": "sealed", "persistentVolumeClaim": {"claimName": "s", "readOnly": true}},
        ]}});
        let container = json!({"workingDir": "/data/app", "volumeMounts": [
            {"name": "data", "mountPath": "/data/", "subPath": "one"},
            {"name": "conf", "mountPath": "/data/conf"},
            {"name": "data", "mountPath": "/ro", "readOnly": true},
            {"name": "tmp", "mountPath": "/tmp"},
            {"name": "sealed", "mountPath": "/sealed"},
        ]});
        let at = |path: &str| writable(&pod, &container, path);
        let foreign = |path: &str| {
            Some(Writable::Foreign(Foreign {
                volume: "data".into(),
                sub_path: Some("one".into()),
                path: path.into(),
            }))
        };
        assert_eq!(at("/data/logs/x.hprof"), foreign("logs/x.hprof"));
        assert_eq!(at("/data"), foreign(""));
        assert_eq!(at("x.hprof"), foreign("app/x.hprof"));
        assert_eq!(at("/data/conf/x"), None, "a config map cannot be written");
        assert_eq!(at("/ro/x"), None);
        assert_eq!(at("/database/x"), None);
        assert_eq!(at("/data/../etc/x"), None);
        assert_eq!(
            at("/data/$(POD_NAME).hprof"),
            None,
            "the agent would look for the text"
        );
        assert_eq!(at("/data/%p.hprof"), None, "JDK 25 puts the process id there");
        assert_eq!(at("/tmp/x"), None, "memory");
        assert_eq!(at("/sealed/x"), None, "the claim is mounted read-only");
        assert_eq!(at("/heapship/dumps/own.hprof"), Some(Writable::Ours));
    }
}
