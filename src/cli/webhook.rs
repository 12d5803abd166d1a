//! `heapship webhook`: the admission server in its container.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};

use crate::admission::server::Limits;
use crate::admission::tls::{Certificate, Files, Served, server_config};
use crate::certificates::secret::Place;
use crate::certificates::{Lifetimes, Service, provided};
use crate::exit::Exit;
use crate::inject::KubernetesVersion;
use crate::logging;
use crate::names;
use crate::quantity::parse_duration;
use crate::settings::policy::Policies;

use serve::{Prepared, Source};

mod serve;

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
    /// The certificate and its intermediates, PEM; a change of the file is followed. Without it certificates are made and
    /// kept in a Secret
    #[arg(long, value_name = "FILE", requires = "tls_key", env = "HEAPSHIP_TLS_CERT")]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key, PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert", env = "HEAPSHIP_TLS_KEY")]
    tls_key: Option<PathBuf>,
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
    /// Oldest version that a pod may meet; else the cluster is asked, or the newest is assumed without --registration
    #[arg(long, value_name = "1.N", value_parser = kubernetes_version, env = "HEAPSHIP_KUBERNETES_VERSION")]
    kubernetes_version: Option<KubernetesVersion>,
    /// Name of the mutating webhook configuration; with it the webhook talks to the API server: it watches namespaces, keeps
    /// their labels, and keeps the caBundle where the certificates are its own or --ca-bundle is given
    #[arg(
        long,
        value_name = "NAME",
        requires = "namespace",
        env = "HEAPSHIP_REGISTRATION"
    )]
    registration: Option<String>,
    /// Name of the Service by which the API server calls
    #[arg(long, value_name = "NAME", default_value = names::WEBHOOK, env = "HEAPSHIP_SERVICE")]
    service: String,
    /// Secret of the certificates that the replicas make
    #[arg(long, value_name = "NAME", default_value = names::CERTIFICATES_SECRET, env = "HEAPSHIP_CERTIFICATE_SECRET")]
    certificate_secret: String,
    /// Deployment that owns that Secret
    #[arg(long, value_name = "NAME", default_value = names::WEBHOOK, env = "HEAPSHIP_DEPLOYMENT")]
    deployment: String,
    /// CAs that the registration's caBundle shall hold, PEM; a change of the file is followed
    #[arg(
        long,
        value_name = "FILE",
        requires = "tls_cert",
        requires = "registration",
        env = "HEAPSHIP_CA_BUNDLE"
    )]
    ca_bundle: Option<PathBuf>,
    /// How long a CA lives that is made here; it is renewed at two thirds
    #[arg(long, value_name = "DURATION", default_value = "8760h", value_parser = lifetime, env = "HEAPSHIP_CA_LIFETIME")]
    ca_lifetime: Duration,
    /// How long a certificate lives that is made here; it is renewed at two thirds
    #[arg(long, value_name = "DURATION", default_value = "720h", value_parser = lifetime, env = "HEAPSHIP_CERTIFICATE_LIFETIME")]
    certificate_lifetime: Duration,
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
    let prepared = match prepare(arguments) {
        Ok(prepared) => prepared,
        Err(error) => return end(Exit::Usage, &error),
    };
    match serve::serve(prepared) {
        Ok(()) => Exit::Done,
        Err(error) => end(Exit::Failed, &error),
    }
}

fn end(exit: Exit, error: &anyhow::Error) -> Exit {
    eprintln!("heapship: {error:#}");
    exit
}

