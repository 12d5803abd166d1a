//! Hands on what the application's image sets itself: it runs from that image, and writes its own variables into env files
//! from which the kubelet gives them to the application.
//!
//! An init container that fails holds the pod for ever, so this one ends well whatever happens. The files are there before
//! it runs, and empty; each is replaced whole or not at all.

use std::env;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::env_file::EnvFile;
use crate::exit::Exit;
use crate::names::variable;

/// Where the kubelet finds a container's last words.
const LAST_WORDS: &str = "/dev/termination-log";

/// Write what this container's image sets into env files, for containers whose variables the pod replaces.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// A file to write; several are separated by commas
    #[arg(long = "file", value_name = "FILE", env = variable::ENV_FILES, value_delimiter = ',')]
    files: Vec<PathBuf>,
    /// A variable to write, where the image sets it; several are separated by commas
    #[arg(long = "variable", value_name = "NAME", env = variable::IMAGE_VARIABLES, value_delimiter = ',')]
    variables: Vec<String>,
}

/// Writes, and says what could not be handed on: in the log, and as the container's last words.
#[must_use]
pub fn run(arguments: &Arguments) -> Exit {
    let Arguments { files, variables } = arguments;
    let mut file = EnvFile::default();
    let mut lost = Vec::new();
    for name in variables {
        let Some(value) = env::var_os(name) else {
            continue;
        };
        match file.add(name, &value) {
            Ok(()) => say(&format!(
                "the image sets {name}, {} bytes; they are handed on",
                value.len()
            )),
            Err(unfit) => lost.push(format!(
                "the image's own {name} is not handed on: {unfit}; repeat it in the pod's manifest"
            )),
        }
    }
    for path in files {
        if let Err(error) = replace(path, file.as_str()) {
            lost.push(format!(
                "the image's own options are not handed on: cannot write {}: {error}",
                path.display()
            ));
        }
    }
    for line in &lost {
        say(line);
    }
    if !lost.is_empty() {
        // Outside of a pod there is no such file, and the log has said it.
        drop(fs::write(LAST_WORDS, lost.join("\n")));
    }
    Exit::Done
}

/// A log that cannot be written is no reason to fail, which `eprintln!` would.
fn say(line: &str) {
    drop(writeln!(io::stderr(), "heapship-agent: {line}"));
}

/// By a rename: a container that starts at the same moment finds the old file or the new one.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let temporary = path.with_extension("new");
    // One that was left behind may belong to somebody else.
    drop(fs::remove_file(&temporary));
    let replaced = fs::write(&temporary, text).and_then(|()| fs::rename(&temporary, path));
    if replaced.is_err() {
        drop(fs::remove_file(&temporary));
    }
    replaced
}

/// Makes a file that the kubelet reads as one without variables, unless there is one.
///
/// # Errors
/// When it cannot be made: the containers that read it would never start.
pub fn prepare(path: &Path) -> io::Result<()> {
    match fs::File::create_new(path) {
        // The pod's sandbox was made anew, and its containers run once more.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_happens_it_ends_well_and_a_file_that_is_there_stays_valid() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.env");
        prepare(&path).unwrap();
        prepare(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "");
        // PATH is set wherever tests run.
        let arguments = |files: &[&Path], variables: &[&str]| Arguments {
            files: files.iter().map(|file| (*file).to_owned()).collect(),
            variables: variables.iter().map(|name| (*name).to_owned()).collect(),
        };
        let nowhere = Path::new("/nowhere/app.env");
        let exit = run(&arguments(
            &[nowhere, &path],
            &["PATH", "HEAPSHIP_TEST_NOBODY_SETS_IT"],
        ));
        assert_eq!(exit, Exit::Done);
        let written = fs::read_to_string(&path).unwrap();
        assert!(
            written.starts_with("PATH='") && written.ends_with("'\n"),
            "{written}"
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!(run(&arguments(&[], &[])), Exit::Done);
    }
}
