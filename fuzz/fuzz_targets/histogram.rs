//! Any bytes, behind a header or not, gzipped or not: a histogram or an error, never a panic, in bounded memory.

#![no_main]

use heapship::hprof::{examine, histogram};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((header, rest)) = data.split_first() else { return };
    let header: &[u8] = match header % 4 {
        0 => b"JAVA PROFILE 1.0.2\0\0\0\0\x08\0\0\0\0\0\0\0\0",
        1 => b"JAVA PROFILE 1.0.1\0\0\0\0\x04\0\0\0\0\0\0\0\0",
        2 => b"\x1f\x8b",
        _ => b"",
    };
    let dump = [header, rest].concat();
    let examined = examine(&dump[..]).expect("a slice can be read");
    let Ok(histogram) = histogram(&dump[..]) else { return };
    assert_eq!(histogram.verdict(), examined.verdict);
    let sum: u64 = histogram.classes().iter().map(|class| class.instances).sum();
    assert_eq!(sum, histogram.instances());
    assert!(histogram.instances() <= examined.size.0);
    let stack = histogram.out_of_memory().map(|thread| &thread.stack);
    let _ = stack.into_iter().flatten().map(ToString::to_string).collect::<Vec<_>>();
});
