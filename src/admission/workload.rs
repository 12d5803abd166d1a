//! What a person hears who applies a workload: the sentences that its pods would get, while somebody is there to read
//! them. The controller that makes the pods reads no warnings. Pure.

use serde_json::Value;

use crate::inject::catalogue::MISPLACED_KEY;
use crate::inject::{Decision, Note, Outcome, Severity, texts};
use crate::objects::{Object, objects};
use crate::settings::{Annotations, Layers, resolve};

/// What there is to say about a workload.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Advice {
    /// `Deployment/shop`
    pub title: String,
    /// The first reason code, for metrics.
    pub code: &'static str,
    /// At least one sentence.
    pub warnings: Vec<String>,
}

/// Looks at a workload that is being created, or changed from `old`, as at the pods that will be made of it: `inject` is
/// given the template and `Kind/name`.
///
/// `None` where there is nothing to say, or nobody to say it to: a workload that a controller made, and an update that
/// leaves everything of ours as it was, such as a change of replicas.
pub fn advise(
    workload: &Value,
    old: Option<&Value>,
    inject: impl FnOnce(&Value, Option<String>) -> Outcome,
) -> Option<Advice> {
    let object = objects(workload).into_iter().next()?;
    if is_made_by_a_controller(workload) || old.is_some_and(|old| is_unchanged(&object, workload, old)) {
        return None;
    }
    let template = workload.pointer(object.pod)?;
    let mut outcome = inject(template, object.workload());
    if outcome.decision.leaves_no_trace() {
        outcome.notes = notes_on_own_keys(template);
    }
    let mistakes = object.mistakes(workload);
    let code = match &outcome.decision {
        Decision::Skipped(skip) if !skip.leaves_no_trace() => Some(skip.label()),
        Decision::Skipped(_) | Decision::Injected | Decision::NotAsked => {
            let mut notes = outcome.notes.iter();
            let first = notes.find(|note| note.severity == Severity::Warning);
            first
                .map(|note| note.code)
                .or_else(|| (!mistakes.is_empty()).then_some(MISPLACED_KEY))
        }
    };
    let mut warnings = outcome.warnings();
    warnings.extend(mistakes.iter().map(|mistake| format!("heapship: {mistake}")));
    Some(Advice {
        title: object.title(),
        code: code?,
        warnings,
    })
}

/// What is wrong with the template's own keys, whoever asks: one that is misspelt may be why nobody does. What is wrong
/// with the namespace's is no matter of a workload that is none of ours.
fn notes_on_own_keys(template: &Value) -> Vec<Note> {
    let layers = Layers {
        policy: None,
        namespace: &Annotations::default(),
        pod: &texts(&template["metadata"]["annotations"]),
    };
    let warnings = resolve(&layers).warnings.into_iter();
    warnings.map(|(code, text)| Note::warning(code, text)).collect()
}

fn is_made_by_a_controller(workload: &Value) -> bool {
    let owners = workload["metadata"]["ownerReferences"].as_array();
    owners.is_some_and(|owners| owners.iter().any(|owner| owner["controller"] == true))
}

