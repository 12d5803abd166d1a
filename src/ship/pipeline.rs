//! Blocks -> members -> parts, on all cores, in bounded memory.
//!
//! One thread reads and walks, some compress, one cuts parts. Every block carries the sending end of a one-shot channel
//! and the cutter holds the receiving ends in order, so that order needs no map and no lock. Buffers circulate: when
//! all are in use, the reader waits, and when all parts are on their way, the cutter does.

use std::io::{self, Write as _};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;

use bytes::{Bytes, BytesMut};

use super::codec::{Codec, Compressor, Member};
use super::parts::Cutter;
use super::source::Blocks;
use crate::hprof::{Verdict, Walk};

/// What is done to a dump on its way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// A plain dump, compressed by this codec.
    Plain(Codec),
    /// The JVM compressed it already: shipped as it is, inflated only to be walked.
    Gzipped,
}

/// How a shipment is cut and by how many threads.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// What is done to the bytes.
    pub form: Form,
    /// Compressing threads, at least one.
    pub threads: usize,
    /// Bytes of every part but the last.
    pub part_size: usize,
}

/// A part of the object. The last one tells what all of it was.
#[derive(Debug)]
pub struct Piece {
    /// Its bytes.
    pub bytes: Bytes,
    /// Set on the last.
    pub last: Option<Summary>,
}

/// What was shipped.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Bytes of the uncompressed dump.
    pub dump_bytes: u64,
    /// CRC-32 of the uncompressed dump.
    pub crc32: u32,
    /// Bytes of the object.
    pub object_bytes: u64,
    /// SHA-256 of the object, in hexadecimal.
    pub sha256: String,
    /// Whether the dump is whole.
    pub verdict: Verdict,
    /// When the JVM began to write, in milliseconds since 1970, by the dump's own header.
    pub started_ms: Option<u64>,
    /// The gzip stream that the JVM wrote is cut or damaged.
    pub gzip_damaged: bool,
}

