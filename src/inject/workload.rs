//! Who owns a pod: the name under which people look for its dumps.

use serde_json::Value;

use crate::inject::plan::Plan;

/// `Kind/name`: as the caller says, or from the pod's controller; `None` for a bare pod.
///
/// A ReplicaSet's name without the pod's template hash is its Deployment's. A CronJob's Jobs are named after it with the
/// scheduled minute behind.
pub(super) fn of(plan: &Plan<'_>) -> Option<String> {
    if let Some(workload) = &plan.context.workload {
        return Some(workload.clone());
    }
    owner(plan.pod)
}

/// `Kind/name` of a pod's workload, from its controller; `None` for a bare pod.
#[must_use]
pub fn owner(pod: &Value) -> Option<String> {
    let metadata = &pod["metadata"];
    let owner = metadata["ownerReferences"]
        .as_array()?
        .iter()
        .find(|owner| owner["controller"] == true)?;
    let (kind, name) = (owner["kind"].as_str()?, owner["name"].as_str()?);
    let hash = metadata["labels"]["pod-template-hash"].as_str();
    let deployment = hash.and_then(|hash| name.strip_suffix(hash)?.strip_suffix('-'));
    // Minutes since 1970: eight digits from 2019 to 2046, which no date written as 20261125 is.
    let minute = |text: &str| {
        text.parse()
            .is_ok_and(|minute: u64| (26_000_000..40_000_000).contains(&minute))
    };
    Some(match (kind, deployment, name.rsplit_once('-')) {
        ("ReplicaSet", Some(deployment), _) => format!("Deployment/{deployment}"),
        ("Job", _, Some((cron_job, suffix))) if minute(suffix) => format!("CronJob/{cron_job}"),
        _ => format!("{kind}/{name}"),
    })
}
