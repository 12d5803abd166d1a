//! YAML as kubectl reads it, changed without touching what nobody asked to change.
//!
//! In goes the text of a stream; out come its documents as JSON values with the place of every node. After somebody has
//! changed the values, [`rewrite`] edits the text at the nodes that differ, so that comments, quotes and blank lines
//! stay. The result is read again and compared: where it does not say what it should, the document is written anew.
//!
//! Scalars are resolved as `sigs.k8s.io/yaml` 1.6 does it, which reads YAML 1.1: `yes` is a boolean, `0644` is 420.
//! Out of scope: streams that are not UTF-8, complex keys, `!!binary`.

use std::ops::Range;

use serde_json::Value;

mod align;
mod edit;
mod layout;
mod node;
mod read;
mod resolve;
mod write;

pub use read::read;

/// One document of a stream.
#[derive(Clone, Debug)]
pub struct Document {
    /// What it says. `null` for an empty document.
    pub value: Value,
    /// Whether there is any comment in it or above it.
    pub commented: bool,
    node: node::Node,
    /// The text between the markers, in bytes of the stream.
    body: Range<usize>,
    /// Whether it began with `---`.
    explicit: bool,
}

/// Why a text could not be read. Lines and columns count from 1.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Error {
    /// Not YAML at all.
    #[error("line {line}, column {column}: {what}")]
    Syntax {
        /// Where.
        line: usize,
        /// Where.
        column: usize,
        /// What the parser says.
        what: String,
    },
    /// One key twice in one mapping: readers disagree about which one counts.
    #[error("line {line}: the key {key} stands here for the second time (first in line {first})")]
    DuplicateKey {
        /// Where the second one stands.
        line: usize,
        /// Where the first one stands.
        first: usize,
        /// The key.
        key: String,
    },
    /// A key that JSON, and so Kubernetes, cannot have.
    #[error("line {line}: a key must be text, not a list, a mapping or null")]
    Key {
        /// Where.
        line: usize,
    },
    /// A value that JSON, and so Kubernetes, cannot have, or that does not fit its tag.
    #[error("line {line}: {text} cannot be used as {what}")]
    Value {
        /// Where.
        line: usize,
        /// As written.
        text: String,
        /// What it was tagged or read as.
        what: String,
    },
    /// Aliases that multiply: a small text that becomes a huge value.
    #[error("line {line}: the aliases stand for more than {limit} values")]
    Aliases {
        /// Where it became too much.
        line: usize,
        /// The limit.
        limit: usize,
    },
    /// `*x` inside of what `&x` names.
    #[error("line {line}: the alias refers to something that is not complete yet")]
    Recursion {
        /// Where.
        line: usize,
    },
}

/// A text after [`rewrite`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rewritten {
    /// The whole stream.
    pub text: String,
    /// How many documents had to be written anew although they had comments: those are lost.
    pub comments_lost: usize,
}

/// Makes the documents of `text` say `targets`, one for each of `documents`, which [`read()`] has made of `text`.
///
/// A document whose target is what it says already keeps every byte.
#[must_use]
pub fn rewrite(text: &str, documents: &[Document], targets: &[Value]) -> Rewritten {
    let mut edits = Vec::new();
    let mut comments_lost = 0;
    for (document, target) in documents.iter().zip(targets) {
        if document.value == *target {
            continue;
        }
        if let Some(found) = edit::edits(text, document, target) {
            edits.extend(found);
        } else {
            comments_lost += usize::from(document.commented);
            edits.push(anew(text, document, target));
        }
    }
    let mut rewritten = edit::apply(text, edits);
    if !text.ends_with('\n') {
        without_line_feed(&mut rewritten);
    }
    Rewritten {
        text: rewritten,
        comments_lost,
    }
}

/// Takes away a line feed at the end, unless it says something there, as below `|`.
fn without_line_feed(text: &mut String) {
    let values = |text: &str| {
        let documents = read(text).ok()?;
        Some(
            documents
                .into_iter()
                .map(|document| document.value)
                .collect::<Vec<_>>(),
        )
    };
    if let Some(shorter) = text.strip_suffix("\r\n").or_else(|| text.strip_suffix('\n'))
        && values(shorter) == values(text)
    {
        text.truncate(shorter.len());
    }
}

/// Writes one value as a document of its own, with a line feed at its end.
#[must_use]
pub fn write(value: &Value) -> String {
    write::document(value, layout::Layout::default())
}

fn anew(text: &str, document: &Document, target: &Value) -> edit::Edit {
    let layout = layout::Layout::of(text, &document.node);
    let mut written = write::document(target, layout);
    if document.explicit {
        written.insert_str(0, layout.newline);
    }
    edit::Edit {
        range: document.body.clone(),
        text: written,
    }
}

#[cfg(test)]
mod tests;
