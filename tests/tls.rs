//! Certificates: read at the start, followed through symlink swaps, kept when a replacement is unfit.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use heapship::admission::rotation;
use heapship::admission::tls::{Certificate, Files};
use heapship::certificates::serving::{Candidates, Demand, Serving};
use heapship::certificates::trust::Standing;
use rcgen::ExtendedKeyUsagePurpose;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::sync::watch;

use crate::http::authority::{Authority, Pair};
use crate::http::caller::Caller;
use crate::http::fixture::{Options, Process, Webhook, until, write};
use crate::http::plain_get;
use crate::http::reviews::{other, review};

/// Longer than any test: what is seen was seen by the watch.
const NEVER: Duration = Duration::from_hours(1);

/// A Secret volume as the kubelet writes it: files are links through `..data`, which is swapped by a rename.
struct SecretVolume {
    directory: TempDir,
    generation: u32,
}

impl SecretVolume {
    fn new(pair: &Pair) -> Self {
        let directory = TempDir::new().unwrap();
        for name in ["tls.crt", "tls.key"] {
            symlink(Path::new("..data").join(name), directory.path().join(name)).unwrap();
        }
        let mut volume = Self {
            directory,
            generation: 0,
        };
        volume.update(&pair.certificate, &pair.key);
        volume
    }

    fn update(&mut self, certificate: &str, key: &str) {
        self.generation += 1;
        let root = self.directory.path();
        let next = format!("..2026_{}", self.generation);
        std::fs::create_dir(root.join(&next)).unwrap();
        std::fs::write(root.join(&next).join("tls.crt"), certificate).unwrap();
        std::fs::write(root.join(&next).join("tls.key"), key).unwrap();
        symlink(&next, root.join("..data_tmp")).unwrap();
        std::fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
        if self.generation > 1 {
            std::fs::remove_dir_all(root.join(format!("..2026_{}", self.generation - 1))).unwrap();
        }
    }

    fn files(&self) -> Files {
        Files {
            certificate: self.directory.path().join("tls.crt"),
            key: self.directory.path().join("tls.key"),
        }
    }
}

async fn following(authority: Authority, files: Files, interval: Duration) -> Webhook {
    let webhook = Webhook::serve(
        Options::default(),
        authority,
        TempDir::new().unwrap(),
        files,
        None,
    )
    .await;
    let candidates = Candidates::default();
    tokio::spawn(rotation::follow(
        webhook.files.clone(),
        candidates.clone(),
        Arc::clone(&webhook.metrics),
        interval,
    ));
    let serving = Serving {
        candidates,
        standing: watch::channel(Standing::Absent).1,
        demand: Demand::Nothing,
        served: Arc::clone(&webhook.served),
        readiness: Arc::default(),
        metrics: Arc::clone(&webhook.metrics),
    };
    tokio::spawn(serving.run());
    webhook
}

async fn shown(webhook: &Webhook) -> Vec<u8> {
    let caller = Caller::connect(webhook.address, webhook.authority.http1())
        .await
        .unwrap();
    caller.certificate.to_vec()
}

