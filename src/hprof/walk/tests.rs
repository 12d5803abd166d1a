use proptest::prelude::*;

use super::*;
use crate::hprof::{
    NotHprof, Reason,
    sample::{Dump, Objects, one_of_everything},
};

fn walked(bytes: &[u8]) -> Verdict {
    let mut walk = Walk::new();
    walk.feed(bytes);
    walk.verdict()
}

/// A `1.0.1` dump with one heap record, which says that it is `length` bytes long.
fn jdk_8(length: impl FnOnce(u32) -> u32) -> Vec<u8> {
    let empty = Dump::of("1.0.1", 8).utf8(1, "x").cut();
    let mut dump = Dump::of("1.0.1", 8)
        .utf8(1, "x")
        .segment(|heap| heap.roots().instance(1, 2, 50))
        .cut();
    dump[empty.len()] = 0x0c;
    let at = empty.len() + 5;
    let said = length(u32::from_be_bytes(*dump[at..].first_chunk().unwrap()));
    dump[at..at + 4].copy_from_slice(&said.to_be_bytes());
    dump
}

#[test]
fn a_dump_with_one_of_everything_is_complete() {
    for (version, id_size) in [("1.0.2", 8), ("1.0.2", 4), ("1.0.3", 8)] {
        assert_eq!(
            walked(&one_of_everything(version, id_size)),
            Verdict::Complete,
            "{version} {id_size}"
        );
    }
}

#[test]
fn the_header_is_known_after_31_bytes() {
    let dump = one_of_everything("1.0.2", 8);
    let mut walk = Walk::new();
    walk.feed(&dump[..30]);
    assert_eq!(walk.header(), None);
    assert_eq!(walk.verdict(), Verdict::NotHprof(NotHprof::TooShort));
    walk.feed(&dump[30..31]);
    let header = walk.header().unwrap();
    assert_eq!(
        (header.id_size.bytes(), header.started_ms),
        (8, 1_700_000_000_000)
    );
    assert_eq!(walk.offset(), 31);
}

#[test]
fn what_is_no_dump_is_told_apart() {
    let dump = one_of_everything("1.0.2", 8);
    let with = |at: usize, byte| {
        let mut bytes = dump.clone();
        bytes[at] = byte;
        walked(&bytes)
    };
    assert_eq!(with(0, b'j'), Verdict::NotHprof(NotHprof::Magic));
    assert_eq!(with(17, b'0'), Verdict::NotHprof(NotHprof::Magic));
    assert_eq!(with(18, b'1'), Verdict::NotHprof(NotHprof::Magic));
    assert_eq!(with(22, 5), Verdict::NotHprof(NotHprof::IdSize(5)));
    assert_eq!(
        walked(&[&[0x1f, 0x8b][..], &dump].concat()),
        Verdict::NotHprof(NotHprof::Compressed)
    );
    assert_eq!(walked(&[]), Verdict::NotHprof(NotHprof::TooShort));
}

#[test]
fn a_dump_that_ends_on_a_record_boundary_lacks_its_end() {
    let dump = one_of_everything("1.0.2", 8);
    let offset = dump.len() as u64 - 9;
    assert_eq!(
        walked(&dump[..dump.len() - 9]),
        Verdict::Truncated {
            offset,
            reason: Reason::NoEnd
        }
    );
}

#[test]
fn the_stub_of_jdk_22_has_no_heap() {
    let reason = Reason::NoHeap;
    let stub = Dump::new().utf8(1, "x").load_class(1, 2, 1).cut();
    let offset = stub.len() as u64;
    assert_eq!(walked(&stub), Verdict::Truncated { offset, reason });
    // The JVM writes it by the megabyte, so it mostly ends inside a name.
    assert_eq!(
        walked(&[&stub[..], &[1, 0, 0]].concat()),
        Verdict::Truncated { offset, reason }
    );
    let ended = Dump::new().utf8(1, "x").load_class(1, 2, 1).end();
    assert_eq!(
        walked(&ended),
        Verdict::Truncated {
            offset: offset + 9,
            reason
        }
    );
}

#[test]
fn a_cut_is_reported_where_the_last_whole_object_ends() {
    let whole = Dump::new().segment(|heap| heap.instance(1, 2, 3)).cut().len();
    let dump = Dump::new()
        .segment(|heap| heap.instance(1, 2, 3).instance(2, 2, 100))
        .end();
    let reason = Reason::CutInRecord;
    assert_eq!(
        walked(&dump[..whole + 60]),
        Verdict::Truncated {
            offset: whole as u64,
            reason
        }
    );
    assert_eq!(
        walked(&dump[..whole]),
        Verdict::Truncated {
            offset: whole as u64,
            reason
        }
    );
}

#[test]
fn a_length_that_was_not_filled_in_is_seen() {
    let dump = Dump::new().record(0x1c, &[]).end();
    assert_eq!(
        walked(&dump),
        Verdict::Truncated {
            offset: 31,
            reason: Reason::LengthNotFilledIn
        }
    );
}

#[test]
fn nothing_may_follow_the_end() {
    let mut dump = one_of_everything("1.0.2", 8);
    let offset = dump.len() as u64;
    dump.push(0);
    assert_eq!(
        walked(&dump),
        Verdict::Truncated {
            offset,
            reason: Reason::BytesAfterEnd
        }
    );
    let end_with_a_body = Dump::new().segment(Objects::roots).record(0x2c, &[0]).cut();
    assert!(matches!(
        walked(&end_with_a_body),
        Verdict::Truncated {
            reason: Reason::EndNotEmpty,
            ..
        }
    ));
}

