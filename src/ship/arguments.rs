//! What `heapship-agent ship` is told: by flags, or in a pod by the variables of the same meaning.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::codec::Codec;
use super::store::{Connection, StoreChecksum};
use crate::destination::{self, Destination, Scheme};
use crate::key::KeyTemplate;
use crate::logging;
use crate::names::variable;
use crate::quantity::{Bytes, parse_duration};

/// Catches heap dumps in a directory and ships them to a store.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Directory of dumps: watched itself, or its sub-directories where --containers names some.
    #[arg(long, value_name = "DIR", env = variable::DUMPS)]
    pub dumps: PathBuf,
    /// Directory of a volume that pods share, with --dumps as one of its folders: what dead pods have left there is shipped
    /// too, under their names.
    #[arg(long, value_name = "DIR", env = variable::CLAIM)]
    pub claim: Option<PathBuf>,
    /// How long a pod of the claim must give no sign of life before its dumps are shipped; agents give one every 5 s.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = parse_duration)]
    pub adopt_after: Duration,
    /// How long it must have been silent, with all of its dumps shipped, before its empty folder is removed: longer than a JVM lives whose
    /// agent cannot come back.
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = parse_duration)]
    pub remove_after: Duration,
    /// Where dumps go: `s3://BUCKET/PREFIX` or `file:///PATH`.
    #[arg(long, value_name = "URL", env = variable::DESTINATION, value_parser = parse_destination)]
    pub destination: Destination,
    /// Ship what is there and end, instead of watching.
    #[arg(long)]
    pub once: bool,
    /// Container that the dumps are from, where --containers does not say.
    #[arg(long, value_name = "NAME", default_value = "app")]
    pub container: String,
    /// JSON list of containers, e.g. `[{"name":"app","image":"shop:1"}]`; "foreign" is a `HeapDumpPath` of the user's own.
    #[arg(long, value_name = "JSON", env = variable::CONTAINERS, value_parser = parse_sources)]
    pub containers: Option<Sources>,
    /// How keys are made.
    #[arg(long, value_name = "TEMPLATE", env = variable::KEY_TEMPLATE, default_value = KeyTemplate::DEFAULT)]
    pub key_template: KeyTemplate,
    /// How dumps are compressed.
    #[arg(long, value_name = "CODEC", env = variable::COMPRESSION, default_value = "gzip")]
    pub compression: Codec,
    /// Uploads in 24 hours; beyond it the newest waits and those between are dropped.
    #[arg(long, value_name = "N", env = variable::MAX_DUMPS, default_value_t = 10)]
    pub max_dumps: u32,
    /// Where the dumps come from.
    #[command(flatten)]
    pub pod: Pod,
    /// How to reach the store.
    #[command(flatten)]
    pub store: StoreArguments,
    /// How long a dump that is not whole must not change before nobody can be writing it.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = parse_duration)]
    pub settle: Duration,
    /// Size of an upload's parts; dumps beyond 70 GiB take larger ones.
    #[arg(long, value_name = "SIZE", default_value = "8Mi", value_parser = parse_part_size)]
    pub part_size: Bytes,
    /// Compressing threads; as many as there are CPUs unless set, but 4 at most: each costs 4 MiB of memory.
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Variables of the application's image, from which the agent runs, that the pod's own replace: where one is set, that is
    /// reported.
    #[arg(long, env = variable::REPLACED_OPTIONS, value_delimiter = ',', hide = true)]
    pub replaced_options: Vec<String>,
    /// Another webhook took `restartPolicy: Always` away once: end at the first start, see `ship::sidecar`.
    #[arg(long, env = variable::PROVE_SIDECAR, hide = true)]
    pub prove_sidecar: bool,
    /// How log lines look.
    #[arg(long, value_name = "FORMAT", default_value = "auto")]
    pub log_format: logging::Format,
    /// What is logged, e.g. debug or heapship=debug.
    #[arg(long, value_name = "FILTER", default_value = "info,object_store=warn")]
    pub log: logging::Filter,
}

/// What keys and records say about the pod.
#[derive(Clone, Debug, clap::Args)]
pub struct Pod {
    /// The cluster's name.
    #[arg(long, value_name = "NAME", env = variable::CLUSTER, default_value = "")]
    pub cluster: String,
    /// The pod's namespace.
    #[arg(long, value_name = "NAME", env = variable::NAMESPACE, default_value = "")]
    pub namespace: String,
    /// The pod's name.
    #[arg(long, value_name = "NAME", env = variable::POD, default_value = "")]
    pub pod: String,
    /// The pod's UID.
    #[arg(long, value_name = "UID", env = variable::POD_UID, default_value = "")]
    pub pod_uid: String,
    /// The node's name.
    #[arg(long, value_name = "NAME", env = variable::NODE, default_value = "")]
    pub node: String,
    /// What owns the pod: Kind/name.
    #[arg(long, value_name = "WORKLOAD", env = variable::WORKLOAD, default_value = "")]
    pub workload: String,
}

