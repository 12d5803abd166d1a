//! The agent's loop: look, claim, and bring one dump after the other to its end.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::attempt::{Attempt, Context, Error, Evidence, Outcome};
use super::ledger::{Entry, Stage};
use super::places::Place;
use super::quiet::Quiet;
use super::quota;
use super::record::Completeness;
use super::retry;
use super::time::Time;
use super::tracked::Tracked;
use super::watch::Watcher;
use crate::key::KeyTemplate;

mod look;

/// What the loop knows.
pub struct Shipper {
    pub(super) context: Arc<Context>,
    pub(super) places: Vec<Place>,
    pub(super) template: KeyTemplate,
    pub(super) settle: Duration,
    pub(super) max_dumps: u32,
    pub(super) once: bool,
    tracked: Vec<Tracked>,
    segments: HashMap<PathBuf, Quiet>,
    ending: bool,
    /// What was said about the store last, so that a store that is down for an hour is one line.
    said: Option<String>,
    /// The dump that waits for the quota.
    held: Option<String>,
    unclaimed: HashMap<PathBuf, String>,
}

/// A dump under way.
type Running = JoinHandle<(Attempt, Result<Outcome, Error>)>;

const RESCAN: Duration = Duration::from_secs(5);
/// Attempts of a `--once` run before it says that it could not.
const ATTEMPTS_ONCE: u32 = 3;

enum Task {
    Ship(Attempt),
    Drop(Attempt),
}

impl Shipper {
    /// Nothing known yet; [`Self::run`] reads the ledger.
    #[must_use]
    pub fn new(
        context: Arc<Context>,
        places: Vec<Place>,
        template: KeyTemplate,
        settle: Duration,
        max_dumps: u32,
        once: bool,
    ) -> Self {
        Self {
            context,
            places,
            template,
            settle,
            max_dumps,
            once,
            tracked: Vec::new(),
            segments: HashMap::new(),
            ending: false,
            said: None,
            held: None,
            unclaimed: HashMap::new(),
        }
    }

    /// Runs until a signal comes, or with `once` until nothing is left to do. Answers whether every dump that was seen
    /// has been shipped, or waits for somebody with good reason.
    ///
    /// # Errors
    /// When signals cannot be heard.
    pub async fn run(mut self) -> std::io::Result<bool> {
        let mut watcher = Watcher::new();
        let mut stop = Box::pin(crate::shutdown::requested());
        let mut running: Option<Running> = None;
        self.recover();
        loop {
            for place in &self.places {
                watcher.watch(place.directory());
                watcher.watch(&self.context.disk.claimed(&place.source.name));
            }
            self.look(Instant::now());
            if running.is_none() {
                running = self.next_task().map(spawn(&self.context));
            }
            if running.is_none() && (self.once || self.ending) && self.is_done() {
                return Ok(self.all_shipped());
            }
            tokio::select! {
                () = watcher.changed() => {}
                () = tokio::time::sleep(self.pause(Instant::now())) => {}
                ended = end_of(&mut running) => {
                    running = None;
                    self.ended(ended, Instant::now());
                }
                signal = &mut stop => {
                    let signal = signal?;
                    if self.ending {
                        tracing::warn!(signal, "asked again to end: leaving at once, unshipped dumps stay where they are");
                        return Ok(false);
                    }
                    tracing::info!(signal, "asked to end: shipping what is there");
                    self.ending = true;
                    // What waits for its next attempt has no time to lose.
                    for dump in &mut self.tracked {
                        dump.not_before = None;
                    }
                    stop = Box::pin(crate::shutdown::requested());
                }
            }
        }
    }

