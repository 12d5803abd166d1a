use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use super::*;
use crate::inject::KubernetesVersion;

mod api;

use api::{ApiServer, Call, Watching, namespace};

const POD_TEMPLATES: &str = "POST /api/v1/namespaces/default/podtemplates";
const NAMESPACES: &str = "GET /api/v1/namespaces?";
const OURS: &str = "heapship.io/inject";

struct Scene {
    server: ApiServer,
    client: Client,
    metrics: Arc<Metrics>,
    memory: Arc<Memory>,
}

impl Scene {
    fn begin() -> Self {
        let (client, server) = ApiServer::start();
        let metrics = Arc::new(Metrics::default());
        let memory = Arc::new(Memory::new(client.clone(), Arc::clone(&metrics)));
        Self {
            server,
            client,
            metrics,
            memory,
        }
    }

    fn follow(&self) {
        let (api, memory) = (Api::all(self.client.clone()), Arc::clone(&self.memory));
        tokio::spawn(follow(api, None, move |event| memory.take(event)));
    }

    fn take(&self, object: &Value) {
        self.memory
            .take(Event::Changed(serde_json::from_value(object.clone()).unwrap()));
    }

    fn keep(&self) -> watch::Sender<Registration> {
        self.keep_after(labels::STANDING)
    }

    fn keep_after(&self, standing: Duration) -> watch::Sender<Registration> {
        let (told, registration) = watch::channel(Registration::Unread);
        let keeper = Keeper {
            client: self.client.clone(),
            memory: Arc::clone(&self.memory),
            policies: Arc::default(),
            registration,
            metrics: Arc::clone(&self.metrics),
            standing,
        };
        tokio::spawn(keeper.run());
        told
    }

    fn asks(&self, name: &str) -> Option<bool> {
        let namespace = self.memory.find(name)?;
        Some(crate::admission::namespaces::asks(&namespace))
    }

    async fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let waited = timeout(Duration::from_secs(10), async {
            while !condition(self) {
                sleep(Duration::from_millis(2)).await;
            }
        });
        waited.await.expect(what);
    }
}

fn present() -> Registration {
    Registration::Present {
        own_namespace: Some("heapship-system".to_owned()),
    }
}

#[tokio::test]
async fn namespaces_are_listed_page_by_page_and_then_followed() {
    let mut scene = Scene::begin();
    scene.follow();
    let call = scene.server.next(NAMESPACES).await;
    assert!(call.line.contains("limit=500"), "{}", call.line);
    call.list(
        "7",
        "more",
        &[namespace("a", "3", &[OURS, "other"], Some("enabled"))],
    );
    let call = scene.server.next(NAMESPACES).await;
    assert!(call.line.contains("continue=more"), "{}", call.line);
    assert_eq!(scene.asks("a"), None, "half a list is no snapshot");
    call.list("7", "", &[namespace("b", "4", &[], None)]);
    let call = scene.server.next(NAMESPACES).await;
    assert!(
        call.line.contains("watch=true") && call.line.contains("resourceVersion=7"),
        "{}",
        call.line
    );
    assert_eq!((scene.asks("a"), scene.asks("b")), (Some(true), Some(false)));
    let a = scene.memory.entry("a").unwrap();
    assert_eq!(a.carried.as_deref(), Some("enabled"));
    assert!(!a.namespace.labels.contains_key("heapship.io/injection"));
    assert_eq!(
        a.namespace.annotations.len(),
        1,
        "annotations of others are dropped"
    );

    let watching = call.watch();
    watching
        .send("MODIFIED", &namespace("b", "8", &[OURS], None))
        .await;
    watching.send("DELETED", &namespace("a", "9", &[], None)).await;
    scene
        .until("both changes arrive", |scene| {
            (scene.asks("a"), scene.asks("b")) == (None, Some(true))
        })
        .await;
    assert_eq!(scene.metrics.namespaces.get(), 1);
}

