//! Self-managed certificates: one Secret, one registration, several replicas.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use heapship::admission::health::{Readiness, Wait};
use heapship::admission::tls::{Certificate, Served};
use heapship::certificates::bundle::Bundle;
use heapship::certificates::registration;
use heapship::certificates::secret::{self, Outlets, Place};
use heapship::certificates::serving::{Candidates, Demand, Serving};
use heapship::certificates::trust::Standing;
use heapship::certificates::{Lifetimes, Service};
use heapship::metrics::Metrics;
use kube::Client;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::http::authority::Authority;
use crate::http::fixture::{until, write};

mod api_server;

use api_server::{ApiServer, Kind};

const LONG: Lifetimes = Lifetimes {
    authority: Duration::from_hours(8760),
    certificate: Duration::from_hours(720),
};
/// Certificates count in seconds: these are renewed after two and four.
const SHORT: Lifetimes = Lifetimes {
    authority: Duration::from_secs(6),
    certificate: Duration::from_secs(3),
};

/// What a webhook runs to keep its certificates; it ends when it is dropped.
struct Replica {
    served: Arc<Served>,
    readiness: Arc<Readiness>,
    metrics: Arc<Metrics>,
    _tasks: JoinSet<()>,
}

impl Replica {
    fn start(client: &Client, lifetimes: Lifetimes) -> Self {
        let service = service();
        let (metrics, served, readiness) = (Arc::<Metrics>::default(), Arc::default(), Arc::default());
        let (truth, truth_seen) = watch::channel(Vec::new());
        let (standing, standing_seen) = watch::channel(Standing::Unknown);
        let candidates = Candidates::default();
        let place = Place {
            secret: "heapship-certificates".to_owned(),
            deployment: "heapship".to_owned(),
            service: service.clone(),
        };
        let outlets = Outlets {
            truth,
            candidates: candidates.clone(),
        };
        let secret = secret::Keeper::new(
            client.clone(),
            place,
            lifetimes,
            standing_seen.clone(),
            outlets,
            Arc::clone(&metrics),
        );
        let registration = registration::Keeper::new(
            client,
            "heapship".to_owned(),
            service,
            Some(truth_seen),
            standing,
            Arc::clone(&metrics),
        );
        let serving = Serving {
            candidates,
            standing: standing_seen,
            demand: Demand::Trusted {
                settle: lifetimes.settle(),
            },
            served: Arc::clone(&served),
            readiness: Arc::clone(&readiness),
            metrics: Arc::clone(&metrics),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(secret.run());
        tasks.spawn(registration.run());
        tasks.spawn(serving.run());
        Self {
            served,
            readiness,
            metrics,
            _tasks: tasks,
        }
    }

    async fn is_ready(&self) {
        until("the replica is ready", async || {
            (self.readiness.left() == [Wait::Cluster]).then_some(())
        })
        .await;
    }

    fn shows(&self) -> Option<Vec<u8>> {
        Some(self.served.current()?.chain().first()?.to_vec())
    }
}

fn service() -> Service {
    Service {
        name: "heapship".to_owned(),
        namespace: "heapship-system".to_owned(),
    }
}

fn registered(kind: Kind) -> Value {
    let client = json!({"service": {"name": "heapship", "namespace": "heapship-system", "path": "/"}});
    let entry = |name: &str| json!({"name": name, "clientConfig": client, "sideEffects": "None", "admissionReviewVersions": ["v1"]});
    let (version, name, _) = kind.names();
    json!({
        "apiVersion": version, "kind": name, "metadata": {"name": "heapship"},
        "webhooks": [entry("one.heapship.io"), entry("other.heapship.io")],
    })
}

/// The caBundles of one object, as far as there are any.
fn bundles_of(api: &ApiServer, kind: Kind) -> Vec<Bundle> {
    let registration = api.read(kind).unwrap();
    registration["webhooks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            let bundle = entry["clientConfig"]["caBundle"].as_str().unwrap_or_default();
            Bundle::read(&base64::engine::general_purpose::STANDARD.decode(bundle).unwrap())
        })
        .collect()
}

/// The caBundles of the whole registration.
fn bundles(api: &ApiServer) -> Vec<Bundle> {
    Kind::REGISTRATION
        .into_iter()
        .flat_map(|kind| bundles_of(api, kind))
        .collect()
}

