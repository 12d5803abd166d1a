//! `heapship deregister`: the first step of an uninstall. Afterwards the API server does not know of the webhook any more,
//! and no namespace remembers it.

use std::io::{BufRead as _, BufReader, IsTerminal as _};
use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::documents::pretty;
use crate::cli::live::{self, Live, Refusal, block_on};
use crate::cli::{Console, Form, Stop};
use crate::exit::Exit;
use crate::names;

/// Take the webhook out of the API server, and its label off all namespaces
///
/// The first step of an uninstall: deletes the registration, which is a MutatingWebhookConfiguration and a
/// ValidatingWebhookConfiguration of one name, then removes the label heapship.io/injection from every namespace. Pods that
/// run are left alone, and their agents go on shipping. Can be repeated. In a pod it uses the pod's service account.
///
/// Permissions: delete mutatingwebhookconfigurations and validatingwebhookconfigurations, list and patch namespaces (the
/// ClusterRole heapship-operator).
///
/// Exit codes: 0 done, or nothing was there; 1 the question was answered with no; 2 wrong usage; 3 it could not be done.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Name of the registration
    #[arg(long, value_name = "NAME", default_value = names::WEBHOOK)]
    registration: String,
    /// For a person, or for a program
    #[arg(short, long, value_enum, default_value_t)]
    output: Form,
    #[command(flatten)]
    cluster: live::Arguments,
}

/// Rounds over all namespaces.
const ROUNDS: u32 = 10;
/// Between two rounds: a webhook that has not seen yet that its registration is gone may put a label back.
const SETTLE: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("cannot {action}: {refusal}{}", remedy(.refusal))]
    Refused { action: String, refusal: Refusal },
    #[error(
        "namespaces were labelled again {ROUNDS} times over: a webhook still runs; scale it down and run this command again"
    )]
    LabelledAgain,
}

/// Runs the command.
///
/// # Errors
/// When the cluster cannot be reached, or something may not be deleted.
pub fn run(arguments: Arguments, console: &mut Console<'_>) -> Result<Exit, Stop> {
    let Arguments {
        yes,
        registration,
        output,
        cluster,
    } = arguments;
    // Helm's hook and scripts have nobody to ask.
    if !yes && std::io::stdin().is_terminal() && !confirmed(&registration, console)? {
        writeln!(console.stderr, "nothing was done")?;
        return Ok(Exit::No);
    }
    let [changes, warns] = names::REGISTRATION;
    let (existed, refused, unlabelled) = block_on(async {
        let (live, _) = cluster.connect().await?;
        let unregister = |kind| unregister(&live, kind, &registration);
        let mut existed = vec![(changes, unregister(changes).await.map_err(Stop::failed)?)];
        // A role from before there was a configuration that warns may not delete it, be it there or not. It puts no label
        // back, so the labels go all the same.
        let refused = match unregister(warns).await {
            Ok(deleted) => {
                existed.push((warns, deleted));
                None
            }
            Err(refused) => Some(refused),
        };
        Ok((existed, refused, unlabel(&live).await.map_err(Stop::failed)?))
    })?;
    let ended = refused.map_or(Ok(Exit::Done), |refused| Err(Stop::failed(refused)));
    if output == Form::Json {
        let deleted = existed.iter().any(|(_, existed)| *existed);
        let done = json!({"registrationDeleted": deleted, "namespacesUnlabelled": unlabelled});
        writeln!(console.stdout, "{}", pretty(&done, "  "))?;
        return ended;
    }
    for (kind, existed) in existed {
        let became = if existed { "deleted" } else { "is not there" };
        writeln!(console.stdout, "{kind} {registration} {became}")?;
    }
    writeln!(
        console.stdout,
        "label {} removed from {unlabelled} namespaces",
        names::INJECTION_LABEL
    )?;
    writeln!(
        console.stdout,
        "no pod is injected any more; those that run keep their agents. What remains, as it was installed:\n  \
         kubectl delete --ignore-not-found -k manifests/overlays/self-managed   # or helm uninstall"
    )?;
    ended
}

fn confirmed(registration: &str, console: &mut Console<'_>) -> Result<bool, Stop> {
    write!(
        console.stderr,
        "Delete the registration {registration} and the label {} of all namespaces? \
         New pods will not be injected. [y/N] ",
        names::INJECTION_LABEL
    )?;
    console.stderr.flush()?;
    let mut answer = String::new();
    BufReader::new(&mut *console.stdin).read_line(&mut answer)?;
    Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
}

async fn unregister(live: &Live, kind: &str, registration: &str) -> Result<bool, Error> {
    let path = live::registrations(kind);
    match live.delete(&format!("{path}/{registration}")).await {
        Ok(_) => Ok(true),
        Err(Refusal::Absent) => Ok(false),
        Err(refusal) => Err(Error::Refused {
            action: format!("delete the {kind} {registration}"),
            refusal,
        }),
    }
}

/// Until two rounds in a row find no label. The running webhook does the same, and both may.
async fn unlabel(live: &Live) -> Result<usize, Error> {
    let (mut removed, mut clean) = (0, false);
    for _ in 0..ROUNDS {
        let labelled = labelled(live).await?;
        if labelled.is_empty() && clean {
            return Ok(removed);
        }
        clean = labelled.is_empty();
        for name in labelled {
            removed += usize::from(unlabel_one(live, &name).await?);
        }
        tokio::time::sleep(SETTLE).await;
    }
    Err(Error::LabelledAgain)
}

async fn unlabel_one(live: &Live, name: &str) -> Result<bool, Error> {
    let path = format!("/api/v1/namespaces/{name}?fieldManager={}", names::FIELD_MANAGER);
    let label = json!({"metadata": {"labels": {names::INJECTION_LABEL: Value::Null}}});
    match live.merge(&path, &label).await {
        Ok(_) => Ok(true),
        // Deleted meanwhile, its label with it.
        Err(Refusal::Absent) => Ok(false),
        Err(refusal) => Err(Error::Refused {
            action: format!(
                "remove the label {} from namespace {name}",
                names::INJECTION_LABEL
            ),
            refusal,
        }),
    }
}

async fn labelled(live: &Live) -> Result<Vec<String>, Error> {
    let mut found = Vec::new();
    let mut add = |namespace: Value| found.extend(namespace["metadata"]["name"].as_str().map(str::to_owned));
    let path = format!(
        "/api/v1/namespaces?labelSelector={}",
        live::escaped(names::INJECTION_LABEL)
    );
    live.each(&path, &mut add)
        .await
        .map_err(|refusal| Error::Refused {
            action: "list the namespaces".to_owned(),
            refusal,
        })?;
    Ok(found)
}

fn remedy(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::Forbidden(_) => "; ask for the ClusterRole heapship-operator",
        Refusal::Absent | Refusal::Unauthorized(_) | Refusal::Unreachable(_) | Refusal::Refused(_) => "",
    }
}
