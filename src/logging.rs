//! Logs: one line an event on standard error, JSON in a cluster, text at a terminal.

use std::fmt::Write as _;
use std::io::IsTerminal;
use std::str::FromStr;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, clap::ValueEnum)]
pub enum Format {
    /// Text at a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// What is logged: levels and `module=level`, separated by commas, such as `info,object_store=warn`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Filter(String);

/// A text that is no [`Filter`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is neither error, warn, info, debug, trace or off nor module=level")]
pub struct InvalidFilter(String);

impl FromStr for Filter {
    type Err = InvalidFilter;

    fn from_str(text: &str) -> Result<Self, InvalidFilter> {
        for part in text.split(',') {
            // To tracing, a word without a level is a module's name: `inof` would silence everything else.
            let level = part.rsplit_once('=').map_or(part, |(_, level)| level);
            if level.is_empty() || level.parse::<LevelFilter>().is_err() {
                return Err(InvalidFilter(part.to_owned()));
            }
        }
        match EnvFilter::try_new(text) {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(_) => Err(InvalidFilter(text.to_owned())),
        }
    }
}

/// One line: the error, then what caused it. A cause that the line ends with already is not repeated: some crates write
/// theirs into the error's own text.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !line.ends_with(&text) {
            let _ = write!(line, ": {text}");
        }
        cause = error.source();
    }
    line
}

/// Installs the process's subscriber.
///
/// A second call changes nothing: tests start several servers in one process.
pub fn init(format: Format, Filter(filter): &Filter) {
    let filter = EnvFilter::new(filter);
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false);
    let json = match format {
        Format::Json => true,
        Format::Text => false,
        Format::Auto => !std::io::stderr().is_terminal(),
    };
    let installed = if json {
        builder
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .try_init()
    } else {
        builder.try_init()
    };
    // The only error is "already installed".
    drop(installed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_made_of_levels() {
        for text in [
            "info",
            "off",
            "WARN",
            "info,object_store=warn",
            "heapship::ship=trace,error",
        ] {
            assert_eq!(text.parse(), Ok(Filter(text.to_owned())));
        }
        for (text, part) in [
            ("inof", "inof"),
            ("", ""),
            ("info,", ""),
            ("info,heapship", "heapship"),
            ("heapship=loud", "heapship=loud"),
            ("heapship=", "heapship="),
            ("[=info", "[=info"),
        ] {
            assert_eq!(
                text.parse::<Filter>(),
                Err(InvalidFilter(part.to_owned())),
                "{text}"
            );
        }
    }
}
