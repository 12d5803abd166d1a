//! The commands as people type them: exact texts and exit codes.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::schema::openapi::openapi;

mod live;

/// What a command printed, and how it ended.
struct Ended {
    code: i32,
    stdout: String,
    stderr: String,
}

fn heapship(arguments: &[&str], stdin: &str) -> Ended {
    let mut child = Command::new(env!("CARGO_BIN_EXE_heapship"))
        .args(arguments)
        .current_dir(manifests())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that refuses its arguments does not read.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let output = child.wait_with_output().unwrap();
    Ended {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn manifests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join("cli")
}

fn read(file: &str) -> String {
    std::fs::read_to_string(manifests().join(file)).unwrap()
}

#[test]
fn every_form_of_manifest_goes_there_and_back() {
    for file in [
        "pod.yaml",
        "deployment.yaml",
        "cronjob.yaml",
        "list.yaml",
        "several.yaml",
        "rollout.yaml",
        "list.json",
        "compact.json",
    ] {
        let before = read(file);
        let injected = heapship(&["inject", "-f", "-"], &before);
        assert_eq!(injected.code, 0, "{file}: {}", injected.stderr);
        assert!(
            injected.stderr.contains(": injected\n"),
            "{file}: {}",
            injected.stderr
        );
        assert!(injected.stdout.contains("heapship-agent"), "{file}");

        let again = heapship(&["inject", "-f", "-"], &injected.stdout);
        assert_eq!(
            again.stdout, injected.stdout,
            "{file}: a second pass changed something"
        );
        assert!(
            again.stderr.contains(": carries the injection already\n"),
            "{file}: {}",
            again.stderr
        );

        let restored = heapship(&["uninject", "-f", "-"], &injected.stdout);
        assert_eq!(restored.code, 0);
        assert_eq!(restored.stdout, before, "{file}: uninject did not give it back");

        for document in as_json(&injected.stdout) {
            let faults = openapi()
                .map(|openapi| openapi.faults(&document))
                .unwrap_or_default();
            assert_eq!(faults, Vec::<String>::new(), "{file}");
        }
    }
}

/// The documents of a text, read by the other form of output.
fn as_json(manifests: &str) -> Vec<Value> {
    let converted = heapship(&["uninject", "-f", "-", "-o", "json"], manifests);
    assert_eq!(converted.code, 0, "{}", converted.stderr);
    vec![serde_json::from_str(&converted.stdout).unwrap()]
}

#[test]
fn comments_order_and_quotes_stay() {
    let injected = heapship(&["inject", "-f", "deployment.yaml"], "");
    let after: Vec<&str> = injected.stdout.lines().collect();
    let before = read("deployment.yaml");
    let gone: Vec<&str> = before.lines().filter(|line| !after.contains(line)).collect();
    // What is replaced is replaced in place.
    assert_eq!(
        gone,
        [
            "      terminationGracePeriodSeconds: 45",
            "              command: [sh, -c, \"nginx -s quit\"]   # drain",
        ]
    );
    assert!(after.contains(&"      terminationGracePeriodSeconds: 600"));
    let hook = after.iter().find(|line| {
        line.trim_start()
            .starts_with("command: [/heapship/tools/heapship-agent")
    });
    assert!(
        hook.unwrap()
            .ends_with("--, sh, -c, \"nginx -s quit\"]   # drain"),
        "{hook:?}"
    );
}

#[test]
fn a_namespace_gives_its_pods_their_defaults_wherever_it_stands() {
    let text = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  namespace: web\nspec:\n  containers:\n  - name: app\n    image: a\n---\napiVersion: v1\nkind: Namespace\nmetadata:\n  name: web\n  annotations:\n    heapship.io/inject: \"true\"\n    heapship.io/destination: s3://dumps\n";
    let injected = heapship(&["inject", "-f", "-"], text);
    assert_eq!(
        (injected.code, injected.stderr.as_str()),
        (0, "Pod/a in web: injected\n")
    );
    assert!(injected.stdout.contains("value: s3://dumps\n"));
}

#[test]
fn a_template_with_little_or_no_metadata_goes_there_and_back() {
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: default\n  annotations:\n    heapship.io/inject: \"true\"\n    heapship.io/destination: s3://dumps\n---\n";
    for metadata in [
        "",
        "    metadata:\n",
        "    metadata: {}\n",
        "    metadata:\n      annotations:\n",
        "    metadata: {annotations: {}}\n",
    ] {
        let text = format!(
            "{namespace}kind: Deployment\nmetadata: {{name: a}}\nspec:\n  template:\n{metadata}    spec: {{containers: [{{name: app, image: a}}]}}\n"
        );
        let injected = heapship(&["inject", "-f", "-"], &text);
        assert_eq!(
            (injected.code, injected.stderr.as_str()),
            (0, "Deployment/a in default: injected\n"),
            "{text}"
        );
        assert_eq!(
            heapship(&["inject", "-f", "-"], &injected.stdout).stdout,
            injected.stdout,
            "{text}"
        );
        assert_eq!(heapship(&["uninject", "-f", "-"], &injected.stdout).stdout, text);
    }
}

#[test]
fn a_workload_names_itself_to_the_agent() {
    let injected = heapship(&["inject", "-f", "deployment.yaml", "-o", "json"], "");
    let deployment: Value = serde_json::from_str(&injected.stdout).unwrap();
    let init = deployment["spec"]["template"]["spec"]["initContainers"]
        .as_array()
        .unwrap();
    let agent = init
        .iter()
        .find(|container| container["name"] == "heapship-agent")
        .unwrap();
    assert!(
        agent["env"]
            .as_array()
            .unwrap()
            .contains(&json!({"name": "HEAPSHIP_WORKLOAD", "value": "Deployment/shop"}))
    );
}

#[test]
fn a_policy_decides_for_those_who_do_not_ask() {
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: app, image: a}]}\n";
    let alone = heapship(&["inject", "-f", "-"], pod);
    assert_eq!((alone.code, alone.stdout.as_str()), (0, pod));
    assert_eq!(alone.stderr, "Pod/a in default: left alone: nobody asks for it\n");
    let injected = heapship(
        &["inject", "-f", "-", "--policy", "policy.yaml", "-n", "web"],
        pod,
    );
    assert_eq!(
        (injected.code, injected.stderr.as_str()),
        (0, "Pod/a in web: injected\n")
    );
    assert!(
        injected.stdout.contains("s3://platform-dumps"),
        "{}",
        injected.stdout
    );
}

