//! Who may talk to an endpoint: the prefix filter and the limit of SYNs from one prefix, frame by frame.

use crate::common::root_or_skip;
use crate::frames::*;
use crate::{A4, A6, ANY, B4, DROP, EXACT, PASS, check, mixed, outcome, run};
use handfast::steer::SteerCounter::*;
use handfast::steer::filter::MAX_PREFIXES;
use handfast::steer::syn_rate::MAX_BUCKETS;
use handfast::steer::{Prefix, Rule, SourceFilter, SteerCounter, SteerError, SynRate};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::thread::sleep;
use std::time::Duration;

/// Offset of the source address in an IPv4 and in an IPv6 header.
const SOURCE_V4: usize = 12;
const SOURCE_V6: usize = 8;
/// Offset of the control bits in a TCP header.
const CONTROL: usize = 13;

/// A SYN to an endpoint from an IPv4 address.
fn from4(source: &str) -> Vec<u8> {
    let source: Ipv4Addr = source.parse().expect("an IPv4 address");
    patch(ether(IPV4, v4(A4, TCP, tcp(EXACT))), IP_AT + SOURCE_V4, &source.octets())
}

/// A SYN to an endpoint from an IPv6 address.
fn from6(source: &str) -> Vec<u8> {
    let source: Ipv6Addr = source.parse().expect("an IPv6 address");
    patch(ether(IPV6, v6(A6, TCP, tcp(EXACT))), IP_AT + SOURCE_V6, &source.octets())
}

fn filter(deny: &[&str], allow: &[&str]) -> SourceFilter {
    let rules = |list: &[&str], rule| {
        let prefixes = list.iter().map(|text| text.parse::<Prefix>().expect("a prefix"));
        prefixes.map(|prefix| (prefix, rule)).collect::<Vec<_>>()
    };
    SourceFilter::new([rules(deny, Rule::Deny), rules(allow, Rule::Allow)].concat())
}

#[test]
fn the_longest_prefix_that_covers_a_source_decides() {
    if !root_or_skip("the_longest_prefix_that_covers_a_source_decides") {
        return;
    }
    let mut steering = mixed();
    let deny = ["10.0.0.0/8", "10.1.2.0/24", "192.0.2.7", "2001:db8::/32", "2001:db8:1:2::/64"];
    let allow = ["10.1.0.0/16", "10.1.2.128/25", "2001:db8:1::/48", "2001:db8:1:2::1"];
    steering.set_filter(&filter(&deny, &allow)).expect("the filter is written");
    let whole = patch(from4("10.0.0.1"), TCP_AT_V4 + CONTROL, &[0x10]);
    check(
        &steering,
        vec![
            ("no prefix", from4("198.51.100.1"), PASS, PassNoSocket),
            ("denied", from4("10.0.0.1"), DROP, DropDenied),
            ("the last of the prefix", from4("10.255.255.255"), DROP, DropDenied),
            ("behind the prefix", from4("11.0.0.0"), PASS, PassNoSocket),
            ("allowed within", from4("10.1.3.1"), PASS, PassNoSocket),
            ("denied within that", from4("10.1.2.1"), DROP, DropDenied),
            ("and allowed again", from4("10.1.2.129"), PASS, PassNoSocket),
            ("one address", from4("192.0.2.7"), DROP, DropDenied),
            ("its neighbour", from4("192.0.2.6"), PASS, PassNoSocket),
            ("IPv6, no prefix", from6("2001:db9::1"), PASS, PassNoSocket),
            ("IPv6, denied", from6("2001:db8:2::1"), DROP, DropDenied),
            ("IPv6, allowed within", from6("2001:db8:1::1"), PASS, PassNoSocket),
            ("IPv6, denied within that", from6("2001:db8:1:2::2"), DROP, DropDenied),
            ("IPv6, and one address allowed", from6("2001:db8:1:2::1"), PASS, PassNoSocket),
            ("an ACK, too", whole, DROP, DropDenied),
            ("any address", patch(from4("10.0.0.1"), TCP_AT_V4 + 2, &ANY.to_be_bytes()), DROP, DropDenied),
            ("tagged", ether(CTAG, tag(IPV4, from4("10.0.0.1")[14..].to_vec())), DROP, DropDenied),
            ("a fragment", patch(from4("10.0.0.1"), IP_AT + 6, &MORE.to_be_bytes()), DROP, DropDenied),
            ("bad data offset", patch(from4("10.0.0.1"), TCP_AT_V4 + 12, &[0x40]), DROP, DropDenied),
            ("another port", patch(from4("10.0.0.1"), TCP_AT_V4 + 2, &[0, 81]), PASS, PassNotAnEndpoint),
            ("another MAC address", patch(from4("10.0.0.1"), 5, &[9]), PASS, PassNotForUs),
            ("UDP", patch(ether(IPV4, v4(B4, UDP, udp(ANY))), IP_AT + SOURCE_V4, &[10, 0, 0, 1]), PASS, PassNotTcp),
        ],
    );
}

