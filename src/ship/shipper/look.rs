//! Looking: what is in the ledger, what has appeared, what has grown, which segments nobody will need again.

use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::{Mode, Shipper};
use crate::key::Values;
use crate::ship::dump_name::{Reason, segment_of};
use crate::ship::ledger::{Entry, Found, History, Mark, Stage, claimed_name, parse_claimed_name};
use crate::ship::places::{Listing, Place, look_at};
use crate::ship::quiet::{Look, Quiet};
use crate::ship::time::Time;
use crate::ship::tracked::Tracked;

impl Shipper {
    /// Reads what an agent before this one has left. What cannot be read now is tried again at the next look.
    pub(super) fn recover(&mut self) {
        for place in std::mem::take(&mut self.unrecovered) {
            let container = &place.source.name;
            let claimed = self.context.disk.claimed(container);
            let found = match self.context.disk.found(container) {
                Ok(found) => found,
                Err(error) => {
                    self.complain(&claimed, "cannot look into", &error);
                    self.unrecovered.push(place);
                    continue;
                }
            };
            self.unclaimed.remove(&claimed);
            for Found { name, file, entry } in found {
                let known = |dump: &Tracked| dump.name == name && dump.entry.container == *container;
                if self.tracked.iter().any(known) {
                    continue;
                }
                let Some(entry) = entry.or_else(|| self.adopted(&place, &name)) else {
                    tracing::warn!(container, name, "not one of ours; left alone");
                    continue;
                };
                let path = match &entry.foreign {
                    // At that path there is another pod's volume now: ours.
                    Some(_) if self.mode == Mode::Adopt => continue,
                    Some(path) => path.clone(),
                    None => claimed.join(&name),
                };
                if file {
                    tracing::info!(container, dump = entry.file, "found again: going on with it");
                }
                self.track(name, entry, path, Instant::now());
            }
        }
    }

    /// The entry of a dump that was claimed and not noted.
    fn adopted(&self, place: &Place, name: &str) -> Option<Entry> {
        let (text, time, file) = parse_claimed_name(name)?;
        Some(Entry {
            container: place.source.name.clone(),
            file: file.to_owned(),
            reason: Reason::of(file),
            sequence: self.next_sequence(),
            time,
            seen: Time::now(),
            key: self.key(place, text, Reason::of(file)),
            foreign: None,
            stage: Stage::Claimed,
        })
    }

    fn next_sequence(&self) -> u64 {
        let sequences = self.tracked.iter().map(|dump| dump.entry.sequence);
        sequences.max().unwrap_or(0).saturating_add(1)
    }

    /// Claims what has appeared and looks at what is growing.
    pub(super) fn look(&mut self, now: Instant) {
        self.unclaimed.retain(|file, _| file.exists());
        let mut appeared: Vec<(Time, Place, String)> = Vec::new();
        for place in self.places.clone() {
            let listing = match place.list() {
                Ok(listing) => {
                    self.unclaimed.remove(place.directory());
                    listing
                }
                Err(error) => {
                    self.complain(place.directory(), "cannot look into", &error);
                    Listing::default()
                }
            };
            self.look_at_segments(&place, &listing, now);
            for name in listing.dumps {
                let file = place.directory().join(&name);
                match fs::symlink_metadata(&file) {
                    Ok(metadata) => appeared.push((file_time(&metadata), place.clone(), name)),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => self.complain(&file, "cannot look at", &error),
                }
            }
        }
        // Those that appeared between two looks are put in order by their own times.
        appeared.sort_by_key(|(time, ..)| *time);
        for (_, place, name) in appeared {
            let file = place.directory().join(&name);
            match self.take(&place, &name, &file, now) {
                Ok(()) => drop(self.unclaimed.remove(&file)),
                // Renamed or deleted by somebody between listing and claiming.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => self.complain(&file, "cannot claim", &error),
            }
        }
        self.end_first_look();
        let segments: Vec<Option<PathBuf>> = self.tracked.iter().map(|dump| self.segments_of(dump)).collect();
        for (dump, segments) in self.tracked.iter_mut().zip(segments) {
            dump.segments = segments;
            // Where the system does not answer, nothing is known, and least of all that the dump is gone.
            if let Ok(look) = look_at(&dump.file, &dump.entry.file, dump.segments.as_deref()) {
                dump.look(look, now);
            }
        }
    }

