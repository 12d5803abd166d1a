//! Does the API server call the webhook, for the right objects, in the right way?

use serde_json::{Value, json};

use super::found::Found;
use super::report::{Line, Section};
use crate::admission::http;
use crate::cli::installation::Mode;
use crate::cli::live::{Read, Refusal};
use crate::names;

/// Configurations are called in the order of their names, and this one is not called a second time: what is injected
/// behind it gets no cloud identity.
const IDENTITY_WEBHOOK: &str = "pod-identity-webhook";
/// Every pod of the cluster may wait for so long when no replica answers.
const LONGEST_TIMEOUT: i64 = 5;
/// What happens without the object that only warns.
const UNWARNED: &str = "whoever applies a workload reads no warning of its pods";

pub(super) fn judge(found: &Found) -> Section {
    Section {
        name: "registration",
        lines: lines(found),
    }
}

fn lines(found: &Found) -> Vec<Line> {
    let name = &found.registration_name;
    let registration = match &found.installation.registration {
        Ok(registration) => registration,
        Err(Refusal::Absent) => return vec![absent(found)],
        Err(refusal) => {
            return vec![Line::unread(
                &format!("the MutatingWebhookConfiguration {name}"),
                refusal,
                names::VIEWER_ROLE,
            )];
        }
    };
    let [changes, warns] = names::REGISTRATION;
    let mut lines = entries_as_expected(registration, changes, &names::WEBHOOK_ENTRIES, found);
    lines.extend(order(found));
    lines.extend(bundles(registration, found, "admits every pod as it is"));
    match &found.warning {
        Ok(warning) => {
            lines.extend(entries_as_expected(
                warning,
                warns,
                &names::WARNING_ENTRIES,
                found,
            ));
            lines.extend(bundles(warning, found, UNWARNED));
        }
        Err(Refusal::Absent) => lines.push(
            Line::warning(format!("there is no {warns} {name}: {UNWARNED}"))
                .remedy(found.installation.apply()),
        ),
        Err(refusal) => {
            lines.push(Line::unread(
                &format!("the {warns} {name}"),
                refusal,
                names::VIEWER_ROLE,
            ));
        }
    }
    lines.push(replicas(found));
    lines
}

/// One of the two objects.
fn entries_as_expected(object: &Value, kind: &str, expected: &[&str], found: &Found) -> Vec<Line> {
    let (name, again) = (&found.registration_name, found.installation.apply());
    let mut lines = Vec::new();
    for expected in expected {
        match entries(object).find(|entry| entry["name"] == *expected) {
            Some(entry) => lines.extend(entry_faults(expected, entry, &again)),
            None => lines.push(Line::fault(
                format!("the {kind} {name} has no entry {expected}"),
                again.clone(),
            )),
        }
    }
    if lines.is_empty() {
        lines.push(Line::ok(format!(
            "{kind} {name}, {} entries as they should be",
            expected.len()
        )));
    }
    lines
}

/// Everything of an entry that is not as the manifests have it and matters.
fn entry_faults(name: &str, entry: &Value, again: &str) -> Vec<Line> {
    let mut lines = Vec::new();
    let kind = kind_of(name);
    if entry["failurePolicy"] != "Ignore" {
        lines.push(Line::fault(
            format!(
                "{name}: failurePolicy is {}: while no replica answers, no {kind} can be created",
                text(&entry["failurePolicy"])
            ),
            again,
        ));
    }
    let side_effects = &entry["sideEffects"];
    if side_effects != "NoneOnDryRun" && side_effects != "None" {
        lines.push(Line::fault(
            format!(
                "{name}: sideEffects is {}: the API server refuses every dry run of a {kind}",
                text(side_effects)
            ),
            again,
        ));
    }
    let path = match kind {
        "workload" => http::WARN_PATH,
        _ => http::PATH,
    };
    let called = &entry["clientConfig"]["service"]["path"];
    if called.as_str().is_some_and(|called| called != path) {
        lines.push(Line::fault(
            format!("{name}: its path is {}, not {path}", text(called)),
            again,
        ));
    }
    if !holds(&entry["admissionReviewVersions"], "v1") {
        lines.push(Line::fault(
            format!("{name}: admissionReviewVersions lacks v1, the only one that heapship speaks"),
            again,
        ));
    }
    let resource = match kind {
        "workload" => "deployments".to_owned(),
        kind => format!("{kind}s"),
    };
    if !creations(&entry["rules"], &resource) {
        lines.push(Line::fault(
            format!("{name}: its rules do not match the creation of {kind}s"),
            again,
        ));
    }
    if entry["timeoutSeconds"]
        .as_i64()
        .is_some_and(|seconds| seconds > LONGEST_TIMEOUT)
    {
        lines.push(
            Line::warning(format!(
                "{name}: timeoutSeconds is {}: so long every {kind} waits while the webhook hangs; the manifests have 2",
                entry["timeoutSeconds"]
            ))
            .remedy(again),
        );
    }
    if kind == "pod" && entry["reinvocationPolicy"] != "IfNeeded" {
        lines.push(
            Line::warning(format!(
                "{name}: reinvocationPolicy is {}: what other webhooks change after heapship is not put right",
                text(&entry["reinvocationPolicy"])
            ))
            .remedy(again),
        );
    }
    lines.extend(selection(name, entry, again));
    lines
}

