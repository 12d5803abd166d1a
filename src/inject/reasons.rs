//! Why a pod is left alone, and what a person should know of one that is not. Codes are stable: they are metric labels,
//! audit values and headings in the documentation.

use crate::inject::KubernetesVersion;
use crate::settings::Level;
use crate::settings::annotations::InvalidValue;

/// Why a pod is left alone. [`Skip::label`] is the reason code, `Display` what a person reads.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Skip {
    /// The mirror of a static pod: a mutation would not reach the running container.
    #[error("a mirror pod shows a static pod of the kubelet and cannot be changed")]
    MirrorPod,
    /// No Windows build of the agent exists.
    #[error("Windows pods are not supported")]
    Windows,
    /// `kubectl debug node/…`
    #[error("a pod that kubectl debug made to look into a node")]
    DebugPod,
    /// kube-system, kube-node-lease or our own.
    #[error("pods in {0} are never touched")]
    ExcludedNamespace(String),
    /// Somebody said no.
    #[error("heapship.io/inject is \"false\" on {0}")]
    OptedOut(Level),
    /// Native sidecars are missing.
    #[error("Kubernetes {0} has no native sidecars; 1.29 or newer is needed")]
    KubernetesTooOld(KubernetesVersion),
    /// One or several values that could not be read.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    InvalidAnnotation(Vec<InvalidValue>),
    /// Both triggers are off.
    #[error("nothing is asked: heapship.io/on-oom is off and heapship.io/pre-stop is off")]
    NothingAsked,
    /// There is nowhere to ship to.
    #[error("no destination: set heapship.io/destination, a policy's, or heapship.io/agent to off")]
    NoDestination,
    /// `file://` needs a volume of the policy.
    #[error(
        "destination {0} lies outside the volume that the policy mounts (spec.store.volume, spec.store.mountPath)"
    )]
    FileDestination(String),
    /// The store is not supported by this version of the agent.
    #[error("destination {0} is not supported yet: use s3:// or file://")]
    UnsupportedStore(String),
    /// `containers` names one that the pod has not.
    #[error("heapship.io/containers names {wanted:?}, but the pod has {}", known.join(", "))]
    UnknownContainer {
        /// As written.
        wanted: String,
        /// All there are.
        known: Vec<String>,
    },
    /// Only sidecars of other injectors.
    #[error("no container to inject: all are known sidecars; name one in heapship.io/containers")]
    NoContainers,
    /// The JVM cannot start as it is.
    #[error("container {container}: unmatched quote in {variable}; the JVM refuses to start with it")]
    UnmatchedQuote {
        /// Whose.
        container: String,
        /// Which.
        variable: String,
    },
    /// JDK 8 would drop the variable, and the way out is taken.
    #[error(
        "container {container}: {variable} must stay as it is (JDK 8 reads 1023 bytes and 64 options, other fields \
         refer to it, or a source of envFrom is of an unknown kind), and _JAVA_OPTIONS is in use"
    )]
    OptionsTooLong {
        /// Whose.
        container: String,
        /// Which.
        variable: String,
    },
    /// The pod is bound to nodes that cannot run the agent.
    #[error("the pod may run on {0}, for which the agent's image has no build")]
    Architecture(String),
    /// Something of the pod's own has the name that ours would have.
    #[error("the pod has {kind} named {name} of its own")]
    NameTaken {
        /// `a container`, `a volume`.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// Something of the pod's own is mounted where dumps would be written.
    #[error("container {container} mounts volume {volume} at {path}")]
    PathTaken {
        /// Whose.
        container: String,
        /// The volume.
        volume: String,
        /// The place.
        path: String,
    },
    /// Kubernetes allows 256 KiB for all of an object's annotations.
    #[error("the pod's annotations leave no room for heapship's")]
    AnnotationsTooLarge,
    /// It has no containers, or is not an object.
    #[error("not a pod: {0}")]
    NotAPod(&'static str),
    /// A fault of ours.
    #[error("internal error: {0}; the pod is left as it was")]
    Internal(String),
}

impl Skip {
    /// The reason code.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::MirrorPod => "mirror-pod",
            Self::Windows => "windows",
            Self::DebugPod => "debug-pod",
            Self::ExcludedNamespace(_) => "excluded-namespace",
            Self::OptedOut(_) => "opted-out",
            Self::KubernetesTooOld(_) => "kubernetes-too-old",
            Self::InvalidAnnotation(_) => "invalid-annotation",
            Self::NothingAsked => "nothing-asked",
            Self::NoDestination => "no-destination",
            Self::FileDestination(_) => "file-destination",
            Self::UnsupportedStore(_) => "unsupported-store",
            Self::UnknownContainer { .. } => "unknown-container",
            Self::NoContainers => "no-containers",
            Self::UnmatchedQuote { .. } => "unmatched-quote",
            Self::OptionsTooLong { .. } => "options-too-long",
            Self::Architecture(_) => "architecture",
            Self::NameTaken { .. } => "name-taken",
            Self::PathTaken { .. } => "path-taken",
            Self::AnnotationsTooLarge => "annotations-too-large",
            Self::NotAPod(_) => "not-a-pod",
            Self::Internal(_) => "internal-error",
        }
    }

    /// Whether something in the pod's spec is in the way: an earlier injection cannot be completed then.
    #[must_use]
    pub fn is_an_obstacle(&self) -> bool {
        match self {
            Self::NameTaken { .. }
            | Self::PathTaken { .. }
            | Self::OptionsTooLong { .. }
            | Self::UnmatchedQuote { .. } => true,
            Self::MirrorPod
            | Self::Windows
            | Self::DebugPod
            | Self::ExcludedNamespace(_)
            | Self::OptedOut(_)
            | Self::KubernetesTooOld(_)
            | Self::InvalidAnnotation(_)
            | Self::NothingAsked
            | Self::NoDestination
            | Self::FileDestination(_)
            | Self::UnsupportedStore(_)
            | Self::UnknownContainer { .. }
            | Self::NoContainers
            | Self::Architecture(_)
            | Self::AnnotationsTooLarge
            | Self::NotAPod(_)
            | Self::Internal(_) => false,
        }
    }

    /// Whether not even a status may be written on the pod: it cannot be changed, or nobody wants us to.
    #[must_use]
    pub fn leaves_no_trace(&self) -> bool {
        match self {
            Self::MirrorPod
            | Self::Windows
            | Self::DebugPod
            | Self::ExcludedNamespace(_)
            | Self::OptedOut(_)
            | Self::NotAPod(_) => true,
            Self::KubernetesTooOld(_)
            | Self::InvalidAnnotation(_)
            | Self::NothingAsked
            | Self::NoDestination
            | Self::FileDestination(_)
            | Self::UnsupportedStore(_)
            | Self::UnknownContainer { .. }
            | Self::NoContainers
            | Self::UnmatchedQuote { .. }
            | Self::OptionsTooLong { .. }
            | Self::Architecture(_)
            | Self::NameTaken { .. }
            | Self::PathTaken { .. }
            | Self::AnnotationsTooLarge
            | Self::Internal(_) => false,
        }
    }
}

/// Something a person should know.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Note {
    /// Who hears it.
    pub severity: Severity,
    /// The reason code: kebab-case and stable.
    pub code: &'static str,
    /// One sentence.
    pub text: String,
}

/// Who hears a [`Note`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Severity {
    /// `explain` and `demo`: what was done, step by step.
    Step,
    /// Also an admission warning.
    Warning,
}

impl Note {
    /// A step, for `explain`.
    #[must_use]
    pub fn step(code: &'static str, text: String) -> Self {
        Self {
            severity: Severity::Step,
            code,
            text,
        }
    }

    /// A warning, for everybody.
    #[must_use]
    pub fn warning(code: &'static str, text: String) -> Self {
        Self {
            severity: Severity::Warning,
            code,
            text,
        }
    }
}
