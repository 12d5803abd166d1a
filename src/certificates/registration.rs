//! Keeps the caBundle of the registration, and nothing else of it.
//!
//! Whoever applies the manifests again, by whichever tool, may clear it or put back an old one. It is written as a
//! strategic merge patch of that one field, under a field manager of ours and with the version that was read: an entry
//! that is gone is not made again, nobody else's field becomes ours, and of two writers one reads again.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::Uri;
use base64::Engine as _;
use futures_util::StreamExt as _;
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhook, MutatingWebhookConfiguration};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::metrics::Metrics;
use crate::names;

use super::Service;
use super::authority::Authority;
use super::bundle::{Bundle, Strangers};
use super::content::pem;
use super::objects::{Complaints, Error, LOOK, call, changes};
use super::serving::wall_clock;
use super::trust::{Standing, Trust};

/// The annotation by which cert-manager is asked to write the caBundle.
const CERT_MANAGERS: &str = "cert-manager.io/inject-ca-from";

/// Least time between two writes: somebody may undo each of ours.
const PAUSE: Duration = Duration::from_secs(1);

/// An entry whose calls come to us.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// Its name, by which it is patched.
    pub name: String,
    /// The name that the API server asks our certificate for.
    pub server_name: String,
    /// Its caBundle.
    pub bundle: Bundle,
}

/// The entries that lead to our Service, or to a URL with the Service's name in it.
#[must_use]
pub fn entries(configuration: &MutatingWebhookConfiguration, service: &Service) -> Vec<Entry> {
    let entry = |webhook: &MutatingWebhook| {
        let client = &webhook.client_config;
        let server_name = match (&client.service, &client.url) {
            (Some(called), _) => (called.name == service.name && called.namespace == service.namespace)
                .then(|| service.server_name()),
            (None, Some(url)) => url
                .parse::<Uri>()
                .ok()
                .and_then(|url| url.host().map(str::to_owned))
                .filter(|host| service.names().contains(host)),
            (None, None) => None,
        }?;
        let bundle = client
            .ca_bundle
            .as_ref()
            .map_or_else(Bundle::default, |pem| Bundle::read(&pem.0));
        Some(Entry {
            name: webhook.name.clone(),
            server_name,
            bundle,
        })
    };
    configuration
        .webhooks
        .iter()
        .flatten()
        .filter_map(entry)
        .collect()
}

