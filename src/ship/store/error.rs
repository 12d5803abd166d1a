//! What can be wrong with a store, told apart by what a person has to do about it.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use object_store::client::{HttpError, HttpErrorKind};

use super::hosts::Unresolved;

/// A failed request, with its cause.
#[derive(Debug, thiserror::Error)]
#[error("cannot {attempted}: {}", self.why())]
pub struct Error {
    /// What was tried, on what.
    pub attempted: String,
    /// Why it failed.
    pub cause: Cause,
    /// The store's or the system's own words.
    pub source: Box<dyn StdError + Send + Sync>,
}

/// Why a store refuses. Each one's text says what to do.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Cause {
    /// There is no such bucket.
    NoBucket,
    /// The credentials are known and may not do this.
    Denied,
    /// The credentials are wrong.
    Credentials,
    /// There are none, or the service that gives them does not answer.
    NoCredentials,
    /// They have expired; whoever gives them renews them.
    Expired,
    /// The clocks of the node and the store differ by minutes.
    Clock,
    /// Another region, or an endpoint that is none.
    Redirected,
    /// The endpoint's name has no address.
    Unresolved,
    /// Nobody answers at the endpoint.
    Unreachable,
    /// The endpoint's certificate is not trusted.
    Certificate,
    /// Nobody's certificates are trusted: there are no CA roots.
    NoRoots,
    /// The settings of the store are wrong.
    Settings,
    /// The folder cannot be written.
    NotWritable,
    /// The folder's disk is full.
    Full,
    /// The object is not there, or not as long as what was sent.
    Mismatch,
    /// None of these; a server that is overloaded, mostly.
    Other,
}

impl Cause {
    /// Whether trying again soon is pointless: somebody has to change something first.
    #[must_use]
    pub const fn needs_a_person(self) -> bool {
        match self {
            Self::NoBucket
            | Self::Denied
            | Self::Credentials
            | Self::Redirected
            | Self::Certificate
            | Self::NoRoots
            | Self::Settings
            | Self::NotWritable => true,
            // A metadata service that hiccups looks like one that is not there.
            Self::NoCredentials
            | Self::Expired
            | Self::Clock
            | Self::Unresolved
            | Self::Unreachable
            | Self::Full
            | Self::Mismatch
            | Self::Other => false,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoBucket => "the bucket does not exist; create it or correct the destination",
            Self::Denied => "access denied; allow s3:PutObject and s3:AbortMultipartUpload on the bucket's objects",
            Self::Credentials => "the credentials are wrong; correct the access key and its secret",
            Self::NoCredentials => {
                "no credentials were found; set credentials-secret or give the pod's service account a cloud identity"
            }
            Self::Expired => "the credentials have expired; where they come from a Secret, renew it",
            Self::Clock => "the node's clock is wrong; set it by NTP",
            Self::Redirected => "the store answers from elsewhere; correct its region or endpoint",
            Self::Unresolved => "the store's name cannot be resolved; check its endpoint and the pod's DNS",
            Self::Unreachable => "the store cannot be reached; check its endpoint and the pod's network policy",
            Self::Certificate => "the store's certificate is not trusted; give the CA that signed it as the store's CA",
            Self::NoRoots => {
                "there are no CA roots, neither in the image nor beside heapship's executable; set the store's CA"
            }
            Self::Settings => "the store's settings are wrong",
            Self::NotWritable => "the folder cannot be written; mount a volume there that the agent's user may write",
            Self::Full => "the disk is full",
            Self::Mismatch => "the store does not hold what was sent",
            Self::Other => "the store failed",
        })
    }
}

