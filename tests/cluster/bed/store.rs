//! The S3 server of the cluster: versitygw with TLS under a CA of its own, in a namespace of its own, whose objects are plain
//! files on the node and so under the eyes of the suite.
//!
//! Pods get the credentials of a user who may write and nothing else, as the README recommends.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustix::fs::{XattrFlags, getxattr, setxattr};
use serde_json::json;

use super::kubectl;
use super::object::Shipped;

pub const BUCKET: &str = "dumps";
/// As pods reach it.
pub const ENDPOINT: &str = "https://s3.store.svc:7070";
/// The Secret in every namespace of the suite.
pub const SECRET: &str = "s3-writer";

/// What is kept between the runs on one cluster, so that a second run finds the server that the first one made.
fn folder() -> PathBuf {
    super::installed::state().join("store")
}

/// Where objects lie as files.
pub fn bucket() -> PathBuf {
    folder().join("data").join(BUCKET)
}

/// The CA of the server's certificate, PEM.
pub fn ca() -> String {
    fs::read_to_string(folder().join("ca.crt")).unwrap()
}

/// Starts the server and waits until it answers.
pub fn start() {
    let folder = folder();
    if !folder.join("ca.crt").exists() {
        fs::create_dir_all(bucket()).unwrap();
        fs::create_dir_all(folder.join("iam")).unwrap();
        let account = json!({"access": "writer", "secret": "not-a-secret", "role": "user"});
        let accounts = json!({"accessAccounts": {"writer": account}});
        fs::write(folder.join("iam/users.json"), accounts.to_string()).unwrap();
        write_only();
        certificates(&folder);
    }
    let manifest = include_str!("store.yaml").replace("FOLDER", folder.to_str().unwrap());
    kubectl::apply(&manifest);
    kubectl::run(&[
        "-n",
        "store",
        "rollout",
        "status",
        "deployment/s3",
        "--timeout=180s",
    ]);
}

/// The server keeps a bucket's policy in an attribute of its folder.
fn write_only() {
    let policy = json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Principal": {"AWS": ["writer"]},
            "Action": ["s3:PutObject", "s3:AbortMultipartUpload"],
            "Resource": [format!("arn:aws:s3:::{BUCKET}/*")],
        }],
    });
    setxattr(
        bucket(),
        "user.policy",
        policy.to_string().as_bytes(),
        XattrFlags::empty(),
    )
    .expect("the state folder lies on a file system with extended attributes");
}

fn certificates(folder: &Path) {
    let mut parameters = CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate().unwrap();
    let ca = parameters.self_signed(&ca_key).unwrap();
    let names = ["s3.store.svc", "s3.store.svc.cluster.local"].map(str::to_owned);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(names)
        .unwrap()
        .signed_by(&key, &Issuer::new(parameters, ca_key))
        .unwrap();
    fs::write(folder.join("tls.crt"), leaf.pem()).unwrap();
    fs::write(folder.join("tls.key"), key.serialize_pem()).unwrap();
    // Last: its presence says that all is there.
    fs::write(folder.join("ca.crt"), ca.pem()).unwrap();
}

/// Puts the writer's credentials into a namespace.
pub fn credentials_for(namespace: &str) {
    secret(namespace, "not-a-secret");
}

/// Makes every upload of a namespace's pods fail.
pub fn wrong_credentials_for(namespace: &str) {
    secret(namespace, "wrong");
}

fn secret(namespace: &str, key: &str) {
    let manifest = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: {SECRET}}}\nstringData:\n  AWS_ACCESS_KEY_ID: writer\n  \
         AWS_SECRET_ACCESS_KEY: {key}\n"
    );
    kubectl::apply_in(namespace, &manifest);
}

/// The dumps of a namespace whose records are there, by key.
pub fn shipped(namespace: &str) -> Vec<Shipped> {
    let bucket = bucket();
    let mut found: Vec<Shipped> = files(&bucket)
        .iter()
        .filter(|file| file.extension().is_some_and(|extension| extension == "json"))
        .filter_map(|file| Shipped::read(&bucket, file))
        .filter(|shipped| shipped.says("namespace") == namespace)
        .collect();
    found.sort_by(|a, b| a.key.cmp(&b.key));
    found
}

/// Every file below a folder.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    entries
        .flatten()
        .flat_map(|entry| {
            let path = entry.path();
            if path.is_dir() { files(&path) } else { vec![path] }
        })
        .collect()
}

/// Whether parts of an upload are there that is not complete: the server keeps them apart, with the key in an attribute.
pub fn is_uploading(namespace: &str) -> bool {
    let uploads = bucket().join(".sgwtmp/multipart");
    folders(&uploads).iter().any(|folder| {
        let mut name = [0; 1024];
        getxattr(folder, "user.objname", &mut name)
            .is_ok_and(|length| String::from_utf8_lossy(&name[..length]).contains(&format!("/{namespace}/")))
            && !files(folder).is_empty()
    })
}

fn folders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let below = entries.map(|entry| entry.path()).filter(|path| path.is_dir());
    below
        .flat_map(|path| [folders(&path), vec![path]].concat())
        .collect()
}
