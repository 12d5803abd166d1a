//! Whom the API server trusts, as far as this replica has seen, and since when.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

use crate::admission::tls::{Certificate, provider};

use super::authority::Validity;

/// What is known of the registration.
#[derive(Clone, Debug, Default)]
pub enum Standing {
    /// It was not looked at yet.
    #[default]
    Unknown,
    /// There is none, or none of its entries leads here: nobody calls about a pod, so none can be served wrongly.
    Absent,
    /// There is one.
    Registered(Trust),
}

impl Standing {
    /// Whether every caller has known this CA for at least as long.
    #[must_use]
    pub fn has_settled(&self, authority: &CertificateDer<'_>, settle: Duration, now: Instant) -> bool {
        match self {
            Self::Unknown => false,
            Self::Absent => true,
            Self::Registered(trust) => trust
                .since(authority)
                .is_some_and(|since| now.saturating_duration_since(since) >= settle),
        }
    }
}

/// The CAs that stand in every entry of the registration that leads here; those that only warn do not count.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// By which names those entries call.
    names: Vec<String>,
    authorities: Vec<(CertificateDer<'static>, Instant)>,
}

impl Trust {
    /// After the registration was seen with these entries: name of the server and caBundle. A CA that was there before
    /// keeps its time; one that is missing anywhere starts anew when it is back.
    #[must_use]
    pub fn observed(&self, entries: &[(String, Vec<CertificateDer<'static>>)], now: Instant) -> Self {
        let mut names: Vec<_> = entries.iter().map(|(name, _)| name.clone()).collect();
        names.sort();
        names.dedup();
        let (first, others) = match entries {
            [] => (&[][..], &[][..]),
            [(_, first), others @ ..] => (first.as_slice(), others),
        };
        let authorities = first
            .iter()
            .filter(|authority| others.iter().all(|(_, bundle)| bundle.contains(authority)))
            .map(|authority| (authority.clone(), self.since(authority).unwrap_or(now)))
            .collect();
        Self { names, authorities }
    }

    /// Since when this CA has been seen.
    #[must_use]
    pub fn since(&self, authority: &CertificateDer<'_>) -> Option<Instant> {
        self.authorities
            .iter()
            .find(|(known, _)| known.as_ref() == authority.as_ref())
            .map(|(_, since)| *since)
    }

    /// Whether a caller accepts this certificate: with the CAs that have been there for `settle`, by every name that the
    /// registration calls. `at` is in seconds since 1970.
    #[must_use]
    pub fn accepts(&self, certificate: &Certificate, settle: Duration, now: Instant, at: i64) -> bool {
        let settled: Vec<_> = self
            .authorities
            .iter()
            .filter(|(_, since)| now.saturating_duration_since(*since) >= settle)
            .map(|(authority, _)| authority)
            // The library does not look at the dates of a CA; the API server does.
            .filter(|authority| Validity::of(authority).is_ok_and(|validity| !validity.has_expired(at)))
            .collect();
        let at = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(at).unwrap_or_default()));
        self.names
            .iter()
            .all(|name| accepts(&settled, certificate.chain(), name, at))
    }

    /// In how long the next CA will have been there for `settle`.
    #[must_use]
    pub fn settles_in(&self, settle: Duration, now: Instant) -> Option<Duration> {
        self.authorities
            .iter()
            .filter_map(|(_, since)| (*since + settle).checked_duration_since(now))
            .filter(|left| !left.is_zero())
            .min()
    }
}

/// Whether a client that trusts these CAs accepts this chain as the server of that name.
#[must_use]
pub fn accepts(
    authorities: &[&CertificateDer<'static>],
    chain: &[CertificateDer<'static>],
    name: &str,
    at: UnixTime,
) -> bool {
    let Some((leaf, intermediates)) = chain.split_first() else {
        return false;
    };
    // Self-signed and trusted as it stands: the API server accepts that, the library does not.
    if authorities.contains(&leaf) {
        return true;
    }
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        // One that is no CA is none that could have signed this.
        let _ = roots.add((*authority).clone());
    }
    let Ok(verifier) = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build()
    else {
        return false;
    };
    ServerName::try_from(name.to_owned()).is_ok_and(|name| {
        verifier
            .verify_server_cert(leaf, intermediates, &name, &[], at)
            .is_ok()
    })
}
