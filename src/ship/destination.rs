//! Where dumps go: `s3://bucket/prefix` or `file:///path`. Pure.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// A parsed destination.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Destination {
    /// Any store that speaks S3.
    S3 {
        /// The bucket.
        bucket: String,
        /// What every key begins with: empty, or without slashes at its ends.
        prefix: String,
    },
    /// A folder, on a volume that is mounted into the agent.
    File {
        /// Absolute.
        path: PathBuf,
    },
}

/// What is wrong with a destination.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Error {
    /// No scheme at all.
    #[error("{0:?} is not a destination; write s3://BUCKET/PREFIX or file:///PATH")]
    NoScheme(String),
    /// A store that is not supported.
    #[error("{0}:// is not supported; there are s3:// and file://")]
    Scheme(String),
    /// An S3 URL without a bucket, or with one that no store would take.
    #[error("{0:?} names no bucket; write s3://BUCKET/PREFIX")]
    Bucket(String),
    /// Parts of a path that are empty, `.` or `..`.
    #[error("{0:?} has an empty part, a . or a .. in its path")]
    Path(String),
    /// `file://host/path`.
    #[error("{0:?} names a host; a file destination has three slashes: file:///PATH")]
    Host(String),
}

impl FromStr for Destination {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (scheme, rest) = text
            .split_once("://")
            .ok_or_else(|| Error::NoScheme(text.to_owned()))?;
        let clean = |path: &str| {
            let fine = path.is_empty() || path.split('/').all(|part| !matches!(part, "" | "." | ".."));
            if fine {
                Ok(path.to_owned())
            } else {
                Err(Error::Path(text.to_owned()))
            }
        };
        match scheme {
            "s3" => {
                let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
                let allowed = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
                if bucket.is_empty() || !bucket.chars().all(allowed) {
                    return Err(Error::Bucket(text.to_owned()));
                }
                let prefix = clean(prefix.strip_suffix('/').unwrap_or(prefix))?;
                Ok(Self::S3 {
                    bucket: bucket.to_owned(),
                    prefix,
                })
            }
            "file" => {
                let path = rest
                    .strip_prefix('/')
                    .ok_or_else(|| Error::Host(text.to_owned()))?;
                let path = clean(path.strip_suffix('/').unwrap_or(path))?;
                Ok(Self::File {
                    path: PathBuf::from(format!("/{path}")),
                })
            }
            other => Err(Error::Scheme(other.to_owned())),
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::S3 { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
            Self::File { path } => write!(f, "file://{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn destinations_are_read_back_as_they_were_written() {
        for text in ["s3://dumps", "s3://dumps/heap/prod", "file:///mnt/dumps"] {
            assert_eq!(text.parse::<Destination>().unwrap().to_string(), text);
        }
        assert_eq!(
            "s3://dumps/a/".parse::<Destination>().unwrap().to_string(),
            "s3://dumps/a"
        );
    }

    #[test]
    fn wrong_destinations_are_refused_with_what_is_allowed() {
        for (text, wanted) in [
            ("dumps", "write s3://BUCKET/PREFIX or file:///PATH"),
            (
                "gs://dumps",
                "gs:// is not supported; there are s3:// and file://",
            ),
            ("s3:///x", "names no bucket"),
            ("s3://a b/x", "names no bucket"),
            ("s3://a/../b", "has an empty part"),
            ("s3://a//b", "has an empty part"),
            ("file://mnt/dumps", "three slashes"),
            ("file:///mnt/../etc", "has an empty part"),
        ] {
            let error = text.parse::<Destination>().unwrap_err().to_string();
            assert!(error.contains(wanted), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "(s3|file|gs)?(://)?\\PC{0,40}") {
            let _ = text.parse::<Destination>();
        }
    }
}