/// The patch that gives these entries these caBundles, if it still is the version that was read.
#[must_use]
pub fn patch(version: Option<&str>, repairs: &[(String, Vec<CertificateDer<'static>>)]) -> Value {
    let webhooks: Vec<_> = repairs
        .iter()
        .map(|(name, bundle)| {
            let bundle = base64::engine::general_purpose::STANDARD.encode(pem(bundle));
            json!({"name": name, "clientConfig": {"caBundle": bundle}})
        })
        .collect();
    json!({"metadata": {"resourceVersion": version}, "webhooks": webhooks})
}

/// Where the registration is, and what its caBundle should hold.
pub struct Keeper {
    api: Api<MutatingWebhookConfiguration>,
    name: String,
    service: Service,
    truth: Option<watch::Receiver<Vec<Authority>>>,
    standing: watch::Sender<Standing>,
    metrics: Arc<Metrics>,
    strangers: Strangers,
    is_missed: bool,
}

impl Keeper {
    /// Without a `truth` the caBundle is somebody else's, and is only looked at.
    #[must_use]
    pub fn new(
        client: Client,
        name: String,
        service: Service,
        truth: Option<watch::Receiver<Vec<Authority>>>,
        standing: watch::Sender<Standing>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            api: Api::all(client),
            name,
            service,
            truth,
            standing,
            metrics,
            strangers: Strangers::default(),
            is_missed: false,
        }
    }

    /// Keeps it for ever.
    pub async fn run(mut self) {
        let mut changes = pin!(changes(self.api.clone(), &self.name));
        let mut complaints = Complaints::about("registration");
        loop {
            let pause = match self.look().await {
                Ok(Looked::Right) => {
                    complaints.clear();
                    LOOK
                }
                // Seen anew at once: the time of a CA begins when it is seen in the registration.
                Ok(Looked::Repaired) => {
                    complaints.clear();
                    sleep(PAUSE).await;
                    continue;
                }
                Err(error) if error.is_conflict() || error.is_missing() => PAUSE,
                Err(error) => complaints.add(&error),
            };
            let truth = async {
                let told = match &mut self.truth {
                    Some(truth) => truth.changed().await.is_ok(),
                    None => false,
                };
                // Nobody tells, or nobody any more because the process is ending.
                if !told {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                Some(()) = changes.next() => {}
                () = truth => {}
                () = sleep(pause) => {}
            }
        }
    }

    async fn look(&mut self) -> Result<Looked, Error> {
        let attempt = format!("read the MutatingWebhookConfiguration {}", self.name);
        let found = call(attempt, self.api.get_opt(&self.name)).await?;
        let now = Instant::now();
        let entries = found
            .as_ref()
            .map(|configuration| entries(configuration, &self.service));
        let (Some(found), Some(entries)) = (found, entries.filter(|entries| !entries.is_empty())) else {
            self.miss();
            return Ok(Looked::Right);
        };
        if std::mem::take(&mut self.is_missed) {
            tracing::info!(registration = self.name, "the registration is there");
        }
        self.publish(&entries, now);
        let truth = match &mut self.truth {
            Some(truth) => truth.borrow_and_update().clone(),
            None => return Ok(Looked::Right),
        };
        // Somebody switches to cert-manager: two who put their own CA in the place of the other's would help nobody.
        let annotations = found.metadata.annotations.as_ref();
        if annotations.is_some_and(|all| all.contains_key(CERT_MANAGERS)) {
            return Ok(Looked::Right);
        }
        self.strangers = self
            .strangers
            .observed(entries.iter().map(|entry| &entry.bundle), &truth, now);
        let repairs: Vec<_> = entries
            .iter()
            .filter_map(|entry| {
                let bundle = entry
                    .bundle
                    .repaired(&truth, &self.strangers, now, wall_clock())?;
                Some((entry.name.clone(), bundle))
            })
            .collect();
        if repairs.is_empty() {
            return Ok(Looked::Right);
        }
        let attempt = format!(
            "write the caBundle of the MutatingWebhookConfiguration {}",
            self.name
        );
        let parameters = PatchParams {
            field_manager: Some(names::FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let patch = Patch::Strategic(patch(found.metadata.resource_version.as_deref(), &repairs));
        call(attempt, self.api.patch(&self.name, &parameters, &patch)).await?;
        self.metrics.ca_bundle_repairs.inc();
        tracing::info!(
            registration = self.name,
            entries = repairs.len(),
            certificates = repairs.first().map_or(0, |(_, bundle)| bundle.len()),
            "wrote the caBundle"
        );
        Ok(Looked::Repaired)
    }

    fn publish(&self, entries: &[Entry], now: Instant) {
        let seen: Vec<_> = entries
            .iter()
            .map(|entry| (entry.server_name.clone(), entry.bundle.certificates.clone()))
            .collect();
        self.standing.send_modify(|standing| {
            let before = match standing {
                Standing::Registered(trust) => std::mem::take(trust),
                Standing::Unknown | Standing::Absent => Trust::default(),
            };
            *standing = Standing::Registered(before.observed(&seen, now));
        });
    }

    fn miss(&mut self) {
        if !std::mem::replace(&mut self.is_missed, true) {
            tracing::warn!(
                registration = self.name,
                service = self.service.server_name(),
                "no MutatingWebhookConfiguration of this name has an entry that leads to the Service: nobody will call; \
                 waiting until heapship's manifests are applied"
            );
        }
        self.standing.send_replace(Standing::Absent);
    }
}

enum Looked {
    Right,
    Repaired,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service() -> Service {
        Service {
            name: "heapship".to_owned(),
            namespace: "heapship-system".to_owned(),
        }
    }

    #[test]
    fn entries_that_lead_to_us_are_found_by_service_and_by_url() {
        let clients = json!([
            {"service": {"name": "heapship", "namespace": "heapship-system", "port": 443, "path": "/mutate"}},
            {"service": {"name": "heapship", "namespace": "elsewhere"}},
            {"service": {"name": "other", "namespace": "heapship-system"}},
            {"url": "https://heapship.heapship-system.svc:8443/mutate"},
            {"url": "https://heapship.heapship-system/mutate"},
            {"url": "https://example.org/mutate"},
        ]);
        let webhooks: Vec<_> = clients
            .as_array()
            .unwrap()
            .iter()
            .enumerate()
            .map(|(index, client)| {
                json!({
                    "name": format!("{index}.heapship.io"), "clientConfig": client, "sideEffects": "None",
                    "admissionReviewVersions": ["v1"],
                })
            })
            .collect();
        let configuration = serde_json::from_value(json!({"metadata": {}, "webhooks": webhooks})).unwrap();
        let found: Vec<_> = entries(&configuration, &service())
            .into_iter()
            .map(|entry| (entry.name, entry.server_name))
            .collect();
        let name = "heapship.heapship-system.svc";
        assert_eq!(
            found,
            [
                ("0.heapship.io", name),
                ("3.heapship.io", name),
                ("4.heapship.io", "heapship.heapship-system")
            ]
            .map(|(entry, server)| (entry.to_owned(), server.to_owned()))
        );
    }

    #[test]
    fn a_patch_names_the_entry_its_bundle_and_the_version_and_nothing_else() {
        let repairs = [(
            "pods.heapship.io".to_owned(),
            vec![CertificateDer::from(vec![1, 2, 3])],
        )];
        assert_eq!(
            patch(Some("7"), &repairs),
            json!({
                "metadata": {"resourceVersion": "7"},
                "webhooks": [{
                    "name": "pods.heapship.io",
                    "clientConfig": {
                        "caBundle": "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCkFRSUQKLS0tLS1FTkQgQ0VSVElGSUNBVEUtLS0tLQo=",
                    },
                }],
            })
        );
    }
}
