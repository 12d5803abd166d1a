//! Gzip members in the form that `HotSpot` writes (`-XX:HeapDumpGzipLevel`) and Eclipse MAT opens in place.
//!
//! Every block is a member of its own, so that threads work independently and a reader can start at any of them. The
//! first one says in a comment how much a member decodes to at most. RFC 1952 has the layout.

use std::io;

use super::codec::{BLOCK, Deflate};

/// Gzip, deflate, no flags, no time, "fastest", Unix.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 3];
/// Flag of a header that carries a comment.
const COMMENT: u8 = 0x10;
const TRAILER: usize = 8;

/// Whether a file of this beginning is gzip, whatever its name says: `HotSpot` never corrects an extension.
#[must_use]
pub fn is_gzip(beginning: &[u8]) -> bool {
    beginning.starts_with(&[0x1f, 0x8b])
}

/// Appends the member for `block`, whose CRC-32 is `crc`.
pub(super) fn member(
    deflate: &mut Deflate,
    first: bool,
    block: &[u8],
    crc: u32,
    out: &mut Vec<u8>,
) -> io::Result<()> {
    let [magic1, magic2, method, _, rest @ ..] = HEADER;
    out.extend_from_slice(&[magic1, magic2, method, if first { COMMENT } else { 0 }]);
    out.extend_from_slice(&rest);
    if first {
        out.extend_from_slice(format!("HPROF BLOCKSIZE={BLOCK}\0").as_bytes());
    }
    let start = out.len();
    out.resize(start + deflate.bound(block.len()) + TRAILER, 0);
    let (_, body) = out.split_at_mut(start);
    let length = deflate.compress(block, body)?;
    out.truncate(start + length);
    out.extend_from_slice(&crc.to_le_bytes());
    // ISIZE is the length modulo 2^32 by the RFC; blocks are far below.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the modulus is what the format wants"
    )]
    out.extend_from_slice(&(block.len() as u32).to_le_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_member_carries_the_comment_that_mat_looks_for() {
        let mut deflate = Deflate::default();
        let mut out = Vec::new();
        member(&mut deflate, true, b"x", 0, &mut out).unwrap();
        assert!(out.starts_with(b"\x1f\x8b\x08\x10\0\0\0\0\x04\x03HPROF BLOCKSIZE=1048576\0"));
        let mut later = Vec::new();
        member(&mut deflate, false, b"x", 0, &mut later).unwrap();
        assert!(later.starts_with(b"\x1f\x8b\x08\0\0\0\0\0\x04\x03"));
        assert!(later.len() < 30);
    }
}
