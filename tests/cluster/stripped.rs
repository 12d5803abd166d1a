//! A webhook that was built before native sidecars takes `restartPolicy` off our agent: the application starts all the same.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use serde_json::{Value, json};

use crate::bed::workloads::App;
use crate::bed::{Bed, heapship, kubectl};

/// What such a webhook does, in the API server itself: it comes before us, and again after our first turn. It matches every
/// pod: what did not match before us is not called for the first time after us.
struct Stripper(String);

impl Stripper {
    fn in_the_namespace_of(bed: &Bed) -> Self {
        let name = format!("strips-{}", bed.namespace);
        kubectl::apply(&format!(
            "apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {{name: {name}}}
spec:
  failurePolicy: Fail
  reinvocationPolicy: IfNeeded
  matchConstraints:
    resourceRules:
    - {{apiGroups: [''], apiVersions: [v1], operations: [CREATE], resources: [pods]}}
  mutations:
  - patchType: JSONPatch
    jsonPatch:
      expression: >
        (has(object.spec.initContainers) ? object.spec.initContainers : []).transformList(i, c, has(c.restartPolicy),
        JSONPatch{{op: 'remove', path: '/spec/initContainers/' + string(i) + '/restartPolicy'}})
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {{name: {name}}}
spec:
  policyName: {name}
  matchResources:
    namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {namespace}}}}}
",
            namespace = bed.namespace
        ));
        Self(name)
    }
}

impl Drop for Stripper {
    fn drop(&mut self) {
        for kind in ["mutatingadmissionpolicybinding", "mutatingadmissionpolicy"] {
            drop(kubectl::output(&["delete", kind, &self.0, "--wait=false"], ""));
        }
    }
}

/// The pod as the API server would store it, as far as we can tell, with what a second turn of the other webhook would take.
fn dry_run(bed: &Bed, manifest: &str) -> Value {
    let arguments = [
        "-n",
        bed.namespace.as_str(),
        "create",
        "--dry-run=server",
        "-o",
        "json",
        "-f",
        "-",
    ];
    let output = kubectl::output(&arguments, manifest);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

fn agent_of(pod: &mut Value) -> &mut Value {
    let containers = pod["spec"]["initContainers"].as_array_mut().unwrap();
    containers
        .iter_mut()
        .find(|container| container["name"] == "heapship-agent")
        .unwrap()
}

fn is_marked(agent: &Value) -> bool {
    let mut entries = agent["env"].as_array().into_iter().flatten();
    entries.any(|entry| entry["name"] == "HEAPSHIP_PROVE_SIDECAR" && entry["value"] == "true")
}

fn agent_status(pod: &Pod) -> Option<ContainerStatus> {
    let statuses = pod.status.as_ref()?.init_container_statuses.as_ref()?;
    statuses
        .iter()
        .find(|status| status.name == "heapship-agent")
        .cloned()
}

fn runs(pod: &Pod) -> bool {
    let statuses = pod
        .status
        .as_ref()
        .and_then(|status| status.container_statuses.as_ref());
    statuses
        .into_iter()
        .flatten()
        .any(|status| status.name == "app" && status.started == Some(true))
}

#[tokio::test]
async fn an_agent_whose_restart_policy_was_put_back_is_started_twice_and_ships() {
    let bed = Bed::shared("put-back").await;
    let _stripper = Stripper::in_the_namespace_of(&bed);
    let app = App {
        name: "leak",
        ..App::default()
    };
    // A policy takes effect a moment after it was made.
    bed.eventually("the stripper is at work", async || {
        is_marked(agent_of(&mut dry_run(&bed, &app.pod()))).then_some(())
    })
    .await;
    let said = bed.apply(&app.pod()).join("\n");
    assert!(said.contains("restartPolicy"), "{said}");
    let mut stored: Value = serde_json::to_value(bed.pod("leak").await).unwrap();
    let agent = agent_of(&mut stored);
    assert!(
        agent["restartPolicy"] == "Always" && is_marked(agent),
        "{agent:#}"
    );
    bed.shipped(1).await[0].assert_whole();
    let status = agent_status(&bed.pod("leak").await).unwrap();
    assert_eq!(status.restart_count, 1, "{status:?}");
    let ended = status.last_state.unwrap().terminated.unwrap();
    assert_eq!(ended.exit_code, 0);
    assert!(ended.message.unwrap_or_default().contains("restartPolicy"));
}

#[tokio::test]
async fn a_pod_whose_agent_became_an_init_container_runs_and_check_finds_it() {
    let bed = Bed::shared("stripped").await;
    let app = App {
        name: "alive",
        java: "-Xmx64m, -XX:+UseSerialGC, -cp, /app, Serve",
        ..App::default()
    };
    let mut pod = {
        let _stripper = Stripper::in_the_namespace_of(&bed);
        bed.eventually("the stripper is at work", async || {
            let mut pod = dry_run(&bed, &app.pod());
            is_marked(agent_of(&mut pod)).then_some(pod)
        })
        .await
    };
    agent_of(&mut pod)
        .as_object_mut()
        .unwrap()
        .shift_remove("restartPolicy");
    // Nobody is asked about this one: it is stored as it is.
    pod["metadata"] = json!({"name": "alive", "labels": {"app": "alive", "e2e": "yes"}});
    pod.as_object_mut().unwrap().shift_remove("status");
    bed.apply(&pod.to_string());
    let running = bed.pod_until("alive", "its application runs", runs).await;
    let ended = agent_status(&running).unwrap().state.unwrap().terminated.unwrap();
    assert_eq!(ended.exit_code, 0);
    let message = ended.message.unwrap_or_default();
    assert!(message.contains("restartPolicy"), "{message}");
    let check = heapship::run(&["check", "-n", &bed.namespace]);
    assert_eq!(check.status, Some(1), "{}", check.text);
    assert!(
        check.says("took its restartPolicy: Always away"),
        "{}",
        check.text
    );
}
