//! What the caBundle of an entry should hold.
//!
//! Several write it: our replicas, which may have seen different states of the truth, and whoever else may. So it is a
//! set that grows: a certificate leaves only when it is over for every clock, or when nobody of ours has claimed it for
//! [`LINGER`]. That is long enough for a replica whose mounted file lags a minute behind another's, and for people who add
//! a CA of theirs during a move from one kind of certificates to another.

use std::time::{Duration, Instant};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::authority::{Authority, Validity};

/// How long a certificate that is not ours may stay. The kubelet brings a changed Secret to every node within two minutes.
pub const LINGER: Duration = Duration::from_mins(10);

/// A caBundle as it was found.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Bundle {
    /// What could be read.
    pub certificates: Vec<CertificateDer<'static>>,
    /// Whether there was anything else in it.
    pub has_garbage: bool,
}

impl Bundle {
    /// Reads PEM text.
    #[must_use]
    pub fn read(pem: &[u8]) -> Self {
        let mut bundle = Self::default();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            match certificate {
                Ok(certificate) if Validity::of(&certificate).is_ok() => {
                    bundle.certificates.push(certificate);
                }
                Ok(_) | Err(_) => bundle.has_garbage = true,
            }
        }
        bundle.has_garbage |= bundle.certificates.is_empty() && !pem.trim_ascii().is_empty();
        bundle
    }

    /// What it should hold instead; nothing where it may stay as it is, or where nothing is known to be true.
    #[must_use]
    pub fn repaired(
        &self,
        truth: &[Authority],
        strangers: &Strangers,
        now: Instant,
        at: i64,
    ) -> Option<Vec<CertificateDer<'static>>> {
        let valid: Vec<_> = truth
            .iter()
            .filter(|authority| !authority.validity.has_expired(at))
            .collect();
        if valid.is_empty() {
            return None;
        }
        let is_true =
            |certificate: &CertificateDer<'_>| truth.iter().any(|known| known.certificate == *certificate);
        let may_stay = |certificate: &CertificateDer<'_>| {
            Validity::of(certificate).is_ok_and(|validity| !validity.is_over(at))
                && (is_true(certificate) || strangers.may_stay(certificate, now))
        };
        let is_complete = valid
            .iter()
            .all(|known| self.certificates.contains(&known.certificate));
        if is_complete && !self.has_garbage && self.certificates.iter().all(may_stay) {
            return None;
        }
        let mut wanted: Vec<_> = valid.iter().map(|known| known.certificate.clone()).collect();
        for certificate in &self.certificates {
            if may_stay(certificate) && !wanted.contains(certificate) {
                wanted.push(certificate.clone());
            }
        }
        Some(wanted)
    }
}

/// Certificates in the registration that are not of the truth, and since when they have been seen.
#[derive(Clone, Debug, Default)]
pub struct Strangers(Vec<(CertificateDer<'static>, Instant)>);

impl Strangers {
    /// After the registration was seen with these caBundles.
    #[must_use]
    pub fn observed<'a>(
        &self,
        bundles: impl IntoIterator<Item = &'a Bundle>,
        truth: &[Authority],
        now: Instant,
    ) -> Self {
        let mut strangers = Self::default();
        for certificate in bundles.into_iter().flat_map(|bundle| &bundle.certificates) {
            let is_true = truth.iter().any(|known| known.certificate == *certificate);
            if !is_true && strangers.since(certificate).is_none() {
                let since = self.since(certificate).unwrap_or(now);
                strangers.0.push((certificate.clone(), since));
            }
        }
        strangers
    }

    fn may_stay(&self, certificate: &CertificateDer<'_>, now: Instant) -> bool {
        self.since(certificate)
            .is_none_or(|since| now.saturating_duration_since(since) < LINGER)
    }

    fn since(&self, certificate: &CertificateDer<'_>) -> Option<Instant> {
        self.0
            .iter()
            .find(|(known, _)| known == certificate)
            .map(|(_, since)| *since)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Service;
    use super::super::authority::make_authority;
    use super::super::content::pem;
    use super::*;

    fn authority(lifetime: u64) -> Authority {
        let service = Service {
            name: "heapship".to_owned(),
            namespace: "heapship-system".to_owned(),
        };
        let validity = Validity::starting(1_000_000, Duration::from_secs(lifetime));
        make_authority(&service, validity).unwrap().0
    }

    fn bundle(authorities: &[&Authority]) -> Bundle {
        Bundle::read(pem(authorities.iter().map(|authority| &authority.certificate)).as_bytes())
    }

    #[test]
    fn a_bundle_is_repaired_only_where_it_has_to_be() {
        let now = Instant::now();
        let (newest, older, stranger) = (authority(9000), authority(3000), authority(9000));
        let truth = [newest.clone(), older.clone()];
        let later = now + LINGER;
        let both = [&newest, &older];
        let cases: [(_, _, _, _, Option<&[&Authority]>); 9] = [
            ("it was cleared", bundle(&[]), now, 0, Some(&both)),
            ("one is missing", bundle(&[&older]), now, 0, Some(&both)),
            ("all are there", bundle(&both), now, 0, None),
            (
                "their order does not matter",
                bundle(&[&older, &newest]),
                now,
                0,
                None,
            ),
            (
                "it holds something else",
                Bundle::read(b"garbage"),
                now,
                0,
                Some(&both),
            ),
            (
                "a stranger may stay",
                bundle(&[&stranger, &newest, &older]),
                now,
                0,
                None,
            ),
            (
                "a stranger may stay beside a repair",
                bundle(&[&stranger]),
                now,
                0,
                Some(&[&newest, &older, &stranger]),
            ),
            (
                "a stranger that nobody claims leaves",
                bundle(&[&stranger, &newest, &older]),
                later,
                0,
                Some(&both),
            ),
            (
                "what has expired is not asked for",
                bundle(&[&newest]),
                now,
                3000,
                None,
            ),
        ];
        for (what, found, at, since, expected) in cases {
            let strangers = Strangers::default().observed([&found], &truth, now);
            let wanted = found.repaired(&truth, &strangers, at, 1_000_000 + since);
            let expected = expected.map(|expected| {
                expected
                    .iter()
                    .map(|authority| authority.certificate.clone())
                    .collect::<Vec<_>>()
            });
            assert_eq!(wanted, expected, "{what}");
        }
    }

    #[test]
    fn what_is_over_leaves_and_clocks_that_differ_do_not_fight_over_it() {
        let now = Instant::now();
        let (newest, older) = (authority(9000), authority(3000));
        let truth = [newest.clone(), older.clone()];
        let full = bundle(&[&newest, &older]);
        let left = bundle(&[&newest]);
        let repaired =
            |found: &Bundle, at: i64| found.repaired(&truth, &Strangers::default(), now, 1_000_000 + at);
        assert_eq!(repaired(&full, 3599), None);
        assert_eq!(repaired(&full, 3600), Some(vec![newest.certificate.clone()]));
        // One whose clock is nine minutes behind leaves it like that.
        assert_eq!(repaired(&left, 3600 - 540), None);
    }

    #[test]
    fn without_a_truth_nothing_is_written() {
        assert_eq!(
            bundle(&[]).repaired(&[], &Strangers::default(), Instant::now(), 0),
            None
        );
    }
}
