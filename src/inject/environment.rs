//! The variables of one container, as the kubelet takes them (`makeEnvironmentVariables`).

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::inject::expansion::{expand, refers_to};
use crate::inject::java_options;
use crate::inject::launchers::{self, LIBJVMS};
use crate::names;

/// Bytes of expanded values that are kept for one container. References can double a value with every entry, so a pod of a
/// few kilobytes could ask for more memory than there is; past this, references stay as they are written.
const LONGEST: usize = 1 << 20;

/// The variables of one container.
pub(super) struct Environment<'p> {
    pub(super) entries: &'p [Value],
    sources: &'p [Value],
    /// Where the entries of each name stand, in order; the name is empty where an entry has none.
    places: BTreeMap<&'p str, Vec<usize>>,
    /// Of each entry that is a literal, as the kubelet expands it.
    values: Vec<Option<Cow<'p, str>>>,
}

impl<'p> Environment<'p> {
    pub(super) fn of(container: &'p Value) -> Self {
        let list = |key: &str| container[key].as_array().map_or(&[][..], Vec::as_slice);
        let (entries, sources) = (list("env"), list("envFrom"));
        let mut values: Vec<Option<Cow<'p, str>>> = Vec::with_capacity(entries.len());
        let mut places: BTreeMap<&'p str, Vec<usize>> = BTreeMap::new();
        let mut budget = LONGEST;
        for (index, entry) in entries.iter().enumerate() {
            let text = is_literal(entry).then(|| entry["value"].as_str().unwrap_or_default());
            let value = text.map(|text| {
                if !text.contains('$') {
                    return Cow::Borrowed(text);
                }
                let earlier = |name: &str| values.get(*places.get(name)?.last()?)?.as_deref();
                let expanded = expand(text, budget, &earlier);
                budget = budget.saturating_sub(expanded.len());
                Cow::Owned(expanded)
            });
            values.push(value);
            let name = entry["name"].as_str().unwrap_or_default();
            places.entry(name).or_default().push(index);
        }
        Self {
            entries,
            sources,
            places,
            values,
        }
    }

    pub(super) fn positions(&self, name: &str) -> impl Iterator<Item = usize> {
        self.places_of(name).iter().copied()
    }

    fn places_of(&self, name: &str) -> &[usize] {
        self.places.get(name).map_or(&[], Vec::as_slice)
    }

    pub(super) fn first(&self, name: &str) -> Option<usize> {
        self.places_of(name).first().copied()
    }

    /// The entry that counts.
    pub(super) fn last(&self, name: &str) -> Option<(usize, &'p Value)> {
        let index = *self.places_of(name).last()?;
        Some((index, self.entries.get(index)?))
    }

    /// Whether the variable's text is known here: set by a literal, or by nothing at all.
    pub(super) fn is_literal(&self, name: &str) -> bool {
        match self.last(name) {
            Some((_, entry)) => is_literal(entry),
            None => !self.may_come_from_sources(name),
        }
    }

    pub(super) fn raw_literal(&self, name: &str) -> Option<&str> {
        let (_, entry) = self.last(name)?;
        is_literal(entry).then(|| entry["value"].as_str().unwrap_or_default())
    }

    /// A literal as the kubelet expands it.
    pub(super) fn literal(&self, name: &str) -> Option<&str> {
        let (index, _) = self.last(name)?;
        self.values.get(index)?.as_deref()
    }

    /// A text that would stand in a variable's entry: it sees the entries before its own.
    pub(super) fn expand_for(&self, name: &str, text: &str) -> String {
        let end = self.last(name).map_or(self.entries.len(), |(index, _)| index);
        self.expand_before(end, text)
    }

    fn expand_before(&self, end: usize, text: &str) -> String {
        expand(text, LONGEST, &|name| {
            let places = self.places_of(name);
            let earlier = places.partition_point(|index| *index < end).checked_sub(1)?;
            self.values.get(*places.get(earlier)?)?.as_deref()
        })
    }

