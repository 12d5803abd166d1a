//! Creations of annotated pods at a steady rate, as dry runs: the API server does all of it but keep the pod.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::PostParams;
use serde_json::json;
use tokio::task::{JoinHandle, JoinSet};

use super::{Bed, kubectl};

/// Entry and number of calls that failed open since the API server began.
pub fn failed_open() -> f64 {
    kubectl::run(&["get", "--raw", "/metrics"])
        .lines()
        .filter(|line| {
            line.starts_with("apiserver_admission_webhook_fail_open_count{") && line.contains("heapship.io")
        })
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

/// What became of the creations.
#[derive(Debug, Default)]
pub struct Counts {
    pub injected: AtomicUsize,
    pub missed: AtomicUsize,
    pub failed: AtomicUsize,
}

/// Creations that go on in the background.
pub struct Load {
    counts: Arc<Counts>,
    stopped: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Load {
    /// Begins with `total` creations, `per_second` of them a second.
    pub fn begin(bed: &Bed, per_second: u32, total: usize) -> Self {
        let pods: Api<Pod> = bed.pods();
        let counts = Arc::new(Counts::default());
        let stopped = Arc::new(AtomicBool::new(false));
        let creations = create(pods, Arc::clone(&counts), Arc::clone(&stopped), per_second, total);
        Self {
            counts,
            stopped,
            task: tokio::spawn(creations),
        }
    }

    /// No more of them, before the total is reached.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
    }

    pub fn is_over(&self) -> bool {
        self.task.is_finished()
    }

    /// Waits for the last answer.
    pub async fn finish(self) -> Arc<Counts> {
        self.task.await.unwrap();
        self.counts
    }
}

async fn create(
    pods: Api<Pod>,
    counts: Arc<Counts>,
    stopped: Arc<AtomicBool>,
    per_second: u32,
    total: usize,
) {
    let mut clock = tokio::time::interval(Duration::from_secs(1) / per_second);
    let mut running = JoinSet::new();
    for number in 0..total {
        clock.tick().await;
        if stopped.load(Ordering::SeqCst) {
            break;
        }
        let (pods, counts) = (pods.clone(), Arc::clone(&counts));
        running.spawn(async move {
            let parameters = PostParams {
                dry_run: true,
                ..PostParams::default()
            };
            let counter = match pods.create(&parameters, &pod(number)).await {
                Ok(pod) if is_injected(&pod) => &counts.injected,
                Ok(_) => &counts.missed,
                Err(error) => {
                    println!("creation {number} failed: {error}");
                    &counts.failed
                }
            };
            counter.fetch_add(1, Ordering::SeqCst);
        });
    }
    running.join_all().await;
}

fn pod(number: usize) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": format!("load-{number}"), "annotations": {"heapship.io/inject": "true"}},
        "spec": {"containers": [{"name": "app", "image": "localhost/heapship-test/jvm-17:1"}]},
    }))
    .unwrap()
}

/// Whether the webhook has had its say, and the agent is there.
pub fn is_injected(pod: &Pod) -> bool {
    let containers = pod.spec.as_ref().and_then(|spec| spec.init_containers.as_ref());
    containers
        .into_iter()
        .flatten()
        .any(|container| container.name == "heapship-agent")
}
