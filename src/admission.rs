//! Review in, review out, always allowed.
//!
//! [`Admission`] is the whole decision, as a function of bytes; [`http`] puts it behind a path, [`server`] behind a
//! socket, [`tls`] behind a certificate that [`rotation`] keeps fresh; [`health`] is the second port. Nothing below this
//! module refuses a pod: what cannot be understood, what fails and what comes too late is admitted as it came.
//!
//! The decision is part of the feature `core`; the shells around it come with `webhook`.

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
pub mod workload;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arc_swap::ArcSwap;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::events;
use crate::inject::{Cluster, Context, Decision, Namespace, Outcome, Skip, inject};
use crate::settings::policy::Policies;

use self::answer::{Answer, Subject, Verdict};
use self::namespaces::Namespaces;
use self::review::{Asked, Namespaced, Refusal, Review};
use self::workload::Advice;

/// Everything that decides about a pod besides the review itself.
pub struct Admission {
    /// Labels and annotations of namespaces, as the cluster has them.
    pub namespaces: Arc<dyn Namespaces>,
    /// What the platform team decided.
    pub policies: Arc<Policies>,
    /// Facts about the cluster, which is looked at again and again: it may be upgraded under a running webhook.
    pub cluster: Arc<ArcSwap<Cluster>>,
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
        let asked = match review.asked() {
            Some(Asked::Namespaced(asked)) => asked,
            Some(Asked::Namespace(namespace)) => return self.namespace_written(review, namespace).into(),
            None => return unchanged(review, Verdict::NotAPodCreation).into(),
        };
        let name = review.namespace();
        match self.namespaces.find(name) {
            Some(namespace) if self.has_a_reason(&namespace, asked) => {
                let answer = self.look_at(review, &namespace, asked);
                // It may have said no until a moment ago.
                if answer.verdict.may_be_outdated() && !self.namespaces.is_settled(name) {
                    return Look::NamespaceWanted(name.to_owned());
                }
                answer.into()
            }
            Some(_) if self.namespaces.is_settled(name) => unchanged(review, unasked(asked)).into(),
            Some(_) | None => Look::NamespaceWanted(name.to_owned()),
        }
    }

    fn decide_from(&self, review: &Review<'_>, namespace: Option<&Namespace>) -> Answer {
        let asked = match review.asked() {
            Some(Asked::Namespaced(asked)) => asked,
            Some(Asked::Namespace(namespace)) => return self.namespace_written(review, namespace),
            None => return unchanged(review, Verdict::NotAPodCreation),
        };
        match (namespace, asked) {
            (Some(namespace), _) if self.has_a_reason(namespace, asked) => {
                self.look_at(review, namespace, asked)
            }
            (None, Namespaced::Pod(_)) => {
                Answer::namespace_unknown(review.uid.to_string(), review.namespace())
            }
            // For a workload it costs a sentence, which its pods get all the same.
            (Some(_), _) | (None, Namespaced::Workload(_)) => unchanged(review, unasked(asked)),
        }
    }

    fn has_a_reason(&self, namespace: &Namespace, asked: Namespaced<'_>) -> bool {
        label::is_wanted(namespace, &self.policies)
            || match asked {
                Namespaced::Pod(pod) => review::carries_our_annotation(pod),
                Namespaced::Workload(workload) => review::may_speak_of_us(workload),
            }
    }

    fn look_at(&self, review: &Review<'_>, namespace: &Namespace, asked: Namespaced<'_>) -> Answer {
        match asked {
            Namespaced::Pod(pod) => self.pod_created(review, namespace, pod),
            Namespaced::Workload(workload) => self.workload_written(review, namespace, workload),
        }
    }

    fn pod_created(&self, review: &Review<'_>, namespace: &Namespace, object: &RawValue) -> Answer {
        let uid = review.uid.to_string();
        let pod: Value = match serde_json::from_str(object.get()) {
            Ok(pod) => pod,
            Err(error) => return Answer::unreadable(uid, &format!("request.object is no pod: {error}")),
        };
        let subject = Subject::of(&namespace.name, &pod);
        let outcome = self.inject(&pod, namespace, None);
        let happenings = if review.is_dry_run() {
            Vec::new()
        } else {
            events::of(&namespace.name, &pod, &outcome)
        };
        answer(uid, subject, &outcome).with_happenings(happenings)
    }

    /// A dry run is answered alike: there is nothing but the answer.
    fn workload_written(&self, review: &Review<'_>, namespace: &Namespace, object: &RawValue) -> Answer {
        let read = |object: &RawValue| serde_json::from_str::<Value>(object.get());
        let (object, old) = match (read(object), review.old_object.map(read).transpose()) {
            (Ok(object), Ok(old)) => (object, old),
            (Err(error), _) | (_, Err(error)) => {
                let problem = format!("request.object is no workload: {error}");
                return Answer::unreadable(review.uid.to_string(), &problem);
            }
        };
        let advice = workload::advise(&object, old.as_ref(), |pod, workload| {
            self.inject(pod, namespace, workload)
        });
        match advice {
            Some(Advice {
                title,
                code,
                warnings,
            }) => unchanged(review, Verdict::WorkloadWarned(code))
                .about(Subject {
                    namespace: namespace.name.clone(),
                    owner: title,
                })
                .with_warnings(&warnings),
            None => unchanged(review, Verdict::WorkloadUnremarkable),
        }
    }

    fn inject(&self, pod: &Value, namespace: &Namespace, workload: Option<String>) -> Outcome {
        let cluster = self.cluster.load();
        let context = Context {
            namespace,
            policies: &self.policies,
            cluster: &cluster,
            workload,
        };
        inject(pod, &context)
    }

    /// A dry run is answered alike: nothing is remembered of a review, so there is nothing to hold back.
    fn namespace_written(&self, review: &Review<'_>, object: &RawValue) -> Answer {
        match label::decide(
            object.get(),
            &self.policies,
            self.cluster.load().own_namespace.as_deref(),
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

/// What is said of an object for which nobody asked anything.
fn unasked(asked: Namespaced<'_>) -> Verdict {
    match asked {
        Namespaced::Pod(_) => Verdict::NotAsked,
        Namespaced::Workload(_) => Verdict::WorkloadUnremarkable,
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
