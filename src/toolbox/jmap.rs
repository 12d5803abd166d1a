//! `jmap`: dump a heap or count its objects, in the words of the JDK's own tool.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::Error;
use crate::attach::{Dump, Objects};
use crate::exit::Exit;

/// Dumps a JVM's heap or counts its objects, as the JDK's jmap does, on 8 to 25.
///
/// `live` runs a full garbage collection first and leaves out what is unreachable. FILE must not exist yet; the JVM writes
/// it, as its own user and with mode 0600. `gz` compresses inside the stopped JVM, which makes the pause five to ten times
/// longer, and works from JDK 17 on. PID may be left out where there is only one JVM.
#[derive(Debug, clap::Args)]
#[command(override_usage = USAGE)]
pub struct Arguments {
    /// -dump:… or -histo…, then a PID.
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        required = true,
        value_name = "OPTION [PID]"
    )]
    words: Vec<String>,
}

/// What was asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Request {
    Dump {
        objects: Objects,
        file: PathBuf,
        gzip_level: Option<u8>,
    },
    Histogram(Objects),
}

/// Runs it to its end.
#[must_use]
pub fn run(arguments: &Arguments) -> Exit {
    super::end(parse(&arguments.words).and_then(|(request, pid)| carry_out(&request, pid)))
}

fn parse(words: &[String]) -> Result<(Request, Option<&str>), Error> {
    let usage = |text: String| Error::Usage(text);
    let (option, pid) = match words {
        [option] => (option, None),
        [option, pid] => (option, Some(pid.as_str())),
        _ => return Err(usage(format!("jmap takes one option and one PID; {SEE_HELP}"))),
    };
    if let Some(list) = option.strip_prefix("-dump:") {
        return Ok((parse_dump(list)?, pid));
    }
    let request = match option.as_str() {
        "-histo" | "-histo:" | "-histo:all" => Request::Histogram(Objects::All),
        "-histo:live" => Request::Histogram(Objects::Live),
        "-dump" => return Err(usage(format!("jmap -dump needs a file; {SEE_HELP}"))),
        other => return Err(usage(format!("jmap does not know {other:?}; {SEE_HELP}"))),
    };
    Ok((request, pid))
}

fn parse_dump(list: &str) -> Result<Request, Error> {
    let mut objects = Objects::All;
    let mut file = None;
    let mut gzip_level = None;
    for part in list.split(',') {
        match part.split_once('=') {
            None if part == "live" => objects = Objects::Live,
            None if part == "all" => objects = Objects::All,
            Some(("format", "b")) => {}
            Some(("file", path)) if !path.is_empty() => file = Some(PathBuf::from(path)),
            Some(("gz", level)) => {
                let level = level.parse().ok().filter(|level| (1..=9).contains(level));
                gzip_level = Some(level.ok_or_else(|| Error::Usage("gz is a level from 1 to 9".to_owned()))?);
            }
            _ => {
                return Err(Error::Usage(format!(
                    "jmap -dump does not know {part:?}; {SEE_HELP}"
                )));
            }
        }
    }
    let file = file.ok_or_else(|| Error::Usage(format!("jmap -dump needs file=FILE; {SEE_HELP}")))?;
    Ok(Request::Dump {
        objects,
        file,
        gzip_level,
    })
}

fn carry_out(request: &Request, pid: Option<&str>) -> Result<(), Error> {
    match request {
        Request::Histogram(objects) => {
            super::print(&super::choose(pid)?.histogram(*objects)?)?;
        }
        Request::Dump {
            objects,
            file,
            gzip_level,
        } => {
            let mut stdout = io::stdout().lock();
            let jvm = super::choose(pid)?;
            // A relative name is the JVM's to resolve, in a directory of its own; people mean theirs.
            let file = std::path::absolute(file)
                .map_err(|error| Error::Usage(format!("cannot make {} absolute: {error}", file.display())))?;
            // The dump is what was asked for, not these lines: it is taken though nobody reads them.
            let _ = writeln!(stdout, "Dumping heap to {} ...", file.display()).and_then(|()| stdout.flush());
            let dump = jvm.dump_heap(&file, *objects, *gzip_level, None)?;
            let _ = writeln!(stdout, "{}", created(&file, &dump)).and_then(|()| stdout.flush());
        }
    }
    Ok(())
}

fn created(file: &Path, dump: &Dump) -> String {
    let Dump { size, took } = dump;
    let seconds = took.as_secs_f64();
    match size {
        Some(size) => format!(
            "Heap dump file created [{}: {} bytes in {seconds:.3} secs]",
            file.display(),
            size.0
        ),
        None => format!(
            "Heap dump file created [{}: taken away already, in {seconds:.3} secs]",
            file.display()
        ),
    }
}

const USAGE: &str = "heapship-agent jmap -dump:[live,|all,]format=b,file=FILE[,gz=1..9] [PID|auto]
       heapship-agent jmap -histo[:live|:all] [PID|auto]";
const SEE_HELP: &str = "see `heapship-agent jmap --help`";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn understands_what_the_jdks_own_tool_understands() {
        let dump = |objects, gzip_level| Request::Dump {
            objects,
            file: "/d/a.hprof".into(),
            gzip_level,
        };
        for (line, request, pid) in [
            (
                "-dump:live,format=b,file=/d/a.hprof 7",
                dump(Objects::Live, None),
                Some("7"),
            ),
            (
                "-dump:all,format=b,file=/d/a.hprof 7",
                dump(Objects::All, None),
                Some("7"),
            ),
            ("-dump:format=b,file=/d/a.hprof", dump(Objects::All, None), None),
            (
                "-dump:file=/d/a.hprof,gz=1 auto",
                dump(Objects::All, Some(1)),
                Some("auto"),
            ),
            ("-histo 7", Request::Histogram(Objects::All), Some("7")),
            ("-histo:all 7", Request::Histogram(Objects::All), Some("7")),
            ("-histo:live", Request::Histogram(Objects::Live), None),
        ] {
            assert_eq!(parse(&words(line)).unwrap(), (request, pid), "{line}");
        }
    }

    #[test]
    fn what_it_does_not_know_is_a_wrong_usage() {
        for line in [
            "-dump 7",
            "-dump:live 7",
            "-dump:file= 7",
            "-dump:format=a,file=x 7",
            "-dump:file=x,gz=0 7",
            "-dump:file=x,gz=10 7",
            "-histo:dead 7",
            "-clstats 7",
            "-histo 7 8",
        ] {
            assert_eq!(parse(&words(line)).unwrap_err().exit(), Exit::Usage, "{line}");
        }
    }

    proptest! {
        #[test]
        fn no_words_make_it_panic(words in proptest::collection::vec("(-dump:|-histo)?[a-z=,:0-9]{0,20}", 0..4)) {
            let _ = parse(&words);
        }
    }
}