/// How to reach the store where it is not the cloud's own.
#[derive(Clone, Debug, clap::Args)]
pub struct StoreArguments {
    /// The store's endpoint, e.g. `https://minio.example:9000`.
    #[arg(long, value_name = "URL", env = variable::STORE_ENDPOINT)]
    pub store_endpoint: Option<String>,
    /// The store's region.
    #[arg(long, value_name = "REGION", env = variable::STORE_REGION)]
    pub store_region: Option<String>,
    /// The CA that signed the endpoint's certificate: PEM text, or a file of it.
    #[arg(long, value_name = "PEM", env = variable::STORE_CA)]
    pub store_ca: Option<String>,
    /// Let the endpoint be plain HTTP.
    #[arg(long, env = variable::STORE_ALLOW_HTTP)]
    pub store_allow_http: bool,
    /// What the store verifies parts by; `none` for stores that know neither.
    #[arg(long, value_name = "CHECKSUM", env = variable::STORE_CHECKSUM, default_value = "crc64nvme")]
    pub store_checksum: StoreChecksum,
}

/// The CA's file cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the store's CA from {path}; give PEM text, or a file of it")]
pub struct UnreadableCa {
    path: String,
    source: io::Error,
}

impl StoreArguments {
    /// With the CA's file read.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn connection(self) -> Result<Connection, UnreadableCa> {
        let Self {
            store_endpoint,
            store_region,
            store_ca,
            store_allow_http,
            store_checksum,
        } = self;
        Ok(Connection {
            endpoint: store_endpoint.filter(|text| !text.is_empty()),
            region: store_region.filter(|text| !text.is_empty()),
            ca: store_ca.filter(|text| !text.is_empty()).map(pem).transpose()?,
            allow_http: store_allow_http,
            checksum: store_checksum,
        })
    }
}

/// A container whose dumps are shipped.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Its name, which is also its sub-directory's.
    pub name: String,
    /// Its image.
    #[serde(default)]
    pub image: String,
    /// The user's own `HeapDumpPath`, as the agent sees it: a directory, or a file's name.
    #[serde(default)]
    pub foreign: Option<PathBuf>,
}

/// All of them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sources(pub Vec<Source>);

fn pem(text: String) -> Result<String, UnreadableCa> {
    if text.contains("-----BEGIN") {
        return Ok(text);
    }
    fs::read_to_string(&text).map_err(|source| UnreadableCa { path: text, source })
}

fn parse_sources(text: &str) -> Result<Sources, String> {
    let sources: Vec<Source> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    match sources.iter().find(|source| !is_container(&source.name)) {
        Some(source) => Err(format!("{:?} is not the name of a container", source.name)),
        None if sources.is_empty() => Err("it names no container".to_owned()),
        None => Ok(Sources(sources)),
    }
}

/// Whether it may be a container's name, which becomes a directory's.
pub(super) fn is_container(name: &str) -> bool {
    let fine = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    !name.is_empty() && name.chars().all(fine)
}

pub(super) fn parse_destination(text: &str) -> Result<Destination, String> {
    let destination: Destination = text
        .parse()
        .map_err(|error: destination::Error| error.to_string())?;
    match destination.scheme {
        Scheme::S3 | Scheme::File => Ok(destination),
        // Refused at once: nothing of it could be shipped.
        Scheme::Gs | Scheme::Az => Err(format!(
            "{}:// is not supported; there are s3:// and file://",
            destination.scheme.as_str()
        )),
    }
}

fn parse_part_size(text: &str) -> Result<Bytes, String> {
    let size = Bytes::parse(text).map_err(|error| error.to_string())?;
    // The limits of S3's interface.
    if (5 << 20..=5 << 30).contains(&size.0) {
        Ok(size)
    } else {
        Err("stores take parts of 5Mi to 5Gi".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_are_read_as_the_webhook_writes_them() {
        let text = r#"[{"name":"app","image":"shop:1"},{"name":"x","image":"","foreign":"/heapship/foreign/x/d.hprof"}]"#;
        let Sources(sources) = parse_sources(text).unwrap();
        assert_eq!(sources[0].name, "app");
        assert_eq!(
            sources[1].foreign.as_deref(),
            Some(std::path::Path::new("/heapship/foreign/x/d.hprof"))
        );
        for wrong in [
            "",
            "[]",
            "{}",
            r#"[{"name":"../x"}]"#,
            r#"[{"name":""}]"#,
            r#"[{"nam":"x"}]"#,
        ] {
            assert!(parse_sources(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn parts_that_no_store_takes_are_refused() {
        assert_eq!(parse_part_size("5Mi"), Ok(Bytes(5 << 20)));
        assert!(parse_part_size("1Mi").is_err());
        assert!(parse_part_size("6Gi").is_err());
    }
}
