//! heapship catches the heap dump of a JVM that dies in Kubernetes and ships it to object storage.
//!
//! The map, in the order in which data flows. Admission: review -> settings -> plan -> patch. Shipping:
//! file -> claim -> stream -> record. The middle of both takes values and returns values; the shells around it read the
//! world, call it once and act.

pub mod destination;
pub mod exit;
pub mod key;
pub mod logging;
pub mod names;
pub mod quantity;
pub mod shutdown;

#[cfg(feature = "decision")]
pub mod admission;
#[cfg(feature = "webhook")]
pub mod certificates;
#[cfg(feature = "webhook")]
pub mod cli;
#[cfg(feature = "webhook")]
pub mod cluster;
#[cfg(feature = "decision")]
pub mod inject;
#[cfg(feature = "webhook")]
pub mod metrics;
#[cfg(feature = "decision")]
pub mod patch;
#[cfg(feature = "decision")]
pub mod settings;
#[cfg(feature = "decision")]
pub mod yaml;

#[cfg(feature = "agent")]
pub mod agent;
#[cfg(feature = "agent")]
pub mod attach;
#[cfg(feature = "agent")]
pub mod ship;
#[cfg(feature = "agent")]
pub mod toolbox;

pub mod hprof;
pub mod hsperfdata;
