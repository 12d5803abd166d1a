//! Where dumps are written: claims that pods share and leave behind, and a volume that is too small.

use std::fs;
use std::path::PathBuf;

use crate::bed::workloads::App;
use crate::bed::{Bed, SOON, eventually, heapship, installed, kubectl, store};

/// A volume on a folder of the node, as a shared file system would be, for a claim of that name.
pub(crate) fn volume_for(bed: &Bed, claim: &str) -> PathBuf {
    let folder = installed::state().join("claims").join(&bed.namespace);
    fs::create_dir_all(&folder).unwrap();
    fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    bed.apply(&format!(
        "apiVersion: v1
kind: PersistentVolume
metadata: {{name: {namespace}}}
spec:
  capacity: {{storage: 100Gi}}
  accessModes: [ReadWriteMany]
  storageClassName: ''
  persistentVolumeReclaimPolicy: Retain
  claimRef: {{name: {claim}, namespace: {namespace}}}
  hostPath: {{path: {folder}}}
",
        namespace = bed.namespace,
        folder = folder.display()
    ));
    folder
}

/// The claim `dumps`, and the folder behind it.
fn claim(bed: &Bed) -> PathBuf {
    let folder = volume_for(bed, "dumps");
    bed.apply(
        "apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: dumps}
spec:
  accessModes: [ReadWriteMany]
  storageClassName: ''
  resources: {requests: {storage: 10Gi}}
",
    );
    folder
}

const ON_THE_CLAIM: &[&str] = &["heapship.io/inject: 'true'", "heapship.io/volume: 'pvc:dumps'"];

/// Files of dumps below a folder.
fn dumps(folder: &std::path::Path) -> Vec<PathBuf> {
    store::files(folder)
        .into_iter()
        .filter(|file| file.to_string_lossy().contains(".hprof"))
        .collect()
}

#[tokio::test]
async fn two_replicas_on_one_claim_ship_both_dumps() {
    let bed = Bed::shared("claim").await;
    let folder = claim(&bed);
    let deployment = App {
        name: "twins",
        annotations: ON_THE_CLAIM,
        ..App::default()
    }
    .deployment();
    bed.apply(&deployment.replacen("spec:\n", "spec:\n  replicas: 2\n", 1));
    bed.eventually("a dump of each of two pods", async || {
        let shipped = store::shipped(&bed.namespace);
        let mut pods: Vec<&str> = shipped.iter().map(|dump| dump.says("pod")).collect();
        pods.sort_unstable();
        pods.dedup();
        (pods.len() == 2).then_some(())
    })
    .await;
    for dump in store::shipped(&bed.namespace) {
        dump.assert_whole();
    }
    kubectl::run(&[
        "-n",
        &bed.namespace,
        "delete",
        "deployment",
        "twins",
        "--cascade=foreground",
    ]);
    eventually("nothing is left on the claim", SOON, async || {
        dumps(&folder).is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_a_force_deleted_pod_left_on_its_claim_is_shipped_by_the_next() {
    let bed = Bed::shared("heir").await;
    let folder = claim(&bed);
    let app = |name: &'static str, java: &'static str| App {
        name,
        annotations: ON_THE_CLAIM,
        java,
        spec: "restartPolicy: Never",
        ..App::default()
    };
    // Large enough that its upload takes seconds.
    bed.apply(&app("first", "-Xmx700m, -XX:+UseSerialGC, -cp, /app, Leak").pod());
    let uid = bed.pod_of("first").await.metadata.uid.unwrap();
    bed.eventually("its upload has begun", async || {
        store::is_uploading(&bed.namespace).then_some(())
    })
    .await;
    let arguments = [
        "-n",
        &bed.namespace,
        "delete",
        "pod",
        "first",
        "--force",
        "--grace-period=0",
    ];
    kubectl::run(&arguments);
    assert!(
        store::shipped(&bed.namespace).is_empty(),
        "it was too late to break the upload off"
    );
    assert!(!dumps(&folder).is_empty(), "it is still there");

    bed.apply(&app("second", "-Xmx64m, -XX:+UseSerialGC, -cp, /app, Serve").pod());
    let shipped = bed.shipped(1).await;
    shipped[0].assert_whole();
    assert_eq!(
        shipped[0].says("pod"),
        "first",
        "under the name of the pod that wrote it"
    );
    assert_eq!(shipped[0].says("uid"), uid);
    eventually("nothing is left on the claim", SOON, async || {
        dumps(&folder).is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_volume_that_is_too_small_is_warned_of_and_its_eviction_is_named_by_check() {
    let bed = Bed::shared("small").await;
    // The dump has to stay on the volume until the kubelet looks.
    store::wrong_credentials_for(&bed.namespace);
    let app = App {
        name: "cramped",
        annotations: &["heapship.io/inject: 'true'", "heapship.io/volume: 'emptyDir:8Mi'"],
        container: "resources: {limits: {memory: 200Mi}}",
        ..App::default()
    };
    let warnings = bed.apply(&app.pod());
    assert!(
        warnings
            .iter()
            .any(|line| line.contains("emptyDir:8Mi is below the largest dump's peak of 800Mi")),
        "{warnings:?}"
    );
    bed.pod_until("cramped", "it was evicted", |pod| {
        pod.status.as_ref().and_then(|status| status.reason.as_deref()) == Some("Evicted")
    })
    .await;
    let check = heapship::run(&["check", "-n", &bed.namespace]);
    assert_eq!(check.status, Some(1), "{}", check.text);
    assert!(
        check.says("cramped") && check.says("heapship.io/volume"),
        "{}",
        check.text
    );
}
