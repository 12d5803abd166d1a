//! Every setting's values: what is taken, and what is refused.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::destination::Destination;
use crate::key::KeyTemplate;
use crate::quantity::Bytes;
use crate::settings::annotations::{Key, page};
use crate::settings::values::{Auto, GracePeriod, SecretName, Switch, UserId, Value, VariableName};
use crate::settings::{Compression, ContainerChoice, Level, Liveness, OnOom, PreStop, PreStopOrder, Volume};

#[test]
fn every_word_means_its_own_value() {
    assert_eq!(bool::read("true"), Ok(true));
    assert_eq!(bool::read("false"), Ok(false));
    assert_eq!(Switch::read("on").map(|Switch(on)| on), Ok(true));
    assert_eq!(Switch::read("off").map(|Switch(on)| on), Ok(false));
    assert_eq!(Auto::read("auto").map(|Auto(on)| on), Ok(true));
    assert_eq!(Auto::read("off").map(|Auto(on)| on), Ok(false));
    assert_eq!(OnOom::read("dump"), Ok(OnOom::Dump));
    assert_eq!(OnOom::read("dump-and-exit"), Ok(OnOom::DumpAndExit));
    assert_eq!(OnOom::read("off"), Ok(OnOom::Off));
    assert_eq!(PreStop::read("off"), Ok(PreStop::Off));
    assert_eq!(PreStop::read("live"), Ok(PreStop::Live));
    assert_eq!(PreStop::read("all"), Ok(PreStop::All));
    assert_eq!(PreStopOrder::read("auto"), Ok(PreStopOrder::Auto));
    assert_eq!(PreStopOrder::read("before"), Ok(PreStopOrder::Before));
    assert_eq!(PreStopOrder::read("after"), Ok(PreStopOrder::After));
    assert_eq!(Liveness::read("keep"), Ok(Liveness::Keep));
    assert_eq!(Liveness::read("extend"), Ok(Liveness::Extend));
    for (word, codec) in [
        ("gzip", Compression::Gzip),
        ("zstd", Compression::Zstd),
        ("none", Compression::None),
    ] {
        assert_eq!(Compression::read(word), Ok(codec));
        assert_eq!(codec.as_str(), word);
    }
    assert!(bool::read("yes").is_err() && Switch::read("true").is_err() && OnOom::read("Dump").is_err());
}

#[test]
fn a_grace_period_is_whole_seconds_from_one() {
    for (text, seconds) in [("1s", 1), ("1ms", 1), ("1500ms", 2), ("10m", 600)] {
        let wanted = Duration::from_secs(seconds);
        assert_eq!(
            GracePeriod::read(text).map(|GracePeriod(grace)| grace),
            Ok(wanted)
        );
        assert_eq!(Option::<Duration>::read(text), Ok(Some(wanted)));
    }
    assert_eq!(Option::<Duration>::read("auto"), Ok(None));
    assert_eq!(GracePeriod::read("0s").map(drop), Err(" (zero)".to_owned()));
}

#[test]
fn names_are_those_that_kubernetes_takes() {
    let container = |name: &str| ContainerChoice::read(name).is_ok();
    assert!(container("a") && container("a-1") && container(&"a".repeat(63)));
    for name in ["-a", "a-", "a_b", "a.b", "A", &"a".repeat(64)] {
        assert!(!container(name), "{name}");
    }
    let secret = |name: &str| SecretName::read(name).map(|SecretName(name)| name);
    let longest = [vec!["a".repeat(63); 3].join("."), "a".repeat(61)].join(".");
    assert_eq!(longest.len(), 253);
    for name in ["s3", "s3.prod", longest.as_str()] {
        assert_eq!(secret(name).as_deref(), Ok(name));
    }
    for name in [
        "",
        ".",
        "a..b",
        "S3",
        "-s3",
        &format!("{longest}a"),
        &"a".repeat(64),
    ] {
        assert!(secret(name).is_err(), "{name}");
        assert!(Volume::read(&format!("pvc:{name}")).is_err(), "{name}");
        assert!(Volume::read(&format!("ephemeral:{name}:1Gi")).is_err(), "{name}");
    }
}