#[test]
fn a_prefix_of_no_bits_covers_one_family() {
    if !root_or_skip("a_prefix_of_no_bits_covers_one_family") {
        return;
    }
    let mut steering = mixed();
    steering.set_filter(&filter(&["::/0"], &[])).expect("the filter is written");
    check(&steering, vec![("IPv4", from4("10.0.0.1"), PASS, PassNoSocket), ("IPv6", from6("::2"), DROP, DropDenied)]);
    steering.set_filter(&filter(&["0.0.0.0/0"], &[])).expect("the filter is written");
    check(&steering, vec![("IPv4", from4("10.0.0.1"), DROP, DropDenied), ("IPv6", from6("::2"), PASS, PassNoSocket)]);
    // An IPv6 frame may say that it comes from an IPv4 address in the form of IPv6. The engine drops it; it is no IPv4.
    let mapped = from6("::ffff:10.0.0.1");
    check(&steering, vec![("IPv4 in the form of IPv6", mapped, PASS, PassNoSocket)]);
}

#[test]
fn the_filter_changes_while_the_program_is_loaded() {
    if !root_or_skip("the_filter_changes_while_the_program_is_loaded") {
        return;
    }
    let mut steering = mixed();
    let (pass, drop) = ((PASS, vec![(PassNoSocket, 1)]), (DROP, vec![(DropDenied, 1)]));
    let sets = [
        (filter(&["10.0.0.0/8"], &[]), [&drop, &pass]),
        (filter(&["10.0.0.0/8", "11.0.0.0/8"], &["10.0.0.1"]), [&pass, &drop]),
        (filter(&[], &["10.0.0.0/8"]), [&pass, &pass]),
        (filter(&["0.0.0.0/0"], &[]), [&drop, &drop]),
        (SourceFilter::default(), [&pass, &pass]),
        (filter(&["11.0.0.0/8"], &[]), [&pass, &drop]),
    ];
    for (filter, expected) in sets {
        steering.set_filter(&filter).expect("the filter is written");
        for (source, expected) in ["10.0.0.1", "11.0.0.1"].into_iter().zip(expected) {
            assert_eq!(&outcome(&steering, &from4(source)), expected, "{source} with {filter:?}");
        }
    }
}

#[test]
fn there_is_room_for_as_many_prefixes_as_a_filter_may_have_while_all_are_replaced() {
    if !root_or_skip("there_is_room_for_as_many_prefixes_as_a_filter_may_have_while_all_are_replaced") {
        return;
    }
    let mut steering = mixed();
    let set = |net: u32, count: usize| {
        let prefix = |i: u32| Prefix::new(Ipv4Addr::from(net << 24 | i << 8).into(), 24).expect("a prefix");
        SourceFilter::new((0..).take(count).map(|i| (prefix(i), Rule::Deny)))
    };
    for net in [10, 11] {
        steering.set_filter(&set(net, MAX_PREFIXES)).expect("there is room for the old and the new filter");
    }
    let refused = steering.set_filter(&set(12, MAX_PREFIXES + 1)).expect_err("one too many");
    assert!(matches!(refused, SteerError::TooManyPrefixes { wanted: 16_385 }), "{refused}");
    check(
        &steering,
        vec![
            ("the old filter", from4("10.63.255.1"), PASS, PassNoSocket),
            ("the new filter", from4("11.63.255.1"), DROP, DropDenied),
            ("the refused filter", from4("12.0.0.1"), PASS, PassNoSocket),
        ],
    );
}

/// The outcomes of a row of frames.
fn outcomes(steering: &handfast::steer::Steering, frames: &[Vec<u8>]) -> Vec<SteerCounter> {
    let one = |frame: &Vec<u8>| {
        let (_, moved) = outcome(steering, frame);
        moved.into_iter().map(|(counter, _)| counter).find(|counter| counter.is_outcome()).expect("an outcome")
    };
    frames.iter().map(one).collect()
}

