//! The commands against a cluster: an API server of a few answers, and the mistakes that people make on the way to it.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use super::Ended;

/// An API server that knows some objects by their paths, forbids some, and writes down what is asked of it.
struct Cluster {
    kubeconfig: PathBuf,
    asked: Arc<Mutex<Vec<String>>>,
    _folder: tempfile::TempDir,
    _runtime: tokio::runtime::Runtime,
}

#[derive(Clone)]
struct Known {
    objects: Arc<BTreeMap<String, Value>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Cluster {
    fn with(objects: &[(&str, Value)]) -> Self {
        let mut known = BTreeMap::from([("/version".to_owned(), json!({"gitVersion": "v1.36.3"}))]);
        known.extend(
            objects
                .iter()
                .map(|(path, object)| ((*path).to_owned(), object.clone())),
        );
        let asked = Arc::new(Mutex::new(Vec::new()));
        let state = Known {
            objects: Arc::new(known),
            asked: Arc::clone(&asked),
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let router = axum::Router::new().fallback(answer).with_state(state);
        runtime.spawn(async move {
            let server = axum_server::from_tcp(listener).unwrap();
            server.serve(router.into_make_service()).await
        });
        let folder = tempfile::tempdir().unwrap();
        Self {
            kubeconfig: kubeconfig(&folder, &format!("http://{address}")),
            asked,
            _folder: folder,
            _runtime: runtime,
        }
    }

    fn heapship(&self, arguments: &[&str]) -> Ended {
        let file = self.kubeconfig.to_str().unwrap();
        super::heapship(&[arguments, &["--kubeconfig", file]].concat(), "")
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

fn kubeconfig(folder: &tempfile::TempDir, server: &str) -> PathBuf {
    let file = folder.path().join("kubeconfig");
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: here\n\
         clusters: [{{name: here, cluster: {{server: '{server}'}}}}]\n\
         users: [{{name: me, user: {{}}}}]\n\
         contexts: [{{name: here, context: {{cluster: here, user: me, namespace: web}}}}]\n"
    );
    std::fs::write(&file, text).unwrap();
    file
}

async fn answer(State(known): State<Known>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let method = request.method().to_string();
    known.asked.lock().unwrap().push(format!("{method} {path}"));
    let status = |code: StatusCode, message: &str| {
        let body = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": message, "reason": "", "code": code.as_u16(),
        });
        (code, [(CONTENT_TYPE, "application/json")], body.to_string()).into_response()
    };
    match known.objects.get(&path) {
        None => status(StatusCode::NOT_FOUND, "not found"),
        Some(Value::Null) => status(
            StatusCode::FORBIDDEN,
            "x is forbidden: User \"me\" cannot get resource \"x\" in API group \"\" in the namespace \"web\"",
        ),
        Some(Value::String(text)) => text.clone().into_response(),
        Some(object) => ([(CONTENT_TYPE, "application/json")], object.to_string()).into_response(),
    }
}

const REGISTRATIONS: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
const NAMESPACE: &str = "/api/v1/namespaces/web";
const PODS: &str = "/api/v1/namespaces/web/pods";

fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "web", "creationTimestamp": "2026-03-01T00:00:00Z"},
        "spec": {"containers": [{"name": "app", "image": "shop:1"}]},
        "status": {"phase": "Running"},
    })
}

fn asking_namespace() -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {
        "name": "web",
        "annotations": {"heapship.io/inject": "true", "heapship.io/destination": "s3://dumps"},
    }})
}

#[test]
fn explain_tells_about_a_live_pod_as_far_as_it_may_read() {
    let path = format!("{PODS}/shop");
    let registration = format!("{REGISTRATIONS}/heapship");
    let cluster = Cluster::with(&[
        (NAMESPACE, asking_namespace()),
        (&path, pod("shop")),
        (&registration, Value::Null),
    ]);
    let explained = cluster.heapship(&["explain", "pod/shop"]);
    assert_eq!(explained.code, 0, "{}", explained.stderr);
    assert!(
        explained
            .stdout
            .starts_with("Pod/shop in namespace web: Running\n  It does NOT carry the injection")
    );
    assert!(
        explained
            .stdout
            .contains("  Who asks: the namespace; no policy applies\n"),
        "{}",
        explained.stdout
    );
    assert_eq!(
        explained.stderr,
        "note: the registration: not permitted: User me may not get x in web\n"
    );
    let json = cluster.heapship(&["explain", "pod/shop", "-o", "json"]);
    let told: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(told["pods"][0]["injection"], "missed");
    assert_eq!(told["notRead"].as_array().unwrap().len(), 1);
}

