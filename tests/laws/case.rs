//! One generated pod with everything that decides about it.

use heapship::inject::{self, Cluster, Context, Namespace, Outcome};
use heapship::yaml;
use serde_json::{Value, json};

use crate::generator::surroundings::PolicySet;

/// What a law is asked about.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) pod: Value,
    pub(crate) namespace: Namespace,
    pub(crate) policies: &'static PolicySet,
    pub(crate) cluster: Cluster,
    /// A copy of an injected pod that lost something on its way: what it was before the injection is not known any more.
    pub(crate) copy: bool,
    /// What the sources of its variables hold is drawn from this.
    pub(crate) salt: u64,
}

/// A case and what was decided about it.
pub(crate) struct Trial<'c> {
    pub(crate) case: &'c Case,
    pub(crate) outcome: Outcome,
}

impl Case {
    pub(crate) fn inject(&self, pod: &Value) -> Outcome {
        let context = Context {
            namespace: &self.namespace,
            policies: &self.policies.policies,
            cluster: &self.cluster,
            workload: None,
        };
        inject::inject(pod, &context)
    }

    /// As a person would want to read it.
    pub(crate) fn describe(&self) -> String {
        let Namespace {
            name,
            labels,
            annotations,
        } = &self.namespace;
        let surroundings = json!({
            "kubernetesVersion": self.cluster.version.to_string(),
            "envFiles": self.cluster.env_files,
            "ownNamespace": self.cluster.own_namespace,
            "namespace": {"name": name, "labels": labels, "annotations": annotations},
        });
        format!(
            "# pod\n{}# surroundings\n{}# policies\n{}",
            yaml::write(&self.pod),
            yaml::write(&surroundings),
            self.policies.text
        )
    }
}

impl<'c> Trial<'c> {
    pub(crate) fn of(case: &'c Case) -> Self {
        Self {
            case,
            outcome: case.inject(&case.pod),
        }
    }

    pub(crate) fn before(&self) -> &Value {
        &self.case.pod
    }

    pub(crate) fn after(&self) -> &Value {
        &self.outcome.pod
    }
}
