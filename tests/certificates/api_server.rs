//! As much of an API server as two keepers need: one Secret, a registration of two objects, versions, watches.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::stream;
use heapship::admission::server::{Counts, Limits, Server};
use kube::Client;
use serde_json::{Value, json};
use tokio::sync::watch;

const SECRETS: &str = "/api/v1/namespaces/heapship-system/secrets";
const ADMISSION: &str = "/apis/admissionregistration.k8s.io/v1";

#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Secret,
    Mutating,
    Validating,
}

impl Kind {
    /// The two objects of the registration.
    pub(crate) const REGISTRATION: [Self; 2] = [Self::Mutating, Self::Validating];

    /// API version, kind, and the path of all objects.
    pub(crate) fn names(self) -> (&'static str, &'static str, String) {
        const VERSION: &str = "admissionregistration.k8s.io/v1";
        match self {
            Self::Secret => ("v1", "Secret", SECRETS.to_owned()),
            Self::Mutating => (
                VERSION,
                "MutatingWebhookConfiguration",
                format!("{ADMISSION}/mutatingwebhookconfigurations"),
            ),
            Self::Validating => (
                VERSION,
                "ValidatingWebhookConfiguration",
                format!("{ADMISSION}/validatingwebhookconfigurations"),
            ),
        }
    }
}

#[derive(Default)]
struct Objects {
    version: u64,
    secret: Option<Value>,
    mutating: Option<Value>,
    validating: Option<Value>,
    /// Which nobody may read or write.
    is_validating_forbidden: bool,
    /// Which may be read, and nothing more.
    is_validating_read_only: bool,
    /// Refused because somebody was faster.
    conflicts: u32,
}

impl Objects {
    fn slot(&mut self, kind: Kind) -> &mut Option<Value> {
        match kind {
            Kind::Secret => &mut self.secret,
            Kind::Mutating => &mut self.mutating,
            Kind::Validating => &mut self.validating,
        }
    }

    fn store(&mut self, kind: Kind, object: Option<Value>) -> Option<Value> {
        self.version += 1;
        let version = self.version.to_string();
        let object = object.map(|mut object| {
            object["metadata"]["resourceVersion"] = version.into();
            object
        });
        self.slot(kind).clone_from(&object);
        object
    }
}

#[derive(Clone)]
pub(crate) struct ApiServer {
    objects: Arc<Mutex<Objects>>,
    changed: watch::Sender<()>,
}

