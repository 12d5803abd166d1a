//! The last look before a patch is answered: what will the processes see, computed from the finished pod alone?
//!
//! The rules write, this reads: it does not know how an option got where it stands, only what the kubelet and the JVM
//! make of it, before and after. Where a source cannot be known here, it is taken to be missing, and to be there, together
//! with the others and alone. What it finds is a fault of ours, and the pod is left as it was: refused, and not broken.
//! Values may be secrets, so a finding names variables only.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use serde_json::Value;

use crate::inject::containers::Target;
use crate::inject::java_options;
use crate::inject::launchers::{self, LIBJVMS, STRONGEST};
use crate::inject::pod::is_ours;
use crate::names;
use crate::settings::{OnOom, Settings};

mod kubelet;
mod sources;

use kubelet::{Seen, World, list};
use sources::is_assumed;

const ON: Flag = Flag("HeapDumpOnOutOfMemoryError");
const EXIT: Flag = Flag("ExitOnOutOfMemoryError");
const ATTACH: Flag = Flag("StartAttachListener");
const PATH: &str = "-XX:HeapDumpPath=";
/// Beginning of the names of variables that are ours.
const OUR_VARIABLES: &str = "HEAPSHIP_";
const LISTS: [&str; 2] = ["initContainers", "containers"];

/// What a patched pod must keep to.
pub(super) struct Proof<'a> {
    /// As it was sent.
    pub(super) before: &'a Value,
    /// As it will be.
    pub(super) after: &'a Value,
    pub(super) settings: &'a Settings,
    pub(super) targets: &'a [Target],
    /// Containers whose JVM must listen for tools.
    pub(super) attach: &'a [String],
}

/// What does not hold, without values.
type Finding = String;

impl Proof<'_> {
    /// # Errors
    /// The first thing that does not hold.
    pub(super) fn check(&self) -> Result<(), Finding> {
        for kind in LISTS {
            let after: HashMap<&str, &Value> = list(&self.after["spec"], kind)
                .iter()
                .rev()
                .filter_map(|found| Some((found["name"].as_str()?, found)))
                .collect();
            for before in list(&self.before["spec"], kind)
                .iter()
                .filter(|found| !is_ours(found))
            {
                let name = before["name"].as_str().unwrap_or_default();
                let after = after
                    .get(name)
                    .ok_or_else(|| format!("container {name} would be gone"))?;
                let found = match self.targets.iter().find(|target| target.name == name) {
                    Some(target) => self.target(target, before, after),
                    None => untouched(before, after),
                };
                found.map_err(|finding| format!("container {name}: {finding}"))?;
            }
        }
        self.volumes()
    }

    /// What a container mounts of ours is there, and what is to run beside the application does not hold it up.
    fn volumes(&self) -> Result<(), Finding> {
        let spec = &self.after["spec"];
        let volumes: HashSet<&str> = list(spec, "volumes")
            .iter()
            .filter_map(|volume| volume["name"].as_str())
            .collect();
        for container in LISTS.iter().flat_map(|kind| list(spec, kind)) {
            for mount in list(container, "volumeMounts") {
                let name = mount["name"].as_str().unwrap_or_default();
                if name.starts_with("heapship-") && !volumes.contains(name) {
                    return Err(format!("volume {name} would be missing"));
                }
            }
            let ships = is_ours(container) && container["command"][1] == "ship";
            if ships && container["restartPolicy"] != "Always" {
                return Err("the agent would hold the application in Init".to_owned());
            }
        }
        Ok(())
    }

    fn target(&self, target: &Target, before: &Value, after: &Value) -> Result<(), Finding> {
        let variable = target.variable(self.settings);
        if before["envFrom"] != after["envFrom"] {
            return Err("its envFrom would change".to_owned());
        }
        for key in ["command", "args"] {
            if before[key] != after[key] {
                return Err(format!("its {key} would change"));
            }
        }
        let worlds = World::of([before, after], variable);
        let known = worlds.len() == 1;
        for world in worlds {
            let seen = |container| Seen::of(container, world, variable);
            // What expands to a megabyte is no variable that a process could have.
            let (Some(before_seen), Some(after_seen)) = (seen(before), seen(after)) else {
                return Ok(());
            };
            let view = View {
                variable,
                before: &before_seen,
                after: &after_seen,
                container: after,
            };
            view.others()?;
            view.command_line()?;
            // Where a quote stays open no JVM starts, without us either: of this world nothing is promised.
            if [variable, STRONGEST]
                .into_iter()
                .any(|carrier| view.is_unreadable(carrier))
            {
                continue;
            }
            for carrier in [variable, STRONGEST] {
                view.arrives(carrier, known)?;
            }
            self.in_force(&view, self.attach.contains(&target.name))?;
        }
        Ok(())
    }

    /// What was asked of the JVM holds, unless the user has said otherwise.
    fn in_force(&self, view: &View<'_, '_>, attach: bool) -> Result<(), Finding> {
        let dumps = self.settings.on_oom != OnOom::Off;
        let (before, after) = (view.options(view.before), view.options(view.after));
        let refused = ON.is_denied(&before) || view.says(&ON.denied());
        let mut wanted = Vec::new();
        if dumps && !refused {
            wanted.push(ON);
        }
        if self.settings.on_oom == OnOom::DumpAndExit && !refused {
            wanted.push(EXIT);
        }
        if attach {
            wanted.push(ATTACH);
        }
        for flag in wanted {
            // A launcher's own variable that speaks of it is believed to reach the JVM.
            let users = || flag.is_denied(&before) || view.says(&flag.denied()) || view.says(&flag.granted());
            if !flag.holds(&after) && !users() {
                return Err(format!("{} would not be in force", flag.0));
            }
        }
        let path = |options: &[String]| {
            let last = options.iter().rev().find_map(|option| option.strip_prefix(PATH));
            last.map(str::to_owned)
        };
        let ours = |path: &str| {
            path.strip_prefix(names::DUMPS_PATH)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let holds = match path(&after) {
            Some(found) => ours(&found) || path(&before).as_ref() == Some(&found),
            None => !dumps || refused,
        };
        // A path that a launcher's own variable sets is the rules' affair: they have told of it.
        if dumps && !refused && !holds && !view.says(PATH) {
            return Err("dumps would not go where they are shipped from".to_owned());
        }
        Ok(())
    }
}

