//! An account for a tired person: the answer first, then where from, then what to do.

use std::fmt;

use super::Account;

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            pod,
            namespace,
            workload,
            phase,
            node,
            injection: _,
            message,
            reason,
            asked_by,
            policy,
            containers,
            dumps,
            agents,
            shipped,
            attention,
            next,
        } = self;
        let of = workload
            .as_ref()
            .map(|workload| format!(", of {workload}"))
            .unwrap_or_default();
        let on = node
            .as_ref()
            .map(|node| format!(" on {node}"))
            .unwrap_or_default();
        writeln!(f, "Pod/{pod} in namespace {namespace}{of}: {phase}{on}")?;
        let code = reason
            .as_ref()
            .map(|code| format!(" ({code})"))
            .unwrap_or_default();
        writeln!(f, "  {message}{code}")?;
        let asked = asked_by.as_deref().unwrap_or("nobody");
        let policy = policy
            .as_deref()
            .map_or("no policy applies".to_owned(), |policy| {
                format!("the policy {policy} applies")
            });
        writeln!(f, "  Who asks: {asked}; {policy}")?;
        section(f, "What runs", containers)?;
        section(f, "Where its dumps go", dumps)?;
        section(f, "Agents", agents)?;
        section(f, "Shipped so far, as far as the logs go back", shipped)?;
        section(f, "Attention", attention)?;
        section(f, "What to do", next)
    }
}

fn section(f: &mut fmt::Formatter<'_>, title: &str, lines: &[String]) -> fmt::Result {
    if lines.is_empty() {
        return Ok(());
    }
    writeln!(f, "\n  {title}:")?;
    lines.iter().try_for_each(|line| writeln!(f, "    {line}"))
}
