//! The HTTP edge: one path, one method, one content type; a bound for everything that can be waited for.

use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::header::{ALLOW, CONTENT_TYPE};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http_body_util::BodyExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::events::Happening;
use crate::events::outbox::Outbox;
use crate::metrics::{Held, Metrics};

use super::answer::{Answer, Verdict};
use super::review;
use super::{Admission, Look};

/// Where the API server posts what may be changed: pods and namespaces.
pub const PATH: &str = "/mutate";
/// Where it posts workloads, about which there are only words.
pub const WARN_PATH: &str = "/warn";

/// What one webhook process takes on at once. Over it, pods are admitted unchanged in time rather than looked at late.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Largest body in bytes. The API server cannot store half as much.
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
            body: 3 << 20,
            bodies: 32 << 20,
            patience: Duration::from_millis(1500),
            // One that computes and one that has its body ready, for each core; memory sets an end to it on large nodes.
            turns: MOST_TURNS.min(2 * available_parallelism().map_or(1, usize::from)),
        }
    }
}

/// Bodies from this size on are worked on beside the threads that serve connections: 3 MiB take tens of milliseconds,
/// in which a thousand small ones could be answered.
const LARGE: usize = 64 << 10;

/// As many large bodies are worked on at one time as have this size together, and a larger one alone: as values they take up
/// to eighty times their bytes (measured: a list of short variables), and somebody may send several.
const LARGE_TOGETHER: usize = 1 << 20;

/// As many small bodies as are no more together.
const MOST_TURNS: usize = LARGE_TOGETHER / LARGE;

/// Memory for bodies is counted in units of this many bytes, so that the count fits a semaphore.
const MEMORY_UNIT: usize = 1 << 10;

/// A request that is no review; the text is the body of the answer.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("there is nothing at {0}; reviews go to {PATH}, of workloads to {WARN_PATH}")]
    UnknownPath(String),
    #[error("{0} is not for {1}; send reviews by POST")]
    WrongMethod(Method, String),
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
            Self::WrongMethod(..) => StatusCode::METHOD_NOT_ALLOWED,
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
            Self::WrongMethod(..) => "wrong-method",
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
    outbox: Option<Arc<Outbox>>,
    metrics: Arc<Metrics>,
    limits: Limits,
    turns: Arc<Semaphore>,
    large: Arc<Semaphore>,
    memory: Arc<Semaphore>,
}

/// A body with the memory that is counted for it.
struct Received {
    body: Bytes,
    /// Given back with the body; none for an empty one.
    _memory: Option<OwnedSemaphorePermit>,
}

/// Given back when the work is done.
struct Turn {
    _turn: OwnedSemaphorePermit,
    _large: Option<OwnedSemaphorePermit>,
}

/// The service of the admission port. Without an outbox nobody writes Events.
pub fn router(
    admission: Arc<Admission>,
    outbox: Option<Arc<Outbox>>,
    metrics: Arc<Metrics>,
    limits: Limits,
) -> Router {
    let edge = Arc::new(Edge {
        admission,
        outbox,
        metrics,
        turns: Arc::new(Semaphore::new(limits.turns)),
        large: Arc::new(Semaphore::new(LARGE_TOGETHER / MEMORY_UNIT)),
        memory: Arc::new(Semaphore::new(limits.bodies / MEMORY_UNIT)),
        limits,
    });
    Router::new()
        .route(PATH, post(mutate).fallback(wrong_method))
        .route(WARN_PATH, post(warn).fallback(wrong_method))
        .fallback(unknown_path)
        .with_state(edge)
}

async fn unknown_path(State(edge): State<Arc<Edge>>, uri: Uri) -> Response {
    edge.refuse(
        &Refused::UnknownPath(uri.path().chars().take(100).collect()),
        Instant::now(),
    )
}

