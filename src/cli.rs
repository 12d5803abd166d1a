//! Placeholder.

pub mod webhook;