async fn shows(webhook: &Webhook, pair: &Pair) {
    let wanted = pair.der();
    until("the new certificate is served", async || {
        (shown(webhook).await == wanted.as_ref()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_symlink_swap_is_served_and_open_connections_go_on() {
    let authority = Authority::new();
    let mut pair = authority.until(2100);
    let mut volume = SecretVolume::new(&pair);
    let webhook = following(authority, volume.files(), NEVER).await;
    let old = Caller::connect(webhook.address, webhook.authority.http1())
        .await
        .unwrap();
    // More than once: a watch on the file itself would see the first swap only.
    for year in [2101, 2102, 2103] {
        pair = webhook.authority.until(year);
        volume.update(&pair.certificate, &pair.key);
        shows(&webhook, &pair).await;
        let reply = old.review(review("u", &other(512))).await.unwrap();
        assert!(reply.status.is_success() && !reply.closes());
    }
    assert_ne!(old.certificate, pair.der());
    // 2103-01-01T00:00:00Z
    assert_eq!(
        webhook.sample("heapship_webhook_certificate_expiry_timestamp_seconds"),
        4_197_052_800
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unfit_replacement_changes_nothing_and_is_counted() {
    let authority = Authority::new();
    let good = authority.until(2100);
    let expired = authority.until(2021);
    let early = authority.sign(2099..2100, ExtendedKeyUsagePurpose::ServerAuth);
    let next = authority.until(2101);
    let mut volume = SecretVolume::new(&good);
    let webhook = following(authority, volume.files(), NEVER).await;
    let unfit = [
        (expired.certificate.as_str(), expired.key.as_str()),
        (early.certificate.as_str(), early.key.as_str()),
        ("garbage", "garbage"),
        (good.certificate.as_str(), "garbage"),
        (next.certificate.as_str(), good.key.as_str()),
    ];
    for (certificate, key) in unfit {
        let rejections = webhook.metrics.certificate_rejections.get();
        volume.update(certificate, key);
        until(&format!("{rejections} rejections become more"), async || {
            (webhook.metrics.certificate_rejections.get() > rejections).then_some(())
        })
        .await;
        assert_eq!(shown(&webhook).await, good.der().as_ref());
    }
    volume.update(&next.certificate, &next.key);
    shows(&webhook, &next).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_files_that_are_written_one_after_the_other_are_followed() {
    let authority = Authority::new();
    let directory = TempDir::new().unwrap();
    let files = write(directory.path(), &authority.until(2100));
    let webhook = following(authority, files, NEVER).await;
    let next = webhook.authority.until(2101);
    write(directory.path(), &next);
    shows(&webhook, &next).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_was_replaced_is_found_by_the_timer_and_watched_again() {
    let authority = Authority::new();
    let parent = TempDir::new().unwrap();
    let directory = parent.path().join("tls");
    std::fs::create_dir(&directory).unwrap();
    let files = write(&directory, &authority.until(2100));
    let webhook = following(authority, files, Duration::from_millis(50)).await;
    for year in [2101, 2102] {
        let next = webhook.authority.until(year);
        std::fs::create_dir(parent.path().join("next")).unwrap();
        write(&parent.path().join("next"), &next);
        std::fs::rename(&directory, parent.path().join(format!("old-{year}"))).unwrap();
        std::fs::rename(parent.path().join("next"), &directory).unwrap();
        shows(&webhook, &next).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_1_2_and_1_3_and_a_client_without_alpn_are_served() {
    let webhook = Webhook::start(Options::default()).await;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        for alpn in [&["h2", "http/1.1"][..], &["http/1.1"], &[]] {
            let tls = webhook.authority.client(alpn, &[version], None);
            let caller = Caller::connect(webhook.address, tls).await.unwrap();
            assert!(
                caller
                    .review(review("u", &other(512)))
                    .await
                    .unwrap()
                    .status
                    .is_success(),
                "{alpn:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_client_ca_only_its_clients_are_served() {
    let authority = Authority::new();
    let directory = TempDir::new().unwrap();
    let files = write(directory.path(), &authority.until(2100));
    let clients = Authority::new();
    let client_ca = directory.path().join("clients.crt");
    std::fs::write(&client_ca, &clients.pem).unwrap();
    let webhook = Webhook::serve(Options::default(), authority, directory, files, Some(&client_ca)).await;
    let versions = rustls::ALL_VERSIONS;
    let call = async |identity: Option<&Pair>| {
        let tls = webhook.authority.client(&["http/1.1"], versions, identity);
        let caller = Caller::connect(webhook.address, tls).await.ok()?;
        caller.review(review("u", &other(512))).await.ok()
    };
    let known = clients.sign(2020..2100, ExtendedKeyUsagePurpose::ClientAuth);
    let stranger = Authority::new().sign(2020..2100, ExtendedKeyUsagePurpose::ClientAuth);
    assert!(
        call(Some(&known))
            .await
            .is_some_and(|reply| reply.status.is_success())
    );
    assert!(call(Some(&stranger)).await.is_none());
    assert!(call(None).await.is_none());
    // The client knows it from the alert, the server from its end of the connection a moment later.
    until("both are counted", async || {
        (webhook.sample("heapship_webhook_tls_handshake_failures_total") == 2).then_some(())
    })
    .await;
}

#[test]
fn a_certificate_that_cannot_be_served_is_refused_with_the_remedy() {
    let authority = Authority::new();
    let good = authority.until(2100);
    let expired = authority.until(2021);
    let early = authority.sign(2099..2100, ExtendedKeyUsagePurpose::ServerAuth);
    let directory = TempDir::new().unwrap();
    let cases = [
        (
            "",
            good.key.as_str(),
            "it holds no CERTIFICATE in PEM form; write one",
        ),
        (
            good.certificate.as_str(),
            "",
            "it holds no PRIVATE KEY in PEM form; write one",
        ),
        (
            good.certificate.as_str(),
            expired.key.as_str(),
            "is the key of another certificate; take both from one Secret",
        ),
        (
            expired.certificate.as_str(),
            expired.key.as_str(),
            "it expired at 2021-01-01T00:00:00Z; renew it",
        ),
        (
            early.certificate.as_str(),
            early.key.as_str(),
            "it is valid only from 2099-01-01T00:00:00Z on; correct the clock",
        ),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            good.key.as_str(),
            "renew it with RSA",
        ),
        (
            good.certificate.as_str(),
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            "renew it with RSA",
        ),
    ];
    for (certificate, key, sentence) in cases {
        let pair = Pair {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
        };
        let files = write(directory.path(), &pair);
        let error = Certificate::load(&files, SystemTime::now())
            .unwrap_err()
            .to_string();
        assert!(error.contains(sentence) && error.contains("tls."), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_starts_with_an_unfit_certificate_is_not_ready_until_the_next_one_comes() {
    let authority = Authority::new();
    let (good, expired) = (authority.until(2100), authority.until(2021));
    let early = authority.sign(2099..2100, ExtendedKeyUsagePurpose::ServerAuth);
    let mismatched = Pair {
        certificate: good.certificate.clone(),
        key: early.key.clone(),
    };
    for unfit in [expired, early, mismatched] {
        let mut volume = SecretVolume::new(&unfit);
        let process = Process::start(&volume.files(), &[]).await;
        let liveness = plain_get(process.health, "/healthz").await;
        assert!(liveness.starts_with("HTTP/1.1 200"), "{liveness}");
        let readiness = plain_get(process.health, "/readyz").await;
        assert!(readiness.starts_with("HTTP/1.1 503"), "{readiness}");
        assert!(readiness.ends_with("waiting for a certificate\n"), "{readiness}");
        assert!(Caller::connect(process.address, authority.http1()).await.is_err());

        volume.update(&good.certificate, &good.key);
        until("the webhook is ready", async || {
            plain_get(process.health, "/readyz")
                .await
                .starts_with("HTTP/1.1 200")
                .then_some(())
        })
        .await;
        let caller = Caller::connect(process.address, authority.http1()).await.unwrap();
        let reply = caller.review(review("u", &other(512))).await.unwrap();
        assert!(reply.status.is_success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_executable_ends_with_code_2_before_it_listens_when_the_certificate_cannot_be_read() {
    let directory = TempDir::new().unwrap();
    let missing = directory.path().join("missing.crt");
    let output = Command::new(env!("CARGO_BIN_EXE_heapship"))
        .args([
            "webhook",
            "--listen",
            "127.0.0.1:0",
            "--health-listen",
            "127.0.0.1:0",
            "--tls-cert",
        ])
        .arg(&missing)
        .arg("--tls-key")
        .arg(&missing)
        .env_clear()
        .output()
        .await
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(
        text.contains("cannot read the certificate") && text.contains("--tls-cert"),
        "{text}"
    );
}
