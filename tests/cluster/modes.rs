//! The two modes in which somebody else makes the certificates: a platform's own Secret, and cert-manager.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use serde_json::Value;

use crate::bed::load::{Load, failed_open, is_injected};
use crate::bed::workloads::App;
use crate::bed::{Bed, SOON, eventually, heapship, installed, kubectl};
use crate::certificates::{assert_nobody_noticed, bundles, is_repaired};

/// Puts the default mode back, also after a failure: other tests follow.
struct Mode(&'static str);

impl Mode {
    /// As a platform team changes it: one overlay over the other.
    fn enter(certificates: &'static str) -> Self {
        // What another test left of its own.
        let leftover = [
            "-n",
            installed::NAMESPACE,
            "delete",
            "secret",
            "heapship-tls",
            "--ignore-not-found",
        ];
        kubectl::run(&leftover);
        installed::apply_overlay(certificates, "");
        Self(certificates)
    }
}

impl Drop for Mode {
    fn drop(&mut self) {
        println!("leaving the mode {}", self.0);
        installed::install();
    }
}

/// `certs/provided.sh`, and its Secret applied.
fn provided(step: &str, folder: &Path) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/certs/provided.sh");
    let steps = step.split_whitespace();
    installed::tool(
        script,
        &steps.chain([folder.to_str().unwrap()]).collect::<Vec<_>>(),
    );
    kubectl::apply(&fs::read_to_string(folder.join("secret.yaml")).unwrap());
}

/// When the certificate that each replica serves ends: each has another end here, so it tells them apart.
fn expiries() -> Vec<String> {
    let label = "app.kubernetes.io/component=webhook";
    let pods = kubectl::run(&[
        "-n",
        installed::NAMESPACE,
        "get",
        "pods",
        "-l",
        label,
        "-o",
        "json",
    ]);
    let pods: Value = serde_json::from_str(&pods).unwrap();
    let pods = pods["items"].as_array().unwrap().iter();
    pods.filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
        .map(|pod| {
            let name = pod["metadata"]["name"].as_str().unwrap();
            let path = format!(
                "/api/v1/namespaces/{}/pods/{name}:8080/proxy/metrics",
                installed::NAMESPACE
            );
            let metrics = kubectl::run(&["get", "--raw", &path]);
            let name = "heapship_webhook_certificate_expiry_timestamp_seconds ";
            let line = metrics.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_default().to_owned()
        })
        .collect()
}

