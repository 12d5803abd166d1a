//! Events of the parser -> documents with the place of every node.

use std::collections::HashMap;
use std::ops::Range;

use serde_json::Value;
use serde_saphyr::granit_parser::{
    self as parser, Event, Parser, ScalarStyle, ScanError, Span, StructureStyle, Tag,
};

use super::layout::line_start;
use super::node::{Content, Entry, Form, Node};
use super::{Document, Error, resolve};

/// Values that all aliases of a stream may stand for together. Real manifests stay in the hundreds.
const ALIAS_LIMIT: usize = 200_000;

/// Reads all documents of a stream. A byte order mark in front is allowed.
///
/// # Errors
/// Where the text is not YAML, or says something that JSON cannot say.
pub fn read(text: &str) -> Result<Vec<Document>, Error> {
    // `|` at the end of a file without a line feed: as libyaml reads it, and so kubectl.
    let options = parser::options! { block_scalar_eof_without_line_feed: true };
    let mut reader = Reader {
        text,
        events: Parser::new_from_str_with_options(text, options),
        anchors: HashMap::new(),
        expanded: 0,
        commented: false,
    };
    let mut documents = Vec::new();
    while let Some((event, span)) = reader.next()? {
        if let Event::DocumentStart(explicit, _) = event {
            documents.push(reader.document(explicit, &span)?);
        }
    }
    Ok(documents)
}

struct Reader<'t> {
    text: &'t str,
    events: Parser<'t, parser::StrInput<'t>>,
    /// What an anchor names; nothing while that is still being read.
    anchors: HashMap<usize, Option<Node>>,
    expanded: usize,
    commented: bool,
}

impl<'t> Reader<'t> {
    fn next(&mut self) -> Result<Option<(Event<'t>, Span)>, Error> {
        loop {
            match self.events.next_event() {
                None => return Ok(None),
                Some(Err(error)) => return Err(syntax(&error)),
                Some(Ok((Event::Comment(..), _))) => self.commented = true,
                Some(Ok((event, span))) => return Ok(Some((event, span))),
            }
        }
    }

    fn document(&mut self, explicit: bool, start: &Span) -> Result<Document, Error> {
        self.anchors.clear();
        let mut node = None;
        let mut end = self.text.len();
        while let Some((event, span)) = self.next()? {
            if event == Event::DocumentEnd {
                end = range(&span).start;
                break;
            }
            node = Some(self.node(event, &span)?);
        }
        let node = node.unwrap_or(Node {
            span: end..end,
            form: Form::Block,
            content: Content::Scalar(Value::Null),
        });
        // Without markers, start and end of a lone scalar are reported behind and before it.
        let begin = match range(start).end {
            marker if explicit => marker,
            first => first.min(line_start(self.text, node.span.start)),
        };
        let last = node.end(self.text);
        Ok(Document {
            value: node.value(),
            commented: std::mem::take(&mut self.commented),
            node,
            body: begin..end.max(begin).max(last),
            explicit,
        })
    }

    fn node(&mut self, event: Event<'t>, span: &Span) -> Result<Node, Error> {
        let anchor = event.anchor_id();
        if let Some(id) = anchor {
            self.anchors.insert(id, None);
        }
        let node = match event {
            Event::Alias(id) => return self.alias(id, span),
            Event::Scalar(text, style, _, tag) => scalar(&text, style, tag.as_deref(), span)?,
            Event::SequenceStart(style, ..) => self.sequence(style, span)?,
            Event::MappingStart(style, ..) => self.mapping(style, span)?,
            // The other events do not stand where a node stands.
            _ => Node {
                span: range(span),
                form: Form::Block,
                content: Content::Scalar(Value::Null),
            },
        };
        if let Some(id) = anchor {
            self.anchors.insert(id, Some(node.clone()));
        }
        Ok(node)
    }

    fn alias(&mut self, id: usize, span: &Span) -> Result<Node, Error> {
        let line = span.start.line();
        let Some(Some(named)) = self.anchors.get(&id) else {
            return Err(Error::Recursion { line });
        };
        self.expanded = self.expanded.saturating_add(named.size());
        if self.expanded > ALIAS_LIMIT {
            return Err(Error::Aliases {
                line,
                limit: ALIAS_LIMIT,
            });
        }
        Ok(Node {
            span: range(span),
            form: Form::Alias,
            content: named.content.clone(),
        })
    }

    fn sequence(&mut self, style: StructureStyle, start: &Span) -> Result<Node, Error> {
        let mut items = Vec::new();
        let mut end = range(start).end;
        while let Some((event, span)) = self.next()? {
            if event == Event::SequenceEnd {
                end = range(&span).end;
                break;
            }
            items.push(self.node(event, &span)?);
        }
        Ok(Node {
            span: range(start).start..end,
            form: form(style),
            content: Content::Sequence(items),
        })
    }

