//! Object keys: a template and what is known of a dump in, a key out. Pure.

use std::fmt;

/// Longest key that S3, GCS and Azure all take, less room for the codec's suffix and `.json`.
const MAX_KEY_BYTES: usize = 1000;
/// What a value may occupy of a key; the longest Kubernetes name is 253.
const MAX_VALUE_BYTES: usize = 253;

/// A parsed `key-template`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyTemplate {
    text: String,
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Piece {
    Literal(String),
    Value(Placeholder),
}

/// What can stand in braces.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Placeholder {
    Cluster,
    Namespace,
    Workload,
    Pod,
    Uid,
    Container,
    Node,
    Time,
    Reason,
}

/// What is wrong with a template.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Error {
    /// A name in braces that means nothing.
    #[error(
        "unknown placeholder {{{0}}}; there are {{cluster}}, {{namespace}}, {{workload}}, {{pod}}, {{uid}}, \
         {{container}}, {{node}}, {{time}} and {{reason}}"
    )]
    Unknown(String),
    /// A brace without its partner.
    #[error("unmatched brace at byte {0}")]
    Brace(usize),
    /// Two dumps could get one key.
    #[error("without {0} two dumps could get one key")]
    NotUnique(&'static str),
    /// A part that is empty, `.` or `..`, or a character that some store or shell takes for something else.
    #[error("{0:?} cannot stand in a key: use letters, digits and - _ . = + @ between single slashes")]
    Literal(String),
    /// Longer than stores allow.
    #[error("longer than {MAX_KEY_BYTES} bytes")]
    TooLong,
}

/// The values of one dump. An empty one becomes `unknown`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Values<'a> {
    /// `{cluster}`
    pub cluster: &'a str,
    /// `{namespace}`
    pub namespace: &'a str,
    /// `{workload}`: `Kind/name` or a bare name; only the name goes into the key.
    pub workload: &'a str,
    /// `{pod}`
    pub pod: &'a str,
    /// `{uid}`
    pub uid: &'a str,
    /// `{container}`
    pub container: &'a str,
    /// `{node}`
    pub node: &'a str,
    /// `{time}`, UTC to the millisecond, and a number where two dumps had the same.
    pub time: &'a str,
    /// `{reason}`
    pub reason: &'a str,
}

impl KeyTemplate {
    /// The template used unless somebody sets another one.
    pub const DEFAULT: &'static str =
        "{cluster}/{namespace}/{workload}/{pod}/{container}/{time}-{reason}.hprof";

    /// Parses a template.
    ///
    /// `{time}` and one of `{pod}` and `{uid}` must be there: keys without them would collide within a pod or between
    /// pods.
    ///
    /// # Errors
    /// What is wrong, in one sentence that names what is allowed.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.len() > MAX_KEY_BYTES {
            return Err(Error::TooLong);
        }
        let mut pieces = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let at = text.len() - rest.len();
            let end = rest.find(['{', '}']).unwrap_or(rest.len());
            let (literal, tail) = rest.split_at(end);
            if !literal.is_empty() {
                pieces.push(Piece::Literal(literal.to_owned()));
            }
            let Some(inner) = tail.strip_prefix('{') else {
                if !tail.is_empty() {
                    return Err(Error::Brace(at + end));
                }
                break;
            };
            let (name, after) = inner.split_once('}').ok_or(Error::Brace(at + end))?;
            pieces.push(Piece::Value(Placeholder::parse(name)?));
            rest = after;
        }
        let has = |wanted: Placeholder| pieces.contains(&Piece::Value(wanted));
        if !has(Placeholder::Time) {
            return Err(Error::NotUnique("{time}"));
        }
        if !has(Placeholder::Pod) && !has(Placeholder::Uid) {
            return Err(Error::NotUnique("{pod} or {uid}"));
        }
        let template = Self {
            text: text.to_owned(),
            pieces,
        };
        // A placeholder is never empty, so judging one example judges every key.
        for part in template.render(&Values::default()).split('/') {
            let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.=+@".contains(c);
            if part.is_empty() || part == "." || part == ".." || !part.chars().all(allowed) {
                return Err(Error::Literal(part.to_owned()));
            }
        }
        Ok(template)
    }

    /// Whether a placeholder, named without its braces, stands in the template.
    #[must_use]
    pub fn uses(&self, placeholder: &str) -> bool {
        Placeholder::parse(placeholder).is_ok_and(|wanted| self.pieces.contains(&Piece::Value(wanted)))
    }

    /// The key of a dump, without the codec's suffix.
    #[must_use]
    pub fn render(&self, values: &Values<'_>) -> String {
        let Values {
            cluster,
            namespace,
            workload,
            pod,
            uid,
            container,
            node,
            time,
            reason,
        } = *values;
        let mut key = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => key.push_str(text),
                Piece::Value(placeholder) => key.push_str(&sanitised(match placeholder {
                    Placeholder::Cluster => cluster,
                    Placeholder::Namespace => namespace,
                    Placeholder::Workload => workload.rsplit('/').next().unwrap_or_default(),
                    Placeholder::Pod => pod,
                    Placeholder::Uid => uid,
                    Placeholder::Container => container,
                    Placeholder::Node => node,
                    Placeholder::Time => time,
                    Placeholder::Reason => reason,
                })),
            }
        }
        key
    }
}

impl Default for KeyTemplate {
    fn default() -> Self {
        // The test below holds `DEFAULT` to the grammar; an empty template is what a broken constant would give.
        Self::parse(Self::DEFAULT).unwrap_or(Self {
            text: String::new(),
            pieces: Vec::new(),
        })
    }
}

