//! A client with one connection, which never repeats a call by itself: what fails is seen.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Bytes;
use axum::http::header::{CONNECTION, CONTENT_TYPE, HOST};
use axum::http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::authority::SERVER_NAME;

/// One connection.
#[derive(Clone)]
pub(crate) struct Caller {
    connection: Connection,
    /// What the server showed.
    pub(crate) certificate: CertificateDer<'static>,
}

#[derive(Clone)]
enum Connection {
    // Calls on one HTTP/1.1 connection are one after the other; the lock is for `Clone` only.
    Http1(Arc<tokio::sync::Mutex<http1::SendRequest<Full<Bytes>>>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

/// One answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn closes(&self) -> bool {
        self.headers.get(CONNECTION).is_some_and(|value| value == "close")
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// A TLS connection without anything on it yet.
pub(crate) async fn handshake(
    address: SocketAddr,
    tls: Arc<ClientConfig>,
) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from(SERVER_NAME).unwrap();
    TlsConnector::from(tls).connect(name, stream).await
}

impl Caller {
    /// Connects; the protocol is what TLS agreed on.
    pub(crate) async fn connect(address: SocketAddr, tls: Arc<ClientConfig>) -> io::Result<Self> {
        let stream = handshake(address, tls).await?;
        let session = stream.get_ref().1;
        let certificate = session.peer_certificates().unwrap()[0].clone().into_owned();
        let is_http2 = session.alpn_protocol() == Some(b"h2");
        let io = TokioIo::new(stream);
        let connection = if is_http2 {
            let (sender, task) = http2::handshake(TokioExecutor::new(), io)
                .await
                .map_err(io::Error::other)?;
            tokio::spawn(task);
            Connection::Http2(sender)
        } else {
            let (sender, task) = http1::handshake(io).await.map_err(io::Error::other)?;
            tokio::spawn(task);
            Connection::Http1(Arc::new(tokio::sync::Mutex::new(sender)))
        };
        Ok(Self {
            connection,
            certificate,
        })
    }

    /// Posts a review of something that may be changed.
    pub(crate) async fn review(&self, body: Bytes) -> hyper::Result<Reply> {
        self.post("/mutate", body).await
    }

    /// Posts a review.
    pub(crate) async fn post(&self, path: &str, body: Bytes) -> hyper::Result<Reply> {
        let request = Request::post(self.uri(path))
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .unwrap();
        self.send(request).await
    }

    /// An absolute URI for HTTP/2, a path for HTTP/1.1.
    pub(crate) fn uri(&self, path: &str) -> String {
        match self.connection {
            Connection::Http1(_) => path.to_owned(),
            Connection::Http2(_) => format!("https://{SERVER_NAME}{path}"),
        }
    }

    pub(crate) async fn send(&self, mut request: Request<Full<Bytes>>) -> hyper::Result<Reply> {
        let response: Response<Incoming> = match &self.connection {
            Connection::Http1(sender) => {
                request.headers_mut().insert(HOST, SERVER_NAME.parse().unwrap());
                let mut sender = sender.lock().await;
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Connection::Http2(sender) => {
                let mut sender = sender.clone();
                sender.ready().await?;
                sender.send_request(request).await?
            }
        };
        let (parts, body) = response.into_parts();
        Ok(Reply {
            status: parts.status,
            headers: parts.headers,
            body: body.collect().await?.to_bytes(),
        })
    }
}
