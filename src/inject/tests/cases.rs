//! What becomes of a pod: one folder in `tests/inject` for each case.
//!
//! ```text
//! pod.yaml        what the user applied
//! settings.yaml   only what differs from a cluster without policies: kubernetesVersion, envFiles, namespace, policies
//! patched.yaml    the pod afterwards
//! notes.txt       decision, steps and warnings, as the user sees them
//! ```
//!
//! To add a case, write the first two; to change one, change the code. Then `make bless` writes the other two, and the
//! review reads them. What Kubernetes thinks of the patched pods is asked in `tests/inject.rs`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use super::*;
use crate::yaml;

/// A case with everything that decides about its pod.
struct Case {
    name: String,
    folder: PathBuf,
    text: String,
    documents: Vec<yaml::Document>,
    namespace: Namespace,
    cluster: Cluster,
    policies: Policies,
}

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
fn a_second_pass_changes_nothing_and_says_the_same() {
    judge(|case, outcome, faults| {
        let second = inject(&outcome.pod, &case.context());
        if second.pod != outcome.pod {
            faults.push(format!("the second pass made {}", second.pod));
        }
        if !second.patch.0.is_empty() {
            faults.push(format!("the second pass has operations: {:?}", second.patch));
        }
        if second.decision != outcome.decision {
            faults.push(format!("the second pass decided {:?}", second.decision));
        }
        if warnings(&second.notes) != warnings(&outcome.notes) {
            faults.push(format!("the second pass warned {:?}", warnings(&second.notes)));
        }
    });
}

#[test]
fn the_patch_applied_to_the_pod_gives_the_patched_pod() {
    judge(|case, outcome, faults| {
        let mut pod = case.pod().clone();
        match json_patch::patch(&mut pod, &outcome.patch) {
            Ok(()) if pod == outcome.pod => {}
            Ok(()) => faults.push("the patch makes another pod".to_owned()),
            Err(error) => faults.push(format!("the patch does not apply: {error}")),
        }
    });
}

#[test]
fn a_pod_that_is_left_alone_keeps_its_spec() {
    judge(|case, outcome, faults| {
        if outcome.decision != Decision::Injected && outcome.pod["spec"] != case.pod()["spec"] {
            faults.push("the spec changed".to_owned());
        }
        if outcome.decision == Decision::NotAsked && outcome.pod != *case.pod() {
            faults.push("nobody asked, and yet the pod changed".to_owned());
        }
    });
}

#[test]
fn uninject_gives_the_text_back() {
    judge(|case, outcome, faults| {
        let restored = uninject(&outcome.pod);
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
        let outcome = inject(case.pod(), &case.context());
        let mut faults = Vec::new();
        check(&case, &outcome, &mut faults);
        for fault in faults {
            writeln!(report, "{}: {fault}", case.name).unwrap();
        }
    }
    assert!(report.is_empty(), "\n{report}");
}

fn cases() -> Vec<Case> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join("inject");
    let folders = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<PathBuf> = folders.filter(|path| path.is_dir()).collect();
    folders.sort();
    folders.into_iter().map(Case::read).collect()
}

impl Case {
    fn read(folder: PathBuf) -> Self {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let text =
            fs::read_to_string(folder.join("pod.yaml")).unwrap_or_else(|e| panic!("{name}/pod.yaml: {e}"));
        let documents = yaml::read(&text).unwrap_or_else(|e| panic!("{name}/pod.yaml: {e}"));
        assert_eq!(documents.len(), 1, "{name}/pod.yaml");
        let settings = fs::read_to_string(folder.join("settings.yaml")).unwrap_or_default();
        let settings = yaml::read(&settings).unwrap_or_else(|e| panic!("{name}/settings.yaml: {e}"));
        let mut case = Self {
            folder,
            text,
            documents,
            namespace: named("web"),
            cluster: Cluster {
                name: "test".to_owned(),
                version: KubernetesVersion::NEWEST,
                own_namespace: None,
                env_files: false,
            },
            policies: Policies::default(),
            name,
        };
        if let Some(settings) = settings.first() {
            case.settings(&settings.value);
        }
        case
    }

    fn settings(&mut self, settings: &Value) {
        for (key, value) in settings.as_object().into_iter().flatten() {
            match key.as_str() {
                "envFiles" => self.cluster.env_files = value.as_bool().unwrap(),
                "kubernetesVersion" => {
                    self.cluster.version = KubernetesVersion::parse(value.as_str().unwrap()).unwrap();
                }
                "namespace" => {
                    let mut namespace = named(value["name"].as_str().unwrap_or("web"));
                    namespace.labels.extend(texts(&value["labels"]));
                    namespace.annotations = texts(&value["annotations"]);
                    self.namespace = namespace;
                }
                "policies" => {
                    let documents: Vec<_> = value.as_array().unwrap().iter().map(yaml::write).collect();
                    let policies = Policies::from_yaml(&documents.join("---\n"));
                    self.policies = policies.unwrap_or_else(|e| panic!("{}/settings.yaml: {e}", self.name));
                }
                other => panic!("{}/settings.yaml: {other} is not a setting of cases", self.name),
            }
        }
    }

    fn pod(&self) -> &Value {
        &self.documents[0].value
    }

    fn context(&self) -> Context<'_> {
        Context {
            namespace: &self.namespace,
            policies: &self.policies,
            cluster: &self.cluster,
            workload: None,
        }
    }
}

fn named(name: &str) -> Namespace {
    Namespace {
        name: name.to_owned(),
        labels: BTreeMap::from([(names::NAMESPACE_NAME_LABEL.to_owned(), name.to_owned())]),
        annotations: BTreeMap::new(),
    }
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

fn warnings(notes: &[Note]) -> Vec<&Note> {
    notes
        .iter()
        .filter(|note| note.severity == Severity::Warning)
        .collect()
}
