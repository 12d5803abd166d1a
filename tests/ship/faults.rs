use std::{fs, os::unix::fs::PermissionsExt as _, os::unix::process::CommandExt as _, process::Command};

use super::scene::{SOON, Scene, any_dump, dump_of, files_below};
use crate::support::{process::Process, wait::until};

fn with_dump(scene: Scene) -> Scene {
    fs::write(scene.dumps().join("java_pid1.hprof"), any_dump().as_slice()).unwrap();
    scene
}

/// The dump is claimed and whole, and nothing was stored.
#[track_caller]
fn the_dump_is_kept(scene: &Scene) {
    let kept = scene.claimed_dump();
    assert!(fs::read(kept).unwrap() == *any_dump());
    assert!(scene.records().is_empty());
}

#[track_caller]
fn fails_with(scene: &Scene, command: &mut Command, sentence: &str) {
    let finished = Process::spawn(command.arg("--once")).finish(SOON);
    let said = finished.lines.join("\n");
    assert!(said.contains(sentence), "{sentence}\n--- was said:\n{said}");
    assert_eq!(finished.status.code(), Some(3), "{said}");
    the_dump_is_kept(scene);
}

#[test]
fn a_bucket_that_does_not_exist_is_named_and_the_dump_is_kept() {
    let scene = with_dump(Scene::with_s3(false));
    let mut agent = scene.agent();
    agent.args(["--destination", "s3://nobody/heap"]);
    fails_with(
        &scene,
        &mut agent,
        "the bucket does not exist; create it or correct the destination",
    );
    scene.ship();
    scene.only();
}

#[test]
fn wrong_keys_are_said_to_be_wrong_and_the_dump_is_kept() {
    let scene = with_dump(Scene::with_s3(false));
    let mut agent = scene.agent();
    agent.env("AWS_SECRET_ACCESS_KEY", "wrong");
    fails_with(
        &scene,
        &mut agent,
        "the credentials are wrong; correct the access key and its secret",
    );
    scene.ship();
    scene.only();
}

#[test]
fn an_endpoint_where_nobody_answers_is_said_to_be_unreachable_and_the_dump_is_kept() {
    let mut scene = with_dump(Scene::with_s3(false));
    scene.s3.as_mut().unwrap().stop();
    fails_with(
        &scene,
        &mut scene.agent(),
        "the store cannot be reached; check its endpoint",
    );
    scene.s3.as_mut().unwrap().start_again();
    scene.ship();
    scene.only();
}

#[test]
fn a_certificate_of_an_unknown_ca_is_not_trusted_and_the_dump_is_kept() {
    let scene = with_dump(Scene::with_s3(true));
    let stranger = Scene::with_s3(true);
    let mut agent = scene.agent();
    agent.env(
        "HEAPSHIP_STORE_CA",
        stranger.s3.as_ref().unwrap().ca_pem.as_ref().unwrap(),
    );
    fails_with(&scene, &mut agent, "the store's certificate is not trusted");
    scene.ship();
    scene.only();
}

#[test]
fn a_store_that_comes_back_gets_the_dump() {
    let mut scene = Scene::with_s3(false);
    scene.s3.as_mut().unwrap().stop();
    let agent = scene.start();
    let scene = with_dump(scene);
    agent.line("cannot be reached", SOON);
    let mut scene = scene;
    scene.s3.as_mut().unwrap().start_again();
    until("the record is there", SOON, || {
        (!scene.records().is_empty()).then_some(())
    });
    Scene::end(agent);
    scene.only();
}

#[test]
fn a_store_that_goes_away_in_the_middle_of_an_upload_gets_it_whole_when_it_is_back() {
    let mut scene = Scene::with_s3(false);
    fs::write(scene.dumps().join("java_pid1.hprof"), any_dump().as_slice()).unwrap();
    let agent = Process::spawn(scene.agent().args(["--compression", "none"]));
    until("an upload is noted", SOON, || {
        scene
            .entries()
            .iter()
            .any(|entry| entry.contains("\"upload\":\""))
            .then_some(())
    });
    scene.s3.as_mut().unwrap().stop();
    scene.s3.as_mut().unwrap().start_again();
    until("the record is there", SOON, || {
        (!scene.records().is_empty()).then_some(())
    });
    Scene::end(agent);
    let (_, shipped, _) = scene.only();
    assert!(shipped == *any_dump());
}

