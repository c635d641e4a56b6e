//! Frames there and back: what [`write`] writes, [`parse`] reads, and what was changed on the way is refused by name.

use core::net::SocketAddr;
use proptest::prelude::*;

use super::ether::{Ether, TYPE_IPV6, VlanTags};
use super::options::Options;
use super::parse::{PartialChecksums, parse, parse_stepwise};
use super::plain;
use super::reply::{Addressing, MAX_HEADER_LEN, Reply, StreamPiece, write};
use super::segment::{Control, Segment};
use super::seq::SeqNum;
use super::tuple::FourTuple;
use crate::verdict::DropReason;

const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0xc];
const SERVER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x5];

fn tags(count: usize) -> VlanTags {
    let frame: Vec<u8> = [&[0_u8; 12][..], &[0x88, 0xa8, 0x20, 7, 0x81, 0, 0xe0, 9][8 - 4 * count..], &[8, 0]].concat();
    Ether::parse(&frame).unwrap().tags
}

fn client_to_server(v6: bool, tag_count: usize) -> Addressing {
    let (client, server) = if v6 { ("[2001:2::2]", "[2001:2::1]") } else { ("198.18.0.2", "198.18.0.1") };
    let client: SocketAddr = format!("{client}:40000").parse().unwrap();
    let server: SocketAddr = format!("{server}:80").parse().unwrap();
    let tuple = FourTuple::new(client, server);
    Addressing { dst_mac: SERVER_MAC, src_mac: CLIENT_MAC, tags: tags(tag_count), tuple }
}

fn syn() -> Reply {
    Reply { seq: SeqNum(1000), control: Control::SYN, window: 64_000, ..Reply::default() }
}

fn frame(to: &Addressing, reply: &Reply, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0xee; MAX_HEADER_LEN + payload.len()];
    let len = u16::try_from(payload.len()).unwrap();
    let reply = Reply { payload: StreamPiece { from_una: 0, len }, ..*reply };
    let len = write(&mut frame, to, &reply, |out| out.copy_from_slice(payload));
    frame.truncate(len);
    frame
}

fn read(frame: &[u8]) -> Result<Segment, DropReason> {
    parse(frame, PartialChecksums::Refuse)
}

/// Puts IP options (v4) or extension headers (v6) between IP and TCP.
fn with_ip_extra(frame: &[u8], v6: bool, first: u8, extra: &[u8]) -> Vec<u8> {
    let (ip, len) = if v6 { (14, 40) } else { (14, 20) };
    let mut out = [&frame[..ip + len], extra, &frame[ip + len..]].concat();
    let field = if v6 { ip + 4 } else { ip + 2 };
    let old = u16::from_be_bytes([out[field], out[field + 1]]);
    let new = old + u16::try_from(extra.len()).unwrap();
    out[field..field + 2].copy_from_slice(&new.to_be_bytes());
    if v6 {
        out[ip + 6] = first;
    } else {
        out[ip] += u8::try_from(extra.len() / 4).unwrap();
        fix_ipv4_checksum(&mut out);
    }
    out
}

fn fix_ipv4_checksum(frame: &mut [u8]) {
    let len = usize::from(frame[14] & 15) * 4;
    frame[24..26].fill(0);
    let sum = super::checksum::Sum::default().bytes(&frame[14..14 + len]).checksum();
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
}

/// Makes the checksums of an untagged frame right again, as far as its lengths make sense.
fn fix_checksums(frame: &mut [u8], v6: bool) {
    let tcp_at = if v6 { 54 } else { 34 };
    if !v6 && 14 + usize::from(frame[14] & 15) * 4 <= frame.len() && frame[14] & 15 >= 5 {
        fix_ipv4_checksum(frame);
    }
    let tcp_len = if v6 { be(frame, 18) } else { be(frame, 16).wrapping_sub(20) };
    let end = tcp_at + usize::from(tcp_len);
    if tcp_len < 20 || end > frame.len() {
        return;
    }
    let addresses = if v6 { &frame[22..54] } else { &frame[26..34] };
    let pseudo = super::checksum::Sum::default().bytes(addresses).word(6).word(tcp_len);
    frame[tcp_at + 16..tcp_at + 18].fill(0);
    let sum = pseudo.bytes(&frame[tcp_at..end]).checksum();
    frame[tcp_at + 16..tcp_at + 18].copy_from_slice(&sum.to_be_bytes());
}

