//! The annotations: their keys, and what the documentation says of each.

use crate::key::KeyTemplate;
use crate::names;

/// A setting that people can write. `Display` is the whole annotation key.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Key {
    /// `inject`
    Inject,
    /// `containers`
    Containers,
    /// `on-oom`
    OnOom,
    /// `pre-stop`
    PreStop,
    /// `pre-stop-order`
    PreStopOrder,
    /// `pre-stop-delay`
    PreStopDelay,
    /// `termination-grace-period`
    TerminationGracePeriod,
    /// `upload-grace`
    UploadGrace,
    /// `agent`
    Agent,
    /// `image-options`
    ImageOptions,
    /// `liveness`
    Liveness,
    /// `volume`
    Volume,
    /// `destination`
    Destination,
    /// `key-template`
    KeyTemplate,
    /// `compression`
    Compression,
    /// `credentials-secret`
    CredentialsSecret,
    /// `run-as-user`
    RunAsUser,
    /// `java-options-variable`
    JavaOptionsVariable,
    /// `max-dumps`
    MaxDumps,
}

/// What the documentation says of a [`Key`]; `docs/annotations.md` is generated from it.
pub struct Description {
    /// The annotation without its prefix.
    pub name: &'static str,
    /// The same in a policy's YAML.
    pub field: &'static str,
    /// What may be written; also the end of the error for a wrong value.
    pub allowed: &'static str,
    /// What holds when nobody writes it.
    pub default: &'static str,
    /// One or two sentences.
    pub meaning: &'static str,
}

/// A value that could not be read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{key}: {value:?} is not allowed: use {allowed}{detail}")]
pub struct InvalidValue {
    /// The annotation, or `spec.settings.NAME` of a policy.
    pub key: String,
    /// As it was written, cut after 60 characters.
    pub value: String,
    /// What is allowed.
    pub allowed: &'static str,
    /// What exactly was wrong, in parentheses; may be empty.
    pub detail: String,
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", names::PREFIX, self.description().name)
    }
}

impl Key {
    /// In the order in which the documentation lists them.
    pub const ALL: [Self; 19] = [
        Self::Inject,
        Self::Containers,
        Self::OnOom,
        Self::PreStop,
        Self::PreStopOrder,
        Self::PreStopDelay,
        Self::TerminationGracePeriod,
        Self::UploadGrace,
        Self::Agent,
        Self::ImageOptions,
        Self::Liveness,
        Self::Volume,
        Self::Destination,
        Self::KeyTemplate,
        Self::Compression,
        Self::CredentialsSecret,
        Self::RunAsUser,
        Self::JavaOptionsVariable,
        Self::MaxDumps,
    ];

