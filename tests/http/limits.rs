//! Everything that can be waited for has a bound, and what is held is given back.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use heapship::admission::namespaces::{Known, Namespaces};
use heapship::admission::{http, server};
use heapship::inject::Namespace;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::caller::{Caller, handshake};
use super::fixture::{Options, Webhook, until};
use super::response;
use super::reviews::{asking, other, review};

/// Holds every review until it is opened.
#[derive(Default)]
struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
    waiting: AtomicUsize,
}

impl Namespaces for Gate {
    fn find(&self, name: &str) -> Option<Arc<Namespace>> {
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
async fn words_about_a_workload_take_no_turn_that_a_pod_could_want() {
    let gate = Arc::new(Gate::default());
    let webhook = Webhook::start(Options {
        namespaces: Arc::clone(&gate) as Arc<dyn Namespaces>,
        http: http::Limits {
            turns: 1,
            patience: Duration::from_millis(500),
            ..http::Limits::default()
        },
        ..Options::default()
    })
    .await;
    let tls = webhook.authority.http1();
    let slow = Caller::connect(webhook.address, Arc::clone(&tls)).await.unwrap();
    let slow = tokio::spawn(async move { slow.review(review("slow", &asking(100_000))).await });
    until("a pod is being worked on", async || {
        (gate.waiting.load(Ordering::SeqCst) == 1).then_some(())
    })
    .await;
    let caller = Caller::connect(webhook.address, tls).await.unwrap();
    for size in [512, 100_000] {
        let reply = caller
            .post("/warn", review("words", &asking(size)))
            .await
            .unwrap();
        let answer = response(&reply.body).0.response.unwrap();
        assert_eq!((answer.uid.as_str(), answer.allowed), ("words", true));
        assert_eq!(answer.warnings, None);
    }
    let unremarkable = r#"heapship_webhook_requests_total{decision="not-asked",reason="workload"}"#;
    assert_eq!(webhook.sample(unremarkable), 2);
    *gate.open.lock().unwrap() = true;
    gate.opened.notify_all();
    assert!(slow.await.unwrap().is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn large_reviews_are_worked_on_together_only_as_far_as_their_values_fit_into_memory() {
    let gate = Arc::new(Gate::default());
    let webhook = Webhook::start(Options {
        namespaces: Arc::clone(&gate) as Arc<dyn Namespaces>,
        http: http::Limits {
            turns: 4,
            patience: Duration::from_millis(500),
            ..http::Limits::default()
        },
        ..Options::default()
    })
    .await;
    let tls = webhook.authority.http1();
    let slow = Caller::connect(webhook.address, Arc::clone(&tls)).await.unwrap();
    let slow = tokio::spawn(async move { slow.review(review("slow", &asking(600_000))).await });
    until("one large review is being worked on", async || {
        (gate.waiting.load(Ordering::SeqCst) == 1).then_some(())
    })
    .await;
    let caller = Caller::connect(webhook.address, Arc::clone(&tls)).await.unwrap();
    let reply = caller.review(review("late", &asking(600_000))).await.unwrap();
    let answer = response(&reply.body).0.response.unwrap();
    assert!(answer.warnings.unwrap()[0].contains("overloaded"));
    assert_eq!(gate.waiting.load(Ordering::SeqCst), 1);
    // Small ones go on beside it.
    let small = tokio::spawn(async move { caller.review(review("small", &asking(512))).await });
    until("a small review is being worked on", async || {
        (gate.waiting.load(Ordering::SeqCst) == 2).then_some(())
    })
    .await;
    *gate.open.lock().unwrap() = true;
    gate.opened.notify_all();
    for task in [slow, small] {
        let answer = response(&task.await.unwrap().unwrap().body).0.response.unwrap();
        assert!(answer.allowed && answer.warnings.is_none());
    }
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
    until("the stalled body has begun", async || {
        (webhook.sample("heapship_webhook_requests_in_flight") == 1).then_some(())
    })
    .await;
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
async fn bodies_that_are_only_announced_do_not_delay_others() {
    let webhook = Webhook::start(Options {
        http: http::Limits {
            bodies: 64 << 10,
            patience: Duration::from_secs(20),
            ..http::Limits::default()
        },
        ..Options::default()
    })
    .await;
    let tls = webhook.authority.http1();
    let mut stalled = Vec::new();
    for _ in 0..8 {
        let mut stream = handshake(webhook.address, Arc::clone(&tls)).await.unwrap();
        let head = "POST /mutate HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 60000\r\n\r\n{";
        stream.write_all(head.as_bytes()).await.unwrap();
        stalled.push(stream);
    }
    until("the stalled bodies have begun", async || {
        (webhook.sample("heapship_webhook_requests_in_flight") == 8).then_some(())
    })
    .await;
    let caller = Caller::connect(webhook.address, tls).await.unwrap();
    let reply = caller.review(review("u", &other(32 << 10))).await.unwrap();
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(webhook.sample("heapship_webhook_requests_in_flight"), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_is_held_until_the_work_is_done_although_the_client_is_gone() {
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
    let gone = Caller::connect(webhook.address, Arc::clone(&tls)).await.unwrap();
    let gone = tokio::spawn(async move { gone.review(review("gone", &asking(100_000))).await });
    until("its review is being worked on", async || {
        (gate.waiting.load(Ordering::SeqCst) == 1).then_some(())
    })
    .await;
    gone.abort();
    until("its connection is forgotten", async || {
        (webhook.sample("heapship_webhook_connections") == 0).then_some(())
    })
    .await;

    let caller = Caller::connect(webhook.address, tls).await.unwrap();
    let reply = caller.review(review("late", &asking(512))).await.unwrap();
    let answer = response(&reply.body).0.response.unwrap();
    assert!(answer.warnings.unwrap()[0].contains("overloaded"));
    *gate.open.lock().unwrap() = true;
    gate.opened.notify_all();
    until("the turn is given back", async || {
        let reply = caller.review(review("next", &asking(512))).await.unwrap();
        let answer = response(&reply.body).0.response.unwrap();
        (answer.audit_annotations["decision"] == "injected").then_some(())
    })
    .await;
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
    for tls in [webhook.authority.http1(), webhook.authority.http2()] {
        let mut stream = handshake(webhook.address, tls).await.unwrap();
        let silent_since = tokio::time::Instant::now();
        // hyper ends a silent connection without TLS's goodbye, which is an error to this reader.
        let end = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut Vec::new())).await;
        assert!(end.is_ok(), "it stays for ever");
        assert!(
            silent_since.elapsed() >= Duration::from_millis(290),
            "{:?}",
            silent_since.elapsed()
        );
    }
}
