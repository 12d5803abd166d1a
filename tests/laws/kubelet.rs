//! A small kubelet: what a container is started with. Written from `makeEnvironmentVariables`, `makeMounts` and the
//! expansion of Kubernetes, and not from what heapship knows of them.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::case::Trial;
use crate::random::hash;

/// What a process would be started with.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Process {
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) command: Vec<String>,
    pub(crate) args: Vec<String>,
    /// Resolved `subPathExpr`s, by mount path.
    pub(crate) sub_paths: BTreeMap<String, String>,
}

/// `CreateContainerConfigError`, and why.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NotStarted(pub(crate) String);

/// What the sources of variables hold, drawn from a salt: each the same whoever asks, and however often.
pub(crate) struct Sources {
    salt: u64,
    /// Whether images have an `ENV` of their own.
    images_speak: bool,
    /// What is said of those whose own is replaced: nothing can carry it over.
    replaced: Vec<String>,
}

/// Keys that a config map or a secret may have.
const KEYS: [&str; 9] = [
    "JAVA_TOOL_OPTIONS",
    "TOOL_OPTIONS",
    "_JAVA_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "ES_JAVA_OPTS",
    "JAVA_OPTS",
    "OTHER",
    "POD_NAME",
    "options",
];

/// Of these, what an image may set.
const OPTION_VARIABLES: [&str; 3] = ["JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "ES_JAVA_OPTS"];

const TEXTS: [&str; 9] = [
    "-Xmx3g",
    "-Dfrom=source -Dtwo='a b'",
    "-XX:HeapDumpPath=/from/source",
    "-XX:+HeapDumpOnOutOfMemoryError",
    "-Dnot.a.reference=$(OTHER) $$",
    "",
    " -Xss1m\n-Dlast=1\n",
    "text",
    "-XX:-HeapDumpOnOutOfMemoryError",
];

impl Sources {
    pub(crate) fn new(salt: u64) -> Self {
        Self {
            salt,
            images_speak: false,
            replaced: Vec::new(),
        }
    }

    /// As a trial's pod meets them.
    pub(crate) fn of(trial: &Trial<'_>) -> Self {
        let notes = trial.outcome.notes.iter();
        Self {
            salt: trial.case.salt,
            images_speak: true,
            replaced: notes
                .filter(|note| note.code == "image-options-replaced")
                .map(|note| note.text.clone())
                .collect(),
        }
    }

    /// A variable in the `ENV` of a container's image, of those that hold options.
    fn in_the_image(&self, container: &Value, variable: &str) -> Option<String> {
        let of = format!("{} {variable}", container["image"]);
        let whose = format!("container {}:", container["name"].as_str().unwrap_or_default());
        let is_replaced = |said: &String| said.starts_with(&whose) && said.contains(variable);
        let there = self.images_speak
            && !self.replaced.iter().any(is_replaced)
            && OPTION_VARIABLES.contains(&variable)
            && hash(self.salt, &of).is_multiple_of(3);
        there.then(|| self.text(&of)).filter(|text| !text.is_empty())
    }

    fn text(&self, of: &str) -> String {
        TEXTS[usize::try_from(hash(self.salt ^ 1, of) % TEXTS.len() as u64).unwrap()].to_owned()
    }

    /// Names and addresses are what Kubernetes lets them be; an annotation is any text.
    fn field(&self, path: &str) -> String {
        match path {
            "metadata.uid" => "0c2f4a5e-6a52-4a5e-9f43-1c5f0e0d7b11".to_owned(),
            "status.podIP" => "10.0.0.7".to_owned(),
            _ if path.starts_with("metadata.annotations") => self.text(path),
            _ => "web-0".to_owned(),
        }
    }

    /// A key of an object, where both are there. An object of the same name may be missing in one pod and there in another.
    fn key(&self, kind: &str, name: &str, key: &str) -> Option<String> {
        let there = |text: &str, of: u64| hash(self.salt, text) % 10 < of;
        let object = format!("{kind}/{name}");
        let entry = format!("{object}/{key}");
        let possible = KEYS.contains(&key) && there(&object, 8) && there(&entry, 6);
        possible.then(|| self.text(&entry))
    }

    fn object(&self, kind: &str, name: &str) -> Option<Vec<(&'static str, String)>> {
        let there = hash(self.salt, &format!("{kind}/{name}")) % 10 < 8;
        let entries = KEYS
            .into_iter()
            .filter_map(|key| Some((key, self.key(kind, name, key)?)));
        there.then(|| entries.collect())
    }

    /// What one source of `envFrom` holds. One of a kind that nobody knows yet is taken as something like a config map.
    fn of_many(&self, source: &Value) -> Result<Vec<(&'static str, String)>, NotStarted> {
        for (kind, reference) in source.as_object().into_iter().flatten() {
            if kind == "prefix" || reference.is_null() {
                continue;
            }
            let found = self.object(
                kind.trim_end_matches("Ref"),
                reference["name"].as_str().unwrap_or_default(),
            );
            return match found {
                Some(entries) => Ok(entries),
                None if reference["optional"] == true => Ok(Vec::new()),
                None => Err(NotStarted(format!("{kind} is missing"))),
            };
        }
        Ok(Vec::new())
    }

    /// What a `valueFrom` of a container gives; `None` where it is optional and nothing is there. The file of ours holds what
    /// the container's image sets.
    fn of_one(&self, container: &Value, source: &Value) -> Result<Option<String>, NotStarted> {
        for (kind, reference) in source.as_object().into_iter().flatten() {
            if reference.is_null() {
                continue;
            }
            let text = |key: &str| reference[key].as_str().unwrap_or_default();
            let found = match kind.as_str() {
                "fieldRef" => return Ok(Some(self.field(text("fieldPath")))),
                "resourceFieldRef" => return Ok(Some("1073741824".to_owned())),
                "fileKeyRef" if reference["volumeName"] == "heapship-image-options" => {
                    return Ok(self.in_the_image(container, text("key")));
                }
                "configMapKeyRef" | "secretKeyRef" => {
                    self.key(kind.trim_end_matches("KeyRef"), text("name"), text("key"))
                }
                other => self.key(
                    other,
                    &format!("{}{}{}", text("volumeName"), text("path"), text("x")),
                    text("key"),
                ),
            };
            return match found {
                None if reference["optional"] != true => Err(NotStarted(format!("{kind} is missing"))),
                found => Ok(found),
            };
        }
        Ok(None)
    }

    /// Starts a container.
    pub(crate) fn start(&self, container: &Value) -> Result<Process, NotStarted> {
        let list = |key: &str| container[key].as_array().into_iter().flatten();
        let mut environment: BTreeMap<String, String> = BTreeMap::new();
        for source in list("envFrom") {
            let prefix = source["prefix"].as_str().unwrap_or_default();
            for (key, value) in self.of_many(source)? {
                environment.insert(format!("{prefix}{key}"), value);
            }
        }
        for entry in list("env") {
            let name = entry["name"].as_str().unwrap_or_default().to_owned();
            let value = entry["value"].as_str().unwrap_or_default();
            if !value.is_empty() {
                let expanded = expand(value, &environment);
                environment.insert(name, expanded);
            } else if entry["valueFrom"].is_object() {
                if let Some(value) = self.of_one(container, &entry["valueFrom"])? {
                    environment.insert(name, value);
                }
            } else {
                environment.insert(name, String::new());
            }
        }
        let words = |key: &str| -> Vec<String> {
            list(key)
                .filter_map(Value::as_str)
                .map(|word| expand(word, &environment))
                .collect()
        };
        let (command, args) = (words("command"), words("args"));
        let mut sub_paths = BTreeMap::new();
        for mount in list("volumeMounts") {
            let Some(expression) = mount["subPathExpr"].as_str() else {
                continue;
            };
            let path = expand(expression, &environment);
            // A value may look like a reference; only one that is looked for and not found is an error.
            let marked: BTreeMap<String, String> = environment
                .keys()
                .map(|name| (name.clone(), String::new()))
                .collect();
            let unresolved = expand(expression, &marked).contains("$(");
            if unresolved || path.starts_with('/') || path.split('/').any(|part| part == "..") {
                return Err(NotStarted(format!("subPathExpr {expression} is {path}")));
            }
            sub_paths.insert(mount["mountPath"].as_str().unwrap_or_default().to_owned(), path);
        }
        // Whatever the pod does not define comes from the image; no reference sees it.
        for variable in OPTION_VARIABLES {
            if let Some(value) = self.in_the_image(container, variable) {
                environment.entry(variable.to_owned()).or_insert(value);
            }
        }
        Ok(Process {
            environment,
            command,
            args,
            sub_paths,
        })
    }
}

/// `$(NAME)` of what is known, `$$` as a dollar sign, all else as it stands.
pub(crate) fn expand(text: &str, environment: &BTreeMap<String, String>) -> String {
    let bytes = text.as_bytes();
    let (mut expanded, mut at) = (String::new(), 0);
    while at < bytes.len() {
        let rest = &text[at..];
        if rest.starts_with("$$") {
            expanded.push('$');
            at += 2;
        } else if rest.starts_with("$(") && rest.contains(')') {
            let end = rest.find(')').unwrap();
            match environment.get(&rest[2..end]) {
                Some(value) => expanded.push_str(value),
                None => expanded.push_str(&rest[..=end]),
            }
            at += end + 1;
        } else {
            let character = rest.chars().next().unwrap();
            expanded.push(character);
            at += character.len_utf8();
        }
    }
    expanded
}

#[test]
fn starts_a_container_as_the_kubelet_does() {
    let container = serde_json::json!({
        "env": [
            {"name": "A", "value": "1"},
            {"name": "A", "value": "$(A)2"},
            {"name": "B", "value": "$$(A) $(A) $(NONE) $("},
            {"name": "C", "valueFrom": {"configMapKeyRef": {"name": "nobody's", "key": "k", "optional": true}}},
        ],
        "args": ["$(B)"],
        "volumeMounts": [{"mountPath": "/a", "subPathExpr": "x/$(A)"}],
    });
    let salt = (0..100)
        .find(|salt| Sources::new(*salt).key("configMap", "nobody's", "k").is_none())
        .unwrap();
    let process = Sources::new(salt).start(&container).unwrap();
    assert_eq!(process.environment["B"], "$(A) 12 $(NONE) $(");
    assert!(!process.environment.contains_key("C"));
    assert_eq!(process.args, ["$(A) 12 $(NONE) $("]);
    assert_eq!(process.sub_paths["/a"], "x/12");
}
