//! The oldest Kubernetes that a pod may meet: it decides whether the agent can be a native sidecar.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use k8s_openapi::api::core::v1::Node;
use kube::api::ListParams;
use kube::{Api, Client};
use tokio::time::{Instant, sleep, timeout};

use crate::inject::{Cluster, KubernetesVersion};

use super::in_words;

/// How often the API server is asked: an upgrade takes longer.
pub(super) const INTERVAL: Duration = Duration::from_mins(10);
/// For all answers together; the nodes of a large cluster are ten pages.
const REQUEST: Duration = Duration::from_secs(15);
/// How long the first answer is awaited, and how long from one attempt to the next.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_secs(1);
/// Nodes in a page.
const PAGE: u32 = 500;
/// How many releases a kubelet may be older than its API server, by Kubernetes' policy on version skew since 1.28.
const SKEW: u16 = 3;
/// From this release of the API server on no supported node is older than 1.29: nothing about nodes has to be read.
const NODES_DO_NOT_MATTER: KubernetesVersion = KubernetesVersion { major: 1, minor: 32 };
/// Below this release nothing is injected, whatever the nodes are.
const NODES_MATTER: KubernetesVersion = KubernetesVersion { major: 1, minor: 29 };

/// Why nobody knows the version.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What the API server, or the way to it, said.
    #[error("cannot ask the API server for its version: {0}")]
    Api(String),
    /// Nothing came.
    #[error("the API server did not tell its version within {REQUEST:?}")]
    NoAnswer,
    /// Something came that is no version.
    #[error("the API server calls its version {0:?}, which is none; set --kubernetes-version")]
    Unreadable(String),
}

/// Asks until there is an answer, for half a minute: an API server may be away for a moment just now.
pub(super) async fn ask_patiently(client: &Client) -> Result<KubernetesVersion, Error> {
    let give_up = Instant::now() + PATIENCE;
    loop {
        match ask(client).await {
            Err(error) if Instant::now() + PAUSE < give_up => {
                tracing::warn!(
                    %error,
                    "cannot ask for the cluster's version yet"
                );
                sleep(PAUSE).await;
            }
            answer => return answer,
        }
    }
}

/// Asks once.
pub(super) async fn ask(client: &Client) -> Result<KubernetesVersion, Error> {
    timeout(REQUEST, oldest(client))
        .await
        .map_err(|_| Error::NoAnswer)?
}

/// Asks every so often, for ever. An answer that does not come leaves the last one in force.
pub(super) async fn follow(client: Client, cluster: Arc<ArcSwap<Cluster>>) {
    loop {
        sleep(INTERVAL).await;
        let before = cluster.load().version;
        match ask(&client).await {
            Ok(now) if now == before => {}
            Ok(now) => {
                tracing::info!(from = %before, to = %now, "the cluster's version changed");
                note(&cluster, now);
            }
            Err(error) => tracing::warn!(
                %error,
                "cannot look at the cluster's version again"
            ),
        }
    }
}

/// From the next review on it counts.
pub(super) fn note(cluster: &ArcSwap<Cluster>, version: KubernetesVersion) {
    cluster.rcu(|cluster| Cluster {
        version,
        ..Cluster::clone(cluster)
    });
}

async fn oldest(client: &Client) -> Result<KubernetesVersion, Error> {
    let info = client
        .apiserver_version()
        .await
        .map_err(|error| Error::Api(in_words(&error)))?;
    let text = format!("{}.{}", info.major, info.minor);
    let server = KubernetesVersion::parse(&text).ok_or(Error::Unreadable(text))?;
    if !(NODES_MATTER..NODES_DO_NOT_MATTER).contains(&server) {
        return Ok(if server < NODES_MATTER {
            server
        } else {
            oldest_possible(server)
        });
    }
    match nodes(client).await {
        Ok(nodes) => Ok(nodes.into_iter().fold(server, Ord::min)),
        Err(error) => {
            let assumed = oldest_possible(server);
            tracing::warn!(error = in_words(&error), %server, %assumed, "cannot list the nodes: assuming the oldest that may be there");
            Ok(assumed)
        }
    }
}

fn oldest_possible(server: KubernetesVersion) -> KubernetesVersion {
    KubernetesVersion {
        major: server.major,
        minor: server.minor.saturating_sub(SKEW),
    }
}

pub(super) async fn nodes(client: &Client) -> kube::Result<Vec<KubernetesVersion>> {
    let api: Api<Node> = Api::all(client.clone());
    let mut params = ListParams::default().limit(PAGE);
    let mut versions = Vec::new();
    loop {
        let page = api.list(&params).await?;
        versions.extend(page.items.into_iter().filter_map(|node| {
            let info = node.status?.node_info?;
            KubernetesVersion::parse(&info.kubelet_version)
        }));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params.continue_token = Some(token),
            None => return Ok(versions),
        }
    }
}
