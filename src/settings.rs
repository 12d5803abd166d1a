//! What is meant for one pod, every value decided, and how it came about.
//!
//! Precedence, weakest first: built-in, policy, namespace, pod. Annotations are held within the policy's limits. What was
//! typed (text under a [`Key`]) and what is meant ([`Settings`]) are two types; [`resolve()`] is the only way from one to
//! the other.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::destination::Destination;
use crate::key::KeyTemplate;
use crate::quantity::Bytes;
use crate::settings::annotations::{InvalidValue, Key};
use crate::settings::policy::Policy;

pub mod annotations;
pub mod policy;
pub mod resolve;
pub mod values;

pub use resolve::resolve;

/// Annotations as a pod or namespace carries them.
pub type Annotations = BTreeMap<String, String>;

/// Every decided value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Which containers run a JVM.
    pub containers: ContainerChoice,
    /// What happens at the first `OutOfMemoryError`.
    pub on_oom: OnOom,
    /// Whether a dump is taken when the pod is stopped.
    pub pre_stop: PreStop,
    /// Our dump against the pod's own hook.
    pub pre_stop_order: PreStopOrder,
    /// Waited before the dump, so that endpoints drain.
    pub pre_stop_delay: Duration,
    /// The grace period is raised to this when `pre_stop` is on.
    pub termination_grace_period: Duration,
    /// Time to ship after the JVM has ended; `None` is `auto`.
    pub upload_grace: Option<Duration>,
    /// `false`: flags and volume only.
    pub agent: bool,
    /// Whether the image's own options are carried over where the cluster can.
    pub image_options: bool,
    /// Whether the liveness probe is made patient enough for a dump.
    pub liveness: Liveness,
    /// Where dumps are written.
    pub volume: Volume,
    /// Where they are shipped; required, but for `agent: off`.
    pub destination: Option<Destination>,
    /// Their names there.
    pub key_template: KeyTemplate,
    /// Their form there.
    pub compression: Compression,
    /// Secret with the store's credentials, for the agent alone.
    pub credentials_secret: Option<String>,
    /// The user of the application, where neither spec nor image can tell.
    pub run_as_user: Option<i64>,
    /// The variable that the launcher reads; `None` is each container's own.
    pub java_options_variable: Option<String>,
    /// Uploads per pod in 24 hours.
    pub max_dumps: u32,
}

/// Values of `containers`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ContainerChoice {
    /// The one named by `kubectl.kubernetes.io/default-container`, else as [`ContainerChoice::All`].
    Unset,
    /// Every regular container but known injected sidecars.
    All,
    /// These, in the order written, init containers included; each once.
    Named(Vec<String>),
}

/// Values of `on-oom`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OnOom {
    /// Write a dump, go on.
    Dump,
    /// Write a dump, then exit with code 3.
    DumpAndExit,
    /// Nothing.
    Off,
}

/// Values of `pre-stop`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PreStop {
    /// No dump.
    Off,
    /// Live objects only: a full collection first.
    Live,
    /// Everything on the heap.
    All,
}

/// Values of `pre-stop-order`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PreStopOrder {
    /// After a sleep, before anything else.
    Auto,
    /// The dump first.
    Before,
    /// The pod's own hook first.
    After,
}

/// Values of `liveness`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Liveness {
    /// Left as it is; a warning where it would kill a dumping JVM.
    Keep,
    /// `failureThreshold` is raised.
    Extend,
}

/// Values of `volume`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Volume {
    /// Lives and dies with the pod.
    EmptyDir {
        /// The kubelet evicts the pod when the volume exceeds it.
        size_limit: Option<Bytes>,
    },
    /// An existing claim, with a folder per pod.
    Claim {
        /// Of the claim, in the pod's namespace.
        name: String,
    },
    /// A claim made for this pod and deleted with it.
    Ephemeral {
        /// The storage class.
        class: String,
        /// Its size.
        size: Bytes,
    },
}

/// Values of `compression`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Compression {
    /// Opens directly in Eclipse MAT.
    Gzip,
    /// Smaller, but unpacked before it opens.
    Zstd,
    /// As the JVM wrote it.
    None,
}

impl Compression {
    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::None => "none",
        }
    }
}

/// Where a value came from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Level {
    /// Nobody said anything.
    BuiltIn,
    /// The policy of this name.
    Policy(String),
    /// The namespace's annotation.
    Namespace,
    /// The pod's annotation.
    Pod,
}

impl std::fmt::Display for Level {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("built-in"),
            Self::Policy(name) => write!(f, "policy {name}"),
            Self::Namespace => f.write_str("the namespace"),
            Self::Pod => f.write_str("the pod"),
        }
    }
}

/// One value that somebody wrote, with where and how.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Origin {
    /// Which setting.
    pub key: Key,
    /// The text.
    pub value: String,
    /// Who wrote it.
    pub level: Level,
}

/// What [`resolve()`] looks at.
#[derive(Clone, Copy, Debug)]
pub struct Layers<'a> {
    /// The policy that selects the pod.
    pub policy: Option<&'a Policy>,
    /// The namespace's annotations.
    pub namespace: &'a Annotations,
    /// The pod's annotations.
    pub pod: &'a Annotations,
}

/// What [`resolve()`] found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Resolved {
    /// Whether the pod is to be injected, and who said so.
    pub request: Request,
    /// The values; present where every text that counts could be read.
    pub settings: Result<Settings, Vec<InvalidValue>>,
    /// The texts that were taken, in the order of [`Key::ALL`].
    pub origins: Vec<Origin>,
    /// Sentences about what was ignored: unknown keys, values outside the policy's limits.
    pub warnings: Vec<(&'static str, String)>,
}

/// Whether somebody asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Request {
    /// Yes.
    Inject(Level),
    /// Somebody said no.
    OptedOut(Level),
    /// Nobody asked.
    NotAsked,
}

#[cfg(test)]
mod tests;
