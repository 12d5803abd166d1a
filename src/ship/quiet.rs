//! Whether a file may still have a writer, as far as its size and times can tell. Pure: the clock is passed in.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::ledger::Mark;

/// A dump as it looked: the file and all its `.pN` segments. Empty where the file is gone.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Look(pub Vec<Mark>);

impl Look {
    /// The file itself.
    #[must_use]
    pub fn file(&self) -> Option<Mark> {
        self.0.first().copied()
    }
}

/// Since when something has looked the same.
#[derive(Clone, Debug)]
pub struct Quiet {
    look: Look,
    since: Instant,
}

impl Quiet {
    /// Looked at for the first time.
    #[must_use]
    pub const fn new(look: Look, now: Instant) -> Self {
        Self { look, since: now }
    }

    /// Takes another look.
    pub fn look(&mut self, look: Look, now: Instant) {
        if self.look != look {
            *self = Self::new(look, now);
        }
    }

    /// How it looked last.
    #[must_use]
    pub const fn last(&self) -> &Look {
        &self.look
    }

    /// Whether it has not changed for `settle`.
    #[must_use]
    pub fn settled(&self, settle: Duration, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= settle
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_of_the_file_or_of_a_segment_starts_the_wait_again() {
        let mark = |size| Mark {
            inode: 1,
            size,
            modified_ns: 0,
        };
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let settle = Duration::from_mins(1);
        let mut quiet = Quiet::new(Look(vec![mark(1)]), start);
        quiet.look(Look(vec![mark(1)]), after(59));
        assert!(!quiet.settled(settle, after(59)));
        assert!(quiet.settled(settle, after(60)));
        quiet.look(Look(vec![mark(1), mark(5)]), after(60));
        assert!(!quiet.settled(settle, after(119)));
        quiet.look(Look(vec![mark(1), mark(6)]), after(119));
        assert!(!quiet.settled(settle, after(178)));
        assert!(quiet.settled(settle, after(179)));
    }
}