    /// From now on what appears on a volume of the user's own is this pod's.
    fn end_first_look(&mut self) {
        if !self.first_look || !self.unrecovered.is_empty() {
            return;
        }
        self.first_look = false;
        let history = History {
            looked: true,
            ..self.context.disk.history(Time::now())
        };
        if let Err(error) = self.context.disk.save_history(&history) {
            tracing::warn!(%error, "cannot note that this pod has begun; after a restart dumps written until then are not shipped");
        }
    }

    fn take(&mut self, place: &Place, name: &str, file: &Path, now: Instant) -> io::Result<()> {
        let metadata = fs::symlink_metadata(file)?;
        let mark = Mark::of(&metadata);
        if place.is_foreign() {
            if !self.unrecovered.is_empty() {
                // What was shipped before is not known yet.
                return Ok(());
            }
            let known = self.tracked.iter().position(|dump| dump.file == file);
            match known
                .and_then(|at| self.tracked.get(at))
                .map(|dump| &dump.entry.stage)
            {
                // The same name, another dump: the one before it was shipped.
                Some(Stage::Kept { mark: kept }) if *kept != mark => {
                    if let Some(at) = known {
                        let dump = self.tracked.remove(at);
                        self.context.disk.forget(&dump.entry.container, &dump.name)?;
                    }
                }
                Some(_) => return Ok(()),
                None => {}
            }
        }
        if !place.is_foreign() {
            self.remove_older_segments(place, name, &metadata);
        }
        let before_this_pod = place.is_foreign()
            && self.first_look
            && mark.written().is_some_and(|written| written < self.started);
        let time = file_time(&metadata);
        let reason = place.reason(name);
        let (text, key) = self.free_key(place, time, reason);
        let claimed = claimed_name(&text, name);
        let entry = Entry {
            container: place.source.name.clone(),
            file: name.to_owned(),
            reason,
            sequence: self.next_sequence(),
            time,
            seen: Time::now(),
            key,
            foreign: place.is_foreign().then(|| file.to_owned()),
            stage: if before_this_pod {
                Stage::Kept { mark }
            } else {
                Stage::Claimed
            },
        };
        let path = match &entry.foreign {
            Some(path) => path.clone(),
            None => {
                self.context.hold().map_err(io::Error::other)?;
                self.context.disk.claim(&place.source.name, file, &claimed)?
            }
        };
        if let Err(error) = self.context.disk.save(&claimed, &entry) {
            tracing::warn!(dump = name, %error, "cannot note the claim; its name is enough");
        }
        let container = &place.source.name;
        if before_this_pod {
            tracing::info!(
                container,
                dump = name,
                "{name} is older than this pod: not shipped"
            );
        } else {
            tracing::info!(container, reason = reason.as_str(), dump = name, "claimed {name}");
        }
        self.track(claimed, entry, path, now);
        Ok(())
    }

    /// A JVM makes the main file first, so a segment that is older is another's, which is dead: it had the same PID. It
    /// must go before the living one comes to its segments, or that dump fails with `File exists`.
    fn remove_older_segments(&mut self, place: &Place, main: &str, metadata: &Metadata) {
        let Ok(born) = metadata.created() else { return };
        for segment in place.list().unwrap_or_default().segments {
            let file = place.directory().join(&segment);
            let older = fs::symlink_metadata(&file)
                .and_then(|metadata| metadata.created())
                .is_ok_and(|segment| segment < born);
            if segment_of(&segment) == Some(main) && older {
                self.remove_segment(place, &file);
            }
        }
    }

    fn remove_segment(&mut self, place: &Place, file: &Path) {
        let ours = self.context.hold().map_err(io::Error::other);
        match ours.and_then(|()| fs::remove_file(file)) {
            Ok(()) => tracing::info!(
                container = place.source.name,
                segment = %file.display(),
                "removed a segment that a killed JVM left"
            ),
            Err(error) => self.complain(file, "cannot remove", &error),
        }
    }

    fn track(&mut self, name: String, entry: Entry, file: PathBuf, now: Instant) {
        self.tracked
            .push(Tracked::new(name, entry, file, Look(Vec::new()), now));
    }

