//! What people install: the chart, what is rendered from it, and the examples.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use heapship::inject::KubernetesVersion;
use heapship::metrics::Metrics;
use heapship::names;
use heapship::settings::policy::Policies;
use heapship::yaml;
use serde_json::{Value, json};

use crate::schema::openapi::openapi;

mod certificates;
mod examples;
mod rendering;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn text(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The objects of a stream.
fn objects(stream: &str) -> Vec<Value> {
    let documents = yaml::read(stream).unwrap_or_else(|error| panic!("{error}\n{stream}"));
    let values = documents.into_iter().map(|document| document.value);
    values.filter(|value| !value.is_null()).collect()
}

/// The one object of a kind in a file.
fn object(file: &str, kind: &str) -> Value {
    let mut found = objects(&text(file))
        .into_iter()
        .filter(|object| object["kind"] == kind);
    found.next().unwrap_or_else(|| panic!("{file} has no {kind}"))
}

/// Manifests in a folder and below, but for what is no object of Kubernetes.
fn files(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root().join(folder)).unwrap() {
        let name = format!("{folder}/{}", entry.unwrap().file_name().to_string_lossy());
        if root().join(&name).is_dir() {
            found.extend(files(&name));
        } else if Path::new(&name).extension().is_some_and(|kind| kind == "yaml")
            && !name.ends_with("kustomization.yaml")
        {
            found.push(name);
        }
    }
    found.sort();
    found
}

#[test]
fn every_manifest_fits_kubernetes() {
    let Some(openapi) = openapi() else { return };
    let folders = [
        "manifests/base",
        "manifests/overlays",
        "manifests/components",
        "manifests/examples",
        "certs",
    ];
    for file in folders.into_iter().flat_map(files) {
        for object in objects(&text(&file)) {
            assert_eq!(openapi.faults(&object), Vec::<String>::new(), "{file}");
        }
    }
}

#[test]
fn the_chart_has_the_version_of_the_executables() {
    let chart = &objects(&text("manifests/chart/Chart.yaml"))[0];
    assert_eq!(chart["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
    let deployment = object("manifests/base/deployment.yaml", "Deployment");
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], names::DEFAULT_IMAGE);
}

#[test]
fn the_registration_has_the_entries_that_the_code_knows() {
    let registration = object("manifests/base/registration.yaml", "MutatingWebhookConfiguration");
    assert_eq!(registration["metadata"]["name"], names::WEBHOOK);
    assert!(names::WEBHOOK < "pod-identity-webhook");
    let entries = registration["webhooks"].as_array().unwrap();
    let found: Vec<&str> = entries
        .iter()
        .filter_map(|entry| entry["name"].as_str())
        .collect();
    assert_eq!(found, names::WEBHOOK_ENTRIES);
    for entry in entries {
        assert_eq!(entry["failurePolicy"], "Ignore");
        assert_eq!(entry["timeoutSeconds"], 2);
        assert_eq!(entry["reinvocationPolicy"], "IfNeeded");
        assert_eq!(entry["sideEffects"], "NoneOnDryRun");
        assert_eq!(
            entry["clientConfig"].get("caBundle"),
            None,
            "whoever applies it would clear it"
        );
        let excluded = entry["namespaceSelector"]["matchExpressions"].as_array().unwrap();
        assert!(excluded.contains(&json!({
            "key": names::NAMESPACE_NAME_LABEL, "operator": "NotIn",
            "values": ["kube-system", "kube-node-lease", "heapship-system"],
        })));
    }
    for (index, operator) in [(0, "In"), (1, "NotIn")] {
        let selected = &entries[index]["namespaceSelector"]["matchExpressions"][0];
        let wanted = json!({"key": names::INJECTION_LABEL, "operator": operator, "values": [names::INJECTION_ENABLED]});
        assert_eq!(selected, &wanted);
    }
    let condition = entries[1]["matchConditions"][0]["expression"].as_str().unwrap();
    assert!(condition.contains(&format!("startsWith('{}')", names::PREFIX)));
}

