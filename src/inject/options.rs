//! The option variable of one container, whatever its source.
//!
//! A literal is edited in place. Every other source is resolved by the kubelet, which needs no permission of ours: a
//! chain of entries of one new name, each replacing the one before it if it is there, then `VARIABLE=ours $(NEW)`. The
//! kubelet's algorithm makes that exact: `env` entries are taken in order, each sees all earlier ones, an optional
//! reference without a target is passed over.

use serde_json::{Value, json};

use crate::inject::containers::{Foreign, Target};
use crate::inject::environment::{Environment, is_literal, is_optional};
use crate::inject::image_options;
use crate::inject::java_options::{self, Addition, Found, HeapDumpPath, UnmatchedQuote, Wanted};
use crate::inject::launchers::{self, LIBJVMS, STRONGEST};
use crate::inject::plan::Plan;
use crate::inject::pod::container_place;
use crate::inject::reasons::Skip;
use crate::inject::replaced::AddedOptions;
use crate::inject::volumes::{self, Writable};
use crate::names;
use crate::patch::Place;
use crate::settings::OnOom;

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
    let variable = target.variable(plan.settings).to_owned();
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
        Some(text) => launchers::options(name, text).map_err(|UnmatchedQuote| Skip::UnmatchedQuote {
            container: target.name.clone(),
            variable: name.to_owned(),
        }),
        None => Ok(Vec::new()),
    };
    let mut found = Found {
        variable: tokens(&variable)?,
        command_line: environment.command_line(container, &variable),
        strongest: Vec::new(),
    };
    let mut decision = situation.decide(&found);
    // Ours if it is what we would write, and not because it looks like it: a user's own stays his.
    let ours_already = !decision.strongest.is_empty()
        && environment.literal(STRONGEST).is_some_and(|text| {
            text == decision.strongest || text == around(&decision.strongest, STRONGEST).1
        });
    if !ours_already && environment.last(STRONGEST).is_some() {
        found.strongest = tokens(STRONGEST)?;
        decision = situation.decide(&found);
    }
    let blocked = !decision.strongest.is_empty()
        && !ours_already
        && (environment.may_define(STRONGEST) || environment.is_referred_to(container, STRONGEST));
    tell(plan, target, &found, &decision, blocked, attach);
    tell_of_launchers(plan, target, container, &variable, &decision);
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
        write_strongest(plan, &place, &target.name, strongest, &environment);
    }
    Ok(match path {
        Path::Foreign { foreign, .. } => Some(foreign),
        Path::Ours | Path::Elsewhere { .. } => None,
    })
}

/// Options of ours around what a chain gives that ends in the image: what is added, and the whole text.
fn around(ours: &str, variable: &str) -> (Addition, String) {
    let ours = Addition {
        front: ours.to_owned(),
        ..Addition::default()
    }
    .with_the_path_behind();
    let users = format!("$({})", image_options::original(variable));
    let text = java_options::joined(&ours, &users);
    (ours, text)
}

/// The pod does not define it, but the image may.
fn write_strongest(
    plan: &mut Plan<'_>,
    place: &Place,
    container: &str,
    strongest: String,
    environment: &Environment<'_>,
) {
    let image = image_options::link(plan, container, STRONGEST, environment);
    let chain: Vec<Value> = match image {
        Some(image) => vec![
            json!({"name": image_options::original(STRONGEST), "value": ""}),
            image,
        ],
        None => Vec::new(),
    };
    let (addition, value) = if chain.is_empty() {
        let alone = Addition {
            front: strongest.clone(),
            ..Addition::default()
        };
        (alone, strongest)
    } else {
        around(&strongest, STRONGEST)
    };
    let note = AddedOptions {
        front: addition.front,
        behind: addition.behind,
        absent: true,
        bare: false,
        links: (!chain.is_empty()).then_some(chain.len()),
    };
    let options = &mut plan.replaced.container(container).options;
    options.insert(STRONGEST.to_owned(), note);
    let entry = json!({"name": STRONGEST, "value": value});
    for entry in chain.into_iter().chain([entry]) {
        plan.append(&place.key("env"), &format!("{container}.env"), entry);
    }
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
            if Environment::is_one_argument(self.container, self.variable) {
                Some("since the command hands it on as one argument")
            } else if Environment::names_a_folder(self.container, self.variable) {
                Some("since a mount's folder is named by it")
            } else if self.environment.is_read_before_its_end(self.variable) {
                Some("since other variables refer to what comes before its last source")
            } else {
                None
            }
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

/// Whether the options reach the JVM through what starts it.
fn tell_of_launchers(
    plan: &mut Plan<'_>,
    target: &Target,
    container: &Value,
    variable: &str,
    decision: &Decision,
) {
    let name = &target.name;
    if let Some(launcher) = target.launcher.filter(|launcher| launcher.variable == variable) {
        let said = format!(
            "container {name}: {} takes {LIBJVMS} away and reads {variable} instead",
            launcher.name
        );
        plan.step("launcher", said);
    }
    let carrier = if decision.stays.is_some() {
        STRONGEST
    } else {
        variable
    };
    if let Some(words) = launchers::stripped_by(container, carrier) {
        let said = format!(
            "container {name}: its command takes {carrier} away ({words}): heapship's options do not reach the JVM; set \
             heapship.io/java-options-variable to one that does"
        );
        plan.warn("options-stripped", said);
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
    let image = image_options::link(plan, container, variable, environment);
    let addition = &match image {
        Some(_) => addition.with_the_path_behind(),
        None => addition.clone(),
    };
    let Addition {
        front,
        behind,
        strongest: _,
    } = addition;
    if front.is_empty() && behind.is_empty() {
        return;
    }
    let absent = environment.last(variable).is_none();
    let original = image_options::original(variable);
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
    let end = if behind.is_empty() {
        String::new()
    } else {
        format!(", and {behind} behind it")
    };
    let chained = || java_options::joined(addition, &format!("$({original})"));
    match environment.last(variable) {
        // Another webhook took away what our chain ends with; what the user wrote stands in the rest of it.
        None if environment.last(&original).is_some() => {
            let end = environment.last(&original).map_or(0, |(index, _)| index + 1);
            plan.insert(&list, &label, end, json!({"name": variable, "value": chained()}));
            let options = &mut plan.replaced.container(container).options;
            options.entry(variable.to_owned()).or_insert(note(Some(0)));
            let said = format!("container {container}: {variable} is set again to {front}, then what it was");
            plan.step("options-chained", said);
        }
        Some((index, entry)) if is_literal(entry) => {
            let users = entry["value"].as_str().unwrap_or_default();
            let value = Value::String(java_options::joined(addition, users));
            plan.note_if_empty(&list.at(index).key("value"), &format!("{container}.{variable}"));
            plan.draft.set(&list.at(index), "value", value);
            plan.replaced
                .container(container)
                .options
                .insert(variable.to_owned(), note(None));
            let said = format!(
                "container {container}: {variable} gets {front} in front of the value that was there{end}"
            );
            plan.step("options-added", said);
        }
        None if image.is_none() && !environment.may_come_from_sources(variable) => {
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
            let mut links = vec![json!({"name": original, "value": ""})];
            links.extend(image);
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
            let index = found.map_or(first + count, |(index, _)| index + count + 1);
            plan.insert(
                &list,
                &label,
                index,
                json!({"name": variable, "value": chained()}),
            );
            plan.replaced
                .container(container)
                .options
                .insert(variable.to_owned(), note(Some(count)));
            let said = format!(
                "container {container}: {variable} is set to {front}, then what its own sources give, which the kubelet reads{end}"
            );
            plan.step("options-chained", said);
        }
    }
}
