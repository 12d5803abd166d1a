use std::process::Command;

use serde_json::Value;

use super::scene::{SOON, Scene};
use crate::support::process::{Finished, Process};

fn check(scene: &Scene) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_heapship-agent"));
    command.env_clear();
    command.args(["check-store", "--output", "json", "--pod", "checkout-1"]);
    match &scene.s3 {
        None => {
            command.env(
                "HEAPSHIP_DESTINATION",
                format!("file://{}", scene.store().display()),
            );
        }
        Some(s3) => {
            command.env("HEAPSHIP_DESTINATION", s3.url("heap"));
            command.env("HEAPSHIP_STORE_ENDPOINT", &s3.endpoint);
            command.envs(s3.credentials());
            match &s3.ca_pem {
                Some(pem) => command.env("HEAPSHIP_STORE_CA", pem),
                None => command.env("HEAPSHIP_STORE_ALLOW_HTTP", "true"),
            };
        }
    }
    command
}

#[track_caller]
fn answer(command: &mut Command) -> (i32, Value) {
    let Finished { status, lines } = Process::spawn(command).finish(SOON);
    let json = lines.iter().find(|line| line.starts_with('{'));
    let json = json.unwrap_or_else(|| panic!("{status}: {lines:?}"));
    (status.code().unwrap(), serde_json::from_str(json).unwrap())
}

#[track_caller]
fn refused(command: &mut Command, sentence: &str) {
    let (code, answer) = answer(command);
    assert_eq!(code, 1, "{answer}");
    assert_eq!(answer["written"], false);
    assert_eq!(answer["deleted"], false);
    let error = answer["error"].as_str().unwrap();
    assert!(error.contains(sentence), "{error}");
}

#[test]
fn a_store_that_takes_the_object_is_fine_and_nothing_stays_there() {
    for scene in [Scene::with_folder(), Scene::with_s3(false), Scene::with_s3(true)] {
        let (code, answer) = answer(&mut check(&scene));
        assert_eq!(code, 0, "{answer}");
        assert_eq!(answer["written"], true);
        assert_eq!(answer["deleted"], true);
        assert!(answer["error"].is_null());
        let object = answer["object"].as_str().unwrap();
        assert!(object.starts_with(".heapship-check/checkout-1-2"), "{object}");
        assert!(scene.objects().is_empty(), "{:?}", scene.objects());
    }
}

#[test]
fn each_fault_is_one_sentence_with_what_to_do() {
    let scene = Scene::with_s3(false);
    refused(
        check(&scene).env("HEAPSHIP_DESTINATION", "s3://nowhere/heap"),
        "the bucket does not exist; create it",
    );
    refused(
        check(&scene).env("AWS_SECRET_ACCESS_KEY", "wrong"),
        "the credentials are wrong; correct",
    );
    refused(
        check(&scene).env("HEAPSHIP_STORE_ENDPOINT", "http://127.0.0.1:1"),
        "the store cannot be reached; check its endpoint",
    );
    refused(
        check(&scene).env("HEAPSHIP_STORE_ENDPOINT", "http://no-such-name.invalid"),
        "cannot resolve no-such-name.invalid: ",
    );
    let folder = Scene::with_folder();
    std::fs::write(folder.store(), b"a file in its place").unwrap();
    refused(
        &mut check(&folder),
        "the folder cannot be written; mount a volume",
    );
}

#[test]
fn a_certificate_that_nobody_has_signed_is_told_from_a_store_that_is_not_there() {
    let (scene, stranger) = (Scene::with_s3(true), Scene::with_s3(true));
    let other = stranger.s3.as_ref().unwrap().ca_pem.clone().unwrap();
    refused(
        check(&scene).env("HEAPSHIP_STORE_CA", other),
        "the store's certificate is not trusted; give the CA",
    );
    refused(
        check(&scene).env("HEAPSHIP_STORE_CA", "-----BEGIN nothing"),
        "the store's settings are wrong",
    );
}

#[test]
fn a_person_reads_a_sentence() {
    let scene = Scene::with_folder();
    let finished = Process::spawn(check(&scene).args(["--output", "text"])).finish(SOON);
    // Given twice, which is wrong usage here.
    assert_eq!(finished.status.code(), Some(2));
    let mut command = Command::new(env!("CARGO_BIN_EXE_heapship-agent"));
    command.env_clear().args(["check-store", "--destination"]);
    command.arg(format!("file://{}", scene.store().display()));
    let finished = Process::spawn(&mut command).finish(SOON);
    assert!(finished.status.success());
    assert!(
        finished.lines[0].starts_with("written to file://")
            && finished.lines[0].contains(" and deleted, in "),
        "{:?}",
        finished.lines
    );
}
