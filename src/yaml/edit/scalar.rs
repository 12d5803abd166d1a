//! Scalars that change in place.

use serde_json::Value;

use super::{Edit, Editor};
use crate::yaml::node::{Form, Node};
use crate::yaml::write;

impl Editor<'_> {
    pub(super) fn scalar(&mut self, node: &Node, old: &Value, new: &Value, form: Form) -> Option<()> {
        if let (Value::String(old), Value::String(new)) = (old, new)
            && let Some(edit) = self.front(node, old, new, form)
        {
            self.edits.push(edit);
            return Some(());
        }
        let multi_line = matches!(new, Value::String(text) if text.contains('\n'));
        let collection = matches!(new, Value::Object(map) if !map.is_empty())
            || matches!(new, Value::Array(list) if !list.is_empty());
        // Nothing written has no place of its own; a block scalar has a header that is not in its span.
        if node.span.is_empty() || form == Form::BlockScalar || multi_line || collection {
            return None;
        }
        self.edits.push(Edit {
            range: node.span.clone(),
            text: write::inline(new, form),
        });
        Some(())
    }

    /// Text put in front of a string, or taken from there: the rest keeps its quotes, escapes and line breaks.
    fn front(&self, node: &Node, old: &str, new: &str, form: Form) -> Option<Edit> {
        let quote = usize::from(matches!(form, Form::SingleQuoted | Form::DoubleQuoted));
        let start = node.span.start + quote;
        if node.span.is_empty() || old.is_empty() || new.is_empty() {
            return None;
        }
        let (front, edit) = if let Some(front) = new.strip_suffix(old) {
            (
                front,
                Edit {
                    range: start..start,
                    text: front.to_owned(),
                },
            )
        } else {
            let front = old.strip_suffix(new)?;
            let written = self.text.get(start..node.span.end)?.starts_with(front);
            (
                front,
                written.then(|| Edit {
                    range: start..start + front.len(),
                    text: String::new(),
                })?,
            )
        };
        let plain = front
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || " -+:/=_.,".contains(c));
        let stays_plain = form != Form::Block || write::fits_plain(new);
        (plain && stays_plain && !front.starts_with(' ')).then_some(edit)
    }
}

/// Whether blank lines below a block scalar belong to it: `|+`.
pub(super) fn keeps_blank_lines(text: &str, node: &Node) -> bool {
    let above = text.get(..node.span.start).unwrap_or_default().trim_end();
    let line = above.rsplit('\n').next().unwrap_or_default();
    let header = line.rsplit(['|', '>']).next().unwrap_or_default();
    header
        .trim_start_matches(|c: char| c.is_ascii_digit())
        .starts_with('+')
}
