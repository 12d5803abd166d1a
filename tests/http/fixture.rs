//! A webhook of this process on a port of its own, and the real executable.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use heapship::admission::namespaces::{Known, Namespaces};
use heapship::admission::server::{self, Counts, Server};
use heapship::admission::tls::{Certificate, Files, Served, server_config};
use heapship::admission::{Admission, http};
use heapship::inject::{Cluster, KubernetesVersion};
use heapship::metrics::Metrics;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::authority::{Authority, Pair};

/// What a test wants otherwise than a cluster.
pub(crate) struct Options {
    pub(crate) namespaces: Arc<dyn Namespaces>,
    pub(crate) http: http::Limits,
    pub(crate) server: server::Limits,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            namespaces: Arc::new(Known::default()),
            http: http::Limits::default(),
            server: server::Limits::default(),
        }
    }
}

/// A webhook that serves until it is dropped or drained.
pub(crate) struct Webhook {
    pub(crate) address: SocketAddr,
    pub(crate) authority: Authority,
    pub(crate) files: Files,
    pub(crate) served: Arc<Served>,
    pub(crate) metrics: Arc<Metrics>,
    shutdown: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
    _directory: TempDir,
}

impl Webhook {
    pub(crate) async fn start(options: Options) -> Self {
        let authority = Authority::new();
        let directory = TempDir::new().unwrap();
        let files = write(directory.path(), &authority.until(2100));
        Self::serve(options, authority, directory, files, None).await
    }

    pub(crate) async fn serve(
        options: Options,
        authority: Authority,
        directory: TempDir,
        files: Files,
        client_ca: Option<&Path>,
    ) -> Self {
        let served = Arc::new(Served::new(Certificate::load(&files, SystemTime::now()).unwrap()));
        let tls = server_config(Arc::clone(&served), client_ca).unwrap();
        let metrics = Arc::new(Metrics::default());
        let admission = Admission {
            namespaces: options.namespaces,
            policies: Arc::default(),
            cluster: Arc::new(ArcSwap::from_pointee(Cluster {
                name: "test".to_owned(),
                version: KubernetesVersion::NEWEST,
                own_namespace: None,
                env_files: false,
            })),
        };
        let router = http::router(Arc::new(admission), None, Arc::clone(&metrics), options.http);
        let counts = Counts {
            connections: metrics.connections.clone(),
            handshake_failures: metrics.handshake_failures.clone(),
        };
        let any_port = "127.0.0.1:0".parse().unwrap();
        let bound = Server::bind(any_port, Some(tls), router, options.server, counts)
            .await
            .unwrap();
        let (shutdown, asked) = oneshot::channel();
        Self {
            address: bound.address().unwrap(),
            authority,
            files,
            served,
            metrics,
            shutdown: Some(shutdown),
            task: tokio::spawn(bound.run(async { drop(asked.await) })),
            _directory: directory,
        }
    }

    pub(crate) fn ask_to_end(&mut self) {
        self.shutdown.take().unwrap().send(()).unwrap();
    }

    pub(crate) async fn ended(&mut self, within: Duration) -> bool {
        tokio::time::timeout(within, &mut self.task).await.is_ok()
    }

    /// One sample of the metrics' text, 0 where it was never counted.
    pub(crate) fn sample(&self, name_and_labels: &str) -> u64 {
        sample(&self.metrics.encode().unwrap(), name_and_labels)
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) fn sample(metrics: &str, name_and_labels: &str) -> u64 {
    metrics
        .lines()
        .find_map(|line| line.strip_prefix(name_and_labels)?.trim().parse().ok())
        .unwrap_or_default()
}

/// The pair as two plain files.
pub(crate) fn write(directory: &Path, pair: &Pair) -> Files {
    let files = Files {
        certificate: directory.join("tls.crt"),
        key: directory.join("tls.key"),
    };
    std::fs::write(&files.certificate, &pair.certificate).unwrap();
    std::fs::write(&files.key, &pair.key).unwrap();
    files
}

/// `heapship webhook` as a process; killed on drop.
pub(crate) struct Process {
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) health: SocketAddr,
}

impl Process {
    pub(crate) async fn start(files: &Files, arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_heapship"))
            .arg("webhook")
            .args([
                "--listen",
                "127.0.0.1:0",
                "--health-listen",
                "127.0.0.1:0",
                "--log-format",
                "json",
            ])
            .arg("--tls-cert")
            .arg(&files.certificate)
            .arg("--tls-key")
            .arg(&files.key)
            .args(arguments)
            .env_clear()
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (address, health) = loop {
            let line = lines
                .next_line()
                .await
                .unwrap()
                .expect("it ended before it served");
            let event: Value = serde_json::from_str(&line).unwrap();
            if event["message"] == "serving" {
                let address = |key: &str| event[key].as_str().unwrap().parse().unwrap();
                break (address("address"), address("health"));
            }
        };
        // Read on, or the process would stop at a full pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self {
            child,
            address,
            health,
        }
    }

    pub(crate) fn terminate(&self) {
        let id = i32::try_from(self.child.id().unwrap()).unwrap();
        let pid = rustix::process::Pid::from_raw(id).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }
}

/// Polls until there is a result; fails with `what` at the deadline.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut condition: impl FnMut() -> F,
) -> T {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(result) = condition().await {
            return result;
        }
        assert!(tokio::time::Instant::now() < deadline, "still waiting: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
