//! The agent's loop: look, claim, and bring one dump after the other to its end.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::attempt::{Attempt, Context, Error, Evidence, Outcome};
use super::ledger::Stage;
use super::places::Place;
use super::quiet::Quiet;
use super::retry;
use super::time::Time;
use super::tracked::Tracked;
use super::watch::Watcher;
use crate::key::KeyTemplate;
use crate::shutdown::Signals;

mod choose;
mod look;
mod say;

pub(super) use say::chain;
use say::say;

/// What the loop is there for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// To ship what appears until somebody ends it.
    Watch,
    /// To ship what is there.
    Once,
    /// To ship what another pod has left, which is dead.
    Adopt,
}

/// How the loop ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// Every dump that was seen has been shipped, or waits for somebody with good reason.
    Shipped,
    /// Not every one.
    Left,
    /// The newest of a pod that should be dead waits until the quota has room for it.
    Held,
    /// Another agent has the folder.
    Lost,
}

/// What the loop knows.
pub struct Shipper {
    pub(super) context: Arc<Context>,
    pub(super) places: Vec<Place>,
    pub(super) template: KeyTemplate,
    pub(super) settle: Duration,
    pub(super) max_dumps: u32,
    pub(super) mode: Mode,
    /// When the process began: what was written before is older than the pod, unless the ledger says otherwise.
    pub(super) started: Time,
    /// What is on volumes of the user's own has not been told from what comes later.
    first_look: bool,
    /// Places whose claimed dumps could not be read yet.
    unrecovered: Vec<Place>,
    tracked: Vec<Tracked>,
    segments: HashMap<PathBuf, Quiet>,
    ending: bool,
    /// What was said about the store last, so that a store that is down for an hour is one line.
    said: Option<String>,
    /// The dump that waits for the quota.
    held: Option<String>,
    unclaimed: HashMap<PathBuf, String>,
    /// When others were last told that we live.
    renewed: Option<Instant>,
}

/// A dump under way.
struct Running {
    name: String,
    container: String,
    handle: JoinHandle<(Attempt, Result<Outcome, Error>)>,
}

/// How it ended.
struct Ended {
    name: String,
    container: String,
    /// Nothing where it panicked.
    attempt: Option<Attempt>,
    result: Result<Outcome, Error>,
}