#[tokio::test]
async fn a_broken_watch_keeps_what_was_known_says_so_and_goes_on_where_it_was() {
    let mut scene = Scene::begin();
    scene.follow();
    scene
        .server
        .next(NAMESPACES)
        .await
        .list("7", "", &[namespace("a", "3", &[OURS], None)]);
    let watching = scene.server.next(NAMESPACES).await.watch();
    watching
        .send(
            "BOOKMARK",
            &json!({ "kind": "Namespace", "apiVersion": "v1", "metadata": { "resourceVersion": "20" } }),
        )
        .await;
    watching.fail(500).await;
    scene
        .until("it is said", |scene| scene.metrics.namespaces_stale.get() == 1)
        .await;
    assert_eq!(scene.asks("a"), Some(true));
    // The API server is away for a while.
    scene.server.next(NAMESPACES).await.refuse(503);
    let call = scene.server.next(NAMESPACES).await;
    assert!(call.line.contains("resourceVersion=20"), "{}", call.line);
    let _watching = call.watch();
    scene
        .until("it stands again", |scene| {
            scene.metrics.namespaces_stale.get() == 0
        })
        .await;
    assert_eq!(scene.metrics.namespace_watch_failures.get(), 2);
}

#[tokio::test]
async fn what_vanished_in_a_gap_is_gone_after_the_next_list() {
    let mut scene = Scene::begin();
    scene.follow();
    let both = [namespace("a", "3", &[OURS], None), namespace("b", "4", &[], None)];
    scene.server.next(NAMESPACES).await.list("7", "", &both);
    scene.server.next(NAMESPACES).await.watch().fail(410).await;
    let call = scene.server.next(NAMESPACES).await;
    assert!(!call.line.contains("watch="), "a fresh list: {}", call.line);
    call.list("90", "", &[namespace("b", "80", &[OURS], None)]);
    scene
        .until("the new list is in force", |scene| {
            (scene.asks("a"), scene.asks("b")) == (None, Some(true))
        })
        .await;
}

#[tokio::test]
async fn a_refusal_is_told_in_the_api_servers_own_words() {
    let (client, mut server) = ApiServer::start();
    let api: Api<Metadata> = Api::all(client);
    let asked = tokio::spawn(async move { api.get("a").await });
    server.next("GET /api/v1/namespaces/a").await.refuse(403);
    assert_eq!(
        in_words(&asked.await.unwrap().unwrap_err()),
        "as the test wants it"
    );
}

#[tokio::test]
async fn a_position_that_never_works_is_given_up() {
    let mut scene = Scene::begin();
    scene.follow();
    scene.server.next(NAMESPACES).await.list("7", "", &[]);
    for _ in 0..3 {
        let call = scene.server.next(NAMESPACES).await;
        assert!(call.line.contains("watch=true"), "{}", call.line);
        // As an API server says whose store was restored from an older backup.
        call.refuse(504);
    }
    let call = scene.server.next(NAMESPACES).await;
    assert!(!call.line.contains("watch="), "{}", call.line);
}

#[tokio::test]
async fn a_look_up_asks_once_and_is_bounded() {
    let mut scene = Scene::begin();
    let look_up = |memory: &Arc<Memory>| {
        let memory = Arc::clone(memory);
        tokio::spawn(async move { memory.look_up("new").await })
    };
    let path = "GET /api/v1/namespaces/new";
    let found = look_up(&scene.memory);
    scene
        .server
        .next(path)
        .await
        .answer(200, &namespace("new", "5", &[OURS], Some("enabled")));
    assert_eq!(found.await.unwrap().unwrap().annotations.len(), 1);
    assert!(
        scene.memory.find("new").is_none(),
        "the watch alone fills the memory"
    );

    let gone = look_up(&scene.memory);
    scene.server.next(path).await.refuse(404);
    assert!(gone.await.unwrap().is_none());

    let slow = look_up(&scene.memory);
    let _never_answered: Call = scene.server.next(path).await;
    assert!(slow.await.unwrap().is_none());
    assert_eq!(
        (
            scene.metrics.namespace_look_ups.get(),
            scene.metrics.namespace_look_up_failures.get()
        ),
        (3, 2)
    );
}

#[tokio::test]
async fn a_look_up_that_finds_what_was_known_settles_the_question_until_the_namespace_changes() {
    let mut scene = Scene::begin();
    scene.take(&namespace("new", "5", &[], None));
    assert!(!scene.memory.is_settled("new"));
    for (version, settled) in [("6", false), ("5", true)] {
        let memory = Arc::clone(&scene.memory);
        let found = tokio::spawn(async move { memory.look_up("new").await });
        let call = scene.server.next("GET /api/v1/namespaces/new").await;
        call.answer(200, &namespace("new", version, &[], None));
        assert!(found.await.unwrap().is_some());
        assert_eq!(scene.memory.is_settled("new"), settled, "{version}");
    }
    scene.take(&namespace("new", "6", &[], None));
    assert!(!scene.memory.is_settled("new"));
}

