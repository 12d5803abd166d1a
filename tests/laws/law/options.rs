//! What the JVM makes of it.

use serde_json::Value;

use super::references::{option_variable, option_variables};
use super::{Faults, added, container, containers, injected, targets};
use crate::case::Trial;
use crate::hotspot::{self, tokens};
use crate::kubelet::{Process, Sources};

const PATH: &str = "-XX:HeapDumpPath=/heapship/dumps";
const OURS: [&str; 4] = [
    "-XX:+HeapDumpOnOutOfMemoryError",
    PATH,
    "-XX:+ExitOnOutOfMemoryError",
    "-XX:+StartAttachListener",
];

/// A container's process before and after, with its name.
fn processes<'v>(trial: &'v Trial<'_>) -> impl Iterator<Item = (&'v Value, Process, Process)> {
    let sources = Sources::of(trial);
    containers(trial.before()).filter_map(move |(before, _)| {
        let after = container(trial.after(), before["name"].as_str()?)?;
        Some((before, sources.start(before).ok()?, sources.start(after).ok()?))
    })
}

/// Ours in front, the user's behind them, all and in order. The one exception of the contract: a `HeapDumpPath` of ours may
/// come last, where the user's own would die with the container.
pub(super) fn arrive(trial: &Trial<'_>, faults: &mut Faults) {
    if trial.case.copy || !injected(trial) {
        return;
    }
    for (found, old, new) in processes(trial) {
        let name = found["name"].as_str().unwrap_or_default();
        for variable in option_variables(trial, found) {
            let (was, is) = (old.environment.get(&variable), new.environment.get(&variable));
            if was == is {
                continue;
            }
            let Some(users) = tokens(was.map_or("", String::as_str)) else {
                // The JVM did not start, and must not be said to have been broken by us.
                continue;
            };
            let Some(all) = tokens(is.map_or("", String::as_str)) else {
                faults.push(format!(
                    "container {name}: {variable} has an open quote now: {is:?}"
                ));
                continue;
            };
            // Ours in their order, then the user's.
            let most = all.len().saturating_sub(users.len());
            let fits = (0..=most).any(|front| {
                let (ours, rest) = all.split_at(front);
                let mut known = OURS.iter();
                let in_order = ours.iter().all(|token| known.any(|ours| ours == token));
                let behind = rest.strip_prefix(&users[..]);
                in_order && behind.is_some_and(|behind| behind.is_empty() || behind == [PATH])
            });
            if !fits {
                faults.push(format!("container {name}: {variable} was {was:?} and is {is:?}"));
            }
            let in_use = || {
                Sources::new(trial.case.salt)
                    .start(found)
                    .is_ok_and(|pods| pods.environment.contains_key(&variable))
            };
            if variable == "_JAVA_OPTIONS" && in_use() {
                faults.push(format!(
                    "container {name}: {variable} was {was:?} and is {is:?}, which was in use"
                ));
            }
            jdk_8(found, &variable, is.map_or("", String::as_str), name, faults);
        }
    }
}

/// JDK 8 drops in silence what is too long. What comes from a source is not known at admission; a text is.
fn jdk_8(found: &Value, variable: &str, now: &str, name: &str, faults: &mut Faults) {
    let mut entries = found["env"].as_array().into_iter().flatten();
    let own = entries.rfind(|entry| entry["name"] == variable);
    let text = own.map_or(Some(""), |entry| {
        let text = entry["value"].as_str().unwrap_or_default();
        (entry["valueFrom"].is_null() && !text.contains("$(")).then_some(text)
    });
    let sources = found["envFrom"]
        .as_array()
        .is_some_and(|sources| !sources.is_empty());
    let known = text.is_some() && (own.is_some() || !sources);
    let libjvms = ["JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS"].contains(&variable);
    if known && libjvms && hotspot::jdk_8_reads(text.unwrap_or_default()) && !hotspot::jdk_8_reads(now) {
        faults.push(format!(
            "container {name}: JDK 8 would drop {variable}: {} bytes",
            now.len()
        ));
    }
}

