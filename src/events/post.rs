//! Writes Events, one at a time and beside the reviews. What cannot be written is counted and let go: an Event is a
//! courtesy, and the next pod brings it again.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::{ApiResource, DynamicObject};
use kube::{Api, Client};
use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::cluster::in_words;
use crate::metrics::Metrics;
use crate::names;

use super::outbox::{Due, Outbox};
use super::{Happening, Owner};

/// From one Event to the next: ten a second of each replica, whatever is rolled out.
const PAUSE: Duration = Duration::from_millis(100);
/// For all calls of one Event.
const CALLS: Duration = Duration::from_secs(10);

/// Writes what is put into the outbox, for ever. `instance` is the name of this replica.
pub async fn post(client: Client, outbox: Arc<Outbox>, instance: String, metrics: Arc<Metrics>) {
    loop {
        let due = outbox.next().await;
        let problem = match timeout(CALLS, write(&client, &due, &instance)).await {
            Ok(Ok(())) => {
                metrics.events.inc();
                None
            }
            Ok(Err(error)) => Some(in_words(&error)),
            Err(_) => Some(format!("the API server did not answer within {CALLS:?}")),
        };
        if let Some(error) = problem {
            metrics.event_failures.inc();
            let Happening { namespace, owner, .. } = due.happening.as_ref();
            tracing::warn!(
                error,
                namespace,
                owner = format!("{}/{}", owner.kind, owner.name),
                "cannot write an Event"
            );
        }
        sleep(PAUSE).await;
    }
}

async fn write(client: &Client, due: &Due, instance: &str) -> kube::Result<()> {
    let happening = &due.happening;
    let regarding = workload(client, &happening.namespace, &happening.owner).await;
    let name = name(happening, &regarding);
    let api: Api<Event> = Api::namespaced(client.clone(), &happening.namespace);
    let now = MicroTime(Timestamp::try_from(SystemTime::now()).unwrap_or_default());
    if due.is_series && continued(&api, &name, due.count, &now).await? {
        return Ok(());
    }
    let event = event(happening, regarding, &name, now.clone(), instance);
    match api.create(&PostParams::default(), &event).await {
        // By another replica, or for the pods of an earlier roll-out.
        Err(kube::Error::Api(status)) if status.code == 409 => {
            continued(&api, &name, due.count, &now).await.map(drop)
        }
        created => created.map(drop),
    }
}

/// Counts on in the Event that is there; `false` where it has expired.
async fn continued(api: &Api<Event>, name: &str, count: u32, now: &MicroTime) -> kube::Result<bool> {
    // The API server takes no series of one.
    let series = json!({"series": {"count": count.max(2), "lastObservedTime": now}});
    let parameters = PatchParams {
        field_manager: Some(names::FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    match api.patch(name, &parameters, &Patch::Merge(series)).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
        Err(error) => Err(error),
    }
}

/// The owner, or the owner's own: people look at the Deployment and the `CronJob`. Where that cannot be learned, the
/// direct owner is better than nobody.
async fn workload(client: &Client, namespace: &str, owner: &Owner) -> Owner {
    let kind = match (owner.api_version.as_str(), owner.kind.as_str()) {
        ("apps/v1", "ReplicaSet") => Some(ApiResource::erase::<ReplicaSet>(&())),
        ("batch/v1", "Job") => Some(ApiResource::erase::<Job>(&())),
        _ => None,
    };
    let above = match kind {
        Some(kind) => owner_of(client, namespace, owner, &kind).await,
        None => None,
    };
    above.unwrap_or_else(|| owner.clone())
}

async fn owner_of(client: &Client, namespace: &str, owner: &Owner, kind: &ApiResource) -> Option<Owner> {
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, kind);
    let found = api
        .get_metadata_opt(&owner.name)
        .await
        .inspect_err(|error| {
            tracing::debug!(
                error = in_words(error),
                owner = owner.name,
                "cannot look an owner up"
            );
        })
        .ok()??;
    let metadata = found.metadata;
    // Another one of the same name.
    if metadata.uid.as_ref() != Some(&owner.uid) {
        return None;
    }
    Owner::of(&json!(metadata))
}

fn event(happening: &Happening, regarding: Owner, name: &str, now: MicroTime, instance: &str) -> Event {
    let Happening {
        namespace,
        owner: _,
        code: _,
        note,
    } = happening;
    let Owner {
        api_version,
        kind,
        name: workload,
        uid,
    } = regarding;
    Event {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(namespace.clone()),
            ..ObjectMeta::default()
        },
        type_: Some("Warning".to_owned()),
        reason: Some(happening.reason()),
        action: Some("Inject".to_owned()),
        note: Some(note.clone()),
        event_time: Some(now),
        regarding: Some(ObjectReference {
            api_version: Some(api_version),
            kind: Some(kind),
            name: Some(workload),
            namespace: Some(namespace.clone()),
            uid: Some(uid),
            ..ObjectReference::default()
        }),
        reporting_controller: Some(names::WEBHOOK.to_owned()),
        reporting_instance: Some(instance.to_owned()),
        ..Event::default()
    }
}

/// The same for every replica and every roll-out, so that they meet in one Event.
fn name(happening: &Happening, regarding: &Owner) -> String {
    // As long as the name of an object may be, with a dot and sixteen digits.
    const MOST: usize = 253 - 17;
    // FNV-1a: it has to be the same in every build, and nobody gains by a collision.
    let hash = [&regarding.uid, happening.code, &happening.note]
        .into_iter()
        .flat_map(|text| text.bytes().chain([0]))
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    let workload = &regarding.name;
    let workload = &workload[..workload.floor_char_boundary(MOST)];
    format!("{workload}.{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_workload_reason_and_sentence_have_one_name_that_kubernetes_takes() {
        let happening = |note: &str| Happening {
            namespace: "shop".to_owned(),
            owner: owner("shop-7d4", "1"),
            code: "no-destination",
            note: note.to_owned(),
        };
        let named = |note: &str, uid: &str| name(&happening(note), &owner("shop", uid));
        assert_eq!(named("a", "2"), "shop.b5bb1b1fbc0b5192");
        assert_ne!(named("a", "2"), named("b", "2"));
        assert_ne!(named("a", "2"), named("a", "3"));
        let long = name(&happening("a"), &owner(&"x".repeat(253), "2"));
        assert_eq!(long.len(), 253);
    }

    fn owner(name: &str, uid: &str) -> Owner {
        Owner {
            api_version: "apps/v1".to_owned(),
            kind: "Deployment".to_owned(),
            name: name.to_owned(),
            uid: uid.to_owned(),
        }
    }
}
