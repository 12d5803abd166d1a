//! The scripts that people are told to call.

use std::{fs, path::Path, process::Command};

fn script(path: &str) -> Command {
    Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join(path))
}

#[test]
fn the_development_certificate_is_vouched_for_by_its_ca_and_names_its_hosts() {
    let folder = tempfile::tempdir().unwrap();
    let make = || {
        script("certs/dev.sh")
            .arg(folder.path())
            .arg("webhook.heapship.svc")
            .output()
            .unwrap()
    };
    let verify = |kind: &str, name: &str| {
        let mut command = Command::new("openssl");
        command
            .current_dir(&folder)
            .args(["verify", "-purpose", "sslserver", "-CAfile", "ca.crt"]);
        command
            .args([kind, name, "tls.crt"])
            .output()
            .unwrap()
            .status
            .success()
    };
    let read = |name: &str| fs::read(folder.path().join(name)).unwrap();

    let output = make();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(verify("-verify_hostname", "localhost"));
    assert!(verify("-verify_hostname", "webhook.heapship.svc"));
    assert!(verify("-verify_ip", "127.0.0.1"));
    assert!(!verify("-verify_hostname", "elsewhere.example"));

    let (ca, certificate) = (read("ca.crt"), read("tls.crt"));
    assert!(make().status.success());
    assert_eq!(read("ca.crt"), ca, "whoever trusts the CA goes on trusting it");
    assert_ne!(read("tls.crt"), certificate);
    assert!(verify("-verify_hostname", "localhost"));
}

#[test]
fn keys_of_the_development_certificate_are_private() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    assert!(
        script("certs/dev.sh")
            .arg(folder.path())
            .output()
            .unwrap()
            .status
            .success()
    );
    for key in ["ca.key", "tls.key"] {
        let mode = fs::metadata(folder.path().join(key))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o077, 0, "{key} has mode {mode:o}");
    }
}

#[test]
fn set_up_tells_a_wrong_target_from_a_right_one() {
    let output = script("scripts/setup.sh").arg("dmeo").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(text, "setup: usage: scripts/setup.sh demo|test|lint|bench\n");
}
