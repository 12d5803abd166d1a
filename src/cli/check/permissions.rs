//! Who may do what: the webhook its work, the person this check.

use serde_json::{Value, json};

use super::found::Found;
use super::report::{Line, Section};
use crate::cli::installation::{Installation, Mode};
use crate::cli::live::{Read, Refusal};
use crate::names;

/// One thing that one may do or not.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Access {
    /// `patch`
    pub(super) verb: &'static str,
    /// Empty for the core group.
    pub(super) group: &'static str,
    /// `namespaces`, `pods/exec`
    pub(super) resource: &'static str,
    /// Empty for cluster-wide.
    pub(super) namespace: String,
    /// Of one object; empty for any.
    pub(super) name: String,
}

impl Access {
    fn cluster(verb: &'static str, group: &'static str, resource: &'static str) -> Self {
        Self {
            verb,
            group,
            resource,
            namespace: String::new(),
            name: String::new(),
        }
    }

    fn of(mut self, namespace: &str, name: &str) -> Self {
        namespace.clone_into(&mut self.namespace);
        name.clone_into(&mut self.name);
        self
    }

    /// The `resourceAttributes` of a review.
    #[must_use]
    pub(super) fn attributes(&self) -> Value {
        let Self {
            verb,
            group,
            resource,
            namespace,
            name,
        } = self;
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        json!({
            "verb": verb, "group": group, "resource": resource, "subresource": subresource,
            "namespace": namespace, "name": name,
        })
    }

    fn words(&self) -> String {
        let Self {
            verb,
            group: _,
            resource,
            namespace,
            name,
        } = self;
        let object = if name.is_empty() {
            String::new()
        } else {
            format!(" {name}")
        };
        let place = if namespace.is_empty() {
            String::new()
        } else {
            format!(" in {namespace}")
        };
        format!("{verb} {resource}{object}{place}")
    }
}

/// What the webhook's service account must be able to do. Certificates of its own need the Secret as well.
#[must_use]
pub(super) fn of_the_webhook(installation: &Installation, registration: &str) -> Vec<Access> {
    const ADMISSION: &str = "admissionregistration.k8s.io";
    let mut accesses: Vec<Access> = ["get", "list", "watch", "patch"]
        .into_iter()
        .map(|verb| Access::cluster(verb, "", "namespaces"))
        .collect();
    for kind in ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"] {
        let verbs = ["get", "list", "watch", "patch"].into_iter();
        accesses.extend(verbs.map(|verb| Access::cluster(verb, ADMISSION, kind).of("", registration)));
    }
    accesses.extend([
        Access::cluster("create", "events.k8s.io", "events"),
        Access::cluster("patch", "events.k8s.io", "events"),
        Access::cluster("get", "apps", "replicasets"),
        Access::cluster("get", "batch", "jobs"),
    ]);
    let own = &installation.namespace;
    accesses.push(Access::cluster("create", "", "podtemplates").of(own, ""));
    if installation.mode() == Mode::SelfManaged {
        let (namespace, secret) = (&installation.namespace, installation.certificates_secret());
        accesses.push(Access::cluster("create", "", "secrets").of(namespace, ""));
        accesses.extend(
            ["get", "list", "watch", "update"]
                .into_iter()
                .map(|verb| Access::cluster(verb, "", "secrets").of(namespace, &secret)),
        );
    }
    accesses
}

pub(super) fn judge(found: &Found) -> Section {
    let account = &found.service_account;
    let line = match &found.webhook_may {
        Err(Refusal::Absent) => Line::not_checked("there is no Deployment of the webhook"),
        Err(refusal) if found.installation.deployment.is_err() => {
            Line::unread("the webhook's Deployment", refusal, names::VIEWER_ROLE)
        }
        Err(refusal) => Line::unread(
            &format!("what the webhook's service account {account} may do"),
            refusal,
            names::OPERATOR_ROLE,
        ),
        Ok(answers) => {
            let lacking: Vec<String> = answers
                .iter()
                .filter(|(_, allowed)| !allowed)
                .map(|(access, _)| access.words())
                .collect();
            if lacking.is_empty() {
                Line::ok(format!(
                    "the webhook's service account {account} may do all that it has to"
                ))
            } else {
                Line::fault(
                    format!(
                        "the webhook's service account {account} may not {}",
                        lacking.join(", ")
                    ),
                    format!(
                        "{}   # its roles are part of the installation",
                        found.installation.apply()
                    ),
                )
            }
        }
    };
    Section {
        name: "permissions",
        lines: vec![line],
    }
}

/// Whether the review says yes.
pub(super) fn allowed(review: Read<Value>) -> Read<bool> {
    review.map(|review| review["status"]["allowed"] == true)
}
