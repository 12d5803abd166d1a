//! The option variable of one container, whatever its source.
//!
//! A literal is edited in place. Every other source is resolved by the kubelet, which needs no permission of ours: a
//! chain of entries of one new name, each replacing the one before it if it is there, then `VARIABLE=ours $(NEW)`. The
//! kubelet's algorithm makes that exact: `env` entries are taken in order, each sees all earlier ones, an optional
//! reference without a target is passed over.

use serde_json::{Value, json};

use crate::inject::containers::{Foreign, Target};
use crate::inject::environment::{Environment, is_literal, is_optional};
use crate::inject::java_options::{self, Addition, Found, HeapDumpPath, Wanted};
use crate::inject::plan::Plan;
use crate::inject::pod::container_place;
use crate::inject::reasons::Skip;
use crate::inject::replaced::AddedOptions;
use crate::inject::volumes::{self, Writable};
use crate::names;
use crate::patch::Place;
use crate::settings::OnOom;

/// The variable that beats the command line.
const STRONGEST: &str = "_JAVA_OPTIONS";
/// The only variable whose limits and readers are libjvm's: any other is what a launcher makes of it.
const LIBJVMS: &str = "JAVA_TOOL_OPTIONS";

/// Makes one container's JVM write its dumps where they are shipped from; returns the user's own place where that one
/// stays.
///
/// # Errors
/// [`Skip::UnmatchedQuote`], [`Skip::OptionsTooLong`].
pub(super) fn set(plan: &mut Plan<'_>, target: &Target, attach: bool) -> Result<Option<Foreign>, Skip> {
    // The container is as it was sent: the rules before this one do not touch it, and those after it look at the draft.
    let Some(place) = container_place(plan.pod, &target.name) else {
        return Ok(None);
    };
    let container = place.of(plan.pod).unwrap_or(&Value::Null);
    let variable = plan.settings.java_options_variable.clone();
    let environment = Environment::of(container);
    let wanted = Wanted {
        on_oom: plan.settings.on_oom,
        attach,
    };
    let situation = Situation {
        pod: plan.pod,
        container,
        variable: &variable,
        environment: &environment,
        wanted,
    };
    let tokens = |name: &str| match environment.literal(name) {
        Some(text) => java_options::tokens_of(text, &target.name, name),
        None => Ok(Vec::new()),
    };
    let mut found = Found {
        variable: tokens(&variable)?,
        command_line: environment.command_line(container, &variable),
        strongest: Vec::new(),
    };
    let mut decision = situation.decide(&found);
    // Ours if it is what we would write, and not because it looks like it: a user's own stays his.
    let ours_already =
        !decision.strongest.is_empty() && environment.literal(STRONGEST) == Some(&decision.strongest);
    if !ours_already && environment.last(STRONGEST).is_some() {
        found.strongest = tokens(STRONGEST)?;
        decision = situation.decide(&found);
    }
    let blocked = !decision.strongest.is_empty() && !ours_already && environment.may_define(STRONGEST);
    tell(plan, target, &found, &decision, blocked, attach);
    let Decision {
        addition,
        stays,
        strongest,
        path,
    } = decision;
    if let Some(why) = stays {
        if blocked {
            return Err(Skip::OptionsTooLong {
                container: target.name.clone(),
                variable,
            });
        }
        if !strongest.is_empty() {
            let said = format!(
                "container {}: {variable} stays as it is, {why}; ours are in {STRONGEST}, which wins over the command line",
                target.name
            );
            plan.warn("options-in-java-options", said);
        }
    } else {
        write(plan, &place, &target.name, &variable, &addition, &environment);
    }
    if !strongest.is_empty() && !ours_already && !blocked {
        let entry = json!({"name": STRONGEST, "value": strongest});
        let note = AddedOptions {
            front: strongest,
            absent: true,
            ..AddedOptions::default()
        };
        let options = &mut plan.replaced.container(&target.name).options;
        options.insert(STRONGEST.to_owned(), note);
        plan.append(&place.key("env"), &format!("{}.env", target.name), entry);
    }
    Ok(match path {
        Path::Foreign { foreign, .. } => Some(foreign),
        Path::Ours | Path::Elsewhere { .. } => None,
    })
}