#[tokio::test]
async fn labels_are_put_right_once_the_registration_is_known_and_taken_away_with_it() {
    let mut scene = Scene::begin();
    let told = scene.keep();
    scene.take(&namespace("asks", "5", &[OURS], None));
    scene.take(&namespace("silent", "6", &[], Some("enabled")));
    scene.take(&namespace("right", "6", &[OURS], Some("enabled")));
    scene.take(&namespace("kube-system", "6", &[OURS], None));
    scene.take(&namespace("heapship-system", "6", &[OURS], None));
    let mut dying = namespace("dying", "6", &[OURS], None);
    dying["metadata"]["deletionTimestamp"] = json!("2026-11-26T00:00:00Z");
    scene.take(&dying);
    assert!(
        scene.server.is_left_alone().await,
        "nobody knows yet whether we are registered"
    );

    told.send_replace(present());
    let call = scene.server.next("PATCH /api/v1/namespaces/asks?").await;
    assert!(call.line.contains("fieldManager=heapship"), "{}", call.line);
    assert_eq!(
        call.body,
        json!({ "metadata": {
            "uid": "uid-of-asks", "resourceVersion": "5", "labels": { "heapship.io/injection": "enabled" },
        } })
    );
    let labelled = namespace("asks", "9", &[OURS], Some("enabled"));
    call.answer(200, &labelled);
    scene.take(&labelled);
    assert!(scene.server.is_left_alone().await);
    assert_eq!(scene.metrics.namespace_label_patches.get(), 1);

    told.send_replace(Registration::Absent);
    // The one that was written a moment ago comes last.
    for name in ["silent", "right", "asks"] {
        let call = scene
            .server
            .next(&format!("PATCH /api/v1/namespaces/{name}?"))
            .await;
        assert_eq!(
            call.body["metadata"]["labels"],
            json!({ "heapship.io/injection": null })
        );
        call.answer(200, &namespace(name, "11", &[OURS], None));
        scene.take(&namespace(name, "11", &[OURS], None));
    }
}

#[tokio::test]
async fn a_label_is_taken_away_only_from_a_namespace_that_has_stood_for_a_while() {
    for (standing, is_taken_away) in [(Duration::from_hours(1), false), (Duration::ZERO, true)] {
        let mut scene = Scene::begin();
        let told = scene.keep_after(standing);
        told.send_replace(present());
        scene.take(&namespace("silent", "6", &[], Some("enabled")));
        if !is_taken_away {
            assert!(scene.server.is_left_alone().await);
            told.send_replace(Registration::Absent);
        }
        let call = scene.server.next("PATCH /api/v1/namespaces/silent?").await;
        assert_eq!(
            call.body["metadata"]["labels"],
            json!({ "heapship.io/injection": null })
        );
    }
}

#[tokio::test]
async fn a_namespace_stands_since_it_was_written_and_not_since_it_was_listed() {
    let scene = Scene::begin();
    let since = || scene.memory.entry("a").unwrap().since;
    scene.take(&namespace("a", "5", &[], None));
    let written = since();
    let same = serde_json::from_value(namespace("a", "5", &[], None)).unwrap();
    scene.memory.take(Event::Listed(vec![same]));
    assert_eq!(since(), written);
    scene.take(&namespace("a", "6", &[], None));
    assert!(since() > written);
}

#[tokio::test]
async fn who_lost_the_race_for_a_label_reads_again_and_finds_it_done() {
    let mut scene = Scene::begin();
    let told = scene.keep();
    scene.take(&namespace("asks", "5", &[OURS], None));
    told.send_replace(present());
    let call = scene.server.next("PATCH /api/v1/namespaces/asks?").await;
    scene.take(&namespace("asks", "6", &[OURS], Some("enabled")));
    call.refuse(409);
    assert!(scene.server.is_left_alone().await);
    assert_eq!(
        scene.metrics.namespace_label_patch_failures.get(),
        0,
        "a conflict is an answer"
    );
    // Another change of it, after which the label is missing again.
    scene.take(&namespace("asks", "7", &[OURS], None));
    let call = scene.server.next("PATCH /api/v1/namespaces/asks?").await;
    assert_eq!(call.body["metadata"]["resourceVersion"], "7");
}

