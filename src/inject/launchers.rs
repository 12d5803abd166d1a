//! Which variable reaches a container's JVM: programs that start one decide what it hears.
//!
//! Read in the sources named in [`LAUNCHERS`]; a container is recognised by what its pod says, each by itself.

use serde_json::Value;

use crate::inject::java_options::{self, UnmatchedQuote};

/// What libjvm reads by itself, whoever starts it.
pub(super) const LIBJVMS: &str = "JAVA_TOOL_OPTIONS";
/// The variable that beats the command line. libjvm's too.
pub(super) const STRONGEST: &str = "_JAVA_OPTIONS";

/// A program that takes `JAVA_TOOL_OPTIONS` away, and has a variable of its own in its place.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Launcher {
    /// As people call it.
    pub(super) name: &'static str,
    /// Read instead; what stands in it comes behind the options of its files, so it wins over them.
    pub(super) variable: &'static str,
    /// The last part of an image's repository.
    images: &'static [&'static str],
    /// The executable in its `bin`.
    program: &'static str,
}

/// All three unset `JAVA_TOOL_OPTIONS` with a warning, split their own variable at white space, know no quotes, and put it
/// behind `jvm.options` (which sets a `HeapDumpPath` of its own in the first two).
///
/// Elasticsearch: `distribution/src/bin/elasticsearch-env`, `…/server/cli/JvmOptionsParser.java` (`split("\\s+")`).
/// `OpenSearch`: `distribution/src/bin/opensearch-env`, `…/tools/launchers/JvmOptionsParser.java`, the same.
/// Logstash: `bin/logstash.lib.sh`, `…/org/logstash/launchers/JvmOptionsParser.java` (`split(" ")`, and a set: an option
/// that its file has too keeps its place there, which is harmless for ours).
const LAUNCHERS: [Launcher; 3] = [
    Launcher {
        name: "Elasticsearch",
        variable: "ES_JAVA_OPTS",
        images: &["elasticsearch", "elasticsearch-oss", "elasticsearch-wolfi"],
        program: "elasticsearch",
    },
    Launcher {
        name: "OpenSearch",
        variable: "OPENSEARCH_JAVA_OPTS",
        images: &["opensearch"],
        program: "opensearch",
    },
    Launcher {
        name: "Logstash",
        variable: "LS_JAVA_OPTS",
        images: &[
            "logstash",
            "logstash-oss",
            "logstash-wolfi",
            "logstash-oss-with-opensearch-output-plugin",
        ],
        program: "logstash",
    },
];

/// The launcher of a container, where the pod tells: by its image, by what is started, by a variable that nobody else
/// reads. An image is named exactly: what is called `elasticsearch-indexer` is an application.
pub(super) fn recognise(container: &Value) -> Option<&'static Launcher> {
    let image = container["image"].as_str().map_or("", last_part);
    let by_image = |launcher: &&Launcher| launcher.images.contains(&image);
    let words = words_of(container);
    let by_program = |launcher: &&Launcher| {
        let started = words
            .first()
            .is_some_and(|word| base_name(word) == launcher.program);
        started || words.iter().any(|word| in_bin(word, launcher.program))
    };
    let by_variable = |launcher: &&Launcher| {
        let mut entries = container["env"].as_array().into_iter().flatten();
        entries.any(|entry| entry["name"] == launcher.variable)
    };
    let all = || LAUNCHERS.iter();
    all()
        .find(by_image)
        .or_else(|| all().find(by_program))
        .or_else(|| all().find(by_variable))
}

/// Whether a variable's reader takes `JAVA_TOOL_OPTIONS` away.
pub(super) fn is_a_launchers(variable: &str) -> bool {
    LAUNCHERS.iter().any(|launcher| launcher.variable == variable)
}

/// The options in a variable's text, as its reader takes them apart.
///
/// # Errors
/// [`UnmatchedQuote`], where libjvm is the reader. What another launcher makes of quotes is its own affair.
pub(super) fn options(variable: &str, text: &str) -> Result<Vec<String>, UnmatchedQuote> {
    let words = || text.split_whitespace().map(str::to_owned).collect();
    if is_a_launchers(variable) {
        return Ok(words());
    }
    match java_options::tokenise(text) {
        Err(UnmatchedQuote) if ![LIBJVMS, STRONGEST].contains(&variable) => Ok(words()),
        tokens => tokens,
    }
}

