//! The YAML of a `HeapDumpPolicy`, and what is wrong with it.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value as Json;

use super::{Agent, Error, Limits, Mode, Policy, Selector, Store};
use crate::destination::Destination;
use crate::key::KeyTemplate;
use crate::names;
use crate::quantity::{self, Bytes, thousandths};
use crate::settings::annotations::{InvalidValue, Key};
use crate::settings::values::{Auto, GracePeriod, SecretName, Switch, UserId, Value, VariableName};
use crate::settings::{Compression, ContainerChoice, Liveness, OnOom, PreStop, PreStopOrder, Volume};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Document {
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
}

#[derive(Debug, Default, Deserialize)]
struct Metadata {
    #[serde(default)]
    name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Spec {
    priority: i32,
    mode: Mode,
    namespaces: Option<Vec<String>>,
    namespace_selector: Selector,
    pod_selector: Selector,
    settings: BTreeMap<String, Json>,
    limits: LimitsSpec,
    store: Store,
    agent: Agent,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct LimitsSpec {
    settings: Option<Vec<String>>,
    max_dumps: Option<u32>,
    termination_grace_period: Option<String>,
    upload_grace: Option<String>,
    pre_stop_delay: Option<String>,
    volume_size: Option<String>,
    other_buckets: bool,
    keys_without_namespace: bool,
}

impl Document {
    pub(super) fn into_policy(self, index: usize) -> Result<Policy, Error> {
        let Self {
            metadata: Metadata { name },
            spec,
        } = self;
        if name.is_empty() {
            return Err(Error::Name { index });
        }
        let Spec {
            priority,
            mode,
            namespaces,
            namespace_selector,
            pod_selector,
            settings,
            limits,
            store,
            agent,
        } = spec;
        let mut texts = BTreeMap::new();
        for (field, value) in settings {
            let key = setting(&name, "settings", &field)?;
            let text = plain(&value);
            let known = format!("spec.settings.{field}");
            if let Err(detail) = check(key, text.trim()) {
                let error = InvalidValue::of(&known, &text, key, detail);
                return Err(Error::Invalid { policy: name, error });
            }
            if !text.trim().is_empty() {
                texts.insert(key, text.trim().to_owned());
            }
        }
        let checked = check_mode(&texts)
            .and_then(|()| check_store(&store))
            .and_then(|()| check_agent(&agent));
        if let Err(problem) = checked {
            return Err(Error::Inconsistent {
                policy: name,
                problem,
            });
        }
        let limits = limits.into_limits(&name)?;
        Ok(Policy {
            name,
            priority,
            mode,
            namespaces,
            namespace_selector,
            pod_selector,
            settings: texts,
            limits,
            store,
            agent,
        })
    }
}

impl LimitsSpec {
    fn into_limits(self, policy: &str) -> Result<Limits, Error> {
        let wrong = |field: &str, text: &str, allowed, detail: quantity::Error| Error::Invalid {
            policy: policy.to_owned(),
            error: InvalidValue {
                key: format!("spec.limits.{field}"),
                value: text.to_owned(),
                allowed,
                detail: format!(" ({detail})"),
            },
        };
        let duration = |field: &str, text: Option<String>| {
            text.map(|text| {
                quantity::parse_duration(text.trim())
                    .map_err(|error| wrong(field, &text, "a duration like 10m", error))
            })
            .transpose()
        };
        let settings = match self.settings {
            None => None,
            Some(fields) if fields.iter().any(|field| field == "*") => None,
            Some(fields) => Some(
                fields
                    .iter()
                    .map(|field| setting(policy, "limits.settings", field))
                    .collect::<Result<Vec<_>, _>>()?,
            ),
        };
        let volume_size = self
            .volume_size
            .map(|text| {
                Bytes::parse(text.trim())
                    .map_err(|error| wrong("volumeSize", &text, "a size like 20Gi", error))
            })
            .transpose()?;
        Ok(Limits {
            settings,
            max_dumps: self.max_dumps,
            termination_grace_period: duration("terminationGracePeriod", self.termination_grace_period)?,
            upload_grace: duration("uploadGrace", self.upload_grace)?,
            pre_stop_delay: duration("preStopDelay", self.pre_stop_delay)?,
            volume_size,
            other_buckets: self.other_buckets,
            keys_without_namespace: self.keys_without_namespace,
        })
    }
}

fn setting(policy: &str, place: &'static str, field: &str) -> Result<Key, Error> {
    Key::of_field(field).ok_or_else(|| {
        let kebab: String = field
            .chars()
            .flat_map(|c| {
                c.is_uppercase()
                    .then_some('-')
                    .into_iter()
                    .chain(c.to_lowercase())
            })
            .collect();
        let hint = Key::nearest(&kebab).map_or_else(String::new, |near| {
            format!("; did you mean {}?", near.description().field)
        });
        Error::UnknownSetting {
            policy: policy.to_owned(),
            place,
            field: field.to_owned(),
            hint,
        }
    })
}

/// Numbers and booleans may stand in YAML without quotes.
fn plain(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        Json::Null => String::new(),
        // YAML 1.1 readers turn `agent: off` into a boolean.
        other => other.to_string(),
    }
}

fn check(key: Key, text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Ok(());
    }
    match key {
        Key::Inject => bool::read(text).map(drop),
        Key::Containers => ContainerChoice::read(text).map(drop),
        Key::OnOom => OnOom::read(text).map(drop),
        Key::PreStop => PreStop::read(text).map(drop),
        Key::PreStopOrder => PreStopOrder::read(text).map(drop),
        Key::PreStopDelay => Duration::read(text).map(drop),
        Key::TerminationGracePeriod => GracePeriod::read(text).map(drop),
        Key::UploadGrace => Option::<Duration>::read(text).map(drop),
        Key::Agent => Switch::read(text).map(drop),
        Key::ImageOptions => Auto::read(text).map(drop),
        Key::Liveness => Liveness::read(text).map(drop),
        Key::Volume => Volume::read(text).map(drop),
        Key::Destination => Destination::read(text).map(drop),
        Key::KeyTemplate => KeyTemplate::read(text).map(drop),
        Key::Compression => Compression::read(text).map(drop),
        Key::CredentialsSecret => SecretName::read(text).map(drop),
        Key::RunAsUser => UserId::read(text).map(drop),
        Key::JavaOptionsVariable => VariableName::read(text).map(drop),
        Key::MaxDumps => NonZeroU32::read(text).map(drop),
    }
}

