//! Whether the cluster has environment files (`valueFrom.fileKeyRef`, KEP-3721), so that an image's own options can be
//! carried over.
//!
//! A server without them rejects a pod that uses one, whatever the failurePolicy says: its version proves too little, since
//! the feature can be off. So it is asked to keep the field in an object that runs nothing and is never stored; and every
//! kubelet must be as new, or an old one would read an empty value.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use k8s_openapi::api::core::v1::PodTemplate;
use kube::api::{ApiResource, DynamicObject, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::inject::{Cluster, KubernetesVersion};
use crate::names;

use super::in_words;
use super::versions::{self, INTERVAL};

/// For all answers together; the nodes of a large cluster are ten pages.
const REQUEST: Duration = Duration::from_secs(15);
/// From one attempt to the next while nobody knows.
const PAUSE: Duration = Duration::from_secs(30);

/// Why nobody knows.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("a dry run of a PodTemplate in {namespace}: {reason}")]
    DryRun { namespace: String, reason: String },
    #[error("a list of the nodes: {0}")]
    Nodes(String),
    #[error("no answer within {REQUEST:?}")]
    NoAnswer,
}

/// Asks every so often, for ever, the first time after a pause.
pub(super) async fn follow(client: Client, cluster: Arc<ArcSwap<Cluster>>, mut pause: Duration) {
    loop {
        sleep(pause).await;
        pause = learn(&client, &cluster).await;
    }
}

/// Asks once, and returns after how long to ask again. An answer that does not come leaves the last one in force, and no is
/// the first.
pub(super) async fn learn(client: &Client, cluster: &ArcSwap<Cluster>) -> Duration {
    let before = cluster.load().env_files;
    let answer = timeout(REQUEST, ask(client)).await;
    match answer.unwrap_or(Err(Error::NoAnswer)) {
        Ok(env_files) => {
            if env_files != before {
                tracing::info!(env_files, "whether images' own options are carried over changed");
                cluster.rcu(|cluster| Cluster {
                    env_files,
                    ..Cluster::clone(cluster)
                });
            }
            INTERVAL
        }
        Err(error) => {
            tracing::warn!(%error, carried = before, "cannot learn whether the cluster has environment files");
            PAUSE
        }
    }
}

/// Asks once.
pub(super) async fn ask(client: &Client) -> Result<bool, Error> {
    if !survives(client).await? {
        return Ok(false);
    }
    let kubelets = versions::nodes(client)
        .await
        .map_err(|error| Error::Nodes(in_words(&error)))?;
    Ok(kubelets
        .into_iter()
        .all(|kubelet| kubelet >= KubernetesVersion::ENV_FILES))
}

/// Whether the field comes back from a dry run. Of all that holds a pod's spec, a `PodTemplate` is what nothing acts on: the
/// permission to create one is no power, even where somebody uses it without the dry run.
async fn survives(client: &Client) -> Result<bool, Error> {
    let namespace = client.default_namespace().to_owned();
    let resource = ApiResource::erase::<PodTemplate>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &resource);
    let reference = json!({"volumeName": "files", "path": "a.env", "key": "A", "optional": true});
    let template = json!({"template": {"spec": {
        "containers": [{
            "name": "a",
            "image": "a",
            "env": [{"name": "A", "valueFrom": {"fileKeyRef": reference}}],
        }],
        "volumes": [{"name": "files", "emptyDir": {}}],
    }}});
    let object = DynamicObject::new("heapship-env-files", &resource).data(template);
    let dry_run = PostParams {
        dry_run: true,
        field_manager: Some(names::FIELD_MANAGER.to_owned()),
    };
    match api.create(&dry_run, &object).await {
        Ok(DynamicObject { data, .. }) => {
            let kept = data.pointer("/template/spec/containers/0/env/0/valueFrom/fileKeyRef");
            Ok(kept.is_some_and(Value::is_object))
        }
        // What is left without the field is invalid: the answer of a server that does not know it.
        Err(kube::Error::Api(status)) if status.code == 422 => Ok(false),
        Err(error) => Err(Error::DryRun {
            namespace,
            reason: in_words(&error),
        }),
    }
}
