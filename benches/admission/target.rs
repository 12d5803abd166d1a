//! The server under load: the webhook's own, with one more path whose handler reads the body and gives a fixed answer.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use axum::body::Bytes;
use axum::routing::post;
use heapship::admission::namespaces::Known;
use heapship::admission::server::{Counts, Limits, Server};
use heapship::admission::tls::{Certificate, Files, Served, server_config};
use heapship::admission::{Admission, http};
use heapship::inject::{Cluster, KubernetesVersion};
use heapship::logging;
use heapship::metrics::Metrics;
use tempfile::TempDir;

use super::authority::Authority;
use super::usage::{Used, Watch};

/// What an uninteresting pod is answered.
const FIXED: &str = r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":"705ab4f5-4a8b-4bb7-9f3d-bd1a2c5f0e11","allowed":true}}"#;

/// The server's process.
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    child: Child,
    others: Mutex<Vec<f64>>,
    _directory: TempDir,
}

impl Target {
    pub(crate) fn start(authority: &Authority) -> Self {
        let directory = TempDir::new().unwrap();
        let pair = authority.until(2100);
        let [certificate, key] = ["tls.crt", "tls.key"].map(|name| directory.path().join(name));
        std::fs::write(&certificate, pair.certificate).unwrap();
        std::fs::write(&key, pair.key).unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg("serve")
            .args([&certificate, &key])
            .stdout(Stdio::piped())
            // Log lines are written, as in a cluster, and read by nobody.
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        Self {
            address: line.trim().parse().unwrap(),
            child,
            others: Mutex::default(),
            _directory: directory,
        }
    }

    pub(crate) fn watch(&self) -> Watch {
        Watch::start(self.child.id())
    }

    pub(crate) fn stop(&self, watch: Watch) -> Used {
        let used = watch.stop();
        self.others.lock().unwrap().push(used.others);
        used
    }

    pub(crate) fn others(&self) -> Vec<f64> {
        self.others.lock().unwrap().clone()
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// The server's side of the process.
pub(crate) fn serve(certificate: &str, key: &str) {
    logging::init(logging::Format::Json, &"info".parse().unwrap());
    let files = Files {
        certificate: PathBuf::from(certificate),
        key: PathBuf::from(key),
    };
    let served = Arc::new(Served::new(Certificate::load(&files, SystemTime::now()).unwrap()));
    let tls = server_config(served, None).unwrap();
    let admission = Admission {
        namespaces: Arc::new(Known::default()),
        policies: Arc::default(),
        cluster: Arc::new(ArcSwap::from_pointee(Cluster {
            name: "bench".to_owned(),
            version: KubernetesVersion::NEWEST,
            own_namespace: None,
            env_files: false,
        })),
    };
    let fixed = post(|body: Bytes| async move {
        assert!(!body.is_empty());
        ([("content-type", "application/json")], FIXED)
    });
    let metrics = Arc::new(Metrics::default());
    let router =
        http::router(Arc::new(admission), None, metrics, http::Limits::default()).route("/fixed", fixed);
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(async {
            let address = "127.0.0.1:0".parse().unwrap();
            let bound = Server::bind(address, Some(tls), router, Limits::default(), Counts::default())
                .await
                .unwrap();
            println!("{}", bound.address().unwrap());
            std::io::stdout().flush().unwrap();
            bound.run(std::future::pending()).await;
        });
}
