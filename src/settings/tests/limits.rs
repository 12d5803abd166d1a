//! How far annotations may go: a bound itself is allowed, what is beyond it falls to the next level.

use crate::settings::annotations::Key;
use crate::settings::policy::Policies;
use crate::settings::{Annotations, Layers, Level, Resolved, resolve};

/// The pod's annotations under a policy with these limits and settings.
fn resolved(limits: &str, settings: &str, pod: &[(Key, &str)]) -> Resolved {
    let text = format!(
        "{{kind: HeapDumpPolicy, metadata: {{name: p}}, spec: {{limits: {{{limits}}}, settings: {{{settings}}}}}}}"
    );
    let policies = Policies::from_yaml(&text).unwrap();
    let nothing = Annotations::new();
    let pod: Annotations = pod
        .iter()
        .map(|(key, value)| (key.to_string(), (*value).to_owned()))
        .collect();
    resolve(&Layers {
        policy: policies.select("team-a", &nothing, &nothing),
        namespace: &nothing,
        pod: &pod,
    })
}

/// Whether the pod's value counts, and what was said.
fn accepted(limits: &str, settings: &str, key: Key, value: &str) -> Result<(), String> {
    let resolved = resolved(limits, settings, &[(key, value)]);
    assert!(resolved.settings.is_ok(), "{value}: {:?}", resolved.settings);
    let counts = resolved
        .origins
        .iter()
        .any(|origin| origin.key == key && origin.level == Level::Pod);
    match resolved.warnings.as_slice() {
        [] => {
            assert!(counts, "{value} is ignored in silence");
            Ok(())
        }
        [("outside-policy", said)] => {
            assert!(!counts, "{value} counts, and yet: {said}");
            Err(said.clone())
        }
        others => panic!("{others:?}"),
    }
}

#[test]
fn the_bound_itself_is_allowed_and_what_is_above_it_is_not() {
    for (limits, key, at, above, bound) in [
        ("maxDumps: 20", Key::MaxDumps, "20", "21", "at most 20"),
        (
            "terminationGracePeriod: 15m",
            Key::TerminationGracePeriod,
            "900s",
            "901s",
            "at most 15m",
        ),
        (
            "preStopDelay: 10s",
            Key::PreStopDelay,
            "10s",
            "11s",
            "at most 10s",
        ),
        ("uploadGrace: 1m", Key::UploadGrace, "60s", "61s", "at most 1m"),
        (
            "volumeSize: 1Gi",
            Key::Volume,
            "emptyDir:1Gi",
            "emptyDir:2Gi",
            "at most 1Gi",
        ),
        (
            "volumeSize: 1Gi",
            Key::Volume,
            "ephemeral:fast:1Gi",
            "ephemeral:fast:2Gi",
            "at most 1Gi",
        ),
    ] {
        assert_eq!(accepted(limits, "", key, at), Ok(()), "{at}");
        let said = accepted(limits, "", key, above).unwrap_err();
        assert_eq!(
            said,
            format!("{key} {above:?} on the pod is ignored: policy p allows {bound}")
        );
        assert_eq!(accepted("", "", key, above), Ok(()), "without a bound");
    }
}

#[test]
fn below_a_bound_everything_is_allowed() {
    for (limits, key, value) in [
        ("maxDumps: 20", Key::MaxDumps, "1"),
        ("terminationGracePeriod: 15m", Key::TerminationGracePeriod, "1s"),
        ("preStopDelay: 10s", Key::PreStopDelay, "0s"),
        ("uploadGrace: 1m", Key::UploadGrace, "auto"),
        ("volumeSize: 1Gi", Key::Volume, "emptyDir"),
        ("volumeSize: 1Gi", Key::Volume, "emptyDir:1Mi"),
        ("volumeSize: 1Gi", Key::Volume, "pvc:claim"),
    ] {
        assert_eq!(accepted(limits, "", key, value), Ok(()), "{key} {value}");
    }
}

#[test]
fn a_policys_bucket_holds_unless_it_allows_others() {
    const OURS: &str = "destination: 's3://dumps/prod'";
    let destination = |limits, settings, value| accepted(limits, settings, Key::Destination, value);
    assert_eq!(destination("", OURS, "s3://dumps/team-a"), Ok(()));
    assert_eq!(
        destination("", OURS, "s3://elsewhere/prod"),
        Err(
            "heapship.io/destination \"s3://elsewhere/prod\" on the pod is ignored: policy p allows only the bucket of \
             s3://dumps/prod"
                .to_owned()
        )
    );
    assert_eq!(
        destination("otherBuckets: true", OURS, "s3://elsewhere/prod"),
        Ok(())
    );
    assert_eq!(destination("", "", "s3://elsewhere/prod"), Ok(()));
}

#[test]
fn keys_name_their_namespace_unless_the_policy_allows_others_or_has_no_store() {
    const OURS: &str = "destination: 's3://dumps/prod'";
    let template = |limits, settings, value| accepted(limits, settings, Key::KeyTemplate, value);
    assert_eq!(template("", OURS, "{namespace}/{pod}/{time}"), Ok(()));
    assert_eq!(
        template("", OURS, "{pod}/{time}"),
        Err(
            "heapship.io/key-template \"{pod}/{time}\" on the pod is ignored: policy p allows only templates with \
             {namespace}"
                .to_owned()
        )
    );
    assert_eq!(
        template("keysWithoutNamespace: true", OURS, "{pod}/{time}"),
        Ok(())
    );
    assert_eq!(template("", "", "{pod}/{time}"), Ok(()));
}

#[test]
fn what_annotations_may_not_set_at_all_is_said_and_nobody_is_kept_from_opting_out() {
    let resolved = resolved(
        "settings: [onOom]",
        "",
        &[
            (Key::OnOom, "off"),
            (Key::Compression, "zstd"),
            (Key::Inject, "false"),
        ],
    );
    assert_eq!(
        resolved.warnings,
        [(
            "outside-policy",
            "heapship.io/compression on the pod is ignored: policy p does not let annotations set it"
                .to_owned()
        )]
    );
    let keys: Vec<Key> = resolved.origins.iter().map(|origin| origin.key).collect();
    assert_eq!(keys, [Key::Inject, Key::OnOom]);
}

#[test]
fn an_annotation_that_nobody_knows_is_said_with_the_nearest_one() {
    let mut pod = Annotations::new();
    for key in ["on-ooom", "gibberish-of-somebody", "status", "replaced"] {
        pod.insert(format!("heapship.io/{key}"), "x".to_owned());
    }
    pod.insert("example.com/on-oom".to_owned(), "x".to_owned());
    let nothing = Annotations::new();
    let resolved = resolve(&Layers {
        policy: None,
        namespace: &nothing,
        pod: &pod,
    });
    let said: Vec<&str> = resolved.warnings.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(
        said,
        [
            "unknown annotation heapship.io/gibberish-of-somebody on the pod",
            "unknown annotation heapship.io/on-ooom on the pod; did you mean heapship.io/on-oom?",
        ]
    );
}
