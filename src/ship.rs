//! What the agent does with a dump: seen -> claimed -> streamed -> verified -> recorded -> deleted.
//!
//! In goes a directory in which JVMs write dumps; out come objects in a store, each with a record beside it that is
//! written last. Two promises stand above the rest: the application is never disturbed (no file that a JVM still needs is
//! touched), and nothing is deleted before the store has confirmed it.
//!
//! Pure: [`key`](crate::key), [`quota`], [`ledger`]'s states, [`dump_name`], [`destination`](crate::destination), [`quiet`], [`retry`], [`time`]. Bytes:
//! [`source`] -> [`pipeline`] ([`codec`], [`gzip`], [`parts`]) -> [`upload`] -> [`store`]. The shell around them is
//! [`shipper`], with one [`attempt`] at a time, as `plan` reads the arguments; on a volume that pods share, [`adopt`] does the same for dead ones, which it
//! knows by their [`presence`], and waits its [`turn`]. Following a dump while it is written will be another [`source`].

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
mod plan;
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
pub mod turn;
pub mod upload;
pub mod watch;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

pub use arguments::Arguments;

use crate::exit::Exit;
use crate::logging;
use crate::shutdown::Signals;
use plan::Plan;
use shipper::End;
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
    let in_the_image = |name: &&String| std::env::var_os(name).is_some_and(|options| !options.is_empty());
    for variable in arguments.replaced_options.iter().filter(in_the_image) {
        tracing::warn!(
            variable,
            "the application's image sets {variable} itself; the pod's value with heapship's options replaces it, \
             so repeat the image's options in the pod's manifest"
        );
    }
    let in_a_pod = arguments.containers.is_some() && !arguments.once;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let started = Time::now();
    let end: Result<End, Error> = runtime.block_on(async {
        // First of all: a pod can be asked to end before its agent has looked around.
        let mut signals = Signals::install()?;
        if !sidecar::may_begin(arguments, &mut signals).await {
            return Ok(End::Shipped);
        }
        let plan = || Plan::of(arguments.clone());
        let Some(plan) = patiently(in_a_pod, &mut signals, plan).await? else {
            return Ok(End::Left);
        };
        let adopter = adopt::run(plan.adopter());
        let own = async {
            loop {
                let shipper = || plan.shipper(started);
                let Some(shipper) = patiently(in_a_pod, &mut signals, shipper).await? else {
                    return Ok(End::Left);
                };
                match shipper.run(Some(&mut signals)).await {
                    // Begun anew, which waits until nobody else is there. Not at once: a volume that gives the lock
                    // and denies it in the same moment must not keep this one thread from signals and adopted dumps.
                    End::Lost => {}
                    end => return Ok(end),
                }
                tokio::select! {
                    () = tokio::time::sleep(SET_UP_AGAIN) => {}
                    _ = signals.next() => return Ok(End::Left),
                }
            }
        };
        // Whoever adopts does not wait for our own folder: a claim that is full of a dead pod's dump has no room for it.
        // And it ends with the pod: nothing of another's is worth its grace.
        tokio::select! {
            end = own => end,
            () = adopter => Ok(End::Left),
        }
    });
    // A read that hangs on a dead disk must not hold the process.
    runtime.shutdown_background();
    Ok(match end? {
        End::Shipped => Exit::Done,
        End::Left | End::Held | End::Lost => Exit::Failed,
    })
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
