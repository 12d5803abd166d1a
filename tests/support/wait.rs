//! Waiting for a condition, with a deadline.

use std::{
    thread,
    time::{Duration, Instant},
};

const POLL_EVERY: Duration = Duration::from_millis(10);

/// Asks until `condition` has an answer and returns it.
///
/// # Panics
///
/// At the deadline, with `what`.
#[track_caller]
pub fn until<T>(what: &str, deadline: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = condition() {
            return answer;
        }
        assert!(begun.elapsed() < deadline, "not within {deadline:?}: {what}");
        thread::sleep(POLL_EVERY);
    }
}
