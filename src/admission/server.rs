//! Sockets: accepting, TLS, and an end that no client notices.
//!
//! An own accept loop, because the end needs two things of each connection that ready-made servers do not offer
//! together: to keep listening while every answer says `Connection: close`, and to send GOAWAY while listening.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, Version};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use rustix::io::Errno;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;

use crate::metrics::Held;

/// The API server's own patience with a handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// After an accept that failed for want of descriptors or memory: there is nothing to do but to let some end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Requests at one time on one HTTP/2 connection.
const STREAMS: u32 = 256;
/// How often a draining server looks whether it may go.
const DRAIN_TICK: Duration = Duration::from_millis(50);
/// For answers that are being made when the drain is over; longer than any of them may take.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// What a server lets in, and how it ends.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at one time; further ones wait in the kernel. An API server keeps 25.
    pub connections: usize,
    /// How long a connection may be silent between requests. The API server keeps idle ones for 90 s and must be the
    /// one who closes: a request that crosses our closing on its way is a missed injection.
    pub idle: Duration,
    /// Least time from the shutdown to the end: a node's kube-proxy learns only after a moment that this endpoint is
    /// going, and sends new connections until then.
    pub grace: Duration,
    /// Most time from the shutdown to the end, while clients still come.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            idle: Duration::from_mins(2),
            // Until every node's rules have forgotten us: a call that meets a closed port is a pod that is missed.
            grace: Duration::from_secs(5),
            drain: Duration::from_secs(25),
        }
    }
}

/// Counted by the server, registered by whoever cares.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Open connections.
    pub connections: Gauge,
    /// TLS handshakes that failed.
    pub handshake_failures: Counter,
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Phase {
    Serving,
    /// Every answer sends its client elsewhere.
    Draining,
    /// Idle connections are closed.
    Closing,
}

/// A listening socket with a service behind it.
pub struct Server {
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    router: Router,
    limits: Limits,
    counts: Counts,
}

impl Server {
    /// Binds; `tls` is absent on the health port. Where there is no IPv6, `[::]` means every address of IPv4.
    ///
    /// # Errors
    /// What the system says about the address.
    pub async fn bind(
        address: SocketAddr,
        tls: Option<Arc<rustls::ServerConfig>>,
        router: Router,
        limits: Limits,
        counts: Counts,
    ) -> io::Result<Self> {
        let listener = match TcpListener::bind(address).await {
            Ok(listener) => listener,
            Err(error) => match without_ipv6(address, &error) {
                Some(address) => TcpListener::bind(address).await?,
                None => return Err(error),
            },
        };
        Ok(Self {
            listener,
            tls: tls.map(TlsAcceptor::from),
            router,
            limits,
            counts,
        })
    }

    /// The address in use, with the port that the system chose for port 0.
    ///
    /// # Errors
    /// What the system says.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `shutdown`, then goes on accepting and answering, with each answer asking its client to connect
    /// elsewhere, until the grace is over and nobody comes any more, or the drain is over.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Self {
            listener,
            tls,
            router,
            limits,
            counts,
        } = self;
        let (phase, observed) = watch::channel(Phase::Serving);
        let mut connections = JoinSet::new();
        let mut shutdown = pin!(shutdown);
        let mut ending: Option<Ending> = None;
        loop {
            tokio::select! {
                accepted = listener.accept(), if connections.len() < limits.connections => match accepted {
                    Ok((stream, peer)) => {
                        if let Some(ending) = &mut ending {
                            ending.last_arrival = Instant::now();
                        }
                        let connection = Connection {
                            tls: tls.clone(),
                            router: router.clone(),
                            phase: observed.clone(),
                            counts: counts.clone(),
                            idle: limits.idle,
                        };
                        connections.spawn(connection.serve(stream, peer));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(_) = connections.join_next() => {}
                () = &mut shutdown, if ending.is_none() => {
                    tracing::info!(connections = connections.len(), drain = ?limits.drain, "draining");
                    ending = Some(Ending::new(limits));
                    phase.send_replace(Phase::Draining);
                }
                () = sleep_until(ending.as_ref().map_or_else(Instant::now, Ending::next_look)), if ending.is_some() => {
                    if ending.as_ref().is_some_and(|ending| ending.is_over(connections.len())) {
                        break;
                    }
                }
            }
        }
        drop(listener);
        phase.send_replace(Phase::Closing);
        let finish = async { while connections.join_next().await.is_some() {} };
        if timeout(LAST_ANSWERS, finish).await.is_err() {
            tracing::warn!("connections were cut: their requests did not end");
        }
        tracing::info!("drained");
    }
}

struct Ending {
    earliest: Instant,
    latest: Instant,
    last_arrival: Instant,
}

impl Ending {
    fn new(limits: Limits) -> Self {
        let now = Instant::now();
        Self {
            earliest: now + limits.grace.min(limits.drain),
            latest: now + limits.drain,
            last_arrival: now,
        }
    }

    fn next_look(&self) -> Instant {
        self.earliest.max(Instant::now() + DRAIN_TICK).min(self.latest)
    }

