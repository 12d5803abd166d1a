//! Load: one blocking thread for each HTTP/1.1 connection. An asynchronous client's timers count milliseconds, which
//! is more than an answer takes.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::authority::SERVER_NAME;
use super::caller::Caller;
use super::target::Target;

/// What one run of one case gave.
pub(crate) struct Run {
    /// Seconds, sorted.
    latencies: Vec<f64>,
    wall: Duration,
    /// Seconds of the server's CPU.
    pub(crate) cpu_per_request: f64,
}

impl Run {
    /// Seconds.
    pub(crate) fn quantile(&self, quantile: f64) -> f64 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index below the length"
        )]
        let index = (self.latencies.len() as f64 * quantile) as usize;
        self.latencies[index.min(self.latencies.len() - 1)]
    }

    pub(crate) fn requests_per_second(&self) -> f64 {
        self.count() / self.wall.as_secs_f64()
    }

    fn count(&self) -> f64 {
        f64::from(u32::try_from(self.latencies.len()).unwrap())
    }
}

/// The generator of HTTP/1.1.
pub(crate) struct Load<'a> {
    pub(crate) target: &'a Target,
    pub(crate) tls: Arc<ClientConfig>,
}

impl Load<'_> {
    /// Each connection sends as soon as it has its answer.
    pub(crate) fn closed(&self, connections: usize, path: &str, body: &Bytes, during: Duration) -> Run {
        let request = request(path, body);
        self.measure(connections, |mut connection, _| {
            let end = Instant::now() + during;
            let mut latencies = Vec::new();
            while Instant::now() < end {
                let began = Instant::now();
                connection.call(&request);
                latencies.push(began.elapsed().as_secs_f64());
            }
            latencies
        })
    }

    /// Requests begin when the clock says so, and latencies count from then: a late start, be it the fault of the
    /// answer before or of the generator, is part of them.
    pub(crate) fn open(
        &self,
        connections: usize,
        path: &str,
        body: &Bytes,
        rate: u32,
        during: Duration,
    ) -> Run {
        let request = request(path, body);
        let interval = Duration::from_secs(1) / rate;
        let each = u32::try_from(connections).unwrap();
        self.measure(connections, |mut connection, index| {
            let start = Instant::now() + interval * u32::try_from(index).unwrap();
            let mut latencies = Vec::new();
            for turn in 0.. {
                let offset = interval * each * turn;
                if offset >= during {
                    break;
                }
                let planned = start + offset;
                thread::sleep(planned.saturating_duration_since(Instant::now()));
                connection.call(&request);
                latencies.push(planned.elapsed().as_secs_f64());
            }
            latencies
        })
    }

    /// A connection for each request; the latency is that of both.
    pub(crate) fn fresh_connections(
        &self,
        threads: usize,
        path: &str,
        body: &Bytes,
        during: Duration,
    ) -> Run {
        let request = request(path, body);
        self.measure(threads, |_, _| {
            let end = Instant::now() + during;
            let mut latencies = Vec::new();
            while Instant::now() < end {
                let began = Instant::now();
                Connection::open(self.target, &self.tls).call(&request);
                latencies.push(began.elapsed().as_secs_f64());
            }
            latencies
        })
    }

    /// Streams of one HTTP/2 connection, each of which sends as soon as it has its answer.
    pub(crate) fn http2(
        &self,
        tls: Arc<ClientConfig>,
        streams: usize,
        path: &str,
        body: &Bytes,
        during: Duration,
    ) -> Run {
        assert_eq!(path, "/mutate");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let watch = self.target.watch();
        let latencies = runtime.block_on(async {
            let caller = Caller::connect(self.target.address, tls).await.unwrap();
            let end = Instant::now() + during;
            let streams: Vec<_> = (0..streams)
                .map(|_| {
                    let (caller, body) = (caller.clone(), body.clone());
                    tokio::spawn(async move {
                        let mut latencies = Vec::new();
                        while Instant::now() < end {
                            let began = Instant::now();
                            assert!(caller.review(body.clone()).await.unwrap().status.is_success());
                            latencies.push(began.elapsed().as_secs_f64());
                        }
                        latencies
                    })
                })
                .collect();
            let mut latencies = Vec::new();
            for stream in streams {
                latencies.extend(stream.await.unwrap());
            }
            latencies
        });
        self.finish(latencies, watch)
    }

    /// One request; tells the length of its answer.
    pub(crate) fn once(&self, path: &str, body: &Bytes) -> usize {
        Connection::open(self.target, &self.tls).call(&request(path, body))
    }

    fn measure(&self, connections: usize, work: impl Fn(Connection, usize) -> Vec<f64> + Sync) -> Run {
        let connections: Vec<Connection> = (0..connections)
            .map(|_| Connection::open(self.target, &self.tls))
            .collect();
        let watch = self.target.watch();
        let latencies = thread::scope(|scope| {
            let work = &work;
            let threads: Vec<_> = connections
                .into_iter()
                .enumerate()
                .map(|(index, connection)| scope.spawn(move || work(connection, index)))
                .collect();
            threads
                .into_iter()
                .flat_map(|thread| thread.join().unwrap())
                .collect()
        });
        self.finish(latencies, watch)
    }

    fn finish(&self, mut latencies: Vec<f64>, watch: super::usage::Watch) -> Run {
        let used = self.target.stop(watch);
        latencies.sort_by(f64::total_cmp);
        let mut run = Run {
            latencies,
            wall: used.wall,
            cpu_per_request: 0.0,
        };
        run.cpu_per_request = used.server / run.count();
        run
    }
}

fn request(path: &str, body: &Bytes) -> Vec<u8> {
    let mut request = format!(
        "POST {path}?timeout=2s HTTP/1.1\r\nhost: {SERVER_NAME}:443\r\nuser-agent: kube-apiserver-admission\r\n\
         content-length: {}\r\naccept: application/json, */*\r\ncontent-type: application/json\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}

struct Connection {
    stream: BufReader<StreamOwned<ClientConnection, TcpStream>>,
    answer: Vec<u8>,
}

impl Connection {
    fn open(target: &Target, tls: &Arc<ClientConfig>) -> Self {
        let stream = TcpStream::connect(target.address).unwrap();
        stream.set_nodelay(true).unwrap();
        let name = ServerName::try_from(SERVER_NAME).unwrap();
        let session = ClientConnection::new(Arc::clone(tls), name).unwrap();
        let mut stream = StreamOwned::new(session, stream);
        stream.flush().unwrap();
        Self {
            stream: BufReader::new(stream),
            answer: Vec::new(),
        }
    }

    /// Sends and reads one whole answer; tells the length of its body.
    fn call(&mut self, request: &[u8]) -> usize {
        self.stream.get_mut().write_all(request).unwrap();
        self.stream.get_mut().flush().unwrap();
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        assert!(line.starts_with("HTTP/1.1 200"), "{line}");
        let mut length = 0;
        loop {
            line.clear();
            self.stream.read_line(&mut line).unwrap();
            if line == "\r\n" {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.trim().parse().unwrap();
            }
        }
        self.answer.resize(length, 0);
        self.stream.read_exact(&mut self.answer).unwrap();
        length
    }
}
