//! Does a dump fit: into the grace period beside what others need of it, and onto the disk?

use std::time::{Duration, Instant};

use crate::quantity::{Bytes, format_duration};

/// A pod's grace period and who needs which part of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    pub(super) begun: Instant,
    pub(super) grace: Duration,
    pub(super) application_share: Duration,
    pub(super) upload_grace: Duration,
    /// What of the container's own hook is known to come after the dump.
    pub(super) hook_still_to_come: Duration,
}

/// A dump that would take from others what they need.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "{}{} would not end in the {} that the grace period of {} leaves beside the application's {}, the upload's {}{}; raise \
     heapship.io/termination-grace-period",
    what(*.used), after(*.delay), format_duration(*.left), format_duration(*.grace),
    format_duration(*.application_share), format_duration(*.upload_grace), and_hook(*.hook)
)]
pub(super) struct Shortage {
    used: Option<Bytes>,
    delay: Duration,
    left: Duration,
    grace: Duration,
    application_share: Duration,
    upload_grace: Duration,
    hook: Duration,
}

impl Budget {
    /// Until when a dump may take.
    pub(super) fn deadline(&self) -> Instant {
        self.begun + self.allowed()
    }

    /// Whether a dump of so much heap, begun after `delay` from now, would be done in time. An unknown heap counts as none:
    /// the deadline still holds.
    pub(super) fn check(&self, used: Option<Bytes>, delay: Duration) -> Result<(), Shortage> {
        self.check_after(self.begun.elapsed(), used, delay)
    }

    fn check_after(&self, elapsed: Duration, used: Option<Bytes>, delay: Duration) -> Result<(), Shortage> {
        let estimate = estimate(used.unwrap_or_default());
        let left = self.allowed().saturating_sub(elapsed);
        if delay.saturating_add(estimate) <= left {
            return Ok(());
        }
        let Self {
            begun: _,
            grace,
            application_share,
            upload_grace,
            hook_still_to_come: hook,
        } = *self;
        let left = Duration::from_secs(left.as_secs());
        Err(Shortage {
            used,
            delay,
            left,
            grace,
            application_share,
            upload_grace,
            hook,
        })
    }

    fn allowed(&self) -> Duration {
        let Self {
            begun: _,
            grace,
            application_share,
            upload_grace,
            hook_still_to_come,
        } = *self;
        grace
            .saturating_sub(application_share)
            .saturating_sub(upload_grace)
            .saturating_sub(hook_still_to_come)
    }
}

/// Half of the slowest that was measured on two loaded cores (220 MB/s, JDK 8 to 17), for throttled disks.
fn estimate(used: Bytes) -> Duration {
    Duration::from_millis(used.0.div_ceil(BYTES_PER_SECOND / 1000)).max(Duration::from_secs(1))
}

/// Disk that a dump may need while it is written: about 1.3 times the heap in use (measured on 8 to 25), and twice that from
/// 22 on, which writes segments first and then joins them. An unknown version counts as a new one.
pub(super) fn disk_needed(used: Bytes, major: Option<u32>) -> Bytes {
    let once = used.0.saturating_mul(13) / 10;
    Bytes(if major.is_some_and(|major| major < 22) {
        once
    } else {
        once.saturating_mul(2)
    })
}

/// `1.2 GB`: for sentences, where a quantity to the byte hides its size.
pub(super) fn in_words(bytes: Bytes) -> String {
    let megabytes = bytes.0.div_ceil(1_000_000);
    if megabytes < 1000 {
        format!("{megabytes} MB")
    } else {
        format!("{}.{} GB", megabytes / 1000, megabytes % 1000 / 100)
    }
}

fn what(used: Option<Bytes>) -> String {
    let Some(used) = used else {
        return "a dump".to_owned();
    };
    let seconds = u64::try_from(estimate(used).as_millis().div_ceil(1000)).unwrap_or(u64::MAX);
    let time = format_duration(Duration::from_secs(seconds));
    format!("a dump of the {} in use, about {time},", in_words(used))
}

fn after(delay: Duration) -> String {
    if delay.is_zero() {
        String::new()
    } else {
        format!(" after a delay of {}", format_duration(delay))
    }
}

fn and_hook(hook: Duration) -> String {
    if hook.is_zero() {
        String::new()
    } else {
        format!(" and the hook's {}", format_duration(hook))
    }
}

const BYTES_PER_SECOND: u64 = 100_000_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn budget(hook: u64) -> Budget {
        Budget {
            begun: Instant::now(),
            grace: seconds(600),
            application_share: seconds(30),
            upload_grace: seconds(30),
            hook_still_to_come: seconds(hook),
        }
    }

    #[test]
    fn everything_that_needs_time_counts() {
        let gigabytes = |n: u64| Some(Bytes(n * 1_000_000_000));
        assert!(
            budget(0)
                .check_after(seconds(0), gigabytes(54), seconds(0))
                .is_ok()
        );
        assert!(
            budget(0)
                .check_after(seconds(0), gigabytes(55), seconds(0))
                .is_err()
        );
        assert!(
            budget(0)
                .check_after(seconds(0), gigabytes(54), seconds(1))
                .is_err()
        );
        assert!(
            budget(1)
                .check_after(seconds(0), gigabytes(54), seconds(0))
                .is_err()
        );
        assert!(
            budget(0)
                .check_after(seconds(1), gigabytes(54), seconds(0))
                .is_err()
        );
        assert!(budget(0).check_after(seconds(600), None, seconds(0)).is_err());
    }

    #[test]
    fn a_shortage_names_every_number_and_the_remedy() {
        let shortage = budget(5)
            .check_after(seconds(0), Some(Bytes(60_000_000_000)), seconds(10))
            .unwrap_err();
        assert_eq!(
            shortage.to_string(),
            "a dump of the 60.0 GB in use, about 10m, after a delay of 10s would not end in the 8m55s that the grace period \
             of 10m leaves beside the application's 30s, the upload's 30s and the hook's 5s; raise \
             heapship.io/termination-grace-period"
        );
    }

    #[test]
    fn newer_jvms_need_twice_the_disk() {
        assert_eq!(disk_needed(Bytes(1000), Some(21)), Bytes(1300));
        assert_eq!(disk_needed(Bytes(1000), Some(22)), Bytes(2600));
        assert_eq!(disk_needed(Bytes(1000), None), Bytes(2600));
    }

    proptest! {
        #[test]
        fn what_is_let_through_leaves_the_others_their_share(
            used in 0..u64::MAX, elapsed in 0_u64..700, delay in 0_u64..700, hook in 0_u64..700,
        ) {
            let budget = budget(hook);
            if budget.check_after(seconds(elapsed), Some(Bytes(used)), seconds(delay)).is_ok() {
                let total = seconds(elapsed + delay + hook + 30 + 30) + estimate(Bytes(used));
                prop_assert!(total <= budget.grace);
            }
        }
    }
}
