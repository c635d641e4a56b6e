//! The four-tuple: the only name a connection has.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// An IPv4 or IPv6 address in 16 bytes; IPv4 as ::ffff:a.b.c.d (RFC 4291 2.5.5.2).
///
/// A mapped address never arrives on the wire in an IPv6 header (the parser refuses it), so the forms cannot collide.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Addr(pub [u8; 16]);

/// The first twelve bytes of a mapped IPv4 address.
const MAPPED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

impl Addr {
    /// An IPv4 address from its four bytes.
    pub fn v4(octets: [u8; 4]) -> Self {
        let mut bytes = [0; 16];
        bytes[..12].copy_from_slice(&MAPPED);
        bytes[12..].copy_from_slice(&octets);
        Self(bytes)
    }

    /// True for an IPv4 address.
    pub fn is_v4(&self) -> bool {
        self.0[..12] == MAPPED
    }

    /// The four bytes of an IPv4 address; the last four of an IPv6 one.
    pub fn v4_octets(&self) -> [u8; 4] {
        [self.0[12], self.0[13], self.0[14], self.0[15]]
    }
}

impl From<IpAddr> for Addr {
    fn from(addr: IpAddr) -> Self {
        match addr {
            IpAddr::V4(v4) => Self::v4(v4.octets()),
            IpAddr::V6(v6) => Self(v6.octets()),
        }
    }
}

impl From<Addr> for IpAddr {
    fn from(addr: Addr) -> Self {
        if addr.is_v4() { Ipv4Addr::from(addr.v4_octets()).into() } else { Ipv6Addr::from(addr.0).into() }
    }
}

impl fmt::Debug for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        IpAddr::from(*self).fmt(f)
    }
}

/// Both ends of a connection, seen from here: `local` is ours. 36 bytes, ports in host order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct FourTuple {
    /// Our address.
    pub local_addr: Addr,
    /// The peer's address.
    pub remote_addr: Addr,
    /// Our port.
    pub local_port: u16,
    /// The peer's port.
    pub remote_port: u16,
}

const _: () = assert!(size_of::<FourTuple>() == 36);

impl FourTuple {
    /// A tuple from socket addresses. Both must be of one family; an IPv4 and an IPv6 end make a tuple nobody sends.
    pub fn new(local: SocketAddr, remote: SocketAddr) -> Self {
        Self {
            local_addr: local.ip().into(),
            remote_addr: remote.ip().into(),
            local_port: local.port(),
            remote_port: remote.port(),
        }
    }

    /// Our end.
    pub fn local(&self) -> SocketAddr {
        SocketAddr::new(self.local_addr.into(), self.local_port)
    }

    /// The peer's end.
    pub fn remote(&self) -> SocketAddr {
        SocketAddr::new(self.remote_addr.into(), self.remote_port)
    }

    /// True for a connection over IPv4.
    pub fn is_v4(&self) -> bool {
        self.local_addr.is_v4()
    }

    /// The same connection as the peer names it.
    #[must_use]
    pub fn reversed(&self) -> Self {
        Self {
            local_addr: self.remote_addr,
            remote_addr: self.local_addr,
            local_port: self.remote_port,
            remote_port: self.local_port,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_survive_the_round_trip() {
        for text in ["198.18.0.1:80", "[2001:2::1]:80"] {
            let local: SocketAddr = text.parse().unwrap();
            let remote: SocketAddr = text.replace(":80", ":1024").parse().unwrap();
            let tuple = FourTuple::new(local, remote);
            assert_eq!((tuple.local(), tuple.remote()), (local, remote));
            assert_eq!(tuple.is_v4(), local.is_ipv4());
            assert_eq!(tuple.reversed().reversed(), tuple);
            assert_eq!(tuple.reversed().local(), remote);
        }
    }
}
