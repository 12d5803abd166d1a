//! The certificate that is served: read from files, checked before it is used, swapped without a dropped connection.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwapOption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};

/// Why a certificate cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is not there, or not for us.
    #[error("cannot read {what} {file}; mount the Secret that holds it, or correct {argument}")]
    Read {
        /// `the certificate`, `the key` or `the client CA`.
        what: &'static str,
        /// The path as it was given.
        file: PathBuf,
        /// The argument that named it.
        argument: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Not PEM, or PEM of something else.
    #[error(
        "cannot use {file}: it holds no {block} in PEM form; write one, as `kubectl create secret tls` takes it"
    )]
    Empty {
        /// The path as it was given.
        file: PathBuf,
        /// The PEM block that was looked for.
        block: &'static str,
    },
    /// PEM with something in it that is no certificate or no supported key.
    #[error(
        "cannot use {file}: {what}; renew it with RSA from 2048 bits, ECDSA P-256, P-384, P-521 or Ed25519"
    )]
    Unusable {
        /// The path as it was given.
        file: PathBuf,
        /// What the parser said.
        what: String,
    },
    /// Two halves of two pairs.
    #[error("cannot serve {certificate}: {key} is the key of another certificate; take both from one Secret")]
    Mismatch {
        /// The certificate's path.
        certificate: PathBuf,
        /// The key's path.
        key: PathBuf,
    },
    /// No API server would accept it.
    #[error("cannot serve {file}: it expired at {at}; renew it")]
    Expired {
        /// The certificate's path.
        file: PathBuf,
        /// The end of its validity, RFC 3339.
        at: String,
    },
    /// No API server would accept it yet.
    #[error(
        "cannot serve {file}: it is valid only from {from} on; correct the clock or take one that is valid now"
    )]
    NotYet {
        /// The certificate's path.
        file: PathBuf,
        /// The beginning of its validity, RFC 3339.
        from: String,
    },
    /// TLS cannot be set up with this.
    #[error("cannot set up TLS: {0}")]
    Setup(String),
}

impl Error {
    /// Whether the files are where they should be and in the form that they should have, so that what is wrong with them
    /// passes with time or with the next update.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Mismatch { .. } | Self::Expired { .. } | Self::NotYet { .. } => true,
            Self::Read { .. } | Self::Empty { .. } | Self::Unusable { .. } | Self::Setup(_) => false,
        }
    }
}

/// Where the certificate and its key lie; both PEM.
#[derive(Clone, Debug)]
pub struct Files {
    /// The certificate, then its intermediates.
    pub certificate: PathBuf,
    /// Its private key, unencrypted.
    pub key: PathBuf,
}

/// A certificate that is fit to be served.
#[derive(Debug)]
pub struct Certificate {
    key: Arc<CertifiedKey>,
    /// End of its validity, in seconds since 1970.
    pub expires: i64,
}

impl Certificate {
    /// Reads and checks the pair. What is read in the middle of an update may be two halves: that is a
    /// [`Error::Mismatch`], and the next reading is whole.
    pub fn load(files: &Files, now: SystemTime) -> Result<Self, Error> {
        let Files { certificate, key } = files;
        let certificate_pem = read("the certificate", certificate, "--tls-cert")?;
        let key_pem = read("the key", key, "--tls-key")?;
        let chain = certificates(certificate, &certificate_pem)?;
        let private = PrivateKeyDer::from_pem_slice(&key_pem).map_err(|_| Error::Empty {
            file: key.clone(),
            block: "PRIVATE KEY",
        })?;
        let (begins, expires) = validity(certificate, &chain)?;
        let now = seconds(now);
        if expires <= now {
            return Err(Error::Expired {
                file: certificate.clone(),
                at: rfc3339(expires),
            });
        }
        if begins > now {
            return Err(Error::NotYet {
                file: certificate.clone(),
                from: rfc3339(begins),
            });
        }
        Self::new(chain, private, expires).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => Error::Mismatch {
                certificate: certificate.clone(),
                key: key.clone(),
            },
            other => Error::Unusable {
                file: key.clone(),
                what: other.to_string(),
            },
        })
    }

    /// A chain that ends at `expires`, in seconds since 1970, and the key of its first certificate. Whether it is valid
    /// now is not looked at.
    ///
    /// # Errors
    /// When the key is of no kind that can be served, or of another certificate.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        private: PrivateKeyDer<'static>,
        expires: i64,
    ) -> Result<Self, rustls::Error> {
        let key = CertifiedKey::from_der(chain, private, &provider())?;
        Ok(Self {
            key: Arc::new(key),
            expires,
        })
    }

    /// What a client is shown: the certificate, then its intermediates.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.key.cert
    }

    /// Whether both would be told apart by a client.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.key.cert == other.key.cert
    }
}

/// The certificate of new connections. Those that are open keep the one they began with. Until there is one, handshakes
/// fail.
#[derive(Debug, Default)]
pub struct Served(ArcSwapOption<Certificate>);

impl Served {
    /// Begins with a certificate.
    #[must_use]
    pub fn new(certificate: Certificate) -> Self {
        Self(ArcSwapOption::from_pointee(certificate))
    }

    /// The one in use.
    #[must_use]
    pub fn current(&self) -> Option<Arc<Certificate>> {
        self.0.load_full()
    }

    /// Serves another one from the next handshake on.
    pub fn replace(&self, certificate: Arc<Certificate>) {
        self.0.store(Some(certificate));
    }
}

impl ResolvesServerCert for Served {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0
            .load()
            .as_ref()
            .map(|certificate| Arc::clone(&certificate.key))
    }
}

/// TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1; with `client_ca`, only for clients that it signed. The client CA is read
/// once: it changes when the API server's configuration does.
pub fn server_config(served: Arc<Served>, client_ca: Option<&Path>) -> Result<Arc<ServerConfig>, Error> {
    let setup = |error: rustls::Error| Error::Setup(error.to_string());
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(setup)?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(file, &read("the client CA", file, "--client-ca")?)? {
                roots.add(certificate).map_err(|error| Error::Unusable {
                    file: file.to_owned(),
                    what: error.to_string(),
                })?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
                .build()
                .map_err(|error| Error::Setup(error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_cert_resolver(served);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Named, not the process's default: nothing that another crate installs can change what we serve with.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

pub(crate) fn read(what: &'static str, file: &Path, argument: &'static str) -> Result<Vec<u8>, Error> {
    std::fs::read(file).map_err(|source| Error::Read {
        what,
        file: file.to_owned(),
        argument,
        source,
    })
}

/// The certificates of a PEM file, at least one.
pub(crate) fn certificates(file: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let chain = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| Error::Unusable {
            file: file.to_owned(),
            what: error.to_string(),
        })?;
    if chain.is_empty() {
        return Err(Error::Empty {
            file: file.to_owned(),
            block: "CERTIFICATE",
        });
    }
    Ok(chain)
}

/// Beginning and end, in seconds since 1970.
fn validity(file: &Path, chain: &[CertificateDer<'_>]) -> Result<(i64, i64), Error> {
    let unusable = |what: String| Error::Unusable {
        file: file.to_owned(),
        what,
    };
    let leaf = chain
        .first()
        .ok_or_else(|| unusable("no certificate".to_owned()))?;
    let (_, certificate) =
        x509_parser::parse_x509_certificate(leaf).map_err(|error| unusable(error.to_string()))?;
    let validity = certificate.validity();
    Ok((validity.not_before.timestamp(), validity.not_after.timestamp()))
}

fn rfc3339(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |at| at.to_string())
}

fn seconds(time: SystemTime) -> i64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}
