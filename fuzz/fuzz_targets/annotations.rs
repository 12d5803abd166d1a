//! Any annotations on a pod and its namespace, below any policy: decided within the policy's bounds, printed as they are
//! read, and the pod is injected once or left alone with a reason.

#![no_main]

use heapship::inject::{
    Cluster, Context, Decision, KubernetesVersion, Namespace, Severity, inject, uninject,
};
use heapship::key::KeyTemplate;
use heapship::settings::annotations::Key;
use heapship::settings::policy::Policies;
use heapship::settings::{Annotations, Layers, Volume, resolve};
use libfuzzer_sys::fuzz_target;
use serde_json::json;

/// Lines `key=value`: a key's number in [`Key::ALL`], or its whole name; one behind `@` is the namespace's.
fn annotations(text: &str) -> (Annotations, Annotations) {
    let (mut pod, mut namespace) = (Annotations::new(), Annotations::new());
    for (key, value) in text.lines().filter_map(|line| line.split_once('=')) {
        let (whose, key) = match key.strip_prefix('@') {
            Some(key) => (&mut namespace, key),
            None => (&mut pod, key),
        };
        let known = key.parse().ok().and_then(|number: usize| Key::ALL.get(number));
        let key = known.map_or_else(|| format!("heapship.io/{key}"), ToString::to_string);
        // What only the webhook writes is another text to read: the review's target covers it.
        if !["heapship.io/status", "heapship.io/replaced"].contains(&key.as_str()) {
            whose.insert(key, value.to_owned());
        }
    }
    (pod, namespace)
}

fuzz_target!(|text: &str| {
    let (settings, policy) = text.split_once("\n---\n").unwrap_or((text, ""));
    let policies = match Policies::from_yaml(policy) {
        Ok(policies) => policies,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            Policies::default()
        }
    };
    let (pod, namespace) = annotations(settings);
    let none = Annotations::new();
    let policy = policies.select("web", &none, &none);
    let resolved = resolve(&Layers {
        policy,
        namespace: &namespace,
        pod: &pod,
    });
    if let Ok(settings) = &resolved.settings {
        if let Some(destination) = &settings.destination {
            assert_eq!(destination.to_string().parse().as_ref(), Ok(destination));
        }
        let template = settings.key_template.to_string();
        assert_eq!(KeyTemplate::parse(&template).as_ref(), Ok(&settings.key_template));
        if let Some(policy) = policy {
            // The policy's own values are not held within its limits: those are for annotations.
            let theirs = |key| !policy.settings.contains_key(&key);
            let within = |most: Option<u32>, value: u32| most.is_none_or(|most| value <= most);
            assert!(
                !theirs(Key::MaxDumps)
                    || policy.limits.max_dumps == Some(0)
                    || within(policy.limits.max_dumps, settings.max_dumps)
            );
            let most = policy.limits.volume_size;
            match &settings.volume {
                Volume::EmptyDir {
                    size_limit: Some(size),
                }
                | Volume::Ephemeral { size, .. }
                    if theirs(Key::Volume) =>
                {
                    assert!(most.is_none_or(|most| *size <= most));
                }
                _ => {}
            }
        }
    }

    let namespace = Namespace {
        name: "web".to_owned(),
        labels: Annotations::new(),
        annotations: namespace,
    };
    let cluster = Cluster {
        name: "fuzz".to_owned(),
        version: KubernetesVersion::NEWEST,
        own_namespace: None,
    };
    let context = Context {
        namespace: &namespace,
        policies: &policies,
        cluster: &cluster,
        workload: None,
    };
    let bare = json!({"metadata": {"name": "a", "annotations": pod}, "spec": {
        "containers": [{"name": "app", "image": "i", "env": [{"name": "JAVA_TOOL_OPTIONS", "value": "-Xmx1g"}]}],
    }});
    let first = inject(&bare, &context);
    let second = inject(&first.pod, &context);
    assert!(second.patch.0.is_empty(), "{}", json!(second.patch));
    assert_eq!(second.decision, first.decision);
    assert_eq!(second.warnings(), first.warnings());
    assert_eq!(uninject(&first.pod), bare);
    match &first.decision {
        Decision::Injected => assert!(first.notes.iter().any(|note| note.severity == Severity::Step)),
        Decision::Skipped(skip) => {
            assert_ne!(skip.label(), "internal-error", "{skip}");
            assert!(!skip.to_string().is_empty());
            assert_eq!(first.pod["spec"], bare["spec"]);
        }
        Decision::NotAsked => assert_eq!(first.pod, bare),
    }
});
