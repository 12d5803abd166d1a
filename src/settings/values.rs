//! The grammar of the settings' values: one parser per setting, for annotations and policies alike.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::destination::Destination;
use crate::key::KeyTemplate;
use crate::quantity::{self, Bytes};
use crate::settings::{Compression, ContainerChoice, Liveness, OnOom, PreStop, PreStopOrder, Volume};

/// What a value's text means. One parser per setting; used for annotations and policies alike.
pub trait Value: Sized {
    /// Parses trimmed, non-empty text. The error is what exactly was wrong, or empty.
    ///
    /// # Errors
    /// When the text is not allowed.
    fn read(text: &str) -> Result<Self, String>;
}

/// `true`, `false`
impl Value for bool {
    fn read(text: &str) -> Result<Self, String> {
        match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(String::new()),
        }
    }
}

macro_rules! words {
    ($($type:ty { $($word:literal => $value:expr),+ $(,)? })+) => {$(
        impl Value for $type {
            fn read(text: &str) -> Result<Self, String> {
                match text {
                    $($word => Ok($value),)+
                    _ => Err(String::new()),
                }
            }
        }
    )+};
}

/// `on`, `off`
#[derive(Clone, Copy, Debug)]
pub struct Switch(pub bool);

words! {
    Switch { "on" => Switch(true), "off" => Switch(false) }
    OnOom { "dump" => OnOom::Dump, "dump-and-exit" => OnOom::DumpAndExit, "off" => OnOom::Off }
    PreStop { "off" => PreStop::Off, "live" => PreStop::Live, "all" => PreStop::All }
    PreStopOrder { "auto" => PreStopOrder::Auto, "before" => PreStopOrder::Before, "after" => PreStopOrder::After }
    Liveness { "keep" => Liveness::Keep, "extend" => Liveness::Extend }
    Compression { "gzip" => Compression::Gzip, "zstd" => Compression::Zstd, "none" => Compression::None }
}

/// `auto`, `off`
#[derive(Clone, Copy, Debug)]
pub struct Auto(pub bool);

words! { Auto { "auto" => Auto(true), "off" => Auto(false) } }

impl Value for Duration {
    fn read(text: &str) -> Result<Self, String> {
        quantity::parse_duration(text).map_err(|error| format!(" ({error})"))
    }
}

/// A duration of at least a second, in whole seconds, as Kubernetes' grace periods are; a fraction is rounded up.
#[derive(Clone, Copy, Debug)]
pub struct GracePeriod(pub Duration);

impl Value for GracePeriod {
    fn read(text: &str) -> Result<Self, String> {
        let duration = Duration::read(text)?;
        let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
        if seconds == 0 {
            Err(" (zero)".to_owned())
        } else {
            Ok(Self(Duration::from_secs(seconds)))
        }
    }
}

/// `auto` is `None`.
impl Value for Option<Duration> {
    fn read(text: &str) -> Result<Self, String> {
        if text == "auto" {
            Ok(None)
        } else {
            GracePeriod::read(text).map(|grace| Some(grace.0))
        }
    }
}

impl Value for ContainerChoice {
    fn read(text: &str) -> Result<Self, String> {
        let mut names: Vec<String> = Vec::new();
        for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            if name == "*" {
                return if text.trim() == "*" {
                    Ok(Self::All)
                } else {
                    Err(" (* stands alone)".to_owned())
                };
            }
            if !is_label(name) {
                return Err(format!(" ({name:?} is not a container's name)"));
            }
            if !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
        if names.is_empty() {
            Err(String::new())
        } else {
            Ok(Self::Named(names))
        }
    }
}

impl Value for Volume {
    fn read(text: &str) -> Result<Self, String> {
        let size = |text: &str| match Bytes::parse(text) {
            Ok(Bytes(0)) => Err(" (a size of zero)".to_owned()),
            Ok(size) => Ok(size),
            Err(error) => Err(format!(" ({text:?}: {error})")),
        };
        let parts: Vec<&str> = text.split(':').collect();
        match parts.as_slice() {
            ["emptyDir"] => Ok(Self::EmptyDir { size_limit: None }),
            ["emptyDir", limit] => Ok(Self::EmptyDir {
                size_limit: Some(size(limit)?),
            }),
            ["pvc", name] if is_subdomain(name) => Ok(Self::Claim {
                name: (*name).to_owned(),
            }),
            ["ephemeral", class, bytes] if is_subdomain(class) => Ok(Self::Ephemeral {
                class: (*class).to_owned(),
                size: size(bytes)?,
            }),
            _ => Err(String::new()),
        }
    }
}

