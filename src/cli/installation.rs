//! Where heapship is installed in a cluster, and what it was told: registration, Deployment, policies.

use serde_json::Value;

use crate::cli::live::{self, Live, Read, Refusal};
use crate::names;
use crate::settings::policy::Policies;

/// The installation as far as it could be read.
#[derive(Clone, Debug)]
pub struct Installation {
    /// The MutatingWebhookConfiguration.
    pub registration: Read<Value>,
    /// Of the Service that the registration names; else the one of our manifests.
    pub namespace: String,
    /// Of that Service.
    pub service: String,
    /// The webhook's Deployment.
    pub deployment: Read<Value>,
    /// What the webhook reads; empty where it was told of no file.
    pub policies: Read<Policies>,
}

/// Who makes the serving certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// The replicas.
    SelfManaged,
    /// cert-manager, whose cainjector writes the caBundle too.
    CertManager,
    /// The platform, as a Secret.
    Provided,
}

impl Installation {
    /// Reads it, from the registration on. A `policy` of the caller's own stands for the installation's.
    pub async fn read(live: &Live, registration: &str, policy: Option<Policies>) -> Self {
        let registrations = live::registrations(names::REGISTRATION[0]);
        let registration = live.get(&format!("{registrations}/{registration}")).await;
        let (namespace, service) = service(registration.as_ref().unwrap_or(&Value::Null));
        let deployment = deployment(live, &namespace).await;
        let policies = match (policy, &deployment) {
            (Some(policies), _) => Ok(policies),
            (None, Ok(deployment)) => policies(live, &namespace, deployment).await,
            // Without a webhook nobody reads a policy.
            (None, Err(Refusal::Absent)) => Ok(Policies::default()),
            (None, Err(refusal)) => Err(refusal.clone()),
        };
        Self {
            registration,
            namespace,
            service,
            deployment,
            policies,
        }
    }

    /// What `{cluster}` in an object's key becomes.
    #[must_use]
    pub fn cluster_name(&self) -> String {
        let told = self.deployment.as_ref().ok();
        told.and_then(|deployment| told_of(deployment, "--cluster-name", "HEAPSHIP_CLUSTER"))
            .unwrap_or_else(|| "default".to_owned())
    }

    /// Who makes the certificates; the replicas themselves where nothing says otherwise.
    #[must_use]
    pub fn mode(&self) -> Mode {
        let annotations = |object: &Read<Value>| {
            let object = object.as_ref().ok();
            object
                .map(|object| object["metadata"]["annotations"].clone())
                .unwrap_or_default()
        };
        let told = self.deployment.as_ref().ok();
        if annotations(&self.registration)["cert-manager.io/inject-ca-from"].is_string() {
            Mode::CertManager
        } else if told
            .and_then(|told| told_of(told, "--tls-cert", "HEAPSHIP_TLS_CERT"))
            .is_some()
        {
            Mode::Provided
        } else {
            Mode::SelfManaged
        }
    }

    /// The command that installs, and puts right what was changed by hand.
    #[must_use]
    pub fn apply(&self) -> String {
        let objects = [&self.deployment, &self.registration];
        let release = objects
            .into_iter()
            .filter_map(|object| object.as_ref().ok())
            .find_map(|object| {
                let annotations = &object["metadata"]["annotations"];
                annotations["meta.helm.sh/release-name"].as_str()
            });
        match (release, self.mode()) {
            (Some(release), _) => format!(
                "helm upgrade {release} manifests/chart -n {} --reuse-values",
                self.namespace
            ),
            (None, Mode::SelfManaged) => own_overlay("self-managed"),
            (None, Mode::CertManager) => own_overlay("cert-manager"),
            (None, Mode::Provided) => own_overlay("provided"),
        }
    }

    /// The command that shows what the replicas say.
    #[must_use]
    pub fn logs(&self) -> String {
        let namespace = &self.namespace;
        format!(
            "kubectl logs -n {namespace} -l app.kubernetes.io/name=heapship,app.kubernetes.io/component=webhook --tail=50"
        )
    }

    /// The Secret that the served certificate lies in.
    #[must_use]
    pub fn certificates_secret(&self) -> String {
        let told = self.deployment.as_ref().ok().and_then(|deployment| {
            match told_of(deployment, "--tls-cert", "HEAPSHIP_TLS_CERT") {
                Some(file) => mounted(deployment, &file)?["secret"]["secretName"]
                    .as_str()
                    .map(str::to_owned),
                None => told_of(deployment, "--certificate-secret", "HEAPSHIP_CERTIFICATE_SECRET"),
            }
        });
        told.unwrap_or_else(|| names::CERTIFICATES_SECRET.to_owned())
    }
}

fn service(registration: &Value) -> (String, String) {
    let entries = registration["webhooks"].as_array().into_iter().flatten();
    let mut services = entries.map(|entry| &entry["clientConfig"]["service"]);
    let found =
        services.find_map(|service| Some((service["namespace"].as_str()?, service["name"].as_str()?)));
    let (namespace, name) = found.unwrap_or((names::INSTALLATION_NAMESPACE, names::WEBHOOK));
    (namespace.to_owned(), name.to_owned())
}

