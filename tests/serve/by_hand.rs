//! Frames that no well-behaved kernel sends: extension headers, VLAN tags, fragments, and headers that contradict
//! themselves. Each is answered as it should be or not at all, and counted to the frame.

use std::net::SocketAddr;

use handfast::observe::report::Stats;

use crate::wire::{ACK, Capture, Checksum, Crafted, FIN, FROM_SERVER, Hand, PSH, RST, SYN, URG};
use crate::world::{Serve, World, differences, server};

const V4: &str = crate::world::V4;
const V6: &str = crate::world::V6;

/// A segment to the served port from an address that the client's kernel does not own. Each case has a port of its own.
fn segment(address: &str, case: u16, flags: u8) -> Crafted {
    let source = if address == V4 { "198.18.9.9" } else { "2001:2::99" };
    Crafted::new(SocketAddr::new(source.parse().unwrap(), 10_000 + case), server(address, 80), flags)
}

/// What the kernels at both ends say now and then, group memberships for instance; no frame of these tests is like that.
const OTHERS: [&str; 2] = ["pass_not_ip", "pass_not_tcp"];

/// Sends one frame and returns what it changed: where steering sent it, and the drop reason or, without one, nothing.
fn send(serve: &Serve<'_>, hand: &mut Hand, frame: &[u8]) -> (Vec<String>, Stats) {
    let before = serve.stats();
    let steered = |stats: &Stats| stats.steering.get("redirected").unwrap();
    let stray = |stats: &Stats| OTHERS.iter().map(|name| stats.steering.get(name).unwrap()).sum::<u64>();
    let seen = |stats: &Stats| stats.steering.get("seen").unwrap() - stray(stats);
    let received = |stats: &Stats| stats.total.engine.get("received").unwrap();
    hand.send(frame);
    let after = serve.stats_when("the frame in the books", |stats| {
        seen(stats) > seen(&before) && received(stats) - received(&before) == steered(stats) - steered(&before)
    });
    let mut changes = differences(&before.steering, &after.steering);
    changes.retain(|(name, _)| !["seen", "redirected"].contains(name) && !OTHERS.contains(name));
    changes.extend(differences(&before.total.drops, &after.total.drops));
    (changes.into_iter().map(|(name, count)| format!("{name} {count}")).collect(), after)
}

const SYN_ACK: &str = "0x0012";
const RST_ONLY: &str = "0x0004";

