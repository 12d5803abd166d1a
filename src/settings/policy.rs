//! `HeapDumpPolicy`: what the platform team decides, as YAML.
//!
//! The webhook's `--policy-file` and the offline CLI read the same text that the cluster's custom resource will hold.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value as Json;

use crate::quantity::Bytes;
use crate::settings::Annotations;
use crate::settings::annotations::{InvalidValue, Key};

mod document;

use document::Document;

/// All policies, strongest first: higher priority, then name.
#[derive(Clone, Debug, Default)]
pub struct Policies(Vec<Policy>);

/// One policy.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Its name.
    pub name: String,
    priority: i32,
    mode: Mode,
    namespaces: Option<Vec<String>>,
    namespace_selector: Selector,
    pod_selector: Selector,
    /// Values below every annotation, as text; each was parsed once.
    pub settings: BTreeMap<Key, String>,
    /// What annotations may change.
    pub limits: Limits,
    /// The store's address and trust.
    pub store: Store,
    /// The agent's container.
    pub agent: Agent,
}

/// Whether pods that a policy selects must ask.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
enum Mode {
    /// They must.
    #[default]
    OptIn,
    /// They are injected unless they refuse.
    OptOut,
}

/// What annotations may change, and how far.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    settings: Option<Vec<Key>>,
    /// Upper bound of `max-dumps`.
    pub max_dumps: Option<u32>,
    /// Upper bound of `termination-grace-period`.
    pub termination_grace_period: Option<Duration>,
    /// Upper bound of `upload-grace`.
    pub upload_grace: Option<Duration>,
    /// Upper bound of `pre-stop-delay`.
    pub pre_stop_delay: Option<Duration>,
    /// Upper bound of a size in `volume`.
    pub volume_size: Option<Bytes>,
    /// Whether `destination` may name another bucket than the policy's.
    pub other_buckets: bool,
    /// Whether `key-template` may leave `{namespace}` out.
    pub keys_without_namespace: bool,
}

impl Limits {
    /// Whether annotations may set it at all. Nobody can be kept from opting out.
    #[must_use]
    pub fn allows(&self, key: Key) -> bool {
        key == Key::Inject || self.settings.as_ref().is_none_or(|keys| keys.contains(&key))
    }
}

/// How the agent reaches the store.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Store {
    /// URL of an S3-compatible store.
    pub endpoint: Option<String>,
    /// Its region.
    pub region: Option<String>,
    /// PEM of the CA that signed its certificate.
    pub ca_bundle: Option<String>,
    /// Lets `endpoint` be `http://`.
    pub allow_http: bool,
    /// `crc64nvme`, `sha256` or `none`: what the store checks every part by.
    pub checksum: Option<String>,
    /// For `file://` destinations: a Kubernetes volume source, mounted at `mountPath` in the agent.
    pub volume: Option<Json>,
    /// Where `volume` is mounted.
    pub mount_path: Option<String>,
}

/// The agent's container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Agent {
    /// Its image, by digest where the cluster's nodes must all be able to pull it.
    pub image: Option<String>,
    /// `Always`, `IfNotPresent` or `Never`.
    pub image_pull_policy: Option<String>,
    /// Architectures that the image has, as nodes are labelled: `amd64`, `arm64`.
    pub architectures: Option<Vec<String>>,
    /// A Kubernetes `resources` object, for pods that are neither Guaranteed nor BestEffort.
    pub resources: Option<Json>,
}

/// A file of policies that could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not YAML, or not of this shape.
    #[error("not a HeapDumpPolicy: {0}")]
    Yaml(String),
    /// Something else stands in the file.
    #[error("document {index}: kind is {kind:?}, expected HeapDumpPolicy")]
    Kind {
        /// From 1.
        index: usize,
        /// What stands there.
        kind: String,
    },
    /// A policy without a name.
    #[error("document {index}: metadata.name is missing")]
    Name {
        /// From 1.
        index: usize,
    },
    /// A field that no setting has.
    #[error("policy {policy}: spec.{place}.{field} is not a setting{hint}")]
    UnknownSetting {
        /// Its name.
        policy: String,
        /// `settings` or `limits.settings`.
        place: &'static str,
        /// The field.
        field: String,
        /// The nearest known field.
        hint: String,
    },
    /// A value that no setting takes.
    #[error("policy {policy}: {error}")]
    Invalid {
        /// Its name.
        policy: String,
        /// Key, value, what is allowed.
        error: InvalidValue,
    },
    /// Something else that cannot work.
    #[error("policy {policy}: {problem}")]
    Inconsistent {
        /// Its name.
        policy: String,
        /// One sentence.
        problem: String,
    },
}

