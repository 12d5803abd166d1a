//! Writes Events, one at a time and beside the reviews. What cannot be written is counted and let go: an Event is a
//! courtesy, and the next pod brings it again.
//!
//! A review names an owner; whoever reaches the port may claim one. Where the owner can be looked up, it has to be there.

use std::collections::HashMap;
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
use tokio::time::{Instant, sleep, timeout};

use crate::cluster::in_words;
use crate::metrics::Metrics;
use crate::names;

use super::outbox::{Due, Outbox, WINDOW};
use super::{Happening, Owner};

/// From one Event to the next: ten a second of each replica, whatever is rolled out.
const PAUSE: Duration = Duration::from_millis(100);
/// For all calls of one Event.
const CALLS: Duration = Duration::from_secs(10);

/// Writes what is put into the outbox, for ever. `instance` is the name of this replica.
pub async fn post(client: Client, outbox: Arc<Outbox>, instance: String, metrics: Arc<Metrics>) {
    let mut recent = Recent::default();
    loop {
        let due = outbox.next().await;
        let problem = match timeout(CALLS, write(&client, &due, &instance, &mut recent)).await {
            Ok(Ok(Done::Written)) => {
                metrics.events.inc();
                None
            }
            Ok(Ok(Done::Needless)) => None,
            Ok(Err(error)) => Some(in_words(&error)),
            Err(_) => Some(format!("the API server did not answer within {CALLS:?}")),
        };
        if let Some(error) = problem {
            metrics.event_failures.inc();
            outbox.failed(&due);
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

/// The Events that were written in this window, by namespace and name: a `CronJob` makes an owner for each run, and all of
/// them meet in one Event.
#[derive(Default)]
struct Recent(HashMap<(String, String), Instant>);

impl Recent {
    /// Most that are remembered; of others an Event may be counted on too early.
    const MOST: usize = 4096;

    fn has(&self, event: &(String, String), now: Instant) -> bool {
        let written = self.0.get(event);
        written.is_some_and(|written| now.duration_since(*written) < WINDOW)
    }

    fn add(&mut self, event: (String, String), now: Instant) {
        if self.0.len() >= Self::MOST {
            self.0.retain(|_, written| now.duration_since(*written) < WINDOW);
        }
        if self.0.len() < Self::MOST {
            self.0.insert(event, now);
        }
    }
}

/// What came of something that was due.
enum Done {
    Written,
    /// Its Event is fresh, or there is nobody to have one.
    Needless,
}

async fn write(client: &Client, due: &Due, instance: &str, recent: &mut Recent) -> kube::Result<Done> {
    let happening = &due.happening;
    let Some(regarding) = workload(client, &happening.namespace, &happening.owner).await? else {
        tracing::debug!(owner = happening.owner.name, "the owner of a pod is not there");
        return Ok(Done::Needless);
    };
    let name = name(happening, &regarding);
    let event = (happening.namespace.clone(), name.clone());
    if recent.has(&event, due.taken) {
        return Ok(Done::Needless);
    }
    put(client, due, regarding, &name, instance).await?;
    recent.add(event, due.taken);
    Ok(Done::Written)
}

/// Makes the Event, or counts on in it.
async fn put(client: &Client, due: &Due, regarding: Owner, name: &str, instance: &str) -> kube::Result<()> {
    let happening = &due.happening;
    let api: Api<Event> = Api::namespaced(client.clone(), &happening.namespace);
    let now = MicroTime(Timestamp::try_from(SystemTime::now()).unwrap_or_default());
    if due.written.is_some() && continued(&api, name, due.count, &now).await? {
        return Ok(());
    }
    let event = event(happening, regarding, name, now.clone(), instance);
    match api.create(&PostParams::default(), &event).await {
        // By another replica, or for the pods of an earlier roll-out.
        Err(kube::Error::Api(status)) if status.code == 409 => {
            continued(&api, name, due.count, &now).await.map(drop)
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

/// The owner, or the owner's own: people look at the Deployment and the `CronJob`. Where it may not be looked up, the direct
/// owner is better than nobody; `None` where there is no such owner.
async fn workload(client: &Client, namespace: &str, owner: &Owner) -> kube::Result<Option<Owner>> {
    let kind = match (owner.api_version.as_str(), owner.kind.as_str()) {
        ("apps/v1", "ReplicaSet") => ApiResource::erase::<ReplicaSet>(&()),
        ("batch/v1", "Job") => ApiResource::erase::<Job>(&()),
        _ => return Ok(Some(owner.clone())),
    };
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &kind);
    let metadata = match api.get_metadata(&owner.name).await {
        Ok(found) => found.metadata,
        Err(kube::Error::Api(status)) if status.code == 403 => return Ok(Some(owner.clone())),
        Err(kube::Error::Api(status)) if status.code == 404 => return Ok(None),
        Err(error) => return Err(error),
    };
    // Another one of the same name is not whose pod this is.
    if metadata.uid.as_ref() != Some(&owner.uid) {
        return Ok(None);
    }
    Ok(Some(Owner::of(&json!(metadata)).unwrap_or_else(|| owner.clone())))
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
