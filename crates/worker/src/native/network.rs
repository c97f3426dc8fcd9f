//! Which addresses actions may be made to talk to.
//!
//! What a request is sent to often comes out of an event, which anybody may have written. So addresses that mean something
//! only within a network - private, link-local and loopback ones, where databases, control planes and the metadata of clouds
//! are - are refused unless the operator allows them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use ipnet::IpNet;

/// What is not the public internet: the special-purpose registries of RFC 6890, multicast, and the ways of writing an IPv4
/// address as IPv6 that [`NetworkPolicy::permits`] does not take apart.
const SPECIAL: &[&str] = &[
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    // What every machine of Azure reaches its platform at; by its registration it is public.
    "168.63.129.16/32",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/96",
    "::ffff:0:0:0/96",
    "64:ff9b:1::/48",
    "100::/64",
    "2001::/23",
    "2001:db8::/32",
    "2002::/16",
    "3fff::/20",
    "5f00::/16",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
];

static SPECIAL_NETWORKS: LazyLock<Vec<IpNet>> =
    LazyLock::new(|| SPECIAL.iter().filter_map(|network| network.parse().ok()).collect());

/// Addresses that may and may not be connected to. What is denied is denied whatever is allowed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkPolicy {
    /// Besides the public internet.
    pub allow: Vec<IpNet>,
    pub deny: Vec<IpNet>,
}

/// A list of networks that is none.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{given}` is neither a network nor an address, expected a list such as `10.0.0.0/8,192.168.1.7,fd00::/8`"
)]
pub struct NotANetwork {
    given: String,
}

/// Networks and single addresses, with commas between them.
pub fn parse_networks(list: &str) -> Result<Vec<IpNet>, NotANetwork> {
    let entries = list.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    entries
        .map(|entry| {
            let network = entry.parse().or_else(|_| entry.parse::<IpAddr>().map(IpNet::from));
            network.map_err(|_| NotANetwork { given: entry.to_owned() })
        })
        .collect()
}

impl NetworkPolicy {
    /// Whether this address may be connected to. An IPv4 address is judged as such in whatever form it is given.
    pub fn permits(&self, address: IpAddr) -> bool {
        let address = unwrapped(address);
        let within = |networks: &[IpNet]| networks.iter().any(|network| network.contains(&address));
        !within(&self.deny) && (within(&self.allow) || !within(&SPECIAL_NETWORKS))
    }
}

/// The IPv4 address within a mapped one, or within one of the well-known prefix of NAT64.
fn unwrapped(address: IpAddr) -> IpAddr {
    const NAT64: [u16; 6] = [0x64, 0xff9b, 0, 0, 0, 0];
    match address.to_canonical() {
        IpAddr::V6(six) if six.segments()[..6] == NAT64 => IpAddr::V4(last_four(six)),
        canonical => canonical,
    }
}

fn last_four(address: Ipv6Addr) -> Ipv4Addr {
    let [.., a, b, c, d] = address.octets();
    Ipv4Addr::new(a, b, c, d)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(policy: &NetworkPolicy, addresses: &[&str], permitted: bool) {
        for address in addresses {
            assert_eq!(policy.permits(address.parse().unwrap()), permitted, "{address}");
        }
    }

    #[test]
    fn test_every_special_network_can_be_read() {
        assert_eq!(SPECIAL_NETWORKS.len(), SPECIAL.len());
    }

    #[test]
    fn test_only_the_public_internet_is_permitted() {
        let policy = NetworkPolicy::default();
        check(&policy, &["93.184.215.14", "8.8.8.8", "2606:2800:21f:cb07::1", "64:ff9b::808:808"], true);
        let denied = [
            "127.0.0.1",
            "127.8.9.1",
            "0.0.0.0",
            "10.1.2.3",
            "172.31.255.255",
            "192.168.0.1",
            "169.254.169.254",
            "100.100.100.200",
            "168.63.129.16",
            "::ffff:168.63.129.16",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fd00:ec2::254",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "::127.0.0.1",
            "::ffff:0:7f00:1",
            "::ffff:0:808:808",
        ];
        check(&policy, &denied, false);
    }

    #[test]
    fn test_the_operator_allows_and_denies() {
        let policy = NetworkPolicy {
            allow: parse_networks("10.0.0.0/8, 127.0.0.1,fd00::/8").unwrap(),
            deny: parse_networks("10.9.0.0/16,8.8.8.8").unwrap(),
        };
        check(&policy, &["10.1.1.1", "127.0.0.1", "::ffff:10.1.1.1", "fd00::1", "1.1.1.1"], true);
        check(&policy, &["10.9.1.1", "127.0.0.2", "::ffff:10.9.1.1", "192.168.0.1", "8.8.8.8"], false);
    }

    #[test]
    fn test_what_is_no_network_is_named() {
        assert_eq!(parse_networks(" , ").unwrap(), []);
        let error = parse_networks("10.0.0.0/8,intranet").unwrap_err().to_string();
        assert!(error.starts_with("`intranet` is neither a network nor an address"), "{error}");
    }
}
