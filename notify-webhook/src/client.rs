//! The HTTP client: which servers it trusts and which addresses it connects to.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use heartbeat_engine::is_public_address;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
const IDLE_CONNECTIONS_MAX: usize = 4;

/// The machine's root certificates or, where it has none, Mozilla's; read once.
static ROOTS: LazyLock<RootCertStore> = LazyLock::new(|| {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
});

#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error("the root certificate is not usable: {0}")]
    Root(#[source] rustls::Error),
    #[error("TLS cannot be set up: {0}")]
    Tls(#[source] rustls::Error),
    #[error("the HTTP client cannot be made: {0}")]
    Http(#[source] reqwest::Error),
}

/// A client that follows no redirect, uses no proxy and, unless `allow_private`, connects to public addresses only.
///
/// It does not check addresses that stand in a URL: the client asks no resolver for them.
pub(crate) fn client(allow_private: bool, extra_roots: &[Vec<u8>]) -> Result<reqwest::Client, ClientError> {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls(extra_roots)?)
        .dns_resolver(PublicOnly { allow_private })
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .user_agent(concat!("heartbeat/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
        .tcp_nodelay(true)
        .build()
        .map_err(ClientError::Http)
}

fn tls(extra_roots: &[Vec<u8>]) -> Result<ClientConfig, ClientError> {
    let mut roots = ROOTS.clone();
    for root in extra_roots {
        roots.add(CertificateDer::from(root.clone())).map_err(ClientError::Root)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(ClientError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

/// Resolves names to the addresses that may be connected to; the connection goes to exactly these.
struct PublicOnly {
    allow_private: bool,
}

#[derive(Debug, thiserror::Error)]
#[error("`{name}` resolves to the private address {address}, which is refused unless allow_private is true")]
struct PrivateAddress {
    name: String,
    address: IpAddr,
}

#[derive(Debug, thiserror::Error)]
#[error("`{0}` resolves to no address")]
struct NoAddress(String);

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        let allow_private = self.allow_private;
        Box::pin(async move {
            let name = name.as_str();
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name, 0)).await?.collect();
            let usable: Vec<SocketAddr> =
                found.iter().copied().filter(|a| allow_private || is_public_address(a.ip())).collect();
            match (usable.is_empty(), found.first()) {
                (false, _) => Ok(Box::new(usable.into_iter()) as Addrs),
                (true, Some(address)) => Err(PrivateAddress { name: name.to_owned(), address: address.ip() }.into()),
                (true, None) => Err(NoAddress(name.to_owned()).into()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::root_cause;
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn a_name_of_this_machine_is_resolved_only_where_allowed() {
        let name: Name = "localhost".parse().unwrap();
        let refused = PublicOnly { allow_private: false }.resolve(name).await.err().unwrap();
        assert!(refused.to_string().contains("`localhost` resolves to the private address"), "{refused}");

        let name: Name = "localhost".parse().unwrap();
        let found: Vec<_> = PublicOnly { allow_private: true }.resolve(name).await.unwrap().collect();
        assert!(found.iter().all(|address| address.ip().is_loopback()) && !found.is_empty(), "{found:?}");
    }

    /// The settings refuse this URL as a text already; here it meets the resolver.
    #[tokio::test]
    async fn no_connection_is_made_to_a_private_address_behind_a_name() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://localhost:{}/", listener.local_addr().unwrap().port());
        let error = client(false, &[]).unwrap().post(&url).send().await.unwrap_err();
        assert!(error.is_connect() && root_cause(&error).contains("allow_private"), "{error:?}");

        let allowed = client(true, &[]).unwrap();
        let sending = tokio::spawn(async move { allowed.post(&url).body("second").send().await });
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = String::new();
        let mut bytes = [0; 1024];
        while !request.ends_with("second") {
            let read = stream.read(&mut bytes).await.unwrap();
            assert_ne!(read, 0, "the first connection is the allowed one: {request}");
            request.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
        }
        sending.abort();
    }
}
