//! The work in progress on one pod: what every rule reads and adds to.

use serde_json::{Value, json};

use crate::inject::containers::Target;
use crate::inject::pod::{carries_injection, container_place, from_field, is_left_over, spec};
use crate::inject::reasons::{Note, Skip};
use crate::inject::replaced::Replaced;
use crate::inject::{Context, resources};
use crate::patch::{Draft, Place};
use crate::settings::Settings;
use crate::settings::policy::Policy;

/// One pod on its way through the rules.
pub(super) struct Plan<'a> {
    /// The pod as it was sent.
    pub(super) pod: &'a Value,
    /// The pod as it will be.
    pub(super) draft: Draft,
    pub(super) settings: &'a Settings,
    pub(super) policy: Option<&'a Policy>,
    pub(super) context: &'a Context<'a>,
    pub(super) targets: Vec<Target>,
    pub(super) replaced: Replaced,
    pub(super) notes: Vec<Note>,
    /// Of the pod without anything of ours.
    pub(super) qos: resources::Qos,
}

impl Plan<'_> {
    pub(super) fn step(&mut self, code: &'static str, text: String) {
        self.notes.push(Note::step(code, text));
    }

    pub(super) fn warn(&mut self, code: &'static str, text: String) {
        self.notes.push(Note::warning(code, text));
    }

    /// Adds an element to a list. A list that was there and empty is noted, so that `uninject` leaves an empty one.
    pub(super) fn append(&mut self, list: &Place, label: &str, value: Value) {
        let end = list.array(self.draft.document()).len();
        self.insert(list, label, end, value);
    }

    /// [`Plan::append`] at an index.
    pub(super) fn insert(&mut self, list: &Place, label: &str, index: usize, value: Value) {
        self.note_if_empty(list, label);
        self.draft.insert(list, index, value);
    }

    /// See [`Replaced::note_if_empty`].
    pub(super) fn note_if_empty(&mut self, place: &Place, label: &str) {
        self.replaced
            .note_if_empty(place.of(self.draft.document()), label);
    }

    /// A volume of ours: added, or completed where it is ours already.
    ///
    /// # Errors
    /// [`Skip::NameTaken`] where the pod has another one of that name.
    pub(super) fn volume(&mut self, name: &str, source: &Value) -> Result<(), Skip> {
        let list = spec().key("volumes");
        let wanted = with_name(name, source);
        let found = list
            .array(self.draft.document())
            .iter()
            .find(|volume| volume["name"] == name);
        match found {
            None => self.append(&list, "volumes", wanted),
            Some(found) if same_source(found, &wanted) && !self.is_users(name) => {}
            Some(_) => {
                return Err(Skip::NameTaken {
                    kind: "a volume",
                    name: name.to_owned(),
                });
            }
        }
        Ok(())
    }

    /// Whether the pod came with a volume of that name that is not ours: one that stands only in the draft is.
    fn is_users(&self, name: &str) -> bool {
        let list = spec().key("volumes");
        list.array(self.pod).iter().any(|volume| volume["name"] == name)
            && !carries_injection(self.pod)
            && !is_left_over(self.pod, name)
    }

    /// A mount in a container of the application.
    ///
    /// # Errors
    /// [`Skip::PathTaken`] where something else is mounted there.
    pub(super) fn mount(&mut self, container: &str, mount: Value) -> Result<(), Skip> {
        let Some(place) = container_place(self.draft.document(), container) else {
            return Ok(());
        };
        let list = place.key("volumeMounts");
        let at = |value: &Value| {
            value["mountPath"]
                .as_str()
                .map(|path| path.trim_end_matches('/').to_owned())
        };
        match list
            .array(self.draft.document())
            .iter()
            // What is mounted at our parent would have to hold our mount point.
            .find(|found| at(found) == at(&mount) || at(found).as_deref() == Some("/heapship"))
        {
            None => {
                self.append(&list, &format!("{container}.volumeMounts"), mount);
                Ok(())
            }
            Some(found) if found["name"] == mount["name"] => Ok(()),
            Some(found) => Err(Skip::PathTaken {
                container: container.to_owned(),
                volume: found["name"].as_str().unwrap_or_default().to_owned(),
                path: found["mountPath"].as_str().unwrap_or_default().to_owned(),
            }),
        }
    }

    /// A variable that the kubelet fills from the pod's own fields.
    pub(super) fn downward_variable(&mut self, container: &str, name: &str, field: &str) {
        let Some(place) = container_place(self.draft.document(), container) else {
            return;
        };
        let list = place.key("env");
        if !list
            .array(self.draft.document())
            .iter()
            .any(|entry| entry["name"] == name)
        {
            self.append(&list, &format!("{container}.env"), from_field(name, field));
        }
    }
}

fn with_name(name: &str, source: &Value) -> Value {
    let mut volume = json!({ "name": name });
    if let (Some(volume), Some(source)) = (volume.as_object_mut(), source.as_object()) {
        volume.extend(source.iter().map(|(key, value)| (key.clone(), value.clone())));
    }
    volume
}

/// Whether both are of one kind: the API server fills in defaults, so equality would be too much to ask.
fn same_source(a: &Value, b: &Value) -> bool {
    let kinds = |value: &Value| {
        value.as_object().map(|members| {
            let mut kinds: Vec<String> = members.keys().filter(|key| *key != "name").cloned().collect();
            kinds.sort();
            kinds
        })
    };
    kinds(a) == kinds(b)
}
