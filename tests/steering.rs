//! The steering program, run by BPF_PROG_RUN over a table: name, frame, action, and the counter that moves.
//!
//! Without a socket in the XSKMAP a frame that is taken falls back to the kernel and counts as `PassNoSocket`; with one
//! it shows as XDP_REDIRECT. SYNs that the program answers are in steering/answers.rs, attaching to interfaces is in
//! steering/attach.rs, what is decided by the source of a frame in
//! steering/sources.rs, the builder of frames in steering/frames.rs.

#![cfg(feature = "xdp")]

#[path = "steering/answers.rs"]
mod answers;
#[path = "steering/attach.rs"]
mod attach;
mod common;
#[path = "steering/cost.rs"]
mod cost;
#[path = "steering/frames.rs"]
mod frames;
#[path = "steering/sources.rs"]
mod sources;

use common::root_or_skip;
use frames::*;
use handfast::steer::SteerCounter::*;
use handfast::steer::{Endpoint, MacFilter, SteerCounter, SteerError, SteerOptions, Steering};
use libbpf_rs::ProgramInput;
use rustix::net::{AddressFamily, SocketType, socket, sockopt};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// Actions of a program (linux/bpf.h).
const DROP: u32 = 1;
const PASS: u32 = 2;
const REDIRECT: u32 = 4;

/// A steered IPv4 address, and one that is not.
const A4: &str = "192.0.2.1";
const B4: &str = "192.0.2.2";
/// A steered IPv6 address, and one that is not.
const A6: &str = "2001:db8::1";
const B6: &str = "2001:db8::2";
/// A port that is steered for any address, and one that is steered for [`A4`] and [`A6`].
const ANY: u16 = 80;
const EXACT: u16 = 443;

