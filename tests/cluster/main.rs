//! The suite on a real Kubernetes: an API server calls the webhook, a kubelet starts the agent, dumps arrive in an S3 server.
//!
//! `scripts/e2e.sh` starts the cluster, loads the images and runs this; what it needs to know comes as variables, see
//! [`bed`]. Every test has a namespace of its own. Most run side by side; those that take the webhook away or change its
//! registration run alone.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

mod bed;
mod certificates;
mod examples;
mod feedback;
mod forms;
mod image_options;
mod installation;
mod modes;
mod namespaces;
mod neighbours;
mod outage;
mod people;
mod resources;
mod shipping;
mod sources;
mod speed;
mod stripped;
mod termination;
mod users;
mod volumes;