fn be(frame: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([frame[at], frame[at + 1]])
}

proptest! {
    #[test]
    fn a_plain_frame_is_read_at_once_as_it_is_step_by_step(
        v6: bool, seq: u32, control in 0_u8..64, mss in any::<Option<u16>>(), timestamps in any::<Option<(u32, u32)>>(),
        payload in proptest::collection::vec(any::<u8>(), 0..40), padding in 0_usize..8,
        changes in proptest::collection::vec((0_usize..80, any::<u8>()), 0..3), repaired: bool,
    ) {
        let reply = Reply {
            seq: SeqNum(seq),
            control: Control(control),
            options: Options { mss, timestamps, ..Options::default() },
            ..Reply::default()
        };
        let mut frame = frame(&client_to_server(v6, 0), &reply, &payload);
        frame.resize(frame.len() + padding, 0xee);
        let untouched = changes.is_empty();
        for (at, value) in changes {
            let at = at % frame.len();
            frame[at] = value;
        }
        if repaired {
            fix_checksums(&mut frame, v6);
        }
        let stepwise = parse_stepwise(&frame, PartialChecksums::Refuse);
        match plain::parse(&frame) {
            Some(segment) => {
                prop_assert_eq!(Ok(segment), stepwise);
                prop_assert_eq!(plain::tuple(&frame), Some((segment.tuple, segment.control)));
            }
            None => prop_assert!(!untouched || stepwise.is_err(), "a frame as plain as can be is read step by step"),
        }
    }

    #[test]
    fn every_segment_survives_the_round_trip(
        v6: bool, tag_count in 0_usize..=2, seq: u32, ack: u32, control in 0_u8..64, window: u16,
        mss in any::<Option<u16>>(), timestamps in any::<Option<(u32, u32)>>(),
        payload in proptest::collection::vec(any::<u8>(), 0..300), padding in 0_usize..40,
    ) {
        let control = Control(control);
        prop_assume!(!control.has(Control::SYN | Control::FIN));
        let to = client_to_server(v6, tag_count);
        let options = Options { mss, timestamps, window_scale: Some(3), sack_permitted: true };
        let reply = Reply { seq: SeqNum(seq), ack: SeqNum(ack), control, window, options, ..Reply::default() };
        let mut bytes = frame(&to, &reply, &payload);
        bytes.extend(vec![0x5a; padding]);
        let segment = read(&bytes).unwrap();
        prop_assert_eq!(segment.tuple, to.tuple.reversed());
        prop_assert_eq!((segment.seq, segment.control, segment.window), (SeqNum(seq), control, window));
        prop_assert_eq!(segment.ack, if control.has(Control::ACK) { SeqNum(ack) } else { SeqNum(0) });
        prop_assert_eq!(segment.options, options);
        prop_assert_eq!(&bytes[segment.payload()], &payload[..]);
        prop_assert_eq!((segment.src_mac, segment.dst_mac, segment.tags), (CLIENT_MAC, SERVER_MAC, to.tags));
        prop_assert_eq!(Addressing::answering(&segment).tuple, to.tuple.reversed());
    }

    #[test]
    fn no_bytes_are_too_absurd(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes, PartialChecksums::Accept);
    }

    #[test]
    fn a_changed_byte_is_noticed_or_harmless(v6: bool, at in 0_usize..200, flip in 1_u8..=255) {
        let original = frame(&client_to_server(v6, 0), &syn(), b"hello");
        let mut changed = original.clone();
        let at = at % changed.len();
        changed[at] ^= flip;
        if let Ok(segment) = read(&changed) {
            // Only what no checksum covers may differ: the MACs, and of IPv6 class, flow label and hop limit.
            let harmless = at < 12 || v6 && (14..=17).contains(&at) || v6 && at == 21;
            prop_assert!(harmless, "byte {at} changed by {flip:#x} unnoticed: {segment:?}");
        }
    }
}

