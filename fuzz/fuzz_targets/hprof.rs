//! Any bytes behind a header, in blocks of any size: no panic, and the blocks do not matter.

#![no_main]

use heapship::hprof::{Verdict, Walk};
use libfuzzer_sys::fuzz_target;

const HEADERS: [&[u8]; 5] = [
    b"JAVA PROFILE 1.0.2\0\0\0\0\x08\0\0\0\0\0\0\0\0",
    b"JAVA PROFILE 1.0.2\0\0\0\0\x04\0\0\0\0\0\0\0\0",
    b"JAVA PROFILE 1.0.1\0\0\0\0\x08\0\0\0\0\0\0\0\0",
    b"JAVA PROFILE 1.0.3\0\0\0\0\x08\0\0\0\0\0\0\0\0",
    b"",
];

fuzz_target!(|data: &[u8]| {
    let &[header, block, ref records @ ..] = data else { return };
    let dump = [HEADERS[usize::from(header) % HEADERS.len()], records].concat();
    let mut whole = Walk::new();
    whole.feed(&dump);
    let mut in_blocks = Walk::new();
    dump.chunks(usize::from(block) + 1).for_each(|block| in_blocks.feed(block));
    assert_eq!(whole.verdict(), in_blocks.verdict());
    assert_eq!(whole.offset(), dump.len() as u64);
    if let Verdict::Truncated { offset, .. } = whole.verdict() {
        assert!(offset <= dump.len() as u64);
    }
    if whole.is_complete() {
        whole.feed(&[0]);
        assert!(!whole.is_complete());
    }
    let _ = whole.verdict().to_string();
});
