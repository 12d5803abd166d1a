//! Wakes the shipper when something happens in a directory; the shipper looks for itself what it was.

use std::path::{Path, PathBuf};

use futures_util::StreamExt as _;
use inotify::{EventStream, Inotify, WatchMask, Watches};

/// Directories that are watched.
pub struct Watcher {
    notify: Option<(Watches, EventStream<[u8; 1024]>)>,
    watched: Vec<PathBuf>,
}

impl Watcher {
    /// Watches nothing yet.
    ///
    /// Where the kernel gives no inotify instance (128 for each user of a node by default, and many pods run under one
    /// UID) the periodic rescan alone has to do.
    #[must_use]
    pub fn new() -> Self {
        let notify = Inotify::init().and_then(|inotify| {
            let watches = inotify.watches();
            Ok((watches, inotify.into_event_stream([0; 1024])?))
        });
        if let Err(error) = &notify {
            tracing::info!(%error, "no inotify: dumps are found by looking every few seconds");
        }
        Self {
            notify: notify.ok(),
            watched: Vec::new(),
        }
    }

    /// Watches a directory, once it exists. Free to call again.
    pub fn watch(&mut self, directory: &Path) {
        let Some((watches, _)) = &mut self.notify else {
            return;
        };
        if self.watched.iter().any(|watched| watched == directory) {
            return;
        }
        let mask = WatchMask::CREATE | WatchMask::MOVED_TO | WatchMask::CLOSE_WRITE | WatchMask::ONLYDIR;
        // One that does not exist yet comes again with the next rescan.
        if watches.add(directory, mask).is_ok() {
            self.watched.push(directory.to_owned());
        }
    }

    /// Returns when something happened. Never where there is no inotify.
    pub async fn changed(&mut self) {
        match &mut self.notify {
            Some((_, events)) => match events.next().await {
                Some(Ok(_)) => {}
                // An overflowing queue is an event; a broken one must not spin.
                Some(Err(_)) | None => self.notify = None,
            },
            None => std::future::pending().await,
        }
    }
}

impl Default for Watcher {
    fn default() -> Self {
        Self::new()
    }
}
