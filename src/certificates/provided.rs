//! A caBundle that the platform provides in a file: the truth is what the file holds.

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::watch;

use crate::admission::rotation::Changes;
use crate::admission::tls::{Error, certificates, read};

use super::authority::Authority;

/// Reads the CAs, at least one.
///
/// # Errors
/// When the file cannot be read, or holds something else.
pub fn load(file: &Path) -> Result<Vec<Authority>, Error> {
    certificates(file, &read("the CA bundle", file, "--ca-bundle")?)?
        .into_iter()
        .map(|certificate| {
            Authority::read(certificate).map_err(|error| Error::Unusable {
                file: file.to_owned(),
                what: error.to_string(),
            })
        })
        .collect()
}

/// Follows the file for ever. What cannot be read changes nothing, and is said once.
pub async fn follow(file: PathBuf, truth: watch::Sender<Vec<Authority>>, interval: Duration) {
    let mut changes = Changes::of(&[&file]);
    let mut last_complaint = String::new();
    loop {
        match load(&file) {
            Ok(found) => {
                last_complaint.clear();
                truth.send_if_modified(|truth| {
                    let is_new = *truth != found;
                    *truth = found;
                    is_new
                });
            }
            Err(error) => {
                let complaint = error.to_string();
                if complaint != last_complaint {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "keeping the CA bundle as it was: its replacement is unfit"
                    );
                    last_complaint = complaint;
                }
            }
        }
        changes.next(interval).await;
    }
}
