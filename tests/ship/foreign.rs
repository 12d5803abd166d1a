use std::{fs, process::Command};

use super::scene::{SOON, Scene, any_dump, dump_of};
use crate::support::{process::Process, wait::until};

fn agent(scene: &Scene, path: &str) -> Command {
    let mut agent = scene.agent();
    let containers = serde_json::json!([{ "name": "app", "image": "shop:1", "foreign": scene.path(path) }]);
    agent
        .arg("--once")
        .arg("--containers")
        .arg(containers.to_string());
    agent
}

#[test]
fn a_dump_on_the_users_own_volume_is_shipped_once_and_stays_where_it_is() {
    let scene = Scene::with_folder();
    fs::create_dir(scene.path("logs")).unwrap();
    let file = scene.path("logs/heap.dump");
    fs::write(&file, any_dump().as_slice()).unwrap();
    fs::write(scene.path("logs/other.hprof"), any_dump().as_slice()).unwrap();
    for _ in 0..2 {
        let finished = Process::spawn(&mut agent(&scene, "logs/heap.dump")).finish(SOON);
        assert!(finished.status.success(), "{:?}", finished.lines);
        assert_eq!(scene.records().len(), 1, "{:?}", scene.objects());
    }
    assert!(fs::read(&file).unwrap() == *any_dump());
    let (key, record) = scene.records().remove(0);
    assert!(scene.dump(&key) == *any_dump());
    assert_eq!(record["reason"], "oom");
    // Another dump under the same name.
    let other = dump_of(21).unwrap();
    fs::write(&file, other.as_slice()).unwrap();
    Process::spawn(&mut agent(&scene, "logs/heap.dump")).finish(SOON);
    let records = scene.records();
    assert_eq!(records.len(), 2);
    assert!(records.iter().any(|(key, _)| scene.dump(key) == *other));
    assert!(file.exists());
}

#[test]
fn a_directory_of_the_users_own_gives_the_dumps_that_the_jvm_named() {
    let scene = Scene::with_folder();
    fs::create_dir(scene.path("heap")).unwrap();
    fs::write(scene.path("heap/java_pid1.hprof"), any_dump().as_slice()).unwrap();
    fs::write(scene.path("heap/mine.hprof"), any_dump().as_slice()).unwrap();
    let finished = Process::spawn(&mut agent(&scene, "heap")).finish(SOON);
    assert!(finished.status.success(), "{:?}", finished.lines);
    assert_eq!(scene.records().len(), 1);
    assert_eq!(fs::read_dir(scene.path("heap")).unwrap().count(), 2);
}

#[test]
fn a_container_with_a_path_of_its_own_still_ships_what_the_toolbox_dumps() {
    let scene = Scene::with_folder();
    fs::create_dir(scene.path("heap")).unwrap();
    fs::write(scene.path("heap/java_pid1.hprof"), any_dump().as_slice()).unwrap();
    fs::create_dir(scene.dumps().join("app")).unwrap();
    fs::write(
        scene.dumps().join("app/pre-stop-all-1.hprof"),
        any_dump().as_slice(),
    )
    .unwrap();
    let finished = Process::spawn(&mut agent(&scene, "heap")).finish(SOON);
    assert!(finished.status.success(), "{:?}", finished.lines);
    let mut reasons: Vec<String> = scene
        .records()
        .iter()
        .map(|(_, record)| record["reason"].to_string())
        .collect();
    reasons.sort();
    assert_eq!(reasons, ["\"oom\"", "\"pre-stop-all\""]);
    assert_eq!(fs::read_dir(scene.dumps().join("app")).unwrap().count(), 0);
}

#[test]
fn what_lay_on_the_users_volume_before_the_pod_is_left_alone() {
    let scene = Scene::with_folder();
    fs::create_dir(scene.path("heap")).unwrap();
    fs::write(scene.path("heap/java_pid1.hprof"), any_dump().as_slice()).unwrap();
    let start = || {
        let mut command = scene.agent();
        let containers = serde_json::json!([{ "name": "app", "foreign": scene.path("heap") }]);
        let agent = Process::spawn(command.arg("--containers").arg(containers.to_string()));
        agent.line("watching for heap dumps", SOON);
        agent
    };
    let agent = start();
    agent.line("is older than this pod", SOON);
    fs::write(scene.path("heap/java_pid2.hprof"), any_dump().as_slice()).unwrap();
    until("the new one is shipped", SOON, || {
        (!scene.records().is_empty()).then_some(())
    });
    // Nothing is remembered of what its owner has deleted.
    let remembered = scene.entries().len();
    fs::remove_file(scene.path("heap/java_pid1.hprof")).unwrap();
    until("it is forgotten", SOON, || {
        (scene.entries().len() < remembered).then_some(())
    });
    Scene::end(agent);
    // What is written while no agent is there belongs to this pod as well.
    fs::write(scene.path("heap/java_pid3.hprof"), any_dump().as_slice()).unwrap();
    let agent = start();
    until("the third one is shipped", SOON, || {
        (scene.records().len() == 2).then_some(())
    });
    Scene::end(agent);
    let mut files: Vec<String> = scene
        .records()
        .into_iter()
        .map(|(_, record)| record["file"].to_string())
        .collect();
    files.sort();
    assert_eq!(files, ["\"java_pid2.hprof\"", "\"java_pid3.hprof\""]);
    assert_eq!(fs::read_dir(scene.path("heap")).unwrap().count(), 2);
}
