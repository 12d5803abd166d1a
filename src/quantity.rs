//! Durations as Go writes them, sizes as Kubernetes writes them.

use std::fmt::{self, Write as _};
use std::time::Duration;

/// A size in bytes. Printed as a Kubernetes quantity (`20Gi`), parsed from one; never negative.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Bytes(pub u64);

/// What was wrong with a duration or a size. The text names what is allowed, not where it stood.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Error {
    /// Not a duration in Go's notation.
    #[error("not a duration like 90s, 10m or 1h30m")]
    Duration,
    /// A number without a unit: seconds to one reader, milliseconds to another.
    #[error("a duration needs a unit: {0}s, {0}m or {0}h")]
    BareNumber(String),
    /// Below zero, or more than the type holds.
    #[error("out of range")]
    OutOfRange,
    /// Not a Kubernetes quantity.
    #[error("not a size like 500Mi or 20Gi")]
    Size,
}

impl Bytes {
    /// Parses a Kubernetes quantity: digits with an optional fraction, then nothing, `n`, `u`, `m`, `k`, `M`, `G`, `T`, `P`,
    /// `E`, `Ki`, `Mi`, `Gi`, `Ti`, `Pi`, `Ei`, or a decimal exponent. A fraction of a byte is rounded up, as Kubernetes does.
    ///
    /// # Errors
    /// [`Error::Size`] when it is not a quantity, [`Error::OutOfRange`] when it is negative or exceeds 2^64 - 1.
    pub fn parse(text: &str) -> Result<Self, Error> {
        quantity(text, 1).map(Self)
    }
}

/// A Kubernetes quantity in thousandths: `100m`, `1.5`, `2Gi`. For comparing amounts of cpu, which are often below one. What is
/// smaller is rounded up; what is more than fits is as much as fits.
#[must_use]
pub fn thousandths(text: &str) -> Option<u64> {
    match quantity(text, 1000) {
        Ok(amount) => Some(amount),
        Err(_) => Bytes::parse(text).ok().map(|_| u64::MAX),
    }
}

/// A quantity in parts of one, `parts` of them.
fn quantity(text: &str, parts: u128) -> Result<u64, Error> {
    let end = text
        .find(|c: char| !matches!(c, '0'..='9' | '.' | '+' | '-'))
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    if number.starts_with('-') {
        return Err(Error::OutOfRange);
    }
    let number = number.strip_prefix('+').unwrap_or(number);
    let (numerator, denominator) = match suffix {
        "" => (1, 1),
        "n" => (1, 1000_u128.pow(3)),
        "u" => (1, 1000_u128.pow(2)),
        "m" => (1, 1000),
        "k" => (1000, 1),
        "M" => (1000_u128.pow(2), 1),
        "G" => (1000_u128.pow(3), 1),
        "T" => (1000_u128.pow(4), 1),
        "P" => (1000_u128.pow(5), 1),
        "E" => (1000_u128.pow(6), 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        exponent => {
            let digits = exponent.strip_prefix(['e', 'E']).ok_or(Error::Size)?;
            let exponent: i32 = digits.parse().map_err(|_| Error::Size)?;
            let power = 10_u128
                .checked_pow(exponent.unsigned_abs())
                .ok_or(Error::OutOfRange)?;
            if exponent < 0 { (1, power) } else { (power, 1) }
        }
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return Err(Error::Size);
    }
    let digits = format!("{whole}{fraction}");
    if digits.bytes().any(|b| !b.is_ascii_digit()) {
        return Err(Error::Size);
    }
    let scale = u32::try_from(fraction.len()).map_err(|_| Error::OutOfRange)?;
    let value: u128 = digits.parse().map_err(|_| Error::OutOfRange)?;
    let divisor = 10_u128
        .checked_pow(scale)
        .and_then(|d| d.checked_mul(denominator))
        .ok_or(Error::OutOfRange)?;
    let amount = value
        .checked_mul(numerator)
        .and_then(|value| value.checked_mul(parts))
        .ok_or(Error::OutOfRange)?
        .div_ceil(divisor);
    u64::try_from(amount).map_err(|_| Error::OutOfRange)
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (suffix, shift) in [
            ("Ei", 60),
            ("Pi", 50),
            ("Ti", 40),
            ("Gi", 30),
            ("Mi", 20),
            ("Ki", 10),
        ] {
            let unit = 1_u64 << shift;
            if self.0 >= unit && self.0.is_multiple_of(unit) {
                return write!(f, "{}{suffix}", self.0 / unit);
            }
        }
        write!(f, "{}", self.0)
    }
}

