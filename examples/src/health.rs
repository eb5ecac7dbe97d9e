//! `heartbeat-server health`: the check that a container runs.

use url::Url;

use crate::web_client;

/// Asks a server whether it is ready; the answer is a line for people.
pub(crate) async fn ask(server: &Url) -> Result<String, String> {
    let mut url = server.clone();
    if !url.path().ends_with("/readyz") {
        let path = format!("{}/readyz", url.path().trim_end_matches('/'));
        url.set_path(&path);
    }
    let client = web_client::client(false).map_err(|error| error.to_string())?;
    let answer = client.get(url.clone()).send().await.map_err(|error| format!("{url}: {}", innermost(&error)))?;
    let status = answer.status();
    let text = answer.text().await.unwrap_or_default();
    if status.is_success() { Ok(format!("ready: {text}")) } else { Err(format!("{url} answered {status}: {text}")) }
}

/// Where a server that listens on this address is reached from the same machine.
pub(crate) fn local_url(listen: &str) -> Result<Url, String> {
    let (host, port) = listen.rsplit_once(':').unwrap_or((listen, "8080"));
    let host = match host {
        "0.0.0.0" => "127.0.0.1",
        "[::]" => "[::1]",
        host => host,
    };
    Url::parse(&format!("http://{host}:{port}")).map_err(|error| format!("{listen}: {error}"))
}

fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_address_is_asked_on_this_machine() {
        for (listen, url) in [
            ("0.0.0.0:8080", "http://127.0.0.1:8080/"),
            ("[::]:80", "http://[::1]/"),
            ("10.0.0.7:9000", "http://10.0.0.7:9000/"),
        ] {
            assert_eq!(local_url(listen).unwrap().as_str(), url);
        }
    }
}
