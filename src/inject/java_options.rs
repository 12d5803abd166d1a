//! What a JVM reads from its option variables, and what has to be added.
//!
//! In: the text of the variable as the JVM will see it and what else sets options. Out: text to put in front of and
//! behind it. Ours come first, so that what the user wrote wins.

use crate::names;
pub use crate::option_tokens::{UnmatchedQuote, tokenise};
use crate::settings::OnOom;

const ON: &str = "-XX:+HeapDumpOnOutOfMemoryError";
const OFF: &str = "-XX:-HeapDumpOnOutOfMemoryError";
const PATH: &str = "-XX:HeapDumpPath=";
const EXIT: &str = "-XX:+ExitOnOutOfMemoryError";
const ATTACH: &str = "-XX:+StartAttachListener";

/// JDK 8 drops a variable of this many bytes whole and in silence (`OPTION_BUFFER_SIZE` holds the NUL too).
const MOST_BYTES: usize = 1023;
/// JDK 8 drops the options after this many, in silence (`N_MAX_OPTIONS`).
const MOST_OPTIONS: usize = 64;

/// What the injection needs a JVM to be told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Wanted {
    /// Dumps at the first `OutOfMemoryError`, and whether the JVM then ends.
    pub on_oom: OnOom,
    /// The attach listener at boot: on a full heap it could not be started any more.
    pub attach: bool,
}

/// Everything that decides which options a JVM runs with, as far as the pod says it.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Tokens of the variable that we write to, where it is a literal.
    pub variable: Vec<String>,
    /// Tokens of `JDK_JAVA_OPTIONS`, command and args: stronger than the variable.
    pub command_line: Vec<String>,
    /// Tokens of `_JAVA_OPTIONS`: stronger than all.
    pub strongest: Vec<String>,
}

/// What the user wrote about heap dumps.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum HeapDumpPath {
    /// Nothing, or our path.
    Ours,
    /// A path of his own, and where it counts.
    Users {
        /// The path.
        path: String,
        /// In the variable that we write to.
        in_variable: bool,
        /// In `_JAVA_OPTIONS`: nothing is stronger.
        in_strongest: bool,
    },
}

impl Found {
    fn all(&self) -> impl DoubleEndedIterator<Item = (&String, Source)> {
        let tag = |source| move |token| (token, source);
        self.variable
            .iter()
            .map(tag(Source::Variable))
            .chain(self.command_line.iter().map(tag(Source::CommandLine)))
            .chain(self.strongest.iter().map(tag(Source::Strongest)))
    }

    /// Whether the user's last word on heap dumps is no.
    #[must_use]
    pub fn dumps_refused(&self) -> bool {
        self.all()
            .rev()
            .find(|(token, _)| [ON, OFF].contains(&token.as_str()))
            .is_some_and(|(token, _)| token == OFF)
    }

    /// Whether no tool can attach, ours included.
    #[must_use]
    pub fn attach_disabled(&self) -> bool {
        let last = self
            .all()
            .rev()
            .find(|(token, _)| token.ends_with("DisableAttachMechanism"));
        last.is_some_and(|(token, _)| token == "-XX:+DisableAttachMechanism")
    }

    /// The path that counts without us: the last that is not ours.
    #[must_use]
    pub fn heap_dump_path(&self) -> HeapDumpPath {
        let last = self.all().rev().find_map(|(token, source)| {
            let path = token.strip_prefix(PATH)?;
            (path.trim_end_matches('/') != names::DUMPS_PATH).then_some((path, source))
        });
        match last {
            None => HeapDumpPath::Ours,
            Some((path, source)) => HeapDumpPath::Users {
                path: path.to_owned(),
                in_variable: source == Source::Variable,
                in_strongest: source == Source::Strongest,
            },
        }
    }
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Source {
    Variable,
    CommandLine,
    Strongest,
}

/// Text to put around the variable's, and into `_JAVA_OPTIONS`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Addition {
    /// Before the user's text, without a separating blank.
    pub front: String,
    /// After it: only a path that must win over the user's.
    pub behind: String,
    /// For `_JAVA_OPTIONS`: a path that must win over the command line's.
    pub strongest: String,
}

impl Addition {
    /// For text that nobody has seen: a path in it must not win, since the file would most likely die with the container.
    #[must_use]
    pub fn with_the_path_behind(&self) -> Self {
        let ours = format!("{PATH}{}", names::DUMPS_PATH);
        let moved = |text: &str| {
            let (path, others): (Vec<&str>, Vec<&str>) = text.split(' ').partition(|flag| *flag == ours);
            (!path.is_empty(), others.join(" "))
        };
        let (has_path, front) = moved(&self.front);
        Self {
            front,
            behind: if has_path && self.behind.is_empty() {
                ours
            } else {
                self.behind.clone()
            },
            strongest: self.strongest.clone(),
        }
    }
}