/// Why a pipeline ended early.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The dump could not be read.
    #[error("cannot read the dump")]
    Read(#[source] io::Error),
    /// The encoder gave up.
    #[error("cannot compress the dump")]
    Compress(#[source] io::Error),
    /// Whoever takes the parts has gone.
    #[error("the upload ended before the dump did")]
    Cancelled,
    /// A thread panicked, or could not be started.
    #[error("a thread of the pipeline failed")]
    Thread,
}

/// A block's buffers: they return to the reader when the cutter is done with them.
#[derive(Default)]
struct Buffers {
    block: Vec<u8>,
    member: Vec<u8>,
}

struct Job {
    buffers: Buffers,
    first: bool,
    done: SyncSender<Result<Done, Error>>,
}

struct Done {
    buffers: Buffers,
    member: Member,
}

/// What the reader knows at the end.
struct Seen {
    walk: Walk,
    inflated: Option<Inflated>,
}

struct Inflated {
    bytes: u64,
    crc: u32,
    damaged: bool,
}

/// Runs a dump through; blocks the thread until the last piece was delivered.
///
/// `buffers` brings the parts' buffers, as many as may exist at a time; `deliver` takes the pieces in order and answers
/// whether anybody wants more.
///
/// # Errors
/// See [`Error`]. Pieces delivered before are void then.
pub fn run(
    mut blocks: impl Blocks,
    plan: Plan,
    buffers: &Receiver<BytesMut>,
    mut deliver: impl FnMut(Piece) -> bool,
) -> Result<(), Error> {
    let Plan {
        form,
        threads,
        part_size,
    } = plan;
    let codec = match form {
        Form::Plain(codec) => codec,
        Form::Gzipped => Codec::None,
    };
    let threads = threads.max(1);
    // Two for each thread, at work and waiting, and one that is being cut.
    let circulating = 2 * threads + 1;
    let (free, empty) = sync_channel(circulating);
    for _ in 0..circulating {
        free.send(Buffers::default()).map_err(|_| Error::Thread)?;
    }
    let (order, members) = channel();
    let (jobs, waiting) = channel();
    let waiting = Arc::new(Mutex::new(waiting));

    thread::scope(|scope| {
        let reader = thread::Builder::new()
            .name("read".to_owned())
            .spawn_scoped(scope, move || read(&mut blocks, form, &empty, &jobs, &order))
            .map_err(|_| Error::Thread)?;
        let mut workers = Vec::with_capacity(threads);
        for _ in 0..threads {
            let waiting = Arc::clone(&waiting);
            let worker = thread::Builder::new()
                .name("compress".to_owned())
                .spawn_scoped(scope, move || compress(codec, &waiting))
                .map_err(|_| Error::Thread)?;
            workers.push(worker);
        }
        drop(waiting);
        let mut cutter = Cutter::new(part_size, buffers);
        let cut = cut(members, &free, &mut cutter, &mut deliver);
        drop(free);
        // Joined one by one: the scope itself would pass a panic on, and a panic here must fail the upload only.
        let seen = reader.join().map_err(|_| Error::Thread);
        let ended = workers
            .into_iter()
            .map(thread::ScopedJoinHandle::join)
            .all(|end| end.is_ok());
        let (dump_bytes, crc32) = cut?;
        let seen = seen??;
        if !ended {
            return Err(Error::Thread);
        }
        let (bytes, object_bytes, sha256) = cutter.finish();
        let Seen { walk, inflated } = seen;
        let summary = Summary {
            dump_bytes: inflated.as_ref().map_or(dump_bytes, |inflated| inflated.bytes),
            crc32: inflated.as_ref().map_or(crc32, |inflated| inflated.crc),
            object_bytes,
            sha256,
            verdict: walk.verdict(),
            started_ms: walk.header().map(|header| header.started_ms),
            gzip_damaged: inflated.is_some_and(|inflated| inflated.damaged),
        };
        if deliver(Piece {
            bytes,
            last: Some(summary),
        }) {
            Ok(())
        } else {
            Err(Error::Cancelled)
        }
    })
}

fn read(
    blocks: &mut impl Blocks,
    form: Form,
    empty: &Receiver<Buffers>,
    jobs: &Sender<Job>,
    order: &Sender<Receiver<Result<Done, Error>>>,
) -> Result<Seen, Error> {
    let mut examiner = Examiner::new(form);
    let mut first = true;
    loop {
        let mut buffers = empty.recv().map_err(|_| Error::Cancelled)?;
        blocks.next(&mut buffers.block).map_err(Error::Read)?;
        if buffers.block.is_empty() {
            return Ok(examiner.finish());
        }
        examiner.feed(&buffers.block);
        let (done, member) = sync_channel(1);
        order.send(member).map_err(|_| Error::Cancelled)?;
        jobs.send(Job { buffers, first, done })
            .map_err(|_| Error::Cancelled)?;
        first = false;
    }
}

fn compress(codec: Codec, waiting: &Mutex<Receiver<Job>>) {
    let mut compressor = Compressor::new(codec);
    loop {
        // The lock is held while waiting: whoever holds it is the one that takes the next block.
        let Ok(Ok(job)) = waiting.lock().map(|jobs| jobs.recv()) else {
            return;
        };
        let Job {
            mut buffers,
            first,
            done,
        } = job;
        let result = match &mut compressor {
            Ok(compressor) => compressor
                .member(first, &buffers.block, &mut buffers.member)
                .map(|member| Done { buffers, member })
                .map_err(Error::Compress),
            Err(error) => Err(Error::Compress(io::Error::from(error.kind()))),
        };
        // Fails when the cutter has given up, which the reader hears as well.
        drop(done.send(result));
    }
}

fn cut(
    members: Receiver<Receiver<Result<Done, Error>>>,
    free: &SyncSender<Buffers>,
    cutter: &mut Cutter<'_>,
    deliver: &mut impl FnMut(Piece) -> bool,
) -> Result<(u64, u32), Error> {
    let mut crc = crc32fast::Hasher::new();
    let mut dump_bytes = 0;
    for member in members {
        let Done {
            buffers,
            member: Member {
                length,
                crc: block_crc,
            },
        } = member.recv().map_err(|_| Error::Thread)??;
        let block = buffers.block.len() as u64;
        crc.combine(&crc32fast::Hasher::new_with_initial_len(block_crc, block));
        dump_bytes += block;
        let member = buffers.member.get(..length).ok_or(Error::Thread)?;
        cutter.push(member, |bytes| deliver(Piece { bytes, last: None }))?;
        // The reader may be through already.
        drop(free.send(buffers));
    }
    Ok((dump_bytes, crc.finalize()))
}

/// Walks the dump, inflating it first where the JVM compressed it.
enum Examiner {
    Plain(Walk),
    Gzipped {
        inflater: Box<flate2::write::MultiGzDecoder<Inflating>>,
        damaged: bool,
    },
}

#[derive(Default)]
struct Inflating {
    walk: Walk,
    crc: crc32fast::Hasher,
    bytes: u64,
}

impl io::Write for Inflating {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.walk.feed(bytes);
        self.crc.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Examiner {
    fn new(form: Form) -> Self {
        match form {
            Form::Plain(_) => Self::Plain(Walk::new()),
            Form::Gzipped => Self::Gzipped {
                inflater: Box::new(flate2::write::MultiGzDecoder::new(Inflating::default())),
                damaged: false,
            },
        }
    }

    fn feed(&mut self, block: &[u8]) {
        match self {
            Self::Plain(walk) => walk.feed(block),
            Self::Gzipped { inflater, damaged } => *damaged = *damaged || inflater.write_all(block).is_err(),
        }
    }

    fn finish(self) -> Seen {
        match self {
            Self::Plain(walk) => Seen { walk, inflated: None },
            Self::Gzipped {
                mut inflater,
                damaged,
            } => {
                let damaged = damaged || inflater.try_finish().is_err();
                let Inflating { walk, crc, bytes } = std::mem::take(inflater.get_mut());
                Seen {
                    walk,
                    inflated: Some(Inflated {
                        bytes,
                        crc: crc.finalize(),
                        damaged,
                    }),
                }
            }
        }
    }
}

/// Only walks: is this file a whole dump?
///
/// # Errors
/// When it cannot be read.
pub fn examine(blocks: &mut impl Blocks, form: Form) -> io::Result<(Verdict, bool)> {
    let mut examiner = Examiner::new(form);
    let mut block = Vec::new();
    loop {
        blocks.next(&mut block)?;
        if block.is_empty() {
            let Seen { walk, inflated } = examiner.finish();
            return Ok((walk.verdict(), inflated.is_some_and(|inflated| inflated.damaged)));
        }
        examiner.feed(&block);
    }
}

#[cfg(test)]
mod tests;
