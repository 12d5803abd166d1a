//! One attempt to bring one claimed dump to its end, from wherever the ledger says that it stands.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use super::codec::Codec;
use super::destination::Destination;
use super::gzip::is_gzip;
use super::key::object_name;
use super::ledger::{self, Disk, Entry, Mark, Stage, Step};
use super::parts::part_size;
use super::pipeline::{self, Form, Plan, Summary};
use super::record::{self, Completeness, Identity, Record, Sizes, Times};
use super::source::{self, FileBlocks};
use super::store::{self, Cause, Connection, Store, UploadId};
use super::time::Time;
use super::upload::{self, Caller, Target, upload};
use crate::hprof::Verdict;

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
}

impl Attempt {
    /// Ships it.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn ship(&mut self, context: &Context) -> Result<Outcome, Error> {
        let mark = self.mark()?;
        let store = Arc::new(Store::open(&context.destination, &context.connection)?);
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

    async fn send(&mut self, context: &Context, store: Arc<Store>, mark: Mark) -> Result<Outcome, Error> {
        let form = sniff(&self.open()?).map_err(read_error)?;
        let mut truncated = false;
        // A plain dump whose end looks right is read once. The others are rare, and what they are decides about the key.
        if self.evidence != Evidence::LooksWhole || form == Form::Gzipped {
            match self.examine(mark).await? {
                (_, Examined::Complete) => {}
                _ if self.evidence == Evidence::LooksWhole => return Ok(Outcome::NotYet),
                (_, Examined::Truncated) => truncated = true,
                (verdict, Examined::NotHprof) if self.evidence == Evidence::Settled => {
                    return self.reject(context, verdict, mark);
                }
                (_, Examined::NotHprof) => return Ok(Outcome::NotYet),
            }
        }
        let codec = match form {
            Form::Gzipped => Codec::Gzip,
            Form::Plain(_) => context.codec,
        };
        let object = match &self.entry.stage {
            // The same place as in the attempt before, even if it has been cut or completed since.
            Stage::Uploading {
                object,
                codec: before,
                ..
            } if *before == codec => object.clone(),
            Stage::Stored { record, .. } if record.codec == codec => record.key.clone(),
            _ => object_name(&self.entry.key, truncated, codec),
        };
        self.entry.stage = Stage::Uploading {
            object: object.clone(),
            codec,
            upload: None,
        };
        self.save(context);
        let image = context
            .images
            .get(&self.entry.container)
            .cloned()
            .unwrap_or_default();
        let metadata = record::metadata(
            &context.identity,
            &self.entry.container,
            &image,
            self.entry.reason,
        );
        let target = Target {
            store: Arc::clone(&store),
            key: object.clone(),
            metadata,
        };
        let plan = Plan {
            form: if form == Form::Gzipped {
                form
            } else {
                Form::Plain(codec)
            },
            threads: context.threads,
            part_size: part_size(context.part_size, mark.size),
        };
        let blocks = FileBlocks::new(self.open()?, mark.size);
        let sent = upload(
            blocks,
            plan,
            &target,
            &mut Witness {
                attempt: self,
                context,
                mark,
            },
        )
        .await;
        let summary = match sent {
            Ok(summary) => summary,
            Err(upload::Error::Refused) => return Ok(Outcome::NotYet),
            Err(upload::Error::Store(error)) => return Err(error.into()),
            Err(upload::Error::Pipeline(error)) => return Err(error.into()),
        };
        let Some(completeness) = Completeness::of(&summary) else {
            return Ok(Outcome::NotYet);
        };
        let as_it_stood =
            (completeness != Completeness::Complete && self.evidence == Evidence::Ending).then_some(mark);
        let record = Box::new(Record {
            identity: context.identity.clone(),
            container: self.entry.container.clone(),
            image,
            jvm: None,
            reason: self.entry.reason,
            file: self.entry.file.clone(),
            key: object,
            times: Times {
                began: summary
                    .started_ms
                    .and_then(|ms| Time::from_millisecond(i64::try_from(ms).ok()?)),
                seen: self.entry.seen,
                uploaded: Time::now(),
            },
            bytes: Sizes {
                dump: summary.dump_bytes,
                object: summary.object_bytes,
            },
            crc32: format!("{:08x}", summary.crc32),
            sha256: summary.sha256,
            completeness,
            codec,
            dropped: context.disk.history(Time::now()).dropped,
            heapship: env!("CARGO_PKG_VERSION").to_owned(),
        });
        self.entry.stage = Stage::Stored { record, as_it_stood };
        self.save(context);
        self.finish(context, &store).await
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
            if let Some(mark) = self.mark()? {
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
        Ok(if matches!(self.entry.stage, Stage::Stored { .. }) {
            Outcome::Forgotten
        } else {
            Outcome::Vanished
        })
    }

    async fn abort(&mut self, context: &Context, store: &Store, upload: &UploadId) -> Result<(), Error> {
        if let Stage::Uploading {
            object,
            upload: noted,
            ..
        } = &mut self.entry.stage
        {
            store.abort(object, upload).await?;
            *noted = None;
            self.save(context);
        }
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

/// Notes the upload's name as soon as there is one, and judges what was read before it becomes an object.
struct Witness<'a> {
    attempt: &'a mut Attempt,
    context: &'a Context,
    mark: Mark,
}

impl Witness<'_> {
    fn note(&mut self, name: Option<String>) {
        if let Stage::Uploading { upload, .. } = &mut self.attempt.entry.stage {
            *upload = name;
        }
        self.attempt.save(self.context);
    }
}

impl Caller for Witness<'_> {
    fn begun(&mut self, upload: &UploadId) {
        self.note(Some(upload.0.clone()));
    }

    fn given_up(&mut self) {
        self.note(None);
    }

    fn accepts(&mut self, summary: &Summary) -> bool {
        let unchanged = matches!(self.attempt.mark(), Ok(Some(now)) if now == self.mark);
        match Completeness::of(summary) {
            Some(Completeness::Complete) => unchanged,
            Some(Completeness::Truncated { .. }) => {
                unchanged && self.attempt.evidence != Evidence::LooksWhole
            }
            None => false,
        }
    }
}

fn read_error(source: io::Error) -> Error {
    Error::Read {
        uid: rustix::process::geteuid().as_raw(),
        source,
    }
}

/// By its first bytes: HotSpot never corrects an extension.
fn sniff(file: &File) -> io::Result<Form> {
    let mut beginning = [0; 2];
    let length = file.read_at(&mut beginning, 0)?;
    let gzipped = is_gzip(beginning.get(..length).unwrap_or_default());
    Ok(if gzipped {
        Form::Gzipped
    } else {
        Form::Plain(Codec::None)
    })
}
