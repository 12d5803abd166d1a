//! The HTTP edge: one path, one method, one content type; a bound for everything that can be waited for.

use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http_body_util::BodyExt as _;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};

use crate::metrics::{Held, Metrics};

use super::Admission;
use super::answer::Answer;
use super::review;

/// The path that the API server posts to.
pub const PATH: &str = "/mutate";

/// What one webhook process takes on at once. Over it, pods are admitted unchanged in time rather than looked at late.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Largest body in bytes. A review may hold the object twice, and the API server takes objects up to 3 MiB.
    pub body: usize,
    /// All bodies that are in memory at one time, in bytes.
    pub bodies: usize,
    /// From the header of a request until its turn: below the two seconds of our registration.
    pub patience: Duration,
    /// Reviews that are worked on at one time.
    pub turns: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 8 << 20,
            bodies: 64 << 20,
            patience: Duration::from_millis(1500),
            // One that computes and one that has its body ready, for each core.
            turns: 2 * available_parallelism().map_or(1, usize::from),
        }
    }
}

/// Bodies from this size on are worked on beside the threads that serve connections: 3 MiB take tens of milliseconds,
/// in which a thousand small ones could be answered.
const LARGE: usize = 64 << 10;

/// Memory for bodies is counted in units of this many bytes, so that the count fits a semaphore.
const MEMORY_UNIT: usize = 1 << 10;

/// A request that is no review; the text is the body of the answer.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("there is nothing at {0}; reviews go to {PATH}")]
    UnknownPath(String),
    #[error("{0} is not for {PATH}; send reviews by POST")]
    WrongMethod(Method),
    #[error("a review is application/json, not {0}")]
    WrongType(String),
    #[error("a review of more than {0} bytes is not read")]
    TooLarge(usize),
    #[error("the body did not arrive within {0:?}")]
    TooSlow(Duration),
    #[error("the body ended before its announced length")]
    Incomplete,
    #[error("too many large reviews at once")]
    Busy,
    #[error(transparent)]
    NoReview(#[from] review::Refusal),
    #[error("the answer could not be written")]
    Unwritable,
}

impl Refused {
    fn status(&self) -> StatusCode {
        match self {
            Self::UnknownPath(_) => StatusCode::NOT_FOUND,
            Self::WrongMethod(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::WrongType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow(_) => StatusCode::REQUEST_TIMEOUT,
            Self::Incomplete | Self::NoReview(_) => StatusCode::BAD_REQUEST,
            // Never with Retry-After: the API server's client would repeat the call within the pod's creation.
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unwritable => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn label(&self) -> &'static str {
        match self {
            Self::UnknownPath(_) => "unknown-path",
            Self::WrongMethod(_) => "wrong-method",
            Self::WrongType(_) => "wrong-type",
            Self::TooLarge(_) => "too-large",
            Self::TooSlow(_) => "too-slow",
            Self::Incomplete => "incomplete-body",
            Self::Busy => "overloaded",
            Self::NoReview(refusal) => refusal.label(),
            Self::Unwritable => "internal-error",
        }
    }
}

struct Edge {
    admission: Arc<Admission>,
    metrics: Arc<Metrics>,
    limits: Limits,
    turns: Semaphore,
    memory: Semaphore,
}

/// The service of the admission port.
pub fn router(admission: Arc<Admission>, metrics: Arc<Metrics>, limits: Limits) -> Router {
    let edge = Arc::new(Edge {
        admission,
        metrics,
        turns: Semaphore::new(limits.turns),
        memory: Semaphore::new(limits.bodies / MEMORY_UNIT),
        limits,
    });
    Router::new()
        .route(PATH, post(mutate).fallback(wrong_method))
        .fallback(unknown_path)
        .with_state(edge)
}

async fn unknown_path(State(edge): State<Arc<Edge>>, uri: Uri) -> Response {
    edge.refuse(
        &Refused::UnknownPath(uri.path().chars().take(100).collect()),
        Instant::now(),
    )
}

async fn wrong_method(State(edge): State<Arc<Edge>>, method: Method) -> Response {
    let mut response = edge.refuse(&Refused::WrongMethod(method), Instant::now());
    response
        .headers_mut()
        .insert(ALLOW, axum::http::HeaderValue::from_static("POST"));
    response
}

async fn mutate(State(edge): State<Arc<Edge>>, request: Request) -> Response {
    let began = Instant::now();
    let _in_flight = Held::new(&edge.metrics.in_flight);
    match edge.review(request, began).await {
        Ok(response) => response,
        Err(refused) => edge.refuse(&refused, began),
    }
}

impl Edge {
    async fn review(self: &Arc<Self>, request: Request, began: Instant) -> Result<Response, Refused> {
        let deadline = began + self.limits.patience;
        check_type(request.headers())?;
        let memory = self
            .memory_for(announced_length(request.headers()), deadline)
            .await?;
        let body = timeout_at(deadline, read(request.into_body(), self.limits.body))
            .await
            .map_err(|_| Refused::TooSlow(self.limits.patience))??;
        let answer = self.answer(body, deadline).await?;
        drop(memory);
        let json = answer.to_json().map_err(|_| Refused::Unwritable)?;
        let took = began.elapsed();
        self.metrics
            .request(answer.verdict.decision(), answer.verdict.reason(), took);
        report(&answer, took);
        Ok(([(CONTENT_TYPE, "application/json")], json).into_response())
    }

    async fn memory_for(
        &self,
        announced: Option<usize>,
        deadline: Instant,
    ) -> Result<SemaphorePermit<'_>, Refused> {
        let size = announced.unwrap_or(self.limits.body).min(self.limits.body);
        let units = u32::try_from(size.div_ceil(MEMORY_UNIT)).unwrap_or(u32::MAX);
        if let Ok(permit) = self.memory.try_acquire_many(units) {
            return Ok(permit);
        }
        match timeout_at(deadline, self.memory.acquire_many(units)).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(Refused::Busy),
        }
    }

