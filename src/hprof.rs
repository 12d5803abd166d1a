//! Heap dumps in HPROF, the JVM's format: is this dump whole, and what is in it?
//!
//! In go the bytes of a dump in blocks of any size; out come a [`Verdict`] ([`Walk`], [`examine()`]) or the biggest classes
//! ([`histogram()`]). Nothing here writes, opens files or trusts a length: any bytes at all give an answer, never a panic,
//! in memory that does not grow with the dump. Out of scope: references between objects, values of fields, redaction.
//!
//! That a JVM has closed its dump says nothing, a killed one closes it too; only records that add up to the very end do.

mod class_name;
mod examine;
mod header;
mod histogram;
mod input;
mod layout;
mod out_of_memory;
mod parse;
#[cfg(test)]
mod sample;
mod sizes;
mod symbols;
mod verdict;
mod walk;

pub use examine::{Examined, examine};
pub use header::{Header, IdSize, Version};
pub use histogram::{Class, Error, Histogram, histogram};
pub use out_of_memory::{Frame, Line, OutOfMemory};
pub use verdict::{NotHprof, Reason, Verdict};
pub use walk::Walk;
