//! What neighbours drop and add; whole cases are files in `tests/inject/`.

use serde_json::{Value, json};

use crate::inject::{Cluster, Context, Decision, KubernetesVersion, Namespace, Outcome, inject, uninject};
use crate::settings::policy::Policies;

fn outcome(pod: &Value, env_files: bool) -> Outcome {
    let cluster = Cluster {
        name: "prod".into(),
        version: KubernetesVersion::NEWEST,
        own_namespace: None,
        env_files,
    };
    let context = Context {
        namespace: &Namespace::default(),
        policies: &Policies::default(),
        cluster: &cluster,
        workload: None,
    };
    inject(pod, &context)
}

fn pod() -> Value {
    let annotations = json!({"heapship.io/inject": "true", "heapship.io/destination": "s3://dumps"});
    json!({"metadata": {"annotations": annotations}, "spec": {"containers": [
        {"name": "app", "image": "shop:1"},
        {"name": "worker", "image": "worker:1", "args": ["$(JAVA_TOOL_OPTIONS)"]},
    ]}})
}

fn injected() -> Value {
    let outcome = outcome(&pod(), true);
    assert_eq!(outcome.decision, Decision::Injected);
    outcome.pod
}

fn list<'v>(pod: &'v mut Value, pointer: &str) -> &'v mut Vec<Value> {
    pod.pointer_mut(pointer).unwrap().as_array_mut().unwrap()
}

fn named<'v>(pod: &'v Value, list: &str, name: &str) -> &'v Value {
    let all = pod["spec"][list].as_array().unwrap();
    all.iter().find(|found| found["name"] == name).unwrap()
}

fn told<'v>(container: &'v Value, variable: &str) -> &'v str {
    let entries = container["env"].as_array().unwrap();
    let entry = entries.iter().find(|entry| entry["name"] == variable).unwrap();
    entry["value"].as_str().unwrap()
}

type Loss = fn(&mut Value);

#[test]
fn what_a_neighbour_drops_is_completed() {
    let whole = injected();
    let drops: [(&str, Loss); 5] = [
        ("a writer", |pod| {
            drop(list(pod, "/spec/initContainers").remove(2));
        }),
        ("the tools", |pod| {
            drop(list(pod, "/spec/initContainers").remove(0));
        }),
        ("the volume", |pod| {
            list(pod, "/spec/volumes").retain(|volume| volume["name"] != "heapship-image-options");
        }),
        ("what the tools are told", |pod| {
            drop(
                pod["spec"]["initContainers"][0]
                    .as_object_mut()
                    .unwrap()
                    .shift_remove("env"),
            );
        }),
        ("the tools' mount", |pod| {
            drop(list(pod, "/spec/initContainers/0/volumeMounts").pop());
        }),
    ];
    for (what, drop_it) in drops {
        let mut partial = whole.clone();
        drop_it(&mut partial);
        assert_ne!(partial, whole, "{what}");
        for env_files in [true, false] {
            assert_eq!(outcome(&partial, env_files).pod, whole, "without {what}");
        }
    }
}

#[test]
fn a_reference_that_a_neighbour_drops_does_not_come_back() {
    let mut partial = injected();
    // As a webhook does whose Kubernetes library does not know the field. Called once more, it would do so again, and an
    // empty `valueFrom` is rejected.
    partial["spec"]["containers"][0]["env"][1]["valueFrom"] = json!({});
    let again = outcome(&partial, true);
    assert_eq!(again.decision, Decision::Injected);
    let entry = &again.pod["spec"]["containers"][0]["env"][1];
    assert_eq!(
        *entry,
        json!({"name": "HEAPSHIP_ORIGINAL_JAVA_TOOL_OPTIONS", "valueFrom": null})
    );
    assert_eq!(outcome(&again.pod, true).patch.0, Vec::new());
    assert_eq!(uninject(&again.pod), pod());
}

#[test]
fn a_pod_that_carries_it_keeps_it_when_the_cluster_is_not_known_to_have_env_files_any_more() {
    let whole = injected();
    let again = outcome(&whole, false);
    assert_eq!(again.patch.0, Vec::new());
    assert_eq!(again.warnings(), outcome(&pod(), true).warnings());
}

#[test]
fn a_container_that_comes_later_gets_a_file_of_its_own_and_changes_no_other() {
    let mut pod = injected();
    let before = pod.clone();
    list(&mut pod, "/spec/containers").insert(0, json!({"name": "later", "image": "later:1"}));
    let after = outcome(&pod, true).pod;
    for writer in ["heapship-image-options", "heapship-image-options-2"] {
        assert_eq!(
            named(&after, "initContainers", writer),
            named(&before, "initContainers", writer)
        );
    }
    let third = named(&after, "initContainers", "heapship-image-options-3");
    assert_eq!(third["image"], "later:1");
    assert_eq!(
        told(third, "HEAPSHIP_ENV_FILES"),
        "/heapship/image-options/later.env"
    );
    let prepared = told(
        named(&after, "initContainers", "heapship-tools"),
        "HEAPSHIP_ENV_FILES",
    );
    for container in ["later", "app", "worker"] {
        assert!(prepared.contains(&format!("/{container}.env")), "{prepared}");
    }
    assert_eq!(outcome(&after, true).patch.0, Vec::new());
}

#[test]
fn containers_that_no_longer_run_one_image_no_longer_share_a_writer() {
    let mut pod = pod();
    pod["spec"]["containers"][1]["image"] = json!("shop:1");
    let mut pod = outcome(&pod, true).pod;
    pod["spec"]["containers"][1]["image"] = json!("mirror/shop:1");
    let after = outcome(&pod, true).pod;
    let files = |writer| told(named(&after, "initContainers", writer), "HEAPSHIP_ENV_FILES");
    assert_eq!(files("heapship-image-options"), "/heapship/image-options/app.env");
    assert_eq!(
        files("heapship-image-options-2"),
        "/heapship/image-options/worker.env"
    );
    assert_eq!(outcome(&after, true).patch.0, Vec::new());
}

#[test]
fn an_init_container_that_stands_before_the_tools_is_not_made_to_wait_for_a_file() {
    let mut pod = injected();
    pod["metadata"]["annotations"]["heapship.io/containers"] = json!("early,app,worker");
    list(&mut pod, "/spec/initContainers").insert(0, json!({"name": "early", "image": "early:1"}));
    let after = outcome(&pod, true).pod;
    let early = named(&after, "initContainers", "early");
    assert!(!early.to_string().contains("fileKeyRef"), "{early}");
}

#[test]
fn an_architecture_that_the_tools_lack_leaves_the_image_its_own_pod() {
    let mut pod = pod();
    let annotations = json!({"heapship.io/inject": "true", "heapship.io/agent": "off"});
    pod["metadata"]["annotations"] = annotations;
    pod["spec"]["nodeSelector"] = json!({"kubernetes.io/arch": "arm64"});
    let policies = Policies::from_yaml(
        "kind: HeapDumpPolicy\nmetadata: {name: a}\nspec: {agent: {architectures: [amd64]}}\n",
    )
    .unwrap();
    let cluster = Cluster {
        name: "prod".into(),
        version: KubernetesVersion::NEWEST,
        own_namespace: None,
        env_files: true,
    };
    let context = Context {
        namespace: &Namespace::default(),
        policies: &policies,
        cluster: &cluster,
        workload: None,
    };
    let outcome = inject(&pod, &context);
    assert_eq!(outcome.decision, Decision::Injected);
    assert_eq!(outcome.pod["spec"]["initContainers"], Value::Null);
}
