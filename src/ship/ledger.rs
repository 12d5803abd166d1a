//! What is on disk about the dumps that are ours to ship, and what a restart makes of it.
//!
//! Below the directory of dumps, `.heapship/claimed/CONTAINER/` holds for every dump
//!
//! * the file itself, renamed to `TIME~NAME` (unless it is foreign: then it stays where the user wants it), and
//! * its entry `TIME~NAME.json`: written to a temporary name and renamed, so that it is whole or not there.
//!
//! A kill between any two steps leaves one of these states:
//!
//! | file | entry | how it came about | next |
//! |---|---|---|---|
//! | yes | no | claimed, not noted | adopt: name and time stand in the file's name |
//! | yes | claimed | noted, no upload begun | ship |
//! | yes | uploading | an upload may be open | abort it, ship again to the same key |
//! | yes | stored | confirmed by the store | write the record, delete, forget |
//! | changed | stored | its writer lived after all | ship again to the same key |
//! | no | stored | deleted, not forgotten | forget |
//! | no | claimed, uploading | somebody else deleted it | abort, forget, say so |
//! | foreign, changed | stored | another dump took its place | write the record, keep the mark of what was sent |
//! | foreign | kept | shipped or refused before | remember, until the file changes |
//!
//! An entry that cannot be written, since the dump has filled the disk, costs nothing but the memory of an open upload.

mod disk;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::codec::Codec;
use super::dump_name::Reason;
use super::quiet::Look;
use super::record::{Completeness, Record};
use super::store::UploadId;
use super::time::Time;

pub use disk::{Disk, Error, Found, History, Mark, Upload};
pub(super) use disk::{shared_folder, write as write_whole};

/// What is noted about one dump.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// The container that the dump is from.
    pub container: String,
    /// The name that the JVM gave the file.
    pub file: String,
    /// Why it was written.
    pub reason: Reason,
    /// Its place in the order of claims. Clocks are set back, and the newest dump must be known all the same.
    #[serde(default)]
    pub sequence: u64,
    /// The file's own time.
    pub time: Time,
    /// When the agent saw it.
    pub seen: Time,
    /// The key, without the codec's suffix: fixed now, so that every attempt goes to the same place.
    pub key: String,
    /// The file, where it is not ours to rename and delete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub foreign: Option<PathBuf>,
    /// How far it is.
    pub stage: Stage,
}

/// How far a dump is.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", tag = "is")]
pub enum Stage {
    /// Ours; nothing sent yet.
    Claimed,
    /// An upload was begun, or was about to be.
    Uploading {
        /// Where to.
        object: String,
        /// As what.
        codec: Codec,
        /// The store's name for it, once there is one.
        upload: Option<String>,
    },
    /// The store has confirmed the object; the record may be missing.
    Stored {
        /// The record to be written beside it.
        record: Box<Record>,
        /// How the file and its segments looked when they were sent. Nothing else may be deleted for it.
        sent: Look,
        /// The file may still have had a writer: it is kept until that is settled.
        #[serde(default)]
        unsure: bool,
    },
    /// A foreign file that was shipped, or is no dump, as it was then.
    Kept {
        /// How it looked.
        mark: Mark,
    },
}

/// What is to be done with a dump that was found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Step {
    /// Make an entry from the file's name.
    Adopt,
    /// Send it, once it is finished.
    Ship,
    /// Give up the upload left open, then as [`Self::Ship`].
    AbortThenShip(UploadId),
    /// Write the record, then delete the file.
    Finish,
    /// Remove the entry.
    Forget,
    /// Give up the upload left open, then as [`Self::Forget`].
    AbortThenForget(UploadId),
    /// Nothing, as long as the file stays as it is.
    Remember,
}

