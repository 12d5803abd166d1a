//! Variables: literals, references, every kind of source, duplicates.

use serde_json::{Value, json};

use super::of_tomorrow;
use crate::random::Random;

const NAMES: [&str; 16] = [
    "JAVA_TOOL_OPTIONS",
    "JAVA_TOOL_OPTIONS",
    "JAVA_TOOL_OPTIONS",
    "JAVA_TOOL_OPTIONS",
    "JAVA_TOOL_OPTIONS",
    "_JAVA_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "JAVA_OPTS",
    "ES_JAVA_OPTS",
    "OTHER",
    "OTHER",
    "POD_NAME",
    "POD_NAME",
    "LIMIT",
    "dotted.name",
    "AWS_ROLE_ARN",
];

/// What people write into such variables.
const LITERALS: [&str; 30] = [
    "",
    "-Xmx1g",
    "-Xmx1g -Xms1g -Dfile.encoding=UTF-8",
    "  -Xmx1g\t ",
    "-Da=1\n-Db=2\n",
    "-Dname='a b' -Dq=\"'\"",
    "-Dpath=/a\\ b",
    "-XX:+HeapDumpOnOutOfMemoryError",
    "-XX:+HeapDumpOnOutOfMemoryError -Xmx2g",
    "-XX:-HeapDumpOnOutOfMemoryError",
    "-XX:-HeapDumpOnOutOfMemoryError -XX:+HeapDumpOnOutOfMemoryError",
    "-XX:HeapDumpPath=/data/x.hprof",
    "-XX:HeapDumpPath=/data",
    "-XX:HeapDumpPath=/nowhere -XX:HeapDumpPath=/tmp",
    "-XX:HeapDumpPath=\"/data/with a blank\"",
    "-XX:HeapDumpPath=relative.hprof",
    "-XX:HeapDumpPath=/data/$(POD_NAME).hprof",
    "-XX:HeapDumpPath=/heapship/dumps",
    "-XX:+HeapDumpOnOutOfMemoryError -XX:HeapDumpPath=/heapship/dumps",
    "-XX:HeapDumpPath=",
    "-XX:+ExitOnOutOfMemoryError",
    "-XX:+StartAttachListener -XX:+DisableAttachMechanism",
    "-XX:+DisableAttachMechanism",
    "$(OTHER)",
    "-Dname=$(POD_NAME) $$(X) $",
    "$(JAVA_TOOL_OPTIONS) -Dagain=1",
    "$(UNKNOWN)",
    "-javaagent:/otel/agent.jar",
    "-Dschluessel=\u{fc}\u{1f600}",
    "plain text",
];

pub(super) fn of_container(random: &mut Random, container: &mut Value, clean: bool) {
    match random.below(20) {
        0 => container["env"] = json!([]),
        1 => container["env"] = Value::Null,
        2..=5 => {}
        6 => {
            let many = 20 + random.below(60);
            let mut entries = entries(random, 3, clean);
            for number in 0..many {
                let at = random.below(entries.len() + 1);
                entries.insert(
                    at,
                    json!({"name": format!("V{number}"), "value": format!("$(V{})", number / 2)}),
                );
            }
            container["env"] = json!(entries);
        }
        _ => {
            let most = 1 + random.below(6);
            container["env"] = json!(entries(random, most, clean));
        }
    }
    match random.below(10) {
        0 => container["envFrom"] = json!([]),
        1..=3 => {
            let sources: Vec<Value> = (0..=random.below(3)).map(|_| source_of_many(random)).collect();
            container["envFrom"] = json!(sources);
        }
        _ => {}
    }
}

fn entries(random: &mut Random, most: usize, clean: bool) -> Vec<Value> {
    (0..most).map(|_| entry(random, clean)).collect()
}

fn entry(random: &mut Random, clean: bool) -> Value {
    let name = *random.pick(&NAMES);
    match random.below(20) {
        0 => json!({"name": name}),
        1 => json!({"name": name, "value": Value::Null}),
        2 => json!({"name": name, "value": "-Xmx1g", "ofTomorrow": of_tomorrow(random)}),
        3..=8 => json!({"name": name, "valueFrom": source(random)}),
        9 => json!({"name": name, "value": long(random)}),
        // The JVM would not start with it, so it is rare.
        10 | 11 if !clean => json!({"name": name, "value": random.pick(&["-Dopen='", "it's"])}),
        _ => json!({"name": name, "value": random.pick(&LITERALS)}),
    }
}

/// Around the limits of JDK 8.
fn long(random: &mut Random) -> String {
    match random.below(3) {
        0 => format!("-Dlong={}", "x".repeat(880 + random.below(180))),
        1 => vec!["-Xint"; 58 + random.below(9)].join(" "),
        _ => format!("-Dlong={} $(OTHER)", "y".repeat(880 + random.below(160))),
    }
}

fn source(random: &mut Random) -> Value {
    let name = *random.pick(&["config", "settings"]);
    let key = *random.pick(&["JAVA_TOOL_OPTIONS", "options"]);
    let kind = *random.pick(&[
        "configMapKeyRef",
        "secretKeyRef",
        "configMapKeyRef",
        "secretKeyRef",
        "fieldRef",
        "resourceFieldRef",
        "fileKeyRef",
        "ofTomorrow",
    ]);
    let mut reference = match kind {
        "fieldRef" => {
            return json!({kind: {"fieldPath": random.pick(&["metadata.name", "metadata.annotations['options']", "status.podIP"])}});
        }
        "resourceFieldRef" => return json!({kind: {"resource": "limits.memory"}}),
        "fileKeyRef" => json!({"volumeName": "data", "path": "environment", "key": key}),
        "ofTomorrow" => json!({"x": name}),
        _ => json!({"name": name, "key": key}),
    };
    match random.below(5) {
        0 | 1 => reference["optional"] = json!(true),
        2 => reference["optional"] = json!(false),
        _ => {}
    }
    json!({kind: reference})
}

fn source_of_many(random: &mut Random) -> Value {
    let kind = if random.one_in(25) {
        "ofTomorrowRef"
    } else {
        *random.pick(&["configMapRef", "secretRef"])
    };
    let mut reference = json!({"name": random.pick(&["config", "settings"])});
    match random.below(4) {
        0 => reference["optional"] = json!(true),
        1 => reference["optional"] = json!(false),
        _ => {}
    }
    let mut source = json!({kind: reference});
    match random.below(8) {
        0 => source["prefix"] = json!("JAVA_"),
        1 => source["prefix"] = json!("X_"),
        2 => source["prefix"] = json!(""),
        3 => source["prefix"] = json!("JAVA_TOOL_OPTIONS"),
        _ => {}
    }
    source
}
