//! The four-tuple: the only name a connection has.

use core::fmt;
use core::hash::{Hash, Hasher};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// An IPv4 or IPv6 address in 16 bytes; IPv4 as ::ffff:a.b.c.d (RFC 4291 2.5.5.2).
///
/// A mapped address never arrives on the wire in an IPv6 header (the parser refuses it), so the forms cannot collide.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Addr(pub [u8; 16]);

/// The first twelve bytes of a mapped IPv4 address, as those of a little-endian number.
const MAPPED: u128 = 0xffff << 80;

impl Addr {
    /// An IPv4 address from its four bytes.
    pub fn v4(octets: [u8; 4]) -> Self {
        // As one number, so that it is written at once: the hash reads it in other pieces right afterwards.
        Self((MAPPED | u128::from(u32::from_le_bytes(octets)) << 96).to_le_bytes())
    }

    /// True for an IPv4 address.
    pub fn is_v4(&self) -> bool {
        u128::from_le_bytes(self.0) << 32 == MAPPED << 32
    }

    /// The four bytes of an IPv4 address; the last four of an IPv6 one.
    pub fn v4_octets(&self) -> [u8; 4] {
        *self.0.last_chunk().expect("four of sixteen bytes")
    }
}

/// The two halves of an address, in the byte order of this machine.
#[inline(always)]
fn halves(addr: &Addr) -> [u64; 2] {
    let (words, _) = addr.0.as_chunks::<8>();
    [u64::from_ne_bytes(words[0]), u64::from_ne_bytes(words[1])]
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
#[derive(Clone, Copy, Debug, Default)]
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

impl PartialEq for FourTuple {
    /// Whatever differs, the comparison takes the same steps: one branch for all, at its end.
    #[inline(always)]
    fn eq(&self, other: &Self) -> bool {
        let (mine, theirs) = (self.words(), other.words());
        mine.iter().zip(theirs).fold(0, |differences, (mine, theirs)| differences | (mine ^ theirs)) == 0
    }
}

impl Eq for FourTuple {}

impl Hash for FourTuple {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.words().hash(state);
    }
}

impl FourTuple {
    /// All of it: both halves of the local address, of the remote one, and the ports.
    #[inline(always)]
    pub fn words(&self) -> [u64; 5] {
        let [l0, l1] = halves(&self.local_addr);
        let [r0, r1] = halves(&self.remote_addr);
        [l0, l1, r0, r1, u64::from(self.local_port) << 16 | u64::from(self.remote_port)]
    }

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
