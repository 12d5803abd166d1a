//! Which certificate is served, until when, and whether the API server trusts it.
//!
//! Pure: [`authority`] makes certificates, [`content`] is what the Secret holds, [`step`] says what has to be done to it,
//! [`bundle`] what a caBundle should hold, [`trust`] what it is known to hold and since when. Shells: [`secret`] keeps the
//! Secret, [`provided`] follows a file in its place, [`registration`] keeps the caBundle, [`serving`] swaps what is served.
//!
//! Two rules carry it all. A certificate leaves a bundle only when it has expired, or when nobody of ours has claimed it
//! for long; so two writers never undo each other's work. And a certificate is served only when every caller has had the
//! time to learn of its CA; so the order in which Secret and registration change does not matter.

use std::time::Duration;

pub mod authority;
pub mod bundle;
pub mod content;
pub mod objects;
pub mod provided;
pub mod registration;
pub mod secret;
pub mod serving;
pub mod step;
pub mod trust;

#[cfg(test)]
mod model;

/// How long certificates live that are made here. Both are renewed at two thirds of their life.
#[derive(Clone, Copy, Debug)]
pub struct Lifetimes {
    /// Of a CA.
    pub authority: Duration,
    /// Of a serving certificate.
    pub certificate: Duration,
}

impl Lifetimes {
    /// How long a CA has to be in the registration before a certificate of it is served: other API servers learn of
    /// the change by a watch of their own. A tenth of a short life, so that it fits into the third that is left.
    #[must_use]
    pub fn settle(self) -> Duration {
        SETTLE.min(self.certificate / 10)
    }
}

/// The Service by whose name the API server calls.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
}

impl Service {
    /// What the API server asks the certificate for: `NAME.NAMESPACE.svc`.
    #[must_use]
    pub fn server_name(&self) -> String {
        format!("{}.{}.svc", self.name, self.namespace)
    }

    /// Every name under which the Service is called, the API server's first.
    #[must_use]
    pub fn names(&self) -> [String; 3] {
        let name = self.server_name();
        [
            name.clone(),
            format!("{name}.cluster.local"),
            format!("{}.{}", self.name, self.namespace),
        ]
    }
}

/// Longer than the watch of a healthy API server lags.
pub const SETTLE: Duration = Duration::from_mins(1);
