//! `jinfo`: a JVM's flags, looked at and set while it runs.

use super::Error;
use crate::attach::Flag;
use crate::exit::Exit;

/// Shows or sets one flag of a JVM, as the JDK's jinfo does: `jinfo -flag +HeapDumpOnOutOfMemoryError 1`.
///
/// Only manageable flags can be set: `HeapDumpOnOutOfMemoryError`, `HeapDumpPath`, `MinHeapFreeRatio` and the like. The path
/// is read at the JVM's first dump and not again.
#[derive(Debug, clap::Args)]
#[command(override_usage = "heapship-agent jinfo -flag NAME|+NAME|-NAME|NAME=VALUE [PID|auto]")]
pub struct Arguments {
    /// -flag and the flag, then a PID.
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        required = true,
        value_name = "OPTION [PID]"
    )]
    words: Vec<String>,
}

/// Runs it to its end.
#[must_use]
pub fn run(arguments: &Arguments) -> Exit {
    super::end(parse(&arguments.words).and_then(|(flag, pid)| carry_out(&flag, pid)))
}

fn parse(words: &[String]) -> Result<(Flag, Option<&str>), Error> {
    let (text, pid) = match words {
        [option, text] if option == "-flag" => (text, None),
        [option, text, pid] if option == "-flag" => (text, Some(pid.as_str())),
        _ => return Err(usage("jinfo takes -flag, a flag and one PID")),
    };
    let flag = Flag::parse(text)
        .ok_or_else(|| usage(&format!("{text:?} is not NAME, +NAME, -NAME or NAME=VALUE")))?;
    Ok((flag, pid))
}

fn usage(what: &str) -> Error {
    Error::Usage(format!("{what}; see `heapship-agent jinfo --help`"))
}

fn carry_out(flag: &Flag, pid: Option<&str>) -> Result<(), Error> {
    let jvm = super::choose(pid)?;
    let text = match flag {
        Flag::Show(name) => jvm.flag(name)?,
        Flag::Set(name, value) => {
            jvm.set_flag(name, value)?;
            String::new()
        }
    };
    super::print(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn understands_what_the_jdks_own_tool_understands() {
        let set = |name: &str, value: &str| Flag::Set(name.to_owned(), value.to_owned());
        for (line, flag, pid) in [
            (
                "-flag HeapDumpPath 7",
                Flag::Show("HeapDumpPath".to_owned()),
                Some("7"),
            ),
            (
                "-flag +PrintConcurrentLocks auto",
                set("PrintConcurrentLocks", "true"),
                Some("auto"),
            ),
            (
                "-flag -PrintConcurrentLocks",
                set("PrintConcurrentLocks", "false"),
                None,
            ),
            (
                "-flag HeapDumpPath=/d=x 7",
                set("HeapDumpPath", "/d=x"),
                Some("7"),
            ),
        ] {
            assert_eq!(parse(&words(line)).unwrap(), (flag, pid), "{line}");
        }
    }

    #[test]
    fn what_it_does_not_know_is_a_wrong_usage() {
        for line in [
            "-flags 7",
            "-flag",
            "-flag + 7",
            "-flag =x 7",
            "-flag a b c",
            "-flag a-b 7",
        ] {
            assert_eq!(parse(&words(line)).unwrap_err().exit(), Exit::Usage, "{line}");
        }
    }
}
