//! Object stores, by `object_store`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, Checksum};
use object_store::multipart::{MultipartStore as _, PartId};
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, BackoffConfig, Certificate, ClientOptions, ObjectStore as _, ObjectStoreExt as _,
    PutMultipartOptions, PutOptions, RetryConfig,
};

use super::error::{Cause, Error};
use super::hosts::Hosts;
use super::{Metadata, UploadId, roots};

/// How to reach the store where it is not the cloud's own. Credentials come from the environment that the cloud's
/// identity mechanisms set.
#[derive(Clone, Debug, Default)]
pub struct Connection {
    /// `https://…`, path style.
    pub endpoint: Option<String>,
    /// The region; `us-east-1` where nobody says.
    pub region: Option<String>,
    /// PEM text of the CA that signed the endpoint's certificate. It comes on top of the roots that are there anyway: the
    /// cloud's token service has another one.
    pub ca: Option<String>,
    /// Whether the endpoint may be plain HTTP.
    pub allow_http: bool,
    /// What the store checks every part and the whole by before it confirms them.
    pub checksum: StoreChecksum,
}

/// A checksum that is sent with every part and again with Complete, so that the store confirms what was read here.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, clap::ValueEnum)]
pub enum StoreChecksum {
    /// The one that AWS recommends; hardly any CPU.
    #[default]
    Crc64nvme,
    /// Older than the former, for stores that do not know it.
    Sha256,
    /// For stores that know neither: TLS and the object's size have to do.
    None,
}

/// A bucket and a prefix in it.
pub struct Cloud {
    s3: AmazonS3,
    bucket: String,
    prefix: String,
}

/// Of a request that sends little.
const REQUEST_TIMEOUT: Duration = Duration::from_mins(1);
/// A slower network counts as none: a part of 8 MiB has 64 s.
const SLOWEST_BYTES_PER_SECOND: usize = 128 << 10;
/// Resolving the name is part of it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Of one request, for a server that hiccups. Whole attempts are repeated by the shipper, which says so.
const RETRIES: usize = 2;

/// How long one request may take that sends up to `part_size` bytes.
fn request_timeout(part_size: usize) -> Duration {
    let seconds = part_size.div_ceil(SLOWEST_BYTES_PER_SECOND) as u64;
    REQUEST_TIMEOUT.max(Duration::from_secs(seconds))
}

impl Cloud {
    pub(super) fn open(
        bucket: &str,
        prefix: &str,
        connection: &Connection,
        part_size: usize,
    ) -> Result<Self, Error> {
        let Connection {
            endpoint,
            region,
            ca,
            allow_http,
            checksum,
        } = connection;
        let timeout = request_timeout(part_size);
        let attempted = || format!("use bucket {bucket}");
        let failed = |attempted: String, cause: Cause| {
            move |source: Box<dyn std::error::Error + Send + Sync>| Error {
                attempted,
                cause,
                source,
            }
        };
        let unreadable = || failed("read the CA roots".to_owned(), Cause::Settings);
        let roots = roots::trusted(ca.as_deref()).map_err(|error| unreadable()(error.into()))?;
        let trusts_nobody = roots.is_empty();
        let mut builder = AmazonS3Builder::from_env()
            .with_bucket_name(bucket)
            .with_retry(RetryConfig {
                backoff: BackoffConfig::default(),
                max_retries: RETRIES,
                // Longer than a request may take, or one that times out is never sent again.
                retry_timeout: timeout * 3,
            });
        if let Some(endpoint) = endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        if let Some(region) = region {
            builder = builder.with_region(region);
        }
        builder = match checksum {
            StoreChecksum::Crc64nvme => builder.with_checksum_algorithm(Checksum::CRC64NVME),
            StoreChecksum::Sha256 => builder.with_checksum_algorithm(Checksum::SHA256),
            StoreChecksum::None => builder,
        };
        // TLS protects the parts already; hashing each of them for the signature costs 7 % of all the CPU. The endpoint
        // may as well have come from the environment that the builder has read.
        let encrypted = builder
            .get_config_value(&AmazonS3ConfigKey::Endpoint)
            .is_none_or(|endpoint| endpoint.starts_with("https://"));
        if encrypted && trusts_nobody {
            return Err(failed(attempted(), Cause::NoRoots)(
                "TLS needs a certificate that somebody known has signed".into(),
            ));
        }
        let mut client = ClientOptions::new()
            .with_timeout(timeout)
            .with_connect_timeout(CONNECT_TIMEOUT)
            .with_allow_http(*allow_http)
            .with_dns_resolver(Arc::new(Hosts::of_the_system()))
            .with_no_system_certificates(true);
        for der in roots {
            let certificate = Certificate::from_der(&der).map_err(|error| unreadable()(error.into()))?;
            client = client.with_root_certificate(certificate);
        }
        builder = builder
            .with_client_options(client)
            .with_unsigned_payload(encrypted);
        let s3 = builder
            .build()
            .map_err(|source| failed(attempted(), Cause::Settings)(Box::new(source)))?;
        Ok(Self {
            s3,
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
        })
    }

