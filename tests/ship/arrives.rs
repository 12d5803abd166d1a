use std::fs;

use sha2::Digest as _;

use super::scene::{SOON, Scene, any_dump, dump_of, files_below};
use crate::support::{
    java::{jdk, jdks},
    process::Process,
    wait::until,
};

#[test]
fn whole_dumps_of_every_jvm_arrive_byte_identical_with_a_record_that_agrees() {
    for jdk in jdks() {
        let scene = Scene::with_folder();
        let dump = dump_of(jdk.major).unwrap();
        fs::write(scene.dumps().join("java_pid1.hprof"), dump.as_slice()).unwrap();
        scene.ship();
        let (key, shipped, record) = scene.only();
        assert!(shipped == *dump, "JDK {}", jdk.major);
        assert!(key.starts_with("unknown/shop/unknown/checkout-1/app/2"), "{key}");
        assert!(key.ends_with("Z-oom.hprof.gz"), "{key}");
        assert_eq!(record["completeness"], "complete");
        assert_eq!(record["reason"], "oom");
        assert_eq!(
            record["sha256"],
            hex::encode(sha2::Sha256::digest(scene.read(&key)))
        );
        assert!(record["times"]["began"].as_str().unwrap() <= record["times"]["seen"].as_str().unwrap());
        assert!(scene.read(&key).len() < dump.len() / 2);
    }
}

#[test]
fn a_dump_arrives_in_parts_at_an_s3_server() {
    for tls in [false, true] {
        let scene = Scene::with_s3(tls);
        let dump = any_dump();
        fs::write(scene.dumps().join("java_pid1.hprof"), dump.as_slice()).unwrap();
        let mut agent = scene.agent();
        agent.args(["--once", "--compression", "none"]);
        let finished = Process::spawn(&mut agent).finish(SOON);
        assert!(finished.status.success(), "{:?}", finished.lines);
        let (key, shipped, _) = scene.only();
        assert!(shipped == *dump);
        assert!(key.ends_with("-oom.hprof"), "{key}");
    }
}

#[test]
fn parts_arrive_whatever_the_store_is_to_verify_them_by() {
    for checksum in ["crc64nvme", "sha256", "none"] {
        let scene = Scene::with_s3(false);
        fs::write(scene.dumps().join("java_pid1.hprof"), any_dump().as_slice()).unwrap();
        let mut agent = scene.agent();
        agent.args(["--once", "--compression", "none", "--store-checksum", checksum]);
        let finished = Process::spawn(&mut agent).finish(SOON);
        assert!(finished.status.success(), "{checksum}: {:?}", finished.lines);
        assert!(scene.only().1 == *any_dump(), "{checksum}");
    }
}

#[test]
fn an_endpoint_from_the_clouds_own_variable_is_used() {
    let scene = Scene::with_s3(false);
    fs::write(scene.dumps().join("java_pid1.hprof"), any_dump().as_slice()).unwrap();
    let mut agent = scene.agent();
    agent.args(["--once", "--store-endpoint", ""]);
    agent.env("AWS_ENDPOINT_URL", &scene.s3.as_ref().unwrap().endpoint);
    let finished = Process::spawn(&mut agent).finish(SOON);
    assert!(finished.status.success(), "{:?}", finished.lines);
    assert!(scene.only().1 == *any_dump());
}

#[test]
fn a_running_agent_ships_what_a_dying_jvm_writes_and_the_jvm_notices_nothing() {
    for jdk in jdks() {
        let scene = Scene::with_s3(false);
        let agent = scene.start();
        let finished = scene.jvm(jdk, 64).finish(SOON);
        let said = finished.lines.join("\n");
        assert!(
            said.contains("Heap dump file created"),
            "JDK {}: {said}",
            jdk.major
        );
        until("the record is there", SOON, || {
            (!scene.records().is_empty()).then_some(())
        });
        Scene::end(agent);
        let (_, _, record) = scene.only();
        assert_eq!(record["completeness"], "complete", "JDK {}", jdk.major);
    }
}

