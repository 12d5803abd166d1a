//! Saying: log lines about how dumps ended and what keeps them.

use std::path::Path;

use super::Shipper;
use crate::ship::attempt::{Error, Outcome};
use crate::ship::ledger::Entry;
use crate::ship::record::Completeness;

impl Shipper {
    /// Says what is wrong, once for each cause in a row, and returns the cause.
    pub(super) fn complaint(&self, error: &Error, entry: &Entry) -> String {
        let (text, detail) = (error.to_string(), chain(error));
        let cause = error
            .cause()
            .map_or_else(|| text.clone(), |cause| cause.to_string());
        let (container, dump) = (&entry.container, &entry.file);
        if self.said.as_ref() == Some(&cause) {
            tracing::debug!(container, dump, detail, "{text}");
        } else {
            tracing::error!(
                container,
                dump,
                detail,
                "{text}; the dump is kept and tried again"
            );
        }
        cause
    }
}

/// One line for each end that people want to know of.
pub(super) fn say(file: &Path, container: &str, outcome: &Outcome) {
    let file = file.to_string_lossy();
    let file: &str = &file;
    match outcome {
        Outcome::Shipped(record) | Outcome::ShippedAsItStood(record) => {
            let completeness = match &record.completeness {
                Completeness::Complete => "complete".to_owned(),
                Completeness::Truncated { offset, reason } => format!("truncated at byte {offset}: {reason}"),
            };
            tracing::info!(
                container,
                reason = record.reason.as_str(),
                key = record.key,
                dump_bytes = record.bytes.dump,
                object_bytes = record.bytes.object,
                codec = record.codec.as_str(),
                completeness,
                crc32 = record.crc32,
                sha256 = record.sha256,
                dropped = record.dropped,
                "shipped {}",
                record.key
            );
            if matches!(outcome, Outcome::ShippedAsItStood(_)) {
                tracing::warn!(
                    container,
                    file,
                    "the dump may have had a writer still: shipped as it stood, and kept"
                );
            }
        }
        Outcome::Rejected(verdict, place) => {
            tracing::warn!(
                container,
                file,
                "{verdict}; not shipped, it is now {}",
                place.display()
            );
        }
        Outcome::Dropped => tracing::warn!(
            container,
            file,
            "dropped: more dumps than max-dumps allows in 24 hours"
        ),
        Outcome::Vanished => tracing::warn!(
            container,
            file,
            "somebody else deleted the dump before it was shipped"
        ),
        Outcome::NotYet | Outcome::Changed => tracing::debug!(container, file, "not finished yet"),
        Outcome::TooShort => tracing::info!(
            container,
            file,
            "nothing of a dump has been written yet; waiting for it"
        ),
        Outcome::Forgotten => {}
    }
}

/// What stands behind an error, its own text left out.
pub(in crate::ship) fn chain(error: &dyn std::error::Error) -> String {
    let mut texts = Vec::new();
    let mut source = error.source();
    while let Some(error) = source {
        texts.push(error.to_string());
        source = error.source();
    }
    texts.join(": ")
}
