//! The dump on termination: the hook, and the time for it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::inject::plan::Plan;
use crate::inject::pod::{container_place, spec};
use crate::inject::volumes::memory_limit;
use crate::names::{self, variable};
use crate::quantity::{Bytes, format_duration};
use crate::settings::{Liveness, OnOom, PreStop, PreStopOrder, Settings};

/// The field of a pod's spec, and of a probe.
const GRACE: &str = "terminationGracePeriodSeconds";
/// What the kubelet assumes where a pod says nothing.
const DEFAULT_GRACE: Duration = Duration::from_secs(30);
/// `upload-grace: auto` where nothing restarts: the whole upload happens after the JVM has ended.
const UPLOAD_GRACE_AT_THE_END: Duration = Duration::from_mins(2);
/// A slow JVM's dump, by which pauses are estimated: 220 to 800 MB/s were measured on 8 to 25, half of it with half a
/// CPU.
const DUMP_BYTES_PER_SECOND: u64 = 100_000_000;
/// Assumed for a container without a memory limit.
const UNKNOWN_PAUSE: Duration = Duration::from_mins(5);

/// Grace periods of one pod.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grace {
    /// What the pod had: the application's own share.
    applications: Duration,
    /// What it gets.
    total: Duration,
    /// To ship after the JVM has ended.
    upload: Duration,
}

/// Containers whose hook can be ours: those that get the toolbox.
pub(super) fn containers(plan: &mut Plan<'_>) -> Vec<String> {
    if plan.settings.pre_stop == PreStop::Off {
        return Vec::new();
    }
    let mut wrapped = Vec::new();
    for target in plan.targets.clone() {
        // As it was sent: a hook that is ours already is told by its program.
        let Some(container) = container_place(plan.pod, &target.name).and_then(|place| place.of(plan.pod))
        else {
            continue;
        };
        if target.init && container["restartPolicy"] != "Always" {
            let said = format!(
                "container {}: an init container has no preStop hook; no dump on termination",
                target.name
            );
            plan.warn("pre-stop-init-container", said);
            continue;
        }
        match own_hook(container) {
            Ok(_) => wrapped.push(target.name),
            Err(why) => {
                let said = format!(
                    "container {}: its preStop hook {why} and stays as it is; no dump on termination",
                    target.name
                );
                plan.warn("pre-stop-unwrapped", said);
            }
        }
    }
    wrapped
}

/// Wraps the hooks of `containers` and gives the pod the time that dumps and uploads need.
pub(super) fn add(plan: &mut Plan<'_>, containers: &[String]) {
    let grace = grace(plan, !containers.is_empty());
    for container in containers {
        wrap(plan, container, grace);
    }
    raise_grace(plan, grace);
    if !containers.is_empty() {
        warn_of_little_time(plan, containers, grace);
    }
    liveness(plan);
}

/// The hook starts no dump that does not fit beside the application's share and the upload: that would be never.
fn warn_of_little_time(plan: &mut Plan<'_>, containers: &[String], grace: Grace) {
    let limits = containers
        .iter()
        .filter_map(|container| memory_limit(plan.pod, container));
    let largest = limits
        .map(|Bytes(limit)| limit.div_ceil(DUMP_BYTES_PER_SECOND))
        .max()
        .unwrap_or(1);
    let others = grace
        .applications
        .saturating_add(grace.upload)
        .saturating_add(plan.settings.pre_stop_delay);
    let left = grace.total.saturating_sub(others);
    if left < Duration::from_secs(largest.max(1)) {
        let said = format!(
            "of a grace period of {}, {} are the application's and {} are for the upload: {} are left for a dump that may take \
             {largest}s",
            format_duration(grace.total),
            format_duration(grace.applications),
            format_duration(grace.upload),
            format_duration(left),
        );
        plan.warn("grace-too-short", said);
    }
}

/// What is already there of a container's hook.
enum Own {
    /// Nothing, or a hook that is ours already.
    None,
    Ours,
    Exec(Vec<Value>),
    Sleep(Duration),
    HttpGet(Value),
}

fn own_hook(container: &Value) -> Result<Own, &'static str> {
    let hook = &container["lifecycle"]["preStop"];
    let empty = hook
        .as_object()
        .is_none_or(|hook| hook.values().all(Value::is_null));
    if empty {
        return Ok(Own::None);
    }
    if let Some(command) = hook["exec"]["command"].as_array() {
        let ours = command
            .first()
            .is_some_and(|program| program == names::AGENT_IN_TOOLS)
            && command.get(1).is_some_and(|word| word == "pre-stop");
        return Ok(if ours {
            Own::Ours
        } else {
            Own::Exec(command.clone())
        });
    }
    if hook["exec"].is_object() {
        return Ok(Own::None);
    }
    if let Some(seconds) = hook["sleep"]["seconds"].as_u64() {
        return Ok(Own::Sleep(Duration::from_secs(seconds)));
    }
    if hook["httpGet"].is_object() {
        return http_get(container, &hook["httpGet"]).map(Own::HttpGet);
    }
    Err("is of a kind that cannot be carried out from inside the container")
}

