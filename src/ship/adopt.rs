//! On a claim that pods share: ships what dead pods have left, under their names, and removes their empty folders.
//!
//! A pod counts as dead when nobody holds its folder's lock and nothing has given a sign of life for a while, as this
//! process has seen it by its own clock. That may be wrong while an agent crashes again and again, and does no harm then:
//! the one who adopts does with a dump exactly what the pod's own agent would do, which waits for the lock meanwhile.
//! Removing is another matter, since a JVM that lives needs the folder: it takes longer than any pause between restarts.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::arguments::Source;
use super::ledger::Mark;
use super::places::Place;
use super::plan::{Manner, open};
use super::presence::{Marks, Owner, Presence};
use super::record::Identity;
use super::shipper::{End, Mode};
use super::time::Time;

use crate::key::KeyTemplate;
use crate::shutdown::Signals;

/// Who looks after the folders of dead pods.
pub struct Adopter {
    claim: PathBuf,
    own: PathBuf,
    manner: Manner,
    identity: Identity,
    adopt_after: Duration,
    remove_after: Duration,
    seen: HashMap<Marks, Seen>,
    /// Folders about which something was said.
    said: HashSet<PathBuf>,
}

/// What is known of an agent's files.
struct Seen {
    sign: Mark,
    /// Since when there has been no other sign.
    since: Instant,
    /// What is there when everything has been shipped that can be; nothing after a failure.
    left: Option<Holds>,
    /// After a failure.
    not_before: Option<Instant>,
    /// What is held back may have room then, though nothing has changed.
    held_until: Option<Instant>,
}

/// What a folder holds that a shipper would care for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Holds {
    /// Dumps that nobody has claimed.
    appeared: bool,
    /// Claimed dumps, their entries, and segments.
    others: BTreeMap<PathBuf, Mark>,
}

/// Between two looks at the claim, unless a pod counts as dead sooner.
const LOOK: Duration = Duration::from_secs(15);
/// After an adopted dump could not be shipped.
const AGAIN: Duration = Duration::from_mins(1);
/// Before it is looked again whether the quota has room: it counts in days.
const HELD: Duration = Duration::from_hours(1);

/// Looks after dead pods until the process is asked to end; then it does nothing more, and never returns.
pub(super) async fn run(adopter: Option<Adopter>) {
    if let (Some(mut adopter), Ok(mut signals)) = (adopter, Signals::install()) {
        tokio::select! {
            () = adopter.look_after() => {}
            _ = signals.next() => {}
        }
    }
    std::future::pending::<()>().await;
}

impl Adopter {
    pub(super) fn new(
        claim: PathBuf,
        own: PathBuf,
        manner: Manner,
        identity: Identity,
        adopt_after: Duration,
        remove_after: Duration,
    ) -> Self {
        Self {
            claim,
            own,
            manner,
            identity,
            adopt_after,
            remove_after,
            seen: HashMap::new(),
            said: HashSet::new(),
        }
    }