#[test]
fn explain_tells_about_a_workload_and_its_pods() {
    let cluster = Cluster::with(&[
        (NAMESPACE, asking_namespace()),
        (
            PODS,
            json!({"kind": "PodList", "metadata": {}, "items": [pod("shop-1"), pod("shop-2")]}),
        ),
        (
            "/apis/apps/v1/namespaces/web/deployments/shop",
            json!({
                "metadata": {"name": "shop", "namespace": "web"},
                "spec": {
                    "selector": {"matchLabels": {"app": "shop"}},
                    "template": {"metadata": {"labels": {"app": "shop"}}, "spec": pod("x")["spec"]},
                },
            }),
        ),
    ]);
    let explained = cluster.heapship(&["explain", "deploy/shop"]);
    assert_eq!(explained.code, 0, "{}", explained.stderr);
    for part in [
        "Pod/shop-1 in",
        "Pod/shop-2 in",
        "Deployment/shop in namespace web\n  it is injected",
    ] {
        assert!(explained.stdout.contains(part), "{part}: {}", explained.stdout);
    }
}

#[test]
fn check_has_an_exit_code_for_faults() {
    let list = |items: Value| json!({"metadata": {}, "items": items});
    let empty = Cluster::with(&[
        (REGISTRATIONS, list(json!([]))),
        ("/api/v1/namespaces", list(json!([]))),
        ("/api/v1/pods", list(json!([]))),
    ]);
    let checked = empty.heapship(&["check"]);
    assert_eq!(checked.code, 1, "{}", checked.stderr);
    assert!(
        checked
            .stdout
            .contains("there is no MutatingWebhookConfiguration heapship"),
        "{}",
        checked.stdout
    );
    let json = empty.heapship(&["check", "-o", "json"]);
    let report: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(report["faults"], 1, "{report}");
    let asked = empty.asked();
    let written = asked.iter().filter(|asked| !asked.starts_with("GET "));
    assert!(
        written
            .clone()
            .all(|asked| asked == "POST /api/v1/namespaces/web/pods"),
        "{asked:?}"
    );
}

