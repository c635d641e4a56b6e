//! Frames, built from the inside out: `ether(IPV4, v4("192.0.2.1", TCP, tcp(80)))`. Lengths are filled in, checksums
//! are not: steering reads none.

use std::net::{Ipv4Addr, Ipv6Addr};

pub const OUR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const PEER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// EtherTypes.
pub const IPV4: u16 = 0x0800;
pub const IPV6: u16 = 0x86dd;
pub const ARP: u16 = 0x0806;
pub const CTAG: u16 = 0x8100;
pub const STAG: u16 = 0x88a8;

/// IP protocols and IPv6 next headers.
pub const HOP_BY_HOP: u8 = 0;
pub const ICMP: u8 = 1;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const ROUTING: u8 = 43;
pub const FRAGMENT: u8 = 44;
pub const ESP: u8 = 50;
pub const AH: u8 = 51;
pub const ICMPV6: u8 = 58;
pub const DESTINATION: u8 = 60;

/// IPv4: the fragment field's flag for more fragments. Offsets count units of 8 bytes.
pub const MORE: u16 = 0x2000;

/// Where headers start in an untagged frame without options or extension headers.
pub const IP_AT: usize = 14;
pub const TCP_AT_V4: usize = 34;
pub const TCP_AT_V6: usize = 54;

/// An Ethernet frame to our address.
pub fn ether(ethertype: u16, payload: Vec<u8>) -> Vec<u8> {
    ether_to(OUR_MAC, ethertype, payload)
}

/// An Ethernet frame.
pub fn ether_to(destination: [u8; 6], ethertype: u16, payload: Vec<u8>) -> Vec<u8> {
    [&destination[..], &PEER_MAC, &ethertype.to_be_bytes(), &payload].concat()
}

/// What follows a VLAN EtherType: the tag control information and the EtherType of the payload.
pub fn tag(ethertype: u16, payload: Vec<u8>) -> Vec<u8> {
    [&7_u16.to_be_bytes()[..], &ethertype.to_be_bytes(), &payload].concat()
}

/// An IPv4 packet without options.
pub fn v4(destination: &str, protocol: u8, payload: Vec<u8>) -> Vec<u8> {
    v4_options(0, destination, protocol, payload)
}

/// An IPv4 packet with that many words of options, all no-operation.
pub fn v4_options(words: u8, destination: &str, protocol: u8, payload: Vec<u8>) -> Vec<u8> {
    let options = vec![1; usize::from(words) * 4];
    let total = u16::try_from(20 + options.len() + payload.len()).expect("a packet's length");
    let destination: Ipv4Addr = destination.parse().expect("an IPv4 address");
    let fixed = [0x45 + words, 0, total.to_be_bytes()[0], total.to_be_bytes()[1], 0, 0, 0, 0, 64, protocol, 0, 0];
    [&fixed[..], &[192, 0, 2, 99], &destination.octets(), &options, &payload].concat()
}

/// An IPv4 packet that is a fragment: flags and offset as in the header field.
pub fn v4_fragment(field: u16, destination: &str, protocol: u8, payload: Vec<u8>) -> Vec<u8> {
    patch(v4(destination, protocol, payload), 6, &field.to_be_bytes())
}

/// An IPv6 packet.
pub fn v6(destination: &str, next: u8, payload: Vec<u8>) -> Vec<u8> {
    let length = u16::try_from(payload.len()).expect("a payload's length").to_be_bytes();
    let source: Ipv6Addr = "2001:db8::99".parse().expect("an IPv6 address");
    let destination: Ipv6Addr = destination.parse().expect("an IPv6 address");
    let fixed = [0x60, 0, 0, 0, length[0], length[1], next, 64];
    [&fixed[..], &source.octets(), &destination.octets(), &payload].concat()
}

/// An IPv6 options header (hop-by-hop or destination) of 8 bytes and `extra` times 8 more, filled with Pad1.
pub fn options(extra: u8, next: u8, payload: Vec<u8>) -> Vec<u8> {
    [&[next, extra][..], &vec![0; 6 + usize::from(extra) * 8], &payload].concat()
}

/// `count` destination options headers in a row.
pub fn chain(count: usize, next: u8, payload: Vec<u8>) -> Vec<u8> {
    (0..count).fold(payload, |inner, i| options(0, if i == 0 { next } else { DESTINATION }, inner))
}

/// An IPv6 routing header.
pub fn routing(segments_left: u8, next: u8, payload: Vec<u8>) -> Vec<u8> {
    [&[next, 0, 4, segments_left, 0, 0, 0, 0][..], &payload].concat()
}

/// An IPv6 fragment header; the offset counts units of 8 bytes.
pub fn fragment(offset: u16, more: bool, next: u8, payload: Vec<u8>) -> Vec<u8> {
    let field = (offset << 3 | u16::from(more)).to_be_bytes();
    [&[next, 0, field[0], field[1], 0, 0, 0, 1][..], &payload].concat()
}

/// A SYN without options.
pub fn tcp(port: u16) -> Vec<u8> {
    tcp_words(5, port)
}

/// A SYN whose header has `words` words as its data offset says.
pub fn tcp_words(words: u8, port: u16) -> Vec<u8> {
    let port = port.to_be_bytes();
    let fixed = [0x9c, 0x40, port[0], port[1], 0, 0, 0, 1, 0, 0, 0, 0, words << 4, 2, 0xff, 0xff, 0, 0, 0, 0];
    [&fixed[..], &vec![1; usize::from(words) * 4 - fixed.len()]].concat()
}

/// A UDP datagram without payload.
pub fn udp(port: u16) -> Vec<u8> {
    let port = port.to_be_bytes();
    vec![0x9c, 0x40, port[0], port[1], 0, 8, 0, 0]
}

/// The bytes with some of them replaced.
pub fn patch(mut bytes: Vec<u8>, at: usize, with: &[u8]) -> Vec<u8> {
    bytes[at..at + with.len()].copy_from_slice(with);
    bytes
}

/// The bytes with zeros behind them, up to a length: Ethernet padding.
pub fn padded(mut bytes: Vec<u8>, length: usize) -> Vec<u8> {
    bytes.resize(length, 0);
    bytes
}
