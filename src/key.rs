//! Object keys.
//!
//! Placeholder for the ship branch's file.

use std::fmt;

/// A validated template of an object key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyTemplate(String);

impl KeyTemplate {
    /// The template used unless someone sets another one.
    pub const DEFAULT: &'static str =
        "{cluster}/{namespace}/{workload}/{pod}/{container}/{time}-{reason}.hprof";

    /// Parses a template.
    pub fn parse(text: &str) -> Result<Self, String> {
        Ok(Self(text.to_owned()))
    }

    /// Whether a placeholder is used.
    #[must_use]
    pub fn uses(&self, placeholder: &str) -> bool {
        self.0.contains(&format!("{{{placeholder}}}"))
    }
}

impl fmt::Display for KeyTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Default for KeyTemplate {
    fn default() -> Self {
        Self(Self::DEFAULT.to_owned())
    }
}
