//! What a file's name says: is it a dump, a segment of one, and why was it written? Pure.

use serde::{Deserialize, Serialize};

/// Why a dump was written: `{reason}` in keys.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The JVM ran out of memory.
    Oom,
    /// Live objects, before termination.
    PreStopLive,
    /// All objects, before termination.
    PreStopAll,
    /// A person asked for it.
    OnDemand,
    /// The name tells nothing.
    Unknown,
}

impl Reason {
    /// As it stands in keys, records and metadata.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Oom => "oom",
            Self::PreStopLive => "pre-stop-live",
            Self::PreStopAll => "pre-stop-all",
            Self::OnDemand => "on-demand",
            Self::Unknown => "unknown",
        }
    }

    /// From the name that the JVM (`java_pid1.hprof`) or our own toolbox gave the file.
    #[must_use]
    pub fn of(name: &str) -> Self {
        match name {
            _ if name.starts_with("java_pid") => Self::Oom,
            _ if name.starts_with("pre-stop-live-") => Self::PreStopLive,
            _ if name.starts_with("pre-stop-all-") => Self::PreStopAll,
            _ if name.starts_with("on-demand-") => Self::OnDemand,
            _ => Self::Unknown,
        }
    }
}

/// Whether it is a dump by its name: `*.hprof` or `*.hprof.gz`, with the `.N` that `HotSpot` appends from the second dump
/// of one process on. The `.pN` of JDK 22 and later are segments, not dumps.
#[must_use]
pub fn is_dump(name: &str) -> bool {
    let stem = match name.rsplit_once('.') {
        Some((stem, digits)) if is_number(digits) => stem,
        _ => name,
    };
    let stem = stem.strip_suffix(".gz").unwrap_or(stem);
    stem.strip_suffix(".hprof")
        .is_some_and(|stem| !stem.is_empty() && !stem.starts_with('.'))
}

/// The dump that a segment belongs to: `java_pid1.hprof` for `java_pid1.hprof.p0`.
#[must_use]
pub fn segment_of(name: &str) -> Option<&str> {
    let (main, suffix) = name.rsplit_once('.')?;
    is_number(suffix.strip_prefix('p')?).then_some(main)
}

/// Whether `name` is the file that a `HeapDumpPath` of this file name gives: itself, or with `HotSpot`'s `.N`.
#[must_use]
pub fn is_at_path(name: &str, file: &str) -> bool {
    name.strip_prefix(file)
        .is_some_and(|rest| rest.is_empty() || rest.strip_prefix('.').is_some_and(is_number))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dumps_are_told_from_segments_and_other_files() {
        for name in [
            "java_pid1.hprof",
            "java_pid1.hprof.6",
            "java_pid1.hprof.gz",
            "x.hprof.gz.12",
            "a.b.hprof",
        ] {
            assert!(is_dump(name), "{name}");
        }
        for name in [
            "java_pid1.hprof.p0",
            "x.hprof.tmp",
            "x.hprof.gz.p1",
            ".hprof",
            ".x.hprof",
            "x.log",
            "hprof",
            "x.hprof.",
            "7",
        ] {
            assert!(!is_dump(name), "{name}");
        }
    }

    #[test]
    fn a_segment_names_its_dump() {
        assert_eq!(segment_of("java_pid1.hprof.p0"), Some("java_pid1.hprof"));
        assert_eq!(segment_of("java_pid1.hprof.p12"), Some("java_pid1.hprof"));
        assert_eq!(segment_of("java_pid1.hprof"), None);
        assert_eq!(segment_of("java_pid1.hprof.p"), None);
        assert_eq!(segment_of("java_pid1.hprof.1"), None);
    }

    #[test]
    fn the_name_tells_the_reason() {
        assert_eq!(Reason::of("java_pid1.hprof.gz"), Reason::Oom);
        assert_eq!(Reason::of("pre-stop-live-1.hprof"), Reason::PreStopLive);
        assert_eq!(Reason::of("pre-stop-all-1.hprof"), Reason::PreStopAll);
        assert_eq!(Reason::of("on-demand-1.hprof"), Reason::OnDemand);
        assert_eq!(Reason::of("heap.hprof"), Reason::Unknown);
    }

    #[test]
    fn a_path_of_the_users_own_takes_hotspots_numbers() {
        assert!(is_at_path("dump.bin", "dump.bin"));
        assert!(is_at_path("dump.bin.3", "dump.bin"));
        assert!(!is_at_path("dump.bin.p0", "dump.bin"));
        assert!(!is_at_path("dump.binary", "dump.bin"));
    }
}
