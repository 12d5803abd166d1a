//! Manifests in and out: files or standard input, YAML or JSON, any number of documents, written in the form they had.

use std::fs;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Serialize as _;
use serde_json::{Value, json};

use crate::yaml;

/// The form in which manifests are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum Form {
    /// Several documents become one List, as kubectl writes them.
    Json,
    /// One document after the other.
    Yaml,
}

/// Why manifests could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file, or standard input, cannot be read.
    #[error("cannot read {source_name}")]
    Read {
        /// File, or `standard input`.
        source_name: String,
        /// Why.
        source: io::Error,
    },
    /// kubectl reads these, we do not.
    #[error("cannot read {0}: it is a URL; fetch it first, for example curl -sSf {0} | heapship … -f -")]
    Url(String),
    /// A folder without manifests.
    #[error("no .yaml, .yml or .json file in the directory {0}")]
    EmptyDirectory(String),
    /// Not text.
    #[error("{0} is not UTF-8 text")]
    NotText(String),
    /// Not YAML.
    #[error("{source_name}: {error}")]
    Yaml {
        /// File, or `standard input`.
        source_name: String,
        /// Where and what.
        error: yaml::Error,
    },
    /// Not JSON, in a file that says it is.
    #[error("{source_name}: not JSON: {error}")]
    Json {
        /// The file.
        source_name: String,
        /// Where and what.
        error: serde_json::Error,
    },
    /// It can be read, but it is not a manifest.
    #[error("{source_name}: document {index} is {what}, not a Kubernetes object")]
    NotAnObject {
        /// File, or `standard input`.
        source_name: String,
        /// Counted from 1.
        index: usize,
        /// What it is.
        what: &'static str,
    },
}

/// All manifests that a command was given.
#[derive(Debug)]
pub struct Manifests {
    inputs: Vec<Input>,
}

/// Manifests as text again.
#[derive(Debug, Eq, PartialEq)]
pub struct Written {
    /// For standard output.
    pub text: String,
    /// Documents whose comments are gone.
    pub comments_lost: usize,
}

#[derive(Debug)]
struct Input {
    text: String,
    documents: Documents,
}

#[derive(Debug)]
enum Documents {
    Yaml(Vec<yaml::Document>),
    Json(Vec<(Range<usize>, Value)>),
}

impl Manifests {
    /// Reads files, the manifests in folders, and standard input for `-`.
    ///
    /// # Errors
    /// When one of them cannot be read, is neither YAML nor JSON, or holds something that is not an object.
    pub fn read(files: &[PathBuf], stdin: &mut dyn Read) -> Result<Self, Error> {
        let mut inputs = Vec::new();
        for file in files {
            if file.as_os_str() == "-" {
                let mut bytes = Vec::new();
                let name = "standard input";
                stdin.read_to_end(&mut bytes).map_err(|source| Error::Read {
                    source_name: name.to_owned(),
                    source,
                })?;
                inputs.push(Input::parse(name, bytes)?);
                continue;
            }
            for path in expand(file)? {
                let name = path.display().to_string();
                let bytes = fs::read(&path).map_err(|source| Error::Read {
                    source_name: name.clone(),
                    source,
                })?;
                inputs.push(Input::parse(&name, bytes)?);
            }
        }
        Ok(Self { inputs })
    }

    /// Every document of every input, in order.
    #[must_use]
    pub fn values(&self) -> Vec<Value> {
        self.inputs.iter().flat_map(Input::values).collect()
    }

    /// Writes the changed documents, one for each of [`Manifests::values`]. Without a form, in the one they had.
    #[must_use]
    pub fn write(&self, values: &[Value], form: Option<Form>) -> Written {
        match form {
            None => self.in_their_form(values),
            Some(Form::Json) => Written {
                text: as_json(values),
                comments_lost: 0,
            },
            Some(Form::Yaml) => {
                let documents: Vec<_> = values.iter().filter(|v| !v.is_null()).map(yaml::write).collect();
                Written {
                    text: documents.join("---\n"),
                    comments_lost: 0,
                }
            }
        }
    }

    fn in_their_form(&self, values: &[Value]) -> Written {
        let mut text = String::new();
        let mut comments_lost = 0;
        let mut rest = values;
        for input in &self.inputs {
            let count = input.len().min(rest.len());
            let (own, others) = rest.split_at(count);
            rest = others;
            let rewritten = input.rewrite(own);
            comments_lost += rewritten.comments_lost;
            let next = rewritten.text.trim_start_matches('\u{feff}');
            if text.is_empty() {
                text = rewritten.text;
                continue;
            }
            if !text.ends_with('\n') {
                text.push('\n');
            }
            if !next.starts_with("---") {
                text.push_str("---\n");
            }
            text.push_str(next);
        }
        Written { text, comments_lost }
    }
}

