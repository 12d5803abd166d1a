//! Cuts a stream of members into parts of exactly one size: Cloudflare R2 accepts no others.

use std::sync::mpsc::Receiver;

use bytes::{Bytes, BytesMut};
use sha2::{Digest as _, Sha256};

use super::pipeline::Error;

/// Stores take at most 10,000 parts; the rest is room for a dump that does not shrink at all.
const MAX_PARTS: u64 = 9_000;

/// Bytes of a part for an object of at most `object_bytes`: `wanted`, or more where the parts would be too many.
#[must_use]
pub fn part_size(wanted: usize, object_bytes: u64) -> usize {
    usize::try_from(object_bytes / MAX_PARTS)
        .unwrap_or(usize::MAX)
        .saturating_add(1)
        .max(wanted)
}

/// Collects bytes and gives full parts away; hashes everything in order.
pub struct Cutter<'a> {
    size: usize,
    part: BytesMut,
    buffers: &'a Receiver<BytesMut>,
    object_bytes: u64,
    sha256: Sha256,
}

impl<'a> Cutter<'a> {
    /// Parts of `size` bytes, in buffers that come one by one when earlier parts have arrived.
    #[must_use]
    pub fn new(size: usize, buffers: &'a Receiver<BytesMut>) -> Self {
        Self {
            size,
            part: BytesMut::new(),
            buffers,
            object_bytes: 0,
            sha256: Sha256::new(),
        }
    }

    /// Takes bytes. A full part is given away only when more follow, so that the last part is never empty.
    ///
    /// # Errors
    /// [`Error::Cancelled`] when nobody takes parts any more.
    pub fn push(&mut self, mut bytes: &[u8], mut deliver: impl FnMut(Bytes) -> bool) -> Result<(), Error> {
        self.sha256.update(bytes);
        self.object_bytes += bytes.len() as u64;
        while !bytes.is_empty() {
            if self.part.len() == self.size && !deliver(std::mem::take(&mut self.part).freeze()) {
                return Err(Error::Cancelled);
            }
            if self.part.is_empty() {
                self.part = self.buffers.recv().map_err(|_| Error::Cancelled)?;
                self.part.clear();
                self.part.reserve(self.size);
            }
            let (now, later) = bytes.split_at(bytes.len().min(self.size - self.part.len()));
            self.part.extend_from_slice(now);
            bytes = later;
        }
        Ok(())
    }

    /// The last part, the object's length and its SHA-256 in hexadecimal.
    #[must_use]
    pub fn finish(self) -> (Bytes, u64, String) {
        (
            self.part.freeze(),
            self.object_bytes,
            hex::encode(self.sha256.finalize()),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn all_parts_but_the_last_have_the_size_and_add_up(
            members in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 0..30),
            size in 1_usize..64,
        ) {
            let (free, buffers) = channel();
            for _ in 0..2000 {
                free.send(BytesMut::new()).unwrap();
            }
            let mut cutter = Cutter::new(size, &buffers);
            let mut parts = Vec::new();
            for member in &members {
                cutter.push(member, |part| { parts.push(part); true }).unwrap();
            }
            let (last, length, sha256) = cutter.finish();
            prop_assert!(parts.iter().all(|part| part.len() == size));
            prop_assert!(last.len() <= size);
            prop_assert!(!last.is_empty() || length == 0);
            let object: Vec<u8> = parts.iter().flatten().chain(last.iter()).copied().collect();
            prop_assert_eq!(&object, &members.concat());
            prop_assert_eq!(length, object.len() as u64);
            prop_assert_eq!(sha256, hex::encode(Sha256::digest(&object)));
        }

        #[test]
        fn no_object_needs_more_parts_than_stores_take(bytes in 0_u64..5 << 40) {
            let size = part_size(8 << 20, bytes) as u64;
            prop_assert!(size >= 8 << 20);
            // Members of noise are a little longer than their blocks.
            prop_assert!((bytes + bytes / 1000).div_ceil(size) <= 10_000);
        }
    }
}