/// By its labels: a Helm release may have given it another name.
async fn deployment(live: &Live, namespace: &str) -> Read<Value> {
    let path = format!(
        "/apis/apps/v1/namespaces/{namespace}/deployments?labelSelector=app.kubernetes.io/name%3Dheapship,\
         app.kubernetes.io/component%3Dwebhook"
    );
    let found = live.list(&path).await?;
    found.into_iter().next().ok_or(Refusal::Absent)
}

async fn policies(live: &Live, namespace: &str, deployment: &Value) -> Read<Policies> {
    let Some(file) = told_of(deployment, "--policy-file", "HEAPSHIP_POLICY_FILE") else {
        return Ok(Policies::default());
    };
    let config_map = mounted(deployment, &file).and_then(|volume| volume["configMap"]["name"].as_str());
    let Some(config_map) = config_map else {
        return Err(Refusal::Refused(format!(
            "the webhook reads {file}, which is not on a ConfigMap; give the same file with --policy"
        )));
    };
    let path = format!("/api/v1/namespaces/{namespace}/configmaps/{config_map}");
    let found = live.get(&path).await.map_err(|refusal| match refusal {
        Refusal::Absent => Refusal::Refused(format!("there is no ConfigMap {config_map} in {namespace}")),
        other => other,
    })?;
    let key = file.rsplit('/').next().unwrap_or_default();
    let text = found["data"][key].as_str().unwrap_or_default();
    Policies::from_yaml(text)
        .map_err(|error| Refusal::Refused(format!("ConfigMap {config_map}, {key}: {error}")))
}

/// The volume that a path of the webhook's container lies on.
fn mounted<'v>(deployment: &'v Value, path: &str) -> Option<&'v Value> {
    let pod = &deployment["spec"]["template"]["spec"];
    let mounts = pod["containers"][0]["volumeMounts"].as_array()?;
    let inside = |at: &str| path.strip_prefix(at).is_some_and(|rest| rest.starts_with('/'));
    let mount = mounts
        .iter()
        .find(|mount| mount["mountPath"].as_str().is_some_and(inside))?;
    let volumes = pod["volumes"].as_array()?;
    volumes.iter().find(|volume| volume["name"] == mount["name"])
}

/// The value of an option, given as an argument or as a variable.
fn told_of(deployment: &Value, flag: &str, variable: &str) -> Option<String> {
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    let words = ["command", "args"].map(|field| container[field].as_array());
    let words: Vec<&str> = words
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let argument = words.iter().enumerate().find_map(|(index, word)| {
        let rest = word.strip_prefix(flag)?;
        match rest.strip_prefix('=') {
            Some(value) => Some(value),
            None if rest.is_empty() => words.get(index + 1).copied(),
            None => None,
        }
    });
    let entries = container["env"].as_array().into_iter().flatten();
    let mut entry = entries
        .filter(|entry| entry["name"] == variable)
        .filter_map(|entry| entry["value"].as_str());
    argument.or_else(|| entry.next()).map(str::to_owned)
}

/// Whoever has an overlay of his own would lose what it says by ours.
fn own_overlay(mode: &str) -> String {
    format!("kubectl apply -k YOUR-OVERLAY   # manifests/overlays/{mode} only if you have none of your own")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment(args: &Value) -> Value {
        json!({"spec": {"template": {"spec": {
            "containers": [{
                "name": "webhook",
                "args": args,
                "env": [{"name": "HEAPSHIP_POLICY_FILE", "value": "/etc/heapship/policy/policies.yaml"}],
                "volumeMounts": [{"name": "policy", "mountPath": "/etc/heapship/policy"}],
            }],
            "volumes": [{"name": "policy", "configMap": {"name": "heapship-policy-x"}}],
        }}}})
    }

    #[test]
    fn an_option_is_found_in_all_its_forms() {
        for args in [
            json!(["webhook", "--cluster-name=a"]),
            json!(["--cluster-name", "a"]),
        ] {
            let told = told_of(&deployment(&args), "--cluster-name", "HEAPSHIP_CLUSTER");
            assert_eq!(told.as_deref(), Some("a"));
        }
        let deployment = deployment(&json!(["--policy-file-x=1"]));
        let file = told_of(&deployment, "--policy-file", "HEAPSHIP_POLICY_FILE").unwrap();
        assert_eq!(file, "/etc/heapship/policy/policies.yaml");
        assert_eq!(
            mounted(&deployment, &file).unwrap()["configMap"]["name"],
            "heapship-policy-x"
        );
    }

    #[test]
    fn the_service_is_the_registrations_or_that_of_the_manifests() {
        let registration = json!({"webhooks": [{"clientConfig": {"url": "https://x"}}, {"clientConfig": {"service": {"namespace": "a", "name": "b"}}}]});
        assert_eq!(service(&registration), ("a".to_owned(), "b".to_owned()));
        assert_eq!(
            service(&Value::Null),
            ("heapship-system".to_owned(), "heapship".to_owned())
        );
    }
}
