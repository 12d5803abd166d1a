//! What a running JVM was given, and what it made of it.

use super::form::Form;

const ON: &str = "-XX:+HeapDumpOnOutOfMemoryError";

/// Told by the JVM itself.
pub struct Evidence {
    /// Every option that it was given, by whatever way.
    pub given: Vec<String>,
    /// What holds.
    pub flags: String,
}

impl Evidence {
    /// The output of `Options` under `-XX:+PrintCommandLineFlags`.
    pub fn of_log(log: &str) -> Self {
        let flags = log.lines().find(|line| line.starts_with("-XX:"));
        let given = log.lines().filter_map(|line| line.strip_prefix("given: "));
        Self {
            given: given.map(str::to_owned).collect(),
            flags: flags.unwrap_or_default().to_owned(),
        }
    }

    /// The answer to `VM.flags` and `VM.command_line`; nothing while the JVM does not answer.
    pub fn of_jcmd(answer: &str) -> Option<Self> {
        let flags = answer.lines().find(|line| line.starts_with("-XX:"))?;
        let arguments = answer.lines().find_map(|line| line.strip_prefix("jvm_args: "))?;
        Some(Self {
            given: arguments.split_whitespace().map(str::to_owned).collect(),
            flags: flags.to_owned(),
        })
    }

    /// What is not as the form wants it.
    pub fn faults(&self, form: &Form, container: &str) -> Vec<String> {
        let mut faults = Vec::new();
        if form.without.iter().any(|name| name == container) {
            if self.flags.contains("HeapDump") {
                faults.push(format!(
                    "container {container} was not chosen and has {}",
                    self.flags
                ));
            }
            return faults;
        }
        let path = format!("-XX:HeapDumpPath={}", form.dumps);
        for flag in [ON, &path] {
            if !self.flags.split_whitespace().any(|found| found == flag) {
                faults.push(format!(
                    "container {container}: {flag} does not hold: {}",
                    self.flags
                ));
            }
        }
        for option in &form.jvm {
            if !self.given.contains(option) {
                faults.push(format!(
                    "container {container}: {option} did not arrive: {:?}",
                    self.given
                ));
            }
        }
        faults
    }
}
