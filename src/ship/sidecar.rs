//! Whether this agent is a sidecar, which the kubelet starts again, or a plain init container, for which the application
//! waits.
//!
//! A webhook that was built before there were native sidecars drops `restartPolicy` from what it passes on. Where the
//! injection saw that happen it puts the field back and marks the agent ([`variable::PROVE_SIDECAR`]), since nobody asks
//! it once more after the other's second turn. A marked agent ends once, with code 0, before it ships anything: a sidecar
//! is started again and finds the mark that it has left; an init container lets the pod go on without it, alive.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use super::arguments::{Arguments, Sources};
use crate::names::variable;
use crate::shutdown::Signals;

/// Shared by the containers of a pod's sandbox, and gone with it: it outlives a container that is started again, and not a
/// sandbox that is made anew (a node's restart), in which init containers run anew. On a volume of the pod's, the mark
/// would tell an init container of such a sandbox that it is a sidecar.
const SHARED_MEMORY: &str = "/dev/shm";
/// Where the kubelet looks for a container's last words.
const LAST_WORDS: &str = "/dev/termination-log";
/// The kubelet goes on to the application once it has seen a sidecar run: it looks every second.
const STAY: Duration = Duration::from_secs(3);

/// Whether the agent may begin; `false` where it has to end.
pub(super) async fn may_begin(arguments: &Arguments, signals: &mut Signals) -> bool {
    if !arguments.prove_sidecar || arguments.once {
        return true;
    }
    let first = match &arguments.containers {
        Some(Sources(sources)) => sources.first().map(|source| source.name.as_str()),
        None => None,
    };
    // Named by the pod: one with hostIPC shares the node's memory.
    let name = format!(
        "heapship-{}-{}",
        arguments.pod.pod_uid,
        first.unwrap_or(&arguments.container)
    );
    let why = match was_started(&Path::new(SHARED_MEMORY).join(name)) {
        Ok(true) => return true,
        Ok(false) => "a sidecar is started again and ships then".to_owned(),
        Err(error) => format!(
            "and it will not work after that, since nothing can be written to {SHARED_MEMORY}: {error}"
        ),
    };
    let said = format!(
        "another webhook took restartPolicy: Always off this agent: it ends once, so that the application starts whatever \
         became of it; {why}; an init container is not, and no dump of this pod is shipped (checked because of {})",
        variable::PROVE_SIDECAR
    );
    tracing::warn!("{said}");
    // For `kubectl describe`; where it is not there, the log has said it.
    drop(
        OpenOptions::new()
            .write(true)
            .open(LAST_WORDS)
            .and_then(|mut file| file.write_all(said.as_bytes())),
    );
    tokio::select! {
        () = tokio::time::sleep(STAY) => {}
        _ = signals.next() => {}
    }
    false
}

/// Whether the mark is there; it is from now on.
fn was_started(mark: &Path) -> io::Result<bool> {
    // `create_new` follows no link that somebody else has put there.
    match OpenOptions::new().write(true).create_new(true).open(mark) {
        Ok(_) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::symlink_metadata(mark).map(|found| found.is_file())
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_start_knows_of_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let mark = folder.path().join("heapship-1-app");
        assert!(!was_started(&mark).unwrap());
        assert!(was_started(&mark).unwrap());
        assert!(!was_started(&folder.path().join("heapship-1-worker")).unwrap());
        assert!(was_started(&folder.path().join("nowhere/mark")).is_err());
    }
}