/// The request with its port as a number, as the kubelet would look it up.
fn http_get(container: &Value, get: &Value) -> Result<Value, &'static str> {
    if get["host"].as_str().is_some_and(|host| !host.is_empty()) {
        // Pod Security looks at the host of a hook: wrapped, it would slip through.
        return Err("calls another host");
    }
    let port = match &get["port"] {
        Value::Number(number) => number.as_u64(),
        Value::String(text) if text.is_empty() => Some(80),
        Value::String(text) => text.parse().ok().or_else(|| {
            let ports = container["ports"].as_array()?;
            ports.iter().find(|port| port["name"] == text.as_str())?["containerPort"].as_u64()
        }),
        _ => Some(80),
    };
    let mut get = get.clone();
    get["port"] = json!(
        port.filter(|port| (1..=65535).contains(port))
            .ok_or("names a port that the container has not")?
    );
    Ok(get)
}

fn wrap(plan: &mut Plan<'_>, container: &str, grace: Grace) {
    let Some(place) = container_place(plan.pod, container) else {
        return;
    };
    let Some(Ok(own)) = place.of(plan.pod).map(own_hook) else {
        return;
    };
    let Settings {
        pre_stop,
        pre_stop_order,
        pre_stop_delay,
        ..
    } = plan.settings;
    let kind = match pre_stop {
        PreStop::Off => return,
        PreStop::Live => "live",
        PreStop::All => "all",
    };
    let dump_first = match (pre_stop_order, &own) {
        (PreStopOrder::After, _) | (PreStopOrder::Auto, Own::Sleep(_)) => false,
        (PreStopOrder::Before | PreStopOrder::Auto, _) => true,
    };
    let mut command = vec![
        json!(names::AGENT_IN_TOOLS),
        json!("pre-stop"),
        json!("--dump"),
        json!(kind),
        json!("--dir"),
        json!(names::DUMPS_PATH),
        json!("--grace"),
        json!(format_duration(grace.total)),
        json!("--application-share"),
        json!(format_duration(grace.applications)),
        json!("--upload-grace"),
        json!(format_duration(grace.upload)),
    ];
    if !pre_stop_delay.is_zero() {
        command.extend([json!("--delay"), json!(format_duration(*pre_stop_delay))]);
    }
    let order = |command: &mut Vec<Value>| {
        command.extend([
            json!("--order"),
            json!(if dump_first { "before" } else { "after" }),
        ]);
    };
    let place_of_dump = if dump_first { "before" } else { "after" };
    match own {
        Own::Ours => return,
        Own::None => {
            plan.step(
                "pre-stop",
                format!("container {container}: preStop takes a heap dump ({kind} objects)"),
            );
        }
        Own::Exec(argv) => {
            order(&mut command);
            command.push(json!("--"));
            command.extend(argv);
            plan.step("pre-stop", format!("container {container}: heap dump ({kind} objects) {place_of_dump} its own preStop command"));
        }
        Own::Sleep(duration) => {
            order(&mut command);
            command.extend([json!("--sleep"), json!(format_duration(duration))]);
            plan.step(
                "pre-stop",
                format!(
                    "container {container}: heap dump ({kind} objects) {place_of_dump} its own preStop sleep"
                ),
            );
        }
        Own::HttpGet(get) => {
            order(&mut command);
            command.extend([json!("--http-get"), json!(get.to_string())]);
            plan.downward_variable(container, variable::POD_IP, "status.podIP");
            plan.step("pre-stop", format!("container {container}: heap dump ({kind} objects) {place_of_dump} its own preStop request"));
        }
    }
    let lifecycle = place.key("lifecycle");
    plan.note_if_empty(&lifecycle, &format!("{container}.lifecycle"));
    if let Some(original) = lifecycle.key("preStop").of(plan.draft.document()).cloned() {
        plan.replaced.container(container).pre_stop = Some(original);
    }
    plan.draft
        .set(&lifecycle, "preStop", json!({"exec": {"command": command}}));
}

/// The times, the same on a pod that was raised before.
fn grace(plan: &Plan<'_>, pre_stop: bool) -> Grace {
    let stated = plan.pod["spec"][GRACE].as_u64();
    let current = stated.map_or(DEFAULT_GRACE, Duration::from_secs);
    let applications = match &plan.replaced.termination_grace_period_seconds {
        Some(original) => original.as_u64().map_or(DEFAULT_GRACE, Duration::from_secs),
        None => current,
    };
    // A Job's pods restart never or on failure; so do all whose end is not the beginning of the next.
    let ends = matches!(
        plan.pod["spec"]["restartPolicy"].as_str(),
        Some("Never" | "OnFailure")
    );
    let upload = match plan.settings.upload_grace {
        Some(upload) => upload,
        None if ends => UPLOAD_GRACE_AT_THE_END,
        None => applications,
    };
    let mut total = current;
    if pre_stop {
        total = total.max(plan.settings.termination_grace_period);
    }
    if plan.settings.agent {
        total = total.max(upload);
    }
    Grace {
        applications,
        total,
        upload,
    }
}