/// A frame, what it is counted as, and what it is answered with.
type Case = (&'static str, Vec<u8>, Vec<&'static str>, Option<&'static str>);

fn check(world: &World, serve: &Serve<'_>, cases: Vec<Case>) {
    let capture = Capture::start(world);
    let mut hand = Hand::new(world);
    for (what, frame, counted, _) in &cases {
        let (changes, stats) = send(serve, &mut hand, frame);
        let expected: Vec<String> = counted.iter().map(|name| format!("{name} 1")).collect();
        assert_eq!(changes, expected, "{what}");
        assert!(stats.ledgers.balanced(), "{what}: {:?}", stats.ledgers);
    }
    let captured = capture.stop();
    let got = captured.frames(&format!("{FROM_SERVER} && tcp"), &["tcp.dstport", "tcp.flags"]);
    let expected = (10_000..).zip(&cases).filter_map(|(port, (what, _, _, answer))| Some((port, what, (*answer)?)));
    for (i, (port, what, flags)) in expected.clone().enumerate() {
        assert_eq!(got.get(i), Some(&vec![format!("{port}"), flags.to_owned()]), "{what}: {got:?}");
    }
    assert_eq!(got.len(), expected.count(), "more answers than there should be: {got:?}");
}

/// A case whose frame is still to be made: with its number in the source port.
type Unnumbered<'a> = (&'static str, &'a dyn Fn(u16) -> Vec<u8>, Vec<&'static str>, Option<&'static str>);

/// Numbers the cases in the order in which they are listed.
fn numbered(make: Vec<Unnumbered<'_>>) -> Vec<Case> {
    (0..).zip(make).map(|(case, (what, frame, counted, answer))| (what, frame(case), counted, answer)).collect()
}

#[test]
fn malformed_segments_get_no_answer_and_are_counted_by_reason() {
    let Some(world) = World::up("malformed_segments_get_no_answer_and_are_counted_by_reason") else { return };
    let serve = world.serve("--listen 80=http");
    let flags = |flags: u8| move |case| segment(V4, case, flags).bytes();
    let cut = |len: usize| move |case| segment(V4, case, SYN).bytes()[..len].to_vec();
    let with = |change: fn(&mut Crafted)| {
        move |case| {
            let mut crafted = segment(V4, case, SYN);
            change(&mut crafted);
            crafted.bytes()
        }
    };
    let patched = |change: fn(&mut Vec<u8>)| {
        move |case| {
            let mut frame = segment(V4, case, SYN).bytes();
            change(&mut frame);
            frame
        }
    };
    let cases = numbered(vec![
        ("XMAS: FIN, PSH and URG", &flags(FIN | PSH | URG), vec!["not_a_syn"], None),
        ("every flag", &flags(FIN | SYN | RST | PSH | ACK | URG), vec!["rst_to_closed"], None),
        ("no flag", &flags(0), vec!["not_a_syn"], None),
        ("SYN and FIN", &flags(SYN | FIN), vec!["bad_flags"], None),
        ("FIN alone", &flags(FIN), vec!["not_a_syn"], None),
        ("RST", &flags(RST), vec!["rst_to_closed"], None),
        ("RST and ACK", &flags(RST | ACK), vec!["rst_to_closed"], None),
        ("ACK for no connection", &flags(ACK), vec![], Some(RST_ONLY)),
        ("SYN and ACK", &flags(SYN | ACK), vec![], Some(RST_ONLY)),
        ("data offset 4", &with(|segment| segment.data_offset = 4), vec!["drop_bad_tcp_header"], None),
        ("data offset past the end", &with(|segment| segment.data_offset = 15), vec!["drop_bad_tcp_header"], None),
        ("wrong TCP checksum", &with(|segment| segment.checksum = Checksum::Wrong), vec!["bad_tcp_checksum"], None),
        (
            "partial TCP checksum on a veth",
            &with(|segment| segment.checksum = Checksum::Partial),
            vec![],
            Some(SYN_ACK),
        ),
        ("cut in the TCP header", &cut(14 + 20 + 12), vec!["drop_bad_ip_length"], None),
        ("cut before the ports", &cut(14 + 20 + 2), vec!["pass_truncated"], None),
        ("cut in the IP header", &cut(14 + 12), vec!["pass_truncated"], None),
        ("wrong IP checksum", &patched(|frame| frame[24] ^= 1), vec!["bad_ipv4_checksum"], None),
        ("IP header length 4", &patched(|frame| frame[14] = 0x44), vec!["pass_bad_ip_header"], None),
        ("IP version 5", &patched(|frame| frame[14] = 0x55), vec!["pass_bad_ip_header"], None),
        ("another MAC address", &with(|segment| segment.dst_mac[5] = 9), vec!["pass_not_for_us"], None),
        ("port 0", &with(|segment| segment.src.set_port(0)), vec!["bad_port"], None),
        ("from loopback", &with(|segment| segment.src.set_ip("127.0.0.1".parse().unwrap())), vec!["bad_address"], None),
        ("from a group", &with(|segment| segment.src.set_ip("224.0.0.1".parse().unwrap())), vec!["bad_address"], None),
        (
            "from everybody",
            &with(|segment| segment.src.set_ip("255.255.255.255".parse().unwrap())),
            vec!["bad_address"],
            None,
        ),
        ("first fragment", &with(|segment| segment.fragment = 0x2000), vec!["drop_fragment"], None),
        ("later fragment", &with(|segment| segment.fragment = 3), vec!["pass_later_fragment"], None),
        ("a sound SYN, in the end", &flags(SYN), vec![], Some(SYN_ACK)),
    ]);
    check(&world, &serve, cases);
}

#[test]
fn with_partial_checksums_refused_they_are_dropped_like_wrong_ones() {
    let Some(world) = World::up("with_partial_checksums_refused_they_are_dropped_like_wrong_ones") else { return };
    let serve = world.serve("--listen 80=http --partial-checksums refuse");
    let with = |checksum| move |case| Crafted { checksum, ..segment(V4, case, SYN) }.bytes();
    let cases = numbered(vec![
        ("partial", &with(Checksum::Partial), vec!["bad_tcp_checksum"], None),
        ("wrong", &with(Checksum::Wrong), vec!["bad_tcp_checksum"], None),
        ("whole", &with(Checksum::Whole), vec![], Some(SYN_ACK)),
    ]);
    check(&world, &serve, cases);
}

#[test]
fn extension_headers_are_stepped_over_and_fragments_are_not_answered() {
    let Some(world) = World::up("extension_headers_are_stepped_over_and_fragments_are_not_answered") else { return };
    let serve = world.serve("--listen 80=http");
    // PadN options fill a header of 8 bytes; a routing header of type 4 with no segments left; fragment headers.
    const PAD: [u8; 6] = [1, 4, 0, 0, 0, 0];
    const ROUTED: [u8; 6] = [4, 0, 0, 0, 0, 0];
    const ON_THE_WAY: [u8; 6] = [4, 1, 0, 0, 0, 0];
    const ATOMIC: [u8; 6] = [0, 0, 0, 0, 0, 7];
    const LATER: [u8; 6] = [0, 8, 0, 0, 0, 7];
    const FIRST: [u8; 6] = [0, 1, 0, 0, 0, 7];
    let chain = |headers: &[(u8, [u8; 6])]| {
        let extensions: Vec<(u8, Vec<u8>)> = headers.iter().map(|(kind, body)| (*kind, body.to_vec())).collect();
        move |case| Crafted { extensions: extensions.clone(), ..segment(V6, case, SYN) }.bytes()
    };
    let cases = numbered(vec![
        ("no extension header", &chain(&[]), vec![], Some(SYN_ACK)),
        ("hop-by-hop options", &chain(&[(0, PAD)]), vec![], Some(SYN_ACK)),
        ("destination options", &chain(&[(60, PAD)]), vec![], Some(SYN_ACK)),
        ("the order of RFC 8200", &chain(&[(0, PAD), (60, PAD), (43, ROUTED), (60, PAD)]), vec![], Some(SYN_ACK)),
        ("on the way to another", &chain(&[(43, ON_THE_WAY)]), vec!["pass_in_transit"], None),
        ("atomic fragment", &chain(&[(44, ATOMIC)]), vec!["drop_fragment"], None),
        ("first fragment", &chain(&[(44, FIRST)]), vec!["drop_fragment"], None),
        ("later fragment", &chain(&[(44, LATER)]), vec!["pass_later_fragment"], None),
        ("hop-by-hop options not first", &chain(&[(60, PAD), (0, PAD)]), vec!["drop_extension_header"], None),
        ("an experimental header", &chain(&[(253, PAD)]), vec!["drop_extension_header"], None),
    ]);
    check(&world, &serve, cases);
}

#[test]
fn a_tagged_syn_is_answered_with_the_same_tags() {
    let Some(world) = World::up("a_tagged_syn_is_answered_with_the_same_tags") else { return };
    let serve = world.serve("--listen 80=http");
    let capture = Capture::start(&world);
    let mut hand = Hand::new(&world);
    for (case, address) in [(0, V4), (10, V6)] {
        // VLAN 7 with priority 5; the same behind a service tag for VLAN 300.
        for (more, tags) in [(0, vec![(0x8100, 0xa007)]), (1, vec![(0x88a8, 0x012c), (0x8100, 0xa007)])] {
            let crafted = Crafted { tags, ..segment(address, case + more, SYN) };
            assert_eq!(send(&serve, &mut hand, &crafted.bytes()).0, [""; 0]);
        }
    }
    let captured = capture.stop();
    let fields = ["tcp.dstport", "tcp.flags", "vlan.id", "vlan.priority", "ieee8021ad.id", "eth.dst"];
    let got = captured.frames(&format!("{FROM_SERVER} && tcp"), &fields);
    let expected =
        |port: &str, outer: &str| [port, SYN_ACK, "7", "5", outer, "02:68:66:00:00:02"].map(str::to_owned).to_vec();
    let expected = [expected("10000", ""), expected("10001", "300"), expected("10010", ""), expected("10011", "300")];
    assert_eq!(got, expected);
}
