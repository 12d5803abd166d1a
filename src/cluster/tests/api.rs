//! An API server that plays a scenario: the test receives each request and answers it.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use futures_util::stream;
use http_body_util::BodyExt as _;
use kube::Client;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct ApiServer {
    calls: mpsc::Receiver<Call>,
}

/// A request that waits for its answer.
pub(crate) struct Call {
    /// Method, path and query.
    pub(crate) line: String,
    pub(crate) body: Value,
    answer: oneshot::Sender<Response>,
}

/// The events of a watch; it ends when this is dropped.
pub(crate) struct Watching(mpsc::Sender<String>);

impl ApiServer {
    pub(crate) fn start() -> (Client, Self) {
        let (call, calls) = mpsc::channel(16);
        let router = Router::new().fallback(move |request: Request| {
            let call = call.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let (answer, answered) = oneshot::channel();
                let made = Call {
                    line: format!("{} {}", head.method, head.uri),
                    body: serde_json::from_slice(&body).unwrap_or_default(),
                    answer,
                };
                call.send(made).await.unwrap();
                // A call that the test drops is one that is never answered.
                match answered.await {
                    Ok(response) => response,
                    Err(_) => std::future::pending().await,
                }
            }
        });
        (Client::new(router, "default"), Self { calls })
    }

    /// The next request, which begins like this.
    pub(crate) async fn next(&mut self, expected: &str) -> Call {
        let call = timeout(PATIENCE, self.calls.recv())
            .await
            .expect(expected)
            .unwrap();
        assert!(call.line.starts_with(expected), "{} is not {expected}", call.line);
        call
    }

    /// Whether nothing is asked within a moment in which anything would have been.
    pub(crate) async fn is_left_alone(&mut self) -> bool {
        timeout(Duration::from_millis(100), self.calls.recv())
            .await
            .is_err()
    }
}

impl Call {
    pub(crate) fn answer(self, code: u16, body: &Value) {
        let response = Response::builder()
            .status(code)
            .body(Body::from(body.to_string()));
        self.answer.send(response.unwrap()).unwrap();
    }

    pub(crate) fn refuse(self, code: u16) {
        self.answer(code, &status(code));
    }

    pub(crate) fn list(self, version: &str, token: &str, items: &[Value]) {
        let metadata = json!({ "resourceVersion": version, "continue": token });
        self.answer(200, &json!({ "metadata": metadata, "items": items }));
    }

    pub(crate) fn watch(self) -> Watching {
        let (sender, receiver) = mpsc::channel::<String>(16);
        let lines = stream::unfold(receiver, |mut receiver| async {
            let line = receiver.recv().await?;
            Some((Ok::<_, std::io::Error>(line), receiver))
        });
        let response = Response::new(Body::from_stream(lines));
        self.answer.send(response).unwrap();
        Watching(sender)
    }
}

impl Watching {
    pub(crate) async fn send(&self, kind: &str, object: &Value) {
        let line = format!("{}\n", json!({ "type": kind, "object": object }));
        self.0.send(line).await.unwrap();
    }

    pub(crate) async fn fail(&self, code: u16) {
        self.send("ERROR", &status(code)).await;
    }
}

pub(crate) fn namespace(name: &str, version: &str, annotations: &[&str], label: Option<&str>) -> Value {
    let annotations: serde_json::Map<String, Value> = annotations
        .iter()
        .map(|key| ((*key).to_owned(), json!("x")))
        .collect();
    let mut labels = json!({ "kubernetes.io/metadata.name": name });
    if let Some(value) = label {
        labels["heapship.io/injection"] = json!(value);
    }
    json!({ "metadata": {
        "name": name, "uid": format!("uid-of-{name}"), "resourceVersion": version,
        "labels": labels, "annotations": annotations, "managedFields": [{ "manager": "kubectl" }],
    } })
}

fn status(code: u16) -> Value {
    json!({ "kind": "Status", "status": "Failure", "message": "as the test wants it", "reason": "Test", "code": code })
}
