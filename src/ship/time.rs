//! A moment to the millisecond, as keys, records and the ledger carry it. Always UTC. Pure, but for [`Time::now`].

use std::fmt;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A moment, to the millisecond.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Time(Timestamp);

impl Time {
    /// By the system's clock.
    #[must_use]
    pub fn now() -> Self {
        Self::from(SystemTime::now())
    }

    /// Milliseconds since 1970; nothing beyond the year 9999.
    #[must_use]
    pub fn from_millisecond(milliseconds: i64) -> Option<Self> {
        Timestamp::from_millisecond(milliseconds).ok().map(Self)
    }

    /// How far apart two moments are, whichever is earlier.
    #[must_use]
    pub fn distance(self, other: Self) -> Duration {
        self.0.duration_since(other.0).unsigned_abs()
    }

    /// `20261125T210533.123Z`: without the colons that some tools take for a host or a drive.
    #[must_use]
    pub fn key_text(self) -> String {
        let utc = self.0.to_zoned(TimeZone::UTC).datetime();
        format!(
            "{:04}{:02}{:02}T{:02}{:02}{:02}.{:03}Z",
            utc.year(),
            utc.month(),
            utc.day(),
            utc.hour(),
            utc.minute(),
            utc.second(),
            utc.millisecond()
        )
    }

    /// Reads what [`Self::key_text`] wrote.
    #[must_use]
    pub fn parse_key_text(text: &str) -> Option<Self> {
        let number = |from: usize, to: usize| {
            let digits = text.get(from..to)?;
            digits
                .bytes()
                .all(|byte| byte.is_ascii_digit())
                .then(|| digits.parse::<i16>().ok())?
        };
        let short = |from: usize, to: usize| i8::try_from(number(from, to)?).ok();
        if text.len() != 20 || text.get(8..9)? != "T" || text.get(15..16)? != "." || text.get(19..)? != "Z" {
            return None;
        }
        let nanoseconds = i32::from(number(16, 19)?) * 1_000_000;
        let (year, month, day) = (number(0, 4)?, short(4, 6)?, short(6, 8)?);
        let (hour, minute, second) = (short(9, 11)?, short(11, 13)?, short(13, 15)?);
        let utc = DateTime::new(year, month, day, hour, minute, second, nanoseconds).ok()?;
        TimeZone::UTC.to_timestamp(utc).ok().map(Self)
    }
}

impl From<SystemTime> for Time {
    fn from(time: SystemTime) -> Self {
        let milliseconds = match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
        };
        Self(Timestamp::from_millisecond(milliseconds).unwrap_or_default())
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.0)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn records_show_utc_to_the_millisecond() {
        let time = Time::from_millisecond(1_795_640_733_000).unwrap();
        assert_eq!(
            serde_json::to_string(&time).unwrap(),
            "\"2026-11-25T21:05:33.000Z\""
        );
        assert_eq!(time.key_text(), "20261125T210533.000Z");
    }

    proptest! {
        #[test]
        fn a_time_is_read_back_as_it_was_written(ms in 0_i64..253_000_000_000_000) {
            let time = Time::from_millisecond(ms).unwrap();
            prop_assert_eq!(Time::parse_key_text(&time.key_text()), Some(time));
            let json = serde_json::to_string(&time).unwrap();
            prop_assert_eq!(serde_json::from_str::<Time>(&json).unwrap(), time);
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,24}") {
            let _ = Time::parse_key_text(&text);
        }
    }
}
