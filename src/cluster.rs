//! What the webhook knows of its cluster, kept in memory so that no review waits for the API server.
//!
//! `memory` holds the namespaces that `follow` tells it, `labels` keeps their labels right in the order of its `agenda`,
//! `versions` asks how old the cluster is, `env_files` whether it has those. Nothing of it ends by itself; nothing of it stops a
//! review.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use crate::admission::namespaces::Namespaces;
use crate::inject::Cluster;
use crate::logging::with_causes;
use crate::metrics::Metrics;
use crate::settings::policy::Policies;

use self::follow::{Event, follow};
use self::labels::{Keeper, Registration};
use self::memory::{Memory, Metadata};

mod agenda;
mod env_files;
mod follow;
mod labels;
mod memory;
mod versions;

/// For the first list of all namespaces. Ten thousand take a few seconds.
const FIRST_LIST: Duration = Duration::from_secs(30);

/// The cluster as one process sees it.
pub struct Watched {
    /// Every namespace's labels and annotations.
    pub namespaces: Arc<dyn Namespaces>,
    /// What keeps this current: none of it ends by itself, and dropped it stops.
    pub tasks: JoinSet<()>,
    /// Of these, who puts labels right. Whoever is about to end stops it: a successor may go by another policy.
    pub labels: AbortHandle,
}

/// Where the version comes from that decides about a pod.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Version {
    /// A person said it: the cluster is not asked, and need not answer.
    Told,
    /// The cluster is asked, now and every ten minutes: it may be upgraded under a running webhook.
    Asked,
}

/// Why the cluster cannot be watched.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The first list of namespaces did not come.
    #[error(
        "cannot list the cluster's namespaces: {reason}; the service account has to be allowed to get, list and watch them"
    )]
    Namespaces {
        /// What the last attempt met.
        reason: String,
    },
    /// Nobody knows how old the cluster is.
    #[error(transparent)]
    Version(#[from] versions::Error),
}

/// How the first list fares.
enum First {
    Awaited { last_failure: Option<String> },
    Listed,
}

/// Begins to watch, and returns when the first snapshot is whole and `cluster` has the oldest version that a pod may meet
/// and, where that could be learned, whether there are environment files.
///
/// # Errors
/// When namespaces or version could not be learned within half a minute: a webhook that knows nothing would answer every
/// pod that it is asked about with a look-up.
pub async fn watch(
    client: Client,
    policies: Arc<Policies>,
    registration: &str,
    cluster: &Arc<ArcSwap<Cluster>>,
    version: Version,
    metrics: Arc<Metrics>,
) -> Result<Watched, Error> {
    let mut tasks = JoinSet::new();
    match version {
        Version::Told => {}
        Version::Asked => {
            versions::note(cluster, versions::ask_patiently(&client).await?);
            tasks.spawn(versions::follow(client.clone(), Arc::clone(cluster)));
        }
    }
    // Before the first review, or replicas that have just started would answer otherwise than the others.
    let pause = env_files::learn(&client, cluster).await;
    tasks.spawn(env_files::follow(client.clone(), Arc::clone(cluster), pause));
    let memory = Arc::new(Memory::new(client.clone(), Arc::clone(&metrics)));
    follow_namespaces(&mut tasks, &client, &memory).await?;
    let keeper = Keeper {
        memory: Arc::clone(&memory),
        policies,
        registration: follow_registration(&mut tasks, &client, registration),
        metrics,
        client,
        standing: labels::STANDING,
    };
    let labels = tasks.spawn(keeper.run());
    Ok(Watched {
        namespaces: memory,
        tasks,
        labels,
    })
}

async fn follow_namespaces(
    tasks: &mut JoinSet<()>,
    client: &Client,
    memory: &Arc<Memory>,
) -> Result<(), Error> {
    let (told, mut first) = watch::channel(First::Awaited { last_failure: None });
    let api: Api<Metadata> = Api::all(client.clone());
    let memory = Arc::clone(memory);
    tasks.spawn(follow(api, None, move |event| {
        let news = match &event {
            Event::Listed(_) => Some(First::Listed),
            Event::Broken(error) => Some(First::Awaited {
                last_failure: Some(error.to_string()),
            }),
            Event::Standing | Event::Changed(_) | Event::Deleted(_) => None,
        };
        memory.take(event);
        if let Some(news) = news {
            told.send_replace(news);
        }
    }));
    let listed = first.wait_for(|first| matches!(first, First::Listed));
    if timeout(FIRST_LIST, listed).await.is_ok() {
        return Ok(());
    }
    let reason = match &*first.borrow() {
        First::Awaited {
            last_failure: Some(failure),
        } => failure.clone(),
        First::Awaited { last_failure: None } | First::Listed => {
            format!("the API server did not answer within {FIRST_LIST:?}")
        }
    };
    Err(Error::Namespaces { reason })
}

fn follow_registration(
    tasks: &mut JoinSet<()>,
    client: &Client,
    name: &str,
) -> watch::Receiver<Registration> {
    let (told, registration) = watch::channel(Registration::Unread);
    let api: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    let selection = format!("metadata.name={name}");
    tasks.spawn(async move {
        follow(api, Some(&selection), |event| {
            if let Some(now) = Registration::from_event(event) {
                told.send_if_modified(|before| {
                    let is_new = *before != now;
                    *before = now;
                    is_new
                });
            }
        })
        .await;
    });
    registration
}

/// A failed request, for people: what the API server said, or what happened on the way to it. The client's own text for a
/// refusal repeats it three times, once as a data structure.
pub(crate) fn in_words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        on_the_way => with_causes(on_the_way),
    }
}

#[cfg(test)]
mod tests;
