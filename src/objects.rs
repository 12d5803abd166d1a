//! The Kubernetes objects of a document, and where in them a pod is described.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::inject::{Namespace, texts};
use crate::names;

/// An object that is a pod or makes pods.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Object {
    /// As written, or the list's without its `List`.
    pub kind: String,
    /// Its name, or the prefix that one is made from; may be empty.
    pub name: String,
    /// Where it says so.
    pub namespace: Option<String>,
    /// JSON pointer to the object in its document.
    pub pointer: String,
    /// JSON pointer from the object to `{metadata, spec}` of the pod; empty for a pod.
    pub pod: &'static str,
}

/// Where pod templates are: of Deployments and whatever is built like one, of `CronJob`s, of `PodTemplate`s.
const TEMPLATES: [&str; 3] = ["/spec/template", "/spec/jobTemplate/spec/template", "/template"];

/// All pods and makers of pods in a document, those of its Lists included, in order.
#[must_use]
pub fn objects(document: &Value) -> Vec<Object> {
    let mut found = Vec::new();
    walk(document, None, String::new(), &mut |object, kind, pointer| {
        if let Some(pod) = pod_of(object, kind) {
            let text = |pointer| object.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
            let name = text("/metadata/name").or_else(|| text("/metadata/generateName"));
            found.push(Object {
                kind: kind.to_owned(),
                name: name.unwrap_or_default(),
                namespace: text("/metadata/namespace"),
                pointer,
                pod,
            });
        }
    });
    found
}

/// The Namespaces in a document, as a cluster would know them.
#[must_use]
pub fn namespaces(document: &Value) -> Vec<Namespace> {
    let mut found = Vec::new();
    walk(document, None, String::new(), &mut |object, kind, _| {
        let core = object.get("apiVersion").is_none_or(|version| version == "v1");
        if kind == "Namespace"
            && core
            && let Some(name) = object.pointer("/metadata/name").and_then(Value::as_str)
        {
            let mut namespace = named(name);
            namespace
                .labels
                .extend(texts(object.pointer("/metadata/labels").unwrap_or(&Value::Null)));
            namespace.annotations = texts(object.pointer("/metadata/annotations").unwrap_or(&Value::Null));
            found.push(namespace);
        }
    });
    found
}

/// A namespace of which nothing is known but the name. The API server labels every one with it.
#[must_use]
pub fn named(name: &str) -> Namespace {
    Namespace {
        name: name.to_owned(),
        labels: BTreeMap::from([(names::NAMESPACE_NAME_LABEL.to_owned(), name.to_owned())]),
        annotations: BTreeMap::new(),
    }
}

impl Object {
    /// `Deployment/shop`, as kubectl takes it.
    #[must_use]
    pub fn title(&self) -> String {
        match self.name.as_str() {
            "" => format!("{} without a name", self.kind),
            name => format!("{}/{name}", self.kind),
        }
    }

    /// Who its pods belong to, where it is no pod itself: a template does not know yet.
    #[must_use]
    pub fn workload(&self) -> Option<String> {
        (!self.pod.is_empty() && !self.name.is_empty()).then(|| self.title())
    }

    /// JSON pointer to the pod in its document.
    #[must_use]
    pub fn pod_pointer(&self) -> String {
        format!("{}{}", self.pointer, self.pod)
    }

    /// What stands where nothing reads it, or in a form that the API server refuses: sentences with the remedy.
    #[must_use]
    pub fn mistakes(&self, document: &Value) -> Vec<String> {
        let ours = |pointer: String| -> Vec<String> {
            let keys = texts(document.pointer(&pointer).unwrap_or(&Value::Null)).into_keys();
            keys.filter(|key| key.starts_with(names::PREFIX)).collect()
        };
        let mut sentences = Vec::new();
        if !self.pod.is_empty() {
            let place = dotted(self.pod);
            let own = (String::new(), format!("the {}'s own metadata", self.kind));
            // A CronJob has a third metadata between its own and the pod's.
            let between = self
                .pod
                .strip_suffix("/spec/template")
                .filter(|at| !at.is_empty());
            let between = between.map(|at| (at.to_owned(), format!("{}.metadata", dotted(at))));
            for (at, whose) in [own].into_iter().chain(between) {
                let found = ours(format!("{}{at}/metadata/annotations", self.pointer));
                sentences.extend(found.iter().map(|key| {
                    format!("{key} on {whose} is read by nobody: move it to {place}.metadata.annotations")
                }));
            }
        }
        let labels = [self.pointer.clone(), self.pod_pointer()];
        let mut labels: Vec<String> = labels
            .into_iter()
            .flat_map(|at| ours(format!("{at}/metadata/labels")))
            .collect();
        labels.dedup();
        let annotations = document.pointer(&format!("{}/metadata/annotations", self.pod_pointer()));
        for (key, value) in annotations.and_then(Value::as_object).into_iter().flatten() {
            if key.starts_with(names::PREFIX) && !value.is_string() {
                sentences.push(format!(
                    "{key}: {value} is not text, and Kubernetes refuses it: write \"{value}\""
                ));
            }
        }
        sentences.extend(
            labels
                .iter()
                .map(|key| format!("{key} is a label here: heapship reads annotations")),
        );
        sentences
    }
}

