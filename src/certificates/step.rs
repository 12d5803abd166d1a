//! What has to be done to the Secret: a pure decision, taken anew each time anything changes.
//!
//! There is no memory of what was begun. Whatever a replica left half done when it ended is a state of the Secret like
//! every other, and the next look at it, by whichever replica, goes on from there.

use super::authority::Validity;

/// What the decision needs to know of the Secret's content.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Outline {
    /// The CA that signs.
    pub newest: Validity,
    /// CAs before it, which are still trusted.
    pub older: Vec<Validity>,
    /// The serving certificate.
    pub leaf: Validity,
    /// Whether the newest CA signed it.
    pub leaf_is_of_newest: bool,
}

/// What has to be done next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// Make a CA and a certificate of it: nothing is known that could go on being served.
    Begin,
    /// Make a CA beside those that are known, and leave the certificate as it is.
    AddAuthority,
    /// Make a certificate of the newest CA.
    RenewLeaf,
    /// Drop the older CAs that are over.
    Forget,
    /// A certificate of the newest CA is wanted; its CA has to be trusted by every caller first.
    AwaitTrust,
    /// Nothing, until this second since 1970.
    Wait(i64),
}

/// The next step for a Secret.
///
/// `found` is absent where there is no Secret, or one that cannot be used. `remembered` is what this replica last found
/// whole, and serves. A Secret that somebody deleted or broke is then the wish for a new CA: it is fulfilled in the order
/// of every renewal, so that nobody who calls notices.
#[must_use]
pub fn next(
    found: Option<&Outline>,
    remembered: Option<&Outline>,
    newest_is_trusted: bool,
    now: i64,
) -> Step {
    let Some(found) = found else {
        return match remembered {
            Some(remembered) if !remembered.leaf.has_expired(now) => Step::AddAuthority,
            Some(_) | None => Step::Begin,
        };
    };
    let Outline {
        newest,
        older,
        leaf,
        leaf_is_of_newest,
    } = found;
    // An expired certificate comes first: until it is renewed nobody is served.
    match (leaf.has_expired(now), newest.has_expired(now)) {
        (true, true) => return Step::Begin,
        (true, false) => return Step::RenewLeaf,
        (false, _) => {}
    }
    if newest.due() <= now {
        return Step::AddAuthority;
    }
    let leaf_is_wanted = !leaf_is_of_newest || leaf.due() <= now;
    if leaf_is_wanted && newest_is_trusted {
        return Step::RenewLeaf;
    }
    if older.iter().any(|authority| authority.is_over(now)) {
        return Step::Forget;
    }
    if leaf_is_wanted {
        return Step::AwaitTrust;
    }
    Step::Wait(leaf.due().min(newest.due()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Issued at second 0.
    fn living(seconds: u64) -> Validity {
        Validity::starting(0, Duration::from_secs(seconds))
    }

    fn of_newest(newest: u64, leaf: u64) -> Outline {
        Outline {
            newest: living(newest),
            older: Vec::new(),
            leaf: living(leaf),
            leaf_is_of_newest: true,
        }
    }

    fn of_older(newest: u64, older: u64, leaf: u64) -> Outline {
        Outline {
            older: vec![living(older)],
            leaf_is_of_newest: false,
            ..of_newest(newest, leaf)
        }
    }

    #[test]
    #[allow(clippy::too_many_lines, reason = "a table")]
    fn every_state_of_the_secret_has_one_next_step() {
        let fresh = of_newest(9000, 900);
        let overlapping = of_older(9000, 3000, 900);
        let cases = [
            // Absent or broken.
            ("nothing is known", None, None, true, 0, Step::Begin),
            (
                "what is remembered has expired",
                None,
                Some(&fresh),
                true,
                900,
                Step::Begin,
            ),
            (
                "somebody deleted it",
                None,
                Some(&fresh),
                true,
                899,
                Step::AddAuthority,
            ),
            // Whole, certificate of the newest CA.
            ("all is fresh", Some(&fresh), None, true, 0, Step::Wait(600)),
            (
                "trust does not matter while all is fresh",
                Some(&fresh),
                None,
                false,
                0,
                Step::Wait(600),
            ),
            (
                "a second before it is due",
                Some(&fresh),
                None,
                true,
                599,
                Step::Wait(600),
            ),
            (
                "the certificate is due",
                Some(&fresh),
                None,
                true,
                600,
                Step::RenewLeaf,
            ),
            (
                "it is due, its CA not in the registration",
                Some(&fresh),
                None,
                false,
                600,
                Step::AwaitTrust,
            ),
            (
                "it has expired, its CA not in the registration",
                Some(&fresh),
                None,
                false,
                900,
                Step::RenewLeaf,
            ),
            (
                "the CA is due",
                Some(&of_newest(900, 900)),
                None,
                true,
                600,
                Step::AddAuthority,
            ),
            (
                "CA and certificate have expired",
                Some(&of_newest(900, 900)),
                None,
                true,
                900,
                Step::Begin,
            ),
            (
                "what is remembered does not matter then",
                Some(&of_newest(900, 900)),
                Some(&fresh),
                true,
                900,
                Step::Begin,
            ),
            // Whole, certificate of an older CA: whoever added the new one may have ended since.
            (
                "the new CA is not trusted yet",
                Some(&overlapping),
                None,
                false,
                0,
                Step::AwaitTrust,
            ),
            (
                "the new CA is trusted",
                Some(&overlapping),
                None,
                true,
                0,
                Step::RenewLeaf,
            ),
            (
                "it was never trusted until the end",
                Some(&overlapping),
                None,
                false,
                900,
                Step::RenewLeaf,
            ),
            (
                "the new CA is due before it was trusted",
                Some(&of_older(900, 900, 890)),
                None,
                false,
                600,
                Step::AddAuthority,
            ),
        ];
        for (what, found, remembered, is_trusted, now, expected) in cases {
            assert_eq!(next(found, remembered, is_trusted, now), expected, "{what}");
        }
    }

    #[test]
    fn an_older_ca_leaves_when_it_is_over_for_every_clock() {
        let mut outline = of_newest(90_000, 90_000);
        outline.older = vec![living(3000)];
        assert_eq!(next(Some(&outline), None, true, 3599), Step::Wait(60_000));
        assert_eq!(next(Some(&outline), None, true, 3600), Step::Forget);
    }

    #[test]
    fn clocks_some_minutes_apart_renew_once() {
        let outline = of_newest(90_000, 9000);
        // The fast one renews; by the slow one's clock the certificate began long ago all the same, and is fresh.
        let fast = 6000;
        let slow = fast - 240;
        assert_eq!(next(Some(&outline), None, true, fast), Step::RenewLeaf);
        let renewed = Outline {
            leaf: Validity::starting(fast, Duration::from_mins(150)),
            ..outline
        };
        assert!(renewed.leaf.begins <= slow);
        assert_eq!(next(Some(&renewed), None, true, slow), Step::Wait(12_000));
    }
}
