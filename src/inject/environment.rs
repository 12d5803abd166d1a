//! The option variable of one container, whatever its source.
//!
//! A literal is edited in place. Every other source is resolved by the kubelet, which needs no permission of ours: a
//! chain of entries of one new name, each replacing the one before it if it is there, then `VARIABLE=ours $(NEW)`. The
//! kubelet's algorithm (`makeEnvironmentVariables`) makes that exact: `env` entries are taken in order, each sees all
//! earlier ones, an optional reference without a target is passed over.

use serde_json::{Value, json};

use crate::inject::containers::{Foreign, Target};
use crate::inject::expansion::{expand, refers_to};
use crate::inject::java_options::{self, Addition, Found, HeapDumpPath, Wanted};
use crate::inject::plan::Plan;
use crate::inject::pod::container_place;
use crate::inject::reasons::Skip;
use crate::inject::replaced::AddedOptions;
use crate::inject::volumes::{self, Writable};
use crate::names;
use crate::patch::Place;
use crate::settings::OnOom;

const STRONGEST: &str = "_JAVA_OPTIONS";

/// Makes one container's JVM write its dumps where they are shipped from; returns the user's own place where that one
/// stays.
///
/// # Errors
/// [`Skip::UnmatchedQuote`], [`Skip::OptionsTooLong`].
pub(super) fn options(plan: &mut Plan<'_>, target: &Target, attach: bool) -> Result<Option<Foreign>, Skip> {
    // The container is as it was sent: the rules before this one do not touch it, and those after it look at the draft.
    let Some(place) = container_place(plan.pod, &target.name) else {
        return Ok(None);
    };
    let container = place.of(plan.pod).unwrap_or(&Value::Null);
    let wanted = Wanted {
        on_oom: plan.settings.on_oom,
        attach,
    };
    let variable = plan.settings.java_options_variable.clone();
    let environment = Environment::of(container);

    let strongest = environment.literal(STRONGEST);
    let ours_already = strongest.as_deref().is_some_and(is_ours_alone);
    let found = Found {
        variable: match environment.literal(&variable) {
            Some(text) => java_options::tokens_of(&text, &target.name, &variable)?,
            None => Vec::new(),
        },
        command_line: environment.command_line(container),
        strongest: match strongest.filter(|_| !ours_already) {
            Some(text) => java_options::tokens_of(&text, &target.name, STRONGEST)?,
            None => Vec::new(),
        },
    };
    let (foreign, keep_path) = users_path(plan, target, container, &found);
    if wanted.on_oom != OnOom::Off && found.dumps_refused() {
        let said = format!(
            "container {}: -XX:-HeapDumpOnOutOfMemoryError is set and stays: no dump at an OutOfMemoryError",
            target.name
        );
        plan.warn("heap-dumps-refused", said);
    }

    let addition = java_options::addition(wanted, &found, keep_path);
    let is_literal = environment.is_literal(&variable);
    let whole = java_options::joined(&addition, environment.raw_literal(&variable).unwrap_or_default());
    let too_long = is_literal && !java_options::fits_jdk_8(&environment.expand_for(&variable, &whole));
    let mut strongest = addition.strongest.clone();
    if environment.is_referred_to(container, &variable) || too_long {
        strongest = java_options::all_in_strongest(wanted, &found, keep_path);
        let said = format!(
            "container {}: {variable} stays as it is, {}; ours are in _JAVA_OPTIONS, which wins over the command line",
            target.name,
            if too_long {
                "since JDK 8 reads 1023 bytes and 64 options"
            } else {
                "since other fields refer to it"
            },
        );
        if !strongest.is_empty() {
            plan.warn("options-in-java-options", said);
        }
    } else {
        write(plan, &place, &target.name, &variable, &addition, &environment);
    }
    if !strongest.is_empty() && !ours_already {
        if environment.may_define(STRONGEST) {
            return Err(Skip::OptionsTooLong {
                container: target.name.clone(),
                variable,
            });
        }
        let entry = json!({"name": STRONGEST, "value": strongest});
        let note = AddedOptions {
            front: strongest,
            absent: true,
            ..AddedOptions::default()
        };
        plan.replaced
            .container(&target.name)
            .options
            .insert(STRONGEST.to_owned(), note);
        plan.append(&place.key("env"), &format!("{}.env", target.name), entry);
    }
    Ok(foreign)
}

