//! The answer to the API server: allowed, always; with a patch, warnings and audit annotations where there are any.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::Value;

use crate::events::Happening;

use super::review::{API_VERSION, KIND};

/// Longest warning in bytes: the API server cuts all of them to this once they are 4096 together.
pub const WARNING_LIMIT: usize = 256;
/// Most warnings of one answer.
pub const WARNINGS_LIMIT: usize = 10;

/// What was decided about a review, for metrics, logs and audit annotations.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// The pod carries the injection after this answer.
    Injected,
    /// Asked for and left alone, with the reason code of [`crate::inject::Skip::label`].
    Skipped(&'static str),
    /// Nobody asked for this pod.
    NotAsked,
    /// Another object, another operation, a subresource.
    NotAPodCreation,
    /// A namespace that carries the label of those whose pods are looked at, after this answer.
    NamespaceLabelled,
    /// A namespace that does not, after this answer.
    NamespaceNotLabelled,
    /// A workload whose pods would be left alone or warned about, with the first reason code: nothing but words.
    WorkloadWarned(&'static str),
    /// A workload about which there is nothing to say.
    WorkloadUnremarkable,
    /// The pod's namespace could not be learned in time, so nobody knows what it asks for.
    NamespaceUnknown,
    /// A review with a `uid` that could not be understood.
    Unreadable,
    /// A panic: a bug of ours, to be reported.
    InternalError,
    /// The review waited too long for its turn.
    Overloaded,
}

impl Verdict {
    /// The decision, as metrics and audit annotations name it. `failed` is the one to alert on: the pod was admitted
    /// without anybody having looked at it.
    #[must_use]
    pub fn decision(self) -> &'static str {
        match self {
            Self::Injected => "injected",
            Self::Skipped(_) => "skipped",
            Self::NotAsked
            | Self::NotAPodCreation
            | Self::NamespaceNotLabelled
            | Self::WorkloadUnremarkable => "not-asked",
            Self::WorkloadWarned(_) => "warned",
            Self::NamespaceLabelled => "labelled",
            Self::Unreadable | Self::InternalError | Self::Overloaded | Self::NamespaceUnknown => "failed",
        }
    }

    /// The reason code, empty where the decision says all.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Injected | Self::NotAsked | Self::NamespaceLabelled => "",
            Self::Skipped(label) | Self::WorkloadWarned(label) => label,
            Self::WorkloadUnremarkable => "workload",
            Self::NamespaceNotLabelled => "namespace",
            Self::NamespaceUnknown => "namespace-unknown",
            Self::NotAPodCreation => "not-a-pod-creation",
            Self::Unreadable => "unreadable-review",
            Self::InternalError => "internal-error",
            Self::Overloaded => "overloaded",
        }
    }

    /// Whether it would be another one if the namespace had just opted in.
    #[must_use]
    pub fn may_be_outdated(self) -> bool {
        matches!(self, Self::NotAsked | Self::Skipped("opted-out"))
    }

    /// Whether the pod was admitted without anybody having looked at it.
    #[must_use]
    pub fn is_a_failure(self) -> bool {
        self.decision() == "failed"
    }

    /// Whether anybody would want to read about it: a log line, audit annotations.
    #[must_use]
    pub fn is_of_interest(self) -> bool {
        self.decision() != "not-asked"
    }
}

/// Whom a review was about, for the log only: neither belongs into a metric.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Subject {
    /// The pod's namespace.
    pub namespace: String,
    /// `Kind/name` of the controller that makes the pod, or `Pod/name` of a bare one.
    pub owner: String,
}

