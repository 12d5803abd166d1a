//! The kubelet's part: run what the patched pod says, as local processes, with its mounts mapped to a folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use anyhow::Context as _;
use serde_json::Value;

use super::java::Jdk;
use super::process::{Guard, lines};
use crate::inject::expansion::expand;
use crate::names;

/// A node that has one JDK for an image, and one folder for its volumes.
pub(super) struct Node {
    /// Holds one folder a volume.
    pub(super) volumes: PathBuf,
    /// What is at `/app` in the application's image.
    pub(super) classes: PathBuf,
    /// What `java` is in the application's image.
    pub(super) jdk: Jdk,
    /// What is at `/bin/heapship-agent` in ours.
    pub(super) agent: PathBuf,
}

/// A started container.
pub(super) struct Running {
    pub(super) process: Guard,
    /// What it prints, both streams.
    pub(super) lines: Receiver<String>,
}

impl Node {
    /// Starts a container of the pod.
    pub(super) fn start(&self, pod: &Value, container: &str) -> anyhow::Result<Running> {
        let command = list(&container_of(pod, container)?["command"]);
        let arguments = list(&container_of(pod, container)?["args"]);
        self.exec(pod, container, &[command, arguments].concat())
    }

    /// Runs a command in a container, as an exec hook is run: without expansion of variables.
    pub(super) fn exec(&self, pod: &Value, container: &str, command: &[String]) -> anyhow::Result<Running> {
        let description = container_of(pod, container)?;
        let mounts = self.mounts(description)?;
        let mapped: Vec<String> = command.iter().map(|word| Self::map(&mounts, word)).collect();
        let (program, arguments) = mapped.split_first().context("a container without a command")?;
        let program = if program == "java" {
            self.jdk.program("java")
        } else {
            PathBuf::from(program)
        };
        let mut command = Command::new(&program);
        command.args(arguments).env_clear().current_dir(&self.volumes);
        for (name, value) in environment(pod, description) {
            command.env(name, Self::map(&mounts, &value));
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut process = command
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let (sender, receiver) = channel();
        if let Some(stdout) = process.stdout.take() {
            lines(stdout, sender.clone());
        }
        if let Some(stderr) = process.stderr.take() {
            lines(stderr, sender);
        }
        Ok(Running {
            process: Guard(process),
            lines: receiver,
        })
    }

    /// The folder that a volume is.
    pub(super) fn volume(&self, name: &str) -> PathBuf {
        self.volumes.join(name)
    }

    /// Each mount's path and the folder behind it, deepest first.
    fn mounts(&self, container: &Value) -> anyhow::Result<Vec<(String, PathBuf)>> {
        let mut mounts = Vec::new();
        for mount in container["volumeMounts"].as_array().into_iter().flatten() {
            let (Some(path), Some(volume)) = (mount["mountPath"].as_str(), mount["name"].as_str()) else {
                continue;
            };
            let folder = self
                .volume(volume)
                .join(mount["subPath"].as_str().unwrap_or_default());
            std::fs::create_dir_all(&folder)?;
            mounts.push((path.to_owned(), folder));
        }
        // Without mounts of its own a process cannot have files of the image where they are: these stand for them.
        mounts.push((names::AGENT_IN_IMAGE.to_owned(), self.agent.clone()));
        mounts.push(("/app".to_owned(), self.classes.clone()));
        mounts.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
        Ok(mounts)
    }

    /// Replaces paths in the container by paths on this machine.
    fn map(mounts: &[(String, PathBuf)], text: &str) -> String {
        let mut mapped = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('/') {
            let (before, from) = rest.split_at(at);
            mapped.push_str(before);
            let inside = mapped.ends_with(|c: char| c.is_ascii_alphanumeric());
            let found = mounts.iter().filter(|_| !inside).find_map(|(path, folder)| {
                let tail = from.strip_prefix(path.as_str())?;
                let ends = tail
                    .chars()
                    .next()
                    .is_none_or(|c| !(c.is_ascii_alphanumeric() || c == '-' || c == '_'));
                ends.then_some((folder, tail))
            });
            match found {
                Some((folder, tail)) => {
                    mapped.push_str(&folder.to_string_lossy());
                    // The rest of the path is below the mount: it is not looked up again.
                    let end = tail
                        .find(|c: char| c.is_whitespace() || c == '"')
                        .unwrap_or(tail.len());
                    let (path, next) = tail.split_at(end);
                    mapped.push_str(path);
                    rest = next;
                }
                None => {
                    mapped.push('/');
                    rest = from.get(1..).unwrap_or_default();
                }
            }
        }
        mapped.push_str(rest);
        mapped
    }
}

/// The variables as the kubelet computes them: in order, each seeing the earlier ones.
pub(super) fn environment(pod: &Value, container: &Value) -> BTreeMap<String, String> {
    let mut variables: BTreeMap<String, String> = BTreeMap::new();
    for entry in container["env"].as_array().into_iter().flatten() {
        let Some(name) = entry["name"].as_str() else {
            continue;
        };
        let value = match entry["valueFrom"]["fieldRef"]["fieldPath"].as_str() {
            Some("status.podIP") => "127.0.0.1".to_owned(),
            Some(path) => {
                let pointer = format!("/{}", path.replace('.', "/"));
                pod.pointer(&pointer)
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned()
            }
            None => expand(entry["value"].as_str().unwrap_or_default(), 1 << 20, &|name| {
                variables.get(name).map(String::as_str)
            }),
        };
        variables.insert(name.to_owned(), value);
    }
    variables
}

/// A container of the pod by its name, regular or init.
pub(super) fn container_of<'p>(pod: &'p Value, name: &str) -> anyhow::Result<&'p Value> {
    ["initContainers", "containers"]
        .into_iter()
        .flat_map(|list| pod["spec"][list].as_array().into_iter().flatten())
        .find(|container| container["name"] == name)
        .with_context(|| format!("the pod has no container {name}"))
}

/// A list of texts.
pub(super) fn list(value: &Value) -> Vec<String> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|word| word.as_str().map(str::to_owned))
        .collect()
}

/// Whether a folder holds a finished shipment: the record is written last.
pub(super) fn record_in(folder: &Path) -> anyhow::Result<Option<PathBuf>> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Ok(None);
    };
    for entry in entries {
        let path = entry?.path();
        let found = if path.is_dir() { record_in(&path)? } else { None };
        if found.is_some() {
            return Ok(found);
        }
        if path.extension().is_some_and(|extension| extension == "json") {
            return Ok(Some(path));
        }
    }
    Ok(None)
}
