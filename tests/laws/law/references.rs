//! What each container is started with, before and after: only what is ours may differ.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Faults, added, container, containers, injected};
use crate::case::Trial;
use crate::kubelet::Sources;

const OURS: [&str; 3] = ["HEAPSHIP_ORIGINAL_", "HEAPSHIP_POD_UID", "HEAPSHIP_POD_IP"];

/// Launchers that unset `JAVA_TOOL_OPTIONS`: the last part of their image's name, and the variable that they read instead.
const LAUNCHERS: [(&str, &str); 3] = [
    ("elasticsearch", "ES_JAVA_OPTS"),
    ("opensearch", "OPENSEARCH_JAVA_OPTS"),
    ("logstash", "LS_JAVA_OPTS"),
];

/// The variable that a container's JVM is told by: what is set for the pod, else that of a launcher which the image,
/// the command or the variable itself tells of, else libjvm's.
pub(super) fn option_variable(trial: &Trial<'_>, container: &Value) -> String {
    let settings = trial.outcome.settings.settings.as_ref();
    if let Some(set) = settings
        .ok()
        .and_then(|settings| settings.java_options_variable.clone())
    {
        return set;
    }
    let image = container["image"].as_str().unwrap_or_default();
    let image = image.rsplit('/').next().unwrap_or_default();
    let image = image.split([':', '@']).next().unwrap_or_default();
    let entries = || container["env"].as_array().into_iter().flatten();
    let by_image = LAUNCHERS.iter().find(|(name, _)| *name == image);
    let by_variable = || {
        LAUNCHERS
            .iter()
            .find(|(_, variable)| entries().any(|entry| entry["name"] == *variable))
    };
    let by_program = || {
        let words = ["command", "args"].map(|key| container[key].as_array().into_iter().flatten());
        let words: Vec<&str> = words.into_iter().flatten().filter_map(Value::as_str).collect();
        LAUNCHERS
            .iter()
            .find(|(name, _)| words.iter().any(|word| word.ends_with(&format!("/bin/{name}"))))
    };
    let launcher = by_image.or_else(by_program).or_else(by_variable);
    launcher
        .map_or("JAVA_TOOL_OPTIONS", |(_, variable)| variable)
        .to_owned()
}

/// That variable, and the one that wins over the command line.
pub(super) fn option_variables(trial: &Trial<'_>, container: &Value) -> [String; 2] {
    [option_variable(trial, container), "_JAVA_OPTIONS".to_owned()]
}

pub(super) fn check(trial: &Trial<'_>, faults: &mut Faults) {
    if trial.case.copy || !injected(trial) {
        return;
    }
    let sources = Sources::of(trial);
    for (before, _) in containers(trial.before()) {
        let name = before["name"].as_str().unwrap_or_default();
        let options = option_variables(trial, before);
        // Without us it does not start: whether it does with us is of no matter.
        let Ok(old) = sources.start(before) else { continue };
        let Some(after) = container(trial.after(), name) else {
            continue;
        };
        let new = match sources.start(after) {
            Ok(new) => new,
            Err(why) => {
                faults.push(format!("container {name} does not start any more: {why:?}"));
                continue;
            }
        };
        // What reaches a JVM only through another text is there to be seen by it: `args: [$(MY_OPTIONS)]`.
        let follows = options[0] != "JAVA_TOOL_OPTIONS" && refers_to(before, &options[0]);
        if !follows && (&old.command, &old.args) != (&new.command, &new.args) {
            faults.push(format!(
                "container {name} ran {:?} {:?} and runs {:?} {:?}",
                old.command, old.args, new.command, new.args
            ));
        }
        for (path, resolved) in &old.sub_paths {
            if new.sub_paths.get(path) != Some(resolved) {
                faults.push(format!(
                    "container {name}: {path} was folder {resolved} and is {:?}",
                    new.sub_paths.get(path)
                ));
            }
        }
        let names: BTreeSet<&String> = old.environment.keys().chain(new.environment.keys()).collect();
        for variable in names {
            let (was, is) = (old.environment.get(variable), new.environment.get(variable));
            let ours = OURS.iter().any(|ours| variable.starts_with(ours)) && was.is_none();
            if was != is && !ours && !options.contains(variable) {
                faults.push(format!("container {name}: {variable} was {was:?} and is {is:?}"));
            }
        }
    }
    for ours in added(trial) {
        match sources.start(ours) {
            Err(why) => faults.push(format!("{} does not start: {why:?}", ours["name"])),
            Ok(process) => told(trial, ours, &process.environment, faults),
        }
    }
}

/// Whether command or args contain `$(variable)`.
fn refers_to(container: &Value, variable: &str) -> bool {
    let words = ["command", "args"].map(|key| container[key].as_array().into_iter().flatten());
    let reference = format!("$({variable})");
    words
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .any(|word| word.contains(&reference))
}

/// What the agent is told arrives as it was meant: a `$` in a setting is no reference.
fn told(
    trial: &Trial<'_>,
    agent: &Value,
    environment: &std::collections::BTreeMap<String, String>,
    faults: &mut Faults,
) {
    let name = agent["name"].as_str().unwrap_or_default();
    if !name.starts_with("heapship-agent") {
        return;
    }
    let Ok(settings) = &trial.outcome.settings.settings else {
        return;
    };
    let said = |variable: &str| environment.get(variable).map(String::as_str);
    let destination = settings.destination.as_ref().map(ToString::to_string);
    if said("HEAPSHIP_DESTINATION") != destination.as_deref() {
        faults.push(format!(
            "{name} ships to {:?} and not to {destination:?}",
            said("HEAPSHIP_DESTINATION")
        ));
    }
    if said("HEAPSHIP_CLUSTER") != Some(&trial.case.cluster.name) {
        faults.push(format!(
            "{name} is told of cluster {:?}",
            said("HEAPSHIP_CLUSTER")
        ));
    }
    if said("HEAPSHIP_DUMPS").is_none_or(|path| path.contains('$')) {
        faults.push(format!("{name} looks for dumps in {:?}", said("HEAPSHIP_DUMPS")));
    }
    let list: Result<Vec<Value>, _> = serde_json::from_str(said("HEAPSHIP_CONTAINERS").unwrap_or_default());
    for listed in list.iter().flatten() {
        if container(trial.before(), listed["name"].as_str().unwrap_or_default()).is_none() {
            faults.push(format!("{name} is told of {listed}, which the pod has not"));
        }
    }
    if list.map_or(0, |list| list.len()) == 0 {
        faults.push(format!("{name} ships for nobody"));
    }
}