impl Policies {
    /// Reads one or several YAML documents.
    ///
    /// # Errors
    /// When any of them is not a policy, names an unknown setting or holds a value that no setting takes: a policy is
    /// refused whole, since half a policy is nobody's wish.
    pub fn from_yaml(text: &str) -> Result<Self, Error> {
        // The kind first: what is wrong with the fields of something else is of no interest.
        let kinds: Vec<Option<Kind>> = documents(text)?;
        for (index, Kind { kind }) in kinds.into_iter().flatten().enumerate() {
            if kind != "HeapDumpPolicy" {
                return Err(Error::Kind {
                    index: index + 1,
                    kind,
                });
            }
        }
        let documents: Vec<Option<Document>> = documents(text)?;
        let mut policies = Vec::new();
        for (index, document) in documents.into_iter().flatten().enumerate() {
            policies.push(document.into_policy(index + 1)?);
        }
        policies.sort_by(|a, b| b.priority.cmp(&a.priority).then_with(|| a.name.cmp(&b.name)));
        Ok(Self(policies))
    }

    /// The strongest policy that selects a pod.
    #[must_use]
    pub fn select(
        &self,
        namespace: &str,
        namespace_labels: &Annotations,
        pod_labels: &Annotations,
    ) -> Option<&Policy> {
        self.0.iter().find(|policy| {
            policy.selects_namespace(namespace, namespace_labels) && policy.pod_selector.matches(pod_labels)
        })
    }

    /// Whether a pod of that namespace can be injected although nobody asked: then none of them may be passed over
    /// unread. The pods' labels are not known here; the answer may be `true` for a namespace where no pod fits.
    #[must_use]
    pub fn inject_unasked(&self, namespace: &str, labels: &Annotations) -> bool {
        self.0
            .iter()
            .filter(|policy| policy.selects_namespace(namespace, labels))
            // One that takes every pod leaves none to those behind it.
            .find(|policy| policy.injects_unasked() || policy.pod_selector.is_empty())
            .is_some_and(Policy::injects_unasked)
    }

    /// Every label that a `namespaceSelector` looks at, after the name of its policy.
    pub fn namespace_labels_used(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().flat_map(
            |Policy {
                 name,
                 namespace_selector,
                 ..
             }| {
                let Selector {
                    match_labels,
                    match_expressions,
                } = namespace_selector;
                let keys = match_labels
                    .keys()
                    .chain(match_expressions.iter().map(|expression| &expression.key));
                keys.map(|key| (name.as_str(), key.as_str()))
            },
        )
    }
}

impl Policy {
    /// Whether pods that it selects are injected without asking.
    #[must_use]
    pub fn injects_unasked(&self) -> bool {
        self.mode == Mode::OptOut
    }

    fn selects_namespace(&self, namespace: &str, labels: &Annotations) -> bool {
        self.namespaces
            .as_ref()
            .is_none_or(|names| names.iter().any(|name| name == namespace))
            && self.namespace_selector.matches(labels)
    }
}

