//! Would the API server accept what the webhook serves, and for how long?

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use serde_json::Value;

use super::found::Found;
use super::registration::entries;
use super::report::{Line, Section};
use crate::cli::installation::{Installation, Mode};
use crate::names;

/// Both are renewed at two thirds of their life; at five sixths somebody has to look.
const LATE: i64 = 6;

pub(super) fn judge(found: &Found) -> Section {
    Section {
        name: "certificates",
        lines: lines(found),
    }
}

fn lines(found: &Found) -> Vec<Line> {
    let Ok(registration) = &found.installation.registration else {
        return vec![Line::not_checked("no registration to read the caBundle from")];
    };
    let bundle = entries(registration)
        .find(|entry| entry["name"] == names::WEBHOOK_ENTRIES[0])
        .and_then(|entry| entry["clientConfig"]["caBundle"].as_str())
        .unwrap_or_default();
    let authorities = of_bundle(bundle);
    let mut lines = Vec::new();
    if authorities.is_empty() {
        lines.push(Line::not_checked("the caBundle holds no CA: see registration"));
    } else {
        lines.extend(ends_of_bundle(
            &authorities,
            found.now,
            &renewal(&found.installation),
        ));
    }
    lines.extend(served(found, &authorities));
    lines
}

/// When the CAs of the bundle end. During a rotation it holds the old one and the new one.
fn ends_of_bundle(authorities: &[CertificateDer<'_>], now: i64, renew: &str) -> Vec<Line> {
    let mut alive = Vec::new();
    let mut lines = Vec::new();
    for authority in authorities {
        match Life::of(authority) {
            Some(life) if life.ends > now => alive.push(life),
            Some(life) => lines.push(Line::warning(format!(
                "a CA of the caBundle expired on {}",
                date(life.ends)
            ))),
            None => lines.push(Line::warning(
                "the caBundle holds something that is no certificate",
            )),
        }
    }
    match alive.iter().max_by_key(|life| life.ends) {
        None => vec![Line::fault(
            "every CA of the caBundle has expired: the API server trusts no answer, and admits every pod as it is",
            renew,
        )],
        Some(last) if last.is_late(now) => {
            lines.push(
                Line::warning(format!(
                    "the caBundle's CA ends on {}, and its renewal is late",
                    date(last.ends)
                ))
                .remedy(renew),
            );
            lines
        }
        Some(last) => {
            lines.push(Line::ok(match alive.len() {
                1 => format!("the caBundle's CA is valid until {}", date(last.ends)),
                n => format!(
                    "the caBundle holds {n} CAs, the last valid until {}",
                    date(last.ends)
                ),
            }));
            lines
        }
    }
}

/// The certificate that the replicas serve, as it lies in its Secret.
fn served(found: &Found, authorities: &[CertificateDer<'_>]) -> Option<Line> {
    let installation = &found.installation;
    let (secret, renew) = (installation.certificates_secret(), renewal(installation));
    let chain = match &found.certificate {
        Ok(pem) => of_pem(pem.as_bytes()),
        Err(refusal) => {
            let what = format!("the served certificate in the Secret {secret}");
            // Whoever may read the Secret has the private key: no role of ours gives that away.
            return Some(Line::not_checked(format!(
                "{what}: {refusal}; the call below goes through it all the same"
            )));
        }
    };
    let Some(leaf) = chain.first() else {
        return Some(Line::fault(
            format!("the Secret {secret} holds no certificate under tls.crt"),
            renew,
        ));
    };
    let Some(life) = Life::of(leaf) else {
        return Some(Line::fault(
            format!("what the Secret {secret} holds under tls.crt is no certificate"),
            renew,
        ));
    };
    let name = format!("{}.{}.svc", installation.service, installation.namespace);
    if life.ends <= found.now {
        return Some(Line::fault(
            format!(
                "the served certificate expired on {}: the API server trusts no answer, and admits every pod as it is",
                date(life.ends)
            ),
            renew,
        ));
    }
    if authorities.is_empty() {
        return None;
    }
    Some(match accepted(&chain, authorities, &name, found.now) {
        Err(why) => Line::fault(
            format!("the API server does not accept the served certificate as {name}: {why}"),
            renew,
        ),
        Ok(()) if life.is_late(found.now) => Line::warning(format!(
            "the served certificate ends on {}, and its renewal is late",
            date(life.ends)
        ))
        .remedy(renew),
        Ok(()) => Line::ok(format!(
            "the served certificate is {name}, signed by a CA of the caBundle, valid until {}",
            date(life.ends)
        )),
    })
}

/// The check that the API server makes when it connects.
fn accepted(
    chain: &[CertificateDer<'_>],
    authorities: &[CertificateDer<'_>],
    name: &str,
    now: i64,
) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(authorities.iter().map(|authority| authority.clone().into_owned()));
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::new(aws_lc_rs::default_provider()))
            .build()
            .map_err(|error| error.to_string())?;
    let name = ServerName::try_from(name).map_err(|error| error.to_string())?;
    let (leaf, intermediates) = chain.split_first().ok_or("there is none")?;
    let now = UnixTime::since_unix_epoch(Duration::from_secs(now.try_into().unwrap_or_default()));
    verifier
        .verify_server_cert(leaf, intermediates, &name, &[], now)
        .map(|_| ())
        .map_err(|error| error.to_string())
}

/// The certificates of a caBundle, as it stands in JSON.
pub(super) fn of_bundle(base64: &str) -> Vec<CertificateDer<'static>> {
    STANDARD
        .decode(base64)
        .map(|pem| of_pem(&pem))
        .unwrap_or_default()
}

fn of_pem(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .unwrap_or_default()
}

/// The certificate of a Secret, and nothing else of it: the key beside it is nobody's business.
pub(super) fn of_secret(secret: &Value) -> String {
    let encoded = secret["data"]["tls.crt"].as_str().unwrap_or_default();
    let decoded = STANDARD.decode(encoded).unwrap_or_default();
    String::from_utf8(decoded).unwrap_or_default()
}

/// Beginning and end, in seconds since 1970.
#[derive(Clone, Copy, Debug)]
struct Life {
    begins: i64,
    ends: i64,
}

impl Life {
    fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
        let validity = certificate.validity();
        Some(Self {
            begins: validity.not_before.timestamp(),
            ends: validity.not_after.timestamp(),
        })
    }

    fn is_late(self, now: i64) -> bool {
        self.ends - now < (self.ends - self.begins) / LATE
    }
}

fn date(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |at| at.to_string())
}

/// What brings a new certificate.
fn renewal(installation: &Installation) -> String {
    let (namespace, secret) = (&installation.namespace, installation.certificates_secret());
    match installation.mode() {
        Mode::SelfManaged => format!(
            "{}   # the webhook renews it: why does it not?",
            installation.logs()
        ),
        Mode::CertManager => {
            format!("kubectl describe certificates -n {namespace}   # cert-manager renews it")
        }
        Mode::Provided => format!(
            "kubectl get secret {secret} -n {namespace}   # whoever made it has to renew it: certs/README.md"
        ),
    }
}
