//! Puts the agent's own executable where other containers find it: the tools volume.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::image_options;
use crate::names::ROOTS;
use crate::ship::store::roots::beside_the_executable;

/// The executable's name in the volume.
const EXECUTABLE: &str = "heapship-agent";

/// Why nothing was installed.
#[derive(Debug, thiserror::Error)]
#[error("cannot install {what} in {folder}; it must be a folder that uid {uid} may write")]
pub struct Error {
    what: &'static str,
    folder: PathBuf,
    uid: u32,
    source: io::Error,
}

/// Copies the executable that is running, and the CA roots of its image where it has some, into `folder`, and makes the env
/// files that other containers may write to.
///
/// # Errors
/// When the folder cannot be written.
pub fn install(folder: &Path, env_files: &[PathBuf]) -> Result<(), Error> {
    let failed_in = |what, folder: &Path| {
        let folder = folder.to_owned();
        move |source| Error {
            what,
            folder,
            uid: rustix::process::geteuid().as_raw(),
            source,
        }
    };
    let failed = |what| failed_in(what, folder);
    copy(Path::new("/proc/self/exe"), folder, EXECUTABLE, 0o755).map_err(failed(EXECUTABLE))?;
    let roots = beside_the_executable();
    if roots.exists() {
        copy(&roots, folder, ROOTS, 0o644).map_err(failed(ROOTS))?;
    }
    for file in env_files {
        let folder = file.parent().unwrap_or(file);
        image_options::prepare(file).map_err(failed_in("an env file", folder))?;
    }
    Ok(())
}

/// Under a temporary name first: a container that starts at the same time sees all of it or nothing.
fn copy(from: &Path, folder: &Path, name: &str, mode: u32) -> io::Result<()> {
    let temporary = folder.join(format!(".{name}.{}", std::process::id()));
    let copied = fs::copy(from, &temporary)
        .and_then(|_| fs::set_permissions(&temporary, Permissions::from_mode(mode)))
        .and_then(|()| fs::rename(&temporary, folder.join(name)));
    if copied.is_err() {
        drop(fs::remove_file(&temporary));
    }
    copied
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executable_is_copied_whole_and_can_be_run() {
        let folder = tempfile::tempdir().unwrap();
        install(folder.path(), &[]).unwrap();
        install(folder.path(), &[]).unwrap();
        let installed = folder.path().join(EXECUTABLE);
        let own = fs::metadata(std::env::current_exe().unwrap()).unwrap().len();
        assert_eq!(fs::metadata(&installed).unwrap().len(), own);
        assert_eq!(
            fs::metadata(&installed).unwrap().permissions().mode() & 0o777,
            0o755
        );
        let names: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert!(
            names.iter().all(|name| name == EXECUTABLE || name == ROOTS),
            "{names:?}"
        );
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let error = install(Path::new("/nowhere/tools"), &[]).unwrap_err().to_string();
        assert!(
            error.starts_with("cannot install heapship-agent in /nowhere/tools"),
            "{error}"
        );
    }
}