/// What of ours is missing. `keep_path`: the user's own path is shipped from where it is.
#[must_use]
pub fn addition(wanted: Wanted, found: &Found, keep_path: bool) -> Addition {
    let ours = format!("{PATH}{}", names::DUMPS_PATH);
    let has = |flag: &str| found.variable.iter().any(|token| token == flag);
    let mut front: Vec<&str> = Vec::new();
    let mut addition = Addition::default();
    if wanted.on_oom != OnOom::Off && !found.dumps_refused() {
        if !has(ON) {
            front.push(ON);
        }
        match found.heap_dump_path() {
            HeapDumpPath::Ours if !has(&ours) => front.push(&ours),
            HeapDumpPath::Ours => {}
            // A launcher may or may not put it on the command line: where it does not, ours holds.
            HeapDumpPath::Users {
                in_variable: false, ..
            } if keep_path && !has(&ours) => front.push(&ours),
            HeapDumpPath::Users { .. } if keep_path => {}
            HeapDumpPath::Users {
                in_variable: true, ..
            } => {
                let last = found.variable.iter().rev().find(|token| token.starts_with(PATH));
                if last.is_none_or(|last| *last != ours) {
                    addition.behind.clone_from(&ours);
                }
            }
            HeapDumpPath::Users { in_strongest, .. } => {
                if !has(&ours) {
                    front.push(&ours);
                }
                if !in_strongest {
                    addition.strongest.clone_from(&ours);
                }
            }
        }
        if wanted.on_oom == OnOom::DumpAndExit && !has(EXIT) {
            front.push(EXIT);
        }
    }
    if wanted.attach && !has(ATTACH) {
        front.push(ATTACH);
    }
    addition.front = front.join(" ");
    addition
}

/// For `_JAVA_OPTIONS` where the variable must stay as it is: all of ours that command and args do not set, since it is
/// stronger than they are.
#[must_use]
pub fn all_in_strongest(wanted: Wanted, found: &Found, keep_path: bool) -> String {
    let ours = format!("{PATH}{}", names::DUMPS_PATH);
    // A name without its sign switches nothing: `jinfo -flag +NAME`. A token may be a shell's quoted text.
    let set = |name: &str| {
        let switches = [format!("-XX:+{name}"), format!("-XX:-{name}")];
        let speaks = |token: &String| switches.iter().any(|switch| token.contains(switch.as_str()));
        found.command_line.iter().any(speaks)
    };
    let mut flags: Vec<&str> = Vec::new();
    if wanted.on_oom != OnOom::Off && !found.dumps_refused() {
        if !set("HeapDumpOnOutOfMemoryError") {
            flags.push(ON);
        }
        if !keep_path {
            flags.push(&ours);
        }
        if wanted.on_oom == OnOom::DumpAndExit && !set("ExitOnOutOfMemoryError") {
            flags.push(EXIT);
        }
    }
    if wanted.attach && !set("StartAttachListener") {
        flags.push(ATTACH);
    }
    flags.join(" ")
}

