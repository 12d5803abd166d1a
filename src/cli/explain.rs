//! `heapship explain`: what would happen to a manifest, or how a live pod stands, and why.

use std::path::PathBuf;

use serde::Serialize;
use serde_json::{Value, json};

use crate::cli::documents::{Manifests, pretty};
use crate::cli::live as connection;
use crate::cli::surroundings::{self, Surroundings};
use crate::cli::{Console, Form, Stop, inject, words};
use crate::exit::Exit;
use crate::inject::{Decision, Outcome, Severity};
use crate::names;
use crate::objects::{Object, objects};
use crate::settings::Request;

mod account;
mod kinds;
mod live;
mod text;

/// Tell how a live pod stands, or what would happen to a manifest, and why
///
/// pod/NAME, deployment/NAME and so on are looked up in the cluster: does the pod carry the injection, who asks for it, do
/// its agents run, where do its dumps go, what was shipped, what is missing and what to do. With -f it says for every pod of
/// a manifest, or everything that makes pods: whether heapship is asked for and by whom, which setting comes from where,
/// what would be changed, what the JVM will see, and what deserves attention. Changes nothing.
///
/// Permissions: the ClusterRole heapship-viewer; get pods/log to tell what was shipped. What may not be read is said and
/// left out.
///
/// Exit codes: 0 explained; 2 wrong usage or input, or no such object; 3 it could not be read or written.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Live objects: pod/NAME, deployment/NAME, statefulset/NAME, daemonset/NAME, replicaset/NAME, job/NAME, cronjob/NAME
    #[arg(value_name = "KIND/NAME", conflicts_with = "files")]
    objects: Vec<String>,
    /// Live pods with these labels, for example app=shop
    #[arg(short = 'l', long, value_name = "LABELS", conflicts_with = "files")]
    selector: Option<String>,
    /// File, folder, or - for standard input; may be given several times
    #[arg(
        short = 'f',
        long = "filename",
        value_name = "FILE",
        required_unless_present_any = ["objects", "selector"]
    )]
    files: Vec<PathBuf>,
    /// Of the manifests only this one, for example Deployment/shop
    #[arg(long, value_name = "KIND/NAME", requires = "files")]
    object: Option<String>,
    /// Name of the MutatingWebhookConfiguration
    #[arg(long, value_name = "NAME", default_value = names::WEBHOOK)]
    registration: String,
    #[command(flatten)]
    cluster: connection::Arguments,
    /// For a person, or for a program
    #[arg(short, long, value_enum, default_value_t)]
    output: Form,
    #[command(flatten)]
    surroundings: surroundings::Arguments,
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
        objects: wanted,
        selector,
        files,
        object,
        registration,
        cluster,
        output,
        surroundings,
    } = arguments;
    if files.is_empty() {
        let told = live::tell(live::Wanted {
            objects: wanted,
            selector,
            registration,
            cluster,
            surroundings,
        })?;
        return tell(&told, output, console);
    }
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

fn tell(told: &live::Told, output: Form, console: &mut Console<'_>) -> Result<Exit, Stop> {
    let live::Told {
        templates,
        pods,
        unread,
        more,
    } = told;
    if output == Form::Json {
        let told = json!({"objects": templates, "pods": pods, "notRead": unread, "morePods": more});
        writeln!(console.stdout, "{}", pretty(&told, "  "))?;
        return Ok(Exit::Done);
    }
    let mut gap = "";
    for pod in pods {
        write!(console.stdout, "{gap}{pod}")?;
        gap = "\n";
    }
    for template in templates {
        write!(console.stdout, "{gap}{template}")?;
        gap = "\n";
    }
    if *more > 0 {
        writeln!(
            console.stdout,
            "\nand {more} more pods; heapship check finds those that lack the injection"
        )?;
    }
    for unread in unread {
        writeln!(console.stderr, "note: {unread}")?;
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