#[test]
fn a_list_of_containers_says_what_is_wrong_with_it() {
    let refused = |text: &str| ContainerChoice::read(text).unwrap_err();
    assert_eq!(refused("app,*"), " (* stands alone)");
    assert_eq!(refused("app,B"), " (\"B\" is not a container's name)");
    assert_eq!(refused(","), "");
}

#[test]
fn places_and_keys_are_read_as_they_are_written() {
    let destination = Destination::read("s3://dumps/prod").map(|destination| destination.to_string());
    assert_eq!(destination.as_deref(), Ok("s3://dumps/prod"));
    assert_eq!(Destination::read("dumps"), Err(String::new()));
    let template = KeyTemplate::read("{pod}/{time}").map(|template| template.to_string());
    assert_eq!(template.as_deref(), Ok("{pod}/{time}"));
    assert_eq!(
        KeyTemplate::read("{pod}/{time"),
        Err(" (unmatched brace at byte 6)".to_owned())
    );
    assert_eq!(NonZeroU32::read("7").map(NonZeroU32::get), Ok(7));
}

#[test]
fn a_size_is_above_zero() {
    assert_eq!(
        Volume::read("emptyDir:1"),
        Ok(Volume::EmptyDir {
            size_limit: Some(Bytes(1))
        })
    );
    assert_eq!(Volume::read("emptyDir:0"), Err(" (a size of zero)".to_owned()));
    assert_eq!(
        Volume::read("ephemeral:fast:x"),
        Err(" (\"x\": not a size like 500Mi or 20Gi)".to_owned())
    );
}

#[test]
fn a_user_is_a_plain_number_that_kubernetes_takes() {
    for (text, id) in [("0", 0), ("1000", 1000), ("2147483647", 2_147_483_647)] {
        assert_eq!(UserId::read(text).map(|UserId(id)| id), Ok(id));
    }
    for text in ["-1", "+1", "2147483648", "app", ""] {
        assert!(UserId::read(text).is_err(), "{text}");
    }
}

#[test]
fn a_variable_is_one_that_can_be_referred_to_and_is_not_the_strongest() {
    for name in ["JAVA_OPTS", "_x", "a.b-c_1"] {
        assert_eq!(
            VariableName::read(name).map(|VariableName(name)| name).as_deref(),
            Ok(name)
        );
    }
    for name in ["", "1A", "A B", "A$", "A(", "A=", "-A", "_JAVA_OPTIONS"] {
        assert!(VariableName::read(name).is_err(), "{name}");
    }
}

#[test]
fn a_typing_error_is_near_when_a_quarter_of_it_is_wrong() {
    // Two of four letters and more are another word; "agent" has one and a quarter to spend.
    assert_eq!(Key::nearest("agnt"), Some(Key::Agent));
    assert_eq!(Key::nearest("agxyt"), Some(Key::Agent));
    assert_eq!(Key::nearest("axyzt"), None);
    assert_eq!(
        Key::nearest("termnation-grce-perod"),
        Some(Key::TerminationGracePeriod)
    );
    assert_eq!(Key::nearest("xxxxxxxxxx"), None);
}

#[test]
fn the_page_has_a_row_for_every_annotation() {
    let page = page();
    for row in [
        "| `inject` | `mode` | true or false | unset | ",
        "| `on-oom` | `onOom` | dump, dump-and-exit or off | `dump` | ",
        "| `destination` | `destination` | s3://bucket/prefix, gs://bucket/prefix, az://container/prefix or file:///path | \
         from the policy | ",
    ] {
        assert!(page.contains(row), "{row}");
    }
    for key in Key::ALL {
        assert!(
            page.contains(&format!("| `{}` | ", key.description().name)),
            "{key}"
        );
    }
}

#[test]
fn levels_are_named_as_a_sentence_needs_them() {
    assert_eq!(Level::Pod.to_string(), "the pod");
    assert_eq!(Level::Namespace.to_string(), "the namespace");
    assert_eq!(Level::Policy("base".to_owned()).to_string(), "policy base");
}
