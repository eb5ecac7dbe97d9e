//! The server's API as the checks read it.

use std::time::Duration;

use reqwest::header::HeaderMap;
use serde_json::Value;

use crate::crash::failure::Failure;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// One server.
#[derive(Debug, Clone)]
pub struct Api {
    url: String,
    key: &'static str,
    client: reqwest::Client,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub text: String,
}

/// A client; making one takes a while.
pub(crate) fn client() -> Result<reqwest::Client, Failure> {
    // Only the first call installs it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).timeout(PATIENCE);
    builder.build().map_err(|error| Failure::harness("an HTTP client", &error))
}

impl Api {
    pub(crate) fn new(url: &str, key: &'static str, client: reqwest::Client) -> Self {
        Self { url: url.to_owned(), key, client }
    }

    /// The client, which opens as many connections as are needed at once.
    pub(crate) fn client(&self) -> reqwest::Client {
        self.client.clone()
    }

    /// A path of the server as a URL.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// Any request with the admin key.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn send(&self, method: &str, path: &str, body: Option<Value>) -> Result<Answer, Failure> {
        let method = method.parse().map_err(|_| Failure::Harness(format!("`{method}` is no method")))?;
        let mut request = self.client.request(method, self.url(path)).bearer_auth(self.key);
        if let Some(body) = body {
            request = request.header("Content-Type", "application/json").body(body.to_string());
        }
        let answer = request.send().await.map_err(|error| Failure::harness(path, &error))?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let text = answer.text().await.map_err(|error| Failure::harness(path, &error))?;
        Ok(Answer { status, headers, text })
    }

    /// What the API says with success.
    ///
    /// # Errors
    /// When it says something else.
    pub async fn look(&self, path: &str) -> Result<Value, Failure> {
        let answer = self.send("GET", path, None).await?;
        if answer.status != 200 {
            return Err(Failure::Harness(format!("GET {path} was answered {}: {}", answer.status, answer.text)));
        }
        serde_json::from_str(&answer.text).map_err(|error| Failure::harness(path, &error))
    }

    /// The items of a list, page by page, until `enough` says so of a page.
    ///
    /// # Errors
    /// When a page cannot be read.
    pub async fn list(&self, path: &str, mut enough: impl FnMut(&[Value]) -> bool) -> Result<Vec<Value>, Failure> {
        let join = if path.contains('?') { '&' } else { '?' };
        let mut items = Vec::new();
        let mut cursor = String::new();
        loop {
            let mut page = self.look(&format!("{path}{join}limit=200{cursor}")).await?;
            let Some(Value::Array(found)) = page.get_mut("items").map(Value::take) else {
                return Err(Failure::Harness(format!("GET {path} has no items: {page}")));
            };
            let stop = enough(&found);
            items.extend(found);
            match page.get("next_cursor").and_then(Value::as_str) {
                Some(next) if !stop => cursor = format!("&cursor={next}"),
                _ => return Ok(items),
            }
        }
    }
}

/// A text of an object, empty where there is none.
pub(crate) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}