/// Which objects reach the webhook.
fn selection(name: &str, entry: &Value, again: &str) -> Vec<Line> {
    let mut lines = Vec::new();
    let expressions = entry["namespaceSelector"]["matchExpressions"].as_array();
    let has = |wanted: &Value| expressions.is_some_and(|all| all.iter().any(|found| matches(found, wanted)));
    let [labelled, annotated, _] = names::WEBHOOK_ENTRIES;
    let [labelled_workloads, annotated_workloads] = names::WARNING_ENTRIES;
    let is_annotated = [annotated, annotated_workloads].contains(&name);
    let operator = if [labelled, labelled_workloads].contains(&name) {
        Some("In")
    } else {
        is_annotated.then_some("NotIn")
    };
    if let Some(operator) = operator {
        let wanted = json!({"key": names::INJECTION_LABEL, "operator": operator, "values": [names::INJECTION_ENABLED]});
        if !has(&wanted) {
            lines.push(
                Line::warning(format!(
                    "{name}: its namespaceSelector lacks {} {operator} [{}]: other {}s are sent than should be",
                    names::INJECTION_LABEL,
                    names::INJECTION_ENABLED,
                    kind_of(name)
                ))
                .remedy(again),
            );
        }
    }
    let excluded =
        json!({"key": names::NAMESPACE_NAME_LABEL, "operator": "NotIn", "values": ["kube-system"]});
    if !has(&excluded) {
        lines.push(
            Line::warning(format!(
                "{name}: its namespaceSelector does not leave out kube-system: the cluster's own objects wait for the webhook"
            ))
            .remedy(again),
        );
    }
    if is_annotated && entry["matchConditions"].as_array().is_none_or(Vec::is_empty) {
        let kind = kind_of(name);
        lines.push(
            Line::warning(format!(
                "{name}: its matchConditions are gone: every {kind} of the cluster is sent to the webhook (an API server before \
                 1.28 drops them)"
            ))
            .remedy(again),
        );
    }
    lines
}

fn order(found: &Found) -> Option<Line> {
    let name = &found.registration_name;
    let others = found.registrations.as_ref().ok()?;
    let late = others.iter().any(|other| other == IDENTITY_WEBHOOK) && name.as_str() > IDENTITY_WEBHOOK;
    late.then(|| {
        Line::warning(format!(
            "{name} is called after {IDENTITY_WEBHOOK}: agents get no cloud identity from it"
        ))
        .remedy(format!(
            "install under a name that sorts before it, such as {}",
            names::WEBHOOK
        ))
    })
}

/// `then` is what the API server does with a webhook that it cannot trust.
fn bundles(registration: &Value, found: &Found, then: &str) -> Vec<Line> {
    let without = |wrong: fn(&str) -> bool| -> Vec<&str> {
        entries(registration)
            .filter(|entry| wrong(entry["clientConfig"]["caBundle"].as_str().unwrap_or_default()))
            .filter_map(|entry| entry["name"].as_str())
            .collect()
    };
    let empty = without(str::is_empty);
    let unreadable =
        without(|bundle| !bundle.is_empty() && super::certificates::of_bundle(bundle).is_empty());
    let installation = &found.installation;
    let who_writes = match installation.mode() {
        Mode::SelfManaged => format!(
            "{}   # the webhook writes it: why does it not?",
            installation.logs()
        ),
        Mode::CertManager => {
            "kubectl get pods -n cert-manager   # cert-manager's cainjector writes it".to_owned()
        }
        Mode::Provided => format!(
            "{}   # with --ca-bundle the webhook writes it",
            installation.logs()
        ),
    };
    let mut lines = Vec::new();
    if !empty.is_empty() {
        let text = format!(
            "the caBundle is empty in {}: the API server cannot trust the webhook, and {then}",
            empty.join(", ")
        );
        lines.push(Line::fault(text, who_writes.clone()));
    }
    if !unreadable.is_empty() {
        let text = format!(
            "the caBundle of {} holds no certificate in PEM form: the API server cannot call the webhook",
            unreadable.join(", ")
        );
        lines.push(Line::fault(text, who_writes));
    }
    lines
}

