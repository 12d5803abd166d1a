//! `jstat`: how the heap fills and what its collections cost, sample by sample, without attaching.

use std::io::{self, Write as _};
use std::thread;
use std::time::{Duration, Instant};

use super::Error;
use crate::attach::Jvm;
use crate::exit::Exit;
use crate::gc::{self, Figures, Table};
use crate::quantity::parse_duration;

/// Prints the state of a JVM's heap every so often, in the columns of the JDK's jstat: `jstat -gc -t -h10 1 10s`.
///
/// It reads what the JVM publishes in `/tmp/hsperfdata_USER`. Where there is nothing (a user without a name before JDK 28,
/// `-XX:-UsePerfData`, a read-only /tmp) it asks the JVM for `GC.heap_info`, which knows no collections: their columns show `-`.
#[derive(Debug, clap::Args)]
#[command(override_usage = "heapship-agent jstat -gc|-gcutil [-t] [-hLINES] [PID|auto [INTERVAL [COUNT]]]")]
pub struct Arguments {
    /// -gc or -gcutil; -t: seconds since the JVM's start; -h: headers every so many lines; then the PID, the time between
    /// two samples (10s, 500ms, or a number of milliseconds) and how many.
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        required = true,
        value_name = "OPTION…"
    )]
    words: Vec<String>,
}

/// What was asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Request<'a> {
    table: Table,
    timestamp: bool,
    /// Lines between two headers; 0 = one header at the top.
    header: u64,
    pid: Option<&'a str>,
    /// Between two samples, and how many; one sample where none is given.
    interval: Option<Duration>,
    count: Option<u64>,
}

/// Runs it to its end.
#[must_use]
pub fn run(arguments: &Arguments) -> Exit {
    super::end(parse(&arguments.words).and_then(|request| carry_out(&request)))
}

fn parse(words: &[String]) -> Result<Request<'_>, Error> {
    let mut table = None;
    let mut timestamp = false;
    let mut header = 0;
    let mut rest = Vec::new();
    for word in words {
        match word.as_str() {
            "-gc" => table = Some(Table::Gc),
            "-gcutil" => table = Some(Table::GcUtil),
            "-t" => timestamp = true,
            option if option.starts_with("-h") => {
                let lines = option.get(2..).unwrap_or_default();
                header = lines.parse().map_err(|_| {
                    usage(&format!(
                        "-h takes a number of lines, as in -h10, and not {lines:?}"
                    ))
                })?;
            }
            option if option.starts_with('-') => {
                return Err(usage(&format!("jstat does not know {option:?}")));
            }
            word => rest.push(word),
        }
    }
    let table = table.ok_or_else(|| usage("jstat needs -gc or -gcutil"))?;
    let (pid, interval, count) = match rest.as_slice() {
        [] => (None, None, None),
        [pid] => (Some(*pid), None, None),
        [pid, every] => (Some(*pid), Some(interval(every)?), None),
        [pid, every, count] => {
            let count = count.parse().ok().filter(|count| *count > 0);
            let count = count.ok_or_else(|| usage("the number of samples is at least 1"))?;
            (Some(*pid), Some(interval(every)?), Some(count))
        }
        _ => return Err(usage("jstat takes a PID, an interval and a count")),
    };
    Ok(Request {
        table,
        timestamp,
        header,
        pid,
        interval,
        count,
    })
}

fn usage(what: &str) -> Error {
    Error::Usage(format!("{what}; see `heapship-agent jstat --help`"))
}

/// `10s`, `250ms`; a bare number is milliseconds, as the JDK has it.
fn interval(word: &str) -> Result<Duration, Error> {
    let found = match word.parse() {
        Ok(milliseconds) => Some(Duration::from_millis(milliseconds)),
        Err(_) => parse_duration(word).ok(),
    };
    found.filter(|interval| !interval.is_zero()).ok_or_else(|| {
        usage(&format!(
            "{word:?} is not a time between two samples: 10s, 500ms, 10000"
        ))
    })
}

fn carry_out(request: &Request<'_>) -> Result<(), Error> {
    let Request {
        table,
        timestamp,
        header,
        pid,
        interval,
        count,
    } = request;
    let mut jvm = super::choose(*pid)?;
    let mut stdout = io::stdout().lock();
    let last = count.unwrap_or(if interval.is_some() { u64::MAX } else { 1 });
    let begun = Instant::now();
    for sample in 0..last {
        if sample > 0 {
            // By the clock of the first sample: the time that a sample takes does not add up.
            let due = interval
                .unwrap_or_default()
                .saturating_mul(u32::try_from(sample).unwrap_or(u32::MAX));
            thread::sleep(due.saturating_sub(begun.elapsed()));
            jvm.look_again();
            if !jvm.is_running() {
                return Ok(());
            }
        }
        if sample == 0 || *header > 0 && sample % *header == 0 {
            let time = if *timestamp { "      Timestamp " } else { "" };
            writeln!(stdout, "{time}{}", table.header()).map_err(Error::Output)?;
        }
        let (figures, seconds) = measure(&jvm)?;
        let time = match seconds {
            _ if !timestamp => String::new(),
            Some(seconds) => format!("{seconds:>15.1} "),
            None => format!("{:>15} ", "-"),
        };
        writeln!(stdout, "{time}{}", figures.row(*table))
            .and_then(|()| stdout.flush())
            .map_err(Error::Output)?;
    }
    Ok(())
}

/// Figures, and seconds since the JVM's start.
fn measure(jvm: &Jvm) -> Result<(Figures, Option<f64>), Error> {
    match &jvm.counters {
        Some(counters) => Ok((Figures::of(counters), gc::timestamp(counters))),
        None => Ok((
            Figures::of_heap_info(&jvm.diagnose("GC.heap_info", None)?),
            jvm.uptime().map(|uptime| uptime.as_secs_f64()),
        )),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn understands_what_the_jdks_own_tool_understands() {
        let request = |table, timestamp, header, pid, milliseconds: Option<u64>, count| Request {
            table,
            timestamp,
            header,
            pid,
            interval: milliseconds.map(Duration::from_millis),
            count,
        };
        for (line, expected) in [
            (
                "-gc -t -h10 7 10000",
                request(Table::Gc, true, 10, Some("7"), Some(10_000), None),
            ),
            (
                "-gcutil 7 250ms 4",
                request(Table::GcUtil, false, 0, Some("7"), Some(250), Some(4)),
            ),
            (
                "-gc auto 10s",
                request(Table::Gc, false, 0, Some("auto"), Some(10_000), None),
            ),
            ("-gc", request(Table::Gc, false, 0, None, None, None)),
        ] {
            assert_eq!(parse(&words(line)).unwrap(), expected, "{line}");
        }
    }

    #[test]
    fn what_it_does_not_know_is_a_wrong_usage() {
        for line in [
            "7",
            "-gc -hx 7",
            "-gccapacity 7",
            "-gc 7 0",
            "-gc 7 soon",
            "-gc 7 10 0",
            "-gc 7 10 1 2",
        ] {
            assert_eq!(parse(&words(line)).unwrap_err().exit(), Exit::Usage, "{line}");
        }
    }

    proptest! {
        #[test]
        fn no_words_make_it_panic(words in proptest::collection::vec("(-gc|-h|-t)?[a-z0-9]{0,6}", 0..6)) {
            let _ = parse(&words);
        }
    }
}
