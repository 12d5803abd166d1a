//! When to try again. Pure: chance is passed in.

use std::time::Duration;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_mins(1);
/// While the pod ends: SIGKILL may come at any time, and what a person or a cloud repairs until then still counts.
const LONGEST_ENDING: Duration = Duration::from_secs(3);

/// How long to wait after the `failures`-th failure in a row: 1 s, 2 s, 4 s … 60 s, each between half and whole by
/// `chance` (any number), so that the agents of a whole cluster do not come back at once. What only a person can
/// change is tried again every minute. Nothing waits longer than 3 s when the pod is `ending`.
#[must_use]
pub fn pause(failures: u32, needs_a_person: bool, ending: bool, chance: u32) -> Duration {
    let doubled = FIRST.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
    let longest = match (ending, needs_a_person) {
        (true, _) => doubled.min(LONGEST_ENDING),
        (false, true) => LONGEST,
        (false, false) => doubled.min(LONGEST),
    };
    longest / 2 + longest.mul_f64(f64::from(chance) / f64::from(u32::MAX) / 2.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_pause_is_longer_than_a_minute_or_shorter_than_half_a_second(
            failures: u32, person: bool, ending: bool, chance: u32,
        ) {
            let pause = pause(failures, person, ending, chance);
            prop_assert!(pause >= Duration::from_millis(500) && pause <= Duration::from_mins(1));
            prop_assert!(!ending || pause <= Duration::from_secs(3));
        }
    }

    #[test]
    fn pauses_double() {
        let longest = |failures| pause(failures, false, false, u32::MAX).as_secs();
        assert_eq!([1, 2, 3, 4, 7, 40].map(longest), [1, 2, 4, 8, 60, 60]);
        assert_eq!(pause(1, true, false, u32::MAX).as_secs(), 60);
    }
}
