//! What was read of the cluster, once, for everybody who judges.

use serde_json::Value;

use super::permissions::Access;
use super::pods::Pods;
use super::probe;
use super::store;
use crate::cli::installation::Installation;
use crate::cli::live::Read;
use crate::cli::standing::{Times, asked_since};
use crate::inject::{KubernetesVersion, Namespace, texts};
use crate::names;

/// A snapshot of the cluster.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// When, in seconds since 1970.
    pub(super) now: i64,
    /// The API server's version.
    pub(super) server: KubernetesVersion,
    /// Of the nodes, where they have to be looked at.
    pub(super) old_nodes: Option<Read<Vec<String>>>,
    /// The name of ours.
    pub(super) registration_name: String,
    /// The names of all registrations.
    pub(super) registrations: Read<Vec<String>>,
    /// The second object of the registration, which only warns.
    pub(super) warning: Read<Value>,
    /// Registration, Deployment, policies.
    pub(super) installation: Installation,
    /// The Service that the API server calls.
    pub(super) service: Read<Value>,
    /// Its endpoints that are ready.
    pub(super) ready: Read<u64>,
    /// What is served, PEM; of the Secret nothing else is kept.
    pub(super) certificate: Read<String>,
    /// What came back for a pod that was never created.
    pub(super) probe: probe::Answer,
    /// The webhook's, as it calls itself at the API server.
    pub(super) service_account: String,
    /// What that may do of all that it has to.
    pub(super) webhook_may: Read<Vec<(Access, bool)>>,
    /// All namespaces, or the one that was asked for.
    pub(super) namespaces: Read<Vec<Listed>>,
    /// All pods of these.
    pub(super) pods: Read<Pods>,
    /// What agents say about their stores; `None` where nobody wanted to know.
    pub(super) stores: Option<Vec<store::Answer>>,
}

/// A namespace, and what tells about its past.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Listed {
    /// Without our own label: it follows from all the others.
    pub(in crate::cli) namespace: Namespace,
    /// Whether it carries that label.
    pub(in crate::cli) labelled: bool,
    /// When our annotations on it were last written.
    pub(in crate::cli) asked: Option<String>,
}

impl Listed {
    /// Reads a Namespace.
    #[must_use]
    pub(in crate::cli) fn of(object: &Value) -> Self {
        let metadata = &object["metadata"];
        let mut labels = texts(&metadata["labels"]);
        let label = labels.remove(names::INJECTION_LABEL);
        Self {
            namespace: Namespace {
                name: metadata["name"].as_str().unwrap_or_default().to_owned(),
                labels,
                annotations: texts(&metadata["annotations"]),
            },
            labelled: label.as_deref() == Some(names::INJECTION_ENABLED),
            asked: asked_since(metadata),
        }
    }

    /// What is known where no namespace could be read: its name.
    #[must_use]
    pub(in crate::cli) fn unknown(name: &str) -> Self {
        Self {
            namespace: crate::objects::named(name),
            labelled: false,
            asked: None,
        }
    }

    /// When pods here should have begun to carry the injection.
    #[must_use]
    pub(in crate::cli) fn times(&self, registration: &Read<Value>) -> Times {
        let installed = registration.as_ref().ok();
        let installed = installed.and_then(|found| found["metadata"]["creationTimestamp"].as_str());
        Times {
            installed: installed.map(str::to_owned),
            asked: self.asked.clone(),
        }
    }
}