#[test]
fn what_the_jvm_compressed_is_shipped_as_it_is() {
    for jdk in jdks().iter().filter(|jdk| jdk.major >= 17) {
        let scene = Scene::with_folder();
        let mut command = jdk.command();
        command.args([
            "-Xmx32m",
            "-XX:+HeapDumpOnOutOfMemoryError",
            "-XX:HeapDumpGzipLevel=1",
        ]);
        command
            .arg(format!("-XX:HeapDumpPath={}", scene.dumps().display()))
            .arg("Leak");
        Process::spawn(&mut command).finish(SOON);
        let file = fs::read_dir(scene.dumps())
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path();
        let written = fs::read(file).unwrap();
        scene.ship();
        let (key, _, record) = scene.only();
        assert!(scene.read(&key) == written);
        assert!(key.ends_with("-oom.hprof.gz"), "{key}");
        assert_eq!(record["completeness"], "complete");
        assert_eq!(record["codec"], "gzip");
    }
}

#[test]
fn zstd_makes_frames_that_its_own_tools_read() {
    let scene = Scene::with_folder();
    fs::write(scene.dumps().join("on-demand-1.hprof"), any_dump().as_slice()).unwrap();
    Process::spawn(scene.agent().args(["--once", "--compression", "zstd"])).finish(SOON);
    let (key, shipped, record) = scene.only();
    assert!(key.ends_with("-on-demand.hprof.zst"), "{key}");
    assert!(shipped == *any_dump());
    assert_eq!(record["reason"], "on-demand");
}

#[test]
fn a_pod_tells_the_agent_its_task_by_variables() {
    let scene = Scene::with_folder();
    let mut agent = std::process::Command::new(env!("CARGO_BIN_EXE_heapship-agent"));
    agent.env_clear().args(["ship", "--once"]);
    agent.env("HEAPSHIP_DUMPS", scene.dumps());
    agent.env(
        "HEAPSHIP_DESTINATION",
        format!("file://{}", scene.store().display()),
    );
    agent.env(
        "HEAPSHIP_CONTAINERS",
        r#"[{"name":"web","image":"shop:1"},{"name":"worker","image":"shop:2"}]"#,
    );
    agent
        .env("HEAPSHIP_CLUSTER", "prod")
        .env("HEAPSHIP_NAMESPACE", "shop")
        .env("HEAPSHIP_POD", "shop-0");
    agent
        .env("HEAPSHIP_WORKLOAD", "StatefulSet/shop")
        .env("HEAPSHIP_POD_UID", "u-1")
        .env("HEAPSHIP_NODE", "n-1");
    agent
        .env("HEAPSHIP_COMPRESSION", "none")
        .env("HEAPSHIP_MAX_DUMPS", "5")
        .env("HEAPSHIP_STORE_ALLOW_HTTP", "true");
    agent.env(
        "HEAPSHIP_KEY_TEMPLATE",
        "{cluster}/{workload}/{uid}/{container}-{time}.hprof",
    );
    agent
        .env("HEAPSHIP_REPLACED_OPTIONS", "JAVA_TOOL_OPTIONS,_JAVA_OPTIONS")
        .env("JAVA_TOOL_OPTIONS", "-Dimage=1");
    // Two containers whose JVMs have the same PID and died in the same millisecond.
    for container in ["web", "worker"] {
        fs::create_dir(scene.dumps().join(container)).unwrap();
        fs::write(
            scene.dumps().join(container).join("java_pid1.hprof"),
            any_dump().as_slice(),
        )
        .unwrap();
    }
    let finished = Process::spawn(&mut agent).finish(SOON);
    assert!(finished.status.success(), "{:?}", finished.lines);
    assert!(
        finished
            .lines
            .iter()
            .any(|line| line.contains("sets JAVA_TOOL_OPTIONS itself"))
    );
    let records = scene.records();
    assert_eq!(records.len(), 2, "{:?}", scene.objects());
    for ((key, record), (container, image)) in records.iter().zip([("web", "shop:1"), ("worker", "shop:2")]) {
        assert!(key.starts_with(&format!("prod/shop/u-1/{container}-")), "{key}");
        assert_eq!(record["image"], image);
        assert_eq!(record["workload"], "StatefulSet/shop");
        assert_eq!(record["node"], "n-1");
        assert!(scene.dump(key) == *any_dump());
    }
}

