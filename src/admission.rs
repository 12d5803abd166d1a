//! Review in, review out, always allowed.
//!
//! [`Admission`] is the whole decision, as a function of bytes; [`http`] puts it behind a path, [`server`] behind a
//! socket, [`tls`] behind a certificate that [`rotation`] keeps fresh; [`health`] is the second port. Nothing below this
//! module refuses a pod: what cannot be understood, what fails and what comes too late is admitted as it came.
//!
//! The decision is a feature of its own, `decision`; the shells around it come with `webhook`.

pub mod answer;
#[cfg(feature = "webhook")]
pub mod health;
#[cfg(feature = "webhook")]
pub mod http;
pub mod label;
pub mod namespaces;
pub mod review;
#[cfg(feature = "webhook")]
pub mod rotation;
#[cfg(feature = "webhook")]
pub mod server;
#[cfg(feature = "webhook")]
pub mod tls;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arc_swap::ArcSwap;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::inject::{Cluster, Context, Decision, KubernetesVersion, Namespace, Outcome, Skip, inject};
use crate::settings::policy::Policies;

use self::answer::{Answer, Subject, Verdict};
use self::namespaces::Namespaces;
use self::review::{Refusal, Review};

/// Everything that decides about a pod besides the review itself.
pub struct Admission {
    /// Labels and annotations of namespaces, as the cluster has them.
    pub namespaces: Arc<dyn Namespaces>,
    /// What the platform team decided.
    pub policies: Arc<Policies>,
    /// Facts about the cluster.
    pub cluster: Cluster,
    /// Where the API server is asked for its version again and again: it may be upgraded under a running webhook. Takes
    /// the place of the version in `cluster`.
    pub version: Option<Arc<ArcSwap<KubernetesVersion>>>,
}

/// What a first look at a review gives.
#[derive(Debug)]
pub enum Look {
    /// The answer.
    Answered(Answer),
    /// Memory does not do: this namespace has to be looked up, then [`Admission::admit_from`] has the answer.
    NamespaceWanted(String),
}

impl From<Answer> for Look {
    fn from(answer: Answer) -> Self {
        Self::Answered(answer)
    }
}

impl Admission {
    /// Answers one review from memory: the body of the API server's POST in, the answer out.
    ///
    /// No I/O, no clock, no logging. A panic below is an answer too: [`Verdict::InternalError`].
    ///
    /// # Errors
    /// Only for what is no review of ours, so that there is nobody to answer.
    pub fn admit(&self, body: &[u8]) -> Result<Look, Refusal> {
        guarded(body, |review| self.decide(review))
    }

    /// Answers a review whose namespace was looked up; `None` where that did not succeed.
    ///
    /// # Errors
    /// As [`Self::admit`].
    pub fn admit_from(&self, body: &[u8], namespace: Option<&Namespace>) -> Result<Answer, Refusal> {
        guarded(body, |review| self.decide_from(review, namespace))
    }

    fn decide(&self, review: &Review<'_>) -> Look {
        let Some(pod) = review.created_pod() else {
            return self.no_pod_created(review).into();
        };
        let name = review.namespace();
        match self.namespaces.find(name) {
            Some(namespace) if self.has_a_reason(&namespace, pod) => {
                let answer = self.pod_created(review, &namespace, pod);
                // It may have said no until a moment ago.
                if answer.verdict.may_be_outdated() && !self.namespaces.is_settled(name) {
                    return Look::NamespaceWanted(name.to_owned());
                }
                answer.into()
            }
            Some(_) if self.namespaces.is_settled(name) => unchanged(review, Verdict::NotAsked).into(),
            Some(_) | None => Look::NamespaceWanted(name.to_owned()),
        }
    }

    fn decide_from(&self, review: &Review<'_>, namespace: Option<&Namespace>) -> Answer {
        let Some(pod) = review.created_pod() else {
            return self.no_pod_created(review);
        };
        match namespace {
            Some(namespace) if self.has_a_reason(namespace, pod) => self.pod_created(review, namespace, pod),
            Some(_) => unchanged(review, Verdict::NotAsked),
            None => Answer::namespace_unknown(review.uid.to_string(), review.namespace()),
        }
    }

    fn no_pod_created(&self, review: &Review<'_>) -> Answer {
        match review.written_namespace() {
            Some(namespace) => self.namespace_written(review, namespace),
            None => unchanged(review, Verdict::NotAPodCreation),
        }
    }

    fn has_a_reason(&self, namespace: &Namespace, pod: &RawValue) -> bool {
        label::is_wanted(namespace, &self.policies) || review::carries_our_annotation(pod)
    }

    fn pod_created(&self, review: &Review<'_>, namespace: &Namespace, object: &RawValue) -> Answer {
        let uid = review.uid.to_string();
        let pod: Value = match serde_json::from_str(object.get()) {
            Ok(pod) => pod,
            Err(error) => return Answer::unreadable(uid, &format!("request.object is no pod: {error}")),
        };
        let mut cluster = self.cluster.clone();
        if let Some(version) = &self.version {
            cluster.version = **version.load();
        }
        let context = Context {
            namespace,
            policies: &self.policies,
            cluster: &cluster,
            workload: None,
        };
        let subject = Subject::of(&namespace.name, &pod);
        answer(uid, subject, &inject(&pod, &context))
    }

    /// A dry run is answered alike: nothing is remembered of a review, so there is nothing to hold back.
    fn namespace_written(&self, review: &Review<'_>, object: &RawValue) -> Answer {
        match label::decide(
            object.get(),
            &self.policies,
            self.cluster.own_namespace.as_deref(),
        ) {
            Ok(label::Decided {
                name,
                labelled,
                patch,
            }) => {
                let verdict = if labelled {
                    Verdict::NamespaceLabelled
                } else {
                    Verdict::NamespaceNotLabelled
                };
                let subject = Subject {
                    owner: format!("Namespace/{name}"),
                    namespace: name,
                };
                unchanged(review, verdict).about(subject).with_patch(&patch)
            }
            Err(problem) => Answer::unreadable(review.uid.to_string(), &problem),
        }
    }
}

/// Reads a review and lets it be decided. The core is pure: whatever it was building is dropped with a panic, nothing
/// half-changed stays.
fn guarded<T: From<Answer>>(body: &[u8], decide: impl FnOnce(&Review<'_>) -> T) -> Result<T, Refusal> {
    match review::read(body)? {
        review::Reading::Clear(review) => {
            let decided = catch_unwind(AssertUnwindSafe(|| decide(&review)));
            Ok(decided.unwrap_or_else(|_| Answer::internal_error(review.uid.to_string()).into()))
        }
        review::Reading::Unclear { uid, reason } => Ok(Answer::unreadable(uid, &reason).into()),
    }
}

fn unchanged(review: &Review<'_>, verdict: Verdict) -> Answer {
    Answer::unchanged(review.uid.to_string(), verdict)
}

fn answer(uid: String, subject: Subject, outcome: &Outcome) -> Answer {
    let verdict = match &outcome.decision {
        Decision::Injected => Verdict::Injected,
        Decision::NotAsked => Verdict::NotAsked,
        // A fault of the core's own: to be alerted on like a panic.
        Decision::Skipped(Skip::Internal(_)) => Verdict::InternalError,
        Decision::Skipped(skip) => Verdict::Skipped(skip.label()),
    };
    Answer::unchanged(uid, verdict)
        .about(subject)
        .with_warnings(&outcome.warnings())
        .with_patch(&outcome.patch)
}

#[cfg(test)]
mod tests;