type Row = (&'static str, Vec<u8>, u32, SteerCounter);

fn load(mac: MacFilter, endpoints: &[Endpoint]) -> Steering {
    let mut steering = Steering::load(SteerOptions { queues: 2, max_endpoints: 16, mac }).expect("the program loads");
    steering.set_endpoints(endpoints).expect("the maps take the endpoints");
    steering
}

fn at(addr: &str, port: u16) -> Endpoint {
    Endpoint { addr: Some(addr.parse().expect("an address")), port }
}

fn any(port: u16) -> Endpoint {
    Endpoint { addr: None, port }
}

/// Endpoints with given addresses, and one of any address.
fn mixed() -> Steering {
    load(MacFilter::Own(OUR_MAC), &[at(A4, EXACT), at(A6, EXACT), any(ANY)])
}

/// Endpoints with given addresses only.
fn given() -> Steering {
    load(MacFilter::Own(OUR_MAC), &[at(A4, EXACT), at(A6, EXACT)])
}

/// Runs the program `repeat` times over a frame; returns the action and the mean time of a run.
fn run(steering: &Steering, frame: &[u8], repeat: u32) -> (u32, Duration) {
    let input = ProgramInput { data_in: Some(frame), repeat, ..Default::default() };
    let output = steering.program().test_run(input).expect("the program runs");
    (output.return_value, output.duration)
}

/// The counters that moved while the program ran over a frame, but for `Seen`, which must have moved by one.
fn outcome(steering: &Steering, frame: &[u8]) -> (u32, Vec<(SteerCounter, u64)>) {
    let before = steering.counters().expect("readable counters");
    let (action, _) = run(steering, frame, 1);
    let after = steering.counters().expect("readable counters");
    assert_eq!(after.get(Seen) - before.get(Seen), 1);
    assert_eq!(after.unaccounted(), 0);
    let moved = after.iter().map(|(counter, n)| (counter, n - before.get(counter)));
    (action, moved.filter(|(counter, n)| *counter != Seen && *n != 0).collect())
}

/// Runs every row and names all that came out otherwise.
fn check(steering: &Steering, rows: Vec<Row>) {
    let wrong = |(name, frame, action, counter): &Row| {
        let got = outcome(steering, frame);
        (got != (*action, vec![(*counter, 1)])).then(|| format!("{name}: {got:?} instead of {action} {counter:?}"))
    };
    let wrong: Vec<String> = rows.iter().filter_map(wrong).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// An AF_XDP socket with an RX ring, which is what the XSKMAP asks of it.
fn xdp_socket() -> OwnedFd {
    let socket = socket(AddressFamily::XDP, SocketType::RAW, None).expect("an AF_XDP socket");
    sockopt::set_xdp_rx_ring_size(&socket, 64).expect("an RX ring");
    socket
}

#[test]
fn what_is_not_tcp_over_ip_is_passed() {
    if !root_or_skip("what_is_not_tcp_over_ip_is_passed") {
        return;
    }
    let broadcast = [0xff; 6];
    let icmp6 = |kind: u8| vec![kind, 0, 0, 0, 0, 0, 0, 0];
    check(
        &mixed(),
        vec![
            ("ARP request", ether_to(broadcast, ARP, vec![0; 28]), PASS, PassNotIp),
            ("ARP reply", ether(ARP, vec![0; 28]), PASS, PassNotIp),
            ("tagged ARP", ether(CTAG, tag(ARP, vec![0; 28])), PASS, PassNotIp),
            ("LLDP", ether(0x88cc, vec![0; 46]), PASS, PassNotIp),
            ("802.3 length field", ether(38, vec![0x42; 46]), PASS, PassNotIp),
            ("MPLS", ether(0x8847, v4(A4, TCP, tcp(ANY))), PASS, PassNotIp),
            ("Ethernet header alone", ether(IPV4, vec![]), PASS, PassTruncated),
            ("ICMP echo", ether(IPV4, v4(A4, ICMP, vec![8, 0, 0, 0])), PASS, PassNotTcp),
            ("UDP to a steered port", ether(IPV4, v4(A4, UDP, udp(ANY))), PASS, PassNotTcp),
            ("UDP, first fragment", ether(IPV4, v4_fragment(MORE, A4, UDP, udp(ANY))), PASS, PassNotTcp),
            ("UDP, later fragment", ether(IPV4, v4_fragment(1, A4, UDP, udp(ANY))), PASS, PassNotTcp),
            ("IPv4 ESP", ether(IPV4, v4(A4, ESP, vec![0; 16])), PASS, PassNotTcp),
            (
                "IPv4 AH before TCP",
                ether(IPV4, v4(A4, AH, [vec![TCP, 1], vec![0; 10], tcp(ANY)].concat())),
                PASS,
                PassNotTcp,
            ),
            ("IPv4 in IPv4", ether(IPV4, v4(A4, 4, v4(A4, TCP, tcp(ANY)))), PASS, PassNotTcp),
            ("GRE", ether(IPV4, v4(A4, 47, vec![0; 4])), PASS, PassNotTcp),
            ("SCTP", ether(IPV4, v4(A4, 132, vec![0; 12])), PASS, PassNotTcp),
            ("IPv4 protocol 253", ether(IPV4, v4(A4, 253, tcp(ANY))), PASS, PassNotTcp),
            ("ICMPv6 echo", ether(IPV6, v6(A6, ICMPV6, icmp6(128))), PASS, PassNotTcp),
            (
                "router advertisement",
                ether_to([0x33, 0x33, 0, 0, 0, 1], IPV6, v6("ff02::1", ICMPV6, icmp6(134))),
                PASS,
                PassNotTcp,
            ),
            (
                "neighbour solicitation",
                ether_to([0x33, 0x33, 0xff, 0, 0, 1], IPV6, v6("ff02::1:ff00:1", ICMPV6, icmp6(135))),
                PASS,
                PassNotTcp,
            ),
            ("neighbour advertisement", ether(IPV6, v6(A6, ICMPV6, icmp6(136))), PASS, PassNotTcp),
            (
                "MLD behind hop-by-hop",
                ether(IPV6, v6(A6, HOP_BY_HOP, options(0, ICMPV6, icmp6(143)))),
                PASS,
                PassNotTcp,
            ),
            (
                "ICMPv6 in a first fragment",
                ether(IPV6, v6(A6, FRAGMENT, fragment(0, true, ICMPV6, icmp6(128)))),
                PASS,
                PassNotTcp,
            ),
            ("IPv6 UDP to a steered port", ether(IPV6, v6(A6, UDP, udp(ANY))), PASS, PassNotTcp),
            ("IPv6 UDP behind 7 headers", ether(IPV6, v6(A6, DESTINATION, chain(7, UDP, udp(ANY)))), PASS, PassNotTcp),
            ("IPv6 ESP", ether(IPV6, v6(A6, ESP, vec![0; 16])), PASS, PassNotTcp),
            (
                "IPv6 AH before TCP",
                ether(IPV6, v6(A6, AH, [vec![TCP, 1], vec![0; 10], tcp(ANY)].concat())),
                PASS,
                PassNotTcp,
            ),
            ("IPv6 in IPv6", ether(IPV6, v6(A6, 41, v6(A6, TCP, tcp(ANY)))), PASS, PassNotTcp),
            ("no next header", ether(IPV6, v6(A6, 59, vec![])), PASS, PassNotTcp),
            ("mobility header", ether(IPV6, v6(A6, 135, options(0, 59, vec![]))), PASS, PassNotTcp),
            ("host identity protocol", ether(IPV6, v6(A6, 139, options(4, 59, vec![]))), PASS, PassNotTcp),
            ("unassigned next header", ether(IPV6, v6(A6, 200, tcp(ANY))), PASS, PassNotTcp),
        ],
    );
}

#[test]
fn whole_segments_for_an_endpoint_are_taken() {
    if !root_or_skip("whole_segments_for_an_endpoint_are_taken") {
        return;
    }
    let hop_by_hop_first = || options(1, ROUTING, routing(0, DESTINATION, options(2, TCP, tcp(EXACT))));
    let push = |payload: usize| padded(tcp(EXACT), 20 + payload);
    let frames = vec![
        ("IPv4, given address", ether(IPV4, v4(A4, TCP, tcp(EXACT)))),
        ("IPv4, any address", ether(IPV4, v4(B4, TCP, tcp(ANY)))),
        ("IPv6, given address", ether(IPV6, v6(A6, TCP, tcp(EXACT)))),
        ("IPv6, any address", ether(IPV6, v6(B6, TCP, tcp(ANY)))),
        ("802.1Q tag", ether(CTAG, tag(IPV4, v4(A4, TCP, tcp(EXACT))))),
        ("802.1ad tag", ether(STAG, tag(IPV6, v6(A6, TCP, tcp(EXACT))))),
        ("802.1ad and 802.1Q tag", ether(STAG, tag(CTAG, tag(IPV4, v4(A4, TCP, tcp(EXACT)))))),
        ("two 802.1Q tags", ether(CTAG, tag(CTAG, tag(IPV6, v6(A6, TCP, tcp(EXACT)))))),
        ("one word of IPv4 options", ether(IPV4, v4_options(1, A4, TCP, tcp(EXACT)))),
        ("ten words of IPv4 options", ether(IPV4, v4_options(10, A4, TCP, tcp(EXACT)))),
        ("don't fragment", ether(IPV4, v4_fragment(0x4000, A4, TCP, tcp(EXACT)))),
        ("the reserved fragment bit", ether(IPV4, v4_fragment(0x8000, A4, TCP, tcp(EXACT)))),
        ("padded to 60 bytes", padded(ether(IPV4, v4(A4, TCP, tcp(EXACT))), 60)),
        ("TCP options", ether(IPV4, v4(A4, TCP, tcp_words(15, EXACT)))),
        ("1460 bytes of payload", ether(IPV4, v4(A4, TCP, push(1460)))),
        ("IPv6 with payload", ether(IPV6, v6(A6, TCP, push(1440)))),
        ("hop-by-hop options", ether(IPV6, v6(A6, HOP_BY_HOP, options(0, TCP, tcp(EXACT))))),
        ("the longest options header", ether(IPV6, v6(A6, DESTINATION, options(255, TCP, tcp(EXACT))))),
        ("routing header at its end", ether(IPV6, v6(A6, ROUTING, routing(0, TCP, tcp(EXACT))))),
        ("three kinds of extension headers", ether(IPV6, v6(A6, HOP_BY_HOP, hop_by_hop_first()))),
        ("eight extension headers", ether(IPV6, v6(A6, DESTINATION, chain(8, TCP, tcp(EXACT))))),
    ];
    let expect =
        |action, counter| move |(name, frame): &(&'static str, Vec<u8>)| (*name, frame.clone(), action, counter);
    let steering = mixed();
    check(&steering, frames.iter().map(expect(PASS, PassNoSocket)).collect());

    let socket = xdp_socket();
    steering.set_socket(0, socket.as_fd()).expect("the XSKMAP takes the socket");
    check(&steering, frames.iter().map(expect(REDIRECT, Redirected)).collect());
}

#[test]
fn tcp_for_no_endpoint_or_another_mac_address_is_passed() {
    if !root_or_skip("tcp_for_no_endpoint_or_another_mac_address_is_passed") {
        return;
    }
    let other = [2, 0, 0, 0, 0, 3];
    let mapped = format!("::ffff:{A4}");
    let short = |port| patch(ether(IPV4, v4(A4, TCP, tcp(port))), TCP_AT_V4 + 12, &[0x40]);
    let fragment6 = fragment(0, false, TCP, tcp(81));
    let tags = |inner| ether(STAG, tag(CTAG, tag(CTAG, tag(IPV4, inner))));
    check(
        &mixed(),
        vec![
            ("another port", ether(IPV4, v4(A4, TCP, tcp(81))), PASS, PassNotAnEndpoint),
            ("the port below", ether(IPV4, v4(A4, TCP, tcp(EXACT - 1))), PASS, PassNotAnEndpoint),
            ("the port above", ether(IPV4, v4(A4, TCP, tcp(EXACT + 1))), PASS, PassNotAnEndpoint),
            ("port 0", ether(IPV4, v4(A4, TCP, tcp(0))), PASS, PassNotAnEndpoint),
            ("port 0 over IPv6", ether(IPV6, v6(A6, TCP, tcp(0))), PASS, PassNotAnEndpoint),
            ("the last port", ether(IPV4, v4(A4, TCP, tcp(65_535))), PASS, PassNotAnEndpoint),
            ("another IPv4 address", ether(IPV4, v4(B4, TCP, tcp(EXACT))), PASS, PassNotAnEndpoint),
            ("another IPv6 address", ether(IPV6, v6(B6, TCP, tcp(EXACT))), PASS, PassNotAnEndpoint),
            ("IPv6 to a mapped IPv4 address", ether(IPV6, v6(&mapped, TCP, tcp(EXACT))), PASS, PassNotAnEndpoint),
            ("bad data offset", short(81), PASS, PassNotAnEndpoint),
            (
                "bad total length",
                patch(ether(IPV4, v4(A4, TCP, tcp(81))), IP_AT + 2, &[0, 90]),
                PASS,
                PassNotAnEndpoint,
            ),
            ("first fragment", ether(IPV4, v4_fragment(MORE, A4, TCP, tcp(81))), PASS, PassNotAnEndpoint),
            ("atomic fragment", ether(IPV6, v6(A6, FRAGMENT, fragment6)), PASS, PassNotAnEndpoint),
            ("three tags", tags(v4(A4, TCP, tcp(ANY))), PASS, PassTooManyTags),
            ("another MAC address", ether_to(other, IPV4, v4(A4, TCP, tcp(EXACT))), PASS, PassNotForUs),
            ("another MAC address, IPv6", ether_to(other, IPV6, v6(A6, TCP, tcp(ANY))), PASS, PassNotForUs),
            (
                "another MAC address, tagged",
                ether_to(other, CTAG, tag(IPV4, v4(A4, TCP, tcp(ANY)))),
                PASS,
                PassNotForUs,
            ),
            ("broadcast", ether_to([0xff; 6], IPV4, v4(A4, TCP, tcp(ANY))), PASS, PassNotForUs),
            ("multicast", ether_to([1, 0, 0x5e, 0, 0, 1], IPV4, v4(A4, TCP, tcp(ANY))), PASS, PassNotForUs),
            ("last MAC byte differs", patch(ether(IPV4, v4(A4, TCP, tcp(ANY))), 5, &[9]), PASS, PassNotForUs),
            ("first MAC byte differs", patch(ether(IPV4, v4(A4, TCP, tcp(ANY))), 0, &[6]), PASS, PassNotForUs),
            ("bad data offset to another MAC address", patch(short(EXACT), 5, &[9]), PASS, PassNotForUs),
        ],
    );
}

#[test]
fn fragments_for_an_endpoint_are_dropped_when_they_have_ports_and_passed_when_not() {
    if !root_or_skip("fragments_for_an_endpoint_are_dropped_when_they_have_ports_and_passed_when_not") {
        return;
    }
    let six = |offset, more| ether(IPV6, v6(A6, FRAGMENT, fragment(offset, more, TCP, tcp(EXACT))));
    let behind_options = options(0, FRAGMENT, fragment(0, true, DESTINATION, options(0, TCP, tcp(EXACT))));
    check(
        &mixed(),
        vec![
            ("first", ether(IPV4, v4_fragment(MORE, A4, TCP, tcp(EXACT))), DROP, DropFragment),
            ("first, any address", ether(IPV4, v4_fragment(MORE, B4, TCP, tcp(ANY))), DROP, DropFragment),
            (
                "first, of 8 bytes",
                ether(IPV4, v4_fragment(MORE, A4, TCP, tcp(EXACT)[..8].to_vec())),
                DROP,
                DropFragment,
            ),
            ("middle", ether(IPV4, v4_fragment(MORE | 3, A4, TCP, tcp(EXACT))), PASS, PassLaterFragment),
            ("last", ether(IPV4, v4_fragment(185, A4, TCP, tcp(EXACT))), PASS, PassLaterFragment),
            ("offset 1", ether(IPV4, v4_fragment(1, A4, TCP, tcp(EXACT))), PASS, PassLaterFragment),
            ("offset 4096", ether(IPV4, v4_fragment(0x1000, A4, TCP, tcp(EXACT))), PASS, PassLaterFragment),
            ("last, of 1 byte", ether(IPV4, v4_fragment(185, A4, TCP, vec![0])), PASS, PassLaterFragment),
            ("IPv6 first", six(0, true), DROP, DropFragment),
            ("IPv6 atomic", six(0, false), DROP, DropFragment),
            ("IPv6 middle", six(3, true), PASS, PassLaterFragment),
            ("IPv6 offset 1", six(1, true), PASS, PassLaterFragment),
            ("IPv6 offset 4096", six(4096, true), PASS, PassLaterFragment),
            ("IPv6 last", six(181, false), PASS, PassLaterFragment),
            ("IPv6 first, amid other headers", ether(IPV6, v6(A6, HOP_BY_HOP, behind_options)), DROP, DropFragment),
        ],
    );
}

#[test]
fn headers_that_cannot_be_are_dropped_when_they_are_for_an_endpoint() {
    if !root_or_skip("headers_that_cannot_be_are_dropped_when_they_are_for_an_endpoint") {
        return;
    }
    let four = |at, with: &[u8]| patch(ether(IPV4, v4(A4, TCP, tcp(EXACT))), at, with);
    let six = |at, with: &[u8]| patch(ether(IPV6, v6(A6, TCP, tcp(EXACT))), at, with);
    let in_chain = |length| patch(ether(IPV6, v6(A6, DESTINATION, chain(2, TCP, tcp(EXACT)))), IP_AT + 4, &[0, length]);
    check(
        &mixed(),
        vec![
            ("total length past the frame", four(IP_AT + 2, &[0, 41]), DROP, DropBadIpLength),
            ("total length below the header", four(IP_AT + 2, &[0, 19]), DROP, DropBadIpLength),
            ("total length 0", four(IP_AT + 2, &[0, 0]), DROP, DropBadIpLength),
            ("total length without TCP", four(IP_AT + 2, &[0, 20]), DROP, DropBadTcpHeader),
            ("total length inside TCP", four(IP_AT + 2, &[0, 39]), DROP, DropBadTcpHeader),
            ("data offset 0", four(TCP_AT_V4 + 12, &[0x00]), DROP, DropBadTcpHeader),
            ("data offset 4", four(TCP_AT_V4 + 12, &[0x40]), DROP, DropBadTcpHeader),
            ("data offset past the segment", four(TCP_AT_V4 + 12, &[0x60]), DROP, DropBadTcpHeader),
            ("data offset into the padding", padded(four(TCP_AT_V4 + 12, &[0x60]), 60), DROP, DropBadTcpHeader),
            ("payload length past the frame", six(IP_AT + 4, &[0, 21]), DROP, DropBadIpLength),
            ("payload length 0", six(IP_AT + 4, &[0, 0]), DROP, DropBadTcpHeader),
            ("payload length inside TCP", six(IP_AT + 4, &[0, 19]), DROP, DropBadTcpHeader),
            ("payload length inside the extension headers", in_chain(15), DROP, DropBadIpLength),
            ("payload length up to TCP", in_chain(16), DROP, DropBadTcpHeader),
            ("IPv6 data offset 4", six(TCP_AT_V6 + 12, &[0x40]), DROP, DropBadTcpHeader),
            ("IPv6 data offset past the segment", six(TCP_AT_V6 + 12, &[0xf0]), DROP, DropBadTcpHeader),
            ("IPv4 version 5", four(IP_AT, &[0x55]), PASS, PassBadIpHeader),
            ("IPv4 version 6", four(IP_AT, &[0x65]), PASS, PassBadIpHeader),
            ("IPv4 header of 4 words", four(IP_AT, &[0x44]), PASS, PassBadIpHeader),
            ("IPv6 version 4", six(IP_AT, &[0x40]), PASS, PassBadIpHeader),
        ],
    );
}

#[test]
fn extension_headers_that_cannot_be_followed_are_decided_by_the_address() {
    if !root_or_skip("extension_headers_that_cannot_be_followed_are_decided_by_the_address") {
        return;
    }
    let nine = |address| ether(IPV6, v6(address, DESTINATION, chain(9, TCP, tcp(81))));
    let hop_by_hop_second =
        |address| ether(IPV6, v6(address, DESTINATION, options(0, HOP_BY_HOP, options(0, TCP, tcp(81)))));
    let unknown = |address, next| ether(IPV6, v6(address, next, options(0, TCP, tcp(81))));
    let in_transit = |address| ether(IPV6, v6(address, ROUTING, routing(1, TCP, tcp(EXACT))));
    check(
        &given(),
        vec![
            ("nine headers", nine(A6), DROP, DropExtensionHeader),
            ("nine headers, other address", nine(B6), PASS, PassNotAnEndpoint),
            ("nine headers, other MAC address", patch(nine(A6), 5, &[9]), PASS, PassNotForUs),
            ("hop-by-hop second", hop_by_hop_second(A6), DROP, DropExtensionHeader),
            ("hop-by-hop second, other address", hop_by_hop_second(B6), PASS, PassNotAnEndpoint),
            ("Shim6", unknown(A6, 140), DROP, DropExtensionHeader),
            ("Shim6, other address", unknown(B6, 140), PASS, PassNotAnEndpoint),
            ("experiment 253", unknown(A6, 253), DROP, DropExtensionHeader),
            ("experiment 254", unknown(A6, 254), DROP, DropExtensionHeader),
            ("segments left", in_transit(A6), PASS, PassInTransit),
        ],
    );
    check(
        &mixed(),
        vec![
            ("nine headers, any address", nine(B6), DROP, DropExtensionHeader),
            ("Shim6, any address", unknown(B6, 140), DROP, DropExtensionHeader),
            ("segments left, any address", in_transit(B6), PASS, PassInTransit),
        ],
    );
    check(&load(MacFilter::Own(OUR_MAC), &[]), vec![("nine headers, no endpoint", nine(A6), PASS, PassNotAnEndpoint)]);
}

#[test]
fn a_frame_cut_anywhere_is_passed_before_its_ports_and_dropped_behind_them() {
    if !root_or_skip("a_frame_cut_anywhere_is_passed_before_its_ports_and_dropped_behind_them") {
        return;
    }
    let six = v6(A6, HOP_BY_HOP, options(1, ROUTING, routing(0, DESTINATION, options(0, TCP, tcp(EXACT)))));
    let frames = [
        ether(IPV4, v4(A4, TCP, tcp(EXACT))),
        ether(STAG, tag(CTAG, tag(IPV4, v4_options(3, A4, TCP, tcp(EXACT))))),
        ether(IPV6, v6(A6, TCP, tcp(EXACT))),
        ether(CTAG, tag(IPV6, six)),
    ];
    let steering = mixed();
    for frame in frames {
        // BPF_PROG_RUN refuses a frame without a whole Ethernet header.
        for length in 14..frame.len() {
            let ports_end = frame.len() - 16;
            let expected = if length < ports_end { (PASS, PassTruncated) } else { (DROP, DropBadIpLength) };
            let (action, moved) = outcome(&steering, &frame[..length]);
            assert_eq!((action, moved), (expected.0, vec![(expected.1, 1)]), "{length} of {} bytes", frame.len());
        }
        assert_eq!(outcome(&steering, &frame), (PASS, vec![(PassNoSocket, 1)]));
    }
}

#[test]
fn the_mac_filter_can_be_changed_and_lifted() {
    if !root_or_skip("the_mac_filter_can_be_changed_and_lifted") {
        return;
    }
    let other = [2, 0, 0, 0, 0, 3];
    let to_us = ether(IPV4, v4(A4, TCP, tcp(EXACT)));
    let to_other = ether_to(other, IPV4, v4(A4, TCP, tcp(EXACT)));
    let nine = ether_to(other, IPV6, v6(B6, DESTINATION, chain(9, TCP, tcp(81))));
    let mut steering = mixed();
    steering.set_mac(MacFilter::Own(other)).expect("the configuration is written");
    check(&steering, vec![("old address", to_us.clone(), PASS, PassNotForUs)]);
    check(&steering, vec![("new address", to_other.clone(), PASS, PassNoSocket)]);
    check(&steering, vec![("endpoints of any address are not forgotten", nine, DROP, DropExtensionHeader)]);
    steering.set_mac(MacFilter::Any).expect("the configuration is written");
    check(&steering, vec![("ours", to_us, PASS, PassNoSocket), ("another", to_other, PASS, PassNoSocket)]);
}

#[test]
fn endpoints_change_while_the_program_is_loaded() {
    if !root_or_skip("endpoints_change_while_the_program_is_loaded") {
        return;
    }
    let frame = |address, port| ether(IPV4, v4(address, TCP, tcp(port)));
    let mut steering = load(MacFilter::Own(OUR_MAC), &[]);
    check(&steering, vec![("nothing yet", frame(A4, 80), PASS, PassNotAnEndpoint)]);
    let sets: [(&[Endpoint], [SteerCounter; 4]); 6] = [
        (&[at(A4, 80)], [PassNoSocket, PassNotAnEndpoint, PassNotAnEndpoint, PassNotAnEndpoint]),
        (&[any(80)], [PassNoSocket, PassNoSocket, PassNotAnEndpoint, PassNotAnEndpoint]),
        (&[at(B4, 80), at(A4, 81)], [PassNotAnEndpoint, PassNoSocket, PassNoSocket, PassNotAnEndpoint]),
        (&[at(A4, 80), any(81), any(65_535)], [PassNoSocket, PassNotAnEndpoint, PassNoSocket, PassNoSocket]),
        (&[at("::ffff:192.0.2.1", 80)], [PassNoSocket, PassNotAnEndpoint, PassNotAnEndpoint, PassNotAnEndpoint]),
        (&[], [PassNotAnEndpoint; 4]),
    ];
    for (endpoints, expected) in sets {
        steering.set_endpoints(endpoints).expect("the maps take the endpoints");
        let frames = [frame(A4, 80), frame(B4, 80), frame(A4, 81), frame(A4, 65_535)];
        for (i, (frame, counter)) in frames.iter().zip(expected).enumerate() {
            assert_eq!(outcome(&steering, frame), (PASS, vec![(counter, 1)]), "frame {i} with {endpoints:?}");
        }
    }
}

#[test]
fn there_is_room_for_as_many_endpoints_as_asked_for_while_all_are_replaced() {
    if !root_or_skip("there_is_room_for_as_many_endpoints_as_asked_for_while_all_are_replaced") {
        return;
    }
    let count = 10_240_u16;
    let set = |net: u8| {
        let address = |i: u16| format!("10.{net}.{}.{}", i >> 8, i & 0xff);
        (0..count).map(|i| at(&address(i), 1000 + i)).collect::<Vec<_>>()
    };
    let options = SteerOptions { queues: 1, max_endpoints: u32::from(count), mac: MacFilter::Own(OUR_MAC) };
    let mut steering = Steering::load(options).expect("the program loads");
    for net in [1, 2] {
        steering.set_endpoints(&set(net)).expect("there is room for the old and the new set");
    }
    let last = |net: u8| ether(IPV4, v4(&format!("10.{net}.39.255"), TCP, tcp(1000 + count - 1)));
    check(&steering, vec![("old set", last(1), PASS, PassNotAnEndpoint), ("new set", last(2), PASS, PassNoSocket)]);

    let refused = steering.set_endpoints(&[set(2), vec![any(80)]].concat()).expect_err("one too many");
    assert!(matches!(refused, SteerError::TooManyEndpoints { wanted: 10_241, room: 10_240 }), "{refused}");
    check(&steering, vec![("a refused set changes nothing", last(2), PASS, PassNoSocket)]);
}

#[test]
fn a_queue_redirects_while_it_has_a_socket() {
    if !root_or_skip("a_queue_redirects_while_it_has_a_socket") {
        return;
    }
    let frame = ether(IPV4, v4(A4, TCP, tcp(EXACT)));
    let steering = mixed();
    let socket = xdp_socket();
    let redirected = (REDIRECT, vec![(Redirected, 1)]);
    let fallen_back = (PASS, vec![(PassNoSocket, 1)]);

    steering.set_socket(1, socket.as_fd()).expect("the XSKMAP takes the socket");
    assert_eq!(outcome(&steering, &frame), fallen_back, "the frame is of queue 0, the socket of queue 1");
    steering.set_socket(0, socket.as_fd()).expect("the XSKMAP takes the socket");
    assert_eq!(outcome(&steering, &frame), redirected);
    steering.clear_socket(0).expect("the socket is taken out");
    assert_eq!(outcome(&steering, &frame), fallen_back);
    steering.clear_socket(0).expect("no socket there is no error");

    steering.set_socket(0, socket.as_fd()).expect("the XSKMAP takes the socket");
    drop(socket);
    assert_eq!(outcome(&steering, &frame), fallen_back, "the kernel takes a closed socket out");

    let refused = steering.set_socket(2, xdp_socket().as_fd()).expect_err("there are two queues");
    assert!(matches!(refused, SteerError::NoSuchQueue { queue: 2, queues: 2 }), "{refused}");
    let not_xdp = std::net::UdpSocket::bind("127.0.0.1:0").expect("a UDP socket");
    let refused = steering.set_socket(0, not_xdp.as_fd()).expect_err("not an AF_XDP socket");
    assert!(matches!(refused, SteerError::Map { .. }), "{refused}");
}

/// Prints what a run costs: `cargo test --release --test steering -- --ignored --nocapture cost`.
#[test]
#[ignore = "a measurement"]
fn cost_of_a_frame() {
    if !root_or_skip("cost_of_a_frame") {
        return;
    }
    let steering = mixed();
    let socket = xdp_socket();
    steering.set_socket(0, socket.as_fd()).expect("the XSKMAP takes the socket");
    let frames = [
        ("ARP", ether(ARP, vec![0; 46])),
        ("UDP", ether(IPV4, v4(A4, UDP, udp(53)))),
        ("IPv4 TCP, not steered", ether(IPV4, v4(A4, TCP, tcp(81)))),
        ("IPv4 TCP, port steered for another address", ether(IPV4, v4(B4, TCP, tcp(EXACT)))),
        ("IPv4 TCP, redirected, any address", ether(IPV4, v4(A4, TCP, tcp(ANY)))),
        ("IPv4 TCP, redirected, given address", ether(IPV4, v4(A4, TCP, tcp(EXACT)))),
        ("IPv6 TCP, not steered", ether(IPV6, v6(A6, TCP, tcp(81)))),
        ("IPv6 TCP, redirected, any address", ether(IPV6, v6(A6, TCP, tcp(ANY)))),
        ("IPv6 TCP, redirected, given address", ether(IPV6, v6(A6, TCP, tcp(EXACT)))),
        ("IPv6 TCP behind 8 headers, redirected", ether(IPV6, v6(A6, DESTINATION, chain(8, TCP, tcp(EXACT))))),
    ];
    for (name, frame) in frames {
        let best = (0..7).map(|_| run(&steering, &frame, 1_000_000).1).min().expect("seven runs");
        println!("{:>4} ns  {name}", best.as_nanos());
    }
}
