//! Shipping one dump: the agent against what people run today, in turn, on the same machine, in the same minutes.
//!
//! Ratios are taken pair by pair; a run counts only when its object decompresses to the dump, byte for byte. Seconds of
//! one machine are worth nothing on another: they are printed to notice a broken run.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark that cannot run has to stop"
)]
#![allow(missing_docs, unreachable_pub, reason = "nobody links a benchmark")]

mod cases;
mod measure;
mod report;
mod sink;
mod workload;

// What the tests stand on serves here too; each uses its part of it.
#[allow(dead_code)]
#[path = "../../tests/support/store/certificate.rs"]
mod certificate;
#[allow(dead_code)]
#[path = "../../tests/support/java.rs"]
mod java;
#[allow(dead_code)]
#[path = "../../tests/support/process.rs"]
mod process;
#[allow(dead_code)]
#[path = "../../tests/support/wait.rs"]
mod wait;

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;

use cases::Case;
use report::Report;
use sink::Sink;

#[derive(Parser)]
struct Arguments {
    /// A dump of 200 MB and one pair: fails only where a ratio is below a third of its target.
    #[arg(long)]
    smoke: bool,
    /// Pairs; at least five for a figure that is told to others.
    #[arg(long, default_value_t = 5)]
    pairs: usize,
    /// Another build of the agent, e.g. one without ISA-L.
    #[arg(long, default_value = env!("CARGO_BIN_EXE_heapship-agent"))]
    agent: PathBuf,
    /// A dump of your own instead of the seeded one.
    #[arg(long)]
    dump: Option<PathBuf>,
    /// The store without TLS.
    #[arg(long)]
    plain: bool,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let Arguments {
        smoke,
        pairs,
        agent,
        dump,
        plain,
        bench: _,
    } = Arguments::parse();
    let pairs = if smoke { 1 } else { pairs.max(1) };
    let heap = if smoke {
        workload::SMOKE_HEAP
    } else {
        workload::FULL_HEAP
    };
    let dump = dump.unwrap_or_else(|| workload::dump(heap));
    let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let sink = Sink::start(!plain, scratch.path());

    let cases: Vec<Case> = Case::ALL.into_iter().filter(|case| case.is_possible()).collect();
    let mut report = Report::new(&dump, &cases);
    for pair in 1..=pairs {
        for &case in &cases {
            let run = case.run(&dump, &agent, &sink, scratch.path());
            eprintln!("{pair}/{pairs} {:<24} {run}", case.name());
            report.add(case, run);
        }
    }
    print!("{report}");
    if smoke && !report.is_plausible() {
        eprintln!("a ratio is below a third of its target");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
