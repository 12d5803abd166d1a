//! A live cluster: how it is found, and what it answers. Raw JSON: a typed object would lose what its version does not
//! know, and the core judges pods as the webhook sees them.

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use hyper::http::{Request, header};
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use serde_json::Value;

use crate::cli::Stop;

mod refusal;

pub use refusal::Refusal;

/// What was read, or why not.
pub type Read<T> = Result<T, Refusal>;

/// Objects of one page: 500 pods with all their fields are some 10 MB.
const PAGE: usize = 500;
/// Pages of one list: half a million objects.
const PAGES: usize = 1000;
/// Until the API server must have answered one request.
const PATIENCE: Duration = Duration::from_secs(30);
/// Until a connection to it must stand.
const CONNECT: Duration = Duration::from_secs(5);

/// The options of every command that talks to a cluster.
#[derive(Clone, Debug, Default, clap::Args)]
#[group(skip)]
pub struct Arguments {
    /// File with the cluster's address and credentials; unset: $KUBECONFIG, ~/.kube/config, or the pod's own
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Context of that file; unset: its current one
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

/// Why there is no cluster to talk to.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("cannot use the kubeconfig {file}: {why}; correct --kubeconfig")]
    File { file: String, why: String },
    #[error("no context {wanted:?} in the kubeconfig: there is {}; correct --context", .known.join(", "))]
    Context { wanted: String, known: Vec<String> },
    #[error("no cluster: there is no kubeconfig; set KUBECONFIG, or give --kubeconfig FILE")]
    Nowhere,
    #[error("cannot use the kubeconfig: {0}")]
    Unusable(String),
    #[error("cannot start threads")]
    Runtime(#[source] std::io::Error),
}

/// A cluster that can be asked.
pub struct Live {
    client: Client,
    /// The context's namespace, or `default`.
    pub namespace: String,
    address: String,
}

/// Runs a command that talks to a cluster.
///
/// # Errors
/// Those of the command, and when no thread can be started.
pub fn block_on<T>(command: impl Future<Output = Result<T, Stop>>) -> Result<T, Stop> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Stop::failed(Error::Runtime(error)))?;
    runtime.block_on(command)
}

impl Arguments {
    /// Finds the cluster and asks its version, so that whatever is wrong with the way there is said once and first.
    ///
    /// # Errors
    /// Usage: no such file or context. Failed: the cluster cannot be reached, or does not know who is asking.
    pub async fn connect(&self) -> Result<(Live, Value), Stop> {
        let mut config = self.config().await.map_err(Stop::usage)?;
        config.connect_timeout = Some(CONNECT);
        config.read_timeout = Some(PATIENCE);
        let (namespace, address) = (config.default_namespace.clone(), config.cluster_url.to_string());
        let client = Client::try_from(config).map_err(|error| Stop::usage(Error::Unusable(root(&error))))?;
        let live = Live {
            client,
            namespace,
            address,
        };
        match live.get("/version").await {
            Ok(version) => Ok((live, version)),
            Err(refusal) => Err(Stop::failed(refusal.of_the_cluster(&live.address))),
        }
    }

    async fn config(&self) -> Result<Config, Error> {
        let Self { kubeconfig, context } = self;
        let read = match kubeconfig {
            Some(file) => Kubeconfig::read_from(file).map_err(|error| Error::File {
                file: file.display().to_string(),
                why: root(&error),
            })?,
            None => match (Kubeconfig::read(), Config::incluster()) {
                (Ok(read), _) => read,
                (Err(_), Ok(own)) if context.is_none() => return Ok(own),
                (Err(error), _) => return Err(unread(&error)),
            },
        };
        let known: Vec<String> = read.contexts.iter().map(|context| context.name.clone()).collect();
        if let Some(wanted) = context.as_ref().filter(|wanted| !known.contains(wanted)) {
            return Err(Error::Context {
                wanted: wanted.clone(),
                known,
            });
        }
        let options = KubeConfigOptions {
            context: context.clone(),
            cluster: None,
            user: None,
        };
        Config::from_custom_kubeconfig(read, &options)
            .await
            .map_err(|error| Error::Unusable(root(&error)))
    }
}

