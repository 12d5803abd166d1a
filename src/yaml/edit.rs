//! The smallest edits of a text that make a document say something else.
//!
//! Every rule here may give up: what encloses the node is then written anew. Nothing has to be right for its own sake,
//! because the edited text is read again before it counts.

use std::ops::Range;

use serde_json::{Map, Value};

use super::align::{Step, align};
use super::layout::{Layout, column, dash_of, line_head, line_start, next_line};
use super::node::{Content, Entry, Form, Node, written};
use super::{Document, read, write};

mod flow;
mod scalar;

/// Replaces a range of bytes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Edit {
    pub(super) range: Range<usize>,
    pub(super) text: String,
}

/// Edits that make `document` say `target`, proven by reading the result.
pub(super) fn edits(text: &str, document: &Document, target: &Value) -> Option<Vec<Edit>> {
    let mut editor = Editor {
        text,
        layout: Layout::of(text, &document.node),
        edits: Vec::new(),
    };
    editor.node(&document.node, target)?;
    let local = editor.edits.clone();
    let body = document.body.clone();
    let before = text.get(..body.start)?;
    let edited = apply(text.get(body.clone())?, shifted(local, &body)?);
    // Directives and the marker in front decide how the body is read.
    let marker = line_start(text, before.len());
    let alone = format!("{}{edited}", before.get(marker..)?);
    match read(&alone).as_deref() {
        Ok([only]) if only.value == *target => Some(editor.edits),
        _ => None,
    }
}

/// Applies edits; of those at one place the earlier comes first.
pub(super) fn apply(text: &str, mut edits: Vec<Edit>) -> String {
    edits.sort_by_key(|edit| edit.range.start);
    let mut result = String::with_capacity(text.len());
    let mut done = 0;
    for Edit { range, text: new } in edits {
        result.push_str(text.get(done..range.start).unwrap_or_default());
        result.push_str(&new);
        done = range.end.max(done);
    }
    result.push_str(text.get(done..).unwrap_or_default());
    result
}

fn shifted(edits: Vec<Edit>, body: &Range<usize>) -> Option<Vec<Edit>> {
    let shift = |Edit { range, text }: Edit| {
        let inside = range.end <= body.end;
        let range = range.start.checked_sub(body.start)?..range.end.checked_sub(body.start)?;
        inside.then_some(Edit { range, text })
    };
    edits.into_iter().map(shift).collect()
}

struct Editor<'a> {
    text: &'a str,
    layout: Layout,
    edits: Vec<Edit>,
}

