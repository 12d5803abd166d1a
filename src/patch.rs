//! From a pod as it is to a pod as it will be, by operations that only add.
//!
//! `replace` and `remove` of arrays would lose what others added meanwhile, `test` would make the API server reject the
//! pod whatever the failurePolicy says, and a computed diff rewrites every element behind an insertion. So operations
//! are recorded one by one, each applied to the evolving document by a library that is stricter than the API server's:
//! what applies here applies there.

use std::fmt::Write as _;

use json_patch::{AddOperation, Patch, PatchOperation, jsonptr::PointerBuf};
use serde_json::{Map, Value};

/// A place in a document: a JSON pointer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Place(String);

/// A patch that does not do what it was made for. Never expected; a pod is then left as it is.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A parent is missing, or not a container.
    #[error("nothing can be added at {0}")]
    Place(String),
    /// The operations do not apply to the original.
    #[error("the patch does not apply: {0}")]
    Apply(#[from] json_patch::PatchError),
}

/// A document that is being changed, and the operations so far.
#[derive(Debug)]
pub struct Draft {
    document: Value,
    operations: Vec<PatchOperation>,
    broken: Option<Error>,
}

impl Place {
    /// The document itself.
    #[must_use]
    pub fn root() -> Self {
        Self(String::new())
    }

    /// A member of the object here.
    #[must_use]
    pub fn key(&self, name: &str) -> Self {
        Self(format!(
            "{}/{}",
            self.0,
            name.replace('~', "~0").replace('/', "~1")
        ))
    }

    /// An element of the array here.
    #[must_use]
    pub fn at(&self, index: usize) -> Self {
        let mut text = self.0.clone();
        // Writing to a String cannot fail.
        let _ = write!(text, "/{index}");
        Self(text)
    }

    /// The container of this place and the name here; `None` for the document itself.
    fn parent(&self) -> Option<(Self, String)> {
        let (parent, last) = self.0.rsplit_once('/')?;
        Some((
            Self(parent.to_owned()),
            last.replace("~1", "/").replace("~0", "~"),
        ))
    }

    /// What stands here.
    #[must_use]
    pub fn of<'v>(&self, document: &'v Value) -> Option<&'v Value> {
        // As `Value::pointer`, which allocates for every step; the rules look often.
        self.0
            .split('/')
            .skip(1)
            .try_fold(document, |value, step| match value {
                Value::Object(members) if step.contains('~') => {
                    members.get(&step.replace("~1", "/").replace("~0", "~"))
                }
                Value::Object(members) => members.get(step),
                Value::Array(elements) => elements.get(step.parse::<usize>().ok()?),
                _ => None,
            })
    }

    /// The array that stands here; empty where there is none.
    #[must_use]
    pub fn array<'v>(&self, document: &'v Value) -> &'v [Value] {
        self.of(document)
            .and_then(Value::as_array)
            .map_or(&[], Vec::as_slice)
    }
}

impl Draft {
    /// Begins with the document as it is.
    #[must_use]
    pub fn new(original: &Value) -> Self {
        Self {
            document: original.clone(),
            operations: Vec::new(),
            broken: None,
        }
    }

    /// The document as it stands now.
    #[must_use]
    pub fn document(&self) -> &Value {
        &self.document
    }

    /// Whether nothing has been changed.
    #[must_use]
    pub fn is_untouched(&self) -> bool {
        self.operations.is_empty()
    }

    /// Sets a member of an object, or does nothing where it stands there already. A missing parent is made.
    pub fn set(&mut self, parent: &Place, name: &str, value: Value) {
        match parent.of(&self.document) {
            Some(Value::Object(members)) => {
                if members.get(name) != Some(&value) {
                    self.add(&parent.key(name), value);
                }
            }
            None | Some(Value::Null) => {
                let object = Value::Object(Map::from_iter([(name.to_owned(), value)]));
                match parent.parent() {
                    Some((grandparent, last)) => self.set(&grandparent, &last, object),
                    None => self.fail(parent),
                }
            }
            Some(_) => self.fail(parent),
        }
    }

    /// Puts an element into an array before `index`. A missing array is made.
    pub fn insert(&mut self, array: &Place, index: usize, value: Value) {
        match array.of(&self.document) {
            Some(Value::Array(elements)) if index <= elements.len() => self.add(&array.at(index), value),
            None | Some(Value::Null) if index == 0 => self.add(array, Value::Array(vec![value])),
            _ => self.fail(array),
        }
    }

    /// Puts an element at the end of an array.
    pub fn append(&mut self, array: &Place, value: Value) {
        let length = array.array(&self.document).len();
        self.insert(array, length, value);
    }

