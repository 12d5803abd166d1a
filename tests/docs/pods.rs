//! `docs/pods.md`: every form of a pod that the suite of the cluster creates, and what heapship does with it, asked here of the
//! function that the webhook calls.

use std::fmt::Write as _;

use form::{Category, Expect, Form};
use heapship::inject::{Decision, Outcome, Severity};

#[allow(
    dead_code,
    unreachable_pub,
    reason = "the suite of the cluster needs the rest of it"
)]
#[path = "../cluster/forms/form.rs"]
mod form;

/// The files, and the test that runs all forms of each.
const CATEGORIES: &[(&str, &str)] = &[
    ("options", "forms::options_of_any_kind_reach_the_jvm"),
    ("sources", "sources::options_of_every_source_reach_the_jvm"),
    (
        "paths",
        "forms::heap_dump_paths_of_the_users_own_are_kept_or_overruled",
    ),
    ("hooks", "forms::hooks_are_carried_out_as_before"),
    ("probes", "forms::probes_and_grace_periods_keep_their_meaning"),
    ("containers", "forms::other_containers_are_left_as_they_are"),
    ("volumes", "forms::volumes_and_mounts_do_not_collide"),
    ("security", "forms::users_and_groups_of_any_kind_run"),
    (
        "restricted",
        "forms::a_restricted_namespace_takes_what_it_took_before",
    ),
    (
        "baseline",
        "forms::a_baseline_namespace_takes_what_it_took_before",
    ),
    ("resources", "forms::the_quality_of_service_stays"),
    ("scheduling", "forms::nodes_and_networks_are_chosen_as_before"),
    ("lifecycle", "forms::pods_that_end_still_end"),
    ("workloads", "forms::pods_of_every_workload_are_injected"),
    ("images", "forms::images_are_pulled_as_before"),
    ("shapes", "forms::odd_and_large_pods_are_admitted"),
    (
        "beside-others",
        "neighbours::beside_all_of_them_together_a_pod_is_whole_and_its_jvm_runs",
    ),
    ("asked-by-the-namespace", "forms::a_namespace_asks_for_its_pods"),
    ("not-ours", "forms::what_is_not_ours_is_left_alone"),
    ("refused", "forms::what_the_api_server_refuses_it_refuses_still"),
];

/// Forms that no file has, since they are not made of a manifest alone.
const ELSEWHERE: &[(&str, &str, &str)] = &[
    (
        "the image's own `ENV JAVA_TOOL_OPTIONS`",
        "carried over where every node is 1.35 or newer, else replaced and reported",
        "`image_options::*`",
    ),
    (
        "a pod whose native sidecars lose `restartPolicy` to another webhook in both rounds",
        "admitted; `heapship check` reports it",
        "`neighbours::a_pod_whose_sidecars_are_made_init_containers_in_both_rounds_is_admitted_and_reported`",
    ),
    (
        "a pod whose flags another webhook drops",
        "injected: they are back after the second round",
        "`neighbours::our_flags_come_back_after_somebody_has_dropped_them`, started",
    ),
    (
        "the forms of beside-others.yaml, beside Azure's and EKS's identity, Istio, Linkerd, Odigos, OpenTelemetry, Vault one by one",
        "injected, and what the other does stays",
        "`neighbours::beside_any_one_of_them_a_pod_is_admitted_and_whole`, `…_the_jvm_gets_its_options_and_ours`, started",
    ),
    (
        "a copy by `kubectl debug --copy-to`, and an ephemeral container",
        "nothing: the copy carries the injection as it came, and nothing is there twice",
        "`forms::a_copy_for_debugging_and_an_ephemeral_container_are_left_as_they_are`, started",
    ),
    (
        "JDK 8, 11, 17, 21, 25",
        "one set of flags that all of them accept",
        "`users::every_jdk_that_is_supported_ships`; 8 in `make test` where the machine has one",
    ),
];