async fn wrong_method(State(edge): State<Arc<Edge>>, method: Method, uri: Uri) -> Response {
    let refused = Refused::WrongMethod(method, uri.path().to_owned());
    let mut response = edge.refuse(&refused, Instant::now());
    response
        .headers_mut()
        .insert(ALLOW, axum::http::HeaderValue::from_static("POST"));
    response
}

async fn mutate(State(edge): State<Arc<Edge>>, request: Request) -> Response {
    edge.respond(request, Entry::Mutating).await
}

async fn warn(State(edge): State<Arc<Edge>>, request: Request) -> Response {
    edge.respond(request, Entry::Warning).await
}

/// By which entry of the registration a review came.
#[derive(Clone, Copy)]
enum Entry {
    /// About something that may be changed.
    Mutating,
    /// About a workload: a sentence that its pods get all the same, for which no pod is to wait.
    Warning,
}

impl Entry {
    /// A registration that leads pods to the entry that only warns would get a patch, which is a failed call there.
    fn finish(self, answer: Answer) -> Answer {
        match self {
            Self::Mutating => answer,
            Self::Warning => answer.without_patch(),
        }
    }

    /// The answer where there was no turn.
    fn without_a_turn(self, uid: String) -> Answer {
        match self {
            Self::Mutating => Answer::overloaded(uid),
            Self::Warning => Answer::unchanged(uid, Verdict::WorkloadUnremarkable),
        }
    }
}

impl Edge {
    async fn respond(&self, request: Request, entry: Entry) -> Response {
        let began = Instant::now();
        let _in_flight = Held::new(&self.metrics.in_flight);
        match self.review(request, entry, began).await {
            Ok(response) => response,
            Err(refused) => self.refuse(&refused, began),
        }
    }

    async fn review(&self, request: Request, entry: Entry, began: Instant) -> Result<Response, Refused> {
        let deadline = began + self.limits.patience;
        check_type(request.headers())?;
        let received = timeout_at(deadline, self.read(request.into_body(), deadline))
            .await
            .map_err(|_| Refused::TooSlow(self.limits.patience))??;
        let mut answer = entry.finish(self.answer(received, entry, deadline).await?);
        let json = answer.to_json().map_err(|_| Refused::Unwritable)?;
        let took = began.elapsed();
        self.metrics
            .request(answer.verdict.decision(), answer.verdict.reason(), took);
        report(&answer, took);
        self.tell(std::mem::take(&mut answer.happenings));
        Ok(([(CONTENT_TYPE, "application/json")], json).into_response())
    }

    fn tell(&self, happenings: Vec<Happening>) {
        let Some(outbox) = &self.outbox else { return };
        for happening in happenings {
            if !outbox.put(happening) {
                self.metrics.events_dropped.inc();
            }
        }
    }