    fn mapping(&mut self, style: StructureStyle, start: &Span) -> Result<Node, Error> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut lines: HashMap<String, usize> = HashMap::new();
        let mut end = range(start).end;
        while let Some((event, span)) = self.next()? {
            if event == Event::MappingEnd {
                end = range(&span).end;
                break;
            }
            let line = span.start.line();
            let key = self.key(event, &span)?;
            let Some((event, value_span)) = self.next()? else {
                break;
            };
            let node = self.node(event, &value_span)?;
            match key {
                Key::Merge => merge(&node, line, &mut entries)?,
                Key::Text(key) => {
                    if let Some(first) = lines.insert(key.clone(), line) {
                        return Err(Error::DuplicateKey { line, first, key });
                    }
                    entries.push(Entry {
                        key,
                        key_span: range(&span),
                        node,
                        merged: false,
                    });
                }
            }
        }
        Ok(Node {
            span: range(start).start..end,
            form: form(style),
            content: Content::Mapping(entries),
        })
    }

    fn key(&mut self, event: Event<'t>, span: &Span) -> Result<Key, Error> {
        let line = span.start.line();
        if let Event::Scalar(text, ScalarStyle::Plain, _, None) = &event
            && text == "<<"
        {
            return Ok(Key::Merge);
        }
        match self.node(event, span)?.content {
            Content::Scalar(Value::String(text)) => Ok(Key::Text(text)),
            // A whole float loses its point, as Go's shortest form does.
            Content::Scalar(Value::Number(number)) => Ok(Key::Text(match number.as_f64() {
                Some(float) if number.is_f64() => float.to_string(),
                _ => number.to_string(),
            })),
            Content::Scalar(Value::Bool(value)) => Ok(Key::Text(value.to_string())),
            _ => Err(Error::Key { line }),
        }
    }
}

enum Key {
    Text(String),
    Merge,
}

fn merge(node: &Node, line: usize, entries: &mut Vec<Entry>) -> Result<(), Error> {
    match &node.content {
        Content::Mapping(named) => {
            entries.extend(named.iter().map(|entry| Entry {
                merged: true,
                ..entry.clone()
            }));
            Ok(())
        }
        // The first of a list wins, so it comes last.
        Content::Sequence(items) => items.iter().rev().try_for_each(|item| merge(item, line, entries)),
        Content::Scalar(value) => Err(Error::Value {
            line,
            text: value.to_string(),
            what: "a mapping to merge".to_owned(),
        }),
    }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>, span: &Span) -> Result<Node, Error> {
    let refused = |what: &str| Error::Value {
        line: span.start.line(),
        text: text.to_owned(),
        what: what.to_owned(),
    };
    let resolved = || resolve::plain(text).map_err(|_| refused("a number in JSON"));
    let suffix = tag.map(|tag| tag.suffix_in_namespace("tag:yaml.org,2002:").unwrap_or_default());
    let string = || Value::String(text.to_owned());
    let value = match suffix.as_deref() {
        None if style == ScalarStyle::Plain => resolved()?,
        Some("int") => Some(resolved()?)
            .filter(|v| v.is_i64() || v.is_u64())
            .ok_or_else(|| refused("!!int"))?,
        Some("float") => Some(resolved()?)
            .filter(Value::is_number)
            .ok_or_else(|| refused("!!float"))?,
        Some("bool") => Some(resolved()?)
            .filter(Value::is_boolean)
            .ok_or_else(|| refused("!!bool"))?,
        Some("null") => Some(resolved()?)
            .filter(Value::is_null)
            .ok_or_else(|| refused("!!null"))?,
        Some("binary") => return Err(refused("!!binary, which Kubernetes does not know")),
        // The parser writes nothing as `~`.
        Some(_) if range(span).is_empty() && text == "~" => Value::String(String::new()),
        None | Some(_) => string(),
    };
    let form = match style {
        ScalarStyle::Plain => Form::Block,
        ScalarStyle::SingleQuoted => Form::SingleQuoted,
        ScalarStyle::DoubleQuoted => Form::DoubleQuoted,
        ScalarStyle::Literal | ScalarStyle::Folded => Form::BlockScalar,
    };
    Ok(Node {
        span: range(span),
        form,
        content: Content::Scalar(value),
    })
}

fn form(style: StructureStyle) -> Form {
    match style {
        StructureStyle::Block => Form::Block,
        StructureStyle::Flow => Form::Flow,
    }
}

fn range(span: &Span) -> Range<usize> {
    // The parser was given a `&str`, so it knows the bytes.
    span.byte_range().unwrap_or_default()
}

fn syntax(error: &ScanError) -> Error {
    let marker = error.marker();
    Error::Syntax {
        line: marker.line(),
        column: marker.col() + 1,
        what: error.info(),
    }
}
