//! The integration tests: one binary, one file for each surface.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

mod docs;
mod hprof;
mod support;
mod cli;
mod inject;
mod schema;
mod http;
mod tls;
