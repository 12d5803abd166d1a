//! From the certificate that should be served to the one that is.
//!
//! A new one is held back until every caller trusts its CA, as far as the registration tells. It is never held back
//! longer than the one in use is valid.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::watch;
use tokio::time::sleep;

use crate::admission::health::{Readiness, Wait};
use crate::admission::tls::{Certificate, Served};
use crate::metrics::Metrics;

use super::objects::LOOK;
use super::trust::Standing;

/// The newest certificate that should be served; earlier ones that were held back are forgotten.
#[derive(Clone, Debug)]
pub struct Candidates(watch::Sender<Option<Arc<Certificate>>>);

impl Default for Candidates {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl Candidates {
    /// Offers one.
    pub fn offer(&self, certificate: Arc<Certificate>) {
        self.0.send_if_modified(|candidate| {
            let is_new = candidate.as_ref().is_none_or(|last| !last.is_same(&certificate));
            if is_new {
                *candidate = Some(certificate);
            }
            is_new
        });
    }
}

/// What the registration has to say of a certificate, whoever makes the one and writes the other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Demand {
    /// The caBundle leads to it: before it takes another's place, for so long; before this replica calls itself ready,
    /// now.
    Trusted {
        /// See [`super::Lifetimes::settle`].
        settle: Duration,
    },
    /// There is no registration to look at.
    Nothing,
}

/// Whether the candidate may take the place of what is served; `at` is in seconds since 1970.
#[must_use]
pub fn may_serve(
    current: Option<&Certificate>,
    candidate: &Certificate,
    standing: &Standing,
    demand: Demand,
    now: Instant,
    at: i64,
) -> bool {
    let Demand::Trusted { settle } = demand else {
        return true;
    };
    // Nothing is lost where nothing is served.
    if current.is_none_or(|current| current.expires <= at) {
        return true;
    }
    match standing {
        Standing::Unknown => false,
        Standing::Absent => true,
        Standing::Registered(trust) => trust.accepts(candidate, settle, now, at),
    }
}

/// Whether the registration leads to what is served: a caBundle that is empty or cannot be read leads nowhere, and one of
/// another CA, as a change from one kind of certificates to another leaves it for a while, does not lead here.
#[must_use]
pub fn is_proven(
    certificate: &Certificate,
    standing: &Standing,
    demand: Demand,
    now: Instant,
    at: i64,
) -> bool {
    match (standing, demand) {
        (_, Demand::Nothing) => true,
        (Standing::Unknown | Standing::Absent, Demand::Trusted { .. }) => false,
        (Standing::Registered(trust), Demand::Trusted { settle: _ }) => {
            trust.accepts(certificate, Duration::ZERO, now, at)
        }
    }
}

/// Between what should be served and what is.
pub struct Serving {
    /// Where certificates are offered.
    pub candidates: Candidates,
    /// What is known of the registration.
    pub standing: watch::Receiver<Standing>,
    /// What that has to say of a certificate.
    pub demand: Demand,
    /// Where it is served.
    pub served: Arc<Served>,
    /// Who is told of the first certificate, and of the proof.
    pub readiness: Arc<Readiness>,
    /// Where its end is shown.
    pub metrics: Arc<Metrics>,
}

impl Serving {
    /// Serves what is offered, for ever.
    pub async fn run(self) {
        let Self {
            candidates,
            mut standing,
            demand,
            served,
            readiness,
            metrics,
        } = self;
        let mut candidates = candidates.0.subscribe();
        let mut is_held_back = false;
        loop {
            let candidate = candidates.borrow_and_update().clone();
            let known = standing.borrow_and_update().clone();
            let (now, at) = (Instant::now(), wall_clock());
            let current = served.current();
            let is_served =
                |candidate: &Certificate| current.as_ref().is_some_and(|current| current.is_same(candidate));
            let mut pause = LOOK;
            if let Some(candidate) = candidate.filter(|candidate| !is_served(candidate)) {
                if may_serve(current.as_deref(), &candidate, &known, demand, now, at) {
                    metrics.certificate_expiry.set(candidate.expires);
                    tracing::info!(expires = candidate.expires, "serving a new certificate");
                    served.replace(candidate);
                    is_held_back = false;
                } else {
                    if !std::mem::replace(&mut is_held_back, true) {
                        tracing::info!(
                            "a new certificate waits until the registration has held its CA for long enough"
                        );
                    }
                    pause = wait(&known, demand, now)
                        .unwrap_or(LOOK)
                        .min(until_expired(current.as_deref(), at));
                }
            }
            if let Some(current) = served.current() {
                readiness.fulfil(Wait::Certificate);
                if is_proven(&current, &known, demand, now, at) {
                    readiness.fulfil(Wait::Registration);
                }
            }
            tokio::select! {
                Ok(()) = candidates.changed() => {}
                Ok(()) = standing.changed() => {}
                () = sleep(pause.min(LOOK)) => {}
            }
        }
    }
}

fn wait(standing: &Standing, demand: Demand, now: Instant) -> Option<Duration> {
    match (standing, demand) {
        (Standing::Registered(trust), Demand::Trusted { settle }) => trust.settles_in(settle, now),
        (Standing::Unknown | Standing::Absent, _) | (_, Demand::Nothing) => None,
    }
}

fn until_expired(current: Option<&Certificate>, at: i64) -> Duration {
    let left = current.map_or(0, |current| current.expires.saturating_sub(at));
    Duration::from_secs(u64::try_from(left).unwrap_or_default())
}

/// The wall clock in seconds since 1970, as certificates count.
#[must_use]
pub fn wall_clock() -> i64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}
