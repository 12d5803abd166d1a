//! Any text as an option variable: split as HotSpot splits, ours added once, the user's options all there and in order.

#![no_main]

use heapship::inject::java_options::{
    Found, HeapDumpPath, UnmatchedQuote, Wanted, addition, joined, tokenise,
};
use heapship::settings::OnOom;
use libfuzzer_sys::fuzz_target;

/// The loop of `Arguments::parse_options_buffer`, byte by byte as HotSpot has it.
fn hotspot(text: &[u8]) -> Option<Vec<Vec<u8>>> {
    let is_space = |byte: u8| byte == b' ' || (9..=13).contains(&byte);
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < text.len() {
        if is_space(text[at]) {
            at += 1;
            continue;
        }
        let mut token = Vec::new();
        while at < text.len() && !is_space(text[at]) {
            let byte = text[at];
            at += 1;
            if byte != b'\'' && byte != b'"' {
                token.push(byte);
                continue;
            }
            while text.get(at) != Some(&byte) {
                token.push(*text.get(at)?);
                at += 1;
            }
            at += 1;
        }
        tokens.push(token);
    }
    Some(tokens)
}

fuzz_target!(|data: &[u8]| {
    let Some((choice, rest)) = data.split_first() else {
        return;
    };
    let Ok(text) = std::str::from_utf8(rest) else {
        return;
    };
    let expected = hotspot(text.as_bytes());
    let users = match tokenise(text) {
        Ok(tokens) => tokens,
        Err(UnmatchedQuote) => return assert_eq!(expected, None),
    };
    let split: Vec<Vec<u8>> = users.iter().map(|token| token.clone().into_bytes()).collect();
    assert_eq!(Some(split), expected);

    let wanted = Wanted {
        on_oom: [OnOom::Dump, OnOom::DumpAndExit, OnOom::Off][usize::from(choice % 3)],
        attach: choice & 4 != 0,
    };
    let found = |tokens: &[String]| Found {
        variable: tokens.to_vec(),
        ..Found::default()
    };
    // The user's own path is kept where it lies on a volume of the pod.
    let own = found(&users);
    let keep = choice & 8 != 0 && own.heap_dump_path() != HeapDumpPath::Ours;
    let added = addition(wanted, &own, keep);
    let whole = joined(&added, text);
    let (front, behind) = (tokenise(&added.front).unwrap(), tokenise(&added.behind).unwrap());
    assert_eq!(
        tokenise(&whole).unwrap(),
        [front, users, behind].concat(),
        "ours stand around the user's, which are all there and in order"
    );
    let again = addition(wanted, &found(&tokenise(&whole).unwrap()), keep);
    assert_eq!(joined(&again, &whole), whole, "what was added is found again");
});
