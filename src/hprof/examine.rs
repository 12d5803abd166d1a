use std::io::{self, BufReader, Cursor, ErrorKind, Read};

use flate2::bufread::MultiGzDecoder;

use super::{
    header::Header,
    verdict::{Reason, Verdict},
    walk::Walk,
};
use crate::quantity::Bytes;

pub(super) const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Large enough that the system calls do not count, small enough for an agent that must stay below 64 MB.
const BLOCK: usize = 256 * 1024;

/// What was found out about a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Examined {
    /// Whether it is a whole dump.
    pub verdict: Verdict,
    /// What its header says, unless it is not a dump.
    pub header: Option<Header>,
    /// Of the dump, uncompressed; up to the damage where its compression is damaged.
    pub size: Bytes,
    /// Whether it was gzipped.
    pub gzip: bool,
}

/// Reads a whole dump, plain or gzipped, whatever its name is.
///
/// # Errors
/// Those of the reader. A damaged or cut gzip stream is not an error but a truncated dump.
pub fn examine(reader: impl Read) -> io::Result<Examined> {
    let mut walk = Walk::new();
    let source = read(reader, |block| walk.feed(block))?;
    let verdict = match walk.verdict() {
        Verdict::Complete if source.damaged => Verdict::Truncated {
            offset: walk.offset(),
            reason: Reason::Gzip,
        },
        verdict => verdict,
    };
    Ok(Examined {
        verdict,
        header: walk.header(),
        size: Bytes(walk.offset()),
        gzip: source.gzip,
    })
}

/// How the bytes of a dump were stored.
pub(super) struct Source {
    pub(super) gzip: bool,
    /// The gzip stream was cut or fails its checksum.
    pub(super) damaged: bool,
}

/// Hands the uncompressed bytes over, block by block.
pub(super) fn read(mut reader: impl Read, mut feed: impl FnMut(&[u8])) -> io::Result<Source> {
    let mut start = Vec::new();
    reader
        .by_ref()
        .take(GZIP_MAGIC.len() as u64)
        .read_to_end(&mut start)?;
    let gzip = start == GZIP_MAGIC;
    let whole = Cursor::new(start).chain(reader);
    if !gzip {
        blocks(whole, &mut feed)?;
        return Ok(Source { gzip, damaged: false });
    }
    match blocks(
        MultiGzDecoder::new(BufReader::with_capacity(BLOCK, whole)),
        &mut feed,
    ) {
        Ok(()) => Ok(Source { gzip, damaged: false }),
        // The kinds that the decoder itself uses; all others come from the reader below it.
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::UnexpectedEof | ErrorKind::InvalidInput | ErrorKind::InvalidData
            ) =>
        {
            Ok(Source { gzip, damaged: true })
        }
        Err(error) => Err(error),
    }
}

fn blocks(mut reader: impl Read, feed: &mut impl FnMut(&[u8])) -> io::Result<()> {
    let mut block = vec![0; BLOCK];
    loop {
        match reader.read(&mut block) {
            Ok(0) => return Ok(()),
            Ok(n) => feed(block.get(..n).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;
    use crate::hprof::sample::one_of_everything;

    /// One member for each block, as the JVM writes them.
    fn gzip(dump: &[u8], block: usize) -> Vec<u8> {
        let members = dump.chunks(block).map(|block| {
            let mut member = GzEncoder::new(Vec::new(), Compression::fast());
            member.write_all(block).unwrap();
            member.finish().unwrap()
        });
        members.flatten().collect()
    }

    #[test]
    fn a_gzipped_dump_is_read_to_its_last_member() {
        let dump = one_of_everything("1.0.2", 8);
        let examined = examine(&gzip(&dump, 100)[..]).unwrap();
        assert_eq!(examined.verdict, Verdict::Complete);
        assert_eq!((examined.size, examined.gzip), (Bytes(dump.len() as u64), true));
        let plain = examine(&dump[..]).unwrap();
        assert_eq!(
            plain,
            Examined {
                gzip: false,
                ..examined
            }
        );
    }

    #[test]
    fn a_gzip_stream_that_ends_too_early_is_a_truncated_dump() {
        let dump = one_of_everything("1.0.2", 8);
        let whole = gzip(&dump, 100);
        for end in 100..whole.len() {
            let verdict = examine(&whole[..end]).unwrap().verdict;
            assert!(
                matches!(verdict, Verdict::Truncated { .. }),
                "{end} of {}: {verdict}",
                whole.len()
            );
        }
    }

    #[test]
    fn a_wrong_checksum_around_whole_records_is_damage() {
        let dump = one_of_everything("1.0.2", 8);
        let mut gzip = gzip(&dump, 1 << 20);
        let checksum = gzip.len() - 8;
        gzip[checksum] ^= 1;
        let expected = Verdict::Truncated {
            offset: dump.len() as u64,
            reason: Reason::Gzip,
        };
        assert_eq!(examine(&gzip[..]).unwrap().verdict, expected);
    }

    #[test]
    fn an_error_of_the_reader_is_no_verdict() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::from(ErrorKind::PermissionDenied))
            }
        }
        let dump = one_of_everything("1.0.2", 8);
        for start in [&dump[..40], &gzip(&dump, 100)[..150], &[]] {
            let error = examine(start.chain(Broken)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        }
    }
}
