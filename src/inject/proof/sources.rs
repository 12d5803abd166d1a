//! What the `envFrom` sources of one container give for a name, found in one walk over the name however many they are: a
//! pod of a few kilobytes can hold hundreds of sources and thousands of references, and the API server's call waits.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::kubelet::World;

/// One key of one object, whichever way it is reached.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Source<'p> {
    /// Kind and name of the object, as one number.
    object: u64,
    key: &'p str,
}

impl<'p> Source<'p> {
    pub(super) fn of(kind: &str, object: &str, key: &'p str) -> Self {
        Self {
            object: number(kind, object),
            key,
        }
    }

    /// What an `envFrom` source would give for a name, where its prefix fits.
    pub(super) fn through(from: &Value, name: &'p str) -> Option<Self> {
        let key = name.strip_prefix(prefix(from))?;
        let object = object(from)?;
        (!key.is_empty()).then_some(Self { object, key })
    }

    /// Nobody knows what a source holds: an option that nothing else is equal to.
    pub(super) fn text(self) -> String {
        format!("{ASSUMED}{:x}", hash(self.object, self.key))
    }
}

/// Sources of one container in one world, by the names that they give.
#[derive(Debug)]
pub(super) enum Given<'p> {
    Nothing,
    /// Of those whose prefix fits, the last.
    Everything(Prefixes),
    /// One key of one object, under each of the object's prefixes.
    Only(Source<'p>, HashSet<&'p str>),
}

impl<'p> Given<'p> {
    pub(super) fn of(sources: &'p [Value], world: World<'p>) -> Self {
        match world {
            World::Nothing => Self::Nothing,
            World::Everything => Self::Everything(Prefixes::of(sources)),
            World::Only(one) => {
                let same = sources.iter().filter(|from| object(from) == Some(one.object));
                Self::Only(one, same.map(prefix).collect())
            }
        }
    }

    pub(super) fn get<'n>(&self, name: &'n str) -> Option<Source<'n>>
    where
        'p: 'n,
    {
        match self {
            Self::Nothing => None,
            Self::Everything(prefixes) => prefixes.last_for(name),
            Self::Only(one, prefixes) => {
                let prefix = name.strip_suffix(one.key)?;
                (!one.key.is_empty() && prefixes.contains(prefix)).then_some(*one)
            }
        }
    }
}

/// Prefixes as a tree of bytes; 0 is its root, the empty prefix.
#[derive(Debug, Default)]
pub(super) struct Prefixes {
    steps: HashMap<(usize, u8), usize>,
    /// The last source with the prefix that ends at a node: its position, and its object.
    last: HashMap<usize, (usize, u64)>,
}

impl Prefixes {
    fn of(sources: &[Value]) -> Self {
        let mut tree = Self::default();
        for (position, from) in sources.iter().enumerate() {
            let Some(object) = object(from) else { continue };
            let node = prefix(from).bytes().fold(0, |node, byte| {
                let new = tree.steps.len() + 1;
                *tree.steps.entry((node, byte)).or_insert(new)
            });
            tree.last.insert(node, (position, object));
        }
        tree
    }

    /// Later sources overwrite earlier ones, whichever prefix is longer.
    fn last_for<'n>(&self, name: &'n str) -> Option<Source<'n>> {
        let mut best: Option<((usize, u64), usize)> = None;
        let mut node = 0;
        // A key has at least one character, so what ends with the whole name does not count.
        for (at, byte) in name.bytes().enumerate() {
            let here = self.last.get(&node).map(|found| (*found, at));
            best = best.max(here);
            let Some(next) = self.steps.get(&(node, byte)) else {
                break;
            };
            node = *next;
        }
        let ((_, object), at) = best?;
        let key = name.get(at..)?;
        Some(Source { object, key })
    }
}

fn prefix(from: &Value) -> &str {
    from["prefix"].as_str().unwrap_or_default()
}

fn object(from: &Value) -> Option<u64> {
    [("configMap", "configMapRef"), ("secret", "secretRef")]
        .into_iter()
        .find_map(|(kind, reference)| Some(number(kind, from[reference]["name"].as_str()?)))
}

fn number(kind: &str, object: &str) -> u64 {
    [kind, "/", object, "/"]
        .into_iter()
        .fold(0xcbf2_9ce4_8422_2325, hash)
}

/// FNV-1a, from where it has got to.
fn hash(from: u64, text: &str) -> u64 {
    text.bytes().fold(from, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

const ASSUMED: &str = "-Dheapship.source=";

/// Whether a text holds what a source was assumed to give: its length says nothing then.
pub(super) fn is_assumed(text: &str) -> bool {
    text.contains(ASSUMED)
}
