//! A neighbour changed the pod after us, and we are called again.

use super::*;

fn injected(pod: &Value) -> Value {
    let outcome = outcome(pod);
    assert_eq!(outcome.decision, Decision::Injected, "{pod}");
    outcome.pod
}

fn list<'v>(pod: &'v Value, key: &str) -> &'v Vec<Value> {
    pod["spec"][key].as_array().unwrap()
}

fn agent<'v>(pod: &'v Value, name: &str) -> &'v Value {
    list(pod, "initContainers")
        .iter()
        .find(|found| found["name"] == name)
        .unwrap()
}

fn ships_for(agent: &Value) -> Vec<String> {
    let entries = agent["env"].as_array().unwrap();
    let told = entries
        .iter()
        .find(|entry| entry["name"] == "HEAPSHIP_CONTAINERS")
        .unwrap();
    let told: Vec<Value> = serde_json::from_str(told["value"].as_str().unwrap()).unwrap();
    told.iter()
        .map(|one| one["name"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn an_agent_keeps_its_containers_where_another_user_came_in_front() {
    let mut pod = injected(&json!({"metadata": {"name": "a"}, "spec": {
        "containers": [{"name": "app", "image": "i", "securityContext": {"runAsUser": 1000}}]}}));
    let proxy = json!({"name": "proxy", "image": "p", "securityContext": {"runAsUser": 1337}});
    pod["spec"]["containers"].as_array_mut().unwrap().insert(0, proxy);
    let again = injected(&pod);
    let (first, second) = (agent(&again, "heapship-agent"), agent(&again, "heapship-agent-2"));
    assert_eq!(
        (ships_for(first), &first["securityContext"]["runAsUser"]),
        (vec!["app".to_owned()], &json!(1000))
    );
    assert_eq!(
        (ships_for(second), &second["securityContext"]["runAsUser"]),
        (vec!["proxy".to_owned()], &json!(1337))
    );
}

#[test]
fn dumps_are_shipped_of_a_container_that_a_mesh_did_not_make_the_default() {
    let mut pod = injected(&json!({"metadata": {"name": "a"}, "spec": {
        "securityContext": {"runAsUser": 1000},
        "containers": [{"name": "app", "image": "i"}, {"name": "worker", "image": "i"}]}}));
    pod["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"] = json!("app");
    assert_eq!(
        ships_for(agent(&injected(&pod), "heapship-agent")),
        ["app", "worker"]
    );
}

#[test]
fn a_probe_that_came_after_the_grace_was_raised_gets_the_old_one() {
    let mut pod = json!({"metadata": {"name": "a", "annotations": {"heapship.io/pre-stop": "live"}}, "spec": {
        "terminationGracePeriodSeconds": 20, "containers": [{"name": "app", "image": "i"}]}});
    pod = injected(&pod);
    let proxy = json!({"name": "istio-proxy", "image": "p", "livenessProbe": {"tcpSocket": {"port": 1}}});
    pod["spec"]["containers"]
        .as_array_mut()
        .unwrap()
        .push(proxy.clone());
    let again = injected(&pod);
    let probe = &list(&again, "containers")[1]["livenessProbe"];
    assert_eq!(probe["terminationGracePeriodSeconds"], 20);
    assert_eq!(list(&uninject(&again), "containers")[1], proxy);
}
