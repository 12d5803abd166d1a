//! The dump that is shipped, and the proof that it arrived.

use std::{
    fs::{self, File},
    io::{BufReader, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use flate2::read::MultiGzDecoder;

use crate::{java, process::Process};

/// Megabytes of heap: a dump of about 1.17 GB.
pub const FULL_HEAP: u32 = 976;
/// Megabytes of heap: a dump of about 200 MB.
pub const SMOKE_HEAP: u32 = 170;

/// Made once by a real OutOfMemoryError and kept: the program is seeded.
pub fn dump(heap: u32) -> PathBuf {
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("orders-{heap}.hprof"));
    if kept.exists() {
        return kept;
    }
    let fresh = kept.with_extension("new");
    // A JVM does not overwrite a dump.
    let _ = fs::remove_file(&fresh);
    let jdk = java::jdk(17)
        .or(java::jdks().last())
        .expect("a JDK: `make setup` installs one");
    let mut command = jdk.command();
    command
        .args([format!("-Xms{heap}m"), format!("-Xmx{heap}m")])
        .args(["-XX:+UseSerialGC", "-XX:+HeapDumpOnOutOfMemoryError"])
        .arg(format!("-XX:HeapDumpPath={}", fresh.display()))
        .arg("Orders");
    eprintln!("making a dump of {heap} MB of heap with JDK {}", jdk.major);
    Process::spawn(&mut command).finish(Duration::from_mins(5));
    fs::rename(&fresh, &kept).expect("the JVM left a dump");
    kept
}

/// # Panics
///
/// When the object does not decompress to the dump: such a run must not be counted.
pub fn verify(dump: &Path, object: &[Bytes], compressed: bool) {
    let stored = Pieces {
        pieces: object.iter(),
        current: &[],
    };
    let mut expected = BufReader::with_capacity(1 << 20, File::open(dump).unwrap());
    let mut actual: Box<dyn Read> = if compressed {
        Box::new(MultiGzDecoder::new(BufReader::with_capacity(1 << 20, stored)))
    } else {
        Box::new(stored)
    };
    let (mut left, mut right) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let mut at = 0;
    loop {
        let length = fill(&mut expected, &mut left);
        let same = fill(&mut actual, &mut right) == length && left[..length] == right[..length];
        assert!(same, "the object differs from the dump in the MiB at {at}");
        if length == 0 {
            return;
        }
        at += length;
    }
}

struct Pieces<'a> {
    pieces: std::slice::Iter<'a, Bytes>,
    current: &'a [u8],
}

impl Read for Pieces<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        while self.current.is_empty() {
            match self.pieces.next() {
                Some(piece) => self.current = piece,
                None => return Ok(0),
            }
        }
        self.current.read(into)
    }
}

fn fill(from: &mut impl Read, into: &mut [u8]) -> usize {
    let mut length = 0;
    while length < into.len() {
        match from.read(&mut into[length..]).expect("it decompresses") {
            0 => break,
            more => length += more,
        }
    }
    length
}
