//! The HTTP client for the server's own small errands.

use std::time::Duration;

use reqwest::redirect::Policy;

const TIMEOUT: Duration = Duration::from_secs(5);

/// A client that follows no redirect and waits for 5 s at most.
pub(crate) fn client() -> Result<reqwest::Client, reqwest::Error> {
    // Where somebody installed a provider already, that one serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let agent = concat!("heartbeat/", env!("CARGO_PKG_VERSION"));
    reqwest::Client::builder().user_agent(agent).redirect(Policy::none()).timeout(TIMEOUT).build()
}
