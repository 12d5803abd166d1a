use std::fs;

use super::scene::{SOON, Scene};
use crate::support::{java::jdk, wait::until};

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