/// A file system of so many bytes on this folder, until it is dropped.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(folder: &std::path::Path, bytes: usize) -> Option<Self> {
        let options = format!("size={bytes},mode=0777");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(folder)
            .status();
        mounted
            .is_ok_and(|status| status.success())
            .then(|| Self(folder.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(&self.0).status().unwrap();
        assert!(unmounted.success() || std::thread::panicking());
    }
}

#[test]
fn a_dump_that_has_filled_the_disk_is_shipped_although_nothing_can_be_noted() {
    let scene = Scene::with_folder();
    let dump = any_dump();
    let Some(_disk) = SmallDisk::mount(&scene.dumps(), dump.len() + (1 << 20)) else {
        eprintln!("NOT RUN: this user may not mount a small disk");
        return;
    };
    fs::write(scene.dumps().join("java_pid1.hprof"), dump.as_slice()).unwrap();
    let filler = scene.dumps().join("filler");
    let mut file = fs::File::create(&filler).unwrap();
    while std::io::Write::write_all(&mut file, &[1; 4096]).is_ok() {}
    let lines = scene.ship();
    assert!(lines.iter().any(|line| line.contains("cannot note")), "{lines:?}");
    fs::remove_file(filler).unwrap();
    let (_, shipped, _) = scene.only();
    assert!(shipped == *dump);
}

#[test]
fn a_store_whose_disk_is_full_is_said_to_be_full_and_the_dump_is_kept() {
    let scene = with_dump(Scene::with_folder());
    fs::create_dir(scene.store()).unwrap();
    let Some(_disk) = SmallDisk::mount(&scene.store(), 1 << 20) else {
        eprintln!("NOT RUN: this user may not mount a small disk");
        return;
    };
    fails_with(&scene, &mut scene.agent(), "the disk is full");
    assert!(files_below(&scene.store(), &scene.store()).is_empty());
}

#[test]
fn a_folder_that_cannot_be_written_is_named_and_the_dump_is_kept() {
    let scene = with_dump(Scene::with_folder());
    fs::write(scene.store(), b"a file in the way").unwrap();
    let finished = scene.ship_once();
    let said = finished.lines.join("\n");
    assert!(
        said.contains("the folder cannot be written; mount a volume there"),
        "{said}"
    );
    assert_eq!(finished.status.code(), Some(3));
    assert!(fs::read(scene.claimed_dump()).unwrap() == *any_dump());
}

#[test]
fn what_is_no_dump_is_put_aside_and_not_shipped() {
    let scene = Scene::with_folder();
    fs::write(
        scene.dumps().join("java_pid1.hprof"),
        b"not a dump at all, but long enough to be one",
    )
    .unwrap();
    let lines = scene.ship();
    assert!(
        lines
            .iter()
            .any(|line| line.contains("not a heap dump") && line.contains(".heapship/rejected")),
        "{lines:?}"
    );
    assert!(scene.objects().is_empty());
    assert!(scene.claimed().is_empty());
    assert_eq!(
        files_below(&scene.dumps(), &scene.dumps().join(".heapship/rejected")).len(),
        1
    );
}

