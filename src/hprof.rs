//! Heap dumps in HPROF, the JVM's format: is this dump whole, and what is in it?
//!
//! In go the bytes of a dump in blocks of any size; out comes a [`Verdict`] ([`Walk`], [`examine`]). Nothing here writes, opens files or trusts a length: any bytes at all give an answer, never a panic,
//! in memory that does not grow with the dump. Out of scope: references between objects, values of fields, redaction.
//!
//! That a JVM has closed its dump says nothing, a killed one closes it too; only records that add up to the very end do.

mod examine;
mod header;
mod input;
mod layout;
mod parse;
#[cfg(test)]
mod sample;
mod verdict;
mod walk;

pub use examine::{Examined, examine};
pub use header::{Header, IdSize, Version};
pub use verdict::{NotHprof, Reason, Verdict};
pub use walk::Walk;