/// No file at all is another mistake than a broken one.
fn unread(error: &KubeconfigError) -> Error {
    match error {
        KubeconfigError::FindPath => Error::Nowhere,
        KubeconfigError::ReadConfig(why, _) if why.kind() == std::io::ErrorKind::NotFound => Error::Nowhere,
        other => Error::Unusable(root(other)),
    }
}

/// The innermost cause: what stands before it are layers of the client.
fn root(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

impl Live {
    /// The object at a path of the API.
    pub async fn get(&self, path: &str) -> Read<Value> {
        self.send(Request::get(path), Vec::new()).await
    }

    /// The text at a path, such as a container's log.
    pub async fn text(&self, path: &str) -> Read<String> {
        let request = Request::get(path).body(Vec::new()).map_err(Refusal::bug)?;
        within(PATIENCE, self.client.request_text(request)).await
    }

    /// Hands every object of a list to `visit`, page by page, so that memory does not grow with the cluster.
    pub async fn each(&self, path: &str, mut visit: impl FnMut(Value)) -> Read<()> {
        let mut from = String::new();
        for _ in 0..PAGES {
            let joint = if path.contains('?') { '&' } else { '?' };
            let mut page = self.get(&format!("{path}{joint}limit={PAGE}{from}")).await?;
            if let Some(Value::Array(items)) = page.get_mut("items").map(Value::take) {
                items.into_iter().for_each(&mut visit);
            }
            match page.pointer("/metadata/continue").and_then(Value::as_str) {
                Some(token) if !token.is_empty() => from = format!("&continue={}", escaped(token)),
                _ => return Ok(()),
            }
        }
        Ok(())
    }

    /// All objects of a list that is short by nature.
    pub async fn list(&self, path: &str) -> Read<Vec<Value>> {
        let mut found = Vec::new();
        self.each(path, |item| found.push(item)).await?;
        Ok(found)
    }

    /// Creates an object; answers with what the API server made of it.
    pub async fn create(&self, path: &str, object: &Value) -> Read<Value> {
        let request = Request::post(path).header(header::CONTENT_TYPE, "application/json");
        self.send(request, object.to_string().into_bytes()).await
    }

    /// A JSON merge patch.
    pub async fn merge(&self, path: &str, change: &Value) -> Read<Value> {
        let request = Request::patch(path).header(header::CONTENT_TYPE, "application/merge-patch+json");
        self.send(request, change.to_string().into_bytes()).await
    }

    /// Deletes an object.
    pub async fn delete(&self, path: &str) -> Read<Value> {
        self.send(Request::delete(path), Vec::new()).await
    }

    /// For what needs more than requests and answers: exec.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    async fn send(&self, request: hyper::http::request::Builder, body: Vec<u8>) -> Read<Value> {
        let request = request.body(body).map_err(Refusal::bug)?;
        within(PATIENCE, self.client.request(request)).await
    }
}

async fn within<T>(patience: Duration, answer: impl Future<Output = kube::Result<T>>) -> Read<T> {
    match tokio::time::timeout(patience, answer).await {
        Ok(answer) => answer.map_err(Refusal::from),
        Err(_) => Err(Refusal::Unreachable(format!(
            "no answer within {} s",
            patience.as_secs()
        ))),
    }
}

/// The path of all objects of one kind of [`crate::names::REGISTRATION`].
#[must_use]
pub fn registrations(kind: &str) -> String {
    format!("/apis/admissionregistration.k8s.io/v1/{}s", kind.to_lowercase())
}

/// A value in the query of a URL.
#[must_use]
pub fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut escaped, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => escaped.push(char::from(byte)),
            other => {
                escaped.push('%');
                escaped.push_str(&hex::encode_upper([other]));
            }
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn what_stands_in_a_query_is_escaped() {
        assert_eq!(escaped("a=b,c in (d)"), "a%3Db%2Cc%20in%20%28d%29");
    }
}
