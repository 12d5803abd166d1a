//! Puts right the labels of namespaces that no review could: written while the webhook was down, or before a policy
//! changed, or by hand.
//!
//! Every replica does it. They meet in the API server, whose resourceVersion lets one of them through; the other hears of
//! it by its watch and has nothing left to do. At 50 labels a second, 10,000 namespaces take 200 s.
//!
//! While replicas with another policy take over, the two disagree about the same namespaces. A label that is missing costs the
//! dumps of the pods that start meanwhile, one too many costs calls that are answered in a millisecond: so a label is put there
//! at once and taken away only from a namespace that nobody has written for [`STANDING`], by when one of the two is gone. It
//! also writes nothing any more once it is asked to end.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use crate::admission::label::{self, Change};
use crate::metrics::Metrics;
use crate::names;
use crate::settings::policy::Policies;

use super::agenda::Agenda;
use super::follow::Event;
use super::in_words;
use super::memory::{Entry, Memory, Metadata};

/// From one patch to the next.
const PERIOD: Duration = Duration::from_millis(20);
/// Patches that wait for their answer at one time.
const FLIGHTS: usize = 4;
/// How long a registration that is gone may come back.
const REPLACEMENT: Duration = Duration::from_secs(5);
/// How long a namespace has to be as it is before a label that it need not carry is taken away; replicas replace each other
/// within this time, and none takes a label away so soon after its start.
pub(super) const STANDING: Duration = Duration::from_mins(2);
/// For the answer to a patch.
const PATCH: Duration = Duration::from_secs(15);

/// Whether anybody calls us: without the registration no namespace carries the label, so that an uninstall leaves
/// nothing behind.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Registration {
    /// Not heard of yet; nothing is touched.
    Unread,
    /// There is none.
    Absent,
    /// There is one.
    Present {
        /// The namespace of the service that it calls, which is the webhook's own.
        own_namespace: Option<String>,
    },
}

impl Registration {
    /// What the watch of the one registration told; `None` where it says nothing new about it.
    pub(super) fn from_event(event: Event<MutatingWebhookConfiguration>) -> Option<Self> {
        match event {
            Event::Listed(objects) => Some(objects.first().map_or(Self::Absent, Self::of)),
            Event::Changed(object) => Some(Self::of(&object)),
            Event::Deleted(_) => Some(Self::Absent),
            Event::Standing => None,
            Event::Broken(error) => {
                tracing::warn!(
                    %error,
                    "the watch of the registration is broken"
                );
                None
            }
        }
    }

    fn of(object: &MutatingWebhookConfiguration) -> Self {
        let mut services = object
            .webhooks
            .iter()
            .flatten()
            .filter_map(|entry| entry.client_config.service.as_ref());
        Self::Present {
            own_namespace: services.next().map(|service| service.namespace.clone()),
        }
    }
}

/// A label that is not as it should be.
struct Wrong {
    entry: Entry,
    change: Change,
    /// When it is put right.
    due: Instant,
}

/// What the labels follow from.
pub(super) struct Keeper {
    pub(super) client: Client,
    pub(super) memory: Arc<Memory>,
    pub(super) policies: Arc<Policies>,
    pub(super) registration: watch::Receiver<Registration>,
    pub(super) metrics: Arc<Metrics>,
    /// [`STANDING`].
    pub(super) standing: Duration,
}

impl Keeper {
    /// Keeps the labels right; ends only when nobody can tell any more whether there is a registration.
    pub(super) async fn run(mut self) {
        let mut agenda = Agenda::default();
        let mut flights = JoinSet::new();
        let mut earliest = Instant::now();
        loop {
            let wake = agenda.wake().map(|wake| wake.max(earliest));
            tokio::select! {
                changed = self.memory.changed() => self.put_wrong(&mut agenda, changed),
                told = self.registration.changed() => {
                    if told.is_err() {
                        return;
                    }
                    self.outlast_a_replacement().await;
                    self.put_wrong(&mut agenda, self.memory.names());
                }
                Some(flight) = flights.join_next() => {
                    if let Ok(Err(Failed(name))) = flight {
                        agenda.failed(name, Instant::now());
                    }
                }
                () = sleep_until(wake.unwrap_or(earliest)), if wake.is_some() && flights.len() < FLIGHTS => {
                    let now = Instant::now();
                    if let Some(name) = agenda.next(now) {
                        match self.wrong(&name) {
                            Some(Wrong { due, .. }) if due > now => agenda.is_early(name, due),
                            Some(Wrong { entry, change, due: _ }) => {
                                flights.spawn(patch(self.client.clone(), entry, change, Arc::clone(&self.metrics)));
                                agenda.tried(name, now);
                                earliest = now + PERIOD;
                            }
                            None => agenda.is_right(name, now),
                        }
                    }
                }
            }
        }
    }

