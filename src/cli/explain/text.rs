//! An explanation for a person.

use std::fmt;

use super::{Environment, Explanation, Setting};

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            object,
            namespace,
            decision: _,
            reason,
            message,
            policy,
            settings,
            changes,
            environment,
            steps,
            warnings,
        } = self;
        writeln!(f, "{object} in namespace {namespace}")?;
        writeln!(
            f,
            "  {message}{}",
            reason.map(|code| format!(" ({code})")).unwrap_or_default()
        )?;
        match policy {
            Some(name) => writeln!(f, "  the policy {name} applies")?,
            None => writeln!(f, "  no policy applies")?,
        }
        section(
            f,
            "Settings that somebody wrote; all others are built in",
            &aligned(settings),
        )?;
        section(f, "Steps", steps)?;
        section(f, "What changes", changes)?;
        for Environment { container, variables } in environment {
            section(
                f,
                &format!("What the JVM in container {container} will see"),
                variables,
            )?;
        }
        section(f, "Attention", warnings)
    }
}

fn section(f: &mut fmt::Formatter<'_>, title: &str, lines: &[String]) -> fmt::Result {
    if lines.is_empty() {
        return Ok(());
    }
    writeln!(f, "\n  {title}:")?;
    lines.iter().try_for_each(|line| writeln!(f, "    {line}"))
}

fn aligned(settings: &[Setting]) -> Vec<String> {
    let width = |text: fn(&Setting) -> &str| {
        settings
            .iter()
            .map(|s| text(s).chars().count())
            .max()
            .unwrap_or(0)
    };
    let (first, second) = (
        width(|setting| &setting.annotation),
        width(|setting| &setting.value),
    );
    let line = |Setting {
                    annotation,
                    value,
                    from,
                }: &Setting| format!("{annotation:first$}  {value:second$}  from {from}");
    settings.iter().map(line).collect()
}