    /// Options that beat the variable's: those of `JDK_JAVA_OPTIONS`, command and args, and of variables that a launcher
    /// script puts on the command line (`JAVA_OPTS`, `CATALINA_OPTS`: known by what they hold). Arguments may be a shell's
    /// `-c` text, so each is split once more.
    pub(super) fn command_line(&self, container: &Value, variable: &str) -> Vec<String> {
        let launcher = self.places.keys().copied().filter(|name| {
            let unset = *name == LIBJVMS && launchers::is_a_launchers(variable);
            let others = *name != variable
                && !unset
                && *name != "_JAVA_OPTIONS"
                && !name.starts_with(names::ORIGINAL_OPTIONS_PREFIX);
            let speaks = |text: &str| text.contains("HeapDump") && text.contains("-XX:");
            others && (*name == "JDK_JAVA_OPTIONS" || self.literal(name).is_some_and(speaks))
        });
        let launcher = launcher.filter_map(|name| self.literal(name)).map(str::to_owned);
        let arguments = ["command", "args"].into_iter().flat_map(|key| {
            container[key]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .map(|text| self.expand_before(self.entries.len(), text))
        });
        let split = |text: String| {
            // A shell's quoting is not HotSpot's: what does not tokenise is looked through word by word.
            java_options::tokenise(&text)
                .unwrap_or_else(|_| text.split_whitespace().map(str::to_owned).collect())
        };
        launcher.chain(arguments).flat_map(split).collect()
    }

    /// Whether command, args, a `subPathExpr` or a later variable contain `$(name)`: what they see must not change.
    pub(super) fn is_referred_to(&self, container: &Value, name: &str) -> bool {
        let arguments = ["command", "args"].into_iter().flat_map(|key| {
            container[key]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
        });
        let first = self.first(name).unwrap_or(self.entries.len());
        // Entries of the name itself are renamed where the last is a reference: then theirs would dangle too.
        let renamed = !self.is_literal(name);
        let between = self
            .entries
            .iter()
            .skip(first)
            .filter(|entry| renamed || entry["name"] != name);
        let later = between.filter_map(|entry| entry["value"].as_str());
        let mounts = container["volumeMounts"].as_array().into_iter().flatten();
        let folders = mounts.filter_map(|mount| mount["subPathExpr"].as_str());
        arguments
            .chain(later)
            .chain(folders)
            .any(|text| refers_to(text, name))
    }

    /// Whether an element of command or args holds `$(name)` and no blank: the kubelet does not split what it puts in, so two
    /// options would be one argument. libjvm's own variable needs no such way.
    pub(super) fn is_one_argument(container: &Value, name: &str) -> bool {
        let mut words = ["command", "args"]
            .into_iter()
            .flat_map(|key| container[key].as_array().into_iter().flatten())
            .filter_map(Value::as_str);
        words.any(|word| !word.contains(char::is_whitespace) && refers_to(word, name))
    }

    /// Whether a mount's `subPathExpr` holds `$(name)`: with our options in it, it would be another folder.
    pub(super) fn names_a_folder(container: &Value, name: &str) -> bool {
        let mut mounts = container["volumeMounts"].as_array().into_iter().flatten();
        mounts.any(|mount| {
            mount["subPathExpr"]
                .as_str()
                .is_some_and(|path| refers_to(path, name))
        })
    }

    /// Whether an entry between two of the name refers to it while the last is a reference: those before it get another name
    /// then, and that entry would refer to nothing.
    pub(super) fn is_read_before_its_end(&self, name: &str) -> bool {
        let (Some(first), Some((last, entry))) = (self.first(name), self.last(name)) else {
            return false;
        };
        let between = self.entries.iter().take(last).skip(first);
        !is_literal(entry)
            && between
                .filter_map(|entry| entry["value"].as_str())
                .any(|text| refers_to(text, name))
    }

    /// Whether an `envFrom` source can define the name: its prefix must fit.
    pub(super) fn may_come_from_sources(&self, name: &str) -> bool {
        self.sources
            .iter()
            .any(|source| key_in_source(source, name).is_some())
    }

    /// Whether the image's own value would be in force without us: whatever the pod says of the name may turn out to be
    /// missing. A literal decides, an empty one too.
    pub(super) fn may_come_from_the_image(&self, name: &str) -> bool {
        self.positions(name)
            .filter_map(|index| self.entries.get(index))
            .all(is_optional)
    }

