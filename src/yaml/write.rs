//! Values -> text, in the notation that kubectl writes.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::layout::{Layout, STEP};
use super::node::Form;
use super::resolve;

/// A whole document, with a line feed at its end.
pub(super) fn document(value: &Value, layout: Layout) -> String {
    let mut text = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => mapping(&mut text, map, 0, layout),
        Value::Array(items) if !items.is_empty() => sequence(&mut text, items, 0, layout),
        other => {
            text.push_str(&inline(other, Form::Block));
            text.push_str(layout.newline);
        }
    }
    text
}

/// `key: value` as lines at a column, with a line feed at the end.
pub(super) fn entry(text: &mut String, key: &str, value: &Value, column: usize, layout: Layout) {
    text.push_str(&" ".repeat(column));
    text.push_str(&string(key, Form::Block));
    text.push(':');
    entry_value(text, value, column, layout);
}

/// What stands after the colon of a key at `column`, with a line feed at the end.
pub(super) fn entry_value(text: &mut String, value: &Value, column: usize, layout: Layout) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            text.push_str(layout.newline);
            mapping(text, map, column + STEP, layout);
        }
        Value::Array(items) if !items.is_empty() => {
            text.push_str(layout.newline);
            sequence(text, items, column + layout.dash, layout);
        }
        other => {
            text.push(' ');
            scalar(text, other, column, layout);
        }
    }
}

/// `- value` as lines, the dash at a column, with a line feed at the end.
pub(super) fn item(text: &mut String, value: &Value, column: usize, layout: Layout) {
    let begin = text.len();
    match value {
        Value::Object(map) if !map.is_empty() => mapping(text, map, column + STEP, layout),
        Value::Array(items) if !items.is_empty() => sequence(text, items, column + STEP, layout),
        other => {
            text.push_str(&" ".repeat(column + STEP));
            scalar(text, other, column, layout);
        }
    }
    // Every first line begins with at least these columns of spaces.
    text.replace_range(begin + column..begin + column + STEP, "- ");
}

/// On one line, for inside of `{}` and `[]`.
pub(super) fn flow(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let entries: Vec<_> = map.iter().map(|(key, value)| flow_entry(key, value)).collect();
            format!("{{{}}}", entries.join(", "))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        other => inline(other, Form::Flow),
    }
}

/// `key: value` for inside of `{}`.
pub(super) fn flow_entry(key: &str, value: &Value) -> String {
    format!("{}: {}", string(key, Form::Flow), flow(value))
}

/// A scalar or an empty collection on one line; `form` says which quotes are wished for.
pub(super) fn inline(value: &Value, form: Form) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::String(text) => string(text, form),
        other => other.to_string(),
    }
}

fn mapping(text: &mut String, map: &Map<String, Value>, column: usize, layout: Layout) {
    for (key, value) in map {
        entry(text, key, value, column, layout);
    }
}

fn sequence(text: &mut String, items: &[Value], column: usize, layout: Layout) {
    for value in items {
        item(text, value, column, layout);
    }
}

fn scalar(text: &mut String, value: &Value, column: usize, layout: Layout) {
    match value {
        Value::String(content) if fits_literal(content) => literal(text, content, column + STEP, layout),
        other => {
            text.push_str(&inline(other, Form::Block));
            text.push_str(layout.newline);
        }
    }
}

fn literal(text: &mut String, content: &str, column: usize, layout: Layout) {
    let lines = content.trim_end_matches('\n');
    text.push_str(match content.len() - lines.len() {
        0 => "|-",
        1 => "|",
        _ => "|+",
    });
    text.push_str(layout.newline);
    let body = content.strip_suffix('\n').unwrap_or(content);
    for line in body.split('\n') {
        if !line.is_empty() {
            text.push_str(&" ".repeat(column));
            text.push_str(line);
        }
        text.push_str(layout.newline);
    }
}

/// Whether `|` can carry it without an indentation indicator and without a character that would be changed.
fn fits_literal(content: &str) -> bool {
    content.trim_end_matches('\n').contains('\n')
        && !content.starts_with([' ', '\t', '\n'])
        && content.chars().all(|c| c == '\n' || c == '\t' || printable(c))
}

fn string(content: &str, form: Form) -> String {
    let printable = content.chars().all(printable);
    match form {
        Form::DoubleQuoted => double_quoted(content),
        _ if !printable => double_quoted(content),
        Form::SingleQuoted => single_quoted(content),
        Form::Flow if content.contains([',', '[', ']', '{', '}', ':']) => single_quoted(content),
        _ if fits_plain(content) => content.to_owned(),
        _ => single_quoted(content),
    }
}

fn single_quoted(content: &str) -> String {
    format!("'{}'", content.replace('\'', "''"))
}

fn double_quoted(content: &str) -> String {
    let mut text = String::from("\"");
    for c in content.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            '\r' => text.push_str("\\r"),
            c if printable(c) => text.push(c),
            c => {
                let code = u32::from(c);
                // Writing to a `String` cannot fail.
                let _ = match code {
                    ..=0xff => write!(text, "\\x{code:02x}"),
                    0x100..=0xffff => write!(text, "\\u{code:04x}"),
                    _ => write!(text, "\\U{code:08x}"),
                };
            }
        }
    }
    text.push('"');
    text
}

/// Whether the text without quotes is read back as this string, by readers of YAML 1.1 and 1.2.
pub(super) fn fits_plain(content: &str) -> bool {
    let first = content.chars().next();
    let indicator = match first {
        // These are content where something else than a space follows.
        Some('-' | '?' | ':') => content.chars().nth(1).is_none_or(char::is_whitespace),
        Some(c) => ",[]{}#&*!|>'\"%@`".contains(c),
        None => true,
    };
    !indicator
        && content.trim() == content
        && !content.contains(": ")
        && !content.contains(" #")
        && !content.ends_with(':')
        && !content.starts_with("---")
        && !content.starts_with("...")
        && content.chars().all(printable)
        && !resolve::ambiguous(content)
}

/// YAML's printable characters without line breaks (of either version), tab and byte order mark.
fn printable(c: char) -> bool {
    matches!(c, ' '..='~' | '\u{a0}'..='\u{2027}' | '\u{202a}'..='\u{d7ff}' | '\u{e000}'..='\u{fefe}')
        || matches!(c, '\u{ff00}'..='\u{fffd}' | '\u{10000}'..)
}