    async fn answer(self: &Arc<Self>, body: Bytes, deadline: Instant) -> Result<Answer, Refused> {
        let turn = match self.turns.try_acquire() {
            Ok(turn) => turn,
            Err(_) => match timeout_at(deadline, self.turns.acquire()).await {
                Ok(Ok(turn)) => turn,
                Ok(Err(_)) | Err(_) => {
                    return review::uid(&body).map(Answer::overloaded).ok_or(Refused::Busy);
                }
            },
        };
        let answer = if body.len() < LARGE {
            self.admission.admit(&body)?
        } else {
            let admission = Arc::clone(&self.admission);
            tokio::task::spawn_blocking(move || admission.admit(&body))
                .await
                .map_err(|_| Refused::Unwritable)??
        };
        drop(turn);
        Ok(answer)
    }

    fn refuse(&self, refused: &Refused, began: Instant) -> Response {
        self.metrics.request("refused", refused.label(), began.elapsed());
        tracing::debug!(reason = refused.label(), "refused: {refused}");
        (refused.status(), format!("{refused}\n")).into_response()
    }
}

fn check_type(headers: &HeaderMap) -> Result<(), Refused> {
    let found = headers
        .get(CONTENT_TYPE)
        .map_or(&b""[..], |value| value.as_bytes());
    let media_type = found
        .split(|byte| *byte == b';')
        .next()
        .unwrap_or_default()
        .trim_ascii();
    if media_type.eq_ignore_ascii_case(b"application/json") {
        return Ok(());
    }
    let found = if found.is_empty() {
        "without a type".to_owned()
    } else {
        String::from_utf8_lossy(found).chars().take(100).collect()
    };
    Err(Refused::WrongType(found))
}

fn announced_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Reads a body to its end, also one that is too large: a client that is still sending would meet a reset connection
/// instead of the answer. The deadline around this call bounds that.
async fn read(mut body: Body, limit: usize) -> Result<Bytes, Refused> {
    let mut pieces: Vec<Bytes> = Vec::new();
    let mut length = 0_usize;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Refused::Incomplete)?.into_data() else {
            continue;
        };
        length = length.saturating_add(data.len());
        if length > limit {
            pieces = Vec::new();
        } else {
            pieces.push(data);
        }
    }
    if length > limit {
        return Err(Refused::TooLarge(limit));
    }
    Ok(match pieces.len() {
        1 => pieces.remove(0),
        _ => pieces.concat().into(),
    })
}

/// One span a review. Nobody wants a line for each pod that is none of ours.
fn report(answer: &Answer, took: Duration) {
    let Answer {
        uid,
        verdict,
        subject,
        ..
    } = answer;
    let duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    if verdict.is_of_interest() {
        let span = tracing::info_span!(
            "review",
            uid,
            namespace = subject.namespace,
            owner = subject.owner,
            decision = verdict.decision(),
            reason = verdict.reason(),
            duration_us
        );
        let _entered = span.entered();
        let warnings = answer.warnings();
        if verdict.is_a_failure() {
            tracing::error!(?warnings, "admitted unchanged");
        } else {
            tracing::info!(?warnings, "reviewed");
        }
    } else {
        tracing::debug!(uid, duration_us, reason = verdict.reason(), "not asked");
    }
}
