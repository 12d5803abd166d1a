//! The cases that people wrote: a folder each in `tests/inject`, read for the tests of what becomes of them and for the laws.

use std::fs;
use std::path::{Path, PathBuf};

use heapship::inject::{self, Cluster, KubernetesVersion, Namespace};
use heapship::objects;
use heapship::settings::policy::Policies;
use heapship::yaml;
use serde_json::Value;

/// A case with everything that decides about its pod.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) documents: Vec<yaml::Document>,
    pub(crate) namespace: Namespace,
    pub(crate) cluster: Cluster,
    pub(crate) policies: Policies,
}

/// All of them.
pub(crate) fn cases() -> Vec<Case> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join("inject");
    let folders = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<PathBuf> = folders.filter(|path| path.is_dir()).collect();
    folders.sort();
    folders.iter().map(|folder| Case::read(folder)).collect()
}

impl Case {
    fn read(folder: &Path) -> Self {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let text =
            fs::read_to_string(folder.join("pod.yaml")).unwrap_or_else(|e| panic!("{name}/pod.yaml: {e}"));
        let documents = yaml::read(&text).unwrap_or_else(|e| panic!("{name}/pod.yaml: {e}"));
        assert_eq!(documents.len(), 1, "{name}/pod.yaml");
        let settings = fs::read_to_string(folder.join("settings.yaml")).unwrap_or_default();
        let settings = yaml::read(&settings).unwrap_or_else(|e| panic!("{name}/settings.yaml: {e}"));
        let mut case = Self {
            documents,
            namespace: objects::named("web"),
            cluster: Cluster {
                name: "test".to_owned(),
                version: version("1.36"),
                own_namespace: None,
                env_files: false,
            },
            policies: Policies::default(),
            name,
        };
        if let Some(settings) = settings.first() {
            case.settings(&settings.value);
        }
        case
    }

    fn settings(&mut self, settings: &Value) {
        for (key, value) in settings.as_object().into_iter().flatten() {
            match key.as_str() {
                "envFiles" => self.cluster.env_files = value.as_bool().unwrap(),
                "kubernetesVersion" => self.cluster.version = version(value.as_str().unwrap()),
                "namespace" => {
                    let mut namespace = objects::named(value["name"].as_str().unwrap_or("web"));
                    namespace.labels.extend(inject::texts(&value["labels"]));
                    namespace.annotations = inject::texts(&value["annotations"]);
                    self.namespace = namespace;
                }
                "policies" => {
                    let documents: Vec<_> = value.as_array().unwrap().iter().map(yaml::write).collect();
                    let policies = Policies::from_yaml(&documents.join("---\n"));
                    self.policies = policies.unwrap_or_else(|e| panic!("{}/settings.yaml: {e}", self.name));
                }
                other => panic!("{}/settings.yaml: {other} is not a setting of cases", self.name),
            }
        }
    }

    pub(crate) fn pod(&self) -> &Value {
        &self.documents[0].value
    }
}

fn version(text: &str) -> KubernetesVersion {
    let (major, minor) = text.split_once('.').unwrap();
    KubernetesVersion {
        major: major.parse().unwrap(),
        minor: minor.parse().unwrap(),
    }
}