#[test]
fn every_form_is_decided_as_its_file_says() {
    let mut faults = String::new();
    for (file, _) in CATEGORIES {
        let category = Category::read(file);
        for form in category
            .forms
            .iter()
            .filter(|form| form.expect != Expect::Refused)
        {
            let outcome = category.outcome(&form.pod);
            let expected = match &form.expect {
                Expect::Injected => outcome.decision == Decision::Injected,
                Expect::Skipped(code) => outcome.decision.reason() == code,
                Expect::Untouched => outcome.pod == form.pod,
                Expect::Refused => true,
            };
            let warned = outcome
                .notes
                .iter()
                .filter(|note| note.severity == Severity::Warning);
            let codes: Vec<&str> = warned.map(|note| note.code).collect();
            if !expected || codes != form.warns {
                writeln!(
                    faults,
                    "{file}.yaml: {}: {:?} {codes:?}",
                    form.title, outcome.decision
                )
                .unwrap();
            }
        }
    }
    assert!(faults.is_empty(), "{faults}");
}

/// The whole page.
pub(super) fn page() -> String {
    let categories: Vec<(&str, &str, Category)> = CATEGORIES
        .iter()
        .map(|(file, test)| (*file, *test, Category::read(file)))
        .collect();
    let forms = || categories.iter().flat_map(|(_, _, category)| &category.forms);
    let started = forms().filter(|form| form.starts).count();
    let mut text = format!(
        "# Pods, and what heapship does with each\n\n\
         {} forms of pods are created in the suite on a real Kubernetes (`make e2e`), with heapship and without it. The API \
         server accepts both or refuses both, and both pods are equal to the last byte outside of what heapship adds: \
         its annotations, its volumes and containers, in the chosen containers its mounts, variables and hook, a grace period that \
         is never shorter. {started} of them are started: the JVM runs and says itself that our flags hold and that the user's options \
         arrived. The others are dry runs. The manifests are in `tests/cluster/forms`; what is said here of each was asked of the \
         function that the webhook calls. This page is generated: `make bless` writes it anew.\n",
        forms().count()
    );
    for (file, test, category) in &categories {
        write!(
            text,
            "\n## {file}\n\nShown by `{test}`.\n\n| form | what heapship does | shown |\n|---|---|---|\n"
        )
        .unwrap();
        for form in &category.forms {
            let shown = if form.starts { "started" } else { "dry run" };
            writeln!(
                text,
                "| {} | {} | {shown} |",
                cell(&form.title),
                cell(&done(category, form))
            )
            .unwrap();
        }
    }
    text += "\n## Elsewhere\n\n| form | what heapship does | shown by |\n|---|---|---|\n";
    for (form, does, test) in ELSEWHERE {
        writeln!(text, "| {form} | {does} | {test} |").unwrap();
    }
    text
}

fn done(category: &Category, form: &Form) -> String {
    let outcome = category.outcome(&form.pod);
    match (&form.expect, &outcome.decision) {
        (Expect::Refused, _) => "nothing: the API server refuses it with heapship and without".to_owned(),
        (_, Decision::NotAsked) => "nothing: nobody asked".to_owned(),
        (_, Decision::Skipped(skip)) => format!("left alone, `{}`: {skip}", skip.label()),
        (_, Decision::Injected) => injected(&outcome),
    }
}

/// What is said of this one and not of every other.
fn injected(outcome: &Outcome) -> String {
    const OF_ALL: [&str; 4] = ["options-set", "dumps-volume", "agent", "grace-raised"];
    let notes = outcome.notes.iter().filter(|note| !OF_ALL.contains(&note.code));
    let said: Vec<String> = notes
        .map(|note| match note.severity {
            Severity::Warning => format!("`{}`: {}", note.code, short(&note.text)),
            Severity::Step => short(&note.text),
        })
        .collect();
    if said.is_empty() {
        return "injected".to_owned();
    }
    format!("injected; {}", said.join("; "))
}

/// Without what stands in nearly every row.
fn short(sentence: &str) -> String {
    let flags = "-XX:+HeapDumpOnOutOfMemoryError -XX:HeapDumpPath=/heapship/dumps";
    sentence
        .replace("container app: ", "")
        .replace(flags, "our flags")
}

/// In a table: no line breaks, no bars, and of a text that goes on for ever its beginning.
fn cell(text: &str) -> String {
    const LONGEST: usize = 400;
    let line = text.replace('|', "\\|").replace(['\n', '\r'], " ");
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => {
            let cut = &line[..end];
            format!("{} …", cut.rsplit_once(' ').map_or(cut, |(words, _)| words))
        }
        None => line,
    }
}
