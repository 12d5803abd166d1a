//! The parts of a running webhook, and how they hang together.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use kube::Client;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::admission::health::{self, Readiness, Wait};
use crate::admission::namespaces::{Known, Namespaces};
use crate::admission::server::{Counts, Limits, Server};
use crate::admission::tls::{Files, Served};
use crate::admission::{Admission, http, rotation};
use crate::certificates::authority::Authority;
use crate::certificates::objects::Complaints;
use crate::certificates::secret::{self, Outlets, Place};
use crate::certificates::serving::{Candidates, Demand, Proof, Serving};
use crate::certificates::trust::Standing;
use crate::certificates::{Lifetimes, SETTLE, Service, provided, registration};
use crate::cluster::{self, Watched};
use crate::inject::{Cluster, KubernetesVersion};
use crate::metrics::Metrics;
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
    let api = registration.as_ref().zip(client.clone());
    keep_certificates(&mut tasks, source, api, served, &readiness, &metrics);

    let name = registration.map(|registration| registration.name);
    let nothing_known: Arc<dyn Namespaces> = Arc::new(Known::default());
    let watched = async {
        match name.zip(client) {
            Some((name, client)) => {
                let Watched {
                    namespaces,
                    version,
                    env_files,
                } = watch_cluster(client, &policies, &name, &metrics).await;
                (namespaces, Some(version), env_files)
            }
            None => (nothing_known, None, Arc::default()),
        }
    };
    let (namespaces, asked, env_files) = tokio::select! {
        watched = watched => watched,
        signal = signals.next() => {
            tracing::info!(signal, "asked to end before anything was served");
            return Ok(());
        }
    };
    readiness.fulfil(Wait::Cluster);
    let admission = Admission {
        namespaces,
        policies,
        cluster: Cluster {
            name: cluster_name,
            version: kubernetes_version.unwrap_or(KubernetesVersion::NEWEST),
            own_namespace: namespace,
            env_files: false,
        },
        // What a person says about the version goes.
        version: asked.filter(|_| kubernetes_version.is_none()),
        env_files,
    };
    let counts = Counts {
        connections: metrics.connections.clone(),
        handshake_failures: metrics.handshake_failures.clone(),
    };
    let router = http::router(Arc::new(admission), Arc::clone(&metrics), http::Limits::default());
    let admission = bind(listen, "--listen", Some(tls), router, limits, counts).await?;
    tracing::info!(address = %admission.address()?, health = %health_address, "serving");
    let mut has_failed = false;
    admission
        .run(async {
            tokio::select! {
                signal = signals.next() => tracing::info!(signal, "asked to end"),
                // None of them ends by itself. Without it certificates would expire one day: better to start anew.
                _ = tasks.join_next() => has_failed = true,
            }
        })
        .await;
    tasks.shutdown().await;
    if has_failed {
        bail!("a part of the webhook ended by itself, which is a bug: please report it");
    }
    Ok(())
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
    let is_registered = api.is_some();
    // What is so already is not waited for: the first line of the log may be taken for readiness.
    if served.current().is_some() {
        readiness.fulfil(Wait::Certificate);
    }
    if !is_registered {
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
    let (demand, proof) = match (is_registered, truth.is_some()) {
        (false, _) => (Demand::Nothing, Proof::Nothing),
        (true, false) => (Demand::Trusted { settle }, Proof::Injected),
        (true, true) => (Demand::Trusted { settle }, Proof::Accepted),
    };
    if let Some((Registration { name, service }, client)) = api {
        let keeper = registration::Keeper::new(
            client,
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
        proof,
        served,
        readiness: Arc::clone(readiness),
        metrics: Arc::clone(metrics),
    };
    tasks.spawn(serving.run());
}

/// Begins to watch the cluster; an API server that cannot be reached is waited for.
async fn watch_cluster(
    client: Client,
    policies: &Arc<Policies>,
    registration: &str,
    metrics: &Arc<Metrics>,
) -> Watched {
    let mut complaints = Complaints::about("cluster");
    loop {
        let watched = cluster::watch(
            client.clone(),
            Arc::clone(policies),
            registration,
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
