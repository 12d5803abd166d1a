//! What a JVM runs with once ours are added: judged by what HotSpot makes of its options, for every combination of what
//! pods write.

use super::*;
use crate::inject::java_options::{
    Addition, Found, HeapDumpPath, Wanted, addition, all_in_strongest, joined,
};

const ON: &str = "-XX:+HeapDumpOnOutOfMemoryError";
const OFF: &str = "-XX:-HeapDumpOnOutOfMemoryError";
const OURS: &str = "-XX:HeapDumpPath=/heapship/dumps";
const THEIRS: &str = "-XX:HeapDumpPath=/tmp/x";
const EXIT: &str = "-XX:+ExitOnOutOfMemoryError";
const ATTACH: &str = "-XX:+StartAttachListener";
const WORDS: [&str; 7] = ["-Xmx1g", ON, OFF, OURS, THEIRS, EXIT, ATTACH];

/// Options as a JVM reads them: later ones win.
#[derive(Debug, PartialEq)]
struct Jvm<'t> {
    dumps: bool,
    path: Option<&'t str>,
}

fn jvm(found: &Found) -> Jvm<'_> {
    let mut jvm = Jvm {
        dumps: false,
        path: None,
    };
    for token in [&found.variable, &found.command_line, &found.strongest]
        .into_iter()
        .flatten()
    {
        match token.as_str() {
            ON => jvm.dumps = true,
            OFF => jvm.dumps = false,
            path if path.starts_with("-XX:HeapDumpPath=") => jvm.path = Some(path),
            _ => {}
        }
    }
    jvm
}

