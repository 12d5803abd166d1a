//! Other injectors, as webhooks of the same cluster: none makes the API server refuse a pod because of us, what they do stays as
//! it would be without us, and what they undo of ours is made whole in the second round, or reported.

#![allow(unreachable_pub, reason = "of one binary")]

use std::sync::Arc;

use futures_util::future::join_all;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::bed::{Bed, heapship, kubectl};
use crate::forms::create::create;
use crate::forms::form::{Category, Form};
use crate::forms::judge::unasked;
use crate::forms::{self, places};

mod injectors;
mod patches;
mod server;

use injectors::Neighbour;
use server::{Neighbourhood, label};

/// All but the one against whom no webhook can do anything.
const PEACEFUL: [Neighbour; 10] = [
    Neighbour::AzureIdentity,
    Neighbour::Istio,
    Neighbour::LinkerdFront,
    Neighbour::LinkerdEnd,
    Neighbour::Odigos,
    Neighbour::OpenTelemetry,
    Neighbour::EksIdentity,
    Neighbour::Vault,
    Neighbour::Reorders,
    Neighbour::DropsFlags,
];

/// As a cluster may really have them, both meshes left out but one.
const TOGETHER: [Neighbour; 6] = [
    Neighbour::AzureIdentity,
    Neighbour::Istio,
    Neighbour::Odigos,
    Neighbour::OpenTelemetry,
    Neighbour::EksIdentity,
    Neighbour::Vault,
];

struct Street {
    bed: Bed,
    category: Category,
    neighbours: Vec<Neighbour>,
    neighbourhood: Arc<Neighbourhood>,
}

/// A namespace in which these live.
async fn street(name: &str, neighbours: &[Neighbour]) -> Street {
    let labels: Vec<String> = neighbours
        .iter()
        .map(|neighbour| format!("{}: 'yes'", label(*neighbour)))
        .collect();
    let bed = Bed::shared_with(name, &format!("  labels: {{{}}}\n", labels.join(", "))).await;
    // Under the turn: a test that is alone in the cluster finds no neighbours.
    let neighbourhood = Neighbourhood::enter();
    let category = Category::read("beside-others");
    for object in &category.objects {
        bed.apply(&object.to_string());
    }
    let street = Street {
        bed,
        category,
        neighbours: neighbours.to_vec(),
        neighbourhood,
    };
    street.is_inhabited().await;
    street
}

impl Street {
    /// A registration counts some moments after it is written.
    async fn is_inhabited(&self) {
        let bed = &self.bed;
        let plain = unasked(&self.category.forms[0].pod, false);
        bed.eventually("the neighbours are called", async || {
            create(&bed.client, &forms::pods(&bed.namespace), &plain, true).await;
            let called = |neighbour: &Neighbour| self.neighbourhood.has_called(*neighbour, &bed.namespace);
            self.neighbours.iter().all(called).then_some(())
        })
        .await;
    }

    /// Everything that is wrong with a form here.
    async fn faults(&self, form: &Form) -> Vec<String> {
        let collection = forms::pods(&self.bed.namespace);
        let with = create(&self.bed.client, &collection, &form.pod, true).await;
        let without = create(&self.bed.client, &collection, &unasked(&form.pod, false), true).await;
        if with.is_refused() || without.is_refused() {
            return vec![format!(
                "with: {}\nwithout: {}",
                with.object["message"], without.object["message"]
            )];
        }
        let mut faults = Vec::new();
        let again = self.category.outcome(&with.object);
        if !again.patch.0.is_empty() {
            faults.push(format!("it is not whole: {}", json!(again.patch)));
        }
        if !native_agents(&with.object) {
            faults.push(format!(
                "no native sidecar of ours: {}",
                with.object["spec"]["initContainers"]
            ));
        }
        // They find a literal where there was a reference, and treat it as they treat a literal.
        let theirs = [Neighbour::Odigos, Neighbour::OpenTelemetry, Neighbour::DropsFlags];
        let edits = self.neighbours.iter().any(|neighbour| theirs.contains(neighbour));
        if !(edits && by_reference(form)) {
            faults.extend(places::faults(&without.object, &with.object));
        }
        faults
    }

    async fn judge(&self) -> Vec<String> {
        let judged = self.category.forms.iter().map(async |form| {
            let faults = self.faults(form).await;
            (!faults.is_empty()).then(|| {
                format!(
                    "== {:?}: {}\n{}\n",
                    self.neighbours,
                    form.title,
                    faults.join("\n")
                )
            })
        });
        join_all(judged).await.into_iter().flatten().collect()
    }

