//! Hooks and probes, and the ports that they name.

use serde_json::{Value, json};

use crate::random::{Random, maybe};

pub(super) fn of_container(random: &mut Random, container: &mut Value) {
    maybe(random, 30, container, "ports", |random| {
        random
            .pick(&[
                json!([{"name": "web", "containerPort": 8080}]),
                json!([{"containerPort": 8080}, {"name": "admin", "containerPort": 9090, "protocol": "TCP"}]),
                json!([]),
            ])
            .clone()
    });
    maybe(random, 45, container, "lifecycle", lifecycle);
    maybe(random, 45, container, "livenessProbe", probe);
    maybe(random, 25, container, "startupProbe", probe);
    maybe(
        random,
        15,
        container,
        "readinessProbe",
        |_| json!({"tcpSocket": {"port": 8080}}),
    );
}

fn lifecycle(random: &mut Random) -> Value {
    let hooks = [
        json!({"exec": {"command": ["sh", "-c", "sleep 5; echo $(HOSTNAME) $$"]}}),
        json!({"exec": {"command": ["/bye", "--", "-x"]}}),
        json!({"exec": {}}),
        json!({"sleep": {"seconds": 5}}),
        json!({"sleep": {"seconds": 0}}),
        json!({"httpGet": {"port": 8080, "path": "/bye"}}),
        json!({"httpGet": {"port": "web", "path": "/bye", "httpHeaders": [{"name": "A", "value": "it's"}]}}),
        json!({"httpGet": {"port": "nobody-has-it"}}),
        json!({"httpGet": {"port": 80, "host": "elsewhere.example"}}),
        json!({"httpGet": {"port": 8443, "host": "", "scheme": "HTTPS"}}),
        json!({"tcpSocket": {"port": 8080}}),
        json!({"ofTomorrow": {"x": 1}}),
        json!({}),
        Value::Null,
    ];
    let hook = random.pick(&hooks).clone();
    match random.below(6) {
        0 => json!({}),
        1 => Value::Null,
        2 => json!({"postStart": {"exec": {"command": ["hello"]}}}),
        3 => json!({"postStart": {"exec": {"command": ["hello"]}}, "preStop": hook, "stopSignal": "SIGTERM"}),
        _ => json!({"preStop": hook}),
    }
}

fn probe(random: &mut Random) -> Value {
    let mut probe = random
        .pick(&[
            json!({"tcpSocket": {"port": 8080}}),
            json!({"httpGet": {"port": "web", "path": "/live"}}),
            json!({"exec": {"command": ["true"]}}),
        ])
        .clone();
    maybe(
        random,
        30,
        &mut probe,
        "terminationGracePeriodSeconds",
        |random| {
            random
                .pick(&[json!(1), json!(3), json!(120), Value::Null])
                .clone()
        },
    );
    maybe(random, 40, &mut probe, "failureThreshold", |random| {
        random
            .pick(&[json!(1), json!(2), json!(100_000), Value::Null])
            .clone()
    });
    maybe(random, 30, &mut probe, "periodSeconds", |random| {
        json!(random.pick(&[1, 10, 60]))
    });
    maybe(random, 20, &mut probe, "timeoutSeconds", |random| {
        json!(random.pick(&[1, 30]))
    });
    probe
}
