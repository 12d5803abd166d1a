//! `heapship demo`: the whole job on a real JVM, without a cluster, without root, without a cloud.
//!
//! Real are the webhook and its TLS, the review, the patch, the JVM, the agent and the dump. Played are the controllers
//! and the API server (`api_server`) and the kubelet (`node`).

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use flate2::read::MultiGzDecoder;
use serde_json::Value;

use crate::cli::{Console, Stop, words};
use crate::exit::Exit;
use crate::hprof;
use crate::inject::uninject;
use crate::names;
use crate::quantity::Bytes;

use api_server::{Webhook, pod_of};
use java::Jdk;
use node::{Node, Running, container_of, list, record_in};
use process::until;

mod api_server;
mod java;
mod node;
mod process;

const LEAK: &str = include_str!("../../manifests/examples/leaking-deployment.yaml");
const ORDERS: &str = include_str!("../../manifests/examples/pre-stop-deployment.yaml");
const POLICY: &str = include_str!("../../manifests/examples/policy-file-store.yaml");

/// Longer than any step takes on a slow machine; a demo that hangs is worse than one that fails.
const PATIENCE: Duration = Duration::from_mins(2);

/// Watch the whole job on a real JVM: no cluster, no root, no cloud
///
/// Starts the webhook on loopback, posts the review that an API server would send, applies the patch and runs what the
/// patched pod says as local processes: a JVM that runs out of memory, then one that is stopped. The dumps are shipped to
/// a folder.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Leave everything in this folder, which is new or empty: manifests, pods, patches, dumps, records
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// The JDK to run; else the one on the PATH
    #[arg(long, value_name = "DIR", env = "JAVA_HOME")]
    java_home: Option<PathBuf>,
    /// The agent's executable; else the one beside this program
    #[arg(long, value_name = "FILE", hide = true)]
    agent: Option<PathBuf>,
}

/// Runs the demo.
///
/// # Errors
/// When there is no JDK, or a step does not end as it must.
pub fn run(arguments: Arguments, console: &mut Console<'_>) -> Result<Exit, Stop> {
    let Arguments {
        keep,
        java_home,
        agent,
    } = arguments;
    let jdk = Jdk::find(java_home.as_deref(), std::env::var_os("PATH").as_deref()).map_err(Stop::usage)?;
    // Held until the end: a temporary folder goes with its guard.
    let (folder, _guard) = match keep {
        Some(folder) => {
            check_empty(&folder).map_err(Stop::usage)?;
            (folder, None)
        }
        None => {
            let guard = tempfile::tempdir()?;
            (guard.path().to_owned(), Some(guard))
        }
    };
    let started = Instant::now();
    let demo = Demo::prepare(&folder, jdk, agent, console.stdout).map_err(Stop::failed)?;
    demo.run().map_err(Stop::failed)?;
    writeln!(
        console.stdout,
        "Done in {:.1} s.",
        started.elapsed().as_secs_f64()
    )?;
    Ok(Exit::Done)
}

/// What lies there already would be overwritten, or mistaken for this run's.
fn check_empty(folder: &Path) -> anyhow::Result<()> {
    let problem = match std::fs::read_dir(folder).map(|mut entries| entries.next()) {
        Ok(None) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Ok(Some(_)) => "it is not empty".to_owned(),
        Err(error) => error.to_string(),
    };
    bail!(
        "cannot keep the demo in {}: {problem}; give --keep a new folder",
        folder.display()
    )
}

struct Demo<'a> {
    folder: PathBuf,
    node: Node,
    webhook: Webhook,
    out: &'a mut dyn Write,
}

