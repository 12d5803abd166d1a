use std::{
    fs,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use rustix::{fs::FlockOperation, process::Signal};

use super::scene::{SOON, Scene, any_dump};
use crate::support::{process::Process, wait::until};

/// UIDs of pods that share a claim.
const DEAD: &str = "0a6b0c1e-1111-4c39-9d57-3d1f0a9f1b11";
const LIVING: &str = "1b6b0c1e-2222-4c39-9d57-3d1f0a9f1b22";
const OTHER: &str = "2c6b0c1e-3333-4c39-9d57-3d1f0a9f1b33";

fn folder(scene: &Scene, uid: &str) -> PathBuf {
    scene.dumps().join(uid)
}

/// The agent of a pod on a claim; pods are called by the first letters of their UIDs.
fn agent(scene: &Scene, uid: &str) -> Command {
    let mut command = scene.agent();
    command.arg("--claim").arg(scene.dumps());
    command.arg("--dumps").arg(folder(scene, uid));
    command.args(["--pod", &format!("pod-{}", &uid[..2]), "--pod-uid", uid]);
    command.args(["--containers", r#"[{"name":"app","image":"shop:1"}]"#]);
    command.args([
        "--compression",
        "none",
        "--adopt-after",
        "1s",
        "--remove-after",
        "3s",
    ]);
    command
}

fn start(scene: &Scene, uid: &str) -> Process {
    let process = Process::spawn(&mut agent(scene, uid));
    process.line("watching for heap dumps", SOON);
    process
}

fn put(scene: &Scene, uid: &str) {
    let file = folder(scene, uid).join("app/java_pid1.hprof");
    fs::write(file, any_dump().as_slice()).unwrap();
}

/// A pod that was there and is gone, and whose JVM left a dump in the last moment.
fn dead_pod(scene: &Scene, uid: &str) {
    let mut agent = start(scene, uid);
    agent.kill();
    put(scene, uid);
}

#[track_caller]
fn wait_until_removed(scene: &Scene, uid: &str) {
    until("the folder of the dead pod is removed", SOON, || {
        (!folder(scene, uid).exists()).then_some(())
    });
}

/// What is noted about the pod's dumps; what is only about to be noted is not.
fn entries(scene: &Scene, uid: &str) -> String {
    let claimed = folder(scene, uid).join(".heapship/claimed/app");
    let entries = fs::read_dir(claimed).into_iter().flatten().flatten();
    let noted = entries.filter(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        entry
            .path()
            .extension()
            .is_some_and(|extension| extension == "json")
            && !name.starts_with('.')
    });
    noted
        .filter_map(|entry| fs::read_to_string(entry.path()).ok())
        .collect()
}

#[test]
fn a_dump_whose_pod_died_in_mid_upload_is_shipped_by_another_pod_under_its_own_name() {
    type Moment = (&'static str, fn(&Scene) -> bool);
    let moments: [Moment; 4] = [
        ("noted", |scene| !entries(scene, DEAD).is_empty()),
        ("uploading", |scene| {
            entries(scene, DEAD).contains("\"upload\":\"")
        }),
        ("complete", |scene| !scene.objects().is_empty()),
        ("recorded", |scene| !scene.records().is_empty()),
    ];
    for (moment, condition) in moments {
        let scene = Scene::with_s3(false);
        let mut dying = start(&scene, DEAD);
        put(&scene, DEAD);
        let begun = Instant::now();
        while !condition(&scene) {
            assert!(begun.elapsed() < SOON, "not soon: {moment}");
            std::hint::spin_loop();
        }
        dying.kill();
        let living = start(&scene, LIVING);
        wait_until_removed(&scene, DEAD);
        let records = scene.records();
        assert_eq!(records.len(), 1, "{moment}: {:?}", scene.objects());
        assert_eq!(scene.objects().len(), 2, "{moment}: {:?}", scene.objects());
        assert_eq!(scene.s3.as_ref().unwrap().open_uploads(), 0, "{moment}");
        let (key, record) = &records[0];
        assert!(scene.dump(key) == *any_dump(), "{moment}");
        assert!(key.contains("pod-0a") && !key.contains("pod-1b"), "{key}");
        assert_eq!(record["pod"], "pod-0a");
        assert_eq!(record["uid"], DEAD);
        assert_eq!(record["image"], "shop:1");
        if matches!(moment, "noted" | "uploading") && !record["shippedBy"].is_null() {
            assert_eq!(record["shippedBy"]["pod"], "pod-1b");
        }
        Scene::end(living);
    }
}

#[test]
fn a_dump_that_nobody_had_claimed_yet_is_adopted_as_well() {
    let scene = Scene::with_folder();
    dead_pod(&scene, DEAD);
    let living = start(&scene, LIVING);
    wait_until_removed(&scene, DEAD);
    let (key, record) = scene.records().remove(0);
    assert!(scene.dump(&key) == *any_dump());
    assert_eq!(record["pod"], "pod-0a");
    assert_eq!(record["shippedBy"]["pod"], "pod-1b");
    assert_eq!(record["shippedBy"]["uid"], LIVING);
    let lines = Scene::end(living);
    assert!(
        lines
            .iter()
            .any(|line| line.contains("pod pod-0a is gone and has left dumps")),
        "{lines:?}"
    );
    // Its own folder is there for the next container of this pod.
    assert!(folder(&scene, LIVING).join("app").is_dir());
}

#[test]
fn a_neighbour_that_holds_its_lock_is_never_touched_however_silent_it_is() {
    let scene = Scene::with_folder();
    let silent = start(&scene, OTHER);
    silent.signal(Signal::STOP);
    put(&scene, OTHER);
    dead_pod(&scene, DEAD);
    let living = start(&scene, LIVING);
    // It is as old as the dead one: what would be done to it has been done by then.
    wait_until_removed(&scene, DEAD);
    assert!(folder(&scene, OTHER).join("app/java_pid1.hprof").exists());
    assert_eq!(scene.records().len(), 1);
    silent.signal(Signal::CONT);
    until("it ships its dump itself", SOON, || {
        (scene.records().len() == 2).then_some(())
    });
    let own = scene
        .records()
        .into_iter()
        .find(|(key, _)| key.contains("pod-2c"))
        .unwrap();
    assert!(own.1["shippedBy"].is_null());
    Scene::end(silent);
    Scene::end(living);
}

#[test]
fn a_folder_without_an_agents_marks_is_nobodys_to_touch() {
    let scene = Scene::with_folder();
    fs::create_dir_all(folder(&scene, OTHER).join("app")).unwrap();
    put(&scene, OTHER);
    fs::create_dir_all(scene.dumps().join("lost+found")).unwrap();
    dead_pod(&scene, DEAD);
    let living = start(&scene, LIVING);
    wait_until_removed(&scene, DEAD);
    assert!(folder(&scene, OTHER).join("app/java_pid1.hprof").exists());
    assert_eq!(scene.records().len(), 1);
    Scene::end(living);
}

#[test]
fn of_two_that_would_adopt_one_does() {
    let scene = Scene::with_s3(false);
    dead_pod(&scene, DEAD);
    let agents = [start(&scene, LIVING), start(&scene, OTHER)];
    wait_until_removed(&scene, DEAD);
    let said: Vec<String> = agents.into_iter().flat_map(Scene::end).collect();
    let shipped = said.iter().filter(|line| line.contains("shipped ")).count();
    assert_eq!(shipped, 1, "{said:?}");
    assert_eq!(scene.objects().len(), 2);
    assert_eq!(scene.s3.as_ref().unwrap().open_uploads(), 0);
}

#[test]
fn what_is_no_dump_stays_where_its_pod_has_left_it() {
    let scene = Scene::with_folder();
    dead_pod(&scene, DEAD);
    let notes = folder(&scene, DEAD).join("app/notes.txt");
    fs::write(&notes, b"mine").unwrap();
    let living = start(&scene, LIVING);
    living.line("are no dumps: left alone", SOON);
    assert_eq!(fs::read(notes).unwrap(), b"mine");
    assert_eq!(scene.records().len(), 1);
    Scene::end(living);
}

#[test]
fn an_agent_that_comes_back_waits_for_the_one_that_has_adopted_its_folder() {
    let scene = Scene::with_folder();
    dead_pod(&scene, DEAD);
    let half = any_dump().len() / 2;
    // Not whole, so that whoever adopts it waits before it ships.
    fs::write(
        folder(&scene, DEAD).join("app/java_pid1.hprof"),
        &any_dump()[..half],
    )
    .unwrap();
    let mut adopter = agent(&scene, LIVING);
    adopter.args(["--settle", "3s"]);
    let adopter = Process::spawn(&mut adopter);
    adopter.line("pod pod-0a is gone and has left dumps", SOON);
    let back = Process::spawn(&mut agent(&scene, DEAD));
    let line = back.line("another heapship-agent is at work", SOON);
    assert!(
        line.contains("WARN") && line.contains("meanwhile that one ships the dumps"),
        "{line}"
    );
    back.line("watching for heap dumps", Duration::from_secs(30));
    assert_eq!(scene.records().len(), 1);
    assert!(folder(&scene, DEAD).join("app").is_dir());
    Scene::end(back);
    Scene::end(adopter);
}

#[test]
fn a_dead_pods_dumps_are_shipped_while_there_is_no_room_for_an_own_folder() {
    let scene = Scene::with_folder();
    dead_pod(&scene, DEAD);
    // In the way of the folder, as a full volume would be.
    fs::write(folder(&scene, LIVING), b"").unwrap();
    let living = Process::spawn(&mut agent(&scene, LIVING));
    living.line("cannot watch", SOON);
    wait_until_removed(&scene, DEAD);
    assert_eq!(scene.records().len(), 1);
    fs::remove_file(folder(&scene, LIVING)).unwrap();
    living.line("watching for heap dumps", SOON);
    Scene::end(living);
}

#[test]
fn a_dump_that_was_shipped_as_it_stood_is_finished_by_the_one_who_adopts_it() {
    let scene = Scene::with_folder();
    let mut dying = agent(&scene, DEAD);
    dying.args(["--settle", "1m"]);
    let dying = Process::spawn(&mut dying);
    dying.line("watching for heap dumps", SOON);
    let half = any_dump().len() / 2;
    fs::write(
        folder(&scene, DEAD).join("app/java_pid1.hprof"),
        &any_dump()[..half],
    )
    .unwrap();
    dying.line("claimed java_pid1.hprof", SOON);
    dying.signal(Signal::TERM);
    dying.line("shipped as it stood, and kept", SOON);
    drop(dying);
    let living = start(&scene, LIVING);
    living.line("and has left nothing", SOON);
    assert!(!folder(&scene, DEAD).exists());
    assert_eq!(scene.records().len(), 1);
    Scene::end(living);
}

#[test]
fn a_file_that_may_still_become_a_dump_keeps_its_pods_marks() {
    let scene = Scene::with_folder();
    dead_pod(&scene, DEAD);
    let file = folder(&scene, DEAD).join("app/java_pid2.hprof");
    fs::write(file, b"").unwrap();
    let living = start(&scene, LIVING);
    living.line("may still become dumps: left alone", SOON);
    let marks = folder(&scene, DEAD).join(".heapship/agents/app.json");
    assert!(marks.exists());
    // A JVM that lives after all needs its directory.
    assert!(folder(&scene, DEAD).join("app").is_dir());
    assert_eq!(scene.records().len(), 1);
    Scene::end(living);
}

#[test]
fn a_dump_that_comes_after_a_silent_folder_was_found_empty_is_adopted_too() {
    let scene = Scene::with_folder();
    let mut dying = start(&scene, DEAD);
    dying.kill();
    let mut living = agent(&scene, LIVING);
    living.args(["--remove-after", "5m"]);
    let living = Process::spawn(&mut living);
    // Of two folders that are as old, one has been adopted, so the empty one was looked at as well.
    dead_pod(&scene, OTHER);
    living.line("pod pod-2c is gone and has left dumps", SOON);
    put(&scene, DEAD);
    living.line("pod pod-0a is gone and has left dumps", SOON);
    until("both are shipped", SOON, || {
        (scene.records().len() == 2).then_some(())
    });
    // The same once more, in a folder from which a dump was adopted before.
    put(&scene, DEAD);
    until("the next one is shipped, too", SOON, || {
        (scene.records().len() == 3).then_some(())
    });
    Scene::end(living);
}

#[test]
fn a_pod_that_should_be_dead_and_goes_on_dumping_keeps_its_own_quota_with_one_last_dump_beyond_it() {
    let scene = Scene::with_folder();
    let mut dying = Process::spawn(agent(&scene, DEAD).args(["--max-dumps", "1"]));
    dying.line("watching for heap dumps", SOON);
    put(&scene, DEAD);
    dying.line("shipped ", SOON);
    dying.kill();
    put(&scene, DEAD);
    let living = start(&scene, LIVING);
    until("the last one is shipped", SOON, || {
        (scene.records().len() == 2).then_some(())
    });
    put(&scene, DEAD);
    living.line("held back", SOON);
    // Others are shipped meanwhile, and it still lies there.
    put(&scene, LIVING);
    until("an own dump is shipped", SOON, || {
        (scene.records().len() == 3).then_some(())
    });
    assert!(!entries(&scene, DEAD).is_empty());
    let lines = Scene::end(living);
    assert_eq!(
        lines.iter().filter(|line| line.contains("held back")).count(),
        1,
        "{lines:?}"
    );
}

#[test]
fn an_agent_that_has_lost_its_lock_touches_nothing_until_it_has_it_again() {
    let scene = Scene::with_folder();
    let agent = start(&scene, LIVING);
    let lock = folder(&scene, LIVING).join(".heapship/agents/app.lock");
    // As after a day in which it was frozen: its folder was removed, and another has it.
    fs::remove_file(&lock).unwrap();
    let others = fs::File::create(&lock).unwrap();
    rustix::fs::flock(&others, FlockOperation::LockExclusive).unwrap();
    // Seen at once, while it is asked for the lock every few seconds only.
    put(&scene, LIVING);
    agent.line("another agent has taken over", SOON);
    agent.line("another heapship-agent is at work", SOON);
    assert!(folder(&scene, LIVING).join("app/java_pid1.hprof").exists());
    assert!(scene.records().is_empty());
    drop(others);
    until("it ships again", SOON, || {
        (scene.records().len() == 1).then_some(())
    });
    Scene::end(agent);
}

#[test]
fn an_agent_that_has_lost_its_lock_pauses_before_it_begins_anew_and_ends_meanwhile_when_asked_to() {
    let scene = Scene::with_folder();
    let agent = start(&scene, LIVING);
    // Nobody has it afterwards: whoever begins anew gets it at once.
    fs::remove_file(folder(&scene, LIVING).join(".heapship/agents/app.lock")).unwrap();
    agent.line("another agent has taken over", SOON);
    agent.signal(Signal::TERM);
    let ended = agent.finish(SOON);
    assert_eq!(ended.status.code(), Some(3), "{:?}", ended.lines);
    let begun = |line: &&String| line.contains("watching for heap dumps");
    assert_eq!(ended.lines.iter().filter(begun).count(), 1, "{:?}", ended.lines);
}