/// Where the JVM would write a dump, an agent looks, or a warning says that nobody does. What a source or a shell says of
/// heap dumps is not known at admission: then nothing is promised.
pub(super) fn dumps_are_found(trial: &Trial<'_>, faults: &mut Faults) {
    if trial.case.copy || !injected(trial) {
        return;
    }
    let Ok(settings) = &trial.outcome.settings.settings else {
        return;
    };
    if settings.on_oom == heapship::settings::OnOom::Off {
        return;
    }
    let chosen = targets(trial.after());
    for (found, old, new) in processes(trial) {
        let name = found["name"].as_str().unwrap_or_default();
        if !chosen.iter().any(|chosen| chosen == name) || hidden(found, &old) {
            continue;
        }
        let variable = option_variable(trial, found);
        let (Some(was), Some(is)) = (hotspot::flags(&old, &variable), hotspot::flags(&new, &variable)) else {
            continue;
        };
        let said = |code: &str| {
            trial
                .outcome
                .notes
                .iter()
                .any(|note| note.code == code && note.text.contains(name))
        };
        if !is.dump {
            let refused = !was.dump && said("heap-dumps-refused");
            if !refused {
                faults.push(format!(
                    "container {name}: no dump is written, and nobody refused it: {new:?}"
                ));
            }
            continue;
        }
        let path = is.path.unwrap_or_default();
        let ours = path.trim_end_matches('/') == "/heapship/dumps" || path.starts_with("/heapship/dumps/");
        if !ours
            && !said("heap-dump-path-lost")
            && (settings.agent && !shipped_from(trial, name, &path, found))
        {
            faults.push(format!(
                "container {name}: a dump would go to {path:?}, where no agent looks"
            ));
        }
    }
}

/// Whether something that admission cannot read speaks of heap dumps, or a shell or a launcher might.
fn hidden(found: &Value, process: &Process) -> bool {
    let entries = found["env"].as_array().into_iter().flatten();
    let literal = |name: &str| {
        let own = entries.clone().rfind(|entry| entry["name"] == name);
        own.is_some_and(|entry| {
            entry["valueFrom"].is_null() && !entry["value"].as_str().unwrap_or_default().contains("$(")
        })
    };
    let from_sources = process
        .environment
        .iter()
        .any(|(name, value)| value.contains("HeapDump") && !literal(name));
    // A variable of another name may be a launcher's, who may or may not put it on the command line.
    let launchers = |name: &str| !["JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS"].contains(&name);
    let told = process
        .environment
        .iter()
        .any(|(name, value)| launchers(name) && value.contains("HeapDump"));
    let shell = found["command"][0] == "sh";
    let words = process.command.iter().chain(&process.args);
    // An argument that holds several options is one that a launcher takes apart.
    let apart = words
        .into_iter()
        .any(|word| word.contains("HeapDump") && word.contains(char::is_whitespace));
    from_sources || told || shell || apart
}

/// Whether an agent is told of the container's own folder, and mounts it.
fn shipped_from(trial: &Trial<'_>, name: &str, path: &str, found: &Value) -> bool {
    let path = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!(
            "{}/{path}",
            found["workingDir"]
                .as_str()
                .unwrap_or_default()
                .trim_end_matches('/')
        )
    };
    // The container's volume under the path, and the path below it.
    let mounts = found["volumeMounts"].as_array().into_iter().flatten();
    let below = mounts.filter_map(|mount| {
        let at = mount["mountPath"].as_str()?.trim_end_matches('/');
        let rest = path
            .strip_prefix(at)
            .filter(|rest| rest.is_empty() || rest.starts_with('/'))?;
        Some((mount, rest.trim_matches('/').to_owned()))
    });
    let Some((mount, rest)) = below.min_by_key(|(_, rest)| rest.len()) else {
        return false;
    };
    added(trial).into_iter().any(|agent| {
        let mounted = agent["volumeMounts"].as_array().into_iter().flatten();
        let at = format!("/heapship/foreign/{name}");
        let same = |found: &Value| {
            found["mountPath"] == at.as_str()
                && found["name"] == mount["name"]
                && found["subPath"] == mount["subPath"]
        };
        let told = agent["env"].as_array().into_iter().flatten().any(|entry| {
            entry["name"] == "HEAPSHIP_CONTAINERS"
                && entry["value"]
                    .as_str()
                    .is_some_and(|list| list.contains(&format!("{at}/{rest}")))
        });
        mounted.into_iter().any(same) && told
    })
}
