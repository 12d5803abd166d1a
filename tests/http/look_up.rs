//! A review whose namespace is not known waits for it, alone and not for long.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _};
use heapship::admission::http;
use heapship::admission::namespaces::Namespaces;
use heapship::inject::Namespace;
use tokio::sync::watch;

use super::caller::Caller;
use super::fixture::{Options, Webhook, until};
use super::response;
use super::reviews::{other, review};

/// Knows nothing, and learns what the test tells it.
struct Distant(watch::Receiver<Option<Arc<Namespace>>>);

impl Namespaces for Distant {
    fn find(&self, _: &str) -> Option<Arc<Namespace>> {
        None
    }

    fn look_up<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Option<Arc<Namespace>>> {
        let mut told = self.0.clone();
        async move { told.wait_for(Option::is_some).await.ok()?.clone() }.boxed()
    }
}

async fn start(patience: Duration) -> (watch::Sender<Option<Arc<Namespace>>>, Webhook) {
    let (tell, told) = watch::channel(None);
    let webhook = Webhook::start(Options {
        namespaces: Arc::new(Distant(told)),
        http: http::Limits {
            turns: 1,
            patience,
            ..http::Limits::default()
        },
        ..Options::default()
    })
    .await;
    (tell, webhook)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_review_that_waits_for_its_namespace_takes_nobodys_turn() {
    let (tell, webhook) = start(Duration::from_secs(20)).await;
    let tls = webhook.authority.http1();
    let waiting = Caller::connect(webhook.address, Arc::clone(&tls)).await.unwrap();
    let waiting = tokio::spawn(async move { waiting.review(review("waits", &other(512))).await });
    until("the review waits", async || {
        (webhook.sample("heapship_webhook_requests_in_flight") == 1).then_some(())
    })
    .await;
    let caller = Caller::connect(webhook.address, tls).await.unwrap();
    let mut namespace: serde_json::Value = serde_json::from_slice(&review("other", &other(1))).unwrap();
    namespace["request"]["resource"]["resource"] = "namespaces".into();
    let body = serde_json::to_vec(&namespace).unwrap();
    let reply = caller.review(body.into()).await.unwrap();
    assert_eq!(response(&reply.body).0.response.unwrap().uid, "other");

    let shop = Namespace {
        name: "shop".to_owned(),
        annotations: [
            ("heapship.io/inject".to_owned(), "true".to_owned()),
            ("heapship.io/destination".to_owned(), "s3://dumps/shop".to_owned()),
        ]
        .into(),
        ..Namespace::default()
    };
    tell.send_replace(Some(Arc::new(shop)));
    let answer = response(&waiting.await.unwrap().unwrap().body)
        .0
        .response
        .unwrap();
    assert_eq!(answer.audit_annotations["decision"], "injected");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_nobody_can_tell_about_in_time_leaves_the_pod_unchanged() {
    let (_tell, webhook) = start(Duration::from_millis(200)).await;
    let caller = Caller::connect(webhook.address, webhook.authority.http1())
        .await
        .unwrap();
    let reply = caller.review(review("u", &other(512))).await.unwrap();
    let answer = response(&reply.body).0.response.unwrap();
    assert!(answer.allowed && answer.patch.is_none());
    assert_eq!(answer.audit_annotations["reason"], "namespace-unknown");
}
