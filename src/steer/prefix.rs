//! A prefix of source addresses, as it is written and as the steering program looks it up.
//!
//! What is said of a prefix is not here (filter, syn_rate).

use super::contract::{EndpointRow, SOURCE_BITS, Source};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// Addresses of one family that have their first bits in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    /// The first of them: the bits behind the prefix are 0.
    addr: IpAddr,
    /// How many bits they have in common.
    len: u8,
}

/// Why a text is not a prefix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    /// No address, or no number behind the slash.
    #[error("must be an address or ADDR/BITS, as in 192.0.2.7, 198.51.100.0/24 or 2001:db8::/32")]
    Form,
    /// More bits than the address has.
    #[error("must have at most {0} bits behind the slash")]
    TooLong(u8),
    /// An address inside of the prefix.
    #[error("names an address inside of the prefix; write {0}")]
    HostBits(Prefix),
    /// `::ffff:a.b.c.d`, which no IPv6 segment has as its source.
    #[error("is IPv4 in the form of IPv6, and no segment comes from there; write it as IPv4")]
    Mapped,
}

/// The first `bits` of 128.
pub(super) fn mask(bits: u32) -> u128 {
    u128::MAX.checked_shl(128_u32.saturating_sub(bits)).unwrap_or(0)
}

/// Bits in front of an IPv4 address as `::ffff:a.b.c.d`.
pub(super) const MAPPED_BITS: u32 = 96;

/// How many bits an address has, and how many stand before it in its form of 128 bits.
fn bits_of(addr: IpAddr) -> (u8, u32) {
    if addr.is_ipv4() { (32, MAPPED_BITS) } else { (128, 0) }
}

impl Prefix {
    /// The addresses that have the first `len` bits in common with `addr`.
    ///
    /// # Errors
    ///
    /// [`PrefixError::TooLong`] and [`PrefixError::Mapped`]; [`PrefixError::HostBits`] if `addr` is not the first of them.
    pub fn new(addr: IpAddr, len: u8) -> Result<Self, PrefixError> {
        let (bits, before) = bits_of(addr);
        if len > bits {
            return Err(PrefixError::TooLong(bits));
        }
        if matches!(addr, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some()) {
            return Err(PrefixError::Mapped);
        }
        let whole = u128::from_be_bytes(EndpointRow::new(addr, 0).addr);
        let first = Ipv6Addr::from(whole & mask(before + u32::from(len)));
        let first = if addr.is_ipv4() { first.to_canonical() } else { IpAddr::V6(first) };
        let prefix = Self { addr: first, len };
        if first == addr { Ok(prefix) } else { Err(PrefixError::HostBits(prefix)) }
    }

    /// The first of the addresses.
    pub fn addr(&self) -> IpAddr {
        self.addr
    }

    /// How many bits count.
    #[expect(clippy::len_without_is_empty, reason = "a prefix has at least one address")]
    pub fn len(&self) -> u8 {
        self.len
    }

    /// True if `addr` is one of these.
    pub fn contains(&self, addr: IpAddr) -> bool {
        let bits = bits_of(self.addr).1 + u32::from(self.len);
        let beyond = |addr| u128::from_be_bytes(EndpointRow::new(addr, 0).addr) & mask(bits);
        addr.is_ipv4() == self.addr.is_ipv4() && beyond(addr) == beyond(self.addr)
    }

    /// The key of the prefix filter.
    pub(super) fn key(&self) -> Source {
        let row = EndpointRow::new(self.addr, 0);
        let address_bits = bits_of(self.addr).1 + u32::from(self.len);
        Source { bits: SOURCE_BITS - 128 + address_bits, family: row.family.into(), addr: row.addr }
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let (addr, len) = text.split_once('/').map_or((text, None), |(addr, len)| (addr, Some(len)));
        let addr: IpAddr = addr.parse().map_err(|_| PrefixError::Form)?;
        let len = match len {
            None => bits_of(addr).0,
            Some(len) if !len.is_empty() && len.bytes().all(|b| b.is_ascii_digit()) => {
                len.parse().map_err(|_| PrefixError::TooLong(bits_of(addr).0))?
            }
            Some(_) => return Err(PrefixError::Form),
        };
        Self::new(addr, len)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_address_alone_is_its_own_prefix() {
        for (text, shown) in [
            ("192.0.2.7", "192.0.2.7/32"),
            ("198.51.100.0/24", "198.51.100.0/24"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("2001:db8::1", "2001:db8::1/128"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(text.parse::<Prefix>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn each_mistake_is_named() {
        let error = |text: &str| text.parse::<Prefix>().unwrap_err();
        for text in ["", "localhost", "10.0.0", "10.0.0.0/", "10.0.0.0/-1", "10.0.0.0/+8", "[::]/0", "fe80::1%2"] {
            assert_eq!(error(text), PrefixError::Form, "{text}");
        }
        assert_eq!(error("10.0.0.0/33"), PrefixError::TooLong(32));
        assert_eq!(error("::/129"), PrefixError::TooLong(128));
        assert_eq!(error("::/1000"), PrefixError::TooLong(128));
        assert_eq!(error("::ffff:192.0.2.0/120"), PrefixError::Mapped);
        assert_eq!(error("10.1.2.3/8").to_string(), "names an address inside of the prefix; write 10.0.0.0/8");
        assert_eq!(error("2001:db8::1/32").to_string(), "names an address inside of the prefix; write 2001:db8::/32");
    }

    #[test]
    fn the_families_are_apart_in_the_key() {
        let key = |text: &str| text.parse::<Prefix>().unwrap().key();
        assert_eq!((key("0.0.0.0/0").bits, key("0.0.0.0/0").family), (128, 4));
        assert_eq!((key("::/0").bits, key("::/0").family), (32, 6));
        assert_eq!(key("192.0.2.7").bits, SOURCE_BITS);
        assert_eq!(key("192.0.2.7").addr[10..], [0xff, 0xff, 192, 0, 2, 7]);
    }

    proptest! {
        #[test]
        fn prefixes_read_what_they_write(v4 in any::<u32>(), v6 in any::<u128>(), is_v4 in any::<bool>(), len in 0_u8..=128) {
            let addr = if is_v4 { IpAddr::V4(v4.into()) } else { IpAddr::V6(v6.into()) };
            let len = if is_v4 { len.min(32) } else { len };
            let prefix = match Prefix::new(addr, len) {
                Ok(prefix) | Err(PrefixError::HostBits(prefix)) => prefix,
                Err(error) => return Err(TestCaseError::reject(error.to_string())),
            };
            prop_assert!(prefix.contains(addr));
            prop_assert_eq!(prefix.to_string().parse::<Prefix>(), Ok(prefix));
        }
    }
}
