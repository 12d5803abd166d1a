//! The class by which the kubelet evicts and a quota counts, as `GetPodQOS` of the API server computes it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Faults, added, containers, injected};
use crate::case::Trial;

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Class {
    BestEffort,
    Burstable,
    Guaranteed,
}

const RESOURCES: [&str; 2] = ["cpu", "memory"];

pub(crate) fn class(pod: &Value) -> Class {
    let of_pod = &pod["spec"]["resources"];
    // Only then does `IsPodLevelResourcesSet` say yes.
    let pod_level = ["requests", "limits"]
        .iter()
        .any(|kind| RESOURCES.iter().any(|name| of_pod[kind].get(name).is_some()));
    let all: Vec<&Value> = if pod_level {
        vec![of_pod]
    } else {
        containers(pod)
            .map(|(container, _)| &container["resources"])
            .collect()
    };
    let mut requests: BTreeMap<&str, i128> = BTreeMap::new();
    let mut limits: BTreeMap<&str, i128> = BTreeMap::new();
    let mut guaranteed = true;
    for resources in all {
        for name in RESOURCES {
            let limit = amount(&resources["limits"][name]);
            // Defaulted before anybody is asked: a container that states a limit requests it.
            let request = amount(&resources["requests"][name]).or(if pod_level { None } else { limit });
            let above_zero = |amount: Option<i128>| amount.filter(|amount| *amount > 0);
            if let Some(request) = above_zero(request) {
                *requests.entry(name).or_default() += request;
            }
            match above_zero(limit) {
                Some(limit) => *limits.entry(name).or_default() += limit,
                None => guaranteed = false,
            }
        }
    }
    if requests.is_empty() && limits.is_empty() {
        Class::BestEffort
    } else if guaranteed && requests == limits {
        Class::Guaranteed
    } else {
        Class::Burstable
    }
}

/// A quantity in thousandths of a thousandth of a thousandth, which is the smallest that Kubernetes knows.
pub(crate) fn amount(quantity: &Value) -> Option<i128> {
    let text = match quantity {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let unit: i128 = match suffix {
        "n" => 1,
        "u" => 1000,
        "m" => 1_000_000,
        "" => 1_000_000_000,
        "k" => 1_000_000_000_000,
        "M" => 1_000_000_000_000_000,
        "G" => 1_000_000_000_000_000_000,
        "Ki" => 1_000_000_000 << 10,
        "Mi" => 1_000_000_000 << 20,
        "Gi" => 1_000_000_000 << 30,
        other => panic!("the generator writes no {other}"),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits: i128 = format!("{whole}{fraction}").parse().unwrap();
    Some(digits * unit / 10_i128.pow(u32::try_from(fraction.len()).unwrap()))
}

pub(super) fn check(trial: &Trial<'_>, faults: &mut Faults) {
    let (before, after) = (trial.before(), trial.after());
    if !injected(trial) || trial.case.copy {
        return;
    }
    if class(before) != class(after) {
        faults.push(format!(
            "the pod was {:?} and is {:?}",
            class(before),
            class(after)
        ));
    }
    // A quota on a resource refuses a pod with one container that does not say how much it takes.
    for kind in ["requests", "limits"]
        .into_iter()
        .filter(|_| !class_is_pods(before))
    {
        for name in RESOURCES {
            let stated = |pod: &Value| {
                containers(pod).all(|(found, _)| amount(&found["resources"][kind][name]) > Some(0))
            };
            if stated(before) && !stated(after) {
                faults.push(format!(
                    "all containers stated {kind}.{name}, and one of ours does not"
                ));
            }
        }
    }
    for ours in added(trial) {
        let resources = &ours["resources"];
        // It would be the limit of the whole pod.
        if resources["limits"].get("ephemeral-storage").is_some() {
            faults.push(format!("{} has a limit on ephemeral storage", ours["name"]));
        }
        for name in RESOURCES {
            let (request, limit) = (
                amount(&resources["requests"][name]),
                amount(&resources["limits"][name]),
            );
            if limit.is_some() && request > limit {
                faults.push(format!("{} requests more {name} than its limit", ours["name"]));
            }
        }
        if class_is_pods(before) && !resources.is_null() {
            faults.push(format!(
                "{} takes from what the pod as a whole may have",
                ours["name"]
            ));
        }
    }
}

fn class_is_pods(pod: &Value) -> bool {
    let stated = |kind: &str| {
        RESOURCES
            .iter()
            .any(|name| amount(&pod["spec"]["resources"][kind][name]) > Some(0))
    };
    stated("requests") || stated("limits")
}