/// A container that runs no JVM of ours sees what it saw.
fn untouched(before: &Value, after: &Value) -> Result<(), Finding> {
    let changed = ["command", "args", "env", "envFrom", "image"]
        .into_iter()
        .find(|key| before[*key] != after[*key]);
    match changed {
        Some(key) => Err(format!("its {key} would change")),
        None => Ok(()),
    }
}

/// One target before and after, in one world.
struct View<'v, 'p> {
    variable: &'v str,
    before: &'v Seen<'p>,
    after: &'v Seen<'p>,
    container: &'p Value,
}

impl View<'_, '_> {
    /// Whether the JVM did not start with what the user wrote.
    fn is_unreadable(&self, carrier: &str) -> bool {
        let users = self.before.get(carrier).unwrap_or_default();
        launchers::options(carrier, &users).is_err()
    }

    /// Every option of the user's arrives, in order, and nothing but ours comes with them.
    fn arrives(&self, carrier: &str, known: bool) -> Result<(), Finding> {
        let original = format!("{}{carrier}", names::ORIGINAL_OPTIONS_PREFIX);
        // The image's own counts where the pod says nothing; and a neighbour may have left only the rest of our chain.
        let users = self
            .before
            .get(carrier)
            .or_else(|| {
                self.before
                    .has(&original)
                    .then(|| self.before.get(&original))
                    .flatten()
            })
            .or_else(|| self.of_the_image(&original));
        let (users, now) = match (users, self.after.get(carrier)) {
            (None, None) => return Ok(()),
            (Some(_), None) => return Err(format!("{carrier} would be gone")),
            (users, Some(now)) => (users.unwrap_or_default(), now),
        };
        if users == now {
            return Ok(());
        }
        let tokens = |text: &str| launchers::options(carrier, text);
        let (Ok(wanted), Ok(found)) = (tokens(&users), tokens(&now)) else {
            return Err(format!("{carrier} would not be read"));
        };
        let mut added = Vec::new();
        let mut rest = wanted.iter().peekable();
        for option in &found {
            if rest.next_if_eq(&option).is_none() {
                added.push(option.as_str());
            }
        }
        if rest.next().is_some() {
            return Err(format!("options of {carrier} would not arrive in order"));
        }
        // A neighbour may have dropped the link through which the image's own came the first time.
        let image = self.of_the_image(&original).unwrap_or_default();
        let image = tokens(&image).unwrap_or_default();
        let known_to_us = |option: &str| is_our_option(option) || image.iter().any(|own| own == option);
        if !added.into_iter().all(known_to_us) {
            return Err(format!("{carrier} would hold what nobody wrote"));
        }
        let counts = [LIBJVMS, STRONGEST].contains(&carrier) && known && !is_assumed(&now);
        if counts && java_options::fits_jdk_8(&users) && !java_options::fits_jdk_8(&now) {
            return Err(format!("JDK 8 would drop {carrier}"));
        }
        Ok(())
    }

