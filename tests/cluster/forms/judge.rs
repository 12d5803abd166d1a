//! A form with heapship and without it, compared.

use futures_util::future::join_all;
use heapship::inject::Severity;
use heapship::names;
use serde_json::{Value, json};

use super::create::{Created, create};
use super::form::{Category, Expect, Form};
use super::{places, pods};
use crate::bed::Bed;

/// Asks for every form, with heapship and without, and says all that is wrong.
pub async fn judge(bed: &Bed, category: &Category) {
    // Where the namespace opts in, heapship is away only for those who say so.
    let opted_in = category.namespace["annotations"][names::INJECT] == "true";
    let (client, namespace) = (&bed.client, &bed.namespace);
    let judged = category.forms.iter().map(async |form| {
        let with = create(client, &pods(namespace), &form.pod, true).await;
        let without = create(client, &pods(namespace), &unasked(&form.pod, opted_in), true).await;
        let mut faults = compare(form, &without, &with);
        let outcome = category.outcome(&form.pod);
        if form.expect != Expect::Refused && !said(&with, &outcome.warnings()) {
            faults.push(format!(
                "warned {:#?}\nand not {:#?}",
                with.warnings,
                outcome.warnings()
            ));
        }
        let warned = outcome
            .notes
            .iter()
            .filter(|note| note.severity == Severity::Warning);
        let codes: Vec<&str> = warned.map(|note| note.code).collect();
        if form.expect != Expect::Refused && codes != form.warns {
            faults.push(format!("the warnings are {codes:?}"));
        }
        (!faults.is_empty()).then(|| format!("== {}\n{}\n", form.title, faults.join("\n")))
    });
    let faults: Vec<String> = join_all(judged).await.into_iter().flatten().collect();
    assert!(faults.is_empty(), "{} forms\n{}", faults.len(), faults.concat());
}

fn compare(form: &Form, without: &Created, with: &Created) -> Vec<String> {
    let mut faults = Vec::new();
    if with.is_refused() || without.is_refused() {
        let both = with.status == without.status && form.expect == Expect::Refused;
        if !both {
            faults.push(format!(
                "{} with heapship: {}\n{} without: {}",
                with.status, with.object["message"], without.status, without.object["message"]
            ));
        }
        return faults;
    }
    faults.extend(places::faults(&without.object, &with.object));
    if with.object["status"]["qosClass"] != without.object["status"]["qosClass"] {
        faults.push(format!("the class is {} now", with.object["status"]["qosClass"]));
    }
    // Links of a chain hide each other, which is what they are for; the user's own have become links.
    let of_the_chain = |text: &&String| {
        text.contains("hides previous")
            && (text.contains("JAVA_TOOL_OPTIONS") || text.contains(names::ORIGINAL_OPTIONS_PREFIX))
    };
    let foreign = |created: &Created| {
        let others = created.others.iter().filter(|text| !of_the_chain(text));
        others.cloned().collect::<Vec<_>>()
    };
    if foreign(with) != foreign(without) {
        faults.push(format!(
            "warnings of others: {:?} and {:?}",
            foreign(without),
            foreign(with)
        ));
    }
    let status = &with.object["metadata"]["annotations"][names::STATUS];
    let status: Value = status
        .as_str()
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default();
    let expected = match &form.expect {
        Expect::Injected => heapship::inject::carries_injection(&with.object),
        Expect::Skipped(code) if code == "annotations-too-large" => !with.has_agent(),
        Expect::Skipped(code) => !with.has_agent() && status["reason"] == code.as_str(),
        Expect::Untouched => !with.has_agent() && status.is_null(),
        Expect::Refused => false,
    };
    if !expected {
        faults.push(format!("expected {:?}, and its status is {status}", form.expect));
    }
    faults
}

/// Whether these are the warnings that came; the API server cuts long ones.
fn said(created: &Created, expected: &[String]) -> bool {
    let cut = |text: &String| text.chars().take(120).collect::<String>();
    created.warnings.iter().map(cut).eq(expected.iter().map(cut))
}

/// The same pod, and nobody asks for heapship.
pub fn unasked(pod: &Value, opted_in: bool) -> Value {
    let mut pod = pod.clone();
    if let Some(annotations) = pod["metadata"]["annotations"].as_object_mut() {
        annotations.retain(|key, _| !key.starts_with(names::PREFIX));
    }
    if opted_in {
        let mut annotations = pod["metadata"]["annotations"]
            .as_object()
            .cloned()
            .unwrap_or_default();
        annotations.insert(names::INJECT.to_owned(), json!("false"));
        pod["metadata"]["annotations"] = json!(annotations);
    }
    pod
}