fn tokens(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// The options with an addition around them.
fn with(addition: &Addition, found: &Found) -> Found {
    Found {
        variable: [
            tokens(&addition.front),
            found.variable.clone(),
            tokens(&addition.behind),
        ]
        .concat(),
        command_line: found.command_line.clone(),
        strongest: [found.strongest.clone(), tokens(&addition.strongest)].concat(),
    }
}

fn every_combination(check: impl Fn(Wanted, &Found, bool)) {
    let one = |word: &str| tokens(word);
    for (first, second, third, fourth) in WORDS.iter().flat_map(|first| {
        WORDS.iter().flat_map(move |second| {
            WORDS
                .iter()
                .flat_map(move |third| WORDS.iter().map(move |fourth| (first, second, third, fourth)))
        })
    }) {
        let found = Found {
            variable: [one(first), one(second)].concat(),
            command_line: one(third),
            strongest: one(fourth),
        };
        for on_oom in [OnOom::Off, OnOom::Dump, OnOom::DumpAndExit] {
            for (attach, keep) in [(false, false), (false, true), (true, false), (true, true)] {
                check(Wanted { on_oom, attach }, &found, keep);
            }
        }
    }
}

#[test]
fn the_jvm_dumps_where_it_should_and_nothing_is_said_twice() {
    every_combination(|wanted, found, keep| {
        let added = addition(wanted, found, keep);
        let after = with(&added, found);
        let what = || format!("{wanted:?} {found:?} {keep} {added:?}");
        let has = |tokens: &[String], word: &str| tokens.iter().any(|token| token == word);

        let front = tokens(&added.front);
        assert!(
            front.iter().all(|token| !has(&found.variable, token)),
            "{}",
            what()
        );
        assert_eq!(
            has(&after.variable, ATTACH),
            wanted.attach || has(&found.variable, ATTACH),
            "{}",
            what()
        );
        let refused = found.dumps_refused();
        let dumps = wanted.on_oom != OnOom::Off && !refused;
        let exits = dumps && wanted.on_oom == OnOom::DumpAndExit;
        assert_eq!(
            has(&after.variable, EXIT),
            exits || has(&found.variable, EXIT),
            "{}",
            what()
        );
        let again = addition(wanted, &after, keep);
        assert_eq!(
            (again.front.as_str(), again.behind.as_str()),
            ("", ""),
            "{}",
            what()
        );
        if !dumps {
            assert_eq!(jvm(&after), jvm(found), "{}", what());
            return;
        }
        assert!(jvm(&after).dumps, "{}", what());
        match found.heap_dump_path() {
            HeapDumpPath::Users { .. } if keep => assert_eq!(jvm(&after).path, jvm(found).path, "{}", what()),
            // Nothing is stronger than this variable, so the user's path counts until somebody takes it away.
            HeapDumpPath::Users {
                in_strongest: true, ..
            } => assert_eq!(added.strongest, "", "{}", what()),
            HeapDumpPath::Users { .. } | HeapDumpPath::Ours => {
                assert_eq!(jvm(&after).path, Some(OURS), "{}", what());
            }
        }
        // Launchers may drop what they have: then the variable alone has to do.
        let alone = Found {
            variable: after.variable,
            ..Found::default()
        };
        assert!(jvm(&alone).path.is_some(), "{}", what());
    });
}

#[test]
fn the_last_word_on_dumps_and_the_last_path_that_is_not_ours_count() {
    every_combination(|_, found, _| {
        let all = [&found.variable, &found.command_line, &found.strongest];
        let last = all
            .into_iter()
            .flatten()
            .rfind(|token| [ON, OFF].contains(&token.as_str()));
        assert_eq!(
            found.dumps_refused(),
            last.is_some_and(|token| token == OFF),
            "{found:?}"
        );
        let has = |tokens: &[String]| tokens.iter().any(|token| token == THEIRS);
        let path = if all.into_iter().any(|tokens| has(tokens)) {
            let (in_strongest, in_command) = (has(&found.strongest), has(&found.command_line));
            HeapDumpPath::Users {
                path: "/tmp/x".to_owned(),
                in_variable: !in_strongest && !in_command,
                in_strongest,
            }
        } else {
            HeapDumpPath::Ours
        };
        assert_eq!(found.heap_dump_path(), path, "{found:?}");
    });
}

#[test]
fn the_strongest_variable_gets_all_that_the_command_line_does_not_set() {
    every_combination(|wanted, found, keep| {
        let set = |word: &str| found.command_line.iter().any(|token| token == word);
        let dumps = wanted.on_oom != OnOom::Off && !found.dumps_refused();
        let expected: Vec<&str> = [
            (dumps && !set(ON) && !set(OFF), ON),
            (dumps && !keep, OURS),
            (dumps && wanted.on_oom == OnOom::DumpAndExit && !set(EXIT), EXIT),
            (wanted.attach && !set(ATTACH), ATTACH),
        ]
        .into_iter()
        .filter_map(|(wanted, word)| wanted.then_some(word))
        .collect();
        assert_eq!(
            all_in_strongest(wanted, found, keep),
            expected.join(" "),
            "{wanted:?} {found:?} {keep}"
        );
    });
}

#[test]
fn our_own_path_is_ours_with_a_slash_behind_it_too() {
    let found = |path: &str| Found {
        variable: tokens(path),
        ..Found::default()
    };
    assert_eq!(
        found("-XX:HeapDumpPath=/heapship/dumps/").heap_dump_path(),
        HeapDumpPath::Ours
    );
    assert_ne!(
        found("-XX:HeapDumpPath=/heapship/dumps/x").heap_dump_path(),
        HeapDumpPath::Ours
    );
}

#[test]
fn the_last_word_on_attaching_counts() {
    let disabled = |text: &str| {
        Found {
            variable: tokens(text),
            ..Found::default()
        }
        .attach_disabled()
    };
    assert!(disabled("-XX:+DisableAttachMechanism"));
    assert!(!disabled(
        "-XX:+DisableAttachMechanism -XX:-DisableAttachMechanism"
    ));
    assert!(disabled(
        "-XX:-DisableAttachMechanism -XX:+DisableAttachMechanism"
    ));
    assert!(!disabled("-Xmx1g"));
}

#[test]
fn texts_are_joined_by_one_blank_and_what_is_empty_leaves_none() {
    let around = |front: &str, behind: &str| Addition {
        front: front.to_owned(),
        behind: behind.to_owned(),
        strongest: "not here".to_owned(),
    };
    assert_eq!(joined(&around("-Da", "-Db"), "-Xmx1g"), "-Da -Xmx1g -Db");
    assert_eq!(joined(&around("-Da", ""), ""), "-Da");
    assert_eq!(joined(&around("", ""), " -Xmx1g "), " -Xmx1g ");
}
