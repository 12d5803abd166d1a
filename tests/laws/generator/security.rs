//! Who a pod and its containers run as. Most are restricted, or the levels above would never be met.

use serde_json::{Value, json};

use crate::random::{Random, maybe};

pub(super) fn of_pod(random: &mut Random, spec: &mut Value) {
    maybe(random, 60, spec, "securityContext", |random| {
        let mut context = random
            .pick(&[
                json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}}),
                json!({"runAsUser": 1000, "runAsGroup": 2000, "runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}}),
                json!({"runAsUser": 1000}),
                json!({"runAsUser": 0}),
                json!({"runAsNonRoot": true}),
                json!({"runAsUser": Value::Null, "seLinuxOptions": {"level": "s0:c1,c2"}}),
                json!({}),
                Value::Null,
            ])
            .clone();
        if context.is_object() {
            maybe(random, 40, &mut context, "fsGroup", |_| json!(2000));
            maybe(random, 5, &mut context, "ofTomorrow", |_| json!({"x": true}));
        }
        context
    });
}

pub(super) fn of_container(random: &mut Random, container: &mut Value) {
    let restricted = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
    maybe(random, 80, container, "securityContext", |random| {
        let mut context = random
            .pick(&[
                restricted.clone(),
                restricted.clone(),
                restricted.clone(),
                restricted,
                json!({"capabilities": {"add": ["NET_ADMIN"]}}),
                json!({"capabilities": {"add": ["CHOWN", "SETUID"]}}),
                json!({"privileged": true}),
                json!({"procMount": "Unmasked"}),
                json!({"seccompProfile": {"type": "Unconfined"}}),
                json!({}),
                Value::Null,
            ])
            .clone();
        if context.is_object() {
            maybe(random, 25, &mut context, "runAsUser", |random| {
                random
                    .pick(&[json!(1000), json!(1001), json!(1001), json!(0), Value::Null])
                    .clone()
            });
            maybe(random, 10, &mut context, "runAsGroup", |random| {
                json!(random.pick(&[0, 1, 2000]))
            });
            maybe(random, 20, &mut context, "runAsNonRoot", |random| {
                json!(random.percent(75))
            });
            maybe(random, 30, &mut context, "readOnlyRootFilesystem", |_| {
                json!(true)
            });
            maybe(random, 6, &mut context, "seLinuxOptions", |random| {
                random
                    .pick(&[json!({"level": "s0:c3,c4"}), json!({"type": "spc_t"})])
                    .clone()
            });
            maybe(
                random,
                4,
                &mut context,
                "appArmorProfile",
                |_| json!({"type": "RuntimeDefault"}),
            );
            maybe(
                random,
                15,
                &mut context,
                "seccompProfile",
                |_| json!({"type": "RuntimeDefault"}),
            );
        }
        context
    });
}

/// As a namespace that enforces the strictest level wants its pods; drawn member by member hardly any would be.
pub(super) fn restrict(spec: &mut Value) {
    let confined = json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}});
    let user = spec["securityContext"]["runAsUser"]
        .as_u64()
        .filter(|user| *user > 0);
    spec["securityContext"] = confined;
    if let Some(user) = user {
        spec["securityContext"]["runAsUser"] = json!(user);
    }
    for list in ["initContainers", "containers"] {
        for container in spec[list].as_array_mut().into_iter().flatten() {
            let user = container["securityContext"]["runAsUser"]
                .as_u64()
                .filter(|user| *user > 0);
            container["securityContext"] =
                json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
            if let Some(user) = user {
                container["securityContext"]["runAsUser"] = json!(user);
            }
        }
    }
}
