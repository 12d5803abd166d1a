//! What the kubelet makes of a container's variables (`makeEnvironmentVariables`, `expansion.Expand`), once more and by
//! itself: whoever checks the rules must not ask them.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, HashSet};

use serde_json::Value;

use super::sources::{Given, Source};
use crate::names;

/// Bytes of expanded text for one container; beyond it nothing is said about the container. No process starts with that much.
const MOST: usize = 1 << 20;

/// Which of the sources that may be missing are there: a key of an `envFrom` object, a reference that is optional.
#[derive(Clone, Copy, Debug)]
pub(super) enum World<'p> {
    Nothing,
    Everything,
    /// One, without the others.
    Only(Source<'p>),
}

/// Sources of one variable that are taken to be there alone; nobody has more.
const MOST_SOURCES: usize = 8;

impl<'p> World<'p> {
    /// Those worth a look for a variable: one where all is known, else both ends, and each of the variable's sources alone.
    pub(super) fn of(containers: [&'p Value; 2], variable: &'p str) -> Vec<Self> {
        let original = format!("{}{variable}", names::ORIGINAL_OPTIONS_PREFIX);
        let mut worlds = vec![Self::Nothing];
        let mut own = BTreeSet::new();
        for container in containers {
            let sources = list(container, "envFrom");
            let optional = list(container, "env")
                .iter()
                .filter_map(|entry| Some((entry, reference(entry).filter(|found| found.optional)?)));
            let mut unknown = !sources.is_empty();
            own.extend(sources.iter().filter_map(|from| Source::through(from, variable)));
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

    fn has(self, source: Source<'_>) -> bool {
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
    /// What is not in `env`.
    given: Given<'p>,
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
    pub(super) fn of(container: &'p Value, world: World<'p>, watched: &'p str) -> Option<Self> {
        let entries = list(container, "env");
        let mut seen = Self {
            values: HashMap::with_capacity(entries.len()),
            given: Given::of(list(container, "envFrom"), world),
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
                (Some(found), _) => Cow::Owned(found.source.text()),
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
        self.given.get(name).map(|found| Cow::Owned(found.text()))
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
        // Nothing is closed behind the last of them; looked for at each `$(`, it would be read through as often.
        let closed = text.rfind(')').map_or(0, |at| at + 1);
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            expanded.text.push_str(before);
            rest = match after.as_bytes().first() {
                Some(b'$') => {
                    expanded.text.push('$');
                    after.get(1..)?
                }
                Some(b'(') if text.len() - after.len() < closed => {
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
struct Reference<'p> {
    source: Source<'p>,
    optional: bool,
}

fn reference(entry: &Value) -> Option<Reference<'_>> {
    let from = entry.get("valueFrom").filter(|from| !from.is_null())?;
    let (kind, target) = from.as_object().and_then(|kinds| kinds.iter().next())?;
    let name = ["name", "volumeName", "fieldPath", "resource"]
        .into_iter()
        .find_map(|key| target[key].as_str());
    let key = target["key"].as_str();
    Some(Reference {
        source: Source::of(
            kind.trim_end_matches("KeyRef"),
            name.unwrap_or_default(),
            key.unwrap_or_default(),
        ),
        optional: target["optional"] == true,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn get(container: &Value, world: World<'_>, name: &str) -> Option<String> {
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
    fn many_references_beside_many_sources_do_not_multiply() {
        let references = "$(Z)".repeat(10_000);
        let names: Vec<String> = (0..10_000).map(|i| format!("$(Z{i})")).collect();
        let sources: Vec<Value> = (0..10_000)
            .map(|i| json!({"configMapRef": {"name": format!("c{i}")}, "prefix": format!("P{}_", i % 100)}))
            .collect();
        let container = json!({"envFrom": sources, "env": [{"name": "A", "value": references}]});
        let worlds = World::of([&container, &container], "P7_A");
        assert_eq!(worlds.len(), 2 + MOST_SOURCES);
        for world in worlds {
            let seen = Seen::of(&container, world, "P7_A").unwrap();
            assert!(seen.is_dangling("A") && seen.expand(&names.concat()).unwrap().dangling);
        }
    }

    #[test]
    fn the_last_source_whose_prefix_fits_wins() {
        let source = |name: &str, prefix: &str| json!({"configMapRef": {"name": name}, "prefix": prefix});
        let of = |sources: &[Value], name: &str| get(&json!({"envFrom": sources}), World::Everything, name);
        let alone = |name: &str, prefix: &str, variable: &str| of(&[source(name, prefix)], variable).unwrap();
        let all = [
            source("a", ""),
            source("b", "P_"),
            source("c", "P_Q_"),
            source("d", "P_"),
            source("e", "Ä"),
        ];
        for (name, object, prefix) in [
            ("X", "a", ""),
            ("P_", "a", ""),
            ("P_X", "d", "P_"),
            ("P_Q_X", "d", "P_"),
            ("Ä", "a", ""),
            ("ÄX", "e", "Ä"),
        ] {
            assert_eq!(of(&all, name), Some(alone(object, prefix, name)), "{name}");
        }
        assert_eq!(of(&all[..3], "P_Q_X"), Some(alone("c", "P_Q_", "P_Q_X")));
        assert_eq!(of(&all[1..], "X"), None);
        assert_eq!(of(&[json!({"prefix": "P_"})], "P_X"), None);
    }

    #[test]
    fn a_source_that_is_there_alone_gives_its_own_key_only() {
        let container = json!({"envFrom": [
            {"configMapRef": {"name": "c"}, "prefix": "P_"},
            {"configMapRef": {"name": "c"}},
            {"secretRef": {"name": "s"}},
        ]});
        let worlds = World::of([&container, &container], "P_A");
        let givers = |name: &str| {
            let alone = worlds.iter().filter(|world| matches!(world, World::Only(_)));
            alone
                .filter(|world| get(&container, **world, name).is_some())
                .count()
        };
        // Key A of c by its prefix; key P_A of c and of s.
        assert_eq!(
            [givers("P_A"), givers("A"), givers("P_P_A"), givers("B")],
            [3, 1, 1, 0]
        );
    }

    #[test]
    fn references_that_are_never_closed_are_plain_text() {
        let text = "$(".repeat(250_000);
        let seen = Seen::of(&Value::Null, World::Nothing, "A").unwrap();
        assert_eq!(seen.expand(&text).unwrap().text, text);
        let expanded = seen.expand("$(A)$($$").unwrap();
        assert_eq!((expanded.text.as_str(), expanded.dangling), ("$(A)$($", true));
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
