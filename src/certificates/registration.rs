//! Keeps the caBundle of the registration, and nothing else of it.
//!
//! The registration is two objects of one name: the mutating one, and the validating one that only warns. Both are kept;
//! whether a certificate is served, and a replica ready, is a matter of the first alone. Where the second is missing,
//! forbidden or somebody else's, words are lost and no pod.
//!
//! Whoever applies the manifests again, by whichever tool, may clear a caBundle or put back an old one. It is written as a
//! strategic merge patch of that one field, under a field manager of ours and with the version that was read: an entry
//! that is gone is not made again, nobody else's field becomes ours, and of two writers one reads again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::Uri;
use base64::Engine as _;
use futures_util::{StreamExt as _, stream};
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use kube::api::{Patch, PatchParams};
use kube::core::{ApiResource, DynamicObject};
use kube::{Api, Client, Resource};
use rustls::pki_types::CertificateDer;
use serde::Deserialize;
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

/// What a mutating and a validating entry have in common.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Webhook {
    name: String,
    client_config: WebhookClientConfig,
}

/// The entries that lead to our Service, or to a URL with the Service's name in it.
#[must_use]
pub fn entries(configuration: &DynamicObject, service: &Service) -> Vec<Entry> {
    let webhooks = configuration.data["webhooks"].clone();
    let webhooks: Vec<Webhook> = serde_json::from_value(webhooks).unwrap_or_default();
    let entry = |Webhook { name, client_config }: Webhook| {
        let server_name = match (client_config.service, client_config.url) {
            (Some(called), _) => (called.name == service.name && called.namespace == service.namespace)
                .then(|| service.server_name()),
            (None, Some(url)) => url
                .parse::<Uri>()
                .ok()
                .and_then(|url| url.host().map(str::to_owned))
                .filter(|host| service.names().contains(host)),
            (None, None) => None,
        }?;
        let bundle = client_config
            .ca_bundle
            .map_or_else(Bundle::default, |pem| Bundle::read(&pem.0));
        Some(Entry {
            name,
            server_name,
            bundle,
        })
    };
    webhooks.into_iter().filter_map(entry).collect()
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

/// One of the two objects.
struct Configuration {
    kind: String,
    api: Api<DynamicObject>,
    /// Whether it only warns: nothing waits for it.
    is_optional: bool,
    is_missed: bool,
}

impl Configuration {
    fn new<K: Resource<DynamicType = ()>>(client: &Client, is_optional: bool) -> Self {
        let resource = ApiResource::erase::<K>(&());
        Self {
            api: Api::all_with(client.clone(), &resource),
            kind: resource.kind,
            is_optional,
            is_missed: false,
        }
    }
}

/// One of the two objects as it was read.
struct Seen {
    is_optional: bool,
    api: Api<DynamicObject>,
    object: DynamicObject,
    entries: Vec<Entry>,
}

/// Where the registration is, and what its caBundles should hold.
pub struct Keeper {
    configurations: [Configuration; 2],
    name: String,
    service: Service,
    truth: Option<watch::Receiver<Vec<Authority>>>,
    standing: watch::Sender<Standing>,
    metrics: Arc<Metrics>,
    strangers: Strangers,
}

impl Keeper {
    /// Without a `truth` the caBundles are somebody else's, and are only looked at.
    #[must_use]
    pub fn new(
        client: &Client,
        name: String,
        service: Service,
        truth: Option<watch::Receiver<Vec<Authority>>>,
        standing: watch::Sender<Standing>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            configurations: [
                Configuration::new::<MutatingWebhookConfiguration>(client, false),
                Configuration::new::<ValidatingWebhookConfiguration>(client, true),
            ],
            name,
            service,
            truth,
            standing,
            metrics,
            strangers: Strangers::default(),
        }
    }

    /// Keeps it for ever.
    pub async fn run(mut self) {
        let watched = self
            .configurations
            .each_ref()
            .map(|configuration| changes(configuration.api.clone(), &self.name).boxed());
        let mut changes = stream::select_all(watched);
        let mut complaints = Complaints::about("registration");
        loop {
            let (is_repaired, failure) = match self.look().await {
                Ok(Looked { is_repaired, failure }) => (is_repaired, failure),
                Err(error) => (false, Some(error)),
            };
            let pause = match failure {
                None => {
                    complaints.clear();
                    LOOK
                }
                Some(error) if error.is_conflict() || error.is_missing() => PAUSE,
                Some(error) => complaints.add(&error),
            };
            // Seen anew at once: the time of a CA begins when it is seen in the registration.
            if is_repaired {
                sleep(PAUSE).await;
                continue;
            }
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
        let (seen, failure) = self.read().await?;
        let now = Instant::now();
        self.publish(&seen, now);
        let Looked {
            is_repaired,
            failure: unwritten,
        } = self.repair(&seen, now).await?;
        Ok(Looked {
            is_repaired,
            failure: failure.or(unwritten),
        })
    }

    /// Those of the two that lead here, and why an optional one could not be read.
    async fn read(&mut self) -> Result<(Vec<Seen>, Option<Error>), Error> {
        let (mut seen, mut failure) = (Vec::new(), None);
        for configuration in &mut self.configurations {
            let Configuration {
                kind,
                api,
                is_optional,
                is_missed,
            } = configuration;
            let found = match call(format!("read the {kind} {}", self.name), api.get_opt(&self.name)).await {
                Ok(found) => found,
                Err(error) if *is_optional => {
                    failure = Some(error);
                    continue;
                }
                Err(error) => return Err(error),
            };
            let found = found.map(|object| (entries(&object, &self.service), object));
            let Some((entries, object)) = found.filter(|(entries, _)| !entries.is_empty()) else {
                if !std::mem::replace(is_missed, true) {
                    tracing::warn!(
                        registration = self.name,
                        service = self.service.server_name(),
                        "no {kind} of this name has an entry that leads to the Service: nobody will call; waiting until \
                         heapship's manifests are applied"
                    );
                }
                continue;
            };
            if std::mem::take(is_missed) {
                tracing::info!(registration = self.name, "the {kind} is there");
            }
            seen.push(Seen {
                is_optional: *is_optional,
                api: api.clone(),
                object,
                entries,
            });
        }
        Ok((seen, failure))
    }

    fn publish(&self, seen: &[Seen], now: Instant) {
        let entries: Vec<_> = seen
            .iter()
            .filter(|seen| !seen.is_optional)
            .flat_map(|seen| &seen.entries)
            .map(|entry| (entry.server_name.clone(), entry.bundle.certificates.clone()))
            .collect();
        if entries.is_empty() {
            self.standing.send_replace(Standing::Absent);
            return;
        }
        self.standing.send_modify(|standing| {
            let before = match standing {
                Standing::Registered(trust) => std::mem::take(trust),
                Standing::Unknown | Standing::Absent => Trust::default(),
            };
            *standing = Standing::Registered(before.observed(&entries, now));
        });
    }

    /// Writes what is missing. That an optional one could not be written is for the log.
    async fn repair(&mut self, seen: &[Seen], now: Instant) -> Result<Looked, Error> {
        let truth = match &mut self.truth {
            Some(truth) => truth.borrow_and_update().clone(),
            None => return Ok(Looked::default()),
        };
        let bundles = seen.iter().flat_map(|seen| &seen.entries);
        self.strangers = self
            .strangers
            .observed(bundles.map(|entry| &entry.bundle), &truth, now);
        let mut looked = Looked::default();
        for seen in seen {
            let Seen {
                is_optional,
                api,
                object,
                entries,
            } = seen;
            // Somebody switches to cert-manager: two who put their own CA in the place of the other's would help nobody.
            let annotations = object.metadata.annotations.as_ref();
            if annotations.is_some_and(|all| all.contains_key(CERT_MANAGERS)) {
                continue;
            }
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
                continue;
            }
            match self.write(api, object, &repairs).await {
                Ok(()) => looked.is_repaired = true,
                Err(error) if *is_optional => looked.failure = Some(error),
                Err(error) => return Err(error),
            }
        }
        Ok(looked)
    }

    async fn write(
        &self,
        api: &Api<DynamicObject>,
        object: &DynamicObject,
        repairs: &[(String, Vec<CertificateDer<'static>>)],
    ) -> Result<(), Error> {
        let kind = object.types.as_ref().map_or("", |types| &types.kind);
        let parameters = PatchParams {
            field_manager: Some(names::FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let patch = Patch::Strategic(patch(object.metadata.resource_version.as_deref(), repairs));
        let attempt = format!("write the caBundle of the {kind} {}", self.name);
        call(attempt, api.patch(&self.name, &parameters, &patch)).await?;
        self.metrics.ca_bundle_repairs.inc();
        tracing::info!(
            registration = self.name,
            kind,
            entries = repairs.len(),
            certificates = repairs.first().map_or(0, |(_, bundle)| bundle.len()),
            "wrote the caBundle"
        );
        Ok(())
    }
}

/// What came of a look.
#[derive(Default)]
struct Looked {
    /// Whether anything had to be written, and was.
    is_repaired: bool,
    /// Why the optional one could not be read or written.
    failure: Option<Error>,
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
        assert_eq!(
            entries(
                &DynamicObject::new("none", &ApiResource::erase::<MutatingWebhookConfiguration>(&())),
                &service()
            ),
            []
        );
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
