//! Where the bytes of a dump come from. A file that has ended is the one source so far; one that grows is another.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use super::codec::BLOCK;

/// Gives a dump's bytes in order.
pub trait Blocks: Send {
    /// Replaces the content of `block` by the next 1 MiB, less at the end, nothing behind it.
    ///
    /// # Errors
    /// When the file cannot be read, or is shorter than it was.
    fn next(&mut self, block: &mut Vec<u8>) -> io::Result<()>;
}

/// The first `end` bytes of a file.
#[derive(Debug)]
pub struct FileBlocks {
    file: File,
    offset: u64,
    end: u64,
}

impl FileBlocks {
    /// Reads `file` from its beginning to `end`.
    #[must_use]
    pub const fn new(file: File, end: u64) -> Self {
        Self { file, offset: 0, end }
    }
}

impl Blocks for FileBlocks {
    fn next(&mut self, block: &mut Vec<u8>) -> io::Result<()> {
        let length = usize::try_from(self.end - self.offset)
            .unwrap_or(BLOCK)
            .min(BLOCK);
        block.resize(length, 0);
        self.file.read_exact_at(block, self.offset)?;
        self.offset += length as u64;
        Ok(())
    }
}

/// Opens a dump. Never through a symbolic link: the application could point one at a file of the agent's.
///
/// # Errors
/// When it is not there, is a link, or belongs to another UID.
pub fn open(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    File::options()
        .read(true)
        .custom_flags(i32::try_from(flags.bits()).unwrap_or_default())
        .open(path)
}
