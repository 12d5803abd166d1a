//! What becomes of a pod: one folder in `tests/inject` for each case.
//!
//! ```text
//! pod.yaml        what the user applied
//! settings.yaml   only what differs from a cluster without policies: kubernetesVersion, namespace, policies
//! patched.yaml    the pod afterwards
//! notes.txt       decision, steps and warnings, as the user sees them
//! ```
//!
//! The laws of `tests/laws` hold for them too. To add a case, write the first two; to change one, change the code. Then `HEAPSHIP_BLESS=1 cargo test --test main inject::`
//! writes the other two, and the review reads them.

use std::fmt::Write as _;
use std::{env, fs};

use heapship::inject::{self, Decision, Note, Outcome, Severity};
use heapship::yaml;

use case::{Case, cases};

pub(crate) mod case;

#[test]
fn every_case_ends_as_its_files_say() {
    judge(|case, outcome, faults| {
        let patched = yaml::rewrite(&case.text, &case.documents, std::slice::from_ref(&outcome.pod));
        if patched.comments_lost > 0 {
            faults.push("the pod had to be written anew".to_owned());
        }
        for (file, text) in [("patched.yaml", patched.text), ("notes.txt", notes(outcome))] {
            let path = case.folder.join(file);
            if env::var_os("HEAPSHIP_BLESS").is_some_and(|value| value == "1") {
                fs::write(&path, &text).unwrap();
            } else if fs::read_to_string(&path).unwrap_or_default() != text {
                faults.push(format!("{file} says otherwise; now:\n{text}"));
            }
        }
    });
}

#[test]
fn uninject_gives_the_pod_back() {
    judge(|case, outcome, faults| {
        let restored = inject::uninject(&outcome.pod);
        if restored != *case.pod() {
            faults.push(format!("restored to {restored}"));
        }
        let patched = yaml::rewrite(&case.text, &case.documents, std::slice::from_ref(&outcome.pod)).text;
        let read = yaml::read(&patched).unwrap();
        let back = yaml::rewrite(&patched, &read, &[restored]).text;
        if back != case.text {
            faults.push(format!("the text came back as\n{back}"));
        }
    });
}

/// Runs a check over all cases and fails with everything it found.
fn judge(check: impl Fn(&Case, &Outcome, &mut Vec<String>)) {
    let mut report = String::new();
    let cases = cases();
    assert!(cases.len() > 20, "only {} cases were found", cases.len());
    for case in cases {
        let outcome = inject::inject(case.pod(), &case.context());
        let mut faults = Vec::new();
        check(&case, &outcome, &mut faults);
        for fault in faults {
            writeln!(report, "{}: {fault}", case.name).unwrap();
        }
    }
    assert!(report.is_empty(), "\n{report}");
}

fn notes(outcome: &Outcome) -> String {
    let mut text = match &outcome.decision {
        Decision::Injected => "injected\n".to_owned(),
        Decision::Skipped(skip) => format!("left alone: {skip} ({})\n", skip.label()),
        Decision::NotAsked => "not asked\n".to_owned(),
    };
    for Note {
        severity,
        code,
        text: sentence,
    } in &outcome.notes
    {
        let severity = match severity {
            Severity::Step => "step",
            Severity::Warning => "warning",
        };
        writeln!(text, "{severity} {code}: {sentence}").unwrap();
    }
    text
}
