//! One attempt to bring one claimed dump to its end, from wherever the ledger says that it stands.

mod send;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use super::codec::Codec;
use super::destination::Destination;
use super::ledger::{self, Disk, Entry, Mark, Stage, Step};
use super::pipeline;
use super::quiet::Look;
use super::record::{Identity, Record};
use super::source::{self, FileBlocks};
use super::store::{self, Cause, Connection, Store, UploadId};
use super::time::Time;
use crate::hprof::Verdict;
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
    /// Images by container.
    pub images: BTreeMap<String, String>,
    /// How dumps are compressed.
    pub codec: Codec,
    /// Compressing threads.
    pub threads: usize,
    /// Bytes of a part, unless the dump is huge.
    pub part_size: usize,
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
}

impl Error {
    /// Whether trying again soon is pointless.
    #[must_use]
    pub fn needs_a_person(&self) -> bool {
        match self {
            Self::Store(error) => error.cause.needs_a_person(),
            Self::Read { source, .. } => source.kind() == io::ErrorKind::PermissionDenied,
            Self::Pipeline(_) | Self::Remove { .. } => false,
        }
    }

    /// The store's part in it, if it has one.
    #[must_use]
    pub fn cause(&self) -> Option<Cause> {
        match self {
            Self::Store(error) => Some(error.cause),
            Self::Pipeline(_) | Self::Read { .. } | Self::Remove { .. } => None,
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
    /// Why it should be finished.
    pub evidence: Evidence,
    /// How it looked then.
    pub look: Look,
    /// What was sent, once it was: a foreign file may be another one by now.
    pub sent: Option<Mark>,
}

impl Attempt {
    /// Ships it.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn ship(&mut self, context: &Context) -> Result<Outcome, Error> {
        let mark = self.mark()?;
        let store = Arc::new(Store::open(
            &context.destination,
            &context.connection,
            context.part_size,
        )?);
        match ledger::next(mark, Some(&self.entry.stage)) {
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
        let Some(mark) = mark else {
            return self.forget(context);
        };
        self.send(context, store, mark).await
    }

    /// Deletes it, since the quota does not allow to ship it, once it is sure that nobody is writing.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn drop_it(&mut self, context: &Context) -> Result<Outcome, Error> {
        let Some(mark) = self.mark()? else {
            return self.forget(context);
        };
        if self.evidence != Evidence::Settled && !self.examine(mark).await?.1.is_complete() {
            return Ok(Outcome::NotYet);
        }
        let mut history = context.disk.history(Time::now());
        history.dropped += 1;
        self.tolerate(context.disk.save_history(&history));
        self.remove(context)?;
        Ok(Outcome::Dropped)
    }

    /// Record, delete, forget: everything after the store has confirmed the object.
    async fn finish(&mut self, context: &Context, store: &Store) -> Result<Outcome, Error> {
        let Stage::Stored { record, as_it_stood } = self.entry.stage.clone() else {
            return Ok(Outcome::Forgotten);
        };
        let text = serde_json::to_vec_pretty(&record).unwrap_or_default();
        store
            .put(&format!("{}.json", record.key), Bytes::from(text), &Vec::new())
            .await?;
        if as_it_stood.is_some() && self.evidence == Evidence::Ending {
            return Ok(Outcome::ShippedAsItStood(record));
        }
        let mut history = context.disk.history(Time::now());
        if history.uploads.iter().all(|upload| upload.key != self.entry.key) {
            history.uploads.push(ledger::Upload {
                at: record.times.uploaded,
                key: self.entry.key.clone(),
            });
            history.dropped = history.dropped.saturating_sub(record.dropped);
            self.tolerate(context.disk.save_history(&history));
        }
        self.remove(context)?;
        Ok(Outcome::Shipped(record))
    }

    /// Deletes what is ours; remembers what is not.
    fn remove(&mut self, context: &Context) -> Result<(), Error> {
        if self.entry.foreign.is_some() {
            let mark = match self.sent {
                None => self.mark()?,
                sent => sent,
            };
            if let Some(mark) = mark {
                self.entry.stage = Stage::Kept { mark };
                self.save(context);
                return Ok(());
            }
        } else {
            context.disk.delete(&self.file).map_err(|source| Error::Remove {
                path: self.file.clone(),
                source,
            })?;
        }
        self.forget(context).map(drop)
    }

    fn reject(&mut self, context: &Context, verdict: Verdict, mark: Mark) -> Result<Outcome, Error> {
        if self.entry.foreign.is_some() {
            self.entry.stage = Stage::Kept { mark };
            self.save(context);
            return Ok(Outcome::Rejected(verdict, self.file.clone()));
        }
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
            Verdict::NotHprof(_) => Examined::NotHprof,
        };
        Ok((verdict, examined))
    }

    fn open(&self) -> Result<File, Error> {
        source::open(&self.file).map_err(read_error)
    }

    fn mark(&self) -> Result<Option<Mark>, Error> {
        match std::fs::symlink_metadata(&self.file) {
            Ok(metadata) => Ok(Some(Mark::of(&metadata))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(read_error(error)),
        }
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

/// The three things that a walk can say.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Examined {
    Complete,
    Truncated,
    NotHprof,
}

impl Examined {
    fn is_complete(self) -> bool {
        self == Self::Complete
    }
}

/// With the likely remedy: dumps are readable for their writer alone (mode 0600 on every JDK).
fn read_error(source: io::Error) -> Error {
    Error::Read {
        uid: rustix::process::geteuid().as_raw(),
        source,
    }
}
