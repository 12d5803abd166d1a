//! `heapship explain`: what would happen to a manifest, step by step, and why.

use std::path::PathBuf;

use serde::Serialize;
use serde_json::{Value, json};

use crate::cli::documents::{Manifests, pretty};
use crate::cli::objects::{Object, objects};
use crate::cli::surroundings::{self, Surroundings};
use crate::cli::{Console, Stop, inject, words};
use crate::exit::Exit;
use crate::inject::{Decision, Outcome, Severity};
use crate::settings::Request;

mod text;

/// Tell what would happen to a manifest, and why
///
/// Says for every pod, or everything that makes pods: whether heapship is asked for and by whom, which setting comes from
/// where, what would be changed, what the JVM will see, and what deserves attention. Changes nothing.
///
/// Exit codes: 0 explained; 2 wrong usage or input; 3 the explanation could not be written.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// File, folder, or - for standard input; may be given several times
    #[arg(short = 'f', long = "filename", value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Only this one, for example Deployment/shop
    #[arg(long, value_name = "KIND/NAME")]
    object: Option<String>,
    /// For a person, or for a program
    #[arg(short, long, value_enum, default_value_t = Form::Text)]
    output: Form,
    #[command(flatten)]
    surroundings: surroundings::Arguments,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
enum Form {
    Json,
    Text,
}

/// Why nothing is explained.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("nothing here is a pod or makes pods")]
    Nothing,
    #[error("no {wanted} here: there is {}", .known.join(", "))]
    Unknown { wanted: String, known: Vec<String> },
}

/// The explanation of one object.
#[derive(Debug, Serialize)]
struct Explanation {
    object: String,
    namespace: String,
    /// `injected`, `present`, `skipped` or `not-asked`.
    decision: &'static str,
    /// The code of the reason, where there is one.
    reason: Option<&'static str>,
    /// One sentence.
    message: String,
    policy: Option<String>,
    settings: Vec<Setting>,
    changes: Vec<String>,
    environment: Vec<Environment>,
    steps: Vec<String>,
    warnings: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Setting {
    annotation: String,
    value: String,
    from: String,
}

#[derive(Debug, Serialize)]
struct Environment {
    container: String,
    variables: Vec<String>,
}

/// Runs the command.
///
/// # Errors
/// When the input is wrong, or holds no such object, or the output cannot be written.
pub fn run(arguments: Arguments, console: &mut Console<'_>) -> Result<Exit, Stop> {
    let Arguments {
        files,
        object,
        output,
        surroundings,
    } = arguments;
    let manifests = Manifests::read(&files, console.stdin).map_err(Stop::usage)?;
    let documents = manifests.values();
    let surroundings = surroundings.read(&documents).map_err(Stop::usage)?;

    let found: Vec<(&Value, Object)> = documents
        .iter()
        .flat_map(|document| {
            objects(document)
                .into_iter()
                .map(move |object| (document, object))
        })
        .collect();
    if found.is_empty() {
        return Err(Stop::usage(Error::Nothing));
    }
    let wanted = |found: &Object| {
        object
            .as_ref()
            .is_none_or(|wanted| found.title().eq_ignore_ascii_case(wanted))
    };
    let explanations: Vec<Explanation> = found
        .iter()
        .filter(|(_, object)| wanted(object))
        .filter_map(|(document, object)| explain(document, object, &surroundings))
        .collect();
    if explanations.is_empty() {
        let known = found.iter().map(|(_, object)| object.title()).collect();
        return Err(Stop::usage(Error::Unknown {
            wanted: object.unwrap_or_default(),
            known,
        }));
    }
    match output {
        Form::Text => {
            for (index, explanation) in explanations.iter().enumerate() {
                let gap = if index > 0 { "\n" } else { "" };
                write!(console.stdout, "{gap}{explanation}")?;
            }
        }
        Form::Json => writeln!(
            console.stdout,
            "{}",
            pretty(&json!({ "objects": explanations }), "  ")
        )?,
    }
    Ok(Exit::Done)
}

fn explain(document: &Value, object: &Object, surroundings: &Surroundings) -> Option<Explanation> {
    let pod = document.pointer(&object.pod_pointer())?;
    let outcome = inject::decide(document, object, surroundings)?;
    let namespace = surroundings.namespace(object).name;
    let (decision, reason, message) = verdict(pod, &outcome);

    let mut warnings = object.mistakes(document);
    let (mut steps, mut changes, mut environment) = (Vec::new(), Vec::new(), Vec::new());
    for note in &outcome.notes {
        match note.severity {
            Severity::Step => steps.push(note.text.clone()),
            Severity::Warning => warnings.push(format!("{} ({})", note.text, note.code)),
        }
    }
    if outcome.decision == Decision::Injected {
        changes = words::changes(pod, &outcome.pod);
        let variables = words::environment(pod, &outcome.pod).into_iter();
        environment = variables
            .map(|(container, variables)| Environment { container, variables })
            .collect();
    }
    Some(Explanation {
        object: object.title(),
        namespace,
        decision,
        reason,
        message,
        policy: outcome.policy.clone(),
        settings: outcome
            .settings
            .origins
            .iter()
            .map(|origin| Setting {
                annotation: origin.key.to_string(),
                value: origin.value.clone(),
                from: origin.level.to_string(),
            })
            .collect(),
        changes,
        environment,
        steps,
        warnings,
    })
}

fn verdict(pod: &Value, outcome: &Outcome) -> (&'static str, Option<&'static str>, String) {
    match (&outcome.decision, &outcome.settings.request) {
        (Decision::Injected, _) if outcome.pod == *pod => (
            "present",
            None,
            "it carries the whole injection already: nothing changes".to_owned(),
        ),
        (Decision::Injected, Request::Inject(level)) => {
            ("injected", None, format!("it is injected: {level} asks for it"))
        }
        (Decision::Injected, Request::OptedOut(_) | Request::NotAsked) => {
            ("injected", None, "it is injected".to_owned())
        }
        (Decision::Skipped(skip), _) => ("skipped", Some(skip.label()), format!("it is left alone: {skip}")),
        (Decision::NotAsked, _) => (
            "not-asked",
            None,
            "it is left alone: nobody asks for it; to ask, annotate the pod template or the namespace with \
             heapship.io/inject: \"true\""
                .to_owned(),
        ),
    }
}
