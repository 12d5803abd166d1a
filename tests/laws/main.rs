//! The laws of the injection, held against pods that nobody thought of.
//!
//! `make test` draws a few thousand, `make test-laws` a hundred thousand. A failure prints the smallest pod that still breaks
//! the law, and what repeats it:
//!
//! ```sh
//! HEAPSHIP_LAWS_SEED=7 HEAPSHIP_LAWS_PODS=100000 make test-laws   # the same pods again
//! HEAPSHIP_LAWS_SEED=7 HEAPSHIP_LAWS_POD=4711 make test-laws      # one of them
//! ```

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::{env, thread};

mod case;
mod generator;
mod hotspot;
mod kubelet;
mod law;
mod minimise;
#[path = "../schema/openapi.rs"]
mod openapi;
mod random;
mod reach;
mod written;

use case::{Case, Trial};
use generator::surroundings::PolicySet;
use law::{Faults, LAWS, neighbours};
use reach::Reach;

/// Of an ordinary run: enough to reach everything, and over in seconds.
const PODS: u64 = 3000;
/// Fixed, so that an ordinary run is the same everywhere.
const SEED: u64 = 2026;
/// The first pod that breaks a law, and how many do.
type Broken = BTreeMap<(&'static str, &'static str), (u64, u64)>;

#[test]
fn every_law_holds_for_every_pod() {
    let seed = number("HEAPSHIP_LAWS_SEED").unwrap_or(SEED);
    let only = number("HEAPSHIP_LAWS_POD");
    let pods = number("HEAPSHIP_LAWS_PODS").unwrap_or(PODS);
    let numbers = only.map_or(0..pods, |only| only..only + 1);
    let (broken, reach) = run(seed, numbers.clone());
    let (table, missing) = reach.table();
    // Not `println!`: of tests that pass its output is not shown.
    let mut stdout = io::stdout().lock();
    let count = numbers.end - numbers.start;
    writeln!(
        stdout,
        "laws: {count} pods of seed {seed}, {} laws, {} broken",
        LAWS.len(),
        broken.len()
    )
    .unwrap();
    if env::var_os("HEAPSHIP_LAWS_PODS").is_some() {
        write!(stdout, "{table}").unwrap();
    }
    assert!(broken.is_empty(), "\n{}", report(seed, &broken));
    assert!(
        only.is_some() || missing.is_empty(),
        "not reached by {count} pods of seed {seed}: {missing:?}\n{table}"
    );
}

#[test]
fn every_law_holds_for_every_case_that_people_wrote() {
    let mut report = String::new();
    for written in written::cases() {
        let policies = PolicySet {
            text: String::new(),
            policies: written.policies.clone(),
        };
        let mut case = Case {
            pod: written.pod().clone(),
            namespace: written.namespace.clone(),
            policies: Box::leak(Box::new(policies)),
            cluster: written.cluster.clone(),
            copy: false,
            salt: 0,
        };
        // The salt decides what is checked of the text and the schema, and who the neighbour is.
        for salt in [0, 1]
            .into_iter()
            .chain((1..neighbours::names().len() as u64).map(|neighbour| neighbour * 64 + 2))
        {
            case.salt = salt;
            let trial = Trial::of(&case);
            for (name, check) in LAWS {
                let mut faults = Faults::new();
                check(&trial, &mut faults);
                for fault in faults {
                    writeln!(report, "{}: {name}: {fault}", written.name).unwrap();
                }
            }
        }
    }
    assert!(report.is_empty(), "\n{report}");
}

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok().filter(|text| !text.is_empty())?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable}={text} is not a number")),
    )
}

/// Every processor takes the next pod that nobody has taken.
fn run(seed: u64, numbers: std::ops::Range<u64>) -> (Broken, Reach) {
    let next = AtomicU64::new(numbers.start);
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let work = || {
        let (mut broken, mut reach) = (Broken::new(), Reach::default());
        loop {
            let pod = next.fetch_add(1, Ordering::Relaxed);
            if pod >= numbers.end {
                return (broken, reach);
            }
            let case = generator::case(seed, pod);
            let trial = Trial::of(&case);
            reach.note(&trial);
            for (name, check) in LAWS {
                let mut faults = Faults::new();
                check(&trial, &mut faults);
                if !faults.is_empty() {
                    broken
                        .entry((name, law::whose(name, &case)))
                        .or_insert((pod, 0))
                        .1 += 1;
                }
            }
        }
    };
    let (mut broken, mut reach) = (Broken::new(), Reach::default());
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            let (theirs, reached) = worker.join().unwrap();
            reach.add(reached);
            for (name, (pod, count)) in theirs {
                let (first, all) = broken.entry(name).or_insert((pod, 0));
                *first = (*first).min(pod);
                *all += count;
            }
        }
    });
    (broken, reach)
}

/// For each law the first pod that broke it, made as small as it gets.
fn report(seed: u64, broken: &Broken) -> String {
    let mut report = String::new();
    for ((broken, whose), (pod, count)) in broken {
        let Some(law) = LAWS.iter().find(|(name, _)| name == broken) else {
            continue;
        };
        let (name, check) = law;
        let smallest = minimise::minimise(&generator::case(seed, *pod), law);
        let trial = Trial::of(&smallest);
        let mut faults = Faults::new();
        check(&trial, &mut faults);
        let faults = faults.join("\n  ");
        writeln!(
            report,
            "BROKEN by {count}: {name} {whose}\n  {faults}\n{}# decision: {:?}\n# again: HEAPSHIP_LAWS_SEED={seed} HEAPSHIP_LAWS_POD={pod}\n",
            smallest.describe(),
            trial.outcome.decision
        )
        .unwrap();
    }
    report
}
