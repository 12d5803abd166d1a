//! Every namespace of the cluster as the watch told it, and the look-up for the moment in which that is not enough.
//!
//! A namespace takes about 3 KB of memory (measured: 20 MB for 6,400 with five labels each): its labels, and of its
//! annotations ours. What is known lags behind the cluster by the watch's milliseconds; where the watch is broken, by as
//! long as that lasts, and a connection that vanished is noticed after 35 s at most. Even then nothing is injected for a
//! namespace that no longer asks: the API server knows its label and does not call.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _};
use k8s_openapi::api::core::v1;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::PartialObjectMeta;
use kube::{Api, Client};
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, timeout};

use crate::admission::label;
use crate::admission::namespaces::Namespaces;
use crate::inject::Namespace;
use crate::metrics::Metrics;

use super::follow::Event;
use super::in_words;

/// A namespace without anything but its metadata.
pub(super) type Metadata = PartialObjectMeta<v1::Namespace>;

/// For a look-up with its wait for a permit: a pod's creation waits for it.
const LOOK_UP: Duration = Duration::from_millis(500);
/// Look-ups at one time. One takes a few milliseconds.
const LOOK_UPS: usize = 16;
/// How long a namespace counts as settled after a look-up found just what memory had: the call that led to it came by a
/// registration that does not select, or by an API server that was behind us for a moment.
const SETTLED: Duration = Duration::from_secs(1);

/// A namespace as it was last heard of.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) namespace: Arc<Namespace>,
    /// The label's value, if it carries the label.
    pub(super) carried: Option<String>,
    pub(super) uid: String,
    pub(super) version: String,
    /// It has been deleted and waits for its contents to go.
    pub(super) is_dying: bool,
    /// Since when it has been so, as this process has heard.
    pub(super) since: Instant,
    confirmed: Option<Instant>,
}

impl Entry {
    /// Whether nobody has written it in between.
    fn is_same(&self, other: &Self) -> bool {
        self.uid == other.uid && self.version == other.version
    }
}

/// All namespaces.
pub(super) struct Memory {
    api: Api<Metadata>,
    metrics: Arc<Metrics>,
    entries: RwLock<HashMap<String, Entry>>,
    look_ups: Semaphore,
    changed: Mutex<BTreeSet<String>>,
    has_changed: Notify,
}

impl Memory {
    pub(super) fn new(client: Client, metrics: Arc<Metrics>) -> Self {
        Self {
            api: Api::all(client),
            metrics,
            entries: RwLock::default(),
            look_ups: Semaphore::new(LOOK_UPS),
            changed: Mutex::default(),
            has_changed: Notify::new(),
        }
    }

    /// Takes over what the watch told.
    pub(super) fn take(&self, event: Event<Metadata>) {
        match event {
            Event::Listed(objects) => {
                let mut listed: HashMap<String, Entry> = objects.into_iter().filter_map(entry).collect();
                let names = listed.keys().cloned().collect();
                let mut entries = self.write();
                for (name, now) in &mut listed {
                    if let Some(before) = entries.get(name).filter(|before| before.is_same(now)) {
                        now.since = before.since;
                    }
                }
                *entries = listed;
                drop(entries);
                self.note(names);
            }
            Event::Changed(object) => {
                if let Some((name, entry)) = entry(object) {
                    self.write().insert(name.clone(), entry);
                    self.note([name].into());
                }
            }
            Event::Deleted(object) => {
                let name = object.metadata.name.unwrap_or_default();
                self.write().remove(&name);
            }
            Event::Standing => {
                self.metrics.namespaces_stale.set(0);
            }
            Event::Broken(error) => {
                self.metrics.namespaces_stale.set(1);
                self.metrics.namespace_watch_failures.inc();
                tracing::warn!(%error, "the watch of namespaces is broken: what was known is kept");
            }
        }
        let known = self.read().len();
        self.metrics
            .namespaces
            .set(i64::try_from(known).unwrap_or(i64::MAX));
    }

    /// The namespace as it was last heard of.
    pub(super) fn entry(&self, name: &str) -> Option<Entry> {
        self.read().get(name).cloned()
    }

    /// The names of all.
    pub(super) fn names(&self) -> BTreeSet<String> {
        self.read().keys().cloned().collect()
    }

    /// Waits for news, and returns whom they are about. For one caller only.
    pub(super) async fn changed(&self) -> BTreeSet<String> {
        loop {
            self.has_changed.notified().await;
            let changed = std::mem::take(&mut *self.changed.lock().unwrap_or_else(PoisonError::into_inner));
            if !changed.is_empty() {
                return changed;
            }
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<String, Entry>> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<String, Entry>> {
        self.entries.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, names: BTreeSet<String>) {
        self.changed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(names);
        self.has_changed.notify_one();
    }

    async fn ask(&self, name: &str) -> Option<Arc<Namespace>> {
        let _permit = self.look_ups.acquire().await.ok()?;
        let object = match self.api.get_opt(name).await {
            Ok(object) => object?,
            Err(error) => {
                tracing::warn!(
                    error = in_words(&error),
                    namespace = name,
                    "cannot look a namespace up"
                );
                return None;
            }
        };
        let (_, found) = entry(object)?;
        if let Some(known) = self.write().get_mut(name).filter(|known| known.is_same(&found)) {
            known.confirmed = Some(Instant::now());
        }
        // Not remembered: the watch tells it in a moment, and what was deleted meanwhile would stay for ever.
        Some(found.namespace)
    }
}

impl Namespaces for Memory {
    fn find(&self, name: &str) -> Option<Arc<Namespace>> {
        self.read().get(name).map(|entry| Arc::clone(&entry.namespace))
    }

    fn is_settled(&self, name: &str) -> bool {
        self.read()
            .get(name)
            .and_then(|entry| entry.confirmed)
            .is_some_and(|confirmed| confirmed.elapsed() < SETTLED)
    }

    fn look_up<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Option<Arc<Namespace>>> {
        async move {
            self.metrics.namespace_look_ups.inc();
            let found = timeout(LOOK_UP, self.ask(name)).await.unwrap_or_default();
            if found.is_none() {
                self.metrics.namespace_look_up_failures.inc();
            }
            found
        }
        .boxed()
    }
}

fn entry(object: Metadata) -> Option<(String, Entry)> {
    let ObjectMeta {
        name,
        labels,
        annotations,
        uid,
        resource_version,
        deletion_timestamp,
        ..
    } = object.metadata;
    let name = name?;
    let (namespace, carried) = label::split(
        name.clone(),
        labels.unwrap_or_default(),
        annotations.unwrap_or_default(),
    );
    let entry = Entry {
        namespace: Arc::new(namespace),
        carried,
        uid: uid.unwrap_or_default(),
        version: resource_version.unwrap_or_default(),
        is_dying: deletion_timestamp.is_some(),
        since: Instant::now(),
        confirmed: None,
    };
    Some((name, entry))
}
