//! What was found, for a person and for a program.

use std::fmt;

use serde::Serialize;
use serde_json::{Value, json};

use crate::cli::live::Refusal;

/// How bad it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Level {
    /// As it should be.
    Ok,
    /// It works, and somebody should know.
    Warning,
    /// Dumps are lost, or pods are missed.
    Fault,
    /// Nobody looked, and the text says why.
    NotChecked,
}

/// One finding.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub(super) struct Line {
    /// How bad it is.
    pub(super) level: Level,
    /// One sentence.
    pub(super) text: String,
    /// What to do, as a command where one does it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) remedies: Vec<String>,
}

/// The findings about one thing.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub(super) struct Section {
    /// The thing.
    pub(super) name: &'static str,
    /// At least one.
    pub(super) lines: Vec<Line>,
}

/// All findings.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Report(pub(super) Vec<Section>);

impl Line {
    /// As it should be.
    #[must_use]
    pub(super) fn ok(text: impl Into<String>) -> Self {
        Self::new(Level::Ok, text)
    }

    /// It works, and somebody should know.
    #[must_use]
    pub(super) fn warning(text: impl Into<String>) -> Self {
        Self::new(Level::Warning, text)
    }

    /// A fault, always with what to do about it.
    #[must_use]
    pub(super) fn fault(text: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(Level::Fault, text).remedy(remedy)
    }

    /// Nobody looked.
    #[must_use]
    pub(super) fn not_checked(text: impl Into<String>) -> Self {
        Self::new(Level::NotChecked, text)
    }

    /// What could not be read, and the role that reads it.
    #[must_use]
    pub(super) fn unread(what: &str, refusal: &Refusal, role: &str) -> Self {
        let line = Self::not_checked(format!("{what}: {refusal}"));
        match refusal {
            Refusal::Forbidden(_) => line.remedy(format!("ask for the ClusterRole {role}")),
            Refusal::Absent | Refusal::Unauthorized(_) | Refusal::Unreachable(_) | Refusal::Refused(_) => {
                line
            }
        }
    }

    /// A finding of a level that was decided elsewhere.
    #[must_use]
    pub(super) fn of(level: Level, text: impl Into<String>) -> Self {
        Self::new(level, text)
    }

    /// How much it matters.
    #[must_use]
    pub(super) fn level(&self) -> Level {
        self.level
    }

    /// Adds something to do.
    #[must_use]
    pub(super) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedies.push(remedy.into());
        self
    }

    fn new(level: Level, text: impl Into<String>) -> Self {
        Self {
            level,
            text: text.into(),
            remedies: Vec::new(),
        }
    }
}

impl Report {
    /// How many findings are of a level.
    #[must_use]
    pub(super) fn count(&self, level: Level) -> usize {
        let lines = self.0.iter().flat_map(|section| &section.lines);
        lines.filter(|line| line.level == level).count()
    }

    /// For a program.
    #[must_use]
    pub(super) fn to_json(&self) -> Value {
        json!({
            "faults": self.count(Level::Fault),
            "warnings": self.count(Level::Warning),
            "notChecked": self.count(Level::NotChecked),
            "sections": self.0,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Section { name, lines } in &self.0 {
            writeln!(f, "{name}")?;
            for (index, line) in lines.iter().enumerate() {
                let Line {
                    level,
                    text,
                    remedies,
                } = line;
                writeln!(f, "  {:12} {text}", level.to_string())?;
                // What helps against several findings in a row is said once, behind the last of them.
                let again = lines
                    .get(index + 1)
                    .is_some_and(|next| next.remedies == *remedies);
                for remedy in remedies.iter().filter(|_| !again) {
                    writeln!(f, "  {:12}   -> {remedy}", "")?;
                }
            }
        }
        let count = |level, one: &str, many: &str| match self.count(level) {
            1 => format!("1 {one}"),
            n => format!("{n} {many}"),
        };
        writeln!(
            f,
            "\n{}, {}, {} not checked",
            count(Level::Fault, "fault", "faults"),
            count(Level::Warning, "warning", "warnings"),
            self.count(Level::NotChecked)
        )
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Fault => "FAULT",
            Self::NotChecked => "not checked",
        })
    }
}
