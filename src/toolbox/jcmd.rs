//! `jcmd`: diagnostic commands, and the counters that a JVM publishes.

use super::{Error, jps};
use crate::attach::Jvm;
use crate::exit::Exit;

/// Runs a diagnostic command in a JVM, as the JDK's jcmd does: `jcmd 1 GC.heap_info`, `jcmd auto VM.flags -all`.
///
/// `help` lists what a JVM knows. `PerfCounter.print` shows the counters that it publishes, without attaching. Without a
/// command the JVMs are listed.
#[derive(Debug, clap::Args)]
#[command(override_usage = "heapship-agent jcmd [PID|auto COMMAND [ARGUMENT…]]")]
pub struct Arguments {
    /// A PID, or `auto` where there is only one JVM; then the command with its arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

/// Runs it to its end.
#[must_use]
pub fn run(arguments: &Arguments) -> Exit {
    super::end(carry_out(&arguments.words))
}

fn carry_out(words: &[String]) -> Result<(), Error> {
    let text = match words {
        [] => listed()?,
        [option] if option == "-l" => listed()?,
        [pid, command @ ..] => {
            let jvm = super::choose(Some(pid))?;
            let answer = match command {
                [] => jvm.diagnose("help", None)?,
                [command] if command == "PerfCounter.print" => counters(&jvm)?,
                command => jvm.diagnose(&command.join(" "), None)?,
            };
            format!("{}:\n{answer}", jvm.pid)
        }
    };
    super::print(&text)
}

fn listed() -> Result<String, Error> {
    let jvms = Jvm::all().map_err(Error::Processes)?;
    Ok(jvms.iter().map(|jvm| jps::short(jvm) + "\n").collect())
}

fn counters(jvm: &Jvm) -> Result<String, Error> {
    let counters = jvm.counters.as_ref().ok_or(Error::NoCounters { pid: jvm.pid })?;
    Ok(counters.to_string())
}