async fn two_replicas(lifetimes: Lifetimes) -> (ApiServer, [Replica; 2]) {
    let (api, client) = ApiServer::start().await;
    for kind in Kind::REGISTRATION {
        api.write(kind, Some(registered(kind)));
    }
    let replicas = [(); 2].map(|()| Replica::start(&client, lifetimes));
    for replica in &replicas {
        replica.is_ready().await;
    }
    (api, replicas)
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_replicas_that_begin_at_once_one_makes_the_secret_and_both_serve_it() {
    for _ in 0..20 {
        let (api, [one, other]) = two_replicas(LONG).await;
        assert_eq!(one.shows(), other.shows());
        assert_eq!(
            one.metrics.certificate_renewals.get() + other.metrics.certificate_renewals.get(),
            1
        );
        let secret = api.read(Kind::Secret).unwrap();
        let owner = json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": "heapship", "uid": "the-deployment"}]);
        assert_eq!(secret["metadata"]["ownerReferences"], owner);
        for bundle in bundles(&api) {
            assert_eq!(bundle.certificates.len(), 1);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_and_cas_are_renewed_and_the_registration_knows_every_ca_before_it_is_served() {
    let (api, [one, other]) = two_replicas(SHORT).await;
    let mut seen = vec![one.shows().unwrap()];
    while seen.len() < 5 {
        let next = until("another certificate is served", async || {
            one.shows().filter(|shown| seen.last() != Some(shown))
        })
        .await;
        until("by the other replica as well", async || {
            (other.shows().as_ref() == Some(&next)).then_some(())
        })
        .await;
        seen.push(next);
        assert!(bundles(&api).iter().all(|bundle| !bundle.certificates.is_empty()));
    }
    assert!(bundles(&api).iter().all(|bundle| bundle.certificates.len() >= 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cleared_ca_bundle_is_filled_again_and_nothing_else_is_touched() {
    let (api, _replicas) = two_replicas(LONG).await;
    let before = bundles(&api);
    for kind in Kind::REGISTRATION {
        for broken in [json!(null), json!("Z2FyYmFnZQ==")] {
            let mut registration = api.read(kind).unwrap();
            registration["webhooks"][1]["clientConfig"]["caBundle"] = broken;
            registration["webhooks"][1]["timeoutSeconds"] = json!(7);
            api.write(kind, Some(registration));
            until("the caBundle is back", async || {
                (bundles(&api) == before).then_some(())
            })
            .await;
            let registration = api.read(kind).unwrap();
            assert_eq!(registration["webhooks"][1]["timeoutSeconds"], 7);
            assert_eq!(
                registration["webhooks"][1]["clientConfig"]["service"]["name"],
                "heapship"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_warns_may_be_missing_or_forbidden_and_certificates_are_served_all_the_same() {
    for is_forbidden in [false, true] {
        let (api, client) = ApiServer::start().await;
        api.write(Kind::Mutating, Some(registered(Kind::Mutating)));
        if is_forbidden {
            api.write(Kind::Validating, Some(registered(Kind::Validating)));
            api.forbid_validating();
        }
        let replica = Replica::start(&client, LONG);
        replica.is_ready().await;
        let whole = |kind| {
            bundles_of(&api, kind)
                .iter()
                .all(|bundle| !bundle.certificates.is_empty())
        };
        assert!(whole(Kind::Mutating));
        if !is_forbidden {
            // It comes with an upgrade.
            api.write(Kind::Validating, Some(registered(Kind::Validating)));
            until("it has its caBundle as well", async || {
                whole(Kind::Validating).then_some(())
            })
            .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_may_not_write_what_only_warns_is_ready_all_the_same_and_keeps_the_other() {
    let (api, client) = ApiServer::start().await;
    for kind in Kind::REGISTRATION {
        api.write(kind, Some(registered(kind)));
    }
    api.forbid_patching_validating();
    let replica = Replica::start(&client, LONG);
    replica.is_ready().await;
    let before = bundles_of(&api, Kind::Mutating);
    api.write(Kind::Mutating, Some(registered(Kind::Mutating)));
    until("the caBundle is back", async || {
        (bundles_of(&api, Kind::Mutating) == before).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_warns_is_no_registration_by_itself() {
    let (api, client) = ApiServer::start().await;
    api.write(Kind::Validating, Some(registered(Kind::Validating)));
    let (standing, mut standing_seen) = watch::channel(Standing::Unknown);
    let name = "heapship".to_owned();
    let keeper = registration::Keeper::new(&client, name, service(), None, standing, Arc::default());
    let mut tasks = JoinSet::new();
    tasks.spawn(keeper.run());
    standing_seen.changed().await.unwrap();
    assert!(matches!(*standing_seen.borrow(), Standing::Absent));
    api.write(Kind::Mutating, Some(registered(Kind::Mutating)));
    standing_seen
        .wait_for(|standing| matches!(standing, Standing::Registered(_)))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_deleted_or_broken_gets_a_new_ca_beside_the_one_in_use() {
    let (api, [one, other]) = two_replicas(LONG).await;
    let (shown, before) = (one.shows(), bundles(&api));
    for broken in [None, Some(json!("Z2FyYmFnZQ=="))] {
        let known = bundles(&api)
            .first()
            .map_or(0, |bundle| bundle.certificates.len());
        let secret = broken.map(|garbage| {
            let mut secret = api.read(Kind::Secret).unwrap();
            secret["data"]["tls.key"] = garbage;
            secret
        });
        api.write(Kind::Secret, secret);
        until("another CA is registered", async || {
            bundles(&api)
                .iter()
                .all(|bundle| bundle.certificates.len() == known + 1)
                .then_some(())
        })
        .await;
        let old = &before.first().unwrap().certificates;
        assert!(
            bundles(&api)
                .iter()
                .all(|bundle| old.iter().all(|ca| bundle.certificates.contains(ca)))
        );
    }
    // The new CA's certificate comes a minute later: callers have to learn of the CA first.
    assert_eq!((one.shows(), other.shows()), (shown.clone(), shown));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_that_is_not_there_is_waited_for() {
    let (api, client) = ApiServer::start().await;
    let replica = Replica::start(&client, LONG);
    until("a certificate is served", async || replica.shows()).await;
    assert!(replica.readiness.left().contains(&Wait::Registration));
    api.write(Kind::Mutating, Some(registered(Kind::Mutating)));
    replica.is_ready().await;
    // Once ready it stays so: an uninstall removes the registration first.
    api.write(Kind::Mutating, None);
    let renewed = until("the deletion was seen", async || {
        api.read(Kind::Mutating).is_none().then_some(())
    });
    renewed.await;
    assert_eq!(replica.readiness.left(), [Wait::Cluster]);
    assert_eq!(api.conflicts(), 0);
}

/// A registration whose caBundle somebody else writes.
fn registered_with(pem: &str) -> Value {
    let mut registration = registered(Kind::Mutating);
    for entry in registration["webhooks"].as_array_mut().unwrap() {
        entry["clientConfig"]["caBundle"] = json!(base64::engine::general_purpose::STANDARD.encode(pem));
    }
    registration
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_whose_ca_bundle_is_somebody_elses_is_ready_when_it_leads_to_its_certificate() {
    let (api, client) = ApiServer::start().await;
    let (ours, another) = (Authority::new(), Authority::new());
    // Nobody injects into this one: an overlay annotates the other alone.
    api.write(Kind::Validating, Some(registered(Kind::Validating)));
    // What the replicas' own CA leaves behind while cert-manager's injector is away.
    api.write(Kind::Mutating, Some(registered_with(&another.pem)));
    let directory = TempDir::new().unwrap();
    let files = write(directory.path(), &ours.until(2100));
    let certificate = Certificate::load(&files, SystemTime::now()).unwrap();
    let (standing, mut standing_seen) = watch::channel(Standing::Unknown);
    let readiness = Arc::<Readiness>::default();
    let keeper = registration::Keeper::new(
        &client,
        "heapship".to_owned(),
        service(),
        None,
        standing,
        Arc::default(),
    );
    let serving = Serving {
        candidates: Candidates::default(),
        standing: standing_seen.clone(),
        demand: Demand::Trusted {
            settle: LONG.settle(),
        },
        served: Arc::new(Served::new(certificate)),
        readiness: Arc::clone(&readiness),
        metrics: Arc::default(),
    };
    let mut tasks = JoinSet::new();
    tasks.spawn(serving.run());
    tasks.spawn(keeper.run());
    standing_seen
        .wait_for(|standing| matches!(standing, Standing::Registered(_)))
        .await
        .unwrap();
    for unfit in [another.pem.as_str(), "", "garbage"] {
        api.write(Kind::Mutating, Some(registered_with(unfit)));
        standing_seen.mark_unchanged();
        standing_seen.changed().await.unwrap();
        assert!(readiness.left().contains(&Wait::Registration), "{unfit}");
    }
    let both = another.pem + &ours.pem;
    api.write(Kind::Mutating, Some(registered_with(&both)));
    until("the replica is ready", async || {
        (readiness.left() == [Wait::Cluster]).then_some(())
    })
    .await;
}

async fn ended(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_heapship"))
        .args([
            "webhook",
            "--listen",
            "127.0.0.1:0",
            "--health-listen",
            "127.0.0.1:0",
        ])
        .args(arguments)
        .env_clear()
        .output()
        .await
        .unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[tokio::test]
async fn without_a_certificate_and_without_a_registration_the_remedy_is_said() {
    let cases = [
        (
            &[][..],
            "give --tls-cert and --tls-key, or --registration and --namespace",
        ),
        (&["--registration", "heapship"], "--namespace <NAME>"),
        (&["--tls-cert", "tls.crt"], "--tls-key <FILE>"),
        (
            &[
                "--registration",
                "heapship",
                "--namespace",
                "x",
                "--certificate-lifetime",
                "9000h",
            ],
            "raise --ca-lifetime or lower --certificate-lifetime",
        ),
        (&["--ca-lifetime", "1s"], "not between 10s and 876000h"),
    ];
    for (arguments, remedy) in cases {
        let (code, said) = ended(arguments).await;
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(remedy), "{said}");
    }
}

#[tokio::test]
async fn the_ca_bundle_is_read_before_anything_is_served() {
    let directory = TempDir::new().unwrap();
    let pair = Authority::new().until(2100);
    let files = write(directory.path(), &pair);
    let missing = directory.path().join("ca.crt");
    let (code, said) = ended(&[
        "--tls-cert",
        files.certificate.to_str().unwrap(),
        "--tls-key",
        files.key.to_str().unwrap(),
        "--registration",
        "heapship",
        "--namespace",
        "heapship-system",
        "--ca-bundle",
        missing.to_str().unwrap(),
    ])
    .await;
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("cannot read the CA bundle") && said.contains("--ca-bundle"),
        "{said}"
    );
}