#[test]
fn a_file_that_is_still_empty_is_waited_for_however_long_it_takes() {
    // HotSpot makes the file, and then collects garbage for as long as it takes.
    let scene = Scene::with_folder();
    let agent = scene.start();
    for beginning in [&b""[..], b"JAVA PROFILE 1.0.2"] {
        fs::write(scene.dumps().join("pre-stop-live-1.hprof"), beginning).unwrap();
        let claimed = scene.claimed_dump();
        until("it was settled for long", SOON, || {
            let said = agent.lines();
            said.iter()
                .any(|line| {
                    line.contains("nothing of a dump has been written yet")
                        && line.contains(claimed.to_str().unwrap())
                })
                .then_some(())
        });
        fs::write(&claimed, any_dump().as_slice()).unwrap();
        until("it is shipped", SOON, || (!claimed.exists()).then_some(()));
    }
    fs::write(scene.dumps().join("java_pid2.hprof"), b"").unwrap();
    let claimed = scene.claimed_dump();
    let lines = Scene::end(agent);
    assert!(
        lines.iter().any(|line| line.contains("the file is kept in")),
        "{lines:?}"
    );
    assert!(claimed.exists());
    let records = scene.records();
    assert_eq!(records.len(), 2, "{:?}", scene.objects());
    for (key, record) in records {
        assert!(scene.dump(&key) == *any_dump());
        assert_eq!(record["completeness"], "complete");
    }
}

#[test]
fn a_store_that_is_put_right_while_the_pod_ends_gets_the_dump() {
    let scene = with_dump(Scene::with_s3(false));
    let mut agent = scene.agent();
    agent.args(["--destination", "s3://later/heap"]);
    let agent = Process::spawn(&mut agent);
    agent.line("the bucket does not exist", SOON);
    agent.signal(rustix::process::Signal::TERM);
    agent.line("asked to end", SOON);
    fs::create_dir(scene.s3.as_ref().unwrap().root.join("later")).unwrap();
    let finished = agent.finish(SOON);
    assert!(finished.status.success(), "{:?}", finished.lines);
    assert!(
        finished
            .lines
            .iter()
            .any(|line| line.contains("shipped unknown/")),
        "{:?}",
        finished.lines
    );
    scene.nothing_is_left();
}

#[test]
fn a_dump_that_changes_before_its_record_is_written_is_shipped_again_and_not_deleted() {
    let scene = Scene::with_folder();
    let file = scene.path("prepared");
    fs::write(&file, any_dump().as_slice()).unwrap();
    let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
    fs::File::options()
        .write(true)
        .open(&file)
        .unwrap()
        .set_modified(time)
        .unwrap();
    // A folder in the place of the record: it cannot be written.
    let key = "unknown/shop/unknown/checkout-1/app/20231114T221320.000Z-oom.hprof.gz";
    let in_the_way = scene.store().join(format!("{key}.json"));
    fs::create_dir_all(&in_the_way).unwrap();
    let agent = scene.start();
    fs::rename(&file, scene.dumps().join("java_pid1.hprof")).unwrap();
    agent.line("the dump is kept and tried again", SOON);
    let other = dump_of(21).unwrap();
    fs::write(scene.claimed_dump(), other.as_slice()).unwrap();
    fs::remove_dir(&in_the_way).unwrap();
    until("the record is there", SOON, || {
        (!scene.records().is_empty()).then_some(())
    });
    Scene::end(agent);
    let (again, shipped, _) = scene.only();
    assert_eq!(again, key);
    assert!(shipped == *other);
}

