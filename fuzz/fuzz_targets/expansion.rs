//! Any text with any variables: expanded as the kubelet's own function does it, and never longer than the bound.

#![no_main]

use heapship::inject::expansion::{expand, refers_to};
use libfuzzer_sys::fuzz_target;

/// `third_party/forked/golang/expansion` of Kubernetes, byte by byte: `Expand` and `tryReadVariableName`.
fn kubelet(input: &[u8], lookup: &dyn Fn(&[u8]) -> Option<Vec<u8>>) -> Vec<u8> {
    let mut output = Vec::new();
    let (mut checkpoint, mut cursor) = (0, 0);
    while cursor < input.len() {
        if input[cursor] == b'$' && cursor + 1 < input.len() {
            output.extend(&input[checkpoint..cursor]);
            let rest = &input[cursor + 1..];
            let (content, is_variable, advance) = match rest[0] {
                b'$' => (&rest[..1], false, 1),
                b'(' => match rest.iter().skip(1).position(|byte| *byte == b')') {
                    Some(end) => (&rest[1..=end], true, end + 2),
                    None => (&b"$("[..], false, 1),
                },
                _ => (&input[cursor..cursor + 2], false, 1),
            };
            if is_variable {
                let unresolved = || [b"$(", content, b")"].concat();
                output.extend(lookup(content).unwrap_or_else(unresolved));
            } else {
                output.extend(content);
            }
            cursor += advance;
            checkpoint = cursor + 1;
        }
        cursor += 1;
    }
    output.extend(&input[checkpoint.min(input.len())..]);
    output
}

fuzz_target!(|data: &[u8]| {
    let Some((limit, rest)) = data.split_first() else {
        return;
    };
    let Ok(text) = std::str::from_utf8(rest) else {
        return;
    };
    let (text, variables) = text.split_once('\n').unwrap_or((text, ""));
    let variables: Vec<(&str, &str)> = variables
        .lines()
        .filter_map(|line| line.split_once('='))
        .collect();
    let lookup = |name: &str| {
        variables
            .iter()
            .rev()
            .find(|(found, _)| *found == name)
            .map(|(_, value)| *value)
    };

    let expanded = expand(text, usize::MAX, &lookup);
    let expected = kubelet(text.as_bytes(), &|name| {
        lookup(std::str::from_utf8(name).unwrap()).map(|value| value.as_bytes().to_vec())
    });
    assert_eq!(expanded.as_bytes(), expected, "{text:?}");

    let limit = usize::from(*limit);
    assert!(expand(text, limit, &lookup).len() <= text.len() + limit);
    for (name, _) in &variables {
        let other = |found: &str| {
            if found == *name {
                Some("\u{0}")
            } else {
                lookup(found)
            }
        };
        let depends = expand(text, usize::MAX, &other).contains('\u{0}');
        let quiet = !text.contains('\u{0}') && !variables.iter().any(|(_, value)| value.contains('\u{0}'));
        assert!(
            !quiet || depends == refers_to(text, name),
            "{text:?} refers to {name:?}"
        );
    }
});
