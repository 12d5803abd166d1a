//! `heapship webhook`: the admission server in its container.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};

use crate::admission::namespaces::Known;
use crate::admission::server::{Counts, Limits, Server};
use crate::admission::tls::{Certificate, Files, Served, server_config};
use crate::admission::{Admission, health, http, rotation};
use crate::exit::Exit;
use crate::inject::{Cluster, KubernetesVersion};
use crate::logging;
use crate::metrics::Metrics;
use crate::names;
use crate::quantity::parse_duration;
use crate::settings::policy::Policies;
use crate::shutdown::Signals;

/// Serves the admission webhook until it is asked to end
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Where the API server's reviews arrive, over TLS; without IPv6, `[::]` means 0.0.0.0
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "[::]:8443",
        env = "HEAPSHIP_LISTEN"
    )]
    listen: SocketAddr,
    /// Where /healthz, /readyz and /metrics are, over plain HTTP
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "[::]:8080",
        env = "HEAPSHIP_HEALTH_LISTEN"
    )]
    health_listen: SocketAddr,
    /// The certificate and its intermediates, PEM; a change of the file is followed
    #[arg(long, value_name = "FILE", env = "HEAPSHIP_TLS_CERT")]
    tls_cert: PathBuf,
    /// The certificate's private key, PEM
    #[arg(long, value_name = "FILE", env = "HEAPSHIP_TLS_KEY")]
    tls_key: PathBuf,
    /// Serve only clients with a certificate of this CA, PEM
    #[arg(long, value_name = "FILE", env = "HEAPSHIP_CLIENT_CA")]
    client_ca: Option<PathBuf>,
    /// Policies of the platform team, YAML; without it annotations alone decide
    #[arg(long, value_name = "FILE", env = "HEAPSHIP_POLICY_FILE")]
    policy_file: Option<PathBuf>,
    /// What {cluster} in an object's key becomes
    #[arg(
        long,
        value_name = "NAME",
        default_value = "default",
        env = "HEAPSHIP_CLUSTER"
    )]
    cluster_name: String,
    /// Version of the API server
    #[arg(long, value_name = "1.N", default_value_t = KubernetesVersion::NEWEST, value_parser = kubernetes_version, env = "HEAPSHIP_KUBERNETES_VERSION")]
    kubernetes_version: KubernetesVersion,
    /// The webhook's own namespace, whose pods are never touched
    #[arg(long, value_name = "NAME", env = "HEAPSHIP_NAMESPACE")]
    namespace: Option<String>,
    /// Longest time to go on serving after SIGTERM; keep terminationGracePeriodSeconds 5 s above it
    #[arg(long, value_name = "DURATION", default_value = "25s", value_parser = parse_duration, env = "HEAPSHIP_DRAIN")]
    drain: Duration,
    /// How log lines look
    #[arg(
        long,
        value_name = "FORMAT",
        value_enum,
        default_value_t,
        env = "HEAPSHIP_LOG_FORMAT"
    )]
    log_format: logging::Format,
    /// What is logged: error, warn, info, debug, or a list of module=level
    #[arg(long, value_name = "FILTER", default_value = "info", env = "HEAPSHIP_LOG")]
    log: logging::Filter,
}

/// Runs the webhook to its end.
#[must_use]
pub fn run(arguments: Arguments) -> Exit {
    logging::init(arguments.log_format, &arguments.log);
    // One line like every other: whoever alerts on logs should not have to piece a panic together.
    std::panic::set_hook(Box::new(
        |panic| tracing::error!(%panic, "a bug: please report it"),
    ));
    let prepared = match Prepared::read(arguments) {
        Ok(prepared) => prepared,
        Err(error) => return end(Exit::Usage, &error),
    };
    match serve(prepared) {
        Ok(()) => Exit::Done,
        Err(error) => end(Exit::Failed, &error),
    }
}

fn end(exit: Exit, error: &anyhow::Error) -> Exit {
    eprintln!("heapship: {error:#}");
    exit
}

