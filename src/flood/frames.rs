//! The frames of a flood: the configuration of the program, and frame number k in Rust.
//!
//! [`write()`] is the same function as `write_frame` in bpf/flood.bpf.c, for frames that are sent over AF_XDP; the tests in
//! tests/flood hold one against the other, byte by byte. It takes its checksums over the whole frame, where the program adds
//! up what differs, so the two do not share a mistake.

use super::contract::{
    ACK_DIFFERS, CHECKSUM_NONE, CHECKSUM_RIGHT, CHECKSUM_WRONG, CONTROL_RANDOM, Config, FAMILY_IPV4, FAMILY_IPV6,
    FRAME_BYTES, SEQ_FACTOR,
};
use super::kind::Kind;
use super::plan::FloodPlan;
use super::sources::plain;
use crate::wire::checksum::{Sum, pseudo_header};
use crate::wire::ether::{ETHER_LEN, VlanTags};
use crate::wire::ip::{IPV4_LEN, IPV6_LEN};
use crate::wire::options::Options;
use crate::wire::parse::TCP_LEN;
use crate::wire::reply::{Addressing, Reply, write as write_reply};
use crate::wire::segment::Control;
use crate::wire::tuple::{Addr, FourTuple};

/// The window of a Linux host's SYN, and its window scale.
const WINDOW: u16 = 64_240;
const WINDOW_SCALE: u8 = 7;
/// The most common MSS of an Ethernet, less the longer header of IPv6.
const MSS_IPV4: u16 = 1460;
const MSS_IPV6: u16 = 1440;

/// How much of the TCP header is left of [`Kind::Short`]: ports, sequence and acknowledgment number.
const SHORT_TCP_LEN: usize = 12;
/// Bytes of an IPv6 fragment header (RFC 8200 4.5).
const FRAGMENT_LEN: usize = 8;

/// Where things stand in an IPv4 header: its length, its identification, flags and offset, checksum, source address.
const IPV4_TOTAL_LEN: usize = 2;
const IPV4_ID: usize = 4;
const IPV4_FRAGMENT: usize = 6;
const IPV4_CHECKSUM: usize = 10;
const IPV4_SOURCE: usize = 12;
/// The flag that more fragments follow.
const IPV4_MORE_FRAGMENTS: [u8; 2] = [0x20, 0];
/// Where things stand in an IPv6 header: length, next header, the last eight bytes of the source address.
const IPV6_PAYLOAD_LEN: usize = 4;
const IPV6_NEXT_HEADER: usize = 6;
const IPV6_SOURCE_END: usize = 16;
/// A fragment header before TCP, at offset 0, with more to follow.
const IPV6_FRAGMENT_HEADER: [u8; FRAGMENT_LEN] = [6, 0, 0, 1, 0, 0, 0, 0];
const PROTOCOL_FRAGMENT: u8 = 44;
const TYPE_8021Q: [u8; 2] = [0x81, 0];
/// Bytes of both MAC addresses.
const MACS: usize = 12;

/// Where things stand in a TCP header.
const SEQ: usize = 4;
const ACK: usize = 8;
const CONTROL: usize = 13;
const CHECKSUM: usize = 16;
/// Where the value of the timestamps option stands behind the MSS and SACK options.
const TIMESTAMP_VALUE: usize = TCP_LEN + 4 + 2 + 2;

/// What a wrong checksum differs by from the right one: never by all bits or none, which would be right again.
const WRONG: u16 = 0x5555;