impl Stage {
    /// Whether a stored dump still looks as it was sent. Segments belong to one that is not whole.
    #[must_use]
    pub fn is_as_sent(&self, now: &Look) -> bool {
        match self {
            Self::Stored { record, sent, .. } => match record.completeness {
                Completeness::Complete => now.file() == sent.file(),
                Completeness::Truncated { .. } => now == sent,
            },
            Self::Claimed | Self::Uploading { .. } | Self::Kept { .. } => false,
        }
    }
}

/// What comes next, from what is on disk: `now` is how the dump looks, empty where it is gone, and a foreign one is not
/// ours to delete.
#[must_use]
pub fn next(now: &Look, stage: Option<&Stage>, foreign: bool) -> Step {
    let Some(file) = now.file() else {
        return match stage {
            Some(Stage::Uploading { upload: Some(id), .. }) => Step::AbortThenForget(UploadId(id.clone())),
            None
            | Some(Stage::Claimed | Stage::Uploading { .. } | Stage::Stored { .. } | Stage::Kept { .. }) => {
                Step::Forget
            }
        };
    };
    match stage {
        None => Step::Adopt,
        Some(Stage::Uploading { upload: Some(id), .. }) => Step::AbortThenShip(UploadId(id.clone())),
        Some(stage @ Stage::Stored { unsure, .. }) => {
            if stage.is_as_sent(now) || foreign && !unsure {
                Step::Finish
            } else {
                Step::Ship
            }
        }
        Some(Stage::Kept { mark }) if file == *mark => Step::Remember,
        Some(Stage::Claimed | Stage::Uploading { .. } | Stage::Kept { .. }) => Step::Ship,
    }
}

/// Name of a claimed file, which is enough to make its entry again.
#[must_use]
pub fn claimed_name(time: &str, file: &str) -> String {
    // 255 bytes is what a name may have; the entry's suffix and the temporary's must fit as well.
    let mut start = file.len().saturating_sub(200);
    while !file.is_char_boundary(start) {
        start += 1;
    }
    format!("{time}~{}", file.get(start..).unwrap_or_default())
}

