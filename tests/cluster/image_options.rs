//! What an image sets itself (`ENV JAVA_TOOL_OPTIONS`) beside what the injection adds, in a JVM that runs.
//!
//! The image is `jvm-17-options`: its options have a property with a blank in quotes, a stack size, and a `HeapDumpPath` that
//! must not win.

use k8s_openapi::api::core::v1::Pod;

use crate::bed::workloads::App;
use crate::bed::{Bed, kubectl};

/// A JVM that says how it is set, and then runs out of memory.
const SPEAKING: &str =
    "-XshowSettings:properties, -XX:+PrintFlagsFinal, -Xmx48m, -XX:+UseSerialGC, -cp, /app, Leak";

fn app<'a>(name: &'a str, container: &'a str) -> App<'a> {
    App {
        name,
        image: "jvm-17-options",
        java: SPEAKING,
        container,
        spec: "restartPolicy: Never",
        ..App::default()
    }
}

/// What the JVM of a container said, once it has ended.
async fn said(bed: &Bed, pod: &str, container: &str) -> String {
    let ended = |pod: &Pod| {
        let status = pod.status.clone().unwrap_or_default();
        let init = status.init_container_statuses.unwrap_or_default();
        let regular = status.container_statuses.unwrap_or_default();
        let mut all = init.into_iter().chain(regular);
        all.any(|found| {
            found.name == container && found.state.is_some_and(|state| state.terminated.is_some())
        })
    };
    bed.pod_until(pod, &format!("its container {container} has ended"), ended)
        .await;
    kubectl::run(&["-n", &bed.namespace, "logs", pod, "-c", container])
}

/// A flag's value, as `-XX:+PrintFlagsFinal` shows it.
fn flag<'t>(said: &'t str, name: &str) -> &'t str {
    let of = |line: &'t str| {
        let (before, value) = line.split_once('=')?;
        (before.split_whitespace().last() == Some(name))
            .then(|| value.split_whitespace().next().unwrap_or_default())
    };
    said.lines()
        .find_map(of)
        .unwrap_or_else(|| panic!("no {name} in\n{said}"))
}

#[track_caller]
fn assert_ours(said: &str) {
    assert_eq!(flag(said, "HeapDumpOnOutOfMemoryError"), "true");
    assert_eq!(flag(said, "HeapDumpPath"), "/heapship/dumps");
}

#[track_caller]
fn assert_the_images(said: &str) {
    assert!(
        said.lines().any(|line| line.trim() == "from.image = a b"),
        "{said}"
    );
    assert_eq!(flag(said, "ThreadStackSize"), "512");
}

#[track_caller]
fn assert_not_the_images(said: &str) {
    assert!(!said.contains("from.image"), "{said}");
    assert_ne!(flag(said, "ThreadStackSize"), "512");
}

#[tokio::test]
async fn an_image_keeps_its_own_options_where_the_pod_says_nothing_of_them() {
    let bed = Bed::shared("image-options").await;
    bed.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: shop}\ndata: {OTHER: x}\n");
    let cases = [
        ("no-entry", ""),
        (
            "optional-missing",
            "env: [{name: JAVA_TOOL_OPTIONS, valueFrom: {configMapKeyRef: {name: shop, key: java, optional: true}}}]",
        ),
        ("env-from-without-it", "envFrom: [{configMapRef: {name: shop}}]"),
    ];
    for (name, container) in cases {
        bed.apply(&app(name, container).pod());
    }
    for (name, _) in cases {
        let said = said(&bed, name, "app").await;
        assert_ours(&said);
        assert_the_images(&said);
    }
    for dump in bed.shipped(cases.len()).await {
        dump.assert_whole();
    }
}

