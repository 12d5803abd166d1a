//! Any bytes where a JVM's counters are expected: read or refused, never a panic.

#![no_main]

use heapship::hsperfdata::Counters;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(counters) = Counters::parse(bytes) {
        let _ = (counters.heap_used(), counters.major(), counters.attach_allowed(), counters.java_command());
    }
});
