//! Which containers run a JVM.

use serde_json::Value;

use crate::inject::launchers::{self, LIBJVMS, Launcher};
use crate::inject::pod::{is_ours, mounts_dumps};
use crate::inject::reasons::Skip;
use crate::names;
use crate::settings::{ContainerChoice, Settings};

/// A chosen container.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// Its name.
    pub(super) name: String,
    /// Its image, for the record of a dump.
    pub(super) image: String,
    /// An init container: named explicitly, and without hooks.
    pub(super) init: bool,
    /// What starts its JVM, where that takes `JAVA_TOOL_OPTIONS` away.
    pub(super) launcher: Option<&'static Launcher>,
    /// Where the agent finds dumps that the user's own path sends to a volume of the pod.
    pub(super) foreign: Option<Foreign>,
}

/// A volume of the pod's own that holds dumps.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Foreign {
    /// The volume's name.
    pub(super) volume: String,
    /// The application's mount of it.
    pub(super) sub_path: Option<String>,
    /// The dump's path below that mount: a file or a folder.
    pub(super) path: String,
}

/// Chooses.
///
/// # Errors
/// [`Skip::UnknownContainer`], [`Skip::NoContainers`].
pub(super) fn choose(pod: &Value, choice: &ContainerChoice) -> Result<Vec<Target>, Skip> {
    let regular = || containers(pod, "containers").filter(|(name, _)| !names::KNOWN_SIDECARS.contains(name));
    let by_default = pod["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"].as_str();
    let targets: Vec<Target> = match choice {
        ContainerChoice::Named(wanted) => wanted
            .iter()
            .map(|name| named(pod, name))
            .collect::<Result<_, _>>()?,
        ContainerChoice::Unset
            if by_default.is_some_and(|name| regular().any(|(found, _)| found == name)) =>
        {
            // One that writes its dumps to us already stays chosen: a mesh names a default container after we were called, and
            // the dumps of the others must still be shipped.
            regular()
                .filter(|(name, found)| Some(*name) == by_default || mounts_dumps(found))
                .map(|(_, value)| target(value, false))
                .collect()
        }
        ContainerChoice::Unset | ContainerChoice::All => {
            regular().map(|(_, value)| target(value, false)).collect()
        }
    };
    if targets.is_empty() {
        Err(Skip::NoContainers)
    } else {
        Ok(targets)
    }
}

fn named(pod: &Value, wanted: &str) -> Result<Target, Skip> {
    for (list, init) in [("containers", false), ("initContainers", true)] {
        if let Some((_, container)) = containers(pod, list).find(|(name, _)| *name == wanted) {
            return Ok(target(container, init));
        }
    }
    let known = ["containers", "initContainers"]
        .into_iter()
        .flat_map(|list| containers(pod, list))
        .map(|(name, _)| name.to_owned())
        .collect();
    Err(Skip::UnknownContainer {
        wanted: wanted.to_owned(),
        known,
    })
}

/// The pod's own containers of a list, with their names.
fn containers<'v>(pod: &'v Value, list: &str) -> impl Iterator<Item = (&'v str, &'v Value)> {
    let elements = pod["spec"][list].as_array().map_or(&[][..], Vec::as_slice);
    elements
        .iter()
        .filter(|container| !is_ours(container))
        .filter_map(|c| Some((c["name"].as_str()?, c)))
}

fn target(container: &Value, init: bool) -> Target {
    let text = |key: &str| container[key].as_str().unwrap_or_default().to_owned();
    Target {
        name: text("name"),
        image: text("image"),
        init,
        launcher: launchers::recognise(container),
        foreign: None,
    }
}

impl Target {
    /// The variable that its JVM's options are put into: what somebody asked for, else what its launcher reads.
    pub(super) fn variable<'t>(&self, settings: &'t Settings) -> &'t str {
        let asked = settings.java_options_variable.as_deref();
        let own = || self.launcher.map_or(LIBJVMS, |launcher| launcher.variable);
        asked.unwrap_or_else(own)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn chosen(pod: &Value, choice: &ContainerChoice) -> Vec<String> {
        choose(pod, choice)
            .unwrap()
            .into_iter()
            .map(|target| target.name)
            .collect()
    }

    #[test]
    fn unset_means_the_default_container_or_all_that_are_no_sidecars() {
        let mut pod = json!({"metadata": {}, "spec": {
            "initContainers": [{"name": "migrate"}],
            "containers": [{"name": "app"}, {"name": "istio-proxy"}, {"name": "worker"}]}});
        assert_eq!(chosen(&pod, &ContainerChoice::Unset), ["app", "worker"]);
        pod["metadata"]["annotations"] = json!({"kubectl.kubernetes.io/default-container": "worker"});
        assert_eq!(chosen(&pod, &ContainerChoice::Unset), ["worker"]);
        assert_eq!(chosen(&pod, &ContainerChoice::All), ["app", "worker"]);
        // A mesh points the annotation at the application, but nothing keeps it from naming what is not there.
        pod["metadata"]["annotations"] = json!({"kubectl.kubernetes.io/default-container": "gone"});
        assert_eq!(chosen(&pod, &ContainerChoice::Unset), ["app", "worker"]);
    }

    #[test]
    fn sidecars_and_init_containers_only_when_named() {
        let pod = json!({"spec": {"initContainers": [{"name": "migrate"}], "containers": [{"name": "istio-proxy"}]}});
        let names =
            |names: &[&str]| ContainerChoice::Named(names.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(
            chosen(&pod, &names(&["migrate", "istio-proxy"])),
            ["migrate", "istio-proxy"]
        );
        assert_eq!(
            choose(&pod, &ContainerChoice::All).unwrap_err(),
            Skip::NoContainers
        );
        let error = choose(&pod, &names(&["ap"])).unwrap_err().to_string();
        assert_eq!(
            error,
            "heapship.io/containers names \"ap\", but the pod has istio-proxy, migrate"
        );
    }
}
