//! Any text as a quantity or a duration: what is read is written so that it is read again, and two readers agree.

#![no_main]

use heapship::quantity::{Bytes, format_duration, parse_duration, thousandths};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(bytes) = Bytes::parse(text) {
        assert_eq!(Bytes::parse(&bytes.to_string()), Ok(bytes));
        let plus = format!("+{text}");
        assert!(text.starts_with('+') || Bytes::parse(&plus) == Ok(bytes));
        // Fractions of a byte round up.
        if let Some(amount) = thousandths(text).filter(|amount| *amount < u64::MAX) {
            assert_eq!(amount.div_ceil(1000), bytes.0, "{text}");
        } else {
            assert!(bytes.0 > u64::MAX / 2000, "{text} is a size and no amount");
        }
    }
    if let Ok(duration) = parse_duration(text) {
        assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        assert!(text == "0" || text.ends_with(['s', 'm', 'h']));
    }
});
