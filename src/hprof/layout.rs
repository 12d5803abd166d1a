//! Tags, sizes and fields of records, as in the heapDumper.cpp of JDK 8 to 25. All numbers are big-endian.

use super::header::IdSize;

/// Bytes before the body of a record: u1 tag, u4 ticks, u4 length.
pub(super) const RECORD_HEADER: usize = 9;

/// Records.
pub(super) mod record {
    pub(in crate::hprof) const UTF8: u8 = 0x01;
    pub(in crate::hprof) const LOAD_CLASS: u8 = 0x02;
    pub(in crate::hprof) const FRAME: u8 = 0x04;
    pub(in crate::hprof) const TRACE: u8 = 0x05;
    pub(in crate::hprof) const HEAP: u8 = 0x0c;
    pub(in crate::hprof) const SEGMENT: u8 = 0x1c;
    pub(in crate::hprof) const END: u8 = 0x2c;

    /// Records that the format knows and the JVM's own dumper does not write: class unloads, allocation sites, a heap
    /// summary, threads that start and end, CPU samples, control settings.
    pub(in crate::hprof) fn is_skipped(tag: u8) -> bool {
        matches!(
            tag,
            UTF8 | LOAD_CLASS | 0x03 | FRAME | TRACE | 0x06 | 0x07 | 0x0a | 0x0b | 0x0d | 0x0e
        )
    }
}

/// What heap records hold.
pub(super) mod sub {
    pub(in crate::hprof) const ROOT_THREAD_OBJECT: u8 = 0x08;
    pub(in crate::hprof) const CLASS: u8 = 0x20;
    pub(in crate::hprof) const INSTANCE: u8 = 0x21;
    pub(in crate::hprof) const OBJECT_ARRAY: u8 = 0x22;
    pub(in crate::hprof) const PRIMITIVE_ARRAY: u8 = 0x23;
}

/// Bytes of the longest head of a sub-record, that of a class with 8-byte identifiers.
pub(super) const LONGEST_HEAD: usize = 67;

/// Bytes of a sub-record's head, its tag included: the whole of a root, what tells the length of anything else. `None` for
/// a tag that no sub-record has.
pub(super) fn head(tag: u8, id_size: IdSize) -> Option<usize> {
    let id = id_size.bytes();
    Some(match tag {
        // Unknown, sticky class, monitor used.
        0xff | 0x05 | 0x07 => 1 + id,
        // A JNI global, and the reference to it.
        0x01 => 1 + 2 * id,
        // JNI local, Java frame, thread object: two numbers follow.
        0x02 | 0x03 | sub::ROOT_THREAD_OBJECT => 1 + id + 8,
        // Native stack, thread block: the thread follows.
        0x04 | 0x06 => 1 + id + 4,
        // Up to and with the number of constants.
        sub::CLASS => 1 + 7 * id + 10,
        // An array up to and with its class, which every one has and the number of elements does not count.
        sub::INSTANCE | sub::OBJECT_ARRAY => 1 + 2 * id + 8,
        sub::PRIMITIVE_ARRAY => 1 + id + 9,
        _ => return None,
    })
}

/// A value's type.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Kind {
    Object,
    Boolean,
    Char,
    Float,
    Double,
    Byte,
    Short,
    Int,
    Long,
}

impl Kind {
    pub(super) const PRIMITIVES: [Self; 8] = [
        Self::Boolean,
        Self::Char,
        Self::Float,
        Self::Double,
        Self::Byte,
        Self::Short,
        Self::Int,
        Self::Long,
    ];

    pub(super) fn from_tag(tag: u8) -> Option<Self> {
        Some(match tag {
            2 => Self::Object,
            4 => Self::Boolean,
            5 => Self::Char,
            6 => Self::Float,
            7 => Self::Double,
            8 => Self::Byte,
            9 => Self::Short,
            10 => Self::Int,
            11 => Self::Long,
            _ => return None,
        })
    }

    /// As in Java source.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Object => "java.lang.Object",
            Self::Boolean => "boolean",
            Self::Char => "char",
            Self::Float => "float",
            Self::Double => "double",
            Self::Byte => "byte",
            Self::Short => "short",
            Self::Int => "int",
            Self::Long => "long",
        }
    }

    /// As in the name of an array's class.
    pub(super) fn letter(self) -> u8 {
        match self {
            Self::Object => b'L',
            Self::Boolean => b'Z',
            Self::Char => b'C',
            Self::Float => b'F',
            Self::Double => b'D',
            Self::Byte => b'B',
            Self::Short => b'S',
            Self::Int => b'I',
            Self::Long => b'J',
        }
    }

    /// Bytes of one value in a dump, references uncompressed.
    pub(super) fn size(self, id_size: IdSize) -> usize {
        match self {
            Self::Object => id_size.bytes(),
            Self::Boolean | Self::Byte => 1,
            Self::Char | Self::Short => 2,
            Self::Float | Self::Int => 4,
            Self::Double | Self::Long => 8,
        }
    }
}

/// Takes a record apart from the front. Beyond its end it reads zeros: its length was checked before, or what the zeros
/// lead to is as good as what a damaged record would have said.
pub(super) struct Fields<'a> {
    rest: &'a [u8],
    id_size: IdSize,
}

impl<'a> Fields<'a> {
    #[inline]
    pub(super) fn new(bytes: &'a [u8], id_size: IdSize) -> Self {
        Self { rest: bytes, id_size }
    }

    #[inline]
    pub(super) fn u1(&mut self) -> u8 {
        u8::from_be_bytes(self.take())
    }

    #[inline]
    pub(super) fn u2(&mut self) -> u16 {
        u16::from_be_bytes(self.take())
    }

    #[inline]
    pub(super) fn u4(&mut self) -> u32 {
        u32::from_be_bytes(self.take())
    }

    #[inline]
    pub(super) fn id(&mut self) -> u64 {
        match self.id_size {
            IdSize::Four => u64::from(self.u4()),
            IdSize::Eight => u64::from_be_bytes(self.take()),
        }
    }

    pub(super) fn rest(self) -> &'a [u8] {
        self.rest
    }

    #[inline]
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (field, rest) = self
            .rest
            .split_first_chunk()
            .map_or(([0; N], &[][..]), |(field, rest)| (*field, rest));
        self.rest = rest;
        field
    }
}
