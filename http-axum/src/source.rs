//! Where a request comes from.

use std::net::{IpAddr, SocketAddr};

use axum::extract::ConnectInfo;
use axum::http::{Extensions, HeaderMap};

use crate::settings::TrustForwarded;

/// Who sent the request, as whoever serves the router tells it.
pub(crate) fn peer(extensions: &Extensions) -> Option<IpAddr> {
    extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip())
}

/// The client's address: the peer's, or what a trusted proxy says; `None` where the host tells no peer.
pub(crate) fn address(headers: &HeaderMap, peer: Option<IpAddr>, trust: TrustForwarded) -> Option<IpAddr> {
    let peer = peer.map(|ip| ip.to_canonical());
    let trusted = match trust {
        TrustForwarded::Never => false,
        TrustForwarded::PrivatePeers => peer.is_some_and(is_private),
        TrustForwarded::Always => true,
    };
    if trusted { forwarded(headers).or(peer) } else { peer }
}

/// The last address of the chain that is no proxy of a private network, else the first one.
fn forwarded(headers: &HeaderMap) -> Option<IpAddr> {
    let hops: Vec<IpAddr> = headers
        .get_all("x-forwarded-for")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|hop| parse_hop(hop.trim()))
        .collect();
    hops.iter().rev().find(|hop| !is_private(**hop)).or(hops.first()).copied()
}

fn parse_hop(hop: &str) -> Option<IpAddr> {
    let bare = hop.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(hop);
    let ip = bare.parse::<IpAddr>().ok().or_else(|| hop.parse::<SocketAddr>().ok().map(|address| address.ip()))?;
    Some(ip.to_canonical())
}

fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_private() || ip.is_loopback() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(peer: &str, forwarded: Option<&'static str>, trust: TrustForwarded) -> String {
        let mut headers = HeaderMap::new();
        if let Some(value) = forwarded {
            headers.insert("x-forwarded-for", value.parse().unwrap());
        }
        let mut extensions = Extensions::new();
        extensions.insert(ConnectInfo(SocketAddr::new(peer.parse().unwrap(), 1)));
        address(&headers, self::peer(&extensions), trust).unwrap().to_string()
    }

    #[test]
    fn only_trusted_peers_speak_for_others() {
        use TrustForwarded::{Always, Never, PrivatePeers};
        assert_eq!(seen("127.0.0.1", Some("203.0.113.9"), PrivatePeers), "203.0.113.9");
        assert_eq!(seen("198.51.100.7", Some("203.0.113.9"), PrivatePeers), "198.51.100.7");
        assert_eq!(seen("198.51.100.7", Some("203.0.113.9"), Always), "203.0.113.9");
        assert_eq!(seen("127.0.0.1", Some("203.0.113.9"), Never), "127.0.0.1");
    }

    #[test]
    fn a_forged_start_of_the_chain_is_not_believed() {
        let chain = Some("1.2.3.4, 203.0.113.9, 10.0.0.3:8080");
        assert_eq!(seen("::ffff:10.0.0.1", chain, TrustForwarded::PrivatePeers), "203.0.113.9");
        assert_eq!(seen("10.0.0.1", Some("10.0.0.5, garbage"), TrustForwarded::PrivatePeers), "10.0.0.5");
        assert_eq!(seen("10.0.0.1", Some("garbage"), TrustForwarded::PrivatePeers), "10.0.0.1");
        assert_eq!(seen("10.0.0.1", Some("[2001:db8::1]"), TrustForwarded::PrivatePeers), "2001:db8::1");
    }
}
