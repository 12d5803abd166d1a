//! Where dumps appear: the directories of the containers, and what lies in them now.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::arguments::Source;
use super::dump_name::{Reason, is_at_path, is_dump, segment_of};
use super::ledger::Mark;
use super::quiet::Look;

/// One container's directory.
#[derive(Clone, Debug)]
pub struct Place {
    /// The container.
    pub source: Source,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    /// Ours: files are claimed by renaming them.
    Own(PathBuf),
    /// The user's `HeapDumpPath`: files are shipped from where they are.
    Foreign(PathBuf),
}

/// What lies in a place.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// Dumps, by name.
    pub dumps: Vec<String>,
    /// `.pN` segments, by name.
    pub segments: Vec<String>,
}

impl Place {
    /// The places of a container's dumps: its directory below `dumps`, or `dumps` itself where it is the `only` one, and
    /// the user's `HeapDumpPath` if there is one. Dumps that our toolbox makes go to the first in any case.
    #[must_use]
    pub fn of(dumps: &Path, source: &Source, only: bool) -> Vec<Self> {
        let own = if only {
            dumps.to_owned()
        } else {
            dumps.join(&source.name)
        };
        let kinds = [Some(Kind::Own(own)), source.foreign.clone().map(Kind::Foreign)];
        kinds
            .into_iter()
            .flatten()
            .map(|kind| Self {
                source: source.clone(),
                kind,
            })
            .collect()
    }

    /// The directory, now: a foreign path may become one when the application starts.
    #[must_use]
    pub fn directory(&self) -> &Path {
        match &self.kind {
            Kind::Foreign(path) if !path.is_dir() => path.parent().unwrap_or(path),
            Kind::Own(path) | Kind::Foreign(path) => path,
        }
    }

    /// Whether files are left where they are.
    #[must_use]
    pub const fn is_foreign(&self) -> bool {
        matches!(self.kind, Kind::Foreign(_))
    }

    /// What is there now; nothing where there is no directory yet. Only regular files: a link of the application's could
    /// lead into our own container.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn list(&self) -> io::Result<Listing> {
        let mut listing = Listing::default();
        let entries = match fs::read_dir(self.directory()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(listing),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let wanted = match &self.kind {
                Kind::Own(_) => is_dump(&name),
                Kind::Foreign(path) if path == self.directory() => {
                    is_dump(&name) && Reason::of(&name) == Reason::Oom
                }
                Kind::Foreign(path) => path
                    .file_name()
                    .and_then(|file| file.to_str())
                    .is_some_and(|file| is_at_path(&name, file)),
            };
            let segment = segment_of(&name).is_some_and(is_dump);
            if !(wanted || segment) || !entry.file_type().is_ok_and(|kind| kind.is_file()) {
                continue;
            }
            if wanted {
                listing.dumps.push(name);
            } else {
                listing.segments.push(name);
            }
        }
        listing.dumps.sort();
        listing.segments.sort();
        Ok(listing)
    }

    /// Why a dump of this name was written.
    #[must_use]
    pub fn reason(&self, name: &str) -> Reason {
        // What lies at the JVM's own HeapDumpPath was written by the JVM, whatever the user called it.
        if self.is_foreign() {
            Reason::Oom
        } else {
            Reason::of(name)
        }
    }
}

/// How a dump looks now: `file`, and in `segments` the `.pN` of a main file called `name`, where they are its own.
///
/// # Errors
/// When the system does not answer. A dump that is not there is no error but an empty look.
pub fn look_at(file: &Path, name: &str, segments: Option<&Path>) -> io::Result<Look> {
    let mut marks = match fs::symlink_metadata(file) {
        Ok(metadata) => vec![Mark::of(&metadata)],
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Look::default()),
        Err(error) => return Err(error),
    };
    let Some(directory) = segments else {
        return Ok(Look(marks));
    };
    let mut own = Vec::new();
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Look(marks)),
        entries => entries?,
    };
    for entry in entries {
        let segment = entry?.file_name();
        if segment.to_str().and_then(segment_of) == Some(name) {
            own.push(segment);
        }
    }
    own.sort();
    for segment in own {
        // One that is gone by now was merged into the file, which looks different then.
        if let Ok(metadata) = fs::symlink_metadata(directory.join(segment)) {
            marks.push(Mark::of(&metadata));
        }
    }
    Ok(Look(marks))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(foreign: Option<PathBuf>) -> Source {
        Source {
            name: "app".into(),
            image: String::new(),
            foreign,
        }
    }

    #[test]
    fn links_and_other_files_are_not_taken_for_dumps() {
        let root = tempfile::tempdir().unwrap();
        for name in ["java_pid1.hprof", "java_pid1.hprof.p0", "app.log", "x.p0"] {
            fs::write(root.path().join(name), b"").unwrap();
        }
        std::os::unix::fs::symlink("/etc/passwd", root.path().join("link.hprof")).unwrap();
        fs::create_dir(root.path().join("folder.hprof")).unwrap();
        let listing = Place::of(root.path(), &source(None), true)[0].list().unwrap();
        assert_eq!(listing.dumps, ["java_pid1.hprof"]);
        assert_eq!(listing.segments, ["java_pid1.hprof.p0"]);
    }

    #[test]
    fn a_look_takes_in_a_dumps_own_segments() {
        let root = tempfile::tempdir().unwrap();
        for name in [
            "claimed",
            "java_pid1.hprof.p0",
            "java_pid1.hprof.p1",
            "java_pid2.hprof.p0",
        ] {
            fs::write(root.path().join(name), b"x").unwrap();
        }
        let file = root.path().join("claimed");
        let look = |segments| look_at(&file, "java_pid1.hprof", segments).unwrap().0.len();
        assert_eq!(look(Some(root.path())), 3);
        assert_eq!(look(None), 1);
        assert!(
            look_at(&root.path().join("none"), "x", None)
                .unwrap()
                .0
                .is_empty()
        );
        // What cannot be asked for is not taken for gone.
        assert!(look_at(&file.join("below"), "x", None).is_err());
    }

    #[test]
    fn a_foreign_path_is_a_directory_or_a_file() {
        let root = tempfile::tempdir().unwrap();
        for name in ["java_pid1.hprof", "other.hprof", "dump.bin", "dump.bin.1"] {
            fs::write(root.path().join(name), b"").unwrap();
        }
        let directory = Place::of(Path::new("/none"), &source(Some(root.path().to_owned())), false).remove(1);
        assert_eq!(directory.list().unwrap().dumps, ["java_pid1.hprof"]);
        let file = Place::of(
            Path::new("/none"),
            &source(Some(root.path().join("dump.bin"))),
            false,
        )
        .remove(1);
        assert_eq!(file.list().unwrap().dumps, ["dump.bin", "dump.bin.1"]);
        assert_eq!(file.reason("dump.bin"), Reason::Oom);
    }

    #[test]
    fn a_directory_that_is_not_there_yet_holds_nothing() {
        let place = Place::of(Path::new("/nowhere"), &source(None), false).remove(0);
        assert_eq!(place.directory(), Path::new("/nowhere/app"));
        assert!(place.list().unwrap().dumps.is_empty());
    }
}
