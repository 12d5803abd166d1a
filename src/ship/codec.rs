//! How a dump becomes smaller: blocks of at most 1 MiB in, members that can be decoded one after another out.

use std::io;

use serde::{Deserialize, Serialize};

use super::gzip;

/// Bytes of a block, and of what a member decodes to: `HotSpot`'s own figure, which Eclipse MAT reads from the header.
pub const BLOCK: usize = 1 << 20;

/// A form that objects are stored in.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// Gzip in members, which Eclipse MAT opens in place.
    #[default]
    Gzip,
    /// Zstandard, one frame for each block: smaller, and as fast as the fastest gzip.
    Zstd,
    /// As the JVM wrote it.
    None,
}

impl Codec {
    /// What object names end in.
    #[must_use]
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Gzip => ".gz",
            Self::Zstd => ".zst",
            Self::None => "",
        }
    }

    /// The object's name: the key with `.truncated` before `.hprof` where the dump was already cut, then our suffix.
    #[must_use]
    pub fn object_name(self, key: &str, truncated: bool) -> String {
        let (stem, extension) = match key.strip_suffix(".hprof") {
            Some(stem) => (stem, ".hprof"),
            None => (key, ""),
        };
        let mark = if truncated { ".truncated" } else { "" };
        format!("{stem}{mark}{extension}{}", self.suffix())
    }

    /// As it stands in settings, records and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::None => "none",
        }
    }
}

/// One thread's compressor.
pub enum Compressor {
    /// Gzip by the fastest deflate that was compiled in.
    Gzip(Box<Deflate>),
    /// Zstandard level 1: levels 2 and 3 were slower *and* larger on every dump measured.
    Zstd(Box<zstd::bulk::Compressor<'static>>),
    /// No compression.
    None,
}

impl Compressor {
    /// Makes one for `codec`.
    ///
    /// # Errors
    /// When zstd cannot allocate its context.
    pub fn new(codec: Codec) -> io::Result<Self> {
        Ok(match codec {
            Codec::Gzip => Self::Gzip(Box::default()),
            Codec::Zstd => Self::Zstd(Box::new(zstd::bulk::Compressor::new(1)?)),
            Codec::None => Self::None,
        })
    }

    /// Writes the member for `block` to the beginning of `out`; the `first` one of an object says how large members are.
    ///
    /// `out` grows to what a member can need at most and stays so: buffers are used again, and pages that no member
    /// reaches cost nothing.
    ///
    /// # Errors
    /// When the encoder fails, which for blocks of memory means that memory ran out.
    pub fn member(&mut self, first: bool, block: &[u8], out: &mut Vec<u8>) -> io::Result<Member> {
        let bound = match self {
            Self::Gzip(deflate) => gzip::bound(deflate, block.len()),
            Self::Zstd(_) => zstd::zstd_safe::compress_bound(block.len()),
            Self::None => block.len(),
        };
        if out.len() < bound {
            *out = vec![0; bound];
        }
        let crc = crc32fast::hash(block);
        let length = match self {
            Self::Gzip(deflate) => gzip::member(deflate, first, block, crc, out)?,
            Self::Zstd(zstd) => zstd.compress_to_buffer(block, out.as_mut_slice())?,
            Self::None => io::Write::write(&mut out.as_mut_slice(), block)?,
        };
        Ok(Member { length, crc })
    }
}

/// What a block has become.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Member {
    /// Bytes of the member.
    pub length: usize,
    /// CRC-32 of the block.
    pub crc: u32,
}

/// Raw deflate of a whole block.
#[cfg_attr(all(feature = "isal", target_arch = "x86_64"), derive(Default))]
pub struct Deflate {
    #[cfg(not(all(feature = "isal", target_arch = "x86_64")))]
    inner: libdeflater::Compressor,
}

#[cfg(all(feature = "isal", target_arch = "x86_64"))]
impl Deflate {
    /// Bytes that `length` bytes need at most: stored blocks of 64 KiB with 5 bytes each, and a spare.
    #[must_use]
    pub fn bound(&mut self, length: usize) -> usize {
        length + (length / 65_535 + 1) * 5 + 64
    }

