//! heapship, installed once for the whole run as a platform team does it: with the policy of the suite's own store.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;

use super::workloads::indented;
use super::{SOON, eventually, heapship, kubectl, store};

/// heapship's own.
pub const NAMESPACE: &str = "heapship-system";

/// Where the cluster keeps its files, and we ours.
pub fn state() -> PathBuf {
    PathBuf::from(variable("HEAPSHIP_E2E_STATE"))
}

pub fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run the suite by `make e2e`"))
}

/// A figure of this run, which `scripts/e2e.sh` prints at its end.
pub fn report(line: &str) {
    let mut file = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(state().join("figures.txt"))
        .unwrap();
    writeln!(file, "{line}").unwrap();
}

/// The store and the webhook; the first test that comes waits for them, the others for it.
pub fn once() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        store::start();
        install();
    });
    // A test that failed on its way may have left it out.
    if !kubectl::output(&["-n", NAMESPACE, "get", "deployment", "heapship"], "")
        .status
        .success()
    {
        drop(kubectl::output(
            &[
                "wait",
                "--for=delete",
                "namespace/heapship-system",
                "--timeout=120s",
            ],
            "",
        ));
        install();
    }
}

/// What the platform team writes: the metadata and the spec of one policy.
fn policy() -> String {
    let ca = indented("      ", &store::ca());
    format!(
        "metadata: {{name: e2e}}
spec:
  mode: OptIn
  settings:
    destination: s3://{bucket}/e2e
    credentialsSecret: {secret}
  store:
    endpoint: {endpoint}
    region: us-east-1
    caBundle: |
{ca}",
        bucket = store::BUCKET,
        secret = store::SECRET,
        endpoint = store::ENDPOINT,
    )
}

/// How heapship comes into a cluster.
#[derive(Clone, Copy, Debug)]
pub enum Way {
    Kustomize,
    Helm,
}

impl Way {
    pub fn install(self) {
        match self {
            Self::Kustomize => install(),
            Self::Helm => {
                helm("install", &["--create-namespace"]);
                tool("helm", &["test", "heapship", "-n", NAMESPACE]);
            }
        }
        rolled_out();
    }

    /// The same version with another setting.
    pub fn upgrade(self) {
        match self {
            Self::Kustomize => {
                apply_overlay("self-managed", UPGRADED);
            }
            Self::Helm => helm("upgrade", &["--set", "podAnnotations.upgraded=yes"]),
        }
        rolled_out();
    }

    pub fn uninstall(self) {
        match self {
            Self::Kustomize => uninstall(),
            Self::Helm => {
                tool("helm", &["uninstall", "heapship", "-n", NAMESPACE, "--wait"]);
                kubectl::run(&["delete", "namespace", NAMESPACE]);
            }
        }
    }
}

fn helm(verb: &str, arguments: &[&str]) {
    let values = overlay().with_file_name("values.yaml");
    let policy = indented("  ", &policy()).replacen("  ", "- ", 1);
    fs::write(&values, format!("clusterName: e2e\npolicies:\n{policy}")).unwrap();
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/manifests/chart");
    let common = [
        verb,
        "heapship",
        chart,
        "-n",
        NAMESPACE,
        "--wait",
        "-f",
        values.to_str().unwrap(),
    ];
    tool("helm", &[&common[..], arguments].concat());
}

/// Runs a program of the cluster's.
#[track_caller]
pub fn tool(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} {}: {text}",
        arguments.join(" ")
    );
    text
}

/// `kubectl apply -k` of an overlay as a platform team writes it: ours, and their policy.
pub fn install() {
    apply_overlay("self-managed", "");
    rolled_out();
}

/// The same with certificates of another origin; does not wait.
pub fn apply_overlay(certificates: &str, more: &str) {
    let overlay = overlay();
    fs::create_dir_all(&overlay).unwrap();
    let policies = format!(
        "apiVersion: heapship.io/v1alpha1\nkind: HeapDumpPolicy\n{}",
        policy()
    );
    fs::write(overlay.join("policies.yaml"), policies).unwrap();
    let kustomization = KUSTOMIZATION.replace("CERTIFICATES", certificates) + more;
    fs::write(overlay.join("kustomization.yaml"), kustomization).unwrap();
    kubectl::run(&["apply", "-k", overlay.to_str().unwrap()]);
}

/// The documented way.
pub fn uninstall() {
    let deregistered = heapship::run(&["deregister", "--yes"]);
    assert_eq!(deregistered.status, Some(0), "{}", deregistered.text);
    kubectl::run(&["delete", "--ignore-not-found", "-k", overlay().to_str().unwrap()]);
}

// kustomize takes relative paths only, hence a folder of the build.
fn overlay() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/e2e/overlay")
}

/// Other replicas in the place of those that run, one after the other; waits for them.
pub fn restart() {
    kubectl::run(&["-n", NAMESPACE, "rollout", "restart", "deployment/heapship"]);
    rolled_out();
}

/// Takes all replicas away, and waits until none runs.
pub async fn stop() {
    kubectl::run(&["-n", NAMESPACE, "scale", "deployment/heapship", "--replicas=0"]);

    eventually("no replica runs", SOON, async || {
        let pods = kubectl::run(&["-n", NAMESPACE, "get", "pods", "-o", "name"]);
        pods.is_empty().then_some(())
    })
    .await;
}

/// Brings both replicas back, and waits for them.
pub fn start() {
    kubectl::run(&["-n", NAMESPACE, "scale", "deployment/heapship", "--replicas=2"]);
    rolled_out();
}

/// Waits for both replicas.
pub fn rolled_out() {
    let arguments = [
        "-n",
        NAMESPACE,
        "rollout",
        "status",
        "deployment/heapship",
        "--timeout=180s",
    ];
    kubectl::run(&arguments);
}

/// As `manifests/examples/installation` has it, with a shorter drain: the suite stops the webhook a dozen times.
const KUSTOMIZATION: &str = "\
resources: [../../../manifests/overlays/CERTIFICATES]
configMapGenerator:
- name: heapship-policy
  namespace: heapship-system
  behavior: replace
  files: [policies.yaml]
  options: {disableNameSuffixHash: true}
replacements:
- source: {kind: ConfigMap, name: heapship-policy, fieldPath: 'data.[policies.yaml]'}
  targets:
  - select: {kind: Deployment, name: heapship}
    fieldPaths: ['spec.template.metadata.annotations.[install.heapship.io/policies]']
patches:
- target: {kind: Deployment, name: heapship}
  patch: |-
    apiVersion: apps/v1
    kind: Deployment
    metadata: {name: heapship}
    spec:
      template:
        spec:
          containers:
          - name: webhook
            env: [{name: HEAPSHIP_CLUSTER, value: e2e}, {name: HEAPSHIP_DRAIN, value: 10s}]
";

/// One more patch.
const UPGRADED: &str = "\
- target: {kind: Deployment, name: heapship}
  patch: |-
    apiVersion: apps/v1
    kind: Deployment
    metadata: {name: heapship}
    spec:
      template:
        metadata:
          annotations: {upgraded: 'yes'}
";
