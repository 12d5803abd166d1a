//! Resources of our containers: the pod's QoS class does not change, in either direction.

use serde_json::{Value, json};

use crate::inject::plan::Plan;
use crate::inject::pod::is_ours;
use crate::quantity::thousandths;

/// Kubernetes' classes, as `pkg/apis/core/v1/helper/qos` computes them: only cpu and memory count, only values above
/// zero, and all init containers are included.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Qos {
    BestEffort,
    Burstable,
    Guaranteed,
    /// The pod has resources of its own (`spec.resources`): the class comes from there, and the containers' sum may not
    /// exceed them.
    PodLevel,
}

const COUNTED: [&str; 2] = ["cpu", "memory"];

/// The class of a pod without anything of ours.
pub(super) fn qos(pod: &Value) -> Qos {
    let spec = &pod["spec"];
    let stated = |kind: &str| {
        COUNTED
            .into_iter()
            .any(|name| counted(&spec["resources"][kind][name]).is_some())
    };
    if stated("requests") || stated("limits") {
        return Qos::PodLevel;
    }
    let (mut any, mut all) = (false, true);
    for container in foreign(pod) {
        let amount = |kind: &str, resource: &str| counted(&container["resources"][kind][resource]);
        for resource in COUNTED {
            let (request, limit) = (amount("requests", resource), amount("limits", resource));
            any |= request.is_some() || limit.is_some();
            // The API server sets a missing request to the limit.
            all &= limit.is_some() && request.is_none_or(|request| Some(request) == limit);
        }
    }
    match (any, all) {
        (false, _) => Qos::BestEffort,
        (true, true) => Qos::Guaranteed,
        (true, false) => Qos::Burstable,
    }
}

/// What a container of ours asks for in this pod; null where it must ask for nothing.
///
/// Never an ephemeral-storage limit: if ours alone had one, it would be the whole pod's.
pub(super) fn ours(plan: &Plan<'_>) -> Value {
    let policys = plan.policy.and_then(|policy| policy.agent.resources.clone());
    match plan.qos {
        Qos::BestEffort | Qos::PodLevel => Value::Null,
        Qos::Burstable => {
            // A shipment takes up to 64 MB; no cpu limit, since a throttled upload is a longer one.
            let mut ours = policys.unwrap_or_else(
                || json!({"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "192Mi"}}),
            );
            // Where every container of the pod states an amount, a quota may demand it of ours too.
            let defaults = [
                ("requests", "cpu", "10m"),
                ("requests", "memory", "64Mi"),
                ("limits", "cpu", "500m"),
                ("limits", "memory", "192Mi"),
            ];
            for (kind, resource, amount) in defaults {
                if stated_by_all(plan.pod, kind, resource) && counted(&ours[kind][resource]).is_none() {
                    ours[kind][resource] = beside(&ours, kind, resource, json!(amount));
                }
            }
            ours
        }
        Qos::Guaranteed => {
            let limit =
                |resource: &str, default: &str| match policys.as_ref().map(|own| &own["limits"][resource]) {
                    Some(limit) if counted(limit).is_some() => limit.clone(),
                    _ => json!(default),
                };
            let amounts = json!({"cpu": limit("cpu", "250m"), "memory": limit("memory", "192Mi")});
            json!({"requests": amounts, "limits": amounts})
        }
    }
}

/// An amount that does not cross what the policy says of the same resource: a request above its limit is no valid pod.
fn beside(ours: &Value, kind: &str, resource: &str, amount: Value) -> Value {
    let (other, crosses): (_, fn(u64, u64) -> bool) = match kind {
        "requests" => ("limits", |amount, limit| amount > limit),
        _ => ("requests", |amount, request| amount < request),
    };
    let bound = &ours[other][resource];
    match (counted(&amount), counted(bound)) {
        (Some(amount), Some(stated)) if crosses(amount, stated) => bound.clone(),
        _ => amount,
    }
}

fn stated_by_all(pod: &Value, kind: &str, resource: &str) -> bool {
    let mut containers = foreign(pod).peekable();
    containers.peek().is_some()
        && containers.all(|container| counted(&container["resources"][kind][resource]).is_some())
}

/// All containers that are not ours.
fn foreign(pod: &Value) -> impl Iterator<Item = &Value> {
    ["initContainers", "containers"]
        .into_iter()
        .flat_map(|list| pod["spec"][list].as_array().into_iter().flatten())
        .filter(|container| !is_ours(container))
}

/// A quantity in thousandths, where it is above zero.
fn counted(quantity: &Value) -> Option<u64> {
    let amount = match quantity {
        Value::String(text) => thousandths(text),
        Value::Number(number) => thousandths(&number.to_string()),
        _ => None,
    };
    amount.filter(|amount| *amount > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(resources: &[Value]) -> Value {
        let containers: Vec<Value> = resources
            .iter()
            .enumerate()
            .map(|(i, r)| json!({"name": format!("c{i}"), "resources": r}))
            .collect();
        json!({"spec": {"containers": containers}})
    }

    #[test]
    fn knows_the_three_classes() {
        let full = json!({"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1000m", "memory": "1024Mi"}});
        let limits = json!({"limits": {"cpu": 1.5, "memory": "1Gi"}});
        assert_eq!(qos(&pod(&[full.clone(), limits])), Qos::Guaranteed);
        assert_eq!(qos(&pod(&[full.clone(), json!({})])), Qos::Burstable);
        assert_eq!(qos(&pod(&[json!({"limits": {"cpu": "1"}})])), Qos::Burstable);
        assert_eq!(
            qos(&pod(&[
                json!({}),
                json!({"requests": {"cpu": "0", "ephemeral-storage": "1Gi"}})
            ])),
            Qos::BestEffort
        );
        let mut pod_level = pod(&[full]);
        pod_level["spec"]["resources"] = json!({"limits": {"cpu": "2"}});
        assert_eq!(qos(&pod_level), Qos::PodLevel);
    }

    #[test]
    fn what_is_added_for_a_quota_does_not_cross_what_the_policy_says() {
        let small = json!({"limits": {"cpu": "5m"}});
        assert_eq!(beside(&small, "requests", "cpu", json!("10m")), json!("5m"));
        assert_eq!(beside(&small, "requests", "memory", json!("64Mi")), json!("64Mi"));
        let large = json!({"requests": {"memory": "1Gi"}});
        assert_eq!(beside(&large, "limits", "memory", json!("192Mi")), json!("1Gi"));
    }

    #[test]
    fn compares_quantities_by_value() {
        assert_eq!(counted(&json!("1.5")), Some(1500));
        assert_eq!(counted(&json!("1500m")), Some(1500));
        assert_eq!(counted(&json!("1.5000")), Some(1500));
        assert_eq!(counted(&json!("100000000n")), Some(100));
        assert_eq!(counted(&json!(2)), Some(2000));
        assert_eq!(counted(&json!("1Ki")), Some(1_024_000));
        assert_eq!(counted(&json!("0")), None);
        assert_eq!(counted(&json!(null)), None);
    }
}