/// Whether the text of command and args takes a variable away before the JVM starts, and by which words.
///
/// Only what stands there is seen: a script in the image may do the same. `jsvc` and embedded JVMs do not belong here:
/// they load libjvm, which reads the variable itself.
pub(super) fn stripped_by(container: &Value, variable: &str) -> Option<String> {
    words_of(container)
        .split(|word| is_separator(word))
        .find_map(|command| stripped_in(command, variable))
}

/// In one command of a shell's. Every word is read once: a text may have hundreds of thousands.
fn stripped_in(command: &[String], variable: &str) -> Option<String> {
    let references = [
        format!("${variable}"),
        format!("${{{variable}"),
        format!("$({variable})"),
    ];
    let passes_on = |text: &str| {
        references
            .iter()
            .any(|reference| text.contains(reference.as_str()))
    };
    let passed_on_last = command.iter().rposition(|word| passes_on(word));
    // `NAME=value`, unless the value, or what it is set for, passes on what was there: `NAME="$NAME -Dx=y"`.
    let assigns = |at: usize| {
        let word = command.get(at);
        let value = word.and_then(|word| word.strip_prefix(variable)?.strip_prefix('='));
        value.is_some_and(|value| !passes_on(value)) && passed_on_last.is_none_or(|last| last <= at)
    };
    let mut unset = false;
    let mut at = 0;
    while let Some(word) = command.get(at) {
        at += 1;
        match base_name(word) {
            "unset" => unset = true,
            "env" => {
                let (taken, read) = env_strips(command, at, variable, &assigns);
                if taken.is_some() {
                    return taken;
                }
                at = read;
            }
            _ if unset && word == variable => return Some(format!("unset {variable}")),
            _ if assigns(at - 1) => return Some(format!("{variable}=…")),
            _ => {}
        }
    }
    None
}

/// `env -i`, `env -u NAME`: the words behind `env` up to what it starts, and where that stands. An assignment there gives the
/// variable back.
fn env_strips(
    command: &[String],
    mut at: usize,
    variable: &str,
    assigns: &dyn Fn(usize) -> bool,
) -> (Option<String>, usize) {
    let mut taken = None;
    while let Some(word) = command.get(at) {
        let name = match word.as_str() {
            "-" | "-i" | "--ignore-environment" => {
                taken = Some(format!("env {word}"));
                at += 1;
                continue;
            }
            "-u" | "--unset" => {
                at += 1;
                command.get(at).map(String::as_str)
            }
            other => other
                .strip_prefix("--unset=")
                .or_else(|| other.strip_prefix("-u")),
        };
        if name == Some(variable) {
            taken = Some(format!("env -u {variable}"));
        } else if word
            .strip_prefix(variable)
            .is_some_and(|rest| rest.starts_with('='))
        {
            return (assigns(at).then(|| format!("{variable}=…")), at + 1);
        } else if name.is_none() && !word.starts_with('-') && !word.contains('=') {
            break;
        }
        at += 1;
    }
    (taken, at)
}

/// The words of command and args; those of a shell's text one by one, without the quotes around them.
fn words_of(container: &Value) -> Vec<String> {
    let texts = ["command", "args"]
        .into_iter()
        .filter_map(|key| container[key].as_array())
        .flatten()
        .filter_map(Value::as_str);
    texts
        .flat_map(|text| {
            // A separator may stand beside a word without a blank.
            let spaced = text.replace(SEPARATORS, " ; ");
            let word = |word: &str| word.trim_matches(['"', '\'']).to_owned();
            spaced.split_whitespace().map(word).collect::<Vec<_>>()
        })
        .collect()
}

/// What ends a shell's command.
const SEPARATORS: [char; 6] = [';', '&', '|', '\n', '(', ')'];

