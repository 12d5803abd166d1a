//! Kubernetes' variable references, as the kubelet expands them.

/// Kubernetes' expansion: `$(NAME)` where the name is known, `$$` for a dollar sign, everything else as it stands. A reference
/// that would make the result longer than `limit` bytes stays as it is written.
#[must_use]
pub fn expand<'v>(text: &str, limit: usize, lookup: &dyn Fn(&str) -> Option<&'v str>) -> String {
    let mut expanded = String::with_capacity(text.len());
    // Nothing is closed behind the last of them; looked for at each `$(`, it would be read through as often.
    let closed = text.rfind(')').map_or(0, |at| at + 1);
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, from) = rest.split_at(at);
        expanded.push_str(before);
        let after = from.strip_prefix('$').unwrap_or_default();
        if let Some(tail) = after.strip_prefix('$') {
            expanded.push('$');
            rest = tail;
        } else if let Some((name, tail)) = after
            .strip_prefix('(')
            .filter(|inner| text.len() - inner.len() < closed)
            .and_then(|inner| inner.split_once(')'))
        {
            match lookup(name) {
                Some(value) if expanded.len() + value.len() <= limit => expanded.push_str(value),
                Some(_) | None => {
                    expanded.push_str("$(");
                    expanded.push_str(name);
                    expanded.push(')');
                }
            }
            rest = tail;
        } else {
            expanded.push('$');
            rest = after;
        }
    }
    expanded.push_str(rest);
    expanded
}

/// Whether a text contains `$(name)`, as the kubelet would see it.
#[must_use]
pub fn refers_to(text: &str, name: &str) -> bool {
    let met = std::cell::Cell::new(false);
    let _ = expand(text, usize::MAX, &|found| {
        met.set(met.get() || found == name);
        None
    });
    met.get()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn expands_as_the_kubelet_does() {
        let lookup = |name: &str| (name == "A").then_some("1");
        for (text, expanded) in [
            ("$(A)", "1"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$1"),
            ("$(B)", "$(B)"),
            ("$(A", "$(A"),
            ("$(A)$(A$$", "1$(A$"),
            ("$A $", "$A $"),
            ("x$(A)y$(A)", "x1y1"),
        ] {
            assert_eq!(expand(text, usize::MAX, &lookup), expanded, "{text}");
        }
        assert!(refers_to("-jar $(A)", "A") && !refers_to("$$(A)", "A") && !refers_to("$(AB)", "A"));
    }

    #[test]
    fn a_reference_stays_as_written_where_its_value_would_go_past_the_limit() {
        let lookup = |_: &str| Some("abc");
        assert_eq!(expand("$(A)$(A)", 6, &lookup), "abcabc");
        assert_eq!(expand("$(A)$(A)", 5, &lookup), "abc$(A)");
    }

    #[test]
    fn references_that_are_never_closed_cost_one_look_each() {
        let text = format!(")x{}", "$(".repeat(1_000_000));
        assert_eq!(expand(&text, usize::MAX, &|_| None), text);
    }

    proptest! {
        #[test]
        fn without_known_names_only_doubled_dollars_change(text in "[$()A-C ]{0,20}") {
            prop_assert_eq!(expand(&text, usize::MAX, &|_| None).replace('$', ""), text.replace('$', ""));
        }
    }
}
