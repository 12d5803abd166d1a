//! The label by which the API server knows whose pods to ask about.
//!
//! A registration selects by labels, people opt in by annotation: so [`names::INJECTION_LABEL`] is derived from a
//! namespace's annotations and from the policies, in the request that writes the namespace. What was missed then is put
//! right by `cluster::labels`, from the same functions. Pure.

use std::collections::BTreeMap;

use json_patch::jsonptr::PointerBuf;
use json_patch::{Patch, PatchOperation, RemoveOperation};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::inject::Namespace;
use crate::names;
use crate::patch::{Draft, Place};
use crate::settings::policy::Policies;

use super::namespaces::asks;

/// What is to be done about a namespace's label.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Change {
    /// It is missing, or says something else.
    Add,
    /// It is there and should not be.
    Remove,
}

/// A review of a namespace, decided.
#[derive(Debug, Default)]
pub struct Decided {
    /// The namespace's name; empty where the API server is still to make one.
    pub name: String,
    /// Whether the label is there afterwards because it should be.
    pub labelled: bool,
    /// Touches the label and nothing else; empty where that is as it should be.
    pub patch: Patch,
}

/// Whether pods of the namespace must be looked at though they say nothing themselves.
#[must_use]
pub fn is_wanted(namespace: &Namespace, policies: &Policies) -> bool {
    asks(namespace) || policies.inject_unasked(&namespace.name, &namespace.labels)
}

/// What has to be done, from the label's value as it is.
#[must_use]
pub fn change(carried: Option<&str>, wanted: bool) -> Option<Change> {
    match (carried, wanted) {
        (Some(names::INJECTION_ENABLED), true) | (None, false) => None,
        (_, true) => Some(Change::Add),
        (Some(_), false) => Some(Change::Remove),
    }
}

/// A namespace as it is remembered, and the label's value: see [`super::namespaces::Namespaces`] for why they are apart.
#[must_use]
pub fn split(
    name: String,
    mut labels: BTreeMap<String, String>,
    mut annotations: BTreeMap<String, String>,
) -> (Namespace, Option<String>) {
    let carried = labels.remove(names::INJECTION_LABEL);
    annotations.retain(|key, _| key.starts_with(names::PREFIX));
    let namespace = Namespace {
        name,
        labels,
        annotations,
    };
    (namespace, carried)
}

/// Decides about a namespace that is being written: `object` as the API server sent it.
///
/// # Errors
/// What does not fit, in words. The namespace is then to be admitted as it came.
pub fn decide(object: &str, policies: &Policies, own_namespace: Option<&str>) -> Result<Decided, String> {
    let Object { metadata } =
        serde_json::from_str(object).map_err(|error| format!("request.object is no namespace: {error}"))?;
    let Metadata {
        name,
        labels,
        annotations,
        deletion_timestamp,
    } = metadata;
    if names::SYSTEM_NAMESPACES.contains(&name.as_str())
        || own_namespace == Some(&name)
        || deletion_timestamp.is_some()
    {
        return Ok(Decided {
            name,
            ..Decided::default()
        });
    }
    let (namespace, carried) = split(name, labels.unwrap_or_default(), annotations.unwrap_or_default());
    let labelled = is_wanted(&namespace, policies);
    let patch = match change(carried.as_deref(), labelled) {
        None => Patch::default(),
        Some(change) => operations(object, change)?,
    };
    Ok(Decided {
        name: namespace.name,
        labelled,
        patch,
    })
}

/// The operations, proven to apply: the API server would refuse the namespace for one that does not.
fn operations(object: &str, change: Change) -> Result<Patch, String> {
    let mut object: Value = serde_json::from_str(object).map_err(|error| error.to_string())?;
    let labels = Place::root().key("metadata").key("labels");
    match change {
        Change::Add => {
            let mut draft = Draft::new(&object);
            draft.set(&labels, names::INJECTION_LABEL, json!(names::INJECTION_ENABLED));
            draft
                .finish()
                .map(|(patch, _)| patch)
                .map_err(|error| error.to_string())
        }
        Change::Remove => {
            let removal = RemoveOperation {
                path: PointerBuf::from_tokens(["metadata", "labels", names::INJECTION_LABEL]),
            };
            let operations = Patch(vec![PatchOperation::Remove(removal)]);
            json_patch::patch(&mut object, &operations).map_err(|error| error.to_string())?;
            Ok(operations)
        }
    }
}

#[derive(Deserialize)]
struct Object {
    metadata: Metadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    // Absent where it is to be made from generateName.
    #[serde(default)]
    name: String,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
    deletion_timestamp: Option<String>,
}

#[cfg(test)]
mod tests;
