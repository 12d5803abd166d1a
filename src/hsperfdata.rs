//! The counters that a HotSpot JVM publishes in `/tmp/hsperfdata_<user>/<pid>`.
//!
//! In: the bytes of such a file, read rather than mapped, because a later JVM with the same PID truncates it. Out: named
//! numbers and texts. The file has no lock: a reader may meet it half made, so every offset is checked and what cannot be
//! read is left out. Format 2.0, which 8 to 28 write (perfMemory.hpp).

use std::collections::BTreeMap;
use std::fmt;

use crate::quantity::Bytes;

/// No more is read of a file: the default is 32 KiB, and `-XX:PerfDataMemorySize` rarely makes it a megabyte.
pub const LARGEST: u64 = 8 << 20;

/// The counters of one JVM at one moment.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Counters(BTreeMap<String, Counter>);

/// Why the bytes are not a set of counters.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Error {
    /// Does not begin with `ca fe c0 c0`.
    #[error("not a hsperfdata file")]
    Magic,
    /// Another major version than 2.
    #[error("hsperfdata version {0} is not known")]
    Version(u8),
    /// The JVM has not finished making it.
    #[error("the JVM is still making its hsperfdata file")]
    NotReady,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Counter {
    Number(i64),
    Text(String),
}

impl Counters {
    /// Reads what the JVM published. Entries behind a damaged one are lost, not the ones before it.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.get(..4) != Some(&MAGIC) {
            return Err(Error::Magic);
        }
        let byte = |offset: usize| bytes.get(offset).copied().ok_or(Error::Magic);
        let reader = Reader {
            bytes,
            little: byte(4)? == 1,
        };
        match byte(5)? {
            2 => {}
            version => return Err(Error::Version(version)),
        }
        if byte(7)? != 1 {
            return Err(Error::NotReady);
        }
        let first = reader.size(24).ok_or(Error::Magic)?;
        let count = reader.size(28).ok_or(Error::Magic)?;

        let mut counters = BTreeMap::new();
        let mut start = first;
        for _ in 0..count {
            let Some(length) = reader.size(start).filter(|length| *length > 0) else {
                break;
            };
            if let Some((name, counter)) = reader.entry(start) {
                counters.insert(name, counter);
            }
            let Some(next) = start.checked_add(length) else {
                break;
            };
            start = next;
        }
        Ok(Self(counters))
    }

    /// A counter that is a number.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<i64> {
        match self.0.get(name)? {
            Counter::Number(number) => Some(*number),
            Counter::Text(_) => None,
        }
    }

    /// A counter that is a text. HotSpot cuts it at 1024 bytes (`PerfMaxStringConstLength`).
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.0.get(name)? {
            Counter::Text(text) => Some(text),
            Counter::Number(_) => None,
        }
    }

    /// Whether the JVM lets others attach: `false` with `-XX:+DisableAttachMechanism`.
    #[must_use]
    pub fn attach_allowed(&self) -> Option<bool> {
        Some(self.text("sun.rt.jvmCapabilities")?.starts_with('1'))
    }

    /// Main class or jar, then the program's arguments.
    #[must_use]
    pub fn java_command(&self) -> Option<&str> {
        self.text("sun.rt.javaCommand")
            .filter(|command| !command.is_empty())
    }

    /// The JVM's options from all sources, in order of precedence.
    #[must_use]
    pub fn vm_arguments(&self) -> Option<&str> {
        self.text("java.rt.vmArgs")
    }

    /// The Java version's first number: 8, 11, 17 …
    #[must_use]
    pub fn major(&self) -> Option<u32> {
        let version = self.text("java.property.java.version")?;
        let mut numbers = version.split(['.', '-', '_', '+']).map(str::parse::<u32>);
        match numbers.next()?.ok()? {
            1 => numbers.next()?.ok(),
            major => Some(major),
        }
    }

    /// Heap in use after the last garbage collection; `None` before the first one, when every counter is still 0.
    #[must_use]
    pub fn heap_used(&self) -> Option<Bytes> {
        let used = self
            .0
            .iter()
            .filter(|(name, _)| is_space_used(name))
            .filter_map(|(_, counter)| match counter {
                Counter::Number(number) => u64::try_from(*number).ok(),
                Counter::Text(_) => None,
            })
            .fold(0, u64::saturating_add);
        (used > 0).then_some(Bytes(used))
    }
}

/// One counter a line, `name=value` with texts in quotes, as the JDK's `jcmd PID PerfCounter.print` shows them.
impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(name, counter)| match counter {
            Counter::Number(number) => writeln!(f, "{name}={number}"),
            Counter::Text(text) => writeln!(f, "{name}=\"{text}\""),
        })
    }
}

/// `sun.gc.generation.N.space.N.used`
fn is_space_used(name: &str) -> bool {
    let parts: Vec<&str> = name.split('.').collect();
    matches!(
        parts.as_slice(),
        ["sun", "gc", "generation", _, "space", _, "used"]
    )
}

struct Reader<'a> {
    bytes: &'a [u8],
    little: bool,
}

