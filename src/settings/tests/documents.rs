//! Policies as they are written: what is taken, and what is refused with which words.

use serde_json::json;

use crate::settings::annotations::Key;
use crate::settings::policy::Policies;
use crate::settings::{Annotations, Layers, resolve};

fn policies(spec: &str) -> Result<Policies, String> {
    Policies::from_yaml(&format!(
        "{{kind: HeapDumpPolicy, metadata: {{name: p}}, spec: {{{spec}}}}}"
    ))
    .map_err(|error| error.to_string())
}

fn refused(spec: &str) -> String {
    policies(spec).map(drop).unwrap_err()
}

fn labels(pairs: &[(&str, &str)]) -> Annotations {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

#[test]
fn every_setting_is_read_as_the_annotation_would_be() {
    for (field, right, wrong) in [
        ("containers", "app", "App"),
        ("onOom", "'off'", "of"),
        ("preStop", "live", "life"),
        ("preStopOrder", "after", "later"),
        ("preStopDelay", "5s", "5"),
        ("terminationGracePeriod", "10m", "0s"),
        ("uploadGrace", "auto", "never"),
        ("agent", "'off'", "yes"),
        ("imageOptions", "'off'", "all"),
        ("liveness", "extend", "more"),
        ("volume", "'emptyDir:1Gi'", "disk"),
        ("destination", "'s3://dumps'", "dumps"),
        ("keyTemplate", "'{pod}/{time}'", "'{pod}'"),
        ("compression", "zstd", "lzma"),
        ("credentialsSecret", "s3", "S3"),
        ("runAsUser", "1000", "root"),
        ("javaOptionsVariable", "JAVA_OPTS", "_JAVA_OPTIONS"),
        ("maxDumps", "5", "0"),
    ] {
        let key = Key::of_field(field).unwrap();
        let policies = policies(&format!("settings: {{{field}: {right}}}")).unwrap();
        let policy = policies.select("team-a", &labels(&[]), &labels(&[])).unwrap();
        assert_eq!(policy.settings[&key], right.trim_matches('\''));
        let said = refused(&format!("settings: {{{field}: {wrong}}}"));
        assert!(
            said.starts_with(&format!("policy p: spec.settings.{field}: ")),
            "{said}"
        );
        // Nothing at all is nothing set.
        let empty = self::policies(&format!("settings: {{{field}: }}")).unwrap();
        assert!(
            empty
                .select("team-a", &labels(&[]), &labels(&[]))
                .unwrap()
                .settings
                .is_empty()
        );
    }
    assert_eq!(
        refused("settings: {inject: 'true'}"),
        "policy p: spec.settings.inject is for annotations: use spec.mode"
    );
}

#[test]
fn a_store_is_refused_for_what_an_agent_could_not_start_with() {
    const CA: &str = "caBundle: '-----BEGIN CERTIFICATE-----'";
    for right in [
        "endpoint: 'https://s3'",
        "endpoint: 'http://s3', allowHttp: true",
        "endpoint: 'https://s3', allowHttp: true",
        CA,
        "checksum: sha256",
        "checksum: crc64nvme",
        "checksum: none",
        "volume: {nfs: {}}, mountPath: /mnt",
        "volume: {nfs: {}}, mountPath: /heapships",
    ] {
        assert!(policies(&format!("store: {{{right}}}")).is_ok(), "{right}");
    }
    for (wrong, said) in [
        ("endpoint: 'http://s3'", "endpoint \"http://s3\" is not https"),
        ("endpoint: 's3', allowHttp: true", "endpoint \"s3\" is not https"),
        ("caBundle: x", "caBundle is not a PEM certificate"),
        (
            "checksum: md5",
            "checksum \"md5\" must be crc64nvme, sha256 or none",
        ),
        ("volume: {nfs: {}}", "volume and spec.store.mountPath go together"),
        ("mountPath: /mnt", "volume and spec.store.mountPath go together"),
        (
            "volume: nfs, mountPath: /mnt",
            "volume must be one Kubernetes volume source",
        ),
        (
            "volume: {}, mountPath: /mnt",
            "volume must be one Kubernetes volume source",
        ),
        (
            "volume: {name: a, nfs: {}}, mountPath: /mnt",
            "volume must be one Kubernetes volume source",
        ),
    ] {
        let found = refused(&format!("store: {{{wrong}}}"));
        assert!(
            found.starts_with(&format!("policy p: spec.store.{said}")),
            "{found}"
        );
    }
    for path in [
        "/heapship",
        "/heapship/",
        "/heapship/dumps",
        "/var/run/secrets/kubernetes.io/serviceaccount",
        "mnt",
        "/",
        "'/mnt:x'",
        "/mnt/../heapship",
    ] {
        let said = refused(&format!("store: {{volume: {{nfs: {{}}}}, mountPath: {path}}}"));
        assert!(
            said.ends_with("must be an absolute path outside /heapship"),
            "{path}: {said}"
        );
    }
}

#[test]
fn an_agent_is_refused_for_what_a_pod_would_be_refused_for() {
    for right in [
        "image: registry/heapship",
        "imagePullPolicy: Always",
        "imagePullPolicy: IfNotPresent",
        "imagePullPolicy: Never",
        "resources: {}",
        "resources: {requests: {cpu: 100m, memory: 64Mi}, limits: {cpu: 1, memory: 64Mi}}",
        "resources: {requests: {ephemeral-storage: 1Gi}}",
        "resources: {requests: {memory: 64Mi}, limits: {cpu: 1}}",
    ] {
        assert!(policies(&format!("agent: {{{right}}}")).is_ok(), "{right}");
    }
    for (wrong, said) in [
        ("image: ''", "image is not an image"),
        ("image: 'a b'", "image is not an image"),
        (
            "imagePullPolicy: always",
            "imagePullPolicy \"always\" must be Always, IfNotPresent or Never",
        ),
        ("resources: much", "resources is not an object"),
        (
            "resources: {claims: {}}",
            "resources.claims: only requests and limits are allowed",
        ),
        ("resources: {limits: 1}", "resources.limits is not an object"),
        (
            "resources: {limits: {ephemeral-storage: 1Gi}}",
            "resources.limits.ephemeral-storage would become the limit of the whole pod",
        ),
        (
            "resources: {requests: {cpu: much}}",
            "resources.requests.cpu is not a quantity",
        ),
        (
            "resources: {requests: {cpu: 1001m}, limits: {cpu: 1}}",
            "resources.requests.cpu is above its limit",
        ),
    ] {
        let found = refused(&format!("agent: {{{wrong}}}"));
        assert!(
            found.starts_with(&format!("policy p: spec.agent.{said}")),
            "{found}"
        );
    }
}

#[test]
fn a_limit_is_refused_with_its_place() {
    for (wrong, said) in [
        (
            "terminationGracePeriod: soon",
            "terminationGracePeriod: \"soon\" is not allowed: use a duration like 10m",
        ),
        (
            "uploadGrace: soon",
            "uploadGrace: \"soon\" is not allowed: use a duration like 10m",
        ),
        (
            "preStopDelay: soon",
            "preStopDelay: \"soon\" is not allowed: use a duration like 10m",
        ),
        (
            "volumeSize: big",
            "volumeSize: \"big\" is not allowed: use a size like 20Gi",
        ),
        (
            "settings: [preStops]",
            "settings.preStops is not a setting; did you mean preStop?",
        ),
    ] {
        let found = refused(&format!("limits: {{{wrong}}}"));
        assert!(
            found.starts_with(&format!("policy p: spec.limits.{said}")),
            "{found}"
        );
    }
}

#[test]
fn the_document_that_is_wrong_is_named_by_its_number() {
    let text = "{kind: HeapDumpPolicy, metadata: {name: p}}\n---\n{kind: HeapDumpPolicy}\n";
    assert_eq!(
        Policies::from_yaml(text).unwrap_err().to_string(),
        "document 2: metadata.name is missing"
    );
    let text = "{kind: HeapDumpPolicy, metadata: {name: p}}\n---\n{kind: Pod}\n";
    assert_eq!(
        Policies::from_yaml(text).unwrap_err().to_string(),
        "document 2: kind is \"Pod\", expected HeapDumpPolicy"
    );
}

#[test]
fn every_operator_of_a_selector_selects_as_kubernetes_does() {
    let selects = |operator: &str, pairs: &[(&str, &str)]| {
        let text = format!("podSelector: {{matchExpressions: [{{key: env, {operator}}}]}}");
        policies(&text)
            .unwrap()
            .select("n", &labels(&[]), &labels(pairs))
            .is_some()
    };
    let (prod, dev, none) = ([("env", "prod")], [("env", "dev")], []);
    for (operator, expected) in [
        ("operator: In, values: [prod]", [true, false, false]),
        ("operator: NotIn, values: [prod]", [false, true, true]),
        ("operator: Exists", [true, true, false]),
        ("operator: DoesNotExist", [false, false, true]),
    ] {
        let found = [
            selects(operator, &prod),
            selects(operator, &dev),
            selects(operator, &none),
        ];
        assert_eq!(found, expected, "{operator}");
    }
}

#[test]
fn namespaces_are_selected_by_name_and_by_labels_together() {
    let policies = policies(
        "namespaces: [a, b], namespaceSelector: {matchLabels: {tier: prod}, matchExpressions: [{key: old, operator: DoesNotExist}]}",
    )
    .unwrap();
    let selected =
        |name: &str, pairs: &[(&str, &str)]| policies.select(name, &labels(pairs), &labels(&[])).is_some();
    assert!(selected("a", &[("tier", "prod")]) && selected("b", &[("tier", "prod")]));
    assert!(!selected("c", &[("tier", "prod")]) && !selected("a", &[]));
    assert!(!selected("a", &[("tier", "prod"), ("old", "")]));
    let used: Vec<_> = policies.namespace_labels_used().collect();
    assert_eq!(used, [("p", "tier"), ("p", "old")]);
}

#[test]
fn a_number_or_a_boolean_needs_no_quotes() {
    let policies = policies("settings: {runAsUser: 1000, maxDumps: 3}").unwrap();
    let nothing = Annotations::new();
    let resolved = resolve(&Layers {
        policy: policies.select("n", &nothing, &nothing),
        namespace: &nothing,
        pod: &nothing,
    });
    let settings = resolved.settings.unwrap();
    assert_eq!(
        json!([settings.run_as_user, settings.max_dumps]),
        json!([1000, 3])
    );
    // YAML 1.1 reads `off` as a boolean, and what a boolean means is for the setting to say.
    assert!(refused("settings: {agent: true}").contains("\"true\" is not allowed: use on or off"));
}
