//! A store that is never the limit: S3's requests on loopback, objects in memory, nothing checked.

use std::{
    collections::{BTreeMap, HashMap},
    net::TcpListener,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Instant,
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use axum_server::tls_rustls::RustlsConfig;
use bytes::Bytes;
use futures_util::TryStreamExt;

use crate::certificate::Certificate;

/// An object or a part, in the pieces in which it came.
type Pieces = Vec<Bytes>;

pub struct Sink {
    pub endpoint: String,
    /// PEM file of the CA, with TLS.
    pub ca: Option<PathBuf>,
    contents: Arc<Mutex<Contents>>,
    _runtime: tokio::runtime::Runtime,
}

#[derive(Default)]
struct Contents {
    objects: HashMap<String, Pieces>,
    uploads: HashMap<String, BTreeMap<u32, Pieces>>,
    begun: u32,
    last: Option<Instant>,
}

/// What one run left.
pub struct Stored {
    pub objects: HashMap<String, Pieces>,
    /// When the last of them was complete.
    pub last: Option<Instant>,
    /// Uploads that nobody completed or aborted.
    pub open: usize,
}

impl Sink {
    pub fn start(tls: bool, folder: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let contents = Arc::new(Mutex::new(Contents::default()));
        let router = Router::new()
            .fallback(answer)
            .with_state(contents.clone())
            .into_make_service();

        if !tls {
            let _guard = runtime.enter();
            let server = axum_server::from_tcp(listener).unwrap();
            runtime.spawn(async move { server.serve(router).await.unwrap() });
            return Self {
                endpoint: format!("http://127.0.0.1:{port}"),
                ca: None,
                contents,
                _runtime: runtime,
            };
        }
        rustls::crypto::aws_lc_rs::default_provider()
            .install_default()
            .unwrap();
        let certificate = Certificate::for_loopback(folder);
        let ca = folder.join("ca.pem");
        std::fs::write(&ca, &certificate.ca_pem).unwrap();
        let config = runtime
            .block_on(RustlsConfig::from_pem_file(
                certificate.chain_file,
                certificate.key_file,
            ))
            .unwrap();
        let _guard = runtime.enter();
        let server = axum_server::from_tcp_rustls(listener, config).unwrap();
        runtime.spawn(async move { server.serve(router).await.unwrap() });
        Self {
            endpoint: format!("https://127.0.0.1:{port}"),
            ca: Some(ca),
            contents,
            _runtime: runtime,
        }
    }

    /// Empties it.
    pub fn take(&self) -> Stored {
        let Contents {
            objects,
            uploads,
            begun: _,
            last,
        } = std::mem::take(&mut *self.contents.lock().unwrap());
        Stored {
            objects,
            last,
            open: uploads.len(),
        }
    }
}

async fn answer(State(contents): State<Arc<Mutex<Contents>>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let key = head.uri.path().trim_start_matches('/').to_owned();
    let query = Query::of(&head.uri);
    match (&head.method, query) {
        (&Method::POST, Query::Begin) => {
            let mut contents = contents.lock().unwrap();
            contents.begun += 1;
            let id = format!("upload-{}", contents.begun);
            contents.uploads.insert(id.clone(), BTreeMap::new());
            xml(
                "InitiateMultipartUploadResult",
                &format!("<Key>{key}</Key><UploadId>{id}</UploadId>"),
            )
        }
        (&Method::PUT, Query::Part { upload, number }) => {
            let pieces = receive(&head.headers, body).await;
            let etag = etag(&pieces);
            match contents.lock().unwrap().uploads.get_mut(&upload) {
                Some(parts) => parts.insert(number, pieces),
                None => return StatusCode::NOT_FOUND.into_response(),
            };
            [(header::ETAG, etag)].into_response()
        }
        (&Method::POST, Query::Upload { upload }) => {
            let mut contents = contents.lock().unwrap();
            let Some(parts) = contents.uploads.remove(&upload) else {
                return StatusCode::NOT_FOUND.into_response();
            };
            let pieces: Pieces = parts.into_values().flatten().collect();
            let etag = etag(&pieces);
            contents.objects.insert(key.clone(), pieces);
            contents.last = Some(Instant::now());
            xml(
                "CompleteMultipartUploadResult",
                &format!("<Key>{key}</Key><ETag>{etag}</ETag>"),
            )
        }
        (&Method::DELETE, Query::Upload { upload }) => {
            contents.lock().unwrap().uploads.remove(&upload);
            StatusCode::NO_CONTENT.into_response()
        }
        (&Method::PUT, Query::Object) => {
            let pieces = receive(&head.headers, body).await;
            let etag = etag(&pieces);
            let mut contents = contents.lock().unwrap();
            contents.objects.insert(key, pieces);
            contents.last = Some(Instant::now());
            [(header::ETAG, etag)].into_response()
        }
        (&Method::HEAD, Query::Object) => match contents.lock().unwrap().objects.get(&key) {
            Some(pieces) => Response::builder()
                .header(header::CONTENT_LENGTH, length(pieces))
                .header(header::ETAG, etag(pieces))
                .header(header::LAST_MODIFIED, "Thu, 01 Jan 2026 00:00:00 GMT")
                .body(Body::empty())
                .unwrap(),
            None => StatusCode::NOT_FOUND.into_response(),
        },
        _ => StatusCode::NOT_IMPLEMENTED.into_response(),
    }
}

enum Query {
    Object,
    Begin,
    Part { upload: String, number: u32 },
    Upload { upload: String },
}

impl Query {
    fn of(uri: &Uri) -> Self {
        let pairs: HashMap<&str, &str> = uri
            .query()
            .unwrap_or_default()
            .split('&')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .collect();
        let upload = pairs.get("uploadId").map(|upload| (*upload).to_owned());
        let number = pairs.get("partNumber").and_then(|number| number.parse().ok());
        match (upload, number) {
            (Some(upload), Some(number)) => Self::Part { upload, number },
            (Some(upload), None) => Self::Upload { upload },
            _ if pairs.contains_key("uploads") => Self::Begin,
            _ => Self::Object,
        }
    }
}

async fn receive(headers: &HeaderMap, body: Body) -> Pieces {
    let pieces: Pieces = body.into_data_stream().try_collect().await.unwrap_or_default();
    let chunked = headers
        .get("x-amz-content-sha256")
        .is_some_and(|digest| digest.as_bytes().starts_with(b"STREAMING-"));
    if chunked {
        unchunk(&pieces.concat())
    } else {
        pieces
    }
}

/// The framing that Amazon's clients put around a body whose checksum comes behind it: `SIZE[;…]\r\n`, bytes, `\r\n`,
/// until a size of 0.
fn unchunk(mut framed: &[u8]) -> Pieces {
    let mut pieces = Pieces::new();
    while let Some(end) = framed.windows(2).position(|pair| pair == b"\r\n") {
        let size = framed[..end]
            .split(|&byte| byte == b';')
            .next()
            .unwrap_or_default();
        let size = std::str::from_utf8(size)
            .ok()
            .and_then(|hex| usize::from_str_radix(hex, 16).ok())
            .unwrap_or(0);
        let begin = end + 2;
        if size == 0 || begin + size > framed.len() {
            break;
        }
        pieces.push(Bytes::copy_from_slice(&framed[begin..begin + size]));
        framed = framed.get(begin + size + 2..).unwrap_or_default();
    }
    pieces
}

pub fn length(pieces: &[Bytes]) -> u64 {
    pieces.iter().map(|piece| piece.len() as u64).sum()
}

fn etag(pieces: &[Bytes]) -> String {
    format!("\"{:x}-{:x}\"", pieces.len(), length(pieces))
}

fn xml(root: &str, content: &str) -> Response {
    let text =
        format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?><{root}><Bucket>bench</Bucket>{content}</{root}>");
    ([(header::CONTENT_TYPE, "application/xml")], text).into_response()
}