/// The configuration of the program for a plan; `key` makes it a flood of its own.
pub fn config(plan: &FloodPlan, key: u64) -> Config {
    let is_ipv4 = plan.target.is_ipv4();
    let mut frame = plain_frame(plan);
    let mut tcp_at = ETHER_LEN + if is_ipv4 { IPV4_LEN } else { IPV6_LEN };
    let mut fragment_at = 0;
    match plan.kind {
        Kind::Fragment => fragment_at = make_fragment(&mut frame, is_ipv4, &mut tcp_at),
        Kind::Short => cut_short(&mut frame, is_ipv4, tcp_at),
        Kind::Syn | Kind::Ack | Kind::Rst | Kind::Fin | Kind::Xmas | Kind::Random | Kind::BadChecksum => {}
    }
    let sums = Sums::over(plan, &frame, tcp_at);
    let tag = plan.vlan.map_or(Vec::new(), |vlan| [TYPE_8021Q, vlan.to_be_bytes()].concat());
    frame.splice(MACS..MACS, tag.iter().copied());
    let place = |at: usize| u32::try_from(at + tag.len()).expect("a place in a frame");
    let mut template = [0; FRAME_BYTES];
    template[..frame.len()].copy_from_slice(&frame);
    Config {
        key,
        ifindex: plan.ifindex,
        relay: plan.relay.unwrap_or(0),
        family: if is_ipv4 { FAMILY_IPV4 } else { FAMILY_IPV6 },
        frame_bytes: u32::try_from(frame.len()).expect("a short frame"),
        ip_at: place(ETHER_LEN),
        tcp_at: place(tcp_at),
        fragment_at: if fragment_at > 0 { place(fragment_at) } else { 0 },
        timestamp_at: if plan.options && plan.kind.has_options() { place(tcp_at + TIMESTAMP_VALUE) } else { 0 },
        control: if plan.kind == Kind::Random { CONTROL_RANDOM } else { u32::from(plan.kind.control().0) },
        checksum: match plan.kind {
            Kind::Short => CHECKSUM_NONE,
            Kind::BadChecksum => CHECKSUM_WRONG,
            Kind::Syn | Kind::Ack | Kind::Rst | Kind::Fin | Kind::Xmas | Kind::Random | Kind::Fragment => {
                CHECKSUM_RIGHT
            }
        },
        first_port: u32::from(*plan.ports.start()),
        ports: u32::from(*plan.ports.end() - *plan.ports.start()) + 1,
        source: plan.sources.plain(),
        mask: plan.sources.mask(),
        target: plain(plan.target.ip()),
        target_port: u32::from(plan.target.port().to_be()),
        ip_sum: sums.ip,
        tcp_sum: sums.tcp,
        pseudo_sum: sums.pseudo,
        frame: template,
    }
}

/// The source address without the bytes that the program writes: those of an IPv4 one, the last eight of an IPv6 one.
fn fixed_source(plan: &FloodPlan) -> Addr {
    let mut source = Addr::from(plan.sources.first);
    let written = if plan.target.is_ipv4() { 12.. } else { 8.. };
    source.0[written].fill(0);
    source
}

fn tuple(plan: &FloodPlan) -> FourTuple {
    let (target, port) = (Addr::from(plan.target.ip()), plan.target.port());
    FourTuple { local_addr: fixed_source(plan), remote_addr: target, local_port: 0, remote_port: port }
}

/// A whole segment without a tag, with zeros where frames differ.
fn plain_frame(plan: &FloodPlan) -> Vec<u8> {
    let is_ipv4 = plan.target.is_ipv4();
    let mss = Some(if is_ipv4 { MSS_IPV4 } else { MSS_IPV6 });
    let options = match (plan.kind.has_options(), plan.options) {
        (false, _) => Options::default(),
        (true, false) => Options { mss, ..Options::default() },
        (true, true) => {
            Options { mss, window_scale: Some(WINDOW_SCALE), sack_permitted: true, timestamps: Some((0, 0)) }
        }
    };
    let reply = Reply { control: plan.kind.control(), window: WINDOW, options, ..Reply::default() };
    let tags = VlanTags::default();
    let to = Addressing { dst_mac: plan.dst_mac, src_mac: plan.src_mac, tags, tuple: tuple(plan) };
    let mut frame = vec![0; FRAME_BYTES];
    let bytes = write_reply(&mut frame, &to, &reply, |_| {});
    frame.truncate(bytes);
    let tcp_at = ETHER_LEN + if is_ipv4 { IPV4_LEN } else { IPV6_LEN };
    if is_ipv4 {
        frame[ETHER_LEN + IPV4_CHECKSUM..][..2].fill(0);
    }
    frame[tcp_at + CHECKSUM..][..2].fill(0);
    frame
}

