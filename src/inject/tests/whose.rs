//! What is ours and what is not: by structure, never by a name alone.

use super::*;
use crate::inject::workload::owner;

fn agent(name: &str, program: &str) -> Value {
    json!({"name": name, "command": [program, "ship"]})
}

#[test]
fn a_container_is_ours_by_its_name_and_by_what_it_runs() {
    for program in ["/bin/heapship-agent", "/heapship/tools/heapship-agent"] {
        for name in ["heapship-agent", "heapship-agent-2", "heapship-tools"] {
            assert!(is_ours(&agent(name, program)), "{name} {program}");
        }
        for name in ["app", "heapship-agents", "heapship", "heapship-tools-2"] {
            assert!(!is_ours(&agent(name, program)), "{name} {program}");
        }
    }
    assert!(!is_ours(&agent("heapship-agent", "sh")));
    assert!(!is_ours(&json!({"name": "heapship-agent"})));
}

#[test]
fn a_pod_carries_the_injection_where_ours_runs_or_dumps_are_mounted() {
    let mounting =
        |name: &str, path: &str| json!({"name": "app", "volumeMounts": [{"name": name, "mountPath": path}]});
    let pod = |list: &str, container: Value| json!({"spec": {list: [{"name": "other"}, container]}});
    for list in ["containers", "initContainers"] {
        assert!(carries_injection(&pod(
            list,
            mounting("heapship-dumps", "/heapship/dumps")
        )));
        assert!(carries_injection(&pod(
            list,
            agent("heapship-agent", "/bin/heapship-agent")
        )));
        assert!(!carries_injection(&pod(
            list,
            mounting("heapship-dumps", "/elsewhere")
        )));
        assert!(!carries_injection(&pod(
            list,
            mounting("data", "/heapship/dumps")
        )));
        assert!(!carries_injection(&pod(list, agent("heapship-agent", "sh"))));
    }
}

#[test]
fn what_has_the_name_of_one_of_our_containers_leaves_the_pod_alone() {
    let asks = json!({"annotations": {"heapship.io/pre-stop": "live"}});
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for name in ["heapship-agent", "heapship-tools"] {
            let mut pod = json!({"metadata": asks, "spec": {"containers": [{"name": "app"}]}});
            let theirs = json!({"name": name, "image": "theirs"});
            match pod["spec"][list].as_array_mut() {
                Some(containers) => containers.push(theirs),
                None => pod["spec"][list] = json!([theirs]),
            }
            let taken = Skip::NameTaken {
                kind: "a container",
                name: name.to_owned(),
            };
            assert_eq!(outcome(&pod).decision, Decision::Skipped(taken), "{list}");
        }
    }
}

#[test]
fn a_volume_of_our_name_and_another_kind_leaves_even_an_injected_pod_alone() {
    let pod = json!({"metadata": {}, "spec": {"containers": [{"name": "app"}]}});
    let mut injected = outcome(&pod).pod;
    for volume in injected["spec"]["volumes"].as_array_mut().unwrap() {
        if volume["name"] == names::DUMPS_VOLUME {
            *volume = json!({"name": names::DUMPS_VOLUME, "configMap": {"name": "c"}});
        }
    }
    let taken = Skip::NameTaken {
        kind: "a volume",
        name: names::DUMPS_VOLUME.to_owned(),
    };
    assert_eq!(outcome(&injected).decision, Decision::Skipped(taken));
}

#[test]
fn a_volume_of_ours_may_have_the_defaults_that_the_api_server_fills_in() {
    let pod = json!({"metadata": {}, "spec": {"containers": [{"name": "app"}]}});
    let mut injected = outcome(&pod).pod;
    for volume in injected["spec"]["volumes"].as_array_mut().unwrap() {
        volume["emptyDir"] = json!({"medium": ""});
    }
    let second = outcome(&injected);
    assert_eq!((second.decision, second.patch.0.len()), (Decision::Injected, 0));
}

#[test]
fn a_mount_at_our_parent_or_at_our_place_leaves_the_pod_alone() {
    for (path, taken) in [
        ("/heapship", true),
        ("/heapship/", true),
        ("/heapship/dumps/", true),
        ("/heapships", false),
        ("/heapship/dumps/deeper", false),
    ] {
        let pod = json!({"metadata": {}, "spec": {"volumes": [{"name": "data", "emptyDir": {}}], "containers": [
            {"name": "app", "volumeMounts": [{"name": "data", "mountPath": path}]}]}});
        let skipped = Decision::Skipped(Skip::PathTaken {
            container: "app".to_owned(),
            volume: "data".to_owned(),
            path: path.to_owned(),
        });
        let expected = if taken { skipped } else { Decision::Injected };
        assert_eq!(outcome(&pod).decision, expected, "{path}");
    }
}

#[test]
fn the_owner_is_whom_people_know_the_pod_by() {
    let pod = |kind: &str, name: &str| {
        json!({"metadata": {
            "labels": {"pod-template-hash": "7d4b9c"},
            "ownerReferences": [{"kind": "Node", "name": "n1"}, {"kind": kind, "name": name, "controller": true}],
        }})
    };
    for (kind, name, expected) in [
        ("ReplicaSet", "shop-7d4b9c", "Deployment/shop"),
        ("ReplicaSet", "shop-abc", "ReplicaSet/shop-abc"),
        ("ReplicaSet", "7d4b9c", "ReplicaSet/7d4b9c"),
        ("StatefulSet", "shop-7d4b9c", "StatefulSet/shop-7d4b9c"),
        ("Job", "nightly-29000000", "CronJob/nightly"),
        ("Job", "nightly-26000000", "CronJob/nightly"),
        ("Job", "nightly-25999999", "Job/nightly-25999999"),
        ("Job", "nightly-20261125", "Job/nightly-20261125"),
        ("Job", "nightly-40000000", "Job/nightly-40000000"),
        ("Job", "nightly-once", "Job/nightly-once"),
        ("Rollout", "nightly-29000000", "Rollout/nightly-29000000"),
    ] {
        assert_eq!(owner(&pod(kind, name)).as_deref(), Some(expected));
    }
    assert_eq!(
        owner(&json!({"metadata": {"ownerReferences": [{"kind": "Node", "name": "n1"}]}})),
        None
    );
    assert_eq!(owner(&json!({})), None);
}
