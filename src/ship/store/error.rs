//! What can be wrong with a store, told apart by what a person has to do about it.

use std::error::Error as StdError;
use std::fmt;
use std::io;

/// A failed request, with its cause.
#[derive(Debug, thiserror::Error)]
#[error("cannot {attempted}: {cause}")]
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
    /// There are none.
    NoCredentials,
    /// Another region, or an endpoint that is none.
    Redirected,
    /// Nobody answers at the endpoint.
    Unreachable,
    /// The endpoint's certificate is not trusted.
    Certificate,
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
            | Self::NoCredentials
            | Self::Redirected
            | Self::Certificate
            | Self::Settings
            | Self::NotWritable => true,
            Self::Unreachable | Self::Full | Self::Mismatch | Self::Other => false,
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
            Self::Redirected => "the store answers from elsewhere; correct its region or endpoint",
            Self::Unreachable => "the store cannot be reached; check its endpoint and the pod's network policy",
            Self::Certificate => "the store's certificate is not trusted; give the CA that signed it as the store's CA",
            Self::Settings => "the store's settings are wrong",
            Self::NotWritable => "the folder cannot be written; mount a volume there that the agent's user may write",
            Self::Full => "the disk is full",
            Self::Mismatch => "the store does not hold what was sent",
            Self::Other => "the store failed",
        })
    }
}

impl Error {
    pub(super) fn from_cloud(attempted: String, source: object_store::Error) -> Self {
        let cause = match &source {
            object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
                match told(&chain(&source)) {
                    Cause::Other => Cause::Denied,
                    cause => cause,
                }
            }
            _ => told(&chain(&source)),
        };
        Self {
            attempted,
            cause,
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

    pub(super) fn mismatch(attempted: String, what: String) -> Self {
        Self {
            attempted,
            cause: Cause::Mismatch,
            source: what.into(),
        }
    }
}

/// Every text of the chain of errors, since the store's own code stands deep inside.
pub(super) fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

/// The cause, by the codes of the S3 interface and the words of the network stack.
fn told(text: &str) -> Cause {
    let causes = [
        (Cause::NoBucket, &["NoSuchBucket"][..]),
        (
            Cause::Credentials,
            &[
                "InvalidAccessKeyId",
                "SignatureDoesNotMatch",
                "InvalidToken",
                "ExpiredToken",
                "InvalidClientTokenId",
                "InvalidIdentityToken",
            ],
        ),
        (Cause::Denied, &["AccessDenied", "AllAccessDisabled"]),
        // object_store ends its search for credentials at the instance's metadata service.
        (
            Cause::NoCredentials,
            &[
                "169.254.169.254",
                "latest/api/token",
                "Failed to get IAM",
                "EC2MetadataError",
            ],
        ),
        (
            Cause::Redirected,
            &[
                "PermanentRedirect",
                "AuthorizationHeaderMalformed",
                "LOCATION",
                "IllegalLocation",
            ],
        ),
        (
            Cause::Certificate,
            &["certificate", "UnknownIssuer", "CertNotValid"],
        ),
        (
            Cause::Unreachable,
            &[
                "Connection refused",
                "error trying to connect",
                "dns error",
                "timed out",
                "unreachable",
                "tcp connect",
                "client error (Connect)",
            ],
        ),
    ];
    causes
        .into_iter()
        .find(|(_, words)| words.iter().any(|word| text.contains(word)))
        .map_or(Cause::Other, |(cause, _)| cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stores_own_code_decides_what_a_person_is_told() {
        for (text, cause) in [
            ("status: 404: <Error><Code>NoSuchBucket</Code>", Cause::NoBucket),
            ("<Code>SignatureDoesNotMatch</Code>", Cause::Credentials),
            ("<Code>AccessDenied</Code>", Cause::Denied),
            (
                "error sending request: client error (Connect): tcp connect error: Connection refused",
                Cause::Unreachable,
            ),
            (
                "client error (Connect): invalid peer certificate: UnknownIssuer",
                Cause::Certificate,
            ),
            ("503 SlowDown", Cause::Other),
        ] {
            assert_eq!(told(text), cause, "{text}");
        }
        assert!(Cause::NoBucket.needs_a_person());
        assert!(!Cause::Unreachable.needs_a_person());
    }
}
