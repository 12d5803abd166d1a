//! Reads the cluster, once.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::found::{Found, Listed};
use super::permissions::{self, Access};
use super::{certificates, probe, registration, store, versions};
use crate::cli::installation::Installation;
use crate::cli::live::{self, Live, Read};
use crate::inject::KubernetesVersion;
use crate::names;
use crate::settings::policy::Policies;

mod pods;

/// What is to be read.
pub(super) struct Wanted {
    /// The name of our registration.
    pub(super) registration: String,
    /// Policies that stand for the installation's.
    pub(super) policies: Option<Policies>,
    /// Only this namespace.
    pub(super) namespace: Option<String>,
    /// Whether agents are to write to their stores.
    pub(super) stores: bool,
}

/// `progress` hears of every page of pods how many there were so far: nothing else takes long.
pub(super) async fn read(live: &Live, version: &Value, wanted: Wanted, progress: &dyn Fn(usize)) -> Found {
    let Wanted {
        registration,
        policies,
        namespace,
        stores,
    } = wanted;
    let server = versions::of(version).unwrap_or(KubernetesVersion::NEWEST);
    let installation = Installation::read(live, &registration, policies).await;
    let service_account = service_account(&installation);
    let namespaces = namespaces(live, namespace.as_deref()).await;
    let look = pods::Look {
        live,
        installation: &installation,
        server,
        namespaces: &namespaces,
        progress,
    };
    let pods = look.all(namespace.as_deref()).await;
    let stores = match &pods {
        Ok(pods) if stores => Some(store::ask(live, store::choose(pods)).await),
        _ => None,
    };
    let [mutating, validating] = names::REGISTRATION.map(live::registrations);
    Found {
        now: now(),
        server,
        old_nodes: if versions::nodes_matter(server) {
            Some(nodes(live).await)
        } else {
            None
        },
        registrations: names_of(live, &mutating).await,
        warning: live.get(&format!("{validating}/{registration}")).await,
        service: live
            .get(&format!(
                "/api/v1/namespaces/{}/services/{}",
                installation.namespace, installation.service
            ))
            .await,
        ready: registration::ready(slices(live, &installation).await),
        certificate: certificate(live, &installation).await,
        probe: probe(
            live,
            namespace.as_deref().unwrap_or(&live.namespace),
            &installation.namespace,
        )
        .await,
        webhook_may: webhook_may(live, &installation, &registration, &service_account).await,
        registration_name: registration,
        installation,
        service_account,
        namespaces,
        pods,
        stores,
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

async fn slices(live: &Live, installation: &Installation) -> Read<Vec<Value>> {
    let Installation {
        namespace, service, ..
    } = installation;
    let path = format!(
        "/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices?labelSelector=kubernetes.io/service-name%3D{service}"
    );
    live.list(&path).await
}

async fn certificate(live: &Live, installation: &Installation) -> Read<String> {
    let path = format!(
        "/api/v1/namespaces/{}/secrets/{}",
        installation.namespace,
        installation.certificates_secret()
    );
    live.get(&path)
        .await
        .map(|secret| certificates::of_secret(&secret))
}

async fn names_of(live: &Live, path: &str) -> Read<Vec<String>> {
    let mut found = Vec::new();
    let mut add = |object: Value| found.extend(object["metadata"]["name"].as_str().map(str::to_owned));
    live.each(path, &mut add).await?;
    Ok(found)
}

async fn nodes(live: &Live) -> Read<Vec<String>> {
    let mut found = Vec::new();
    let mut add = |node: Value| {
        found.extend(
            node["status"]["nodeInfo"]["kubeletVersion"]
                .as_str()
                .map(str::to_owned),
        );
    };
    live.each("/api/v1/nodes", &mut add).await?;
    Ok(found)
}

async fn probe(live: &Live, namespace: &str, own: &str) -> probe::Answer {
    // Nothing of these is ever injected.
    let excluded = namespace == own || names::SYSTEM_NAMESPACES.contains(&namespace);
    let namespace = if excluded { "default" } else { namespace };
    let path = format!("/api/v1/namespaces/{namespace}/pods?dryRun=All&fieldManager=heapship-check");
    let started = Instant::now();
    let pod = live.create(&path, &probe::pod()).await;
    probe::Answer {
        namespace: namespace.to_owned(),
        pod,
        milliseconds: started.elapsed().as_millis(),
    }
}

/// `system:serviceaccount:NAMESPACE:NAME`
fn service_account(installation: &Installation) -> String {
    let deployment = installation.deployment.as_ref().ok();
    let name = deployment.and_then(|found| found["spec"]["template"]["spec"]["serviceAccountName"].as_str());
    format!(
        "system:serviceaccount:{}:{}",
        installation.namespace,
        name.unwrap_or(names::WEBHOOK)
    )
}

async fn webhook_may(
    live: &Live,
    installation: &Installation,
    registration: &str,
    account: &str,
) -> Read<Vec<(Access, bool)>> {
    installation.deployment.as_ref().map_err(Clone::clone)?;
    let mut answers = Vec::new();
    for access in permissions::of_the_webhook(installation, registration) {
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": account,
                "groups": [
                    "system:serviceaccounts",
                    format!("system:serviceaccounts:{}", installation.namespace),
                    "system:authenticated",
                ],
                "resourceAttributes": access.attributes(),
            },
        });
        let answer = live
            .create("/apis/authorization.k8s.io/v1/subjectaccessreviews", &review)
            .await;
        answers.push((access, permissions::allowed(answer)?));
    }
    Ok(answers)
}

async fn namespaces(live: &Live, only: Option<&str>) -> Read<Vec<Listed>> {
    match only {
        Some(name) => Ok(vec![Listed::of(
            &live.get(&format!("/api/v1/namespaces/{name}")).await?,
        )]),
        None => {
            let mut found = Vec::new();
            live.each("/api/v1/namespaces", |namespace| {
                found.push(Listed::of(&namespace));
            })
            .await?;
            Ok(found)
        }
    }
}