#[test]
fn the_registration_says_which_namespace_is_our_own_and_a_broken_watch_says_nothing() {
    let registration = |webhooks: Value| {
        let object = json!({ "metadata": { "name": "heapship" }, "webhooks": webhooks });
        serde_json::from_value::<MutatingWebhookConfiguration>(object).unwrap()
    };
    let entry = |client_config: Value| {
        json!([{ "name": "pods.heapship.io", "clientConfig": client_config, "sideEffects": "None",
            "admissionReviewVersions": ["v1"] }])
    };
    let ours = registration(entry(
        json!({ "service": { "name": "heapship", "namespace": "heapship-system" } }),
    ));
    assert_eq!(
        Registration::from_event(Event::Listed(vec![ours.clone()])),
        Some(present())
    );
    assert_eq!(
        Registration::from_event(Event::Listed(Vec::new())),
        Some(Registration::Absent)
    );
    assert_eq!(
        Registration::from_event(Event::Deleted(ours)),
        Some(Registration::Absent)
    );
    let outside = registration(entry(json!({ "url": "https://webhook.example/mutate" })));
    assert_eq!(
        Registration::from_event(Event::Changed(outside)),
        Some(Registration::Present { own_namespace: None })
    );
    let broken = Event::Broken(follow::Error::Silent);
    assert_eq!(Registration::from_event(broken), None);
}

fn version(server: &str) -> (Value, &'static str) {
    let (major, minor) = server.split_once('.').unwrap();
    let info = json!({
        "major": major, "minor": minor, "gitVersion": "", "gitCommit": "", "gitTreeState": "", "buildDate": "",
        "goVersion": "", "compiler": "", "platform": "",
    });
    (info, "GET /version")
}

fn node(kubelet: &str) -> Value {
    json!({ "metadata": { "name": "n" }, "status": { "nodeInfo": {
        "kubeletVersion": kubelet, "architecture": "", "bootID": "", "containerRuntimeVersion": "", "kernelVersion": "",
        "kubeProxyVersion": "", "machineID": "", "operatingSystem": "", "osImage": "", "systemUUID": "",
    } } })
}

/// Answers what a webhook asks at its start: the lists, then the watches, which are returned.
async fn begin(api: &mut ApiServer, namespaces: &[Value]) -> [Watching; 2] {
    let (mut of_namespaces, mut of_the_registration) = (None, None);
    loop {
        let call = api.next("GET /api").await;
        let is_watch = call.line.contains("watch=true");
        match (call.line.starts_with(NAMESPACES), is_watch) {
            (true, false) => call.list("7", "", namespaces),
            (true, true) => of_namespaces = Some(call.watch()),
            (false, false) => call.list("7", "", &[json!({ "metadata": { "name": "heapship" } })]),
            (false, true) => of_the_registration = Some(call.watch()),
        }
        (of_namespaces, of_the_registration) = match (of_namespaces, of_the_registration) {
            (Some(one), Some(other)) => return [one, other],
            some => some,
        };
    }
}

fn cluster() -> Arc<ArcSwap<Cluster>> {
    Arc::new(ArcSwap::from_pointee(Cluster {
        name: "test".to_owned(),
        version: KubernetesVersion::NEWEST,
        own_namespace: None,
        env_files: false,
    }))
}

#[tokio::test]
async fn a_version_that_is_told_is_not_asked_for() {
    for version in [Version::Told, Version::Asked] {
        let (client, mut api) = ApiServer::start();
        let cluster = cluster();
        let told = Arc::clone(&cluster);
        let watched = tokio::spawn(async move {
            watch(client, Arc::default(), "heapship", &told, version, Arc::default()).await
        });
        let oldest = match version {
            Version::Told => KubernetesVersion::NEWEST.to_string(),
            Version::Asked => {
                let (info, path) = self::version("1.36");
                api.next(path).await.answer(200, &info);
                "1.33".to_owned()
            }
        };
        api.next(POD_TEMPLATES).await.refuse(403);
        api.next(NAMESPACES).await.list("7", "", &[]);
        assert!(watched.await.unwrap().is_ok());
        assert_eq!(cluster.load().version.to_string(), oldest);
    }
}

