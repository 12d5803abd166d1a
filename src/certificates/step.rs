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