impl Subject {
    /// Reads the owner from a pod.
    #[must_use]
    pub fn of(namespace: &str, pod: &Value) -> Self {
        let text = |value: &Value, key: &str| {
            value
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let controller = pod
            .pointer("/metadata/ownerReferences")
            .and_then(Value::as_array)
            .and_then(|owners| {
                owners
                    .iter()
                    .find(|owner| owner.get("controller") == Some(&Value::Bool(true)))
            });
        let owner = if let Some(owner) = controller {
            format!("{}/{}", text(owner, "kind"), text(owner, "name"))
        } else {
            let metadata = pod.get("metadata").unwrap_or(&Value::Null);
            // A name is made from generateName only after admission.
            let names = [text(metadata, "name"), text(metadata, "generateName")];
            format!(
                "Pod/{}",
                names.iter().find(|name| !name.is_empty()).map_or("", |name| name)
            )
        };
        Self {
            namespace: namespace.to_owned(),
            owner,
        }
    }
}

/// An answer, ready to be sent and to be reported.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The question's own.
    pub uid: String,
    /// What was decided.
    pub verdict: Verdict,
    /// Whom it was about, where somebody looked.
    pub subject: Subject,
    /// What the workload's people should read on it; empty in a dry run.
    pub happenings: Vec<Happening>,
    warnings: Vec<String>,
    patch: Option<String>,
}

impl Answer {
    /// Allowed, without a patch or a word.
    #[must_use]
    pub fn unchanged(uid: String, verdict: Verdict) -> Self {
        Self {
            uid,
            verdict,
            subject: Subject::default(),
            happenings: Vec::new(),
            warnings: Vec::new(),
            patch: None,
        }
    }

    /// Allowed because the review could not be understood, which the warning says.
    #[must_use]
    pub fn unreadable(uid: String, reason: &str) -> Self {
        Self::unchanged(uid, Verdict::Unreadable).with_warnings(&[format!(
            "heapship admits this unchanged: it cannot understand the review: {reason}"
        )])
    }

    /// Allowed because the code failed.
    #[must_use]
    pub fn internal_error(uid: String) -> Self {
        Self::unchanged(uid, Verdict::InternalError).with_warnings(&[
            "heapship admits this unchanged: an internal error, see the webhook's log".to_owned(),
        ])
    }

    /// Allowed because its turn did not come before the API server would have given up.
    #[must_use]
    pub fn overloaded(uid: String) -> Self {
        Self::unchanged(uid, Verdict::Overloaded).with_warnings(&[
            "heapship admits this unchanged: the webhook is overloaded; create the pod again for an injection"
                .to_owned(),
        ])
    }

    /// Allowed because nobody could say what the pod's namespace asks for.
    #[must_use]
    pub fn namespace_unknown(uid: String, namespace: &str) -> Self {
        Self::unchanged(uid, Verdict::NamespaceUnknown).with_warnings(&[format!(
            "heapship admits this unchanged: it could not learn in time what namespace {namespace} asks for; create the pod \
             again for an injection"
        )])
    }

    /// Says whom it is about.
    #[must_use]
    pub fn about(self, subject: Subject) -> Self {
        Self { subject, ..self }
    }

    /// Adds what the person should know, within the API server's limits.
    #[must_use]
    pub fn with_warnings(mut self, warnings: &[String]) -> Self {
        let count = warnings.len();
        let kept = if count > WARNINGS_LIMIT {
            WARNINGS_LIMIT - 1
        } else {
            count
        };
        self.warnings = warnings.iter().take(kept).map(|warning| fit(warning)).collect();
        if kept < count {
            self.warnings.push(format!(
                "heapship: and {} more; `heapship explain` lists all",
                count - kept
            ));
        }
        self
    }

    /// Adds the operations. None means neither `patch` nor `patchType`: the API server takes both or neither.
    #[must_use]
    pub fn with_patch(mut self, patch: &json_patch::Patch) -> Self {
        // Serialising operations into memory has no way to fail; if it ever finds one, the pod is admitted as it is.
        self.patch = Some(patch)
            .filter(|patch| !patch.0.is_empty())
            .and_then(|patch| serde_json::to_vec(patch).ok())
            .map(|operations| STANDARD.encode(operations));
        self
    }

