//! Whether this agent is a sidecar, which the kubelet starts again, or a plain init container, for which the application
//! waits.
//!
//! A webhook that was built before there were native sidecars drops `restartPolicy` from what it passes on. Where the
//! injection saw that happen it puts the field back and marks the agent ([`variable::PROVE_SIDECAR`]), since nobody asks
//! it once more after the other's second turn. A marked agent ends once, with code 0, before it ships anything: a sidecar
//! is started again and finds the mark that it has left; an init container lets the pod go on without it, alive. Where no
//! mark can be left it ends so every time: the pod goes on, and what is lost is shipping, which is said.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use super::arguments::{Arguments, Sources};
use crate::names::variable;
use crate::shutdown::Signals;

/// Shared by the containers of a pod's sandbox, and gone with it: it outlives a container that is started again, and not a
/// sandbox that is made anew (a node's restart), in which init containers run anew. On a volume of the pod's, the mark
/// would tell an init container of such a sandbox that it is a sidecar.
const SHARED_MEMORY: &str = "/dev/shm";
/// Written by the runtime once for each sandbox (containerd, CRI-O, cri-dockerd), also where that one has the node's
/// namespaces.
const OF_THE_SANDBOX: &str = "/etc/resolv.conf";
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
    let name = name(
        &arguments.pod.pod_uid,
        first.unwrap_or(&arguments.container),
        Path::new(OF_THE_SANDBOX),
    );
    let mark = Path::new(SHARED_MEMORY).join(name);
    if was_left(&mark) {
        return true;
    }
    let stay = async {
        tokio::select! {
            () = tokio::time::sleep(STAY) => true,
            _ = signals.next() => false,
        }
    };
    let Some(left) = prove(&mark, stay).await else {
        return false;
    };
    let why = match left {
        Ok(()) => "a sidecar is started again and ships then".to_owned(),
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
    false
}

/// By pod and sandbox: a pod with hostIPC shares the node's memory, in which the mark outlives its sandbox. The number of a
/// namespace would not tell two sandboxes apart: the kernel gives a free one to the next, and a pod with the node's network
/// too has no namespace of its own.
fn name(pod: &str, container: &str, of_the_sandbox: &Path) -> String {
    let (seconds, nanos) =
        fs::metadata(of_the_sandbox).map_or((0, 0), |found| (found.mtime(), found.mtime_nsec()));
    format!("heapship-{pod}-{container}-{seconds}.{nanos:09}")
}

/// Leaves the mark once the stay is over, as the last thing before the end: an init container that is killed before it has
/// ended runs again, and the mark would make it stay for good. `None` where the stay was cut short.
async fn prove(mark: &Path, stay: impl Future<Output = bool>) -> Option<io::Result<()>> {
    // `create_new` follows no link that somebody else has put there.
    let leave = || {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(mark)
            .map(drop)
    };
    stay.await.then(leave)
}

fn was_left(mark: &Path) -> bool {
    fs::symlink_metadata(mark).is_ok_and(|found| found.is_file())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::future::ready;
    use std::time::SystemTime;

    use super::*;

    #[tokio::test]
    async fn the_second_start_knows_of_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let mark = folder.path().join("heapship-1-app");
        let stay = async {
            // Killed here, it has left nothing.
            assert!(!was_left(&mark));
            true
        };
        prove(&mark, stay).await.unwrap().unwrap();
        assert!(was_left(&mark) && !was_left(&folder.path().join("heapship-1-worker")));
        let nowhere = folder.path().join("nowhere/mark");
        assert!(prove(&nowhere, ready(true)).await.unwrap().is_err() && !was_left(&nowhere));
    }

    #[tokio::test]
    async fn a_start_that_was_cut_short_counts_for_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mark = folder.path().join("heapship-1-app");
        assert!(prove(&mark, ready(false)).await.is_none() && !was_left(&mark));
    }

    #[test]
    fn another_sandbox_of_the_same_pod_knows_of_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("resolv.conf");
        let made = |at: u64| {
            let time = SystemTime::UNIX_EPOCH + Duration::from_nanos(at);
            File::create(&file).unwrap().set_modified(time).unwrap();
            name("1", "app", &file)
        };
        let first = made(5_000_000_001);
        assert_eq!(first, name("1", "app", &file));
        assert_eq!(first, "heapship-1-app-5.000000001");
        assert_ne!(first, made(5_000_000_002));
        assert_eq!(
            name("1", "app", &folder.path().join("nowhere")),
            "heapship-1-app-0.000000000"
        );
    }
}
