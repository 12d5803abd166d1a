//! `heapship-agent check-store`: can this agent, where it is and with what it was told, write to its store?

use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::Serialize;

use super::arguments::{Pod, StoreArguments, UnreadableCa, parse_destination};
use super::store::{Error as StoreError, Store};
use super::time::Time;
use crate::destination::Destination;
use crate::exit::Exit;
use crate::names::variable;

/// Writes a small object to the store and deletes it again.
///
/// In an agent's container nothing needs to be given: it takes what `ship` takes, from the same variables. Ends with 0
/// where the object was written, also where it may not be deleted, and with 1 where it was not.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Where dumps go: `s3://BUCKET/PREFIX` or `file:///PATH`.
    #[arg(long, value_name = "URL", env = variable::DESTINATION, value_parser = parse_destination)]
    destination: Destination,
    #[command(flatten)]
    pod: Pod,
    #[command(flatten)]
    store: StoreArguments,
    /// How the answer looks.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Output {
    /// A sentence.
    Text,
    /// A JSON object.
    Json,
}

/// Why nothing was tried.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store's settings cannot be read.
    #[error(transparent)]
    Store(#[from] UnreadableCa),
    /// The system gives no runtime, or takes no answer.
    #[error("cannot check the store")]
    System(#[from] io::Error),
}

/// The answer.
#[derive(Debug, Serialize)]
struct Report {
    /// As a URL.
    destination: String,
    /// Key of the object, relative to the destination.
    object: String,
    written: bool,
    deleted: bool,
    seconds: f64,
    /// What was wrong and what to do about it, in one sentence.
    error: Option<String>,
}

/// Folder of the objects, below the destination.
const FOLDER: &str = ".heapship-check";
/// Of everything. What has not answered by then is as good as not there to whoever asks.
const LONGEST: Duration = Duration::from_secs(30);
/// What limits a request's time; the object itself has some bytes.
const PART_SIZE: usize = 5 << 20;

/// Writes, looks, deletes, and says how it went.
///
/// # Errors
/// See [`Error`]; what the store has against it is part of the answer instead.
pub fn run(arguments: Arguments) -> Result<Exit, Error> {
    let Arguments {
        destination,
        pod: Pod { pod, .. },
        store,
        output,
    } = arguments;
    // Fails where a provider is there already, which is as good.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let connection = store.connection()?;
    let pod = if pod.is_empty() { "nobody" } else { &pod };
    let object = format!("{FOLDER}/{pod}-{}", Time::now().key_text());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let begun = Instant::now();
    let mut written = false;
    let tried = runtime.block_on(async {
        let tried = async {
            let store = Store::open(&destination, &connection, PART_SIZE)?;
            write(&store, &object).await?;
            written = true;
            Ok::<_, StoreError>(store.delete(&object).await.is_ok())
        };
        tokio::time::timeout(LONGEST, tried).await
    });
    runtime.shutdown_background();
    let late =
        || format!("no answer within {LONGEST:?}; check the store's endpoint and the pod's network policy");
    let (deleted, error) = match tried {
        Ok(Ok(deleted)) => (deleted, None),
        Ok(Err(error)) => (false, Some(error.to_string())),
        Err(_) if written => (false, None),
        Err(_) => (false, Some(format!("cannot write to {destination}: {}", late()))),
    };
    let report = Report {
        destination: destination.to_string(),
        object,
        written,
        deleted,
        seconds: begun.elapsed().as_secs_f64(),
        error,
    };
    let text = match output {
        Output::Text => report.sentence(),
        Output::Json => serde_json::to_string(&report).map_err(io::Error::from)?,
    };
    writeln!(io::stdout(), "{text}")?;
    Ok(if written { Exit::Done } else { Exit::No })
}

/// Whether it has arrived is asked only where that is allowed.
async fn write(store: &Store, object: &str) -> Result<(), StoreError> {
    let text = "heapship-agent check-store wrote this to see whether it can; it may be deleted\n";
    store
        .put(object, Bytes::from_static(text.as_bytes()), &Vec::new())
        .await?;
    match store.size(object).await? {
        Some(size) if size != text.len() as u64 => Err(StoreError::mismatch(
            format!("find {object} as it was written"),
            format!("{size} bytes instead of {}", text.len()),
        )),
        Some(_) | None => Ok(()),
    }
}

impl Report {
    fn sentence(&self) -> String {
        let Self {
            destination,
            object,
            written: _,
            deleted,
            seconds,
            error,
        } = self;
        match error {
            Some(error) => format!("no: {error}"),
            None if *deleted => format!("written to {destination}/{object} and deleted, in {seconds:.2} s"),
            None => format!(
                "written to {destination}/{object} in {seconds:.2} s; it stays there, since these credentials may not delete"
            ),
        }
    }
}