    /// The key of an annotation's name without its prefix.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|key| key.description().name == name)
    }

    /// The key of a field of a policy's `settings`.
    #[must_use]
    pub fn of_field(field: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|key| key.description().field == field)
    }

    /// The known name nearest to a mistyped one, where one is near enough to be meant.
    #[must_use]
    pub fn nearest(name: &str) -> Option<Self> {
        let best = Self::ALL
            .into_iter()
            .map(|key| (distance(name, key.description().name), key))
            .min()?;
        (best.0 <= 1 + name.chars().count() / 4).then_some(best.1)
    }

    /// Its documentation.
    #[must_use]
    #[expect(clippy::too_many_lines, reason = "one table, read as a table")]
    pub fn description(self) -> Description {
        let row = |name, field, allowed, default, meaning| Description {
            name,
            field,
            allowed,
            default,
            meaning,
        };
        match self {
            Self::Inject => row(
                "inject",
                "inject",
                "true or false",
                "unset",
                "Opt in, or out of a namespace's or policy's opt-in.",
            ),
            Self::Containers => row(
                "containers",
                "containers",
                "container names separated by commas, or *",
                "unset",
                "Which containers run a JVM. Unset: the one named by kubectl.kubernetes.io/default-container, else every \
                 regular container that is not a known injected sidecar. Init containers only when named.",
            ),
            Self::OnOom => row(
                "on-oom",
                "onOom",
                "dump, dump-and-exit or off",
                "dump",
                "What happens at the first OutOfMemoryError; dump-and-exit adds -XX:+ExitOnOutOfMemoryError.",
            ),
            Self::PreStop => row(
                "pre-stop",
                "preStop",
                "off, live or all",
                "off",
                "Heap dump when the pod is stopped: live objects only, or all.",
            ),
            Self::PreStopOrder => row(
                "pre-stop-order",
                "preStopOrder",
                "auto, before or after",
                "auto",
                "Our dump against the pod's own preStop hook; auto is after a sleep, before anything else.",
            ),
            Self::PreStopDelay => row(
                "pre-stop-delay",
                "preStopDelay",
                "a duration like 90s or 1m30s",
                "0s",
                "Waited before the dump so that endpoints drain first.",
            ),
            Self::TerminationGracePeriod => row(
                "termination-grace-period",
                "terminationGracePeriod",
                "a duration like 600s or 10m, at least 1s",
                "600s",
                "With pre-stop, the pod's grace period is raised to this, never lowered.",
            ),
            Self::UploadGrace => row(
                "upload-grace",
                "uploadGrace",
                "auto or a duration like 120s",
                "auto",
                "Time to ship after the JVM has ended; auto is 120s where the pod does not restart its containers (Jobs, \
                 restartPolicy Never or OnFailure), else the pod's own grace period.",
            ),
            Self::Agent => row(
                "agent",
                "agent",
                "on or off",
                "on",
                "off: flags and volume only, for those who collect dumps themselves, and init containers where pre-stop or image-options \
                 need them.",
            ),
            Self::ImageOptions => row(
                "image-options",
                "imageOptions",
                "auto or off",
                "auto",
                "Whether what the image itself sets (ENV JAVA_TOOL_OPTIONS) is carried over, which an init container of that \
                 image does where every node has Kubernetes 1.35 or newer. Elsewhere, and with off, the pod's variable replaces \
                 it; an agent that runs from that image reports it.",
            ),
            Self::Liveness => row(
                "liveness",
                "liveness",
                "keep or extend",
                "keep",
                "extend raises the liveness probe's failureThreshold so that a frozen JVM outlives its own dump; keep warns \
                 when the probe would kill it.",
            ),
            Self::Volume => row(
                "volume",
                "volume",
                "emptyDir, emptyDir:SIZE, pvc:NAME or ephemeral:CLASS:SIZE, with a SIZE like 20Gi",
                "emptyDir",
                "Where dumps are written.",
            ),
            Self::Destination => row(
                "destination",
                "destination",
                "s3://bucket/prefix, gs://bucket/prefix, az://container/prefix or file:///path",
                "from the policy",
                "Where dumps are shipped.",
            ),
            Self::KeyTemplate => row(
                "key-template",
                "keyTemplate",
                "a path with {cluster}, {namespace}, {workload}, {pod}, {container}, {time} and {reason}",
                KeyTemplate::DEFAULT,
                "The object's key below the destination; the codec's suffix is appended.",
            ),
            Self::Compression => row(
                "compression",
                "compression",
                "gzip, zstd or none",
                "gzip",
                "gzip opens directly in Eclipse MAT.",
            ),
            Self::CredentialsSecret => row(
                "credentials-secret",
                "credentialsSecret",
                "the name of a Secret in the pod's namespace",
                "unset",
                "Becomes envFrom of the agent only; unset: the pod's own cloud identity.",
            ),
            Self::RunAsUser => row(
                "run-as-user",
                "runAsUser",
                "a numeric user id",
                "unset",
                "The application's user, for the rare pod where neither the spec nor the image can tell.",
            ),
            Self::JavaOptionsVariable => row(
                "java-options-variable",
                "javaOptionsVariable",
                "the name of an environment variable",
                "unset",
                "Which variable the JVM's options are read from. Unset: JAVA_TOOL_OPTIONS, and in containers of Elasticsearch, \
                 OpenSearch and Logstash, which take that away, ES_JAVA_OPTS, OPENSEARCH_JAVA_OPTS and LS_JAVA_OPTS.",
            ),
            Self::MaxDumps => row(
                "max-dumps",
                "maxDumps",
                "a whole number from 1",
                "10",
                "Uploads per pod in 24 hours; beyond it the newest is held back until the window opens or the pod ends.",
            ),
        }
    }
}

/// `docs/annotations.md`.
#[must_use]
pub fn page() -> String {
    let row = |key: Key| {
        let Description {
            name,
            field,
            allowed,
            default,
            meaning,
        } = key.description();
        let default = if default.starts_with("from") || default == "unset" {
            default.to_owned()
        } else {
            format!("`{default}`")
        };
        let field = if key == Key::Inject { "mode" } else { field };
        format!("| `{name}` | `{field}` | {allowed} | {default} | {meaning} |\n")
    };
    format!(
        "# Annotations\n\n\
         Prefix `heapship.io/`. On a pod (or a pod template) they hold for it; on a namespace they are defaults for its pods. \
         In a `HeapDumpPolicy` the same settings stand under `spec.settings`, below every annotation. An empty value counts \
         as unset. A value that is not allowed never breaks a pod: the pod is left alone and the reason is reported. This \
         page is generated: `make bless` writes it anew.\n\n\
         | annotation | in a policy | values | default | meaning |\n|---|---|---|---|---|\n{}",
        Key::ALL.into_iter().map(row).collect::<String>()
    )
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, y) in row.iter_mut().skip(1).zip(&b) {
            let here = (diagonal + usize::from(x != *y)).min(left + 1).min(*cell + 1);
            diagonal = *cell;
            *cell = here;
            left = here;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_nearest_key_for_a_typing_error() {
        assert_eq!(Key::nearest("injct"), Some(Key::Inject));
        assert_eq!(Key::nearest("on-ooom"), Some(Key::OnOom));
        assert_eq!(Key::nearest("prestop"), Some(Key::PreStop));
        assert_eq!(Key::nearest("max-dump"), Some(Key::MaxDumps));
        assert_eq!(Key::nearest("something-else-entirely"), None);
    }

    #[test]
    fn a_distance_is_the_fewest_letters_to_change() {
        for (a, b, fewest) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("abc", "abc", 0),
            ("xy", "yx", 2),
            ("kitten", "sitting", 3),
            ("flaw", "lawn", 2),
            ("intention", "execution", 5),
        ] {
            assert_eq!(distance(a, b), fewest, "{a} {b}");
        }
    }

    #[test]
    fn every_key_is_found_by_its_name_and_its_field() {
        for key in Key::ALL {
            assert_eq!(Key::named(key.description().name), Some(key));
            assert_eq!(Key::of_field(key.description().field), Some(key));
        }
    }
}
