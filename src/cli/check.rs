//! `heapship check`: is the installation as it should be, and what is not?
//!
//! The cluster is read once into one value; each section is a pure judgement of it.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;

use crate::cli::documents::pretty;
use crate::cli::live::{self, block_on};
use crate::cli::{Console, Form, Stop, surroundings};
use crate::exit::Exit;
use crate::names;

mod certificates;
mod found;
mod namespaces;
mod permissions;
mod pods;
mod probe;
mod read;
mod registration;
mod report;
mod store;
mod versions;

pub(super) use found::Listed;

use crate::cli::live::Refusal;

use found::Found;
use report::{Level, Report};

/// Examine an installation: registration, certificates, permissions, namespaces, pods, stores
///
/// Says of each thing whether it is as it should be; a fault comes with what to do about it. Changes nothing: the webhook is
/// tried with a dry run of a pod that is never created. With --store, one agent for each way to a store writes a small
/// object and deletes it again.
///
/// Permissions: the ClusterRole heapship-viewer for what is read; heapship-operator for the dry run (create pods), the
/// webhook's own permissions (create subjectaccessreviews) and --store (create and get pods/exec). What may not be read is
/// said and left out.
///
/// Exit codes: 0 no fault; 1 faults were found; 2 wrong usage; 3 the cluster cannot be reached.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Look at namespaces and pods of this one only
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
    /// Look at all namespaces, as without --namespace
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    all_namespaces: bool,
    /// Name of the registration
    #[arg(long, value_name = "NAME", default_value = names::WEBHOOK)]
    registration: String,
    /// File of policies; unset: those of the installation
    #[arg(long, alias = "policy-file", value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Let agents write a small object to their stores
    #[arg(long)]
    store: bool,
    /// For a person, or for a program
    #[arg(short, long, value_enum, default_value_t)]
    output: Form,
    #[command(flatten)]
    cluster: live::Arguments,
}

/// Why nothing is examined.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("there is no namespace {0}; kubectl get namespaces lists them")]
    NoNamespace(String),
}

/// Runs the command.
///
/// # Errors
/// When the policy or the kubeconfig is wrong, the cluster cannot be reached, or the output cannot be written.
pub fn run(arguments: Arguments, console: &mut Console<'_>) -> Result<Exit, Stop> {
    let Arguments {
        namespace,
        all_namespaces: _,
        registration,
        policy,
        store,
        output,
        cluster,
    } = arguments;
    let policies = policy
        .as_deref()
        .map(surroundings::policies_of)
        .transpose()
        .map_err(Stop::usage)?;
    let found = block_on(async {
        let (live, version) = cluster.connect().await?;
        let wanted = read::Wanted {
            registration,
            policies,
            namespace: namespace.clone(),
            stores: store,
        };
        let found = read::read(&live, &version, wanted, &|pods| {
            progress(&format!("{pods} pods looked at"));
        })
        .await;
        progress("");
        Ok(found)
    })?;
    if let (Some(name), Err(Refusal::Absent)) = (namespace, &found.namespaces) {
        return Err(Stop::usage(Error::NoNamespace(name)));
    }
    let report = judge(&found);
    match output {
        Form::Text => write!(console.stdout, "{report}")?,
        Form::Json => writeln!(console.stdout, "{}", pretty(&report.to_json(), "  "))?,
    }
    Ok(match report.count(Level::Fault) {
        0 => Exit::Done,
        _ => Exit::No,
    })
}

/// On a terminal, in one line that the next takes the place of. Where it cannot be written nobody waits for it.
fn progress(said: &str) {
    let mut terminal = std::io::stderr();
    if terminal.is_terminal() {
        let _ = write!(terminal, "\r\x1b[K{said}");
    }
}

/// The whole judgement.
fn judge(found: &Found) -> Report {
    Report(vec![
        registration::judge(found),
        certificates::judge(found),
        probe::judge(found),
        permissions::judge(found),
        versions::judge(found),
        namespaces::judge(found),
        pods::judge(found),
        store::judge(found),
    ])
}

#[cfg(test)]
mod tests;
