//! How many dumps a pod may ship: times in, a decision out. Pure: the clock is passed in.

use std::time::Duration;

use super::time::Time;

/// The window that `max-dumps` counts in.
pub const WINDOW: Duration = Duration::from_hours(24);

/// What becomes of the dumps that wait, by their places in the given list.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Decision {
    /// Shipped now, oldest first.
    pub ship: Vec<usize>,
    /// Kept until the window opens or the pod ends: the newest.
    pub hold: Option<usize>,
    /// Counted and deleted: those between.
    pub drop: Vec<usize>,
}

/// Decides about dumps that are finished, oldest first, given when others were uploaded.
///
/// Up to `max` uploads fit into any 24 hours. Beyond them the newest is held back, since the latest state of a pod that
/// dies again and again is what people look at; the caller ships it in any case when the pod ends. Nothing may be dropped
/// while something is to be shipped before it: a store that is down must not cost dumps.
#[must_use]
pub fn decide(uploads: &[Time], waiting: usize, max: u32, now: Time) -> Decision {
    let recent = uploads.iter().filter(|&&at| counts(at, now)).count();
    let room = usize::try_from(max).unwrap_or(usize::MAX).saturating_sub(recent);
    let mut decision = Decision {
        ship: (0..waiting.min(room)).collect(),
        ..Decision::default()
    };
    if let Some(newest) = waiting.checked_sub(1).filter(|&newest| newest >= room) {
        decision.hold = Some(newest);
        decision.drop = (room..newest).collect();
    }
    decision
}

/// Whether an upload still counts. One that seems to lie in the future does, for as long: clocks are set back.
#[must_use]
pub fn counts(upload: Time, now: Time) -> bool {
    now.distance(upload) < WINDOW
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hours(hours: i64) -> Time {
        Time::from_millisecond((1_800_000_000 + hours * 3600) * 1000).unwrap()
    }

    #[test]
    fn dumps_within_the_quota_are_shipped() {
        let decision = decide(&[hours(-30), hours(-1)], 2, 3, hours(0));
        assert_eq!(
            decision,
            Decision {
                ship: vec![0, 1],
                hold: None,
                drop: vec![]
            }
        );
    }

    #[test]
    fn beyond_the_quota_the_newest_is_held_and_those_between_are_dropped() {
        let decision = decide(&[hours(-1)], 4, 2, hours(0));
        assert_eq!(
            decision,
            Decision {
                ship: vec![0],
                hold: Some(3),
                drop: vec![1, 2]
            }
        );
    }

    #[test]
    fn what_was_held_is_shipped_when_the_window_opens() {
        assert_eq!(decide(&[hours(0)], 1, 1, hours(23)).hold, Some(0));
        assert_eq!(decide(&[hours(0)], 1, 1, hours(24)).ship, vec![0]);
    }

    proptest! {
        #[test]
        fn every_dump_has_one_fate_and_the_newest_is_never_dropped(
            uploads in proptest::collection::vec(-100_i64..2, 0..20), waiting in 0_usize..20, max in 0_u32..12,
        ) {
            let uploads: Vec<Time> = uploads.into_iter().map(hours).collect();
            let Decision { ship, hold, drop } = decide(&uploads, waiting, max, hours(0));
            let mut all: Vec<usize> = ship.iter().copied().chain(hold).chain(drop.iter().copied()).collect();
            all.sort_unstable();
            prop_assert_eq!(all, (0..waiting).collect::<Vec<_>>());
            prop_assert!(waiting == 0 || !drop.contains(&(waiting - 1)));
            let recent = uploads.iter().filter(|&&at| counts(at, hours(0))).count();
            let allowed = usize::try_from(max).unwrap().saturating_sub(recent);
            prop_assert!(ship.len() <= allowed);
        }
    }
}