/// Makes the first of several fragments of it. Returns where its identification stands.
fn make_fragment(frame: &mut Vec<u8>, is_ipv4: bool, tcp_at: &mut usize) -> usize {
    if is_ipv4 {
        frame[ETHER_LEN + IPV4_FRAGMENT..][..2].copy_from_slice(&IPV4_MORE_FRAGMENTS);
        return ETHER_LEN + IPV4_ID;
    }
    frame[ETHER_LEN + IPV6_NEXT_HEADER] = PROTOCOL_FRAGMENT;
    let at = *tcp_at;
    frame.splice(at..at, IPV6_FRAGMENT_HEADER);
    *tcp_at += FRAGMENT_LEN;
    set_ip_len(frame, false);
    at + 4
}

/// Ends the packet within the TCP header.
fn cut_short(frame: &mut Vec<u8>, is_ipv4: bool, tcp_at: usize) {
    frame.truncate(tcp_at + SHORT_TCP_LEN);
    set_ip_len(frame, is_ipv4);
}

/// Has the IP header say how long the packet is.
fn set_ip_len(frame: &mut [u8], is_ipv4: bool) {
    let packet = u16::try_from(frame.len() - ETHER_LEN).expect("a short frame");
    let (at, len) = if is_ipv4 {
        (IPV4_TOTAL_LEN, packet)
    } else {
        (IPV6_PAYLOAD_LEN, packet - u16::try_from(IPV6_LEN).expect("a header's length"))
    };
    frame[ETHER_LEN + at..][..2].copy_from_slice(&len.to_be_bytes());
}

/// Sums as the program adds them up: words in memory order.
struct Sums {
    ip: u32,
    tcp: u32,
    pseudo: u32,
}

impl Sums {
    fn over(plan: &FloodPlan, frame: &[u8], tcp_at: usize) -> Self {
        let in_memory = |sum: Sum| u32::from(sum.fold().to_be());
        let tcp = &frame[tcp_at..];
        let pseudo = pseudo_header(&tuple(plan), u16::try_from(tcp.len()).expect("a header's length"));
        let ip = if plan.target.is_ipv4() { &frame[ETHER_LEN..tcp_at] } else { &[] };
        Self { ip: in_memory(Sum::default().bytes(ip)), tcp: in_memory(pseudo.bytes(tcp)), pseudo: in_memory(pseudo) }
    }
}

