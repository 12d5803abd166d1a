//! Kubernetes' own `OpenAPI` document, and what it says about a manifest. Stricter than the document in one point: what it
//! does not know is an error, as for `kubectl apply --validate=strict`.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::{env, fs, io};

use serde_json::{Map, Value};

/// The module that holds the document, and the release that the manifests must fit.
const MODULE: &str = "k8s.io/kubernetes@v1.36.0";

pub(crate) struct OpenApi {
    definitions: Map<String, Value>,
}

/// The document, fetched once and kept in `.tools`. Without Go, or without a module proxy, there is none: this says so.
pub(crate) fn openapi() -> Option<&'static OpenApi> {
    static DOCUMENT: OnceLock<Option<OpenApi>> = OnceLock::new();
    let document = DOCUMENT.get_or_init(|| match document() {
        Ok(text) => {
            let mut document: Value = serde_json::from_slice(&text).unwrap();
            let Value::Object(definitions) = document["definitions"].take() else {
                panic!("{MODULE} has no definitions");
            };
            Some(OpenApi { definitions })
        }
        Err(reason) => {
            // Not `eprintln!`: of tests that pass its output is not shown.
            let mut stderr = io::stderr().lock();
            writeln!(
                stderr,
                "NOT RUN: validation against Kubernetes' OpenAPI document: {reason}"
            )
            .unwrap();
            None
        }
    });
    document.as_ref()
}

fn document() -> Result<Vec<u8>, String> {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(".tools")
        .join("swagger-1.36.0.json");
    if let Ok(text) = fs::read(&kept) {
        return Ok(text);
    }
    let output = Command::new("go")
        .args(["mod", "download", "-json", MODULE])
        .current_dir(env::temp_dir())
        .output()
        .map_err(|error| format!("go cannot be run: {error}"))?;
    let answer: Value = serde_json::from_slice(&output.stdout).map_err(|_| {
        format!(
            "go mod download: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )
    })?;
    let folder = answer["Dir"]
        .as_str()
        .ok_or_else(|| format!("go mod download: {}", answer["Error"]))?;
    let text = fs::read(PathBuf::from(folder).join("api/openapi-spec/swagger.json"))
        .map_err(|error| format!("{MODULE}: {error}"))?;
    keep(&kept, &text).map_err(|error| format!("cannot write {}: {error}", kept.display()))?;
    Ok(text)
}

fn keep(place: &Path, text: &[u8]) -> io::Result<()> {
    // Other processes may read it meanwhile, so it appears at once.
    let partial = place.with_extension(format!("{}.partial", std::process::id()));
    fs::create_dir_all(place.parent().unwrap_or(place))?;
    fs::write(&partial, text)?;
    fs::rename(&partial, place)
}

impl OpenApi {
    /// What is wrong with a manifest: one sentence for each fault. Kinds that Kubernetes does not have are not judged.
    pub(crate) fn faults(&self, manifest: &Value) -> Vec<String> {
        let mut faults = Vec::new();
        if let (Some("List"), Some(items)) = (manifest["kind"].as_str(), manifest["items"].as_array()) {
            return items.iter().flat_map(|item| self.faults(item)).collect();
        }
        if let Some(schema) = self.of_kind(manifest) {
            self.check(
                schema,
                manifest,
                manifest["kind"].as_str().unwrap_or_default(),
                &mut faults,
            );
        }
        faults
    }

    fn of_kind(&self, manifest: &Value) -> Option<&Value> {
        let (kind, version) = (manifest["kind"].as_str()?, manifest["apiVersion"].as_str()?);
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        self.definitions.values().find(|schema| {
            schema["x-kubernetes-group-version-kind"]
                .as_array()
                .is_some_and(|kinds| {
                    kinds
                        .iter()
                        .any(|k| k["kind"] == kind && k["version"] == version && k["group"] == group)
                })
        })
    }

    fn check(&self, schema: &Value, value: &Value, path: &str, faults: &mut Vec<String>) {
        if let Some(name) = schema["$ref"]
            .as_str()
            .and_then(|name| name.strip_prefix("#/definitions/"))
        {
            let referred = self
                .definitions
                .get(name)
                .unwrap_or_else(|| panic!("{name} is not defined"));
            if name.ends_with(".Quantity") && value.is_number() {
                return;
            }
            return self.check(referred, value, path, faults);
        }
        let int_or_string = schema["format"] == "int-or-string";
        let fits = match schema["type"].as_str() {
            // The API server drops nulls.
            _ if value.is_null() => return,
            None => return self.members(schema, value, path, faults),
            Some("string") => value.is_string() || int_or_string && value.is_i64(),
            Some("integer") => value.is_i64(),
            Some("number") => value.is_number(),
            Some("boolean") => value.is_boolean(),
            Some("array") => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    self.check(&schema["items"], item, &format!("{path}[{index}]"), faults);
                }
                value.is_array()
            }
            Some("object") => {
                self.members(schema, value, path, faults);
                value.is_object()
            }
            Some(other) => panic!("{path}: unknown type {other} in the OpenAPI document"),
        };
        if !fits {
            faults.push(format!("{path}: {value} is not of type {}", schema["type"]));
        }
    }

    fn members(&self, schema: &Value, value: &Value, path: &str, faults: &mut Vec<String>) {
        let Some(members) = value.as_object() else { return };
        for required in schema["required"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
        {
            if !members.contains_key(required) {
                faults.push(format!("{path}.{required} is missing"));
            }
        }
        for (key, member) in members {
            let path = format!("{path}.{key}");
            match (&schema["properties"], &schema["additionalProperties"]) {
                (Value::Object(known), _) if known.contains_key(key) => {
                    self.check(&known[key], member, &path, faults);
                }
                (_, Value::Object(_)) => self.check(&schema["additionalProperties"], member, &path, faults),
                (Value::Object(_), _) => faults.push(format!("{path} does not exist")),
                _ => {}
            }
        }
    }
}
