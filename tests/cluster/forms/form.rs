//! One form of a pod, as `tests/cluster/forms/*.yaml` has it: only what differs from the plainest pod there is. The suite of
//! the cluster creates it, and `docs/pods.md` is written from it.
//!
//! ```text
//! namespace: {labels: …, annotations: …}   of the namespace that all forms of the file are created in
//! objects: […]                             what they refer to
//! forms:
//! - form: what is special about it         its row, and its name
//!   annotations, labels, metadata          the pod's; heapship.io/inject is "true" unless `asks: false`
//!   container, spec                        members of its container and its spec
//!   before, after                          containers around that container
//!   grow: {env: 500}                       so many more of them
//!   workload: Deployment                   the template of one
//!   expect: injected                       or the reason code; `untouched`, where nobody asked; `refused`, with and without
//!   warns: [code]                          the warnings
//!   starts: true                           really; otherwise it is a dry run
//!   jvm: [-Xss512k]                        what the JVM must have been given, besides ours
//!   dumps: /data                           where the JVM must write them
//!   jvms: [app]                            whose output says so; whose does not need ours: `without: [other]`
//! ```

use std::fs;
use std::path::Path;

use heapship::inject::{Cluster, Context, KubernetesVersion, Namespace, Outcome, inject};
use heapship::names;
use heapship::settings::policy::Policies;
use heapship::yaml;
use serde_json::{Map, Value, json};

/// All forms of one kind.
pub struct Category {
    /// What follows `metadata` of their namespace.
    pub namespace: Value,
    pub objects: Vec<Value>,
    pub forms: Vec<Form>,
}

pub struct Form {
    pub title: String,
    /// As a person would apply it.
    pub pod: Value,
    pub workload: Option<String>,
    pub expect: Expect,
    /// Codes.
    pub warns: Vec<String>,
    pub starts: bool,
    pub jvm: Vec<String>,
    pub dumps: String,
    pub jvms: Vec<String>,
    pub without: Vec<String>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Expect {
    Injected,
    Skipped(String),
    Untouched,
    Refused,
}

impl Category {
    pub fn read(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/forms");
        let file = folder.join(name).with_extension("yaml");
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let documents = yaml::read(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let mut file = members(&documents[0].value);
        let category = Self {
            namespace: file.shift_remove("namespace").unwrap_or_default(),
            objects: list(file.shift_remove("objects")),
            forms: list(file.shift_remove("forms")).iter().map(Form::of).collect(),
        };
        assert!(file.is_empty(), "{name}.yaml: {file:?} means nothing");
        category
    }

    /// What heapship makes of a pod here, by the function that the webhook calls.
    pub fn outcome(&self, pod: &Value) -> Outcome {
        let texts = |value: &Value| {
            let pairs = value.as_object().into_iter().flatten();
            pairs.map(|(key, value)| (key.clone(), text(value))).collect()
        };
        let namespace = Namespace {
            name: "shop".to_owned(),
            labels: texts(&self.namespace["labels"]),
            annotations: texts(&self.namespace["annotations"]),
        };
        let context = Context {
            namespace: &namespace,
            policies: &Policies::from_yaml(POLICY).unwrap(),
            cluster: &Cluster {
                name: "e2e".to_owned(),
                version: KubernetesVersion::NEWEST,
                own_namespace: Some("heapship-system".to_owned()),
                env_files: true,
            },
            workload: None,
        };
        inject(pod, &context)
    }
}

impl Form {
    fn of(value: &Value) -> Self {
        let mut form = members(value);
        let title = text(&form.shift_remove("form").expect("a form has a title"));
        let mut take = |key: &str| form.shift_remove(key);
        let asks = take("asks") != Some(json!(false));
        let starts = take("starts") == Some(json!(true));
        let expect = match take("expect").map(|value| text(&value)).as_deref() {
            None | Some("injected") => Expect::Injected,
            Some("untouched") => Expect::Untouched,
            Some("refused") => Expect::Refused,
            Some(code) => Expect::Skipped(code.to_owned()),
        };
        let workload = take("workload").map(|kind| text(&kind));
        let mut annotations = Map::new();
        if asks {
            annotations.insert(names::INJECT.to_owned(), json!("true"));
        }
        annotations.extend(members(&take("annotations").unwrap_or_default()));
        let mut labels = members(&json!({"app": slug(&title), "e2e": "yes"}));
        labels.extend(members(&take("labels").unwrap_or_default()));
        let mut metadata =
            members(&json!({"name": slug(&title), "labels": labels, "annotations": annotations}));
        merge(&mut metadata, take("metadata"));
        let mut container = members(&json!({
            "name": "app",
            "image": "localhost/heapship-test/jvm-17:1",
            "command": ["/opt/java/bin/java", "-XX:+PrintCommandLineFlags", "-Xmx16m", "-XX:+UseSerialGC", "-cp", "/app", "Options"],
        }));
        if workload.as_deref().is_some_and(|kind| !kind.ends_with("Job")) {
            container["command"].as_array_mut().unwrap().push(json!("stay"));
        }
        merge(&mut container, take("container"));
        let containers = [
            list(take("before")),
            vec![Value::Object(container)],
            list(take("after")),
        ]
        .concat();
        let mut spec = Map::new();
        if starts && workload.as_deref().is_none_or(|kind| kind.ends_with("Job")) {
            spec.insert("restartPolicy".to_owned(), json!("Never"));
        }
        spec.insert("containers".to_owned(), json!(containers));
        merge(&mut spec, take("spec"));
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec});
        grow(&mut pod, &take("grow").unwrap_or_default());
        let texts = |found: Option<Value>| list(found).iter().map(text).collect::<Vec<_>>();
        let form = Self {
            pod,
            workload,
            expect,
            warns: texts(take("warns")),
            starts,
            jvm: texts(take("jvm")),
            dumps: take("dumps").map_or(names::DUMPS_PATH.to_owned(), |path| text(&path)),
            jvms: take("jvms").map_or(vec!["app".to_owned()], |names| texts(Some(names))),
            without: texts(take("without")),
            title: title.clone(),
        };
        let rest = members(value).into_iter().map(|(key, _)| key);
        let known = |key: &String| KNOWN.contains(&key.as_str());
        let unknown: Vec<String> = rest.filter(|key| !known(key)).collect();
        assert!(unknown.is_empty(), "{title}: {unknown:?} means nothing");
        form
    }