/// Number `index` of the sequence of this key (SplitMix64).
fn random(config: &Config, index: u64) -> u64 {
    let step = index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut z = config.key.wrapping_add(step);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

/// Lower and upper half of a word.
fn halves(word: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = word.to_be_bytes();
    [u32::from_be_bytes([e, f, g, h]), u32::from_be_bytes([a, b, c, d])]
}

/// The sequence number of a frame.
fn sequence(config: &Config, frame: u64) -> u32 {
    let seq = halves(frame)[0].wrapping_add(halves(config.key)[0]).wrapping_mul(SEQ_FACTOR);
    seq ^ seq >> 16
}

/// Writes frame number `number` into the start of `out`, and returns its length in bytes.
///
/// # Panics
///
/// If `out` is shorter than the frame.
pub fn write(config: &Config, number: u64, out: &mut [u8]) -> usize {
    let len = config.frame_bytes as usize;
    let (ip_at, tcp_at) = (config.ip_at as usize, config.tcp_at as usize);
    let (first, second) = (random(config, number * 2), random(config, number * 2 + 1));
    let seq = sequence(config, number);
    let frame = &mut out[..len];
    frame.copy_from_slice(&config.frame[..len]);
    // The program writes words as they are in memory.
    let words = [halves(second)[0].to_ne_bytes(), halves(first)[0].to_ne_bytes()];
    let drawn = words.as_flattened();
    let source: [u8; 8] = std::array::from_fn(|at| config.source[8 + at] | (drawn[at] & config.mask[8 + at]));
    let is_ipv4 = config.family == FAMILY_IPV4;
    if is_ipv4 {
        frame[ip_at + IPV4_SOURCE..][..4].copy_from_slice(&source[4..]);
        if config.fragment_at > 0 {
            frame[config.fragment_at as usize..][..2].copy_from_slice(&seq.to_be_bytes()[2..]);
        }
        let checksum = Sum::default().bytes(&frame[ip_at..ip_at + IPV4_LEN]).checksum();
        frame[ip_at + IPV4_CHECKSUM..][..2].copy_from_slice(&checksum.to_be_bytes());
    } else {
        frame[ip_at + IPV6_SOURCE_END..][..8].copy_from_slice(&source);
        if config.fragment_at > 0 {
            frame[config.fragment_at as usize..][..4].copy_from_slice(&seq.to_be_bytes());
        }
    }
    finish_tcp(config, frame, seq, first, second);
    let addresses = if is_ipv4 { IPV4_SOURCE..IPV4_LEN } else { 8..IPV6_LEN };
    let addresses = &frame[ip_at..][addresses];
    let tcp_len = u16::try_from(len - tcp_at).expect("a header's length");
    let pseudo = Sum::default().bytes(addresses).word(6).word(tcp_len);
    let checksum = match config.checksum {
        CHECKSUM_NONE => return len,
        CHECKSUM_RIGHT => pseudo.bytes(&frame[tcp_at..]).checksum(),
        _ => wrong(pseudo.bytes(&frame[tcp_at..]).checksum(), pseudo.fold()),
    };
    frame[tcp_at + CHECKSUM..][..2].copy_from_slice(&checksum.to_be_bytes());
    len
}

/// All of the TCP header but its checksum.
fn finish_tcp(config: &Config, frame: &mut [u8], seq: u32, first: u64, second: u64) {
    let tcp_at = config.tcp_at as usize;
    let [_, control, port @ ..] = halves(first)[1].to_be_bytes();
    let port = config.first_port + ((u32::from(u16::from_be_bytes(port)) * config.ports) >> 16);
    let is_random = config.control == CONTROL_RANDOM;
    let control = if is_random { Control(control) } else { Control(config.control.to_be_bytes()[3]) };
    frame[tcp_at..tcp_at + 2].copy_from_slice(&port.to_be_bytes()[2..]);
    frame[tcp_at + SEQ..][..4].copy_from_slice(&seq.to_be_bytes());
    if control.has(Control::ACK) {
        frame[tcp_at + ACK..][..4].copy_from_slice(&(seq ^ ACK_DIFFERS).to_be_bytes());
    }
    if is_random {
        frame[tcp_at + CONTROL] = control.0;
    }
    if config.timestamp_at > 0 {
        frame[config.timestamp_at as usize..][..4].copy_from_slice(&halves(second)[1].to_be_bytes());
    }
}

/// A checksum that is not the right one, nor the sum of the pseudo-header alone.
fn wrong(right: u16, partial: u16) -> u16 {
    // The program turns over bits of words as they are in memory; these are the same in either order.
    let wrong = right ^ WRONG;
    if wrong == partial { !wrong } else { wrong }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::flood::plan::tests::plan;
    use crate::verdict::DropReason;
    use crate::wire::parse::{PartialChecksums, parse};
    use crate::wire::segment::Segment;
    use std::collections::HashSet;

    /// The configuration of a flood of SYNs.
    pub fn config(target: &str, sources: &str) -> Config {
        super::config(&plan(Kind::Syn, target, sources), 7)
    }

    const ENDS: [(&str, &str); 2] = [("198.18.0.1:80", "198.19.0.0/16"), ("[2001:2::1]:80", "2001:2:0:1::/64")];

    fn frame(config: &Config, number: u64) -> Vec<u8> {
        let mut out = vec![0xaa; 128];
        let len = write(config, number, &mut out);
        out.truncate(len);
        out
    }

    fn segment(config: &Config, number: u64) -> Result<Segment, DropReason> {
        parse(&frame(config, number), PartialChecksums::Refuse)
    }

    #[test]
    fn whole_kinds_are_legal_segments_from_the_sources() {
        for (target, sources) in ENDS {
            for kind in [Kind::Syn, Kind::Ack, Kind::Rst, Kind::Fin] {
                let plan = FloodPlan { ports: 5000..=5009, ..plan(kind, target, sources) };
                let config = super::config(&plan, 99);
                for number in [0, 1, 2, 1 << 33] {
                    let segment = segment(&config, number).unwrap();
                    let remote = segment.tuple.remote();
                    assert!(plan.sources.contains(remote.ip()) && plan.ports.contains(&remote.port()), "{remote}");
                    assert_eq!((segment.tuple.local(), segment.control), (plan.target, kind.control()));
                    assert_eq!(segment.ack.0 != 0, kind.control().has(Control::ACK));
                    assert_eq!(segment.options.mss.is_some(), kind == Kind::Syn);
                }
            }
        }
    }

    #[test]
    fn frames_differ_in_address_port_and_sequence_number() {
        for (target, sources) in ENDS {
            let config = config(target, sources);
            let all: Vec<_> = (0..500).map(|number| segment(&config, number).unwrap()).collect();
            let distinct = |of: fn(&Segment) -> String| all.iter().map(of).collect::<HashSet<_>>().len();
            assert!(distinct(|segment| segment.tuple.remote().ip().to_string()) > 480);
            assert!(distinct(|segment| segment.tuple.remote_port.to_string()) > 480);
            assert_eq!(distinct(|segment| segment.seq.0.to_string()), 500);
        }
    }

    #[test]
    fn what_a_kind_is_about_is_wrong_and_nothing_else() {
        for (target, sources) in ENDS {
            for (kind, reason) in [
                (Kind::Fragment, DropReason::Fragment),
                (Kind::BadChecksum, DropReason::BadTcpChecksum),
                (Kind::Short, DropReason::Truncated),
            ] {
                let config = super::config(&plan(kind, target, sources), 1);
                for number in 0..300 {
                    assert_eq!(segment(&config, number).unwrap_err(), reason, "{kind}");
                }
            }
        }
    }

    #[test]
    fn a_wrong_checksum_is_never_right_nor_partial() {
        for right in 0..=u16::MAX {
            for partial in [right, right ^ WRONG, 0, 0xffff] {
                let wrong = wrong(right, partial);
                // 0 and 0xffff are the same number to the receiver.
                assert!(wrong != right && wrong != partial && wrong != !right, "{right:#x} {partial:#x}");
            }
        }
    }

    #[test]
    fn a_linux_hosts_options_come_with_a_random_timestamp() {
        let plan = FloodPlan { options: true, vlan: Some(7), ..plan(Kind::Syn, ENDS[0].0, ENDS[0].1) };
        let config = super::config(&plan, 3);
        let [one, other] = [0, 1].map(|number| segment(&config, number).unwrap());
        let options = one.options;
        assert_eq!((options.mss, options.window_scale, options.sack_permitted), (Some(1460), Some(7), true));
        assert_ne!(options.timestamps, other.options.timestamps);
        assert_eq!(&frame(&config, 0)[12..16], [0x81, 0, 0, 7]);
        let longest = FloodPlan {
            options: true,
            vlan: Some(7),
            ..crate::flood::plan::tests::plan(Kind::Fragment, ENDS[1].0, ENDS[1].1)
        };
        assert_eq!(super::config(&longest, 3).frame_bytes as usize, 106);
    }

    #[test]
    fn the_key_makes_another_flood() {
        let plan = plan(Kind::Syn, ENDS[0].0, ENDS[0].1);
        assert_ne!(frame(&super::config(&plan, 1), 5), frame(&super::config(&plan, 2), 5));
    }
}
