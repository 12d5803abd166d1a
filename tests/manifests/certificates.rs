//! What `certs/provided.sh` makes is what the webhook serves and the API server trusts.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::SystemTime;

use heapship::admission::tls::{Certificate, Files};
use tempfile::TempDir;

use super::{object, objects, root};
use crate::http::authority::SERVER_NAME;

fn provided(folder: &Path, step: Option<&str>) -> Output {
    Command::new(root().join("certs/provided.sh"))
        .args(step)
        .arg(folder)
        .output()
        .unwrap()
}

fn made(folder: &Path, step: Option<&str>) {
    let output = provided(folder, step);
    assert!(
        output.status.success(),
        "{step:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Whether a client that trusts `bundle` takes the certificate for the webhook's.
fn trusted(folder: &Path, bundle: &Path, certificate: &str) -> bool {
    let mut command = Command::new("openssl");
    command
        .current_dir(folder)
        .args(["verify", "-purpose", "sslserver", "-verify_hostname", SERVER_NAME]);
    command
        .arg("-CAfile")
        .arg(bundle)
        .arg(certificate)
        .output()
        .unwrap()
        .status
        .success()
}

#[test]
fn what_the_script_provides_can_be_served_and_is_in_the_secret() {
    let folder = TempDir::new().unwrap();
    made(folder.path(), None);
    let files = Files {
        certificate: folder.path().join("tls.crt"),
        key: folder.path().join("tls.key"),
    };
    Certificate::load(&files, SystemTime::now()).unwrap();
    assert!(trusted(folder.path(), Path::new("ca.crt"), "tls.crt"));

    let secret = fs::read_to_string(folder.path().join("secret.yaml")).unwrap();
    let secret = &objects(&secret)[0];
    assert_eq!(secret["metadata"]["name"], "heapship-tls");
    assert_eq!(secret["metadata"]["namespace"], "heapship-system");
    for name in ["ca.crt", "tls.crt", "tls.key"] {
        let mut decode = Command::new("base64");
        let coded = folder.path().join("coded");
        fs::write(&coded, secret["data"][name].as_str().unwrap()).unwrap();
        let decoded = decode.arg("-d").arg(&coded).output().unwrap().stdout;
        assert_eq!(decoded, fs::read(folder.path().join(name)).unwrap(), "{name}");
    }
}

#[test]
fn at_every_step_to_a_new_ca_the_bundle_before_and_after_vouches_for_what_is_served() {
    let folder = TempDir::new().unwrap();
    made(folder.path(), None);
    let before = folder.path().join("before.crt");
    let mut bundles = Vec::new();
    for step in [Some("--new-ca"), None, Some("--drop-old-ca")] {
        fs::copy(folder.path().join("ca.crt"), &before).unwrap();
        fs::copy(folder.path().join("tls.crt"), folder.path().join("served.crt")).unwrap();
        made(folder.path(), step);
        // While the Secret is on its way, either bundle meets either certificate.
        for bundle in [&before, Path::new("ca.crt")] {
            for certificate in ["served.crt", "tls.crt"] {
                assert!(
                    trusted(folder.path(), bundle, certificate),
                    "{step:?}: {certificate} by {}",
                    bundle.display()
                );
            }
        }
        let bundle = fs::read_to_string(folder.path().join("ca.crt")).unwrap();
        bundles.push(bundle.matches("BEGIN CERTIFICATE").count());
    }
    assert_eq!(bundles, [2, 2, 1]);
}

#[test]
fn the_old_ca_is_not_dropped_while_its_certificate_is_served() {
    let folder = TempDir::new().unwrap();
    made(folder.path(), None);
    made(folder.path(), Some("--new-ca"));
    let output = provided(folder.path(), Some("--drop-old-ca"));
    assert_eq!(output.status.code(), Some(1));
    assert!(trusted(folder.path(), Path::new("ca.crt"), "tls.crt"));
}

#[test]
fn cert_manager_signs_by_a_ca_that_keeps_its_key() {
    let all = objects(&super::text("certs/cert-manager/certificates.yaml"));
    let named = |name: &str| {
        let mut certificates = all.iter().filter(|object| object["kind"] == "Certificate");
        certificates
            .find(|found| found["metadata"]["name"] == name)
            .unwrap()
    };
    assert_eq!(named("heapship-ca")["spec"]["isCA"], true);
    assert_eq!(
        named("heapship-ca")["spec"]["privateKey"]["rotationPolicy"],
        "Never"
    );
    assert_eq!(named("heapship-tls")["spec"]["issuerRef"]["name"], "heapship-ca");
    assert_eq!(named("heapship-tls")["spec"]["dnsNames"][0], SERVER_NAME);
    let service = object("manifests/base/service.yaml", "Service");
    assert_eq!(
        format!(
            "{}.heapship-system.svc",
            service["metadata"]["name"].as_str().unwrap()
        ),
        SERVER_NAME
    );
}
