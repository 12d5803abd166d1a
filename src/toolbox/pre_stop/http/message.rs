//! HTTP/1.1 as far as a hook needs it: where a request goes, the head of an answer, the end of its body.

use std::fmt::Write as _;

/// Where a request goes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Place {
    pub(super) tls: bool,
    pub(super) host: String,
    pub(super) port: u16,
    /// Path and query.
    pub(super) target: String,
}

impl Place {
    /// For the Host header: Go states the port always.
    pub(super) fn authority(&self) -> String {
        if self.host.contains(':') && !self.host.starts_with('[') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Where a Location header leads from here; `None` when it is not HTTP.
    pub(super) fn follow(&self, location: &str) -> Option<Self> {
        let (tls, rest) = if let Some(rest) = location.strip_prefix("http://") {
            (false, rest)
        } else if let Some(rest) = location.strip_prefix("https://") {
            (true, rest)
        } else if let Some(rest) = location.strip_prefix("//") {
            (self.tls, rest)
        } else {
            let folder = self
                .target
                .split('?')
                .next()
                .and_then(|path| path.rsplit_once('/'))
                .map_or("", |(f, _)| f);
            let path = if location.starts_with('/') {
                location.to_owned()
            } else {
                format!("{folder}/{location}")
            };
            return Some(Self {
                target: target(&path),
                ..self.clone()
            });
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let authority = authority.rsplit('@').next().unwrap_or(authority);
        let default = if tls { 443 } else { 80 };
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
            _ => (authority, default),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Some(Self {
            tls,
            host,
            port,
            target: target(path),
        })
    }
}

/// A path as a request line may carry it: from the root, without fragment, what is not plain ASCII escaped.
pub(super) fn target(path: &str) -> String {
    let path = path.split('#').next().unwrap_or_default();
    let mut target = if path.starts_with('/') {
        String::new()
    } else {
        "/".to_owned()
    };
    for byte in path.bytes() {
        if byte.is_ascii_graphic() {
            target.push(char::from(byte));
        } else {
            let _ = write!(target, "%{byte:02X}");
        }
    }
    target
}

/// Status line and headers of an answer.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Head {
    status: u16,
    location: Option<String>,
    length: Option<usize>,
    chunked: bool,
}

impl Head {
    /// Reads it and where the body begins; `None` while it is not whole. An interim answer (1xx) is skipped.
    pub(super) fn parse(bytes: &[u8]) -> Option<(Self, usize)> {
        let mut start = 0;
        loop {
            let rest = bytes.get(start..)?;
            let end = rest.windows(4).position(|window| window == b"\r\n\r\n")?;
            let text = String::from_utf8_lossy(rest.get(..end)?);
            let body_at = start.checked_add(end)?.checked_add(4)?;
            let head = Self::read(&text)?;
            if !(100..200).contains(&head.status) {
                return Some((head, body_at));
            }
            start = body_at;
        }
    }

    fn read(text: &str) -> Option<Self> {
        let (first, lines) = text.split_once("\r\n").unwrap_or((text, ""));
        let status = first.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
        let field = |name: &str| {
            lines.split("\r\n").find_map(|line| {
                let (key, value) = line.split_once(':')?;
                key.eq_ignore_ascii_case(name).then(|| value.trim())
            })
        };
        Some(Self {
            status,
            location: field("location").map(str::to_owned),
            length: field("content-length").and_then(|length| length.parse().ok()),
            chunked: field("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")),
        })
    }

    /// Where it sends us, if it does.
    pub(super) fn redirect(&self) -> Option<&str> {
        matches!(self.status, 301 | 302 | 303 | 307 | 308)
            .then_some(self.location.as_deref())
            .flatten()
    }
}

/// Whether the bytes can still become an answer.
pub(super) fn may_be_http(bytes: &[u8]) -> bool {
    bytes
        .iter()
        .zip(b"HTTP/1.")
        .all(|(byte, expected)| byte == expected)
}

