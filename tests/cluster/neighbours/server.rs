//! The neighbours' HTTPS server, and their registrations under the names that the real ones have: the API server calls
//! webhooks in the order of their names.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, Weak};

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::Uri;
use axum_server::tls_rustls::RustlsConfig;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::injectors::{Neighbour, Reinvocation};
use crate::bed::kubectl;

/// All neighbours, registered for namespaces that carry their labels, as long as a test holds it.
pub struct Neighbourhood {
    calls: Calls,
    runtime: Option<Runtime>,
}

/// Which neighbour was asked about a pod of which namespace.
type Calls = Arc<Mutex<BTreeSet<(String, String)>>>;

impl Neighbourhood {
    /// The one that another test holds, or a new one.
    pub fn enter() -> Arc<Self> {
        static NOW: Mutex<Weak<Neighbourhood>> = Mutex::new(Weak::new());
        let mut now = NOW.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        now.upgrade().unwrap_or_else(|| {
            let new = Arc::new(Self::start());
            *now = Arc::downgrade(&new);
            new
        })
    }

    /// Whether the API server has asked a neighbour about a pod of this namespace.
    pub fn has_called(&self, neighbour: Neighbour, namespace: &str) -> bool {
        self.calls
            .lock()
            .unwrap()
            .contains(&(neighbour.key().to_owned(), namespace.to_owned()))
    }

    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (ca, certificate, key) = certificates();
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let calls = Calls::default();
        let state = Arc::clone(&calls);
        // Not on the test's runtime, which ends with it while another test still needs the server.
        runtime.spawn(async move {
            let config = RustlsConfig::from_pem(certificate.into_bytes(), key.into_bytes())
                .await
                .unwrap();
            let router = Router::new()
                .fallback(answer)
                .layer(DefaultBodyLimit::disable())
                .with_state(state);
            let server = axum_server::from_tcp_rustls(listener, config).unwrap();
            server.serve(router.into_make_service()).await.unwrap();
        });
        let registrations = Neighbour::ALL.map(|neighbour| registration(neighbour, port, &ca).to_string());
        kubectl::apply(&registrations.join("\n---\n"));
        Self {
            calls,
            runtime: Some(runtime),
        }
    }
}

impl Drop for Neighbourhood {
    fn drop(&mut self) {
        let names = Neighbour::ALL.map(Neighbour::registration);
        let arguments = ["delete", "mutatingwebhookconfiguration", "--ignore-not-found"];
        drop(kubectl::output(&[&arguments[..], &names[..]].concat(), ""));
        // It must not be waited for: whoever drops this is a task of another one.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The label of namespaces in which a neighbour lives.
pub fn label(neighbour: Neighbour) -> String {
    format!("neighbours.example/{}", neighbour.key())
}

fn registration(neighbour: Neighbour, port: u16, ca: &str) -> Value {
    let reinvocation = match neighbour.reinvocation() {
        Reinvocation::Never => "Never",
        Reinvocation::IfNeeded => "IfNeeded",
    };
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": neighbour.registration()},
        "webhooks": [{
            "name": format!("{}.neighbours.example", neighbour.key()),
            "clientConfig": {"url": format!("https://127.0.0.1:{port}/{}", neighbour.key()), "caBundle": STANDARD.encode(ca)},
            "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}],
            "namespaceSelector": {"matchLabels": {label(neighbour): "yes"}},
            // A neighbour that fails is a fault of the suite.
            "failurePolicy": "Fail",
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            "reinvocationPolicy": reinvocation,
        }],
    })
}

async fn answer(State(calls): State<Calls>, uri: Uri, body: String) -> String {
    let review: Value = serde_json::from_str(&body).unwrap_or_default();
    let key = uri.path().trim_matches('/');
    let neighbour = Neighbour::ALL
        .into_iter()
        .find(|neighbour| neighbour.key() == key);
    let namespace = review["request"]["namespace"].as_str().unwrap_or_default();
    calls
        .lock()
        .unwrap()
        .insert((key.to_owned(), namespace.to_owned()));
    let patch = neighbour.map(|neighbour| neighbour.patch(&review["request"]["object"]));
    let mut response = json!({"uid": review["request"]["uid"], "allowed": true});
    if let Some(patch) = patch.filter(|patch| !patch.0.is_empty()) {
        response["patchType"] = json!("JSONPatch");
        response["patch"] = json!(STANDARD.encode(json!(patch).to_string()));
    }
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}).to_string()
}

/// A CA, and a certificate of this machine's loopback address with its key.
fn certificates() -> (String, String, String) {
    let mut parameters = CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate().unwrap();
    let ca = parameters.self_signed(&ca_key).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(["127.0.0.1".to_owned()])
        .unwrap()
        .signed_by(&key, &Issuer::new(parameters, ca_key))
        .unwrap();
    (ca.pem(), leaf.pem(), key.serialize_pem())
}
