//! The end of an agent's log: what was shipped, and what keeps it from shipping.

use serde_json::Value;

/// What a log says.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Said {
    /// One sentence for each dump, oldest first.
    pub(super) shipped: Vec<String>,
    /// The last complaint, unless a dump was shipped after it.
    pub(super) trouble: Option<String>,
}

/// Reads lines of JSON; others are passed over.
pub(super) fn read(log: &str) -> Said {
    let mut said = Said::default();
    for line in log.lines() {
        let Ok(event) = serde_json::from_str::<Value>(line) else {
            continue;
        };
        let text = |key: &str| event[key].as_str().unwrap_or_default();
        let time = text("timestamp");
        let key = event["key"]
            .as_str()
            .filter(|_| text("message").starts_with("shipped "));
        match (key, text("level")) {
            (Some(key), _) => {
                said.shipped
                    .push(format!("{time} {key} ({})", text("completeness")));
                said.trouble = None;
            }
            (None, "ERROR" | "WARN") => {
                let detail = Some(text("detail")).filter(|detail| !detail.is_empty());
                let detail = detail.map(|detail| format!(" ({detail})")).unwrap_or_default();
                said.trouble = Some(format!("{}{detail}", text("message")));
            }
            (None, _) => {}
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_tells_what_was_shipped_and_what_went_wrong_since() {
        let log = r#"
{"timestamp":"T1","level":"ERROR","message":"cannot reach the store; the dump is kept and tried again","detail":"refused"}
{"timestamp":"T2","level":"INFO","message":"shipped a/b.hprof","key":"a/b.hprof","completeness":"complete"}
no JSON
{"timestamp":"T3","level":"WARN","message":"dropped: more dumps than max-dumps allows in 24 hours"}
"#;
        assert_eq!(
            read(log),
            Said {
                shipped: vec!["T2 a/b.hprof (complete)".to_owned()],
                trouble: Some("dropped: more dumps than max-dumps allows in 24 hours".to_owned()),
            }
        );
        let first = log.lines().nth(1).unwrap();
        assert_eq!(
            read(first).trouble.unwrap(),
            "cannot reach the store; the dump is kept and tried again (refused)"
        );
    }
}
