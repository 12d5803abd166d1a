//! What the Secret holds, read and written as one whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::ByteString;
use rcgen::KeyPair;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};

use crate::admission::tls::Certificate;

use super::authority::{self, Authority, Validity, make_authority, make_leaf};
use super::step::Outline;
use super::trust::accepts;
use super::{Lifetimes, Service};

/// The serving certificate, PEM.
pub const CERTIFICATE: &str = "tls.crt";
/// Its private key, PEM.
pub const KEY: &str = "tls.key";
/// The CAs that are to be trusted, newest first, PEM.
pub const AUTHORITIES: &str = "ca.crt";
/// The private key of the newest CA, PEM.
pub const AUTHORITY_KEY: &str = "ca.key";

/// Older CAs that are kept, whatever happens: a Secret that is deleted again and again must not grow for ever.
const OLDER: usize = 4;

/// Why a Secret's content is of no use. The text says where it is wrong, and never what stood there.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// An entry is missing.
    #[error("it has no {0}")]
    Missing(&'static str),
    /// An entry is not what its name says.
    #[error("its {0} cannot be read")]
    Unreadable(&'static str),
    /// A private key belongs to something else.
    #[error("its {0} is the key of another certificate")]
    ForeignKey(&'static str),
    /// The certificate is for somebody else, or signed by somebody else.
    #[error("its tls.crt is not for {0}, or not signed by a CA of its ca.crt")]
    Foreign(String),
}

/// CAs, the newest one's key, and a serving certificate with its key.
#[derive(Clone)]
pub struct Content {
    newest: Authority,
    older: Vec<Authority>,
    signer: Pem,
    certificate: Arc<Certificate>,
    certificate_key: Pem,
    leaf: Validity,
    /// Which of the CAs signed it; 0 is the newest.
    signed_by: usize,
}

/// A private key, which no debug output shows.
#[derive(Clone, Eq, PartialEq)]
struct Pem(String);

impl Content {
    /// Reads a Secret's data for a Service. Whether it is valid now is not looked at: that changes by itself.
    ///
    /// # Errors
    /// When any of it does not fit the rest.
    pub fn read(data: &BTreeMap<String, ByteString>, service: &Service) -> Result<Self, Broken> {
        let mut authorities = certificates(data, AUTHORITIES)?
            .into_iter()
            .map(|certificate| Authority::read(certificate).map_err(|_| Broken::Unreadable(AUTHORITIES)))
            .collect::<Result<Vec<_>, _>>()?
            .into_iter();
        let newest = authorities.next().ok_or(Broken::Missing(AUTHORITIES))?;
        let older: Vec<_> = authorities.collect();
        let signer = text(data, AUTHORITY_KEY)?;
        check_signer(&newest, &signer)?;
        let chain = certificates(data, CERTIFICATE)?;
        let first = chain.first().ok_or(Broken::Missing(CERTIFICATE))?;
        let leaf = Validity::of(first).map_err(|_| Broken::Unreadable(CERTIFICATE))?;
        let name = service.server_name();
        // Its last second: one that has expired is still recognised.
        let at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(
            u64::try_from(leaf.expires.saturating_sub(1)).unwrap_or_default(),
        ));
        let signed_by = std::iter::once(&newest)
            .chain(&older)
            .position(|authority| accepts(&[&authority.certificate], &chain, &name, at))
            .ok_or(Broken::Foreign(name))?;
        let certificate_key = text(data, KEY)?;
        let certificate = assemble(chain, &certificate_key, leaf)?;
        Ok(Self {
            newest,
            older,
            signer: Pem(signer),
            certificate: Arc::new(certificate),
            certificate_key: Pem(certificate_key),
            leaf,
            signed_by,
        })
    }

    /// The entries of the Secret.
    #[must_use]
    pub fn data(&self) -> BTreeMap<String, ByteString> {
        let Self {
            newest: _,
            older: _,
            signer: Pem(signer),
            certificate,
            certificate_key: Pem(key),
            leaf: _,
            signed_by: _,
        } = self;
        let entries = [
            (CERTIFICATE, pem(certificate.chain())),
            (KEY, key.clone()),
            (
                AUTHORITIES,
                pem(self.authorities().map(|authority| &authority.certificate)),
            ),
            (AUTHORITY_KEY, signer.clone()),
        ];
        entries
            .into_iter()
            .map(|(name, text)| (name.to_owned(), ByteString(text.into_bytes())))
            .collect()
    }

    /// A CA and a certificate of it, both new.
    ///
    /// # Errors
    /// When the crypto library does not make them.
    pub fn begin(service: &Service, lifetimes: Lifetimes, now: i64) -> Result<Self, authority::Error> {
        let (newest, signer) = make_authority(service, Validity::starting(now, lifetimes.authority))?;
        let signer = signer.serialize_pem();
        let made = leaf(service, lifetimes, now, &newest, &signer)?;
        Ok(Self {
            newest,
            older: Vec::new(),
            signer: Pem(signer),
            certificate: made.certificate,
            certificate_key: made.key,
            leaf: made.validity,
            signed_by: 0,
        })
    }

    /// The same with a new CA in front; the certificate stays.
    ///
    /// # Errors
    /// When the crypto library does not make it.
    pub fn with_new_authority(
        &self,
        service: &Service,
        lifetimes: Lifetimes,
        now: i64,
    ) -> Result<Self, authority::Error> {
        let (newest, signer) = make_authority(service, Validity::starting(now, lifetimes.authority))?;
        // The one that signed the certificate stays whatever happens: without it the rest is of no use.
        let kept: Vec<_> = self
            .authorities()
            .enumerate()
            .filter(|(index, authority)| {
                *index == self.signed_by || (*index + 1 < OLDER && !authority.validity.is_over(now))
            })
            .collect();
        let signed_by = kept
            .iter()
            .position(|(index, _)| *index == self.signed_by)
            .map_or(0, |position| position + 1);
        Ok(Self {
            newest,
            older: kept.into_iter().map(|(_, authority)| authority.clone()).collect(),
            signer: Pem(signer.serialize_pem()),
            signed_by,
            ..self.clone()
        })
    }

    /// The same with a new certificate, of the newest CA.
    ///
    /// # Errors
    /// When the crypto library does not make it.
    pub fn with_new_leaf(
        &self,
        service: &Service,
        lifetimes: Lifetimes,
        now: i64,
    ) -> Result<Self, authority::Error> {
        let made = leaf(service, lifetimes, now, &self.newest, &self.signer.0)?;
        Ok(Self {
            certificate: made.certificate,
            certificate_key: made.key,
            leaf: made.validity,
            signed_by: 0,
            ..self.clone()
        })
    }

    /// The same without the older CAs that are over.
    #[must_use]
    pub fn without_old(&self, now: i64) -> Self {
        let is_kept =
            |index: usize, authority: &Authority| index == self.signed_by || !authority.validity.is_over(now);
        let dropped = (1..)
            .zip(&self.older)
            .filter(|(index, authority)| *index < self.signed_by && !is_kept(*index, authority))
            .count();
        let mut content = self.clone();
        content.older = (1..)
            .zip(&self.older)
            .filter(|(index, authority)| is_kept(*index, authority))
            .map(|(_, authority)| authority.clone())
            .collect();
        content.signed_by = self.signed_by - dropped;
        content
    }

    /// What has to be known to decide on the next step.
    #[must_use]
    pub fn outline(&self) -> Outline {
        Outline {
            newest: self.newest.validity,
            older: self.older.iter().map(|authority| authority.validity).collect(),
            leaf: self.leaf,
            leaf_is_of_newest: self.signed_by == 0,
        }
    }

    /// Every CA, the newest first.
    pub fn authorities(&self) -> impl Iterator<Item = &Authority> {
        std::iter::once(&self.newest).chain(&self.older)
    }

    /// The CA that signs.
    #[must_use]
    pub fn newest(&self) -> &Authority {
        &self.newest
    }

    /// What is to be served.
    #[must_use]
    pub fn certificate(&self) -> &Arc<Certificate> {
        &self.certificate
    }
}

struct Leaf {
    certificate: Arc<Certificate>,
    key: Pem,
    validity: Validity,
}

fn leaf(
    service: &Service,
    lifetimes: Lifetimes,
    now: i64,
    authority: &Authority,
    signer: &str,
) -> Result<Leaf, authority::Error> {
    let failed = |what| move |source| authority::Error::Make { what, source };
    let signer = KeyPair::from_pem(signer).map_err(failed("a CA's key from its PEM form"))?;
    let wanted = Validity::starting(now, lifetimes.certificate);
    let (certificate, key) = make_leaf(service, authority, signer, wanted)?;
    let validity = Validity::of(&certificate)?;
    let key = key.serialize_pem();
    let certificate = assemble(vec![certificate], &key, validity)
        .map_err(|error| authority::Error::Read(error.to_string()))?;
    Ok(Leaf {
        certificate: Arc::new(certificate),
        key: Pem(key),
        validity,
    })
}

fn assemble(
    chain: Vec<CertificateDer<'static>>,
    key: &str,
    validity: Validity,
) -> Result<Certificate, Broken> {
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| Broken::Unreadable(KEY))?;
    Certificate::new(chain, key, validity.expires).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => Broken::ForeignKey(KEY),
        _ => Broken::Unreadable(KEY),
    })
}