impl fmt::Display for KeyTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::str::FromStr for KeyTemplate {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

impl Placeholder {
    fn parse(name: &str) -> Result<Self, Error> {
        Ok(match name {
            "cluster" => Self::Cluster,
            "namespace" => Self::Namespace,
            "workload" => Self::Workload,
            "pod" => Self::Pod,
            "uid" => Self::Uid,
            "container" => Self::Container,
            "node" => Self::Node,
            "time" => Self::Time,
            "reason" => Self::Reason,
            other => return Err(Error::Unknown(other.to_owned())),
        })
    }
}

/// A value as one part of a path: what is not a letter, a digit or one of `-_.` becomes `_`; never empty, `.` or `..`.
fn sanitised(value: &str) -> String {
    let safe: String = value
        .chars()
        .take(MAX_VALUE_BYTES)
        .map(|c| {
            if c.is_ascii_alphanumeric() || "-_.".contains(c) {
                c
            } else {
                '_'
            }
        })
        .collect();
    match safe.as_str() {
        "" => "unknown".to_owned(),
        dots if dots.chars().all(|c| c == '.') => "_".repeat(dots.len()),
        _ => safe,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const VALUES: Values<'_> = Values {
        cluster: "prod",
        namespace: "shop",
        workload: "Deployment/checkout",
        pod: "checkout-7d4b9c-x2x7k",
        uid: "5c2d",
        container: "app",
        node: "n1",
        time: "20261125T210533.123Z",
        reason: "oom",
    };

    #[test]
    fn the_default_template_gives_the_documented_key() {
        assert_eq!(KeyTemplate::default().to_string(), KeyTemplate::DEFAULT);
        assert!(KeyTemplate::default().uses("namespace") && !KeyTemplate::default().uses("uid"));
        assert_eq!(
            KeyTemplate::default().render(&VALUES),
            "prod/shop/checkout/checkout-7d4b9c-x2x7k/app/20261125T210533.123Z-oom.hprof"
        );
    }

    #[test]
    fn a_missing_value_is_said_to_be_unknown() {
        let values = Values {
            cluster: "",
            workload: "",
            ..VALUES
        };
        assert_eq!(
            KeyTemplate::default().render(&values),
            "unknown/shop/unknown/checkout-7d4b9c-x2x7k/app/20261125T210533.123Z-oom.hprof"
        );
    }

    #[test]
    fn every_placeholder_gets_its_own_value() {
        let text = "{cluster}/{namespace}/{workload}/{pod}/{uid}/{container}/{node}/{time}/{reason}";
        let template: KeyTemplate = text.parse().unwrap();
        assert_eq!(
            template.render(&VALUES),
            "prod/shop/checkout/checkout-7d4b9c-x2x7k/5c2d/app/n1/20261125T210533.123Z/oom"
        );
        assert!(
            text.split('/')
                .all(|name| template.uses(name.trim_matches(['{', '}'])))
        );
    }

    #[test]
    fn the_uid_alone_tells_pods_apart_and_a_template_may_be_as_long_as_a_key() {
        let text = format!("{{uid}}/{{time}}/{}", "x".repeat(MAX_KEY_BYTES - 13));
        assert_eq!(text.len(), MAX_KEY_BYTES);
        assert_eq!(
            KeyTemplate::parse(&text).map(|template| template.to_string()),
            Ok(text)
        );
    }

    #[test]
    fn values_become_harmless_parts_of_a_path() {
        for (value, part) in [
            ("", "unknown"),
            (".", "_"),
            ("..", "__"),
            ("...", "___"),
            (".a", ".a"),
            ("a-b_c.d", "a-b_c.d"),
            ("a/b c", "a_b_c"),
            ("é", "_"),
        ] {
            assert_eq!(sanitised(value), part);
        }
        assert_eq!(sanitised(&"x".repeat(300)).len(), MAX_VALUE_BYTES);
    }

    #[test]
    fn wrong_templates_are_refused_with_what_is_allowed() {
        for (text, wanted) in [
            (
                "{pod}/{tiem}.hprof",
                "unknown placeholder {tiem}; there are {cluster}",
            ),
            ("{pod}.hprof", "without {time} two dumps could get one key"),
            (
                "{time}.hprof",
                "without {pod} or {uid} two dumps could get one key",
            ),
            ("{pod}/{time", "unmatched brace at byte 6"),
            ("{pod}}/{time}", "unmatched brace at byte 5"),
            ("/{pod}/{time}", "\"\" cannot stand in a key"),
            ("./{pod}/{time}", "\".\" cannot stand in a key"),
            ("../{pod}/{time}", "\"..\" cannot stand in a key"),
            ("a//{pod}/{time}", "\"\" cannot stand in a key"),
            ("a b/{pod}/{time}", "\"a b\" cannot stand in a key"),
            ("{pod}/{time}/", "\"\" cannot stand in a key"),
        ] {
            let error = KeyTemplate::parse(text).unwrap_err().to_string();
            assert!(error.contains(wanted), "{text}: {error}");
        }
        assert_eq!(KeyTemplate::parse(&"x".repeat(1001)), Err(Error::TooLong));
    }

    proptest! {
        #[test]
        fn no_value_leaves_its_part_of_the_key(pod in "\\PC{0,40}", namespace in "\\PC{0,40}") {
            let values = Values { pod: &pod, namespace: &namespace, ..VALUES };
            let key = KeyTemplate::default().render(&values);
            let parts: Vec<&str> = key.split('/').collect();
            prop_assert_eq!(parts.len(), 6);
            for part in parts {
                prop_assert!(!part.is_empty() && part != "." && part != ".." && part.is_ascii());
            }
        }

        #[test]
        fn no_template_makes_the_parser_panic(text in "\\PC{0,60}") {
            let _ = KeyTemplate::parse(&text);
        }
    }
}
