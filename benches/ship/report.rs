//! Ratios of pairs, their medians, and the targets they are held against.

use std::{fmt, path::Path};

use crate::{
    cases::Case,
    measure::{Run, megabytes},
};

/// Cores busy elsewhere beyond which a run is marked, and beyond which it is not counted.
const MARKED: f64 = 0.15;
const DROPPED: f64 = 1.0;

pub struct Report {
    title: String,
    columns: Vec<(Case, Vec<Run>)>,
}

enum Target {
    AtLeast(f64),
    AtMost(f64),
}

impl Target {
    /// A smoke run is noisy: it only finds what is broken.
    fn within(&self, measured: f64, tolerance: f64) -> bool {
        match self {
            Self::AtLeast(target) => measured * tolerance >= *target,
            Self::AtMost(target) => measured <= *target * tolerance,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(target) => write!(f, ">= {target}"),
            Self::AtMost(target) => write!(f, "<= {target}"),
        }
    }
}

struct Line {
    number: &'static str,
    what: &'static str,
    /// Ascending.
    measured: Vec<f64>,
    target: Target,
}

impl Report {
    pub fn new(dump: &Path, cases: &[Case]) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let size = std::fs::metadata(dump).map_or(0, |data| data.len());
        let codec = if cfg!(all(feature = "isal", target_arch = "x86_64")) {
            "ISA-L"
        } else {
            "libdeflate"
        };
        Self {
            title: format!("dump of {:.0} MB, {cores} cores, {codec}", megabytes(size)),
            columns: cases.iter().map(|&case| (case, Vec::new())).collect(),
        }
    }

    pub fn add(&mut self, case: Case, run: Run) {
        if let Some((_, runs)) = self.columns.iter_mut().find(|(known, _)| *known == case) {
            runs.push(run);
        }
    }

    /// Whether every ratio is within a factor of three of its target. Disk and memory do not depend on the minute: they
    /// have to be met.
    pub fn is_plausible(&self) -> bool {
        self.lines().iter().all(|line| {
            let tolerance = if matches!(line.number, "S6" | "S7" | "S8") {
                1.0
            } else {
                3.0
            };
            line.target.within(median(&line.measured), tolerance)
        })
    }

    fn lines(&self) -> Vec<Line> {
        use Case::{Agent, Blog, Floor, OneThread, Tools};
        use Target::{AtLeast, AtMost};

        let fast = cfg!(all(feature = "isal", target_arch = "x86_64"));
        let number = |with, without| if fast { with } else { without };
        let wall = |run: &Run| run.wall.as_secs_f64();
        let cpu = |run: &Run| run.cpu.as_secs_f64();
        let memory = |run: &Run| mebibytes(run.memory);
        let object = |run: &Run| megabytes(run.object);
        let lines = [
            (
                "S1",
                "wall: blog pipeline / agent",
                self.ratios(Blog, Agent, wall),
                AtLeast(number(20.0, 14.0)),
            ),
            (
                "S2",
                "CPU: blog pipeline / agent",
                self.ratios(Blog, Agent, cpu),
                AtLeast(number(15.0, 9.0)),
            ),
            (
                "S3",
                "wall: blog pipeline / agent, one thread",
                self.ratios(Blog, OneThread, wall),
                AtLeast(number(15.0, 9.0)),
            ),
            (
                "S4",
                "wall: igzip | s5cmd / agent",
                self.ratios(Tools, Agent, wall),
                AtLeast(1.7),
            ),
            (
                "S4",
                "CPU: igzip | s5cmd / agent",
                self.ratios(Tools, Agent, cpu),
                AtLeast(1.4),
            ),
            (
                "S4",
                "memory: agent / igzip | s5cmd",
                self.ratios(Agent, Tools, memory),
                AtMost(0.6),
            ),
            (
                "S5",
                "wall: agent / floor",
                self.ratios(Agent, Floor, wall),
                AtMost(1.3),
            ),
            (
                "S6",
                "object: agent / gzip -6",
                self.ratios(Agent, Blog, object),
                AtMost(1.16),
            ),
            (
                "S7",
                "extra disk, KiB",
                self.values(Agent, |run| mebibytes(run.disk) * 1024.0),
                AtMost(64.0),
            ),
            ("S8", "peak memory, MiB", self.values(Agent, memory), AtMost(64.0)),
            (
                "S8",
                "peak memory, one thread, MiB",
                self.values(OneThread, memory),
                AtMost(40.0),
            ),
            (
                "S8",
                "memory: agent / blog pipeline",
                self.ratios(Agent, Blog, memory),
                AtMost(0.7),
            ),
            (
                "S8",
                "memory: agent, one thread / blog pipeline",
                self.ratios(OneThread, Blog, memory),
                AtMost(0.45),
            ),
        ];
        lines
            .into_iter()
            .filter(|(_, _, measured, _)| !measured.is_empty())
            .map(|(number, what, measured, target)| Line {
                number,
                what,
                measured,
                target,
            })
            .collect()
    }

    fn runs(&self, case: Case) -> &[Run] {
        self.columns
            .iter()
            .find(|(known, _)| *known == case)
            .map_or(&[], |(_, runs)| runs)
    }

    /// Of the pairs in which neither run was disturbed, or of all where every one was.
    fn ratios(&self, above: Case, below: Case, of: impl Fn(&Run) -> f64) -> Vec<f64> {
        let pairs = || self.runs(above).iter().zip(self.runs(below));
        let ratio = |(a, b): (&Run, &Run)| of(a) / of(b);
        let quiet = |(a, b): &(&Run, &Run)| a.foreign <= DROPPED && b.foreign <= DROPPED;
        let undisturbed = sorted(pairs().filter(quiet).map(ratio));
        if undisturbed.is_empty() {
            sorted(pairs().map(ratio))
        } else {
            undisturbed
        }
    }

    fn values(&self, case: Case, of: impl Fn(&Run) -> f64) -> Vec<f64> {
        sorted(self.runs(case).iter().map(of))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n{}\n", self.title)?;
        writeln!(
            f,
            "| case | wall s | CPU s | peak MiB | object MB | disk MB |\n|---|---|---|---|---|---|"
        )?;
        for (case, runs) in self.columns.iter().filter(|(_, runs)| !runs.is_empty()) {
            let of = |value: fn(&Run) -> f64| Spread(sorted(runs.iter().map(value)));
            writeln!(
                f,
                "| {} | {} | {} | {} | {} | {} |",
                case.name().replace('|', "\\|"),
                of(|run| run.wall.as_secs_f64()),
                of(|run| run.cpu.as_secs_f64()),
                of(|run| mebibytes(run.memory)),
                of(|run| megabytes(run.object)),
                of(|run| megabytes(run.disk))
            )?;
        }

        writeln!(
            f,
            "\n| # | what | measured | target | met |\n|---|---|---|---|---|"
        )?;
        for Line {
            number,
            what,
            measured,
            target,
        } in self.lines()
        {
            let met = if target.within(median(&measured), 1.0) {
                "yes"
            } else {
                "**no**"
            };
            writeln!(
                f,
                "| {number} | {} | {} | {target} | {met} |",
                what.replace('|', "\\|"),
                Spread(measured)
            )?;
        }

        let every = || self.columns.iter().flat_map(|(_, runs)| runs);
        let count = |limit| every().filter(|run| run.foreign > limit).count();
        writeln!(
            f,
            "\n{} runs, every object decompressed and equal to the dump; {} with more than {MARKED} core busy elsewhere, \
             of which {} with more than {DROPPED}, left out where a quieter pair remains",
            every().count(),
            count(MARKED),
            count(DROPPED)
        )
    }
}

/// Median, and the range where there is one.
struct Spread(Vec<f64>);

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2}", median(&self.0))?;
        match self.0.as_slice() {
            [first, .., last] => write!(f, " [{first:.2}..{last:.2}] n={}", self.0.len()),
            _ => Ok(()),
        }
    }
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

fn median(ascending: &[f64]) -> f64 {
    let middle = ascending.len() / 2;
    match (ascending.get(middle), ascending.len() % 2) {
        (Some(upper), 0) => f64::midpoint(ascending[middle - 1], *upper),
        (Some(middle), _) => *middle,
        (None, _) => f64::NAN,
    }
}

#[allow(clippy::cast_precision_loss, reason = "for people to read")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
