//! The smallest pod that still breaks a law: members and elements are taken away while it does.

use serde_json::Value;

use crate::case::{Case, Trial};
use crate::law::{Faults, Law};

/// Without these an object is no pod, or another one.
const KEPT: [&str; 6] = ["name", "image", "spec", "containers", "metadata", "mountPath"];

pub(crate) fn minimise(case: &Case, law: &Law) -> Case {
    let mut smallest = case.clone();
    // Each round takes away what it can; what is left may make room for more.
    for _ in 0..8 {
        let before = size(&smallest);
        for pointer in places(&smallest.pod, "") {
            let mut smaller = smallest.clone();
            if remove(&mut smaller.pod, &pointer) && breaks(&smaller, law) {
                smallest = smaller;
            }
        }
        for key in smallest.namespace.annotations.clone().into_keys() {
            let mut smaller = smallest.clone();
            smaller.namespace.annotations.remove(&key);
            if breaks(&smaller, law) {
                smallest = smaller;
            }
        }
        if size(&smallest) == before {
            break;
        }
    }
    smallest
}

fn size(case: &Case) -> usize {
    case.pod.to_string().len() + case.namespace.annotations.len()
}

fn breaks(case: &Case, (_, check): &Law) -> bool {
    let mut faults = Faults::new();
    check(&Trial::of(case), &mut faults);
    !faults.is_empty()
}

/// Pointers to all members and elements, the last first: so that those before keep their places.
fn places(value: &Value, path: &str) -> Vec<String> {
    let mut below: Vec<(String, &Value)> = match value {
        Value::Object(members) => {
            let escape = |key: &str| key.replace('~', "~0").replace('/', "~1");
            members
                .iter()
                .map(|(key, member)| (format!("{path}/{}", escape(key)), member))
                .collect()
        }
        Value::Array(elements) => elements
            .iter()
            .enumerate()
            .map(|(at, element)| (format!("{path}/{at}"), element))
            .collect(),
        _ => Vec::new(),
    };
    below.reverse();
    let deeper = below.iter().flat_map(|(path, value)| places(value, path));
    let deeper: Vec<String> = deeper.collect();
    below.into_iter().map(|(path, _)| path).chain(deeper).collect()
}

fn remove(value: &mut Value, pointer: &str) -> bool {
    let Some((parent, last)) = pointer.rsplit_once('/') else {
        return false;
    };
    let key = last.replace("~1", "/").replace("~0", "~");
    match value.pointer_mut(parent) {
        Some(Value::Object(members)) if !KEPT.contains(&key.as_str()) => members.shift_remove(&key).is_some(),
        Some(Value::Array(elements)) => match key.parse::<usize>() {
            Ok(at) if at < elements.len() => {
                elements.remove(at);
                true
            }
            _ => false,
        },
        _ => false,
    }
}