    fn next_task(&mut self) -> Option<Task> {
        let now = Instant::now();
        // First what needs no upload: it frees the disk.
        let evidence = |dump: &Tracked| dump.evidence(self.settle, self.ending, now);
        let finishing = |dump: &&Tracked| dump.needs_no_upload(evidence(dump)) && dump.is_due(now);
        if let Some(dump) = self.tracked.iter().find(finishing) {
            return Some(Task::Ship(dump.attempt(Evidence::Settled)));
        }
        self.tracked.sort_by_key(|dump| dump.entry.time);
        let mut ready: Vec<Attempt> = Vec::new();
        let mut due: Vec<bool> = Vec::new();
        for dump in self.tracked.iter().filter(|dump| !dump.rests() && !dump.given_up) {
            if let Some(evidence) = evidence(dump) {
                ready.push(dump.attempt(evidence));
                due.push(dump.is_due(now));
            }
        }
        if ready.is_empty() {
            self.held = None;
            return None;
        }
        let wall = Time::now();
        let uploads: Vec<Time> = self
            .context
            .disk
            .history(wall)
            .uploads
            .iter()
            .map(|upload| upload.at)
            .collect();
        let quota::Decision { ship, hold, drop } =
            quota::decide(&uploads, ready.len(), self.max_dumps, wall, self.ending);
        let held = hold
            .and_then(|at| ready.get(at))
            .map(|attempt| attempt.name.clone());
        if held.is_some() && held != self.held {
            tracing::warn!(
                max_dumps = self.max_dumps,
                "the newest dump is held back: as many as max-dumps allows were shipped in 24 hours"
            );
        }
        self.held = held;
        let chosen = |places: &[usize]| places.iter().copied().find(|&at| due.get(at) == Some(&true));
        // Those that are dropped come last, so that the record of the one that was held back counts them.
        if let Some(at) = chosen(&ship) {
            return Some(Task::Ship(ready.swap_remove(at)));
        }
        chosen(&drop).map(|at| Task::Drop(ready.swap_remove(at)))
    }

    fn ended(&mut self, (attempt, result): (Attempt, Result<Outcome, Error>), now: Instant) {
        let Attempt {
            name,
            entry,
            file,
            evidence,
            look,
            sent: _,
        } = attempt;
        let mine = |dump: &Tracked| dump.name == name && dump.entry.container == entry.container;
        let Some(at) = self.tracked.iter().position(mine) else {
            return;
        };
        match result {
            Ok(outcome) => {
                say(&file, &entry.container, &outcome);
                if matches!(outcome, Outcome::Shipped(_) | Outcome::ShippedAsItStood(_))
                    && self.said.take().is_some()
                {
                    tracing::info!("the store takes dumps again");
                }
                let stays = match outcome {
                    Outcome::NotYet | Outcome::ShippedAsItStood(_) => true,
                    Outcome::Shipped(_) | Outcome::Rejected(..) | Outcome::Dropped | Outcome::Forgotten => {
                        matches!(entry.stage, Stage::Kept { .. })
                    }
                    Outcome::Vanished => false,
                };
                if !stays {
                    self.tracked.remove(at);
                } else if let Some(dump) = self.tracked.get_mut(at) {
                    dump.entry = entry;
                    dump.failures = 0;
                    // No second look at the same bytes. When we are to end, none at all: the wait could be long.
                    dump.given_up = matches!(outcome, Outcome::NotYet) && evidence == Evidence::Ending;
                    dump.judged = Some(look);
                }
            }
            Err(error) => {
                let text = self.complaint(&error, &entry);
                self.said = Some(text);
                if let Some(dump) = self.tracked.get_mut(at) {
                    let person = error.needs_a_person();
                    dump.entry = entry;
                    dump.failures += 1;
                    dump.not_before = Some(now + retry::pause(dump.failures, person, chance()));
                    dump.given_up =
                        self.once && (person || dump.failures >= ATTEMPTS_ONCE) || self.ending && person;
                }
            }
        }
    }

    /// Says what is wrong, once for each cause in a row, and returns the cause.
    fn complaint(&self, error: &Error, entry: &Entry) -> String {
        let (text, detail) = (error.to_string(), chain(error));
        let cause = error
            .cause()
            .map_or_else(|| text.clone(), |cause| cause.to_string());
        let (container, dump) = (&entry.container, &entry.file);
        if self.said.as_ref() == Some(&cause) {
            tracing::debug!(container, dump, detail, "{text}");
        } else {
            tracing::error!(
                container,
                dump,
                detail,
                "{text}; the dump is kept and tried again"
            );
        }
        cause
    }

    /// Whether nothing is left that this process can do.
    fn is_done(&self) -> bool {
        let held = |dump: &Tracked| self.held.as_ref() == Some(&dump.name);
        self.tracked
            .iter()
            .all(|dump| dump.given_up || dump.rests() || held(dump))
    }

