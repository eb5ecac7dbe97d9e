//! The HTTP client for the server's own small errands.

use std::time::Duration;

use reqwest::redirect::Policy;

const TIMEOUT: Duration = Duration::from_secs(5);

/// A client that follows no redirect and waits for 5 s at most. Proxies of the environment are for what is outside.
pub(crate) fn client(outside: bool) -> Result<reqwest::Client, reqwest::Error> {
    // Where somebody installed a provider already, that one serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let agent = concat!("heartbeat/", env!("CARGO_PKG_VERSION"));
    let client = reqwest::Client::builder().user_agent(agent).redirect(Policy::none()).timeout(TIMEOUT);
    if outside { client.build() } else { client.no_proxy().build() }
}
