//! The parts of a running webhook, and how they hang together.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use arc_swap::ArcSwap;
use kube::Client;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::sleep;

use crate::admission::health::{self, Readiness, Wait};
use crate::admission::namespaces::{self, Namespaces};
use crate::admission::server::{Counts, Limits, Server};
use crate::admission::tls::{Files, Served};
use crate::admission::{Admission, http, rotation};
use crate::certificates::authority::Authority;
use crate::certificates::objects::Complaints;
use crate::certificates::secret::{self, Outlets, Place};
use crate::certificates::serving::{Candidates, Demand, Serving};
use crate::certificates::trust::Standing;
use crate::certificates::{Lifetimes, SETTLE, Service, provided, registration};
use crate::cluster::{self, Version, Watched};
use crate::events::outbox::Outbox;
use crate::events::post::post;
use crate::inject::{Cluster, KubernetesVersion};
use crate::metrics::Metrics;
use crate::names;
use crate::settings::policy::Policies;
use crate::shutdown::Signals;

/// Everything that was read and checked.
pub(super) struct Prepared {
    pub(super) listen: SocketAddr,
    pub(super) health_listen: SocketAddr,
    pub(super) source: Source,
    pub(super) registration: Option<Registration>,
    pub(super) served: Arc<Served>,
    pub(super) tls: Arc<rustls::ServerConfig>,
    pub(super) policies: Arc<Policies>,
    pub(super) cluster_name: String,
    pub(super) kubernetes_version: Option<KubernetesVersion>,
    pub(super) namespace: Option<String>,
    pub(super) limits: Limits,
}

/// Where the API server is told of us.
pub(super) struct Registration {
    pub(super) name: String,
    pub(super) service: Service,
}

/// Who makes the certificates.
pub(super) enum Source {
    /// Somebody who puts them into files, and perhaps the CAs that the registration shall hold as well.
    Files {
        files: Files,
        bundle: Option<(Vec<Authority>, PathBuf)>,
    },
    /// The replicas themselves.
    SelfManaged { place: Place, lifetimes: Lifetimes },
}

const ENDED_BY_ITSELF: &str = "a part of the webhook ended by itself, which is a bug: please report it";

/// Serves until a signal.
pub(super) fn serve(prepared: Prepared) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start threads")?
        .block_on(serve_until_asked(prepared))
}

async fn serve_until_asked(prepared: Prepared) -> anyhow::Result<()> {
    let Prepared {
        listen,
        health_listen,
        source,
        registration,
        served,
        tls,
        policies,
        cluster_name,
        kubernetes_version,
        namespace,
        limits,
    } = prepared;
    // Before the sockets, because whoever can connect can also expect a drain.
    let mut signals = Signals::install().context("cannot handle signals")?;
    let metrics = Arc::new(Metrics::default());
    if let Some(certificate) = served.current() {
        metrics.certificate_expiry.set(certificate.expires);
    }
    let readiness = Arc::new(Readiness::default());
    let client =
        match &registration {
            None => None,
            Some(_) => Some(Client::try_default().await.context(
                "cannot find the API server; run in a pod with a service account, or set KUBECONFIG",
            )?),
        };
    let health = bind(
        health_listen,
        "--health-listen",
        None,
        health::router(Arc::clone(&metrics), Arc::clone(&readiness)),
        limits,
        Counts::default(),
    )
    .await?;
    let health_address = health.address()?;
    let mut tasks = JoinSet::new();
    tasks.spawn(health.run(std::future::pending()));
    let outbox = client
        .clone()
        .map(|client| write_events(&mut tasks, client, &metrics));
    let api = registration.as_ref().zip(client.clone());
    keep_certificates(&mut tasks, source, api, served, &readiness, &metrics);

    let version = match kubernetes_version {
        Some(_) => Version::Told,
        None => Version::Asked,
    };
    let cluster = Arc::new(ArcSwap::from_pointee(Cluster {
        name: cluster_name,
        version: kubernetes_version.unwrap_or(KubernetesVersion::NEWEST),
        own_namespace: namespace,
        env_files: false,
    }));
    let name = registration.map(|registration| registration.name);
    let known = tokio::select! {
        known = know(name.zip(client), &policies, &cluster, version, &metrics) => known,
        signal = signals.next() => {
            tracing::info!(signal, "asked to end before anything was served");
            return Ok(());
        }
        _ = tasks.join_next() => bail!(ENDED_BY_ITSELF),
    };
    let Known {
        namespaces,
        mut following,
        labels,
    } = known;
    readiness.fulfil(Wait::Cluster);
    let admission = Admission {
        namespaces,
        policies,
        cluster,
    };
    let counts = Counts {
        connections: metrics.connections.clone(),
        handshake_failures: metrics.handshake_failures.clone(),
    };
    let router = http::router(
        Arc::new(admission),
        outbox,
        Arc::clone(&metrics),
        http::Limits::default(),
    );
    let admission = bind(listen, "--listen", Some(tls), router, limits, counts).await?;
    tracing::info!(address = %admission.address()?, health = %health_address, "serving");
    run(admission, &mut signals, &mut tasks, &mut following, labels).await
}

/// Serves until a signal, or until a task ends that must not; then to the last connection.
async fn run(
    admission: Server,
    signals: &mut Signals,
    tasks: &mut JoinSet<()>,
    following: &mut JoinSet<()>,
    labels: Option<AbortHandle>,
) -> anyhow::Result<()> {
    let mut has_failed = false;
    admission
        .run(async {
            tokio::select! {
                signal = signals.next() => tracing::info!(signal, "asked to end"),
                // None of them ends by itself. Without it certificates would expire one day, or namespaces be as they
                // were: better to start anew.
                _ = tasks.join_next() => has_failed = true,
                Some(_) = following.join_next() => has_failed = true,
            }
            // The others go on until the last call is answered.
            if let Some(labels) = labels {
                labels.abort();
            }
        })
        .await;
    following.shutdown().await;
    tasks.shutdown().await;
    if has_failed {
        bail!(ENDED_BY_ITSELF);
    }
    Ok(())
}

