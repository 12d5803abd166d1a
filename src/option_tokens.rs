//! How a JVM splits the text of an option variable: what the webhook adds to, and what the agent quotes anew.

/// A quote that is never closed: the JVM refuses to start.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct UnmatchedQuote;

/// Splits a variable's text as HotSpot does, 8 to 28: separated by white space, `'` and `"` may open anywhere in a word
/// and take everything up to the same quote literally; there is no escape character.
///
/// # Errors
/// [`UnmatchedQuote`]: `Unmatched quote in JAVA_TOOL_OPTIONS`, and no JVM.
pub fn tokenise(text: &str) -> Result<Vec<String>, UnmatchedQuote> {
    // isspace() in the C locale; Rust's is_ascii_whitespace lacks the vertical tab.
    let is_space = |c: char| matches!(c, ' ' | '\t' | '\n' | '\r' | '\u{b}' | '\u{c}');
    let mut tokens = Vec::new();
    let mut characters = text.chars().peekable();
    loop {
        while characters.next_if(|&c| is_space(c)).is_some() {}
        if characters.peek().is_none() {
            return Ok(tokens);
        }
        let mut token = String::new();
        while let Some(c) = characters.next_if(|&c| !is_space(c)) {
            if c != '\'' && c != '"' {
                token.push(c);
                continue;
            }
            loop {
                match characters.next() {
                    Some(quoted) if quoted == c => break,
                    Some(quoted) => token.push(quoted),
                    None => return Err(UnmatchedQuote),
                }
            }
        }
        tokens.push(token);
    }
}
