use std::fmt;

/// Whether a dump is whole.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// The records add up to the very end of the file.
    Complete,
    /// It is a dump, but not a whole one: cut off, or damaged on the way to the disk.
    Truncated {
        /// Up to here, in bytes of the uncompressed dump, every record and sub-record is whole.
        offset: u64,
        /// What is wrong there.
        reason: Reason,
    },
    /// It is not a dump at all.
    NotHprof(NotHprof),
}

/// What is wrong with a dump that is not whole.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reason {
    /// The file ends inside a record: its writer was killed, or the disk was full.
    CutInRecord,
    /// The file ends after a record, but not after the end record. Dumps of killed JVMs 17 and 21 look like this.
    NoEnd,
    /// The file ends before the first heap record: the stub that JDK 22 and later leave when they cannot finish.
    NoHeap,
    /// A heap record whose length was never filled in, which JDK 8 does last.
    LengthNotFilledIn,
    /// The only heap record of a `1.0.1` dump is longer than it says, and not by a multiple of 4 GiB.
    LengthMismatch,
    /// A tag that no record has: bytes were lost before it (JDK-8303937, JDK-8316468).
    UnknownRecord(u8),
    /// A tag that nothing inside a heap record has: bytes were lost or never written.
    UnknownSubRecord(u8),
    /// A type that no value has, or an array of references where one of numbers was announced.
    UnknownType(u8),
    /// An object that reaches beyond the heap record that holds it.
    PassesSegment,
    /// An end record that is not empty.
    EndNotEmpty,
    /// Bytes behind the end record.
    BytesAfterEnd,
    /// The records are whole, but the gzip stream around them is cut or fails its checksum.
    Gzip,
}

/// Why a file is not a dump.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NotHprof {
    /// Shorter than the header of a dump, 31 bytes.
    TooShort,
    /// It does not begin with `JAVA PROFILE 1.0.` and a digit from 1.
    Magic,
    /// The bytes are gzip, where the plain dump was expected.
    Compressed,
    /// Identifiers of a size that no JVM has.
    IdSize(u32),
}

impl Verdict {
    /// Whether it is [`Verdict::Complete`].
    #[must_use]
    pub fn is_complete(&self) -> bool {
        matches!(self, Self::Complete)
    }
}

impl NotHprof {
    pub(super) fn magic(bytes: &[u8]) -> Self {
        if bytes.starts_with(&super::examine::GZIP_MAGIC) {
            Self::Compressed
        } else {
            Self::Magic
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Complete => f.write_str("complete"),
            Self::Truncated { offset, reason } => write!(f, "truncated at byte {offset}: {reason}"),
            Self::NotHprof(why) => write!(f, "not a heap dump: {why}"),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CutInRecord => f.write_str("the file ends inside a record"),
            Self::NoEnd => f.write_str("the end record is missing"),
            Self::NoHeap => f.write_str("the file ends before the first object"),
            Self::LengthNotFilledIn => {
                f.write_str("the JVM did not come to fill in the length of the heap record")
            }
            Self::LengthMismatch => f.write_str("the heap record is longer than its length says"),
            Self::UnknownRecord(tag) => write!(f, "0x{tag:02x} is no record, bytes were lost before it"),
            Self::UnknownSubRecord(tag) => {
                write!(
                    f,
                    "0x{tag:02x} is nothing that a heap record holds, bytes were lost before it"
                )
            }
            Self::UnknownType(tag) => {
                write!(f, "0x{tag:02x} is no type of a value, bytes were lost before it")
            }
            Self::PassesSegment => f.write_str("an object reaches beyond its heap record"),
            Self::EndNotEmpty => f.write_str("the end record is not empty"),
            Self::BytesAfterEnd => f.write_str("bytes follow the end record"),
            Self::Gzip => f.write_str("the gzip stream around the dump is damaged or cut"),
        }
    }
}

impl fmt::Display for NotHprof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort => f.write_str("it is shorter than the header of one"),
            Self::Magic => f.write_str("it does not begin with JAVA PROFILE 1.0.1 or 1.0.2"),
            Self::Compressed => f.write_str("it is gzip"),
            Self::IdSize(size) => write!(f, "identifiers of {size} bytes"),
        }
    }
}
