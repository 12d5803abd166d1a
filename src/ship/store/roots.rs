//! Whose signature under a store's certificate is trusted.
//!
//! The store's own CA where the policy names one, and on top of it the first of these that holds any root: what
//! `SSL_CERT_FILE` or `SSL_CERT_DIR` name, or else the image's own; and the file beside our executable, since many
//! images have none, and that of a borrowed image may be anything.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Once;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls_native_certs::CertificateResult;

use crate::names;

/// Why the store's own CA is of no use.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("the store's CA is no certificate in PEM")]
    Pem(#[from] pem::Error),
    #[error("the store's CA holds no certificate in PEM")]
    Empty,
    #[error("the store's CA is no certificate that can sign")]
    Unusable(#[from] rustls::Error),
}

/// Everybody who is trusted, in DER; nobody where there are no roots at all.
///
/// # Errors
/// Where the store's own CA cannot be used.
pub(super) fn trusted(store_ca: Option<&str>) -> Result<Vec<CertificateDer<'static>>, Error> {
    let mut roots = store_ca.map(own).transpose()?.unwrap_or_default();
    roots.extend(known(
        rustls_native_certs::load_native_certs(),
        &beside_the_executable(),
    ));
    Ok(roots)
}

/// Where the roots are that come with the agent: in its image, and in the tools volume.
#[must_use]
pub fn beside_the_executable() -> PathBuf {
    // Never relative to a working directory, which belongs to the application. Our image has them in its top folder.
    let executable = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/"));
    executable.parent().unwrap_or(&executable).join(names::ROOTS)
}

fn own(pem: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let roots: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>()?;
    if roots.is_empty() {
        return Err(Error::Empty);
    }
    // One that is wrong is the mistake of whoever gave it, and must be said.
    for root in &roots {
        RootCertStore::empty().add(root.clone())?;
    }
    Ok(roots)
}

fn known(system: CertificateResult, beside: &Path) -> Vec<CertificateDer<'static>> {
    let usable = usable(system.certs);
    if !usable.is_empty() {
        return usable;
    }
    let ours = match CertificateDer::pem_file_iter(beside) {
        Ok(ours) => ours.flatten().collect(),
        Err(pem::Error::Io(error)) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            tracing::warn!(%error, "cannot read the CA roots in {}", beside.display());
            Vec::new()
        }
    };
    if let Some(error) = system.errors.first() {
        // A store is opened for every dump.
        static SAID: Once = Once::new();
        SAID.call_once(|| {
            tracing::warn!(
                "the image's CA roots cannot be used, those in {} are: {error}",
                beside.display()
            );
        });
    }
    self::usable(ours)
}

/// A single root that is damaged or of an unknown kind takes none of the others with it.
fn usable(roots: Vec<CertificateDer<'static>>) -> Vec<CertificateDer<'static>> {
    let is_usable = |root: &CertificateDer<'static>| RootCertStore::empty().add(root.clone()).is_ok();
    roots.into_iter().filter(is_usable).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pem(name: &str) -> String {
        let certified = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        certified.cert.pem()
    }

    fn of(file: &Path) -> CertificateResult {
        rustls_native_certs::load_certs_from_paths(Some(file), None)
    }

    #[test]
    fn the_images_roots_are_taken_before_those_beside_the_executable() {
        let folder = tempfile::tempdir().unwrap();
        let (image, ours) = (folder.path().join("image.crt"), folder.path().join("ours.crt"));
        std::fs::write(&image, pem("image")).unwrap();
        std::fs::write(&ours, pem("ours")).unwrap();
        assert_eq!(known(of(&image), &ours), of(&image).certs);
    }

    #[test]
    fn an_image_with_no_roots_or_broken_ones_gets_those_beside_the_executable() {
        let folder = tempfile::tempdir().unwrap();
        let (broken, ours) = (folder.path().join("broken.crt"), folder.path().join("ours.crt"));
        std::fs::write(&ours, pem("ours")).unwrap();
        let expected = of(&ours).certs;
        assert_eq!(expected.len(), 1);
        for text in [
            "",
            "no PEM",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ] {
            std::fs::write(&broken, text).unwrap();
            assert_eq!(known(of(&broken), &ours), expected, "{text}");
        }
        assert_eq!(known(of(&folder.path().join("none.crt")), &ours), expected);
        assert_eq!(known(CertificateResult::default(), &ours), expected);
    }

    #[test]
    fn one_damaged_root_takes_no_other_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("image.crt");
        let damaged = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        std::fs::write(&image, format!("{damaged}{}", pem("image"))).unwrap();
        assert_eq!(known(of(&image), Path::new("/none")).len(), 1);
    }

    #[test]
    fn without_any_roots_nobody_is_trusted() {
        assert!(known(CertificateResult::default(), Path::new("/none")).is_empty());
    }

    #[test]
    fn a_ca_that_is_none_is_an_error() {
        assert!(matches!(own("no PEM"), Err(Error::Empty)));
        let damaged = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(own(damaged), Err(Error::Unusable(_))));
        assert_eq!(own(&pem("store")).unwrap().len(), 1);
    }
}
