use std::{fs, time::Duration};

use super::scene::{SOON, Scene, any_dump};
use crate::support::{
    java::{Jdk, jdk, jdks},
    process::Process,
};

/// Asks without a pause: the moments to be met are short.
fn at_once(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !condition() {
        assert!(begun.elapsed() < SOON, "not soon: {what}");
        std::hint::spin_loop();
    }
}

#[test]
fn a_jvm_killed_while_it_writes_leaves_a_dump_that_arrives_marked_as_cut() {
    for jdk in jdks() {
        let scene = Scene::with_folder();
        let mut jvm = scene.jvm(jdk, 250);
        // The name of the main file; on 22 and later most of the dump is in its segment.
        let file = scene.dumps().join(format!("java_pid{}.hprof", jvm.id()));
        let written = || fs::metadata(&file).map_or(0, |file| file.len());
        at_once("a part of the dump is written", || written() > 1 << 20);
        jvm.kill();
        let left = fs::read(&file).unwrap();
        scene.ship();
        let (key, shipped, record) = scene.only();
        assert!(
            key.ends_with("-oom.truncated.hprof.gz"),
            "JDK {}: {key}",
            jdk.major
        );
        assert!(shipped == left, "JDK {}", jdk.major);
        let truncated = &record["completeness"]["truncated"];
        assert!(
            truncated["offset"].as_u64().unwrap() <= left.len() as u64,
            "JDK {}: {record}",
            jdk.major
        );
        assert!(!truncated["reason"].as_str().unwrap().is_empty());
    }
}

#[test]
fn a_killed_agent_finishes_after_its_restart_from_whatever_point() {
    type Moment = (&'static str, fn(&Scene) -> bool);
    let moments: [Moment; 6] = [
        ("claimed", |scene| !scene.claimed().is_empty()),
        ("noted", |scene| !scene.entries().is_empty()),
        ("about to upload", |scene| {
            scene
                .entries()
                .iter()
                .any(|entry| entry.contains("\"uploading\""))
        }),
        ("uploading", |scene| {
            scene
                .entries()
                .iter()
                .any(|entry| entry.contains("\"upload\":\""))
        }),
        ("complete", |scene| !scene.objects().is_empty()),
        ("recorded", |scene| !scene.records().is_empty()),
    ];
    for s3 in [false, true] {
        for (moment, condition) in &moments {
            let scene = if s3 {
                Scene::with_s3(false)
            } else {
                Scene::with_folder()
            };
            fs::write(scene.dumps().join("java_pid1.hprof"), any_dump().as_slice()).unwrap();
            let mut agent = Process::spawn(scene.agent().args(["--compression", "none"]));
            at_once(moment, || condition(&scene));
            agent.kill();
            let there = !scene.claimed().is_empty() || !scene.objects().is_empty();
            assert!(there, "{moment}: the dump is somewhere");
            let finished =
                Process::spawn(scene.agent().args(["--once", "--compression", "none"])).finish(SOON);
            assert!(finished.status.success(), "{moment}: {:?}", finished.lines);
            let (_, shipped, record) = scene.only();
            assert!(shipped == *any_dump(), "{moment}");
            assert_eq!(record["completeness"], "complete");
        }
    }
}

#[test]
fn an_agent_killed_while_the_jvm_is_writing_ships_the_whole_dump_after_its_restart() {
    for major in [17, 25] {
        let Some(jdk) = jdk(major) else { continue };
        kill_the_agent_while_it_writes(jdk);
    }
}

fn kill_the_agent_while_it_writes(jdk: &Jdk) {
    let scene = Scene::with_s3(false);
    let mut agent = scene.start();
    let jvm = scene.jvm(jdk, 250);
    let dump = scene.claimed_dump();
    agent.kill();
    let early = fs::metadata(&dump).unwrap().len();
    // The default wait of 60 s is the one that counts here: a JVM that is slow must not be taken for dead.
    let mut restarted = scene.agent();
    restarted.args(["--once", "--settle", "60s"]);
    let restarted = Process::spawn(&mut restarted);
    let said = jvm.finish(SOON).lines.join("\n");
    assert!(
        said.contains("Heap dump file created"),
        "JDK {}: {said}",
        jdk.major
    );
    let finished = restarted.finish(Duration::from_mins(2));
    assert!(finished.status.success(), "{:?}", finished.lines);
    let (key, shipped, record) = scene.only();
    assert_eq!(record["completeness"], "complete", "JDK {}", jdk.major);
    assert!(key.ends_with("-oom.hprof.gz"), "{key}");
    assert!(
        early < shipped.len() as u64,
        "the agent was killed before the dump was whole"
    );
}

#[test]
fn a_dump_that_is_cut_is_shipped_but_kept_when_the_agent_ends_before_it_is_sure() {
    let scene = Scene::with_folder();
    let dump = any_dump();
    let (half, rest) = dump.split_at(dump.len() / 2);
    let mut command = scene.agent();
    command.args(["--settle", "60s"]);
    let agent = Process::spawn(&mut command);
    agent.line("watching for heap dumps", SOON);
    fs::write(scene.dumps().join("java_pid1.hprof"), half).unwrap();
    let claimed = scene.claimed_dump();
    let lines = Scene::end(agent);
    assert!(
        lines
            .iter()
            .any(|line| line.contains("shipped as it stood, and kept")),
        "{lines:?}"
    );
    let (key, record) = scene.records().remove(0);
    assert!(scene.dump(&key) == half);
    assert!(record["completeness"]["truncated"].is_object());
    // Its writer lived after all: the next agent ships the whole of it to the same place.
    let mut file = fs::File::options().append(true).open(&claimed).unwrap();
    std::io::Write::write_all(&mut file, rest).unwrap();
    scene.ship();
    let (again, shipped, record) = scene.only();
    assert_eq!(again, key);
    assert!(shipped == *dump);
    assert_eq!(record["completeness"], "complete");
}

#[test]
fn a_claim_that_was_not_noted_is_adopted_by_its_name() {
    let scene = Scene::with_folder();
    scene.ship();
    let claimed = scene.dumps().join(".heapship/claimed/app");
    fs::write(
        claimed.join("20261125T210533.123Z~pre-stop-live-7.hprof"),
        any_dump().as_slice(),
    )
    .unwrap();
    fs::write(claimed.join(".half-written.json"), b"{\"conta").unwrap();
    scene.ship();
    let (key, shipped, _) = scene.only();
    assert!(
        key.ends_with("/app/20261125T210533.123Z-pre-stop-live.hprof.gz"),
        "{key}"
    );
    assert!(shipped == *any_dump());
}

#[test]
fn an_upload_that_was_left_open_is_given_up() {
    // The kill can come too late on a busy machine; five times in a row it does not.
    let scene = (0..5)
        .map(|_| killed_while_uploading())
        .find(|scene| open_uploads(scene) == 1);
    let scene = scene.expect("an upload was left open");
    scene.ship();
    assert_eq!(open_uploads(&scene), 0);
    let (_, shipped, _) = scene.only();
    assert!(shipped == *any_dump());
}

fn killed_while_uploading() -> Scene {
    let scene = Scene::with_s3(false);
    fs::write(scene.dumps().join("java_pid1.hprof"), any_dump().as_slice()).unwrap();
    let mut agent = Process::spawn(scene.agent().args(["--compression", "none"]));
    at_once("an upload is noted", || {
        scene
            .entries()
            .iter()
            .any(|entry| entry.contains("\"upload\":\""))
    });
    agent.kill();
    scene
}

fn open_uploads(scene: &Scene) -> usize {
    scene.s3.as_ref().unwrap().open_uploads()
}
