//! What decides besides the pod: its namespace, the policies, the cluster.

use std::sync::OnceLock;

use heapship::inject::{Cluster, KubernetesVersion, Namespace};
use heapship::settings::policy::Policies;

use super::annotations;
use crate::random::Random;

/// Policies with the text that they were read from.
pub(crate) struct PolicySet {
    pub(crate) text: String,
    pub(crate) policies: Policies,
}

pub(super) fn namespace(random: &mut Random, clean: bool) -> Namespace {
    let name = match random.below(if clean { 200 } else { 20 }) {
        0 => "kube-system",
        1 => "heapship-system",
        _ => random.pick(&["web", "web", "batch"]),
    };
    let mut namespace = Namespace {
        name: name.to_owned(),
        labels: [("kubernetes.io/metadata.name".to_owned(), name.to_owned())].into(),
        ..Namespace::default()
    };
    if random.percent(30) {
        namespace.labels.insert("team".to_owned(), "a".to_owned());
    }
    if random.percent(35) {
        namespace.annotations = annotations::settings(random, clean, 30);
        if random.percent(50) {
            let asked = if random.one_in(6) { "false" } else { "true" };
            namespace
                .annotations
                .insert("heapship.io/inject".to_owned(), asked.to_owned());
        }
    }
    namespace
}

pub(super) fn cluster(random: &mut Random, clean: bool) -> Cluster {
    let minor = if !clean && random.one_in(5) {
        28
    } else {
        *random.pick(&[29, 33, 35, 36, 37])
    };
    Cluster {
        name: (*random.pick(&["test", "prod-$(X)", ""])).to_owned(),
        version: KubernetesVersion { major: 1, minor },
        own_namespace: random.percent(70).then(|| "heapship-system".to_owned()),
        env_files: minor >= 35 && random.percent(80),
    }
}

pub(super) fn policies(random: &mut Random, clean: bool) -> &'static PolicySet {
    let sets = sets();
    match random.below(if clean { 3 } else { 2 }) {
        0 => &sets[random.below(sets.len())],
        _ => &sets[0],
    }
}

/// Every policy with what it says, alone and two together; parsed once.
fn sets() -> &'static [PolicySet] {
    static SETS: OnceLock<Vec<PolicySet>> = OnceLock::new();
    SETS.get_or_init(|| {
        let pairs =
            (0..SPECS.len()).map(|first| [SPECS[first], SPECS[(first * 7 + 3) % SPECS.len()]].to_vec());
        let alone = SPECS.iter().map(|spec| vec![*spec]);
        std::iter::once(Vec::new())
            .chain(alone)
            .chain(pairs)
            .map(|specs| {
                let documents: Vec<String> = specs
                    .iter()
                    .enumerate()
                    .map(|(index, spec)| {
                        format!("kind: HeapDumpPolicy\nmetadata: {{name: p{index}}}\nspec: {spec}\n")
                    })
                    .collect();
                let text = documents.join("---\n");
                let policies = Policies::from_yaml(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
                PolicySet { text, policies }
            })
            .collect()
    })
}

const SPECS: [&str; 15] = [
    "{settings: {destination: 's3://dumps/base'}}",
    "{mode: OptOut, settings: {destination: 's3://dumps/$(NOT)/$$', preStop: live}}",
    "{mode: OptOut, podSelector: {matchLabels: {app: legacy}}, settings: {destination: 's3://legacy', onOom: dump-and-exit}}",
    "{priority: 5, namespaceSelector: {matchLabels: {team: a}}, settings: {destination: 's3://team-a', compression: zstd, liveness: extend}}",
    "{namespaces: [batch], settings: {destination: 's3://batch', uploadGrace: 5m, agent: 'on'}}",
    "{settings: {destination: 's3://dumps'}, limits: {maxDumps: 5, terminationGracePeriod: 5m, uploadGrace: 1m, preStopDelay: 10s, volumeSize: 10Gi}}",
    "{settings: {destination: 's3://dumps'}, limits: {settings: [onOom, preStop], otherBuckets: true, keysWithoutNamespace: true}}",
    "{settings: {destination: 'file:///store/dumps'}, store: {volume: {persistentVolumeClaim: {claimName: shared}}, mountPath: /store}}",
    "{settings: {destination: 's3://dumps'}, store: {volume: {nfs: {server: n, path: /p}}, mountPath: /mnt/store/, endpoint: 'https://minio:9000', region: eu, checksum: sha256}}",
    "{settings: {destination: 's3://dumps'}, store: {endpoint: 'http://minio:9000', allowHttp: true, caBundle: '-----BEGIN CERTIFICATE-----'}}",
    "{settings: {destination: 's3://dumps'}, agent: {image: 'registry.example/heapship@sha256:00', imagePullPolicy: Always, architectures: [amd64, arm64]}}",
    "{settings: {destination: 's3://dumps'}, agent: {resources: {requests: {cpu: 50m, memory: 32Mi}, limits: {memory: 100Mi}}}}",
    "{settings: {destination: 's3://dumps'}, agent: {resources: {limits: {cpu: 5m, memory: 32Mi}}}}",
    "{settings: {destination: 's3://dumps'}, agent: {resources: {requests: {memory: 1Gi}}}}",
    "{settings: {volume: 'emptyDir:2Gi', javaOptionsVariable: ES_JAVA_OPTS, preStop: all, preStopDelay: 5s}, agent: {architectures: [amd64]}}",
];