#[test]
fn a_second_dump_of_the_same_name_and_time_gets_a_key_of_its_own() {
    let scene = Scene::with_s3(false);
    let agent = scene.start();
    let file = scene.dumps().join("java_pid1.hprof");
    let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
    for round in 1..=2 {
        // Renamed into place, as a volume's copy would be: whole and with its own time.
        let prepared = scene.path("prepared");
        fs::write(&prepared, any_dump().as_slice()).unwrap();
        fs::File::options()
            .write(true)
            .open(&prepared)
            .unwrap()
            .set_modified(time)
            .unwrap();
        fs::rename(&prepared, &file).unwrap();
        until("the name is free again", SOON, || (!file.exists()).then_some(()));
        let claims = || {
            agent
                .lines()
                .iter()
                .filter(|line| line.contains("claimed java_pid1"))
                .count()
        };
        until("it is claimed", SOON, || (claims() == round).then_some(()));
    }
    Scene::end(agent);
    scene.nothing_is_left();
    let keys: Vec<String> = scene.records().into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys.len(), 2, "{keys:?}");
    assert!(
        keys.iter()
            .any(|key| key.ends_with("20231114T221320.000Z-oom.hprof.gz")),
        "{keys:?}"
    );
    assert!(
        keys.iter()
            .any(|key| key.ends_with("20231114T221320.000Z-1-oom.hprof.gz")),
        "{keys:?}"
    );
}

#[test]
fn a_termination_signal_lets_the_agent_finish_its_queue() {
    let scene = Scene::with_s3(false);
    let agent = scene.start();
    for pid in 1..=3 {
        fs::write(
            scene.dumps().join(format!("java_pid{pid}.hprof")),
            any_dump().as_slice(),
        )
        .unwrap();
    }
    Scene::end(agent);
    assert_eq!(scene.records().len(), 3);
    scene.nothing_is_left();
}

#[test]
fn memory_stays_bounded_and_no_second_file_is_written_while_a_large_dump_is_shipped() {
    let jdk = jdk(17).unwrap();
    let scene = Scene::with_s3(true);
    let jvm = Process::spawn(
        jdk.command()
            .args(["-Xmx300m", "-XX:+UseSerialGC", "-XX:+HeapDumpOnOutOfMemoryError"])
            .arg(format!("-XX:HeapDumpPath={}", scene.dumps().display()))
            .arg("Orders"),
    );
    jvm.finish(SOON);
    let file = fs::read_dir(scene.dumps())
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let dump = fs::read(file).unwrap();
    let agent = Process::spawn(
        scene
            .agent()
            .args(["--once", "--part-size", "8Mi", "--threads", "4"]),
    );
    let status = format!("/proc/{}/status", agent.id());
    let mut peak = 0_u64;
    let mut most = 0;
    while let Ok(status) = fs::read_to_string(&status) {
        let Some(line) = status.lines().find(|line| line.starts_with("VmHWM:")) else {
            break;
        };
        peak = peak.max(line.split_whitespace().nth(1).unwrap().parse().unwrap());
        let files = files_below(&scene.dumps(), &scene.dumps());
        let beside = files
            .iter()
            .filter(|file| !file.contains("java_pid") || file.contains(".json"));
        let sizes = beside.filter_map(|file| fs::metadata(scene.dumps().join(file)).ok());
        most = most.max(sizes.map(|file| file.len()).sum::<u64>());
        std::thread::yield_now();
    }
    let finished = agent.finish(SOON);
    assert!(finished.status.success(), "{:?}", finished.lines);
    let (_, shipped, _) = scene.only();
    assert!(shipped == dump);
    assert!(dump.len() > 250 << 20, "{} bytes", dump.len());
    assert!(peak > 0 && peak <= 64 << 10, "{peak} kB");
    assert!(most <= 64 << 10, "{most} bytes of ledger");
}
