//! Which network addresses belong to the public Internet; for adapters that connect where a setting says.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Prefixes of IPv4 that lead nowhere public: this network, private, shared (CGNAT), loopback, link-local, protocol
/// assignments, documentation, 6to4 relays, benchmarks, multicast, reserved and broadcast.
const NOT_PUBLIC_V4: [(Ipv4Addr, u32); 15] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// Prefixes inside 2000::/3 that lead nowhere public: protocol assignments with Teredo, and documentation.
const NOT_PUBLIC_V6: [(Ipv6Addr, u32); 3] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// Whether an address belongs to the public Internet.
///
/// False for private, shared, loopback, link-local, unique-local, multicast, documentation and reserved addresses.
/// An IPv6 address that stands for an IPv4 one (mapped, translated, NAT64, 6to4) is as public as that one.
///
/// ```
/// assert!(heartbeat_engine::is_public_address("9.9.9.9".parse()?));
/// assert!(!heartbeat_engine::is_public_address("::ffff:169.254.169.254".parse()?));
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[must_use]
pub fn is_public_address(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let bits = address.to_bits();
    !NOT_PUBLIC_V4.iter().any(|(prefix, length)| (bits ^ prefix.to_bits()) >> (32 - length) == 0)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    if let Some(v4) = embedded_v4(address) {
        return is_public_v4(v4);
    }
    let bits = address.to_bits();
    // Only 2000::/3 is handed out for global unicast.
    bits >> 125 == 0b001
        && !NOT_PUBLIC_V6.iter().any(|(prefix, length)| (bits ^ prefix.to_bits()) >> (128 - length) == 0)
}

/// The IPv4 address that packets to this address reach in the end.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let v4 = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => Some(v4(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Written as text on purpose: a second statement of what must be refused.
    const REFUSED: &str = "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 \
        192.0.2.0/24 192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4 \
        ::/96 64:ff9b:1::/48 100::/64 2001::/32 2001:db8::/32 2001:10::/28 3fff::/20 5f00::/16 fc00::/7 fe80::/10 \
        fec0::/10 ff00::/8";

    fn networks() -> Vec<(IpAddr, u32)> {
        let parse = |text: &str| {
            let (address, length) = text.split_once('/').unwrap();
            (address.parse().unwrap(), length.parse().unwrap())
        };
        REFUSED.split_whitespace().map(parse).collect()
    }

    fn inside(network: IpAddr, length: u32, random: u128) -> IpAddr {
        match network {
            IpAddr::V4(v4) => {
                let host = u32::MAX.checked_shr(length).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() | (random as u32 & host)))
            }
            IpAddr::V6(v6) => {
                let host = u128::MAX.checked_shr(length).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() | (random & host)))
            }
        }
    }

    fn listed(address: Ipv4Addr) -> bool {
        networks().into_iter().any(|(network, length)| match network {
            IpAddr::V4(v4) => {
                let octets = |a: Ipv4Addr| a.octets().iter().map(|o| format!("{o:08b}")).collect::<String>();
                octets(v4)[..length as usize] == octets(address)[..length as usize]
            }
            IpAddr::V6(_) => false,
        })
    }

    /// Every way to write an IPv4 address as an IPv6 one that some network turns back.
    fn disguises(v4: Ipv4Addr) -> [Ipv6Addr; 4] {
        let low = u128::from(v4.to_bits());
        let or = |prefix: &str| Ipv6Addr::from_bits(prefix.parse::<Ipv6Addr>().unwrap().to_bits() | low);
        let six_to_four = Ipv6Addr::from_bits(0x2002 << 112 | low << 80 | 1);
        [or("::ffff:0:0"), or("::ffff:0:0:0"), or("64:ff9b::"), six_to_four]
    }

    proptest! {
        #[test]
        fn every_address_of_a_refused_network_is_refused(pick: prop::sample::Index, random: u128) {
            let networks = networks();
            let (network, length) = networks[pick.index(networks.len())];
            let address = inside(network, length, random);
            prop_assert!(!is_public_address(address), "{address} of {network}/{length}");
        }

        #[test]
        fn ipv4_is_public_exactly_outside_the_table(bits: u32) {
            let address = Ipv4Addr::from_bits(bits);
            prop_assert_eq!(is_public_address(address.into()), !listed(address));
        }

        #[test]
        fn a_disguised_ipv4_address_is_what_it_hides(bits: u32) {
            let v4 = Ipv4Addr::from_bits(bits);
            for v6 in disguises(v4) {
                prop_assert_eq!(is_public_address(v6.into()), is_public_address(v4.into()), "{} as {}", v4, v6);
            }
        }
    }

    #[test]
    fn edges_of_every_ipv4_network() {
        for (network, length) in networks() {
            let IpAddr::V4(v4) = network else { continue };
            let last = Ipv4Addr::from_bits(v4.to_bits() | (u32::MAX >> length));
            assert!(!is_public_address(network) && !is_public_address(last.into()), "{network}/{length}");
            for outside in [v4.to_bits().checked_sub(1), last.to_bits().checked_add(1)].into_iter().flatten() {
                let outside = Ipv4Addr::from_bits(outside);
                assert_eq!(is_public_address(outside.into()), !listed(outside), "{outside}");
            }
        }
    }

    #[test]
    fn well_known_public_addresses() {
        for address in ["1.1.1.1", "9.9.9.9", "172.32.0.1", "100.128.0.1", "2606:4700:4700::1111", "2a00:1450::1"] {
            assert!(is_public_address(address.parse().unwrap()), "{address}");
        }
    }
}