    /// Compresses into `out` and returns the length.
    ///
    /// # Errors
    /// When ISA-L refuses.
    pub fn compress(&mut self, block: &[u8], out: &mut [u8]) -> io::Result<usize> {
        // Level 1 gains 12 % over 0 for a tenth of its speed; 2 is not in the safe interface, 3 takes twice the time.
        isal::compress_into(block, out, isal::CompressionLevel::One, isal::Codec::Deflate)
            .map_err(|error| io::Error::other(error.to_string()))
    }
}

#[cfg(not(all(feature = "isal", target_arch = "x86_64")))]
impl Default for Deflate {
    fn default() -> Self {
        // The library's own "fastest" is 0, which only stores.
        Self {
            inner: libdeflater::Compressor::new(libdeflater::CompressionLvl::new(1).unwrap_or_default()),
        }
    }
}

#[cfg(not(all(feature = "isal", target_arch = "x86_64")))]
impl Deflate {
    /// Bytes that `length` bytes need at most.
    #[must_use]
    pub fn bound(&mut self, length: usize) -> usize {
        self.inner.deflate_compress_bound(length)
    }

    /// Compresses into `out` and returns the length.
    ///
    /// # Errors
    /// When `out` is shorter than the bound.
    pub fn compress(&mut self, block: &[u8], out: &mut [u8]) -> io::Result<usize> {
        self.inner
            .deflate_compress(block, out)
            .map_err(|error| io::Error::other(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encode(codec: Codec, blocks: &[Vec<u8>]) -> (Vec<u8>, u32) {
        let mut compressor = Compressor::new(codec).unwrap();
        let (mut object, mut member) = (Vec::new(), Vec::new());
        let mut crc = crc32fast::Hasher::new();
        for (at, block) in blocks.iter().enumerate() {
            let Member {
                length,
                crc: block_crc,
            } = compressor.member(at == 0, block, &mut member).unwrap();
            crc.combine(&crc32fast::Hasher::new_with_initial_len(
                block_crc,
                block.len() as u64,
            ));
            object.extend_from_slice(&member[..length]);
        }
        (object, crc.finalize())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn members_decode_to_the_blocks_in_order(
            blocks in proptest::collection::vec(
                prop_oneof![
                    proptest::collection::vec(any::<u8>(), 1..4000),
                    (any::<u8>(), 1_usize..200_000).prop_map(|(byte, length)| vec![byte; length]),
                ],
                1..6,
            ),
        ) {
            let plain = blocks.concat();
            for codec in [Codec::Gzip, Codec::Zstd, Codec::None] {
                let (object, crc) = encode(codec, &blocks);
                prop_assert_eq!(crc, crc32fast::hash(&plain));
                let decoded = match codec {
                    Codec::Gzip => {
                        let mut out = Vec::new();
                        io::Read::read_to_end(&mut flate2::read::MultiGzDecoder::new(object.as_slice()), &mut out)
                            .unwrap();
                        out
                    }
                    Codec::Zstd => zstd::stream::decode_all(object.as_slice()).unwrap(),
                    Codec::None => object,
                };
                prop_assert!(decoded == plain);
            }
        }
    }

    #[test]
    fn the_mark_of_a_cut_dump_stands_before_the_extension() {
        assert_eq!(Codec::Gzip.object_name("a/b.hprof", false), "a/b.hprof.gz");
        assert_eq!(
            Codec::Gzip.object_name("a/b.hprof", true),
            "a/b.truncated.hprof.gz"
        );
        assert_eq!(Codec::None.object_name("a/b", true), "a/b.truncated");
        assert_eq!(Codec::Zstd.object_name("a/b.hprof", false), "a/b.hprof.zst");
    }

    #[test]
    fn a_full_block_of_noise_fits_into_its_bound() {
        let mut state = 1_u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state.to_be_bytes()[0]
        })
        .take(BLOCK)
        .collect();
        let (object, _) = encode(Codec::Gzip, std::slice::from_ref(&noise));
        assert!(object.len() < BLOCK + 2000);
        let mut out = Vec::new();
        io::Read::read_to_end(
            &mut flate2::read::MultiGzDecoder::new(object.as_slice()),
            &mut out,
        )
        .unwrap();
        assert!(out == noise);
    }
}