/// Both replicas serve another certificate than before.
async fn renewed(before: &[String]) {
    eventually("both replicas serve the new certificate", SOON, async || {
        let now = expiries();
        (now.len() == 2 && now.iter().all(|expiry| !before.contains(expiry))).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platforms_own_certificate_and_ca_are_renewed_and_no_call_fails() {
    let bed = Bed::alone("provided").await;
    let folder = tempfile::tempdir().unwrap();
    let _mode = Mode::enter("provided");
    provided("", folder.path());
    installed::rolled_out();
    is_repaired().await;
    let before = failed_open();
    let load = Load::begin(&bed, 50, 30_000);

    let (first, bundle) = (expiries(), bundles());
    provided("", folder.path());
    renewed(&first).await;
    assert_eq!(bundles(), bundle, "the CA is the same");
    provided("--new-ca", folder.path());
    eventually("the bundle holds both CAs", SOON, async || {
        (bundles() != bundle).then_some(())
    })
    .await;
    let second = expiries();
    provided("", folder.path());
    renewed(&second).await;
    provided("--drop-old-ca", folder.path());
    // The old one stays for ten minutes, for a replica that is behind.
    assert!(!load.is_over(), "the last steps went without load");
    load.stop();
    assert_nobody_noticed(load, before).await;
}

#[tokio::test]
async fn an_expired_certificate_stops_no_pod_and_check_says_so() {
    let bed = Bed::alone("expired").await;
    let _mode = Mode::enter("provided");
    let ends = SystemTime::now() + Duration::from_secs(25);
    short_lived(ends);
    installed::rolled_out();
    if let Ok(left) = ends.duration_since(SystemTime::now()) {
        tokio::time::sleep(left + Duration::from_secs(1)).await;
    }
    // A connection that was opened in time would still be good.
    kubectl::run(&[
        "-n",
        installed::NAMESPACE,
        "delete",
        "pods",
        "-l",
        "app.kubernetes.io/component=webhook",
    ]);
    let app = App {
        name: "late",
        java: "-Xmx64m, -XX:+UseSerialGC, -cp, /app, Serve",
        ..App::default()
    };
    bed.apply(&app.deployment());
    assert!(!is_injected(&bed.pod_of("late").await));
    let check = heapship::run(&["check", "-n", &bed.namespace]);
    assert_eq!(check.status, Some(1), "{}", check.text);
    assert!(check.says("expired"), "{}", check.text);
    assert!(check.says("late"), "{}", check.text);
}

/// The Secret of the platform's own, whose certificate ends at `ends`.
fn short_lived(ends: SystemTime) {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().unwrap();
    let ca = authority.self_signed(&authority_key).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut parameters = CertificateParams::new(vec!["heapship.heapship-system.svc".to_owned()]).unwrap();
    parameters.not_before = (SystemTime::now() - Duration::from_mins(5)).into();
    parameters.not_after = ends.into();
    let leaf = parameters
        .signed_by(&key, &Issuer::new(authority, authority_key))
        .unwrap();
    let secret = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": {"name": "heapship-tls", "namespace": installed::NAMESPACE},
        "stringData": {"tls.crt": leaf.pem(), "tls.key": key.serialize_pem(), "ca.crt": ca.pem()},
    });
    kubectl::apply(&secret.to_string());
}

/// cert-manager's controllers, beside the cluster; ended with the test.
struct CertManager(Child);

impl CertManager {
    fn start() -> Self {
        let bin = PathBuf::from(installed::variable("HEAPSHIP_E2E_BIN"));
        kubectl::run(&[
            "apply",
            "--server-side",
            "-f",
            bin.join("certmanager-crds.yaml").to_str().unwrap(),
        ]);
        kubectl::run(&[
            "wait",
            "--for=condition=Established",
            "crd/certificates.cert-manager.io",
            "--timeout=60s",
        ]);
        let log = fs::File::create(installed::state().join("log/certmanager.log")).unwrap();
        let child = Command::new(bin.join("certmanager"))
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Self(child)
    }
}

impl Drop for CertManager {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
        let bin = PathBuf::from(installed::variable("HEAPSHIP_E2E_BIN"));
        kubectl::run(&[
            "delete",
            "-f",
            bin.join("certmanager-crds.yaml").to_str().unwrap(),
        ]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cert_manager_renews_and_no_call_fails() {
    let bed = Bed::alone("cert-manager").await;
    let _cert_manager = CertManager::start();
    let _mode = Mode::enter("cert-manager");
    installed::rolled_out();
    is_repaired().await;
    let before = failed_open();
    let load = Load::begin(&bed, 50, 30_000);
    let first = expiries();
    // What its command line does for `cmctl renew`.
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ");
    let condition = format!(
        r#"{{"status":{{"conditions":[{{"type":"Issuing","status":"True","reason":"ManuallyTriggered","lastTransitionTime":"{now}"}}]}}}}"#
    );
    let certificate = [
        "-n",
        installed::NAMESPACE,
        "patch",
        "certificate",
        "heapship-tls",
        "--subresource=status",
    ];
    kubectl::run(&[&certificate[..], &["--type=merge", "-p", &condition]].concat());
    renewed(&first).await;
    assert!(!load.is_over(), "the last steps went without load");
    load.stop();
    assert_nobody_noticed(load, before).await;
}
