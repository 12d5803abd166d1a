//! Where the webhook learns a namespace's labels and annotations: a review carries only its name.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::inject::Namespace;
use crate::names;

/// A source of namespaces' metadata that answers from memory: it is asked within a review.
pub trait Namespaces: Send + Sync {
    /// The namespace of that name; one that is not known has a name, its label and nothing else.
    fn find(&self, name: &str) -> Arc<Namespace>;
}

/// Namespaces known beforehand; without any, annotations of pods alone decide.
#[derive(Clone, Debug, Default)]
pub struct Known(BTreeMap<String, Arc<Namespace>>);

impl FromIterator<Namespace> for Known {
    fn from_iter<I: IntoIterator<Item = Namespace>>(namespaces: I) -> Self {
        Self(
            namespaces
                .into_iter()
                .map(|namespace| (namespace.name.clone(), Arc::new(namespace)))
                .collect(),
        )
    }
}

impl Namespaces for Known {
    fn find(&self, name: &str) -> Arc<Namespace> {
        self.0.get(name).cloned().unwrap_or_else(|| {
            let name = name.to_owned();
            Arc::new(Namespace {
                labels: [(names::NAMESPACE_NAME_LABEL.to_owned(), name.clone())].into(),
                name,
                ..Namespace::default()
            })
        })
    }
}

/// Whether the namespace says anything about heap dumps, so that its pods must be looked at.
#[must_use]
pub fn asks(namespace: &Namespace) -> bool {
    namespace
        .annotations
        .keys()
        .any(|key| key.starts_with(names::PREFIX))
}
