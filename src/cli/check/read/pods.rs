//! Reads the pods, page by page, and judges each while it is in memory.

use std::collections::BTreeMap;

use crate::cli::check::found::Listed;
use crate::cli::check::pods::Pods;
use crate::cli::check::report::Line;
use crate::cli::installation::Installation;
use crate::cli::live::{Live, Read, Refusal};
use crate::cli::standing::Standing;
use crate::inject::{Cluster, Context, KubernetesVersion};
use crate::names;
use crate::settings::policy::Policies;

/// Pods between two words about the progress: a page of the API server.
const STEP: usize = 500;

/// What pods are judged by.
pub(super) struct Look<'a> {
    pub(super) live: &'a Live,
    pub(super) installation: &'a Installation,
    pub(super) server: KubernetesVersion,
    pub(super) namespaces: &'a Read<Vec<Listed>>,
    pub(super) progress: &'a dyn Fn(usize),
}

impl Look<'_> {
    /// The pods of one namespace, or all; where not all may be read, those of the context's namespace.
    pub(super) async fn all(&self, only: Option<&str>) -> Read<Pods> {
        match (self.of(only).await, only) {
            (Err(Refusal::Forbidden(_)), None) => {
                let here = self.live.namespace.as_str();
                let mut pods = self.of(Some(here)).await?;
                let elsewhere = format!("pods of other namespaces than {here}: not permitted");
                let line = Line::not_checked(elsewhere)
                    .remedy(format!("ask for the ClusterRole {}", names::VIEWER_ROLE));
                pods.blind.insert(0, line);
                Ok(pods)
            }
            (answer, _) => answer,
        }
    }

    async fn of(&self, only: Option<&str>) -> Read<Pods> {
        let Self {
            live,
            installation,
            server,
            namespaces,
            progress,
        } = self;
        let listed = namespaces.iter().flatten();
        let known: BTreeMap<&str, &Listed> = listed
            .map(|listed| (listed.namespace.name.as_str(), listed))
            .collect();
        let nothing = Policies::default();
        let policies = installation.policies.as_ref().unwrap_or(&nothing);
        let cluster = Cluster {
            name: installation.cluster_name(),
            version: *server,
            own_namespace: Some(installation.namespace.clone()),
            env_files: false,
        };
        let mut pods = Pods {
            namespace: only.map(str::to_owned),
            blind: self.blind(),
            ..Pods::default()
        };
        let path = match only {
            Some(name) => format!("/api/v1/namespaces/{name}/pods"),
            None => "/api/v1/pods".to_owned(),
        };
        let mut count = 0;
        live.each(&path, |pod| {
            let name = pod["metadata"]["namespace"].as_str().unwrap_or_default();
            let unknown = Listed::unknown(name);
            let listed = known.get(name).copied().unwrap_or(&unknown);
            let context = Context {
                namespace: &listed.namespace,
                policies,
                cluster: &cluster,
                workload: None,
            };
            let times = listed.times(&installation.registration);
            pods.add(Standing::of(&pod, &context, &times));
            count += 1;
            if count % STEP == 0 {
                progress(count);
            }
        })
        .await?;
        Ok(pods)
    }

    /// What could not be read, and keeps pods from being judged in full.
    fn blind(&self) -> Vec<Line> {
        let policies = self.installation.policies.as_ref().err();
        let namespaces = self.namespaces.as_ref().err();
        let who = [("policies", policies), ("namespaces", namespaces)];
        who.into_iter()
            .filter_map(|(who, refusal)| {
                Some(Line::unread(
                    &format!("what {who} ask of pods"),
                    refusal?,
                    names::VIEWER_ROLE,
                ))
            })
            .collect()
    }
}