    /// Says what is left behind.
    fn all_shipped(&self) -> bool {
        for dump in self.tracked.iter().filter(|dump| dump.given_up) {
            let (container, dump, file) = (&dump.entry.container, &dump.entry.file, dump.file.display());
            tracing::warn!(container, dump, "not shipped: the dump is kept in {file}");
        }
        self.unclaimed.is_empty() && self.tracked.iter().all(|dump| !dump.given_up)
    }

    fn pause(&self, now: Instant) -> Duration {
        let growing = self
            .tracked
            .iter()
            .any(|dump| !dump.rests() && dump.evidence(self.settle, self.ending, now).is_none());
        let rescan = if growing {
            (self.settle / 4).clamp(Duration::from_millis(50), Duration::from_secs(1))
        } else {
            RESCAN
        };
        let due = self
            .tracked
            .iter()
            .filter(|dump| !dump.given_up)
            .filter_map(|dump| dump.not_before);
        due.map(|at| at.saturating_duration_since(now))
            .filter(|wait| !wait.is_zero())
            .fold(rescan, Duration::min)
    }
}

fn spawn(context: &Arc<Context>) -> impl Fn(Task) -> Running {
    let context = Arc::clone(context);
    move |task| {
        let context = Arc::clone(&context);
        tokio::spawn(async move {
            match task {
                Task::Ship(mut attempt) => {
                    let result = attempt.ship(&context).await;
                    (attempt, result)
                }
                Task::Drop(mut attempt) => {
                    let result = attempt.drop_it(&context).await;
                    (attempt, result)
                }
            }
        })
    }
}

/// Never returns where nothing is running.
async fn end_of(running: &mut Option<Running>) -> (Attempt, Result<Outcome, Error>) {
    loop {
        match running {
            None => std::future::pending::<()>().await,
            Some(handle) => match handle.await {
                Ok(ended) => return ended,
                Err(error) => {
                    // A bug of ours; the ledger knows where to go on, at the next start.
                    tracing::error!(%error, "shipping a dump ended unexpectedly");
                    *running = None;
                }
            },
        }
    }
}

fn say(file: &Path, container: &str, outcome: &Outcome) {
    let file = file.to_string_lossy();
    let file: &str = &file;
    match outcome {
        Outcome::Shipped(record) | Outcome::ShippedAsItStood(record) => {
            let completeness = match &record.completeness {
                Completeness::Complete => "complete".to_owned(),
                Completeness::Truncated { offset, reason } => format!("truncated at byte {offset}: {reason}"),
            };
            tracing::info!(
                container,
                reason = record.reason.as_str(),
                key = record.key,
                dump_bytes = record.bytes.dump,
                object_bytes = record.bytes.object,
                codec = record.codec.as_str(),
                completeness,
                crc32 = record.crc32,
                sha256 = record.sha256,
                dropped = record.dropped,
                "shipped {}",
                record.key
            );
            if matches!(outcome, Outcome::ShippedAsItStood(_)) {
                tracing::warn!(
                    container,
                    file,
                    "the dump may have had a writer still: shipped as it stood, and kept"
                );
            }
        }
        Outcome::Rejected(verdict, place) => {
            tracing::warn!(
                container,
                file,
                "{verdict}; not shipped, it is now {}",
                place.display()
            );
        }
        Outcome::Dropped => tracing::warn!(
            container,
            file,
            "dropped: more dumps than max-dumps allows in 24 hours"
        ),
        Outcome::Vanished => tracing::warn!(
            container,
            file,
            "somebody else deleted the dump before it was shipped"
        ),
        Outcome::NotYet => tracing::debug!(container, file, "not finished yet"),
        Outcome::Forgotten => {}
    }
}

/// What stands behind an error, its own text left out.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut texts = Vec::new();
    let mut source = error.source();
    while let Some(error) = source {
        texts.push(error.to_string());
        source = error.source();
    }
    texts.join(": ")
}

/// Enough chance for spreading retries: the hasher's keys are random for each process and each call.
fn chance() -> u32 {
    use std::hash::{BuildHasher as _, RandomState};
    #[expect(clippy::cast_possible_truncation, reason = "any 32 bits do")]
    let chance = RandomState::new().hash_one(Instant::now()) as u32;
    chance
}
