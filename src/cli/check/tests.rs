//! Every state of a cluster that people meet, as they read it.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use serde_json::{Value, json};

use super::*;
use crate::cli::installation::Installation;
use crate::cli::live::{Read, Refusal};
use crate::cli::standing::{Standing, Times};
use crate::inject::{self, Cluster, Context, KubernetesVersion};
use crate::settings::policy::Policies;
use found::Listed;
use pods::Pods;

/// 2026-03-01
const NOW: i64 = 1_772_323_200;

#[test]
fn a_healthy_installation() {
    let report = judge(&healthy());
    assert_eq!(report.count(Level::Fault), 0);
    insta::assert_snapshot!(report);
}

#[test]
fn nothing_is_installed() {
    let mut found = healthy();
    found.installation.registration = Err(Refusal::Absent);
    found.installation.deployment = Err(Refusal::Absent);
    found.webhook_may = Err(Refusal::Absent);
    found.service = Err(Refusal::Absent);
    found.certificate = Err(Refusal::Absent);
    found.ready = Ok(0);
    found.probe.pod = Ok(probe::pod());
    found.namespaces = Ok(vec![Listed::unknown("default")]);
    found.pods = Ok(Pods::default());
    insta::assert_snapshot!(judge(&found));
}

#[test]
fn the_ca_bundle_is_empty() {
    let mut found = healthy();
    for entry in entries_of(&mut found) {
        entry["clientConfig"]["caBundle"] = json!("");
    }
    found.probe.pod = Ok(probe::pod());
    insta::assert_snapshot!(sections(&found, &["registration", "certificates", "webhook"]));
}

#[test]
fn the_ca_bundle_is_not_pem() {
    let mut found = healthy();
    entries_of(&mut found)[0]["clientConfig"]["caBundle"] = json!("bm8gcGVt");
    let report = sections(&found, &["registration"]);
    assert!(
        report.contains("caBundle of pods.heapship.io holds no certificate in PEM form"),
        "{report}"
    );
}

#[test]
fn the_webhook_is_down() {
    let mut found = healthy();
    found.ready = Ok(0);
    found.probe.pod = Ok(probe::pod());
    insta::assert_snapshot!(sections(&found, &["registration", "webhook"]));
}

#[test]
fn the_webhook_is_scaled_to_nothing() {
    let mut found = healthy();
    found.ready = Ok(0);
    found.installation.deployment.as_mut().unwrap()["spec"]["replicas"] = json!(0);
    let report = sections(&found, &["registration"]);
    assert!(report.contains("the webhook is scaled to 0"), "{report}");
}

#[test]
fn a_registration_that_somebody_changed() {
    let mut found = healthy();
    let entries = entries_of(&mut found);
    entries[0]["failurePolicy"] = json!("Fail");
    entries[0]["sideEffects"] = json!("Unknown");
    entries[0]["timeoutSeconds"] = json!(30);
    entries[0]["reinvocationPolicy"] = json!("Never");
    entries[0]["rules"][0]["operations"] = json!(["UPDATE"]);
    entries[1]["namespaceSelector"] = json!({});
    entries[1].as_object_mut().unwrap().remove("matchConditions");
    entries.pop();
    found.registrations = Ok(vec!["pod-identity-webhook".into(), "zz-heapship".into()]);
    found.registration_name = "zz-heapship".into();
    insta::assert_snapshot!(sections(&found, &["registration"]));
}

#[test]
fn what_only_warns_is_looked_at_as_well() {
    let said = |warning: Read<Value>| {
        let mut found = healthy();
        found.warning = warning;
        sections(&found, &["registration"])
    };
    assert!(
        said(Err(Refusal::Absent))
            .contains("warning      there is no ValidatingWebhookConfiguration heapship: ")
    );
    let empty = said(Ok(warning_with("")));
    assert!(
        empty.contains("the caBundle is empty in workloads.heapship.io, annotated-workloads.heapship.io"),
        "{empty}"
    );
    let mut changed = warning_with("");
    changed["webhooks"][0]["failurePolicy"] = json!("Fail");
    changed["webhooks"][0]["clientConfig"]["service"]["path"] = json!("/mutate");
    changed["webhooks"][1]["name"] = json!("other");
    let changed = said(Ok(changed));
    for part in [
        "workloads.heapship.io: failurePolicy is Fail: while no replica answers, no workload can be created",
        "workloads.heapship.io: its path is /mutate, not /warn",
        "the ValidatingWebhookConfiguration heapship has no entry annotated-workloads.heapship.io",
    ] {
        assert!(changed.contains(part), "{changed}");
    }
}