#[test]
fn deregister_deletes_the_registration_before_the_labels() {
    let registration = format!("{REGISTRATIONS}/heapship");
    let cluster = Cluster::with(&[
        (&registration, json!({"metadata": {}})),
        ("/api/v1/namespaces", json!({"metadata": {}, "items": []})),
    ]);
    let done = cluster.heapship(&["deregister", "--yes"]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert!(
        done.stdout.starts_with(
            "MutatingWebhookConfiguration heapship deleted\n\
             ValidatingWebhookConfiguration heapship is not there\n\
             label heapship.io/injection removed from 0 namespaces\n"
        ),
        "{}",
        done.stdout
    );
    let asked = cluster.asked();
    assert_eq!(asked[1], format!("DELETE {registration}"), "{asked:?}");
    assert_eq!(
        asked[2],
        format!("DELETE {}", registration.replace("mutating", "validating"))
    );
    assert!(
        asked[3..].iter().all(|asked| asked == "GET /api/v1/namespaces"),
        "{asked:?}"
    );
}

#[test]
fn deregister_removes_the_labels_before_it_says_that_it_may_not_delete_what_only_warns() {
    let registration = format!("{REGISTRATIONS}/heapship");
    let warns = registration.replace("mutating", "validating");
    let cluster = Cluster::with(&[
        (&registration, json!({"metadata": {}})),
        (&warns, Value::Null),
        ("/api/v1/namespaces", json!({"metadata": {}, "items": []})),
    ]);
    for form in ["text", "json"] {
        let ended = cluster.heapship(&["deregister", "--yes", "--output", form]);
        assert_eq!(ended.code, 3, "{}", ended.stdout);
        assert!(
            ended
                .stderr
                .starts_with("heapship: cannot delete the ValidatingWebhookConfiguration heapship: ")
                && ended
                    .stderr
                    .ends_with("; ask for the ClusterRole heapship-operator\n"),
            "{}",
            ended.stderr
        );
        let done = match form {
            "json" => "\"registrationDeleted\": true",
            _ => {
                "MutatingWebhookConfiguration heapship deleted\n\
                 label heapship.io/injection removed from 0 namespaces\n"
            }
        };
        assert!(ended.stdout.contains(done), "{}", ended.stdout);
        let asked = cluster.asked();
        assert_eq!(asked.last().unwrap(), "GET /api/v1/namespaces", "{asked:?}");
    }
}

#[test]
fn deregister_gives_up_where_a_label_comes_back_again_and_again() {
    let cluster = Cluster::with(&[
        (
            "/api/v1/namespaces",
            json!({"metadata": {}, "items": [{"metadata": {"name": "web"}}]}),
        ),
        (NAMESPACE, asking_namespace()),
    ]);
    let ended = cluster.heapship(&["deregister", "--yes"]);
    assert_eq!(ended.code, 3);
    assert!(
        ended.stderr.contains("a webhook still runs; scale it down"),
        "{}",
        ended.stderr
    );
}

/// Mistakes that people make: what they typed, the exit code, and the sentence.
#[test]
fn every_mistake_on_the_way_to_a_cluster_gets_one_clear_sentence() {
    let path = format!("{PODS}/secret");
    let cluster = Cluster::with(&[
        (NAMESPACE, asking_namespace()),
        (
            "/api/v1/namespaces",
            json!({"metadata": {}, "items": [{"metadata": {"name": "web"}}, {"metadata": {"name": "prod"}}]}),
        ),
        (
            PODS,
            json!({"metadata": {}, "items": [pod("shop-1"), pod("cart-1")]}),
        ),
        (&path, Value::Null),
    ]);
    for (arguments, code, stderr) in [
        (
            &["explain", "pod/shop-2"][..],
            2,
            "heapship: no Pod/shop-2 in namespace web; there is shop-1, cart-1\n",
        ),
        (
            &["explain", "pod/a", "-n", "pro"],
            2,
            "heapship: no namespace pro; there is prod, web; correct --namespace\n",
        ),
        (
            &["explain", "shop-1"],
            2,
            "heapship: \"shop-1\" is no KIND/NAME: write pod/NAME, deployment/NAME, …, or -f FILE for a manifest\n",
        ),
        (
            &["explain", "service/a"],
            2,
            "heapship: \"service\" is no kind with pods: use pod, deployment, statefulset, daemonset, replicaset, job, cronjob\n",
        ),
        (
            &["explain", "pod/secret"],
            3,
            "heapship: cannot read Pod/secret in web: not permitted: User me may not get x in web; ask for the ClusterRole heapship-viewer\n",
        ),
        (
            &["check", "--context", "prod"],
            2,
            "heapship: no context \"prod\" in the kubeconfig: there is here; correct --context\n",
        ),
        (
            &["check", "--policy", "typo.yaml"],
            2,
            "heapship: typo.yaml: policy default: spec.settings.onOmm is not a setting; did you mean onOom?\n",
        ),
    ] {
        let ended = cluster.heapship(arguments);
        assert_eq!(
            (ended.code, ended.stderr.as_str()),
            (code, stderr),
            "{arguments:?}"
        );
        assert_eq!(ended.stdout, "", "{arguments:?}");
    }
}

#[test]
fn a_cluster_that_is_not_there_is_exit_code_3() {
    let folder = tempfile::tempdir().unwrap();
    // The port is free again when the listener is dropped.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let file = kubeconfig(&folder, &format!("http://{address}"));
    let ended = super::heapship(&["check", "--kubeconfig", file.to_str().unwrap()], "");
    assert_eq!(ended.code, 3);
    assert_eq!(
        ended.stderr,
        format!(
            "heapship: cannot reach the cluster at http://{address}/: Connection refused (os error 111); check the network, or \
             choose another with --context\n"
        )
    );
    let ended = super::heapship(&["check", "--kubeconfig", "nowhere"], "");
    assert_eq!(
        (ended.code, ended.stderr.as_str()),
        (
            2,
            "heapship: cannot use the kubeconfig nowhere: No such file or directory (os error 2); correct --kubeconfig\n"
        )
    );
}