    /// Adds what is to be written on the workload.
    #[must_use]
    pub fn with_happenings(self, happenings: Vec<Happening>) -> Self {
        Self { happenings, ..self }
    }

    /// The same without a patch, for the entry that only warns: from there the API server takes none.
    #[must_use]
    pub fn without_patch(self) -> Self {
        Self { patch: None, ..self }
    }

    /// The warnings that go out.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The body of the HTTP answer.
    ///
    /// # Errors
    /// None that is known: strings into memory.
    pub fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        let Self {
            uid,
            verdict,
            subject: _,
            happenings: _,
            warnings,
            patch,
        } = self;
        serde_json::to_vec(&Envelope {
            api_version: API_VERSION,
            kind: KIND,
            response: Response {
                uid,
                allowed: true,
                patch_type: patch.as_ref().map(|_| "JSONPatch"),
                patch: patch.as_deref(),
                warnings,
                audit_annotations: verdict.is_of_interest().then(|| Audit {
                    decision: verdict.decision(),
                    reason: verdict.reason(),
                }),
            },
        })
    }
}

/// The API server drops a warning with a control character, and cuts a long one in the middle of a word.
fn fit(warning: &str) -> String {
    let clean = warning.replace(char::is_control, " ");
    if clean.len() <= WARNING_LIMIT {
        return clean;
    }
    let end = clean.floor_char_boundary(WARNING_LIMIT - '…'.len_utf8());
    let mut short = clean;
    short.truncate(end);
    short.push('…');
    short
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    api_version: &'static str,
    kind: &'static str,
    response: Response<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    warnings: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    audit_annotations: Option<Audit>,
}

/// Equal for the first and the second call about one pod, as the API server keeps only the first value.
#[derive(Serialize)]
struct Audit {
    decision: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(answer: &Answer) -> Value {
        serde_json::from_slice(&answer.to_json().unwrap()).unwrap()
    }

    #[test]
    fn an_unchanged_answer_carries_neither_patch_nor_patch_type() {
        let answer =
            Answer::unchanged("u".into(), Verdict::NotAsked).with_patch(&json_patch::Patch(Vec::new()));
        assert_eq!(
            decoded(&answer),
            serde_json::json!({
                "apiVersion": "admission.k8s.io/v1",
                "kind": "AdmissionReview",
                "response": { "uid": "u", "allowed": true },
            })
        );
    }