    /// Adds what is missing of `wanted`: members of objects, and elements of lists that Kubernetes merges by a key
    /// (`name`, `mountPath`). What stands there already is left as it is, whatever it says.
    pub fn complete(&mut self, place: &Place, wanted: &Value) {
        match (place.of(&self.document), wanted) {
            (Some(Value::Object(found)), Value::Object(members)) => {
                let missing: Vec<&String> = members
                    .keys()
                    .filter(|name| found.get(*name).is_none_or(Value::is_null))
                    .collect();
                for (name, value) in members {
                    if missing.contains(&name) {
                        self.set(place, name, value.clone());
                    } else {
                        self.complete(&place.key(name), value);
                    }
                }
            }
            (Some(Value::Array(_)), Value::Array(elements)) => {
                for element in elements {
                    let Some(identity) = identity(element) else {
                        continue;
                    };
                    let same = |found: &Value| self::identity(found) == Some(identity);
                    match place.array(&self.document).iter().position(same) {
                        Some(index) => self.complete(&place.at(index), element),
                        None => self.append(place, element.clone()),
                    }
                }
            }
            _ => {}
        }
    }

    /// The operations and the document that they make: each was applied by the same library that reads the answer.
    ///
    /// # Errors
    /// [`Error`]: a fault of ours; the pod must be left as it is.
    pub fn finish(self) -> Result<(Patch, Value), Error> {
        let Self {
            document,
            operations,
            broken,
        } = self;
        match broken {
            Some(error) => Err(error),
            None => Ok((Patch(operations), document)),
        }
    }

    fn add(&mut self, place: &Place, value: Value) {
        let Ok(path) = PointerBuf::parse(&place.0) else {
            return self.fail(place);
        };
        let operation = PatchOperation::Add(AddOperation { path, value });
        match json_patch::patch_unsafe(&mut self.document, std::slice::from_ref(&operation)) {
            Ok(()) => self.operations.push(operation),
            Err(error) => drop(self.broken.get_or_insert(Error::Apply(error))),
        }
    }

    fn fail(&mut self, place: &Place) {
        self.broken.get_or_insert_with(|| Error::Place(place.0.clone()));
    }
}

/// By what Kubernetes tells elements of a list apart.
fn identity(element: &Value) -> Option<&str> {
    ["mountPath", "name"]
        .into_iter()
        .find_map(|key| element.get(key)?.as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn missing_parents_are_made_and_the_patch_applies() {
        let pod = json!({"spec": {"containers": [{"name": "app", "env": null}]}});
        let mut draft = Draft::new(&pod);
        let spec = Place::root().key("spec");
        draft.append(&spec.key("volumes"), json!({"name": "v"}));
        draft.append(&spec.key("volumes"), json!({"name": "w"}));
        draft.append(&spec.key("containers").at(0).key("env"), json!({"name": "A"}));
        draft.set(
            &Place::root().key("metadata").key("annotations"),
            "a/b",
            json!("x"),
        );
        let (_, patched) = draft.finish().unwrap();
        assert_eq!(patched.pointer("/metadata/annotations/a~1b"), Some(&json!("x")));
        assert_eq!(patched.pointer("/spec/volumes/1/name"), Some(&json!("w")));
        assert_eq!(
            patched.pointer("/spec/containers/0/env/0/name"),
            Some(&json!("A"))
        );
    }

    #[test]
    fn a_place_is_what_a_json_pointer_names() {
        let document = json!({"a/b": {"c~d": [10, {"": 1}]}, "e": null});
        let place = Place::root().key("a/b").key("c~d").at(1).key("");
        assert_eq!(place.of(&document), document.pointer("/a~1b/c~0d/1/"));
        assert_eq!(place.of(&document), Some(&json!(1)));
        assert_eq!(Place::root().of(&document), Some(&document));
        assert_eq!(Place::root().key("e").key("x").of(&document), None);
        assert_eq!(Place::root().key("a/b").key("c~d").at(7).of(&document), None);
    }

    #[test]
    fn what_is_there_already_costs_no_operation() {
        let pod = json!({"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}});
        let mut draft = Draft::new(&pod);
        draft.set(
            &Place::root().key("spec"),
            "volumes",
            json!([{"name": "v", "emptyDir": {}}]),
        );
        draft.complete(
            &Place::root().key("spec").key("volumes"),
            &json!([{"name": "v", "emptyDir": {"sizeLimit": 1}}]),
        );
        let (patch, patched) = draft.finish().unwrap();
        assert_eq!(patch.0.len(), 1);
        assert_eq!(
            patched.pointer("/spec/volumes/0/emptyDir/sizeLimit"),
            Some(&json!(1))
        );
    }

    #[test]
    fn a_place_that_cannot_be_is_an_error_and_no_panic() {
        let pod = json!({"spec": "text"});
        let mut draft = Draft::new(&pod);
        draft.append(&Place::root().key("spec").key("volumes"), json!(1));
        draft.set(&Place::root().key("spec"), "x", json!(1));
        assert!(draft.finish().is_err());
    }
}