/// The time, with its number where two dumps had one, and the file's name, from a claimed file's.
#[must_use]
pub fn parse_claimed_name(name: &str) -> Option<(&str, Time, &str)> {
    let (text, file) = name.split_once('~')?;
    let (time, number) = text.split_once('-').unwrap_or((text, "0"));
    number.parse::<u32>().ok()?;
    (!file.is_empty()).then_some((text, Time::parse_key_text(time)?, file))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ship::record::{Identity, Sizes, Times};

    fn mark(size: u64) -> Mark {
        Mark {
            inode: 2,
            size,
            modified_ns: 3,
        }
    }

    fn look(size: u64) -> Look {
        Look(vec![mark(size)])
    }

    fn time() -> Time {
        Time::from_millisecond(1_795_640_733_123).unwrap()
    }

    fn uploading(upload: Option<&str>) -> Stage {
        Stage::Uploading {
            object: "k.gz".into(),
            codec: Codec::Gzip,
            upload: upload.map(str::to_owned),
        }
    }

    fn stored(sent: Look, whole: bool, unsure: bool) -> Stage {
        Stage::Stored {
            record: Box::new(Record {
                identity: Identity::default(),
                container: "app".into(),
                image: String::new(),
                jvm: None,
                reason: Reason::Oom,
                file: "java_pid1.hprof".into(),
                key: "k.gz".into(),
                times: Times {
                    began: None,
                    seen: time(),
                    uploaded: time(),
                },
                bytes: Sizes { dump: 1, object: 1 },
                crc32: "00000000".into(),
                sha256: String::new(),
                completeness: if whole {
                    Completeness::Complete
                } else {
                    Completeness::Truncated {
                        offset: 9,
                        reason: "cut".into(),
                    }
                },
                codec: Codec::Gzip,
                dropped: 0,
                shipped_by: None,
                heapship: "0".into(),
            }),
            sent,
            unsure,
        }
    }

    #[test]
    fn every_state_that_a_kill_can_leave_is_brought_to_its_end() {
        let (there, gone) = (look(1), Look::default());
        let next = |now: &Look, stage: Option<&Stage>| next(now, stage, false);
        assert_eq!(next(&there, None), Step::Adopt);
        assert_eq!(next(&there, Some(&Stage::Claimed)), Step::Ship);
        assert_eq!(next(&there, Some(&uploading(None))), Step::Ship);
        assert_eq!(
            next(&there, Some(&uploading(Some("u")))),
            Step::AbortThenShip(UploadId("u".into()))
        );
        assert_eq!(next(&there, Some(&stored(look(1), true, false))), Step::Finish);
        assert_eq!(next(&gone, Some(&stored(look(1), true, false))), Step::Forget);
        assert_eq!(next(&gone, Some(&Stage::Claimed)), Step::Forget);
        assert_eq!(
            next(&gone, Some(&uploading(Some("u")))),
            Step::AbortThenForget(UploadId("u".into()))
        );
        assert_eq!(next(&gone, None), Step::Forget);
    }

    #[test]
    fn a_dump_that_changed_after_it_was_sent_is_never_deleted_but_shipped_again() {
        for whole in [true, false] {
            for unsure in [true, false] {
                let stage = stored(look(1), whole, unsure);
                assert_eq!(next(&look(2), Some(&stage), false), Step::Ship);
                assert_eq!(next(&look(1), Some(&stage), false), Step::Finish);
            }
        }
    }

    #[test]
    fn segments_count_for_a_dump_that_is_not_whole() {
        let grown = Look(vec![mark(1), mark(5)]);
        assert_eq!(
            next(&grown, Some(&stored(look(1), false, false)), false),
            Step::Ship
        );
        assert_eq!(
            next(&grown, Some(&stored(look(1), true, false)), false),
            Step::Finish
        );
    }

    #[test]
    fn a_foreign_dump_that_was_replaced_is_another_one() {
        assert_eq!(
            next(&look(2), Some(&stored(look(1), true, false)), true),
            Step::Finish
        );
        assert_eq!(
            next(&look(2), Some(&stored(look(1), false, true)), true),
            Step::Ship
        );
    }

    #[test]
    fn a_foreign_dump_is_shipped_once_for_each_content() {
        let kept = Stage::Kept { mark: mark(1) };
        assert_eq!(next(&look(1), Some(&kept), true), Step::Remember);
        assert_eq!(next(&look(2), Some(&kept), true), Step::Ship);
        assert_eq!(next(&Look::default(), Some(&kept), true), Step::Forget);
    }

    #[test]
    fn entries_are_read_back_as_they_were_written() {
        for stage in [
            Stage::Claimed,
            uploading(Some("u")),
            stored(look(7), false, true),
            Stage::Kept { mark: mark(1) },
        ] {
            let entry = Entry {
                container: "app".into(),
                file: "java_pid1.hprof".into(),
                reason: Reason::Oom,
                sequence: 3,
                time: time(),
                seen: time(),
                key: "k.hprof".into(),
                foreign: None,
                stage,
            };
            let text = serde_json::to_string(&entry).unwrap();
            assert_eq!(serde_json::from_str::<Entry>(&text).unwrap(), entry, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_claimed_name_tells_time_and_file(file in "[^/~\\x00]{1,60}", number in 0_u32..4) {
            let text = match number {
                0 => time().key_text(),
                number => format!("{}-{number}", time().key_text()),
            };
            let name = claimed_name(&text, &file);
            prop_assert_eq!(parse_claimed_name(&name), Some((text.as_str(), time(), file.as_str())));
        }

        #[test]
        fn no_name_makes_the_parser_panic(name in "\\PC{0,40}", file in "\\PC{0,300}") {
            let _ = parse_claimed_name(&name);
            prop_assert!(claimed_name("20261125T210533.123Z", &file).len() < 245);
        }
    }
}
