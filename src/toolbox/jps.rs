//! `jps`: the JVMs that this user may look into.

use std::io::{self, Write as _};

use super::Error;
use crate::attach::{self, Jvm};
use crate::exit::Exit;

/// Lists the JVMs of this container: PID, main class or jar.
#[derive(Debug, clap::Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "flags of a command line, independent of each other"
)]
pub struct Arguments {
    /// Full name of the main class, or full path of the jar.
    #[arg(short)]
    long: bool,
    /// Arguments of the program.
    #[arg(short = 'm')]
    program: bool,
    /// Options of the JVM.
    #[arg(short)]
    vm_options: bool,
    /// PIDs only.
    #[arg(short)]
    quiet: bool,
}

/// Runs it to its end.
#[must_use]
pub fn run(arguments: &Arguments) -> Exit {
    super::end(list(arguments))
}

fn list(arguments: &Arguments) -> Result<(), Error> {
    let mut stdout = io::stdout().lock();
    for jvm in Jvm::all().map_err(Error::Processes)? {
        writeln!(stdout, "{}", line(&jvm, arguments)).map_err(Error::Output)?;
    }
    stdout.flush().map_err(Error::Output)
}

/// As a list of choices shows it.
pub(super) fn short(jvm: &Result<Jvm, attach::Error>) -> String {
    line(
        jvm,
        &Arguments {
            long: true,
            program: false,
            vm_options: false,
            quiet: false,
        },
    )
}

fn line(jvm: &Result<Jvm, attach::Error>, arguments: &Arguments) -> String {
    let Arguments {
        long,
        program,
        vm_options,
        quiet,
    } = arguments;
    let jvm = match jvm {
        Ok(jvm) => jvm,
        Err(attach::Error::OpenJ9 { pid } | attach::Error::Closed { pid, .. }) if *quiet => {
            return pid.to_string();
        }
        Err(attach::Error::Closed { pid, .. }) => {
            return format!("{pid} -- cannot be looked into: not served");
        }
        Err(attach::Error::OpenJ9 { pid }) => return format!("{pid} -- OpenJ9: not served"),
        Err(error) => return format!("-- {error}"),
    };
    if *quiet {
        return jvm.pid.to_string();
    }
    let (main, for_program) = jvm.command();
    let mut words = vec![
        jvm.pid.to_string(),
        if *long { main } else { base_name(&main).to_owned() },
    ];
    words.extend(program.then_some(for_program).filter(|text| !text.is_empty()));
    words.extend(vm_options.then(|| jvm.options()).filter(|text| !text.is_empty()));
    words.join(" ")
}

/// Class without package, jar without folders.
fn base_name(main: &str) -> &str {
    let file = main.rsplit('/').next().unwrap_or(main);
    if std::path::Path::new(file)
        .extension()
        .is_some_and(|extension| extension == "jar")
    {
        return file;
    }
    file.rsplit('.').next().unwrap_or(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_unless_asked_for() {
        assert_eq!(base_name("com.example.Main"), "Main");
        assert_eq!(base_name("/app/lib/app.jar"), "app.jar");
        assert_eq!(base_name("module/com.example.Main"), "Main");
        assert_eq!(base_name("Main"), "Main");
    }
}
