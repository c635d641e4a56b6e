//! IPv4 (RFC 791) and IPv6 (RFC 8200) headers: read up to the TCP header, and written in their plain form.

use core::ops::Range;

use super::checksum::Sum;
use super::tuple::{Addr, FourTuple};
use crate::verdict::DropReason;

/// Length of an IPv4 header without options in bytes.
pub const IPV4_LEN: usize = 20;
/// Length of an IPv6 header in bytes.
pub const IPV6_LEN: usize = 40;

/// Extension headers that are walked over at most. The steering program has the same limit.
pub const MAX_EXTENSION_HEADERS: usize = 8;

pub(super) const PROTOCOL_TCP: u8 = 6;
/// TTL and hop limit of what we send.
const HOP_LIMIT: u8 = 64;
const IPV4_LEN_FIELD: u16 = 20;
/// An IPv4 header up to its addresses. Version and length, DSCP and ECN; identification 0 with DF set is an atomic datagram
/// (RFC 6864 4.1); total length and checksum are to be filled in.
const IPV4_TEMPLATE: [u8; 12] = [0x45, 0, 0, 0, 0, 0, 0x40, 0, HOP_LIMIT, PROTOCOL_TCP, 0, 0];
/// The sum of the template.
const IPV4_CONSTANT: Sum = Sum::of_words([0x4500, 0x4000, 0x4006]);

/// What the network layer says about a TCP segment.
#[derive(Debug, PartialEq, Eq)]
pub struct Packet {
    /// Source address.
    pub src: Addr,
    /// Destination address.
    pub dst: Addr,
    /// Where in the given bytes the TCP segment lies. What a link layer padded behind it is not in it.
    pub tcp: Range<usize>,
}

/// Reads an IPv4 packet that starts at the first byte.
///
/// # Errors
///
/// The reason why it is not a whole TCP segment.
#[inline]
pub fn parse_ipv4(packet: &[u8]) -> Result<Packet, DropReason> {
    let header: &[u8; IPV4_LEN] = packet.first_chunk().ok_or(DropReason::Truncated)?;
    let header_len = usize::from(header[0] & 0x0f) * 4;
    let total_len = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if header[0] >> 4 != 4 || header_len < IPV4_LEN || total_len < header_len {
        return Err(DropReason::BadIpv4Header);
    }
    let with_options = packet.get(..header_len).ok_or(DropReason::Truncated)?;
    if packet.len() < total_len {
        return Err(DropReason::Truncated);
    }
    // The plain header is the rule; its length is known here, so its sum takes no loop.
    let sum = if header_len == IPV4_LEN { Sum::default().array(header) } else { Sum::default().bytes(with_options) };
    if sum.fold() != 0xffff {
        return Err(DropReason::BadIpv4Checksum);
    }
    let more_fragments_or_offset = u16::from_be_bytes([header[6], header[7]]) & 0x3fff;
    if more_fragments_or_offset != 0 {
        return Err(DropReason::Fragment);
    }
    if header[9] != PROTOCOL_TCP {
        return Err(DropReason::NotTcp);
    }
    let [.., s0, s1, s2, s3, d0, d1, d2, d3] = *header;
    let (src, dst) = ([s0, s1, s2, s3], [d0, d1, d2, d3]);
    if !is_unicast_v4(src) || !is_unicast_v4(dst) {
        return Err(DropReason::BadAddress);
    }
    Ok(Packet { src: Addr::v4(src), dst: Addr::v4(dst), tcp: header_len..total_len })
}

/// True for an address that one end of a connection can have: not "this network", loopback, multicast, reserved or
/// broadcast (RFC 1122 3.2.1.3).
pub(super) fn is_unicast_v4(addr: [u8; 4]) -> bool {
    (addr[0].wrapping_sub(1) < 223) & (addr[0] != 127)
}

/// Reads an IPv6 packet that starts at the first byte, over its extension headers.
///
/// # Errors
///
/// The reason why it is not a whole TCP segment.
pub fn parse_ipv6(packet: &[u8]) -> Result<Packet, DropReason> {
    let header: &[u8; IPV6_LEN] = packet.first_chunk().ok_or(DropReason::Truncated)?;
    // A payload length of 0 announces a jumbogram (RFC 2675), which no Ethernet frame carries.
    let payload_len = usize::from(u16::from_be_bytes([header[4], header[5]]));
    if header[0] >> 4 != 6 || payload_len == 0 {
        return Err(DropReason::BadIpv6Header);
    }
    let end = IPV6_LEN + payload_len;
    let whole = packet.get(..end).ok_or(DropReason::Truncated)?;
    let start = skip_extension_headers(whole, header[6])?;
    let mut src = Addr::default();
    let mut dst = Addr::default();
    src.0.copy_from_slice(&header[8..24]);
    dst.0.copy_from_slice(&header[24..40]);
    if !is_unicast_v6(&src) || !is_unicast_v6(&dst) {
        return Err(DropReason::BadAddress);
    }
    Ok(Packet { src, dst, tcp: start..end })
}

