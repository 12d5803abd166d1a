//! The ways of shipping that are compared.

use std::{
    env,
    fs::{self, File},
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256};

use crate::{
    measure::{Measurement, Run, own_cpu},
    process::Process,
    sink::{self, Sink, Stored},
    workload,
};

const DEADLINE: Duration = Duration::from_mins(15);
/// HotSpot's own member size, and the agent's.
const BLOCK: u64 = 1 << 20;

#[derive(Clone, Copy, Eq, PartialEq)]
pub enum Case {
    /// inotifywait, gzip, aws: what people run.
    Blog,
    /// The agent as it is injected.
    Agent,
    /// The agent with one compressing thread.
    OneThread,
    /// igzip piped to s5cmd: the best that tools give.
    Tools,
    /// Read, compress in memory, send to a socket: no protocol, no TLS, no record.
    Floor,
}

impl Case {
    pub const ALL: [Self; 5] = [Self::Blog, Self::Agent, Self::Tools, Self::OneThread, Self::Floor];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Blog => "blog pipeline",
            Self::Agent => "agent",
            Self::OneThread => "agent, one thread",
            Self::Tools => "igzip | s5cmd",
            Self::Floor => "floor",
        }
    }

    /// Says what is missing where it is not.
    pub fn is_possible(self) -> bool {
        let programs: &[&str] = match self {
            Self::Blog => &["inotifywait", "gzip", "aws"],
            Self::Tools => &["igzip", "s5cmd"],
            Self::Agent | Self::OneThread | Self::Floor => &[],
        };
        let missing: Vec<&str> = programs
            .iter()
            .copied()
            .filter(|program| !on_path(program))
            .collect();
        if !missing.is_empty() {
            eprintln!("NOT RUN: {}, for want of {}", self.name(), missing.join(" and "));
        }
        missing.is_empty()
    }

    pub fn run(self, dump: &Path, agent: &Path, sink: &Sink, scratch: &Path) -> Run {
        let folder = tempfile::tempdir_in(scratch).unwrap();
        let dumps = folder.path().join("dumps");
        fs::create_dir(&dumps).unwrap();
        let place = Place {
            dump,
            dumps: &dumps,
            folder: folder.path(),
            sink,
        };
        match self {
            Self::Blog => place.blog(),
            Self::Agent => place.agent(agent, &[]),
            Self::OneThread => place.agent(agent, &["--threads", "1"]),
            Self::Tools => place.tools(),
            Self::Floor => floor(dump, folder.path()),
        }
    }
}

struct Place<'a> {
    dump: &'a Path,
    dumps: &'a Path,
    folder: &'a Path,
    sink: &'a Sink,
}

impl Place<'_> {
    fn blog(&self) -> Run {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/blog-pipeline.sh");
        let measurement = Measurement::begin(self.folder, self.dump);
        let mut command = Command::new(script);
        command.arg(self.dumps).args(["s3://bench/run", "--once"]);
        let process = Process::spawn(self.with_credentials(&mut command));
        process.line("watching", DEADLINE);
        let file = self.link();
        let closed = Instant::now();
        // The link raises no event of its own; closing it after a write of nothing does.
        drop(File::options().append(true).open(file).unwrap());
        self.finish(measurement, process, closed)
    }

    fn agent(&self, agent: &Path, arguments: &[&str]) -> Run {
        self.link();
        let measurement = Measurement::begin(self.folder, self.dump);
        let begun = Instant::now();
        let mut command = Command::new(agent);
        command.arg("ship").arg("--dumps").arg(self.dumps).args([
            "--destination",
            "s3://bench/run",
            "--once",
        ]);
        command
            .args([
                "--store-endpoint",
                &self.sink.endpoint,
                "--store-region",
                "us-east-1",
            ])
            .args(arguments);
        match &self.sink.ca {
            Some(ca) => command.arg("--store-ca").arg(ca),
            None => command.arg("--store-allow-http"),
        };
        let process = Process::spawn(self.with_credentials(&mut command));
        let run = self.finish(measurement, process, begun);
        assert!(
            !self.dumps.join("orders.hprof").exists(),
            "the agent left the dump where it was"
        );
        run
    }

    fn tools(&self) -> Run {
        let measurement = Measurement::begin(self.folder, self.dump);
        let begun = Instant::now();
        let mut command = Command::new("bash");
        command.args([
            "-o",
            "pipefail",
            "-c",
            "igzip -1 -c \"$0\" | s5cmd pipe s3://bench/run/orders.hprof.gz",
        ]);
        command.arg(self.dump);
        let process = Process::spawn(self.with_credentials(&mut command));
        self.finish(measurement, process, begun)
    }

    /// From `begun` to the last object's completion, which for the agent is the record's.
    fn finish(&self, measurement: Measurement, process: Process, begun: Instant) -> Run {
        let finished = process.finish(DEADLINE);
        assert!(
            finished.status.success(),
            "{}: {}",
            finished.status,
            finished.lines.join("\n")
        );
        let Stored { objects, last, open } = self.sink.take();
        let run = measurement.end(last.expect("an object arrived") - begun);
        assert_eq!(open, 0, "uploads were left open");

        let is_record = |key: &str| {
            Path::new(key)
                .extension()
                .is_some_and(|extension| extension == "json")
        };
        let (_, object) = objects
            .iter()
            .find(|(key, _)| !is_record(key))
            .expect("the dump arrived");
        workload::verify(self.dump, object, true);
        if let Some((_, record)) = objects.iter().find(|(key, _)| is_record(key)) {
            let mut digest = Sha256::new();
            for piece in object {
                digest.update(piece);
            }
            let digest = hex::encode(digest.finalize());
            assert!(
                String::from_utf8_lossy(&record.concat()).contains(&digest),
                "the record has another sha256"
            );
        }
        Run {
            object: sink::length(object),
            ..run
        }
    }

    /// Another name for the dump: a copy would be written back to disk while the case runs.
    fn link(&self) -> PathBuf {
        let file = self.dumps.join("orders.hprof");
        fs::hard_link(self.dump, &file).unwrap();
        file
    }

    fn with_credentials<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        if let Some(ca) = &self.sink.ca {
            command.env("AWS_CA_BUNDLE", ca);
        }
        command
            .env("AWS_ACCESS_KEY_ID", "bench")
            .env("AWS_SECRET_ACCESS_KEY", "not-a-secret")
            .env("AWS_DEFAULT_REGION", "us-east-1")
            .env("AWS_ENDPOINT_URL", &self.sink.endpoint)
            .env("S3_ENDPOINT_URL", &self.sink.endpoint)
            .env("TMPDIR", self.folder)
            .env("PATH", path_with_tools())
    }
}