    /// Reads a body to its end, also one that is refused: a client that is still sending would meet a reset connection
    /// instead of the answer. The deadline around this call bounds that.
    ///
    /// Memory is counted as it arrives, not as it is announced: whoever only announces takes nothing from others.
    async fn read(&self, mut body: Body, deadline: Instant) -> Result<Received, Refused> {
        let mut pieces: Vec<Bytes> = Vec::new();
        let mut memory: Option<OwnedSemaphorePermit> = None;
        let mut length = 0_usize;
        let mut refused = None;
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| Refused::Incomplete)?.into_data() else {
                continue;
            };
            if refused.is_some() {
                continue;
            }
            length = length.saturating_add(data.len());
            if length > self.limits.body {
                refused = Some(Refused::TooLarge(self.limits.body));
            } else if self.reserve(&mut memory, length, deadline).await? {
                pieces.push(data);
            } else {
                refused = Some(Refused::Busy);
            }
            if refused.is_some() {
                pieces = Vec::new();
                memory = None;
            }
        }
        match refused {
            Some(refused) => Err(refused),
            None => Ok(Received {
                body: match pieces.len() {
                    1 => pieces.remove(0),
                    _ => pieces.concat().into(),
                },
                _memory: memory,
            }),
        }
    }

    /// Takes what a body of so many bytes needs beyond what it holds; `false` where there is not enough. Only a body that
    /// holds nothing yet waits for its turn: if those waited that hold something, they might all wait for each other.
    async fn reserve(
        &self,
        held: &mut Option<OwnedSemaphorePermit>,
        length: usize,
        deadline: Instant,
    ) -> Result<bool, Refused> {
        let units = length.div_ceil(MEMORY_UNIT);
        let missing = units.saturating_sub(held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits));
        let missing = u32::try_from(missing).map_err(|_| Refused::Busy)?;
        let memory = || Arc::clone(&self.memory);
        match (memory().try_acquire_many_owned(missing), held) {
            (Ok(more), Some(held)) => held.merge(more),
            (Ok(first), held @ None) => *held = Some(first),
            (Err(_), Some(_)) => return Ok(false),
            (Err(_), held @ None) => match timeout_at(deadline, memory().acquire_many_owned(missing)).await {
                Ok(Ok(first)) => *held = Some(first),
                Ok(Err(_)) | Err(_) => return Err(Refused::Busy),
            },
        }
        Ok(true)
    }

    async fn answer(&self, received: Received, entry: Entry, deadline: Instant) -> Result<Answer, Refused> {
        let received = Arc::new(received);
        let look = self.in_turn(&received, entry, deadline, Admission::admit).await?;
        let name = match look {
            Look::Answered(answer) => return Ok(answer),
            Look::NamespaceWanted(name) => name,
        };
        // Without a turn: others, who need no look-up, do not wait for the API server.
        let namespace = timeout_at(deadline, self.admission.namespaces.look_up(&name))
            .await
            .unwrap_or_default();
        self.in_turn(&received, entry, deadline, move |admission, body| {
            admission.admit_from(body, namespace.as_deref())
        })
        .await
    }

    /// Works on a review when its turn has come, on a thread of its own where it is large.
    async fn in_turn<T: From<Answer> + Send + 'static>(
        &self,
        received: &Arc<Received>,
        entry: Entry,
        deadline: Instant,
        work: impl FnOnce(&Admission, &[u8]) -> Result<T, review::Refusal> + Send + 'static,
    ) -> Result<T, Refused> {
        let turn = timeout_at(deadline, self.turn(received.body.len(), entry));
        let Ok(Some(turn)) = turn.await else {
            return review::uid(&received.body)
                .map(|uid| entry.without_a_turn(uid).into())
                .ok_or(Refused::Busy);
        };
        let admission = Arc::clone(&self.admission);
        // The work holds the body: a client that hangs up ends the request, and not what was begun for it.
        let held = Arc::clone(received);
        let is_large = received.body.len() >= LARGE;
        let work = move || {
            let done = work(&admission, &held.body);
            drop((held, turn));
            done
        };
        let done = if is_large {
            tokio::task::spawn_blocking(work)
                .await
                .map_err(|_| Refused::Unwritable)?
        } else {
            work()
        };
        Ok(done?)
    }

    /// The turn of a body of so many bytes. Who waits for the memory of a large one keeps no turn from the small ones;
    /// words do not wait at all.
    async fn turn(&self, length: usize, entry: Entry) -> Option<Turn> {
        let take = async |semaphore: &Arc<Semaphore>, permits: u32| {
            let semaphore = Arc::clone(semaphore);
            match entry {
                Entry::Mutating => semaphore.acquire_many_owned(permits).await.ok(),
                Entry::Warning => semaphore.try_acquire_many_owned(permits).ok(),
            }
        };
        let large = if length >= LARGE {
            let units = u32::try_from(length.min(LARGE_TOGETHER).div_ceil(MEMORY_UNIT)).ok()?;
            Some(take(&self.large, units).await?)
        } else {
            None
        };
        Some(Turn {
            _turn: take(&self.turns, 1).await?,
            _large: large,
        })
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