#[test]
fn certificates_that_no_api_server_accepts() {
    let with = |certificate: String| {
        let mut found = healthy();
        found.certificate = Ok(certificate);
        sections(&found, &["certificates"])
    };
    let (_, foreign) = certificates("heapship.heapship-system.svc", 2027);
    let foreign = with(foreign);
    assert!(
        foreign.contains("does not accept the served certificate as heapship.heapship-system.svc: "),
        "{foreign}"
    );
    assert!(with(String::new()).contains("holds no certificate under tls.crt"));

    let mut expired = healthy();
    expired.now += 366 * 24 * 3600;
    insta::assert_snapshot!(sections(&expired, &["certificates"]));
    let mut late = healthy();
    late.now += 270 * 24 * 3600;
    assert!(sections(&late, &["certificates"]).contains("its renewal is late"));
}

#[test]
fn pods_that_were_missed() {
    let mut found = healthy();
    let early = json!("2026-01-31T23:00:00Z");
    let late = json!("2026-02-11T00:00:00Z");
    let mut pods: Vec<Value> = ["a", "b", "c"]
        .map(|name| pod(&format!("shop-7d4-{name}"), Some("shop-7d4")))
        .into();
    for pod in &mut pods {
        pod["metadata"]["creationTimestamp"] = json!("2026-02-05T00:00:00Z");
    }
    let mut old = pod("old-1", Some("old-1"));
    old["metadata"]["creationTimestamp"] = early;
    let mut bare = pod("bare", None);
    bare["metadata"]["creationTimestamp"] = late.clone();
    let mut ended = pod("ended", None);
    ended["metadata"]["creationTimestamp"] = late;
    ended["status"]["phase"] = json!("Succeeded");
    pods.extend([old, bare, ended]);
    found.pods = Ok(seen(&pods));
    insta::assert_snapshot!(sections(&found, &["pods"]));
}

#[test]
fn pods_of_which_another_webhook_took_something() {
    let mut found = healthy();
    let mut stripped = injected(&pod("shop-7d4-a", Some("shop-7d4")));
    stripped["spec"].as_object_mut().unwrap().remove("initContainers");
    found.pods = Ok(seen(&[stripped]));
    insta::assert_snapshot!(sections(&found, &["pods"]));
}

#[test]
fn pods_whose_agent_another_webhook_made_an_init_container() {
    let mut found = healthy();
    let mut stripped = injected(&pod("shop-7d4-a", Some("shop-7d4")));
    let agent = stripped["spec"]["initContainers"][0].as_object_mut().unwrap();
    agent.remove("restartPolicy");
    stripped["status"] = json!({ "phase": "Pending", "initContainerStatuses": [
        { "name": "heapship-agent", "restartCount": 0, "state": { "running": { "startedAt": "2026-11-26T00:00:00Z" } } },
    ] });
    found.pods = Ok(seen(&[stripped]));
    found.registrations = Ok(["cert-manager-webhook", "heapship", "old-injector"]
        .map(str::to_owned)
        .into());
    insta::assert_snapshot!(sections(&found, &["pods"]));
}

#[test]
fn what_the_api_server_fills_in_is_no_difference() {
    let mut live = injected(&pod("bare", None));
    let agent = &mut live["spec"]["initContainers"][0];
    agent["terminationMessagePath"] = json!("/dev/termination-log");
    for entry in agent["env"].as_array_mut().unwrap() {
        // An empty value is left out.
        if entry["value"] == "" {
            entry.as_object_mut().unwrap().remove("value");
        }
    }
    assert_eq!(
        seen(&[live]).seen[0].injection,
        crate::cli::standing::Injection::Whole
    );
}

#[test]
fn a_pod_that_was_evicted_for_its_dump() {
    let mut found = healthy();
    let mut evicted = injected(&pod("shop-7d4-a", Some("shop-7d4")));
    evicted["status"] = json!({
        "phase": "Failed",
        "reason": "Evicted",
        "message": "Usage of EmptyDir volume \"heapship-dumps\" exceeds the limit \"1Gi\". ",
    });
    found.pods = Ok(seen(&[evicted]));
    insta::assert_snapshot!(sections(&found, &["pods"]));
}

