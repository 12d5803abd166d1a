//! An S3 server of one test: versitygw where set-up could build it (it needs Go), else s3s-fs in this process.
//!
//! Both check signatures, do multipart uploads and keep objects as plain files. Two tests never share one.

mod certificate;
mod in_process;
mod selftest;

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::process::Process;
use certificate::Certificate;
use in_process::InProcess;

const BUCKET: &str = "dumps";
/// Set to `in-process` to test without versitygw where it is there.
const CHOICE: &str = "HEAPSHIP_TEST_S3";

/// A server with one empty bucket. Ends on drop, and its files with it.
pub struct S3 {
    /// `http://127.0.0.1:PORT` or `https://…`, path style.
    pub endpoint: String,
    pub bucket: String,
    pub region: String,
    pub access_key: String,
    pub secret_key: String,
    /// The CA that signed the server's certificate: none without TLS.
    pub ca_pem: Option<String>,
    /// Objects are plain files below `root/bucket`.
    pub root: PathBuf,
    port: u16,
    certificate: Option<Certificate>,
    server: Option<Server>,
    // Last: fields are dropped in order, and the server goes before its files.
    folder: TempDir,
}

enum Server {
    Versitygw { _process: Process },
    InProcess { _server: InProcess },
}

impl S3 {
    /// Starts one and returns when it takes connections.
    #[track_caller]
    pub fn start(tls: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        fs::create_dir_all(root.join(BUCKET)).unwrap();
        let certificate = tls.then(|| Certificate::for_loopback(folder.path()));
        let mut s3 = Self {
            endpoint: String::new(),
            bucket: BUCKET.to_owned(),
            region: "us-east-1".to_owned(),
            access_key: "heapship-tests".to_owned(),
            secret_key: "not-a-secret".to_owned(),
            ca_pem: certificate.as_ref().map(|certificate| certificate.ca_pem.clone()),
            root,
            port: 0,
            certificate,
            server: None,
            folder,
        };
        // A port that was free a moment ago can be somebody else's by now.
        for _ in 0..5 {
            s3.port = free_port();
            s3.endpoint = format!("http{}://127.0.0.1:{}", if tls { "s" } else { "" }, s3.port);
            if s3.resume() {
                return s3;
            }
        }
        panic!("no S3 server came up on five ports");
    }

    /// Ends the server, keeps its files and its address: an outage.
    pub fn stop(&mut self) {
        self.server = None;
    }

    /// Ends the outage.
    pub fn start_again(&mut self) {
        assert!(self.resume(), "the S3 server came back on port {}", self.port);
    }

    /// Whether it is versitygw, for what only a complete server can do.
    pub fn is_versitygw(&self) -> bool {
        matches!(self.server, Some(Server::Versitygw { .. }))
    }

    /// `s3://bucket/prefix`.
    pub fn url(&self, prefix: &str) -> String {
        format!("s3://{}/{prefix}", self.bucket)
    }

    /// Credentials and nothing else, as an application's Secret holds them.
    pub fn credentials(&self) -> [(&'static str, String); 2] {
        [
            ("AWS_ACCESS_KEY_ID", self.access_key.clone()),
            ("AWS_SECRET_ACCESS_KEY", self.secret_key.clone()),
        ]
    }

    /// A file with the CA, for flags that take a path.
    pub fn ca_file(&self) -> Option<PathBuf> {
        let path = self.folder.path().join("ca.pem");
        self.ca_pem.as_ref().map(|pem| {
            fs::write(&path, pem).unwrap();
            path
        })
    }

    /// Keys of the complete objects, sorted.
    pub fn objects(&self) -> Vec<String> {
        let bucket = self.root.join(&self.bucket);
        let mut keys: Vec<String> = files_below(&bucket)
            .into_iter()
            .map(|file| file.strip_prefix(&bucket).unwrap().to_string_lossy().into_owned())
            .filter(|key| !key.starts_with(".sgwtmp/"))
            .collect();
        keys.sort();
        keys
    }

    /// The bytes of one object.
    #[track_caller]
    pub fn read(&self, key: &str) -> Vec<u8> {
        let file = self.root.join(&self.bucket).join(key);
        fs::read(&file)
            .unwrap_or_else(|error| panic!("no object {key}: {error}; there is {:?}", self.objects()))
    }

    /// Multipart uploads that were begun and neither completed nor aborted.
    pub fn open_uploads(&self) -> usize {
        let versitygw = self.root.join(&self.bucket).join(".sgwtmp/multipart");
        let uploads_of_versitygw = folders(&versitygw)
            .iter()
            .map(|object| folders(object).len())
            .sum::<usize>();
        // s3s-fs keeps `.upload-UUID.json` in its root (and the parts as `.upload_id-…`) for as long as the upload is open.
        let uploads_in_process = names(&self.root)
            .iter()
            .filter(|name| name.starts_with(".upload-"))
            .count();
        uploads_of_versitygw + uploads_in_process
    }

    fn resume(&mut self) -> bool {
        let server = match versitygw() {
            Some(program) => self
                .spawn(&program)
                .map(|process| Server::Versitygw { _process: process }),
            None => InProcess::serve(
                &self.root,
                self.port,
                &self.access_key,
                &self.secret_key,
                self.certificate.as_ref(),
            )
            .map(|server| Server::InProcess { _server: server }),
        };
        self.server = server;
        self.server.is_some()
    }

    /// `None` where it ended at once, as it does when the port is taken.
    fn spawn(&self, program: &Path) -> Option<Process> {
        let mut command = Command::new(program);
        command.args([
            "--access",
            &self.access_key,
            "--secret",
            &self.secret_key,
            "--region",
            &self.region,
        ]);
        // Without keep-alive a refused PUT reaches the client as a cut TLS stream.
        command.args([
            "--port",
            &format!("127.0.0.1:{}", self.port),
            "--keep-alive",
            "--quiet",
        ]);
        if let Some(certificate) = &self.certificate {
            command
                .arg("--cert")
                .arg(&certificate.chain_file)
                .arg("--key")
                .arg(&certificate.key_file);
        }
        command.arg("posix").arg(&self.root);
        let mut process = Process::spawn(&mut command);
        let begun = Instant::now();
        while process.is_running() {
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                // It could have been another program's socket: then versitygw fails to bind and ends.
                return process.is_running().then_some(process);
            }
            assert!(
                begun.elapsed() < Duration::from_secs(30),
                "versitygw: {}",
                process.lines().join("\n")
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        None
    }
}

fn versitygw() -> Option<PathBuf> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/bin/versitygw");
    let chosen = std::env::var_os(CHOICE).is_none_or(|choice| choice != "in-process");
    (chosen && program.exists()).then_some(program)
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files.extend(files_below(&entry.path())),
            // Gone between listing and asking: a part that was just put together.
            Ok(_) => files.push(entry.path()),
            Err(_) => {}
        }
    }
    files
}

fn folders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}