/// What a decision rests on.
struct Situation<'s, 'p> {
    pod: &'p Value,
    container: &'p Value,
    variable: &'s str,
    environment: &'s Environment<'p>,
    wanted: Wanted,
}

/// What is written where.
struct Decision {
    addition: Addition,
    /// Why the variable must not be changed.
    stays: Option<&'static str>,
    /// For `_JAVA_OPTIONS`.
    strongest: String,
    path: Path,
}

/// Where dumps go.
enum Path {
    /// Where we send them, or below our mount.
    Ours,
    /// To a volume of the pod's own.
    Foreign { users: String, foreign: Foreign },
    /// The user sends them where they would die with the container.
    Elsewhere { users: String, in_strongest: bool },
}

impl Situation<'_, '_> {
    fn decide(&self, found: &Found) -> Decision {
        let path = self.path(found);
        let keep_path =
            !matches!(path, Path::Elsewhere { .. }) && found.heap_dump_path() != HeapDumpPath::Ours;
        let addition = java_options::addition(self.wanted, found, keep_path);
        let raw = self.environment.raw_literal(self.variable).unwrap_or_default();
        let whole = java_options::joined(&addition, raw);
        let too_long = || {
            self.environment.is_literal(self.variable)
                && !java_options::fits_jdk_8(&self.environment.expand_for(self.variable, &whole))
        };
        let stays = if self.environment.depends_on_an_unknown_source(self.variable) {
            Some("since a source of envFrom is of a kind that is not known here")
        } else if self.variable != LIBJVMS {
            None
        } else if self.environment.is_referred_to(self.container, self.variable) {
            Some("since other fields refer to it")
        } else if too_long() {
            Some("since JDK 8 reads 1023 bytes and 64 options")
        } else {
            None
        };
        let strongest = match stays {
            Some(_) => java_options::all_in_strongest(self.wanted, found, keep_path),
            None => addition.strongest.clone(),
        };
        Decision {
            addition,
            stays,
            strongest,
            path,
        }
    }

    fn path(&self, found: &Found) -> Path {
        if self.wanted.on_oom == OnOom::Off || found.dumps_refused() {
            return Path::Ours;
        }
        let HeapDumpPath::Users {
            path: users,
            in_strongest,
            ..
        } = found.heap_dump_path()
        else {
            return Path::Ours;
        };
        match volumes::writable(self.pod, self.container, &users) {
            Some(Writable::Ours) => Path::Ours,
            Some(Writable::Foreign(foreign)) => Path::Foreign { users, foreign },
            None => Path::Elsewhere { users, in_strongest },
        }
    }
}

/// What a person should know of a decision.
fn tell(
    plan: &mut Plan<'_>,
    target: &Target,
    found: &Found,
    decision: &Decision,
    blocked: bool,
    attach: bool,
) {
    let name = &target.name;
    if plan.settings.on_oom != OnOom::Off && found.dumps_refused() {
        let said = format!(
            "container {name}: -XX:-HeapDumpOnOutOfMemoryError is set and stays: no dump at an OutOfMemoryError"
        );
        plan.warn("heap-dumps-refused", said);
    }
    if attach && found.attach_disabled() {
        let said = format!("container {name}: -XX:+DisableAttachMechanism is set: no dump on termination");
        plan.warn("attach-disabled", said);
    }
    match &decision.path {
        Path::Ours => {}
        Path::Foreign { users, foreign } => {
            let volume = &foreign.volume;
            let shipped = if plan.settings.agent {
                "shipped from there"
            } else {
                "left there"
            };
            let said = format!("container {name}: dumps go to {users} on volume {volume}, and are {shipped}");
            plan.step("heap-dump-path-kept", said);
        }
        Path::Elsewhere { users, in_strongest } if *in_strongest || blocked => {
            let why = if *in_strongest {
                format!("is set in {STRONGEST} and")
            } else {
                format!("of the command line (only {STRONGEST} could overrule it, which is or may be in use)")
            };
            let said = format!(
                "container {name}: HeapDumpPath {users} {why} is not on a writable volume: dumps are lost with the container"
            );
            plan.warn("heap-dump-path-lost", said);
        }
        Path::Elsewhere { users, .. } => {
            let said = format!(
                "container {name}: HeapDumpPath {users} is not on a writable volume; dumps go to {} instead",
                names::DUMPS_PATH
            );
            plan.warn("heap-dump-path-replaced", said);
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
