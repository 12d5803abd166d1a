//! How much the webhook costs, as ratios against a handler that reads the same body on the same connections and gives
//! a fixed answer. Cases take turns, so that a busy minute hits all of them.
//!
//! The server is a process of its own (this executable, started again), so that its CPU time can be told apart. The
//! generator shares the machine's cores with it: absolute figures say as much about the machine as about the webhook.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark may stop at a fault"
)]

#[path = "../tests/http/authority.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod authority;
#[path = "../tests/http/caller.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod caller;
#[path = "admission/generator.rs"]
mod generator;
#[path = "../tests/http/reviews.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod reviews;
#[path = "admission/target.rs"]
mod target;
#[path = "admission/usage.rs"]
mod usage;

use std::time::Duration;

use axum::body::Bytes;

use self::authority::Authority;
use self::generator::{Load, Run};
use self::target::Target;

/// How often the cases take their turns.
const ROUNDS: usize = 5;
/// As many as an API server keeps busy, and below the 25 that it keeps at all.
const CONNECTIONS: usize = 16;
const CLOSED: Duration = Duration::from_secs(1);
const OPEN: Duration = Duration::from_secs(2);
/// Requests a second of the open loop.
const RATE: u32 = 1000;

/// One case in one round, each against the fixed answer of the same round.
#[derive(Default)]
struct Case {
    closed: Vec<Run>,
    open: Vec<Run>,
    http2: Vec<Run>,
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.get(1).is_some_and(|argument| argument == "serve") {
        target::serve(&arguments[2], &arguments[3]);
        return;
    }
    let authority = Authority::new();
    let target = Target::start(&authority);
    let asking = reviews::review("705ab4f5-4a8b-4bb7-9f3d-bd1a2c5f0e11", &reviews::asking(7400));
    let other = reviews::review("705ab4f5-4a8b-4bb7-9f3d-bd1a2c5f0e11", &reviews::other(7400));
    let load = Load {
        target: &target,
        tls: authority.http1(),
    };
    let [fixed, none, patched] = measure(&load, &authority, &other, &asking);
    let alone = load.closed(1, "/mutate", &asking, CLOSED);
    let fresh: Vec<Run> = (0..3)
        .map(|_| load.fresh_connections(2, "/mutate", &other, CLOSED))
        .collect();
    let answer = load.once("/mutate", &asking);

    println!(
        "{} cores; body {} bytes (ours) and {} (not ours), answer {answer} bytes; {ROUNDS} rounds; {CONNECTIONS} connections",
        std::thread::available_parallelism().map_or(0, usize::from),
        asking.len(),
        other.len(),
    );
    println!(
        "others on this machine used {:.2} cores at the median",
        usage::median(&target.others())
    );
    println!();
    println!("| # | what | target | measured |");
    println!("|---|---|---|---|");
    row(
        "-",
        "patched, one connection, one at a time: p50",
        "< 1 ms",
        &format!("{:.0} us", alone.quantile(0.5) * 1e6),
    );
    compare(&fixed, &none, &patched);
    row(
        "A6",
        "new TLS connection with one request: CPU",
        "<= 500 us",
        &micros(&fresh, |run| run.cpu_per_request),
    );
}

fn compare(fixed: &Case, none: &Case, patched: &Case) {
    let cpu = |run: &Run| run.cpu_per_request;
    let rate = |run: &Run| run.requests_per_second();
    let p50 = |run: &Run| run.quantile(0.5);
    let p99 = |run: &Run| run.quantile(0.99);
    row(
        "A1",
        "not ours: CPU against a fixed answer",
        "<= 2x",
        &ratio(&none.closed, &fixed.closed, cpu),
    );
    row(
        "A2",
        "patched: CPU against a fixed answer",
        "<= 8x",
        &ratio(&patched.closed, &fixed.closed, cpu),
    );
    row("A1", "not ours: CPU", "", &micros(&none.closed, cpu));
    row(
        "A2",
        "patched: CPU",
        "about 200 us",
        &micros(&patched.closed, cpu),
    );
    row("", "fixed answer: CPU", "", &micros(&fixed.closed, cpu));
    for (name, case) in [("fixed answer", fixed), ("not ours", none), ("patched", patched)] {
        row(
            "A3",
            &format!("{name}, {RATE}/s open loop: p50"),
            "<= 500 us",
            &micros(&case.open, p50),
        );
        row(
            "A3",
            &format!("{name}, {RATE}/s open loop: p99"),
            "<= 1000 us",
            &micros(&case.open, p99),
        );
    }
    row(
        "A3",
        "patched, open loop: p99 against a fixed answer",
        "<= 2x",
        &ratio(&patched.open, &fixed.open, p99),
    );
    row(
        "A4",
        "not ours, saturated: requests/s against fixed",
        ">= 0.5x",
        &ratio(&none.closed, &fixed.closed, rate),
    );
    row(
        "A4",
        "patched, saturated: requests/s against fixed",
        ">= 0.2x",
        &ratio(&patched.closed, &fixed.closed, rate),
    );
    row(
        "A5",
        "not ours, HTTP/2, 1 x 16 streams: p99",
        "<= 10000 us",
        &micros(&none.http2, p99),
    );
    row(
        "A5",
        "patched, HTTP/2, 1 x 16 streams: p99",
        "<= 10000 us",
        &micros(&patched.http2, p99),
    );
}

fn measure(load: &Load<'_>, authority: &Authority, other: &Bytes, asking: &Bytes) -> [Case; 3] {
    let mut cases = [Case::default(), Case::default(), Case::default()];
    let questions = [("/fixed", other), ("/mutate", other), ("/mutate", asking)];
    for (path, body) in questions {
        load.closed(CONNECTIONS, path, body, CLOSED / 2);
    }
    for _ in 0..ROUNDS {
        for (case, (path, body)) in cases.iter_mut().zip(questions) {
            case.closed.push(load.closed(CONNECTIONS, path, body, CLOSED));
        }
        for (case, (path, body)) in cases.iter_mut().zip(questions) {
            case.open.push(load.open(CONNECTIONS, path, body, RATE, OPEN));
        }
        for (case, (path, body)) in cases.iter_mut().zip(questions).skip(1) {
            case.http2
                .push(load.http2(authority.http2(), 16, path, body, CLOSED));
        }
    }
    cases
}

fn row(number: &str, what: &str, target: &str, measured: &str) {
    println!("| {number} | {what} | {target} | {measured} |");
}

/// Median and range of the rounds' ratios.
fn ratio(case: &[Run], baseline: &[Run], of: impl Fn(&Run) -> f64) -> String {
    let ratios: Vec<f64> = case
        .iter()
        .zip(baseline)
        .map(|(case, baseline)| of(case) / of(baseline))
        .collect();
    let (median, least, most) = usage::spread(&ratios);
    format!("{median:.2}x [{least:.2}..{most:.2}]")
}

/// Median and range in microseconds of values in seconds.
fn micros(case: &[Run], of: impl Fn(&Run) -> f64) -> String {
    let values: Vec<f64> = case.iter().map(|run| of(run) * 1e6).collect();
    let (median, least, most) = usage::spread(&values);
    format!("{median:.0} us [{least:.0}..{most:.0}]")
}
