use std::io::Write as _;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::{Arc, Mutex};

use hickory_resolver::proto::op::{Message, MessageType, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA};
use hickory_resolver::proto::rr::{RData, Record, RecordType};

use super::*;

/// As the kubelet writes it for a pod of namespace `shop`, but for the server.
const PODS_OWN: &str = "search shop.svc.cluster.local svc.cluster.local cluster.local\n\
                        nameserver 127.0.0.1\noptions ndots:5\n";

/// A name server, which ends with the process, and what it was asked.
struct Server {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Knows each name's one address and answers nothing but that they do not exist for all others; nothing at all for
    /// `silent.example`.
    fn with(known: &'static [(&'static str, &'static str)]) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let server = Self {
            port: socket.local_addr().unwrap().port(),
            asked: Arc::clone(&asked),
        };
        std::thread::spawn(move || {
            let mut packet = [0; 1500];
            while let Ok((length, from)) = socket.recv_from(&mut packet) {
                let mut message = Message::from_vec(&packet[..length]).unwrap();
                let query = message.queries[0].clone();
                let name = query.name().to_string();
                asked.lock().unwrap().push(name.clone());
                if name == "silent.example." {
                    continue;
                }
                let found = known.iter().find(|(known, _)| *known == name);
                message.metadata.message_type = MessageType::Response;
                message.metadata.response_code = match found {
                    Some(_) => ResponseCode::NoError,
                    None => ResponseCode::NXDomain,
                };
                let data = match found.map(|(_, address)| address.parse().unwrap()) {
                    Some(IpAddr::V4(address)) if query.query_type() == RecordType::A => {
                        Some(RData::A(A(address)))
                    }
                    Some(IpAddr::V6(address)) if query.query_type() == RecordType::AAAA => {
                        Some(RData::AAAA(AAAA(address)))
                    }
                    _ => None,
                };
                message.answers = data
                    .map(|data| Record::from_rdata(query.name().clone(), 30, data))
                    .into_iter()
                    .collect();
                socket.send_to(&message.to_vec().unwrap(), from).unwrap();
            }
        });
        server
    }

    fn asked(&self) -> Vec<String> {
        let mut asked = self.asked.lock().unwrap().clone();
        asked.dedup();
        asked
    }
}

fn hosts(resolv_conf: &str, port: u16) -> (Hosts, tempfile::NamedTempFile) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(resolv_conf.as_bytes()).unwrap();
    let hosts = Hosts {
        resolv_conf: file.path().to_owned(),
        port,
    };
    (hosts, file)
}

async fn text_of_failure(hosts: &Hosts, host: &str) -> String {
    hosts.resolve(host).await.unwrap_err().to_string()
}

#[tokio::test]
async fn a_services_short_name_is_found_by_the_search_list() {
    let server = Server::with(&[("s3.store.svc.cluster.local.", "192.0.2.7")]);
    let (hosts, _file) = hosts(PODS_OWN, server.port);
    let found = hosts.resolve("s3.store.svc").await.unwrap();
    assert_eq!(found, ["192.0.2.7".parse::<IpAddr>().unwrap()]);
    let asked = server.asked();
    assert!(
        asked[0].starts_with("s3.store.svc.shop.svc.cluster.local"),
        "{asked:?}"
    );
}

#[tokio::test]
async fn a_name_outside_the_cluster_is_found_after_the_search_list() {
    let server = Server::with(&[("bucket.s3.example.", "192.0.2.8")]);
    let (hosts, _file) = hosts(PODS_OWN, server.port);
    assert_eq!(hosts.resolve("bucket.s3.example").await.unwrap().len(), 1);
    assert_eq!(hosts.resolve("bucket.s3.example.").await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_name_with_an_ipv6_address_only_is_found() {
    let server = Server::with(&[("store.example.", "2001:db8::1")]);
    let (hosts, _file) = hosts(PODS_OWN, server.port);
    let found = hosts.resolve("store.example").await.unwrap();
    assert_eq!(found, ["2001:db8::1".parse::<IpAddr>().unwrap()]);
}

#[tokio::test]
async fn a_name_with_an_underscore_is_one() {
    let server = Server::with(&[("my_store.example.", "192.0.2.9")]);
    let (hosts, _file) = hosts(PODS_OWN, server.port);
    assert_eq!(hosts.resolve("my_store.example").await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_said_with_what_to_check() {
    let server = Server::with(&[]);
    let (hosts, _file) = hosts(PODS_OWN, server.port);
    let text = text_of_failure(&hosts, "nowhere.example").await;
    assert_eq!(
        text,
        "cannot resolve nowhere.example: 127.0.0.1 knows no address of it; check the store's endpoint and the pod's DNS"
    );
    assert!(server.asked().contains(&"nowhere.example.".to_owned()));
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_waited_for_shorter_than_a_connection() {
    let server = Server::with(&[]);
    let (hosts, _file) = hosts("nameserver 127.0.0.1\n", server.port);
    let begun = std::time::Instant::now();
    let text = text_of_failure(&hosts, "silent.example.").await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{text}");
    assert!(
        text.starts_with("cannot resolve silent.example.: no answer within 4s from 127.0.0.1;"),
        "{text}"
    );
}

#[tokio::test]
async fn localhost_needs_no_server_and_no_file() {
    let hosts = Hosts {
        resolv_conf: PathBuf::from("/nowhere/resolv.conf"),
        port: 1,
    };
    let found = hosts.resolve("localhost").await.unwrap();
    assert!(found.iter().all(IpAddr::is_loopback), "{found:?}");
    let text = text_of_failure(&hosts, "store.example").await;
    assert!(text.starts_with("cannot resolve store.example: "), "{text}");
}

#[tokio::test]
async fn a_file_without_servers_is_named() {
    let (hosts, file) = hosts("options ndots:5\n", 1);
    let text = text_of_failure(&hosts, "store.example").await;
    assert!(text.contains(file.path().to_str().unwrap()), "{text}");
}
