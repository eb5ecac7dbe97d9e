//! What the terminal shows at start.

/// Where the server is, and, on the very first start, the admin key with a line to paste.
pub(crate) fn text(url: &str, new_admin_key: Option<&str>) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let Some(key) = new_admin_key else { return format!("Heartbeat {version} on {url}\n") };
    format!(
        "Heartbeat {version} on {url}

Admin key (shown this once, only its hash is stored):

    {key}

A first monitor:

    curl -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' \
-d '{{\"name\": \"first job\", \"schedule\": {{\"every\": \"5m\"}}}}' {url}/api/monitors

The answer holds its ping_url: have the job fetch it after each run.
"
    )
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn the_key_is_shown_where_there_is_a_new_one() {
        let first = text("http://127.0.0.1:8080", Some("hb_secret"));
        assert!(first.contains("\n    curl -H 'Authorization: Bearer hb_secret'"), "{first}");
        assert!(first.contains("{\"every\": \"5m\"}}' http://127.0.0.1:8080/api/monitors\n"), "{first}");
        assert_eq!(text("http://x", None).lines().count(), 1);
    }
}