/// What has come of a body, to know when to stop.
pub(super) struct Body {
    bytes: Vec<u8>,
    expected: usize,
    chunked: bool,
}

impl Body {
    pub(super) fn new(head: &Head, bytes: Vec<u8>) -> Self {
        let expected = match head.length {
            _ if matches!(head.status, 204 | 304) => 0,
            // The kubelet does not begin a body that is stated to be longer.
            Some(length) if length > LARGEST_BODY => 0,
            Some(length) => length,
            None => LARGEST_BODY,
        };
        Self {
            bytes,
            expected,
            chunked: head.chunked,
        }
    }

    pub(super) fn is_read(&self) -> bool {
        self.bytes.len() >= self.expected || self.chunked && self.bytes.ends_with(b"0\r\n\r\n")
    }

    pub(super) fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }
}

/// The kubelet's `maxRespBodyLength`.
const LARGEST_BODY: usize = 10 << 10;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn place() -> Place {
        Place {
            tls: false,
            host: "10.0.0.7".into(),
            port: 8080,
            target: "/a/b?c".into(),
        }
    }

    #[test]
    fn follows_every_form_of_location() {
        let to = |location: &str| {
            let Place {
                tls,
                host,
                port,
                target,
            } = place().follow(location).unwrap();
            format!(
                "{}{host}:{port}{target}",
                if tls { "https://" } else { "http://" }
            )
        };
        assert_eq!(to("/x"), "http://10.0.0.7:8080/x");
        assert_eq!(to("x"), "http://10.0.0.7:8080/a/x");
        assert_eq!(to("https://10.0.0.7/y"), "https://10.0.0.7:443/y");
        assert_eq!(to("//other:81"), "http://other:81/");
        assert_eq!(to("http://u:p@[::1]:9/z#f"), "http://::1:9/z");
        assert_eq!(place().follow("http://host:port/"), None);
    }

    #[test]
    fn a_target_is_fit_for_a_request_line() {
        assert_eq!(target(""), "/");
        assert_eq!(target("drain?a=b#c"), "/drain?a=b");
        assert_eq!(target("/a b\r\nX: y"), "/a%20b%0D%0AX:%20y");
    }

    #[test]
    fn reads_a_head_behind_an_interim_answer() {
        let bytes = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 302 Found\r\nlocation: /x\r\nContent-Length: 3\r\n\r\nabc";
        let (head, body_at) = Head::parse(bytes).unwrap();
        assert_eq!((head.redirect(), body_at), (Some("/x"), bytes.len() - 3));
        assert!(Body::new(&head, b"abc".to_vec()).is_read());
        assert_eq!(Head::parse(b"HTTP/1.1 200 OK\r\n"), None);
        assert_eq!(Head::parse(b"SSH-2.0-x\r\n\r\n"), None);
        assert!(!may_be_http(b"SSH") && may_be_http(b"HTT") && may_be_http(b""));
    }

    #[test]
    fn a_body_ends_where_it_says_or_at_ten_kibibytes() {
        let head = |fields: &str| {
            Head::parse(format!("HTTP/1.1 200 OK\r\n{fields}\r\n").as_bytes())
                .unwrap()
                .0
        };
        assert!(!Body::new(&head("Content-Length: 3\r\n"), b"ab".to_vec()).is_read());
        assert!(Body::new(&head("Content-Length: 99999\r\n"), Vec::new()).is_read());
        assert!(!Body::new(&head(""), vec![0; 10_239]).is_read());
        assert!(Body::new(&head(""), vec![0; 10_240]).is_read());
        assert!(
            Body::new(
                &head("Transfer-Encoding: chunked\r\n"),
                b"1\r\na\r\n0\r\n\r\n".to_vec()
            )
            .is_read()
        );
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(bytes: Vec<u8>, location in "\\PC{0,30}") {
            let _ = (Head::parse(&bytes), place().follow(&location), may_be_http(&bytes));
        }
    }
}