/// The variable's whole text with an addition around the user's.
#[must_use]
pub fn joined(addition: &Addition, users: &str) -> String {
    let parts = [addition.front.as_str(), users, addition.behind.as_str()];
    parts
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Whether JDK 8 would read the text whole.
#[must_use]
pub fn fits_jdk_8(text: &str) -> bool {
    text.len() <= MOST_BYTES && tokenise(text).is_ok_and(|tokens| tokens.len() <= MOST_OPTIONS)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DUMP: Wanted = Wanted {
        on_oom: OnOom::Dump,
        attach: false,
    };

    fn found(variable: &str, command_line: &str) -> Found {
        Found {
            variable: tokenise(variable).unwrap(),
            command_line: tokenise(command_line).unwrap(),
            strongest: Vec::new(),
        }
    }

    #[test]
    fn splits_as_hotspot_does() {
        let split = |text| tokenise(text).unwrap();
        assert_eq!(
            split(" -Xmx1g\t-Da=b\n-Dc\u{b}-Dd "),
            ["-Xmx1g", "-Da=b", "-Dc", "-Dd"]
        );
        assert_eq!(split("-XX:HeapDumpPath=\"/a b/c\""), ["-XX:HeapDumpPath=/a b/c"]);
        assert_eq!(split("-D'a b'c=\"d'e\""), ["-Da bc=d'e"]);
        assert_eq!(split("/a\\ b"), ["/a\\", "b"], "a backslash escapes nothing");
        assert_eq!(split("''"), [""]);
        assert_eq!(split(""), Vec::<String>::new());
        assert_eq!(tokenise("-Da=\"b"), Err(UnmatchedQuote));
        assert_eq!(tokenise("it's"), Err(UnmatchedQuote));
    }

    #[test]
    fn adds_only_what_is_missing() {
        let nothing = addition(DUMP, &found("", ""), false);
        assert_eq!(
            nothing.front,
            "-XX:+HeapDumpOnOutOfMemoryError -XX:HeapDumpPath=/heapship/dumps"
        );
        let half = addition(DUMP, &found("-XX:+HeapDumpOnOutOfMemoryError -Xmx1g", ""), false);
        assert_eq!(half.front, "-XX:HeapDumpPath=/heapship/dumps");
        let whole = joined(&nothing, "-Xmx1g");
        assert_eq!(addition(DUMP, &found(&whole, ""), false), Addition::default());
    }

    #[test]
    fn an_opt_out_stands() {
        let wanted = Wanted {
            on_oom: OnOom::DumpAndExit,
            attach: true,
        };
        assert_eq!(
            addition(wanted, &found("-XX:-HeapDumpOnOutOfMemoryError", ""), false).front,
            ATTACH
        );
        assert_eq!(
            addition(DUMP, &found("", "-XX:-HeapDumpOnOutOfMemoryError"), false),
            Addition::default()
        );
        assert!(
            !found(
                "-XX:-HeapDumpOnOutOfMemoryError",
                "-XX:+HeapDumpOnOutOfMemoryError"
            )
            .dumps_refused()
        );
    }

    #[test]
    fn a_path_that_would_die_with_the_container_is_overruled_where_it_stands() {
        let users = "-XX:HeapDumpPath=/tmp/x";
        let first = addition(DUMP, &found(users, ""), false);
        assert_eq!(
            (first.front.as_str(), first.behind.as_str()),
            (ON, "-XX:HeapDumpPath=/heapship/dumps")
        );
        let text = joined(&first, users);
        assert_eq!(addition(DUMP, &found(&text, ""), false), Addition::default());
        let by_command = addition(DUMP, &found("", users), false);
        assert_eq!(by_command.strongest, "-XX:HeapDumpPath=/heapship/dumps");
        assert_eq!(addition(DUMP, &found(users, ""), true).front, ON);
    }

    #[test]
    fn the_path_of_a_text_that_nobody_has_seen_does_not_win() {
        let around = addition(DUMP, &found("", ""), false).with_the_path_behind();
        let whole = joined(&around, "$(X)");
        assert_eq!(
            whole,
            "-XX:+HeapDumpOnOutOfMemoryError $(X) -XX:HeapDumpPath=/heapship/dumps"
        );
        assert_eq!(addition(DUMP, &found(&whole, ""), false), Addition::default());
        let nothing = Wanted {
            on_oom: OnOom::Off,
            attach: true,
        };
        let around = addition(nothing, &found("", ""), false).with_the_path_behind();
        assert_eq!(joined(&around, "$(X)"), format!("{ATTACH} $(X)"));
    }

    #[test]
    fn jdk_8_reads_1023_bytes_and_64_options() {
        assert!(fits_jdk_8(&format!("-D{}", "x".repeat(1021))));
        assert!(!fits_jdk_8(&format!("-D{}", "x".repeat(1022))));
        assert!(fits_jdk_8(&"-Da ".repeat(64)));
        assert!(!fits_jdk_8(&"-Da ".repeat(65)));
    }

    proptest! {
        #[test]
        fn tokenising_never_panics_and_quoting_is_undone(words in prop::collection::vec("[a-z/=:+' -]{1,12}", 0..8)) {
            let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
            prop_assert_eq!(tokenise(&quoted.join(" ")).unwrap(), words);
        }

        #[test]
        fn what_was_added_is_found_again(text in "(-XX:HeapDumpPath=/[a-z]{1,4} |-Xmx1g |-XX:\\+HeapDumpOnOutOfMemoryError ){0,5}",
                                         keep: bool, attach: bool) {
            let wanted = Wanted { on_oom: OnOom::DumpAndExit, attach };
            let users = text.trim_end();
            let once = joined(&addition(wanted, &found(users, ""), keep), users);
            prop_assert_eq!(addition(wanted, &found(&once, ""), keep), Addition::default());
            // The user's options all arrive, in order.
            prop_assert!(once.contains(users));
        }
    }
}
