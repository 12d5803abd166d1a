//! Certificates that are renewed, lost and broken, in all three modes, while pods are created.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bed::load::{Load, failed_open};
use crate::bed::{Bed, SOON, eventually, installed, kubectl};

const SECRET: &str = "heapship-certificates";
/// What changes pods, and what only warns.
const REGISTRATION: [&str; 2] = [
    "mutatingwebhookconfiguration/heapship",
    "validatingwebhookconfiguration/heapship",
];

/// The bundles of all entries of one object.
fn bundles_of(object: &str) -> Vec<String> {
    let object: Value = serde_json::from_str(&kubectl::run(&["get", object, "-o", "json"])).unwrap();
    let entries = object["webhooks"].as_array().unwrap().iter();
    let bundle = |entry: &Value| {
        entry["clientConfig"]["caBundle"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    entries.map(bundle).collect()
}

/// The bundles of all entries.
pub(crate) fn bundles() -> Vec<String> {
    REGISTRATION.into_iter().flat_map(bundles_of).collect()
}

pub(crate) async fn assert_nobody_noticed(load: Load, before: f64) {
    let counts = load.finish().await;
    assert_eq!(counts.failed.load(Ordering::SeqCst), 0);
    assert_eq!(counts.missed.load(Ordering::SeqCst), 0);
    assert!(counts.injected.load(Ordering::SeqCst) > 0);
    assert!((failed_open() - before).abs() < f64::EPSILON);
}

/// Changes how long certificates live, and begins anew: those that are there are renewed by their own life, and replicas
/// that run remember their CA.
async fn lives(variables: [&str; 2]) {
    let call = |arguments: &[&str]| kubectl::run(&[&["-n", installed::NAMESPACE], arguments].concat());
    installed::stop().await;
    call(&["delete", "secret", SECRET]);
    call(&["set", "env", "deployment/heapship", variables[0], variables[1]]);
    installed::start();
}

#[tokio::test(flavor = "multi_thread")]
async fn leaf_and_ca_are_renewed_every_twenty_seconds_and_no_call_fails() {
    let bed = Bed::alone("renewal").await;
    // Two thirds of thirty seconds.
    lives(["HEAPSHIP_CA_LIFETIME=30s", "HEAPSHIP_CERTIFICATE_LIFETIME=30s"]).await;
    let before = failed_open();
    let load = Load::begin(&bed, 50, 6_000);
    let mut seen = std::collections::BTreeSet::new();
    while !load.is_over() {
        seen.extend(bundles());
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_nobody_noticed(load, before).await;
    lives(["HEAPSHIP_CA_LIFETIME-", "HEAPSHIP_CERTIFICATE_LIFETIME-"]).await;
    assert!(
        seen.len() >= 5,
        "the bundle changed {} times in two minutes",
        seen.len()
    );
}

#[tokio::test]
async fn a_ca_bundle_that_somebody_cleared_is_repaired_within_five_seconds() {
    let _bed = Bed::alone("cleared").await;
    is_repaired().await;
}

/// Takes the bundle away and waits for it.
pub(crate) async fn is_repaired() {
    let whole = || bundles().iter().all(|bundle| !bundle.is_empty());
    assert!(whole());
    for object in REGISTRATION {
        let operations: Vec<Value> = (0..bundles_of(object).len())
            .map(|index| json!({"op": "remove", "path": format!("/webhooks/{index}/clientConfig/caBundle")}))
            .collect();
        let operations = Value::Array(operations).to_string();
        kubectl::run(&["patch", object, "--type=json", "-p", &operations]);
    }
    let cleared = Instant::now();
    eventually("every entry has a bundle again", SOON, async || {
        whole().then_some(())
    })
    .await;
    assert!(
        cleared.elapsed() < Duration::from_secs(5),
        "after {:?}",
        cleared.elapsed()
    );
}

#[tokio::test]
async fn a_secret_that_somebody_deleted_or_filled_with_garbage_is_made_anew() {
    let bed = Bed::alone("secret").await;
    let secret = ["-n", installed::NAMESPACE, "secret", SECRET];
    kubectl::run(&[secret[0], secret[1], "delete", secret[2], secret[3]]);
    kubectl::until_there(installed::NAMESPACE, "secret", SECRET);
    let garbage = r#"{"data":{"tls.crt":"Z2FyYmFnZQ==","tls.key":"Z2FyYmFnZQ=="}}"#;
    kubectl::run(&[
        secret[0],
        secret[1],
        "patch",
        secret[2],
        secret[3],
        "--type=merge",
        "-p",
        garbage,
    ]);
    let before = failed_open();
    installed::restart();
    let load = Load::begin(&bed, 20, 40);
    assert_nobody_noticed(load, before).await;
}