impl Editor<'_> {
    /// Makes a node say `target`, or gives up and leaves no edit.
    fn node(&mut self, node: &Node, target: &Value) -> Option<()> {
        if node.value() == *target {
            return Some(());
        }
        let mark = self.edits.len();
        let done = match (&node.content, target, node.form) {
            (_, _, Form::Alias) => None,
            (Content::Mapping(entries), Value::Object(map), Form::Flow) => {
                self.flow_mapping(node, entries, map)
            }
            (Content::Sequence(items), Value::Array(list), Form::Flow) => {
                self.flow_sequence(node, items, list)
            }
            (Content::Mapping(entries), Value::Object(map), _) => self.mapping(entries, map),
            (Content::Sequence(items), Value::Array(list), _) => self.sequence(items, list),
            (Content::Scalar(old), new, form) => self.scalar(node, old, new, form),
            _ => None,
        };
        if done.is_none() {
            self.edits.truncate(mark);
        }
        done
    }

    fn mapping(&mut self, entries: &[Entry], map: &Map<String, Value>) -> Option<()> {
        let column = column(self.text, written(entries).next()?.key_span.start);
        let gone = |entry: &&Entry| entry.merged && !map.contains_key(&entry.key);
        if map.is_empty() || entries.iter().any(|entry| gone(&entry)) {
            return None;
        }
        let mut rest = written(entries).peekable();
        while let Some(entry) = rest.next() {
            match map.get(&entry.key) {
                Some(target) => match self.node(&entry.node, target) {
                    Some(()) => {}
                    None => self.replace_value(entry, target, column)?,
                },
                None if line_head(self.text, entry.key_span.start).trim().is_empty() => {
                    self.remove_lines(entry.key_span.start, &entry.node);
                }
                None => {
                    // The first key of a list's item stands behind the dash: the next one that stays moves up to it.
                    let next = std::iter::from_fn(|| rest.next_if(|next| !map.contains_key(&next.key)));
                    next.for_each(drop);
                    let range = entry.key_span.start..rest.peek()?.key_span.start;
                    self.edits.push(Edit {
                        range,
                        text: String::new(),
                    });
                }
            }
        }
        let merged = |key: &str| {
            entries
                .iter()
                .rev()
                .find(|entry| entry.key == key && entry.merged)
        };
        let stands = |key: &str| written(entries).any(|entry| entry.key == key);
        let mut added = String::new();
        for (key, value) in map {
            if !stands(key) && merged(key).is_none_or(|entry| entry.node.value() != *value) {
                write::entry(&mut added, key, value, column, self.layout);
            }
        }
        let last = &written(entries).next_back()?.node;
        self.insert_after(last, added);
        Some(())
    }

    fn sequence(&mut self, items: &[Node], list: &[Value]) -> Option<()> {
        if list.is_empty() {
            return None;
        }
        let (first_line, column) = dash_of(self.text, items.first()?.span.start)?;
        let old: Vec<Value> = items.iter().map(Node::value).collect();
        let mut previous = None;
        for step in align(&old, list)? {
            match step {
                Step::Keep { old, new } => {
                    let (item, target) = (items.get(old)?, list.get(new)?);
                    if self.node(item, target).is_none() {
                        let (start, _) = dash_of(self.text, item.span.start)?;
                        self.remove_lines(start, item);
                        self.insert_after(item, self.item(target, column));
                    }
                    previous = Some(item);
                }
                Step::Remove { old } => {
                    let item = items.get(old)?;
                    let (start, _) = dash_of(self.text, item.span.start)?;
                    self.remove_lines(start, item);
                    previous = Some(item);
                }
                Step::Insert { new } => {
                    let added = self.item(list.get(new)?, column);
                    if let Some(item) = previous {
                        self.insert_after(item, added);
                    } else {
                        let at = self.above_comments(first_line);
                        self.edits.push(Edit {
                            range: at..at,
                            text: added,
                        });
                    }
                }
            }
        }
        Some(())
    }

    fn item(&self, value: &Value, column: usize) -> String {
        let mut text = String::new();
        write::item(&mut text, value, column, self.layout);
        text
    }

    /// Replaces what stands after a key, colon included.
    fn replace_value(&mut self, entry: &Entry, target: &Value, column: usize) -> Option<()> {
        let colon = self.colon(entry)?;
        let mut written = String::from(":");
        // `key:` is how people write null; `key: null` is how programs do.
        if !target.is_null() {
            write::entry_value(&mut written, target, column, self.layout);
        }
        written.truncate(written.trim_end_matches(['\n', '\r']).len());
        let end = entry.node.end(self.text).max(colon + 1);
        self.edits.push(Edit {
            range: colon..end,
            text: written,
        });
        Some(())
    }

    fn colon(&self, entry: &Entry) -> Option<usize> {
        let after = self.text.get(entry.key_span.end..)?;
        let spaces = after.len() - after.trim_start_matches([' ', '\t']).len();
        after
            .get(spaces..)?
            .starts_with(':')
            .then_some(entry.key_span.end + spaces)
    }

    /// Removes the lines from the one of `start` to the last one of `node`.
    fn remove_lines(&mut self, start: usize, node: &Node) {
        let begin = line_start(self.text, start);
        let end = self.after(node);
        let ends_the_text = end == self.text.len() && !self.text.ends_with('\n');
        // Without a line feed at its end the text keeps none.
        let begin = if ends_the_text {
            self.text
                .get(..begin)
                .map_or(0, |t| t.trim_end_matches(['\n', '\r']).len())
        } else {
            begin
        };
        self.edits.push(Edit {
            range: begin..end,
            text: String::new(),
        });
    }

    /// Inserts whole lines after the last line of `node`.
    fn insert_after(&mut self, node: &Node, mut lines: String) {
        let at = self.after(node);
        if at == self.text.len() && !self.text.ends_with('\n') {
            lines.truncate(lines.trim_end_matches(['\n', '\r']).len());
            if !lines.is_empty() {
                lines.insert_str(0, self.layout.newline);
            }
        }
        if !lines.is_empty() {
            self.edits.push(Edit {
                range: at..at,
                text: lines,
            });
        }
    }

    /// The beginning of the line after the last one of `node`.
    fn after(&self, node: &Node) -> usize {
        let end = node.end(self.text);
        if node.form == Form::BlockScalar && scalar::keeps_blank_lines(self.text, node) {
            return node.span.end.max(end);
        }
        next_line(self.text, end)
    }

    /// The beginning of the comment lines directly above the line that begins at `line`: they belong to it.
    fn above_comments(&self, mut line: usize) -> usize {
        while let Some(previous) = line.checked_sub(1).map(|feed| line_start(self.text, feed)) {
            let comment = self
                .text
                .get(previous..line)
                .is_some_and(|text| text.trim_start().starts_with('#'));
            if !comment {
                break;
            }
            line = previous;
        }
        line
    }
}
