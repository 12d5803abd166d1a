//! A directory of dumps, a store, and the agent between them.

use std::{
    collections::HashMap,
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{
    java::{Jdk, jdk},
    process::{Finished, Process},
    store::S3,
    wait::until,
};

/// For what takes seconds at most on a machine that does nothing else.
pub(super) const SOON: Duration = Duration::from_mins(1);

pub(super) struct Scene {
    folder: TempDir,
    pub(super) s3: Option<S3>,
}

impl Scene {
    /// Ships to a folder.
    pub(super) fn with_folder() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("dumps")).unwrap();
        Self { folder, s3: None }
    }

    /// Ships to an S3 server.
    pub(super) fn with_s3(tls: bool) -> Self {
        Self {
            s3: Some(S3::start(tls)),
            ..Self::with_folder()
        }
    }

    pub(super) fn dumps(&self) -> PathBuf {
        self.folder.path().join("dumps")
    }

    pub(super) fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `heapship-agent ship` with everything but `--once`; the environment holds the credentials and nothing else.
    pub(super) fn agent(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_heapship-agent"));
        command.env_clear();
        command.args(["ship", "--dumps"]).arg(self.dumps());
        command.args([
            "--pod",
            "checkout-1",
            "--namespace",
            "shop",
            "--part-size",
            "5Mi",
            "--settle",
            "1s",
        ]);
        match &self.s3 {
            None => {
                command
                    .arg("--destination")
                    .arg(format!("file://{}", self.store().display()));
            }
            Some(s3) => {
                command.args(["--destination", &s3.url("heap"), "--store-endpoint", &s3.endpoint]);
                command.envs(s3.credentials());
                match &s3.ca_pem {
                    Some(pem) => command.env("HEAPSHIP_STORE_CA", pem),
                    None => command.arg("--store-allow-http"),
                };
            }
        }
        command
    }

    /// Runs it to its end on what is there.
    pub(super) fn ship_once(&self) -> Finished {
        Process::spawn(self.agent().arg("--once")).finish(SOON)
    }

    /// Runs it to its end, which must be a good one.
    #[track_caller]
    pub(super) fn ship(&self) -> Vec<String> {
        let Finished { status, lines } = self.ship_once();
        assert!(status.success(), "{status}: {}", lines.join("\n"));
        lines
    }

    pub(super) fn start(&self) -> Process {
        let agent = Process::spawn(&mut self.agent());
        agent.line("watching for heap dumps", SOON);
        agent
    }

    /// SIGTERM, and the end that follows.
    #[track_caller]
    pub(super) fn end(agent: Process) -> Vec<String> {
        agent.signal(Signal::TERM);
        let Finished { status, lines } = agent.finish(SOON);
        assert!(status.success(), "{status}: {}", lines.join("\n"));
        lines
    }

    /// Keys of everything in the store, sorted, without the destination's prefix.
    pub(super) fn objects(&self) -> Vec<String> {
        let keys = match &self.s3 {
            Some(s3) => s3
                .objects()
                .iter()
                .map(|key| key.strip_prefix("heap/").unwrap_or(key).to_owned())
                .collect(),
            None => files_below(&self.store(), &self.store()),
        };
        let mut keys: Vec<String> = keys;
        keys.sort();
        keys
    }

    pub(super) fn read(&self, key: &str) -> Vec<u8> {
        match &self.s3 {
            Some(s3) => s3.read(&format!("heap/{key}")),
            None => fs::read(self.store().join(key)).unwrap(),
        }
    }

    /// All records, by the key of their object.
    pub(super) fn records(&self) -> Vec<(String, Value)> {
        let objects = self.objects();
        let records = objects.iter().filter_map(|key| key.strip_suffix(".json"));
        records
            .map(|key| {
                (
                    key.to_owned(),
                    serde_json::from_slice(&self.read(&format!("{key}.json"))).unwrap(),
                )
            })
            .collect()
    }

    /// The one dump that was shipped and its record, decompressed; and nothing else anywhere.
    #[track_caller]
    pub(super) fn only(&self) -> (String, Vec<u8>, Value) {
        let mut records = self.records();
        assert_eq!(records.len(), 1, "{:?}", self.objects());
        assert_eq!(self.objects().len(), 2, "{:?}", self.objects());
        self.nothing_is_left();
        let (key, record) = records.remove(0);
        let dump = self.dump(&key);
        assert_eq!(record["key"], key);
        assert_eq!(record["bytes"]["dump"], dump.len());
        assert_eq!(record["crc32"], format!("{:08x}", crc32fast::hash(&dump)));
        assert_eq!(record["bytes"]["object"], self.read(&key).len());
        (key, dump, record)
    }

    /// The dump in an object.
    pub(super) fn dump(&self, key: &str) -> Vec<u8> {
        let object = self.read(key);
        match key.rsplit('.').next() {
            Some("gz") => gunzip(&object),
            Some("zst") => zstd::stream::decode_all(object.as_slice()).unwrap(),
            _ => object,
        }
    }

    /// No dump, no entry, no temporary file, no upload that is still open.
    #[track_caller]
    pub(super) fn nothing_is_left(&self) {
        let left: Vec<String> = files_below(&self.dumps(), &self.dumps())
            .into_iter()
            .filter(|file| !file.starts_with(".heapship/uploads/"))
            .collect();
        assert!(left.is_empty(), "{left:?}");
        if let Some(s3) = &self.s3 {
            assert_eq!(s3.open_uploads(), 0);
        }
    }

    /// What is claimed now: dumps and entries.
    pub(super) fn claimed(&self) -> Vec<PathBuf> {
        let folder = self.dumps().join(".heapship/claimed/app");
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries
            .map(|entry| entry.path())
            .filter(|path| !hidden(path))
            .collect()
    }

    /// Waits for a claimed dump and returns where it is.
    #[track_caller]
    pub(super) fn claimed_dump(&self) -> PathBuf {
        until("the dump is claimed", SOON, || {
            self.claimed()
                .into_iter()
                .find(|path| path.extension().is_some_and(|extension| extension != "json"))
        })
    }

    /// The ledger's entries as text.
    pub(super) fn entries(&self) -> Vec<String> {
        let files = self.claimed().into_iter();
        let entries = files.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
        entries.filter_map(|path| fs::read_to_string(path).ok()).collect()
    }

    /// A JVM whose heap of `megabytes` is full soon, and which dumps into the directory.
    pub(super) fn jvm(&self, jdk: &Jdk, megabytes: u32) -> Process {
        Process::spawn(
            jdk.command()
                .args([
                    &format!("-Xmx{megabytes}m"),
                    "-XX:+UseSerialGC",
                    "-XX:+HeapDumpOnOutOfMemoryError",
                ])
                .arg(format!("-XX:HeapDumpPath={}", self.dumps().display()))
                .arg("Leak"),
        )
    }
}

