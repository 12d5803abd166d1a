//! What the people of a workload should read on it: `kubectl describe deployment` shows Events, and the warnings of an
//! admission reach only the controller that makes the pods.
//!
//! An answer carries what happened; [`outbox`] forgets nothing twice and holds a bounded number; [`post`] writes, beside
//! the reviews and never faster than an API server likes. Only what somebody should mend becomes an Event: a Normal one
//! for each injected workload would be most of a large cluster's Events and say what `heapship.io/status` says.

use serde_json::Value;

use crate::inject::{Decision, Outcome, Severity};

pub mod outbox;
pub mod post;

/// Longest note in bytes that the API server takes.
const NOTE_LIMIT: usize = 1024;

/// The controller of a pod, as the pod names it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Owner {
    /// `apps/v1`
    pub api_version: String,
    /// `ReplicaSet`
    pub kind: String,
    /// Its name.
    pub name: String,
    /// By which `kubectl describe` finds its Events.
    pub uid: String,
}

/// Something about the pods of one owner. Two that are equal are one.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Happening {
    /// The owner's namespace.
    pub namespace: String,
    /// Whose pods.
    pub owner: Owner,
    /// The reason code.
    pub code: &'static str,
    /// The sentence.
    pub note: String,
}

impl Happening {
    /// The reason code as Events have it: `InvalidAnnotation`.
    #[must_use]
    pub fn reason(&self) -> String {
        self.code
            .split('-')
            .filter_map(|word| word.split_at_checked(1))
            .map(|(first, rest)| first.to_uppercase() + rest)
            .collect()
    }
}

impl Owner {
    /// The one owner that is the controller, from an object's metadata. Its name becomes part of a path: no other characters
    /// than those of an object's name.
    #[must_use]
    pub fn of(metadata: &Value) -> Option<Self> {
        let owners = metadata["ownerReferences"].as_array()?;
        let owner = owners.iter().find(|owner| owner["controller"] == true)?;
        let text = |key: &str| owner[key].as_str().map(str::to_owned);
        let is_a_name = |name: &String| {
            name.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte))
        };
        Some(Self {
            api_version: text("apiVersion")?,
            kind: text("kind")?,
            name: text("name").filter(is_a_name)?,
            uid: text("uid")?,
        })
    }
}

