use super::verdict::NotHprof;

/// Bytes of the file header: 19 of magic, 4 of identifier size, 8 of time.
pub(super) const LENGTH: usize = 31;

const MAGIC: &[u8] = b"JAVA PROFILE 1.0.";

/// What the first 31 bytes of a dump say.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header {
    /// The format's version.
    pub version: Version,
    /// Bytes of an identifier (an address).
    pub id_size: IdSize,
    /// When the dump began, in milliseconds since 1970, by the clock of the JVM.
    pub started_ms: u64,
}

/// The format's version, which decides how a whole dump ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Version {
    /// `1.0.1`: JDK 8 before 8u252 with at most 2 GiB in use. One heap record, no end record.
    V101,
    /// `1.0.2`: every other JDK. Segments, then an end record.
    V102,
    /// `1.0.3` and later, which no JDK up to 28 writes: walked as `1.0.2`, without looking into the segments.
    Newer(u8),
}

/// Bytes of an identifier: 8 on every 64-bit JVM, also with compressed references.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum IdSize {
    /// A 32-bit JVM.
    Four,
    /// A 64-bit JVM.
    Eight,
}

impl Header {
    pub(super) fn parse(bytes: &[u8; LENGTH]) -> Result<Self, NotHprof> {
        let (magic, rest) = bytes.split_at(MAGIC.len());
        let &[digit, nul, a, b, c, d, ref started @ ..] = rest else {
            return Err(NotHprof::Magic);
        };
        let version = match (digit, nul) {
            _ if magic != MAGIC => return Err(NotHprof::magic(bytes)),
            (b'1', 0) => Version::V101,
            (b'2', 0) => Version::V102,
            (b'3'..=b'9', 0) => Version::Newer(digit - b'0'),
            _ => return Err(NotHprof::Magic),
        };
        let id_size = match u32::from_be_bytes([a, b, c, d]) {
            4 => IdSize::Four,
            8 => IdSize::Eight,
            other => return Err(NotHprof::IdSize(other)),
        };
        let started_ms = started.iter().fold(0, |ms, &byte| ms << 8 | u64::from(byte));
        Ok(Self {
            version,
            id_size,
            started_ms,
        })
    }
}

impl IdSize {
    /// The number itself.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::Four => 4,
            Self::Eight => 8,
        }
    }
}
