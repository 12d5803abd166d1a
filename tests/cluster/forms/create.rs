//! Creation with everything that the API server says of it: kube's typed calls keep the warnings to themselves.

use axum::http::Request;
use heapship::inject::is_ours;
use kube::Client;
use kube::client::Body;
use serde_json::Value;

/// What became of a creation.
#[derive(Debug)]
pub struct Created {
    /// HTTP's.
    pub status: u16,
    /// As it is stored, or why it was refused.
    pub object: Value,
    /// heapship's.
    pub warnings: Vec<String>,
    /// Of everybody else, without the numbers of list elements: ours shift them.
    pub others: Vec<String>,
}

impl Created {
    pub fn is_refused(&self) -> bool {
        self.status >= 400
    }

    /// Whether it is injected as far as its containers tell.
    pub fn has_agent(&self) -> bool {
        let list = self.object["spec"]["initContainers"].as_array();
        list.into_iter().flatten().any(is_ours)
    }
}

/// Creates, or asks what would be created. `collection` is a path below the API server's root.
pub async fn create(client: &Client, collection: &str, object: &Value, dry_run: bool) -> Created {
    let query = if dry_run { "?dryRun=All" } else { "" };
    let request = Request::post(format!("{collection}{query}"))
        .header("content-type", "application/json")
        .body(Body::from(serde_json::to_vec(object).unwrap()))
        .unwrap();
    let response = client.send(request).await.unwrap();
    let status = response.status().as_u16();
    let headers = response.headers().get_all("warning");
    let said: Vec<String> = headers
        .iter()
        .map(|header| unquoted(&String::from_utf8_lossy(header.as_bytes())))
        .collect();
    let body = response.into_body().collect_bytes().await.unwrap();
    let (warnings, others) = said.into_iter().partition(|text| text.starts_with("heapship: "));
    Created {
        status,
        object: serde_json::from_slice(&body).unwrap_or_default(),
        warnings,
        others: others.iter().map(|text: &String| without_numbers(text)).collect(),
    }
}

/// `299 - "text"`, with backslashes before quotes.
fn unquoted(header: &str) -> String {
    let text = header.trim_start_matches("299 - ").trim_matches('"');
    text.replace("\\\"", "\"").replace("\\\\", "\\")
}

fn without_numbers(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii_digit()).collect()
}
