use std::io::Read as _;
use std::sync::mpsc::channel;

use proptest::prelude::*;

use super::*;

/// Gives bytes in blocks of any sizes, then an error if there is one.
struct Memory {
    bytes: Vec<u8>,
    block: usize,
    failure: Option<io::ErrorKind>,
}

impl Blocks for Memory {
    fn next(&mut self, block: &mut Vec<u8>) -> io::Result<()> {
        block.clear();
        let rest = self.bytes.split_off(self.block.min(self.bytes.len()));
        block.extend(std::mem::replace(&mut self.bytes, rest));
        match self.failure.filter(|_| block.is_empty()) {
            Some(kind) => Err(kind.into()),
            None => Ok(()),
        }
    }
}

fn ship(blocks: Memory, plan: Plan, parts: usize) -> (Vec<Piece>, Result<(), Error>) {
    let (free, buffers) = channel();
    for _ in 0..100_000 {
        free.send(BytesMut::new()).unwrap();
    }
    let mut pieces = Vec::new();
    let result = run(blocks, plan, &buffers, |piece| {
        pieces.push(piece);
        pieces.len() < parts
    });
    (pieces, result)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    io::Write::write_all(&mut encoder, bytes).unwrap();
    encoder.finish().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn what_goes_in_comes_out_in_order_whatever_the_threads_and_parts(
        bytes in proptest::collection::vec(any::<u8>(), 1..20_000),
        block in 1_usize..3000,
        threads in 1_usize..4,
        part_size in 1_usize..5000,
    ) {
        let source = Memory { bytes: bytes.clone(), block, failure: None };
        let plan = Plan { form: Form::Plain(Codec::Gzip), threads, part_size };
        let (pieces, result) = ship(source, plan, usize::MAX);
        result.unwrap();
        let object: Vec<u8> = pieces.iter().flat_map(|piece| piece.bytes.iter().copied()).collect();
        let summary = pieces.last().unwrap().last.clone().unwrap();
        prop_assert_eq!(summary.dump_bytes, bytes.len() as u64);
        prop_assert_eq!(summary.object_bytes, object.len() as u64);
        prop_assert_eq!(summary.crc32, crc32fast::hash(&bytes));
        let mut plain = Vec::new();
        flate2::read::MultiGzDecoder::new(object.as_slice()).read_to_end(&mut plain).unwrap();
        prop_assert!(plain == bytes);
    }

    #[test]
    fn what_is_gzip_already_is_not_changed_and_is_known_inside_out(
        bytes in proptest::collection::vec(any::<u8>(), 0..5000), block in 1_usize..3000, cut in 0_usize..40,
    ) {
        let whole = [gzip(&bytes), gzip(b"a second member")].concat();
        let (kept, _) = whole.split_at(whole.len() - cut);
        let source = Memory { bytes: kept.to_vec(), block, failure: None };
        let (pieces, result) = ship(source, Plan { form: Form::Gzipped, threads: 2, part_size: 1000 }, usize::MAX);
        result.unwrap();
        let object: Vec<u8> = pieces.iter().flat_map(|piece| piece.bytes.iter().copied()).collect();
        prop_assert_eq!(object.as_slice(), kept);
        let summary = pieces.last().unwrap().last.clone().unwrap();
        // A cut of the whole second member leaves a whole stream.
        let second = gzip(b"a second member").len();
        prop_assert_eq!(summary.gzip_damaged, cut != 0 && cut != second);
        if cut == 0 {
            prop_assert_eq!(summary.crc32, crc32fast::hash(&[bytes.as_slice(), b"a second member"].concat()));
        }
    }

    #[test]
    fn no_bytes_make_the_examination_panic(bytes in proptest::collection::vec(any::<u8>(), 0..3000), gzipped: bool) {
        let form = if gzipped { Form::Gzipped } else { Form::Plain(Codec::None) };
        let (verdict, _) = examine(&mut Memory { bytes, block: 700, failure: None }, form).unwrap();
        prop_assert!(!matches!(verdict, Verdict::Complete));
    }
}

#[test]
fn a_dump_that_cannot_be_read_to_its_end_is_an_error_and_has_no_last_part() {
    let source = Memory {
        bytes: vec![7; 10_000],
        block: 100,
        failure: Some(io::ErrorKind::UnexpectedEof),
    };
    let (pieces, result) = ship(
        source,
        Plan {
            form: Form::Plain(Codec::None),
            threads: 2,
            part_size: 1000,
        },
        usize::MAX,
    );
    assert!(matches!(result, Err(Error::Read(_))), "{result:?}");
    assert!(pieces.iter().all(|piece| piece.last.is_none()));
}

#[test]
fn all_threads_end_when_nobody_takes_parts_any_more() {
    let source = Memory {
        bytes: vec![7; 100_000],
        block: 100,
        failure: None,
    };
    let (pieces, result) = ship(
        source,
        Plan {
            form: Form::Plain(Codec::None),
            threads: 3,
            part_size: 1000,
        },
        2,
    );
    assert!(matches!(result, Err(Error::Cancelled)), "{result:?}");
    assert_eq!(pieces.len(), 2);
}
