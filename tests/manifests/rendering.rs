//! Helm and kustomize give the same objects.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::{files, objects, root, text};

const NAMESPACE: &str = "heapship-system";

/// Of a build without its release flags, helm believes that the cluster is an old one.
const CLUSTER: [&str; 2] = ["--kube-version", "1.36.0"];

type Objects = BTreeMap<(String, String), Value>;

#[test]
fn what_is_rendered_from_the_chart_is_fresh() {
    let Some(helm) = helm() else { return };
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(root().join("scripts/manifests.sh"))
        .arg(folder.path())
        .env("HELM", helm)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let committed = [
        "manifests/base",
        "manifests/overlays",
        "manifests/components",
        "certs",
    ];
    let mut rendered = 0;
    for file in committed.into_iter().flat_map(files) {
        let Ok(fresh) = std::fs::read_to_string(folder.path().join(&file)) else {
            assert!(
                !text(&file).starts_with("# Rendered"),
                "{file} is not rendered any more: delete it"
            );
            continue;
        };
        assert!(fresh == text(&file), "{file} is stale: make manifests");
        rendered += 1;
    }
    assert_eq!(
        rendered,
        count(folder.path()),
        "make manifests renders files that are not committed"
    );
}

#[test]
fn helm_and_kustomize_give_the_same_objects_in_every_mode() {
    let (Some(helm), Some(kubectl)) = (helm(), kubectl()) else {
        return;
    };
    for mode in ["self-managed", "cert-manager", "provided"] {
        let by_helm = template(&helm, &[&format!("certificates.mode={mode}")]);
        let by_kustomize = kustomize(&kubectl, &format!("manifests/overlays/{mode}"));
        same(&by_helm, &by_kustomize, mode);
    }
}

#[test]
fn monitoring_adds_the_same_objects_to_both() {
    let (Some(helm), Some(kubectl)) = (helm(), kubectl()) else {
        return;
    };
    let mut by_helm = template(&helm, &["monitoring.enabled=true"]);
    for found in template(&helm, &[]).into_keys() {
        by_helm.remove(&found);
    }
    let mut by_kustomize = kustomize(&kubectl, "manifests/examples/installation");
    for found in kustomize(&kubectl, "manifests/overlays/self-managed").into_keys() {
        by_kustomize.remove(&found);
    }
    assert_eq!(by_helm.len(), 3);
    same(&by_helm, &by_kustomize, "monitoring");
}

#[test]
fn an_installation_of_ones_own_rolls_the_pods_when_its_policies_change() {
    let Some(kubectl) = kubectl() else { return };
    let installation = kustomize(&kubectl, "manifests/examples/installation");
    let of = |kind: &str, name: &str| &installation[&(kind.to_owned(), name.to_owned())];
    let own = text("manifests/examples/installation/policies.yaml");
    assert_eq!(of("ConfigMap", "heapship-policy")["data"]["policies.yaml"], own);
    let template = &of("Deployment", "heapship")["spec"]["template"];
    assert_eq!(
        template["metadata"]["annotations"]["install.heapship.io/policies"],
        own
    );
    let variables = template["spec"]["containers"][0]["env"].as_array().unwrap();
    let cluster: Vec<&Value> = variables
        .iter()
        .filter(|entry| entry["name"] == "HEAPSHIP_CLUSTER")
        .collect();
    assert_eq!(cluster.len(), 1);
    assert_eq!(cluster[0]["value"], "production-1");
}

#[test]
fn a_digest_names_the_image_of_webhook_and_agents() {
    let Some(helm) = helm() else { return };
    let digest = format!("sha256:{}", "ab".repeat(32));
    let objects = template(
        &helm,
        &[
            "image.repository=mirror.example/heapship",
            &format!("image.digest={digest}"),
        ],
    );
    let image = format!("mirror.example/heapship@{digest}");
    let of = |kind: &str, name: &str| &objects[&(kind.to_owned(), name.to_owned())];
    assert_eq!(
        of("Deployment", "heapship")["spec"]["template"]["spec"]["containers"][0]["image"],
        image
    );
    let policies = of("ConfigMap", "heapship-policy")["data"]["policies.yaml"]
        .as_str()
        .unwrap();
    assert!(policies.contains(&format!("image: {image}\n")), "{policies}");
}

