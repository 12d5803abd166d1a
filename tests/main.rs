//! The integration tests: one binary, one file for each surface.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

mod ship;
mod support;
