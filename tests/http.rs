//! The admission port and the health port, over real sockets and real TLS.

pub(crate) mod authority;
pub(crate) mod caller;
mod ending;
pub(crate) mod fixture;
mod limits;
mod look_up;
pub(crate) mod reviews;
mod starting;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{Method, Request, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use heapship::admission::http;
use heapship::admission::namespaces::{Known, Namespaces};
use heapship::inject::Namespace;
use http_body_util::Full;
use kube::core::DynamicObject;
use kube::core::admission::AdmissionReview;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use self::caller::Caller;
use self::fixture::{Options, Process, Webhook, write};
use self::reviews::{asking, other, pod, review};

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
async fn what_only_warns_answers_a_workload_with_words_and_gives_nobody_a_patch() {
    let webhook = Webhook::start(Options::default()).await;
    let caller = Caller::connect(webhook.address, webhook.authority.http1())
        .await
        .unwrap();
    let mut deployment: Value = serde_json::from_slice(&review("w", &Value::Null)).unwrap();
    deployment["request"]["resource"] =
        json!({ "group": "apps", "version": "v1", "resource": "deployments" });
    deployment["request"]["object"] = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "orders" },
        "spec": { "template": pod(&json!({ "heapship.io/injct": "true" }), 512) },
    });
    let reply = caller
        .post("/warn", serde_json::to_vec(&deployment).unwrap().into())
        .await
        .unwrap();
    let (answer, patch) = response(&reply.body);
    let answer = answer.response.unwrap();
    assert!(answer.allowed && patch.is_none());
    assert_eq!(
        answer.warnings.unwrap(),
        ["heapship: unknown annotation heapship.io/injct on the pod; did you mean heapship.io/inject?"]
    );
    assert_eq!(
        webhook.sample("heapship_webhook_requests_total{decision=\"warned\",reason=\"unknown-annotation\"}"),
        1
    );
    // A pod that was led here by mistake.
    let reply = caller.post("/warn", review("p", &asking(512))).await.unwrap();
    let (answer, patch) = response(&reply.body);
    assert!(answer.response.unwrap().allowed && patch.is_none());
}

/// Method, path, content type and body; status and part of the sentence.
fn refused() -> Vec<(Method, &'static str, &'static str, Bytes, u16, &'static str)> {
    let whole = review("u", &asking(512));
    let half = whole.slice(..whole.len() / 2);
    let old = Bytes::from(
        String::from_utf8(whole.to_vec())
            .unwrap()
            .replace("k8s.io/v1\"", "k8s.io/v1beta1\""),
    );
    let large = Bytes::from(vec![b' '; (3 << 20) + 1]);
    let json = "application/json";
    vec![
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
            "more than 3145728 bytes",
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
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_review_gets_its_status_and_one_sentence() {
    let webhook = Webhook::start(Options::default()).await;
    for tls in [webhook.authority.http1(), webhook.authority.http2()] {
        for (method, path, content_type, body, status, sentence) in refused() {
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
    // It is about answers, not about how fast an unoptimised build gives them.
    let webhook = Webhook::start(Options {
        http: http::Limits {
            patience: Duration::from_secs(20),
            ..http::Limits::default()
        },
        ..Options::default()
    })
    .await;
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
    fn find(&self, name: &str) -> Option<Arc<Namespace>> {
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

pub(crate) async fn plain_get(address: std::net::SocketAddr, path: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: health\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_asks_comes_back_with_a_patch_that_applies() {
    let webhook = Webhook::start(Options::default()).await;
    for tls in [webhook.authority.http1(), webhook.authority.http2()] {
        let caller = Caller::connect(webhook.address, tls).await.unwrap();
        let pod = asking(8192);
        let reply = caller.review(review("u", &pod)).await.unwrap();
        assert!(
            patched(&pod, &reply.body)
                .to_string()
                .contains("-XX:HeapDumpPath=/heapship/dumps")
        );
    }
    let injected = "heapship_webhook_requests_total{decision=\"injected\",reason=\"\"}";
    assert_eq!(webhook.sample(injected), 2);
}

/// What the API server makes of an answer.
fn patched(pod: &Value, body: &[u8]) -> Value {
    let patch = response(body).1.unwrap();
    let operations = STANDARD.decode(patch.as_str().unwrap()).unwrap();
    let patch: json_patch::Patch = serde_json::from_slice(&operations).unwrap();
    let mut pod = pod.clone();
    json_patch::patch(&mut pod, &patch).unwrap();
    pod
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
    let pod = pod(&json!({}), 512);
    let reply = caller.review(review("u", &pod)).await.unwrap();
    assert!(
        patched(&pod, &reply.body)
            .to_string()
            .contains("-XX:HeapDumpPath=/heapship/dumps")
    );
}