    pub(super) async fn put(&self, key: &str, bytes: Bytes, metadata: &Metadata) -> Result<(), Error> {
        let options = PutOptions {
            attributes: attributes(key, metadata),
            ..PutOptions::default()
        };
        let result = self.s3.put_opts(&self.path(key), bytes.into(), options).await;
        result.map(drop).map_err(|error| self.error("store", key, error))
    }

    pub(super) async fn begin(&self, key: &str, metadata: &Metadata) -> Result<UploadId, Error> {
        let options = PutMultipartOptions {
            attributes: attributes(key, metadata),
            ..PutMultipartOptions::default()
        };
        let result = self.s3.create_multipart_opts(&self.path(key), options).await;
        result
            .map(UploadId)
            .map_err(|error| self.error("begin", key, error))
    }

    pub(super) async fn part(
        &self,
        key: &str,
        upload: &UploadId,
        index: usize,
        bytes: Bytes,
    ) -> Result<String, Error> {
        let result = self
            .s3
            .put_part(&self.path(key), &upload.0, index, bytes.into())
            .await;
        result
            .map(|part| part.content_id)
            .map_err(|error| self.error(&format!("store part {} of", index + 1), key, error))
    }

    pub(super) async fn complete(
        &self,
        key: &str,
        upload: &UploadId,
        parts: impl Iterator<Item = String>,
    ) -> Result<(), Error> {
        let parts = parts.map(|content_id| PartId { content_id }).collect();
        let result = self
            .s3
            .complete_multipart(&self.path(key), &upload.0, parts)
            .await;
        result
            .map(drop)
            .map_err(|error| self.error("complete", key, error))
    }

    pub(super) async fn abort(&self, key: &str, upload: &UploadId) -> Result<(), Error> {
        match self.s3.abort_multipart(&self.path(key), &upload.0).await {
            // Completed, aborted or expired before: there is nothing left open.
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.error("give up the unfinished upload of", key, error)),
        }
    }

    pub(super) async fn size(&self, key: &str) -> Result<Option<u64>, Error> {
        match self.s3.head(&self.path(key)).await {
            Ok(object) => Ok(Some(object.size)),
            Err(
                object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. },
            ) => Ok(None),
            Err(object_store::Error::NotFound { .. }) => Err(Error::mismatch(
                self.attempted("find", key),
                "it was stored and is not there".to_owned(),
            )),
            Err(error) => Err(self.error("look at", key, error)),
        }
    }

    pub(super) async fn delete(&self, key: &str) -> Result<(), Error> {
        match self.s3.delete(&self.path(key)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.error("delete", key, error)),
        }
    }

    fn path(&self, key: &str) -> Path {
        if self.prefix.is_empty() {
            Path::from(key)
        } else {
            Path::from(format!("{}/{key}", self.prefix))
        }
    }

    fn attempted(&self, what: &str, key: &str) -> String {
        format!("{what} s3://{}/{}", self.bucket, self.path(key))
    }

    fn error(&self, what: &str, key: &str, source: object_store::Error) -> Error {
        Error::from_cloud(self.attempted(what, key), source)
    }
}

impl fmt::Debug for Cloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The client's own text holds the access key.
        f.debug_struct("Cloud")
            .field("bucket", &self.bucket)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

fn attributes(key: &str, metadata: &Metadata) -> Attributes {
    let kind = match key.rsplit('.').next() {
        Some("json") => "application/json",
        Some("gz") => "application/gzip",
        Some("zst") => "application/zstd",
        _ => "application/octet-stream",
    };
    let mut attributes = Attributes::from_iter([(Attribute::ContentType, kind)]);
    for (name, value) in metadata {
        // Metadata travels as HTTP headers.
        let value: String = value
            .chars()
            .map(|c| if c.is_ascii_graphic() { c } else { '_' })
            .collect();
        if !value.is_empty() {
            attributes.insert(Attribute::Metadata((*name).into()), value.into());
        }
    }
    attributes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_may_take_a_minute_and_one_with_a_large_part_longer() {
        assert_eq!(request_timeout(5 << 20), Duration::from_mins(1));
        assert_eq!(request_timeout(8 << 20), Duration::from_secs(64));
        assert_eq!(request_timeout(1 << 30), Duration::from_secs(8192));
    }
}
