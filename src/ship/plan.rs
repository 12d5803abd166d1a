//! What the arguments come to: who ships what, whence, where to and how.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::Error;
use super::adopt::Adopter;
use super::arguments::{Arguments, Pod, Source, Sources};
use super::attempt::Context;
use super::codec::Codec;
use super::ledger::Disk;
use super::places::Place;
use super::presence::{Marks, Owner, Presence};
use super::record::Identity;
use super::shipper::{Mode, Shipper};
use super::store::Connection;
use super::time::Time;
use super::turn::Turns;
use super::upload;
use crate::destination::Destination;
use crate::key::KeyTemplate;

/// What the arguments come to.
pub(super) struct Plan {
    dumps: PathBuf,
    claim: Option<PathBuf>,
    adopt_after: Duration,
    remove_after: Duration,
    once: bool,
    sources: Vec<Source>,
    /// The one source is in the directory of dumps itself.
    only: bool,
    key_template: KeyTemplate,
    owner: Owner,
    manner: Manner,
}

impl Plan {
    /// Checks them.
    ///
    /// # Errors
    /// When the store's CA cannot be read.
    pub(super) fn of(arguments: Arguments) -> Result<Self, Error> {
        // A new argument fails to compile here until someone decides what it does.
        let Arguments {
            dumps,
            claim,
            adopt_after,
            remove_after,
            destination,
            once,
            container,
            containers,
            key_template,
            compression,
            max_dumps,
            pod:
                Pod {
                    cluster,
                    namespace,
                    pod,
                    pod_uid,
                    node,
                    workload,
                },
            store,
            settle,
            part_size,
            threads,
            replaced_options: _,
            prove_sidecar: _,
            log_format: _,
            log: _,
        } = arguments;
        let only = containers.is_none();
        let sources = containers.map_or_else(
            || {
                vec![Source {
                    name: container,
                    image: String::new(),
                    foreign: None,
                }]
            },
            |Sources(sources)| sources,
        );
        let owner = Owner {
            identity: Identity {
                cluster,
                namespace,
                workload,
                pod,
                uid: pod_uid,
                node,
            },
            images: sources
                .iter()
                .map(|source| (source.name.clone(), source.image.clone()))
                .collect(),
            key_template: key_template.to_string(),
            max_dumps: Some(max_dumps),
        };
        let manner = Manner {
            destination,
            connection: store.connection()?,
            codec: compression,
            threads: threads.unwrap_or_else(upload::default_threads),
            part_size: usize::try_from(part_size.0).unwrap_or(usize::MAX),
            settle,
            max_dumps,
            turns: Arc::default(),
        };
        Ok(Self {
            dumps,
            claim,
            adopt_after,
            remove_after,
            once,
            sources,
            only,
            key_template,
            owner,
            manner,
        })
    }

    /// On a claim, who looks after the dumps of dead pods.
    pub(super) fn adopter(&self) -> Option<Adopter> {
        let claim = self.claim.clone().filter(|_| !self.once)?;
        Some(Adopter::new(
            claim,
            self.dumps.clone(),
            self.manner.clone(),
            self.owner.identity.clone(),
            self.adopt_after,
            self.remove_after,
        ))
    }

    /// The pod's own shipper.
    ///
    /// # Errors
    /// When its folder cannot be made, or an agent is at work there.
    pub(super) fn shipper(&self, started: Time) -> Result<Shipper, Error> {
        let (dumps, manner) = (&self.dumps, &self.manner);
        let presence = match (&self.claim, self.sources.first()) {
            (Some(claim), Some(first)) => Some(begin(claim, dumps, &first.name, &self.owner)?),
            _ => None,
        };
        let places: Vec<Place> = self
            .sources
            .iter()
            .flat_map(|source| Place::of(dumps, source, self.only))
            .collect();
        let mode = if self.once { Mode::Once } else { Mode::Watch };
        let disk = open(dumps, &places)?;
        tracing::info!(destination = %manner.destination, dumps = %dumps.display(), "watching for heap dumps");
        let context = manner.context(disk, self.owner.clone(), presence, None);
        let (template, max_dumps) = (self.key_template.clone(), manner.max_dumps);
        Ok(manner.shipper(context, places, template, max_dumps, mode, started))
    }
}

/// How this agent ships, whosever dumps they are.
#[derive(Clone, Debug)]
pub(super) struct Manner {
    destination: Destination,
    connection: Connection,
    codec: Codec,
    threads: usize,
    part_size: usize,
    settle: Duration,
    pub(super) max_dumps: u32,
    turns: Arc<Turns>,
}

impl Manner {
    pub(super) fn context(
        &self,
        disk: Disk,
        owner: Owner,
        presence: Option<Presence>,
        shipped_by: Option<Identity>,
    ) -> Context {
        let Owner {
            identity,
            images,
            key_template: _,
            max_dumps: _,
        } = owner;
        Context {
            disk,
            destination: self.destination.clone(),
            connection: self.connection.clone(),
            identity,
            shipped_by,
            presence,
            turns: Arc::clone(&self.turns),
            images,
            codec: self.codec,
            threads: self.threads,
            part_size: self.part_size,
        }
    }

    pub(super) fn shipper(
        &self,
        context: Context,
        places: Vec<Place>,
        template: KeyTemplate,
        max_dumps: u32,
        mode: Mode,
        started: Time,
    ) -> Shipper {
        Shipper::new(
            Arc::new(context),
            places,
            template,
            self.settle,
            max_dumps,
            mode,
            started,
        )
    }
}

/// Makes the pod's folder on a claim, with the mode that the kubelet would give it, and everything that tells others of it.
fn begin(claim: &Path, dumps: &Path, first: &str, owner: &Owner) -> Result<Presence, Error> {
    let failed = |source| Error::NoDirectory {
        path: dumps.to_owned(),
        source,
    };
    make(dumps, &fs::metadata(claim).map_err(failed)?).map_err(failed)?;
    let marks = Marks {
        folder: dumps.to_owned(),
        container: first.to_owned(),
    };
    marks
        .begin(owner)
        .map_err(failed)?
        .ok_or_else(|| Error::Adopted(dumps.to_owned()))
}

/// The places' folders and the ledger.
///
/// # Errors
/// When they cannot be made or read.
pub(super) fn open(dumps: &Path, places: &[Place]) -> Result<Disk, Error> {
    prepare(dumps, places)?;
    let own: Vec<(&str, &Path)> = places
        .iter()
        .filter(|place| !place.is_foreign())
        .map(|place| (place.source.name.as_str(), place.directory()))
        .collect();
    Ok(Disk::open(dumps, &own)?)
}

/// The containers' directories, as the kubelet would make them: it finds them there when the containers start, after us.
fn prepare(dumps: &Path, places: &[Place]) -> Result<(), Error> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::NoDirectory { path, source }
    };
    let metadata = fs::metadata(dumps).map_err(failed(dumps))?;
    if !metadata.is_dir() {
        return Err(failed(dumps)(io::ErrorKind::NotADirectory.into()));
    }
    for place in places.iter().filter(|place| !place.is_foreign()) {
        let path = place.directory();
        make(path, &metadata).map_err(failed(path))?;
    }
    Ok(())
}

/// Makes a folder with the mode of another; the process's umask does not count.
fn make(path: &Path, like: &fs::Metadata) -> io::Result<()> {
    match fs::create_dir(path) {
        Ok(()) => fs::set_permissions(path, fs::Permissions::from_mode(like.permissions().mode())),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}