#[test]
fn an_agent_that_another_webhook_made_an_init_container() {
    let with = |state: Value| {
        let mut pod = injected(&pod("shop-7d4-a", Some("shop-7d4")));
        let agent = pod["spec"]["initContainers"][0].as_object_mut().unwrap();
        agent.shift_remove("restartPolicy");
        pod["status"]["initContainerStatuses"] = json!([{"name": "heapship-agent", "state": state}]);
        let mut found = healthy();
        found.pods = Ok(seen(&[pod]));
        sections(&found, &["pods"])
    };
    let ended = with(json!({"terminated": {"exitCode": 0, "reason": "Completed"}}));
    assert!(
        ended.contains("took its restartPolicy: Always away; it has ended"),
        "{ended}"
    );
    let waits = with(json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}}));
    assert!(waits.contains("holds the application in Init"), "{waits}");
}

#[test]
fn agents_that_do_not_work() {
    let mut found = healthy();
    let with = |name: &str, status: Value| {
        let mut pod = injected(&pod(name, Some("shop-7d4")));
        pod["status"]["initContainerStatuses"] = json!([status]);
        pod
    };
    let no_image = json!({"name": "heapship-agent", "restartCount": 0, "state": {"waiting": {
        "reason": "ImagePullBackOff", "message": "Back-off pulling image \"x\"",
    }}});
    let crashed = json!({
        "name": "heapship-agent", "restartCount": 4,
        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}},
        "lastState": {"terminated": {"reason": "Error", "exitCode": 2, "message": "heapship-agent: no region for s3://dumps\n"}},
    });
    let starting = json!({"name": "heapship-agent", "state": {"waiting": {"reason": "PodInitializing"}}});
    found.pods = Ok(seen(&[
        with("a", no_image.clone()),
        with("b", no_image),
        with("c", crashed),
        with("d", starting),
    ]));
    insta::assert_snapshot!(sections(&found, &["pods"]));
}

#[test]
fn pods_that_ask_and_are_left_alone() {
    let mut found = healthy();
    let mut wrong = pod("shop-7d4-a", Some("shop-7d4"));
    wrong["metadata"]["annotations"]["heapship.io/on-oom"] = json!("explode");
    let mut refused = pod("calm", None);
    refused["metadata"]["annotations"]["heapship.io/inject"] = json!("false");
    found.pods = Ok(seen(&[wrong, refused]));
    insta::assert_snapshot!(sections(&found, &["pods"]));
}

#[test]
fn namespaces_and_their_label() {
    let mut found = healthy();
    found.namespaces.as_mut().unwrap()[0].labelled = false;
    let mut idle = Listed::unknown("idle");
    idle.labelled = true;
    found.namespaces.as_mut().unwrap().push(idle);
    insta::assert_snapshot!(sections(&found, &["namespaces"]));
}

#[test]
fn nobody_may_read_anything() {
    let mut found = healthy();
    let refused = || Refusal::Forbidden("User nobody may not get it".into());
    found.installation.registration = Err(refused());
    found.installation.deployment = Err(refused());
    found.installation.policies = Err(refused());
    found.registrations = Err(refused());
    found.service = Err(refused());
    found.ready = Err(refused());
    found.certificate = Err(refused());
    found.probe.pod = Err(refused());
    found.webhook_may = Err(refused());
    found.namespaces = Err(refused());
    found.pods = Err(refused());
    insta::assert_snapshot!(judge(&found));
}

#[test]
fn a_service_account_that_may_too_little() {
    let mut found = healthy();
    for (access, allowed) in found.webhook_may.as_mut().unwrap() {
        *allowed = access.verb != "patch";
    }
    insta::assert_snapshot!(sections(&found, &["permissions"]));
}

#[test]
fn stores_say_themselves_what_is_wrong() {
    let mut found = healthy();
    let mut running = injected(&pod("shop-7d4-a", Some("shop-7d4")));
    running["status"]["initContainerStatuses"] =
        json!([{"name": "heapship-agent", "state": {"running": {"startedAt": "2026-02-11T00:00:00Z"}}}]);
    let mut second = running.clone();
    second["metadata"]["name"] = json!("shop-7d4-b");
    let pods = seen(&[running, second]);
    let asked = store::choose(&pods);
    assert_eq!(
        asked.len(),
        1,
        "two pods of one workload have one way to the store"
    );
    let answer = |said: Result<Value, Refusal>| store::Answer {
        asked: asked[0].clone(),
        said,
    };
    found.stores = Some(vec![
        answer(Ok(json!({"written": true, "deleted": true, "seconds": 0.21}))),
        answer(Ok(
            json!({"written": true, "deleted": false, "seconds": 0.2, "object": ".heapship-check/a"}),
        )),
        answer(Ok(
            json!({"written": false, "error": "no bucket dumps: make it, or correct heapship.io/destination"}),
        )),
        answer(Err(Refusal::Forbidden(
            "User nobody may not create pods/exec in web".into(),
        ))),
    ]);
    insta::assert_snapshot!(sections(&found, &["store"]));
}