#[test]
fn explain_says_it_to_a_person() {
    let explained = heapship(
        &["explain", "-f", "deployment.yaml", "--policy", "policy.yaml"],
        "",
    );
    assert_eq!((explained.code, explained.stderr.as_str()), (0, ""));
    insta::assert_snapshot!(explained.stdout);
}

#[test]
fn explain_says_it_to_a_program() {
    let explained = heapship(
        &[
            "explain",
            "-f",
            "several.yaml",
            "--object",
            "deployment/shop",
            "-o",
            "json",
        ],
        "",
    );
    assert_eq!(explained.code, 0, "{}", explained.stderr);
    let report: Value = serde_json::from_str(&explained.stdout).unwrap();
    let objects = report["objects"].as_array().unwrap();
    assert_eq!(objects.len(), 1);
    assert_eq!(objects[0]["object"], "Deployment/shop");
    assert_eq!(objects[0]["decision"], "injected");
    assert_eq!(objects[0]["environment"][0]["container"], "app");
}

#[test]
fn completion_scripts_know_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let script = heapship(&["completion", shell], "");
        assert_eq!(script.code, 0);
        for command in ["inject", "uninject", "explain"] {
            assert!(script.stdout.contains(command), "{shell}: {command}");
        }
    }
}

#[test]
fn a_result_that_cannot_be_written_is_exit_code_3() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_heapship"))
        .args(["inject", "-f", "pod.yaml"])
        .current_dir(manifests())
        .stdout(std::fs::File::options().write(true).open("/dev/full").unwrap())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let status = child.wait().unwrap();
    let stderr = std::io::read_to_string(child.stderr.take().unwrap()).unwrap();
    assert_eq!(status.code(), Some(3), "{stderr}");
    assert!(
        stderr.ends_with("heapship: cannot write the result: No space left on device (os error 28)\n"),
        "{stderr}"
    );
}

#[test]
fn a_reader_that_has_read_enough_gets_no_complaint() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_heapship"))
        .args(["uninject", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    // It ends only now, so nothing can have been written before.
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"kind: ConfigMap\n")
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "nothing here is a pod or makes pods\n"
    );
}