#[test]
fn in_a_pod_an_agent_that_cannot_start_waits_so_that_the_application_does() {
    let scene = Scene::with_folder();
    let mut agent = scene.agent();
    agent
        .args(["--containers", r#"[{"name":"app"}]"#])
        .arg("--dumps")
        .arg(scene.path("later"));
    let mut agent = Process::spawn(&mut agent);
    agent.line("make the directory, or mount the volume of dumps there", SOON);
    assert!(agent.is_running());
    fs::create_dir(scene.path("later")).unwrap();
    agent.line("watching for heap dumps", SOON);
    fs::write(scene.path("later/app/java_pid1.hprof"), any_dump().as_slice()).unwrap();
    until("the record is there", SOON, || {
        (!scene.records().is_empty()).then_some(())
    });
    Scene::end(agent);
}

#[test]
fn two_agents_do_not_share_a_directory() {
    let scene = Scene::with_folder();
    let agent = scene.start();
    let second = scene.ship_once();
    assert_eq!(second.status.code(), Some(3));
    let said = second.lines.join("\n");
    assert!(
        said.contains("another heapship-agent ships the dumps of"),
        "{said}"
    );
    Scene::end(agent);
}

#[test]
fn an_agent_of_another_user_says_as_whom_it_should_run_and_the_dump_is_kept() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("NOT RUN: only root can start an agent of another user");
        return;
    }
    let scene = with_dump(Scene::with_folder());
    fs::set_permissions(
        scene.dumps().join("java_pid1.hprof"),
        fs::Permissions::from_mode(0o600),
    )
    .unwrap();
    for path in [scene.path(""), scene.dumps()] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    }
    // The build's folder may be closed to others.
    let program = scene.path("heapship-agent");
    fs::copy(env!("CARGO_BIN_EXE_heapship-agent"), &program).unwrap();
    let mut agent = Command::new(program);
    agent
        .env_clear()
        .uid(65_534)
        .gid(65_534)
        .args(["ship", "--once", "--pod", "p", "--dumps"])
        .arg(scene.dumps());
    agent
        .arg("--destination")
        .arg(format!("file://{}", scene.store().display()))
        .args(["--settle", "1s"]);
    let finished = Process::spawn(&mut agent).finish(SOON);
    let said = finished.lines.join("\n");
    assert!(
        said.contains("cannot read the dump for uid 65534; the agent must run as the user that writes it"),
        "{said}"
    );
    assert_eq!(finished.status.code(), Some(3));
    assert!(fs::read(scene.claimed_dump()).unwrap() == *any_dump());
}

#[test]
fn wrong_usage_is_one_sentence_and_exit_code_2() {
    let scene = Scene::with_folder();
    let dumps = scene.dumps().to_string_lossy().into_owned();
    for (arguments, sentence) in [
        (
            vec!["--dumps", &dumps, "--destination", "gs://x"],
            "gs:// is not supported; there are s3:// and file://",
        ),
        (
            vec!["--dumps", &dumps, "--destination", "dumps"],
            "write s3://BUCKET/PREFIX or file:///PATH",
        ),
        (vec!["--dumps", &dumps], "--destination <URL>"),
        (
            vec!["--dumps", &dumps, "--destination", "file:///x", "--settle", "60"],
            "a duration needs a unit: 60s",
        ),
        (
            vec![
                "--dumps",
                &dumps,
                "--destination",
                "file:///x",
                "--part-size",
                "1Mi",
            ],
            "stores take parts of 5Mi to 5Gi",
        ),
        (
            vec![
                "--dumps",
                &dumps,
                "--destination",
                "file:///x",
                "--key-template",
                "{pod}.hprof",
            ],
            "without {time} two dumps could get one key",
        ),
        (
            vec![
                "--dumps",
                &dumps,
                "--destination",
                "file:///x",
                "--compression",
                "xz",
            ],
            "possible values: gzip, zstd, none",
        ),
    ] {
        let mut agent = Command::new(env!("CARGO_BIN_EXE_heapship-agent"));
        let finished = Process::spawn(agent.env_clear().arg("ship").args(&arguments)).finish(SOON);
        let said = finished.lines.join("\n");
        assert!(said.contains(sentence), "{arguments:?}: {said}");
        assert_eq!(finished.status.code(), Some(2), "{said}");
    }
    let mut agent = Command::new(env!("CARGO_BIN_EXE_heapship-agent"));
    agent.env_clear().args([
        "ship",
        "--once",
        "--destination",
        "file:///x",
        "--dumps",
        "/nowhere",
    ]);
    let finished = Process::spawn(&mut agent).finish(SOON);
    assert_eq!(finished.status.code(), Some(3));
    assert!(
        finished
            .lines
            .join("\n")
            .contains("cannot watch /nowhere: make the directory"),
        "{:?}",
        finished.lines
    );
}