impl Reader<'_> {
    fn array<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.bytes.get(offset..offset.checked_add(N)?)?.try_into().ok()
    }

    fn size(&self, offset: usize) -> Option<usize> {
        let array = self.array(offset)?;
        let value = if self.little {
            i32::from_le_bytes(array)
        } else {
            i32::from_be_bytes(array)
        };
        usize::try_from(value).ok()
    }

    fn entry(&self, start: usize) -> Option<(String, Counter)> {
        let name_at = start.checked_add(self.size(start.checked_add(4)?)?)?;
        let vector = self.size(start.checked_add(8)?)?;
        let kind = *self.bytes.get(start.checked_add(12)?)?;
        let data_at = start.checked_add(self.size(start.checked_add(16)?)?)?;
        let name = until_nul(self.bytes.get(name_at..)?).to_owned();
        let counter = match (kind, vector) {
            (b'J', 0) => {
                let array = self.array(data_at)?;
                Counter::Number(if self.little {
                    i64::from_le_bytes(array)
                } else {
                    i64::from_be_bytes(array)
                })
            }
            (b'B', 1..) => {
                let text = self.bytes.get(data_at..data_at.checked_add(vector)?)?;
                Counter::Text(String::from_utf8_lossy(until_nul(text)).into_owned())
            }
            _ => return None,
        };
        Some((String::from_utf8(name).ok()?, counter))
    }
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

const MAGIC: [u8; 4] = [0xca, 0xfe, 0xc0, 0xc0];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(little: bool, entries: &[(&str, Counter)]) -> Vec<u8> {
        let int = |value: usize| {
            let value = i32::try_from(value).unwrap();
            if little {
                value.to_le_bytes()
            } else {
                value.to_be_bytes()
            }
        };
        let mut bytes = MAGIC.to_vec();
        bytes.extend([u8::from(little), 2, 0, 1]);
        bytes.extend([0; 16]);
        bytes.extend(int(32));
        bytes.extend(int(entries.len()));
        for (name, counter) in entries {
            let name_bytes = (name.len() + 1).next_multiple_of(8);
            let (kind, vector, data) = match counter {
                Counter::Number(n) if little => (b'J', 0, n.to_le_bytes().to_vec()),
                Counter::Number(n) => (b'J', 0, n.to_be_bytes().to_vec()),
                Counter::Text(text) => {
                    let mut data = text.clone().into_bytes();
                    data.resize((data.len() + 1).next_multiple_of(8), 0);
                    (b'B', data.len(), data)
                }
            };
            let data_at = 20 + name_bytes + 4;
            bytes.extend(int(data_at + data.len()));
            bytes.extend(int(20));
            bytes.extend(int(vector));
            bytes.extend([kind, 0, 1, 3]);
            bytes.extend(int(data_at));
            bytes.extend(name.as_bytes());
            bytes.extend(vec![0; name_bytes - name.len() + 4]);
            bytes.extend(data);
        }
        bytes
    }

    fn sample() -> Vec<(&'static str, Counter)> {
        vec![
            ("sun.rt.jvmCapabilities", Counter::Text("1000000".into())),
            ("sun.rt.javaCommand", Counter::Text("Idle 5".into())),
            ("java.property.java.version", Counter::Text("17.0.15".into())),
            ("sun.gc.generation.0.space.0.used", Counter::Number(1000)),
            ("sun.gc.generation.1.space.0.used", Counter::Number(234)),
            ("sun.gc.generation.1.space.0.capacity", Counter::Number(99_999)),
        ]
    }

    #[test]
    fn reads_both_byte_orders() {
        for little in [true, false] {
            let counters = Counters::parse(&file(little, &sample())).unwrap();
            assert_eq!(counters.attach_allowed(), Some(true));
            assert_eq!(counters.java_command(), Some("Idle 5"));
            assert_eq!(counters.major(), Some(17));
            assert_eq!(counters.heap_used(), Some(Bytes(1234)));
            assert_eq!(
                counters.number("sun.gc.generation.1.space.0.capacity"),
                Some(99_999)
            );
            assert_eq!(counters.text("sun.gc.generation.1.space.0.capacity"), None);
        }
    }

    #[test]
    fn a_disabled_attach_mechanism_shows() {
        let entries = [("sun.rt.jvmCapabilities", Counter::Text("0000000".into()))];
        assert_eq!(
            Counters::parse(&file(true, &entries)).unwrap().attach_allowed(),
            Some(false)
        );
    }

    #[test]
    fn the_heap_is_unknown_before_the_first_collection() {
        let entries = [("sun.gc.generation.0.space.0.used", Counter::Number(0))];
        assert_eq!(Counters::parse(&file(true, &entries)).unwrap().heap_used(), None);
    }

    #[test]
    fn a_java_8_version_is_8() {
        let entries = [("java.property.java.version", Counter::Text("1.8.0_504".into()))];
        assert_eq!(Counters::parse(&file(true, &entries)).unwrap().major(), Some(8));
    }

    #[test]
    fn what_is_not_ready_or_not_ours_is_refused() {
        let mut bytes = file(true, &sample());
        bytes[7] = 0;
        assert_eq!(Counters::parse(&bytes), Err(Error::NotReady));
        bytes[5] = 1;
        assert_eq!(Counters::parse(&bytes), Err(Error::Version(1)));
        assert_eq!(Counters::parse(b"JAVA PROFILE"), Err(Error::Magic));
        assert_eq!(Counters::parse(&[]), Err(Error::Magic));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = Counters::parse(&bytes);
        }

        #[test]
        fn damage_anywhere_does_not_make_it_panic(
            little: bool,
            damage in proptest::collection::vec((0_usize..700, any::<u8>()), 1..12),
            length in 0_usize..900,
        ) {
            let mut bytes = file(little, &sample());
            for (at, value) in damage {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = value;
                }
            }
            bytes.truncate(length);
            if let Ok(counters) = Counters::parse(&bytes) {
                let _ = (counters.heap_used(), counters.major(), counters.attach_allowed());
            }
        }
    }
}