    /// Starts those that can; what the neighbours write has to arrive as well.
    async fn start(&self, forms: &[&Form], theirs: &[&str]) -> Vec<String> {
        for form in forms {
            forms::really(&self.bed, form).await;
        }
        let judged = forms.iter().map(async |form| {
            let evidence = forms::ended_well(&self.bed, form, "app").await;
            let mut faults = evidence.faults(form, "app");
            faults.extend(
                theirs
                    .iter()
                    .filter(|option| !evidence.given.iter().any(|given| given == *option))
                    .map(|option| format!("{option} of a neighbour did not arrive: {:?}", evidence.given)),
            );
            drop(
                self.bed
                    .pods()
                    .delete(&form.name(), &DeleteParams::default().grace_period(0))
                    .await,
            );
            (!faults.is_empty()).then(|| {
                format!(
                    "== {:?}: {}\n{}\n",
                    self.neighbours,
                    form.title,
                    faults.join("\n")
                )
            })
        });
        join_all(judged).await.into_iter().flatten().collect()
    }
}

fn by_reference(form: &Form) -> bool {
    let container = &form.pod["spec"]["containers"][0];
    container["env"][0]["valueFrom"].is_object() || container["envFrom"].is_array()
}

fn native_agents(pod: &Value) -> bool {
    let list = pod["spec"]["initContainers"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let mut agents = list
        .iter()
        .filter(|container| {
            container["name"]
                .as_str()
                .is_some_and(|name| name.starts_with("heapship-agent"))
        })
        .peekable();
    agents.peek().is_some() && agents.all(|agent| agent["restartPolicy"] == "Always")
}

#[tokio::test]
async fn beside_any_one_of_them_a_pod_is_admitted_and_whole() {
    let mut faults = Vec::new();
    for neighbour in PEACEFUL {
        let street = street(&format!("beside-{}", neighbour.key()), &[neighbour]).await;
        faults.extend(street.judge().await);
    }
    assert!(faults.is_empty(), "{}", faults.concat());
}

#[tokio::test]
async fn beside_any_one_of_them_the_jvm_gets_its_options_and_ours() {
    let mut faults = Vec::new();
    for (neighbour, theirs) in [
        (Neighbour::Istio, &[][..]),
        (Neighbour::LinkerdEnd, &[]),
        (Neighbour::Odigos, &["-Dodigos=1"]),
        (Neighbour::OpenTelemetry, &["-Dotel=1"]),
        (Neighbour::EksIdentity, &[]),
        (Neighbour::Vault, &[]),
    ] {
        let street = street(&format!("starts-{}", neighbour.key()), &[neighbour]).await;
        let started = forms::started(&street.category);
        let some: Vec<&Form> = started.into_iter().skip(1).take(2).collect();
        faults.extend(street.start(&some, theirs).await);
    }
    assert!(faults.is_empty(), "{}", faults.concat());
}

#[tokio::test]
async fn beside_all_of_them_together_a_pod_is_whole_and_its_jvm_runs() {
    let street = street("beside-all", &TOGETHER).await;
    let mut faults = street.judge().await;
    assert!(faults.is_empty(), "{}", faults.concat());
    let started = forms::started(&street.category);
    faults.extend(street.start(&started, &["-Dodigos=1", "-Dotel=1"]).await);
    assert!(faults.is_empty(), "{}", faults.concat());
}

#[tokio::test]
async fn our_flags_come_back_after_somebody_has_dropped_them() {
    let street = street("drops", &[Neighbour::DropsFlags]).await;
    let plain = [&street.category.forms[0]];
    // It looks only at variables that it finds, and finds ours.
    let faults = street.start(&plain, &["-Dtheirs=1"]).await;
    assert!(faults.is_empty(), "{}", faults.concat());
}

#[tokio::test]
async fn a_pod_whose_sidecars_are_made_init_containers_in_both_rounds_is_admitted_and_reported() {
    let street = street("strips", &[Neighbour::StripsRestartPolicy]).await;
    let bed = &street.bed;
    for form in &street.category.forms {
        let mut pod = form.pod.clone();
        // Stored, and never started: what an agent does there is another test's.
        pod["spec"]["schedulingGates"] = json!([{"name": "example.com/never"}]);
        let created = create(&bed.client, &forms::pods(&bed.namespace), &pod, false).await;
        assert!(!created.is_refused(), "{}: {}", form.title, created.object);
        let again = street.category.outcome(&created.object);
        let mended = serde_json::to_value(&again.patch).unwrap();
        let operations = mended.as_array().unwrap();
        assert!(
            operations
                .iter()
                .all(|operation| operation["path"].as_str().unwrap().ends_with("/restartPolicy")),
            "{}: more than that is missing: {mended}",
            form.title
        );
    }
    let check = heapship::run(&["check", "-n", &bed.namespace]);
    assert_eq!(check.status, Some(1), "{}", check.text);
    assert!(
        check.says("another webhook took its restartPolicy: Always away"),
        "{}",
        check.text
    );
    kubectl::run(&[
        "-n",
        &bed.namespace,
        "delete",
        "pods",
        "--all",
        "--grace-period=0",
        "--force",
    ]);
}
