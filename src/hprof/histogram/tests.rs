use proptest::prelude::*;

use super::*;
use crate::hprof::sample::{Dump, Objects, one_of_everything};

fn counted(dump: &[u8]) -> Vec<(String, u64, u64)> {
    let histogram = histogram(dump).unwrap();
    assert_eq!(histogram.verdict(), Verdict::Complete);
    histogram
        .classes()
        .iter()
        .map(|class| (class.name.clone(), class.instances, class.bytes.0))
        .collect()
}

fn named(names: &[(u64, &str)]) -> Dump {
    names.iter().fold(Dump::new(), |dump, (class, name)| {
        dump.utf8(class + 1, name)
            .load_class(u32::try_from(*class).unwrap(), *class, class + 1)
    })
}

fn row(name: &str, instances: u64, bytes: u64) -> (String, u64, u64) {
    (name.to_owned(), instances, bytes)
}

#[test]
fn objects_are_counted_by_class_the_biggest_first() {
    let dump = named(&[
        (0x100, "java/lang/Object"),
        (0x200, "Leak$Node"),
        (0x300, "[LLeak$Node;"),
    ])
    .segment(|heap| {
        heap.class(0x100, 0, &[])
            .class(0x200, 0x100, &[2, 11])
            .class(0x300, 0x100, &[])
    })
    .segment(|heap| (0..10).fold(heap, |heap, n| heap.instance(0x1000 + 0x100 * n, 0x200, 16)))
    .segment(|heap| heap.instance(0x8000, 0x100, 0).object_array(0x9000, 0x300, 4))
    .segment(|heap| {
        heap.primitive_array(0xa000, 8, 1000)
            .primitive_array(0xb000, 8, 1)
    })
    .end();
    let expected = [
        row("byte[]", 2, 1024 + 32),
        row("Leak$Node", 10, 10 * 32),
        row("Leak$Node[]", 1, 56),
        row("java.lang.Object", 1, 16),
    ];
    assert_eq!(counted(&dump), expected);
    let histogram = histogram(&dump[..]).unwrap();
    assert_eq!(histogram.top(1)[0].name, "byte[]");
    assert_eq!(histogram.top(100).len(), 4);
    assert_eq!((histogram.instances(), histogram.bytes()), (14, Bytes(1448)));
}

#[test]
fn an_object_inside_the_array_before_it_proves_compressed_references() {
    let heap = |next: u64| {
        named(&[(0x300, "[LLeak$Node;")])
            .segment(|heap| heap.object_array(0x1000, 0x300, 4).primitive_array(next, 8, 0))
            .end()
    };
    assert_eq!(
        counted(&heap(0x1000 + 32)),
        [row("Leak$Node[]", 1, 32), row("byte[]", 1, 16)]
    );
    assert_eq!(
        counted(&heap(0x1000 + 56)),
        [row("Leak$Node[]", 1, 56), row("byte[]", 1, 24)]
    );
}

#[test]
fn classes_of_one_name_count_as_one() {
    let dump = named(&[(0x100, "A$$Lambda/0x01"), (0x200, "A$$Lambda/0x02")])
        .segment(|heap| heap.instance(1, 0x100, 0).instance(2, 0x200, 0))
        .end();
    assert_eq!(counted(&dump), [row("A$$Lambda", 2, 32)]);
}

#[test]
fn a_class_is_an_object_even_where_its_record_comes_twice() {
    let dump = named(&[(0x100, "java/lang/Class")])
        .segment(|heap| {
            heap.class(0x100, 0, &[11])
                .class(0x200, 0, &[])
                .class(0x200, 0, &[])
        })
        .end();
    assert_eq!(counted(&dump), [row("java.lang.Class", 2, 2 * 24)]);
}

#[test]
fn a_class_without_a_name_is_shown_by_its_address() {
    let dump = Dump::new().segment(|heap| heap.instance(1, 0xabc, 0)).end();
    assert_eq!(counted(&dump), [row("unknown class 0xabc", 1, 16)]);
}

#[test]
fn superclasses_in_a_circle_end() {
    let dump = named(&[(0x100, "A"), (0x200, "B")])
        .segment(|heap| {
            heap.class(0x100, 0x200, &[11])
                .class(0x200, 0x100, &[11])
                .instance(1, 0x100, 8)
        })
        .end();
    assert_eq!(counted(&dump)[0].1, 1);
}

#[test]
fn a_truncated_dump_gives_what_is_in_it() {
    let dump = one_of_everything("1.0.2", 8);
    let histogram = histogram(&dump[..dump.len() - 1]).unwrap();
    assert!(matches!(histogram.verdict(), Verdict::Truncated { .. }));
    assert!(histogram.classes().iter().any(|class| class.name == "Leak$Node"));
}

#[test]
fn what_is_no_dump_has_no_histogram() {
    let error = histogram(&b"#!/bin/sh\necho this is a script, not a dump\n"[..]).unwrap_err();
    let expected = "not a heap dump: it does not begin with JAVA PROFILE 1.0.1 or 1.0.2; give a .hprof or .hprof.gz file";
    assert_eq!(error.to_string(), expected);
}

proptest! {
    #[test]
    fn damage_never_panics(
        at in any::<prop::sample::Index>(),
        bytes in prop::collection::vec(any::<u8>(), 1..40),
        id_size in prop_oneof![Just(4), Just(8)],
    ) {
        let mut dump = one_of_everything("1.0.2", id_size);
        let at = at.index(dump.len());
        for (to, from) in dump[at..].iter_mut().zip(bytes) {
            *to = from;
        }
        if let Ok(histogram) = histogram(&dump[..]) {
            prop_assert!(histogram.top(3).len() <= 3);
        }
    }

    #[test]
    fn every_object_is_counted_once(instances in 0_u64..50, arrays in 0_u64..50, strings in 0_u64..50) {
        let fill = |heap: Objects| {
            let heap = (0..instances).fold(heap, |heap, n| heap.instance(n, 0x100, 3));
            let heap = (0..arrays).fold(heap, |heap, n| heap.object_array(n, 0x200, 2));
            (0..strings).fold(heap.roots(), |heap, n| heap.primitive_array(n, 8, 5))
        };
        let dump = Dump::new().segment(fill).end();
        prop_assert_eq!(histogram(&dump[..]).unwrap().instances(), instances + arrays + strings);
    }
}