#[tokio::test]
async fn what_the_pod_says_wins_over_its_image_as_without_us() {
    let bed = Bed::shared("image-options-won").await;
    bed.apply(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: shop}\ndata: {JAVA_TOOL_OPTIONS: -Dfrom.pod=yes}\n",
    );
    let cases = [
        (
            "literal",
            "env: [{name: JAVA_TOOL_OPTIONS, value: -Dfrom.pod=yes}]",
        ),
        (
            "optional-there",
            "env: [{name: JAVA_TOOL_OPTIONS, valueFrom: {configMapKeyRef: {name: shop, key: JAVA_TOOL_OPTIONS, optional: true}}}]",
        ),
        ("env-from", "envFrom: [{configMapRef: {name: shop}}]"),
    ];
    for (name, container) in cases {
        bed.apply(&app(name, container).pod());
    }
    for (name, _) in cases {
        let said = said(&bed, name, "app").await;
        assert_ours(&said);
        assert_not_the_images(&said);
        assert!(said.contains("from.pod = yes"), "{said}");
    }
    bed.shipped(cases.len()).await;
}

#[tokio::test]
async fn options_that_are_not_to_be_carried_over_are_replaced_and_the_agent_says_so() {
    let bed = Bed::shared("image-options-off").await;
    let annotations = ["heapship.io/inject: 'true'", "heapship.io/image-options: 'off'"];
    let app = App {
        annotations: &annotations,
        ..app("replaced", "")
    };
    bed.apply(&app.pod());
    let jvm = said(&bed, "replaced", "app").await;
    assert_ours(&jvm);
    assert_not_the_images(&jvm);
    bed.shipped(1).await;
    let agent = kubectl::run(&["-n", &bed.namespace, "logs", "replaced", "-c", "heapship-agent"]);
    assert!(agent.contains("image sets JAVA_TOOL_OPTIONS itself"), "{agent}");
}

#[tokio::test]
async fn a_restricted_namespace_and_a_stated_user_keep_no_image_from_its_options() {
    let bed = Bed::shared_with(
        "image-options-restricted",
        "  labels: {pod-security.kubernetes.io/enforce: restricted, pod-security.kubernetes.io/enforce-version: latest}\n",
    )
    .await;
    let app = App {
        spec: "\
restartPolicy: Never
securityContext: {runAsNonRoot: true, runAsUser: 4711, seccompProfile: {type: RuntimeDefault}}",
        ..app(
            "strict",
            "securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}",
        )
    };
    // What a person sees: nothing is refused, and only what Kubernetes says of any chain.
    let dry = kubectl::apply_with(
        &["-n", &bed.namespace, "apply", "--dry-run=server", "-f", "-"],
        &app.pod(),
    );
    for line in &dry {
        assert!(
            line.contains("hides previous definition of \"HEAPSHIP_ORIGINAL_"),
            "{dry:?}"
        );
    }
    bed.apply(&app.pod());
    let said = said(&bed, "strict", "app").await;
    assert_ours(&said);
    assert_the_images(&said);
    bed.shipped(1).await[0].assert_whole();
}

#[tokio::test]
async fn an_init_container_that_is_a_jvm_keeps_the_options_of_its_own_image() {
    let bed = Bed::shared("image-options-init").await;
    let annotations = [
        "heapship.io/inject: 'true'",
        "heapship.io/containers: migrate,app",
    ];
    let spec = "\
restartPolicy: Never
initContainers:
- name: migrate
  image: localhost/heapship-test/jvm-17-options:1
  command: [/opt/java/bin/java, -XshowSettings:properties, -XX:+PrintFlagsFinal, -version]";
    let app = App {
        annotations: &annotations,
        image: "jvm-17-other",
        spec,
        ..app("pair", "")
    };
    bed.apply(&app.pod());
    let migrated = said(&bed, "pair", "migrate").await;
    assert_ours(&migrated);
    assert_the_images(&migrated);
    let served = said(&bed, "pair", "app").await;
    assert_ours(&served);
    assert_not_the_images(&served);
    bed.shipped(1).await[0].assert_whole();
}
