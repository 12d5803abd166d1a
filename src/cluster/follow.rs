//! Following a kind of object: the list, then every change of it, for ever.
//!
//! Not `kube::runtime::watcher`, which says nothing when a broken watch stands again and nothing changes: we could not tell
//! what is current from what is old. Its requests have no bound of their own either.

use std::fmt::Debug;
use std::time::Duration;

use futures_util::{Stream, TryStreamExt as _, pin_mut};
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep, timeout};

use super::in_words;

/// A request until its answer begins; a page of a list until it is whole.
const REQUEST: Duration = Duration::from_secs(15);
/// Objects in a page.
const PAGE: u32 = 500;
/// When the API server ends a watch, so that the next one proves that the connection lives.
const WATCH: Duration = Duration::from_secs(30);
/// A watch that is silent for longer than this is dead: nobody hears a connection that vanished.
const SILENCE: Duration = Duration::from_secs(35);
/// A watch that ends sooner is broken.
const SHORTEST: Duration = Duration::from_secs(1);
/// The first pause after a failure; doubled up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Failures in a row after which the list is read again: the position may be what is wrong, as after a restored backup.
const FRESH_START: u32 = 3;

/// What happened.
#[derive(Debug)]
pub(super) enum Event<K> {
    /// Everything there is; what is not among it is gone.
    Listed(Vec<K>),
    /// From here on every change arrives.
    Standing,
    /// New or changed.
    Changed(K),
    /// Gone.
    Deleted(K),
    /// Nothing arrives until it stands again.
    Broken(Error),
}

/// Why a watch does not stand.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("the API server did not answer within {REQUEST:?}")]
    NoAnswer,
    #[error("the connection was silent for {SILENCE:?}")]
    Silent,
    #[error("the watch ended as soon as it had begun")]
    Ended,
    #[error("the API server's list has no resourceVersion")]
    NoVersion,
    #[error("{}", in_words(.0))]
    Api(kube::Error),
}

impl From<kube::Error> for Error {
    fn from(error: kube::Error) -> Self {
        Self::Api(error)
    }
}

/// Follows the objects that `selection` admits, which is a field selector; never returns.
///
/// Failures are told to `tell` and followed by another attempt, after 100 ms at first and after 5 s at most.
pub(super) async fn follow<K>(api: Api<K>, selection: Option<&str>, mut tell: impl FnMut(Event<K>))
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    let mut position = None;
    let mut failures = 0;
    loop {
        let Err(error) = attempt(&api, selection, &mut position, &mut failures, &mut tell).await else {
            continue;
        };
        failures += 1;
        if is_expired(&error) || failures % FRESH_START == 0 {
            position = None;
        }
        tell(Event::Broken(error));
        sleep(
            FIRST_PAUSE
                .saturating_mul(1 << failures.min(10))
                .min(LONGEST_PAUSE),
        )
        .await;
    }
}

/// One watch from its beginning to its orderly end, after the list where there is no position yet.
async fn attempt<K>(
    api: &Api<K>,
    selection: Option<&str>,
    position: &mut Option<String>,
    failures: &mut u32,
    tell: &mut impl FnMut(Event<K>),
) -> Result<(), Error>
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    let from = match position {
        Some(version) => version.clone(),
        None => {
            let (objects, version) = list(api, selection).await?;
            tell(Event::Listed(objects));
            position.insert(version).clone()
        }
    };
    let params = WatchParams {
        field_selector: selection.map(str::to_owned),
        timeout: u32::try_from(WATCH.as_secs()).ok(),
        ..WatchParams::default()
    };
    let stream = timeout(REQUEST, api.watch(&params, &from))
        .await
        .map_err(|_| Error::NoAnswer)??;
    let began = Instant::now();
    tell(Event::Standing);
    relay(stream, position, failures, tell).await?;
    if began.elapsed() < SHORTEST {
        return Err(Error::Ended);
    }
    *failures = 0;
    Ok(())
}

async fn relay<K: Resource>(
    stream: impl Stream<Item = kube::Result<WatchEvent<K>>>,
    position: &mut Option<String>,
    failures: &mut u32,
    tell: &mut impl FnMut(Event<K>),
) -> Result<(), Error> {
    pin_mut!(stream);
    while let Some(event) = timeout(SILENCE, stream.try_next())
        .await
        .map_err(|_| Error::Silent)??
    {
        let version = match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                let version = object.meta().resource_version.clone();
                tell(Event::Changed(object));
                version
            }
            WatchEvent::Deleted(object) => {
                let version = object.meta().resource_version.clone();
                tell(Event::Deleted(object));
                version
            }
            WatchEvent::Bookmark(bookmark) => Some(bookmark.metadata.resource_version),
            WatchEvent::Error(status) => return Err(kube::Error::Api(status).into()),
        };
        *position = version.or_else(|| position.take());
        *failures = 0;
    }
    Ok(())
}

async fn list<K>(api: &Api<K>, selection: Option<&str>) -> Result<(Vec<K>, String), Error>
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    let mut objects = Vec::new();
    let mut params = ListParams {
        field_selector: selection.map(str::to_owned),
        limit: Some(PAGE),
        ..ListParams::default()
    };
    loop {
        let page = timeout(REQUEST, api.list(&params))
            .await
            .map_err(|_| Error::NoAnswer)??;
        objects.extend(page.items.into_iter().map(|mut object| {
            // Half of a namespace's metadata, and of no interest; the list is in memory as a whole.
            object.meta_mut().managed_fields = None;
            object
        }));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params.continue_token = Some(token),
            None => {
                let version = page
                    .metadata
                    .resource_version
                    .filter(|version| !version.is_empty());
                return Ok((objects, version.ok_or(Error::NoVersion)?));
            }
        }
    }
}

/// The API server no longer knows the changes since our position.
fn is_expired(error: &Error) -> bool {
    matches!(error, Error::Api(kube::Error::Api(status)) if status.code == 410)
}
