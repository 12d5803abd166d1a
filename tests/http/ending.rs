//! SIGTERM: clients are sent elsewhere and notice nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use heapship::admission::server;
use rustls::ClientConfig;
use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;

use super::authority::Authority;
use super::caller::{Caller, handshake};
use super::fixture::{Options, Process, Webhook, until, write};
use super::plain_get;
use super::reviews::{other, review};

/// Posts reviews one after the other until told to stop, connecting anew only when an answer asked for it.
async fn keep_calling(
    address: SocketAddr,
    tls: Arc<ClientConfig>,
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
    let authority = Authority::new();
    let directory = TempDir::new().unwrap();
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
    // A call either is answered or was never looked at: the client refuses by itself once it has seen the GOAWAY, and one
    // that crossed it on the way carries a number above its last stream, which says that it may be sent again.
    let never_looked_at = |error: &hyper::Error| {
        error.is_canceled()
            || error.is_closed()
            || format!("{error:?}").contains("GoAway(b\"\", NO_ERROR, Remote)")
    };
    until("the connection has gone", async || {
        match caller.review(review("u", &other(512))).await {
            Ok(reply) => {
                assert_eq!(reply.status, StatusCode::OK);
                None
            }
            Err(error) => {
                assert!(never_looked_at(&error), "{error:?}");
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
    assert!(webhook.ended(Duration::from_secs(1)).await);
}