impl Value for Destination {
    fn read(text: &str) -> Result<Self, String> {
        Self::parse(text).ok_or_else(String::new)
    }
}

impl Value for KeyTemplate {
    fn read(text: &str) -> Result<Self, String> {
        Self::parse(text).map_err(|error| format!(" ({error})"))
    }
}

/// A Secret's name.
#[derive(Clone, Debug)]
pub struct SecretName(pub String);

impl Value for SecretName {
    fn read(text: &str) -> Result<Self, String> {
        if is_subdomain(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(String::new())
        }
    }
}

/// A user id as Kubernetes allows it: 0 to 2^31 - 1.
#[derive(Clone, Copy, Debug)]
pub struct UserId(pub i64);

impl Value for UserId {
    fn read(text: &str) -> Result<Self, String> {
        match text.parse::<i32>() {
            Ok(id) if id >= 0 && text.bytes().all(|b| b.is_ascii_digit()) => Ok(Self(i64::from(id))),
            _ => Err(String::new()),
        }
    }
}

/// Printable ASCII without `=`, as Kubernetes 1.34 allows; no `$` or parentheses, since we refer to it.
#[derive(Clone, Debug)]
pub struct VariableName(pub String);

impl Value for VariableName {
    fn read(text: &str) -> Result<Self, String> {
        let first = |c: char| c.is_ascii_alphabetic() || c == '_';
        let rest = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        if text.starts_with(first) && text.chars().all(rest) && text != "_JAVA_OPTIONS" {
            Ok(Self(text.to_owned()))
        } else {
            Err(String::new())
        }
    }
}

impl Value for NonZeroU32 {
    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| String::new())
    }
}

/// A DNS label: container names.
fn is_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !text.is_empty()
        && text.len() <= 63
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// A DNS subdomain: names of Secrets, claims and classes.
fn is_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn repeated_container_names_count_once_and_are_trimmed() {
        let names = ContainerChoice::Named(vec!["app".into(), "worker".into()]);
        assert_eq!(ContainerChoice::read("app, worker ,app,"), Ok(names));
        assert_eq!(ContainerChoice::read("*"), Ok(ContainerChoice::All));
        assert!(ContainerChoice::read("app,*").is_err());
        assert!(ContainerChoice::read("App").is_err());
        assert!(ContainerChoice::read(",").is_err());
    }

    #[test]
    fn reads_every_form_of_volume() {
        assert_eq!(
            Volume::read("emptyDir"),
            Ok(Volume::EmptyDir { size_limit: None })
        );
        assert_eq!(
            Volume::read("emptyDir:1Gi"),
            Ok(Volume::EmptyDir {
                size_limit: Some(Bytes(1 << 30))
            })
        );
        assert_eq!(
            Volume::read("pvc:dumps"),
            Ok(Volume::Claim { name: "dumps".into() })
        );
        let ephemeral = Volume::Ephemeral {
            class: "fast".into(),
            size: Bytes(20 << 30),
        };
        assert_eq!(Volume::read("ephemeral:fast:20Gi"), Ok(ephemeral));
        for text in [
            "emptydir",
            "emptyDir:",
            "emptyDir:0",
            "pvc:",
            "pvc:a:b",
            "ephemeral:fast",
            "emptyDir:20GB",
        ] {
            assert!(Volume::read(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_a_parser_panic(text in "\\PC{0,40}") {
            let _ = ContainerChoice::read(&text);
            let _ = Volume::read(&text);
            let _ = Destination::read(&text);
            let _ = KeyTemplate::read(&text);
            let _ = Option::<Duration>::read(&text);
            let _ = VariableName::read(&text);
            let _ = UserId::read(&text);
        }
    }
}
