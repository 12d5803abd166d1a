//! Annotations: of ours right and wrong, of others.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::random::Random;

/// What may be written, with the chance in percent that a pod says it at all.
const SETTINGS: [(&str, usize, &[&str]); 18] = [
    (
        "containers",
        25,
        &[
            "*",
            "app",
            "app,worker",
            "worker, app ,app",
            "app,migrate",
            "app,migrate",
            "app,warm-up",
            "migrate",
            "app,log-shipper",
            "istio-proxy",
            "nobody",
        ],
    ),
    ("on-oom", 35, &["dump", "dump-and-exit", "dump-and-exit", "off"]),
    ("pre-stop", 50, &["off", "live", "all"]),
    ("pre-stop-order", 25, &["auto", "before", "after"]),
    ("pre-stop-delay", 15, &["0s", "5s", "1m30s", "250ms"]),
    ("termination-grace-period", 25, &["600s", "1s", "20m", "0.5s"]),
    ("upload-grace", 25, &["auto", "45s", "300s", "1h"]),
    ("agent", 15, &["on", "off"]),
    ("image-options", 15, &["auto", "off"]),
    ("liveness", 30, &["keep", "extend", "extend"]),
    (
        "volume",
        30,
        &[
            "emptyDir",
            "emptyDir:1Gi",
            "emptyDir:500Gi",
            "pvc:dumps",
            "ephemeral:fast:20Gi",
        ],
    ),
    (
        "destination",
        85,
        &[
            "s3://dumps",
            "s3://dumps",
            "s3://dumps/prod/$(X)/$$",
            "s3://elsewhere",
            "file:///store/dumps",
            "gs://dumps",
            "",
        ],
    ),
    (
        "key-template",
        10,
        &[
            "{pod}/{time}.hprof",
            "{namespace}/{uid}/{container}/{time}-{reason}.hprof",
        ],
    ),
    ("compression", 15, &["gzip", "zstd", "none"]),
    ("credentials-secret", 20, &["store-credentials"]),
    ("run-as-user", 10, &["1001", "0", "70000"]),
    (
        "java-options-variable",
        12,
        &["JAVA_TOOL_OPTIONS", "ES_JAVA_OPTS", "JAVA_OPTS", "OTHER"],
    ),
    ("max-dumps", 15, &["3", "10", "100"]),
];

pub(super) fn of_pod(random: &mut Random, clean: bool) -> Value {
    let mut annotations = json!({});
    if random.percent(40) {
        annotations["example.com/team"] = json!("a");
    }
    match random.below(if clean { 40 } else { 12 }) {
        0 => annotations["heapship.io/inject"] = json!("false"),
        1 => {}
        2 => annotations["heapship.io/inject"] = json!(" true "),
        _ => annotations["heapship.io/inject"] = json!("true"),
    }
    for (key, value) in settings(random, clean, 100) {
        annotations[key] = json!(value);
    }
    if random.percent(10) {
        let container = random.pick(&["app", "worker", "istio-proxy", "gone"]);
        annotations["kubectl.kubernetes.io/default-container"] = json!(container);
    }
    if random.one_in(30) {
        annotations["heapship.io/pre-stopp"] = json!("live");
    }
    if !clean && random.one_in(20) {
        annotations["heapship.io/replaced"] = json!(random.garbage());
    }
    if random.percent(10) {
        annotations = json!({});
        if random.percent(50) {
            annotations = Value::Null;
        }
    }
    annotations
}

/// Settings under their keys; `chance` scales how talkative the object is.
pub(super) fn settings(random: &mut Random, clean: bool, chance: usize) -> BTreeMap<String, String> {
    let mut settings = BTreeMap::new();
    let mangled = !clean && random.one_in(4);
    for (key, likely, values) in SETTINGS {
        if !random.percent(likely * chance / 100) {
            continue;
        }
        // A container that the pod has not, or a store that is not supported yet: of clean pods, hardly any.
        let values = if clean && values.len() > 2 && random.percent(90) {
            &values[..values.len() - 1]
        } else {
            values
        };
        let mut value = (*random.pick(values)).to_owned();
        if mangled && random.one_in(3) {
            value = random.garbage();
        }
        settings.insert(format!("heapship.io/{key}"), value);
    }
    settings
}
