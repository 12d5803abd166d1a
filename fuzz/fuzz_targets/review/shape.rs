//! Bytes into something like a pod: few random bytes are JSON, and fewer are a pod.

use serde_json::{Map, Number, Value, json};

/// Members that somebody reads, and a few that nobody does.
const KEYS: [&str; 64] = [
    "metadata",
    "annotations",
    "labels",
    "ownerReferences",
    "spec",
    "containers",
    "initContainers",
    "ephemeralContainers",
    "name",
    "image",
    "command",
    "args",
    "env",
    "envFrom",
    "value",
    "valueFrom",
    "configMapRef",
    "secretRef",
    "prefix",
    "configMapKeyRef",
    "secretKeyRef",
    "fieldRef",
    "fieldPath",
    "fileKeyRef",
    "key",
    "optional",
    "volumes",
    "volumeMounts",
    "mountPath",
    "subPath",
    "subPathExpr",
    "readOnly",
    "emptyDir",
    "medium",
    "persistentVolumeClaim",
    "claimName",
    "securityContext",
    "runAsUser",
    "runAsNonRoot",
    "runAsGroup",
    "fsGroup",
    "resources",
    "requests",
    "limits",
    "cpu",
    "memory",
    "lifecycle",
    "preStop",
    "exec",
    "sleep",
    "seconds",
    "httpGet",
    "port",
    "host",
    "livenessProbe",
    "startupProbe",
    "failureThreshold",
    "periodSeconds",
    "terminationGracePeriodSeconds",
    "restartPolicy",
    "nodeSelector",
    "os",
    "workingDir",
    "ofTomorrow",
];

const TEXTS: [&str; 32] = [
    "app",
    "worker",
    "istio-proxy",
    "heapship-agent",
    "heapship-tools",
    "heapship-dumps",
    "/heapship/dumps",
    "/data",
    "/data/x",
    "JAVA_TOOL_OPTIONS",
    "_JAVA_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "JAVA_",
    "$(JAVA_TOOL_OPTIONS)",
    "$(OTHER) $$(X)",
    "OTHER",
    "-Xmx1g",
    "-XX:HeapDumpPath=/data/x",
    "-XX:-HeapDumpOnOutOfMemoryError",
    "-XX:+HeapDumpOnOutOfMemoryError",
    "-Dq='",
    "it's",
    "1Gi",
    "100m",
    "0",
    "Always",
    "Never",
    "heapship.io/inject",
    "heapship.io/on-oom",
    "heapship.io/replaced",
    "heapship.io/status",
    "/heapship/tools/heapship-agent",
];

struct Bytes<'d>(std::slice::Iter<'d, u8>);

impl Bytes<'_> {
    fn next(&mut self) -> usize {
        usize::from(self.0.next().copied().unwrap_or(0))
    }

    fn value(&mut self, depth: usize) -> Value {
        match self.next() % if depth == 0 { 6 } else { 10 } {
            0 => Value::Null,
            1 => json!(self.next() % 2 == 0),
            2 => Value::Number(Number::from(self.next())),
            3..=5 => json!(TEXTS[self.next() % TEXTS.len()]),
            6 | 7 => (0..self.next() % 4).map(|_| self.value(depth - 1)).collect(),
            _ => Value::Object(self.members(depth - 1)),
        }
    }

    fn members(&mut self, depth: usize) -> Map<String, Value> {
        (0..self.next() % 5)
            .map(|_| {
                let key = match self.next() {
                    number if number < 224 => KEYS[number % KEYS.len()],
                    _ => TEXTS[self.next() % TEXTS.len()],
                };
                (key.to_owned(), self.value(depth))
            })
            .collect()
    }

    fn named(&mut self, name: &str) -> Value {
        let mut members = self.members(4);
        members.insert("name".to_owned(), json!(name));
        members.insert("image".to_owned(), json!("registry.example/app:1"));
        Value::Object(members)
    }
}

/// A pod with one or two containers and whatever the bytes say.
pub(crate) fn pod(data: &[u8]) -> Value {
    let mut bytes = Bytes(data.iter());
    let containers: Vec<Value> = ["app", "worker"]
        .iter()
        .take(1 + bytes.next() % 2)
        .map(|name| bytes.named(name))
        .collect();
    let mut spec = bytes.members(5);
    spec.insert("containers".to_owned(), Value::Array(containers));
    json!({"metadata": bytes.members(3), "spec": spec})
}

/// What an answer's patch is written in.
pub(crate) fn base64(text: &str) -> Vec<u8> {
    let digit = |c: u8| match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let text = text.trim_end_matches('=').as_bytes();
    let bits = text.chunks(4).flat_map(|group| {
        let word = group.iter().enumerate().fold(0_u32, |word, (at, c)| {
            word | u32::from(digit(*c)) << (18 - 6 * at)
        });
        word.to_be_bytes()[1..group.len()].to_vec()
    });
    bits.collect()
}