#[test]
fn the_registration_that_only_warns_names_every_workload_and_can_neither_hold_up_nor_change_one() {
    let registration = object(
        "manifests/base/registration.yaml",
        "ValidatingWebhookConfiguration",
    );
    assert_eq!(registration["metadata"]["name"], names::WEBHOOK);
    let entries = registration["webhooks"].as_array().unwrap();
    let found: Vec<&str> = entries
        .iter()
        .filter_map(|entry| entry["name"].as_str())
        .collect();
    assert_eq!(found, names::WARNING_ENTRIES);
    for (entry, operator) in entries.iter().zip(["In", "NotIn"]) {
        assert_eq!(entry["failurePolicy"], "Ignore");
        assert_eq!(entry["timeoutSeconds"], 2);
        assert_eq!(entry["sideEffects"], "None");
        let client = &entry["clientConfig"];
        assert_eq!(client["service"]["path"], heapship::admission::http::WARN_PATH);
        assert_eq!(client.get("caBundle"), None);
        let rules = entry["rules"].as_array().unwrap().iter();
        let called: Vec<(&str, &str)> = rules
            .flat_map(|rule| {
                let group = rule["apiGroups"][0].as_str().unwrap();
                assert_eq!(rule["operations"], json!(["CREATE", "UPDATE"]));
                let resources = rule["resources"].as_array().unwrap().iter();
                resources.map(move |resource| (group, resource.as_str().unwrap()))
            })
            .collect();
        assert_eq!(called, heapship::admission::review::WORKLOADS);
        let selected = entry["namespaceSelector"]["matchExpressions"].as_array().unwrap();
        assert_eq!(
            selected,
            &[
                json!({"key": names::INJECTION_LABEL, "operator": operator, "values": [names::INJECTION_ENABLED]}),
                json!({
                    "key": names::NAMESPACE_NAME_LABEL, "operator": "NotIn",
                    "values": ["kube-system", "kube-node-lease", "heapship-system"],
                }),
            ]
        );
    }
    let condition = entries[1]["matchConditions"][2]["expression"].as_str().unwrap();
    assert!(condition.contains(&format!("startsWith('{}')", names::PREFIX)));
}

#[test]
fn policies_that_are_installed_can_be_read_and_name_the_image() {
    let installed = object("manifests/base/policies.yaml", "ConfigMap");
    let default = installed["data"]["policies.yaml"].as_str().unwrap();
    let own = text("manifests/examples/installation/policies.yaml");
    for policies in [default, &own] {
        Policies::from_yaml(policies).unwrap();
        for policy in objects(policies) {
            assert_eq!(policy["spec"]["agent"]["image"], names::DEFAULT_IMAGE);
        }
    }
    let deployment = object("manifests/base/deployment.yaml", "Deployment");
    let copied = &deployment["spec"]["template"]["metadata"]["annotations"]["install.heapship.io/policies"];
    assert_eq!(copied, default, "a change of the policies must roll the pods");
}

#[test]
fn the_webhook_keeps_to_the_restricted_level_and_to_its_drain() {
    let deployment = object("manifests/base/deployment.yaml", "Deployment");
    let spec = &deployment["spec"]["template"]["spec"];
    assert_eq!(spec["terminationGracePeriodSeconds"], 35);
    assert_eq!(spec["securityContext"]["runAsNonRoot"], true);
    assert_eq!(
        spec["securityContext"]["seccompProfile"]["type"],
        "RuntimeDefault"
    );
    let security = &spec["containers"][0]["securityContext"];
    assert_eq!(security["allowPrivilegeEscalation"], false);
    assert_eq!(security["readOnlyRootFilesystem"], true);
    assert_eq!(security["capabilities"], json!({"drop": ["ALL"]}));
    let strategy = &deployment["spec"]["strategy"]["rollingUpdate"];
    assert_eq!(strategy, &json!({"maxUnavailable": 0, "maxSurge": 1}));
    for (field, path) in [
        ("startupProbe", "/healthz"),
        ("livenessProbe", "/healthz"),
        ("readinessProbe", "/readyz"),
    ] {
        assert_eq!(spec["containers"][0][field]["httpGet"]["path"], path);
    }
}

#[test]
fn nothing_may_read_every_secret_or_change_another_registration() {
    let files = ["permissions", "people"].map(|name| format!("manifests/base/{name}.yaml"));
    let roles = files
        .iter()
        .map(String::as_str)
        .chain(["manifests/overlays/self-managed/certificates.yaml"]);
    for role in roles.flat_map(|file| objects(&text(file))) {
        for rule in role["rules"].as_array().into_iter().flatten() {
            let has = |list: &str, item: &str| rule[list].as_array().unwrap().contains(&json!(item));
            assert!(!has("verbs", "*") && !has("resources", "*"), "{rule}");
            let named = rule["resourceNames"].is_array();
            let creates = rule["verbs"] == json!(["create"]);
            assert!(!has("resources", "secrets") || named || creates, "{rule}");
            let writes = ["patch", "update", "delete"]
                .into_iter()
                .any(|verb| has("verbs", verb));
            for kind in ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"] {
                assert!(!has("resources", kind) || named || !writes, "{rule}");
            }
        }
    }
}

