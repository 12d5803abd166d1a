//! The shipper: real dumps of real JVMs, a real S3 server, a folder, and everything that can go wrong between them.

mod arrives;
mod check_store;
mod claims;
mod faults;
mod foreign;
mod kills;
mod quota;
mod scene;
mod segments;
