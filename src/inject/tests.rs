//! Laws of the injection, on generated pods; single cases are files in `tests/inject/`.

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use super::*;
use crate::settings::Level;

mod cases;
mod changed;
mod environment;
mod neighbours;
mod options;
mod policies;
mod reinvoked;
mod termination;
mod whose;

const POLICY: &str = "
kind: HeapDumpPolicy
metadata: {name: base}
spec:
  mode: OptOut
  settings: {destination: 's3://dumps/prod'}
  limits: {settings: ['*']}
";

fn outcome(pod: &Value) -> Outcome {
    let policies = Policies::from_yaml(POLICY).unwrap();
    let namespace = Namespace {
        name: "team-a".into(),
        ..Namespace::default()
    };
    let cluster = Cluster {
        name: "prod".into(),
        version: KubernetesVersion::NEWEST,
        own_namespace: None,
        env_files: true,
    };
    inject(
        pod,
        &Context {
            namespace: &namespace,
            policies: &policies,
            cluster: &cluster,
            workload: None,
        },
    )
}

/// One of some values, or the member is missing, or null.
fn member(values: Vec<Value>) -> impl Strategy<Value = Option<Value>> {
    prop_oneof![2 => Just(None), 1 => Just(Some(Value::Null)), 5 => select(values).prop_map(Some)]
}