/// What becomes of a path that the user set: where it counts, and whether it stays.
fn users_path(
    plan: &mut Plan<'_>,
    target: &Target,
    container: &Value,
    found: &Found,
) -> (Option<Foreign>, bool) {
    if plan.settings.on_oom == OnOom::Off {
        return (None, true);
    }
    let HeapDumpPath::Users {
        path, in_strongest, ..
    } = found.heap_dump_path()
    else {
        return (None, false);
    };
    let name = &target.name;
    match volumes::writable(plan.pod, container, &path) {
        Some(Writable::Ours) => (None, true),
        Some(Writable::Foreign(foreign)) => {
            let volume = &foreign.volume;
            let said =
                format!("container {name}: dumps are shipped from {path} on volume {volume}, and stay there");
            plan.step("heap-dump-path-kept", said);
            (Some(foreign), true)
        }
        None if in_strongest => {
            let said = format!(
                "container {name}: _JAVA_OPTIONS sends dumps to {path}, which is not on a volume: they are lost with the \
                 container"
            );
            plan.warn("heap-dump-path-lost", said);
            (None, false)
        }
        None => {
            let said = format!(
                "container {name}: HeapDumpPath {path} is not on a writable volume; dumps go to {} instead",
                names::DUMPS_PATH
            );
            plan.warn("heap-dump-path-replaced", said);
            (None, false)
        }
    }
}

fn write(
    plan: &mut Plan<'_>,
    place: &Place,
    container: &str,
    variable: &str,
    addition: &Addition,
    environment: &Environment<'_>,
) {
    let list = place.key("env");
    let label = format!("{container}.env");
    let Addition {
        front,
        behind,
        strongest: _,
    } = addition;
    if front.is_empty() && behind.is_empty() {
        return;
    }
    let absent = environment.last(variable).is_none();
    let bare = environment
        .last(variable)
        .is_some_and(|(_, entry)| is_literal(entry) && entry.get("value").is_none());
    let note = |links| AddedOptions {
        front: front.clone(),
        behind: behind.clone(),
        absent,
        bare,
        links,
    };
    match environment.last(variable) {
        Some((index, entry)) if is_literal(entry) => {
            let users = entry["value"].as_str().unwrap_or_default();
            let value = Value::String(java_options::joined(addition, users));
            plan.note_if_empty(&list.at(index).key("value"), &format!("{container}.{variable}"));
            plan.draft.set(&list.at(index), "value", value);
            plan.replaced
                .container(container)
                .options
                .insert(variable.to_owned(), note(None));
            let end = if behind.is_empty() {
                String::new()
            } else {
                format!(", and {behind} behind it")
            };
            let said = format!(
                "container {container}: {variable} gets {front} in front of the value that was there{end}"
            );
            plan.step("options-added", said);
        }
        None if !environment.may_come_from_sources(variable) => {
            plan.append(&list, &label, json!({"name": variable, "value": front}));
            plan.replaced
                .container(container)
                .options
                .insert(variable.to_owned(), note(None));
            plan.step(
                "options-set",
                format!("container {container}: {variable} is set to {front}"),
            );
        }
        found => {
            let original = format!("{}{variable}", names::ORIGINAL_OPTIONS_PREFIX);
            let mut links = vec![json!({"name": original, "value": ""})];
            if found.is_none_or(|(_, entry)| is_optional(entry)) {
                links.extend(environment.source_links(variable, &original));
            }
            let first = environment.first(variable).unwrap_or(environment.entries.len());
            let count = links.len();
            for (offset, link) in links.into_iter().enumerate() {
                plan.insert(&list, &label, first + offset, link);
            }
            for index in environment.positions(variable) {
                plan.draft
                    .set(&list.at(index + count), "name", Value::String(original.clone()));
            }
            let end = found.map_or(first + count, |(index, _)| index + count + 1);
            let value = java_options::joined(addition, &format!("$({original})"));
            plan.insert(&list, &label, end, json!({"name": variable, "value": value}));
            plan.replaced
                .container(container)
                .options
                .insert(variable.to_owned(), note(Some(count)));
            let said = format!(
                "container {container}: {variable} is set to {front}, then what its own sources give, which the kubelet reads"
            );
            plan.step("options-chained", said);
        }
    }
}

/// The variables of one container, as the kubelet takes them.
struct Environment<'p> {
    entries: &'p [Value],
    sources: &'p [Value],
}

impl<'p> Environment<'p> {
    fn of(container: &'p Value) -> Self {
        let list = |key: &str| container[key].as_array().map_or(&[][..], Vec::as_slice);
        Self {
            entries: list("env"),
            sources: list("envFrom"),
        }
    }

    fn positions(&self, name: &str) -> Vec<usize> {
        let named = |(index, entry): (usize, &Value)| (entry["name"] == name).then_some(index);
        self.entries.iter().enumerate().filter_map(named).collect()
    }

    fn first(&self, name: &str) -> Option<usize> {
        self.positions(name).first().copied()
    }

    /// The entry that counts.
    fn last(&self, name: &str) -> Option<(usize, &Value)> {
        let index = self.positions(name).last().copied()?;
        Some((index, self.entries.get(index)?))
    }

