//! The API server's question, read without copying it.
//!
//! Bytes in, a [`Review`] that borrows from them out. The object stays raw text: most pods are none of ours, and a
//! [`serde_json::Value`] of one costs six times what this view does (99 against 20 us for 8 KB, measured).

use std::borrow::Cow;

use memchr::memmem;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::names;

/// The only version that our registration lists in `admissionReviewVersions`.
pub const API_VERSION: &str = "admission.k8s.io/v1";
/// The kind of question and answer alike.
pub const KIND: &str = "AdmissionReview";

/// The `request` of a review: what heapship looks at of it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Review<'a> {
    /// Must come back in the answer; never empty.
    #[serde(borrow)]
    pub uid: Cow<'a, str>,
    #[serde(borrow)]
    resource: Resource<'a>,
    #[serde(borrow, default)]
    sub_resource: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    namespace: Option<Cow<'a, str>>,
    #[serde(borrow)]
    operation: Cow<'a, str>,
    #[serde(borrow, default)]
    object: Option<&'a RawValue>,
    /// As it was before an update.
    #[serde(borrow, default)]
    pub old_object: Option<&'a RawValue>,
    #[serde(default)]
    dry_run: Option<bool>,
}

/// What a review is about, where it is about anything of ours.
#[derive(Clone, Copy, Debug)]
pub enum Asked<'a> {
    /// A namespace that is being created or changed.
    Namespace(&'a RawValue),
    /// Something in a namespace, which has a say in it.
    Namespaced(Namespaced<'a>),
}

/// See [`Asked::Namespaced`].
#[derive(Clone, Copy, Debug)]
pub enum Namespaced<'a> {
    /// A pod that is being created.
    Pod(&'a RawValue),
    /// A workload that is being created or changed: its pods come later, by a controller's hand.
    Workload(&'a RawValue),
}

/// Group and resource of what people write to have pods made. Not `ReplicaSets`, which Deployments write; what other
/// controllers define is nothing that a registration could name beforehand.
pub const WORKLOADS: [(&str, &str); 5] = [
    ("apps", "deployments"),
    ("apps", "statefulsets"),
    ("apps", "daemonsets"),
    ("batch", "jobs"),
    ("batch", "cronjobs"),
];

#[derive(Debug, Deserialize)]
struct Resource<'a> {
    // The core group is the empty string, which an encoder may leave out.
    #[serde(borrow, default)]
    group: Cow<'a, str>,
    #[serde(borrow)]
    version: Cow<'a, str>,
    #[serde(borrow, rename = "resource")]
    plural: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    #[serde(borrow)]
    api_version: Cow<'a, str>,
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    request: Review<'a>,
}

/// How far a body could be understood.
#[derive(Debug)]
pub enum Reading<'a> {
    /// A review of ours.
    Clear(Review<'a>),
    /// A review with a `uid` and something else that does not fit: it must be answered, and cannot be acted upon.
    Unclear {
        /// The `uid` to answer with.
        uid: String,
        /// What did not fit.
        reason: String,
    },
}

/// Why a body is no question that could be answered; the text is the body of the HTTP answer.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// Cut off, or something else altogether.
    #[error("cannot read the body as JSON: {0}; send an AdmissionReview of admission.k8s.io/v1")]
    NotJson(String),
    /// JSON of another kind or version.
    #[error(
        "cannot answer {found}: only kind AdmissionReview, apiVersion admission.k8s.io/v1 is understood; \
         set admissionReviewVersions to [\"v1\"]"
    )]
    NotAReview {
        /// The kind and version that came.
        found: String,
    },
    /// Without it there is no answer that the API server would accept.
    #[error("cannot answer a review without request.uid; send the review as the API server made it")]
    NoUid,
}

impl Refusal {
    /// The reason code: kebab-case and stable.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::NotJson(_) => "not-json",
            Self::NotAReview { .. } => "not-a-review",
            Self::NoUid => "no-uid",
        }
    }
}

impl<'a> Review<'a> {
    /// What this review is about. Updates of a pod cannot inject (its containers are immutable), and subresources are
    /// other objects under the same name.
    #[must_use]
    pub fn asked(&self) -> Option<Asked<'a>> {
        let object = self.object?;
        let Resource {
            group,
            version,
            plural,
        } = &self.resource;
        let is_whole = self.sub_resource.as_deref().unwrap_or_default().is_empty();
        if !is_whole || version != "v1" {
            return None;
        }
        let what = (group.as_ref(), plural.as_ref());
        match (what, self.operation.as_ref()) {
            (("", "pods"), "CREATE") => Some(Asked::Namespaced(Namespaced::Pod(object))),
            (("", "namespaces"), "CREATE" | "UPDATE") => Some(Asked::Namespace(object)),
            (workload, "CREATE" | "UPDATE") if WORKLOADS.contains(&workload) => {
                Some(Asked::Namespaced(Namespaced::Workload(object)))
            }
            _ => None,
        }
    }

    /// Whether nothing may happen besides the answer.
    #[must_use]
    pub fn is_dry_run(&self) -> bool {
        self.dry_run == Some(true)
    }

    /// The namespace that the pod is created in: the request's, because the pod's own field may still be empty.
    #[must_use]
    pub fn namespace(&self) -> &str {
        match self.namespace.as_deref() {
            None | Some("") => "default",
            Some(name) => name,
        }
    }
}

