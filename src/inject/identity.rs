//! Under which user the agent must run to read a dump of mode 0600, and from which image.

use serde_json::{Value, json};

use crate::inject::plan::Plan;
use crate::inject::pod::container_place;
use crate::names;

/// What one agent runs as. Containers with equal identities share an agent.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Identity {
    /// The application's image and pull policy, where only the image knows the user; else ours.
    pub(super) borrowed: Option<(String, Option<String>)>,
    /// `securityContext` of the agent, whole.
    pub(super) security_context: Value,
}

impl Identity {
    /// Whether an agent that is there runs as this.
    pub(super) fn is_of(&self, agent: &Value) -> bool {
        let Self {
            borrowed,
            security_context,
        } = self;
        let borrows = agent["command"][0] == names::AGENT_IN_TOOLS;
        let image = match borrowed {
            Some((image, _)) => borrows && agent["image"] == image.as_str(),
            None => !borrows,
        };
        let context = &agent["securityContext"];
        let user = [
            "runAsUser",
            "runAsGroup",
            "runAsNonRoot",
            "seLinuxOptions",
            "appArmorProfile",
        ];
        image && user.into_iter().all(|key| context[key] == security_context[key])
    }
}

/// The identity that reads a container's dumps.
///
/// Container over pod, then `run-as-user`; where neither says, the agent runs from the application's own image: the same
/// image, the same user, nothing to guess and nothing to pull.
pub(super) fn of(plan: &Plan<'_>, container: &str) -> Identity {
    with(plan, container, plan.settings.run_as_user)
}

/// The identity of a container's own image: the user that the pod states, else the image's, whatever `run-as-user` says
/// about the agent.
pub(super) fn of_the_image(plan: &Plan<'_>, container: &str) -> Identity {
    let Identity {
        borrowed: _,
        security_context,
    } = with(plan, container, None);
    Identity {
        borrowed: Some(image_of(found(plan, container))),
        security_context,
    }
}

fn with(plan: &Plan<'_>, container: &str, annotated: Option<i64>) -> Identity {
    let found = found(plan, container);
    let own = &found["securityContext"];
    let pods = &plan.pod["spec"]["securityContext"];
    let stated = |key: &str| {
        own.get(key)
            .filter(|value| !value.is_null())
            .or_else(|| pods.get(key))
            .cloned()
    };
    // Root is what the kubelet refuses under runAsNonRoot, and that would hold the application in Init: then the annotation
    // is wrong, and the image knows better.
    let refused = stated("runAsNonRoot") == Some(json!(true));
    let annotated = annotated.filter(|user| *user != 0 || !refused);
    let user = stated("runAsUser").and_then(|user| user.as_i64()).or(annotated);

    let mut context = restricted();
    if let Some(user) = user {
        context["runAsUser"] = json!(user);
    }
    if let Some(group) = own.get("runAsGroup").filter(|group| !group.is_null()) {
        // The pod's own group applies to the agent by itself.
        context["runAsGroup"] = group.clone();
    }
    match user {
        Some(user) if user != 0 => context["runAsNonRoot"] = json!(true),
        // Root, or a user that only the image knows: exactly what the application's container states. A user given by
        // name would be refused under runAsNonRoot, and that would hold the application in Init.
        _ => {
            if let Some(stated) = own.get("runAsNonRoot").filter(|value| !value.is_null()) {
                context["runAsNonRoot"] = stated.clone();
            }
        }
    }
    // So that labels on the shared volume agree; those of the pod apply by themselves.
    if let Some(labels) = own.get("seLinuxOptions").filter(|value| !value.is_null()) {
        context["seLinuxOptions"] = labels.clone();
    }
    if let Some(profile) = app_armor(own, pods) {
        context["appArmorProfile"] = profile;
    }
    Identity {
        borrowed: user.is_none().then(|| image_of(found)),
        security_context: context,
    }
}

/// A profile of the node's was written for the application: it may deny what the agent executes, and that would hold the
/// application in Init. So the container's is not taken over, and the pod's, which would apply by itself, not left to.
fn app_armor(own: &Value, pods: &Value) -> Option<Value> {
    let stated = |context: &Value| {
        let profile = context.get("appArmorProfile");
        profile.filter(|profile| !profile.is_null()).cloned()
    };
    let local = |profile: &Value| profile["type"] == "Localhost";
    let pods_is_local = stated(pods).is_some_and(|profile| local(&profile));
    stated(own)
        .filter(|profile| !local(profile))
        .or_else(|| pods_is_local.then(|| json!({"type": "RuntimeDefault"})))
}

fn found<'a>(plan: &Plan<'a>, container: &str) -> &'a Value {
    container_place(plan.pod, container)
        .and_then(|place| place.of(plan.pod))
        .unwrap_or(&Value::Null)
}

/// The image and its pull policy.
fn image_of(container: &Value) -> (String, Option<String>) {
    let text = |key: &str| container[key].as_str().map(str::to_owned);
    (text("image").unwrap_or_default(), text("imagePullPolicy"))
}

/// The identity of the container that fills the tools volume: our image's own non-root user.
pub(super) fn of_tools(plan: &Plan<'_>) -> Value {
    let mut context = restricted();
    context["runAsNonRoot"] = json!(true);
    let pods = &plan.pod["spec"]["securityContext"];
    if pods["runAsUser"] == 0 {
        context["runAsUser"] = json!(OUR_USER);
    }
    if let Some(profile) = app_armor(&Value::Null, pods) {
        context["appArmorProfile"] = profile;
    }
    context
}

/// The user of our image (`USER` in the Dockerfile).
const OUR_USER: i64 = 65532;

/// Always, so that a pod that met a Pod Security level still meets it: the level may come from a place that a webhook
/// cannot see.
fn restricted() -> Value {
    json!({
        "allowPrivilegeEscalation": false,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": true,
        "seccompProfile": {"type": "RuntimeDefault"},
    })
}
