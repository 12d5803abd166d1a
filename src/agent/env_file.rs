//! Variables in the form that the kubelet reads back (`valueFrom.fileKeyRef`).
//!
//! A line `NAME='value'` each, without any escape: a value with a `'` in it cannot be written as it is. Where a JVM reads the
//! value, `"` does as well, unless both are needed. The parser is `pkg/kubelet/util/env` of Kubernetes 1.36: it goes line by
//! line, drops a carriage return before a line's end, gives up on a line of 64 KiB, and a file that it cannot parse holds the
//! container for ever. Whatever is not certain to come back is left out.

use std::ffi::OsStr;

use crate::option_tokens::tokenise;

/// Variables that HotSpot itself reads; any other is split by whatever rules its launcher has.
const READ_BY_THE_JVM: [&str; 2] = ["JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS"];
/// The longest value (KEP-3721).
const LONGEST_VALUE: usize = 32 << 10;
/// The longest file (KEP-3721).
const LONGEST_FILE: usize = 64 << 10;

/// Why a variable was left out.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unfit {
    /// A container's environment goes through the API of the runtime, which takes text.
    #[error("its value is not UTF-8")]
    NotText,
    /// The kubelet has limits.
    #[error("{0} bytes are more than the kubelet reads")]
    TooLong(usize),
    /// An env file has no escapes.
    #[error("its value needs both kinds of quotes, or a ' where other rules than the JVM's hold")]
    Quotes,
    /// Not what an image can set, or not what a file can hold.
    #[error("that is no name of a variable")]
    NotAName,
}

/// An env file in the making: valid at any moment.
#[derive(Clone, Debug, Default)]
pub struct EnvFile(String);

impl EnvFile {
    /// Adds a variable. An empty value needs no line: to the kubelet it is as good as none.
    ///
    /// # Errors
    /// [`Unfit`]: nothing was added.
    pub fn add(&mut self, name: &str, value: &OsStr) -> Result<(), Unfit> {
        let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        if name.is_empty() || !name.chars().all(fine) {
            return Err(Unfit::NotAName);
        }
        let text = value.to_str().ok_or(Unfit::NotText)?;
        let written = written(name, text)?;
        let line = format!("{name}='{written}'\n");
        if written.len() > LONGEST_VALUE || self.0.len() + line.len() > LONGEST_FILE {
            return Err(Unfit::TooLong(written.len()));
        }
        if !written.is_empty() {
            self.0.push_str(&line);
        }
        Ok(())
    }

    /// The file's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The value without a `'`, which means the same once the kubelet has read it.
fn written(name: &str, text: &str) -> Result<String, Unfit> {
    let written = if text.contains('\'') {
        requoted(text).ok_or(Unfit::Quotes)?
    } else {
        text.to_owned()
    };
    let read = written.replace("\r\n", "\n");
    let alike = || READ_BY_THE_JVM.contains(&name) && tokenise(&read) == tokenise(text);
    if read == text || alike() {
        Ok(written)
    } else {
        Err(Unfit::Quotes)
    }
}

/// `"` in place of every `'` that quotes; `None` where either stands inside of the other, or is never closed.
fn requoted(text: &str) -> Option<String> {
    let mut written = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['\'', '"']) {
        let (before, quoted) = rest.split_at(at);
        let mut characters = quoted.chars();
        let quote = characters.next()?;
        let (inner, behind) = characters.as_str().split_once(quote)?;
        if inner.contains(['\'', '"']) {
            // A " within "…" cannot be; what is left is one kind that is needed by itself.
            return None;
        }
        written.push_str(before);
        written.push('"');
        written.push_str(inner);
        written.push('"');
        rest = behind;
    }
    written.push_str(rest);
    Some(written)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(name: &str, value: &str) -> Result<String, Unfit> {
        let mut file = EnvFile::default();
        file.add(name, OsStr::new(value)).map(|()| file.0)
    }

