//! What a cluster would know and a command line must be told.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::Value;

use crate::cli::installation::Installation;
use crate::inject::{Cluster, KubernetesVersion, Namespace};
use crate::objects::{self, Object};
use crate::settings::policy::Policies;

/// The options that `inject` and `explain` share.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub struct Arguments {
    /// File of policies to apply, as the webhook's --policy-file; YAML
    #[arg(long, alias = "policy-file", value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Version of the cluster; unset: 1.36 for manifests, and what a live cluster says. Only where it is given, and 1.35 or
    /// newer, manifests carry the image's own options over: an older cluster would reject them
    #[arg(long, value_name = "1.N", value_parser = version)]
    kubernetes_version: Option<KubernetesVersion>,
    /// Namespace of objects that name none; unset: default, or the context's
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
    /// What {cluster} in object keys becomes; unset: default, or what the installation says
    #[arg(long, value_name = "NAME")]
    cluster_name: Option<String>,
}

/// The same, read and ready for every object.
#[derive(Debug)]
pub struct Surroundings {
    /// What the platform team decided.
    pub policies: Policies,
    /// What is known of the cluster.
    pub cluster: Cluster,
    /// Where objects are that name no namespace.
    default: Namespace,
    /// Those that stand in the manifests.
    known: BTreeMap<String, Namespace>,
}

impl Arguments {
    /// Reads the policy, and the Namespaces among the documents.
    ///
    /// # Errors
    /// When the policy cannot be read or is none.
    pub fn read(self, documents: &[Value]) -> anyhow::Result<Surroundings> {
        let Self {
            policy,
            kubernetes_version,
            namespace,
            cluster_name,
        } = self;
        let policies = policy
            .as_deref()
            .map(policies_of)
            .transpose()?
            .unwrap_or_default();
        let namespace = namespace.unwrap_or_else(|| "default".to_owned());
        let known = documents.iter().flat_map(objects::namespaces);
        let known: BTreeMap<_, _> = known
            .map(|namespace| (namespace.name.clone(), namespace))
            .collect();
        Ok(Surroundings {
            policies,
            cluster: Cluster {
                name: cluster_name.unwrap_or_else(|| "default".to_owned()),
                version: kubernetes_version.unwrap_or(KubernetesVersion::NEWEST),
                own_namespace: None,
                // A cluster without them rejects the pod: only where a person says how old it is.
                env_files: kubernetes_version.is_some_and(|version| version >= KubernetesVersion::ENV_FILES),
            },
            default: known
                .get(&namespace)
                .cloned()
                .unwrap_or_else(|| objects::named(&namespace)),
            known,
        })
    }

    /// The namespace that somebody named.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    /// The policies that somebody gave.
    ///
    /// # Errors
    /// When they cannot be read or are none.
    pub fn policies(&self) -> anyhow::Result<Option<Policies>> {
        self.policy.as_deref().map(policies_of).transpose()
    }

    /// For objects of a live cluster: what nobody gave is the cluster's own.
    #[must_use]
    pub fn live(
        self,
        installation: &Installation,
        version: Option<KubernetesVersion>,
        namespace: Namespace,
    ) -> Surroundings {
        let Self {
            policy: _,
            kubernetes_version,
            namespace: _,
            cluster_name,
        } = self;
        let known = BTreeMap::from([(namespace.name.clone(), namespace.clone())]);
        let version = kubernetes_version
            .or(version)
            .unwrap_or(KubernetesVersion::NEWEST);
        Surroundings {
            policies: installation.policies.clone().unwrap_or_default(),
            cluster: Cluster {
                name: cluster_name.unwrap_or_else(|| installation.cluster_name()),
                version,
                own_namespace: Some(installation.namespace.clone()),
                // What is said here is only told, never applied: the webhook's own probe decides.
                env_files: version >= KubernetesVersion::ENV_FILES,
            },
            default: namespace,
            known,
        }
    }
}

/// Policies from a file on this machine.
///
/// # Errors
/// When it cannot be read or is none.
pub fn policies_of(file: &Path) -> anyhow::Result<Policies> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    Policies::from_yaml(&text).with_context(|| format!("{}", file.display()))
}

impl Surroundings {
    /// The namespace that an object would be created in.
    #[must_use]
    pub fn namespace(&self, object: &Object) -> Namespace {
        match &object.namespace {
            None => self.default.clone(),
            Some(name) => self
                .known
                .get(name)
                .cloned()
                .unwrap_or_else(|| objects::named(name)),
        }
    }
}

/// `1.36`, `v1.36.2`, `1.36.2-eks-1a2b3c`.
fn version(text: &str) -> Result<KubernetesVersion, String> {
    let mut parts = text.strip_prefix('v').unwrap_or(text).splitn(3, '.');
    let major = parts.next().and_then(|part| part.parse().ok());
    // Some vendors write `29+`.
    let minor = parts
        .next()
        .and_then(|part| part.trim_end_matches('+').parse().ok());
    match (major, minor) {
        (Some(major), Some(minor)) => Ok(KubernetesVersion { major, minor }),
        _ => Err("not a version like 1.36".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn versions_are_read_as_vendors_write_them() {
        for text in ["1.29", "v1.29.3", "1.29+", "1.29.3-gke.100"] {
            assert_eq!(
                version(text),
                Ok(KubernetesVersion { major: 1, minor: 29 }),
                "{text}"
            );
        }
        for text in ["", "1", "1.x", "latest", "1.-1"] {
            assert!(version(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_namespace_counts_wherever_it_stands() {
        let arguments = Arguments {
            policy: None,
            kubernetes_version: None,
            namespace: Some("web".into()),
            cluster_name: None,
        };
        let pod = json!({"kind": "Pod", "metadata": {"name": "a"}, "spec": {"containers": []}});
        let namespace = json!({"kind": "Namespace", "metadata": {"name": "web", "annotations": {"x": "y"}}});
        let object = objects::objects(&pod).remove(0);
        let surroundings = arguments.read(&[pod, namespace]).unwrap();
        assert_eq!(surroundings.namespace(&object).annotations.len(), 1);
        let elsewhere = Object {
            namespace: Some("other".into()),
            ..object
        };
        assert_eq!(surroundings.namespace(&elsewhere).annotations.len(), 0);
    }

    #[test]
    fn env_files_are_only_used_where_a_person_says_that_the_cluster_is_new_enough() {
        let env_files = |kubernetes_version: Option<&str>| {
            let arguments = Arguments {
                policy: None,
                kubernetes_version: kubernetes_version.and_then(KubernetesVersion::parse),
                namespace: None,
                cluster_name: None,
            };
            arguments.read(&[]).unwrap().cluster.env_files
        };
        assert!(!env_files(None), "an older cluster would reject the pod");
        assert!(!env_files(Some("1.34")));
        assert!(env_files(Some("1.35")));
    }
}
