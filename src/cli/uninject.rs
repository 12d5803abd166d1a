//! `heapship uninject`: the way back.

use std::path::PathBuf;

use crate::cli::documents::{Form, Manifests};
use crate::cli::{Console, Stop};
use crate::exit::Exit;
use crate::inject;
use crate::objects::objects;

/// Take the injection out of manifests again
///
/// Reads what inject wrote, or a pod as the cluster shows it, and restores what was there before. The annotations that
/// asked for the injection stay.
///
/// Exit codes: 0 done, also where nothing was to be taken out; 2 wrong usage or input; 3 the result could not be
/// written.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// File, folder, or - for standard input; may be given several times
    #[arg(short = 'f', long = "filename", value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Form of the result; unset: the form of the input
    #[arg(short, long, value_enum)]
    output: Option<Form>,
}

/// Runs the command.
///
/// # Errors
/// When the input is wrong or the output cannot be written.
pub fn run(arguments: Arguments, console: &mut Console<'_>) -> Result<Exit, Stop> {
    let Arguments { files, output } = arguments;
    let manifests = Manifests::read(&files, console.stdin).map_err(Stop::usage)?;
    let mut documents = manifests.values();
    let mut pods = 0;
    for document in &mut documents {
        for object in objects(document) {
            pods += 1;
            let Some(pod) = document.pointer_mut(&object.pod_pointer()) else {
                continue;
            };
            let restored = inject::uninject(pod);
            let said = if *pod == restored {
                "has nothing of heapship's"
            } else {
                "restored"
            };
            writeln!(console.stderr, "{}: {said}", object.title())?;
            *pod = restored;
        }
    }
    if pods == 0 {
        writeln!(console.stderr, "nothing here is a pod or makes pods")?;
    }
    console.manifests(&manifests.write(&documents, output))?;
    Ok(Exit::Done)
}
