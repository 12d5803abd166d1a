//! How long a large dump takes to the bucket, beside what people build by hand, in the same cluster and the same minutes.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use kube::api::LogParams;

use crate::bed::workloads::App;
use crate::bed::{Bed, SOON, eventually, installed, store};

const JAVA: &str = "-Xmx1100m, -XX:+UseSerialGC, -cp, /app, Leak";

/// When the JVM said that its dump is written, by the kubelet's clock.
async fn written(bed: &Bed, pod: &str) -> jiff::Timestamp {
    let parameters = LogParams {
        container: Some("app".to_owned()),
        timestamps: true,
        ..LogParams::default()
    };
    bed.eventually("the dump is written", async || {
        let log = bed.pods().logs(pod, &parameters).await.ok()?;
        let line = log.lines().find(|line| line.contains("Heap dump file created"))?;
        line.split(' ').next()?.parse().ok()
    })
    .await
}

fn arrived(file: &Path) -> jiff::Timestamp {
    let modified: SystemTime = fs::metadata(file).unwrap().modified().unwrap();
    jiff::Timestamp::try_from(modified).unwrap()
}

async fn heapship(bed: &Bed) -> f64 {
    let app = App {
        name: "large",
        java: JAVA,
        spec: "restartPolicy: Never",
        ..App::default()
    };
    bed.apply(&app.pod());
    let written = written(bed, "large").await;
    let shipped = bed.shipped(1).await;
    shipped[0].assert_whole();
    assert!(
        shipped[0].record["bytes"]["dump"].as_u64().unwrap() > 1_000_000_000,
        "{:#}",
        shipped[0].record
    );
    // The record is the mark that all is there.
    let record = shipped[0].file.with_file_name(format!(
        "{}.json",
        shipped[0].file.file_name().unwrap().to_str().unwrap()
    ));
    arrived(&record).duration_since(written).as_secs_f64()
}

/// The same JVM with the flags by hand, and a container that waits for the file to be closed, compresses and copies it.
async fn by_hand(bed: &Bed) -> f64 {
    let app = App {
        name: "by-hand",
        annotations: &["heapship.io/inject: 'false'"],
        java: "-XX:+HeapDumpOnOutOfMemoryError, -XX:HeapDumpPath=/dumps, -Xmx1100m, -XX:+UseSerialGC, -cp, /app, Leak",
        container: "volumeMounts: [{name: dumps, mountPath: /dumps}]",
        spec: "restartPolicy: Never\nvolumes: [{name: dumps, emptyDir: {}}, {name: ca, secret: {secretName: ca}}]",
        ..App::default()
    };
    let ca = store::ca().replace('\n', "\n    ");
    bed.apply(&format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: ca}}\nstringData:\n  ca.crt: |\n    {ca}\n"
    ));
    let sidecar = format!(
        "  - name: uploader
    image: localhost/heapship-test/blog:1
    args: [/dumps, s3://{bucket}/by-hand/{namespace}]
    envFrom: [{{secretRef: {{name: {secret}}}}}]
    env:
    - {{name: AWS_ENDPOINT_URL, value: {endpoint}}}
    - {{name: AWS_CA_BUNDLE, value: /ca/ca.crt}}
    - {{name: SSL_CERT_FILE, value: /ca/ca.crt}}
    securityContext: {{runAsUser: 1234}}
    volumeMounts: [{{name: dumps, mountPath: /dumps}}, {{name: ca, mountPath: /ca}}]
",
        bucket = store::BUCKET,
        namespace = bed.namespace,
        secret = store::SECRET,
        endpoint = store::ENDPOINT,
    );
    bed.apply(&(app.pod() + &sidecar));
    let written = written(bed, "by-hand").await;
    let folder = store::bucket().join("by-hand").join(&bed.namespace);
    let object = eventually("the object that was copied by hand", SOON, async || {
        store::files(&folder).into_iter().next()
    })
    .await;
    arrived(&object).duration_since(written).as_secs_f64()
}

#[tokio::test]
async fn a_gigabyte_is_in_the_bucket_long_before_the_pipeline_that_people_build_by_hand() {
    let bed = Bed::alone("speed").await;
    let heapship = heapship(&bed).await;
    let by_hand = by_hand(&bed).await;
    let ratio = by_hand / heapship.max(0.001);
    installed::report(&format!(
        "a dump of 1.1 GB, from the JVM's \"Heap dump file created\" to the bucket: {heapship:.1} s, by hand {by_hand:.1} s, ratio {ratio:.1}"
    ));
    assert!(heapship < by_hand, "{heapship} s, by hand {by_hand} s");
}
