//! One GET as the kubelet sends it for an httpGet hook.
//!
//! Written by hand because the rules are the kubelet's rather than a client library's: the status does not matter, at most
//! 10 KiB of the body are read, redirects stay on the host, certificates are not verified, and HTTPS that meets plain HTTP is
//! said again in plain (pkg/kubelet/lifecycle/handlers.go).

use std::io::{self, Read, Write};
use std::net::{IpAddr, TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use serde::Deserialize;

use super::trust;

mod message;

use message::{Body, Head, Place};

/// Kubernetes' `HTTPGetAction`, its port a number already.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "camelCase")]
pub(super) struct HttpGet {
    #[serde(default, deserialize_with = "null_is_default")]
    path: String,
    port: u16,
    #[serde(default, deserialize_with = "null_is_default")]
    host: String,
    #[serde(default, deserialize_with = "null_is_default")]
    scheme: String,
    #[serde(default, deserialize_with = "null_is_default")]
    http_headers: Vec<Header>,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
struct Header {
    name: String,
    #[serde(default, deserialize_with = "null_is_default")]
    value: String,
}

/// `null` in a manifest means "not set", and the API server lets it through.
fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Why the request could not be made. An answer of any status is not an error.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("it names no host, and HEAPSHIP_POD_IP is not set")]
    NoHost,
    #[error("cannot find {host}")]
    Resolve { host: String, source: io::Error },
    #[error("cannot connect to {host}:{port}")]
    Connect {
        host: String,
        port: u16,
        source: io::Error,
    },
    #[error("header {name:?} holds a line break")]
    Header { name: String },
    #[error("{host} is not a name that TLS knows")]
    Name { host: String },
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
    #[error("{host}:{port} did not answer")]
    Exchange {
        host: String,
        port: u16,
        source: io::Error,
    },
    #[error("{host}:{port} answered what is not HTTP")]
    NotHttp { host: String, port: u16 },
    #[error("stopped after 10 redirects")]
    Redirects,
    #[error("the grace period is over")]
    Late,
}

impl HttpGet {
    /// Reads the JSON that the webhook wrote.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        serde_json::from_str(text)
            .map_err(|error| format!("not an httpGet action with a number as its port: {error}"))
    }
}

/// Sends it and waits for the answer.
pub(super) fn get(action: &HttpGet, pod_ip: Option<&str>, deadline: Instant) -> Result<(), Error> {
    let HttpGet {
        path,
        port,
        host,
        scheme,
        http_headers: headers,
    } = action;
    let host = match host.as_str() {
        "" => pod_ip.filter(|ip| !ip.is_empty()).ok_or(Error::NoHost)?,
        host => host,
    };
    let mut place = Place {
        tls: scheme.eq_ignore_ascii_case("https"),
        host: host.to_owned(),
        port: *port,
        target: message::target(path),
    };
    let mut headers = headers.clone();
    for _ in 0..=REDIRECTS {
        let head = match exchange(&place, &headers, deadline) {
            Err(Error::Exchange { source, .. }) if place.tls && is_plain_http(&source) => {
                place.tls = false;
                headers.retain(|header| !header.name.eq_ignore_ascii_case("authorization"));
                exchange(&place, &headers, deadline)?
            }
            answer => answer?,
        };
        match head.redirect().and_then(|location| place.follow(location)) {
            Some(next) if next.host == host => place = next,
            _ => return Ok(()),
        }
    }
    Err(Error::Redirects)
}

fn exchange(place: &Place, headers: &[Header], deadline: Instant) -> Result<Head, Error> {
    let Place {
        tls,
        host,
        port,
        target: _,
    } = place;
    let request = request(place, headers)?;
    let tcp = connect(host, *port, deadline)?;
    if *tls {
        let name = ServerName::try_from(host.clone()).map_err(|_| Error::Name { host: host.clone() })?;
        let client = ClientConnection::new(Arc::new(trust::client()?), name)?;
        converse(
            StreamOwned::new(client, tcp),
            &request,
            place,
            deadline,
            |stream| &stream.sock,
        )
    } else {
        converse(tcp, &request, place, deadline, |stream| stream)
    }
}

fn request(place: &Place, headers: &[Header]) -> Result<String, Error> {
    let named = |name: &str| {
        headers
            .iter()
            .rfind(|header| header.name.eq_ignore_ascii_case(name))
    };
    let host = named("host").map_or_else(|| place.authority(), |header| header.value.clone());
    let mut lines = vec![format!("GET {} HTTP/1.1", place.target), format!("Host: {host}")];
    for (name, value) in [("User-Agent", USER_AGENT), ("Accept", "*/*")] {
        // One that is empty takes the default away.
        if named(name).is_none() {
            lines.push(format!("{name}: {value}"));
        }
    }
    for Header { name, value } in headers {
        let emptied = value.is_empty()
            && ["user-agent", "accept"]
                .iter()
                .any(|s| name.eq_ignore_ascii_case(s));
        if !emptied && !name.eq_ignore_ascii_case("host") {
            lines.push(format!("{name}: {value}"));
        }
    }
    lines.push("Connection: close".to_owned());
    if let Some(line) = lines.iter().find(|line| line.contains(['\r', '\n', '\0'])) {
        let name = line.split(':').next().unwrap_or_default().to_owned();
        return Err(Error::Header { name });
    }
    Ok(lines.join("\r\n") + "\r\n\r\n")
}

