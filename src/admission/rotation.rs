//! Offers the certificate in its files whenever they change.
//!
//! A Secret volume is updated by swapping the symlink `..data`: a watch on the file sees that once and then nothing for
//! ever, so the directory is watched. What no watch reports (a network file system, a directory that was replaced) is
//! found by reading again every [`INTERVAL`].

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::StreamExt as _;
use inotify::{EventStream, Inotify, WatchMask};
use tokio::time::{sleep, timeout};

use crate::certificates::serving::Candidates;
use crate::metrics::Metrics;

use super::tls::{Certificate, Error, Files};

/// How long a change may stay unseen where the watch does not report it.
pub const INTERVAL: Duration = Duration::from_secs(30);

/// A writer that is not the kubelet changes one file after the other: reading waits until it has been quiet this long.
const SETTLE: Duration = Duration::from_millis(50);

/// Follows the files for ever. A pair that is not fit to be served is reported once and changes nothing; where it is the first,
/// nothing is served until a better one comes.
pub async fn follow(files: Files, candidates: Candidates, metrics: Arc<Metrics>, interval: Duration) {
    let mut changes = Changes::of(&[&files.certificate, &files.key]);
    let mut last_complaint = String::new();
    let mut is_any_offered = false;
    // Reading comes first: what changed between the start and the watch would otherwise wait for the timer.
    loop {
        match read(&files).await {
            Ok(certificate) => {
                last_complaint.clear();
                candidates.offer(Arc::new(certificate));
                is_any_offered = true;
            }
            Err(error) => {
                let complaint = error.to_string();
                if complaint != last_complaint {
                    metrics.certificate_rejections.inc();
                    let error = &error as &dyn std::error::Error;
                    if is_any_offered {
                        tracing::error!(error, "keeping the certificate in use: its replacement is unfit");
                    } else {
                        tracing::error!(
                            error,
                            "waiting for another certificate: the one in the files is unfit"
                        );
                    }
                    last_complaint = complaint;
                }
            }
        }
        changes.next(interval).await;
    }
}

async fn read(files: &Files) -> Result<Certificate, Error> {
    match Certificate::load(files, SystemTime::now()) {
        Ok(certificate) => Ok(certificate),
        // The files may have been swapped between the reading of one and of the other: that is no fault.
        Err(_) => {
            sleep(SETTLE).await;
            Certificate::load(files, SystemTime::now())
        }
    }
}

/// Tells when files may have changed.
pub struct Changes {
    watch: Option<Watch>,
}

impl Changes {
    /// Of these files, by their directories.
    #[must_use]
    pub fn of(files: &[&Path]) -> Self {
        let watch = Watch::new(files)
            .inspect_err(|error| tracing::warn!(%error, "cannot watch a certificate's directory; reading it on a timer"))
            .ok();
        Self { watch }
    }

    /// Waits for a change and until it is whole, or for `interval`.
    pub async fn next(&mut self, interval: Duration) {
        let Some(active) = &mut self.watch else {
            sleep(interval).await;
            return;
        };
        match timeout(interval, active.event()).await {
            // Between two looks the directory may have become another one: the same path, a new inode.
            Err(_) => active.renew(),
            Ok(Ok(())) => {
                for _ in 0..20 {
                    if timeout(SETTLE, active.event()).await.is_err() {
                        break;
                    }
                }
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "the watch on a certificate's directory broke; reading it on a timer");
                self.watch = None;
            }
        }
    }
}

struct Watch {
    events: EventStream<[u8; 4096]>,
    directories: BTreeSet<PathBuf>,
}

impl Watch {
    fn new(files: &[&Path]) -> io::Result<Self> {
        let watch = Self {
            events: Inotify::init()?.into_event_stream([0; 4096])?,
            directories: files.iter().map(|file| directory(file)).collect(),
        };
        for directory in &watch.directories {
            watch.add(directory)?;
        }
        Ok(watch)
    }

    fn add(&self, directory: &Path) -> io::Result<()> {
        let mask = WatchMask::MOVED_TO | WatchMask::CLOSE_WRITE | WatchMask::CREATE;
        self.events.watches().add(directory, mask).map(drop)
    }

    fn renew(&self) {
        for directory in &self.directories {
            if let Err(error) = self.add(directory) {
                tracing::debug!(%error, directory = %directory.display(), "cannot watch");
            }
        }
    }

    async fn event(&mut self) -> io::Result<()> {
        match self.events.next().await {
            Some(event) => event.map(drop),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

fn directory(file: &Path) -> PathBuf {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}