/// Reads the body of an API server's POST.
///
/// # Errors
/// A [`Refusal`] where the body is not JSON, of another kind or version, or carries no `uid`.
pub fn read(body: &[u8]) -> Result<Reading<'_>, Refusal> {
    match serde_json::from_slice::<Envelope<'_>>(body) {
        Ok(envelope) => {
            let Envelope {
                api_version,
                kind,
                request,
            } = envelope;
            check_kind(&api_version, &kind)?;
            if request.uid.is_empty() {
                return Err(Refusal::NoUid);
            }
            Ok(Reading::Clear(request))
        }
        Err(error) => read_leniently(body, &error),
    }
}

/// The `uid` of a review that nothing else is wanted from, as for one whose turn did not come in time. The rest is passed
/// over, not read: whoever has no turn has no memory for values either.
#[must_use]
pub fn uid(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Envelope<'a> {
        #[serde(borrow)]
        request: Request<'a>,
    }
    #[derive(Deserialize)]
    struct Request<'a> {
        #[serde(borrow)]
        uid: Cow<'a, str>,
    }
    let envelope: Envelope<'_> = serde_json::from_slice(body).ok()?;
    Some(envelope.request.uid.into_owned()).filter(|uid| !uid.is_empty())
}

fn read_leniently(body: &[u8], error: &serde_json::Error) -> Result<Reading<'static>, Refusal> {
    let review: Value = serde_json::from_slice(body).map_err(|error| Refusal::NotJson(error.to_string()))?;
    let text = |pointer| review.pointer(pointer).and_then(Value::as_str);
    check_kind(
        text("/apiVersion").unwrap_or_default(),
        text("/kind").unwrap_or_default(),
    )?;
    match text("/request/uid") {
        None | Some("") => Err(Refusal::NoUid),
        Some(uid) => Ok(Reading::Unclear {
            uid: uid.to_owned(),
            reason: error.to_string(),
        }),
    }
}

fn check_kind(api_version: &str, kind: &str) -> Result<(), Refusal> {
    if api_version == API_VERSION && kind == KIND {
        return Ok(());
    }
    // The text goes back to the sender and into logs; a megabyte of kind should not.
    let short = |text: &str| text.chars().take(60).collect::<String>();
    Err(Refusal::NotAReview {
        found: format!("kind {:?}, apiVersion {:?}", short(kind), short(api_version)),
    })
}

/// Whether the text of an object may hold a key of ours, which is the cheapest question that can be asked of one.
#[must_use]
pub fn may_speak_of_us(object: &RawValue) -> bool {
    let text = object.get().as_bytes();
    // Go's encoder never escapes the letters of our prefix; another client may, and `\u0068` is an `h` too.
    [names::PREFIX, "\\u", "\\/"]
        .iter()
        .any(|needle| memmem::find(text, needle.as_bytes()).is_some())
}

/// Whether the pod itself carries an annotation of ours.
#[must_use]
pub fn carries_our_annotation(pod: &RawValue) -> bool {
    may_speak_of_us(pod)
        && annotation_keys(pod).is_some_and(|keys| keys.iter().any(|key| key.starts_with(names::PREFIX)))
}

fn annotation_keys(pod: &RawValue) -> Option<Vec<Cow<'_, str>>> {
    #[derive(Deserialize)]
    struct Pod<'a> {
        #[serde(borrow)]
        metadata: Metadata<'a>,
    }
    #[derive(Deserialize)]
    struct Metadata<'a> {
        #[serde(borrow)]
        annotations: Keys<'a>,
    }
    let pod: Pod<'_> = serde_json::from_str(pod.get()).ok()?;
    Some(pod.metadata.annotations.0)
}

struct Keys<'a>(Vec<Cow<'a, str>>);

impl<'de: 'a, 'a> Deserialize<'de> for Keys<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Vec<Cow<'de, str>>;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("an object of annotations")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut keys = Vec::new();
                while let Some((Key(key), IgnoredAny)) = map.next_entry()? {
                    keys.push(key);
                }
                Ok(keys)
            }
        }
        deserializer.deserialize_map(Visitor).map(Keys)
    }
}

#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests;
