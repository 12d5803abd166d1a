//! What the agent does with a dump: seen -> claimed -> streamed -> verified -> recorded -> deleted.
//!
//! In goes a directory in which JVMs write dumps; out come objects in a store, each with a record beside it that is
//! written last. Two promises stand above the rest: the application is never disturbed (no file that a JVM still needs is
//! touched), and nothing is deleted before the store has confirmed it.
//!
//! Pure: [`key`](crate::key), [`quota`], [`ledger`]'s states, [`dump_name`], [`destination`](crate::destination), [`quiet`], [`retry`], [`time`]. Bytes:
//! [`source`] -> [`pipeline`] ([`codec`], [`gzip`], [`parts`]) -> [`upload`] -> [`store`]. The shell around them is
//! [`shipper`], with one [`attempt`] at a time; on a volume that pods share, [`adopt`] does the same for dead ones, which it
//! knows by their [`presence`]. Following a dump while it is written will be another [`source`].

pub mod adopt;
pub mod arguments;
pub mod attempt;
pub mod check_store;
pub mod codec;
pub mod dump_name;
pub mod gzip;
pub mod ledger;
pub mod parts;
pub mod pipeline;
pub mod places;
pub mod presence;
pub mod quiet;
pub mod quota;
pub mod record;
pub mod retry;
pub mod shipper;
mod sidecar;
pub mod source;
pub mod store;
pub mod time;
pub mod tracked;
pub mod upload;
pub mod watch;

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

pub use arguments::{Arguments, Source};

use crate::destination::Destination;
use crate::exit::Exit;
use crate::key::KeyTemplate;
use crate::logging;
use crate::shutdown::Signals;
use adopt::Adopter;
use arguments::{Pod, Sources};
use attempt::Context;
use codec::Codec;
use ledger::Disk;
use places::Place;
use presence::{Marks, Owner, Presence};
use record::Identity;
use shipper::{Mode, Shipper};
use store::Connection;
use time::Time;

/// How long a pod's agent waits before it tries to start again.
const SET_UP_AGAIN: Duration = Duration::from_secs(5);