/// Parses a duration as Go's `time.ParseDuration` does, without a sign: `90s`, `1h30m`, `1.5h`, `250ms`; `0` alone is
/// allowed, any other number needs its unit.
///
/// # Errors
/// [`Error::BareNumber`] for a number without a unit, [`Error::OutOfRange`] for a sign or an overflow,
/// [`Error::Duration`] for the rest.
pub fn parse_duration(text: &str) -> Result<Duration, Error> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Error::BareNumber(text.to_owned()));
    }
    if text.starts_with(['-', '+']) {
        return Err(Error::OutOfRange);
    }
    let mut rest = text;
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or(Error::Duration)?;
        let (number, tail) = rest.split_at(end);
        let unit_end = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, next) = tail.split_at(unit_end);
        let nanoseconds: u128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return Err(Error::Duration),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits = format!("{whole}{fraction}");
        if digits.is_empty() || digits.bytes().any(|b| !b.is_ascii_digit()) {
            return Err(Error::Duration);
        }
        let value: u128 = digits.parse().map_err(|_| Error::OutOfRange)?;
        let scale = u32::try_from(fraction.len())
            .ok()
            .and_then(|n| 10_u128.checked_pow(n))
            .ok_or(Error::OutOfRange)?;
        let part = value.checked_mul(nanoseconds).ok_or(Error::OutOfRange)? / scale;
        total = total.checked_add(part).ok_or(Error::OutOfRange)?;
        rest = next;
    }
    if text.is_empty() {
        return Err(Error::Duration);
    }
    // Go's durations end at 2^63 - 1 nanoseconds, about 292 years.
    let nanoseconds = i64::try_from(total).map_err(|_| Error::OutOfRange)?;
    Ok(Duration::from_nanos(nanoseconds.unsigned_abs()))
}