    /// Clients that were sent away come back as long as this endpoint is the one they are led to: an empty moment
    /// between two of them is not the end.
    fn is_over(&self, connections: usize) -> bool {
        let now = Instant::now();
        let quiet =
            now.duration_since(self.last_arrival) >= Duration::from_secs(1).min(self.latest - self.earliest);
        now >= self.latest || (now >= self.earliest && quiet && connections == 0)
    }
}

struct Connection {
    tls: Option<TlsAcceptor>,
    router: Router,
    phase: watch::Receiver<Phase>,
    counts: Counts,
    idle: Duration,
}

impl Connection {
    async fn serve(self, stream: TcpStream, peer: SocketAddr) {
        let _held = Held::new(&self.counts.connections);
        // Without it an answer on a busy HTTP/2 connection waits 40 ms for the client's delayed acknowledgement.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, %peer, "cannot set TCP_NODELAY");
        }
        let Some(acceptor) = self.tls.clone() else {
            self.serve_http1(stream, peer).await;
            return;
        };
        let stream = match timeout(HANDSHAKE, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return self.handshake_failed(peer, &error),
            Err(_) => return self.handshake_failed(peer, &"it took too long"),
        };
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            self.serve_http2(stream, peer).await;
        } else {
            self.serve_http1(stream, peer).await;
        }
    }

    fn handshake_failed(&self, peer: SocketAddr, error: &dyn std::fmt::Display) {
        self.counts.handshake_failures.inc();
        tracing::debug!(%error, %peer, "the TLS handshake failed");
    }

    async fn serve_http1<S: AsyncRead + AsyncWrite + Unpin + 'static>(self, stream: S, peer: SocketAddr) {
        let router = TowerToHyperService::new(self.router);
        let phase = self.phase.clone();
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let version = request.version();
            let answer = router.call(request);
            let phase = phase.clone();
            async move {
                let mut response = answer.await?;
                if *phase.borrow() >= Phase::Draining && version == Version::HTTP_11 {
                    response
                        .headers_mut()
                        .insert(CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, std::convert::Infallible>(response)
            }
        });
        let mut connection = pin!(
            http1::Builder::new()
                .timer(TokioTimer::new())
                // hyper counts the silence before a request's first byte as well; its default of 30 s would make us
                // close connections that the API server believes in.
                .header_read_timeout(self.idle)
                .serve_connection(TokioIo::new(stream), service)
        );
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = reached(self.phase, Phase::Closing) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, %peer, "a connection broke");
        }
    }

    async fn serve_http2<S: AsyncRead + AsyncWrite + Unpin + 'static>(self, stream: S, peer: SocketAddr) {
        let router = TowerToHyperService::new(self.router);
        let last_request = Arc::new(Mutex::new(Instant::now()));
        let seen = Arc::clone(&last_request);
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            *seen.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
            router.call(request)
        });
        let mut connection = pin!(
            http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .max_concurrent_streams(STREAMS)
                .keep_alive_interval(self.idle)
                .serve_connection(TokioIo::new(stream), service)
        );
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = reached(self.phase, Phase::Draining) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
            // hyper has no such limit for HTTP/2, and one that never sends its preface would stay for ever.
            () = silent_for(self.idle, last_request) => {
                connection.as_mut().graceful_shutdown();
                timeout(LAST_ANSWERS, connection).await.unwrap_or(Ok(()))
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, %peer, "a connection broke");
        }
    }
}

async fn silent_for(idle: Duration, last_request: Arc<Mutex<Instant>>) {
    loop {
        let last = *last_request.lock().unwrap_or_else(PoisonError::into_inner);
        if last.elapsed() >= idle {
            return;
        }
        sleep_until(last + idle).await;
    }
}

async fn reached(mut phase: watch::Receiver<Phase>, wanted: Phase) {
    // The sender outlives every connection; were it gone, there would be nothing to wait for either.
    drop(phase.wait_for(|phase| *phase >= wanted).await);
}

/// Where to listen instead, when every address was asked for and the machine has none of IPv6.
fn without_ipv6(address: SocketAddr, error: &io::Error) -> Option<SocketAddr> {
    let absent = error.kind() == io::ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(Errno::AFNOSUPPORT.raw_os_error());
    (absent && address.ip() == Ipv6Addr::UNSPECIFIED)
        .then(|| SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_means_those_of_ipv4_where_there_is_no_ipv6() {
        let instead = |address: &str, errno: Errno| without_ipv6(address.parse().unwrap(), &errno.into());
        let ipv4 = "0.0.0.0:8443".parse().ok();
        // The module is not loaded; it is loaded and disabled.
        for errno in [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL] {
            assert_eq!(instead("[::]:8443", errno), ipv4);
            assert_eq!(instead("[::1]:8443", errno), None);
            assert_eq!(instead("192.0.2.1:8443", errno), None);
        }
        assert_eq!(instead("[::]:8443", Errno::ADDRINUSE), None);
    }
}