/// What is read before a socket is bound: a webhook that could not answer must not look as if it could.
fn prepare(arguments: Arguments) -> anyhow::Result<Prepared> {
    let Arguments {
        listen,
        health_listen,
        tls_cert,
        tls_key,
        client_ca,
        policy_file,
        cluster_name,
        kubernetes_version,
        registration,
        service,
        certificate_secret,
        deployment,
        ca_bundle,
        ca_lifetime,
        certificate_lifetime,
        namespace,
        drain,
        log_format: _,
        log: _,
    } = arguments;
    let registration = match (registration, &namespace) {
        (None, _) => None,
        (Some(name), Some(namespace)) => Some(serve::Registration {
            name,
            service: Service {
                name: service,
                namespace: namespace.clone(),
            },
        }),
        (Some(_), None) => {
            bail!("cannot keep the registration without knowing the Service; give --namespace")
        }
    };
    let (source, served) = match (tls_cert, tls_key, &registration) {
        (Some(certificate), Some(key), _) => {
            let files = Files { certificate, key };
            let served = match Certificate::load(&files, SystemTime::now()) {
                Ok(certificate) => Served::new(certificate),
                // A mounted Secret is renewed under a running webhook, which is not ready until then.
                Err(error) if error.may_pass() => Served::default(),
                Err(error) => return Err(error.into()),
            };
            let bundle = match ca_bundle {
                Some(file) => Some((provided::load(&file)?, file)),
                None => None,
            };
            (Source::Files { files, bundle }, served)
        }
        (None, None, Some(serve::Registration { name: _, service })) => {
            let lifetimes = Lifetimes {
                authority: ca_lifetime,
                certificate: certificate_lifetime,
            };
            if lifetimes.certificate > lifetimes.authority {
                bail!(
                    "a certificate cannot outlive its CA; raise --ca-lifetime or lower --certificate-lifetime"
                );
            }
            let place = Place {
                secret: certificate_secret,
                deployment,
                service: service.clone(),
            };
            (Source::SelfManaged { place, lifetimes }, Served::default())
        }
        (None, None, None) => bail!(
            "there is no certificate to serve; give --tls-cert and --tls-key, or --registration and --namespace to have \
             certificates made"
        ),
        (Some(_), None, _) | (None, Some(_), _) => bail!("give --tls-cert and --tls-key together"),
    };
    let served = Arc::new(served);
    let tls = server_config(Arc::clone(&served), client_ca.as_deref())?;
    let policies = match policy_file {
        Some(file) => policies(&file, registration.is_some())?,
        None => Policies::default(),
    };
    Ok(Prepared {
        listen,
        health_listen,
        source,
        registration,
        served,
        tls,
        policies: Arc::new(policies),
        cluster_name,
        kubernetes_version,
        namespace,
        limits: Limits {
            drain,
            ..Limits::default()
        },
    })
}

fn policies(file: &Path, namespaces_are_watched: bool) -> anyhow::Result<Policies> {
    let text = std::fs::read_to_string(file).with_context(|| {
        format!(
            "cannot read the policies {}; correct --policy-file",
            file.display()
        )
    })?;
    let policies =
        Policies::from_yaml(&text).with_context(|| format!("cannot use the policies {}", file.display()))?;
    if namespaces_are_watched {
        return Ok(policies);
    }
    // A selector over labels that nobody knows would select nothing, and nobody would learn why.
    let unknown = policies
        .namespace_labels_used()
        .find(|(_, label)| *label != names::NAMESPACE_NAME_LABEL);
    if let Some((policy, label)) = unknown {
        bail!(
            "cannot use the policies {}: policy {policy} selects namespaces by their label {label}, which this webhook does \
             not know; give --registration, name them in spec.namespaces, or select by {}",
            file.display(),
            names::NAMESPACE_NAME_LABEL
        );
    }
    Ok(policies)
}

/// Whole seconds is what certificates can say, and below ten of them a renewal is hardly done before the next.
fn lifetime(text: &str) -> Result<Duration, String> {
    let lifetime = parse_duration(text).map_err(|error| error.to_string())?;
    if (SHORTEST..=LONGEST).contains(&lifetime) {
        Ok(lifetime)
    } else {
        Err("not between 10s and 876000h".to_owned())
    }
}

fn kubernetes_version(text: &str) -> Result<KubernetesVersion, &'static str> {
    KubernetesVersion::parse(text).ok_or("not a version like 1.36")
}

const SHORTEST: Duration = Duration::from_secs(10);
/// A hundred years; dates beyond the year 9999 cannot be written.
const LONGEST: Duration = Duration::from_hours(876_000);
