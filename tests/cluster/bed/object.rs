//! A dump in the bucket and its record, checked against each other.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use heapship::hprof::{Verdict, examine};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// One dump that has arrived.
#[derive(Clone, Debug)]
pub struct Shipped {
    /// Below the bucket.
    pub key: String,
    /// The object's file in the server's folder.
    pub file: PathBuf,
    pub record: Value,
}

impl Shipped {
    /// Reads the record at `file`, a path below `bucket`. Nothing while it is being written.
    pub fn read(bucket: &Path, file: &Path) -> Option<Self> {
        Some(Self {
            key: file
                .strip_prefix(bucket)
                .ok()?
                .with_extension("")
                .to_str()?
                .to_owned(),
            file: file.with_extension(""),
            record: serde_json::from_slice(&fs::read(file).ok()?).ok()?,
        })
    }

    pub fn says(&self, field: &str) -> &str {
        self.record[field].as_str().unwrap_or_default()
    }

    /// Whether it is whole by every measure: the record's word, the store's bytes, and the dump's own structure.
    #[track_caller]
    pub fn assert_whole(&self) {
        assert_eq!(self.record["completeness"], "complete", "{:#}", self.record);
        let object = fs::read(&self.file).unwrap();
        assert_eq!(
            self.says("sha256"),
            hex::encode(Sha256::digest(&object)),
            "{}",
            self.key
        );
        assert_eq!(self.record["bytes"]["object"], object.len());
        let examined = examine(File::open(&self.file).unwrap()).unwrap();
        assert_eq!(examined.verdict, Verdict::Complete, "{}", self.key);
        assert_eq!(self.record["bytes"]["dump"], examined.size.0);
    }
}