    async fn look_after(&mut self) {
        let pause = (self.adopt_after / 4).clamp(Duration::from_millis(100), LOOK);
        loop {
            let there = self.others();
            self.seen.retain(|marks, _| there.contains(marks));
            for marks in there {
                if let Err(error) = self.visit(&marks).await
                    && error.kind() != io::ErrorKind::NotFound
                {
                    self.complain(&marks.folder, &error);
                }
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// The files of all agents of other pods.
    fn others(&mut self) -> Vec<Marks> {
        let entries = match fs::read_dir(&self.claim) {
            Ok(entries) => entries,
            Err(error) => {
                let claim = self.claim.clone();
                self.complain(&claim, &error);
                return Vec::new();
            }
        };
        let mut all = Vec::new();
        for entry in entries.flatten() {
            let folder = entry.path();
            let is_a_pods = entry.file_name().to_str().is_some_and(is_uid);
            if !is_a_pods || folder == self.own || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            match Marks::all(&folder) {
                Ok(marks) => all.extend(marks),
                Err(error) => self.complain(&folder, &error),
            }
        }
        all
    }

    /// Does what is to be done about one agent's part of a folder, if anything is.
    async fn visit(&mut self, marks: &Marks) -> io::Result<()> {
        let now = Instant::now();
        let sign = marks.sign()?;
        let seen = self
            .seen
            .entry(marks.clone())
            .or_insert_with(|| Seen::new(sign, now));
        if seen.sign != sign {
            *seen = Seen::new(sign, now);
        }
        let silent = now.saturating_duration_since(seen.since);
        if silent < self.adopt_after || seen.not_before.is_some_and(|at| at > now) {
            return Ok(());
        }
        // Whoever is silent is not always dead: a JVM outlives its agent, and then another dump may come.
        let owner = marks.owner()?;
        let places = places(marks, &owner);
        let adopt =
            seen.left != Some(holds(&marks.folder, &places)?) || seen.held_until.is_some_and(|at| at <= now);
        if !adopt && silent < self.remove_after {
            return Ok(());
        }
        let Some(presence) = marks.take()? else {
            *seen = Seen::new(sign, now);
            return Ok(());
        };
        if !adopt {
            self.remove(marks, &owner, &places, presence);
            return Ok(());
        }
        let first_time = seen.left.is_some();
        seen.left = None;
        seen.not_before = Some(now + AGAIN);
        let end = self
            .adopt(marks, owner, places.clone(), presence, first_time)
            .await?;
        if end == End::Lost {
            // Whoever has it does what is to be done.
            self.seen.remove(marks);
            return Ok(());
        }
        // What we did ourselves is no sign of life of theirs.
        let sign = marks.sign()?;
        // One that has appeared meanwhile is not among what is left.
        let left = Holds {
            appeared: false,
            ..holds(&marks.folder, &places)?
        };
        if let Some(seen) = self.seen.get_mut(marks) {
            seen.sign = sign;
            if matches!(end, End::Shipped | End::Held) {
                *seen = Seen::new(sign, Instant::now());
                seen.left = Some(left);
                seen.held_until = (end == End::Held).then(|| Instant::now() + HELD);
            }
        }
        Ok(())
    }

    /// Ships everything.
    async fn adopt(
        &self,
        marks: &Marks,
        owner: Owner,
        places: Vec<Place>,
        presence: Presence,
        first_time: bool,
    ) -> io::Result<End> {
        let Identity { namespace, pod, .. } = &owner.identity;
        if first_time {
            let folder = marks.folder.display();
            tracing::info!(
                namespace,
                pod,
                "pod {pod} is gone and has left dumps in {folder}: shipping them"
            );
        }
        let template = KeyTemplate::parse(&owner.key_template)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let disk = open(&marks.folder, &places).map_err(io::Error::other)?;
        let by = Some(self.identity.clone());
        let max_dumps = owner.max_dumps.unwrap_or(self.manner.max_dumps);
        let context = self.manner.context(disk, owner, Some(presence), by);
        let shipper = self
            .manner
            .shipper(context, places, template, max_dumps, Mode::Adopt, Time::now());
        Ok(shipper.run(None).await)
    }

    /// Removes the folder of a pod that has left nothing; says once what keeps it.
    fn remove(&mut self, marks: &Marks, owner: &Owner, places: &[Place], presence: Presence) {
        let (folder, pod) = (marks.folder.display(), &owner.identity.pod);
        let waits = claimed_files(marks, places);
        if waits == 0 && clear(marks, places, presence) {
            tracing::info!(
                pod,
                "pod {pod} is gone and has left nothing to ship: cleared {folder}"
            );
        } else if self.said.insert(marks.folder.clone()) {
            if waits == 0 {
                tracing::info!(
                    pod,
                    "pod {pod} is gone; what it has left in {folder} are no dumps: left alone"
                );
            } else {
                tracing::warn!(
                    pod,
                    "pod {pod} is gone; {waits} files in {folder} may still become dumps: left alone"
                );
            }
        }
        if let Some(seen) = self.seen.get_mut(marks) {
            // Not again before something has changed.
            seen.since = Instant::now();
        }
    }

    fn complain(&mut self, folder: &Path, error: &io::Error) {
        if self.said.insert(folder.to_owned()) {
            let uid = rustix::process::geteuid().as_raw();
            tracing::warn!(
                "cannot look after {}: {error}; its dumps are for an agent that runs as the user who wrote them, this one runs \
                 as uid {uid}",
                folder.display()
            );
        }
    }
}

impl Seen {
    fn new(sign: Mark, since: Instant) -> Self {
        Self {
            sign,
            since,
            left: Some(Holds::default()),
            not_before: None,
            held_until: None,
        }
    }
}

/// Removes what is empty, and the marks where nothing is left that they tell of. Answers whether they went.
fn clear(marks: &Marks, places: &[Place], presence: Presence) -> bool {
    let Ok(disk) = open(&marks.folder, places) else {
        return false;
    };
    let folders: Vec<(&str, &Path)> = places
        .iter()
        .map(|place| (place.source.name.as_str(), place.directory()))
        .collect();
    disk.clear(&folders);
    let gone = |(container, folder): &(&str, &Path)| !folder.exists() && !disk.claimed(container).exists();
    if !folders.iter().all(gone) {
        return false;
    }
    marks.remove();
    // NFS keeps a removed file that is open under another name, and its folder with it.
    drop(presence);
    disk.clear_shared();
    drop(fs::remove_dir(&marks.folder));
    true
}

/// How many claimed dumps lie there.
fn claimed_files(marks: &Marks, places: &[Place]) -> usize {
    let claimed = |place: &Place| marks.folder.join(".heapship/claimed").join(&place.source.name);
    let entries = places
        .iter()
        .filter_map(|place| fs::read_dir(claimed(place)).ok());
    let names = entries.flatten().flatten().map(|entry| entry.file_name());
    names
        .filter(|name| {
            let name = Path::new(name);
            let hidden = name.as_os_str().as_encoded_bytes().starts_with(b".");
            !hidden && name.extension().is_none_or(|extension| extension != "json")
        })
        .count()
}

/// The places of a dead pod, in the order that its agent had them: what lay on its other volumes is out of reach.
fn places(marks: &Marks, owner: &Owner) -> Vec<Place> {
    let is_first = |name: &String| *name == marks.container;
    let first = owner.images.iter().filter(|(name, _)| is_first(name));
    let others = owner.images.iter().filter(|(name, _)| !is_first(name));
    let of = |(name, image): (&String, &String)| {
        let source = Source {
            name: name.clone(),
            image: image.clone(),
            foreign: None,
        };
        Place::of(&marks.folder, &source, false)
    };
    first.chain(others).flat_map(of).collect()
}

fn holds(folder: &Path, places: &[Place]) -> io::Result<Holds> {
    let mut holds = Holds::default();
    for place in places {
        let listing = place.list()?;
        holds.appeared |= !listing.dumps.is_empty();
        let segments = listing.segments.iter();
        let mut others: Vec<PathBuf> = segments.map(|name| place.directory().join(name)).collect();
        let claimed = folder.join(".heapship/claimed").join(&place.source.name);
        match fs::read_dir(claimed) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            entries => {
                for entry in entries? {
                    others.push(entry?.path());
                }
            }
        }
        for path in others {
            match fs::symlink_metadata(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                metadata => drop(holds.others.insert(path, Mark::of(&metadata?))),
            }
        }
    }
    Ok(holds)
}

/// Whether it is a UID as the API server gives them; other folders of a volume are none of our business.
fn is_uid(name: &str) -> bool {
    name.len() == 36
        && name.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_folders_of_pods_are_looked_into() {
        assert!(is_uid("5f3c1f9e-8d1a-4c39-9d57-3d1f0a9f1b11"));
        for other in [
            "lost+found",
            "",
            ".snapshot",
            "5f3c1f9e8d1a4c399d573d1f0a9f1b11",
            "5f3c1f9e-8d1a-4c39-9d57-3d1f0a9f1b1g",
        ] {
            assert!(!is_uid(other), "{other}");
        }
    }
}