/// A Kubernetes label selector; an empty one selects everything.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Selector {
    match_labels: BTreeMap<String, String>,
    match_expressions: Vec<Expression>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expression {
    key: String,
    operator: Operator,
    #[serde(default)]
    values: Vec<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

impl Selector {
    fn is_empty(&self) -> bool {
        self.match_labels.is_empty() && self.match_expressions.is_empty()
    }

    fn matches(&self, labels: &Annotations) -> bool {
        self.match_labels
            .iter()
            .all(|(key, value)| labels.get(key) == Some(value))
            && self.match_expressions.iter().all(
                |Expression {
                     key,
                     operator,
                     values,
                 }| {
                    let label = labels.get(key);
                    match operator {
                        Operator::In => label.is_some_and(|value| values.contains(value)),
                        Operator::NotIn => label.is_none_or(|value| !values.contains(value)),
                        Operator::Exists => label.is_some(),
                        Operator::DoesNotExist => label.is_none(),
                    }
                },
            )
    }
}

/// The documents of a stream; errors name line and column and stay on one line.
fn documents<T: serde::de::DeserializeOwned>(text: &str) -> Result<Vec<T>, Error> {
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_multiple_with_options(text, options).map_err(|error| Error::Yaml(error.to_string()))
}

#[derive(Debug, Deserialize)]
struct Kind {
    #[serde(default)]
    kind: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Annotations {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn higher_priority_wins_then_the_name() {
        let text = "
{kind: HeapDumpPolicy, metadata: {name: b}, spec: {podSelector: {matchLabels: {app: x}}}}
---
{kind: HeapDumpPolicy, metadata: {name: a}}
---
{kind: HeapDumpPolicy, metadata: {name: c}, spec: {priority: 5, namespaces: [prod]}}
";
        let policies = Policies::from_yaml(text).unwrap();
        let select = |namespace, pod: &[(&str, &str)]| {
            policies
                .select(namespace, &labels(&[]), &labels(pod))
                .map(|policy| policy.name.clone())
        };
        assert_eq!(select("prod", &[]).as_deref(), Some("c"));
        assert_eq!(select("test", &[("app", "x")]).as_deref(), Some("a"));
    }

    #[test]
    fn selectors_mean_what_they_mean_in_kubernetes() {
        let text = "
kind: HeapDumpPolicy
metadata: {name: p}
spec:
  namespaceSelector:
    matchExpressions:
    - {key: env, operator: In, values: [prod, test]}
    - {key: legacy, operator: DoesNotExist}
";
        let policies = Policies::from_yaml(text).unwrap();
        let selected = |pairs: &[(&str, &str)]| policies.select("n", &labels(pairs), &labels(&[])).is_some();
        assert!(selected(&[("env", "prod")]));
        assert!(!selected(&[("env", "dev")]));
        assert!(!selected(&[("env", "prod"), ("legacy", "")]));
        assert!(!selected(&[]));
    }

    #[test]
    fn a_policy_that_must_be_refused_reaches_the_namespaces_it_selects_and_no_other() {
        let text = "
{kind: HeapDumpPolicy, metadata: {name: a}, spec: {priority: 9, namespaces: [careful]}}
---
{kind: HeapDumpPolicy, metadata: {name: b}, spec: {priority: 8, namespaces: [picky], podSelector: {matchLabels: {app: x}}}}
---
{kind: HeapDumpPolicy, metadata: {name: c}, spec: {mode: OptOut, namespaceSelector: {matchLabels: {tier: prod}}}}
";
        let policies = Policies::from_yaml(text).unwrap();
        let unasked = |name, tier| policies.inject_unasked(name, &labels(&[("tier", tier)]));
        assert!(unasked("shop", "prod"));
        assert!(!unasked("shop", "test"));
        assert!(
            !unasked("careful", "prod"),
            "a stronger policy takes all its pods"
        );
        assert!(
            unasked("picky", "prod"),
            "a stronger policy takes some of its pods"
        );
    }

    #[test]
    fn a_wrong_policy_is_refused_with_the_place_and_the_remedy() {
        let refused = |text: &str| Policies::from_yaml(text).unwrap_err().to_string();
        assert_eq!(
            refused("{kind: HeapDumpPolicy, metadata: {name: p}, spec: {settings: {maxDump: 3}}}"),
            "policy p: spec.settings.maxDump is not a setting; did you mean maxDumps?"
        );
        assert_eq!(
            refused("{kind: HeapDumpPolicy, metadata: {name: p}, spec: {settings: {destination: dumps}}}"),
            "policy p: spec.settings.destination: \"dumps\" is not allowed: use s3://bucket/prefix, gs://bucket/prefix, \
             az://container/prefix or file:///path"
        );
        assert_eq!(
            refused("{kind: HeapDumpPolicy, metadata: {name: p}, spec: {store: {endpoint: 'http://s3'}}}"),
            "policy p: spec.store.endpoint \"http://s3\" is not https; set spec.store.allowHttp to allow http"
        );
        assert_eq!(
            refused("{kind: Pod}"),
            "document 1: kind is \"Pod\", expected HeapDumpPolicy"
        );
        assert_eq!(
            refused("{kind: HeapDumpPolicy}"),
            "document 1: metadata.name is missing"
        );
    }
}
