//! What a `java` command line says: options, main class, arguments. Used where the JVM publishes no counters.

use std::ffi::OsString;

/// A command line of the `java` launcher, taken apart.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Launch {
    /// For the JVM and the launcher, in their order.
    pub options: Vec<String>,
    /// Main class, `module/class`, or jar.
    pub main: Option<String>,
    /// For the program.
    pub arguments: Vec<String>,
}

impl Launch {
    /// Reads the entries of `/proc/PID/cmdline`, the executable first.
    #[must_use]
    pub fn parse(command_line: &[OsString]) -> Self {
        let mut words = command_line
            .iter()
            .skip(1)
            .map(|word| word.to_string_lossy().into_owned());
        let mut launch = Self::default();
        while let Some(word) = words.next() {
            if matches!(word.as_str(), "-jar" | "-m" | "--module") {
                launch.main = words.next();
                break;
            }
            if let Some(module) = word.strip_prefix("--module=") {
                launch.main = Some(module.to_owned());
                break;
            }
            let takes_value = TAKE_A_VALUE.contains(&word.as_str());
            if word.starts_with('-') || word.starts_with('@') {
                launch.options.push(word);
                if takes_value {
                    launch.options.extend(words.next());
                }
            } else {
                launch.main = Some(word);
                break;
            }
        }
        launch.arguments = words.collect();
        launch
    }
}

/// Whether the last word about `-XX:[+-]DisableAttachMechanism` switches it off. `sources` run from weak to strong.
#[must_use]
pub fn attach_disabled<'a>(sources: impl IntoIterator<Item = &'a str>) -> bool {
    let mut disabled = false;
    for option in sources {
        match option {
            "-XX:+DisableAttachMechanism" => disabled = true,
            "-XX:-DisableAttachMechanism" => disabled = false,
            _ => {}
        }
    }
    disabled
}

/// Options of the launcher whose value is a word of its own (`java --help`, 8 to 25).
const TAKE_A_VALUE: &[&str] = &[
    "-cp",
    "-classpath",
    "--class-path",
    "-p",
    "--module-path",
    "--upgrade-module-path",
    "--add-modules",
    "--limit-modules",
    "--add-exports",
    "--add-opens",
    "--add-reads",
    "--patch-module",
    "--enable-native-access",
    "--source",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> Launch {
        Launch::parse(&words.split(' ').map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn finds_the_main_class_behind_the_options() {
        let launch = parse("/opt/java/bin/java -Xmx1g -cp a:b --add-opens x=y com.example.Main one two");
        assert_eq!(launch.main.as_deref(), Some("com.example.Main"));
        assert_eq!(launch.arguments, ["one", "two"]);
        assert_eq!(launch.options, ["-Xmx1g", "-cp", "a:b", "--add-opens", "x=y"]);
    }

    #[test]
    fn knows_jars_and_modules() {
        assert_eq!(parse("java -jar app.jar -x").main.as_deref(), Some("app.jar"));
        assert_eq!(parse("java -m m/c").main.as_deref(), Some("m/c"));
        assert_eq!(parse("java --module=m/c a").main.as_deref(), Some("m/c"));
        assert_eq!(parse("java -version").main, None);
        assert_eq!(Launch::parse(&[]), Launch::default());
    }

    #[test]
    fn the_last_word_about_attaching_counts() {
        let disable = "-XX:+DisableAttachMechanism";
        assert!(attach_disabled(["-Xmx1g", disable]));
        assert!(!attach_disabled([disable, "-XX:-DisableAttachMechanism"]));
        assert!(!attach_disabled([]));
    }
}
