//! Which namespaces to see to next, and when: a queue in which each stands once, however often it is put there. Pure: the
//! time is given.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use tokio::time::Instant;

/// After the first try; doubled with each further one up to [`LONGEST_PAUSE`]. Two webhooks with different policies undo
/// each other's work: they do it slowly.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(5);
/// As many tries as a failure counts at most: eight seconds.
const FAILED: u32 = 4;
/// What was right for so long starts afresh when it goes wrong again.
const FORGET: Duration = Duration::from_mins(10);

/// The queue. It holds what was put there and what was tried within the last ten minutes, so at most every namespace.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    order: BTreeSet<(Instant, String)>,
    items: HashMap<String, Item>,
}

#[derive(Debug)]
struct Item {
    at: Instant,
    tries: u32,
    last: Option<Instant>,
}

impl Agenda {
    /// Something is to be done: at that time, or when the pause after the last try is over.
    pub(super) fn put(&mut self, name: String, due: Instant) {
        let at = self
            .items
            .get(&name)
            .and_then(|item| Some(item.last? + pause(item.tries)))
            .map_or(due, |earliest| earliest.max(due));
        if self.items.get(&name).is_none_or(|item| at < item.at) {
            self.schedule(name, at);
        }
    }

    /// When [`Self::next`] has something to give.
    pub(super) fn wake(&self) -> Option<Instant> {
        self.order.first().map(|(at, _)| *at)
    }

    /// The next one whose time has come. It must be told [`Self::tried`], [`Self::is_early`] or [`Self::is_right`].
    pub(super) fn next(&mut self, now: Instant) -> Option<String> {
        if self.wake()? > now {
            return None;
        }
        self.order.pop_first().map(|(_, name)| name)
    }

    /// Something was done about it; it is looked at again after a pause, whatever came of it.
    pub(super) fn tried(&mut self, name: String, now: Instant) {
        let item = self.items.entry(name.clone()).or_insert(Item {
            at: now,
            tries: 0,
            last: None,
        });
        item.tries = item.tries.saturating_add(1);
        item.last = Some(now);
        let at = now + pause(item.tries);
        self.schedule(name, at);
    }

    /// The try failed, which is nobody's contradiction: the next one is not put off as if it were.
    pub(super) fn failed(&mut self, name: String, now: Instant) {
        let Some(item) = self.items.get_mut(&name) else {
            return;
        };
        item.tries = item.tries.min(FAILED);
        let at = now + pause(item.tries);
        self.schedule(name, at);
    }

    /// It has changed meanwhile, and there is time until then.
    pub(super) fn is_early(&mut self, name: String, due: Instant) {
        self.schedule(name, due);
    }

    /// There was nothing to do.
    pub(super) fn is_right(&mut self, name: String, now: Instant) {
        let forget = self
            .items
            .get(&name)
            .and_then(|item| item.last)
            .map(|last| last + FORGET)
            .filter(|forget| *forget > now);
        match forget {
            Some(at) => self.schedule(name, at),
            None => drop(self.items.remove(&name)),
        }
    }

    fn schedule(&mut self, name: String, at: Instant) {
        let item = self.items.entry(name.clone()).or_insert(Item {
            at,
            tries: 0,
            last: None,
        });
        self.order.remove(&(item.at, name.clone()));
        item.at = at;
        self.order.insert((at, name));
    }
}

fn pause(tries: u32) -> Duration {
    FIRST_PAUSE
        .saturating_mul(1 << tries.saturating_sub(1).min(16))
        .min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_there_twice_comes_once() {
        let now = Instant::now();
        let mut agenda = Agenda::default();
        agenda.put("a".to_owned(), now);
        agenda.put("a".to_owned(), now);
        assert_eq!(agenda.next(now).as_deref(), Some("a"));
        assert_eq!(agenda.next(now), None);
    }

    #[test]
    fn what_goes_wrong_again_and_again_comes_ever_more_slowly_and_never_faster_for_being_put_there() {
        let mut now = Instant::now();
        let mut agenda = Agenda::default();
        agenda.put("a".to_owned(), now);
        let mut pauses = Vec::new();
        for _ in 0..12 {
            let name = agenda.next(now).unwrap();
            agenda.tried(name.clone(), now);
            agenda.put(name, now);
            let wake = agenda.wake().unwrap();
            pauses.push((wake - now).as_secs());
            now = wake;
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
    }

    #[test]
    fn what_fails_again_and_again_is_tried_every_few_seconds() {
        let mut now = Instant::now();
        let mut agenda = Agenda::default();
        agenda.put("a".to_owned(), now);
        for _ in 0..12 {
            let name = agenda.next(now).unwrap();
            agenda.tried(name.clone(), now);
            agenda.failed(name, now);
            now = agenda.wake().unwrap();
        }
        let name = agenda.next(now).unwrap();
        agenda.tried(name.clone(), now);
        agenda.failed(name, now);
        assert_eq!((agenda.wake().unwrap() - now).as_secs(), 8);
    }

    #[test]
    fn what_is_right_is_forgotten_after_a_while_and_nothing_stays_behind() {
        let now = Instant::now();
        let mut agenda = Agenda::default();
        agenda.put("a".to_owned(), now);
        let name = agenda.next(now).unwrap();
        agenda.tried(name, now);
        let later = now + FIRST_PAUSE;
        let name = agenda.next(later).unwrap();
        agenda.is_right(name, later);
        assert_eq!(agenda.wake(), Some(now + FORGET));
        // Wrong again meanwhile: not at once, since the pause counts from the last try.
        agenda.put("a".to_owned(), later);
        assert_eq!(agenda.wake(), Some(later));
        let name = agenda.next(later).unwrap();
        agenda.is_right(name, later);
        let name = agenda.next(now + FORGET).unwrap();
        agenda.is_right(name, now + FORGET);
        assert!(agenda.items.is_empty() && agenda.order.is_empty());
    }
}
