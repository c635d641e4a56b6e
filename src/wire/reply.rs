//! What to send, and how it becomes a frame.
//!
//! A frame is always written whole, from the destination MAC address on: an answer in place and a retransmission into a
//! free frame go the same way, and nothing of what the peer sent (IP options, padding, extension headers) leaks back.

use super::checksum::{self, Sum};
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
/// The checksums are sums of the values, not of the bytes just written: those cannot be read back at once in other pieces.
///
/// # Panics
///
/// If `frame` has no room for the headers and the payload; the MSS is chosen so that it has.
#[inline]
pub fn write(frame: &mut [u8], to: &Addressing, reply: &Reply, fill: impl FnOnce(&mut [u8])) -> usize {
    let ethertype = if to.tuple.is_v4() { TYPE_IPV4 } else { TYPE_IPV6 };
    let ether = Ether { dst: to.dst_mac, src: to.src_mac, tags: to.tags, ethertype };
    let (options, option_words) = reply.options.words();
    let options = &options[..option_words];
    let header_len = TCP_LEN + 4 * option_words;
    let tcp_len = header_len + usize::from(reply.payload.len);
    let tcp_len_field = u16::try_from(tcp_len).expect("a frame holds less than 64 KiB");
    let addresses = checksum::addresses(&to.tuple);
    let ip_at = ether.write(frame);
    let tcp_at = ip_at + ip::write(&mut frame[ip_at..], &to.tuple, tcp_len_field, addresses);
    let tcp = &mut frame[tcp_at..tcp_at + tcp_len];
    let header: &mut [u8; TCP_LEN] = tcp.first_chunk_mut().expect("it is part of the length");
    let pseudo = checksum::pseudo_header_over(addresses, tcp_len_field);
    let mut sum = write_tcp_header(header, &to.tuple, reply, option_words).sum(pseudo);
    let (places, _) = tcp[TCP_LEN..header_len].as_chunks_mut::<4>();
    for (place, word) in places.iter_mut().zip(options) {
        *place = word.to_be_bytes();
        sum = sum.double_word(*word);
    }
    if reply.payload.len > 0 {
        fill(&mut tcp[header_len..]);
        sum = sum.bytes(&tcp[header_len..]);
    }
    tcp[16..18].copy_from_slice(&sum.checksum().to_be_bytes());
    tcp_at + tcp_len
}

/// Writes a TCP header that `option_words` of options follow, with a checksum field of 0, and returns its sum.
#[inline(always)]
fn write_tcp_header(header: &mut [u8; TCP_LEN], tuple: &FourTuple, reply: &Reply, option_words: usize) -> Sum {
    let ack = if reply.control.has(Control::ACK) { reply.ack.0 } else { 0 };
    let ports = u32::from(tuple.local_port) << 16 | u32::from(tuple.remote_port);
    let words = u32::try_from(TCP_LEN / 4 + option_words).expect("options take at most 40 bytes");
    let offset_control_window = words << 28 | u32::from(reply.control.0) << 16 | u32::from(reply.window);
    let words = [ports, reply.seq.0, ack, offset_control_window, 0];
    let (places, _) = header.as_chunks_mut::<4>();
    let mut sum = Sum::default();
    for (place, word) in places.iter_mut().zip(words) {
        *place = word.to_be_bytes();
        sum = sum.double_word(word);
    }
    sum
}
