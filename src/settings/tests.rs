//! The settings as a whole: what may be written, by whom, and how far.

mod documents;
mod grammar;
mod limits;
