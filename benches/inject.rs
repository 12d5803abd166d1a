//! The pure core by itself: one pod decided and patched, and how that grows with containers and variables.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use heapship::inject::{Cluster, Context, KubernetesVersion, Namespace, inject};
use heapship::settings::policy::Policies;
use serde_json::{Value, json};

/// A pod as a Deployment's controller creates it; with one container of 40 variables it is about 8 KB.
fn pod(containers: usize, variables: usize) -> Value {
    let variable = |i| json!({"name": format!("SERVICE_SETTING_{i}"), "value": "a value of about the usual length, say fifty bytes"});
    let container = |i| {
        json!({
            "name": format!("app{i}"),
            "image": "registry.example.com/shop/orders:1.17.3",
            "command": ["java", "-jar", "/app/orders.jar"],
            "env": (0..variables).map(variable).chain([json!({"name": "JAVA_TOOL_OPTIONS", "value": "-Xmx1g -XX:+UseG1GC"})]).collect::<Vec<_>>(),
            "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
            "livenessProbe": {"httpGet": {"path": "/live", "port": "http", "scheme": "HTTP"}, "periodSeconds": 10, "timeoutSeconds": 1, "failureThreshold": 3},
            "readinessProbe": {"httpGet": {"path": "/ready", "port": "http", "scheme": "HTTP"}, "periodSeconds": 10, "timeoutSeconds": 1, "failureThreshold": 3},
            "resources": {"requests": {"cpu": "500m", "memory": "1536Mi"}, "limits": {"memory": "1536Mi"}},
            "volumeMounts": [{"name": "kube-api-access", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true}],
            "terminationMessagePath": "/dev/termination-log",
            "terminationMessagePolicy": "File",
            "imagePullPolicy": "IfNotPresent",
        })
    };
    json!({
        "metadata": {
            "generateName": "orders-6d8c7f9b54-",
            "labels": {"app": "orders", "pod-template-hash": "6d8c7f9b54"},
            "annotations": {"heapship.io/inject": "true", "heapship.io/destination": "s3://dumps/production"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "orders-6d8c7f9b54", "uid": "1", "controller": true}],
        },
        "spec": {
            "containers": (0..containers).map(container).collect::<Vec<_>>(),
            "volumes": [{"name": "kube-api-access", "projected": {"sources": [{"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}}]}}],
            "securityContext": {"runAsUser": 10001, "runAsNonRoot": true},
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": 30,
        },
    })
}

fn core(criterion: &mut Criterion) {
    let policies = Policies::default();
    let namespace = Namespace {
        name: "shop".to_owned(),
        ..Namespace::default()
    };
    let cluster = Cluster {
        name: "prod".to_owned(),
        version: KubernetesVersion::NEWEST,
        own_namespace: None,
        env_files: false,
    };
    let context = Context {
        namespace: &namespace,
        policies: &policies,
        cluster: &cluster,
        workload: None,
    };
    let mut group = criterion.benchmark_group("inject");
    for (containers, variables) in [(1, 40), (1, 400), (10, 40)] {
        let pod = pod(containers, variables);
        let name = format!(
            "{containers} containers x {variables} variables, {} bytes",
            pod.to_string().len()
        );
        group.bench_with_input(BenchmarkId::from_parameter(name), &pod, |bencher, pod| {
            bencher.iter(|| inject(pod, &context));
        });
    }
    let whole = inject(&pod(1, 40), &context).pod;
    group.bench_function("a pod that carries the injection", |bencher| {
        bencher.iter(|| inject(&whole, &context));
    });
    let asked = pod(1, 40);
    group.bench_function("the pod's own clone, for comparison", |bencher| {
        bencher.iter(|| asked.clone());
    });
    group.finish();
}

criterion_group!(benches, core);
criterion_main!(benches);