#[test]
fn every_verb_of_the_webhook_has_its_reason() {
    let stated = ["permissions.yaml", "certificates.yaml"]
        .map(|name| text(&format!("manifests/chart/templates/{name}")));
    for template in stated {
        let mut comments = String::new();
        for line in template.lines().map(str::trim) {
            if let Some(comment) = line.strip_prefix("# ") {
                comments.push_str(comment);
                comments.push('\n');
            } else if let Some(verbs) = line.strip_prefix("verbs: [") {
                for verb in verbs.trim_end_matches(']').split(", ") {
                    let reason = comments.lines().any(|line| {
                        let heads = line.split(". ").filter_map(|sentence| sentence.split_once(':'));
                        heads
                            .flat_map(|(head, _)| head.split(", "))
                            .any(|head| head == verb)
                    });
                    assert!(reason, "{verb} in {comments}");
                }
                comments.clear();
            }
        }
    }
}

#[test]
fn every_alert_has_a_section_that_says_what_to_do() {
    let guide = text("docs/operations.md");
    let headings: BTreeSet<&str> = guide
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .collect();
    let groups = &objects(&text("manifests/chart/files/rules.yaml"))[0];
    let mut alerts = BTreeSet::new();
    for rule in groups[0]["rules"].as_array().unwrap() {
        let alert = rule["alert"].as_str().unwrap();
        let link = rule["annotations"]["runbook_url"].as_str().unwrap();
        assert!(
            link.ends_with(&format!("docs/operations.md#{}", alert.to_lowercase())),
            "{link}"
        );
        assert!(headings.contains(alert), "{alert} has no section");
        alerts.insert(alert);
    }
    let stale: Vec<&&str> = headings
        .iter()
        .filter(|heading| heading.starts_with("Heapship") && !alerts.contains(**heading))
        .collect();
    assert_eq!(stale, Vec::<&&str>::new());
}

#[test]
fn alerts_and_dashboard_ask_for_metrics_that_there_are() {
    let metrics = Metrics::default();
    // What has no sample has no line either.
    metrics.request("", "", Duration::ZERO);
    let exposed = metrics.encode().unwrap();
    // A counter has a suffix, a histogram several.
    let known: BTreeMap<&str, &str> = exposed
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .collect();
    for file in ["rules.yaml", "dashboard.json"] {
        let asked = text(&format!("manifests/chart/files/{file}"));
        for name in asked.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            if name.starts_with("heapship_webhook_") {
                let base = ["_total", "_bucket"]
                    .iter()
                    .find_map(|end| name.strip_suffix(end));
                assert!(known.contains_key(base.unwrap_or(name)), "{file} asks for {name}");
                assert_eq!(
                    known.get(name),
                    known.get(name).filter(|kind| **kind == "gauge"),
                    "{name} lacks its suffix"
                );
            }
        }
    }
}

#[test]
fn the_chart_refuses_clusters_without_native_sidecars() {
    let chart = &objects(&text("manifests/chart/Chart.yaml"))[0];
    let oldest = chart["kubeVersion"].as_str().unwrap().trim_start_matches(">=");
    assert_eq!(
        KubernetesVersion::parse(oldest),
        Some(KubernetesVersion { major: 1, minor: 29 })
    );
}

#[test]
fn the_audit_of_the_injection_finds_its_words_in_what_the_webhook_writes() {
    let policy = text("manifests/chart/templates/injection-audit.yaml");
    for words in [
        r#""decision":"injected""#,
        r#""agents":[""#,
        names::STATUS,
        names::REPLACED,
    ] {
        assert!(policy.contains(words), "{words}");
    }
    let case = &objects(&text("tests/inject/options-literal/patched.yaml"))[0];
    let written = |key: &str| case["metadata"]["annotations"][key].as_str().unwrap_or_default();
    assert!(written(names::STATUS).contains(r#""decision":"injected""#));
    assert!(written(names::STATUS).contains(r#""agents":["heapship-agent"]"#));
    // What the expression of the variable `options` matches: the option variable and its front.
    assert!(written(names::REPLACED).contains(r#""JAVA_TOOL_OPTIONS":{"front":"-XX:"#));
}

#[test]
fn every_variable_of_the_deployment_is_one_of_the_webhook() {
    let help = Command::new(env!("CARGO_BIN_EXE_heapship"))
        .args(["webhook", "--help"])
        .output()
        .unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let deployments = [
        "manifests/chart/templates/deployment.yaml",
        "manifests/components/mounted-certificate/kustomization.yaml",
        "manifests/overlays/provided/kustomization.yaml",
        "manifests/examples/installation/kustomization.yaml",
    ];
    for file in deployments {
        for line in text(file).lines() {
            if let Some((_, variable)) = line.split_once("name: HEAPSHIP_") {
                assert!(
                    help.contains(&format!("[env: HEAPSHIP_{variable}=]")),
                    "{file}: HEAPSHIP_{variable}"
                );
            }
        }
    }
}
