//! What the kubelet makes of a container's variables (`makeEnvironmentVariables`, `expansion.Expand`), once more and by
//! itself: whoever checks the rules must not ask them.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, HashSet};

use serde_json::Value;

use crate::names;

/// Bytes of expanded text for one container; beyond it nothing is said about the container. No process starts with that much.
const MOST: usize = 1 << 20;

/// Which of the sources that may be missing are there: a key of an `envFrom` object, a reference that is optional.
#[derive(Clone, Copy, Debug)]
pub(super) enum World {
    Nothing,
    Everything,
    /// One, without the others.
    Only(u64),
}

/// Sources of one variable that are taken to be there alone; nobody has more.
const MOST_SOURCES: usize = 8;

impl World {
    /// Those worth a look for a variable: one where all is known, else both ends, and each of the variable's sources alone.
    pub(super) fn of(containers: [&Value; 2], variable: &str) -> Vec<Self> {
        let original = format!("{}{variable}", names::ORIGINAL_OPTIONS_PREFIX);
        let mut worlds = vec![Self::Nothing];
        let mut own = BTreeSet::new();
        for container in containers {
            let sources = list(container, "envFrom");
            let optional = list(container, "env")
                .iter()
                .filter_map(|entry| Some((entry, reference(entry).filter(|found| found.optional)?)));
            let mut unknown = !sources.is_empty();
            own.extend(sources.iter().filter_map(|source| key_of(source, variable)));
            for (entry, found) in optional {
                unknown = true;
                if entry["name"] == variable || entry["name"] == original.as_str() {
                    own.insert(found.source);
                }
            }
            if unknown && worlds.len() == 1 {
                worlds.push(Self::Everything);
            }
        }
        worlds.extend(own.into_iter().take(MOST_SOURCES).map(Self::Only));
        worlds
    }

    fn has(self, source: u64) -> bool {
        match self {
            Self::Nothing => false,
            Self::Everything => true,
            Self::Only(one) => source == one,
        }
    }
}

/// The variables of one container as its processes see them.
#[derive(Debug)]
pub(super) struct Seen<'p> {
    values: HashMap<&'p str, Cow<'p, str>>,
    sources: &'p [Value],
    world: World,
    /// The variable whose users are told apart.
    watched: &'p str,
    /// Names whose text was made with the watched one's.
    uses_watched: HashSet<&'p str>,
    /// Names in whose text a reference stayed as it was written.
    dangling: HashSet<&'p str>,
    /// What may still be expanded.
    left: usize,
}

/// A text with its references resolved.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Expanded {
    pub(super) text: String,
    pub(super) uses_watched: bool,
    pub(super) dangling: bool,
}

impl<'p> Seen<'p> {
    /// `None` where references make more text than [`MOST`].
    pub(super) fn of(container: &'p Value, world: World, watched: &'p str) -> Option<Self> {
        let entries = list(container, "env");
        let mut seen = Self {
            values: HashMap::with_capacity(entries.len()),
            sources: list(container, "envFrom"),
            world,
            watched,
            uses_watched: HashSet::new(),
            dangling: HashSet::new(),
            left: MOST,
        };
        for entry in entries {
            let name = entry["name"].as_str().unwrap_or_default();
            let (mut uses, mut dangles) = (false, false);
            let value = match (reference(entry), entry["value"].as_str().unwrap_or_default()) {
                (Some(found), _) if found.optional && !world.has(found.source) => continue,
                (Some(found), _) => Cow::Owned(text_of(found.source)),
                (None, text) if !text.contains('$') => Cow::Borrowed(text),
                (None, text) => {
                    let expanded = seen.expand(text)?;
                    seen.left = seen.left.checked_sub(expanded.text.len())?;
                    (uses, dangles) = (expanded.uses_watched, expanded.dangling);
                    Cow::Owned(expanded.text)
                }
            };
            note(&mut seen.uses_watched, name, uses);
            note(&mut seen.dangling, name, dangles);
            seen.values.insert(name, value);
        }
        Some(seen)
    }

    /// What a process finds under a name.
    pub(super) fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        if let Some(value) = self.values.get(name) {
            return Some(Cow::Borrowed(value));
        }
        // Later sources overwrite earlier ones.
        self.sources
            .iter()
            .rev()
            .filter_map(|source| key_of(source, name))
            .find(|found| self.world.has(*found))
            .map(|found| Cow::Owned(text_of(found)))
    }

    /// The names that `env` sets.
    pub(super) fn names(&self) -> impl Iterator<Item = &'p str> {
        self.values.keys().copied()
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    pub(super) fn uses_watched(&self, name: &str) -> bool {
        self.uses_watched.contains(name)
    }

    pub(super) fn is_dangling(&self, name: &str) -> bool {
        self.dangling.contains(name)
    }

    /// A text as the kubelet hands it to a process; `None` where it grows too long.
    pub(super) fn expand(&self, text: &str) -> Option<Expanded> {
        let mut expanded = Expanded::default();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            expanded.text.push_str(before);
            rest = match after.as_bytes().first() {
                Some(b'$') => {
                    expanded.text.push('$');
                    after.get(1..)?
                }
                Some(b'(') if after.contains(')') => {
                    let (name, tail) = after.get(1..)?.split_once(')')?;
                    self.put(name, &mut expanded);
                    tail
                }
                _ => {
                    expanded.text.push('$');
                    after
                }
            };
            if expanded.text.len() > self.left {
                return None;
            }
        }
        expanded.text.push_str(rest);
        Some(expanded)
    }

    fn put(&self, name: &str, expanded: &mut Expanded) {
        expanded.uses_watched |= name == self.watched || self.uses_watched.contains(name);
        match self.get(name) {
            Some(value) => {
                expanded.text.push_str(&value);
                expanded.dangling |= self.dangling.contains(name);
            }
            None => {
                expanded.dangling = true;
                for part in ["$(", name, ")"] {
                    expanded.text.push_str(part);
                }
            }
        }
    }
}

