//! Where dumps go: the URL that people write.

use std::fmt;

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
    /// `None` when it is none of these: the caller knows how to name the setting.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) || text.contains(['?', '#']) {
            return None;
        }
        let scheme = match scheme {
            "s3" => Scheme::S3,
            "gs" => Scheme::Gs,
            "az" => Scheme::Az,
            "file" => Scheme::File,
            _ => return None,
        };
        if rest.split('/').any(|segment| segment == "." || segment == "..") {
            return None;
        }
        if scheme == Scheme::File {
            let path = rest.trim_end_matches('/');
            return (path.len() > 1 && path.starts_with('/')).then(|| Self {
                scheme,
                bucket: String::new(),
                prefix: path.to_owned(),
            });
        }
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        (!bucket.is_empty() && bucket.chars().all(named)).then(|| Self {
            scheme,
            bucket: bucket.to_owned(),
            prefix: prefix.trim_matches('/').to_owned(),
        })
    }

    /// Whether both lie in one bucket of one kind of store; for `file`, in one path.
    #[must_use]
    pub fn same_bucket(&self, other: &Self) -> bool {
        self.scheme == other.scheme
            && self.bucket == other.bucket
            && (self.scheme != Scheme::File || self.prefix == other.prefix)
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
        ] {
            assert_eq!(Destination::parse(text), None, "{text}");
        }
    }
}
