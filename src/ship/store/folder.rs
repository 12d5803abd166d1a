//! A folder as a store: nothing has its final name before it is whole and on the disk.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::UploadId;
use super::error::Error;

/// Objects below a folder.
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
}

/// Dumps hold what the application's memory held: readable for owner and group, which a volume's `fsGroup` decides.
const MODE: u32 = 0o640;

impl Folder {
    pub(super) const fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(super) async fn put(&self, key: &str, bytes: Bytes) -> Result<(), Error> {
        let (temporary, object) = (self.temporary(key), self.object(key));
        self.blocking("store", key, move || {
            create(&temporary)?.write_all_at(&bytes, 0)?;
            publish(&temporary, &object)
        })
        .await
    }

    /// The name of an upload is that of its file, which the key tells as well.
    pub(super) async fn begin(&self, key: &str) -> Result<UploadId, Error> {
        let temporary = self.temporary(key);
        let upload = UploadId(temporary.to_string_lossy().into_owned());
        self.blocking("begin", key, move || create(&temporary).map(|_| upload))
            .await
    }

    pub(super) async fn part(&self, key: &str, offset: u64, bytes: Bytes) -> Result<(), Error> {
        let temporary = self.temporary(key);
        self.blocking("write", key, move || {
            File::options()
                .write(true)
                .open(temporary)?
                .write_all_at(&bytes, offset)
        })
        .await
    }

    pub(super) async fn complete(&self, key: &str) -> Result<(), Error> {
        let (temporary, object) = (self.temporary(key), self.object(key));
        self.blocking("complete", key, move || publish(&temporary, &object))
            .await
    }

    pub(super) async fn abort(&self, key: &str) -> Result<(), Error> {
        let temporary = self.temporary(key);
        self.blocking("give up", key, move || match fs::remove_file(temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        })
        .await
    }

    pub(super) async fn size(&self, key: &str) -> Result<u64, Error> {
        let object = self.object(key);
        self.blocking("look at", key, move || {
            fs::metadata(object).map(|metadata| metadata.len())
        })
        .await
    }

    /// And the folder that was made for it, if nothing else is in there.
    pub(super) async fn delete(&self, key: &str) -> Result<(), Error> {
        let object = self.object(key);
        self.blocking("delete", key, move || {
            match fs::remove_file(&object) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            if let Some(folder) = object.parent() {
                drop(fs::remove_dir(folder));
            }
            Ok(())
        })
        .await
    }

    fn object(&self, key: &str) -> PathBuf {
        self.root.join(key)
    }

    /// One name for each key: a restart finds and replaces what an attempt before it left.
    fn temporary(&self, key: &str) -> PathBuf {
        let object = self.object(key);
        let name = object
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        object.with_file_name(format!(".{name}.part"))
    }

    /// Disks can be slow, and the runtime has one thread.
    async fn blocking<T: Send + 'static>(
        &self,
        what: &str,
        key: &str,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let result = tokio::task::spawn_blocking(work).await;
        result
            .map_err(io::Error::other)
            .and_then(|result| result)
            .map_err(|error| Error::from_disk(format!("{what} {key} in {}", self.root.display()), error))
    }
}

fn create(path: &Path) -> io::Result<File> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(MODE)
        .open(path)
}

fn publish(temporary: &Path, object: &Path) -> io::Result<()> {
    File::open(temporary)?.sync_all()?;
    fs::rename(temporary, object)?;
    object
        .parent()
        .map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ship::store::Cause;

    #[tokio::test]
    async fn parts_become_one_file_under_its_name_only_at_the_end() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::new(root.path().to_owned());
        folder.begin("a/b.hprof.gz").await.unwrap();
        folder
            .part("a/b.hprof.gz", 3, Bytes::from_static(b"def"))
            .await
            .unwrap();
        folder
            .part("a/b.hprof.gz", 0, Bytes::from_static(b"abc"))
            .await
            .unwrap();
        assert!(folder.size("a/b.hprof.gz").await.is_err());
        folder.complete("a/b.hprof.gz").await.unwrap();
        assert_eq!(folder.size("a/b.hprof.gz").await.unwrap(), 6);
        assert_eq!(fs::read(root.path().join("a/b.hprof.gz")).unwrap(), b"abcdef");
        assert_eq!(fs::read_dir(root.path().join("a")).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn a_given_up_upload_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::new(root.path().to_owned());
        folder.begin("b.gz").await.unwrap();
        folder.abort("b.gz").await.unwrap();
        folder.abort("b.gz").await.unwrap();
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_file_in_the_way_of_the_folder_is_said_to_be_no_place_to_write() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("file"), b"").unwrap();
        let error = Folder::new(root.path().join("file"))
            .put("x", Bytes::new())
            .await
            .unwrap_err();
        assert_eq!(error.cause, Cause::NotWritable);
    }
}
