//! The second port: liveness, readiness and metrics over plain HTTP, for the kubelet and Prometheus.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::metrics::{self, Metrics};

/// The service of the health port.
///
/// `/readyz` passes from the moment when this port answers, which is after the admission port has its certificate and
/// its socket, and until the process ends: readiness that fails while draining opts out of kube-proxy's fallback to
/// terminating endpoints (KEP-1669) and gains nothing, since a terminating endpoint counts as not ready anyway.
pub fn router(metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(|| async { "ok\n" }))
        .route("/metrics", get(scrape))
        .fallback(|| async {
            (
                StatusCode::NOT_FOUND,
                "this port has /healthz, /readyz and /metrics\n",
            )
        })
        .with_state(metrics)
}

async fn scrape(State(metrics): State<Arc<Metrics>>) -> Response {
    match metrics.encode() {
        Ok(text) => ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
