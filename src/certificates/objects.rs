//! One object of the cluster, looked at whenever it may have changed.
//!
//! A watch only says *when* to look; what is acted upon is read anew, so that it is never older than the watch's news. Both
//! have an end: the watch is asked again by the client, a call is given up after [`CALL`], and an error is retried after a
//! pause that grows.

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::watch_object;
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

/// The longest time between two looks: what no watch reports is found then, and so is what the wall clock brings, on
/// machines that were paused as well.
pub const LOOK: Duration = Duration::from_secs(30);

/// Longest time for one call.
const CALL: Duration = Duration::from_secs(10);
/// Pauses after errors: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));

/// Why an object could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server said no.
    #[error("cannot {attempt}: {message}; {remedy}", remedy = remedy(*.code))]
    Refused {
        /// What was attempted, and on what.
        attempt: String,
        /// The HTTP status.
        code: u16,
        /// The API server's own words.
        message: String,
    },
    /// It did not get there.
    #[error("cannot {attempt}: the API server cannot be reached; trying again")]
    Unreachable {
        /// What was attempted, and on what.
        attempt: String,
        /// What the client said.
        source: Box<kube::Error>,
    },
    /// No answer.
    #[error("cannot {attempt}: the API server did not answer within {CALL:?}; trying again")]
    TimedOut {
        /// What was attempted, and on what.
        attempt: String,
    },
    /// A certificate could not be made.
    #[error("cannot renew the certificates")]
    Make(#[from] super::authority::Error),
}

impl Error {
    /// Whether somebody else created or changed the object meanwhile: read again.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused { code: 409, .. })
    }

    /// Whether the object is not there, or no longer.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Refused { code: 404, .. })
    }
}

fn remedy(code: u16) -> &'static str {
    match code {
        401 | 403 => "grant it to the service account as heapship's manifests do",
        404 => "apply heapship's manifests",
        _ => "trying again",
    }
}

/// Makes a call that ends.
///
/// # Errors
/// When it is refused, or does not get through in time.
pub async fn call<T>(
    attempt: impl Into<String>,
    call: impl Future<Output = kube::Result<T>>,
) -> Result<T, Error> {
    let attempt = attempt.into();
    match timeout(CALL, call).await {
        Err(_) => Err(Error::TimedOut { attempt }),
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(kube::Error::Api(status))) => Err(Error::Refused {
            attempt,
            code: status.code,
            message: status.message,
        }),
        Ok(Err(source)) => Err(Error::Unreachable {
            attempt,
            source: Box::new(source),
        }),
    }
}

/// Says each time when the object may have changed.
pub fn changes<K>(api: Api<K>, name: &str) -> impl Stream<Item = ()> + Send + use<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    watch_object(api, name).default_backoff().map(|event| {
        if let Err(error) = event {
            tracing::debug!(%error, "a watch broke; it is asked again");
        }
    })
}

/// Remembers what was complained about, so that each thing is said once, and how long to wait before the next try.
#[derive(Debug)]
pub struct Complaints {
    subject: &'static str,
    last: String,
    failures: u32,
}

impl Complaints {
    /// Nothing was complained about yet.
    #[must_use]
    pub fn about(subject: &'static str) -> Self {
        Self {
            subject,
            last: String::new(),
            failures: 0,
        }
    }

    /// Says what is wrong unless it was the last thing said. Returns how long to wait.
    pub fn add(&mut self, error: &(dyn std::error::Error + 'static)) -> Duration {
        let text = error.to_string();
        if text != self.last {
            tracing::warn!(error, subject = self.subject, "something is not as it should be");
            self.last = text;
        }
        let (first, longest) = PAUSES;
        let pause = first
            .saturating_mul(2_u32.saturating_pow(self.failures))
            .min(longest);
        self.failures = self.failures.saturating_add(1);
        pause
    }

    /// All is well again.
    pub fn clear(&mut self) {
        if !self.last.is_empty() {
            tracing::info!(was = self.last, subject = self.subject, "all is well again");
        }
        *self = Self::about(self.subject);
    }
}