#[test]
fn a_program_reads_levels_and_counts() {
    let mut found = healthy();
    found.ready = Ok(0);
    let report = judge(&found).to_json();
    assert_eq!(report["faults"], 1);
    let lines = report["sections"][0]["lines"].as_array().unwrap();
    let fault = lines.iter().find(|line| line["level"] == "fault").unwrap();
    assert!(
        fault["remedies"][0].as_str().unwrap().starts_with("kubectl "),
        "{fault}"
    );
}

fn sections(found: &Found, names: &[&str]) -> String {
    let Report(all) = judge(found);
    Report(
        all.into_iter()
            .filter(|section| names.contains(&section.name))
            .collect(),
    )
    .to_string()
}

fn entries_of(found: &mut Found) -> &mut Vec<Value> {
    found.installation.registration.as_mut().unwrap()["webhooks"]
        .as_array_mut()
        .unwrap()
}

fn healthy() -> Found {
    let (bundle, certificate) = certificates("heapship.heapship-system.svc", 2027);
    let installation = Installation {
        registration: Ok(registration_with(&bundle)),
        namespace: "heapship-system".into(),
        service: "heapship".into(),
        deployment: Ok(json!({"spec": {"replicas": 2, "template": {"spec": {
            "serviceAccountName": "heapship",
            "containers": [{"name": "webhook", "image": names::DEFAULT_IMAGE, "args": ["webhook"]}],
        }}}})),
        policies: Ok(Policies::default()),
    };
    Found {
        now: NOW,
        server: KubernetesVersion::NEWEST,
        old_nodes: None,
        registration_name: "heapship".into(),
        registrations: Ok(vec!["heapship".into(), "pod-identity-webhook".into()]),
        warning: Ok(warning_with(&bundle)),
        service: Ok(json!({})),
        ready: Ok(2),
        certificate: Ok(certificate),
        probe: probe::Answer {
            namespace: "default".into(),
            pod: Ok(injected(&probe::pod())),
            milliseconds: 12,
        },
        service_account: "system:serviceaccount:heapship-system:heapship".into(),
        webhook_may: Ok(permissions::of_the_webhook(&installation, "heapship")
            .into_iter()
            .map(|access| (access, true))
            .collect()),
        installation,
        namespaces: Ok(vec![namespace(), Listed::unknown("default")]),
        pods: Ok(seen(&[
            injected(&pod("shop-7d4-a", Some("shop-7d4"))),
            pod_that_does_not_ask(),
        ])),
        stores: None,
    }
}

fn registration_with(bundle: &str) -> Value {
    let entry = |name: &str, resource: &str, selector: Value| {
        let excluded = json!({"key": names::NAMESPACE_NAME_LABEL, "operator": "NotIn", "values": ["kube-system", "kube-node-lease", "heapship-system"]});
        let expressions: Vec<Value> = [selector, excluded]
            .into_iter()
            .filter(|one| !one.is_null())
            .collect();
        json!({
            "name": name,
            "clientConfig": {
                "service": {"name": "heapship", "namespace": "heapship-system", "path": "/mutate", "port": 443},
                "caBundle": bundle,
            },
            "failurePolicy": "Ignore", "timeoutSeconds": 2, "reinvocationPolicy": "IfNeeded",
            "sideEffects": "NoneOnDryRun", "admissionReviewVersions": ["v1"],
            "rules": [{"operations": ["CREATE"], "resources": [resource]}],
            "namespaceSelector": {"matchExpressions": expressions},
        })
    };
    let label =
        |operator: &str| json!({"key": names::INJECTION_LABEL, "operator": operator, "values": ["enabled"]});
    let [labelled, annotated, namespaces] = names::WEBHOOK_ENTRIES;
    let mut second = entry(annotated, "pods", label("NotIn"));
    second["matchConditions"] = json!([{"name": "asks", "expression": "true"}]);
    json!({
        "metadata": {"name": "heapship", "creationTimestamp": "2026-02-01T00:00:00Z"},
        "webhooks": [
            entry(labelled, "pods", label("In")),
            second,
            entry(namespaces, "namespaces", Value::Null),
        ],
    })
}

