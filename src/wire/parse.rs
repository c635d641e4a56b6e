//! A frame to a [`Segment`], or the one reason why not.
//!
//! The checks run from the outside in, and each reads only what an earlier one found to be there.

use super::checksum::pseudo_header;
use super::ether::{Ether, TYPE_IPV4, TYPE_IPV6};
use super::ip::{parse_ipv4, parse_ipv6};
use super::options::Options;
use super::segment::{Control, Segment};
use super::seq::SeqNum;
use super::tuple::FourTuple;
use super::{plain, word16, word32};
use crate::verdict::DropReason;

/// Length of a TCP header without options in bytes.
pub const TCP_LEN: usize = 20;

/// What to do with a TCP checksum that is only the sum of the pseudo-header.
///
/// A local sender (the kernel's end of a veth pair) leaves the rest of the sum to hardware that does not exist there. Such
/// a segment never crossed a wire, so nothing is lost by accepting it; from a physical NIC it is a corrupt segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartialChecksums {
    /// Accept it, and mark the segment so that it is counted.
    Accept,
    /// Drop it like any other wrong checksum.
    Refuse,
}

/// Reads a frame that starts at its destination MAC address and ends without FCS; padding behind the IP packet is allowed.
///
/// # Errors
///
/// The reason for which the frame is to be dropped.
#[inline(always)]
pub fn parse(frame: &[u8], partial: PartialChecksums) -> Result<Segment, DropReason> {
    match plain::parse(frame) {
        Some(segment) => Ok(segment),
        None => parse_stepwise(frame, partial),
    }
}

/// [`parse`] for frames of every kind, and for the reason of a drop.
#[inline(never)]
pub fn parse_stepwise(frame: &[u8], partial: PartialChecksums) -> Result<Segment, DropReason> {
    let ether = Ether::parse(frame)?;
    let network = &frame[ether.header_len()..];
    let packet = match ether.ethertype {
        TYPE_IPV4 => parse_ipv4(network)?,
        TYPE_IPV6 => parse_ipv6(network)?,
        _ => return Err(DropReason::NotIp),
    };
    let tcp_at = ether.header_len() + packet.tcp.start;
    let tcp = &network[packet.tcp];
    let header: &[u8; TCP_LEN] = tcp.first_chunk().ok_or(DropReason::Truncated)?;
    let header_len = usize::from(header[12] >> 4) * 4;
    if header_len < TCP_LEN || header_len > tcp.len() {
        return Err(DropReason::BadTcpHeader);
    }
    let (remote_port, local_port) = (word16(header, 0), word16(header, 2));
    let tuple = FourTuple { local_addr: packet.dst, remote_addr: packet.src, local_port, remote_port };
    let partial_checksum = verify_checksum(&tuple, header, tcp, partial)?;
    if local_port == 0 || remote_port == 0 {
        return Err(DropReason::BadPort);
    }
    // A segment from us to us that arrived from outside: a forgery that would have us talk to ourselves.
    if tuple.local_addr == tuple.remote_addr && local_port == remote_port {
        return Err(DropReason::BadAddress);
    }
    let control = Control(header[13]);
    if control.has(Control::SYN | Control::FIN) && !control.has(Control::RST) {
        return Err(DropReason::BadFlags);
    }
    Ok(Segment {
        tuple,
        seq: SeqNum(word32(header, 4)),
        ack: SeqNum(word32(header, 8)),
        control,
        window: word16(header, 14),
        options: Options::parse(&tcp[TCP_LEN..header_len]),
        payload_at: offset(tcp_at + header_len)?,
        payload_len: offset(tcp.len() - header_len)?,
        src_mac: ether.src,
        dst_mac: ether.dst,
        tags: ether.tags,
        partial_checksum,
    })
}

/// An offset into a frame. No frame reaches 64 KiB, and one that did would be refused here.
fn offset(at: usize) -> Result<u16, DropReason> {
    u16::try_from(at).map_err(|_| DropReason::BadTcpHeader)
}

/// Verifies the TCP checksum (RFC 9293 3.1). True if only the partial form was met. `header` is the start of `tcp`.
#[inline(always)]
fn verify_checksum(
    tuple: &FourTuple,
    header: &[u8; TCP_LEN],
    tcp: &[u8],
    partial: PartialChecksums,
) -> Result<bool, DropReason> {
    let pseudo = pseudo_header(tuple, offset(tcp.len())?);
    if pseudo.array(header).bytes(&tcp[TCP_LEN..]).fold() == 0xffff {
        return Ok(false);
    }
    if partial == PartialChecksums::Accept && word16(header, 16) == pseudo.fold() {
        return Ok(true);
    }
    Err(DropReason::BadTcpChecksum)
}