    /// Whether the variable's text is known here: set by a literal, or by nothing at all.
    fn is_literal(&self, name: &str) -> bool {
        match self.last(name) {
            Some((_, entry)) => is_literal(entry),
            None => !self.may_come_from_sources(name),
        }
    }

    fn raw_literal(&self, name: &str) -> Option<&str> {
        let (_, entry) = self.last(name)?;
        is_literal(entry).then(|| entry["value"].as_str().unwrap_or_default())
    }

    /// A literal with the references to earlier literals replaced; others stay as they are written.
    fn literal(&self, name: &str) -> Option<String> {
        let (index, entry) = self.last(name)?;
        is_literal(entry).then(|| self.expand_before(index, entry["value"].as_str().unwrap_or_default()))
    }

    /// A text that would stand in a variable's entry: it sees the entries before its own.
    fn expand_for(&self, name: &str, text: &str) -> String {
        let end = self.last(name).map_or(self.entries.len(), |(index, _)| index);
        self.expand_before(end, text)
    }

    fn expand(&self, text: &str) -> String {
        self.expand_before(self.entries.len(), text)
    }

    fn expand_before(&self, end: usize, text: &str) -> String {
        expand(text, &|name| {
            let earlier = self.entries.iter().take(end).enumerate().rev();
            let (index, entry) = earlier.into_iter().find(|(_, entry)| entry["name"] == name)?;
            is_literal(entry).then(|| self.expand_before(index, entry["value"].as_str().unwrap_or_default()))
        })
    }

    /// Options of `JDK_JAVA_OPTIONS`, command and args. They may stand inside a shell's `-c` text, so every argument is
    /// split once more.
    fn command_line(&self, container: &Value) -> Vec<String> {
        let launcher = self.literal("JDK_JAVA_OPTIONS").into_iter();
        let arguments = ["command", "args"].into_iter().flat_map(|key| {
            container[key]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .map(|text| self.expand(text))
        });
        let split = |text: String| {
            // A shell's quoting is not HotSpot's: what does not tokenise is looked through word by word.
            java_options::tokenise(&text)
                .unwrap_or_else(|_| text.split_whitespace().map(str::to_owned).collect())
        };
        launcher.chain(arguments).flat_map(split).collect()
    }

    /// Whether command, args or a later variable contain `$(name)`: what they see must not change.
    fn is_referred_to(&self, container: &Value, name: &str) -> bool {
        let arguments = ["command", "args"].into_iter().flat_map(|key| {
            container[key]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
        });
        let after = self.last(name).map_or(self.entries.len(), |(index, _)| index + 1);
        let first = self.first(name).unwrap_or(after);
        // Entries of the name itself are renamed where the last is a reference: then theirs would dangle too.
        let renamed = !self.is_literal(name);
        let between = self
            .entries
            .iter()
            .skip(first)
            .filter(|entry| renamed || entry["name"] != name);
        let later = between.filter_map(|entry| entry["value"].as_str());
        arguments.chain(later).any(|text| refers_to(text, name))
    }

    /// Whether an `envFrom` source can define the name: its prefix must fit.
    fn may_come_from_sources(&self, name: &str) -> bool {
        self.sources
            .iter()
            .any(|source| key_in_source(source, name).is_some())
    }

    fn may_define(&self, name: &str) -> bool {
        self.last(name).is_some() || self.may_come_from_sources(name)
    }

    /// One optional reference per source, in order: the last that defines the key wins, as in `envFrom`.
    fn source_links(&self, variable: &str, original: &str) -> Vec<Value> {
        let link = |source: &Value| {
            let key = key_in_source(source, variable)?;
            let (kind, object) = [("configMapKeyRef", "configMapRef"), ("secretKeyRef", "secretRef")]
                .into_iter()
                .find_map(|(kind, reference)| Some((kind, source[reference]["name"].as_str()?)))?;
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

fn is_literal(entry: &Value) -> bool {
    entry.get("valueFrom").is_none_or(Value::is_null)
}

fn is_optional(entry: &Value) -> bool {
    let source = entry["valueFrom"].as_object();
    source.is_some_and(|source| source.values().any(|reference| reference["optional"] == true))
}

/// Whether `_JAVA_OPTIONS` holds nothing but what we write there.
pub(super) fn is_ours_alone(text: &str) -> bool {
    let path = format!("-XX:HeapDumpPath={}", names::DUMPS_PATH);
    let ours = [
        "-XX:+HeapDumpOnOutOfMemoryError",
        path.as_str(),
        "-XX:+ExitOnOutOfMemoryError",
        "-XX:+StartAttachListener",
    ];
    !text.is_empty() && text.split(' ').all(|token| ours.contains(&token))
}
