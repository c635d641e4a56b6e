//! The addresses that a flood pretends to come from: a prefix, of which every address is as likely as any other.
//!
//! What is not here: the prefixes of `blast` ([`crate::blast::tuples::Cidr`]), which are counted out one by one and therefore
//! are shorter than these may be.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// The shortest prefixes: a network that was one class A, and an IPv6 subnet.
const SHORTEST: [u8; 2] = [8, 64];

/// An address prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sources {
    /// The first address.
    pub first: IpAddr,
    /// How many leading bits all of them share.
    pub prefix_len: u8,
}

impl Sources {
    /// The bits in which addresses differ, an IPv4 address in the last four bytes.
    pub fn mask(&self) -> [u8; 16] {
        let bits = if self.first.is_ipv4() { 32 } else { 128 };
        let behind = u32::from(bits - self.prefix_len);
        1_u128.checked_shl(behind).map_or(u128::MAX, |beyond| beyond - 1).to_be_bytes()
    }

    /// The first address, an IPv4 address in the last four bytes and nothing before them.
    pub fn plain(&self) -> [u8; 16] {
        plain(self.first)
    }

    /// True if `address` is one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        let outside = !u128::from_be_bytes(self.mask());
        let differs = u128::from_be_bytes(plain(address)) ^ u128::from_be_bytes(self.plain());
        address.is_ipv4() == self.first.is_ipv4() && differs & outside == 0
    }

    /// The last address.
    pub fn last(&self) -> IpAddr {
        let last = u128::from_be_bytes(self.plain()) | u128::from_be_bytes(self.mask());
        let [.., a, b, c, d] = last.to_be_bytes();
        match self.first {
            IpAddr::V4(_) => Ipv4Addr::new(a, b, c, d).into(),
            IpAddr::V6(_) => Ipv6Addr::from(last).into(),
        }
    }
}

/// An address as the program compares it: an IPv4 one in the last four bytes, and nothing before them.
pub(super) fn plain(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)).to_be_bytes(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

impl FromStr for Sources {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let malformed = || "must be an address or a prefix, as in 198.19.0.0/16 or 2001:2:0:1::/64".to_owned();
        let (address, len) = text.split_once('/').map_or((text, None), |(address, len)| (address, Some(len)));
        let first: IpAddr = address.parse().map_err(|_| malformed())?;
        let (bits, shortest) = if first.is_ipv4() { (32, SHORTEST[0]) } else { (128, SHORTEST[1]) };
        let prefix_len: u8 = len.map_or(Ok(bits), str::parse).map_err(|_| malformed())?;
        if prefix_len > bits {
            return Err("has a prefix longer than the address".to_owned());
        }
        if prefix_len < shortest {
            return Err(format!("has a prefix shorter than {shortest} bits"));
        }
        let sources = Self { first, prefix_len };
        let behind = u128::from_be_bytes(sources.mask());
        if u128::from_be_bytes(sources.plain()) & behind != 0 {
            return Err("has bits set behind its prefix; write the first address of the range".to_owned());
        }
        if first.is_unspecified() || first.is_multicast() || first.is_loopback() {
            return Err("has addresses that no segment comes from".to_owned());
        }
        Ok(sources)
    }
}

impl fmt::Display for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix_len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(text: &str) -> Sources {
        text.parse().unwrap()
    }

    #[test]
    fn prefixes_of_both_families_know_their_addresses() {
        let four = sources("198.19.0.0/16");
        assert_eq!((four.last().to_string(), four.to_string()), ("198.19.255.255".into(), "198.19.0.0/16".into()));
        assert!(four.contains("198.19.7.7".parse().unwrap()) && !four.contains("198.18.7.7".parse().unwrap()));
        assert_eq!(four.mask()[10..], [0, 0, 0, 0, 255, 255]);
        let six = sources("2001:2:0:1::/64");
        assert_eq!(six.last().to_string(), "2001:2:0:1:ffff:ffff:ffff:ffff");
        assert!(six.contains("2001:2:0:1::9".parse().unwrap()) && !six.contains("2001:2::9".parse().unwrap()));
        assert!(!six.contains("198.19.0.1".parse().unwrap()));
        assert_eq!((sources("10.0.0.7").mask(), sources("10.0.0.7").last().to_string()), ([0; 16], "10.0.0.7".into()));
    }

    #[test]
    fn wrong_prefixes_are_named() {
        for (bad, cause) in [
            ("x", "must be an address"),
            ("10.0.0.0/", "must be an address"),
            ("10.0.0.0/33", "longer"),
            ("10.0.0.0/7", "shorter than 8"),
            ("2001:2::/63", "shorter than 64"),
            ("10.0.0.1/24", "behind its prefix"),
            ("0.0.0.0/8", "no segment comes from"),
            ("224.0.0.0/8", "no segment comes from"),
            ("127.0.0.0/8", "no segment comes from"),
            ("::1", "no segment comes from"),
        ] {
            assert!(bad.parse::<Sources>().unwrap_err().contains(cause), "{bad}");
        }
    }
}
