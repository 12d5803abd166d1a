//! What every test stands on: heapship installed, an S3 server, a namespace of its own, and its turn.

#![allow(unreachable_pub, reason = "of one binary")]

use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::{Api, Client};

pub mod heapship;
pub mod installed;
pub mod inventory;
pub mod kubectl;
pub mod load;
pub mod object;
pub mod store;
#[path = "../support/wait.rs"]
pub mod wait;
pub mod workloads;

pub use object::Shipped;

/// For what takes seconds on a machine that does nothing else; two cores are shared with JVMs and a whole control plane.
pub const SOON: Duration = Duration::from_mins(3);

static TURNS: RwLock<()> = RwLock::new(());

enum Turn {
    Shared { _guard: RwLockReadGuard<'static, ()> },
    Alone { _guard: RwLockWriteGuard<'static, ()> },
}

/// One test's place in the cluster.
pub struct Bed {
    pub client: Client,
    /// Its own, deleted at the end.
    pub namespace: String,
    // Last: the namespace goes first, then the next test may begin.
    _turn: Turn,
}

impl Bed {
    /// A place beside other tests.
    pub async fn shared(name: &str) -> Self {
        let guard = TURNS.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        Self::make(name, "", Turn::Shared { _guard: guard }).await
    }

    /// A place beside other tests, in a namespace with these labels and annotations: the YAML below `metadata`.
    pub async fn shared_with(name: &str, metadata: &str) -> Self {
        let guard = TURNS.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        Self::make(name, metadata, Turn::Shared { _guard: guard }).await
    }

    /// The whole cluster: nobody else is there.
    pub async fn alone(name: &str) -> Self {
        let guard = TURNS.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        Self::make(name, "", Turn::Alone { _guard: guard }).await
    }

    async fn make(name: &str, metadata: &str, turn: Turn) -> Self {
        installed::once();
        let namespace = format!("{name}-{}", unique());
        let client = connect().await;
        kubectl::apply(&format!(
            "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {namespace}\n{metadata}"
        ));
        store::credentials_for(&namespace);
        kubectl::until_there(&namespace, "serviceaccount", "default");
        Self {
            client,
            namespace,
            _turn: turn,
        }
    }

    /// The same place, seen from another namespace, which goes with it.
    pub fn within<'a>(&'a self, namespace: &str) -> Within<'a> {
        Within {
            bed: self,
            namespace: namespace.to_owned(),
        }
    }

    /// Applies manifests into the namespace; returns the warnings that kubectl printed.
    pub fn apply(&self, manifests: &str) -> Vec<String> {
        kubectl::apply_in(&self.namespace, manifests)
    }

    pub fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub async fn pod(&self, name: &str) -> Pod {
        self.pods().get(name).await.unwrap()
    }

    /// The only pod with a label `app` of that value, once it is there.
    pub async fn pod_of(&self, app: &str) -> Pod {
        pod_of(&self.pods(), app).await
    }

    /// Awaits a pod's condition.
    pub async fn pod_until(&self, name: &str, what: &str, condition: impl Fn(&Pod) -> bool) -> Pod {
        self.eventually(&format!("pod {name}: {what}"), async || {
            self.pods()
                .get_opt(name)
                .await
                .unwrap()
                .filter(|pod| condition(pod))
        })
        .await
    }

    /// A pod as the API server had it last: what `act` sets off ends with its deletion.
    pub async fn last_seen(&self, name: &str, act: impl FnOnce()) -> Pod {
        let parameters = WatchParams::default().fields(&format!("metadata.name={name}"));
        let mut events = Box::pin(self.pods().watch(&parameters, "0").await.unwrap());
        act();
        let deleted = async {
            while let Some(event) = events.next().await {
                if let WatchEvent::Deleted(pod) = event.unwrap() {
                    return pod;
                }
            }
            panic!("the watch of {name} ended before its deletion");
        };
        let timely = tokio::time::timeout(SOON, deleted).await;
        timely.unwrap_or_else(|_| panic!("not within {SOON:?}: pod {name} is gone"))
    }

    /// Objects that this namespace's pods have shipped, once there are that many.
    pub async fn shipped(&self, count: usize) -> Vec<Shipped> {
        let what = format!("{count} dumps of {} in the bucket", self.namespace);
        self.eventually(&what, async || {
            let found = store::shipped(&self.namespace);
            (found.len() >= count).then_some(found)
        })
        .await
    }

    /// Asks until there is an answer.
    ///
    /// # Panics
    /// After [`SOON`].
    pub async fn eventually<T>(&self, what: &str, ask: impl AsyncFnMut() -> Option<T>) -> T {
        eventually(what, SOON, ask).await
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            kubectl::describe(&self.namespace);
        }
        kubectl::delete_namespace(&self.namespace);
        // One that was made for a claim of this namespace.
        let volume = [
            "delete",
            "persistentvolume",
            &self.namespace,
            "--ignore-not-found",
            "--wait=false",
        ];
        drop(kubectl::output(&volume, ""));
    }
}

/// Another namespace of the same test, deleted at its end.
pub struct Within<'a> {
    bed: &'a Bed,
    namespace: String,
}

impl Within<'_> {
    pub async fn pod_of(&self, app: &str) -> Pod {
        pod_of(&Api::namespaced(self.bed.client.clone(), &self.namespace), app).await
    }
}

impl Drop for Within<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            kubectl::describe(&self.namespace);
        }
        kubectl::delete_namespace(&self.namespace);
    }
}

async fn pod_of(pods: &Api<Pod>, app: &str) -> Pod {
    let selected = ListParams::default().labels(&format!("app={app}"));
    eventually(&format!("a pod of {app}"), SOON, async || {
        pods.list(&selected).await.unwrap().items.into_iter().next()
    })
    .await
}

/// Asks until there is an answer.
///
/// # Panics
/// At the deadline, with what was awaited.
pub async fn eventually<T>(what: &str, deadline: Duration, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = std::time::Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(begun.elapsed() < deadline, "not within {deadline:?}: {what}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// A client of the administrator's, for the runtime of one test.
pub async fn connect() -> Client {
    static PROVIDER: std::sync::Once = std::sync::Once::new();
    PROVIDER.call_once(|| {
        // Fails only where somebody was faster with the same one.
        drop(::rustls::crypto::aws_lc_rs::default_provider().install_default());
    });
    Client::try_default().await.unwrap()
}

/// A few letters that no other namespace of this run has.
fn unique() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let run = std::process::id();
    format!("{run}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}
