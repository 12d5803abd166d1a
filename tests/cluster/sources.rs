//! Every source of `JAVA_TOOL_OPTIONS`: a JVM that stays is asked by `jcmd`, in its own container, what it was given and what
//! holds.

#![allow(unreachable_pub, reason = "of one binary")]

use futures_util::future::join_all;
use kube::api::{AttachParams, DeleteParams};
use tokio::io::AsyncReadExt as _;

use crate::bed::{Bed, installed};
use crate::forms::evidence::Evidence;
use crate::forms::form::{Category, Form};
use crate::forms::judge::judge;
use crate::forms::{AT_ONCE, place, really, started};

#[tokio::test]
async fn options_of_every_source_reach_the_jvm() {
    let category = Category::read("sources");
    let bed = place("sources", &category).await;
    judge(&bed, &category).await;
    let count = started(&category).len();
    installed::report(&format!(
        "sources: {} forms of pods, {count} of them asked by jcmd",
        category.forms.len()
    ));
    let staying: Vec<Form> = category
        .forms
        .into_iter()
        .filter(|form| form.starts)
        .map(Form::staying)
        .collect();
    let mut faults = Vec::new();
    for some in staying.chunks(AT_ONCE) {
        for form in some {
            really(&bed, form).await;
        }
        let asked = join_all(some.iter().map(|form| asked(&bed, form))).await;
        for (form, evidence) in some.iter().zip(asked) {
            let found = evidence.faults(form, "app");
            if !found.is_empty() {
                faults.push(format!("== {}\n{}\n", form.title, found.join("\n")));
            }
            drop(
                bed.pods()
                    .delete(&form.name(), &DeleteParams::default().grace_period(0))
                    .await,
            );
        }
    }
    assert!(faults.is_empty(), "{}", faults.concat());
}

async fn asked(bed: &Bed, form: &Form) -> Evidence {
    let name = form.name();
    bed.eventually(&format!("{name} answers jcmd"), async || {
        // One call for both: it is a JVM itself.
        let text = exec(
            bed,
            &name,
            &["/opt/java/bin/jcmd", "1", "VM.flags\nVM.command_line"],
        )
        .await?;
        Evidence::of_jcmd(&text)
    })
    .await
}

/// What a command in the application's container prints; nothing while it cannot be run.
async fn exec(bed: &Bed, pod: &str, command: &[&str]) -> Option<String> {
    let parameters = AttachParams::default().container("app").stderr(false);
    let mut process = bed
        .pods()
        .exec(pod, command.iter().copied(), &parameters)
        .await
        .ok()?;
    let mut text = String::new();
    process.stdout()?.read_to_string(&mut text).await.ok()?;
    Some(text)
}