impl Input {
    fn parse(name: &str, bytes: Vec<u8>) -> Result<Self, Error> {
        let text = String::from_utf8(bytes).map_err(|_| Error::NotText(name.to_owned()))?;
        let documents = if text.trim_start_matches('\u{feff}').trim_start().starts_with('{') {
            match json_documents(&text) {
                Ok(documents) => Documents::Json(documents),
                Err(error)
                    if Path::new(name)
                        .extension()
                        .is_some_and(|extension| extension == "json") =>
                {
                    return Err(Error::Json {
                        source_name: name.to_owned(),
                        error,
                    });
                }
                // `{` also begins a flow mapping.
                Err(_) => Self::yaml(name, &text)?,
            }
        } else {
            Self::yaml(name, &text)?
        };
        let input = Self { text, documents };
        for (index, value) in input.values().iter().enumerate() {
            let what = match value {
                Value::Null | Value::Object(_) => continue,
                Value::Array(_) => "a list",
                Value::String(_) => "a text",
                Value::Bool(_) | Value::Number(_) => "a bare value",
            };
            return Err(Error::NotAnObject {
                source_name: name.to_owned(),
                index: index + 1,
                what,
            });
        }
        Ok(input)
    }

    fn yaml(name: &str, text: &str) -> Result<Documents, Error> {
        let error = |error| Error::Yaml {
            source_name: name.to_owned(),
            error,
        };
        yaml::read(text).map(Documents::Yaml).map_err(error)
    }

    fn len(&self) -> usize {
        match &self.documents {
            Documents::Yaml(documents) => documents.len(),
            Documents::Json(documents) => documents.len(),
        }
    }

    fn values(&self) -> Vec<Value> {
        match &self.documents {
            Documents::Yaml(documents) => documents.iter().map(|document| document.value.clone()).collect(),
            Documents::Json(documents) => documents.iter().map(|(_, value)| value.clone()).collect(),
        }
    }

    fn rewrite(&self, values: &[Value]) -> yaml::Rewritten {
        match &self.documents {
            Documents::Yaml(documents) => yaml::rewrite(&self.text, documents, values),
            Documents::Json(documents) => {
                let mut text = self.text.clone();
                for ((range, before), after) in documents.iter().zip(values).rev() {
                    if before != after {
                        let written = like(self.text.get(range.clone()).unwrap_or_default(), after);
                        text.replace_range(range.clone(), &written);
                    }
                }
                yaml::Rewritten {
                    text,
                    comments_lost: 0,
                }
            }
        }
    }
}

