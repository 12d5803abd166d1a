//! Events on workloads, as an API server meets them.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use heapship::admission::server::{Counts, Limits, Server};
use heapship::events::outbox::Outbox;
use heapship::events::post::post;
use heapship::events::{Happening, Owner};
use heapship::metrics::Metrics;
use kube::Client;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::http::fixture::until;

const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/shop/events";
const REPLICA_SET: &str = "/apis/apps/v1/namespaces/shop/replicasets/shop-7d4";

/// What the API server answers to a method and a path: a status, and an object for a success.
type Answers = Vec<(&'static str, &'static str, u16, Value)>;

#[derive(Clone)]
struct Asked {
    answers: Arc<Answers>,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
}

/// A writer of Events before an API server with these answers.
struct Scene {
    outbox: Arc<Outbox>,
    metrics: Arc<Metrics>,
    asked: Asked,
    task: JoinHandle<()>,
}

impl Scene {
    async fn with(answers: Answers) -> Self {
        let asked = Asked {
            answers: Arc::new(answers),
            asked: Arc::default(),
        };
        let router = Router::new().fallback(answer).with_state(asked.clone());
        let any_port = "127.0.0.1:0".parse().unwrap();
        let bound = Server::bind(any_port, None, router, Limits::default(), Counts::default())
            .await
            .unwrap();
        let address = bound.address().unwrap();
        tokio::spawn(bound.run(std::future::pending()));
        let config = kube::Config::new(format!("http://{address}").parse().unwrap());
        let client = Client::try_from(config).unwrap();
        let (outbox, metrics) = (Arc::<Outbox>::default(), Arc::<Metrics>::default());
        let instance = "heapship-0".to_owned();
        let task = tokio::spawn(post(client, Arc::clone(&outbox), instance, Arc::clone(&metrics)));
        Self {
            outbox,
            metrics,
            asked,
            task,
        }
    }

    /// The requests of one method so far.
    fn asked(&self, method: &str) -> Vec<Value> {
        let asked = self.asked.asked.lock().unwrap();
        let of_method = asked.iter().filter(|(asked, _)| asked.starts_with(method));
        of_method.map(|(_, body)| body.clone()).collect()
    }

