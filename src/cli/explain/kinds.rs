//! `pod/NAME`, `deploy/NAME`: what people type, and where in the API it is.

/// A kind that is a pod or makes pods.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Kind {
    /// As it calls itself.
    pub(super) name: &'static str,
    group: &'static str,
    plural: &'static str,
    short: &'static str,
}

/// All there are in Kubernetes itself.
const KINDS: [Kind; 7] = [
    Kind::new("Pod", "api/v1", "pods", "po"),
    Kind::new("Deployment", "apis/apps/v1", "deployments", "deploy"),
    Kind::new("StatefulSet", "apis/apps/v1", "statefulsets", "sts"),
    Kind::new("DaemonSet", "apis/apps/v1", "daemonsets", "ds"),
    Kind::new("ReplicaSet", "apis/apps/v1", "replicasets", "rs"),
    Kind::new("Job", "apis/batch/v1", "jobs", "job"),
    Kind::new("CronJob", "apis/batch/v1", "cronjobs", "cj"),
];

/// What cannot be explained.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("{0:?} is no KIND/NAME: write pod/NAME, deployment/NAME, …, or -f FILE for a manifest")]
    Form(String),
    #[error("{kind:?} is no kind with pods: use {}", all())]
    Kind { kind: String },
}

impl Kind {
    const fn new(name: &'static str, group: &'static str, plural: &'static str, short: &'static str) -> Self {
        Self {
            name,
            group,
            plural,
            short,
        }
    }

    /// Reads `KIND/NAME` in kubectl's spellings.
    pub(super) fn parse(text: &str) -> Result<(Self, &str), Error> {
        let (kind, name) = text
            .split_once('/')
            .filter(|(_, name)| !name.is_empty() && !name.contains('/'))
            .ok_or_else(|| Error::Form(text.to_owned()))?;
        let lower = kind.to_lowercase();
        // `deployments.apps`
        let first = lower.split('.').next().unwrap_or_default();
        let known = KINDS
            .into_iter()
            .find(|known| [known.plural, known.short, &known.name.to_lowercase()].contains(&first));
        known.map(|known| (known, name)).ok_or_else(|| Error::Kind {
            kind: kind.to_owned(),
        })
    }

    /// The kind itself, for pods.
    pub(super) const POD: Self = Self::new("Pod", "api/v1", "pods", "po");

    /// The path of all objects of a namespace.
    pub(super) fn path(self, namespace: &str) -> String {
        let Self { group, plural, .. } = self;
        format!("/{group}/namespaces/{namespace}/{plural}")
    }
}

fn all() -> String {
    KINDS.map(|kind| kind.name.to_lowercase()).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_read_as_kubectl_reads_them() {
        for text in ["deployment/a", "deploy/a", "deployments.apps/a", "Deployment/a"] {
            let (kind, name) = Kind::parse(text).unwrap();
            assert_eq!((kind.name, name), ("Deployment", "a"), "{text}");
            assert_eq!(kind.path("web"), "/apis/apps/v1/namespaces/web/deployments");
        }
        assert_eq!(Kind::parse("po/a").unwrap().0, Kind::POD);
    }

    #[test]
    fn what_is_no_kind_is_said() {
        let said = |text: &str| Kind::parse(text).unwrap_err().to_string();
        assert_eq!(
            said("shop"),
            "\"shop\" is no KIND/NAME: write pod/NAME, deployment/NAME, …, or -f FILE for a manifest"
        );
        assert_eq!(
            said("configmap/shop"),
            "\"configmap\" is no kind with pods: use pod, deployment, statefulset, daemonset, replicaset, job, cronjob"
        );
    }
}
