//! A private CA and a certificate for loopback, as a company's own store has them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

pub struct Certificate {
    pub ca_pem: String,
    pub chain_file: PathBuf,
    pub key_file: PathBuf,
}

impl Certificate {
    pub fn for_loopback(folder: &Path) -> Self {
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority
            .distinguished_name
            .push(DnType::CommonName, "heapship tests");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let authority_key = KeyPair::generate().unwrap();
        let ca_pem = authority.self_signed(&authority_key).unwrap().pem();
        let issuer = Issuer::new(authority, authority_key);

        let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(names)
            .unwrap()
            .signed_by(&key, &issuer)
            .unwrap();

        let chain_file = folder.join("tls.crt");
        let key_file = folder.join("tls.key");
        fs::write(&chain_file, leaf.pem()).unwrap();
        fs::write(&key_file, key.serialize_pem()).unwrap();
        Self {
            ca_pem,
            chain_file,
            key_file,
        }
    }
}
