//! One attempt to bring one claimed dump to its end, from wherever the ledger says that it stands.

mod send;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::codec::Codec;
use super::ledger::{self, Disk, Entry, Mark, Stage, Step};
use super::parts::part_size;
use super::pipeline;
use super::places::look_at;
use super::presence::Presence;
use super::quiet::Look;
use super::record::{Identity, Record};
use super::source::{self, FileBlocks};
use super::store::{self, Cause, Connection, Store, UploadId};
use super::time::Time;
use super::turn::{Turns, Whose};
use crate::destination::Destination;
use crate::hprof::{NotHprof, Verdict};
use bytes::Bytes;
use send::sniff;

/// What is the same for all dumps of an agent.
#[derive(Debug)]
pub struct Context {
    /// Where the ledger is.
    pub disk: Disk,
    /// Where dumps go.
    pub destination: Destination,
    /// How to reach it.
    pub connection: Connection,
    /// The pod.
    pub identity: Identity,
    /// The pod that we are in, where the dumps are another's.
    pub shipped_by: Option<Identity>,
    /// The lock of a folder on a claim that pods share.
    pub presence: Option<Presence>,
    /// Who may read and send.
    pub turns: Arc<Turns>,
    /// Images by container.
    pub images: BTreeMap<String, String>,
    /// How dumps are compressed.
    pub codec: Codec,
    /// Compressing threads.
    pub threads: usize,
    /// Bytes of a part, unless the dump is huge.
    pub part_size: usize,
}

impl Context {
    /// Whose dumps these are.
    #[must_use]
    pub fn whose(&self) -> Whose {
        match self.shipped_by {
            None => Whose::Own,
            Some(_) => Whose::Adopted,
        }
    }

    /// Nothing is claimed or removed in a folder on a claim in which another agent may be at work.
    pub(super) fn hold(&self) -> Result<(), Error> {
        let Some(presence) = &self.presence else {
            return Ok(());
        };
        match presence.is_held() {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::Lost),
            Err(source) => Err(Error::Lock(source)),
        }
    }
}

/// Why the shipper believes that a dump is finished.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Evidence {
    /// Its end looks like one. If the records say otherwise, somebody may still be writing.
    LooksWhole,
    /// Nothing has changed for so long that nobody is writing.
    Settled,
    /// We are to end and nothing has changed for a moment: it is shipped as it stands, and not deleted if it is cut.
    Ending,
}

/// How an attempt ended.
#[derive(Debug)]
pub enum Outcome {
    /// Stored, confirmed, recorded; deleted unless foreign.
    Shipped(Box<Record>),
    /// Stored and recorded while its writer may still live: kept.
    ShippedAsItStood(Box<Record>),
    /// It is not finished after all.
    NotYet,
    /// It is not what it was when it seemed to be finished.
    Changed,
    /// It is too short to tell what it is; it may still become a dump.
    TooShort,
    /// It is no dump; where it is now.
    Rejected(Verdict, PathBuf),
    /// Somebody else removed the file.
    Vanished,
    /// Nothing was left to do.
    Forgotten,
    /// The quota did not allow it: deleted and counted.
    Dropped,
}

/// Why an attempt failed; the dump is kept.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store refused.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// Reading or compressing failed.
    #[error(transparent)]
    Pipeline(#[from] pipeline::Error),
    /// The dump cannot be opened or read.
    #[error(
        "cannot read the dump for uid {uid}; the agent must run as the user that writes it, see heapship.io/run-as-user"
    )]
    Read {
        /// Who we are.
        uid: u32,
        /// Why.
        source: io::Error,
    },
    /// Our own folder refuses.
    #[error("cannot delete or move {path}")]
    Remove {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another agent may be at work in the folder.
    #[error("this agent has lost its lock of the folder; whoever has it ships the dump")]
    Lost,
    /// Nobody knows who has the folder.
    #[error("cannot tell whether this agent still has its lock of the folder")]
    Lock(#[source] io::Error),
    /// A bug of ours; the ledger knows where to go on.
    #[error("shipping the dump ended unexpectedly, which is a bug of heapship: {0}")]
    Panicked(String),
}

impl Error {
    /// Whether trying again soon is pointless.
    #[must_use]
    pub fn needs_a_person(&self) -> bool {
        match self {
            Self::Store(error) => error.cause.needs_a_person(),
            Self::Read { source, .. } => source.kind() == io::ErrorKind::PermissionDenied,
            Self::Pipeline(_) | Self::Remove { .. } | Self::Lost | Self::Lock(_) | Self::Panicked(_) => false,
        }
    }

    /// The store's part in it, if it has one.
    #[must_use]
    pub fn cause(&self) -> Option<Cause> {
        match self {
            Self::Store(error) => Some(error.cause),
            Self::Pipeline(_)
            | Self::Read { .. }
            | Self::Remove { .. }
            | Self::Lost
            | Self::Lock(_)
            | Self::Panicked(_) => None,
        }
    }
}

/// One dump and what is known of it.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Name of the entry.
    pub name: String,
    /// The entry, which every step brings up to date.
    pub entry: Entry,
    /// The file.
    pub file: PathBuf,
    /// Where its segments are, if they are its own.
    pub segments: Option<PathBuf>,
    /// Why it should be finished.
    pub evidence: Evidence,
    /// How it looked then. The evidence tells nothing about a dump that looks different.
    pub look: Look,
}