fn is_separator(word: &str) -> bool {
    word == ";"
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn in_bin(word: &str, program: &str) -> bool {
    word.strip_suffix(program)
        .is_some_and(|rest| rest.ends_with("bin/"))
}

/// `registry:5000/team/elasticsearch:8.1@sha256:…` -> `elasticsearch`
fn last_part(image: &str) -> &str {
    let repository = image.split('@').next().unwrap_or(image);
    let last = base_name(repository);
    last.split(':').next().unwrap_or(last)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn name(container: &Value) -> Option<&'static str> {
        recognise(container).map(|launcher| launcher.name)
    }

    #[test]
    fn a_launcher_is_known_by_image_program_or_its_own_variable() {
        let digest = "docker.elastic.co:443/elasticsearch/elasticsearch:8.19.0@sha256:0123";
        assert_eq!(name(&json!({"image": digest})), Some("Elasticsearch"));
        assert_eq!(
            name(&json!({"image": "opensearchproject/opensearch"})),
            Some("OpenSearch")
        );
        assert_eq!(
            name(
                &json!({"image": "a", "command": ["/usr/share/logstash/bin/logstash"], "args": ["-f", "x"]})
            ),
            Some("Logstash")
        );
        assert_eq!(
            name(&json!({"image": "a", "command": ["sh", "-c", "set -e; exec ./bin/elasticsearch -d"]})),
            Some("Elasticsearch")
        );
        assert_eq!(
            name(&json!({"image": "a", "env": [{"name": "LS_JAVA_OPTS", "value": "-Xmx1g"}]})),
            Some("Logstash")
        );
    }

    #[test]
    fn what_only_speaks_of_a_launcher_is_an_application() {
        for container in [
            json!({"image": "shop/elasticsearch-indexer:1"}),
            json!({"image": "elasticsearch/exporter"}),
            json!({"image": "a", "args": ["--index", "elasticsearch", "logstash"]}),
            json!({}),
        ] {
            assert_eq!(name(&container), None, "{container}");
        }
    }

    #[test]
    fn quotes_are_libjvms_affair() {
        assert_eq!(
            options("ES_JAVA_OPTS", "-Da=it's -Db='c d'").unwrap(),
            ["-Da=it's", "-Db='c", "d'"]
        );
        assert_eq!(options("OTHER_OPTS", "-Da=it's").unwrap(), ["-Da=it's"]);
        assert_eq!(options("OTHER_OPTS", "-Da='b c'").unwrap(), ["-Da=b c"]);
        assert_eq!(options(LIBJVMS, "-Da=it's"), Err(UnmatchedQuote));
    }

    #[test]
    fn a_command_that_takes_the_variable_away_is_seen() {
        let by = |words: &[&str]| stripped_by(&json!({"command": words}), LIBJVMS);
        for words in [
            &["sh", "-c", "unset JAVA_TOOL_OPTIONS && exec java -jar a.jar"][..],
            &["sh", "-c", "unset FOO JAVA_TOOL_OPTIONS;java -jar a.jar"],
            &["sh", "-c", "JAVA_TOOL_OPTIONS= java -jar a.jar"],
            &[
                "sh",
                "-c",
                "export JAVA_TOOL_OPTIONS='-Xmx1g -Xss1m'; java -jar a.jar",
            ],
            &["env", "-i", "java", "-jar", "a.jar"],
            &["/usr/bin/env", "-", "PATH=/bin", "java"],
            &["env", "-u", "JAVA_TOOL_OPTIONS", "java"],
            &["sh", "-c", "exec env --unset=JAVA_TOOL_OPTIONS java"],
            &["env", "JAVA_TOOL_OPTIONS=-Xmx1g", "java"],
        ] {
            assert!(by(words).is_some(), "{words:?}");
        }
        for words in [
            &["java", "-jar", "a.jar"][..],
            &["sh", "-c", "unset FOO; echo JAVA_TOOL_OPTIONS; java -jar a.jar"],
            &[
                "sh",
                "-c",
                "JAVA_TOOL_OPTIONS=\"-Xmx1g $JAVA_TOOL_OPTIONS\" java -jar a.jar",
            ],
            &[
                "sh",
                "-c",
                "export JAVA_TOOL_OPTIONS=\"${JAVA_TOOL_OPTIONS:-} -Xmx1g\"; java",
            ],
            &["env", "FOO=bar", "java", "-i"],
            &["env", "-i", "JAVA_TOOL_OPTIONS=$JAVA_TOOL_OPTIONS", "java"],
            &["sh", "-c", "MY_JAVA_TOOL_OPTIONS=1 java"],
        ] {
            assert_eq!(by(words), None, "{words:?}");
        }
    }

    #[test]
    fn commands_of_many_words_are_read_once() {
        for words in [
            "env -u A B=1 ",
            "-u env ",
            "unset A ",
            "env JAVA_TOOL_OPTIONS=1 ",
            "JAVA_TOOL_OPTIONS=1 ",
        ] {
            let text = format!("{}$JAVA_TOOL_OPTIONS", words.repeat(100_000));
            assert_eq!(stripped_by(&json!({"args": [text]}), LIBJVMS), None, "{words}");
        }
    }
}
