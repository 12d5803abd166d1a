//! Keeps the Secret of self-managed certificates: made if it is absent, renewed, followed, and put right.
//!
//! It is the single truth of all replicas. Each of them decides alone what has to be done next and writes it over the
//! version that it read; of two that write, one is refused and reads what the other wrote.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client, Resource as _};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::metrics::Metrics;
use crate::names;

use super::authority::Authority;
use super::content::Content;
use super::objects::{Complaints, Error, LOOK, call, changes};
use super::serving::{Candidates, wall_clock};
use super::step::{Step, next};
use super::trust::Standing;
use super::{Lifetimes, Service};

/// Steps that one look may take. More of them are a sign that somebody undoes each.
const STEPS: u32 = 4;

/// Where the Secret is and whom it is for.
#[derive(Clone, Debug)]
pub struct Place {
    /// The Secret's name, in the Service's namespace.
    pub secret: String,
    /// The Deployment that owns it, so that the Secret goes when the Deployment does.
    pub deployment: String,
    /// For whom the certificates are.
    pub service: Service,
}

/// What follows from the Secret.
pub struct Outlets {
    /// The CAs that the registration has to hold.
    pub truth: watch::Sender<Vec<Authority>>,
    /// The certificate to be served.
    pub candidates: Candidates,
}

/// Keeps one Secret.
pub struct Keeper {
    secrets: Api<Secret>,
    deployments: Api<Deployment>,
    place: Place,
    lifetimes: Lifetimes,
    standing: watch::Receiver<Standing>,
    outlets: Outlets,
    metrics: Arc<Metrics>,
    /// What was last found whole, or made.
    remembered: Option<Content>,
    last_fault: String,
}

impl Keeper {
    /// Of the Secret at a place.
    #[must_use]
    pub fn new(
        client: Client,
        place: Place,
        lifetimes: Lifetimes,
        standing: watch::Receiver<Standing>,
        outlets: Outlets,
        metrics: Arc<Metrics>,
    ) -> Self {
        let namespace = &place.service.namespace;
        Self {
            secrets: Api::namespaced(client.clone(), namespace),
            deployments: Api::namespaced(client, namespace),
            place,
            lifetimes,
            standing,
            outlets,
            metrics,
            remembered: None,
            last_fault: String::new(),
        }
    }