/// All cores read, compress and write to a socket whose other end is read and forgotten.
fn floor(dump: &Path, folder: &Path) -> Run {
    let threads = thread::available_parallelism().unwrap().get();
    let file = File::open(dump).unwrap();
    let size = file.metadata().unwrap().len();
    let next = AtomicU64::new(0);
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();

    let measurement = Measurement::begin(folder, dump);
    let (begun, cpu) = (Instant::now(), own_cpu());
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let (mut stream, _) = listener.accept().unwrap();
                let mut buffer = vec![0; 1 << 18];
                while stream.read(&mut buffer).unwrap() > 0 {}
            });
            scope.spawn(|| {
                let mut stream = TcpStream::connect(address).unwrap();
                let mut deflate = Deflate::default();
                let mut block = vec![0; usize::try_from(BLOCK).unwrap()];
                loop {
                    let at = next.fetch_add(BLOCK, Ordering::Relaxed);
                    let Some(length) = size.checked_sub(at).filter(|left| *left > 0) else {
                        break;
                    };
                    let block = &mut block[..usize::try_from(length.min(BLOCK)).unwrap()];
                    file.read_exact_at(block, at).unwrap();
                    stream.write_all(deflate.compress(block)).unwrap();
                }
            });
        }
    });
    let wall = begun.elapsed();
    let cpu = own_cpu().saturating_sub(cpu);
    Run {
        cpu,
        memory: 0,
        ..measurement.end(wall)
    }
}

/// The codec that the agent was built with, without what the agent puts around it.
#[derive(Default)]
struct Deflate {
    out: Vec<u8>,
}

impl Deflate {
    #[cfg(all(feature = "isal", target_arch = "x86_64"))]
    fn compress(&mut self, block: &[u8]) -> &[u8] {
        self.out.resize(block.len() * 2 + 1024, 0);
        let level = isal::CompressionLevel::One;
        let length = isal::compress_into(block, &mut self.out, level, isal::Codec::Deflate).unwrap();
        &self.out[..length]
    }

    #[cfg(not(all(feature = "isal", target_arch = "x86_64")))]
    fn compress(&mut self, block: &[u8]) -> &[u8] {
        let mut inner = libdeflater::Compressor::new(libdeflater::CompressionLvl::fastest());
        self.out.resize(inner.deflate_compress_bound(block.len()), 0);
        let length = inner.deflate_compress(block, &mut self.out).unwrap();
        &self.out[..length]
    }
}

fn on_path(program: &str) -> bool {
    env::split_paths(&path_with_tools()).any(|folder| folder.join(program).is_file())
}

/// What set-up fetched is found after what the machine has.
fn path_with_tools() -> std::ffi::OsString {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools");
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain([tools.join("bin"), tools.join("python/bin")]);
    env::join_paths(folders).unwrap()
}
