//! Do the namespaces that ask carry the label by which the API server selects?

use super::found::{Found, Listed};
use super::report::{Line, Section};
use crate::admission::label;
use crate::names;

pub(super) fn judge(found: &Found) -> Section {
    Section {
        name: "namespaces",
        lines: lines(found),
    }
}

fn lines(found: &Found) -> Vec<Line> {
    let listed = match &found.namespaces {
        Ok(listed) => listed,
        Err(refusal) => return vec![Line::unread("the namespaces", refusal, names::VIEWER_ROLE)],
    };
    let Ok(policies) = &found.installation.policies else {
        return vec![Line::not_checked(
            "which namespaces ask: the policies could not be read",
        )];
    };
    let asks = |Listed { namespace, .. }: &Listed| {
        let name = &namespace.name;
        let excluded =
            names::SYSTEM_NAMESPACES.contains(&name.as_str()) || *name == found.installation.namespace;
        !excluded && label::is_wanted(namespace, policies)
    };
    let mut lines = Vec::new();
    let asking = listed.iter().filter(|namespace| asks(namespace)).count();
    for namespace in listed {
        let name = &namespace.namespace.name;
        match (asks(namespace), namespace.labelled) {
            (true, false) => lines.push(Line::fault(
                format!(
                    "{name} asks and lacks the label {}={}: its pods are not sent to the webhook, which has not seen it",
                    names::INJECTION_LABEL,
                    names::INJECTION_ENABLED
                ),
                format!(
                    "kubectl label namespace {name} {}={}   # the webhook does it itself while it runs: see its log",
                    names::INJECTION_LABEL,
                    names::INJECTION_ENABLED
                ),
            )),
            (false, true) => lines.push(
                Line::warning(format!(
                    "{name} carries the label {} and nothing asks there: its pods are sent for nothing until the webhook removes it, \
                     two minutes after the namespace was last written",
                    names::INJECTION_LABEL
                ))
                .remedy(format!("kubectl label namespace {name} {}-", names::INJECTION_LABEL)),
            ),
            (true, true) | (false, false) => {}
        }
    }
    if lines.is_empty() && asking == 0 {
        lines.push(Line::ok(format!(
            "none of {} namespaces asks: only pods with annotations of their own are injected",
            listed.len()
        )));
    } else if lines.is_empty() {
        lines.push(Line::ok(format!(
            "{asking} of {} namespaces ask, and carry the label",
            listed.len()
        )));
    }
    lines
}