/// Mistakes that people make: what they typed, what they had, the exit code, and the sentence.
#[test]
fn every_mistake_gets_one_clear_sentence() {
    const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  annotations:\n    heapship.io/inject: \"true\"\n    heapship.io/destination: s3://dumps\nspec:\n  containers:\n  - name: app\n    image: a\n";
    let with = |annotation: &str| POD.replace("spec:\n", &format!("    {annotation}\nspec:\n"));
    let inject: &[&str] = &["inject", "-f", "-"];
    for (arguments, stdin, code, stderr) in [
        (&["inject", "-f", "missing.yaml"][..], String::new(), 2, "heapship: cannot read missing.yaml: No such file or directory (os error 2)\n"),
        (&["inject", "-f", "https://x.test/a.yaml"], String::new(), 2, "heapship: cannot read https://x.test/a.yaml: it is a URL; fetch it first, for example curl -sSf https://x.test/a.yaml | heapship … -f -\n"),
        (&["inject", "-f", "empty"], String::new(), 2, "heapship: no .yaml, .yml or .json file in the directory empty\n"),
        (inject, "kind: Pod\nspec: [\n".into(), 2, "heapship: standard input: line 2, column 7: unclosed bracket '['\n"),
        (inject, POD.replace("  name: a\n", "  name: a\n  name: b\n"), 2, "heapship: standard input: line 5: the key name stands here for the second time (first in line 4)\n"),
        (inject, "hello\n".into(), 2, "heapship: standard input: document 1 is a text, not a Kubernetes object\n"),
        (&["inject", "-f", "-", "--policy", "pod.yaml"], POD.into(), 2, "heapship: pod.yaml: document 1: kind is \"Pod\", expected HeapDumpPolicy\n"),
        (&["inject", "-f", "-", "--policy", "typo.yaml"], POD.into(), 2, "heapship: typo.yaml: policy default: spec.settings.onOmm is not a setting; did you mean onOom?\n"),
        (&["explain", "-f", "-", "--object", "Pod/b"], POD.into(), 2, "heapship: no Pod/b here: there is Pod/a\n"),
        (&["explain", "-f", "-"], "kind: ConfigMap\n".into(), 2, "heapship: nothing here is a pod or makes pods\n"),
        (inject, with("heapship.io/on-oom: explode"), 1, "Pod/a in default: left alone: heapship.io/on-oom: \"explode\" is not allowed: use dump, dump-and-exit or off (invalid-annotation)\n"),
        (inject, with("heapship.io/containers: wroker"), 1, "Pod/a in default: left alone: heapship.io/containers names \"wroker\", but the pod has app (unknown-container)\n"),
        (inject, POD.replace("    heapship.io/destination: s3://dumps\n", ""), 1, "Pod/a in default: left alone: no destination: set heapship.io/destination, a policy's, or heapship.io/agent to off (no-destination)\n"),
        (&["inject", "-f", "-", "--kubernetes-version", "1.28"], POD.into(), 1, "Pod/a in default: left alone: Kubernetes 1.28 has no native sidecars; 1.29 or newer is needed (kubernetes-too-old)\n"),
        (inject, POD.replace("\"true\"", "\"false\""), 0, "Pod/a in default: left alone: heapship.io/inject is \"false\" on the pod (opted-out)\n"),
        (&["inject", "-f", "-", "-n", "kube-system"], POD.into(), 0, "Pod/a in kube-system: left alone: pods in kube-system are never touched (excluded-namespace)\n"),
        (inject, with("heapship.io/on-omm: dump"), 0, "Pod/a in default: injected\n  warning: unknown annotation heapship.io/on-omm on the pod; did you mean heapship.io/on-oom? (unknown-annotation)\n"),
        (inject, POD.replace("\"true\"", "true"), 0, "Pod/a in default: left alone: nobody asks for it\n  warning: heapship.io/inject: true is not text, and Kubernetes refuses it: write \"true\"\n"),
        (inject, "kind: Deployment\nmetadata: {name: a, annotations: {heapship.io/inject: 'true'}}\nspec: {template: {spec: {containers: []}}}\n".into(), 0, "Deployment/a in default: left alone: nobody asks for it\n  warning: heapship.io/inject on the Deployment's own metadata is read by nobody: move it to spec.template.metadata.annotations\n"),
        (inject, "kind: ConfigMap\n".into(), 0, "nothing here is a pod or makes pods\n"),
    ] {
        let ended = heapship(arguments, &stdin);
        assert_eq!((ended.code, ended.stderr.as_str()), (code, stderr), "{arguments:?}\n{stdin}");
        if code == 2 {
            assert_eq!(ended.stdout, "", "{arguments:?}");
        }
    }
}

#[test]
fn wrong_usage_is_exit_code_2_and_names_the_way_out() {
    for (arguments, sentence) in [
        (
            &["injekt"][..],
            "error: unrecognized subcommand 'injekt'\n\n  tip: some similar subcommands exist: 'uninject', 'inject'\n",
        ),
        (
            &["inject"],
            "error: the following required arguments were not provided:\n  --filename <FILE>\n",
        ),
        (
            &["inject", "-f", "-", "--kubernetes-version", "latest"],
            "error: invalid value 'latest' for '--kubernetes-version <1.N>': not a version like 1.36\n",
        ),
        (
            &["inject", "-f", "-", "-o", "xml"],
            "error: invalid value 'xml' for '--output <OUTPUT>'\n  [possible values: json, yaml]\n",
        ),
        (
            &["completion", "cmd"],
            "error: invalid value 'cmd' for '<SHELL>'\n  [possible values: bash, elvish, fish, powershell, zsh]\n",
        ),
    ] {
        let ended = heapship(arguments, "");
        assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{arguments:?}");
        assert!(ended.stderr.starts_with(sentence), "{}", ended.stderr);
    }
}
