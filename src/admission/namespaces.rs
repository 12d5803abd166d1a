//! Where the webhook learns a namespace's labels and annotations: a review carries only its name.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::{self, BoxFuture, FutureExt as _};

use crate::inject::Namespace;
use crate::names;

/// A source of namespaces' metadata.
///
/// The label [`names::INJECTION_LABEL`] is never among the labels that it gives: it follows from all the others, and a
/// policy that selected by it would chase its own tail.
pub trait Namespaces: Send + Sync {
    /// The namespace of that name, from memory; `None` where it was never heard of.
    fn find(&self, name: &str) -> Option<Arc<Namespace>>;

    /// Whether memory is to be trusted where it gives no reason why a pod of this namespace should be looked at. Not
    /// where the API server calls for selected namespaces only: then its call says that memory is behind.
    fn is_settled(&self, _name: &str) -> bool {
        true
    }

    /// The namespace as the cluster has it now, for the rare review that memory cannot answer; `None` where that could not
    /// be learned. Bounded by whoever implements it: the pod's creation waits.
    fn look_up<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Option<Arc<Namespace>>> {
        future::ready(self.find(name)).boxed()
    }
}

/// Namespaces known beforehand; one that is not has a name, its label and nothing else. Without any, annotations of pods
/// alone decide.
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
    fn find(&self, name: &str) -> Option<Arc<Namespace>> {
        let known = self.0.get(name).cloned();
        Some(known.unwrap_or_else(|| {
            let name = name.to_owned();
            Arc::new(Namespace {
                labels: [(names::NAMESPACE_NAME_LABEL.to_owned(), name.clone())].into(),
                name,
                ..Namespace::default()
            })
        }))
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
