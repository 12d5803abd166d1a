use std::fs;

use super::scene::{SOON, Scene, any_dump};
use crate::support::{process::Process, wait::until};

#[test]
fn beyond_the_quota_the_newest_dump_waits_for_the_end_and_the_record_counts_those_between() {
    let scene = Scene::with_folder();
    let begin = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
    for second in 0..4 {
        let file = scene.dumps().join(format!("java_pid{second}.hprof"));
        fs::write(&file, any_dump().as_slice()).unwrap();
        let time = begin + std::time::Duration::from_secs(second);
        fs::File::options()
            .write(true)
            .open(&file)
            .unwrap()
            .set_modified(time)
            .unwrap();
    }
    let mut once = scene.agent();
    once.args(["--once", "--max-dumps", "1"]);
    let lines = Process::spawn(&mut once).finish(SOON).lines;
    assert!(lines.iter().any(|line| line.contains("held back")), "{lines:?}");
    let records = scene.records();
    assert_eq!(records.len(), 1, "{lines:?}");
    assert!(records[0].0.contains("20231114T221320.000Z"), "{:?}", records[0]);
    assert_eq!(
        scene.claimed().len(),
        2,
        "the newest and its entry: {:?}",
        scene.claimed()
    );

    let agent = Process::spawn(scene.agent().args(["--max-dumps", "1"]));
    agent.line("watching for heap dumps", SOON);
    Scene::end(agent);
    let records = scene.records();
    assert_eq!(records.len(), 2);
    assert!(records[1].0.contains("20231114T221323.000Z"), "{:?}", records[1]);
    assert_eq!(records[1].1["dropped"], 2);
    scene.nothing_is_left();
}

#[test]
fn a_store_that_is_down_costs_no_dump() {
    let mut scene = Scene::with_s3(false);
    for pid in 1..=3 {
        fs::write(
            scene.dumps().join(format!("java_pid{pid}.hprof")),
            any_dump().as_slice(),
        )
        .unwrap();
    }
    scene.s3.as_mut().unwrap().stop();
    let mut command = scene.agent();
    command.args(["--max-dumps", "1", "--log", "heapship=debug"]);
    let agent = Process::spawn(&mut command);
    let said = |text: &str| agent.lines().iter().filter(|line| line.contains(text)).count();
    until("it was tried twice", SOON, || {
        (said("the store cannot be reached") >= 2).then_some(())
    });
    assert_eq!(scene.entries().len(), 3);
    assert_eq!(said("dropped:"), 0, "{:?}", agent.lines());
    scene.s3.as_mut().unwrap().start_again();
    until("the one between is dropped", SOON, || {
        (said("dropped:") == 1).then_some(())
    });
    Scene::end(agent);
    let records = scene.records();
    assert_eq!(records.len(), 2, "{:?}", scene.objects());
    let newest = records
        .iter()
        .find(|(_, record)| record["file"] == "java_pid3.hprof");
    assert_eq!(newest.unwrap().1["dropped"], 1);
    scene.nothing_is_left();
}
