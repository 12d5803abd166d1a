//! What keeps the executable from starting is said in one sentence, and the code tells whose turn it is.

use std::net::TcpListener;

use tempfile::TempDir;
use tokio::process::Command;

use super::authority::Authority;
use super::caller::Caller;
use super::fixture::{Process, write};
use super::response;
use super::reviews::{pod, review};

/// Code and standard error of a webhook that ends by itself.
async fn ended(
    directory: &TempDir,
    [listen, health]: [&str; 2],
    arguments: &[&str],
) -> (Option<i32>, String) {
    let files = write(directory.path(), &Authority::new().until(2100));
    let mut command = Command::new(env!("CARGO_BIN_EXE_heapship"));
    command
        .args(["webhook", "--listen", listen, "--health-listen", health])
        .arg("--tls-cert")
        .arg(&files.certificate)
        .arg("--tls-key")
        .arg(&files.key)
        .args(arguments)
        .args(["--log-format", "text"])
        .env_clear();
    let output = command.output().await.unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

const ANY_PORT: &str = "127.0.0.1:0";
const BY_NAME: &str = "
kind: HeapDumpPolicy
metadata: {name: shops}
spec:
  mode: OptOut
  namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: shop}}
  settings: {destination: s3://dumps}
";

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_selects_namespaces_by_the_label_that_holds_their_name() {
    let authority = Authority::new();
    let directory = TempDir::new().unwrap();
    let files = write(directory.path(), &authority.until(2100));
    let policy = directory.path().join("policy.yaml");
    std::fs::write(&policy, BY_NAME).unwrap();
    let process = Process::start(&files, &["--policy-file", policy.to_str().unwrap()]).await;
    let caller = Caller::connect(process.address, authority.http1()).await.unwrap();
    let unasked = pod(&serde_json::json!({}), 512);
    let reply = caller.review(review("u", &unasked)).await.unwrap();
    let answer = response(&reply.body).0.response.unwrap();
    assert_eq!(answer.audit_annotations["decision"], "injected");
}

#[tokio::test]
async fn a_policy_that_selects_by_a_label_nobody_knows_is_refused() {
    let directory = TempDir::new().unwrap();
    let policy = directory.path().join("policy.yaml");
    for selector in [
        "{matchLabels: {env: prod}}",
        "{matchExpressions: [{key: env, operator: DoesNotExist}]}",
    ] {
        let text = BY_NAME.replace("{matchLabels: {kubernetes.io/metadata.name: shop}}", selector);
        std::fs::write(&policy, text).unwrap();
        let (code, said) = ended(
            &directory,
            [ANY_PORT; 2],
            &["--policy-file", policy.to_str().unwrap()],
        )
        .await;
        assert_eq!(code, Some(2), "{said}");
        assert!(
            said.contains("policy shops selects namespaces by their label env") && said.lines().count() == 1,
            "{said}"
        );
    }
}

#[tokio::test]
async fn a_filter_that_would_silence_the_log_is_wrong_usage() {
    let (code, said) = ended(&TempDir::new().unwrap(), [ANY_PORT; 2], &["--log", "inof"]).await;
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("\"inof\" is neither error, warn, info, debug, trace or off nor module=level"),
        "{said}"
    );
}

#[tokio::test]
async fn an_address_in_use_and_one_that_is_not_there_have_different_remedies() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    // Set aside for documentation: no machine has it.
    let foreign = "192.0.2.1:8080";
    let directory = TempDir::new().unwrap();
    for (addresses, remedy) in [
        (
            [taken.as_str(), ANY_PORT],
            format!("cannot listen on {taken}; the port is in use: free it, or change --listen"),
        ),
        (
            [ANY_PORT, foreign],
            format!("cannot listen on {foreign}; this machine has no such address: change --health-listen"),
        ),
    ] {
        let (code, said) = ended(&directory, addresses, &[]).await;
        assert_eq!(code, Some(3), "{said}");
        assert!(said.contains(&remedy), "{said}");
    }
}