impl<'a> Demo<'a> {
    fn prepare(
        folder: &Path,
        jdk: Jdk,
        agent: Option<PathBuf>,
        out: &'a mut dyn Write,
    ) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let folder = folder.canonicalize()?;
        let agent = match agent {
            Some(agent) => agent,
            None => std::env::current_exe()?.with_file_name("heapship-agent"),
        };
        if !agent.exists() {
            bail!(
                "{} is missing: build both executables (cargo build --bins)",
                agent.display()
            );
        }
        let volumes = folder.join("volumes");
        std::fs::create_dir_all(&volumes)?;
        let classes = folder.join("classes");
        jdk.compile("Leak", include_str!("demo/Leak.java"), &classes)?;
        jdk.compile("Orders", include_str!("demo/Orders.java"), &classes)?;
        let policy = folder.join("policy.yaml");
        std::fs::write(&policy, POLICY)?;
        let webhook = Webhook::start(&folder, &policy)?;
        writeln!(
            out,
            "The webhook answers at https://{}, with a certificate made just now.\n",
            webhook.address()
        )?;
        let node = Node {
            volumes,
            classes,
            jdk,
            agent,
        };
        Ok(Self {
            folder,
            node,
            webhook,
            out,
        })
    }

    fn run(mut self) -> anyhow::Result<()> {
        writeln!(self.out, "1. OUT OF MEMORY\n")?;
        let pod = self.admit(LEAK)?;
        let agent = self.start_agent(&pod)?;
        self.out_of_memory(&pod)?;
        let record = self.wait_for_record(&pod)?;
        self.stop_agent(agent)?;
        self.show_shipment(&record)?;

        writeln!(self.out, "2. STOPPED\n")?;
        let pod = self.admit(ORDERS)?;
        let agent = self.start_agent(&pod)?;
        self.stopped(&pod)?;
        self.stop_agent(agent)?;
        let record = self.wait_for_record(&pod)?;
        self.show_shipment(&record)?;
        self.webhook.stop()
    }

    /// Posts the review, applies the answer's patch, says what it does.
    fn admit(&mut self, manifest: &str) -> anyhow::Result<Value> {
        let deployment: Value = serde_saphyr::from_str(manifest)?;
        let name = deployment["metadata"]["name"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let namespace = deployment["metadata"]["namespace"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        writeln!(self.out, "Deployment {namespace}/{name} is annotated:")?;
        for (key, value) in deployment["spec"]["template"]["metadata"]["annotations"]
            .as_object()
            .into_iter()
            .flatten()
        {
            writeln!(self.out, "    {key}: {value}")?;
        }
        let created = pod_of(&deployment);
        let response = self.webhook.review(&created, &namespace)?;
        let patch = response["patch"]
            .as_str()
            .context("the webhook answered without a patch")?;
        let patch: json_patch::Patch =
            serde_json::from_slice(&base64(patch)?).context("the webhook's patch cannot be read")?;
        let mut pod = created.clone();
        json_patch::patch(&mut pod, &patch).context("the webhook's patch does not apply")?;
        writeln!(self.out, "The pod that its controller creates is patched:")?;
        for change in words::changes(&created, &pod) {
            writeln!(self.out, "    {change}")?;
        }
        for warning in response["warnings"].as_array().into_iter().flatten() {
            writeln!(self.out, "    warning: {}", warning.as_str().unwrap_or_default())?;
        }
        self.keep(&format!("{name}.created.json"), &created)?;
        self.keep(&format!("{name}.patched.json"), &pod)?;
        if uninject(&pod) != created {
            bail!("uninject does not give the pod back");
        }
        // What the API server and the scheduler add.
        let generated = pod["metadata"]["generateName"].as_str().unwrap_or_default();
        pod["metadata"]["name"] = format!("{generated}x2k8v").into();
        pod["metadata"]["uid"] = format!("{name}-0000-4000-8000-000000000001").into();
        pod["spec"]["nodeName"] = "this-machine".into();
        writeln!(self.out)?;
        Ok(pod)
    }

    /// Init containers in their order: each ends before the next starts, the sidecar stays.
    fn start_agent(&mut self, pod: &Value) -> anyhow::Result<Running> {
        let mut agent = None;
        for container in pod["spec"]["initContainers"].as_array().into_iter().flatten() {
            let name = container["name"].as_str().unwrap_or_default();
            let mut running = self.node.start(pod, name)?;
            if container["restartPolicy"] == "Always" {
                agent = Some(running);
                continue;
            }
            let status = running.process.wait(PATIENCE)?;
            if !status.success() {
                bail!(
                    "init container {name} ended with {status}: {}",
                    running.lines.iter().collect::<Vec<_>>().join(" ")
                );
            }
        }
        agent.context("the patched pod has no agent")
    }

    /// Lets the application die.
    fn out_of_memory(&mut self, pod: &Value) -> anyhow::Result<()> {
        writeln!(
            self.out,
            "The JVM runs with the patched environment until its heap is full:"
        )?;
        let mut app = self.node.start(pod, "app")?;
        let status = self.follow(&mut app, |_| false)?;
        writeln!(self.out, "    (the JVM ended: {status})\n")?;
        Ok(())
    }

    /// Lets the application live, then ends the pod as a kubelet does: the hook, SIGTERM to the application, SIGTERM to
    /// the sidecar.
    fn stopped(&mut self, pod: &Value) -> anyhow::Result<()> {
        writeln!(
            self.out,
            "The JVM serves; then the pod is deleted, and the kubelet runs the preStop hook:"
        )?;
        let mut app = self.node.start(pod, "app")?;
        self.follow(&mut app, |line| line == "serving")?;
        let mut hook = list(&container_of(pod, "app")?["lifecycle"]["preStop"]["exec"]["command"]);
        // In a container the hook finds the JVM by itself. Here it would find every JVM of this user.
        let own = ["--pid".to_owned(), app.process.0.id().to_string()];
        let at = hook.len().min(2);
        hook.splice(at..at, own);
        let mut hook = self.node.exec(pod, "app", &hook)?;
        let status = self.follow(&mut hook, |_| false)?;
        if !status.contains("exit status: 0") {
            bail!("the preStop hook ended with {status}");
        }
        app.process.terminate()?;
        let status = app.process.wait(PATIENCE)?;
        writeln!(
            self.out,
            "    (the hook is done; SIGTERM to the JVM, which ended: {status})\n"
        )?;
        Ok(())
    }

    /// Prints what a container prints until it has ended, or printed what was waited for.
    fn follow(&mut self, running: &mut Running, done: impl Fn(&str) -> bool) -> anyhow::Result<String> {
        let started = Instant::now();
        loop {
            match running.lines.recv_timeout(Duration::from_millis(50)) {
                Ok(line) => {
                    writeln!(self.out, "    {}", self.shortened(&line))?;
                    if done(&line) {
                        return Ok(String::new());
                    }
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Ok(running.process.wait(PATIENCE)?.to_string());
                }
                Err(RecvTimeoutError::Timeout) if started.elapsed() > PATIENCE => {
                    bail!("the container does not end")
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn wait_for_record(&mut self, pod: &Value) -> anyhow::Result<PathBuf> {
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        let store = self.store();
        until(PATIENCE, "the dump to be shipped", || {
            let found = record_in(&store.join("demo/shop"))?.is_some();
            Ok(if found { find_record(&store, name)? } else { None })
        })
    }

    /// The pod is being deleted: the sidecar is signalled when the application is gone.
    fn stop_agent(&mut self, mut agent: Running) -> anyhow::Result<()> {
        agent.process.terminate()?;
        let status = agent.process.wait(PATIENCE)?;
        writeln!(self.out, "What the agent said:")?;
        for line in &agent.lines {
            writeln!(self.out, "    {}", self.shortened(&event(&line)))?;
        }
        if !status.success() {
            bail!("the agent ended with {status}");
        }
        Ok(())
    }

    fn show_shipment(&mut self, record: &Path) -> anyhow::Result<()> {
        let text = std::fs::read_to_string(record)?;
        let facts: Value = serde_json::from_str(&text).context("the record is not JSON")?;
        let object = self
            .store()
            .join(facts["key"].as_str().context("the record names no key")?);
        let length = std::fs::metadata(&object)
            .with_context(|| format!("{} is not there", object.display()))?
            .len();
        writeln!(
            self.out,
            "\nThe dump is in the store ({length} bytes), and its record beside it:"
        )?;
        writeln!(self.out, "    {}", object.display())?;
        writeln!(self.out, "    {}", record.display())?;
        for line in text.lines() {
            writeln!(self.out, "    {line}")?;
        }
        let compressed = BufReader::new(File::open(&object)?);
        let reader: Box<dyn Read> = Box::new(MultiGzDecoder::new(compressed));
        let histogram = hprof::histogram(reader)?;
        writeln!(self.out, "The biggest classes in it ({}):", histogram.verdict())?;
        for class in histogram.top(5) {
            let hprof::Class {
                name,
                instances,
                bytes: Bytes(bytes),
                ..
            } = class;
            writeln!(self.out, "    {bytes:>12} bytes {instances:>9} x {name}")?;
        }
        if let Some(error) = histogram.out_of_memory() {
            writeln!(self.out, "The thread that ran out of memory was at:")?;
            for frame in error.stack.iter().take(3) {
                writeln!(self.out, "    {frame}")?;
            }
        }
        writeln!(self.out)?;
        Ok(())
    }

    /// The volume that `file:///heap-dumps` is on.
    fn store(&self) -> PathBuf {
        self.node.volume(names::STORE_VOLUME)
    }

    /// The folder's name says nothing to a reader.
    fn shortened(&self, line: &str) -> String {
        line.replace(&*self.folder.to_string_lossy(), "…")
    }

    fn keep(&self, name: &str, value: &Value) -> anyhow::Result<()> {
        Ok(std::fs::write(self.folder.join(name), format!("{value:#}\n"))?)
    }
}

/// The record of a pod's dump.
fn find_record(folder: &Path, pod: &str) -> anyhow::Result<Option<PathBuf>> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            let found = if path.file_name().is_some_and(|name| name == pod) {
                record_in(&path)?
            } else {
                find_record(&path, pod)?
            };
            if found.is_some() {
                return Ok(found);
            }
        }
    }
    Ok(None)
}

/// A log line for a person: its message and its fields.
fn event(line: &str) -> String {
    let Ok(Value::Object(fields)) = serde_json::from_str(line) else {
        return line.to_owned();
    };
    let message = fields.get("message").and_then(Value::as_str).unwrap_or_default();
    let rest: Vec<String> = fields
        .iter()
        .filter(|(key, _)| !["message", "timestamp", "level", "span"].contains(&key.as_str()))
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    format!("{message} {}", rest.join(" "))
}

fn base64(text: &str) -> anyhow::Result<Vec<u8>> {
    use base64::Engine as _;
    Ok(base64::engine::general_purpose::STANDARD.decode(text)?)
}