/// Also of signs of life on a claim.
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
        mode: Mode,
        started: Time,
    ) -> Self {
        let own = places.iter().filter(|place| !place.is_foreign());
        Self {
            // Who asks for what is there to be shipped means old dumps as well.
            first_look: mode == Mode::Watch && !context.disk.history(started).looked,
            unrecovered: own.cloned().collect(),
            started,
            context,
            places,
            template,
            settle,
            max_dumps,
            mode,
            renewed: None,
            tracked: Vec::new(),
            segments: HashMap::new(),
            ending: false,
            said: None,
            held: None,
            unclaimed: HashMap::new(),
        }
    }

    /// Runs until a signal comes, or else than for [`Mode::Watch`] until nothing is left to do.
    pub async fn run(mut self, mut signals: Option<&mut Signals>) -> End {
        let mut watcher = Watcher::new();
        let mut running: Option<Running> = None;
        loop {
            for place in &self.places {
                watcher.watch(place.directory());
                watcher.watch(&self.context.disk.claimed(&place.source.name));
            }
            if !self.give_a_sign(Instant::now()) {
                tracing::warn!(
                    "another agent has taken over this folder of dumps: it goes on with what is there"
                );
                return if self.ending { End::Left } else { End::Lost };
            }
            self.recover();
            self.look(Instant::now());
            if running.is_none() {
                running = self.next_task().map(spawn(&self.context));
            }
            if running.is_none() && (self.mode != Mode::Watch || self.ending) && self.is_done() {
                return self.end();
            }
            tokio::select! {
                () = watcher.changed() => {}
                () = tokio::time::sleep(self.pause(Instant::now())) => {}
                ended = end_of(&mut running) => {
                    running = None;
                    self.ended(ended, Instant::now());
                }
                signal = next_of(&mut signals) => {
                    if self.ending {
                        tracing::warn!(signal, "asked again to end: leaving at once, unshipped dumps stay where they are");
                        return End::Left;
                    }
                    tracing::info!(signal, "asked to end: shipping what is there");
                    self.ending = true;
                    // What waits for its next attempt has no time to lose.
                    for dump in &mut self.tracked {
                        dump.not_before = None;
                    }
                }
            }
        }
    }

    fn ended(&mut self, ended: Ended, now: Instant) {
        let Ended {
            name,
            container,
            attempt,
            result,
        } = ended;
        let mine = |dump: &Tracked| dump.name == name && dump.entry.container == container;
        let Some(at) = self.tracked.iter().position(mine) else {
            return;
        };
        let Some(dump) = self.tracked.get_mut(at) else {
            return;
        };
        if let Some(Attempt { entry, .. }) = &attempt {
            dump.entry = entry.clone();
        } else if let Some(entry) = self.context.disk.entry(&container, &name) {
            dump.entry = entry;
        }
        let (entry, file) = (dump.entry.clone(), dump.file.clone());
        match result {
            Ok(outcome) => {
                say(&file, &entry.container, &outcome);
                if matches!(outcome, Outcome::Shipped(_) | Outcome::ShippedAsItStood(_))
                    && self.said.take().is_some()
                {
                    tracing::info!("the store takes dumps again");
                }
                let stays = match outcome {
                    Outcome::NotYet | Outcome::Changed | Outcome::TooShort | Outcome::ShippedAsItStood(_) => {
                        true
                    }
                    Outcome::Shipped(_) | Outcome::Rejected(..) | Outcome::Dropped => {
                        matches!(entry.stage, Stage::Kept { .. })
                    }
                    Outcome::Forgotten => attempt.as_ref().is_some_and(|attempt| !attempt.look.0.is_empty()),
                    Outcome::Vanished => false,
                };
                if !stays {
                    self.tracked.remove(at);
                } else if let Some(dump) = self.tracked.get_mut(at) {
                    dump.failures = 0;
                    if let Some(Attempt { evidence, look, .. }) = attempt
                        && !matches!(outcome, Outcome::Changed)
                    {
                        // No second look at the same bytes. When we are to end, none at all: the wait could be long.
                        dump.given_up = matches!(outcome, Outcome::NotYet) && evidence == Evidence::Ending;
                        dump.too_short = matches!(outcome, Outcome::TooShort).then(|| look.clone());
                        dump.judged = Some(look);
                    }
                }
            }
            Err(error) => {
                let text = self.complaint(&error, &entry);
                self.said = Some(text);
                if let Some(dump) = self.tracked.get_mut(at) {
                    let person = error.needs_a_person();
                    dump.failures += 1;
                    dump.not_before = Some(now + retry::pause(dump.failures, person, self.ending, chance()));
                    // A store may come back or be put right until SIGKILL comes.
                    let hopeless = person && !matches!(error, Error::Store(_));
                    dump.given_up = self.mode != Mode::Watch && (person || dump.failures >= ATTEMPTS_ONCE)
                        || self.ending && hopeless;
                }
            }
        }
    }

    /// Whether what is held back for the quota must go now or never, after so many uploads. A pod that should be dead and goes
    /// on dumping has its last chance once.
    fn is_last_chance(&self, uploads: usize) -> bool {
        let is_spent = usize::try_from(self.max_dumps).is_ok_and(|max| uploads > max);
        self.ending || self.mode == Mode::Adopt && !is_spent
    }

    /// Every few seconds. Answers whether the folder is still ours; where the volume does not answer, that is found out later.
    fn give_a_sign(&mut self, now: Instant) -> bool {
        let fresh = |at: Instant| now.saturating_duration_since(at) < RESCAN;
        let Some(presence) = &self.context.presence else {
            return true;
        };
        if self.renewed.is_some_and(fresh) {
            return true;
        }
        if presence.is_held().is_ok_and(|is_held| !is_held) {
            return false;
        }
        presence.renew();
        self.renewed = Some(now);
        true
    }

    /// Whether nothing is left that this process can do.
    fn is_done(&self) -> bool {
        let held = |dump: &Tracked| self.held.as_ref() == Some(&dump.name);
        // A dead pod's own agent will not come back to finish what it shipped as it stood.
        let rests = |dump: &Tracked| dump.rests() && !(self.mode == Mode::Adopt && dump.is_unsure());
        self.tracked
            .iter()
            .all(|dump| dump.given_up || rests(dump) || held(dump))
    }

    /// Says what is left behind.
    fn end(&self) -> End {
        for dump in self.tracked.iter().filter(|dump| dump.given_up) {
            let (container, dump, file) = (&dump.entry.container, &dump.entry.file, dump.file.display());
            tracing::warn!(container, dump, "not shipped: the dump is kept in {file}");
        }
        for dump in self.tracked.iter().filter(|dump| dump.is_too_short()) {
            let (container, dump, file) = (&dump.entry.container, &dump.entry.file, dump.file.display());
            tracing::warn!(
                container,
                dump,
                "not shipped: nothing of a dump had been written yet; the file is kept in {file}"
            );
        }
        if !self.unclaimed.is_empty() || self.tracked.iter().any(|dump| dump.given_up) {
            End::Left
        } else if self.mode == Mode::Adopt && self.held.is_some() {
            End::Held
        } else {
            End::Shipped
        }
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
        let (Task::Ship(attempt) | Task::Drop(attempt)) = &task;
        let (name, container) = (attempt.name.clone(), attempt.entry.container.clone());
        let handle = tokio::spawn(async move {
            let (is_shipped, mut attempt) = match task {
                Task::Ship(attempt) => (true, attempt),
                Task::Drop(attempt) => (false, attempt),
            };
            loop {
                let turn = context.turns.take(context.whose()).await;
                let work = async {
                    if is_shipped {
                        attempt.ship(&context).await
                    } else {
                        attempt.drop_it(&context).await
                    }
                };
                tokio::select! {
                    result = work => return (attempt, result),
                    // Like an end at this point: the entry knows where to go on.
                    () = turn.is_wanted_back() => {}
                }
            }
        });
        Running {
            name,
            container,
            handle,
        }
    }
}

