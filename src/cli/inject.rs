//! `heapship inject`: manifests in, manifests with the injection out, and what happened on standard error.

use std::io::Write;
use std::path::PathBuf;

use serde_json::Value;

use crate::cli::documents::{Form, Manifests};
use crate::cli::surroundings::{self, Surroundings};
use crate::cli::{Console, Stop};
use crate::exit::Exit;
use crate::inject::{self, Context, Decision, Outcome, Severity};
use crate::objects::{Object, objects};

/// Put the injection into manifests, as the webhook would into pods
///
/// Reads pods and everything that has a pod template, in YAML or JSON, and writes the same form; what needs no change
/// keeps every byte. What was done, and why not, goes to standard error.
///
/// Exit codes: 0 done, also where a pod opts out or is never touched; 1 something asked for was left alone, for the reason
/// that is printed; 2 wrong usage or input; 3 the result could not be written.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// File, folder, or - for standard input; may be given several times
    #[arg(short = 'f', long = "filename", value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Form of the result; unset: the form of the input
    #[arg(short, long, value_enum)]
    output: Option<Form>,
    #[command(flatten)]
    surroundings: surroundings::Arguments,
}

/// Runs the command.
///
/// # Errors
/// When the input is wrong or the output cannot be written.
pub fn run(arguments: Arguments, console: &mut Console<'_>) -> Result<Exit, Stop> {
    let Arguments {
        files,
        output,
        surroundings,
    } = arguments;
    let manifests = Manifests::read(&files, console.stdin).map_err(Stop::usage)?;
    let mut documents = manifests.values();
    let surroundings = surroundings.read(&documents).map_err(Stop::usage)?;

    let mut exit = Exit::Done;
    let mut pods = 0;
    for document in &mut documents {
        for object in objects(document) {
            pods += 1;
            let Some(outcome) = decide(document, &object, &surroundings) else {
                continue;
            };
            report(console.stderr, document, &object, &surroundings, &outcome)?;
            match outcome.decision {
                Decision::Injected => {
                    if let Some(pod) = document.pointer_mut(&object.pod_pointer()) {
                        *pod = outcome.pod;
                    }
                }
                // A status on a pod says what the webhook did; a manifest has nothing to say.
                Decision::Skipped(skip) if !skip.leaves_no_trace() => exit = Exit::No,
                // It was refused, or is none of ours: nothing is missing.
                Decision::Skipped(_) | Decision::NotAsked => {}
            }
        }
    }
    if pods == 0 {
        writeln!(console.stderr, "nothing here is a pod or makes pods")?;
    }
    console.manifests(&manifests.write(&documents, output))?;
    Ok(exit)
}

/// What the core says about the pod of an object.
pub(super) fn decide(document: &Value, object: &Object, surroundings: &Surroundings) -> Option<Outcome> {
    let pod = document.pointer(&object.pod_pointer())?;
    let namespace = surroundings.namespace(object);
    let Surroundings {
        policies, cluster, ..
    } = surroundings;
    let context = Context {
        namespace: &namespace,
        policies,
        cluster,
        workload: object.workload(),
    };
    Some(inject::inject(pod, &context))
}

fn report(
    stderr: &mut dyn Write,
    document: &Value,
    object: &Object,
    surroundings: &Surroundings,
    outcome: &Outcome,
) -> Result<(), Stop> {
    let namespace = surroundings.namespace(object).name;
    let said = match &outcome.decision {
        Decision::Injected if document.pointer(&object.pod_pointer()) == Some(&outcome.pod) => {
            "carries the injection already".to_owned()
        }
        Decision::Injected => "injected".to_owned(),
        Decision::Skipped(skip) => format!("left alone: {skip} ({})", skip.label()),
        Decision::NotAsked => "left alone: nobody asks for it".to_owned(),
    };
    writeln!(stderr, "{} in {namespace}: {said}", object.title())?;
    for mistake in object.mistakes(document) {
        writeln!(stderr, "  warning: {mistake}")?;
    }
    for note in outcome
        .notes
        .iter()
        .filter(|note| note.severity == Severity::Warning)
    {
        writeln!(stderr, "  warning: {} ({})", note.text, note.code)?;
    }
    Ok(())
}
