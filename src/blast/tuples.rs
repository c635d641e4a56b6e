//! Where connections are opened from: source addresses by a prefix, source ports by a range, and the order in which their
//! four-tuples are used.
//!
//! What is not here: which tuples are in use. The flow table knows; whoever opens asks for the next one then.

use crate::wire::tuple::{Addr, FourTuple};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::str::FromStr;

/// Source addresses at most: all that differ in their last 16 bits.
pub const MAX_SOURCES: u32 = 1 << 16;

/// An address prefix, `198.18.1.0/24`; an address alone is all of its bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    /// The first address.
    pub first: IpAddr,
    /// How many leading bits all of them share.
    pub prefix_len: u8,
}

/// Why a text is no such prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    /// Not an address with an optional length.
    #[error("must be an address or a prefix, as in 198.18.1.0/24 or 2001:2::100/120")]
    Malformed,
    /// A longer prefix than the address has bits.
    #[error("has a prefix longer than the address")]
    TooLong,
    /// Bits behind the prefix.
    #[error("has bits set behind its prefix; write the first address of the range")]
    HostBits,
    /// More than [`MAX_SOURCES`] addresses.
    #[error("has more than {MAX_SOURCES} addresses")]
    TooMany,
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let (addr, len) = text.split_once('/').map_or((text, None), |(addr, len)| (addr, Some(len)));
        let first: IpAddr = addr.parse().map_err(|_| CidrError::Malformed)?;
        let bits = bits_of(first);
        let prefix_len = match len {
            None => bits,
            Some(len) => len.parse().map_err(|_| CidrError::Malformed)?,
        };
        if prefix_len > bits {
            return Err(CidrError::TooLong);
        }
        if bits - prefix_len > 16 {
            return Err(CidrError::TooMany);
        }
        let cidr = Self { first, prefix_len };
        let behind = u128::from(cidr.len() - 1);
        if number(first) & behind != 0 { Err(CidrError::HostBits) } else { Ok(cidr) }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix_len)
    }
}

impl Cidr {
    /// One address.
    pub fn of(addr: IpAddr) -> Self {
        Self { first: addr, prefix_len: bits_of(addr) }
    }

    /// How many addresses there are, network and broadcast addresses too: a source on a routed prefix may be any.
    #[expect(clippy::len_without_is_empty, reason = "a prefix has at least one address")]
    pub fn len(&self) -> u32 {
        1 << (bits_of(self.first) - self.prefix_len).min(16)
    }

    /// True if `addr` is one of them.
    pub fn contains(&self, addr: IpAddr) -> bool {
        let beyond = |addr| number(addr) / u128::from(self.len());
        addr.is_ipv4() == self.first.is_ipv4() && beyond(addr) == beyond(self.first)
    }

    /// Address number `index`, below [`Cidr::len`].
    pub fn nth(&self, index: u32) -> IpAddr {
        let number = number(self.first) + u128::from(index);
        match self.first {
            IpAddr::V4(_) => IpAddr::V4(u32::try_from(number).expect("within the prefix").into()),
            IpAddr::V6(_) => IpAddr::V6(number.into()),
        }
    }
}

fn bits_of(addr: IpAddr) -> u8 {
    if addr.is_ipv4() { 32 } else { 128 }
}

fn number(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => v6.into(),
    }
}

/// The four-tuples of one of several workers, in a circle: through all addresses, then on to the next port.
#[derive(Clone, Debug)]
pub struct Tuples {
    remote: SocketAddr,
    sources: Cidr,
    first_port: u16,
    /// Position of the next tuple among those of this worker, which takes every `stride`-th.
    next: u64,
    len: u64,
    offset: u64,
    stride: u64,
}

impl Tuples {
    /// The share of worker number `worker` of `workers`.
    pub fn new(remote: SocketAddr, sources: Cidr, ports: &RangeInclusive<u16>, worker: usize, workers: usize) -> Self {
        let (worker, workers) = (worker as u64, workers as u64);
        let total = count(&sources, ports);
        let len = total / workers + u64::from(worker < total % workers);
        Self { remote, sources, first_port: *ports.start(), next: 0, len, offset: worker, stride: workers }
    }

    /// How many there are.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// True if this worker has none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The next one; after the last, the first again.
    ///
    /// # Panics
    ///
    /// If there is none: our own bug, a plan has at least one for each worker.
    pub fn advance(&mut self) -> FourTuple {
        assert!(self.len > 0, "a worker without four-tuples");
        let index = self.offset + self.next * self.stride;
        self.next = if self.next + 1 == self.len { 0 } else { self.next + 1 };
        let sources = u64::from(self.sources.len());
        let source = u32::try_from(index % sources).expect("below the number of sources");
        let port = u16::try_from(index / sources).expect("below the number of ports");
        FourTuple {
            local_addr: Addr::from(self.sources.nth(source)),
            remote_addr: Addr::from(self.remote.ip()),
            local_port: self.first_port + port,
            remote_port: self.remote.port(),
        }
    }
}

/// How many four-tuples to one target the addresses and ports make.
pub fn count(sources: &Cidr, ports: &RangeInclusive<u16>) -> u64 {
    u64::from(sources.len()) * ports.len() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn prefixes_are_read_and_wrong_ones_named() {
        let cidr: Cidr = "198.18.1.0/24".parse().unwrap();
        assert_eq!((cidr.len(), cidr.nth(255).to_string()), (256, "198.18.1.255".to_owned()));
        assert!(cidr.contains("198.18.1.9".parse().unwrap()) && !cidr.contains("198.18.2.0".parse().unwrap()));
        assert!(!cidr.contains("::1".parse().unwrap()));
        let one: Cidr = "2001:2::2".parse().unwrap();
        assert_eq!((one.len(), one.to_string()), (1, "2001:2::2/128".to_owned()));
        for (bad, error) in [
            ("x", CidrError::Malformed),
            ("1.2.3.4/", CidrError::Malformed),
            ("1.2.3.4/33", CidrError::TooLong),
            ("1.2.3.4/24", CidrError::HostBits),
            ("1.0.0.0/8", CidrError::TooMany),
            ("2001:2::/64", CidrError::TooMany),
        ] {
            assert_eq!(bad.parse::<Cidr>(), Err(error), "{bad}");
        }
    }

    #[test]
    fn workers_share_all_tuples_and_none_has_anothers() {
        let sources = "198.18.1.0/30".parse().unwrap();
        let remote = "198.18.0.1:80".parse().unwrap();
        let mut seen = HashSet::new();
        for worker in 0..3 {
            let mut tuples = Tuples::new(remote, sources, &(1000..=1006), worker, 3);
            let first = tuples.advance();
            assert!(seen.insert(first));
            for _ in 1..tuples.len() {
                assert!(seen.insert(tuples.advance()));
            }
            assert_eq!(tuples.advance(), first, "it begins again");
        }
        assert_eq!(seen.len(), 28);
        let ports: HashSet<u16> = seen.iter().map(|tuple| tuple.local_port).collect();
        assert_eq!((ports.len(), ports.iter().min(), ports.iter().max()), (7, Some(&1000), Some(&1006)));
        assert_eq!(seen.iter().next().unwrap().remote(), remote);
    }
}