fn object(members: Vec<(&'static str, BoxedStrategy<Option<Value>>)>) -> BoxedStrategy<Value> {
    let (keys, values): (Vec<_>, Vec<_>) = members.into_iter().unzip();
    values
        .prop_map(move |values| {
            keys.iter()
                .zip(values)
                .filter_map(|(key, value)| Some(((*key).to_owned(), value?)))
                .collect()
        })
        .boxed()
}

fn entry() -> BoxedStrategy<Value> {
    let literal = select(vec![
        "",
        "-Xmx1g",
        "-Xmx1g -XX:HeapDumpPath=/data/x.hprof",
        "-XX:HeapDumpPath=/tmp/x -Da='b c'",
        "-XX:-HeapDumpOnOutOfMemoryError",
        "-XX:+HeapDumpOnOutOfMemoryError -XX:HeapDumpPath=/heapship/dumps",
        "$(OTHER) $(JAVA_TOOL_OPTIONS) $$(X)",
        "it's broken",
        "  -Da=b\n\t-Dc=d ",
    ]);
    let name = select(vec![
        "JAVA_TOOL_OPTIONS",
        "JAVA_TOOL_OPTIONS",
        "OTHER",
        "_JAVA_OPTIONS",
        "JDK_JAVA_OPTIONS",
    ]);
    let from = select(vec![
        json!({"configMapKeyRef": {"name": "c", "key": "k", "optional": true}}),
        json!({"secretKeyRef": {"name": "s", "key": "k"}}),
        json!({"fieldRef": {"fieldPath": "metadata.name"}}),
        json!({"futureKeyRef": {"name": "f"}}),
    ]);
    prop_oneof![
        4 => (name.clone(), literal).prop_map(|(name, value)| json!({"name": name, "value": value})),
        1 => (name, from).prop_map(|(name, from)| json!({"name": name, "valueFrom": from})),
        1 => prop::num::u16::ANY.prop_map(|n| json!({"name": "LONG", "value": "x".repeat(usize::from(n % 1200))})),
        1 => (900_usize..1100).prop_map(|n| json!({"name": "JAVA_TOOL_OPTIONS", "value": format!("-D{}", "x".repeat(n))})),
    ]
    .boxed()
}

fn list(element: BoxedStrategy<Value>, most: usize) -> BoxedStrategy<Option<Value>> {
    prop_oneof![
        1 => Just(None),
        1 => Just(Some(Value::Null)),
        5 => prop::collection::vec(element, 0..most).prop_map(|elements| Some(Value::Array(elements))),
    ]
    .boxed()
}

fn container(name: &'static str) -> BoxedStrategy<Value> {
    let hooks = vec![
        json!({"preStop": {"exec": {"command": ["sh", "-c", "bye $(X)"]}}}),
        json!({"preStop": {"sleep": {"seconds": 5}}, "postStart": {"exec": {"command": ["x"]}}}),
        json!({"preStop": {"httpGet": {"path": "/bye", "port": "http"}}}),
        json!({"preStop": {"httpGet": {"path": "/bye", "port": 80, "host": "elsewhere"}}}),
        json!({"preStop": {"tcpSocket": {"port": 80}}}),
        json!({"stopSignal": "SIGTERM"}),
        json!({}),
    ];
    let resources = vec![
        json!({}),
        json!({"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1", "memory": "1Gi"}}),
        json!({"requests": {"cpu": "100m"}}),
    ];
    let security = vec![
        json!({"runAsUser": 1000, "runAsNonRoot": true}),
        json!({"runAsUser": 0}),
        json!({"runAsNonRoot": true, "seLinuxOptions": {"level": "s0"}}),
        json!({}),
    ];
    let probe = vec![
        json!({"httpGet": {"port": 80}, "failureThreshold": 3}),
        json!({"terminationGracePeriodSeconds": 5}),
    ];
    object(vec![
        ("name", Just(Some(json!(name))).boxed()),
        ("image", Just(Some(json!("registry/app:1"))).boxed()),
        (
            "args",
            member(vec![
                json!(["-jar", "a.jar"]),
                json!(["$(JAVA_TOOL_OPTIONS)"]),
                json!(["-XX:HeapDumpPath=/x"]),
            ])
            .boxed(),
        ),
        (
            "ports",
            member(vec![json!([{"name": "http", "containerPort": 8080}])]).boxed(),
        ),
        ("env", list(entry(), 5)),
        (
            "envFrom",
            list(
                select(vec![
                    json!({"configMapRef": {"name": "a"}}),
                    json!({"secretRef": {"name": "b", "optional": true}, "prefix": "JAVA_"}),
                    json!({"configMapRef": {"name": "c"}, "prefix": "X_"}),
                ])
                .boxed(),
                3,
            ),
        ),
        ("resources", member(resources).boxed()),
        ("securityContext", member(security).boxed()),
        ("lifecycle", member(hooks).boxed()),
        ("livenessProbe", member(probe).boxed()),
        (
            "volumeMounts",
            list(
                Just(json!({"name": "data", "mountPath": "/data", "futureField": [1]})).boxed(),
                2,
            ),
        ),
        (
            "futureField",
            member(vec![json!({"deep": [null, {"a": 1.5}]})]).boxed(),
        ),
    ])
}

