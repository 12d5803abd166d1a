//! The scripts that people are told to call.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

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
    assert_eq!(
        text,
        "setup: usage: scripts/setup.sh demo|test|lint|mutants|fuzz|bench|image|e2e\n"
    );
}

/// The set-up script in a folder of its own, on a machine that has these programs and nothing else.
fn set_up_with(programs: &[(&str, &str)], target: &str) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let source = Path::new(env!("CARGO_MANIFEST_DIR"));
    for part in ["bin", "scripts"] {
        fs::create_dir(at(part)).unwrap();
    }
    for file in ["Cargo.toml", "scripts/setup.sh"] {
        fs::copy(source.join(file), at(file)).unwrap();
    }
    for tool in ["dirname", "sed", "grep", "sort", "head", "tail"] {
        std::os::unix::fs::symlink(Path::new("/usr/bin").join(tool), at("bin").join(tool)).unwrap();
    }
    for (name, lines) in programs {
        let program = at("bin").join(name);
        fs::write(&program, format!("#!/bin/sh\n{lines}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let output = Command::new("/bin/bash")
        .arg(at("scripts/setup.sh"))
        .arg(target)
        .env_clear()
        .env("PATH", at("bin"))
        .env("HOME", folder.path())
        .output()
        .unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn set_up_says_that_a_distributions_rust_is_too_old_or_missing() {
    let old = [("cargo", ""), ("rustc", "echo rustc 1.63.0")];
    let wanted = env!("CARGO_PKG_RUST_VERSION");
    let sentence =
        format!("setup: Rust 1.63.0 is too old: install {wanted} or newer by rustup (https://rustup.rs)\n");
    assert_eq!(set_up_with(&old, "demo"), (Some(1), sentence));
    let sentence = format!(
        "setup: no Rust: install {wanted} or newer, by rustup (https://rustup.rs) or your distribution\n"
    );
    assert_eq!(set_up_with(&[], "demo"), (Some(1), sentence));
}

#[test]
fn set_up_goes_on_without_package_lists_and_without_what_it_cannot_fetch() {
    let machine = [
        ("apt-cache", "exit 100"),
        ("id", "echo 1000"),
        ("uname", "echo aarch64"),
        ("cargo", ""),
        ("rustc", "echo 'rustc 1.200.0 (0123 2030-01-01)'"),
        ("cc", ""),
        ("javac", ""),
        ("mvn", ""),
        ("python3", "[ $1 != -m ]"),
    ];
    let (code, said) = set_up_with(&machine, "test");
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("NOT BUILT: versitygw needs Go 1.21 or newer"),
        "{said}"
    );
    for (tried, then) in said.lines().zip(said.lines().skip(1)) {
        if let Some(runtime) = tried.strip_prefix("setup: fetching a Java ") {
            let major = runtime.split(' ').next().unwrap();
            let loud = format!("setup: NOT RUN: tests with Java {major}: ");
            assert!(then.starts_with(&loud), "{said}");
        }
    }
}

#[test]
fn an_image_archive_has_the_same_bytes_for_the_same_input() {
    let folder = tempfile::tempdir().unwrap();
    let layer = folder.path().join("layer");
    fs::create_dir(&layer).unwrap();
    fs::write(layer.join("program"), "#!/bin/sh\n").unwrap();
    let spec = serde_json::json!({"images": [
        {"name": "localhost/one:1", "layers": [layer], "config": {"User": "1234"}},
        {"name": "localhost/two:1", "layers": [layer], "config": {"User": "4321"}},
    ]});
    fs::write(folder.path().join("spec.json"), spec.to_string()).unwrap();
    let write = |name: &str| {
        let archive = folder.path().join(name);
        let output = script("scripts/image-archive.py")
            .arg(&archive)
            .arg(folder.path().join("spec.json"))
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        fs::read(archive).unwrap()
    };

    let first = write("first.tar");
    // Dates of files are not part of it.
    fs::write(layer.join("program"), "#!/bin/sh\n").unwrap();
    assert!(first == write("second.tar"));
    // The layer that both share is there once: two files that say what it is, two configurations, two manifests, a layer.
    let listed = Command::new("tar")
        .arg("tf")
        .arg(folder.path().join("first.tar"))
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&listed.stdout).lines().count(), 7);
}
