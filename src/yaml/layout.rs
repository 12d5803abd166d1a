//! How a text is laid out, so that what is added looks like what is there.

use super::node::{Content, Form, Node, written};

/// The habits of one document.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Layout {
    /// Columns between the key of a list and the dashes of its items. kubectl writes 0.
    pub(super) dash: usize,
    /// Between lines.
    pub(super) newline: &'static str,
}

/// Columns between a key and the keys of the mapping below it.
pub(super) const STEP: usize = 2;

impl Default for Layout {
    fn default() -> Self {
        Self {
            dash: 0,
            newline: "\n",
        }
    }
}

impl Layout {
    /// The habits of the document that `node` is the root of.
    pub(super) fn of(text: &str, node: &Node) -> Self {
        let newline = match text.find('\n') {
            Some(at) if text.get(..at).is_some_and(|line| line.ends_with('\r')) => "\r\n",
            _ => "\n",
        };
        Self {
            dash: first_dash(text, node).unwrap_or(0),
            newline,
        }
    }
}

/// The offset of the first block sequence that is the value of a key on a line of its own.
fn first_dash(text: &str, node: &Node) -> Option<usize> {
    match &node.content {
        Content::Scalar(_) => None,
        Content::Sequence(items) => items.iter().find_map(|item| first_dash(text, item)),
        Content::Mapping(entries) => written(entries).find_map(|entry| match &entry.node.content {
            Content::Sequence(items) if entry.node.form == Form::Block => {
                let (_, dash) = dash_of(text, items.first()?.span.start)?;
                dash.checked_sub(column(text, entry.key_span.start))
            }
            _ => first_dash(text, &entry.node),
        }),
    }
}

/// Where the line begins that `at` is in.
pub(super) fn line_start(text: &str, at: usize) -> usize {
    text.get(..at)
        .and_then(|before| before.rfind('\n'))
        .map_or(0, |feed| feed + 1)
}

/// What stands before `at` in its line, without a byte order mark.
pub(super) fn line_head(text: &str, at: usize) -> &str {
    text.get(line_start(text, at)..at)
        .unwrap_or_default()
        .trim_start_matches('\u{feff}')
}

/// Characters before `at` in its line.
pub(super) fn column(text: &str, at: usize) -> usize {
    line_head(text, at).chars().count()
}

/// Where the line after the one of `at` begins: behind its line feed, or the end of the text.
pub(super) fn next_line(text: &str, at: usize) -> usize {
    text.get(at..)
        .and_then(|rest| rest.find('\n'))
        .map_or(text.len(), |feed| at + feed + 1)
}

/// The dash of the item whose content begins at `at`: the start of its line, and its column.
///
/// Only a dash that nothing but spaces stand before, and that is on the line of the content or, alone, on the one before.
pub(super) fn dash_of(text: &str, at: usize) -> Option<(usize, usize)> {
    let start = line_start(text, at);
    let head = line_head(text, at);
    let trimmed = head.trim_start();
    if let Some(rest) = trimmed.strip_prefix('-') {
        let properties = rest.trim();
        let simple = properties.is_empty() || properties.starts_with(['&', '!']);
        return simple.then_some((start, head.len() - trimmed.len()));
    }
    let above = line_start(text, start.checked_sub(1)?);
    let line = text.get(above..start)?;
    (trimmed.is_empty() && line.trim() == "-").then_some((above, line.find('-')?))
}
