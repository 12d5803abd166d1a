//! What a plain scalar means: the rules of `go.yaml.in/yaml/v2`, which kubectl and the API server's tools use.

use serde_json::{Number, Value};

/// A scalar that JSON has no value for: `.nan`, `.inf`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct NotJson;

/// Resolves a scalar without quotes and without a tag.
pub(super) fn plain(text: &str) -> Result<Value, NotJson> {
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Ok(Value::Bool(true));
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Ok(Value::Bool(false));
        }
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Value::Null),
        ".nan" | ".NaN" | ".NAN" | ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" | "-.inf"
        | "-.Inf" | "-.INF" => return Err(NotJson),
        _ => {}
    }
    let number = match text.as_bytes().first() {
        Some(b'.') => float(text),
        Some(b'0'..=b'9' | b'+' | b'-') => {
            let digits = text.replace('_', "");
            integer(&digits).or_else(|| yaml_float(&digits))
        }
        _ => None,
    };
    Ok(number.map_or_else(|| Value::String(text.to_owned()), Value::Number))
}

/// Whether any reader of YAML 1.1 or 1.2 might take the text for something else than a string.
pub(super) fn ambiguous(text: &str) -> bool {
    if !matches!(plain(text), Ok(Value::String(_))) || matches!(text, "=" | "<<") {
        return true;
    }
    let number_like = |c: char| {
        matches!(
            c,
            '0'..='9' | '_' | ':' | '.' | '+' | '-' | 'x' | 'o' | 'b' | 'e' | 'E'
        )
    };
    let mut characters = text.chars();
    match characters.next() {
        // Dates, base 60 (12:30:00), binary with odd signs: readers differ, and a needless quote hurts nobody.
        Some('0'..='9') => characters.clone().all(number_like) || is_date(text),
        Some('+' | '-' | '.') => {
            text.chars().any(|c| c.is_ascii_digit()) && characters.all(number_like)
                || text
                    .to_ascii_lowercase()
                    .trim_start_matches(['+', '-'])
                    .starts_with(".inf")
        }
        _ => false,
    }
}

fn is_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() > 7 && bytes.iter().take(4).all(u8::is_ascii_digit) && bytes.get(4) == Some(&b'-')
}

/// Go's `strconv.ParseInt` and `ParseUint` with base 0.
fn integer(text: &str) -> Option<Number> {
    let (negative, unsigned) = match text.as_bytes().first()? {
        b'-' => (true, text.get(1..)?),
        b'+' => (false, text.get(1..)?),
        _ => (false, text),
    };
    let lower = unsigned.to_ascii_lowercase();
    let (digits, radix) = if let Some(rest) = lower.strip_prefix("0x") {
        (rest, 16)
    } else if let Some(rest) = lower.strip_prefix("0o") {
        (rest, 8)
    } else if let Some(rest) = lower.strip_prefix("0b") {
        (rest, 2)
    } else if lower.len() > 1 && lower.starts_with('0') {
        (lower.get(1..)?, 8)
    } else {
        (lower.as_str(), 10)
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let value = u64::from_str_radix(digits, radix).ok()?;
    if negative {
        0_i64.checked_sub_unsigned(value).map(Number::from)
    } else if unsigned.len() < text.len() && i64::try_from(value).is_err() {
        // `ParseUint` takes no sign, so `+` and more than 63 bits is a float.
        None
    } else {
        Some(Number::from(value))
    }
}

/// `^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$`
fn yaml_float(text: &str) -> Option<Number> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (
            mantissa,
            Some(exponent.strip_prefix(['+', '-']).unwrap_or(exponent)),
        ),
        None => (unsigned, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let well_formed = digits(whole)
        && fraction.is_none_or(digits)
        && exponent.is_none_or(|part| !part.is_empty() && digits(part))
        && !(whole.is_empty() && fraction.is_none_or(str::is_empty));
    if well_formed { float(text) } else { None }
}

/// Go's `strconv.ParseFloat`: what is too big is not a number, and so stays text.
fn float(text: &str) -> Option<Number> {
    text.parse::<f64>()
        .ok()
        .filter(|value| value.is_finite())
        .and_then(Number::from_f64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// The expected values are what `sigs.k8s.io/yaml` 1.6.0 printed for the same text.
    #[test]
    fn means_what_kubectl_would_understand() {
        for (text, value) in [
            ("yes", json!(true)),
            ("y", json!(true)),
            ("off", json!(false)),
            ("~", json!(null)),
            ("0777", json!(511)),
            ("0o17", json!(15)),
            ("1_000", json!(1000)),
            ("0x1F", json!(31)),
            ("0x_1f", json!(31)),
            ("0b11", json!(3)),
            ("+1", json!(1)),
            ("-0", json!(0)),
            ("08", json!(8.0)),
            ("1.0", json!(1.0)),
            ("1e3", json!(1000.0)),
            (".5", json!(0.5)),
            ("+.5", json!(0.5)),
            ("0.", json!(0.0)),
            ("1.e5", json!(100_000.0)),
            ("99999999999999999999", json!(1e20)),
            ("18446744073709551615", json!(u64::MAX)),
            ("-9223372036854775808", json!(i64::MIN)),
            ("1e400", json!("1e400")),
            ("12:30:00", json!("12:30:00")),
            ("2001-01-01", json!("2001-01-01")),
            ("1.5e", json!("1.5e")),
            ("_1", json!("_1")),
            ("=", json!("=")),
            ("<<", json!("<<")),
            (".inf2", json!(".inf2")),
            ("1.2.3", json!("1.2.3")),
            ("-", json!("-")),
            ("+", json!("+")),
            ("500m", json!("500m")),
            ("nO", json!("nO")),
        ] {
            assert_eq!(plain(text), Ok(value), "{text}");
        }
        assert_eq!(plain(".inf"), Err(NotJson));
    }

    #[test]
    fn knows_what_another_reader_might_take_for_a_number_or_a_date() {
        for text in [
            "12:30:00",
            "2001-01-01",
            "2001-01-01T10:00:00Z",
            "0o8",
            "1_0",
            "=",
            "<<",
            "0b-1",
            "-.INF",
            "y",
        ] {
            assert!(ambiguous(text), "{text}");
        }
        for text in [
            "app",
            "1.36-rc",
            "-Xmx1g",
            "500m",
            "20Gi",
            "-",
            "3 users",
            "e3",
            "/heapship/dumps",
        ] {
            assert!(!ambiguous(text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_text_has_a_meaning(text in "[-+.0-9a-fA-FxXoObB_eE:~ ]{0,12}") {
            let _ = plain(&text);
            let _ = ambiguous(&text);
        }

        #[test]
        fn a_number_is_read_back(number: i64) {
            prop_assert_eq!(plain(&number.to_string()), Ok(json!(number)));
        }
    }
}
