//! Explains what is in a cluster: reads it once, tells it purely.

use serde_json::{Value, json};

use super::account::Account;
use super::kinds::Kind;
use super::{Explanation, explain};
use crate::cli::Stop;
use crate::cli::check::Listed;
use crate::cli::installation::Installation;
use crate::cli::live::{self, Live, Refusal, block_on, escaped};
use crate::cli::standing::agents::{container_state, prepares};
use crate::cli::standing::{State, Times};
use crate::cli::surroundings::{self, Surroundings};
use crate::inject::{self, Context, KubernetesVersion, is_ours};
use crate::names;
use crate::objects::objects;

/// Pods of a workload that are told about; the others fare alike.
const TOLD: usize = 5;
/// Lines of an agent's log that are looked at.
const LINES: usize = 500;
/// Names that are offered for a mistyped one.
const OFFERED: usize = 5;

/// What was asked for.
pub(super) struct Wanted {
    pub(super) objects: Vec<String>,
    pub(super) selector: Option<String>,
    pub(super) registration: String,
    pub(super) cluster: live::Arguments,
    pub(super) surroundings: surroundings::Arguments,
}

/// What there is to tell.
#[derive(Default)]
pub(super) struct Told {
    pub(super) templates: Vec<Explanation>,
    pub(super) pods: Vec<Account>,
    /// What could not be read, and what follows from it.
    pub(super) unread: Vec<String>,
    /// Pods that were left out.
    pub(super) more: usize,
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("no {kind}/{name} in namespace {namespace}{}", offered(.known))]
    NoObject {
        kind: &'static str,
        name: String,
        namespace: String,
        known: Vec<String>,
    },
    #[error("no namespace {namespace}{}; correct --namespace", offered(.known))]
    NoNamespace { namespace: String, known: Vec<String> },
    #[error("no pod in namespace {namespace} has the labels {selector}")]
    NoPods { namespace: String, selector: String },
    #[error(
        "cannot read {what}: {refusal}; ask for the ClusterRole {}",
        names::VIEWER_ROLE
    )]
    Unread { what: String, refusal: Refusal },
}

pub(super) fn tell(wanted: Wanted) -> Result<Told, Stop> {
    let Wanted {
        objects,
        selector,
        registration,
        cluster,
        surroundings,
    } = wanted;
    let kinds: Vec<(Kind, &str)> = objects
        .iter()
        .map(|text| Kind::parse(text))
        .collect::<Result<_, _>>()
        .map_err(Stop::usage)?;
    block_on(async {
        let (live, version) = cluster.connect().await?;
        let version = version["gitVersion"].as_str().and_then(KubernetesVersion::parse);
        let mut scene = Scene::read(live, version, &registration, surroundings).await?;
        for (kind, name) in kinds {
            scene.add(kind, name).await?;
        }
        if let Some(selector) = selector {
            scene.select(&selector).await?;
        }
        Ok(scene.told)
    })
}

/// What decides about the pods of one namespace.
struct Scene {
    live: Live,
    listed: Listed,
    surroundings: Surroundings,
    times: Times,
    told: Told,
}

impl Scene {
    async fn read(
        live: Live,
        version: Option<KubernetesVersion>,
        registration: &str,
        surroundings: surroundings::Arguments,
    ) -> Result<Self, Stop> {
        let mut told = Told::default();
        let namespace = surroundings.namespace().unwrap_or(&live.namespace).to_owned();
        let policies = surroundings.policies().map_err(Stop::usage)?;
        let listed = match live.get(&format!("/api/v1/namespaces/{namespace}")).await {
            Ok(object) => Listed::of(&object),
            Err(Refusal::Absent) => {
                let known = nearest(&live, "/api/v1/namespaces", &namespace).await;
                return Err(Stop::usage(Error::NoNamespace { namespace, known }));
            }
            Err(refusal) => {
                told.unread.push(format!(
                    "the namespace {namespace}: {refusal}; what its annotations ask is not known"
                ));
                Listed::unknown(&namespace)
            }
        };
        let installation = Installation::read(&live, registration, policies).await;
        match &installation.registration {
            Ok(_) => {}
            Err(Refusal::Absent) => told.unread.push(format!(
                "heapship is not installed (no MutatingWebhookConfiguration {registration}): no new pod is injected"
            )),
            Err(refusal) => told.unread.push(format!("the registration: {refusal}")),
        }
        if let Err(refusal) = &installation.policies {
            told.unread.push(format!(
                "the policies: {refusal}; what they ask is not known (--policy FILE gives them)"
            ));
        }
        let times = listed.times(&installation.registration);
        let surroundings = surroundings.live(&installation, version, listed.namespace.clone());
        Ok(Self {
            live,
            listed,
            surroundings,
            times,
            told,
        })
    }