    /// Whether a source of a kind that is not known here may define the name, and nothing of the container's own is stronger.
    /// A chain could not refer to what it holds.
    pub(super) fn depends_on_an_unknown_source(&self, name: &str) -> bool {
        let hidden = self
            .last(name)
            .is_some_and(|(_, entry)| is_literal(entry) || !is_optional(entry));
        let unknown = |source: &Value| key_in_source(source, name).is_some() && object_of(source).is_none();
        !hidden && self.sources.iter().any(unknown)
    }

    pub(super) fn may_define(&self, name: &str) -> bool {
        self.last(name).is_some() || self.may_come_from_sources(name)
    }

    /// One optional reference per source, in order: the last that defines the key wins, as in `envFrom`.
    pub(super) fn source_links(&self, variable: &str, original: &str) -> Vec<Value> {
        let link = |source: &Value| {
            let key = key_in_source(source, variable)?;
            let (kind, object) = object_of(source)?;
            Some(
                json!({"name": original, "valueFrom": {kind: {"name": object, "key": key, "optional": true}}}),
            )
        };
        self.sources.iter().filter_map(link).collect()
    }
}

/// A variable's name without a source's prefix; `None` where the source cannot define it.
fn key_in_source<'n>(source: &Value, name: &'n str) -> Option<&'n str> {
    name.strip_prefix(source["prefix"].as_str().unwrap_or_default())
        .filter(|key| !key.is_empty())
}

/// The object of a source, and how one key of it is referred to.
fn object_of(source: &Value) -> Option<(&'static str, &str)> {
    [("configMapKeyRef", "configMapRef"), ("secretKeyRef", "secretRef")]
        .into_iter()
        .find_map(|(kind, reference)| Some((kind, source[reference]["name"].as_str()?)))
}

pub(super) fn is_literal(entry: &Value) -> bool {
    entry.get("valueFrom").is_none_or(Value::is_null)
}

pub(super) fn is_optional(entry: &Value) -> bool {
    let source = entry["valueFrom"].as_object();
    source.is_some_and(|source| source.values().any(|reference| reference["optional"] == true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_double_with_every_entry_cost_no_more_than_their_bound() {
        let doubling = (1..200)
            .map(|i| json!({"name": format!("A{i}"), "value": format!("$(A{})$(A{})", i - 1, i - 1)}));
        let entries: Vec<Value> = [json!({"name": "A0", "value": "xx"})]
            .into_iter()
            .chain(doubling)
            .collect();
        let container = json!({"env": entries, "args": ["$(A199)"]});
        let environment = Environment::of(&container);
        assert_eq!(environment.literal("A3"), Some("xxxxxxxxxxxxxxxx"));
        let kept: usize = environment.values.iter().flatten().map(|value| value.len()).sum();
        assert!(kept < 4 * LONGEST, "{kept}");
        assert!(
            environment
                .command_line(&container, "JAVA_TOOL_OPTIONS")
                .concat()
                .len()
                < 3 * LONGEST
        );
    }

    #[test]
    fn many_references_beside_many_variables_do_not_multiply() {
        let entries: Vec<Value> = (0..100_000)
            .map(|i| json!({"name": format!("A{i:06}"), "value": "x"}))
            .collect();
        let container = json!({"env": entries, "args": ["$(A000000)$(A99999Z)".repeat(50_000)]});
        let environment = Environment::of(&container);
        let found = environment.command_line(&container, "JAVA_TOOL_OPTIONS");
        assert_eq!(found, ["x$(A99999Z)".repeat(50_000)]);
    }

    #[test]
    fn a_launchers_variable_counts_when_it_speaks_of_heap_dumps() {
        let container = json!({"env": [
            {"name": "JAVA_OPTS", "value": "-Xmx1g -XX:HeapDumpPath=/x"},
            {"name": "OTHER", "value": "-XX:+UseG1GC"},
        ]});
        let found = Environment::of(&container).command_line(&container, "JAVA_TOOL_OPTIONS");
        assert_eq!(found, ["-Xmx1g", "-XX:HeapDumpPath=/x"]);
    }
}