/// A JSON pointer as people write a field.
fn dotted(pointer: &str) -> String {
    pointer.trim_start_matches('/').replace('/', ".")
}

fn walk(value: &Value, kind: Option<&str>, pointer: String, visit: &mut impl FnMut(&Value, &str, String)) {
    let kind = value
        .get("kind")
        .and_then(Value::as_str)
        .or(kind)
        .unwrap_or_default();
    if let (Some(of), Some(Value::Array(items))) = (kind.strip_suffix("List"), value.get("items")) {
        for (index, item) in items.iter().enumerate() {
            walk(item, Some(of), format!("{pointer}/items/{index}"), visit);
        }
    } else {
        visit(value, kind, pointer);
    }
}

fn pod_of(object: &Value, kind: &str) -> Option<&'static str> {
    let has_containers = |at: &&str| {
        object
            .pointer(&format!("{at}/spec/containers"))
            .is_some_and(Value::is_array)
    };
    if kind == "Pod" {
        return Some("").filter(has_containers);
    }
    TEMPLATES.into_iter().find(has_containers)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod() -> Value {
        json!({"metadata": {}, "spec": {"containers": [{"name": "app"}]}})
    }

    #[test]
    fn finds_the_pod_in_everything_that_makes_pods() {
        for (document, pod) in [
            (json!({"kind": "Pod", "spec": {"containers": []}}), ""),
            (
                json!({"kind": "Deployment", "spec": {"template": pod()}}),
                "/spec/template",
            ),
            (
                json!({"kind": "Rollout", "spec": {"template": pod()}}),
                "/spec/template",
            ),
            (
                json!({"kind": "CronJob", "spec": {"jobTemplate": {"spec": {"template": pod()}}}}),
                "/spec/jobTemplate/spec/template",
            ),
            (json!({"kind": "PodTemplate", "template": pod()}), "/template"),
        ] {
            let found: Vec<_> = objects(&document).into_iter().map(|object| object.pod).collect();
            assert_eq!(found, [pod], "{document}");
        }
        for document in [
            json!(null),
            json!("text"),
            json!({"kind": "ConfigMap", "data": {"template": "x"}}),
            json!({"kind": "Pod", "spec": {"containers": {}}}),
            json!({"kind": "Deployment", "spec": {"template": {"spec": null}}}),
        ] {
            assert_eq!(objects(&document), [], "{document}");
        }
    }

    #[test]
    fn looks_into_lists_whose_items_may_have_no_kind() {
        let list = json!({"kind": "List", "items": [
            {"kind": "Service"},
            {"kind": "PodList", "items": [{"metadata": {"name": "a", "namespace": "n"}, "spec": {"containers": []}}]},
        ]});
        let found = objects(&list);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].title(), "Pod/a");
        assert_eq!(found[0].namespace.as_deref(), Some("n"));
        assert_eq!(found[0].pod_pointer(), "/items/1/items/0");
    }

    #[test]
    fn a_namespace_has_the_label_that_the_api_server_gives_it() {
        let document = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "web", "labels": {"a": "b"}, "annotations": {"c": "d", "e": 1}}});
        let found = namespaces(&document);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].labels.len(), 2);
        assert_eq!(found[0].annotations, BTreeMap::from([("c".into(), "d".into())]));
    }

    #[test]
    fn an_annotation_that_kubernetes_would_refuse_is_named() {
        let document = json!({"kind": "Pod", "metadata": {"annotations": {"heapship.io/inject": true}}, "spec": {"containers": []}});
        assert_eq!(
            objects(&document).remove(0).mistakes(&document),
            ["heapship.io/inject: true is not text, and Kubernetes refuses it: write \"true\"",]
        );
    }

    #[test]
    fn of_the_three_metadata_of_a_cron_job_one_is_read() {
        let annotations = |text: &str| json!({"annotations": {format!("heapship.io/{text}"): "true"}});
        let mut pod = pod();
        pod["metadata"] = annotations("inject");
        let job = json!({"metadata": annotations("agent"), "spec": {"template": pod}});
        let document =
            json!({"kind": "CronJob", "metadata": annotations("volume"), "spec": {"jobTemplate": job}});
        let move_it = "is read by nobody: move it to spec.jobTemplate.spec.template.metadata.annotations";
        assert_eq!(
            objects(&document).remove(0).mistakes(&document),
            [
                format!("heapship.io/volume on the CronJob's own metadata {move_it}"),
                format!("heapship.io/agent on spec.jobTemplate.metadata {move_it}"),
            ]
        );
    }

    #[test]
    fn an_annotation_where_nobody_reads_it_is_named() {
        let mut document = json!({"kind": "Deployment", "metadata": {"annotations": {"heapship.io/on-oom": "dump", "other": "x"}}, "spec": {"template": pod()}});
        document["spec"]["template"]["metadata"]["labels"] = json!({"heapship.io/inject": "true"});
        let object = objects(&document).remove(0);
        assert_eq!(
            object.mistakes(&document),
            [
                "heapship.io/on-oom on the Deployment's own metadata is read by nobody: move it to spec.template.metadata.annotations",
                "heapship.io/inject is a label here: heapship reads annotations",
            ]
        );
    }
}