fn check_signer(newest: &Authority, key: &str) -> Result<(), Broken> {
    let key = KeyPair::from_pem(key).map_err(|_| Broken::Unreadable(AUTHORITY_KEY))?;
    let (_, certificate) = x509_parser::parse_x509_certificate(&newest.certificate)
        .map_err(|_| Broken::Unreadable(AUTHORITIES))?;
    if certificate.public_key().subject_public_key.data.as_ref() == key.public_key_raw() {
        Ok(())
    } else {
        Err(Broken::ForeignKey(AUTHORITY_KEY))
    }
}

fn certificates(
    data: &BTreeMap<String, ByteString>,
    name: &'static str,
) -> Result<Vec<CertificateDer<'static>>, Broken> {
    let ByteString(pem) = data.get(name).ok_or(Broken::Missing(name))?;
    CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|_| Broken::Unreadable(name))
}

fn text(data: &BTreeMap<String, ByteString>, name: &'static str) -> Result<String, Broken> {
    let ByteString(bytes) = data.get(name).ok_or(Broken::Missing(name))?;
    String::from_utf8(bytes.clone()).map_err(|_| Broken::Unreadable(name))
}

/// PEM text of certificates, as Secrets and caBundles carry it.
pub fn pem<'a>(certificates: impl IntoIterator<Item = &'a CertificateDer<'static>>) -> String {
    use base64::Engine as _;
    let mut text = String::new();
    for certificate in certificates {
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        let body = base64::engine::general_purpose::STANDARD.encode(certificate);
        for (index, letter) in body.chars().enumerate() {
            if index > 0 && index % 64 == 0 {
                text.push('\n');
            }
            text.push(letter);
        }
        text.push_str("\n-----END CERTIFICATE-----\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: i64 = 1_800_000_000;
    const LIFETIMES: Lifetimes = Lifetimes {
        authority: Duration::from_hours(8760),
        certificate: Duration::from_hours(720),
    };

    fn service() -> Service {
        Service {
            name: "heapship".to_owned(),
            namespace: "heapship-system".to_owned(),
        }
    }

    #[test]
    fn what_was_written_is_read_again_through_every_step() {
        let first = Content::begin(&service(), LIFETIMES, NOW).unwrap();
        let overlapping = first.with_new_authority(&service(), LIFETIMES, NOW).unwrap();
        let renewed = overlapping
            .with_new_leaf(&service(), LIFETIMES, NOW + 60)
            .unwrap();
        for (content, authorities, is_of_newest) in
            [(&first, 1, true), (&overlapping, 2, false), (&renewed, 2, true)]
        {
            let read = Content::read(&content.data(), &service()).unwrap();
            assert_eq!(read.outline(), content.outline());
            assert_eq!(read.data(), content.data());
            assert_eq!(read.authorities().count(), authorities);
            assert_eq!(read.outline().leaf_is_of_newest, is_of_newest);
        }
        assert!(overlapping.certificate().is_same(first.certificate()));
        assert_eq!(renewed.certificate().expires, NOW + 60 + 720 * 3600);
    }

    #[test]
    fn a_certificate_ends_no_later_than_its_ca_and_begins_some_minutes_ago() {
        let lifetimes = Lifetimes {
            authority: Duration::from_hours(1),
            certificate: Duration::from_hours(2),
        };
        let Outline { newest, leaf, .. } = Content::begin(&service(), lifetimes, NOW).unwrap().outline();
        assert_eq!((leaf.begins, leaf.expires), (NOW - 300, newest.expires));
    }

    #[test]
    fn older_cas_are_bounded_however_often_one_is_added() {
        let mut content = Content::begin(&service(), LIFETIMES, NOW).unwrap();
        for _ in 0..10 {
            content = content.with_new_authority(&service(), LIFETIMES, NOW).unwrap();
        }
        assert_eq!(content.authorities().count(), 1 + OLDER);
        // The one that signed the certificate is among them: the whole can still be read.
        let read = Content::read(&content.data(), &service()).unwrap();
        assert_eq!(read.outline(), content.outline());
    }

    #[test]
    fn what_somebody_broke_is_named_and_never_shown() {
        let whole = Content::begin(&service(), LIFETIMES, NOW).unwrap().data();
        let other = Content::begin(&service(), LIFETIMES, NOW).unwrap().data();
        let with = |entry: &str, value: Option<&ByteString>| {
            let mut data = whole.clone();
            match value {
                Some(value) => data.insert(entry.to_owned(), value.clone()),
                None => data.remove(entry),
            };
            data
        };
        let garbage = ByteString(b"garbage".to_vec());
        let cases = [
            (with(CERTIFICATE, None), "it has no tls.crt"),
            (with(KEY, None), "it has no tls.key"),
            (with(AUTHORITIES, None), "it has no ca.crt"),
            (with(AUTHORITY_KEY, None), "it has no ca.key"),
            (with(CERTIFICATE, Some(&garbage)), "it has no tls.crt"),
            (with(KEY, Some(&garbage)), "its tls.key cannot be read"),
            (with(AUTHORITIES, Some(&garbage)), "it has no ca.crt"),
            (with(AUTHORITY_KEY, Some(&garbage)), "its ca.key cannot be read"),
            (
                with(KEY, other.get(KEY)),
                "its tls.key is the key of another certificate",
            ),
            (
                with(AUTHORITY_KEY, other.get(AUTHORITY_KEY)),
                "its ca.key is the key of another certificate",
            ),
            (
                with(CERTIFICATE, other.get(CERTIFICATE)),
                "its tls.crt is not for heapship.heapship-system.svc, or not signed by a CA of its ca.crt",
            ),
        ];
        for (data, fault) in cases {
            let broken = Content::read(&data, &service()).err().unwrap();
            assert_eq!(broken.to_string(), fault);
        }
        let renamed = Service {
            name: "renamed".to_owned(),
            ..service()
        };
        assert!(matches!(Content::read(&whole, &renamed), Err(Broken::Foreign(_))));
    }
}