    /// A key that no other dump has, and the text of the time in it.
    fn free_key(&self, place: &Place, time: Time, reason: Reason) -> (String, String) {
        let history = self.context.disk.history(Time::now());
        let mut number = 0_u32;
        loop {
            let text = match number {
                0 => time.key_text(),
                number => format!("{}-{number}", time.key_text()),
            };
            let key = self.key(place, &text, reason);
            let taken = self.tracked.iter().any(|dump| dump.entry.key == key)
                || history.uploads.iter().any(|upload| upload.key == key);
            if !taken || number == u32::MAX {
                return (text, key);
            }
            number += 1;
        }
    }

    fn key(&self, place: &Place, time: &str, reason: Reason) -> String {
        let identity = &self.context.identity;
        self.template.render(&Values {
            cluster: &identity.cluster,
            namespace: &identity.namespace,
            workload: &identity.workload,
            pod: &identity.pod,
            uid: &identity.uid,
            container: &place.source.name,
            node: &identity.node,
            time,
            reason: reason.as_str(),
        })
    }

    /// Where the segments of a dump are that are still its own.
    fn segments_of(&self, dump: &Tracked) -> Option<PathBuf> {
        let Entry {
            container,
            file,
            sequence,
            foreign,
            stage,
            ..
        } = &dump.entry;
        // A later dump of this name has taken the segments over: their JVM is another one.
        let later = |other: &Tracked| {
            other.entry.container == *container
                && other.entry.file == *file
                && other.entry.foreign == *foreign
                && other.entry.sequence > *sequence
        };
        if matches!(stage, Stage::Kept { .. }) || self.tracked.iter().any(later) {
            return None;
        }
        if let Some(path) = foreign {
            return path.parent().map(Path::to_owned);
        }
        let own = |place: &&Place| !place.is_foreign() && place.source.name == *container;
        self.places
            .iter()
            .find(own)
            .map(|place| place.directory().to_owned())
    }

    /// Removes segments that no living JVM can come back for: `HotSpot` opens them again by name, so one that is removed
    /// too early costs the dump. Left in place they would cost the next one (`File exists`).
    fn look_at_segments(&mut self, place: &Place, listing: &Listing, now: Instant) {
        self.segments
            .retain(|file, _| file.parent() != Some(place.directory()) || file.exists());
        if place.is_foreign() {
            return;
        }
        for name in &listing.segments {
            let file = place.directory().join(name);
            // Empty where it is gone already.
            let Ok(look) = look_at(&file, name, None) else {
                continue;
            };
            let quiet = self
                .segments
                .entry(file.clone())
                .or_insert_with(|| Quiet::new(look.clone(), now));
            quiet.look(look, now);
            let settled = quiet.settled(self.settle, now);
            let main = segment_of(name).unwrap_or_default();
            let wanted = listing.dumps.iter().any(|dump| dump == main)
                || self.tracked.iter().any(|dump| {
                    dump.entry.container == place.source.name
                        && dump.entry.file == main
                        && !dump.is_stored_whole()
                });
            if settled && !wanted {
                self.remove_segment(place, &file);
            }
        }
    }

    /// Says it once, and keeps it in mind: a dump that cannot be claimed is not shipped.
    fn complain(&mut self, path: &Path, what: &str, error: &io::Error) {
        let text = error.to_string();
        if self.unclaimed.insert(path.to_owned(), text.clone()).as_ref() != Some(&text) {
            let uid = rustix::process::geteuid().as_raw();
            let remedy = match error.kind() {
                // Not the system's but our own: the folder's lock, with which no other user would fare better.
                io::ErrorKind::Other => String::new(),
                _ => format!(
                    "; the agent runs as uid {uid} and must run as the user that writes the dumps, \
                     see heapship.io/run-as-user"
                ),
            };
            tracing::error!("{what} {}: {error}{remedy}", path.display());
        }
    }
}

/// The earlier of birth and last write: a dump that was copied here keeps its own time where the copy kept it.
fn file_time(metadata: &Metadata) -> Time {
    let written = metadata.modified().map(Time::from).ok();
    let born = metadata.created().map(Time::from).ok();
    match (written, born) {
        (Some(written), Some(born)) => written.min(born),
        (Some(time), None) | (None, Some(time)) => time,
        (None, None) => Time::now(),
    }
}
