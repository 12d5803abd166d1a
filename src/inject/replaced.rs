//! What had to be replaced, noted on the pod in `heapship.io/replaced` so that `uninject` restores it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::names;

/// The annotation's content. Written as compact JSON; left out when nothing was replaced.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Replaced {
    /// What it was; null where it was absent.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub termination_grace_period_seconds: Option<Value>,
    /// By container.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub containers: BTreeMap<String, ReplacedInContainer>,
    /// Members that were present and empty or null: `volumes`, `app.env`, and what stood there.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub empty: BTreeMap<String, Value>,
}

/// What was replaced in one container.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReplacedInContainer {
    /// The hook that is wrapped now, as it stood.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub pre_stop: Option<Value>,
    /// Probes that were given a grace period.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub probes: Vec<String>,
    /// The liveness probe's, before it was raised; null where it was absent.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub failure_threshold: Option<Value>,
    /// By variable: what of its text is ours.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, AddedOptions>,
}

/// What was put around the user's text of a variable.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AddedOptions {
    /// In front of it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub front: String,
    /// Behind it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub behind: String,
    /// There was no entry of the name.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub absent: bool,
    /// The entry was there without a value, which means an empty one.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub bare: bool,
    /// Entries of the chain that are ours, before the user's renamed ones; absent for a literal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub links: Option<usize>,
}

impl Replaced {
    /// What an earlier injection noted; nothing where the annotation is missing or not ours to read.
    #[must_use]
    pub fn of(pod: &Value) -> Self {
        let text = pod["metadata"]["annotations"][names::REPLACED].as_str();
        text.and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default()
    }

    /// The annotation's text; `None` where there is nothing to note.
    #[must_use]
    pub fn to_text(&self) -> Option<String> {
        (*self != Self::default())
            .then(|| serde_json::to_string(self).ok())
            .flatten()
    }

    /// Remembers a member that is present but holds nothing: to add to it must stay undoable.
    pub fn note_if_empty(&mut self, found: Option<&Value>, label: &str) {
        let nothing = |found: &&Value| {
            found.is_null()
                || found.as_array().is_some_and(Vec::is_empty)
                || found.as_object().is_some_and(serde_json::Map::is_empty)
        };
        if let Some(found) = found.filter(nothing) {
            self.empty.insert(label.to_owned(), found.clone());
        }
    }

    /// The entry of a container, made if need be.
    pub fn container(&mut self, name: &str) -> &mut ReplacedInContainer {
        self.containers.entry(name.to_owned()).or_default()
    }
}

/// Keeps "was null" apart from "not noted".
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}