fn hidden(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with('.'))
}

/// A whole dump of a JVM of this major, made once and kept beside the build.
pub(super) fn dump_of(major: u32) -> Option<Arc<Vec<u8>>> {
    static DUMPS: OnceLock<Mutex<HashMap<u32, Arc<Vec<u8>>>>> = OnceLock::new();
    let jdk = jdk(major)?;
    let mut dumps = DUMPS.get_or_init(Mutex::default).lock().unwrap();
    let dump = dumps.entry(major).or_insert_with(|| {
        let scene = Scene::with_folder();
        scene.jvm(jdk, 48).finish(SOON);
        let file = fs::read_dir(scene.dumps())
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path();
        Arc::new(fs::read(file).unwrap())
    });
    Some(Arc::clone(dump))
}

/// A dump of the JVM that every machine with the suite has.
pub(super) fn any_dump() -> Arc<Vec<u8>> {
    dump_of(17).unwrap()
}

pub(super) fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    flate2::read::MultiGzDecoder::new(bytes)
        .read_to_end(&mut plain)
        .unwrap();
    plain
}

pub(super) fn files_below(root: &Path, folder: &Path) -> Vec<String> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            files.extend(files_below(root, &entry.path()));
        } else {
            files.push(
                entry
                    .path()
                    .strip_prefix(root)
                    .unwrap()
                    .to_string_lossy()
                    .into_owned(),
            );
        }
    }
    files
}