/// The second object, made from the first.
fn warning_with(bundle: &str) -> Value {
    let mut object = registration_with(bundle);
    let entries = object["webhooks"].as_array_mut().unwrap();
    entries.truncate(names::WARNING_ENTRIES.len());
    for (entry, name) in entries.iter_mut().zip(names::WARNING_ENTRIES) {
        entry["name"] = json!(name);
        entry["clientConfig"]["service"]["path"] = json!("/warn");
        entry["sideEffects"] = json!("None");
        entry["rules"][0]["resources"] = json!(["deployments"]);
        entry["matchConditions"] = json!([{"name": "x", "expression": "true"}]);
    }
    object
}

/// A bundle in base64 and the PEM of a certificate under it, both from the beginning of 2026 to that of `until`.
fn certificates(name: &str, until: i32) -> (String, String) {
    use base64::Engine as _;
    let lasting = |mut parameters: CertificateParams| {
        parameters.not_before = date_time_ymd(2026, 1, 1);
        parameters.not_after = date_time_ymd(until, 1, 1);
        parameters
    };
    let mut authority = lasting(CertificateParams::new(Vec::new()).unwrap());
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().unwrap();
    let bundle = authority.self_signed(&authority_key).unwrap().pem();
    let issuer = Issuer::new(authority, authority_key);
    let leaf = lasting(CertificateParams::new(vec![name.to_owned()]).unwrap());
    let leaf = leaf.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap();
    (
        base64::engine::general_purpose::STANDARD.encode(bundle),
        leaf.pem(),
    )
}

fn namespace() -> Listed {
    Listed::of(&json!({"metadata": {
        "name": "web",
        "labels": {"heapship.io/injection": "enabled"},
        "annotations": {"heapship.io/inject": "true", "heapship.io/destination": "s3://dumps"},
        "managedFields": [{
            "time": "2026-02-10T00:00:00Z",
            "fieldsV1": {"f:metadata": {"f:annotations": {"f:heapship.io/inject": {}}}},
        }],
    }}))
}

fn pod(name: &str, replica_set: Option<&str>) -> Value {
    let mut pod = json!({
        "metadata": {
            "name": name, "namespace": "web", "uid": "u", "creationTimestamp": "2026-02-20T00:00:00Z",
            "annotations": {}, "labels": {},
        },
        "spec": {
            "serviceAccountName": "default",
            "securityContext": {"runAsUser": 1000},
            "containers": [{"name": "app", "image": "shop:1"}],
        },
        "status": {"phase": "Running"},
    });
    if let Some(replica_set) = replica_set {
        pod["metadata"]["labels"]["pod-template-hash"] = json!(replica_set.rsplit('-').next());
        pod["metadata"]["ownerReferences"] =
            json!([{"kind": "ReplicaSet", "name": replica_set, "controller": true}]);
    }
    pod
}

fn pod_that_does_not_ask() -> Value {
    let mut pod = pod("quiet", None);
    pod["metadata"]["namespace"] = json!("default");
    pod
}

fn injected(pod: &Value) -> Value {
    let listed = namespace();
    decide(&listed, |context| inject::inject(pod, context).pod)
}

fn seen(pods: &[Value]) -> Pods {
    let mut all = Pods::default();
    for pod in pods {
        let listed = match pod["metadata"]["namespace"].as_str() {
            Some("web") => namespace(),
            name => Listed::unknown(name.unwrap_or_default()),
        };
        let times: Times = listed.times(&Ok(registration_with("")));
        all.add(decide(&listed, |context| Standing::of(pod, context, &times)));
    }
    all
}

fn decide<T>(listed: &Listed, then: impl FnOnce(&Context<'_>) -> T) -> T {
    then(&Context {
        namespace: &listed.namespace,
        policies: &Policies::default(),
        cluster: &Cluster {
            name: "default".into(),
            version: KubernetesVersion::NEWEST,
            own_namespace: Some("heapship-system".into()),
            env_files: false,
        },
        workload: None,
    })
}