fn expand(file: &Path) -> Result<Vec<PathBuf>, Error> {
    let name = file.display().to_string();
    if name.starts_with("http://") || name.starts_with("https://") {
        return Err(Error::Url(name));
    }
    if !file.is_dir() {
        return Ok(vec![file.to_owned()]);
    }
    let error = |source| Error::Read {
        source_name: name.clone(),
        source,
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(file).map_err(error)? {
        let path = entry.map_err(error)?.path();
        let manifest = path
            .extension()
            .is_some_and(|end| ["yaml", "yml", "json"].iter().any(|known| end == *known));
        if manifest && path.is_file() {
            found.push(path);
        }
    }
    if found.is_empty() {
        return Err(Error::EmptyDirectory(name));
    }
    found.sort();
    Ok(found)
}

/// JSON values one after the other, with their places.
fn json_documents(text: &str) -> Result<Vec<(Range<usize>, Value)>, serde_json::Error> {
    let start = if text.starts_with('\u{feff}') {
        '\u{feff}'.len_utf8()
    } else {
        0
    };
    let mut stream = serde_json::Deserializer::from_str(text.get(start..).unwrap_or_default()).into_iter();
    let mut documents = Vec::new();
    let mut from = start;
    while let Some(value) = stream.next() {
        let value: Value = value?;
        let to = start + stream.byte_offset();
        let blank = text
            .get(from..to)
            .map_or(0, |text| text.len() - text.trim_start().len());
        documents.push((from + blank..to, value));
        from = to;
    }
    Ok(documents)
}

/// Writes JSON with the indentation that `sample` has, and with Go's escapes where it has those.
fn like(sample: &str, value: &Value) -> String {
    let after_feed = sample.split_once('\n').map(|(_, rest)| rest);
    let mut text = match after_feed {
        Some(rest) => {
            let width = rest.len() - rest.trim_start_matches([' ', '\t']).len();
            pretty(value, rest.get(..width).unwrap_or_default())
        }
        None => value.to_string(),
    };
    if sample.contains("\r\n") {
        text = text.replace('\n', "\r\n");
    }
    // Outside of strings JSON has none of these characters.
    for (character, escape) in [('<', "\\u003c"), ('>', "\\u003e"), ('&', "\\u0026")] {
        if sample.contains(escape) {
            text = text.replace(character, escape);
        }
    }
    text
}

/// Writes JSON over several lines.
#[must_use]
pub fn pretty(value: &Value, indent: &str) -> String {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(indent.as_bytes());
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    match value.serialize(&mut serializer) {
        // Neither can fail for a `Value` written to memory.
        Ok(()) => String::from_utf8(bytes).unwrap_or_else(|_| value.to_string()),
        Err(_) => value.to_string(),
    }
}

fn as_json(values: &[Value]) -> String {
    let values: Vec<&Value> = values.iter().filter(|value| !value.is_null()).collect();
    let mut text = match values.as_slice() {
        [] => String::new(),
        [only] => pretty(only, "    "),
        several => {
            let items: Vec<&Value> = several.iter().flat_map(|value| items(value)).collect();
            pretty(
                &json!({"apiVersion": "v1", "kind": "List", "items": items}),
                "    ",
            )
        }
    };
    if !text.is_empty() {
        text.push('\n');
    }
    text
}

fn items(value: &Value) -> Vec<&Value> {
    match value.get("items") {
        Some(Value::Array(items)) if value.get("kind").is_some_and(|kind| kind == "List") => {
            items.iter().collect()
        }
        _ => vec![value],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(text: &str) -> Manifests {
        Manifests::read(&[PathBuf::from("-")], &mut text.as_bytes()).unwrap()
    }

    fn with_x(values: &[Value]) -> Vec<Value> {
        let mut values = values.to_vec();
        for value in &mut values {
            if value.is_object() {
                value["x"] = json!("a<b");
            }
        }
        values
    }

    #[test]
    fn json_keeps_its_indentation_and_escapes() {
        for (text, changed) in [
            ("{\"a\":1}", "{\"a\":1,\"x\":\"a<b\"}"),
            ("{\n  \"a\": 1\n}\n", "{\n  \"a\": 1,\n  \"x\": \"a<b\"\n}\n"),
            (
                "{\n\t\"a\": \"\\u003c\"\n}",
                "{\n\t\"a\": \"\\u003c\",\n\t\"x\": \"a\\u003cb\"\n}",
            ),
            (
                "{\"a\":1}\n{\r\n \"b\": []\r\n}",
                "{\"a\":1,\"x\":\"a<b\"}\n{\r\n \"b\": [],\r\n \"x\": \"a<b\"\r\n}",
            ),
        ] {
            let manifests = input(text);
            assert_eq!(manifests.write(&manifests.values(), None).text, text);
            assert_eq!(manifests.write(&with_x(&manifests.values()), None).text, changed);
            let restored = input(changed).write(&manifests.values(), None);
            assert_eq!(restored.text, text);
        }
    }

    #[test]
    fn what_is_not_changed_keeps_every_byte() {
        for text in [
            "",
            "# only this\n",
            "a:   1 # x\n\n---\n\n--- \nb: [ 1 ]",
            "\u{feff}{ \"a\":   1.50e1 }",
        ] {
            let manifests = input(text);
            assert_eq!(
                manifests.write(&manifests.values(), None),
                Written {
                    text: text.into(),
                    comments_lost: 0
                }
            );
        }
    }

    #[test]
    fn several_documents_in_json_are_a_list() {
        let manifests = input("a: 1\n---\nkind: List\nitems: [{b: 2}]\n---\n");
        let written = manifests.write(&manifests.values(), Some(Form::Json)).text;
        let list: Value = serde_json::from_str(&written).unwrap();
        assert_eq!(
            list,
            json!({"apiVersion": "v1", "kind": "List", "items": [{"a": 1}, {"b": 2}]})
        );
        let manifests = input("{\"a\": 1}");
        assert_eq!(
            manifests.write(&manifests.values(), Some(Form::Yaml)).text,
            "a: 1\n"
        );
    }

    #[test]
    fn several_inputs_are_one_stream() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("b.yaml"), "b: 1").unwrap();
        fs::write(folder.path().join("a.json"), "{\"a\":1}\n").unwrap();
        fs::write(folder.path().join("note.txt"), "not: this: one").unwrap();
        let files = [folder.path().to_owned(), PathBuf::from("-")];
        let manifests = Manifests::read(&files, &mut "---\nc: 1\n".as_bytes()).unwrap();
        let written = manifests.write(&manifests.values(), None).text;
        assert_eq!(written, "{\"a\":1}\n---\nb: 1\n---\nc: 1\n");
    }

    #[test]
    fn what_is_no_manifest_is_refused_with_a_sentence() {
        for (text, sentence) in [
            (
                "- a\n",
                "standard input: document 1 is a list, not a Kubernetes object",
            ),
            (
                "a: 1\n---\nhello\n",
                "standard input: document 2 is a text, not a Kubernetes object",
            ),
            ("a: [\n", "standard input: line 1, column 4: unclosed bracket"),
        ] {
            let error = Manifests::read(&[PathBuf::from("-")], &mut text.as_bytes()).unwrap_err();
            assert!(error.to_string().starts_with(sentence), "{error}");
        }
    }
}
