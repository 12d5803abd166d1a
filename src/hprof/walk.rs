use super::{
    header::Header,
    parse::{Parser, Sink},
    verdict::Verdict,
};

/// Walks a dump as it comes, in blocks of any size, and knows at every point whether it would be whole if it ended there.
///
/// Only the plain format: what is gzipped is inflated first, all members. Records outside the heap are skipped by their
/// lengths; inside it, object by object, which finds bytes that were lost in a heap of one single record (JDK 8).
///
/// ```
/// use heapship::hprof::{Reason, Verdict, Walk};
///
/// let mut walk = Walk::new();
/// walk.feed(b"JAVA PROFILE 1.0.2\0\0\0\0\x08");
/// walk.feed(b"\0\0\x01\x9a\x00\x00\x00\x00");
/// assert_eq!(walk.verdict(), Verdict::Truncated { offset: 31, reason: Reason::NoHeap });
/// ```
#[derive(Debug, Default)]
pub struct Walk {
    parser: Parser<Nothing>,
}

#[derive(Debug, Default)]
struct Nothing;

impl Sink for Nothing {}

impl Walk {
    /// At the first byte of a dump.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.parser.feed(bytes);
    }

    /// As if the file ended here.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.parser.verdict()
    }

    /// Whether the dump is whole up to here. Further bytes would be too many.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.verdict().is_complete()
    }

    /// Bytes fed so far.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.parser.offset()
    }

    /// The dump's header, once its 31 bytes were fed and are those of a dump.
    #[must_use]
    pub fn header(&self) -> Option<Header> {
        self.parser.header()
    }
}

#[cfg(test)]
mod tests;
