//! A small HotSpot: which options a JVM takes from its variables and its command line.

use crate::kubelet::Process;

/// Splits as `Arguments::parse_options_buffer` does; `None` for a quote that is never closed.
pub(crate) fn tokens(text: &str) -> Option<Vec<String>> {
    let mut tokens = Vec::new();
    let mut token: Option<String> = None;
    let mut quote = None;
    for c in text.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => token.get_or_insert_default().push(c),
            None if matches!(c, ' ' | '\t'..='\r') => tokens.extend(token.take()),
            None => {
                let token = token.get_or_insert_default();
                if c == '\'' || c == '"' {
                    quote = Some(c);
                } else {
                    token.push(c);
                }
            }
        }
    }
    tokens.extend(token);
    quote.is_none().then_some(tokens)
}

/// What the JVM makes of the flags that matter here: the last word of the strongest source counts.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Flags {
    pub(crate) dump: bool,
    pub(crate) path: Option<String>,
}

/// The flags of a JVM that is started as the process says, by a launcher that reads `variable`. `None` where it does not
/// start because of a quote.
pub(crate) fn flags(process: &Process, variable: &str) -> Option<Flags> {
    let of = |name: &str| tokens(process.environment.get(name).map_or("", String::as_str));
    let mut all = of(variable)?;
    if variable != "JDK_JAVA_OPTIONS" {
        all.extend(of("JDK_JAVA_OPTIONS")?);
    }
    // What a shell makes of its `-c` text is not known here.
    all.extend(process.command.iter().chain(&process.args).cloned());
    all.extend(of("_JAVA_OPTIONS")?);
    let mut flags = Flags::default();
    for token in all {
        match token.as_str() {
            "-XX:+HeapDumpOnOutOfMemoryError" => flags.dump = true,
            "-XX:-HeapDumpOnOutOfMemoryError" => flags.dump = false,
            _ => {
                if let Some(path) = token.strip_prefix("-XX:HeapDumpPath=") {
                    flags.path = Some(path.to_owned());
                }
            }
        }
    }
    Some(flags)
}

/// Whether JDK 8 reads a variable whole: its buffer has 1024 bytes with the NUL, its table 64 options.
pub(crate) fn jdk_8_reads(text: &str) -> bool {
    text.len() < 1024 && tokens(text).is_some_and(|tokens| tokens.len() <= 64)
}

#[test]
fn splits_as_hotspot_does() {
    assert_eq!(
        tokens(" -Da='b c'\u{b}-X\"d'e\" '' ").unwrap(),
        ["-Da=b c", "-Xd'e", ""]
    );
    assert_eq!(tokens("-Da='b"), None);
}
