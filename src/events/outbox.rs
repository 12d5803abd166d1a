//! What is to be written, each once: a hundred pods of one workload are one Event, and one more line of its series when
//! it goes on.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::Happening;

/// What has been written is not written again for so long: further pods are counted.
pub const WINDOW: Duration = Duration::from_mins(10);
/// What has not happened for so long is forgotten. The API server forgets an Event after an hour.
const FORGET: Duration = Duration::from_hours(1);
/// Most that are remembered, of a kilobyte each or so.
const REMEMBERED: usize = 4096;
/// Most of one namespace, so that no team takes the others' room.
const REMEMBERED_OF_ONE: usize = 256;

/// What the writer has to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Due {
    /// What happened.
    pub happening: Arc<Happening>,
    /// How often so far, as this process saw it.
    pub count: u32,
    /// When it was taken to be written.
    pub taken: Instant,
    /// When it was taken before and written: there should be an Event already.
    pub written: Option<Instant>,
}

/// Between the reviews, which put something here and go on, and the one task that writes it.
#[derive(Debug, Default)]
pub struct Outbox {
    book: Mutex<Book>,
    has_more: Notify,
}

impl Outbox {
    /// Notes what happened: a look into a table. `false` where it is full, and the Event is lost.
    pub fn put(&self, happening: Happening) -> bool {
        let noted = self.lock().note(happening, Instant::now());
        if noted == Noted::Due {
            self.has_more.notify_one();
        }
        noted != Noted::Full
    }

    /// Waits for the next to be written. For one caller only.
    pub async fn next(&self) -> Due {
        loop {
            let due = self.lock().next(Instant::now());
            if let Some(due) = due {
                return due;
            }
            self.has_more.notified().await;
        }
    }