#[test]
fn a_value_that_is_not_meant_is_refused() {
    let Some(helm) = helm() else { return };
    for wrong in [
        "replica=3",
        "certificates.mode=self-signed",
        "policies[0].spec.mode=OptIn",
        "image.digest=latest",
    ] {
        let output = run_helm(&helm, &[wrong]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && said.contains("schema"),
            "{wrong}: {said}"
        );
    }
}

#[test]
fn the_hooks_of_helm_leave_nothing_behind() {
    let Some(helm) = helm() else { return };
    let output = run_helm(&helm, &[]);
    let all = objects(&String::from_utf8(output.stdout).unwrap());
    let hooks: Vec<&Value> = all.iter().filter(|object| is_hook(object)).collect();
    assert!(hooks.len() > 5);
    for hook in hooks {
        let policy = &hook["metadata"]["annotations"]["helm.sh/hook-delete-policy"];
        assert_eq!(
            policy, "before-hook-creation,hook-succeeded",
            "{}",
            hook["metadata"]["name"]
        );
        let component = &hook["metadata"]["labels"]["app.kubernetes.io/component"];
        assert_ne!(component, "webhook", "the Service would send reviews there");
    }
}

fn same(by_helm: &Objects, by_kustomize: &Objects, mode: &str) {
    let keys = |objects: &Objects| objects.keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(by_helm), keys(by_kustomize), "{mode}");
    for (key, object) in by_helm {
        assert_eq!(object, &by_kustomize[key], "{mode}: {key:?}");
    }
}

/// Without what Helm needs for itself: its hooks, and the namespace, which it makes by `--create-namespace`.
fn keyed(stream: &[u8]) -> Objects {
    let stream = String::from_utf8(stream.to_vec()).unwrap();
    let ours = objects(&stream)
        .into_iter()
        .filter(|object| !is_hook(object) && object["kind"] != "Namespace");
    let key = |object: &Value| {
        [&object["kind"], &object["metadata"]["name"]].map(|part| part.as_str().unwrap().to_owned())
    };
    ours.map(|object| (key(&object).into(), object)).collect()
}

fn is_hook(object: &Value) -> bool {
    object["metadata"]["annotations"]["helm.sh/hook"].is_string()
}

fn template(helm: &Path, values: &[&str]) -> Objects {
    let output = run_helm(helm, values);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    keyed(&output.stdout)
}

fn run_helm(helm: &Path, values: &[&str]) -> std::process::Output {
    let mut command = Command::new(helm);
    command
        .args([
            "template",
            "heapship",
            "manifests/chart",
            "--namespace",
            NAMESPACE,
        ])
        .args(CLUSTER);
    for value in values {
        command.args(["--set", value]);
    }
    command.current_dir(root()).output().unwrap()
}

fn kustomize(kubectl: &Path, folder: &str) -> Objects {
    let output = Command::new(kubectl)
        .args(["kustomize", folder])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{folder}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    keyed(&output.stdout)
}

fn helm() -> Option<PathBuf> {
    found("helm")
}

fn kubectl() -> Option<PathBuf> {
    found("kubectl")
}

/// Where the script says that the program is.
fn found(program: &str) -> Option<PathBuf> {
    let output = Command::new(root().join("scripts/find-program.sh"))
        .arg(program)
        .output()
        .unwrap();
    if output.status.success() {
        return Some(PathBuf::from(String::from_utf8(output.stdout).unwrap().trim()));
    }
    // Not `eprintln!`: of tests that pass its output is not shown.
    let mut stderr = io::stderr().lock();
    writeln!(
        stderr,
        "\nNOT RUN: no {program} on this machine, so the manifests were not rendered"
    )
    .unwrap();
    None
}

fn count(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .map(|path| if path.is_dir() { count(&path) } else { 1 })
        .sum()
}
