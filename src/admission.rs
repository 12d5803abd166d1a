//! Review in, review out, always allowed.
//!
//! [`Admission`] is the whole decision, as a function of bytes; [`http`] puts it behind a path, [`server`] behind a
//! socket, [`tls`] behind a certificate that [`rotation`] keeps fresh; [`health`] is the second port. Nothing below this
//! module refuses a pod: what cannot be understood, what fails and what comes too late is admitted as it came.

pub mod answer;
pub mod health;
pub mod http;
pub mod namespaces;
pub mod review;
pub mod rotation;
pub mod server;
pub mod tls;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use serde_json::Value;

use crate::inject::{Cluster, Context, Decision, Outcome, Skip, inject};
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
}

impl Admission {
    /// Answers one review: the body of the API server's POST in, the answer out.
    ///
    /// No I/O, no clock, no logging. A panic below is an answer too: [`Verdict::InternalError`].
    ///
    /// # Errors
    /// Only for what is no review of ours, so that there is nobody to answer.
    pub fn admit(&self, body: &[u8]) -> Result<Answer, Refusal> {
        let review = match review::read(body)? {
            review::Reading::Clear(review) => review,
            review::Reading::Unclear { uid, reason } => return Ok(Answer::unreadable(uid, &reason)),
        };
        let uid = review.uid.to_string();
        // The core is pure: whatever it was building is dropped with the panic, nothing half-changed stays.
        let answer = catch_unwind(AssertUnwindSafe(|| self.decide(&review)));
        Ok(answer.unwrap_or_else(|_| Answer::internal_error(uid)))
    }

    fn decide(&self, review: &Review<'_>) -> Answer {
        let uid = review.uid.to_string();
        let Some(object) = review.created_pod() else {
            return Answer::unchanged(uid, Verdict::NotAPodCreation);
        };
        let namespace = self.namespaces.find(review.namespace());
        let asked_from_outside =
            self.policies.inject_unasked(&namespace.name, &namespace.labels) || namespaces::asks(&namespace);
        if !asked_from_outside && !review::carries_our_annotation(object) {
            return Answer::unchanged(uid, Verdict::NotAsked);
        }
        let pod: Value = match serde_json::from_str(object.get()) {
            Ok(pod) => pod,
            Err(error) => return Answer::unreadable(uid, &format!("request.object is no pod: {error}")),
        };
        let context = Context {
            namespace: &namespace,
            policies: &self.policies,
            cluster: &self.cluster,
            workload: None,
        };
        let subject = Subject::of(&namespace.name, &pod);
        answer(uid, subject, &inject(&pod, &context))
    }
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
