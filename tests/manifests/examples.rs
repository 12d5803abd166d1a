//! The examples are injected as they say.

use std::process::Command;

use serde_json::Value;

use super::{files, object, objects, root, text};
use crate::schema::openapi::openapi;

/// What `heapship inject` makes of an example.
fn injected(file: &str) -> Vec<Value> {
    injected_by("manifests/examples/policy-file-store.yaml", file)
}

fn injected_by(policies: &str, file: &str) -> Vec<Value> {
    let output = Command::new(env!("CARGO_BIN_EXE_heapship"))
        .args(["inject", "--policy", policies, "-f", file])
        .current_dir(root())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{file}: {said}");
    objects(&String::from_utf8(output.stdout).unwrap())
}

fn workload<'o>(objects: &'o [Value], name: &str) -> &'o Value {
    let mut found = objects.iter().filter(|object| object["kind"] == "Deployment");
    &found.find(|object| object["metadata"]["name"] == name).unwrap()["spec"]["template"]
}

fn decision(template: &Value) -> &str {
    let status = template["metadata"]["annotations"]["heapship.io/status"].as_str();
    status.map_or("", |status| status.split('"').nth(3).unwrap())
}

#[test]
fn every_example_but_the_one_that_opts_out_is_injected() {
    let mut names = Vec::new();
    for file in files("manifests/examples") {
        if file.contains("/installation/") || file.contains("policy-") {
            continue;
        }
        for object in injected(&file) {
            if object["kind"] != "Deployment" {
                continue;
            }
            if let Some(openapi) = openapi() {
                assert_eq!(openapi.faults(&object), Vec::<String>::new(), "{file}");
            }
            let name = object["metadata"]["name"].as_str().unwrap().to_owned();
            names.push((name, decision(&object["spec"]["template"]).to_owned()));
        }
    }
    let expected = [
        ("leak", "injected"),
        ("cart", "injected"),
        // Left without a trace.
        ("cards", ""),
        ("orders", "injected"),
        ("ledger", "injected"),
        ("search", "injected"),
    ];
    names.sort();
    let mut expected: Vec<_> = expected
        .map(|(name, said)| (name.to_owned(), said.to_owned()))
        .into();
    expected.sort();
    assert_eq!(names, expected);
}

#[test]
fn a_dump_on_a_claim_has_ten_minutes_and_a_folder_for_each_pod() {
    let objects = injected("manifests/examples/pre-stop-on-a-claim.yaml");
    let spec = &workload(&objects, "ledger")["spec"];
    assert_eq!(spec["terminationGracePeriodSeconds"], 600);
    let mounts = spec["containers"][0]["volumeMounts"].as_array().unwrap();
    let dumps = mounts
        .iter()
        .find(|mount| mount["name"] == "heapship-dumps")
        .unwrap();
    assert_eq!(dumps["subPathExpr"], "$(HEAPSHIP_POD_UID)/app");
}

#[test]
fn only_the_agent_sees_the_stores_credentials() {
    let objects = injected("manifests/examples/s3-credentials.yaml");
    let spec = &workload(&objects, "search")["spec"];
    assert!(!spec["containers"].to_string().contains("heap-dump-store"));
    assert!(spec["initContainers"].to_string().contains("heap-dump-store"));
}

#[test]
fn examples_say_what_people_build_by_hand() {
    for file in files("manifests/examples") {
        if !file.contains("/installation/") && !file.contains("policy-") {
            assert!(
                text(&file).starts_with("# ") && text(&file).contains("By hand:"),
                "{file}"
            );
        }
    }
}

#[test]
fn the_policy_that_is_installed_leaves_everything_to_annotations() {
    let installed = object("manifests/base/policies.yaml", "ConfigMap");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, installed["data"]["policies.yaml"].as_str().unwrap()).unwrap();
    for (example, name) in [("s3-credentials", "search"), ("namespace", "cart")] {
        let example = format!("manifests/examples/{example}.yaml");
        let objects = injected_by(file.path().to_str().unwrap(), &example);
        assert_eq!(decision(workload(&objects, name)), "injected", "{example}");
    }
}
