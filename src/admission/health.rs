//! The second port: liveness, readiness and metrics over plain HTTP, for the kubelet and Prometheus.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::metrics::{self, Metrics};

/// What a webhook waits for before it is ready, in the order in which it is usually fulfilled.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wait {
    /// There is no certificate to serve yet.
    Certificate,
    /// Namespaces and version of the cluster are not known yet.
    Cluster,
    /// The registration's caBundle does not lead to the served certificate.
    Registration,
}

impl Wait {
    const ALL: [Self; 3] = [Self::Certificate, Self::Cluster, Self::Registration];
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certificate => "a certificate",
            Self::Cluster => "the namespaces of the cluster",
            Self::Registration => "a caBundle in the registration that fits the certificate",
        })
    }
}

/// What is still waited for. What was fulfilled once stays so: a replica that serves goes on being called ready until
/// its process ends. Readiness that fails while draining opts out of kube-proxy's fallback to terminating endpoints
/// (KEP-1669) and gains nothing, since a terminating endpoint counts as not ready anyway; and one that fails because the
/// registration is gone would take the others' calls away with it.
#[derive(Debug)]
pub struct Readiness(Mutex<Vec<Wait>>);

impl Default for Readiness {
    /// Waits for everything.
    fn default() -> Self {
        Self(Mutex::new(Wait::ALL.to_vec()))
    }
}

impl Readiness {
    /// This one need not be waited for any more.
    pub fn fulfil(&self, wait: Wait) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|left| *left != wait);
    }

    /// What is left.
    #[must_use]
    pub fn left(&self) -> Vec<Wait> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The service of the health port: `/healthz` passes as long as it answers, `/readyz` says what is waited for.
pub fn router(metrics: Arc<Metrics>, readiness: Arc<Readiness>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(move || async move { ready(&readiness) }))
        .route("/metrics", get(scrape))
        .fallback(|| async {
            (
                StatusCode::NOT_FOUND,
                "this port has /healthz, /readyz and /metrics\n",
            )
        })
        .with_state(metrics)
}

fn ready(readiness: &Readiness) -> Response {
    let left = readiness.left();
    if left.is_empty() {
        return "ok\n".into_response();
    }
    let left: Vec<_> = left.iter().map(ToString::to_string).collect();
    (
        StatusCode::SERVICE_UNAVAILABLE,
        format!("waiting for {}\n", left.join(" and ")),
    )
        .into_response()
}

async fn scrape(State(metrics): State<Arc<Metrics>>) -> Response {
    match metrics.encode() {
        Ok(text) => ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
