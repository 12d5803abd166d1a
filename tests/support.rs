//! What the integration tests stand on: real JVMs, a real S3 server, processes that end with their test, and waiting
//! for a condition instead of sleeping.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each surface uses the part that it needs"
)]

pub mod java;
pub mod process;
pub mod store;
pub mod wait;
