//! The API server's part: the pod of a Deployment, the review over TLS, the patch applied.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};

use super::process::Guard;

/// The name in the serving certificate, as a Service would have it.
const SERVICE: &str = "heapship.heapship-system.svc";

/// A running webhook, and the trust that its registration would carry.
pub(super) struct Webhook {
    address: SocketAddr,
    client: Arc<ClientConfig>,
    process: Guard,
}

impl Webhook {
    /// Makes a CA and a serving certificate in `folder` and starts this program as a webhook with them.
    pub(super) fn start(folder: &Path, policy: &Path) -> anyhow::Result<Self> {
        let (certificate, key) = (folder.join("tls.crt"), folder.join("tls.key"));
        let authority_key = KeyPair::generate()?;
        let mut authority = CertificateParams::new(Vec::new())?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_certificate = authority.self_signed(&authority_key)?;
        let serving_key = KeyPair::generate()?;
        let issuer = Issuer::new(authority, authority_key);
        let serving = CertificateParams::new(vec![SERVICE.to_owned()])?.signed_by(&serving_key, &issuer)?;
        std::fs::write(&certificate, serving.pem())?;
        std::fs::write(&key, serving_key.serialize_pem())?;

        let mut roots = RootCertStore::empty();
        roots.add(authority_certificate.der().clone())?;
        let client = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();

        let mut command = Command::new(std::env::current_exe()?);
        command.args([
            "webhook",
            "--listen",
            "127.0.0.1:0",
            "--health-listen",
            "127.0.0.1:0",
            "--log-format",
            "json",
        ]);
        command
            .arg("--tls-cert")
            .arg(certificate)
            .arg("--tls-key")
            .arg(key)
            .arg("--policy-file")
            .arg(policy);
        command.args(["--cluster-name", "demo", "--drain", "1s"]);
        let mut process = command
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start the webhook")?;
        let address = serving_address(&mut process);
        let process = Guard(process);
        Ok(Self {
            address: address?,
            client: Arc::new(client),
            process,
        })
    }

    /// Posts the review that an API server would send for a new pod, and gives back its answer.
    pub(super) fn review(&self, pod: &Value, namespace: &str) -> anyhow::Result<Value> {
        let review = json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {
                "uid": "0b4b3f6e-7a54-4c27-9a5c-5a8d4fba0001",
                "kind": {"group": "", "version": "v1", "kind": "Pod"},
                "resource": {"group": "", "version": "v1", "resource": "pods"},
                "requestKind": {"group": "", "version": "v1", "kind": "Pod"},
                "requestResource": {"group": "", "version": "v1", "resource": "pods"},
                "namespace": namespace,
                "operation": "CREATE",
                "userInfo": {"username": "system:serviceaccount:kube-system:replicaset-controller"},
                "object": pod,
                "oldObject": null,
                "dryRun": false,
                "options": {"apiVersion": "meta.k8s.io/v1", "kind": "CreateOptions"},
            },
        });
        let answer: Value = serde_json::from_slice(&self.post(review.to_string().as_bytes())?)
            .context("the webhook's answer is not JSON")?;
        if answer["response"]["allowed"] != true {
            bail!("the webhook did not allow the pod: {answer}");
        }
        Ok(answer["response"].clone())
    }

    fn post(&self, body: &[u8]) -> anyhow::Result<Vec<u8>> {
        let socket = TcpStream::connect(self.address)?;
        socket.set_read_timeout(Some(Duration::from_secs(10)))?;
        let name = ServerName::try_from(SERVICE)?;
        let mut tls = StreamOwned::new(ClientConnection::new(Arc::clone(&self.client), name)?, socket);
        let head = format!(
            "POST /mutate?timeout=2s HTTP/1.1\r\nHost: {SERVICE}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        tls.write_all(head.as_bytes())?;
        tls.write_all(body)?;
        let mut reader = BufReader::new(tls);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if line.split(' ').nth(1) != Some("200") {
            bail!("the webhook answered {}", line.trim());
        }
        let mut length = 0;
        loop {
            line.clear();
            reader.read_line(&mut line)?;
            match line.trim().split_once(':') {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.trim().parse()?;
                }
                Some(_) => {}
                None => break,
            }
        }
        let mut answer = Vec::new();
        reader.take(length).read_to_end(&mut answer)?;
        Ok(answer)
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Asks it to end, and waits.
    pub(super) fn stop(mut self) -> anyhow::Result<()> {
        self.process.terminate()?;
        let status = self.process.wait(Duration::from_secs(10))?;
        if status.success() {
            Ok(())
        } else {
            bail!("the webhook ended with {status}")
        }
    }
}

/// The port is the kernel's choice: the webhook says it in its first line.
fn serving_address(process: &mut Child) -> anyhow::Result<SocketAddr> {
    let stderr = process.stderr.take().context("the webhook's log is not there")?;
    let mut lines = BufReader::new(stderr).lines();
    let mut said = Vec::new();
    for line in lines.by_ref() {
        let line = line?;
        let event: Value = serde_json::from_str(&line).unwrap_or_default();
        if let Some(address) = event["address"].as_str() {
            // Its log must go on being read, or it blocks when the pipe is full.
            std::thread::spawn(move || lines.for_each(drop));
            return address.parse().context("the webhook listens at no address");
        }
        said.push(line);
    }
    bail!("the webhook did not start: {}", said.join(" "))
}

/// The pod that the controllers make of a Deployment, with the API server's defaults.
pub(super) fn pod_of(deployment: &Value) -> Value {
    const HASH: &str = "6d8c7f9b54";
    let name = deployment["metadata"]["name"].as_str().unwrap_or_default();
    let mut pod = deployment["spec"]["template"].clone();
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    pod["metadata"]["generateName"] = json!(format!("{name}-{HASH}-"));
    pod["metadata"]["namespace"] = deployment["metadata"]["namespace"].clone();
    pod["metadata"]["labels"]["pod-template-hash"] = json!(HASH);
    pod["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("{name}-{HASH}"),
        "uid": "5c1f8e0e-0d3f-4b86-8f0e-6f1d2f1e0002", "controller": true, "blockOwnerDeletion": true,
    }]);
    pod["spec"]["restartPolicy"] = json!("Always");
    pod["spec"]["terminationGracePeriodSeconds"] = json!(30);
    pod["spec"]["dnsPolicy"] = json!("ClusterFirst");
    pod
}