    /// A registration that is deleted and made again is gone for a moment only: every label that went with it would be
    /// missing until it is back.
    async fn outlast_a_replacement(&mut self) {
        while *self.registration.borrow_and_update() == Registration::Absent
            && matches!(
                timeout(REPLACEMENT, self.registration.changed()).await,
                Ok(Ok(()))
            )
        {}
    }

    fn put_wrong(&self, agenda: &mut Agenda, names: impl IntoIterator<Item = String>) {
        for name in names {
            if let Some(wrong) = self.wrong(&name) {
                agenda.put(name, wrong.due);
            }
        }
    }

    fn wrong(&self, name: &str) -> Option<Wrong> {
        let entry = self.memory.entry(name)?;
        let registration = self.registration.borrow();
        let wanted = wanted(&registration, &entry, &self.policies)?;
        let change = label::change(entry.carried.as_deref(), wanted)?;
        let due = match (change, &*registration) {
            // An uninstall does not wait, and no policy has a say in it.
            (Change::Add, _) | (Change::Remove, Registration::Absent | Registration::Unread) => entry.since,
            (Change::Remove, Registration::Present { own_namespace: _ }) => entry.since + self.standing,
        };
        drop(registration);
        Some(Wrong { entry, change, due })
    }
}

/// Whether the namespace should carry the label; `None` where it is not ours to say.
fn wanted(registration: &Registration, entry: &Entry, policies: &Policies) -> Option<bool> {
    let name = entry.namespace.name.as_str();
    if entry.is_dying || names::SYSTEM_NAMESPACES.contains(&name) {
        return None;
    }
    match registration {
        Registration::Unread => None,
        Registration::Absent => Some(false),
        Registration::Present { own_namespace } => {
            (own_namespace.as_deref() != Some(name)).then(|| label::is_wanted(&entry.namespace, policies))
        }
    }
}

/// The namespace whose label could not be put right.
struct Failed(String);

async fn patch(client: Client, entry: Entry, change: Change, metrics: Arc<Metrics>) -> Result<(), Failed> {
    let Entry {
        namespace,
        uid,
        version,
        ..
    } = entry;
    let value = match change {
        Change::Add => json!(names::INJECTION_ENABLED),
        Change::Remove => json!(null),
    };
    // Both are preconditions: another namespace of that name, or another state of it, is decided about anew.
    let body = json!({ "metadata": {
        "uid": uid,
        "resourceVersion": version,
        "labels": { names::INJECTION_LABEL: value },
    } });
    let params = PatchParams {
        field_manager: Some(names::FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let api: Api<Metadata> = Api::all(client);
    let name = namespace.name.as_str();
    match timeout(PATCH, api.patch(name, &params, &Patch::Merge(&body))).await {
        Ok(Ok(_)) => {
            metrics.namespace_label_patches.inc();
            tracing::info!(namespace = name, ?change, "put the label right");
            Ok(())
        }
        Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => {
            tracing::debug!(namespace = name, "somebody else changed the namespace first");
            Ok(())
        }
        Ok(Err(error)) => {
            metrics.namespace_label_patch_failures.inc();
            tracing::warn!(
                error = in_words(&error),
                namespace = name,
                "cannot put the label right; it is tried again"
            );
            Err(Failed(namespace.name.clone()))
        }
        Err(_) => {
            metrics.namespace_label_patch_failures.inc();
            tracing::warn!(
                namespace = name,
                "no answer within {PATCH:?} to the label's patch; it is tried again"
            );
            Err(Failed(namespace.name.clone()))
        }
    }
}
