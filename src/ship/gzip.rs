//! Gzip members in the form that `HotSpot` writes (`-XX:HeapDumpGzipLevel`) and Eclipse MAT opens in place.
//!
//! Every block is a member of its own, so that threads work independently and a reader can start at any of them. The
//! first one says in a comment how much a member decodes to at most. RFC 1952 has the layout.

use std::io::{self, Write as _};

use super::codec::Deflate;

/// Gzip, deflate, no flags, no time, "fastest", Unix.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 3];
/// Flag of a header that carries a comment.
const COMMENT: u8 = 0x10;
/// The comment, with its NUL: [`BLOCK`](super::codec::BLOCK) in words.
const BLOCK_SIZE: &[u8] = b"HPROF BLOCKSIZE=1048576\0";
/// CRC-32 and length.
const TRAILER: usize = 8;

/// Whether a file of this beginning is gzip, whatever its name says: `HotSpot` never corrects an extension.
#[must_use]
pub fn is_gzip(beginning: &[u8]) -> bool {
    beginning.starts_with(&[0x1f, 0x8b])
}

/// Bytes that the member for a block of `length` bytes needs at most.
pub(super) fn bound(deflate: &mut Deflate, length: usize) -> usize {
    HEADER.len() + BLOCK_SIZE.len() + deflate.bound(length) + TRAILER
}

/// Writes the member for `block`, whose CRC-32 is `crc`, to the beginning of `out`, which has room for [`bound`], and
/// returns its length.
pub(super) fn member(
    deflate: &mut Deflate,
    first: bool,
    block: &[u8],
    crc: u32,
    out: &mut [u8],
) -> io::Result<usize> {
    let mut header = HEADER;
    let [_, _, _, flags, ..] = &mut header;
    *flags = if first { COMMENT } else { 0 };
    let mut rest = &mut *out;
    rest.write_all(&header)?;
    if first {
        rest.write_all(BLOCK_SIZE)?;
    }
    let length = deflate.compress(block, rest)?;
    let (_, mut rest) = rest
        .split_at_mut_checked(length)
        .ok_or(io::ErrorKind::WriteZero)?;
    rest.write_all(&crc.to_le_bytes())?;
    // ISIZE is the length modulo 2^32 by the RFC; blocks are far below.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the modulus is what the format wants"
    )]
    rest.write_all(&(block.len() as u32).to_le_bytes())?;
    let left = rest.len();
    Ok(out.len() - left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_member_carries_the_comment_that_mat_looks_for() {
        let mut deflate = Deflate::default();
        let mut out = vec![0; bound(&mut deflate, 1)];
        member(&mut deflate, true, b"x", 0, &mut out).unwrap();
        let comment = format!("HPROF BLOCKSIZE={}\0", super::super::codec::BLOCK);
        assert!(out.starts_with(b"\x1f\x8b\x08\x10\0\0\0\0\x04\x03"));
        assert!(out[10..].starts_with(comment.as_bytes()));
        let length = member(&mut deflate, false, b"x", 0, &mut out).unwrap();
        assert!(out.starts_with(b"\x1f\x8b\x08\0\0\0\0\0\x04\x03"));
        assert!(length < 30);
    }
}
