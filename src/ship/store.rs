//! What a destination can do for us: take an object whole or in parts, and say how large it has become.
//!
//! Two kinds: a cloud's object store, and a folder. Nothing here needs to read, list or delete objects:
//! credentials that can only write are enough.

mod cloud;
mod error;
mod folder;
mod hosts;
pub mod roots;

use bytes::Bytes;

pub use cloud::{Connection, StoreChecksum};
pub use error::{Cause, Error};

use crate::destination::{Destination, Scheme};
use cloud::Cloud;
use folder::Folder;

/// A destination, ready.
#[derive(Debug)]
pub enum Store {
    /// S3 and what speaks it.
    Cloud(Cloud),
    /// A folder on a mounted volume.
    Folder(Folder),
}

/// What identifies an object besides its key: names and values, sent as the object's metadata.
pub type Metadata = Vec<(&'static str, String)>;

/// A part that has arrived, as its store knows it.
#[derive(Clone, Debug)]
pub struct PartTag(String);

/// An object that is stored in parts and not complete yet. The text is enough to find it again after a restart.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UploadId(pub String);

impl Store {
    /// Makes ready what does not need the network: clients, certificates, addresses. Requests may take as long as a part
    /// of `part_size` bytes needs.
    ///
    /// # Errors
    /// When the settings contradict each other or a certificate cannot be read.
    pub fn open(destination: &Destination, connection: &Connection, part_size: usize) -> Result<Self, Error> {
        let Destination {
            scheme,
            bucket,
            prefix,
        } = destination;
        match scheme {
            Scheme::S3 => Cloud::open(bucket, prefix, connection, part_size).map(Self::Cloud),
            Scheme::File => Ok(Self::Folder(Folder::new(prefix.into()))),
            Scheme::Gs | Scheme::Az => Err(Error {
                attempted: format!("use {destination}"),
                cause: Cause::Settings,
                source: "there are s3:// and file://".into(),
            }),
        }
    }

    /// Stores a small object in one request.
    ///
    /// # Errors
    /// See [`Cause`].
    pub async fn put(&self, key: &str, bytes: Bytes, metadata: &Metadata) -> Result<(), Error> {
        match self {
            Self::Cloud(cloud) => cloud.put(key, bytes, metadata).await,
            Self::Folder(folder) => folder.put(key, bytes).await,
        }
    }

    /// Begins an object in parts.
    ///
    /// # Errors
    /// See [`Cause`].
    pub async fn begin(&self, key: &str, metadata: &Metadata) -> Result<UploadId, Error> {
        match self {
            Self::Cloud(cloud) => cloud.begin(key, metadata).await,
            Self::Folder(folder) => folder.begin(key).await,
        }
    }

    /// Stores part `index`, which begins `offset` bytes into the object.
    ///
    /// # Errors
    /// See [`Cause`].
    pub async fn part(
        &self,
        key: &str,
        upload: &UploadId,
        index: usize,
        offset: u64,
        bytes: Bytes,
    ) -> Result<PartTag, Error> {
        match self {
            Self::Cloud(cloud) => cloud.part(key, upload, index, bytes).await.map(PartTag),
            Self::Folder(folder) => folder
                .part(key, offset, bytes)
                .await
                .map(|()| PartTag(String::new())),
        }
    }

    /// Puts the parts together; they are in order.
    ///
    /// # Errors
    /// See [`Cause`].
    pub async fn complete(&self, key: &str, upload: &UploadId, parts: Vec<PartTag>) -> Result<(), Error> {
        match self {
            Self::Cloud(cloud) => {
                cloud
                    .complete(key, upload, parts.into_iter().map(|tag| tag.0))
                    .await
            }
            Self::Folder(folder) => folder.complete(key).await,
        }
    }

    /// Gives up an object in parts. One that is not there any more is fine.
    ///
    /// # Errors
    /// See [`Cause`].
    pub async fn abort(&self, key: &str, upload: &UploadId) -> Result<(), Error> {
        match self {
            Self::Cloud(cloud) => cloud.abort(key, upload).await,
            Self::Folder(folder) => folder.abort(key).await,
        }
    }

    /// Bytes of the object as the store sees it, or nothing where we may not ask.
    ///
    /// # Errors
    /// See [`Cause`]; that the object is missing is an error.
    pub async fn size(&self, key: &str) -> Result<Option<u64>, Error> {
        match self {
            Self::Cloud(cloud) => cloud.size(key).await,
            Self::Folder(folder) => folder.size(key).await.map(Some),
        }
    }

    /// Deletes an object. One that is not there any more is fine.
    ///
    /// # Errors
    /// See [`Cause`]; nothing but the object of a check is ever deleted, and most agents may not even do that.
    pub async fn delete(&self, key: &str) -> Result<(), Error> {
        match self {
            Self::Cloud(cloud) => cloud.delete(key).await,
            Self::Folder(folder) => folder.delete(key).await,
        }
    }
}