    /// The same pod, whose JVM stays when it has spoken.
    pub fn staying(mut self) -> Self {
        self.pod["spec"]["containers"][0]["command"]
            .as_array_mut()
            .unwrap()
            .push(json!("stay"));
        self
    }

    pub fn name(&self) -> String {
        slug(&self.title)
    }
}

const KNOWN: &[&str] = &[
    "form",
    "annotations",
    "labels",
    "metadata",
    "container",
    "spec",
    "before",
    "after",
    "grow",
    "workload",
    "expect",
    "warns",
    "starts",
    "jvm",
    "dumps",
    "jvms",
    "without",
    "asks",
];

/// Many of something, which nobody wants to read in a file.
fn grow(pod: &mut Value, wanted: &Value) {
    let wanted = wanted.as_object().cloned().unwrap_or_default();
    for (what, count) in wanted {
        let count = count.as_u64().unwrap();
        let numbers = 0..count;
        match what.as_str() {
            "env" => {
                let more =
                    numbers.map(|i| json!({"name": format!("VARIABLE_{i}"), "value": format!("value {i}")}));
                extend(&mut pod["spec"]["containers"][0]["env"], more);
            }
            "duplicates" => {
                let more = numbers.map(|i| json!({"name": "AGAIN", "value": format!("{i}")}));
                extend(&mut pod["spec"]["containers"][0]["env"], more);
            }
            "volumes" => {
                let more = numbers
                    .clone()
                    .map(|i| json!({"name": format!("volume-{i}"), "emptyDir": {}}));
                extend(&mut pod["spec"]["volumes"], more);
                let more = numbers
                    .map(|i| json!({"name": format!("volume-{i}"), "mountPath": format!("/volumes/{i}")}));
                extend(&mut pod["spec"]["containers"][0]["volumeMounts"], more);
            }
            "containers" => {
                let mut first = pod["spec"]["containers"][0].clone();
                let more = numbers.map(|i| {
                    first["name"] = json!(format!("app-{i}"));
                    first.clone()
                });
                extend(
                    &mut pod["spec"]["containers"],
                    more.collect::<Vec<_>>().into_iter(),
                );
            }
            "variableBytes" => {
                let size = usize::try_from(count).unwrap();
                let more = std::iter::once(json!({"name": "LARGE", "value": "x".repeat(size)}));
                extend(&mut pod["spec"]["containers"][0]["env"], more);
            }
            "optionBytes" => {
                let size = usize::try_from(count).unwrap();
                let more = std::iter::once(
                    json!({"name": "JAVA_TOOL_OPTIONS", "value": format!("-Dlong={}", "x".repeat(size - 7))}),
                );
                extend(&mut pod["spec"]["containers"][0]["env"], more);
            }
            "options" => {
                let text = numbers.map(|i| format!("-Dn{i}=1")).collect::<Vec<_>>().join(" ");
                extend(
                    &mut pod["spec"]["containers"][0]["env"],
                    std::iter::once(json!({"name": "JAVA_TOOL_OPTIONS", "value": text})),
                );
            }
            "annotationBytes" => {
                pod["metadata"]["annotations"]["large"] = json!("x".repeat(usize::try_from(count).unwrap()));
            }
            other => panic!("nobody knows how to grow {other}"),
        }
    }
}

fn extend(found: &mut Value, more: impl Iterator<Item = Value>) {
    let mut all = list(Some(found.take()));
    all.extend(more);
    *found = json!(all);
}

/// Members of the second win; one that is null there stays null.
fn merge(into: &mut Map<String, Value>, more: Option<Value>) {
    into.extend(members(&more.unwrap_or_default()));
}

fn members(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

fn list(value: Option<Value>) -> Vec<Value> {
    value
        .and_then(|value| value.as_array().cloned())
        .unwrap_or_default()
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A name as Kubernetes wants it.
fn slug(title: &str) -> String {
    let letters = title
        .to_lowercase()
        .replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    let words: Vec<&str> = letters.split('-').filter(|word| !word.is_empty()).collect();
    let name = words.join("-");
    name.get(..48).unwrap_or(&name).trim_matches('-').to_owned()
}

/// As `bed::installed` has it, so far as it decides about a pod.
const POLICY: &str = "\
apiVersion: heapship.io/v1alpha1
kind: HeapDumpPolicy
metadata: {name: e2e}
spec:
  mode: OptIn
  settings: {destination: 's3://dumps/e2e', credentialsSecret: s3-writer}
";