impl Attempt {
    /// Ships it.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn ship(&mut self, context: &Context) -> Result<Outcome, Error> {
        let now = self.look_now()?;
        if now != self.look {
            return Ok(Outcome::Changed);
        }
        let part_size = part_size(context.part_size, now.file().map_or(0, |mark| mark.size));
        let store = Arc::new(Store::open(&context.destination, &context.connection, part_size)?);
        match ledger::next(&now, Some(&self.entry.stage), self.entry.foreign.is_some()) {
            Step::Adopt | Step::Ship => {}
            Step::AbortThenShip(upload) => self.abort(context, &store, &upload).await?,
            Step::Finish => return self.finish(context, &store).await,
            Step::Remember => return Ok(Outcome::Forgotten),
            Step::AbortThenForget(upload) => {
                self.abort(context, &store, &upload).await?;
                return self.forget(context);
            }
            Step::Forget => return self.forget(context),
        }
        let Some(mark) = now.file() else {
            return self.forget(context);
        };
        self.send(context, store, mark, part_size).await
    }

    /// Deletes it, since the quota does not allow to ship it, once it is sure that nobody is writing.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn drop_it(&mut self, context: &Context) -> Result<Outcome, Error> {
        if self.look_now()? != self.look {
            return Ok(Outcome::Changed);
        }
        let Some(mark) = self.look.file() else {
            return self.forget(context);
        };
        let settled = self.evidence == Evidence::Settled;
        match self.examine(mark).await? {
            (_, Examined::Complete) => {}
            (_, Examined::Truncated) if settled => {}
            (_, Examined::TooShort) => return Ok(Outcome::TooShort),
            (verdict, Examined::NotHprof) if settled => return self.reject(context, verdict, mark),
            (_, Examined::Truncated | Examined::NotHprof) => return Ok(Outcome::NotYet),
        }
        if self.look_now()? != self.look {
            return Ok(Outcome::Changed);
        }
        let mut history = context.disk.history(Time::now());
        history.dropped += 1;
        let noted = context.disk.save_history(&history);
        if self.entry.foreign.is_some() {
            self.tolerate(noted);
            self.keep(context, mark);
            return Ok(Outcome::Dropped);
        }
        self.delete(context)?;
        self.note_at_last(context, &noted, &history);
        self.forget(context)?;
        Ok(Outcome::Dropped)
    }

    /// Record, delete, forget: everything after the store has confirmed the object.
    async fn finish(&mut self, context: &Context, store: &Store) -> Result<Outcome, Error> {
        let Stage::Stored { record, sent, unsure } = self.entry.stage.clone() else {
            return Ok(Outcome::Forgotten);
        };
        let text = serde_json::to_vec_pretty(&record).unwrap_or_default();
        store
            .put(&format!("{}.json", record.key), Bytes::from(text), &Vec::new())
            .await?;
        if unsure && self.evidence == Evidence::Ending {
            return Ok(Outcome::ShippedAsItStood(record));
        }
        let mut history = context.disk.history(Time::now());
        let mut noted = Ok(());
        if history.uploads.iter().all(|upload| upload.key != self.entry.key) {
            history.uploads.push(ledger::Upload {
                at: record.times.uploaded,
                key: self.entry.key.clone(),
            });
            history.dropped = history.dropped.saturating_sub(record.dropped);
            noted = context.disk.save_history(&history);
        }
        if self.entry.foreign.is_some()
            && let Some(mark) = sent.file()
        {
            self.tolerate(noted);
            self.keep(context, mark);
            return Ok(Outcome::Shipped(record));
        }
        // The store had a hiccup, or we were not there: much can have happened since the dump was sent.
        let now = self.look_now()?;
        if !now.0.is_empty() && !self.entry.stage.is_as_sent(&now) {
            self.tolerate(noted);
            tracing::warn!(
                dump = self.entry.file,
                key = record.key,
                "the dump has changed since it was sent: it is sent again"
            );
            return Ok(Outcome::Changed);
        }
        self.delete(context)?;
        self.note_at_last(context, &noted, &history);
        self.forget(context)?;
        Ok(Outcome::Shipped(record))
    }

    fn delete(&self, context: &Context) -> Result<(), Error> {
        context.hold()?;
        context.disk.delete(&self.file).map_err(|source| Error::Remove {
            path: self.file.clone(),
            source,
        })
    }

    /// Remembers how a file looked that is not ours to delete.
    fn keep(&mut self, context: &Context, mark: Mark) {
        self.entry.stage = Stage::Kept { mark };
        self.save(context);
    }

    /// Where the disk was full of the dump, there is room after it was deleted.
    fn note_at_last(&self, context: &Context, noted: &io::Result<()>, history: &ledger::History) {
        if noted.is_err() {
            self.tolerate(context.disk.save_history(history));
        }
    }

    fn reject(&mut self, context: &Context, verdict: Verdict, mark: Mark) -> Result<Outcome, Error> {
        if self.entry.foreign.is_some() {
            self.keep(context, mark);
            return Ok(Outcome::Rejected(verdict, self.file.clone()));
        }
        context.hold()?;
        let rejected = context
            .disk
            .reject(&self.entry.container, &self.file, &self.name)
            .map_err(|source| Error::Remove {
                path: self.file.clone(),
                source,
            })?;
        self.forget(context)?;
        Ok(Outcome::Rejected(verdict, rejected))
    }

    fn forget(&self, context: &Context) -> Result<Outcome, Error> {
        context
            .disk
            .forget(&self.entry.container, &self.name)
            .map_err(|source| Error::Remove {
                path: PathBuf::from(&self.name),
                source,
            })?;
        Ok(
            if matches!(self.entry.stage, Stage::Stored { .. } | Stage::Kept { .. }) {
                Outcome::Forgotten
            } else {
                Outcome::Vanished
            },
        )
    }

    async fn abort(&mut self, context: &Context, store: &Store, upload: &UploadId) -> Result<(), Error> {
        let Stage::Uploading {
            object,
            upload: noted,
            ..
        } = &mut self.entry.stage
        else {
            return Ok(());
        };
        match store.abort(object, upload).await {
            // Whatever a store has against this must not keep the dump from being shipped. One that is not there is
            // asked again, before anything else.
            Err(error) if error.cause != Cause::Unreachable => {
                tracing::warn!(%error, object, "an unfinished upload stays in the store until its lifecycle rule removes it");
            }
            result => result?,
        }
        *noted = None;
        self.save(context);
        Ok(())
    }

    async fn examine(&self, mark: Mark) -> Result<(Verdict, Examined), Error> {
        let file = self.open()?;
        let examined = tokio::task::spawn_blocking(move || {
            let form = sniff(&file)?;
            pipeline::examine(&mut FileBlocks::new(file, mark.size), form)
        });
        let (verdict, damaged) = examined
            .await
            .map_err(|_| pipeline::Error::Thread)?
            .map_err(read_error)?;
        let examined = match &verdict {
            Verdict::Complete if !damaged => Examined::Complete,
            Verdict::Complete | Verdict::Truncated { .. } => Examined::Truncated,
            Verdict::NotHprof(NotHprof::TooShort) => Examined::TooShort,
            Verdict::NotHprof(_) => Examined::NotHprof,
        };
        Ok((verdict, examined))
    }

    fn open(&self) -> Result<File, Error> {
        source::open(&self.file).map_err(read_error)
    }

    fn look_now(&self) -> Result<Look, Error> {
        look_at(&self.file, &self.entry.file, self.segments.as_deref()).map_err(read_error)
    }

    fn save(&self, context: &Context) {
        self.tolerate(context.disk.save(&self.name, &self.entry));
    }

    /// A full disk must not keep a dump from being shipped: it is mostly the dump that has filled it.
    fn tolerate(&self, noted: io::Result<()>) {
        if let Err(error) = noted {
            tracing::warn!(dump = self.entry.file, %error, "cannot note how far the dump is; going on without");
        }
    }
}

/// What a walk can say, as far as it matters for what is done next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Examined {
    Complete,
    Truncated,
    TooShort,
    NotHprof,
}

/// With the likely remedy: dumps are readable for their writer alone (mode 0600 on every JDK).
fn read_error(source: io::Error) -> Error {
    Error::Read {
        uid: rustix::process::geteuid().as_raw(),
        source,
    }
}
