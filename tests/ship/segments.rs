use std::fs;

use super::scene::{SOON, Scene, any_dump};
use crate::support::{java::jdk, process::Process, wait::until};

#[test]
fn a_segment_that_nobody_writes_is_removed_so_that_the_next_dump_can_be_written() {
    let scene = Scene::with_folder();
    let segment = scene.dumps().join("java_pid1.hprof.p0");
    fs::write(&segment, b"left by a killed JVM").unwrap();
    let agent = scene.start();
    until("the segment is gone", SOON, || (!segment.exists()).then_some(()));
    let lines = Scene::end(agent);
    assert!(
        lines
            .iter()
            .any(|line| line.contains("removed a segment that a killed JVM left")),
        "{lines:?}"
    );
    assert!(scene.objects().is_empty());
}

#[test]
fn segments_of_a_jvm_that_was_killed_go_with_its_dump() {
    let Some(jdk) = jdk(25) else { return };
    let scene = Scene::with_folder();
    let agent = scene.start();
    let mut jvm = scene.jvm(jdk, 600);
    let segment = scene.dumps().join(format!("java_pid{}.hprof.p0", jvm.id()));
    until("the heap is being written", SOON, || {
        segment.exists().then_some(())
    });
    jvm.kill();
    until("the record is there", SOON, || {
        (!scene.records().is_empty()).then_some(())
    });
    until("the segment is gone", SOON, || (!segment.exists()).then_some(()));
    Scene::end(agent);
    let (key, _, record) = scene.only();
    assert!(key.ends_with(".truncated.hprof.gz"), "{key}");
    assert!(record["completeness"]["truncated"].is_object());
}

#[test]
fn a_segment_that_is_older_than_its_dump_is_removed_at_once() {
    let scene = Scene::with_folder();
    let (main, segment) = (
        scene.dumps().join("java_pid1.hprof"),
        scene.dumps().join("java_pid1.hprof.p0"),
    );
    let agent = Process::spawn(scene.agent().args(["--settle", "1h"]));
    agent.line("watching for heap dumps", SOON);
    fs::write(&segment, b"left by a killed JVM").unwrap();
    // Births are told apart by the kernel's coarse clock.
    until("a later file is younger", SOON, || {
        fs::write(scene.path("later"), b"").unwrap();
        let born = |path| fs::metadata(path).unwrap().created().unwrap();
        let younger = born(scene.path("later")) > born(segment.clone());
        fs::remove_file(scene.path("later")).unwrap();
        younger.then_some(())
    });
    assert!(segment.exists());
    fs::write(&main, b"JAVA PROFILE 1.0.2").unwrap();
    until("the segment is gone", SOON, || (!segment.exists()).then_some(()));
    // The segment of the living JVM comes later, and stays.
    fs::write(&segment, b"written by a living JVM").unwrap();
    let claimed = scene.claimed_dump();
    fs::write(scene.dumps().join("java_pid2.hprof"), any_dump().as_slice()).unwrap();
    until("another dump is shipped", SOON, || {
        (!scene.records().is_empty()).then_some(())
    });
    assert!(segment.exists());
    assert!(claimed.exists());
}
