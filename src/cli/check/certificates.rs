//! Would the API server accept what the webhook serves, and for how long?

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, UnixTime};
use serde_json::Value;

use super::found::Found;
use super::registration::entries;
use super::report::{Line, Section};
use crate::certificates::authority::Validity;
use crate::certificates::trust::accepts;
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
        match Validity::of(authority) {
            Ok(validity) if !validity.has_expired(now) => alive.push(validity),
            Ok(validity) => lines.push(Line::warning(format!(
                "a CA of the caBundle expired on {}",
                date(validity.expires)
            ))),
            Err(_) => lines.push(Line::warning(
                "the caBundle holds something that is no certificate",
            )),
        }
    }
    match alive.iter().max_by_key(|validity| validity.expires) {
        None => vec![Line::fault(
            "every CA of the caBundle has expired: the API server trusts no answer, and admits every pod as it is",
            renew,
        )],
        Some(last) if is_late(*last, now) => {
            lines.push(
                Line::warning(format!(
                    "the caBundle's CA ends on {}, and its renewal is late",
                    date(last.expires)
                ))
                .remedy(renew),
            );
            lines
        }
        Some(last) => {
            lines.push(Line::ok(match alive.len() {
                1 => format!("the caBundle's CA is valid until {}", date(last.expires)),
                n => format!(
                    "the caBundle holds {n} CAs, the last valid until {}",
                    date(last.expires)
                ),
            }));
            lines
        }
    }
}

/// The certificate that the replicas serve, as it lies in its Secret.
fn served(found: &Found, authorities: &[CertificateDer<'static>]) -> Option<Line> {
    let installation = &found.installation;
    let (secret, renew) = (installation.certificates_secret(), renewal(installation));
    let chain = match &found.certificate {
        Ok(pem) => of_pem(pem.as_bytes()),
        Err(refusal) => {
            let what = format!("the served certificate in the Secret {secret}");
            return Some(Line::unread(&what, refusal, names::OPERATOR_ROLE));
        }
    };
    let Some(leaf) = chain.first() else {
        return Some(Line::fault(
            format!("the Secret {secret} holds no certificate under tls.crt"),
            renew,
        ));
    };
    let Ok(validity) = Validity::of(leaf) else {
        return Some(Line::fault(
            format!("what the Secret {secret} holds under tls.crt is no certificate"),
            renew,
        ));
    };
    let name = format!("{}.{}.svc", installation.service, installation.namespace);
    if validity.has_expired(found.now) {
        return Some(Line::fault(
            format!(
                "the served certificate expired on {}: the API server trusts no answer, and admits every pod as it is",
                date(validity.expires)
            ),
            renew,
        ));
    }
    if authorities.is_empty() {
        return None;
    }
    // The API server looks at the dates of a CA as well.
    let alive = authorities
        .iter()
        .filter(|authority| Validity::of(authority).is_ok_and(|validity| !validity.has_expired(found.now)));
    let at = UnixTime::since_unix_epoch(Duration::from_secs(found.now.try_into().unwrap_or_default()));
    let until = date(validity.expires);
    Some(if !accepts(&alive.collect::<Vec<_>>(), &chain, &name, at) {
        Line::fault(
            format!(
                "the API server does not accept the served certificate as {name}: it is for another name, or no CA of the \
                 caBundle signed it"
            ),
            renew,
        )
    } else if is_late(validity, found.now) {
        Line::warning(format!(
            "the served certificate ends on {until}, and its renewal is late"
        ))
        .remedy(renew)
    } else {
        Line::ok(format!(
            "the served certificate is {name}, signed by a CA of the caBundle, valid until {until}"
        ))
    })
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

fn is_late(validity: Validity, now: i64) -> bool {
    let Validity { begins, expires } = validity;
    expires - now < (expires - begins) / LATE
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