    #[test]
    fn a_patch_travels_as_base64_of_its_operations() {
        let operations =
            serde_json::json!([{ "op": "add", "path": "/metadata/labels", "value": { "a": "b" } }]);
        let patch: json_patch::Patch = serde_json::from_value(operations.clone()).unwrap();
        let answer = decoded(&Answer::unchanged("u".into(), Verdict::Injected).with_patch(&patch));
        assert_eq!(answer["response"]["patchType"], "JSONPatch");
        let bytes = STANDARD
            .decode(answer["response"]["patch"].as_str().unwrap())
            .unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&bytes).unwrap(), operations);
        assert_eq!(
            answer["response"]["auditAnnotations"],
            serde_json::json!({ "decision": "injected" })
        );
    }

    #[test]
    fn every_verdict_has_its_decision_and_its_reason() {
        for (verdict, decision, reason) in [
            (Verdict::Injected, "injected", ""),
            (Verdict::Skipped("windows"), "skipped", "windows"),
            (Verdict::NotAsked, "not-asked", ""),
            (Verdict::NotAPodCreation, "not-asked", "not-a-pod-creation"),
            (Verdict::NamespaceLabelled, "labelled", ""),
            (Verdict::NamespaceNotLabelled, "not-asked", "namespace"),
            (Verdict::NamespaceUnknown, "failed", "namespace-unknown"),
            (Verdict::Unreadable, "failed", "unreadable-review"),
            (Verdict::InternalError, "failed", "internal-error"),
            (Verdict::Overloaded, "failed", "overloaded"),
        ] {
            assert_eq!((verdict.decision(), verdict.reason()), (decision, reason));
            assert_eq!(verdict.is_a_failure(), decision == "failed", "{verdict:?}");
            assert_eq!(verdict.is_of_interest(), decision != "not-asked", "{verdict:?}");
        }
    }

    #[test]
    fn what_a_namespaces_opt_in_would_change_may_be_outdated() {
        assert!(Verdict::NotAsked.may_be_outdated() && Verdict::Skipped("opted-out").may_be_outdated());
        assert!(!Verdict::Injected.may_be_outdated() && !Verdict::Skipped("windows").may_be_outdated());
    }

    #[test]
    fn what_could_not_be_decided_is_admitted_with_the_reason_in_a_warning() {
        let uid = || "u".to_owned();
        for (answer, verdict, said) in [
            (
                Answer::unreadable(uid(), "no kind"),
                Verdict::Unreadable,
                "the review: no kind",
            ),
            (
                Answer::internal_error(uid()),
                Verdict::InternalError,
                "an internal error",
            ),
            (Answer::overloaded(uid()), Verdict::Overloaded, "is overloaded"),
            (
                Answer::namespace_unknown(uid(), "shop"),
                Verdict::NamespaceUnknown,
                "namespace shop asks for",
            ),
        ] {
            assert_eq!((answer.uid.as_str(), answer.verdict), ("u", verdict));
            assert!(answer.warnings()[0].contains(said), "{:?}", answer.warnings());
            assert_eq!(decoded(&answer)["response"]["allowed"], true);
        }
    }

    #[test]
    fn ten_warnings_all_go_out() {
        let ten: Vec<String> = (0..WARNINGS_LIMIT)
            .map(|number| format!("warning {number}"))
            .collect();
        assert_eq!(
            Answer::unchanged("u".into(), Verdict::Injected)
                .with_warnings(&ten)
                .warnings(),
            ten
        );
    }

    #[test]
    fn a_warning_keeps_as_much_as_the_api_server_takes() {
        let fits = "x".repeat(WARNING_LIMIT);
        assert_eq!(fit(&fits), fits);
        assert_eq!(fit(&format!("{fits}x")).len(), WARNING_LIMIT);
    }

    #[test]
    fn eleven_warnings_become_ten_that_say_how_many_are_missing() {
        let answer = Answer::unchanged("u".into(), Verdict::Injected).with_warnings(
            &(0..11)
                .map(|number| format!("warning {number}"))
                .collect::<Vec<_>>(),
        );
        assert_eq!(answer.warnings().len(), WARNINGS_LIMIT);
        assert_eq!(
            answer.warnings()[9],
            "heapship: and 2 more; `heapship explain` lists all"
        );
    }

    #[test]
    fn a_long_warning_is_cut_at_a_character_and_loses_its_control_characters() {
        let answer = Answer::unchanged("u".into(), Verdict::Injected)
            .with_warnings(&[format!("a\nb{}", "é".repeat(400))]);
        let warning = &answer.warnings()[0];
        assert!(
            warning.len() <= WARNING_LIMIT && warning.starts_with("a b") && warning.ends_with("é…"),
            "{warning}"
        );
    }

    #[test]
    fn the_owner_is_the_controller_or_the_pod_itself() {
        let owned = serde_json::json!({ "metadata": { "generateName": "app-", "ownerReferences": [
            { "kind": "Node", "name": "n" }, { "kind": "ReplicaSet", "name": "app-7d4", "controller": true },
        ] } });
        assert_eq!(Subject::of("shop", &owned).owner, "ReplicaSet/app-7d4");
        let bare = serde_json::json!({ "metadata": { "generateName": "app-" } });
        assert_eq!(Subject::of("shop", &bare).owner, "Pod/app-");
        assert_eq!(Subject::of("shop", &Value::Null).owner, "Pod/");
    }
}
