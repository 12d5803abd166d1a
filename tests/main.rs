//! The integration tests: one binary, one file for each surface.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

mod attach;
mod certificates;
mod cli;
mod demo;
mod docs;
mod events;
mod hprof;
mod http;
mod manifests;
mod pre_stop;
mod schema;
mod scripts;
mod ship;
mod support;
mod tls;
mod toolbox;