/// What is read before a socket is bound: a webhook that could not answer must not look as if it could.
struct Prepared {
    listen: SocketAddr,
    health_listen: SocketAddr,
    files: Files,
    served: Arc<Served>,
    tls: Arc<rustls::ServerConfig>,
    admission: Admission,
    limits: Limits,
}

impl Prepared {
    fn read(arguments: Arguments) -> anyhow::Result<Self> {
        let Arguments {
            listen,
            health_listen,
            tls_cert,
            tls_key,
            client_ca,
            policy_file,
            cluster_name,
            kubernetes_version,
            namespace,
            drain,
            log_format: _,
            log: _,
        } = arguments;
        let files = Files {
            certificate: tls_cert,
            key: tls_key,
        };
        let served = Arc::new(Served::new(Certificate::load(&files, SystemTime::now())?));
        let tls = server_config(Arc::clone(&served), client_ca.as_deref())?;
        let policies = policy_file
            .as_deref()
            .map(policies)
            .transpose()?
            .unwrap_or_default();
        Ok(Self {
            listen,
            health_listen,
            files,
            served,
            tls,
            admission: Admission {
                namespaces: Arc::new(Known::default()),
                policies: Arc::new(policies),
                cluster: Cluster {
                    name: cluster_name,
                    version: kubernetes_version,
                    own_namespace: namespace,
                },
                version: None,
            },
            limits: Limits {
                drain,
                ..Limits::default()
            },
        })
    }
}

fn policies(file: &Path) -> anyhow::Result<Policies> {
    let text = std::fs::read_to_string(file).with_context(|| {
        format!(
            "cannot read the policies {}; correct --policy-file",
            file.display()
        )
    })?;
    let policies =
        Policies::from_yaml(&text).with_context(|| format!("cannot use the policies {}", file.display()))?;
    // A selector over labels that nobody knows would select nothing, and nobody would learn why.
    let unknown = policies
        .namespace_labels_used()
        .find(|(_, label)| *label != names::NAMESPACE_NAME_LABEL);
    if let Some((policy, label)) = unknown {
        bail!(
            "cannot use the policies {}: policy {policy} selects namespaces by their label {label}, which this webhook does \
             not know; name them in spec.namespaces, or select by {}",
            file.display(),
            names::NAMESPACE_NAME_LABEL
        );
    }
    Ok(policies)
}

fn serve(prepared: Prepared) -> anyhow::Result<()> {
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
        files,
        served,
        tls,
        admission,
        limits,
    } = prepared;
    // Before the sockets, because whoever can connect can also expect a drain.
    let mut signals = Signals::install().context("cannot handle signals")?;
    let metrics = Arc::new(Metrics::default());
    metrics.certificate_expiry.set(served.current().expires);
    let counts = Counts {
        connections: metrics.connections.clone(),
        handshake_failures: metrics.handshake_failures.clone(),
    };
    let router = http::router(Arc::new(admission), Arc::clone(&metrics), http::Limits::default());
    let admission = Server::bind(listen, Some(tls), router, limits, counts)
        .await
        .map_err(|error| unbound(error, listen, "--listen"))?;
    let health_router = health::router(Arc::clone(&metrics));
    let health = Server::bind(health_listen, None, health_router, limits, Counts::default())
        .await
        .map_err(|error| unbound(error, health_listen, "--health-listen"))?;
    tracing::info!(address = %admission.address()?, health = %health.address()?, "serving");
    let rotation = tokio::spawn(rotation::follow(files, served, metrics, rotation::INTERVAL));
    let health = tokio::spawn(health.run(std::future::pending()));
    admission
        .run(async {
            let signal = signals.next().await;
            tracing::info!(signal, "asked to end");
        })
        .await;
    health.abort();
    rotation.abort();
    Ok(())
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

fn kubernetes_version(text: &str) -> Result<KubernetesVersion, &'static str> {
    KubernetesVersion::parse(text).ok_or("not a version like 1.36")
}
