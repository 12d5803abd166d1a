//! The admission port and the health port, over real sockets and real TLS.

pub(crate) mod authority;
pub(crate) mod caller;
pub(crate) mod fixture;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{Method, Request, StatusCode};
use heapship::admission::namespaces::{Known, Namespaces};
use heapship::admission::{http, server};
use heapship::inject::Namespace;
use http_body_util::Full;
use kube::core::DynamicObject;
use kube::core::admission::AdmissionReview;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use self::caller::{Caller, handshake};
use self::fixture::{Options, Process, Webhook, asking, other, pod, review, until, write};

const ONE_SECOND: Duration = Duration::from_secs(1);

/// Reads an answer with kube's type. Two things of it differ from the API server's own: it wants a `status`, which
/// counts only in denials, and holds the patch as a list of numbers where the API server takes base64.
fn response(body: &[u8]) -> (AdmissionReview<DynamicObject>, Option<Value>) {
    let mut answer: Value = serde_json::from_slice(body).unwrap();
    let response = answer["response"].as_object_mut().unwrap();
    let patch = response.remove("patch");
    response.insert("status".to_owned(), json!({}));
    (serde_json::from_value(answer).unwrap(), patch)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_review_is_answered_over_http_1_and_http_2() {
    let webhook = Webhook::start(Options::default()).await;
    for tls in [webhook.authority.http1(), webhook.authority.http2()] {
        let caller = Caller::connect(webhook.address, tls).await.unwrap();
        for uid in ["one", "two \"quoted\""] {
            let reply = caller.review(review(uid, &other(8192))).await.unwrap();
            assert_eq!(reply.status, StatusCode::OK);
            assert_eq!(reply.headers[CONTENT_TYPE], "application/json");
            assert!(!reply.closes());
            let (answer, patch) = response(&reply.body);
            let answer = answer.response.unwrap();
            assert_eq!((answer.uid.as_str(), answer.allowed, patch), (uid, true, None));
        }
    }
    assert_eq!(
        webhook.sample("heapship_webhook_requests_total{decision=\"not-asked\",reason=\"\"}"),
        4
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_review_gets_its_status_and_one_sentence() {
    let webhook = Webhook::start(Options::default()).await;
    let whole = review("u", &asking(512));
    let half = whole.slice(..whole.len() / 2);
    let old = Bytes::from(
        String::from_utf8(whole.to_vec())
            .unwrap()
            .replace("k8s.io/v1\"", "k8s.io/v1beta1\""),
    );
    let large = Bytes::from(vec![b' '; (8 << 20) + 1]);
    let json = "application/json";
    let cases = [
        (
            Method::GET,
            "/mutate",
            json,
            Bytes::new(),
            405,
            "send reviews by POST",
        ),
        (
            Method::PUT,
            "/mutate",
            json,
            whole.clone(),
            405,
            "PUT is not for /mutate",
        ),
        (
            Method::POST,
            "/",
            json,
            whole.clone(),
            404,
            "reviews go to /mutate",
        ),
        (
            Method::GET,
            "/healthz",
            json,
            Bytes::new(),
            404,
            "nothing at /healthz",
        ),
        (
            Method::POST,
            "/mutate",
            "text/yaml",
            whole.clone(),
            415,
            "not text/yaml",
        ),
        (
            Method::POST,
            "/mutate",
            "",
            whole.clone(),
            415,
            "application/json",
        ),
        (
            Method::POST,
            "/mutate",
            json,
            large,
            413,
            "more than 8388608 bytes",
        ),
        (
            Method::POST,
            "/mutate",
            json,
            half,
            400,
            "cannot read the body as JSON: EOF",
        ),
        (
            Method::POST,
            "/mutate",
            json,
            Bytes::new(),
            400,
            "cannot read the body as JSON: EOF",
        ),
        (
            Method::POST,
            "/mutate",
            json,
            old,
            400,
            "apiVersion \"admission.k8s.io/v1beta1\"",
        ),
        (
            Method::POST,
            "/mutate",
            json,
            Bytes::from_static(b"{}"),
            400,
            "only kind AdmissionReview",
        ),
    ];
    for tls in [webhook.authority.http1(), webhook.authority.http2()] {
        for (method, path, content_type, body, status, sentence) in cases.clone() {
            let caller = Caller::connect(webhook.address, Arc::clone(&tls)).await.unwrap();
            let request = Request::builder()
                .method(&method)
                .uri(caller.uri(path))
                .header(CONTENT_TYPE, content_type)
                .body(Full::new(body))
                .unwrap();
            let reply = caller.send(request).await.unwrap();
            let text = reply.text();
            assert_eq!(reply.status, status, "{method} {path}: {text}");
            assert!(
                text.contains(sentence) && text.lines().count() == 1,
                "{method} {path}: {text}"
            );
            assert!(!reply.headers.contains_key(RETRY_AFTER));
            assert_eq!(reply.headers.contains_key(ALLOW), status == 405);
        }
    }
    assert_eq!(
        webhook.sample("heapship_webhook_requests_total{decision=\"refused\",reason=\"too-large\"}"),
        2
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_content_type_may_carry_parameters() {
    let webhook = Webhook::start(Options::default()).await;
    let caller = Caller::connect(webhook.address, webhook.authority.http1())
        .await
        .unwrap();
    let request = Request::post("/mutate?timeout=2s")
        .header(CONTENT_TYPE, "Application/JSON; charset=utf-8")
        .body(Full::new(review("u", &other(512))))
        .unwrap();
    assert_eq!(caller.send(request).await.unwrap().status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_review_that_cannot_be_understood_is_admitted_with_a_warning() {
    let webhook = Webhook::start(Options::default()).await;
    let caller = Caller::connect(webhook.address, webhook.authority.http1())
        .await
        .unwrap();
    let body = json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": { "uid": "u", "operation": ["CREATE"] } });
    let reply = caller
        .review(serde_json::to_vec(&body).unwrap().into())
        .await
        .unwrap();
    let answer = response(&reply.body).0.response.unwrap();
    assert!(answer.allowed);
    assert!(answer.warnings.unwrap()[0].contains("cannot understand the review"));
    assert_eq!(answer.audit_annotations["decision"], "failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_reviews_at_once_are_all_answered() {
    let webhook = Webhook::start(Options::default()).await;
    let mut callers = Vec::new();
    for _ in 0..25 {
        callers.push(
            Caller::connect(webhook.address, webhook.authority.http1())
                .await
                .unwrap(),
        );
    }
    callers.push(
        Caller::connect(webhook.address, webhook.authority.http2())
            .await
            .unwrap(),
    );
    let calls: Vec<_> = (0..500)
        .map(|index| {
            let caller = callers[index % callers.len()].clone();
            tokio::spawn(async move {
                let uid = format!("uid-{index}");
                let pod = if index % 2 == 0 {
                    asking(8192)
                } else {
                    other(100_000)
                };
                let reply = caller.review(review(&uid, &pod)).await.unwrap();
                let answer = response(&reply.body).0.response.unwrap();
                assert_eq!((answer.uid, answer.allowed), (uid, true));
            })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
    assert_eq!(
        webhook.sample("heapship_webhook_request_duration_seconds_count"),
        500
    );
    assert_eq!(webhook.sample("heapship_webhook_requests_in_flight"), 0);
    assert_eq!(webhook.sample("heapship_webhook_connections"), 26);
}

/// Fails as only a bug can.
struct Broken;

impl Namespaces for Broken {
    fn find(&self, name: &str) -> Arc<Namespace> {
        panic!("no namespace {name}")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_admits_the_pod_and_the_connection_serves_on() {
    let webhook = Webhook::start(Options {
        namespaces: Arc::new(Broken),
        ..Options::default()
    })
    .await;
    let caller = Caller::connect(webhook.address, webhook.authority.http1())
        .await
        .unwrap();
    for pod in [asking(512), asking(200_000)] {
        let reply = caller.review(review("u", &pod)).await.unwrap();
        let answer = response(&reply.body).0.response.unwrap();
        assert!(answer.allowed);
        assert_eq!(answer.audit_annotations["reason"], "internal-error");
    }
    assert_eq!(
        webhook.sample("heapship_webhook_requests_total{decision=\"failed\",reason=\"internal-error\"}"),
        2
    );
}

/// Holds every review until it is opened.
#[derive(Default)]
struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
    waiting: AtomicUsize,
}

impl Namespaces for Gate {
    fn find(&self, name: &str) -> Arc<Namespace> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let bound = Duration::from_secs(10);
        drop(
            self.opened
                .wait_timeout_while(self.open.lock().unwrap(), bound, |open| !*open),
        );
        Known::default().find(name)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_review_whose_turn_does_not_come_is_admitted_in_time() {
    let gate = Arc::new(Gate::default());
    let webhook = Webhook::start(Options {
        namespaces: Arc::clone(&gate) as Arc<dyn Namespaces>,
        http: http::Limits {
            turns: 1,
            patience: Duration::from_millis(100),
            ..http::Limits::default()
        },
        ..Options::default()
    })
    .await;
    let tls = webhook.authority.http1();
    let slow = Caller::connect(webhook.address, Arc::clone(&tls)).await.unwrap();
    // Large, so that it is worked on beside the threads that serve connections.
    let slow = tokio::spawn(async move { slow.review(review("slow", &asking(100_000))).await });
    until("the slow review is being worked on", async || {
        (gate.waiting.load(Ordering::SeqCst) == 1).then_some(())
    })
    .await;

    let caller = Caller::connect(webhook.address, tls).await.unwrap();
    let reply = caller.review(review("late", &asking(512))).await.unwrap();
    let answer = response(&reply.body).0.response.unwrap();
    assert_eq!((answer.uid.as_str(), answer.allowed), ("late", true));
    assert!(answer.warnings.unwrap()[0].contains("overloaded"));
    let reply = caller.review(Bytes::from_static(b"{\"half\":")).await.unwrap();
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(!reply.headers.contains_key(RETRY_AFTER));

    *gate.open.lock().unwrap() = true;
    gate.opened.notify_all();
    let answer = response(&slow.await.unwrap().unwrap().body).0.response.unwrap();
    assert_eq!((answer.uid.as_str(), answer.allowed), ("slow", true));
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_for_bodies_is_bounded_and_given_back() {
    let webhook = Webhook::start(Options {
        http: http::Limits {
            bodies: 64 << 10,
            patience: Duration::from_millis(100),
            ..http::Limits::default()
        },
        ..Options::default()
    })
    .await;
    let tls = webhook.authority.http1();
    let mut stalled = handshake(webhook.address, Arc::clone(&tls)).await.unwrap();
    let head = "POST /mutate HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 60000\r\n\r\n{";
    stalled.write_all(head.as_bytes()).await.unwrap();
    until("the stalled body has its memory", async || {
        (webhook.sample("heapship_webhook_requests_in_flight") == 1).then_some(())
    })
    .await;
    // Its time ends before that of a second one, which then has the memory.
    let caller = Caller::connect(webhook.address, tls).await.unwrap();
    let mut answer = [0; 12];
    stalled.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408");
    let reply = caller.review(review("u", &other(32 << 10))).await.unwrap();
    assert_eq!(reply.status, StatusCode::OK);
    let reply = caller.review(review("u", &other(128 << 10))).await.unwrap();
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_in_the_middle_leaves_nothing_behind() {
    let webhook = Webhook::start(Options::default()).await;
    let mut stream = handshake(webhook.address, webhook.authority.http1())
        .await
        .unwrap();
    let head =
        "POST /mutate HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 9000\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    until("the request has arrived", async || {
        (webhook.sample("heapship_webhook_requests_in_flight") == 1).then_some(())
    })
    .await;
    drop(stream);
    until("the request is forgotten", async || {
        (webhook.sample("heapship_webhook_requests_in_flight") == 0
            && webhook.sample("heapship_webhook_connections") == 0)
            .then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_connection_outlives_the_api_servers_own_patience() {
    assert!(server::Limits::default().idle > Duration::from_secs(90));
    let webhook = Webhook::start(Options {
        server: server::Limits {
            idle: Duration::from_millis(300),
            ..server::Limits::default()
        },
        ..Options::default()
    })
    .await;
    let mut stream = handshake(webhook.address, webhook.authority.http1())
        .await
        .unwrap();
    let silent_since = tokio::time::Instant::now();
    // hyper ends a silent connection without TLS's goodbye, which is an error to this reader.
    assert!(matches!(stream.read(&mut [0; 1]).await, Ok(0) | Err(_)));
    assert!(
        silent_since.elapsed() >= Duration::from_millis(290),
        "{:?}",
        silent_since.elapsed()
    );
}

/// Posts reviews one after the other until told to stop, connecting anew only when an answer asked for it.
async fn keep_calling(
    address: std::net::SocketAddr,
    tls: Arc<rustls::ClientConfig>,
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    sent_away: Arc<AtomicUsize>,
) -> Result<(), String> {
    let body = review("u", &other(8192));
    let mut caller = Caller::connect(address, Arc::clone(&tls))
        .await
        .map_err(|error| error.to_string())?;
    while !stop.load(Ordering::SeqCst) {
        let reply = caller
            .review(body.clone())
            .await
            .map_err(|error| format!("{error:?}"))?;
        assert_eq!(reply.status, StatusCode::OK);
        answered.fetch_add(1, Ordering::SeqCst);
        if reply.closes() {
            sent_away.fetch_add(1, Ordering::SeqCst);
            caller = Caller::connect(address, Arc::clone(&tls))
                .await
                .map_err(|error| error.to_string())?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_busy_clients_do_not_notice_a_sigterm() {
    let authority = authority::Authority::new();
    let directory = tempfile::TempDir::new().unwrap();
    let files = write(directory.path(), &authority.until(2100));
    let mut process = Process::start(&files, &[]).await;
    let stop = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicUsize::new(0));
    let sent_away = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..16)
        .map(|_| {
            tokio::spawn(keep_calling(
                process.address,
                authority.http1(),
                Arc::clone(&stop),
                Arc::clone(&answered),
                Arc::clone(&sent_away),
            ))
        })
        .collect();
    until("all clients are busy", async || {
        (answered.load(Ordering::SeqCst) > 160).then_some(())
    })
    .await;
    process.terminate();
    until("every client was sent away", async || {
        (sent_away.load(Ordering::SeqCst) >= 64).then_some(())
    })
    .await;
    let readiness = plain_get(process.health, "/readyz").await;
    assert!(readiness.starts_with("HTTP/1.1 200"), "{readiness}");
    stop.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.unwrap().unwrap();
    }
    let status = tokio::time::timeout(Duration::from_secs(20), process.child.wait())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(status.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_2_client_is_told_to_go_and_its_calls_are_answered() {
    let mut webhook = Webhook::start(Options::default()).await;
    let caller = Caller::connect(webhook.address, webhook.authority.http2())
        .await
        .unwrap();
    caller.review(review("u", &other(512))).await.unwrap();
    webhook.ask_to_end();
    // A call either is answered or was never sent: the client sees the GOAWAY and refuses by itself.
    until("the connection has gone", async || {
        match caller.review(review("u", &other(512))).await {
            Ok(reply) => {
                assert_eq!(reply.status, StatusCode::OK);
                None
            }
            Err(error) => {
                assert!(error.is_canceled() || error.is_closed(), "{error:?}");
                Some(())
            }
        }
    })
    .await;
    let anew = Caller::connect(webhook.address, webhook.authority.http1())
        .await
        .unwrap();
    assert!(anew.review(review("u", &other(512))).await.unwrap().closes());
    assert!(webhook.ended(Duration::from_secs(20)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_ends_in_time_although_a_connection_stays_silent() {
    let mut webhook = Webhook::start(Options {
        server: server::Limits {
            grace: Duration::from_millis(50),
            drain: Duration::from_millis(300),
            ..server::Limits::default()
        },
        ..Options::default()
    })
    .await;
    let mut silent = handshake(webhook.address, webhook.authority.http1())
        .await
        .unwrap();
    let began = tokio::time::Instant::now();
    webhook.ask_to_end();
    // The end of the stream, by a close notification and not by a reset.
    assert_eq!(silent.read(&mut [0; 1]).await.unwrap(), 0);
    assert!(
        began.elapsed() >= Duration::from_millis(290),
        "closed under a client that might have sent"
    );
    assert!(webhook.ended(ONE_SECOND).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_port_tells_health_readiness_and_metrics() {
    let authority = authority::Authority::new();
    let directory = tempfile::TempDir::new().unwrap();
    let files = write(directory.path(), &authority.until(2100));
    let process = Process::start(&files, &[]).await;
    let caller = Caller::connect(process.address, authority.http1()).await.unwrap();
    caller.review(review("u", &other(512))).await.unwrap();
    for path in ["/healthz", "/readyz"] {
        assert!(plain_get(process.health, path).await.starts_with("HTTP/1.1 200"));
    }
    assert!(
        plain_get(process.health, "/mutate")
            .await
            .starts_with("HTTP/1.1 404")
    );
    let metrics = plain_get(process.health, "/metrics").await;
    assert!(metrics.contains("content-type: application/openmetrics-text"));
    let sample = |name: &str| fixture::sample(&metrics, name);
    assert_eq!(
        sample("heapship_webhook_requests_total{decision=\"not-asked\",reason=\"\"}"),
        1
    );
    assert_eq!(sample("heapship_webhook_connections"), 1);
    // 2100-01-01T00:00:00Z
    assert_eq!(
        sample("heapship_webhook_certificate_expiry_timestamp_seconds"),
        4_102_444_800
    );
}

async fn plain_get(address: std::net::SocketAddr, path: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: health\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_gives_its_pods_their_defaults() {
    let shop = Namespace {
        name: "shop".to_owned(),
        annotations: [
            ("heapship.io/inject".to_owned(), "true".to_owned()),
            ("heapship.io/destination".to_owned(), "s3://dumps/shop".to_owned()),
        ]
        .into(),
        ..Namespace::default()
    };
    let webhook = Webhook::start(Options {
        namespaces: Arc::new(Known::from_iter([shop])),
        ..Options::default()
    })
    .await;
    let caller = Caller::connect(webhook.address, webhook.authority.http1())
        .await
        .unwrap();
    let reply = caller.review(review("u", &pod(json!({}), 512))).await.unwrap();
    assert!(response(&reply.body).0.response.unwrap().allowed);
}