/// True for an address that one end of a connection can have: not unspecified, loopback, multicast or IPv4-mapped
/// (RFC 4291 2.5, 2.7; RFC 4942 2.2).
pub(super) fn is_unicast_v6(addr: &Addr) -> bool {
    // The unspecified and the loopback address are 0 and 1.
    (u128::from_be_bytes(addr.0) > 1) & (addr.0[0] != 0xff) & !addr.is_v4()
}

/// Walks from the fixed header to TCP and returns the offset of the TCP header.
fn skip_extension_headers(packet: &[u8], first: u8) -> Result<usize, DropReason> {
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const FRAGMENT: u8 = 44;
    const DESTINATION: u8 = 60;
    // Protocols with an own meaning that simply are not TCP: UDP, ESP, AH, ICMPv6, no next header, SCTP.
    const OTHER_PROTOCOLS: [u8; 6] = [17, 50, 51, 58, 59, 132];
    const SEGMENTS_LEFT: usize = 3;

    let mut next = first;
    let mut at = IPV6_LEN;
    for walked in 0..=MAX_EXTENSION_HEADERS {
        match next {
            PROTOCOL_TCP => return Ok(at),
            // Only right behind the fixed header (RFC 8200 4.1).
            HOP_BY_HOP if walked > 0 => return Err(DropReason::BadExtensionHeader),
            HOP_BY_HOP | DESTINATION | ROUTING => {
                let [following, len, ..] = packet.get(at..at + 8).ok_or(DropReason::Truncated)? else {
                    return Err(DropReason::Truncated);
                };
                if next == ROUTING && packet[at + SEGMENTS_LEFT] != 0 {
                    return Err(DropReason::BadExtensionHeader);
                }
                next = *following;
                at += (usize::from(*len) + 1) * 8;
                if at > packet.len() {
                    return Err(DropReason::Truncated);
                }
            }
            FRAGMENT => return Err(DropReason::Fragment),
            other if OTHER_PROTOCOLS.contains(&other) => return Err(DropReason::NotTcp),
            _ => return Err(DropReason::BadExtensionHeader),
        }
    }
    Err(DropReason::BadExtensionHeader)
}

/// Writes a plain IPv4 or IPv6 header for a TCP segment of `tcp_len` bytes from our end of `tuple` to the peer's, and
/// returns its length. `addresses` is the sum of the tuple's addresses.
///
/// # Panics
///
/// If `out` is shorter than the header, or the packet longer than 65,535 bytes: a frame has room for the one and never
/// for the other.
#[inline]
pub fn write(out: &mut [u8], tuple: &FourTuple, tcp_len: u16, addresses: Sum) -> usize {
    if tuple.is_v4() {
        let header: &mut [u8; IPV4_LEN] = out.first_chunk_mut().expect("a frame has room for its headers");
        let total_len = IPV4_LEN_FIELD.checked_add(tcp_len).expect("a frame holds less than 64 KiB");
        let checksum = addresses.sum(IPV4_CONSTANT).word(total_len).checksum();
        header[..12].copy_from_slice(&IPV4_TEMPLATE);
        header[2..4].copy_from_slice(&total_len.to_be_bytes());
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
        header[12..16].copy_from_slice(&tuple.local_addr.v4_octets());
        header[16..20].copy_from_slice(&tuple.remote_addr.v4_octets());
        IPV4_LEN
    } else {
        let header: &mut [u8; IPV6_LEN] = out.first_chunk_mut().expect("a frame has room for its headers");
        header[..8].copy_from_slice(&[0x60, 0, 0, 0, 0, 0, PROTOCOL_TCP, HOP_LIMIT]);
        header[4..6].copy_from_slice(&tcp_len.to_be_bytes());
        header[8..24].copy_from_slice(&tuple.local_addr.0);
        header[24..40].copy_from_slice(&tuple.remote_addr.0);
        IPV6_LEN
    }
}
