//! What other injectors do to a pod, each in its own way: how it makes its patch, where it puts its containers, what it does to
//! `JAVA_TOOL_OPTIONS`, and what it loses. Told by their sources, of which nothing is taken.

use json_patch::Patch;
use serde_json::Value;

use super::patches::{
    azure_identity, drops_flags, eks_identity, istio, linkerd, odigos, opentelemetry, reorders,
    strips_restart_policy, vault,
};

/// Another injector.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Neighbour {
    /// Before us: variables and a token for every container, from a typed pod.
    AzureIdentity,
    /// The difference of two typed pods; its native sidecar comes first, and all others behind it.
    Istio,
    /// Additions only; its native sidecar comes first or last.
    LinkerdFront,
    LinkerdEnd,
    /// Appends to the variable; a reference becomes a variable of its own at the end of the list.
    Odigos,
    /// Appends to a literal of the first container, and brings an init container and a volume.
    OpenTelemetry,
    /// After us and never again; replaces both lists of containers from structs that lack what is new.
    EksIdentity,
    /// Takes all init containers away and adds them again behind its own.
    Vault,
    /// Takes `restartPolicy` from all init containers, whenever it is called.
    StripsRestartPolicy,
    /// Turns the order of the containers round.
    Reorders,
    /// Writes the variable anew without our flags, once.
    DropsFlags,
}

/// Whether the API server calls it again after a later change.
#[derive(Clone, Copy, Debug)]
pub enum Reinvocation {
    Never,
    IfNeeded,
}

impl Neighbour {
    pub const ALL: [Self; 11] = [
        Self::AzureIdentity,
        Self::Istio,
        Self::LinkerdFront,
        Self::LinkerdEnd,
        Self::Odigos,
        Self::OpenTelemetry,
        Self::EksIdentity,
        Self::Vault,
        Self::StripsRestartPolicy,
        Self::Reorders,
        Self::DropsFlags,
    ];

    pub fn key(self) -> &'static str {
        match self {
            Self::AzureIdentity => "azure-identity",
            Self::Istio => "istio",
            Self::LinkerdFront => "linkerd-front",
            Self::LinkerdEnd => "linkerd-end",
            Self::Odigos => "odigos",
            Self::OpenTelemetry => "opentelemetry",
            Self::EksIdentity => "eks-identity",
            Self::Vault => "vault",
            Self::StripsRestartPolicy => "strips-restart-policy",
            Self::Reorders => "reorders",
            Self::DropsFlags => "drops-flags",
        }
    }

    /// The name that decides when it is called.
    pub fn registration(self) -> &'static str {
        match self {
            Self::AzureIdentity => "azure-wi-webhook-mutating-webhook-configuration",
            Self::Istio => "istio-sidecar-injector",
            Self::LinkerdFront => "linkerd-proxy-injector-webhook-config",
            Self::LinkerdEnd => "linkerd-proxy-injector-webhook-config-end",
            Self::Odigos => "odigos-pod-mutating-webhook-configuration",
            Self::OpenTelemetry => "opentelemetry-operator-mutating-webhook-configuration",
            Self::EksIdentity => "pod-identity-webhook",
            Self::Vault => "vault-agent-injector-cfg",
            Self::StripsRestartPolicy => "zz-strips-restart-policy",
            Self::Reorders => "zz-reorders",
            Self::DropsFlags => "zz-drops-flags",
        }
    }

    pub fn reinvocation(self) -> Reinvocation {
        match self {
            Self::AzureIdentity | Self::Istio | Self::StripsRestartPolicy => Reinvocation::IfNeeded,
            Self::LinkerdFront
            | Self::LinkerdEnd
            | Self::Odigos
            | Self::OpenTelemetry
            | Self::EksIdentity
            | Self::Vault
            | Self::Reorders
            | Self::DropsFlags => Reinvocation::Never,
        }
    }

    /// Its answer to a pod.
    pub fn patch(self, pod: &Value) -> Patch {
        match self {
            Self::AzureIdentity => azure_identity(pod),
            Self::Istio => istio(pod),
            Self::LinkerdFront => linkerd(pod, "0"),
            Self::LinkerdEnd => linkerd(pod, "-"),
            Self::Odigos => odigos(pod),
            Self::OpenTelemetry => opentelemetry(pod),
            Self::EksIdentity => eks_identity(pod),
            Self::Vault => vault(pod),
            Self::StripsRestartPolicy => strips_restart_policy(pod),
            Self::Reorders => reorders(pod),
            Self::DropsFlags => drops_flags(pod),
        }
    }
}