    /// Keeps it for ever.
    pub async fn run(mut self) {
        let mut changes = pin!(changes(self.secrets.clone(), &self.place.secret));
        let mut complaints = Complaints::about("certificates");
        loop {
            let pause = match self.look().await {
                Ok(pause) => {
                    complaints.clear();
                    pause.min(LOOK)
                }
                Err(error) => complaints.add(&error),
            };
            let standing = async {
                if self.standing.changed().await.is_err() {
                    // Nobody tells any more: the process is ending.
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                Some(()) = changes.next() => {}
                () = standing => {}
                () = sleep(pause) => {}
            }
        }
    }

    /// Takes every step that can be taken now; tells in how long the next may be due.
    async fn look(&mut self) -> Result<Duration, Error> {
        for _ in 0..STEPS {
            let now = wall_clock();
            let secret = call(self.attempt("read"), self.secrets.get_opt(&self.place.secret)).await?;
            let found = self.read(secret.as_ref());
            if let Some(found) = &found {
                self.publish(found, now);
            }
            let settle = self.lifetimes.settle();
            let newest_is_trusted = found.as_ref().is_some_and(|found| {
                let standing = self.standing.borrow_and_update();
                standing.has_settled(&found.newest().certificate, settle, Instant::now())
            });
            let outline = found.as_ref().map(Content::outline);
            let remembered = self.remembered.as_ref().map(Content::outline);
            let step = next(outline.as_ref(), remembered.as_ref(), newest_is_trusted, now);
            let base = found.as_ref().or(self.remembered.as_ref());
            let Place { service, .. } = &self.place;
            let content = match (step, base) {
                (Step::Wait(until), _) => {
                    return Ok(Duration::from_secs(
                        u64::try_from(until.saturating_sub(now)).unwrap_or_default(),
                    ));
                }
                (Step::AwaitTrust, _) => return Ok(self.settles_in(settle)),
                (Step::Begin, _) | (_, None) => Content::begin(service, self.lifetimes, now)?,
                (Step::AddAuthority, Some(base)) => base.with_new_authority(service, self.lifetimes, now)?,
                (Step::RenewLeaf, Some(base)) => base.with_new_leaf(service, self.lifetimes, now)?,
                (Step::Forget, Some(base)) => base.without_old(now),
            };
            let existed = secret.is_some();
            match self.write(secret, &content).await {
                Ok(()) => self.say(step),
                Err(error) if error.is_conflict() || (existed && error.is_missing()) => {
                    tracing::debug!(?step, "another replica was faster");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Duration::from_secs(1))
    }

    /// A Secret that cannot be used is said once, and treated as if it were not there.
    fn read(&mut self, secret: Option<&Secret>) -> Option<Content> {
        let data = secret?.data.clone().unwrap_or_default();
        match Content::read(&data, &self.place.service) {
            Ok(content) => {
                self.last_fault.clear();
                Some(content)
            }
            Err(broken) => {
                let fault = broken.to_string();
                if fault != self.last_fault {
                    tracing::error!(
                        secret = self.place.secret,
                        fault,
                        "the Secret of the certificates cannot be used; making new ones"
                    );
                    self.last_fault = fault;
                }
                None
            }
        }
    }

    fn publish(&mut self, found: &Content, now: i64) {
        let authorities: Vec<_> = found.authorities().cloned().collect();
        self.metrics.authority_expiry.set(found.newest().validity.expires);
        self.outlets.truth.send_if_modified(|truth| {
            let is_new = *truth != authorities;
            *truth = authorities;
            is_new
        });
        // One that has expired is renewed first: no caller would accept it.
        if !found.outline().leaf.has_expired(now) {
            self.outlets.candidates.offer(Arc::clone(found.certificate()));
        }
        self.remembered = Some(found.clone());
    }

    fn settles_in(&self, settle: Duration) -> Duration {
        match &*self.standing.borrow() {
            Standing::Registered(trust) => trust.settles_in(settle, Instant::now()).unwrap_or(LOOK),
            Standing::Unknown | Standing::Absent => LOOK,
        }
    }

    async fn write(&self, secret: Option<Secret>, content: &Content) -> Result<(), Error> {
        let parameters = PostParams {
            field_manager: Some(names::FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        let is_new = secret.is_none();
        let mut secret = secret.unwrap_or_else(|| self.empty());
        secret.data.get_or_insert_default().extend(content.data());
        let owners = secret.metadata.owner_references.get_or_insert_default();
        // Without an owner it would outlive an uninstall; that is no reason to serve nobody.
        match self.owner().await {
            Ok(owner) if owners.iter().all(|known| known.uid != owner.uid) => owners.push(owner),
            Ok(_) => {}
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the Secret of the certificates will have no owner"
            ),
        }
        if is_new {
            call(self.attempt("create"), self.secrets.create(&parameters, &secret)).await?;
        } else {
            let replace = self.secrets.replace(&self.place.secret, &parameters, &secret);
            call(self.attempt("write"), replace).await?;
        }
        Ok(())
    }

    fn empty(&self) -> Secret {
        Secret {
            metadata: ObjectMeta {
                name: Some(self.place.secret.clone()),
                labels: Some(
                    names::OWN_LABELS
                        .iter()
                        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                        .collect(),
                ),
                ..ObjectMeta::default()
            },
            ..Secret::default()
        }
    }

    async fn owner(&self) -> Result<OwnerReference, Error> {
        let name = &self.place.deployment;
        let attempt = format!("read the Deployment {}/{name}", self.place.service.namespace);
        let deployment = call(attempt, self.deployments.get(name)).await?;
        Ok(OwnerReference {
            api_version: Deployment::api_version(&()).into_owned(),
            kind: Deployment::kind(&()).into_owned(),
            name: name.clone(),
            uid: deployment.metadata.uid.unwrap_or_default(),
            ..OwnerReference::default()
        })
    }

    fn attempt(&self, verb: &str) -> String {
        format!(
            "{verb} the Secret {}/{}",
            self.place.service.namespace, self.place.secret
        )
    }

    fn say(&self, step: Step) {
        let done = match step {
            Step::Begin => "made a CA and a certificate",
            Step::AddAuthority => "made a new CA; its certificate follows when the registration holds it",
            Step::RenewLeaf => "renewed the certificate",
            Step::Forget => "dropped CAs that are over",
            Step::AwaitTrust | Step::Wait(_) => return,
        };
        self.metrics.certificate_renewals.inc();
        tracing::info!(secret = self.place.secret, "{done}");
    }
}
