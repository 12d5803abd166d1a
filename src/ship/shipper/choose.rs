//! Choosing: which dump is brought forward next, and which the quota costs.

use std::time::Instant;

use super::{Shipper, Task};
use crate::ship::attempt::{Attempt, Evidence};
use crate::ship::ledger::Stage;
use crate::ship::quota;
use crate::ship::time::Time;
use crate::ship::tracked::Tracked;

impl Shipper {
    /// What is done next, if anything is: tidying up, then what the quota says.
    pub(super) fn next_task(&mut self) -> Option<Task> {
        let now = Instant::now();
        // First what needs no upload: it frees the disk.
        let evidence = |dump: &Tracked| dump.evidence(self.settle, self.ending, now);
        let finishing = |dump: &&Tracked| dump.needs_no_upload(evidence(dump)) && dump.is_due(now);
        if let Some(dump) = self.tracked.iter().find(finishing) {
            return Some(Task::Ship(dump.attempt(Evidence::Settled)));
        }
        self.tracked.sort_by_key(|dump| dump.entry.sequence);
        let wall = Time::now();
        let history = self.context.disk.history(wall).uploads;
        let mut uploads: Vec<Time> = history.iter().map(|upload| upload.at).collect();
        let mut ready: Vec<(Attempt, bool)> = Vec::new();
        for dump in self.tracked.iter().filter(|dump| !dump.rests() && !dump.given_up) {
            let counted = history.iter().any(|upload| upload.key == dump.entry.key);
            let stored = matches!(dump.entry.stage, Stage::Stored { .. });
            if stored && !counted {
                uploads.push(wall);
            }
            let evidence = evidence(dump);
            let Some(is) = evidence.filter(|_| !(stored && dump.needs_no_upload(evidence))) else {
                continue;
            };
            if !(stored || counted) {
                ready.push((dump.attempt(is), dump.is_due(now)));
            } else if dump.is_due(now) {
                // It has changed since it was stored: the quota has had its say.
                return Some(Task::Ship(dump.attempt(is)));
            }
        }
        let quota::Decision { ship, hold, drop } = quota::decide(&uploads, ready.len(), self.max_dumps, wall);
        let is_last_chance = self.is_last_chance(uploads.len());
        let held = hold.filter(|_| !is_last_chance).and_then(|at| ready.get(at));
        let held = held.map(|(attempt, _)| attempt.name.clone());
        if held.is_some() && held != self.held {
            tracing::warn!(
                max_dumps = self.max_dumps,
                "the newest dump is held back: as many as max-dumps allows were shipped in 24 hours"
            );
        }
        self.held = held;
        let due = |places: &[usize]| {
            let due = |at: &usize| ready.get(*at).is_some_and(|(_, due)| *due);
            places.iter().copied().find(due)
        };
        // What is dropped goes before the one that was held back, so that its record counts them, but after all those
        // that are to be shipped before it: when the store is down, they wait together.
        if let Some(at) = due(&ship) {
            return Some(Task::Ship(ready.swap_remove(at).0));
        }
        if ship.is_empty()
            && let Some(at) = due(&drop)
        {
            return Some(Task::Drop(ready.swap_remove(at).0));
        }
        let last = hold.filter(|_| is_last_chance).and_then(|at| due(&[at]));
        last.map(|at| Task::Ship(ready.swap_remove(at).0))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs::{self, File};
    use std::path::Path;
    use std::sync::Arc;
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::key::KeyTemplate;
    use crate::ship::arguments::Source;
    use crate::ship::attempt::Context;
    use crate::ship::codec::Codec;
    use crate::ship::ledger::Disk;
    use crate::ship::places::Place;
    use crate::ship::record::Identity;
    use crate::ship::shipper::Mode;
    use crate::ship::store::Connection;

    /// Ends like a dump, which is enough for it to be tried.
    const LOOKS_WHOLE: &[u8] = &[1, 0x2c, 0, 0, 0, 0, 0, 0, 0, 0];

    fn shipper(dumps: &Path, max_dumps: u32) -> Shipper {
        let source = Source {
            name: "app".to_owned(),
            image: String::new(),
            foreign: None,
        };
        let context = Context {
            disk: Disk::open(dumps, &[("app", dumps)]).unwrap(),
            destination: "file:///nowhere".parse().unwrap(),
            connection: Connection::default(),
            identity: Identity::default(),
            shipped_by: None,
            presence: None,
            turns: Arc::default(),
            images: BTreeMap::new(),
            codec: Codec::Gzip,
            threads: 1,
            part_size: 8 << 20,
        };
        Shipper::new(
            Arc::new(context),
            Place::of(dumps, &source, true),
            KeyTemplate::parse(KeyTemplate::DEFAULT).unwrap(),
            Duration::from_mins(1),
            max_dumps,
            Mode::Watch,
            Time::now(),
        )
    }

    /// A dump appears and is seen, by a clock that is so many seconds behind.
    fn appears(shipper: &mut Shipper, dumps: &Path, name: &str, behind: u64) {
        let path = dumps.join(name);
        fs::write(&path, LOOKS_WHOLE).unwrap();
        let time = SystemTime::now() - Duration::from_secs(behind);
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(time)
            .unwrap();
        shipper.look(Instant::now());
    }

    /// What is done next, and to which dump; the dump is done with then.
    fn next(shipper: &mut Shipper) -> Option<(&'static str, String)> {
        let (what, attempt) = match shipper.next_task()? {
            Task::Ship(attempt) => ("ship", attempt),
            Task::Drop(attempt) => ("drop", attempt),
        };
        shipper.tracked.retain(|dump| dump.name != attempt.name);
        Some((what, attempt.entry.file))
    }

    #[test]
    fn nothing_is_dropped_while_a_dump_before_it_waits_for_the_store() {
        let dumps = tempfile::tempdir().unwrap();
        let mut shipper = shipper(dumps.path(), 1);
        for name in ["a.hprof", "b.hprof", "c.hprof"] {
            appears(&mut shipper, dumps.path(), name, 0);
        }
        shipper.tracked[0].not_before = Some(Instant::now() + Duration::from_hours(1));
        assert_eq!(next(&mut shipper), None);
        shipper.tracked[0].not_before = None;
        assert_eq!(next(&mut shipper), Some(("ship", "a.hprof".to_owned())));
    }

    #[test]
    fn at_the_end_the_newest_is_shipped_and_those_between_are_dropped() {
        let dumps = tempfile::tempdir().unwrap();
        let mut shipper = shipper(dumps.path(), 0);
        // The clock is set back between the dumps, so that the newest looks oldest.
        for (at, name) in ["a.hprof", "b.hprof", "c.hprof"].into_iter().enumerate() {
            appears(&mut shipper, dumps.path(), name, 60 * at as u64);
        }
        shipper.ending = true;
        assert_eq!(next(&mut shipper), Some(("drop", "a.hprof".to_owned())));
        assert_eq!(next(&mut shipper), Some(("drop", "b.hprof".to_owned())));
        assert_eq!(next(&mut shipper), Some(("ship", "c.hprof".to_owned())));
        assert_eq!(next(&mut shipper), None);
    }

    #[test]
    fn until_the_end_the_newest_is_held() {
        let dumps = tempfile::tempdir().unwrap();
        let mut shipper = shipper(dumps.path(), 0);
        appears(&mut shipper, dumps.path(), "a.hprof", 0);
        assert_eq!(next(&mut shipper), None);
        assert!(shipper.is_done());
        shipper.ending = true;
        assert!(shipper.next_task().is_some());
    }

    #[test]
    fn what_is_claimed_in_one_look_is_ordered_by_its_own_times() {
        let dumps = tempfile::tempdir().unwrap();
        let mut shipper = shipper(dumps.path(), 9);
        fs::write(dumps.path().join("old.hprof"), LOOKS_WHOLE).unwrap();
        let old = File::options()
            .write(true)
            .open(dumps.path().join("old.hprof"))
            .unwrap();
        old.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1))
            .unwrap();
        appears(&mut shipper, dumps.path(), "new.hprof", 0);
        assert_eq!(next(&mut shipper), Some(("ship", "old.hprof".to_owned())));
        assert_eq!(next(&mut shipper), Some(("ship", "new.hprof".to_owned())));
    }
}
