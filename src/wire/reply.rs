//! What to send, and how it becomes a frame.
//!
//! A frame is always written whole, from the destination MAC address on: an answer in place and a retransmission into a
//! free frame go the same way, and nothing of what the peer sent (IP options, padding, extension headers) leaks back.

use super::checksum::pseudo_header;
use super::ether::{Ether, Mac, TYPE_IPV4, TYPE_IPV6, VlanTags};
use super::ip;
use super::options::Options;
use super::parse::TCP_LEN;
use super::segment::{Control, Segment};
use super::seq::SeqNum;
use super::tuple::FourTuple;

/// The longest header that [`write()`] writes in front of the payload: Ethernet, two tags, IPv6, TCP, options of a SYN-ACK.
pub const MAX_HEADER_LEN: usize = 14 + 8 + 40 + 20 + 24;

/// A segment to send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// SEG.SEQ.
    pub seq: SeqNum,
    /// SEG.ACK; 0 on the wire without [`Control::ACK`].
    pub ack: SeqNum,
    /// Control bits.
    pub control: Control,
    /// SEG.WND as it goes into the header.
    pub window: u16,
    /// Options.
    pub options: Options,
    /// The payload, as a piece of the connection's send stream.
    pub payload: StreamPiece,
}

/// A piece of what a connection has to send, by position: no bytes are kept per connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamPiece {
    /// Position of the first byte, counted in bytes from SND.UNA on.
    pub from_una: u32,
    /// Length in bytes.
    pub len: u16,
}

/// Where a frame goes: the link and both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addressing {
    /// MAC address of the next hop.
    pub dst_mac: Mac,
    /// MAC address of our interface.
    pub src_mac: Mac,
    /// VLAN tags.
    pub tags: VlanTags,
    /// Both ends, ours as local.
    pub tuple: FourTuple,
}

impl Addressing {
    /// Back to where `segment` came from.
    pub fn answering(segment: &Segment) -> Self {
        Self { dst_mac: segment.src_mac, src_mac: segment.dst_mac, tags: segment.tags, tuple: segment.tuple }
    }
}

/// Writes `reply` into `frame` and returns the frame's length in bytes. `fill` writes the payload: it is called with a
/// buffer of exactly `reply.payload.len` bytes, if that is more than 0.
///
/// # Panics
///
/// If `frame` has no room for the headers and the payload; the MSS is chosen so that it has.
pub fn write(frame: &mut [u8], to: &Addressing, reply: &Reply, fill: impl FnOnce(&mut [u8])) -> usize {
    let ethertype = if to.tuple.is_v4() { TYPE_IPV4 } else { TYPE_IPV6 };
    let ether = Ether { dst: to.dst_mac, src: to.src_mac, tags: to.tags, ethertype };
    let payload_len = usize::from(reply.payload.len);
    let header_len = TCP_LEN + reply.options.written_len();
    let tcp_len = header_len + payload_len;
    let ip_at = ether.write(frame);
    let tcp_at = ip_at + ip::write(&mut frame[ip_at..], &to.tuple, tcp_len);
    let tcp = &mut frame[tcp_at..tcp_at + tcp_len];
    write_tcp_header(tcp, &to.tuple, reply, header_len);
    if payload_len > 0 {
        fill(&mut tcp[header_len..]);
    }
    let tcp_len_field = u16::try_from(tcp_len).expect("a frame holds less than 64 KiB");
    let checksum = pseudo_header(&to.tuple, tcp_len_field).bytes(tcp).checksum();
    tcp[16..18].copy_from_slice(&checksum.to_be_bytes());
    tcp_at + tcp_len
}

/// Writes the TCP header with its options and a checksum field of 0.
fn write_tcp_header(tcp: &mut [u8], tuple: &FourTuple, reply: &Reply, header_len: usize) {
    let ack = if reply.control.has(Control::ACK) { reply.ack.0 } else { 0 };
    let words = u8::try_from(header_len / 4).expect("options take at most 40 bytes");
    tcp[0..2].copy_from_slice(&tuple.local_port.to_be_bytes());
    tcp[2..4].copy_from_slice(&tuple.remote_port.to_be_bytes());
    tcp[4..8].copy_from_slice(&reply.seq.0.to_be_bytes());
    tcp[8..12].copy_from_slice(&ack.to_be_bytes());
    tcp[12] = words << 4;
    tcp[13] = reply.control.0;
    tcp[14..16].copy_from_slice(&reply.window.to_be_bytes());
    tcp[16..20].fill(0);
    reply.options.write(&mut tcp[TCP_LEN..header_len]);
}
