//! A certificate authority of the tests' own, and clients that trust it.

use std::ops::Range;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

/// The name that an API server would ask for.
pub(crate) const SERVER_NAME: &str = "heapship.heapship-system.svc";

/// A CA.
pub(crate) struct Authority {
    /// Its certificate, PEM.
    pub(crate) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, PEM.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Pair {
    pub(crate) fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()
    }
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters
            .distinguished_name
            .push(DnType::CommonName, "a CA of the tests");
        let key = KeyPair::generate().unwrap();
        Self {
            pem: parameters.self_signed(&key).unwrap().pem(),
            issuer: Issuer::new(parameters, key),
        }
    }

    /// A serving certificate that ends at the beginning of a year.
    pub(crate) fn until(&self, year: i32) -> Pair {
        self.sign(2020..year, ExtendedKeyUsagePurpose::ServerAuth)
    }

    pub(crate) fn sign(&self, years: Range<i32>, purpose: ExtendedKeyUsagePurpose) -> Pair {
        let mut parameters = CertificateParams::new(vec![SERVER_NAME.to_owned()]).unwrap();
        parameters.not_before = date_time_ymd(years.start, 1, 1);
        parameters.not_after = date_time_ymd(years.end, 1, 1);
        parameters.extended_key_usages = vec![purpose];
        let key = KeyPair::generate().unwrap();
        Pair {
            certificate: parameters.signed_by(&key, &self.issuer).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    /// A client's side of TLS that trusts this CA only.
    pub(crate) fn client(
        &self,
        alpn: &[&str],
        versions: &[&'static SupportedProtocolVersion],
        identity: Option<&Pair>,
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap())
            .unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(pair) => builder
                .with_client_auth_cert(
                    vec![pair.der()],
                    PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap(),
                )
                .unwrap(),
        };
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    /// As the API server speaks to a Service.
    pub(crate) fn http1(&self) -> Arc<ClientConfig> {
        self.client(&["http/1.1"], rustls::ALL_VERSIONS, None)
    }

    /// As load generators speak, and the API server to a loopback URL.
    pub(crate) fn http2(&self) -> Arc<ClientConfig> {
        self.client(&["h2"], rustls::ALL_VERSIONS, None)
    }
}