    /// What an init container has read from the image, where the chain has such a link.
    fn of_the_image(&self, original: &str) -> Option<Cow<'_, str>> {
        let from_file =
            |entry: &Value| entry["name"] == original && entry["valueFrom"]["fileKeyRef"].is_object();
        let linked = list(self.container, "env").iter().any(from_file);
        linked.then(|| self.after.get(original)).flatten()
    }

    /// Every other variable says what it said, and new ones are ours.
    fn others(&self) -> Result<(), Finding> {
        // What the links of a chain come to is judged with the variable at its end.
        let carries = |name: &str| {
            name == self.variable || name == STRONGEST || name.starts_with(names::ORIGINAL_OPTIONS_PREFIX)
        };
        for name in self.before.names().filter(|name| !carries(name)) {
            if self.may_follow(self.before.uses_watched(name)) {
                if self.after.is_dangling(name) && !self.before.is_dangling(name) {
                    return Err(format!("{name} would refer to nothing"));
                }
            } else if self.before.get(name) != self.after.get(name) {
                return Err(format!("what {name} says would change"));
            }
        }
        let new = |name: &&str| !self.before.has(name) && !carries(name) && !name.starts_with(OUR_VARIABLES);
        match self.after.names().find(new) {
            Some(name) => Err(format!("{name} would be new")),
            None => Ok(()),
        }
    }

    /// Command and args say what they said.
    fn command_line(&self) -> Result<(), Finding> {
        for text in arguments(self.container).filter(|text| text.contains("$(")) {
            let (Some(before), Some(after)) = (self.before.expand(text), self.after.expand(text)) else {
                continue;
            };
            let fine = if self.may_follow(before.uses_watched) {
                before.dangling || !after.dangling
            } else {
                before.text == after.text
            };
            if !fine {
                return Err("its command line would change".to_owned());
            }
        }
        Ok(())
    }

    /// What reaches a JVM only through another text is there to be seen by it: `command: java $(MY_OPTS)`. libjvm needs no
    /// such help.
    fn may_follow(&self, uses_variable: bool) -> bool {
        uses_variable && self.variable != LIBJVMS
    }

    /// The JVM's options in the order in which they override each other.
    fn options(&self, seen: &Seen<'_>) -> Vec<String> {
        let of = |name: &str| {
            let text = seen.get(name).unwrap_or_default();
            launchers::options(name, &text).unwrap_or_default()
        };
        let mut options = of(self.variable);
        options.extend(of("JDK_JAVA_OPTIONS"));
        for text in arguments(self.container) {
            let text = seen
                .expand(text)
                .map(|expanded| expanded.text)
                .unwrap_or_default();
            options.extend(
                java_options::tokenise(&text)
                    .unwrap_or_else(|_| text.split_whitespace().map(str::to_owned).collect()),
            );
        }
        options.extend(of(STRONGEST));
        options
    }

    /// Whether the user's command line or any variable of his speaks of something, but for those that carry ours.
    fn says(&self, words: &str) -> bool {
        let ours = format!("{PATH}{}", names::DUMPS_PATH);
        let mentions = |text: &str| {
            text.match_indices(words)
                .any(|(at, _)| !text.get(at..).is_some_and(|found| found.starts_with(&ours)))
        };
        arguments(self.container).any(mentions)
            || self
                .before
                .names()
                .filter(|name| *name != self.variable && *name != STRONGEST)
                .filter_map(|name| self.before.get(name))
                .any(|text| mentions(&text))
    }
}

fn arguments(container: &Value) -> impl Iterator<Item = &str> {
    ["command", "args"]
        .into_iter()
        .flat_map(|key| list(container, key))
        .filter_map(Value::as_str)
}

/// A switch of the JVM's.
#[derive(Clone, Copy)]
struct Flag(&'static str);

impl Flag {
    fn granted(self) -> String {
        format!("-XX:+{}", self.0)
    }

    fn denied(self) -> String {
        format!("-XX:-{}", self.0)
    }

    /// The last word counts.
    fn last(self, options: &[String]) -> Option<bool> {
        options.iter().rev().find_map(|option| {
            let (sign, name) = option.strip_prefix("-XX:")?.split_at_checked(1)?;
            (name == self.0).then_some(sign == "+")
        })
    }

    fn holds(self, options: &[String]) -> bool {
        self.last(options) == Some(true)
    }

    fn is_denied(self, options: &[String]) -> bool {
        self.last(options) == Some(false)
    }
}

fn is_our_option(option: &str) -> bool {
    option.strip_prefix(PATH) == Some(names::DUMPS_PATH)
        || [ON, EXIT, ATTACH].iter().any(|flag| option == flag.granted())
}

#[cfg(test)]
mod tests;
