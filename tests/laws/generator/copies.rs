//! A pod that was injected once and lost something: copied by `kubectl debug`, or passed on by somebody who did not know
//! all of it.

use serde_json::Value;

use crate::case::Case;
use crate::random::Random;

pub(super) fn copy(random: &mut Random, case: &mut Case) {
    let mut pod = case.inject(&case.pod).pod;
    if pod == case.pod {
        return;
    }
    let remove = |pod: &mut Value, list: &str, random: &mut Random| {
        if let Some(elements) = pod["spec"][list]
            .as_array_mut()
            .filter(|elements| !elements.is_empty())
        {
            elements.remove(random.below(elements.len()));
        }
    };
    match random.below(6) {
        0 => {
            let members = pod.as_object_mut().unwrap();
            let metadata = members.get_mut("metadata").unwrap();
            // Who makes such a copy names it anew and keeps what asks for the injection, or nobody would ask.
            let asked = metadata["annotations"].clone();
            *metadata = serde_json::json!({"name": "copy", "annotations": asked});
            if let Some(annotations) = metadata["annotations"].as_object_mut() {
                annotations.remove("heapship.io/status");
                annotations.remove("heapship.io/replaced");
            }
            for container in pod["spec"]["containers"].as_array_mut().into_iter().flatten() {
                for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
                    container.as_object_mut().unwrap().remove(probe);
                }
            }
            pod["spec"]["shareProcessNamespace"] = Value::Bool(true);
        }
        1 => remove(&mut pod, "volumes", random),
        2 => remove(&mut pod, "initContainers", random),
        3 => {
            let container = &mut pod["spec"]["containers"][0];
            if let Some(members) = container.as_object_mut() {
                members.remove(*random.pick(&["env", "volumeMounts", "lifecycle", "livenessProbe"]));
            }
        }
        // A neighbour whose types are older than native sidecars.
        4 => {
            for container in pod["spec"]["initContainers"].as_array_mut().into_iter().flatten() {
                container
                    .as_object_mut()
                    .map(|members| members.shift_remove("restartPolicy"));
            }
        }
        _ => {}
    }
    case.pod = pod;
    case.copy = true;
}
