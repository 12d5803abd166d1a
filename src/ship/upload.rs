//! One dump on its way into the store: the pipeline on its threads, and at most two parts in flight.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use bytes::BytesMut;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::pipeline::{self, Piece, Plan, Summary};
use super::source::Blocks;
use super::store::{self, Metadata, PartTag, Store, UploadId};

/// Parts on their way at a time. More would hide latency better and cost 8 MiB each.
const IN_FLIGHT: usize = 2;

/// Four compress faster than stores take parts, and memory grows with each: a node of 64 CPUs must not push the agent
/// over its limit.
const MAX_DEFAULT_THREADS: usize = 4;

/// Compressing threads where nobody says: as many as there are CPUs, up to 4.
#[must_use]
pub fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |cpus| cpus.get().min(MAX_DEFAULT_THREADS))
}

/// Bytes of memory that a shipment takes at its peak, however large the dump is.
///
/// The process itself, about 7 MiB; two blocks for each thread and one that is being cut, 1 MiB plain and at most 1.2 MiB
/// as a member each; the parts in flight, the one that is being filled and a copy on its way through TLS.
#[must_use]
pub const fn peak_memory(threads: usize, part_size: usize) -> usize {
    const BASE: usize = 7 << 20;
    const BLOCK: usize = (1 << 20) + (12 << 20) / 10;
    BASE + (2 * threads + 1) * BLOCK + (IN_FLIGHT + 2) * part_size
}

/// Why an upload did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store refused.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// Reading or compressing failed.
    #[error(transparent)]
    Pipeline(#[from] pipeline::Error),
    /// The caller looked at what was read and does not want it stored.
    #[error("the dump is not finished")]
    Refused,
}

/// What the caller has to say during an upload.
pub trait Caller: Send {
    /// An upload in parts was begun.
    fn begun(&mut self, upload: &UploadId);
    /// It was given up.
    fn given_up(&mut self);
    /// All was read; is it what should be stored?
    fn accepts(&mut self, summary: &Summary) -> bool;
}

/// Where an object goes.
pub struct Target {
    /// The store.
    pub store: Arc<Store>,
    /// The object's key.
    pub key: String,
    /// Its metadata.
    pub metadata: Metadata,
}

/// Sends a dump and returns what was sent once the store has confirmed all of it.
///
/// # Errors
/// See [`Error`]. The upload is given up then; where even that fails, the caller still has its name.
pub async fn upload(
    blocks: impl Blocks + 'static,
    plan: Plan,
    target: &Target,
    caller: &mut impl Caller,
) -> Result<Summary, Error> {
    let (return_buffer, buffers) = sync_channel(IN_FLIGHT + 1);
    for _ in 0..=IN_FLIGHT {
        // The channel has room for all of them.
        drop(return_buffer.send(BytesMut::new()));
    }
    let (deliver, mut pieces) = mpsc::channel(1);
    let pipeline = tokio::task::spawn_blocking(move || {
        pipeline::run(blocks, plan, &buffers, |piece| {
            deliver.blocking_send(piece).is_ok()
        })
    });
    let mut parts = Parts {
        target,
        upload: None,
        sent: 0,
        offset: 0,
        tags: Vec::new(),
        flying: JoinSet::new(),
        return_buffer,
    };
    let sent = parts.send_all(&mut pieces, caller).await;
    // Ends the pipeline where it has not come to its end.
    drop(pieces);
    let upload = parts.upload.take();
    drop(parts);
    let piped = pipeline.await.map_err(|_| pipeline::Error::Thread);
    match sent {
        Ok(Some(summary)) => Ok(summary),
        failed => {
            if let Some(upload) = upload
                && target.store.abort(&target.key, &upload).await.is_ok()
            {
                caller.given_up();
            }
            match failed {
                Err(error) => Err(error),
                Ok(_) => Err(piped
                    .and_then(|result| result)
                    .err()
                    .unwrap_or(pipeline::Error::Thread)
                    .into()),
            }
        }
    }
}

struct Parts<'a> {
    target: &'a Target,
    upload: Option<UploadId>,
    sent: usize,
    offset: u64,
    tags: Vec<Option<PartTag>>,
    flying: JoinSet<(usize, Result<PartTag, store::Error>)>,
    return_buffer: std::sync::mpsc::SyncSender<BytesMut>,
}

impl Parts<'_> {
    /// Nothing where the pipeline ended early.
    async fn send_all(
        &mut self,
        pieces: &mut mpsc::Receiver<Piece>,
        caller: &mut impl Caller,
    ) -> Result<Option<Summary>, Error> {
        let Target { store, key, metadata } = self.target;
        while let Some(Piece { bytes, last }) = pieces.recv().await {
            if let Some(summary) = &last
                && !caller.accepts(summary)
            {
                return Err(Error::Refused);
            }
            let Some(summary) = last else {
                self.send(bytes, caller).await?;
                continue;
            };
            if self.upload.is_none() {
                store.put(key, bytes, metadata).await?;
            } else {
                self.send(bytes, caller).await?;
                while self.landed().await? {}
                let tags: Option<Vec<PartTag>> = self.tags.drain(..).collect();
                let upload = self.upload.clone();
                let (Some(tags), Some(upload)) = (tags, upload) else {
                    return Ok(None);
                };
                store.complete(key, &upload, tags).await?;
            }
            if let Some(size) = store.size(key).await?
                && size != summary.object_bytes
            {
                return Err(store::Error {
                    attempted: format!("confirm {key}"),
                    cause: store::Cause::Mismatch,
                    source: format!("{} bytes were sent, {size} are there", summary.object_bytes).into(),
                }
                .into());
            }
            return Ok(Some(summary));
        }
        Ok(None)
    }

    async fn send(&mut self, bytes: bytes::Bytes, caller: &mut impl Caller) -> Result<(), Error> {
        let upload = if let Some(upload) = &self.upload {
            upload.clone()
        } else {
            let upload = self
                .target
                .store
                .begin(&self.target.key, &self.target.metadata)
                .await?;
            caller.begun(&upload);
            self.upload.insert(upload).clone()
        };
        while self.flying.len() >= IN_FLIGHT {
            self.landed().await?;
        }
        let (store, key) = (Arc::clone(&self.target.store), self.target.key.clone());
        let (index, offset) = (self.sent, self.offset);
        self.sent += 1;
        self.offset += bytes.len() as u64;
        self.tags.push(None);
        let return_buffer = self.return_buffer.clone();
        self.flying.spawn(async move {
            let result = store.part(&key, &upload, index, offset, bytes.clone()).await;
            // The client may still hold the bytes for a moment; then a new buffer has to do.
            drop(return_buffer.try_send(bytes.try_into_mut().unwrap_or_default()));
            (index, result)
        });
        Ok(())
    }

    /// Waits for a part; nothing is in flight any more where it answers no.
    async fn landed(&mut self) -> Result<bool, Error> {
        let Some(joined) = self.flying.join_next().await else {
            return Ok(false);
        };
        let (index, result) = joined.map_err(|_| pipeline::Error::Thread)?;
        let tag = result?;
        if let Some(place) = self.tags.get_mut(index) {
            *place = Some(tag);
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shipment_fits_into_64_mib_on_any_number_of_cpus() {
        assert!((1..=MAX_DEFAULT_THREADS).contains(&default_threads()));
        assert!(peak_memory(MAX_DEFAULT_THREADS, 8 << 20) < 64 << 20);
        assert!(peak_memory(2, 8 << 20) < 52 << 20);
    }
}