#[test]
fn lost_bytes_are_seen_although_the_end_is_there() {
    let reason = |dump: &[u8]| match walked(dump) {
        Verdict::Truncated { reason, .. } => reason,
        other => panic!("{other}"),
    };
    let unknown = Dump::new().record(0x30, &[]).end();
    assert_eq!(reason(&unknown), Reason::UnknownRecord(0x30));
    let unknown = Dump::new().segment(|heap| heap.roots().tag(0)).end();
    assert_eq!(reason(&unknown), Reason::UnknownSubRecord(0));
    let no_kind = Dump::new()
        .segment(|heap| heap.primitive_array(1, 8, 3).class(1, 0, &[3]))
        .end();
    assert_eq!(reason(&no_kind), Reason::UnknownType(3));
    let mut beyond = Dump::new().segment(|heap| heap.instance(1, 2, 3)).end();
    beyond[31 + 9 + 24] = 4;
    assert_eq!(reason(&beyond), Reason::PassesSegment);
    let beyond = Dump::new().segment(|heap| heap.roots().tag(0x21)).end();
    assert_eq!(reason(&beyond), Reason::PassesSegment);
}

#[test]
fn an_object_array_of_primitives_is_no_array() {
    let dump = Dump::new().segment(|heap| heap.primitive_array(1, 8, 8));
    let mut dump = dump.end();
    dump[31 + 9 + 17] = 2;
    let reason = Reason::UnknownType(2);
    assert_eq!(walked(&dump), Verdict::Truncated { offset: 40, reason });
}

#[test]
fn a_jdk_8_dump_ends_with_its_only_heap_record() {
    assert_eq!(walked(&jdk_8(|length| length)), Verdict::Complete);
    let reason = |dump: &[u8]| match walked(dump) {
        Verdict::Truncated { reason, .. } => reason,
        other => panic!("{other}"),
    };
    assert_eq!(reason(&jdk_8(|_| 0)), Reason::LengthNotFilledIn);
    assert_eq!(reason(&jdk_8(|length| length + 1)), Reason::CutInRecord);
    assert_eq!(reason(&jdk_8(|length| length - 1)), Reason::LengthMismatch);
}

/// One array of 2^32 - 1 bytes, fed from one block of zeros, takes the record beyond what its length can say.
#[test]
fn a_jdk_8_length_that_overflowed_is_believed_when_it_lacks_4_gib() {
    let mut dump = jdk_8(|length| length + 18 - 1);
    dump.extend([
        0x23, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 8,
    ]);
    let mut walk = Walk::new();
    walk.feed(&dump);
    let zeros = vec![0; 1 << 24];
    for _ in 0..255 {
        walk.feed(&zeros);
    }
    assert!(!walk.is_complete());
    walk.feed(&zeros[1..]);
    assert_eq!(walk.verdict(), Verdict::Complete);
}

#[test]
fn a_later_version_is_not_looked_into() {
    let unknown = Dump::of("1.0.3", 8).segment(|heap| heap.tag(0x90)).end();
    assert_eq!(walked(&unknown), Verdict::Complete);
}

#[test]
fn verdicts_read_like_sentences() {
    let dump = one_of_everything("1.0.2", 8);
    assert_eq!(walked(&dump).to_string(), "complete");
    assert_eq!(
        walked(&dump[..40]).to_string(),
        "truncated at byte 31: the file ends before the first object"
    );
    assert_eq!(
        walked(b"x").to_string(),
        "not a heap dump: it is shorter than the header of one"
    );
}

fn any_dump() -> impl Strategy<Value = Vec<u8>> {
    let versions = prop_oneof![Just(("1.0.2", 8)), Just(("1.0.2", 4)), Just(("1.0.3", 8))];
    prop_oneof![
        versions.prop_map(|(version, id)| one_of_everything(version, id)),
        Just(jdk_8(|length| length))
    ]
}

proptest! {
    #[test]
    fn no_cut_of_a_dump_is_complete(dump in any_dump(), cut in any::<prop::sample::Index>()) {
        prop_assert!(walked(&dump).is_complete());
        prop_assert!(!walked(&dump[..cut.index(dump.len())]).is_complete());
    }

    #[test]
    fn blocks_do_not_matter(
        dump in any_dump(),
        damage in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
        cut in any::<prop::sample::Index>(),
        sizes in prop::collection::vec(0_usize..80, 1..20),
    ) {
        let mut dump = dump;
        if let Some((at, byte)) = damage {
            let at = at.index(dump.len());
            dump[at] = byte;
        }
        let dump = &dump[..=cut.index(dump.len())];
        let mut walk = Walk::new();
        let mut rest = dump;
        for size in sizes.iter().cycle() {
            let (block, after) = rest.split_at((*size).min(rest.len()));
            walk.feed(block);
            rest = after;
            if rest.is_empty() || sizes.iter().all(|size| *size == 0) {
                break;
            }
        }
        walk.feed(rest);
        prop_assert_eq!(walk.verdict(), walked(dump));
        prop_assert_eq!(walk.offset(), dump.len() as u64);
    }

    #[test]
    fn garbage_behind_a_header_never_panics(garbage in prop::collection::vec(any::<u8>(), 0..300), tag in 0x1c_u8..0x1d) {
        let dump = Dump::new().record(tag, &garbage).cut();
        prop_assert!(!walked(&dump).is_complete());
        let dump = [Dump::new().cut(), garbage].concat();
        let _ = walked(&dump).to_string();
    }
}
