//! One dump between its claim and its end, as the loop sees it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::attempt::{Attempt, Evidence};
use super::gzip::is_gzip;
use super::ledger::{Entry, Stage};
use super::quiet::{Look, Quiet};
use super::record::Completeness;
use super::source;

/// A dump and what was seen of it.
pub struct Tracked {
    /// Name of its entry.
    pub name: String,
    /// Its entry.
    pub entry: Entry,
    /// The file.
    pub file: PathBuf,
    /// Where its segments are, unless a later dump of its name has taken them over: their JVM is another one.
    pub segments: Option<PathBuf>,
    /// Since when it looks the same.
    pub quiet: Quiet,
    /// What its end looked like, at which look.
    ending: Option<(Look, End)>,
    /// The look at which a walk said that it is not whole.
    pub judged: Option<Look>,
    /// The look at which it was too short to tell what it is: `HotSpot` makes the file before the collection that a dump
    /// of live objects begins with, which may take minutes.
    pub too_short: Option<Look>,
    /// Attempts that failed in a row.
    pub failures: u32,
    /// When the next attempt may be.
    pub not_before: Option<Instant>,
    /// No attempt will be made by this process.
    pub given_up: bool,
}

/// What the last bytes of a file are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    /// The end record of a dump.
    Record,
    /// Unknown, since it is gzip.
    Gzip,
    /// Anything else.
    Other,
}

/// Tag 0x2C, no time, no length: what `HotSpot` writes last.
const END_RECORD: [u8; 9] = [0x2c, 0, 0, 0, 0, 0, 0, 0, 0];
/// Inflating a whole dump to find out is not worth it while it grows.
const GZIP_PAUSE: Duration = Duration::from_secs(2);
/// Of the wait when we are to end, where the grace period may be over in 2 s.
const ENDING_PAUSE: Duration = Duration::from_secs(1);

impl Tracked {
    /// Seen for the first time.
    #[must_use]
    pub const fn new(name: String, entry: Entry, file: PathBuf, look: Look, now: Instant) -> Self {
        Self {
            name,
            entry,
            file,
            segments: None,
            quiet: Quiet::new(look, now),
            ending: None,
            judged: None,
            too_short: None,
            failures: 0,
            not_before: None,
            given_up: false,
        }
    }

    /// Takes another look; reads the end of the file where it has changed.
    pub fn look(&mut self, look: Look, now: Instant) {
        if self.ending.as_ref().is_none_or(|(before, _)| *before != look) {
            let end = source::open(&self.file)
                .and_then(|file| end_of(&file))
                .unwrap_or(End::Other);
            self.ending = Some((look.clone(), end));
        }
        self.quiet.look(look, now);
    }

    /// Why it should be finished, if it should.
    #[must_use]
    pub fn evidence(&self, settle: Duration, ending: bool, now: Instant) -> Option<Evidence> {
        let end = self.ending.as_ref().map_or(End::Other, |(_, end)| *end);
        let last = self.quiet.last();
        // What was sent as it stood was walked before.
        let news = self.judged.as_ref() != Some(last) && !self.entry.stage.is_as_sent(last);
        let quiet = |pause: Duration| self.quiet.settled(pause.min(settle), now);
        if self.is_too_short() {
            return None;
        }
        if news && end == End::Record {
            // First, also where it has been quiet for long: it costs one pass over the file, the others cost two.
            Some(Evidence::LooksWhole)
        } else if self.quiet.last().0.is_empty() || quiet(settle) {
            Some(Evidence::Settled)
        } else if news && end == End::Gzip && quiet(GZIP_PAUSE) {
            Some(Evidence::LooksWhole)
        } else if ending && quiet(ENDING_PAUSE) {
            Some(Evidence::Ending)
        } else {
            None
        }
    }

    /// Whether it is stored, or gone: what is left is tidying up.
    #[must_use]
    pub fn needs_no_upload(&self, evidence: Option<Evidence>) -> bool {
        let look = self.quiet.last();
        let gone = look.0.is_empty();
        let foreign = self.entry.foreign.is_some();
        match &self.entry.stage {
            Stage::Stored { unsure, .. } if self.entry.stage.is_as_sent(look) => {
                !unsure || evidence == Some(Evidence::Settled)
            }
            // Another dump is in the place of one that was stored, and will be claimed next.
            Stage::Stored { unsure: false, .. } if foreign => true,
            Stage::Claimed | Stage::Uploading { .. } | Stage::Stored { .. } | Stage::Kept { .. } => gone,
        }
    }

    /// Whether all of it is stored: what is left of its segments is of no use. Those of a dump that is not whole go after
    /// it, since they are part of how it looked when it was sent.
    #[must_use]
    pub fn is_stored_whole(&self) -> bool {
        match &self.entry.stage {
            Stage::Stored { record, .. } => record.completeness == Completeness::Complete,
            Stage::Claimed | Stage::Uploading { .. } | Stage::Kept { .. } => false,
        }
    }

    /// Whether there is nothing to do as long as the file stays as it is.
    #[must_use]
    pub fn rests(&self) -> bool {
        let look = self.quiet.last();
        match &self.entry.stage {
            Stage::Kept { mark } => look.file() == Some(*mark),
            Stage::Stored { unsure: true, .. } => self.entry.stage.is_as_sent(look),
            Stage::Claimed | Stage::Uploading { .. } | Stage::Stored { .. } => self.is_too_short(),
        }
    }

    /// Whether it was shipped as it stood and is kept until it is sure that nobody is writing.
    #[must_use]
    pub const fn is_unsure(&self) -> bool {
        matches!(self.entry.stage, Stage::Stored { unsure: true, .. })
    }

    /// Whether it is too short to tell what it is, and has been for long.
    #[must_use]
    pub fn is_too_short(&self) -> bool {
        self.too_short.as_ref() == Some(self.quiet.last())
    }

    /// Whether the pause after the last failure is over.
    #[must_use]
    pub fn is_due(&self, now: Instant) -> bool {
        !self.given_up && self.not_before.is_none_or(|at| at <= now)
    }

    /// An attempt to be made now.
    #[must_use]
    pub fn attempt(&self, evidence: Evidence) -> Attempt {
        Attempt {
            name: self.name.clone(),
            entry: self.entry.clone(),
            file: self.file.clone(),
            evidence,
            segments: self.segments.clone(),
            look: self.quiet.last().clone(),
        }
    }
}

fn end_of(file: &File) -> io::Result<End> {
    let mut beginning = [0; 2];
    let read = file.read_at(&mut beginning, 0)?;
    if is_gzip(beginning.get(..read).unwrap_or_default()) {
        return Ok(End::Gzip);
    }
    let mut end = [0; END_RECORD.len()];
    let Some(offset) = file.metadata()?.len().checked_sub(end.len() as u64) else {
        return Ok(End::Other);
    };
    file.read_exact_at(&mut end, offset)?;
    Ok(if end == END_RECORD {
        End::Record
    } else {
        End::Other
    })
}