fn connect(host: &str, port: u16, deadline: Instant) -> Result<TcpStream, Error> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let addresses = match bare.parse::<IpAddr>() {
        Ok(ip) => vec![(ip, port).into()],
        Err(_) => (host, port)
            .to_socket_addrs()
            .map_err(|source| Error::Resolve {
                host: host.to_owned(),
                source,
            })?
            .collect::<Vec<_>>(),
    };
    let mut failure = io::Error::from(io::ErrorKind::NotFound);
    for address in addresses {
        match TcpStream::connect_timeout(&address, left(deadline)?.min(CONNECT)) {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(Error::Connect {
        host: host.to_owned(),
        port,
        source: failure,
    })
}

fn converse<S: Read + Write>(
    mut stream: S,
    request: &str,
    place: &Place,
    deadline: Instant,
    socket: impl Fn(&S) -> &TcpStream,
) -> Result<Head, Error> {
    let failed = |source| Error::Exchange {
        host: place.host.clone(),
        port: place.port,
        source,
    };
    let limit = |stream: &S| -> Result<(), Error> {
        let left = Some(left(deadline)?);
        socket(stream)
            .set_read_timeout(left)
            .and_then(|()| socket(stream).set_write_timeout(left))
            .map_err(failed)
    };
    limit(&stream)?;
    stream
        .write_all(request.as_bytes())
        .and_then(|()| stream.flush())
        .map_err(failed)?;

    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    let (head, body_at) = loop {
        if let Some(found) = Head::parse(&bytes) {
            break found;
        }
        limit(&stream)?;
        let length = stream.read(&mut buffer).map_err(failed)?;
        if length == 0 || bytes.len() > LARGEST_HEAD || !message::may_be_http(&bytes) {
            return Err(Error::NotHttp {
                host: place.host.clone(),
                port: place.port,
            });
        }
        bytes.extend(buffer.iter().take(length));
    };

    // An application may answer at once and end its body when it has drained: that end is waited for.
    let mut body = Body::new(&head, bytes.split_off(body_at.min(bytes.len())));
    while !body.is_read() && limit(&stream).is_ok() {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(length) => body.extend(buffer.get(..length).unwrap_or_default()),
        }
    }
    Ok(head)
}

fn is_plain_http(error: &io::Error) -> bool {
    let cause = error
        .get_ref()
        .and_then(|cause| cause.downcast_ref::<rustls::Error>());
    matches!(cause, Some(rustls::Error::InvalidMessage(_)))
}

fn left(deadline: Instant) -> Result<Duration, Error> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        Err(Error::Late)
    } else {
        Ok(left)
    }
}

/// Begins as the kubelet's does: applications tell hooks from people by it.
const USER_AGENT: &str = concat!("kube-lifecycle/heapship-", env!("CARGO_PKG_VERSION"));
/// Go's limit.
const REDIRECTS: usize = 10;
/// Go's dialer waits as long.
const CONNECT: Duration = Duration::from_secs(30);
const LARGEST_HEAD: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place {
            tls: false,
            host: "10.0.0.7".into(),
            port: 8080,
            target: "/drain?x=1".into(),
        }
    }

    fn headers(pairs: &[(&str, &str)]) -> Vec<Header> {
        pairs
            .iter()
            .map(|(name, value)| Header {
                name: (*name).into(),
                value: (*value).into(),
            })
            .collect()
    }

    #[test]
    fn reads_an_action_as_kubernetes_writes_it() {
        let text =
            r#"{"path":"/drain","port":8080,"scheme":"HTTP","httpHeaders":[{"name":"X-A","value":"b"}]}"#;
        let action = HttpGet::parse(text).unwrap();
        assert_eq!(
            (action.path.as_str(), action.port, action.host.as_str()),
            ("/drain", 8080, "")
        );
        assert_eq!(action.http_headers, headers(&[("X-A", "b")]));
        let nulls = r#"{"path":null,"port":1,"host":null,"scheme":null,"httpHeaders":null}"#;
        assert_eq!(HttpGet::parse(nulls), HttpGet::parse(r#"{"port":1}"#));
        assert!(
            HttpGet::parse(r#"{"port":"http"}"#)
                .unwrap_err()
                .contains("number")
        );
    }

    #[test]
    fn sends_what_the_kubelet_would() {
        let text = request(&place(), &headers(&[("X-A", "b"), ("Accept", "")])).unwrap();
        assert!(
            text.starts_with("GET /drain?x=1 HTTP/1.1\r\nHost: 10.0.0.7:8080\r\nUser-Agent: kube-lifecycle/")
        );
        assert!(text.ends_with("X-A: b\r\nConnection: close\r\n\r\n"));
        assert!(!text.contains("Accept"));
        assert!(
            request(&place(), &headers(&[("host", "shop.example")]))
                .unwrap()
                .contains("Host: shop.example\r\n")
        );
    }

    #[test]
    fn a_header_cannot_smuggle_another_line() {
        assert!(matches!(
            request(&place(), &headers(&[("X", "a\r\nY: b")])),
            Err(Error::Header { .. })
        ));
    }
}
