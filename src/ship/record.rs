//! What is known of a shipped dump: the `.json` beside it, written last, is the mark that it is whole and confirmed.

use serde::{Deserialize, Serialize};

use super::codec::Codec;
use super::dump_name::Reason;
use super::pipeline::Summary;
use super::store::Metadata;
use super::time::Time;
use crate::hprof::Verdict;

/// The pod, as the agent was told. Empty texts are unknown.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Identity {
    /// The cluster's name.
    pub cluster: String,
    /// The pod's namespace.
    pub namespace: String,
    /// What owns the pod, `Kind/name`.
    pub workload: String,
    /// The pod's name.
    pub pod: String,
    /// The pod's UID.
    pub uid: String,
    /// The node's name.
    pub node: String,
}

/// The record of one dump.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Where the dump comes from.
    #[serde(flatten)]
    pub identity: Identity,
    /// The container.
    pub container: String,
    /// The container's image, as the pod names it.
    pub image: String,
    /// What is known of the JVM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jvm: Option<String>,
    /// Why the dump was written.
    pub reason: Reason,
    /// The name that the JVM gave the file.
    pub file: String,
    /// The object's key, relative to the destination.
    pub key: String,
    /// When.
    pub times: Times,
    /// How large.
    pub bytes: Sizes,
    /// CRC-32 of the uncompressed dump, eight hexadecimal digits.
    pub crc32: String,
    /// SHA-256 of the object.
    pub sha256: String,
    /// Whether the dump is whole.
    pub completeness: Completeness,
    /// How the object is compressed.
    pub codec: Codec,
    /// Dumps that `max-dumps` cost since the record before.
    pub dropped: u64,
    /// The pod that shipped it, where that was another one: the dump's own had died.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shipped_by: Option<Box<Identity>>,
    /// Version of heapship.
    pub heapship: String,
}

/// UTC to the millisecond.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Times {
    /// The JVM began to write, by the dump's header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began: Option<Time>,
    /// The agent saw the file.
    pub seen: Time,
    /// The store had confirmed it.
    pub uploaded: Time,
}

/// Bytes.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Sizes {
    /// Of the uncompressed dump.
    pub dump: u64,
    /// Of the object.
    pub object: u64,
}

/// Whether a dump is whole, as records say it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Completeness {
    /// The records add up to the end.
    Complete,
    /// They do not.
    Truncated {
        /// Everything before it is whole, in bytes of the uncompressed dump.
        offset: u64,
        /// What is wrong there.
        reason: String,
    },
}

impl Completeness {
    /// Of what was shipped; nothing where it is no dump at all.
    #[must_use]
    pub fn of(summary: &Summary) -> Option<Self> {
        match &summary.verdict {
            Verdict::NotHprof(_) => None,
            Verdict::Complete if !summary.gzip_damaged => Some(Self::Complete),
            Verdict::Complete => Some(Self::Truncated {
                offset: summary.dump_bytes,
                reason: "the gzip stream around the dump is damaged or cut".to_owned(),
            }),
            Verdict::Truncated { offset, reason } => Some(Self::Truncated {
                offset: *offset,
                reason: reason.to_string(),
            }),
        }
    }
}

/// What an object says about itself besides its key. Known before the upload begins, so nothing of its end.
#[must_use]
pub fn metadata(identity: &Identity, container: &str, image: &str, reason: Reason) -> Metadata {
    let Identity {
        cluster,
        namespace,
        workload,
        pod,
        uid,
        node,
    } = identity.clone();
    vec![
        ("cluster", cluster),
        ("namespace", namespace),
        ("workload", workload),
        ("pod", pod),
        ("uid", uid),
        ("node", node),
        ("container", container.to_owned()),
        ("image", image.to_owned()),
        ("reason", reason.as_str().to_owned()),
        ("heapship", env!("CARGO_PKG_VERSION").to_owned()),
    ]
}