/// Why the shipper cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no directory of dumps.
    #[error("cannot watch {path}: make the directory, or mount the volume of dumps there")]
    NoDirectory {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The ledger cannot be used.
    #[error(transparent)]
    Ledger(#[from] ledger::Error),
    /// This pod was taken for dead, since its agent was, or an agent of it still runs.
    #[error("another heapship-agent is at work in {0}; this one begins when that one is done")]
    Adopted(PathBuf),
    /// The store's settings cannot be read.
    #[error(transparent)]
    Store(#[from] arguments::UnreadableCa),
    /// The system gives no runtime or no signals.
    #[error("cannot start")]
    System(#[from] io::Error),
}

/// Ships dumps until a signal comes, or with `--once` those that are there.
///
/// # Errors
/// See [`Error`]; what happens to single dumps is logged instead. In a pod even these are: a sidecar that ends at once
/// keeps the application from starting, so it says what is wrong and tries again.
pub fn run(arguments: &Arguments) -> Result<Exit, Error> {
    logging::init(arguments.log_format, &arguments.log);
    // Fails where a provider is there already, which is as good.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    if arguments.borrowed_image
        && std::env::var_os("JAVA_TOOL_OPTIONS").is_some_and(|options| !options.is_empty())
    {
        tracing::warn!(
            "the application's image sets JAVA_TOOL_OPTIONS itself; the pod's value with heapship's options replaces it, \
             so repeat the image's options in the pod's manifest"
        );
    }
    let in_a_pod = arguments.containers.is_some() && !arguments.once;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let started = Time::now();
    let all: Result<bool, Error> = runtime.block_on(async {
        // First of all: a pod can be asked to end before its agent has looked around.
        let mut signals = Signals::install()?;
        if !sidecar::may_begin(arguments, &mut signals).await {
            return Ok(true);
        }
        let plan = || Plan::of(arguments.clone());
        let Some(plan) = patiently(in_a_pod, &mut signals, plan).await? else {
            return Ok(false);
        };
        let adopter = adopt::run(plan.adopter());
        let own = async {
            let shipper = || plan.shipper(started);
            match patiently(in_a_pod, &mut signals, shipper).await? {
                Some(shipper) => Ok(shipper.run(Some(&mut signals)).await),
                None => Ok(false),
            }
        };
        // Whoever adopts does not wait for our own folder: a claim that is full of a dead pod's dump has no room for it.
        // And it ends with the pod: nothing of another's is worth its grace.
        tokio::select! {
            all = own => all,
            () = adopter => Ok(false),
        }
    });
    // A read that hangs on a dead disk must not hold the process.
    runtime.shutdown_background();
    let all = all?;
    Ok(if all { Exit::Done } else { Exit::Failed })
}

/// Tries until it works, where the agent of a pod must not end. Answers nothing where a signal came first.
async fn patiently<T>(
    in_a_pod: bool,
    signals: &mut Signals,
    attempt: impl Fn() -> Result<T, Error>,
) -> Result<Option<T>, Error> {
    let mut said = String::new();
    loop {
        match attempt() {
            Ok(done) => return Ok(Some(done)),
            Err(error) if in_a_pod => {
                let text = error.to_string();
                if text != said {
                    complain(&error, &text);
                }
                said = text;
            }
            Err(error) => return Err(error),
        }
        tokio::select! {
            () = tokio::time::sleep(SET_UP_AGAIN) => {}
            _ = signals.next() => return Ok(None),
        }
    }
}

fn complain(error: &Error, text: &str) {
    let causes = shipper::chain(error);
    let because = if causes.is_empty() { "" } else { ": " };
    match error {
        Error::Adopted(_) => tracing::warn!("{text}; meanwhile that one ships the dumps"),
        Error::NoDirectory { .. } | Error::Ledger(_) | Error::Store(_) | Error::System(_) => {
            tracing::error!("{text}{because}{causes}; no dump of this pod can be shipped until then");
        }
    }
}

/// What the arguments come to.
struct Plan {
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
    fn of(arguments: Arguments) -> Result<Self, Error> {
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
            borrowed_image: _,
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
        };
        let manner = Manner {
            destination,
            connection: store.connection()?,
            codec: compression,
            threads: threads.unwrap_or_else(upload::default_threads),
            part_size: usize::try_from(part_size.0).unwrap_or(usize::MAX),
            settle,
            max_dumps,
            turn: Arc::new(Semaphore::new(1)),
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
    fn adopter(&self) -> Option<Adopter> {
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
    fn shipper(&self, started: Time) -> Result<Shipper, Error> {
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
        Ok(manner.shipper(context, places, self.key_template.clone(), mode, started))
    }
}

/// How this agent ships, whosever dumps they are.
#[derive(Clone, Debug)]
struct Manner {
    destination: Destination,
    connection: Connection,
    codec: Codec,
    threads: usize,
    part_size: usize,
    settle: Duration,
    max_dumps: u32,
    turn: Arc<Semaphore>,
}

impl Manner {
    fn context(
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
        } = owner;
        Context {
            disk,
            destination: self.destination.clone(),
            connection: self.connection.clone(),
            identity,
            shipped_by,
            presence,
            turn: Arc::clone(&self.turn),
            images,
            codec: self.codec,
            threads: self.threads,
            part_size: self.part_size,
        }
    }

    fn shipper(
        &self,
        context: Context,
        places: Vec<Place>,
        template: KeyTemplate,
        mode: Mode,
        started: Time,
    ) -> Shipper {
        Shipper::new(
            Arc::new(context),
            places,
            template,
            self.settle,
            self.max_dumps,
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
fn open(dumps: &Path, places: &[Place]) -> Result<Disk, Error> {
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
