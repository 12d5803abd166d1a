//! What the webhook knows of its cluster, kept in memory so that no review waits for the API server.
//!
//! `memory` holds the namespaces that `follow` tells it, `labels` keeps their labels right in the order of its `agenda`,
//! `versions` asks how old the cluster is, `env_files` whether it has those. Nothing of it ends before the process does; nothing of it stops a review.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use arc_swap::ArcSwap;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::admission::namespaces::Namespaces;
use crate::inject::KubernetesVersion;
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
    /// The oldest version that a pod of this cluster may meet, asked for again every ten minutes.
    pub version: Arc<ArcSwap<KubernetesVersion>>,
    /// Whether it has environment files, asked for again as often.
    pub env_files: Arc<AtomicBool>,
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

/// Begins to watch, and returns when the first snapshot is whole. What it began goes on for as long as the runtime.
///
/// # Errors
/// When namespaces or version could not be learned within half a minute: a webhook that knows nothing would answer every
/// pod that it is asked about with a look-up.
pub async fn watch(
    client: Client,
    policies: Arc<Policies>,
    registration: &str,
    metrics: Arc<Metrics>,
) -> Result<Watched, Error> {
    let version = Arc::new(ArcSwap::from_pointee(versions::ask_patiently(&client).await?));
    let memory = Arc::new(Memory::new(client.clone(), Arc::clone(&metrics)));
    follow_namespaces(&client, &memory).await?;
    let keeper = Keeper {
        memory: Arc::clone(&memory),
        policies,
        registration: follow_registration(&client, registration),
        metrics,
        client: client.clone(),
    };
    tokio::spawn(keeper.run());
    tokio::spawn(versions::follow(client.clone(), Arc::clone(&version)));
    Ok(Watched {
        namespaces: memory,
        version,
        env_files: env_files::watch(client).await,
    })
}

async fn follow_namespaces(client: &Client, memory: &Arc<Memory>) -> Result<(), Error> {
    let (told, mut first) = watch::channel(First::Awaited { last_failure: None });
    let api: Api<Metadata> = Api::all(client.clone());
    let memory = Arc::clone(memory);
    let task = tokio::spawn(follow(api, None, move |event| {
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
    task.abort();
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

fn follow_registration(client: &Client, name: &str) -> watch::Receiver<Registration> {
    let (told, registration) = watch::channel(Registration::Unread);
    let api: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    let selection = format!("metadata.name={name}");
    tokio::spawn(async move {
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
