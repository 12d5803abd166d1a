//! A value with the place in the text that it came from.

use std::ops::Range;

use serde_json::{Map, Value};

/// Where and how a value stands in the text.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// Bytes of the text: of a scalar what is between header and end, of a flow collection its brackets included, of a
    /// block collection from its first key or item on.
    pub(super) span: Range<usize>,
    pub(super) form: Form,
    pub(super) content: Content,
}

/// The notation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Form {
    /// Lines and indentation, `key: value`, plain scalars.
    Block,
    /// `{}` and `[]`.
    Flow,
    /// `'…'`
    SingleQuoted,
    /// `"…"`
    DoubleQuoted,
    /// `|` and `>`.
    BlockScalar,
    /// `*name`: the content stands elsewhere.
    Alias,
}

/// What a node holds.
#[derive(Clone, Debug)]
pub(super) enum Content {
    Scalar(Value),
    Sequence(Vec<Node>),
    Mapping(Vec<Entry>),
}

/// One entry of a mapping.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_span: Range<usize>,
    pub(super) node: Node,
    /// Not written here: it came by `<<`.
    pub(super) merged: bool,
}

impl Node {
    /// What it says. Of entries with the same key the last one counts, as for kubectl, where `<<` after a key wins.
    pub(super) fn value(&self) -> Value {
        match &self.content {
            Content::Scalar(value) => value.clone(),
            Content::Sequence(items) => items.iter().map(Node::value).collect(),
            Content::Mapping(entries) => {
                let mut map = Map::new();
                for entry in entries {
                    map.insert(entry.key.clone(), entry.node.value());
                }
                Value::Object(map)
            }
        }
    }

    /// How many values it stands for.
    pub(super) fn size(&self) -> usize {
        match &self.content {
            Content::Scalar(_) => 1,
            Content::Sequence(items) => items.iter().map(Node::size).sum::<usize>() + 1,
            Content::Mapping(entries) => entries.iter().map(|entry| entry.node.size()).sum::<usize>() + 1,
        }
    }

    /// Where its last line's text ends, without line feed and comment.
    pub(super) fn end(&self, text: &str) -> usize {
        match (&self.content, self.form) {
            (Content::Scalar(_), Form::BlockScalar) => {
                let content = text.get(self.span.clone()).unwrap_or_default();
                self.span.start + content.trim_end().len()
            }
            (Content::Sequence(items), Form::Block) => {
                items.last().map_or(self.span.end, |item| item.end(text))
            }
            (Content::Mapping(entries), Form::Block) => written(entries)
                .last()
                .map_or(self.span.end, |entry| entry.node.end(text)),
            _ => self.span.end,
        }
    }
}

/// The entries that stand in the text.
pub(super) fn written(entries: &[Entry]) -> impl DoubleEndedIterator<Item = &Entry> {
    entries.iter().filter(|entry| !entry.merged)
}