    async fn add(&mut self, kind: Kind, name: &str) -> Result<(), Stop> {
        let namespace = self.listed.namespace.name.clone();
        let all = kind.path(&namespace);
        let mut object = match self.live.get(&format!("{all}/{name}")).await {
            Ok(object) => object,
            Err(Refusal::Absent) => {
                return Err(Stop::usage(Error::NoObject {
                    kind: kind.name,
                    name: name.to_owned(),
                    known: nearest(&self.live, &all, name).await,
                    namespace,
                }));
            }
            Err(refusal) => return Err(unread(format!("{}/{name} in {namespace}", kind.name), refusal)),
        };
        if kind == Kind::POD {
            self.tell(&object).await;
            return Ok(());
        }
        // The API server leaves the kind out where it is clear from the path of a list, not here; but nothing promises it.
        object["kind"] = json!(kind.name);
        let described = objects(&object);
        let explained = described
            .first()
            .and_then(|found| explain(&object, found, &self.surroundings));
        self.told.templates.extend(explained);
        match selector_of(&object) {
            // A CronJob selects nothing; its Jobs do.
            None => Ok(()),
            Some(selector) => self.pods(&selector).await.map(|_| ()),
        }
    }

    async fn select(&mut self, selector: &str) -> Result<(), Stop> {
        match self.pods(selector).await? {
            0 => Err(Stop::usage(Error::NoPods {
                namespace: self.listed.namespace.name.clone(),
                selector: selector.to_owned(),
            })),
            _ => Ok(()),
        }
    }

    async fn pods(&mut self, selector: &str) -> Result<usize, Stop> {
        let namespace = &self.listed.namespace.name;
        let path = format!(
            "{}?labelSelector={}",
            Kind::POD.path(namespace),
            escaped(selector)
        );
        let (mut found, mut all) = (Vec::new(), 0);
        let read = self.live.each(&path, |pod| {
            all += 1;
            if found.len() < TOLD {
                found.push(pod);
            }
        });
        read.await
            .map_err(|refusal| unread(format!("the pods of namespace {namespace}"), refusal))?;
        self.told.more += all - found.len();
        for pod in &found {
            self.tell(pod).await;
        }
        Ok(all)
    }

    async fn tell(&mut self, pod: &Value) {
        let logs = self.logs(pod).await;
        let Surroundings {
            policies, cluster, ..
        } = &self.surroundings;
        let context = Context {
            namespace: &self.listed.namespace,
            policies,
            cluster,
            workload: None,
        };
        let outcome = inject::inject(pod, &context);
        self.told
            .pods
            .push(Account::of(pod, &outcome, &self.times, &logs));
    }

    /// The ends of the logs of the agents that have one.
    async fn logs(&mut self, pod: &Value) -> Vec<(String, String)> {
        let mut logs = Vec::new();
        let containers = pod["spec"]["initContainers"].as_array().into_iter().flatten();
        for container in containers.filter(|container| is_ours(container)) {
            let name = container["name"].as_str().unwrap_or_default();
            let (state, _, _) = container_state(pod, name);
            if prepares(name) || !matches!(state, State::Running(_) | State::Ended(_)) {
                continue;
            }
            let path = format!(
                "{}/{}/log?container={name}&tailLines={LINES}",
                Kind::POD.path(&self.listed.namespace.name),
                pod["metadata"]["name"].as_str().unwrap_or_default(),
            );
            match self.live.text(&path).await {
                Ok(log) => logs.push((name.to_owned(), log)),
                Err(refusal) => {
                    let unread = format!("the agents' logs: {refusal}; what was shipped is not known");
                    if !self.told.unread.contains(&unread) {
                        self.told.unread.push(unread);
                    }
                }
            }
        }
        logs
    }
}

fn unread(what: String, refusal: Refusal) -> Stop {
    Stop::failed(Error::Unread { what, refusal })
}

/// `a=b,c=d` of a workload's selector.
fn selector_of(object: &Value) -> Option<String> {
    let labels = object["spec"]["selector"]["matchLabels"].as_object()?;
    let pairs = labels
        .iter()
        .filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?)));
    Some(pairs.collect::<Vec<_>>().join(",")).filter(|selector| !selector.is_empty())
}

/// Names that begin like the mistyped one, the longest common beginning first.
async fn nearest(live: &Live, path: &str, name: &str) -> Vec<String> {
    let mut found: Vec<(usize, String)> = Vec::new();
    let read = live.each(path, |object| {
        let known = object["metadata"]["name"].as_str().unwrap_or_default();
        let common = known
            .bytes()
            .zip(name.bytes())
            .take_while(|(a, b)| a == b)
            .count();
        found.push((common, known.to_owned()));
    });
    // Whoever may not list gets no offer.
    if read.await.is_err() {
        return Vec::new();
    }
    found.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    found.into_iter().take(OFFERED).map(|(_, name)| name).collect()
}

fn offered(known: &[String]) -> String {
    match known {
        [] => String::new(),
        known => format!("; there is {}", known.join(", ")),
    }
}