/// Writes a duration so that [`parse_duration`] reads it back: `1h30m0s` as Go does, without the zero parts.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let mut text = String::new();
    for (unit, size) in [("h", 3600), ("m", 60), ("s", 1)] {
        let rest = if size == 3600 {
            seconds
        } else {
            seconds % (size * 60)
        };
        if rest / size > 0 {
            let _ = write!(text, "{}{unit}", rest / size);
        }
    }
    let rest = match duration.subsec_nanos() {
        0 if text.is_empty() => "0s".to_owned(),
        0 => String::new(),
        nanos if nanos % 1_000_000 == 0 => format!("{}ms", nanos / 1_000_000),
        nanos => format!("{nanos}ns"),
    };
    text.push_str(&rest);
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_sizes_as_kubernetes_writes_them() {
        for (text, bytes) in [
            ("0", 0),
            ("1", 1),
            ("20Gi", 20 << 30),
            ("1.5Gi", 3 << 29),
            ("500M", 500_000_000),
            ("1e3", 1000),
            ("2E", 2_000_000_000_000_000_000),
            ("1500m", 2),
            ("1n", 1),
            ("2500000u", 3),
            ("+5Ki", 5120),
        ] {
            assert_eq!(Bytes::parse(text), Ok(Bytes(bytes)), "{text}");
        }
        for text in [
            "", ".", "Gi", "20GB", "20 Gi", "1..5", "1e", "x", "1.5.2Gi", "1+1",
        ] {
            assert_eq!(Bytes::parse(text), Err(Error::Size), "{text}");
        }
        assert_eq!(Bytes::parse("--1"), Err(Error::OutOfRange));
        assert_eq!(Bytes::parse("-1Gi"), Err(Error::OutOfRange));
        assert_eq!(Bytes::parse("100Ei"), Err(Error::OutOfRange));
    }

    #[test]
    fn knows_every_suffix_of_a_size() {
        for (power, decimal) in (1..).zip(["k", "M", "G", "T", "P", "E"]) {
            assert_eq!(
                Bytes::parse(&format!("3{decimal}")),
                Ok(Bytes(3 * 1000_u64.pow(power)))
            );
        }
        for (shift, binary) in (1..).zip(["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"]) {
            let bytes = Bytes(3 << (10 * shift));
            assert_eq!(Bytes::parse(&format!("3{binary}")), Ok(bytes));
            assert_eq!(bytes.to_string(), format!("3{binary}"));
        }
        assert_eq!(Bytes::parse("25E-1"), Ok(Bytes(3)));
        assert_eq!(Bytes(1024 + 1).to_string(), "1025");
        assert_eq!(Bytes(1536).to_string(), "1536");
        assert_eq!(Bytes(0).to_string(), "0");
    }

    #[test]
    fn reads_amounts_of_cpu_to_the_thousandth() {
        for (text, amount) in [
            ("100m", 100),
            ("2", 2000),
            ("1.5", 1500),
            ("0.001", 1),
            ("0.1234", 124),
            ("1.5m", 2),
            ("1.0625Ki", 1_088_000),
            ("1.5k", 1_500_000),
            ("1Ki", 1_024_000),
        ] {
            assert_eq!(thousandths(text), Some(amount), "{text}");
        }
        for text in ["", "m", "x", "-1", "1.5x", "1..5"] {
            assert_eq!(thousandths(text), None, "{text}");
        }
    }

    #[test]
    fn knows_every_unit_of_a_duration() {
        for (text, nanoseconds) in [
            ("7ns", 7),
            ("7us", 7_000),
            ("7\u{b5}s", 7_000),
            ("7\u{3bc}s", 7_000),
            ("7ms", 7_000_000),
            ("7s", 7_000_000_000),
            ("7m", 420_000_000_000),
            ("7h", 25_200_000_000_000),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_nanos(nanoseconds)),
                "{text}"
            );
        }
        assert_eq!(parse_duration("-5s"), Err(Error::OutOfRange));
        assert_eq!(parse_duration("+5s"), Err(Error::OutOfRange));
    }

    #[test]
    fn writes_durations_in_the_largest_units_that_fit() {
        for (milliseconds, text) in [
            (0, "0s"),
            (250, "250ms"),
            (1_000, "1s"),
            (60_000, "1m"),
            (90_000, "1m30s"),
            (3_600_000, "1h"),
            (3_661_001, "1h1m1s1ms"),
            (90_000_000, "25h"),
        ] {
            assert_eq!(format_duration(Duration::from_millis(milliseconds)), text);
        }
        assert_eq!(format_duration(Duration::from_micros(1500)), "1500000ns");
    }

    #[test]
    fn reads_durations_as_go_does() {
        for (text, milliseconds) in [
            ("0", 0),
            ("0s", 0),
            ("90s", 90_000),
            ("1h30m", 5_400_000),
            ("1.5h", 5_400_000),
            ("250ms", 250),
            (".5s", 500),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_millis(milliseconds)),
                "{text}"
            );
        }
        assert_eq!(parse_duration("600"), Err(Error::BareNumber("600".into())));
        for text in ["", "s", "5 s", "5x", "1h30", "1.2.3s", ".", ".s"] {
            assert_eq!(parse_duration(text), Err(Error::Duration), "{text}");
        }
        assert_eq!(parse_duration("9999999999h"), Err(Error::OutOfRange));
    }

    #[test]
    fn compares_amounts_below_one() {
        for (text, amount) in [
            ("100m", 100),
            ("1.5m", 2),
            ("100000000n", 100),
            ("1n", 1),
            ("250000u", 250),
            ("1.5", 1500),
            ("0.5000", 500),
            (".3333", 334),
            ("1e3", 1_000_000),
            ("2Gi", (2 << 30) * 1000),
        ] {
            assert_eq!(thousandths(text), Some(amount), "{text}");
        }
        for text in ["", "m", "1e3m", "5Kim", "1mm", "x", "-1"] {
            assert_eq!(thousandths(text), None, "{text}");
        }
        assert_eq!(thousandths("15Ei"), Some(u64::MAX));
    }

    proptest! {
        #[test]
        fn a_size_is_read_back_as_it_was_written(bytes: u64) {
            prop_assert_eq!(Bytes::parse(&Bytes(bytes).to_string()), Ok(Bytes(bytes)));
        }

        #[test]
        fn a_duration_is_read_back_as_it_was_written(nanoseconds in 0..i64::MAX.unsigned_abs()) {
            let duration = Duration::from_nanos(nanoseconds);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }

        #[test]
        fn no_text_makes_the_parsers_panic(text in "\\PC{0,24}") {
            let _ = Bytes::parse(&text);
            let _ = parse_duration(&text);
        }
    }
}