#[test]
fn syns_beyond_the_rate_of_their_prefix_are_dropped() {
    if !root_or_skip("syns_beyond_the_rate_of_their_prefix_are_dropped") {
        return;
    }
    let mut steering = mixed();
    // A SYN every 250 ms: what the frames below take is much less.
    steering.set_syn_rate(SynRate { per_second: 4, prefix_v4: 24, prefix_v6: 48 }).expect("the rate is written");
    let (pass, drop) = (PassNoSocket, DropSynRate);
    let row = |frame: Vec<u8>| vec![frame; 6];
    assert_eq!(outcomes(&steering, &row(from4("10.0.0.1"))), [pass, pass, pass, pass, drop, drop]);
    assert_eq!(
        outcomes(&steering, &[from4("10.0.0.254"), from4("10.0.1.1")]),
        [drop, pass],
        "a neighbour, and another"
    );
    assert_eq!(outcomes(&steering, &row(from6("2001:db8:1::1"))), [pass, pass, pass, pass, drop, drop]);
    assert_eq!(outcomes(&steering, &[from6("2001:db8:1:9::1"), from6("2001:db8:2::1")]), [drop, pass]);
    let with = |control: u8| patch(from4("10.0.0.1"), TCP_AT_V4 + CONTROL, &[control]);
    // ACK, SYN-ACK, FIN, RST; then SYN with PSH, and with ECE and CWR.
    assert_eq!(
        outcomes(&steering, &[0x10, 0x12, 0x01, 0x04, 0x0a, 0xc2].map(with)),
        [pass, pass, pass, pass, drop, drop]
    );
    let others = [patch(from4("10.0.0.1"), TCP_AT_V4 + 2, &[0, 81]), patch(from4("10.0.0.1"), TCP_AT_V4 + 12, &[0x40])];
    assert_eq!(outcomes(&steering, &others), [PassNotAnEndpoint, DropBadTcpHeader], "they take nothing from a bucket");
    sleep(Duration::from_millis(300));
    assert_eq!(outcomes(&steering, &[from4("10.0.0.1"), from4("10.0.0.1")]), [pass, drop], "one more after 250 ms");
    let counters = steering.counters().expect("readable counters");
    assert_eq!((counters.get(SynBuckets), counters.get(SynUnlimited)), (4, 0));

    steering.set_syn_rate(SynRate::default()).expect("the rate is written");
    assert_eq!(outcomes(&steering, &row(from4("10.0.0.1"))), [pass; 6]);
    let one_for_all = SynRate { per_second: 1, prefix_v4: 0, prefix_v6: 0 };
    steering.set_syn_rate(one_for_all).expect("the rate is written");
    let spread = [from4("10.0.0.1"), from4("192.0.2.1"), from6("::2"), from6("2001:db8::2")];
    assert_eq!(outcomes(&steering, &spread), [pass, drop, pass, drop], "a bucket for each family");
    assert_eq!(steering.counters().expect("readable counters").unaccounted(), 0);
}

#[test]
fn who_is_denied_takes_nothing_from_a_bucket() {
    if !root_or_skip("who_is_denied_takes_nothing_from_a_bucket") {
        return;
    }
    let mut steering = mixed();
    steering.set_syn_rate(SynRate { per_second: 1, ..SynRate::default() }).expect("the rate is written");
    steering.set_filter(&filter(&["10.0.0.1"], &[])).expect("the filter is written");
    let frames = [from4("10.0.0.1"), from4("10.0.0.1"), from4("10.0.0.2"), from4("10.0.0.3")];
    assert_eq!(outcomes(&steering, &frames), [DropDenied, DropDenied, PassNoSocket, DropSynRate]);
}

#[test]
fn with_more_prefixes_than_buckets_the_oldest_start_anew() {
    if !root_or_skip("with_more_prefixes_than_buckets_the_oldest_start_anew") {
        return;
    }
    let mut steering = mixed();
    steering.set_syn_rate(SynRate { per_second: 1, prefix_v4: 32, prefix_v6: 48 }).expect("the rate is written");
    let from = |i: u32| patch(ether(IPV4, v4(A4, TCP, tcp(EXACT))), IP_AT + SOURCE_V4, &(10 << 24 | i).to_be_bytes());
    assert_eq!(outcomes(&steering, &[from(0), from(0)]), [PassNoSocket, DropSynRate]);
    for i in 1..=MAX_BUCKETS * 3 / 2 {
        assert_eq!(run(&steering, &from(i), 1).0, PASS, "nobody is locked out by others");
    }
    let counters = steering.counters().expect("readable counters");
    assert_eq!(counters.get(SynBuckets) + counters.get(SynUnlimited), u64::from(MAX_BUCKETS * 3 / 2) + 1);
    assert!(counters.get(SynBuckets) > u64::from(MAX_BUCKETS), "{counters:?}");
    // Number 0 may still be there: the kernel keeps a bucket that was used again for longer than one that was not.
    assert_eq!(outcome(&steering, &from(1)), (PASS, vec![(PassNoSocket, 1), (SynBuckets, 1)]));
    assert_eq!(steering.counters().expect("readable counters").unaccounted(), 0);
}