impl ApiServer {
    /// Serves on a port of its own for as long as the test runs.
    pub(crate) async fn start() -> (Self, Client) {
        let server = Self {
            objects: Arc::default(),
            changed: watch::Sender::new(()),
        };
        let deployment = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "heapship", "uid": "the-deployment"},
        });
        let secrets =
            get(|State(server): State<Self>, url: Uri| async move { server.collection(Kind::Secret, &url) })
                .post(|State(server): State<Self>, body: Bytes| async move { server.create(&body) });
        let secret = get(|State(server): State<Self>| async move { server.one(Kind::Secret) })
            .put(|State(server): State<Self>, body: Bytes| async move { server.replace(&body) });
        let mut router = Router::new()
            .route(SECRETS, secrets)
            .route(&format!("{SECRETS}/heapship-certificates"), secret)
            .route(
                "/apis/apps/v1/namespaces/heapship-system/deployments/heapship",
                get(|| async move { answer(&deployment) }),
            );
        for kind in Kind::REGISTRATION {
            let all =
                get(move |State(server): State<Self>, url: Uri| async move { server.collection(kind, &url) });
            let one = get(move |State(server): State<Self>| async move { server.one(kind) }).patch(
                move |State(server): State<Self>, body: Bytes| async move { server.patch(kind, &body) },
            );
            let (_, _, path) = kind.names();
            router = router.route(&format!("{path}/heapship"), one).route(&path, all);
        }
        let router = router.with_state(server.clone());
        let any_port = "127.0.0.1:0".parse().unwrap();
        let bound = Server::bind(any_port, None, router, Limits::default(), Counts::default())
            .await
            .unwrap();
        let address = bound.address().unwrap();
        tokio::spawn(bound.run(std::future::pending()));
        let config = kube::Config::new(format!("http://{address}").parse().unwrap());
        (server, Client::try_from(config).unwrap())
    }

    pub(crate) fn read(&self, kind: Kind) -> Option<Value> {
        self.objects.lock().unwrap().slot(kind).clone()
    }

    pub(crate) fn write(&self, kind: Kind, object: Option<Value>) {
        self.objects.lock().unwrap().store(kind, object);
        self.changed.send_replace(());
    }

    /// As under a role of an older version.
    pub(crate) fn forbid_validating(&self) {
        self.objects.lock().unwrap().is_validating_forbidden = true;
    }

    /// As under a role that was cut down by hand.
    pub(crate) fn forbid_patching_validating(&self) {
        self.objects.lock().unwrap().is_validating_read_only = true;
    }

    fn forbids(&self, kind: Kind) -> Option<Response> {
        let is_forbidden = self.objects.lock().unwrap().is_validating_forbidden;
        (is_forbidden && matches!(kind, Kind::Validating))
            .then(|| refusal(StatusCode::FORBIDDEN, "Forbidden"))
    }

    pub(crate) fn conflicts(&self) -> u32 {
        self.objects.lock().unwrap().conflicts
    }

    fn one(&self, kind: Kind) -> Response {
        if let Some(refusal) = self.forbids(kind) {
            return refusal;
        }
        match self.read(kind) {
            Some(object) => answer(&object),
            None => refusal(StatusCode::NOT_FOUND, "NotFound"),
        }
    }

    fn collection(&self, kind: Kind, url: &Uri) -> Response {
        if let Some(refusal) = self.forbids(kind) {
            return refusal;
        }
        if url.query().is_some_and(|query| query.contains("watch=true")) {
            return self.watch(kind);
        }
        let mut objects = self.objects.lock().unwrap();
        let version = objects.version.to_string();
        let items: Vec<_> = objects.slot(kind).iter().cloned().collect();
        let (api_version, name, _) = kind.names();
        answer(&json!({
            "apiVersion": api_version, "kind": format!("{name}List"), "metadata": {"resourceVersion": version},
            "items": items,
        }))
    }

    fn watch(&self, kind: Kind) -> Response {
        let changed = self.changed.subscribe();
        let events = stream::unfold((self.clone(), changed), move |(server, mut changed)| async move {
            changed.changed().await.ok()?;
            let mut line = match server.read(kind) {
                Some(object) => json!({"type": "MODIFIED", "object": object}),
                None => json!({"type": "DELETED", "object": {"metadata": {"name": "it"}}}),
            }
            .to_string();
            line.push('\n');
            Some((Ok::<_, Infallible>(line), (server, changed)))
        });
        Body::from_stream(events).into_response()
    }

    fn create(&self, body: &[u8]) -> Response {
        let object = serde_json::from_slice(body).unwrap();
        let mut objects = self.objects.lock().unwrap();
        if objects.secret.is_some() {
            objects.conflicts += 1;
            return refusal(StatusCode::CONFLICT, "AlreadyExists");
        }
        let stored = objects.store(Kind::Secret, Some(object));
        self.changed.send_replace(());
        answer(&json!(stored))
    }

    fn replace(&self, body: &[u8]) -> Response {
        let object: Value = serde_json::from_slice(body).unwrap();
        let mut objects = self.objects.lock().unwrap();
        let current = objects
            .secret
            .as_ref()
            .map(|secret| secret["metadata"]["resourceVersion"].clone());
        match current {
            None => refusal(StatusCode::NOT_FOUND, "NotFound"),
            Some(current) if current != object["metadata"]["resourceVersion"] => {
                objects.conflicts += 1;
                refusal(StatusCode::CONFLICT, "Conflict")
            }
            Some(_) => {
                let stored = objects.store(Kind::Secret, Some(object));
                self.changed.send_replace(());
                answer(&json!(stored))
            }
        }
    }

    /// A strategic merge patch: entries are merged by their names.
    fn patch(&self, kind: Kind, body: &[u8]) -> Response {
        let patch: Value = serde_json::from_slice(body).unwrap();
        let mut objects = self.objects.lock().unwrap();
        let Some(mut object) = objects.slot(kind).clone() else {
            return refusal(StatusCode::NOT_FOUND, "NotFound");
        };
        if objects.is_validating_read_only && matches!(kind, Kind::Validating) {
            return refusal(StatusCode::FORBIDDEN, "Forbidden");
        }
        if patch["metadata"]["resourceVersion"] != object["metadata"]["resourceVersion"] {
            objects.conflicts += 1;
            return refusal(StatusCode::CONFLICT, "Conflict");
        }
        for change in patch["webhooks"].as_array().unwrap() {
            for entry in object["webhooks"].as_array_mut().unwrap() {
                if entry["name"] == change["name"] {
                    entry["clientConfig"]["caBundle"] = change["clientConfig"]["caBundle"].clone();
                }
            }
        }
        let stored = objects.store(kind, Some(object));
        self.changed.send_replace(());
        answer(&json!(stored))
    }
}

fn refusal(code: StatusCode, reason: &str) -> Response {
    let status = json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code.as_u16(), "reason": reason,
        "message": reason,
    });
    (code, answer(&status)).into_response()
}

fn answer(object: &Value) -> Response {
    ([(CONTENT_TYPE, "application/json")], object.to_string()).into_response()
}