/// Whether the template is what it was, and the keys around it that nobody reads. Controllers write other annotations.
fn is_unchanged(object: &Object, workload: &Value, old: &Value) -> bool {
    workload.pointer(object.pod) == old.pointer(object.pod)
        && object.mistakes(workload) == object.mistakes(old)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::inject::{Cluster, Context, KubernetesVersion, Namespace, inject};
    use crate::objects::named;
    use crate::settings::policy::Policies;

    fn deployment() -> Value {
        json!({
            "kind": "Deployment",
            "metadata": {"name": "shop"},
            "spec": {"replicas": 1, "template": {
                "metadata": {"annotations": {
                    "heapship.io/inject": "true", "heapship.io/destination": "s3://dumps/shop",
                }},
                "spec": {"securityContext": {"runAsUser": 1000}, "containers": [{"name": "app", "image": "app"}]},
            }},
        })
    }

    fn advice(workload: &Value, old: Option<&Value>) -> Option<Advice> {
        advice_in(&named("shop"), workload, old)
    }

    fn advice_in(namespace: &Namespace, workload: &Value, old: Option<&Value>) -> Option<Advice> {
        let cluster = Cluster {
            name: "test".to_owned(),
            version: KubernetesVersion::NEWEST,
            own_namespace: None,
            env_files: false,
        };
        advise(workload, old, |pod, workload| {
            let context = Context {
                namespace,
                policies: &Policies::default(),
                cluster: &cluster,
                workload,
            };
            inject(pod, &context)
        })
    }

    fn said(workload: &Value, old: Option<&Value>) -> Vec<String> {
        advice(workload, old)
            .map(|advice| advice.warnings)
            .unwrap_or_default()
    }

    fn annotated(key: &str, value: &str) -> Value {
        let mut deployment = deployment();
        deployment["spec"]["template"]["metadata"]["annotations"][key] = json!(value);
        deployment
    }

    #[test]
    fn of_a_workload_that_is_right_nothing_is_said() {
        assert_eq!(advice(&deployment(), None), None);
    }

    #[test]
    fn a_typing_error_in_a_key_or_a_value_is_said_as_it_is_to_a_pod() {
        let key = advice(&annotated("heapship.io/pre-stopp", "live"), None).unwrap();
        assert_eq!(
            (key.title.as_str(), key.code),
            ("Deployment/shop", "unknown-annotation")
        );
        assert_eq!(
            key.warnings,
            [
                "heapship: unknown annotation heapship.io/pre-stopp on the pod; did you mean heapship.io/pre-stop?"
            ]
        );
        let value = advice(&annotated("heapship.io/pre-stop", "alive"), None).unwrap();
        assert_eq!(value.code, "invalid-annotation");
        assert_eq!(
            value.warnings,
            ["heapship: not injected: heapship.io/pre-stop: \"alive\" is not allowed: use off, live or all"]
        );
    }

    #[test]
    fn where_nobody_asks_the_templates_own_keys_are_spoken_of_and_not_the_namespaces() {
        let mut namespace = named("shop");
        namespace
            .annotations
            .insert("heapship.io/volum".to_owned(), "x".to_owned());
        for opted_out in [json!({}), json!({"heapship.io/inject": "false"})] {
            let mut workload = deployment();
            workload["spec"]["template"]["metadata"]["annotations"] = opted_out;
            assert_eq!(advice_in(&namespace, &workload, None), None);
            workload["spec"]["template"]["metadata"]["annotations"]["heapship.io/injct"] = json!("true");
            let advice = advice_in(&namespace, &workload, None).unwrap();
            assert_eq!(advice.code, "unknown-annotation");
            assert_eq!(
                advice.warnings,
                [
                    "heapship: unknown annotation heapship.io/injct on the pod; did you mean heapship.io/inject?"
                ]
            );
        }
    }

    #[test]
    fn annotations_on_the_wrong_metadata_are_said_to_move() {
        let mut misplaced = deployment();
        misplaced["metadata"]["annotations"] = json!({"heapship.io/on-oom": "dump-and-exit"});
        let advice = advice(&misplaced, None).unwrap();
        assert_eq!(advice.code, MISPLACED_KEY);
        assert_eq!(
            advice.warnings,
            [
                "heapship: heapship.io/on-oom on the Deployment's own metadata is read by nobody: move it to \
              spec.template.metadata.annotations"
            ]
        );
    }

    #[test]
    fn an_update_is_spoken_of_when_it_changes_something_of_ours() {
        let wrong = annotated("heapship.io/pre-stop", "alive");
        assert_eq!(said(&wrong, Some(&deployment())).len(), 1);
        let mut scaled = wrong.clone();
        scaled["spec"]["replicas"] = json!(5);
        scaled["metadata"]["annotations"] = json!({"deployment.kubernetes.io/revision": "2"});
        assert_eq!(said(&scaled, Some(&wrong)), Vec::<String>::new());
        let mut misplaced = wrong.clone();
        misplaced["metadata"]["annotations"] = json!({"heapship.io/on-oom": "dump"});
        assert_eq!(said(&misplaced, Some(&wrong)).len(), 2);
    }

    #[test]
    fn what_a_controller_made_has_nobody_who_would_read() {
        let mut job = annotated("heapship.io/pre-stop", "alive");
        job["kind"] = json!("Job");
        job["metadata"]["ownerReferences"] =
            json!([{"kind": "CronJob", "name": "night", "controller": true}]);
        assert_eq!(advice(&job, None), None);
        job["metadata"]["ownerReferences"] = json!([{"kind": "Team", "name": "shop"}]);
        assert_eq!(said(&job, None).len(), 1);
    }

    #[test]
    fn what_makes_no_pods_is_none_of_our_business() {
        for object in [json!(null), json!({"kind": "Deployment", "spec": {}}), json!([1])] {
            assert_eq!(advice(&object, None), None, "{object}");
        }
    }
}
