//! The middle of an attempt: look at the dump, choose its place, send it, and know what was sent.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use super::{Attempt, Context, Error, Evidence, Examined, Outcome, read_error};
use crate::ship::codec::Codec;
use crate::ship::gzip::is_gzip;
use crate::ship::ledger::{Mark, Stage};
use crate::ship::pipeline::{Form, Plan, Summary};
use crate::ship::record::{self, Completeness, Record, Sizes, Times};
use crate::ship::source::FileBlocks;
use crate::ship::store::{Store, UploadId};
use crate::ship::time::Time;
use crate::ship::upload::{self, Caller, Target, upload};

impl Attempt {
    /// Sends the dump, from its beginning, and everything after it.
    pub(super) async fn send(
        &mut self,
        context: &Context,
        store: Arc<Store>,
        mark: Mark,
        part_size: usize,
    ) -> Result<Outcome, Error> {
        let form = sniff(&self.open()?).map_err(read_error)?;
        let mut truncated = false;
        // A plain dump whose end looks right is read once. The others are rare, and what they are decides about the key.
        if self.evidence != Evidence::LooksWhole || form == Form::Gzipped {
            match self.examine(mark).await? {
                (_, Examined::Complete) => {}
                _ if self.evidence == Evidence::LooksWhole => return Ok(Outcome::NotYet),
                (_, Examined::Truncated) => truncated = true,
                (_, Examined::TooShort) => return Ok(Outcome::TooShort),
                (verdict, Examined::NotHprof) if self.evidence == Evidence::Settled => {
                    return self.reject(context, verdict, mark);
                }
                (_, Examined::NotHprof) => return Ok(Outcome::NotYet),
            }
        }
        let (form, codec) = match form {
            Form::Gzipped => (form, Codec::Gzip),
            Form::Plain(_) => (Form::Plain(context.codec), context.codec),
        };
        let object = self.place(codec, truncated);
        self.entry.stage = Stage::Uploading {
            object: object.clone(),
            codec,
            upload: None,
        };
        self.save(context);
        let metadata = record::metadata(
            &context.identity,
            &self.entry.container,
            self.image(context),
            self.entry.reason,
        );
        let target = Target {
            store: Arc::clone(&store),
            key: object.clone(),
            metadata,
        };
        let plan = Plan {
            form,
            threads: context.threads,
            part_size,
        };
        let blocks = FileBlocks::new(self.open()?, mark.size);
        let summary = match upload(
            blocks,
            plan,
            &target,
            &mut Witness {
                attempt: self,
                context,
            },
        )
        .await
        {
            Ok(summary) => summary,
            Err(upload::Error::Refused) if self.look_now()? == self.look => return Ok(Outcome::NotYet),
            Err(upload::Error::Refused) => return Ok(Outcome::Changed),
            Err(upload::Error::Store(error)) => return Err(error.into()),
            Err(upload::Error::Pipeline(error)) => return Err(error.into()),
        };
        let Some(completeness) = Completeness::of(&summary) else {
            return Ok(Outcome::NotYet);
        };
        let unsure = completeness != Completeness::Complete && self.evidence == Evidence::Ending;
        let record = Box::new(self.record(context, object, codec, summary, completeness));
        self.entry.stage = Stage::Stored {
            record,
            sent: self.look.clone(),
            unsure,
        };
        self.save(context);
        self.finish(context, &store).await
    }

    /// The object's key: the same as in the attempt before, even if the dump has been cut or completed since.
    fn place(&self, codec: Codec, truncated: bool) -> String {
        match &self.entry.stage {
            Stage::Uploading {
                object,
                codec: before,
                ..
            } if *before == codec => object.clone(),
            Stage::Stored { record, .. } if record.codec == codec => record.key.clone(),
            Stage::Claimed | Stage::Uploading { .. } | Stage::Stored { .. } | Stage::Kept { .. } => {
                codec.object_name(&self.entry.key, truncated)
            }
        }
    }

    fn image<'a>(&self, context: &'a Context) -> &'a str {
        context
            .images
            .get(&self.entry.container)
            .map_or("", String::as_str)
    }

    fn record(
        &self,
        context: &Context,
        key: String,
        codec: Codec,
        summary: Summary,
        completeness: Completeness,
    ) -> Record {
        let Summary {
            dump_bytes,
            crc32,
            object_bytes,
            sha256,
            verdict: _,
            started_ms,
            gzip_damaged: _,
        } = summary;
        let now = Time::now();
        Record {
            identity: context.identity.clone(),
            container: self.entry.container.clone(),
            image: self.image(context).to_owned(),
            jvm: None,
            reason: self.entry.reason,
            file: self.entry.file.clone(),
            key,
            times: Times {
                began: started_ms.and_then(|ms| Time::from_millisecond(i64::try_from(ms).ok()?)),
                seen: self.entry.seen,
                uploaded: now,
            },
            bytes: Sizes {
                dump: dump_bytes,
                object: object_bytes,
            },
            crc32: format!("{crc32:08x}"),
            sha256,
            completeness,
            codec,
            dropped: context.disk.history(now).dropped,
            shipped_by: context.shipped_by.clone().map(Box::new),
            heapship: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

/// Notes the upload's name as soon as there is one, and judges what was read before it becomes an object.
struct Witness<'a> {
    attempt: &'a mut Attempt,
    context: &'a Context,
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
        let Attempt { look, evidence, .. } = &*self.attempt;
        let Ok(now) = self.attempt.look_now() else {
            return false;
        };
        match Completeness::of(summary) {
            Some(Completeness::Complete) => now.file() == look.file(),
            Some(Completeness::Truncated { .. }) => now == *look && *evidence != Evidence::LooksWhole,
            None => false,
        }
    }
}

/// By its first bytes: `HotSpot` never corrects an extension.
pub(super) fn sniff(file: &File) -> io::Result<Form> {
    let mut beginning = [0; 2];
    let length = file.read_at(&mut beginning, 0)?;
    let gzipped = is_gzip(beginning.get(..length).unwrap_or_default());
    Ok(if gzipped {
        Form::Gzipped
    } else {
        Form::Plain(Codec::None)
    })
}
