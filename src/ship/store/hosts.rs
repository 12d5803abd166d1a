//! Names to addresses, without the C library.
//!
//! The agent is linked statically and borrows the application's image. The C library's resolver would read that image's
//! `nsswitch.conf` and load the modules that it names, built for another C library. So `/etc/resolv.conf` and `/etc/hosts`,
//! which the kubelet writes, are all that counts here. Both are read for every lookup: connections are kept, so there are
//! few, and nothing is remembered that has changed since.

use std::fs;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::ProtoError;
use hickory_resolver::proto::rr::Name;
use hickory_resolver::system_conf::parse_resolv_conf;
use object_store::client::{DnsFuture, DnsResolver};

/// Looks names up as a pod is told to.
#[derive(Clone, Debug)]
pub(super) struct Hosts {
    resolv_conf: PathBuf,
    /// Where name servers listen.
    port: u16,
}

/// A name without an address.
#[derive(Debug, thiserror::Error)]
#[error("cannot resolve {host}: {why}; check the store's endpoint and the pod's DNS")]
pub(super) struct Unresolved {
    host: String,
    why: Why,
}

#[derive(Debug, thiserror::Error)]
enum Why {
    #[error("cannot read {path}: {error}")]
    Unreadable { path: PathBuf, error: io::Error },
    #[error("{path} is of no use: {error}")]
    Configuration { path: PathBuf, error: NetError },
    #[error("that is no name: {0}")]
    NoName(#[from] ProtoError),
    #[error("{servers} cannot be asked: {error}")]
    Failed { servers: String, error: NetError },
    #[error("no answer within {LONGEST:?} from {0}")]
    TooLate(String),
    #[error("{0} knows no address of it")]
    NoAddress(String),
}

/// Of one question to one server. The usual 5 s are longer than a whole connection may take to come about.
const ANSWER: Duration = Duration::from_secs(1);
/// Times that a question is asked again.
const REPEATS: usize = 2;
/// Of everything, all search domains included. Less than a connection may take, so that it is known what went wrong.
const LONGEST: Duration = Duration::from_secs(4);

impl Hosts {
    /// By `/etc/resolv.conf` and `/etc/hosts`.
    pub(super) fn of_the_system() -> Self {
        Self {
            resolv_conf: PathBuf::from("/etc/resolv.conf"),
            port: 53,
        }
    }

    async fn look_up(&self, host: &str) -> Result<Vec<IpAddr>, Why> {
        let (config, options) = self.configuration()?;
        let servers = config.name_servers().iter().map(|server| server.ip.to_string());
        let servers = servers.collect::<Vec<_>>().join(", ");
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        *builder.options_mut() = options;
        let name = Name::from_str_relaxed(host)?;
        let found = match builder.build() {
            Ok(resolver) => tokio::time::timeout(LONGEST, resolver.lookup_ip(name)).await,
            Err(error) => Ok(Err(error)),
        };
        let mut addresses: Vec<IpAddr> = match found {
            Ok(Ok(found)) => found.iter().collect(),
            Ok(Err(error)) if error.is_no_records_found() => Vec::new(),
            Ok(Err(NetError::Timeout)) | Err(_) => return Err(Why::TooLate(servers)),
            Ok(Err(error)) => return Err(Why::Failed { servers, error }),
        };
        if addresses.is_empty() {
            return Err(Why::NoAddress(servers));
        }
        // Many agents ask for one name, and the first address is what each of them takes.
        let turns = usize::try_from(RandomState::new().hash_one(host)).unwrap_or_default() % addresses.len();
        addresses.rotate_left(turns);
        Ok(addresses)
    }

    fn configuration(&self) -> Result<(ResolverConfig, ResolverOpts), Why> {
        let path = &self.resolv_conf;
        let (config, mut options) = match fs::read(path) {
            Ok(text) => parse_resolv_conf(text).map_err(|error| Why::Configuration {
                path: path.clone(),
                error,
            })?,
            // As the C library does: names of /etc/hosts are found all the same.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let server = NameServerConfig::udp_and_tcp(Ipv4Addr::LOCALHOST.into());
                (
                    ResolverConfig::from_parts(None, Vec::new(), vec![server]),
                    ResolverOpts::default(),
                )
            }
            Err(error) => {
                return Err(Why::Unreadable {
                    path: path.clone(),
                    error,
                });
            }
        };
        let mut servers = config.name_servers().to_vec();
        for connection in servers.iter_mut().flat_map(|server| &mut server.connections) {
            connection.port = self.port;
        }
        // Without the host's own domain, which the C library does not ask either where there is a search list.
        let config = ResolverConfig::from_parts(None, config.search().to_vec(), servers);
        options.timeout = options.timeout.min(ANSWER);
        options.attempts = options.attempts.min(REPEATS);
        // Both at once. A pod's way out by IPv4 is the one that works more often.
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        options.cache_size = 0;
        Ok((config, options))
    }
}

impl DnsResolver for Hosts {
    fn resolve(&self, host: &str) -> DnsFuture {
        let (hosts, host) = (self.clone(), host.to_owned());
        Box::pin(async move {
            let found = hosts.look_up(&host).await;
            found.map_err(|why| Unresolved { host, why }.into())
        })
    }
}

#[cfg(test)]
mod tests;
