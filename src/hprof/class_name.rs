use super::layout::Kind;

/// A class's name as it is written in Java: `[Ljava/lang/String;` becomes `java.lang.String[]`.
///
/// A hidden class (a lambda, mostly) loses the number that makes it unique, so that its siblings count as one. What could
/// change the colours of a terminal is replaced: the name comes out of a foreign file.
pub(super) fn pretty(binary: &[u8]) -> String {
    let dimensions = binary.iter().take_while(|byte| **byte == b'[').count();
    let element = binary.get(dimensions..).unwrap_or_default();
    let mut name = match (dimensions, element) {
        (1.., [b'L', class @ .., b';']) => readable(class),
        (1.., [letter]) => {
            let kind = Kind::PRIMITIVES.into_iter().find(|kind| kind.letter() == *letter);
            kind.map_or_else(|| readable(element), |kind| kind.name().to_owned())
        }
        _ => readable(element),
    };
    // The class file format allows 255; more is damage.
    for _ in 0..dimensions.min(255) {
        name.push_str("[]");
    }
    name
}

/// Text of a symbol, slashes kept.
pub(super) fn text(symbol: &[u8]) -> String {
    String::from_utf8_lossy(symbol)
        .chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

fn readable(class: &[u8]) -> String {
    text(class.get(..hidden(class)).unwrap_or(class)).replace('/', ".")
}

/// Where the suffix of a hidden class begins: `/0x…` or `+0x…`, and a plain number in JDK 8.
fn hidden(class: &[u8]) -> usize {
    let at = class
        .iter()
        .rposition(|byte| matches!(byte, b'/' | b'+'))
        .unwrap_or(class.len());
    // No part of a Java name begins with a digit.
    if class.get(at + 1).is_some_and(u8::is_ascii_digit) {
        at
    } else {
        class.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_java_source() {
        for (binary, name) in [
            ("java/lang/String", "java.lang.String"),
            ("Leak$Node", "Leak$Node"),
            ("[Ljava/lang/String;", "java.lang.String[]"),
            ("[[I", "int[][]"),
            ("[Z", "boolean[]"),
            ("[LLeak$Node;", "Leak$Node[]"),
            ("I", "I"),
            ("", ""),
            ("[", "[]"),
            ("[Q", "Q[]"),
        ] {
            assert_eq!(pretty(binary.as_bytes()), name);
        }
    }

    #[test]
    fn hidden_classes_lose_their_number() {
        for (binary, name) in [
            ("Main$$Lambda$14/0x0000000800c03000", "Main$$Lambda$14"),
            ("a/Main$$Lambda+0x00007f1c4c003000", "a.Main$$Lambda"),
            ("a/Main$$Lambda$1/1234567", "a.Main$$Lambda$1"),
            ("[La/Main$$Lambda/0x00000008;", "a.Main$$Lambda[]"),
            ("a/b+c", "a.b+c"),
        ] {
            assert_eq!(pretty(binary.as_bytes()), name);
        }
    }

    #[test]
    fn a_terminal_is_safe_from_names() {
        assert_eq!(pretty(b"a\x1b[31m\xff"), "a\u{fffd}[31m\u{fffd}");
        assert_eq!(pretty(&vec![b'['; 100_000]).len(), 510);
    }
}