fn raise_grace(plan: &mut Plan<'_>, grace: Grace) {
    let seconds = plan.pod["spec"][GRACE].clone();
    let current = seconds.as_u64().map_or(DEFAULT_GRACE, Duration::from_secs);
    let raise = grace.total > current;
    if !raise && plan.replaced.termination_grace_period_seconds.is_none() {
        return;
    }
    let noted = plan
        .replaced
        .termination_grace_period_seconds
        .get_or_insert(seconds);
    let before = noted.as_u64().unwrap_or(DEFAULT_GRACE.as_secs());
    if raise {
        plan.note_if_empty(&spec().key(GRACE), GRACE);
        plan.draft.set(&spec(), GRACE, json!(grace.total.as_secs()));
        plan.step(
            "grace-raised",
            format!("grace period raised from {before}s to {}s", grace.total.as_secs()),
        );
    }
    // A hung process must still be killed as fast as before, also in a container that came after the grace was raised.
    for list in ["initContainers", "containers"] {
        let list = spec().key(list);
        for index in 0..list.array(plan.draft.document()).len() {
            let place = list.at(index);
            let Some(name) = place
                .key("name")
                .of(plan.draft.document())
                .and_then(Value::as_str)
                .map(str::to_owned)
            else {
                continue;
            };
            for probe in ["livenessProbe", "startupProbe"] {
                let probe_place = place.key(probe);
                let Some(found) = probe_place
                    .of(plan.draft.document())
                    .filter(|probe| probe.is_object())
                else {
                    continue;
                };
                if found[GRACE].is_null() {
                    plan.note_if_empty(&probe_place.key(GRACE), &format!("{name}.{probe}.{GRACE}"));
                    // A probe's own is at least 1.
                    plan.draft.set(&probe_place, GRACE, json!(before.max(1)));
                    plan.replaced.container(&name).probes.push(probe.to_owned());
                }
            }
        }
    }
}

/// A JVM answers nothing while it dumps: its liveness probe must outlast that, or the dump is cut off.
fn liveness(plan: &mut Plan<'_>) {
    if plan.settings.on_oom == OnOom::Off {
        return;
    }
    for target in plan.targets.clone() {
        let Some(place) = container_place(plan.draft.document(), &target.name) else {
            continue;
        };
        let probe_place = place.key("livenessProbe");
        let Some(probe) = probe_place
            .of(plan.draft.document())
            .filter(|probe| probe.is_object())
        else {
            continue;
        };
        let number = |key: &str, default: u64| probe[key].as_u64().filter(|&n| n > 0).unwrap_or(default);
        let (period, timeout, threshold) = (
            number("periodSeconds", 10),
            number("timeoutSeconds", 1),
            number("failureThreshold", 3),
        );
        let limit = memory_limit(plan.pod, &target.name);
        let pause = limit.map(|Bytes(limit)| limit.div_ceil(DUMP_BYTES_PER_SECOND));
        let survives = threshold.saturating_mul(period).saturating_add(timeout);
        match plan.settings.liveness {
            Liveness::Keep => {
                let noted = plan
                    .replaced
                    .containers
                    .get(&target.name)
                    .is_some_and(|c| c.failure_threshold.is_some());
                if let Some(pause) = pause.filter(|pause| *pause > survives && !noted) {
                    let said = format!(
                        "container {}: its liveness probe kills it after {survives}s, a dump may take {pause}s; set \
                         heapship.io/liveness to extend",
                        target.name
                    );
                    plan.warn("liveness-too-short", said);
                }
            }
            Liveness::Extend => {
                let needed = pause.unwrap_or(UNKNOWN_PAUSE.as_secs());
                let raised = needed
                    .saturating_sub(timeout)
                    .div_ceil(period)
                    .clamp(1, i32::MAX.unsigned_abs().into());
                if raised > threshold {
                    let original = probe["failureThreshold"].clone();
                    let replaced = plan.replaced.container(&target.name);
                    replaced.failure_threshold.get_or_insert(original);
                    let label = format!("{}.failureThreshold", target.name);
                    plan.note_if_empty(&probe_place.key("failureThreshold"), &label);
                    plan.draft.set(&probe_place, "failureThreshold", json!(raised));
                    plan.step(
                        "liveness-extended",
                        format!(
                            "container {}: liveness failureThreshold raised from {threshold} to {raised}",
                            target.name
                        ),
                    );
                }
            }
        }
    }
}