    async fn written(&self, count: u64) {
        until("the Events are written", async || {
            (self.metrics.events.get() == count).then_some(())
        })
        .await;
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(State(asked): State<Asked>, method: Method, uri: Uri, body: Bytes) -> Response {
    let sent = serde_json::from_slice(&body).unwrap_or_default();
    let request = format!("{method} {}", uri.path());
    asked.asked.lock().unwrap().push((request, sent));
    let known = asked
        .answers
        .iter()
        .find(|(of, path, ..)| method == *of && uri.path().starts_with(path));
    let (code, object) = known.map_or((404, Value::Null), |(_, _, code, object)| (*code, object.clone()));
    let body = if code < 300 {
        object
    } else {
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "no", "code": code})
    };
    let code = StatusCode::from_u16(code).unwrap();
    (code, [(CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

fn happening(code: &'static str) -> Happening {
    Happening {
        namespace: "shop".to_owned(),
        owner: Owner {
            api_version: "apps/v1".to_owned(),
            kind: "ReplicaSet".to_owned(),
            name: "shop-7d4".to_owned(),
            uid: "of-the-replica-set".to_owned(),
        },
        code,
        note: "a sentence".to_owned(),
    }
}

fn replica_set() -> Value {
    json!({
        "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
        "metadata": {"name": "shop-7d4", "uid": "of-the-replica-set", "ownerReferences": [
            {"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop", "uid": "of-the-deployment", "controller": true},
        ]},
    })
}

fn event() -> Value {
    json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "x"}})
}

#[tokio::test(flavor = "multi_thread")]
async fn the_event_stands_on_the_deployment_above_the_replica_set() {
    let scene = Scene::with(vec![
        ("GET", REPLICA_SET, 200, replica_set()),
        ("POST", EVENTS, 201, event()),
    ])
    .await;
    for _ in 0..100 {
        assert!(scene.outbox.put(happening("no-destination")));
    }
    scene.written(1).await;
    let written = scene.asked("POST");
    assert_eq!(written.len(), 1);
    let written = &written[0];
    assert_eq!(
        written["regarding"],
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "name": "shop", "namespace": "shop", "uid": "of-the-deployment",
        })
    );
    for (field, value) in [
        ("type", "Warning"),
        ("reason", "NoDestination"),
        ("note", "a sentence"),
        ("action", "Inject"),
        ("reportingController", "heapship"),
        ("reportingInstance", "heapship-0"),
    ] {
        assert_eq!(written[field], value, "{field}");
    }
    assert!(written["eventTime"].as_str().unwrap().ends_with('Z'));
    assert_eq!(written["metadata"]["namespace"], "shop");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_owner_may_not_be_read_the_replica_set_has_the_event() {
    let scene = Scene::with(vec![
        ("GET", REPLICA_SET, 403, Value::Null),
        ("POST", EVENTS, 201, event()),
    ])
    .await;
    scene.outbox.put(happening("no-destination"));
    scene.written(1).await;
    assert_eq!(scene.asked("POST")[0]["regarding"]["uid"], "of-the-replica-set");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_is_not_there_or_is_another_one_is_a_claim_and_gets_no_event() {
    let mut another = replica_set();
    another["metadata"]["uid"] = json!("of-its-successor");
    for (code, object) in [(404, Value::Null), (200, another)] {
        let scene = Scene::with(vec![
            ("GET", REPLICA_SET, code, object),
            ("POST", EVENTS, 201, event()),
        ])
        .await;
        scene.outbox.put(happening("no-destination"));
        scene.outbox.put(of_a_stateful_set());
        scene.written(1).await;
        let written = scene.asked("POST");
        assert_eq!(written.len(), 1);
        assert_eq!(written[0]["regarding"]["kind"], "StatefulSet");
        assert_eq!(scene.metrics.event_failures.get(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_jobs_of_one_cron_job_are_one_event() {
    let of_the_night = json!({
        "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
        "metadata": {"name": "night", "uid": "of-the-job", "ownerReferences": [
            {"apiVersion": "batch/v1", "kind": "CronJob", "name": "night", "uid": "of-the-cron-job", "controller": true},
        ]},
    });
    let scene = Scene::with(vec![
        (
            "GET",
            "/apis/batch/v1/namespaces/shop/jobs/night-",
            200,
            of_the_night,
        ),
        ("POST", EVENTS, 201, event()),
    ])
    .await;
    for number in 1..=3 {
        let mut job = happening("no-destination");
        job.owner = Owner {
            api_version: "batch/v1".to_owned(),
            kind: "Job".to_owned(),
            name: format!("night-{number}"),
            uid: "of-the-job".to_owned(),
        };
        scene.outbox.put(job);
    }
    scene.outbox.put(of_a_stateful_set());
    scene.written(2).await;
    let written = scene.asked("POST").into_iter();
    let kinds: Vec<_> = written.map(|event| event["regarding"]["kind"].clone()).collect();
    assert_eq!(kinds, ["CronJob", "StatefulSet"]);
}

/// Nobody is looked up for it.
fn of_a_stateful_set() -> Happening {
    let mut happening = happening("no-destination");
    happening.owner.kind = "StatefulSet".into();
    happening
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_another_replica_wrote_is_counted_on() {
    let scene = Scene::with(vec![
        ("GET", REPLICA_SET, 200, replica_set()),
        ("POST", EVENTS, 409, Value::Null),
        ("PATCH", EVENTS, 200, event()),
    ])
    .await;
    scene.outbox.put(happening("no-destination"));
    scene.written(1).await;
    let series = &scene.asked("PATCH")[0]["series"];
    assert_eq!(series["count"], 2);
    assert!(series["lastObservedTime"].is_string(), "{series}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_counted_and_let_go_until_the_next_pod() {
    let scene = Scene::with(vec![
        ("GET", REPLICA_SET, 200, replica_set()),
        ("POST", EVENTS, 403, Value::Null),
    ])
    .await;
    let tried = async |count: u64| {
        until("all were tried", async || {
            (scene.metrics.event_failures.get() == count).then_some(())
        })
        .await;
    };
    for code in ["no-destination", "name-taken"] {
        scene.outbox.put(happening(code));
    }
    tried(2).await;
    scene.outbox.put(happening("no-destination"));
    tried(3).await;
    assert_eq!(scene.asked("POST").len(), 3);
    assert_eq!(scene.metrics.events.get(), 0);
}