/// Is anybody there to answer?
fn replicas(found: &Found) -> Line {
    let installation = &found.installation;
    let (namespace, service) = (&installation.namespace, &installation.service);
    let restart = format!(
        "kubectl get pods -n {namespace} -l app.kubernetes.io/name=heapship   # why are they not ready?"
    );
    if let Err(Refusal::Absent) = &found.service {
        return Line::fault(
            format!("there is no Service {service} in {namespace}: the API server has nobody to call"),
            installation.apply(),
        );
    }
    let wanted = installation.deployment.as_ref().ok();
    let wanted = wanted.and_then(|deployment| deployment["spec"]["replicas"].as_u64());
    match &found.ready {
        Err(refusal) => Line::unread(&format!("the replicas behind {service}"), refusal, names::VIEWER_ROLE),
        Ok(0) if wanted == Some(0) => Line::fault(
            "the webhook is scaled to 0: pods are created as they are",
            format!("kubectl scale deployment/{} -n {namespace} --replicas=2", names::WEBHOOK),
        ),
        Ok(0) => Line::fault(
            format!("no replica behind the Service {service} in {namespace} is ready: pods are created as they are"),
            restart,
        ),
        Ok(ready) if wanted.is_some_and(|wanted| *ready < wanted) => Line::warning(format!(
            "{ready} of {} replicas behind the Service {service} are ready",
            wanted.unwrap_or_default()
        ))
        .remedy(restart),
        Ok(1) => Line::warning(format!(
            "one replica only behind the Service {service}: pods that are created while it restarts are missed"
        ))
        .remedy(format!("kubectl scale deployment/{} -n {namespace} --replicas=2", names::WEBHOOK)),
        Ok(ready) => Line::ok(format!("{ready} replicas behind the Service {service} in {namespace} are ready")),
    }
}

fn absent(found: &Found) -> Line {
    let name = &found.registration_name;
    Line::fault(
        format!("there is no MutatingWebhookConfiguration {name}: no pod is injected"),
        format!(
            "{}   # or --registration NAME, if it has another name",
            found.installation.apply()
        ),
    )
}

/// How many endpoints of a Service are ready.
pub(super) fn ready(slices: Read<Vec<Value>>) -> Read<u64> {
    let ready = |endpoint: &&Value| endpoint["conditions"]["ready"] != false;
    slices.map(|slices| {
        let endpoints = slices
            .iter()
            .filter_map(|slice| slice["endpoints"].as_array())
            .flatten();
        u64::try_from(endpoints.filter(ready).count()).unwrap_or(u64::MAX)
    })
}

pub(super) fn entries(registration: &Value) -> impl Iterator<Item = &Value> {
    registration["webhooks"].as_array().into_iter().flatten()
}

fn kind_of(entry: &str) -> &'static str {
    let [_, _, namespaces] = names::WEBHOOK_ENTRIES;
    if entry == namespaces {
        "namespace"
    } else if names::WARNING_ENTRIES.contains(&entry) {
        "workload"
    } else {
        "pod"
    }
}

fn creations(rules: &Value, resource: &str) -> bool {
    let one =
        |rule: &Value, field: &str, wanted: &str| holds(&rule[field], wanted) || holds(&rule[field], "*");
    rules.as_array().is_some_and(|rules| {
        rules
            .iter()
            .any(|rule| one(rule, "operations", "CREATE") && one(rule, "resources", resource))
    })
}

fn holds(list: &Value, wanted: &str) -> bool {
    list.as_array()
        .is_some_and(|list| list.iter().any(|found| found == wanted))
}

/// The same key and operator, and at least the same values.
fn matches(found: &Value, wanted: &Value) -> bool {
    let values = wanted["values"].as_array().into_iter().flatten();
    found["key"] == wanted["key"]
        && found["operator"] == wanted["operator"]
        && values
            .filter_map(Value::as_str)
            .all(|value| holds(&found["values"], value))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("unset")
}