    /// `ParseEnv` of `pkg/kubelet/util/env/env_util.go` at v1.36.3, statement by statement.
    fn parse_as_the_kubelet_does(text: &str, key: &str) -> Result<String, String> {
        const MOST: usize = 64 * 1024;
        let mut lines = text.split_inclusive('\n').map(|line| {
            let line = line.strip_suffix('\n').unwrap_or(line);
            (line.len() < MOST)
                .then(|| line.strip_suffix('\r').unwrap_or(line))
                .ok_or_else(|| "token too long".to_owned())
        });
        while let Some(line) = lines.next() {
            let line = line?.trim_start_matches([' ', '\t']);
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, value) = line.split_once('=').ok_or("missing '='")?;
            if name.is_empty() || name.ends_with([' ', '\t']) {
                return Err("variable name".into());
            }
            if value.starts_with([' ', '\t']) {
                if name == key {
                    return Ok(String::new());
                }
                continue;
            }
            let mut rest = value.strip_prefix('\'').ok_or("not in single quotes")?;
            let mut found = String::new();
            loop {
                if let Some((inner, behind)) = rest.split_once('\'') {
                    found.push_str(inner);
                    let behind = behind.trim_start_matches([' ', '\t']);
                    if !behind.is_empty() && !behind.starts_with('#') {
                        return Err("unexpected content after closing quote".into());
                    }
                    if name == key {
                        return Ok(found);
                    }
                    break;
                }
                found.push_str(rest);
                found.push('\n');
                rest = lines.next().ok_or("unclosed single quote")??;
            }
        }
        Ok(String::new())
    }

    #[test]
    fn single_quotes_become_double_ones_where_the_jvm_reads_the_same() {
        let jvm = |value| file("JAVA_TOOL_OPTIONS", value);
        assert_eq!(jvm("-Xss1m").unwrap(), "JAVA_TOOL_OPTIONS='-Xss1m'\n");
        assert_eq!(
            jvm("-Dfrom.image='a b' -Db=\"c d\"").unwrap(),
            "JAVA_TOOL_OPTIONS='-Dfrom.image=\"a b\" -Db=\"c d\"'\n"
        );
        assert_eq!(jvm("-Da='say \"hi\"'"), Err(Unfit::Quotes));
        assert_eq!(jvm("-Da=\"it's\""), Err(Unfit::Quotes));
        assert_eq!(jvm("it's"), Err(Unfit::Quotes), "no JVM starts with that");
        assert_eq!(jvm(""), Ok(String::new()));
        // A shell would expand in double quotes what stands in single ones.
        assert_eq!(file("ES_JAVA_OPTS", "-Da='$x'"), Err(Unfit::Quotes));
        assert!(file("ES_JAVA_OPTS", "-Da=\"$x\"").is_ok());
    }

    #[test]
    fn carriage_returns_that_the_kubelet_drops_matter_only_in_quotes() {
        assert!(file("JAVA_TOOL_OPTIONS", "-Da=b\r\n-Dc=d").is_ok());
        assert_eq!(file("JAVA_TOOL_OPTIONS", "-Da=\"b\r\nc\""), Err(Unfit::Quotes));
        assert_eq!(file("ES_JAVA_OPTS", "-Da=b\r\n-Dc=d"), Err(Unfit::Quotes));
    }

    #[test]
    fn what_the_kubelet_or_the_runtime_cannot_take_is_left_out_and_the_rest_stays() {
        use std::os::unix::ffi::OsStrExt as _;

        let mut file = EnvFile::default();
        let long = "x".repeat(LONGEST_VALUE);
        file.add("A", OsStr::new(&long)).unwrap();
        let longer = format!("{long}x");
        assert_eq!(
            file.add("B", OsStr::new(&longer)),
            Err(Unfit::TooLong(longer.len()))
        );
        assert_eq!(
            file.add("B", OsStr::new(&long)),
            Err(Unfit::TooLong(long.len())),
            "both are more than a file may hold"
        );
        assert_eq!(file.add("C", OsStr::from_bytes(b"\xff")), Err(Unfit::NotText));
        assert_eq!(file.add("D E", OsStr::new("x")), Err(Unfit::NotAName));
        file.add("F", OsStr::new("last")).unwrap();
        assert_eq!(parse_as_the_kubelet_does(file.as_str(), "A"), Ok(long));
        assert_eq!(parse_as_the_kubelet_does(file.as_str(), "F").unwrap(), "last");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_the_jvm_reads_stays_or_is_left_out(
            first in "([-a='\"# \t\r\n\u{b}]|=|\\\\|ä|\\$\\(A\\)){0,24}",
            second in any::<String>(),
        ) {
            let mut file = EnvFile::default();
            let values = [("_JAVA_OPTIONS", second.replace('\0', "")), ("JAVA_TOOL_OPTIONS", first)];
            let added = values.clone().map(|(name, value)| file.add(name, OsStr::new(&value)).is_ok());
            for ((name, value), added) in values.into_iter().zip(added) {
                // Whatever else is in it, the file can be parsed.
                let read = parse_as_the_kubelet_does(file.as_str(), name).unwrap();
                if added {
                    prop_assert_eq!(tokenise(&read), tokenise(&value), "{:?} was read as {:?}", value, read);
                } else {
                    prop_assert_eq!(read, "");
                }
            }
        }

        #[test]
        fn what_others_read_comes_back_as_it_is_or_is_left_out(value in "([-a='\"# \t\r\n]|ä){0,24}") {
            let mut file = EnvFile::default();
            if file.add("JAVA_OPTS", OsStr::new(&value)).is_ok() {
                prop_assert_eq!(parse_as_the_kubelet_does(file.as_str(), "JAVA_OPTS").unwrap(), value);
            }
        }
    }
}