/// What the outcome for a pod gives its workload's people to read: what an admission warning says, one for each reason.
/// Nothing for a pod that is none of ours, and nothing for a bare one, which has no UID yet: whoever creates it reads the
/// warnings.
#[must_use]
pub fn of(namespace: &str, pod: &Value, outcome: &Outcome) -> Vec<Happening> {
    if outcome.decision.leaves_no_trace() {
        return Vec::new();
    }
    let mut said: Vec<(&'static str, String)> = Vec::new();
    if let Decision::Skipped(skip) = &outcome.decision {
        said.push((
            skip.label(),
            format!("the pods of this workload are not injected: {skip}"),
        ));
    }
    let notes = outcome.notes.iter();
    for note in notes.filter(|note| note.severity == Severity::Warning) {
        match said.iter_mut().find(|(code, _)| *code == note.code) {
            Some((_, text)) => {
                text.push_str("; ");
                text.push_str(&note.text);
            }
            None => said.push((note.code, note.text.clone())),
        }
    }
    if said.is_empty() {
        return Vec::new();
    }
    let Some(owner) = Owner::of(&pod["metadata"]) else {
        return Vec::new();
    };
    let happening = |(code, note)| Happening {
        namespace: namespace.to_owned(),
        owner: owner.clone(),
        code,
        note: fit(note),
    };
    said.into_iter().map(happening).collect()
}

/// A longer note would be refused.
fn fit(mut note: String) -> String {
    if note.len() > NOTE_LIMIT {
        note.truncate(note.floor_char_boundary(NOTE_LIMIT - '…'.len_utf8()));
        note.push('…');
    }
    note
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::inject::{Cluster, Context, KubernetesVersion, Namespace, inject};
    use crate::objects::named;
    use crate::settings::policy::Policies;

    fn happened(annotations: &Value) -> Vec<(String, String)> {
        happened_in(&named("shop"), annotations)
    }

    fn happened_in(namespace: &Namespace, annotations: &Value) -> Vec<(String, String)> {
        let pod = json!({
            "metadata": {
                "annotations": annotations,
                "ownerReferences": [
                    {"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "1"},
                    {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "shop-7d4", "uid": "2", "controller": true},
                ],
            },
            "spec": {"containers": [{"name": "app", "image": "app"}]},
        });
        let cluster = Cluster {
            name: "test".to_owned(),
            version: KubernetesVersion::NEWEST,
            own_namespace: None,
            env_files: false,
        };
        let context = Context {
            namespace,
            policies: &Policies::default(),
            cluster: &cluster,
            workload: None,
        };
        let outcome = inject(&pod, &context);
        let name = &namespace.name;
        assert_eq!(of(name, &json!({"metadata": {"name": "bare"}}), &outcome), []);
        of(name, &pod, &outcome)
            .into_iter()
            .map(|happening| {
                assert_eq!(
                    (happening.namespace.as_str(), happening.owner.uid.as_str()),
                    (name.as_str(), "2")
                );
                (happening.reason(), happening.note)
            })
            .collect()
    }

    #[test]
    fn a_pod_that_is_right_or_opted_out_is_no_event() {
        for annotations in [
            json!({"heapship.io/inject": "true", "heapship.io/destination": "s3://dumps"}),
            json!({"heapship.io/inject": "false"}),
            json!({}),
        ] {
            assert_eq!(happened(&annotations), []);
        }
    }

    #[test]
    fn of_a_pod_that_nobody_asked_for_or_that_is_not_touched_nothing_is_written() {
        let mut unasked = named("shop");
        unasked
            .annotations
            .insert("heapship.io/volum".to_owned(), "x".to_owned());
        for annotations in [
            json!({}),
            json!({"heapship.io/injct": "true"}),
            json!({"heapship.io/inject": "false", "heapship.io/volum": "x"}),
        ] {
            assert_eq!(happened_in(&unasked, &annotations), []);
        }
        let mistaken = json!({"heapship.io/inject": "true", "heapship.io/volum": "x"});
        assert_eq!(happened(&mistaken).len(), 2);
        assert_eq!(happened_in(&named("kube-system"), &mistaken), []);
    }

    #[test]
    fn each_reason_is_one_event_with_all_its_sentences() {
        let found = happened(&json!({
            "heapship.io/inject": "true", "heapship.io/injct": "x", "heapship.io/volum": "x", "heapship.io/agent": "maybe",
        }));
        let skipped = "the pods of this workload are not injected: heapship.io/agent: \"maybe\" is not allowed: use on or off";
        let unknown = "unknown annotation heapship.io/injct on the pod; did you mean heapship.io/inject?; \
                       unknown annotation heapship.io/volum on the pod; did you mean heapship.io/volume?";
        assert_eq!(
            found,
            [("InvalidAnnotation", skipped), ("UnknownAnnotation", unknown)]
                .map(|(reason, note)| (reason.to_owned(), note.to_owned()))
        );
    }

    #[test]
    fn an_owner_whose_name_would_lead_elsewhere_is_none() {
        let owner = |name: &str| {
            Owner::of(&json!({"ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name, "uid": "2", "controller": true},
            ]}))
        };
        assert!(owner("shop-7d4.x").is_some());
        for name in ["../../secrets/x", "a?b", "a%2fb"] {
            assert_eq!(owner(name), None, "{name}");
        }
    }

    #[test]
    fn a_note_that_the_api_server_would_refuse_is_cut_at_a_character() {
        let cut = fit("é".repeat(600));
        assert!(cut.len() <= NOTE_LIMIT && cut.ends_with("é…"), "{}", cut.len());
        assert_eq!(fit("short".to_owned()), "short");
    }
}