    /// Takes back that it was written: the next pod brings it again.
    pub fn failed(&self, due: &Due) {
        self.lock().failed(due);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Noted {
    Due,
    Counted,
    Full,
}

/// Pure: the time is given. Each entry stands in `due` once at most, so that both have one bound.
#[derive(Debug, Default)]
struct Book {
    entries: HashMap<Arc<Happening>, Entry>,
    due: VecDeque<Arc<Happening>>,
    /// How many entries each namespace has.
    namespaces: HashMap<String, usize>,
    cleaned: Option<Instant>,
}

#[derive(Debug)]
struct Entry {
    count: u32,
    last: Instant,
    written: Option<Instant>,
    is_due: bool,
}

impl Book {
    fn note(&mut self, happening: Happening, now: Instant) -> Noted {
        if let Some(entry) = self.entries.get_mut(&happening) {
            entry.count = entry.count.saturating_add(1);
            entry.last = now;
            let is_fresh = entry
                .written
                .is_some_and(|written| now.duration_since(written) < WINDOW);
            if entry.is_due || is_fresh {
                return Noted::Counted;
            }
            entry.is_due = true;
            self.due.push_back(Arc::new(happening));
            return Noted::Due;
        }
        if self.is_full(&happening.namespace) {
            self.clean(now);
        }
        if self.is_full(&happening.namespace) {
            return Noted::Full;
        }
        *self.namespaces.entry(happening.namespace.clone()).or_default() += 1;
        let happening = Arc::new(happening);
        let entry = Entry {
            count: 1,
            last: now,
            written: None,
            is_due: true,
        };
        self.entries.insert(Arc::clone(&happening), entry);
        self.due.push_back(happening);
        Noted::Due
    }

    fn next(&mut self, now: Instant) -> Option<Due> {
        let happening = self.due.pop_front()?;
        let entry = self.entries.get_mut(&happening)?;
        entry.is_due = false;
        let written = entry.written.replace(now);
        Some(Due {
            count: entry.count,
            taken: now,
            written,
            happening,
        })
    }

    fn failed(&mut self, due: &Due) {
        if let Some(entry) = self.entries.get_mut(&due.happening) {
            entry.written = due.written;
        }
    }

    fn is_full(&self, namespace: &str) -> bool {
        let of_namespace = self.namespaces.get(namespace).copied().unwrap_or_default();
        self.entries.len() >= REMEMBERED || of_namespace >= REMEMBERED_OF_ONE
    }

    /// Not with each that finds the table full: it looks at every entry.
    fn clean(&mut self, now: Instant) {
        const PAUSE: Duration = Duration::from_secs(10);
        if self
            .cleaned
            .is_some_and(|cleaned| now.duration_since(cleaned) < PAUSE)
        {
            return;
        }
        self.cleaned = Some(now);
        self.entries
            .retain(|_, entry| entry.is_due || now.duration_since(entry.last) < FORGET);
        self.namespaces.clear();
        for happening in self.entries.keys() {
            *self.namespaces.entry(happening.namespace.clone()).or_default() += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Owner;
    use super::*;

    fn happening(owner: usize, note: &str) -> Happening {
        Happening {
            namespace: format!("shop-{}", owner % 32),
            owner: Owner {
                api_version: "apps/v1".to_owned(),
                kind: "ReplicaSet".to_owned(),
                name: format!("shop-{owner}"),
                uid: owner.to_string(),
            },
            code: "no-destination",
            note: note.to_owned(),
        }
    }

    #[test]
    fn a_hundred_pods_of_one_workload_are_written_once_and_once_more_when_it_goes_on() {
        let (mut book, begun) = (Book::default(), Instant::now());
        for second in 0..100 {
            book.note(happening(1, "a"), begun + Duration::from_secs(second));
        }
        let first = book.next(begun).unwrap();
        assert_eq!((first.count, first.written), (100, None));
        assert_eq!(book.next(begun), None);
        assert_eq!(
            book.note(happening(1, "a"), begun + WINDOW - Duration::from_secs(1)),
            Noted::Counted
        );
        assert_eq!(book.note(happening(1, "a"), begun + WINDOW), Noted::Due);
        let again = book.next(begun + WINDOW).unwrap();
        assert_eq!((again.count, again.written), (102, Some(begun)));
        assert_eq!(book.next(begun + WINDOW), None);
        book.failed(&again);
        assert_eq!(book.note(happening(1, "a"), begun + WINDOW), Noted::Due);
        assert_eq!(book.next(begun + WINDOW).unwrap().written, Some(begun));
    }

    #[test]
    fn another_workload_and_another_sentence_are_events_of_their_own_in_their_order() {
        let (mut book, now) = (Book::default(), Instant::now());
        for (owner, note) in [(1, "a"), (2, "a"), (1, "b"), (2, "a")] {
            book.note(happening(owner, note), now);
        }
        let order: Vec<_> = std::iter::from_fn(|| book.next(now))
            .map(|due| (due.happening.owner.uid.clone(), due.happening.note.clone()))
            .collect();
        assert_eq!(
            order,
            [("1", "a"), ("2", "a"), ("1", "b")].map(|(owner, note)| (owner.to_owned(), note.to_owned()))
        );
    }

    #[test]
    fn the_table_has_an_end_and_old_entries_make_room() {
        let (mut book, now) = (Book::default(), Instant::now());
        for owner in 0..REMEMBERED {
            assert_eq!(book.note(happening(owner, "a"), now), Noted::Due);
        }
        assert_eq!(book.note(happening(REMEMBERED, "a"), now), Noted::Full);
        assert_eq!(book.note(happening(0, "a"), now), Noted::Counted);
        let later = now + FORGET;
        assert_eq!(
            book.note(happening(REMEMBERED, "a"), later),
            Noted::Full,
            "all are due"
        );
        while book.next(now).is_some() {}
        let later = later + Duration::from_mins(1);
        assert_eq!(book.note(happening(REMEMBERED, "a"), later), Noted::Due);
        assert_eq!(book.entries.len(), 1);
    }

    #[test]
    fn one_namespace_does_not_fill_the_table_of_all() {
        let (mut book, now) = (Book::default(), Instant::now());
        let of = |namespace: &str, owner| Happening {
            namespace: namespace.to_owned(),
            ..happening(owner, "a")
        };
        for owner in 0..REMEMBERED_OF_ONE {
            assert_eq!(book.note(of("loud", owner), now), Noted::Due);
        }
        assert_eq!(book.note(of("loud", 256), now), Noted::Full);
        assert_eq!(book.note(of("quiet", 256), now), Noted::Due);
        while book.next(now).is_some() {}
        assert_eq!(book.note(of("loud", 256), now + FORGET), Noted::Due);
    }

    #[tokio::test]
    async fn whoever_waits_is_woken() {
        let outbox = Arc::new(Outbox::default());
        let waiting = tokio::spawn({
            let outbox = Arc::clone(&outbox);
            async move { outbox.next().await }
        });
        tokio::task::yield_now().await;
        assert!(outbox.put(happening(1, "a")));
        assert_eq!(waiting.await.unwrap().happening.owner.uid, "1");
    }
}