#[test]
fn truncation_at_every_byte_is_a_named_drop() {
    for v6 in [false, true] {
        let whole = frame(&client_to_server(v6, 2), &syn(), b"hello");
        for len in 0..whole.len() {
            assert_eq!(read(&whole[..len]), Err(DropReason::Truncated), "v6 {v6}, {len} bytes");
        }
    }
}

#[test]
fn ip_options_and_extension_headers_are_walked_over() {
    let v4 = with_ip_extra(&frame(&client_to_server(false, 0), &syn(), b"x"), false, 0, &[1, 1, 1, 0]);
    assert_eq!(read(&v4).map(|s| s.payload_len), Ok(1));
    let plain = frame(&client_to_server(true, 0), &syn(), b"x");
    let hop_then_destination = [60, 0, 1, 4, 0, 0, 0, 0, 6, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(read(&with_ip_extra(&plain, true, 0, &hop_then_destination)).map(|s| s.payload_len), Ok(1));
    let routed = [6, 0, 2, 0, 0, 0, 0, 0];
    assert!(read(&with_ip_extra(&plain, true, 43, &routed)).is_ok());
    let eight = [[60, 0, 1, 4, 0, 0, 0, 0].repeat(7), vec![6, 0, 1, 4, 0, 0, 0, 0]].concat();
    assert!(read(&with_ip_extra(&plain, true, 60, &eight)).is_ok());
}

#[test]
fn extension_headers_that_cannot_be_taken_are_named() {
    let plain = frame(&client_to_server(true, 0), &syn(), b"x");
    let nine = [[60, 0, 1, 4, 0, 0, 0, 0].repeat(8), vec![6, 0, 1, 4, 0, 0, 0, 0]].concat();
    let hop_by_hop_second = [0, 0, 1, 4, 0, 0, 0, 0, 6, 0, 1, 4, 0, 0, 0, 0].to_vec();
    let cases: [(&str, u8, Vec<u8>, DropReason); 8] = [
        ("routing with segments left", 43, vec![6, 0, 2, 1, 0, 0, 0, 0], DropReason::BadExtensionHeader),
        ("unknown header", 200, vec![6, 0, 0, 0, 0, 0, 0, 0], DropReason::BadExtensionHeader),
        ("nine headers", 60, nine, DropReason::BadExtensionHeader),
        ("hop-by-hop options behind another header", 60, hop_by_hop_second, DropReason::BadExtensionHeader),
        ("fragment", 44, vec![6, 0, 0, 1, 0, 0, 0, 0], DropReason::Fragment),
        ("past the end", 60, vec![6, 200, 1, 4, 0, 0, 0, 0], DropReason::Truncated),
        ("udp", 60, vec![17, 0, 1, 4, 0, 0, 0, 0], DropReason::NotTcp),
        ("icmpv6", 58, vec![], DropReason::NotTcp),
    ];
    for (name, first, extra, reason) in cases {
        assert_eq!(read(&with_ip_extra(&plain, true, first, &extra)), Err(reason), "{name}");
    }
}

#[test]
fn headers_that_cannot_be_are_named() {
    type Change = fn(&mut Vec<u8>);
    let cases: [(&str, bool, Change, DropReason); 14] = [
        ("arp", false, |f| f[13] = 6, DropReason::NotIp),
        ("version 5", false, |f| f[14] = 0x55, DropReason::BadIpv4Header),
        ("header of 4 words", false, |f| f[14] = 0x44, DropReason::BadIpv4Header),
        ("total length below header", false, |f| f[17] = 19, DropReason::BadIpv4Header),
        ("header checksum", false, |f| f[22] ^= 1, DropReason::BadIpv4Checksum),
        ("more fragments", false, |f| f[20] = 0x20, DropReason::Fragment),
        ("fragment offset", false, |f| f[21] = 1, DropReason::Fragment),
        ("udp", false, |f| f[23] = 17, DropReason::NotTcp),
        ("source multicast", false, |f| f[26] = 224, DropReason::BadAddress),
        ("destination broadcast", false, |f| f[30..34].fill(255), DropReason::BadAddress),
        ("source 0.x", false, |f| f[26] = 0, DropReason::BadAddress),
        ("version 4 in ipv6", true, |f| f[14] = 0x40, DropReason::BadIpv6Header),
        ("jumbogram", true, |f| f[18..20].fill(0), DropReason::BadIpv6Header),
        ("ipv6 multicast source", true, |f| f[22] = 0xff, DropReason::BadAddress),
    ];
    for (name, v6, change, reason) in cases {
        let mut bytes = frame(&client_to_server(v6, 0), &syn(), b"");
        change(&mut bytes);
        if !v6 && reason != DropReason::BadIpv4Checksum && bytes[14] == 0x45 {
            fix_ipv4_checksum(&mut bytes);
        }
        assert_eq!(read(&bytes), Err(reason), "{name}");
    }
}

#[test]
fn tcp_headers_that_cannot_be_are_named() {
    let v4 = client_to_server(false, 0);
    for offset in [0x40, 0x60, 0xf0] {
        let mut bytes = frame(&v4, &syn(), b"");
        bytes[46] = offset;
        assert_eq!(read(&bytes), Err(DropReason::BadTcpHeader), "data offset {offset:#x}");
    }
    let both = Reply { control: Control::SYN | Control::FIN, ..syn() };
    assert_eq!(read(&frame(&v4, &both, b"")), Err(DropReason::BadFlags));
    let mut no_port = v4;
    no_port.tuple.local_port = 0;
    assert_eq!(read(&frame(&no_port, &syn(), b"")), Err(DropReason::BadPort));
    let mut to_itself = v4;
    to_itself.tuple.remote_addr = v4.tuple.local_addr;
    to_itself.tuple.remote_port = v4.tuple.local_port;
    assert_eq!(read(&frame(&to_itself, &syn(), b"")), Err(DropReason::BadAddress));
    let mapped = Addressing { tuple: client_to_server(true, 0).tuple, ..v4 };
    let mut bytes = frame(&mapped, &syn(), b"");
    assert_eq!(bytes[12..14], TYPE_IPV6.to_be_bytes());
    bytes[22..34].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]);
    assert_eq!(read(&bytes), Err(DropReason::BadAddress));
}

#[test]
fn the_partial_checksum_of_a_local_sender_is_a_policy() {
    for v6 in [false, true] {
        let mut bytes = frame(&client_to_server(v6, 0), &syn(), b"odd");
        let tcp = if v6 { 54 } else { 34 };
        let len = u16::try_from(bytes.len() - tcp).unwrap();
        let pseudo = super::checksum::pseudo_header(&client_to_server(v6, 0).tuple, len).fold();
        bytes[tcp + 16..tcp + 18].copy_from_slice(&pseudo.to_be_bytes());
        assert_eq!(read(&bytes), Err(DropReason::BadTcpChecksum));
        assert_eq!(parse(&bytes, PartialChecksums::Accept).map(|s| s.partial_checksum), Ok(true));
        bytes[tcp + 17] ^= 1;
        assert_eq!(parse(&bytes, PartialChecksums::Accept), Err(DropReason::BadTcpChecksum));
    }
}
