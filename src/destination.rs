//! Where dumps go: the URL that people write. Pure.

use std::fmt;
use std::str::FromStr;

/// A place in a store. Printed as the URL it was parsed from, without a trailing slash.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Destination {
    /// Which kind of store.
    pub scheme: Scheme,
    /// The bucket or container; empty for `file`.
    pub bucket: String,
    /// Key prefix within the bucket without slashes at its ends, or the absolute path for `file`.
    pub prefix: String,
}

/// The kinds of store.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scheme {
    /// S3 and what speaks its protocol.
    S3,
    /// Google Cloud Storage.
    Gs,
    /// Azure Blob Storage.
    Az,
    /// A directory inside the agent.
    File,
}

impl Scheme {
    /// As it stands in the URL.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Gs => "gs",
            Self::Az => "az",
            Self::File => "file",
        }
    }
}

impl Destination {
    /// Parses `s3://bucket/prefix`, `gs://…`, `az://container/prefix` or `file:///path`.
    ///
    /// # Errors
    /// `None` when it is none of these, for a caller that names the setting itself; [`str::parse`] says what is wrong.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    /// Whether both lie in one bucket of one kind of store; for `file`, in one path.
    #[must_use]
    pub fn same_bucket(&self, other: &Self) -> bool {
        self.scheme == other.scheme
            && self.bucket == other.bucket
            && (self.scheme != Scheme::File || self.prefix == other.prefix)
    }
}

/// What is wrong with a destination.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Error {
    /// No scheme at all.
    #[error("{0:?} is not a destination; write s3://BUCKET/PREFIX or file:///PATH")]
    NoScheme(String),
    /// A store that nobody here knows.
    #[error("{0}:// is not known; there are s3://, gs://, az:// and file://")]
    Scheme(String),
    /// A URL without a bucket, or with one that no store would take.
    #[error("{0:?} names no bucket; write s3://BUCKET/PREFIX")]
    Bucket(String),
    /// Parts of a path that are empty, `.` or `..`, or characters that mean something else in a URL.
    #[error("{0:?} has an empty part, a . or a .., a space, a ? or a # in its path")]
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
        let scheme = match scheme {
            "s3" => Scheme::S3,
            "gs" => Scheme::Gs,
            "az" => Scheme::Az,
            "file" => Scheme::File,
            other => return Err(Error::Scheme(other.to_owned())),
        };
        let (bucket, path) = rest.split_once('/').unwrap_or((rest, ""));
        let path = path.trim_matches('/');
        let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        match scheme {
            Scheme::File if !bucket.is_empty() => return Err(Error::Host(text.to_owned())),
            Scheme::File => {}
            Scheme::S3 | Scheme::Gs | Scheme::Az => {
                if bucket.is_empty() || !bucket.chars().all(named) {
                    return Err(Error::Bucket(text.to_owned()));
                }
            }
        }
        let odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '?' | '#');
        let whole = path.split('/').all(|part| !matches!(part, "" | "." | ".."));
        // The root of a bucket is a place for dumps, that of a file system is none.
        let fine = if path.is_empty() {
            scheme != Scheme::File
        } else {
            whole
        };
        if !fine || path.contains(odd) {
            return Err(Error::Path(text.to_owned()));
        }
        let prefix = match scheme {
            Scheme::File => format!("/{path}"),
            Scheme::S3 | Scheme::Gs | Scheme::Az => path.to_owned(),
        };
        Ok(Self {
            scheme,
            bucket: bucket.to_owned(),
            prefix,
        })
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            scheme,
            bucket,
            prefix,
        } = self;
        match (scheme, prefix.is_empty()) {
            (Scheme::File, _) => write!(f, "file://{prefix}"),
            (_, true) => write!(f, "{}://{bucket}", scheme.as_str()),
            (_, false) => write!(f, "{}://{bucket}/{prefix}", scheme.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_it_prints() {
        for text in [
            "s3://dumps",
            "s3://dumps/heap/prod",
            "gs://d/x",
            "az://container/p",
            "file:///var/dumps",
        ] {
            assert_eq!(
                Destination::parse(text).map(|d| d.to_string()).as_deref(),
                Some(text)
            );
        }
        assert_eq!(
            Destination::parse("s3://dumps/heap/")
                .map(|d| d.to_string())
                .as_deref(),
            Some("s3://dumps/heap")
        );
    }

    #[test]
    fn one_bucket_is_one_name_in_one_kind_of_store_and_of_a_file_system_one_path() {
        let same = |a: &str, b: &str| {
            let parsed = |text: &str| Destination::parse(text).unwrap();
            parsed(a).same_bucket(&parsed(b))
        };
        assert!(same("s3://dumps/a", "s3://dumps/b"));
        assert!(!same("s3://dumps/a", "s3://others/a"));
        assert!(!same("s3://dumps/a", "gs://dumps/a"));
        assert!(same("file:///mnt/a", "file:///mnt/a"));
        assert!(!same("file:///mnt/a", "file:///mnt/b"));
    }

    #[test]
    fn refuses_what_is_no_place_for_a_dump() {
        for text in [
            "",
            "dumps",
            "s3:/dumps",
            "s3://",
            "s3:///x",
            "http://h/x",
            "file://host/x",
            "file:///",
            "s3://a b",
            "s3://b/../c",
            "s3://b/c//d",
            "s3://b/c d",
        ] {
            assert_eq!(Destination::parse(text), None, "{text}");
        }
    }

    #[test]
    fn says_what_is_wrong_and_what_is_allowed() {
        for (text, wanted) in [
            ("dumps", "write s3://BUCKET/PREFIX or file:///PATH"),
            ("http://h/x", "http:// is not known; there are s3://"),
            ("s3:///x", "names no bucket"),
            ("s3://a b/x", "names no bucket"),
            ("s3://a/../b", "has an empty part"),
            ("s3://a/b//c", "has an empty part"),
            ("s3://a/b?c", "a ? or a #"),
            ("file://mnt/dumps", "three slashes"),
            ("file:///mnt/../etc", "has an empty part"),
        ] {
            let error = text.parse::<Destination>().unwrap_err().to_string();
            assert!(error.contains(wanted), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_prints_as_a_text_that_is_read_the_same(text in "(s3|file|gs|az)?(://)?\\PC{0,40}") {
            if let Some(destination) = Destination::parse(&text) {
                prop_assert_eq!(Destination::parse(&destination.to_string()), Some(destination));
            }
        }
    }
}