fn check_mode(settings: &BTreeMap<Key, String>) -> Result<(), String> {
    if settings.contains_key(&Key::Inject) {
        return Err("spec.settings.inject is for annotations: use spec.mode".to_owned());
    }
    Ok(())
}

/// What a pod would be refused for, or an agent could not start with, is refused here: once, and with the place.
fn check_store(store: &Store) -> Result<(), String> {
    let Store {
        endpoint,
        region: _,
        ca_bundle,
        allow_http,
        checksum,
        volume,
        mount_path,
    } = store;
    let known = ["crc64nvme", "sha256", "none"];
    if let Some(checksum) = checksum
        .as_ref()
        .filter(|checksum| !known.contains(&checksum.as_str()))
    {
        return Err(format!(
            "spec.store.checksum {checksum:?} must be crc64nvme, sha256 or none"
        ));
    }
    if let Some(endpoint) = endpoint
        && !(endpoint.starts_with("https://") || *allow_http && endpoint.starts_with("http://"))
    {
        return Err(format!(
            "spec.store.endpoint {endpoint:?} is not https; set spec.store.allowHttp to allow http"
        ));
    }
    if ca_bundle
        .as_ref()
        .is_some_and(|pem| !pem.contains("-----BEGIN CERTIFICATE-----"))
    {
        return Err("spec.store.caBundle is not a PEM certificate".to_owned());
    }
    match (volume, mount_path) {
        (None, None) => Ok(()),
        (Some(volume), Some(path)) => {
            if volume.as_object().is_none_or(|source| source.len() != 1) {
                return Err(
                    "spec.store.volume must be one Kubernetes volume source, without a name".to_owned(),
                );
            }
            let below = |folder: &str| {
                path.trim_end_matches('/') == folder || path.starts_with(&format!("{folder}/"))
            };
            let taken = below("/heapship") || below(names::SERVICE_ACCOUNT_PATH);
            if taken || !path.starts_with('/') || path.len() < 2 || path.contains(':') || path.contains("..")
            {
                return Err(format!(
                    "spec.store.mountPath {path:?} must be an absolute path outside /heapship"
                ));
            }
            Ok(())
        }
        _ => Err("spec.store.volume and spec.store.mountPath go together".to_owned()),
    }
}

fn check_agent(agent: &Agent) -> Result<(), String> {
    let Agent {
        image,
        image_pull_policy,
        architectures: _,
        resources,
    } = agent;
    if image
        .as_ref()
        .is_some_and(|image| image.is_empty() || image.contains(char::is_whitespace))
    {
        return Err("spec.agent.image is not an image".to_owned());
    }
    let known = ["Always", "IfNotPresent", "Never"];
    if let Some(policy) = image_pull_policy
        .as_ref()
        .filter(|policy| !known.contains(&policy.as_str()))
    {
        return Err(format!(
            "spec.agent.imagePullPolicy {policy:?} must be Always, IfNotPresent or Never"
        ));
    }
    let Some(resources) = resources else { return Ok(()) };
    let members = resources
        .as_object()
        .ok_or("spec.agent.resources is not an object")?;
    for (kind, amounts) in members {
        if !["requests", "limits"].contains(&kind.as_str()) {
            return Err(format!(
                "spec.agent.resources.{kind}: only requests and limits are allowed"
            ));
        }
        let amounts = amounts
            .as_object()
            .ok_or(format!("spec.agent.resources.{kind} is not an object"))?;
        for (resource, amount) in amounts {
            let place = format!("spec.agent.resources.{kind}.{resource}");
            if kind == "limits" && resource == "ephemeral-storage" {
                return Err(format!(
                    "{place} would become the limit of the whole pod: leave it out"
                ));
            }
            let Some(amount) = thousandths(&plain(amount)) else {
                return Err(format!("{place} is not a quantity like 100m or 64Mi"));
            };
            let limit = resources["limits"]
                .get(resource)
                .and_then(|limit| thousandths(&plain(limit)));
            if kind == "requests" && limit.is_some_and(|limit| amount > limit) {
                return Err(format!("{place} is above its limit"));
            }
        }
    }
    Ok(())
}
