//! Do the versions fit together?

use serde_json::Value;

use super::found::Found;
use super::report::{Line, Section};
use crate::inject::KubernetesVersion;

/// From here on no node can be too old: a kubelet is at most three releases behind its API server.
const NODES_FOLLOW: KubernetesVersion = KubernetesVersion { major: 1, minor: 32 };

/// Whether the nodes have to be looked at one by one.
pub(super) fn nodes_matter(server: KubernetesVersion) -> bool {
    (KubernetesVersion::NATIVE_SIDECARS..NODES_FOLLOW).contains(&server)
}

pub(super) fn judge(found: &Found) -> Section {
    let mut lines = vec![server(found)];
    lines.extend(webhook(found));
    lines.extend(agents(found));
    Section {
        name: "versions",
        lines,
    }
}

fn server(found: &Found) -> Line {
    let server = found.server;
    let needed = KubernetesVersion::NATIVE_SIDECARS;
    if server < needed {
        return Line::fault(
            format!("Kubernetes {server} has no native sidecars: every pod is left alone"),
            format!("upgrade the cluster to {needed} or newer"),
        );
    }
    let old = |version: &String| KubernetesVersion::parse(version).is_some_and(|version| version < needed);
    match &found.old_nodes {
        Some(Ok(versions)) if versions.iter().any(old) => Line::fault(
            format!(
                "{} nodes are older than {needed}: every pod is left alone",
                versions.iter().filter(|v| old(v)).count()
            ),
            format!("upgrade the nodes to {needed} or newer"),
        ),
        Some(Err(refusal)) => Line::warning(format!(
            "Kubernetes {server}; its nodes may be older than {needed}, and could not be looked at: {refusal}"
        )),
        Some(Ok(_)) | None => Line::ok(format!(
            "Kubernetes {server} has native sidecars, and so have its nodes"
        )),
    }
}

fn webhook(found: &Found) -> Option<Line> {
    let cli = env!("CARGO_PKG_VERSION");
    let deployment = found.installation.deployment.as_ref().ok()?;
    let image = deployment["spec"]["template"]["spec"]["containers"][0]["image"].as_str()?;
    // A digest or a tag of one's own says nothing about the version.
    Some(match tag(image).and_then(KubernetesVersion::parse) {
        Some(_) if tag(image) == Some(cli) => Line::ok(format!("webhook and command line are both {cli}")),
        Some(_) => Line::warning(format!(
            "the webhook's image is {image}, this command line {cli}: what it expects may differ"
        ))
        .remedy("take the heapship executable of the same release as the webhook"),
        None => Line::ok(format!("the webhook's image is {image}, this command line {cli}")),
    })
}

/// Pods keep the agent that they were created with.
fn agents(found: &Found) -> Option<Line> {
    let pods = found.pods.as_ref().ok()?;
    let mut versions: Vec<(&str, usize)> = Vec::new();
    for version in pods.seen.iter().filter_map(|pod| pod.version.as_deref()) {
        match versions.iter_mut().find(|(known, _)| *known == version) {
            Some((_, count)) => *count += 1,
            None => versions.push((version, 1)),
        }
    }
    versions.sort_unstable();
    let counted: Vec<String> = versions
        .iter()
        .map(|(version, count)| format!("{version} in {count}"))
        .collect();
    match versions.as_slice() {
        [] => None,
        [(version, _)] => Some(Line::ok(format!("every injected pod was injected by {version}"))),
        _ => Some(Line::ok(format!(
            "injected pods were injected by {}; a restart brings them to the newest",
            counted.join(", ")
        ))),
    }
}

fn tag(image: &str) -> Option<&str> {
    let last = image.split('@').next()?.rsplit('/').next()?;
    last.split_once(':').map(|(_, tag)| tag)
}

/// The version of an API server, as `/version` has it.
pub(super) fn of(version: &Value) -> Option<KubernetesVersion> {
    KubernetesVersion::parse(version["gitVersion"].as_str()?)
}