fn pod() -> BoxedStrategy<Value> {
    let setting = |values: Vec<&'static str>| member(values.into_iter().map(Value::from).collect()).boxed();
    let annotations = object(vec![
        (
            "heapship.io/on-oom",
            setting(vec!["dump", "dump-and-exit", "off"]),
        ),
        ("heapship.io/pre-stop", setting(vec!["off", "live", "all"])),
        (
            "heapship.io/pre-stop-order",
            setting(vec!["auto", "before", "after"]),
        ),
        ("heapship.io/liveness", setting(vec!["keep", "extend"])),
        ("heapship.io/agent", setting(vec!["on", "off"])),
        (
            "heapship.io/containers",
            setting(vec!["*", "app", "app,init", "worker"]),
        ),
        (
            "heapship.io/volume",
            setting(vec![
                "emptyDir",
                "emptyDir:1Gi",
                "pvc:claim",
                "ephemeral:fast:1Gi",
            ]),
        ),
        ("heapship.io/credentials-secret", setting(vec!["s3"])),
        ("heapship.io/run-as-user", setting(vec!["1001"])),
        ("example.com/own", setting(vec!["x"])),
    ])
    .prop_map(|annotations| match annotations.as_object() {
        // Annotations are text: null is not among their values.
        Some(members) => members
            .iter()
            .filter(|(_, v)| !v.is_null())
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect(),
        None => annotations,
    });
    let metadata = object(vec![
        ("generateName", Just(Some(json!("app-"))).boxed()),
        (
            "annotations",
            prop_oneof![1 => Just(None), 1 => Just(Some(Value::Null)), 8 => annotations.prop_map(Some)]
                .boxed(),
        ),
    ]);
    let containers = (container("app"), prop::option::of(container("worker")))
        .prop_map(|(app, worker)| Some(Value::Array([Some(app), worker].into_iter().flatten().collect())))
        .boxed();
    let sidecar = json!({"name": "proxy", "image": "p", "restartPolicy": "Always", "startupProbe": {"httpGet": {"port": 1}}});
    let spec = object(vec![
        (
            "volumes",
            prop_oneof![
                1 => Just(None),
                1 => Just(Some(json!([]))),
                3 => Just(Some(json!([{"name": "data", "persistentVolumeClaim": {"claimName": "d"}}]))),
            ]
            .boxed(),
        ),
        (
            "initContainers",
            list(prop_oneof![container("init"), Just(sidecar)].boxed(), 2),
        ),
        ("containers", containers),
        (
            "terminationGracePeriodSeconds",
            member(vec![json!(30), json!(0), json!(1), json!(900)]).boxed(),
        ),
        (
            "restartPolicy",
            member(vec![json!("Always"), json!("Never")]).boxed(),
        ),
        (
            "securityContext",
            member(vec![
                json!({"runAsUser": 0}),
                json!({"runAsUser": 7, "fsGroup": 7}),
            ])
            .boxed(),
        ),
        (
            "resources",
            prop_oneof![6 => Just(None), 1 => Just(Some(json!({"limits": {"cpu": "1"}})))].boxed(),
        ),
    ]);
    (metadata, spec)
        .prop_map(|(metadata, spec)| json!({"metadata": metadata, "spec": spec}))
        .boxed()
}

/// The pod without the places that the injection may write to.
fn untouched(pod: &Value) -> Value {
    let mut pod = uninject(pod);
    pod["metadata"]
        .as_object_mut()
        .unwrap()
        .shift_remove("annotations");
    pod
}

/// One of each, so that a new variant must be given a row in the catalogue.
/// As the API server does with the variables of a pod, before it asks for the second time.
fn leave_out_empty_values(pod: &mut Value) {
    for list in ["initContainers", "containers"] {
        let containers = pod["spec"][list].as_array_mut().into_iter().flatten();
        for entry in containers
            .filter_map(|container| container["env"].as_array_mut())
            .flatten()
        {
            if let Some(entry) = entry
                .as_object_mut()
                .filter(|entry| entry.get("value").is_some_and(|value| value == ""))
            {
                entry.shift_remove("value");
            }
        }
    }
}

fn every_skip() -> Vec<Skip> {
    let text = String::new;
    vec![
        Skip::MirrorPod,
        Skip::Windows,
        Skip::DebugPod,
        Skip::ExcludedNamespace(text()),
        Skip::OptedOut(Level::Pod),
        Skip::KubernetesTooOld(KubernetesVersion::NEWEST),
        Skip::InvalidAnnotation(Vec::new()),
        Skip::NothingAsked,
        Skip::NoDestination,
        Skip::FileDestination(text()),
        Skip::UnsupportedStore(text()),
        Skip::UnknownContainer {
            wanted: text(),
            known: Vec::new(),
        },
        Skip::NoContainers,
        Skip::UnmatchedQuote {
            container: text(),
            variable: text(),
        },
        Skip::OptionsTooLong {
            container: text(),
            variable: text(),
        },
        Skip::Architecture(text()),
        Skip::NameTaken {
            kind: "",
            name: text(),
        },
        Skip::PathTaken {
            container: text(),
            volume: text(),
            path: text(),
        },
        Skip::AnnotationsTooLarge,
        Skip::NotAPod(""),
        Skip::Internal(text()),
    ]
}