impl Drop for Running {
    /// Whoever is no longer interested must not keep the others waiting. The ledger knows where to go on.
    fn drop(&mut self) {
        self.handle.abort();
    }
}

async fn next_of(signals: &mut Option<&mut Signals>) -> &'static str {
    match signals {
        Some(signals) => signals.next().await,
        None => std::future::pending().await,
    }
}

/// Never returns where nothing is running.
async fn end_of(running: &mut Option<Running>) -> Ended {
    let Some(Running {
        name,
        container,
        handle,
    }) = running
    else {
        return std::future::pending().await;
    };
    let (attempt, result) = match handle.await {
        Ok((attempt, result)) => (Some(attempt), result),
        Err(error) => (None, Err(Error::Panicked(error.to_string()))),
    };
    Ended {
        name: std::mem::take(name),
        container: std::mem::take(container),
        attempt,
        result,
    }
}

/// Enough chance for spreading retries: the hasher's keys are random for each process and each call.
fn chance() -> u32 {
    use std::hash::{BuildHasher as _, RandomState};
    #[expect(clippy::cast_possible_truncation, reason = "any 32 bits do")]
    let chance = RandomState::new().hash_one(Instant::now()) as u32;
    chance
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_a_failure_of_the_dump_that_was_under_way() {
        let mut running = Some(Running {
            name: "n".to_owned(),
            container: "app".to_owned(),
            handle: tokio::spawn(async { panic!("a bug") }),
        });
        let Ended {
            name,
            container,
            attempt,
            result,
        } = end_of(&mut running).await;
        assert_eq!((name.as_str(), container.as_str()), ("n", "app"));
        assert!(attempt.is_none());
        let error = result.unwrap_err();
        assert!(error.to_string().contains("a bug of heapship"), "{error}");
        assert!(!error.needs_a_person());
    }
}