/// Starts the writer of Events. They are signed with the pod's name, which its container finds in HOSTNAME.
fn write_events(tasks: &mut JoinSet<()>, client: Client, metrics: &Arc<Metrics>) -> Arc<Outbox> {
    let outbox = Arc::<Outbox>::default();
    let instance = std::env::var("HOSTNAME").unwrap_or_else(|_| names::WEBHOOK.to_owned());
    tasks.spawn(post(client, Arc::clone(&outbox), instance, Arc::clone(metrics)));
    outbox
}

/// Starts what brings certificates from where they are made to where they are served.
fn keep_certificates(
    tasks: &mut JoinSet<()>,
    source: Source,
    api: Option<(&Registration, Client)>,
    served: Arc<Served>,
    readiness: &Arc<Readiness>,
    metrics: &Arc<Metrics>,
) {
    let candidates = Candidates::default();
    let (standing_sender, standing) = watch::channel(Standing::Unknown);
    // What is so already is not waited for: the first line of the log may be taken for readiness.
    if served.current().is_some() {
        readiness.fulfil(Wait::Certificate);
    }
    if api.is_none() {
        readiness.fulfil(Wait::Registration);
    }
    let mut truth = None;
    let settle = match source {
        Source::Files { files, bundle } => {
            if let Some((authorities, file)) = bundle {
                let (sender, receiver) = watch::channel(authorities);
                tasks.spawn(provided::follow(file, sender, rotation::INTERVAL));
                truth = Some(receiver);
            }
            tasks.spawn(rotation::follow(
                files,
                candidates.clone(),
                Arc::clone(metrics),
                rotation::INTERVAL,
            ));
            SETTLE
        }
        Source::SelfManaged { place, lifetimes } => {
            let (sender, receiver) = watch::channel(Vec::new());
            truth = Some(receiver);
            if let Some((_, client)) = &api {
                let outlets = Outlets {
                    truth: sender,
                    candidates: candidates.clone(),
                };
                let keeper = secret::Keeper::new(
                    client.clone(),
                    place,
                    lifetimes,
                    standing.clone(),
                    outlets,
                    Arc::clone(metrics),
                );
                tasks.spawn(keeper.run());
            }
            lifetimes.settle()
        }
    };
    let demand = if api.is_some() {
        Demand::Trusted { settle }
    } else {
        Demand::Nothing
    };
    if let Some((Registration { name, service }, client)) = api {
        let keeper = registration::Keeper::new(
            &client,
            name.clone(),
            service.clone(),
            truth,
            standing_sender,
            Arc::clone(metrics),
        );
        tasks.spawn(keeper.run());
    }
    let serving = Serving {
        candidates,
        standing,
        demand,
        served,
        readiness: Arc::clone(readiness),
        metrics: Arc::clone(metrics),
    };
    tasks.spawn(serving.run());
}

/// What is known of the cluster, and who keeps it current.
struct Known {
    namespaces: Arc<dyn Namespaces>,
    following: JoinSet<()>,
    labels: Option<AbortHandle>,
}

/// Learns of the cluster where a registration of this name tells that there is one.
async fn know(
    registered: Option<(String, Client)>,
    policies: &Arc<Policies>,
    cluster: &Arc<ArcSwap<Cluster>>,
    version: Version,
    metrics: &Arc<Metrics>,
) -> Known {
    let Some((name, client)) = registered else {
        return Known {
            namespaces: Arc::new(namespaces::Known::default()),
            following: JoinSet::new(),
            labels: None,
        };
    };
    let Watched {
        namespaces,
        tasks,
        labels,
    } = watch_cluster(client, policies, &name, cluster, version, metrics).await;
    Known {
        namespaces,
        following: tasks,
        labels: Some(labels),
    }
}

/// Begins to watch the cluster; an API server that cannot be reached is waited for.
async fn watch_cluster(
    client: Client,
    policies: &Arc<Policies>,
    registration: &str,
    cluster: &Arc<ArcSwap<Cluster>>,
    version: Version,
    metrics: &Arc<Metrics>,
) -> Watched {
    let mut complaints = Complaints::about("cluster");
    loop {
        let watched = cluster::watch(
            client.clone(),
            Arc::clone(policies),
            registration,
            cluster,
            version,
            Arc::clone(metrics),
        );
        match watched.await {
            Ok(watched) => return watched,
            Err(error) => sleep(complaints.add(&error)).await,
        }
    }
}

async fn bind(
    address: SocketAddr,
    argument: &str,
    tls: Option<Arc<rustls::ServerConfig>>,
    router: axum::Router,
    limits: Limits,
    counts: Counts,
) -> anyhow::Result<Server> {
    Server::bind(address, tls, router, limits, counts)
        .await
        .map_err(|error| unbound(error, address, argument))
}

/// What the system said about an address, and what helps.
fn unbound(error: io::Error, address: SocketAddr, argument: &str) -> anyhow::Error {
    let remedy = match error.kind() {
        io::ErrorKind::AddrInUse => "the port is in use: free it, or change",
        io::ErrorKind::AddrNotAvailable => "this machine has no such address: change",
        io::ErrorKind::PermissionDenied => "ports below 1024 need a privilege: change",
        _ => "change",
    };
    anyhow::Error::new(error).context(format!("cannot listen on {address}; {remedy} {argument}"))
}
