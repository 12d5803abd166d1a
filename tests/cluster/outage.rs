//! The webhook is away, or on its way: pods are created all the same, and nobody is missed without being told.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::bed::load::{Load, failed_open, is_injected};
use crate::bed::workloads::App;
use crate::bed::{Bed, SOON, eventually, heapship, installed, kubectl};

const STATUS: &str =
    r#"heapship.io/status: '{"decision":"injected","containers":["app"],"agents":["heapship-agent"]}'"#;

#[tokio::test]
async fn pods_are_created_while_the_webhook_is_down_and_check_names_them() {
    let bed = Bed::alone("down").await;
    installed::stop().await;
    let app = App {
        name: "missed",
        java: "-Xmx64m, -XX:+UseSerialGC, -cp, /app, Serve",
        ..App::default()
    };
    bed.apply(&app.deployment());
    let pod = bed.pod_of("missed").await;
    assert!(!is_injected(&pod));
    // What it looks like when somebody takes the agent off again behind the webhook.
    let stripped = App {
        name: "stripped",
        annotations: &[STATUS],
        java: "-version",
        ..App::default()
    };
    let warnings = bed.apply(&stripped.pod());
    assert!(
        warnings
            .iter()
            .any(|line| line.contains("the agent heapship-agent was injected and is gone")),
        "{warnings:?}"
    );
    let down = heapship::run(&["check", "-n", &bed.namespace]);
    installed::start();
    assert_eq!(down.status, Some(1), "{}", down.text);
    let up = heapship::run(&["check", "-n", &bed.namespace]);
    assert_eq!(up.status, Some(1), "{}", up.text);
    for check in [&down, &up] {
        assert!(
            check.says("missed") && check.says("kubectl rollout restart"),
            "the workload and what to do: {}",
            check.text
        );
    }
    kubectl::run(&["-n", &bed.namespace, "rollout", "restart", "deployment/missed"]);
    kubectl::run(&[
        "-n",
        &bed.namespace,
        "rollout",
        "status",
        "deployment/missed",
        "--timeout=180s",
    ]);
    kubectl::run(&["-n", &bed.namespace, "delete", "pod", "stripped"]);
    let mended = eventually("check finds no fault", SOON, async || {
        let check = heapship::run(&["check", "-n", &bed.namespace]);
        (check.status == Some(0)).then_some(check)
    });
    mended.await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_misses_none_of_three_thousand_pods() {
    let bed = Bed::alone("rolling").await;
    let before = failed_open();
    let load = Load::begin(&bed, 50, 3_000);
    // Once in full swing, and again as soon as that is over.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let mut restarts = 0;
    while !load.is_over() {
        installed::restart();
        restarts += 1;
    }
    let counts = load.finish().await;
    assert!(restarts >= 1);
    assert_eq!(counts.failed.load(Ordering::SeqCst), 0);
    assert_eq!(
        counts.missed.load(Ordering::SeqCst),
        0,
        "after {restarts} restarts"
    );
    assert_eq!(counts.injected.load(Ordering::SeqCst), 3_000);
    assert!((failed_open() - before).abs() < f64::EPSILON);
}