fn note<'p>(names: &mut HashSet<&'p str>, name: &'p str, holds: bool) {
    if holds {
        names.insert(name);
    } else if !names.is_empty() {
        names.remove(name);
    }
}

pub(super) fn list<'p>(container: &'p Value, key: &str) -> &'p [Value] {
    container[key].as_array().map_or(&[], Vec::as_slice)
}

/// What a `valueFrom` points to.
struct Reference {
    source: u64,
    optional: bool,
}

fn reference(entry: &Value) -> Option<Reference> {
    let from = entry.get("valueFrom").filter(|from| !from.is_null())?;
    let (kind, target) = from.as_object().and_then(|kinds| kinds.iter().next())?;
    let name = ["name", "volumeName", "fieldPath", "resource"]
        .into_iter()
        .find_map(|key| target[key].as_str());
    let key = target["key"].as_str();
    Some(Reference {
        source: source(
            kind.trim_end_matches("KeyRef"),
            name.unwrap_or_default(),
            key.unwrap_or_default(),
        ),
        optional: target["optional"] == true,
    })
}

/// What an `envFrom` source would give for a name, where its prefix fits.
fn key_of(from: &Value, name: &str) -> Option<u64> {
    let key = name.strip_prefix(from["prefix"].as_str().unwrap_or_default())?;
    let (kind, object) = [("configMap", "configMapRef"), ("secret", "secretRef")]
        .into_iter()
        .find_map(|(kind, reference)| Some((kind, from[reference]["name"].as_str()?)))?;
    (!key.is_empty()).then(|| source(kind, object, key))
}

/// One number for one key of one object, whichever way it is reached (FNV-1a).
fn source(kind: &str, object: &str, key: &str) -> u64 {
    let bytes = [kind, "/", object, "/", key];
    let bytes = bytes.iter().flat_map(|part| part.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Nobody knows what a source holds: an option that nothing else is equal to.
fn text_of(source: u64) -> String {
    format!("{ASSUMED}{source:x}")
}

const ASSUMED: &str = "-Dheapship.source=";

/// Whether a text holds what a source was assumed to give: its length says nothing then.
pub(super) fn is_assumed(text: &str) -> bool {
    text.contains(ASSUMED)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn get(container: &Value, world: World, name: &str) -> Option<String> {
        Seen::of(container, world, "JAVA_TOOL_OPTIONS")?
            .get(name)
            .map(Cow::into_owned)
    }

    #[test]
    fn variables_are_taken_in_order_and_see_what_came_before() {
        let container = json!({
            "envFrom": [{"configMapRef": {"name": "c"}, "prefix": "P_"}, {"secretRef": {"name": "s"}}],
            "env": [
                {"name": "A", "value": "1"},
                {"name": "B", "value": "$(A)$(C)$$(A)$"},
                {"name": "A", "value": "$(A)2"},
                {"name": "C", "valueFrom": {"secretKeyRef": {"name": "s", "key": "C", "optional": true}}},
            ],
        });
        assert_eq!(get(&container, World::Nothing, "B").unwrap(), "1$(C)$(A)$");
        assert_eq!(get(&container, World::Nothing, "A").unwrap(), "12");
        assert_eq!(get(&container, World::Nothing, "C"), None);
        // The same key of the same object, by envFrom and by a reference.
        let c = get(&container, World::Everything, "C").unwrap();
        assert_eq!(
            get(&container, World::Everything, "B").unwrap(),
            format!("1{c}$(A)$")
        );
        assert_ne!(get(&container, World::Everything, "P_C"), Some(c));
    }

    #[test]
    fn who_uses_a_variable_and_what_dangles_is_known() {
        let container = json!({"env": [
            {"name": "OPTS", "value": "x"},
            {"name": "A", "value": "$(OPTS)"},
            {"name": "B", "value": "$(A) $(NOWHERE)"},
            {"name": "A", "value": "other"},
        ]});
        let seen = Seen::of(&container, World::Nothing, "OPTS").unwrap();
        assert!(seen.uses_watched("B") && !seen.uses_watched("A"));
        assert!(seen.is_dangling("B") && !seen.is_dangling("A"));
        let doubled: Vec<Value> = (0..64)
            .map(|_| json!({"name": "OPTS", "value": "$(OPTS)$(OPTS)xx"}))
            .collect();
        assert!(Seen::of(&json!({"env": doubled}), World::Nothing, "OPTS").is_none());
    }
}
