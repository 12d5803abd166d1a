//! CAs and serving certificates: made, and dated. ECDSA P-256: quick to make, small, and a handshake costs little.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls::pki_types::CertificateDer;

use super::Service;

/// How far in the past a new certificate begins: clocks of a cluster differ.
pub const BACKDATE: Duration = Duration::from_mins(5);
/// How far apart two clocks of a cluster may be. What has been over for longer is over for everybody.
pub const SKEW: Duration = Duration::from_mins(10);

/// Why a certificate cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The crypto library does not make it.
    #[error("cannot make {what}")]
    Make {
        /// What was to be made.
        what: &'static str,
        /// What the library said.
        source: rcgen::Error,
    },
    /// Not a certificate.
    #[error("cannot read a certificate: {0}")]
    Read(String),
}

/// From when until when, in seconds since 1970.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Validity {
    /// The first second.
    pub begins: i64,
    /// The second from which on it is no longer valid.
    pub expires: i64,
}

impl Validity {
    /// Reads it from a certificate.
    ///
    /// # Errors
    /// When that is none.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, Error> {
        let (_, certificate) = x509_parser::parse_x509_certificate(certificate)
            .map_err(|error| Error::Read(error.to_string()))?;
        let validity = certificate.validity();
        Ok(Self {
            begins: validity.not_before.timestamp(),
            expires: validity.not_after.timestamp(),
        })
    }

    /// What begins now and lives so long; the beginning is written down earlier.
    #[must_use]
    pub fn starting(now: i64, lifetime: Duration) -> Self {
        Self {
            begins: now.saturating_sub(seconds(BACKDATE)),
            expires: now.saturating_add(seconds(lifetime)),
        }
    }

    /// When it has to be renewed: at two thirds of its life. Judged by the certificate alone, so that replicas with
    /// other settings do not disagree.
    #[must_use]
    pub fn due(self) -> i64 {
        self.expires.saturating_sub(self.life() / 3)
    }

    /// Whether it is no longer valid.
    #[must_use]
    pub fn has_expired(self, now: i64) -> bool {
        self.expires <= now
    }

    /// Whether it is no longer valid by any clock of the cluster: what one replica removes, no other must add again.
    /// What lived shorter than [`SKEW`] waits for a second life only.
    #[must_use]
    pub fn is_over(self, now: i64) -> bool {
        self.expires.saturating_add(self.life().min(seconds(SKEW))) <= now
    }

    fn life(self) -> i64 {
        let issued = self.begins.saturating_add(seconds(BACKDATE));
        self.expires.saturating_sub(issued).max(0)
    }
}

/// A CA's certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Authority {
    /// DER.
    pub certificate: CertificateDer<'static>,
    /// From when until when.
    pub validity: Validity,
}

impl Authority {
    /// Reads the validity.
    ///
    /// # Errors
    /// When it is no certificate.
    pub fn read(certificate: CertificateDer<'static>) -> Result<Self, Error> {
        let validity = Validity::of(&certificate)?;
        Ok(Self {
            certificate,
            validity,
        })
    }
}

/// A CA of this Service's own, and its key. Each has a name of its own, so that no client confuses two of them.
///
/// # Errors
/// When the crypto library does not make it.
pub fn make_authority(service: &Service, validity: Validity) -> Result<(Authority, KeyPair), Error> {
    let failed = |source| Error::Make { what: "a CA", source };
    let key = KeyPair::generate().map_err(failed)?;
    let mut parameters = parameters(Vec::new(), validity).map_err(failed)?;
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let identifier = hex::encode(parameters.key_identifier(&key).get(..8).unwrap_or_default());
    let name = format!("{} CA {identifier}", service.server_name());
    parameters
        .distinguished_name
        .push(DnType::CommonName, short(&name));
    let certificate = parameters.self_signed(&key).map_err(failed)?;
    let authority = Authority {
        certificate: certificate.der().clone(),
        validity,
    };
    Ok((authority, key))
}

/// A certificate for the Service and its key. It ends no later than its CA.
///
/// # Errors
/// When the crypto library does not make it.
pub fn make_leaf(
    service: &Service,
    authority: &Authority,
    signer: KeyPair,
    validity: Validity,
) -> Result<(CertificateDer<'static>, KeyPair), Error> {
    let failed = |source| Error::Make {
        what: "a serving certificate",
        source,
    };
    let validity = Validity {
        expires: validity.expires.min(authority.validity.expires),
        ..validity
    };
    let issuer = Issuer::from_ca_cert_der(&authority.certificate, signer).map_err(failed)?;
    let key = KeyPair::generate().map_err(failed)?;
    let mut parameters = parameters(service.names().into(), validity).map_err(failed)?;
    parameters.use_authority_key_identifier_extension = true;
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    parameters
        .distinguished_name
        .push(DnType::CommonName, short(&service.server_name()));
    let certificate = parameters.signed_by(&key, &issuer).map_err(failed)?;
    Ok((certificate.der().clone(), key))
}

fn parameters(names: Vec<String>, validity: Validity) -> Result<CertificateParams, rcgen::Error> {
    let mut parameters = CertificateParams::new(names)?;
    let epoch = date_time_ymd(1970, 1, 1);
    let at = |second: i64| epoch + Duration::from_secs(u64::try_from(second).unwrap_or_default());
    parameters.not_before = at(validity.begins);
    parameters.not_after = at(validity.expires);
    parameters.distinguished_name = DistinguishedName::new();
    Ok(parameters)
}

/// A common name has at most 64 characters (RFC 5280, appendix A).
fn short(name: &str) -> String {
    let surplus = name.chars().count().saturating_sub(64);
    name.chars().skip(surplus).collect()
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}
