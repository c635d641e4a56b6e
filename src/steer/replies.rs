//! Which replies are steered: those of one peer, to the addresses and ports that connections to it are opened from.
//!
//! What is not here: connections. Which of these segments belong to one is the engine's question.

use super::contract::{EndpointRow, Replies};
use super::prefix::{MAPPED_BITS, mask};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

/// The other end, and our ends, of connections that are opened from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplyFilter {
    /// Where connections are opened to.
    pub peer: SocketAddr,
    /// Where they are opened from: an address, of the peer's family.
    pub source: IpAddr,
    /// How many leading bits of `source` count; the rest may be anything.
    pub prefix_len: u8,
    /// The ports that they are opened from.
    pub ports: RangeInclusive<u16>,
}

impl ReplyFilter {
    /// What the replies map holds.
    pub(super) fn to_row(&self) -> Replies {
        let peer = EndpointRow::new(self.peer.ip(), self.peer.port());
        let source = EndpointRow::new(self.source, 0);
        let bits = u32::from(self.prefix_len) + if self.source.is_ipv4() { MAPPED_BITS } else { 0 };
        let mask = mask(bits);
        Replies {
            peer: peer.addr,
            prefix: (u128::from_be_bytes(source.addr) & mask).to_be_bytes(),
            mask: mask.to_be_bytes(),
            peer_port: peer.port,
            first_port: *self.ports.start(),
            last_port: *self.ports.end(),
            family: peer.family,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(peer: &str, source: &str, prefix_len: u8) -> Replies {
        let filter = ReplyFilter {
            peer: peer.parse().unwrap(),
            source: source.parse().unwrap(),
            prefix_len,
            ports: 1024..=2047,
        };
        filter.to_row()
    }

    #[test]
    fn the_mask_covers_the_prefix_of_either_family() {
        let v4 = row("198.18.0.1:80", "198.18.1.77", 24);
        assert_eq!((v4.mask[..15].to_vec(), v4.mask[15]), (vec![0xff; 15], 0));
        assert_eq!(v4.prefix[12..], [198, 18, 1, 0]);
        assert_eq!((v4.family, v4.peer_port, v4.first_port, v4.last_port), (4, 80, 1024, 2047));
        let v6 = row("[2001:2::1]:80", "2001:2::ff", 127);
        assert_eq!((v6.mask[15], v6.prefix[15], v6.family), (0xfe, 0xfe, 6));
        assert_eq!(row("[2001:2::1]:80", "2001:2::ff", 0).mask, [0; 16]);
    }
}
