//! The frames that nearly all traffic is made of, read at fixed places: no VLAN tag, no IPv4 options or IPv6 extension headers, and
//! nothing wrong.
//!
//! What is not here: any reason for a drop. Where a frame is of another kind, or something is wrong with it, or its checksum is
//! partial, there is no answer, and [`super::parse::parse`] reads it step by step. The two may not disagree; a property below and the
//! fuzz target `frame` hold them together. All conditions of a frame end in one branch, which the processor guesses right.

use super::checksum::{Sum, pseudo_header_over};
use super::ether::{ETHER_LEN, Mac, VlanTags};
use super::ip::{IPV4_LEN, IPV6_LEN, PROTOCOL_TCP, is_unicast_v4, is_unicast_v6};
use super::options::Options;
use super::parse::TCP_LEN;
use super::segment::{Control, Segment};
use super::seq::SeqNum;
use super::tuple::{Addr, FourTuple};
use super::{word16, word32};

/// Where the TCP header starts.
const TCP_V4: usize = ETHER_LEN + IPV4_LEN;
const TCP_V6: usize = ETHER_LEN + IPV6_LEN;
/// Up to where the headers go, TCP options aside.
const HEAD_V4: usize = TCP_V4 + TCP_LEN;
const HEAD_V6: usize = TCP_V6 + TCP_LEN;
/// Ethertype IPv4, version 4, header length of five words.
const IPV4_PLAIN: [u8; 3] = [0x08, 0x00, 0x45];
/// Ethertype IPv6.
const IPV6: [u8; 2] = [0x86, 0xdd];

/// Four-tuple and control bits of a frame of the plain kinds, whatever else may be wrong with it: what is worth looking for early.
#[inline]
pub fn tuple(frame: &[u8]) -> Option<(FourTuple, Control)> {
    let head: &[u8; HEAD_V4] = frame.first_chunk()?;
    if is_plain_v4(head) {
        return Some((tuple_v4(head), Control(head[TCP_V4 + 13])));
    }
    let head: &[u8; HEAD_V6] = frame.first_chunk()?;
    is_plain_v6(head).then(|| (tuple_v6(head), Control(head[TCP_V6 + 13])))
}

/// The segment in a frame of the plain kinds with which nothing is wrong.
#[inline(always)]
pub fn parse(frame: &[u8]) -> Option<Segment> {
    let head: &[u8; HEAD_V4] = frame.first_chunk()?;
    if is_plain_v4(head) { parse_v4(frame, head) } else { parse_v6(frame, frame.first_chunk()?) }
}

#[inline(always)]
fn parse_v4(frame: &[u8], head: &[u8; HEAD_V4]) -> Option<Segment> {
    let end = ETHER_LEN + usize::from(word16(head, 16));
    let addresses = Sum::default().array(field::<8, _>(head, 26));
    let header = addresses.array(field::<12, _>(head, ETHER_LEN));
    let is_fragment = word16(head, 20) & 0x3fff != 0;
    let unicast = is_unicast_v4(*field(head, 26)) & is_unicast_v4(*field(head, 30));
    let legal = !is_fragment & (header.fold() == 0xffff) & unicast;
    segment::<TCP_V4, _>(frame, head, end, tuple_v4(head), addresses, legal)
}

#[inline(always)]
fn parse_v6(frame: &[u8], head: &[u8; HEAD_V6]) -> Option<Segment> {
    let tuple = tuple_v6(head);
    let end = TCP_V6 + usize::from(word16(head, 18));
    let addresses = Sum::default().array(field::<32, _>(head, 22));
    let unicast = is_unicast_v6(&tuple.local_addr) & is_unicast_v6(&tuple.remote_addr);
    segment::<TCP_V6, _>(frame, head, end, tuple, addresses, is_plain_v6(head) & unicast)
}

/// The TCP part at `AT`: `end` is where the packet ends, by the IP header; `legal` what was found of that.
#[inline(always)]
fn segment<const AT: usize, const HEAD: usize>(
    frame: &[u8],
    head: &[u8; HEAD],
    end: usize,
    tuple: FourTuple,
    addresses: Sum,
    legal: bool,
) -> Option<Segment> {
    let payload_at = AT + usize::from(head[AT + 12] >> 4) * 4;
    let in_bounds = (payload_at >= HEAD) & (payload_at <= end) & (end <= frame.len());
    let control = Control(head[AT + 13]);
    let ports = (tuple.local_port != 0) & (tuple.remote_port != 0);
    let flags = !control.has(Control::SYN | Control::FIN) | control.has(Control::RST);
    let to_itself = (tuple.local_addr == tuple.remote_addr) & (tuple.local_port == tuple.remote_port);
    if !(legal & in_bounds & ports & flags & !to_itself) {
        return None;
    }
    let options = frame.get(HEAD..payload_at)?;
    let payload = frame.get(payload_at..end)?;
    let tcp_len = u16::try_from(end - AT).ok()?;
    let sum = pseudo_header_over(addresses, tcp_len).array(field::<TCP_LEN, _>(head, AT));
    if sum.bytes(options).bytes(payload).fold() != 0xffff {
        return None;
    }
    Some(Segment {
        tuple,
        seq: SeqNum(word32(head, AT + 4)),
        ack: SeqNum(word32(head, AT + 8)),
        control,
        window: word16(head, AT + 14),
        options: if options.is_empty() { Options::default() } else { Options::parse(options) },
        payload_at: u16::try_from(payload_at).ok()?,
        payload_len: u16::try_from(payload.len()).ok()?,
        src_mac: *field::<{ size_of::<Mac>() }, _>(head, 6),
        dst_mac: *field::<{ size_of::<Mac>() }, _>(head, 0),
        tags: VlanTags::default(),
        partial_checksum: false,
    })
}

#[inline(always)]
fn is_plain_v4(head: &[u8; HEAD_V4]) -> bool {
    (*field(head, 12) == IPV4_PLAIN) & (head[23] == PROTOCOL_TCP)
}

#[inline(always)]
fn is_plain_v6(head: &[u8; HEAD_V6]) -> bool {
    (*field(head, 12) == IPV6) & (head[ETHER_LEN] >> 4 == 6) & (head[20] == PROTOCOL_TCP)
}

#[inline(always)]
fn tuple_v4(head: &[u8; HEAD_V4]) -> FourTuple {
    FourTuple {
        local_addr: Addr::v4(*field(head, 30)),
        remote_addr: Addr::v4(*field(head, 26)),
        local_port: word16(head, TCP_V4 + 2),
        remote_port: word16(head, TCP_V4),
    }
}

#[inline(always)]
fn tuple_v6(head: &[u8; HEAD_V6]) -> FourTuple {
    FourTuple {
        local_addr: Addr(*field(head, 38)),
        remote_addr: Addr(*field(head, 22)),
        local_port: word16(head, TCP_V6 + 2),
        remote_port: word16(head, TCP_V6),
    }
}

/// `N` bytes of a head, at a place that is known where this is compiled.
#[inline(always)]
fn field<const N: usize, const HEAD: usize>(head: &[u8; HEAD], at: usize) -> &[u8; N] {
    head[at..].first_chunk().expect("a field lies inside of the head")
}