impl Error {
    /// With the name where it is the name that is wrong: it may be another host's than the store's, such as a proxy's.
    fn why(&self) -> String {
        let mut next: Option<&(dyn StdError + 'static)> = Some(&*self.source);
        while let Some(error) = next {
            if let Some(unresolved) = error.downcast_ref::<Unresolved>() {
                return unresolved.to_string();
            }
            next = error.source();
        }
        self.cause.to_string()
    }

    pub(super) fn from_cloud(attempted: String, source: object_store::Error) -> Self {
        Self {
            attempted,
            cause: cause_of(&source),
            source: Box::new(source),
        }
    }

    pub(super) fn from_disk(attempted: String, source: io::Error) -> Self {
        let cause = match source.kind() {
            io::ErrorKind::PermissionDenied
            | io::ErrorKind::ReadOnlyFilesystem
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::AlreadyExists
            | io::ErrorKind::NotFound => Cause::NotWritable,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Cause::Full,
            _ => Cause::Other,
        };
        Self {
            attempted,
            cause,
            source: Box::new(source),
        }
    }

    pub(in crate::ship) fn mismatch(attempted: String, what: String) -> Self {
        Self {
            attempted,
            cause: Cause::Mismatch,
            source: what.into(),
        }
    }
}

/// The cause, by what the error is and what the store answered. Its texts hold the URL as well, where a bucket may be
/// called `certificates` and a namespace `unreachable`: only the beginnings of texts that hold none are read.
fn cause_of(error: &object_store::Error) -> Cause {
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    let mut cause = None;
    while let Some(error) = next {
        let text = error.to_string();
        if let Some(host) = host_asked(&text)
            && is_metadata_service(host)
        {
            return Cause::NoCredentials;
        }
        if let Some(answer) = ANSWERS.iter().find_map(|begin| text.strip_prefix(begin)) {
            return answered(answer);
        }
        if text.starts_with("Received redirect without LOCATION") {
            return Cause::Redirected;
        }
        if text.starts_with("invalid peer certificate") {
            return Cause::Certificate;
        }
        if error.is::<Unresolved>() {
            return Cause::Unresolved;
        }
        if let Some(error) = error.downcast_ref::<HttpError>() {
            cause = match error.kind() {
                HttpErrorKind::Connect
                | HttpErrorKind::Request
                | HttpErrorKind::Timeout
                | HttpErrorKind::Interrupted => Some(Cause::Unreachable),
                _ => cause,
            };
        }
        next = error.source();
    }
    cause.unwrap_or(Cause::Other)
}

/// How `object_store` begins the text of what a server answered; the status or the body follows.
const ANSWERS: [&str; 2] = [
    "Server returned non-2xx status code: ",
    "Server returned error response: ",
];

/// The host in `Error performing PUT https://host:port/path …`.
fn host_asked(text: &str) -> Option<&str> {
    let (_method, rest) = text.strip_prefix("Error performing ")?.split_once(' ')?;
    let (_scheme, rest) = rest.split_once("://")?;
    rest.split(['/', ' ']).next()
}

/// Where `object_store` ends its search for credentials: EC2's metadata, ECS's and EKS's task credentials.
fn is_metadata_service(host: &str) -> bool {
    let host = host.rsplit_once(':').map_or(host, |(name, port)| {
        if port.bytes().all(|byte| byte.is_ascii_digit()) {
            name
        } else {
            host
        }
    });
    matches!(
        host,
        "169.254.169.254" | "169.254.170.2" | "169.254.170.23" | "[fd00:ec2::254]" | "[fd00:ec2::23]"
    )
}

/// By the code of S3's interface, else by the status.
fn answered(answer: &str) -> Cause {
    let code = answer
        .split_once("<Code>")
        .and_then(|(_, rest)| rest.split_once("</Code>"))
        .map(|(code, _)| code.trim());
    match code {
        Some("NoSuchBucket") => return Cause::NoBucket,
        Some(
            "InvalidAccessKeyId"
            | "SignatureDoesNotMatch"
            | "InvalidToken"
            | "InvalidClientTokenId"
            | "InvalidIdentityToken",
        ) => return Cause::Credentials,
        Some("ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired") => return Cause::Expired,
        Some("RequestTimeTooSkewed" | "RequestExpired") => return Cause::Clock,
        Some("AccessDenied" | "AllAccessDisabled") => return Cause::Denied,
        Some(
            "PermanentRedirect"
            | "TemporaryRedirect"
            | "AuthorizationHeaderMalformed"
            | "IllegalLocationConstraintException",
        ) => return Cause::Redirected,
        _ => {}
    }
    let status = answer.split(|c: char| !c.is_ascii_digit()).next();
    match status {
        Some("401") => Cause::Credentials,
        Some("403") => Cause::Denied,
        Some("301" | "302" | "307" | "308") => Cause::Redirected,
        _ => Cause::Other,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Link {
        text: String,
        source: Option<Box<dyn StdError + Send + Sync>>,
    }

    /// As `object_store` nests them: the request with its URL, then the answer.
    fn failed(url: &str, answer: &str) -> object_store::Error {
        let answer = Link {
            text: answer.to_owned(),
            source: None,
        };
        generic(Link {
            text: format!("Error performing PUT {url} in 1.5ms - {answer}"),
            source: Some(Box::new(answer)),
        })
    }

    fn generic(source: impl StdError + Send + Sync + 'static) -> object_store::Error {
        object_store::Error::Generic {
            store: "S3",
            source: Box::new(source),
        }
    }

    #[test]
    fn the_stores_own_code_decides_what_a_person_is_told() {
        for (status, code, cause) in [
            ("404 Not Found", "NoSuchBucket", Cause::NoBucket),
            ("403 Forbidden", "SignatureDoesNotMatch", Cause::Credentials),
            ("403 Forbidden", "AccessDenied", Cause::Denied),
            ("403 Forbidden", "", Cause::Denied),
            ("403 Forbidden", "RequestTimeTooSkewed", Cause::Clock),
            ("400 Bad Request", "ExpiredToken", Cause::Expired),
            (
                "400 Bad Request",
                "AuthorizationHeaderMalformed",
                Cause::Redirected,
            ),
            ("503 Service Unavailable", "SlowDown", Cause::Other),
            ("404 Not Found", "NoSuchUpload", Cause::Other),
        ] {
            let answer =
                format!("Server returned non-2xx status code: {status}: <Error><Code>{code}</Code></Error>");
            assert_eq!(
                cause_of(&failed("https://s3/b/k", &answer)),
                cause,
                "{status} {code}"
            );
        }
        assert!(Cause::NoBucket.needs_a_person());
        for hiccup in [
            Cause::Unreachable,
            Cause::Expired,
            Cause::Clock,
            Cause::NoCredentials,
        ] {
            assert!(!hiccup.needs_a_person(), "{hiccup:?}");
        }
    }

    #[test]
    fn a_metadata_service_that_does_not_answer_is_missing_credentials() {
        let error = failed("http://169.254.169.254/latest/api/token", "operation timed out");
        assert_eq!(cause_of(&error), Cause::NoCredentials);
        let error = failed("http://169.254.170.23:80/v1/credentials", "HTTP error");
        assert_eq!(cause_of(&error), Cause::NoCredentials);
    }

    #[test]
    fn the_kind_of_a_failed_connection_counts() {
        let refused = HttpError::new(
            HttpErrorKind::Connect,
            Link {
                text: "client error (Connect)".to_owned(),
                source: None,
            },
        );
        assert_eq!(cause_of(&generic(refused)), Cause::Unreachable);
        let stranger = HttpError::new(
            HttpErrorKind::Connect,
            Link {
                text: "client error (Connect)".to_owned(),
                source: Some("invalid peer certificate: UnknownIssuer".into()),
            },
        );
        assert_eq!(cause_of(&generic(stranger)), Cause::Certificate);
    }

    proptest! {
        #[test]
        fn the_names_of_buckets_and_namespaces_tell_nothing(
            bucket in "(certificates|unreachable|timed out|AccessDenied|NoSuchBucket|169.254.169.254|LOCATION)?[a-z]{0,5}",
        ) {
            let url = format!("https://s3.example/{bucket}/invalid peer certificate/{bucket}/k");
            let slow = "Server returned non-2xx status code: 503 Service Unavailable: <Code>SlowDown</Code>";
            prop_assert_eq!(cause_of(&failed(&url, slow)), Cause::Other);
        }
    }
}
