//! Flags of a running JVM.

use super::{Error, Jvm};

/// What is wanted of a flag.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Flag {
    /// Its value.
    Show(String),
    /// Another value: `true` and `false` for those that are on or off.
    Set(String, String),
}

impl Flag {
    /// Reads `NAME`, `+NAME`, `-NAME`, `NAME=VALUE`, as the JDK's `jinfo -flag` does.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (name, value) = if let Some(name) = text.strip_prefix('+') {
            (name, Some("true"))
        } else if let Some(name) = text.strip_prefix('-') {
            (name, Some("false"))
        } else {
            match text.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (text, None),
            }
        };
        let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        is_name.then(|| match value {
            Some(value) => Self::Set(name.to_owned(), value.to_owned()),
            None => Self::Show(name.to_owned()),
        })
    }
}

impl Jvm {
    /// `-XX:+NAME` or `-XX:NAME=VALUE` and a line's end, as the JVM prints it.
    ///
    /// # Errors
    /// [`Error::NoSuchFlag`], and those of attaching.
    pub fn flag(&self, name: &str) -> Result<String, Error> {
        let reply = self.execute("printflag", [name.as_bytes(), b"", b""], None)?;
        // The code is 0 either way (11 to 25).
        if reply.code == 0 && reply.text.starts_with("-XX:") {
            Ok(reply.text)
        } else {
            Err(Error::NoSuchFlag {
                pid: self.pid,
                name: name.to_owned(),
            })
        }
    }

    /// Sets a manageable flag. On or off are `true` and `false`; for the JVM they are numbers.
    ///
    /// # Errors
    /// [`Error::NoSuchFlag`]; [`Error::Refused`] with the JVM's reason: not manageable, no value of its kind.
    pub fn set_flag(&self, name: &str, value: &str) -> Result<(), Error> {
        let now = self.flag(name)?;
        let on_or_off = now.starts_with("-XX:+") || now.starts_with("-XX:-");
        let value = match value {
            "true" if on_or_off => "1",
            "false" if on_or_off => "0",
            other => other,
        };
        let reply = self.execute("setflag", [name.as_bytes(), value.as_bytes(), b""], None)?;
        if reply.code == 0 {
            Ok(())
        } else {
            Err(self.refused(&reply))
        }
    }
}