#[tokio::test]
async fn whoever_is_about_to_end_hears_of_namespaces_and_writes_no_labels() {
    let (client, mut api) = ApiServer::start();
    let watched = tokio::spawn(async move {
        let version = Version::Told;
        watch(
            client,
            Arc::default(),
            "heapship",
            &cluster(),
            version,
            Arc::default(),
        )
        .await
    });
    api.next(POD_TEMPLATES).await.refuse(403);
    let [watching, _registration] = begin(&mut api, &[namespace("asks", "3", &[OURS], None)]).await;
    let Watched {
        namespaces,
        mut tasks,
        labels,
    } = watched.await.unwrap().unwrap();
    drop(api.next("PATCH /api/v1/namespaces/asks?").await);
    labels.abort();
    assert!(tasks.join_next().await.unwrap().unwrap_err().is_cancelled());
    watching
        .send("ADDED", &namespace("new", "8", &[OURS], None))
        .await;
    assert!(api.is_left_alone().await);
    assert!(namespaces.find("new").is_some());
    tasks.shutdown().await;
}

#[tokio::test]
async fn nodes_are_asked_only_where_their_age_matters() {
    for (server, oldest) in [("1.36", "1.33"), ("1.32+", "1.29"), ("1.28", "1.28")] {
        let (client, mut api) = ApiServer::start();
        let asked = tokio::spawn(async move { versions::ask(&client).await });
        let (info, path) = version(server);
        api.next(path).await.answer(200, &info);
        assert_eq!(asked.await.unwrap().unwrap().to_string(), oldest);
    }
}

#[tokio::test]
async fn the_oldest_kubelet_counts_where_it_may_be_too_old() {
    let (client, mut api) = ApiServer::start();
    let asked = tokio::spawn(async move { versions::ask(&client).await });
    let (info, path) = version("1.30");
    api.next(path).await.answer(200, &info);
    api.next("GET /api/v1/nodes?")
        .await
        .list("1", "more", &[node("v1.30.2"), node("no version")]);
    let call = api.next("GET /api/v1/nodes?").await;
    assert!(call.line.contains("continue=more"), "{}", call.line);
    call.list("1", "", &[node("v1.28.9-vendor"), node("v1.29.0")]);
    assert_eq!(asked.await.unwrap().unwrap().to_string(), "1.28");
}

#[tokio::test]
async fn nodes_that_may_not_be_listed_are_assumed_to_be_as_old_as_they_can() {
    let (client, mut api) = ApiServer::start();
    let asked = tokio::spawn(async move { versions::ask(&client).await });
    let (info, path) = version("1.31");
    api.next(path).await.answer(200, &info);
    api.next("GET /api/v1/nodes?").await.refuse(403);
    assert_eq!(asked.await.unwrap().unwrap().to_string(), "1.28");
}

#[tokio::test]
async fn env_files_are_there_where_the_server_keeps_them_and_no_kubelet_is_older() {
    let kept = json!({ "template": { "spec": { "containers": [
        { "name": "a", "env": [{ "name": "A", "valueFrom": { "fileKeyRef": { "key": "A" } } }] },
    ] } } });
    for (kubelets, known) in [
        (["v1.36.1", "v1.35.0-eks"], true),
        (["v1.36.1", "v1.34.9"], false),
    ] {
        let (client, mut api) = ApiServer::start();
        let asked = tokio::spawn(async move { env_files::ask(&client).await });
        let call = api
            .next("POST /api/v1/namespaces/default/podtemplates?&dryRun=All&")
            .await;
        let sent = "/template/spec/containers/0/env/0/valueFrom/fileKeyRef/optional";
        assert_eq!(call.body.pointer(sent), Some(&json!(true)));
        call.answer(201, &kept);
        api.next("GET /api/v1/nodes?")
            .await
            .list("1", "", &kubelets.map(node));
        assert_eq!(asked.await.unwrap().unwrap(), known, "{kubelets:?}");
    }
}

#[tokio::test]
async fn env_files_are_not_there_where_the_server_drops_or_refuses_them_and_unknown_where_it_may_not_be_asked()
 {
    let dropped = json!({ "template": { "spec": { "containers": [{ "env": [{ "name": "A" }] }] } } });
    for (code, answer) in [(201, Some(false)), (422, Some(false)), (403, None), (500, None)] {
        let (client, mut api) = ApiServer::start();
        let own = client.clone();
        let asked = tokio::spawn(async move { env_files::ask(&own).await });
        let call = api.next("POST /api/v1/namespaces/default/podtemplates?").await;
        if code == 201 {
            call.answer(code, &dropped);
        } else {
            call.refuse(code);
        }
        assert_eq!(asked.await.unwrap().ok(), answer, "{code}");
        assert!(api.is_left_alone().await, "nobody asks for nodes then");
    }
}