#[test]
fn every_reason_for_leaving_a_pod_alone_is_in_the_catalogue() {
    let codes: Vec<&str> = every_skip().iter().map(Skip::label).collect();
    assert_eq!(
        codes,
        catalogue::SKIPPED
            .iter()
            .map(|entry| entry.code)
            .collect::<Vec<_>>()
    );
}

/// Thousands of pods, or as many as `PROPTEST_CASES` says: mutation testing runs these laws hundreds of times.
fn many() -> ProptestConfig {
    let config = ProptestConfig::default();
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => config,
        None => ProptestConfig {
            cases: 2_000,
            ..config
        },
    }
}

proptest! {
    #![proptest_config(many())]

    #[test]
    fn applied_twice_is_applied_once_with_the_same_warnings(pod in pod()) {
        let once = outcome(&pod);
        prop_assert!(!matches!(once.decision, Decision::Skipped(Skip::Internal(_))), "{:?}", once.decision);
        for note in once.notes.iter().filter(|note| note.severity == Severity::Warning) {
            prop_assert!(catalogue::WARNINGS.iter().any(|entry| entry.code == note.code), "{}", note.code);
        }
        let twice = outcome(&once.pod);
        prop_assert_eq!(&twice.patch.0, &Vec::new(), "{:#}", once.pod);
        prop_assert_eq!(twice.warnings(), once.warnings());
        prop_assert_eq!(twice.decision, once.decision);
    }

    #[test]
    fn what_the_api_server_has_stored_is_whole(pod in pod()) {
        let mut stored = outcome(&pod).pod;
        leave_out_empty_values(&mut stored);
        prop_assert_eq!(outcome(&stored).patch.0, Vec::new(), "{:#}", stored);
    }

    #[test]
    fn uninject_gives_the_pod_back(pod in pod()) {
        let injected = outcome(&pod);
        prop_assert_eq!(uninject(&injected.pod), pod);
    }

    #[test]
    fn the_patch_makes_the_pod_that_was_announced(pod in pod()) {
        let injected = outcome(&pod);
        let mut applied = pod.clone();
        json_patch::patch(&mut applied, &injected.patch).unwrap();
        prop_assert_eq!(&applied, &injected.pod);
        prop_assert_eq!(untouched(&injected.pod), untouched(&pod));
    }

    #[test]
    fn the_qos_class_stays(pod in pod()) {
        let injected = outcome(&pod);
        let foreign_only = resources::qos(&pod);
        // The class as Kubernetes computes it: ours counted in.
        let mut renamed = injected.pod.clone();
        for container in renamed["spec"]["initContainers"].as_array_mut().into_iter().flatten() {
            container["name"] = json!("counted");
        }
        prop_assert_eq!(resources::qos(&renamed), foreign_only);
    }

    #[test]
    fn the_users_own_words_arrive_in_order(pod in pod()) {
        let injected = outcome(&pod);
        for (before, after) in std::iter::zip(
            pod["spec"]["containers"].as_array().unwrap(),
            injected.pod["spec"]["containers"].as_array().unwrap(),
        ) {
            let texts = |container: &Value| -> Vec<String> {
                let env = container["env"].as_array().cloned().unwrap_or_default();
                env.iter().filter_map(|entry| entry["value"].as_str().map(str::to_owned)).collect()
            };
            let mut rest = texts(after).into_iter();
            for text in texts(before) {
                prop_assert!(rest.any(|found| found.contains(&text)), "{text:?} is gone");
            }
        }
    }

    #[test]
    fn any_json_at_all_is_answered(text in "[\\[\\]{}\":,a-z0-9]{0,40}") {
        if let Ok(value) = serde_json::from_str::<Value>(&text) {
            let _ = outcome(&value);
            let _ = uninject(&value);
            let _ = outcome(&json!({"metadata": value.clone(), "spec": value}));
        }
    }
}
