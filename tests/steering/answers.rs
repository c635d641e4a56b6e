//! SYNs that the program answers itself: the same SYN-ACK as a worker's, byte by byte, for every SYN that a worker would
//! open a connection for; and none for any other.

use crate::common::root_or_skip;
use crate::frames::{CTAG, IPV4, IPV6, OUR_MAC, STAG};
use crate::{ANY, DROP, PASS, REDIRECT, mixed, xdp_socket};
use handfast::steer::SteerCounter::*;
use handfast::steer::{SteerCounter, Steering, SynAnswers, TimestampClock};
use handfast::tcp::Env;
use handfast::tcp::config::TcpConfig;
use handfast::tcp::cookie::{self, Key, Keys};
use handfast::time::Tick;
use handfast::wire::parse::{PartialChecksums, parse};
use handfast::wire::reply::{self, Addressing};
use handfast::wire::segment::{Control, Segment};
use libbpf_rs::ProgramInput;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use rustix::time::{ClockId, clock_getres, clock_gettime};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd as _;

/// Action of a program (linux/bpf.h).
const TX: u32 = 3;

const PEER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// What the timestamps of these tests start with.
const OFFSET: u32 = 0xffff_ff00;

fn keys(parity: bool) -> Keys {
    Keys { current: Key(*b"0123456789abcdef"), previous: None, parity }
}

/// The instant of CLOCK_MONOTONIC in ns.
fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap() * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap()
}

/// A program that answers SYNs, and the instant that its timestamps start at.
fn answering(config: &TcpConfig, keys: &Keys, partial: PartialChecksums) -> (Steering, u64) {
    let mut steering = mixed();
    let origin_ns = monotonic_ns();
    let clock = TimestampClock { origin_ns, offset: OFFSET };
    steering.set_answers(&SynAnswers::new(keys, config, partial, clock)).expect("the map is written");
    steering.answer_syns(true).expect("the configuration is written");
    (steering, origin_ns)
}

/// A SYN, or something like it.
#[derive(Clone, Debug)]
pub struct Syn {
    pub tags: Vec<(u16, u16)>,
    pub src: SocketAddr,
    pub dst: SocketAddr,
    pub seq: u32,
    pub control: u8,
    pub options: Vec<u8>,
    pub payload: Vec<u8>,
    pub padding: usize,
}

impl Syn {
    pub fn new(src: &str, dst: &str) -> Self {
        Self {
            tags: Vec::new(),
            src: SocketAddr::new(src.parse().unwrap(), 40_000),
            dst: SocketAddr::new(dst.parse().unwrap(), ANY),
            seq: 0x0102_0304,
            control: 0x02,
            options: Vec::new(),
            payload: Vec::new(),
            padding: 0,
        }
    }

    pub fn v4() -> Self {
        Self::new("198.51.100.7", "192.0.2.5")
    }

    pub fn v6() -> Self {
        Self::new("2001:db8:9::7", "2001:db8::5")
    }

    /// With the options that Linux sends.
    pub fn of_linux(self) -> Self {
        let options = [2, 4, 5, 0xb4, 4, 2, 8, 10, 0x11, 0x22, 0x33, 0x44, 0, 0, 0, 0, 1, 3, 3, 7];
        Self { options: options.to_vec(), ..self }
    }

    /// The frame, with whole checksums.
    pub fn bytes(&self) -> Vec<u8> {
        let mut tcp = [&self.src.port().to_be_bytes()[..], &self.dst.port().to_be_bytes()].concat();
        tcp.extend(self.seq.to_be_bytes());
        tcp.extend([0; 4]);
        let words = u8::try_from(5 + self.options.len().div_ceil(4)).unwrap();
        tcp.extend([words << 4, self.control, 0xfa, 0xf0, 0, 0, 0, 0]);
        tcp.extend(&self.options);
        tcp.resize(usize::from(words) * 4, 0);
        tcp.extend(&self.payload);
        let len = u16::try_from(tcp.len()).unwrap();
        let (ethertype, mut ip, addresses) = match (self.src.ip(), self.dst.ip()) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let addresses = [src.octets(), dst.octets()].concat();
                let total = (20 + len).to_be_bytes();
                let header = [0x45, 0x10, total[0], total[1], 0xbe, 0xef, 0x40, 0, 57, 6, 0, 0];
                let mut header = [&header[..], &addresses].concat();
                let checksum = !sum(&[&header]);
                header[10..12].copy_from_slice(&checksum.to_be_bytes());
                (IPV4, header, addresses)
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let addresses = [src.octets(), dst.octets()].concat();
                let payload = len.to_be_bytes();
                let header = [0x60, 0x12, 0x34, 0x56, payload[0], payload[1], 6, 60];
                (IPV6, [&header[..], &addresses].concat(), addresses)
            }
            _ => unreachable!("one family"),
        };
        let pseudo = [&addresses[..], &[0, 6], &len.to_be_bytes()].concat();
        let checksum = !sum(&[&pseudo, &tcp]);
        tcp[16..18].copy_from_slice(&checksum.to_be_bytes());
        let mut frame = [OUR_MAC, PEER_MAC].concat();
        for (tpid, tci) in &self.tags {
            frame.extend([tpid.to_be_bytes(), tci.to_be_bytes()].concat());
        }
        frame.extend(ethertype.to_be_bytes());
        frame.append(&mut ip);
        frame.extend(tcp);
        frame.resize(frame.len() + self.padding, 0);
        frame
    }
}

/// The ones' complement sum by its definition (RFC 1071 1).
fn sum(pieces: &[&[u8]]) -> u16 {
    let words = pieces.iter().flat_map(|piece| piece.chunks(2));
    let sum: u32 = words.map(|word| u32::from(word[0]) << 8 | word.get(1).map_or(0, |low| u32::from(*low))).sum();
    let once = (sum >> 16) + (sum & 0xffff);
    u16::try_from((once >> 16) + (once & 0xffff)).unwrap()
}

/// Runs the program over a frame: the action, what became of the frame, and the counters that moved.
fn run(steering: &Steering, frame: &[u8]) -> (u32, Vec<u8>, Vec<SteerCounter>) {
    let before = steering.counters().expect("readable counters");
    let mut out = vec![0; 2048];
    let input = ProgramInput { data_in: Some(frame), data_out: Some(&mut out), ..Default::default() };
    let output = steering.program().test_run(input).expect("the program runs");
    let (action, frame) = (output.return_value, output.data.expect("a frame comes back").to_vec());
    let after = steering.counters().expect("readable counters");
    assert_eq!((after.get(Seen) - before.get(Seen), after.unaccounted()), (1, 0));
    let moved = after.iter().filter(|(counter, n)| *counter != Seen && *n != before.get(*counter));
    (action, frame, moved.map(|(counter, _)| counter).collect())
}

/// Three of the kernel's ticks in ms, and one for what is rounded.
fn three_ticks_ms() -> u32 {
    let tick = clock_getres(ClockId::MonotonicCoarse);
    u32::try_from(3 * tick.tv_nsec / 1_000_000).unwrap() + 1
}

/// What a worker answers to a segment at an instant of its timestamp clock.
fn of_a_worker(segment: &Segment, keys: &Keys, config: &TcpConfig, tsval: u32) -> Vec<u8> {
    let env = Env { config, now: Tick(tsval.wrapping_sub(OFFSET)), tsval };
    let syn_ack = cookie::syn_ack(segment, keys, env);
    let mut frame = vec![0xee; 200];
    let len = reply::write(&mut frame, &Addressing::answering(segment), &syn_ack, |_| {});
    frame.truncate(len);
    frame
}

/// Checks that the program answers a SYN as a worker would.
fn same_answer(
    (steering, origin_ns): &(Steering, u64),
    keys: &Keys,
    config: &TcpConfig,
    frame: &[u8],
) -> Result<(), TestCaseError> {
    let segment = parse(frame, PartialChecksums::Accept).map_err(|reason| TestCaseError::fail(reason.name()))?;
    let before = monotonic_ns();
    let (action, answer, moved) = run(steering, frame);
    let after = monotonic_ns();
    prop_assert_eq!((action, moved), (TX, vec![TxCookie]));
    let read = parse(&answer, PartialChecksums::Refuse).map_err(|reason| TestCaseError::fail(reason.name()))?;
    let at = |ns: u64| u32::try_from((ns - origin_ns) / 1_000_000).unwrap().wrapping_add(OFFSET);
    let tsval = match read.options.timestamps {
        Some((tsval, _)) => {
            // By the kernel's ticks: up to three of them behind the workers' clock, and never ahead of it.
            let (behind, ahead) = (at(before).wrapping_sub(tsval), at(after).wrapping_sub(tsval));
            prop_assert!(ahead <= 1 << 30, "{tsval} is {} ahead", tsval.wrapping_sub(at(after)));
            prop_assert!(behind <= three_ticks_ms() || behind >= 1 << 30, "{tsval} is {behind} behind");
            tsval
        }
        None => 0,
    };
    prop_assert_eq!(answer, of_a_worker(&segment, keys, config, tsval));
    Ok(())
}

#[test]
fn a_syn_gets_the_syn_ack_that_a_worker_would_send() {
    if !root_or_skip("a_syn_gets_the_syn_ack_that_a_worker_would_send") {
        return;
    }
    let configs = [
        TcpConfig::default(),
        TcpConfig { timestamps: false, ..TcpConfig::default() },
        TcpConfig { window_scaling: false, window_bytes: 1_000, ..TcpConfig::default() },
        TcpConfig {
            sack_permitted: false,
            mss_v4: 1_360,
            mss_v6: 1_280,
            window_bytes: 1 << 30,
            ..TcpConfig::default()
        },
    ];
    for (config, parity) in configs.iter().zip([false, true, true, false]) {
        let keys = keys(parity);
        let program = answering(config, &keys, PartialChecksums::Refuse);
        for syn in [Syn::v4(), Syn::v6(), Syn::v4().of_linux(), Syn::v6().of_linux()] {
            for tags in [vec![], vec![(CTAG, 0xa007)], vec![(STAG, 0x012c)], vec![(STAG, 0x012c), (CTAG, 0xa007)]] {
                for (control, padding) in [(0x02, 0), (0xc2, 0), (0x02, 6), (0x02, 100)] {
                    let syn = Syn { tags: tags.clone(), control, padding, ..syn.clone() };
                    same_answer(&program, &keys, config, &syn.bytes())
                        .unwrap_or_else(|error| panic!("{syn:?}: {error}"));
                }
            }
        }
    }
}

/// Options as they come, as they should not come, and what is none.
fn options() -> impl Strategy<Value = Vec<u8>> {
    let option = prop_oneof![
        Just(vec![1]),
        Just(vec![0]),
        any::<[u8; 2]>().prop_map(|mss| [&[2, 4][..], &mss].concat()),
        prop::sample::select(vec![215_u16, 216, 535, 536, 1299, 1300, 1360, 1440, 1459, 1460]).prop_map(|mss| [
            &[2, 4][..],
            &mss.to_be_bytes()
        ]
        .concat()),
        (0_u8..=20).prop_map(|shift| vec![3, 3, shift]),
        Just(vec![4, 2]),
        any::<[u8; 8]>().prop_map(|times| [&[8, 10][..], &times].concat()),
        (any::<u8>(), prop::collection::vec(any::<u8>(), 0..6)).prop_map(|(kind, body)| {
            let len = u8::try_from(body.len() + 2).unwrap();
            [&[kind, len][..], &body].concat()
        }),
        prop::collection::vec(any::<u8>(), 1..12),
    ];
    prop::collection::vec(option, 0..12).prop_map(|list| {
        let mut bytes = list.concat();
        bytes.truncate(40);
        bytes
    })
}

#[test]
fn any_options_are_read_as_a_worker_reads_them() {
    if !root_or_skip("any_options_are_read_as_a_worker_reads_them") {
        return;
    }
    let (config, keys) = (TcpConfig::default(), keys(true));
    let program = answering(&config, &keys, PartialChecksums::Refuse);
    let syns =
        (options(), any::<bool>(), any::<u32>(), 1_u16.., 0_usize..3).prop_map(|(options, is_v4, seq, port, tags)| {
            let syn = if is_v4 { Syn::v4() } else { Syn::v6() };
            let tags = [(STAG, 7), (CTAG, 8)][..tags].to_vec();
            Syn { options, seq, tags, src: SocketAddr::new(syn.src.ip(), port), ..syn }
        });
    let mut runner = TestRunner::new(Config { cases: 4_000, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&syns, |syn| same_answer(&program, &keys, &config, &syn.bytes()));
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn what_is_not_a_plain_syn_is_left_to_the_worker_and_what_is_broken_is_dropped() {
    if !root_or_skip("what_is_not_a_plain_syn_is_left_to_the_worker_and_what_is_broken_is_dropped") {
        return;
    }
    let program = answering(&TcpConfig::default(), &keys(false), PartialChecksums::Refuse);
    let socket = xdp_socket();
    program.0.set_socket(0, socket.as_fd()).expect("the XSKMAP takes the socket");
    let with = |control: u8| Syn { control, ..Syn::v4().of_linux() }.bytes();
    let from = |src: &str, port: u16| Syn { src: SocketAddr::new(src.parse().unwrap(), port), ..Syn::v4() }.bytes();
    let from6 = |src: &str| Syn { src: SocketAddr::new(src.parse().unwrap(), 9), ..Syn::v6() }.bytes();
    let patched = |syn: Syn, at: usize, with: u8| {
        let mut frame = syn.bytes();
        frame[at] ^= with;
        frame
    };
    let mut ip_options = Syn::v4().bytes();
    ip_options[14] = 0x46;
    ip_options[17] += 4;
    ip_options.splice(34..34, [1, 1, 1, 0]);
    let mut cut = Syn::v4().of_linux().bytes();
    cut.truncate(60);
    let left = (REDIRECT, Redirected);
    let rows = [
        ("ACK", with(0x10), left),
        ("SYN and ACK", with(0x12), left),
        ("SYN and FIN", with(0x03), left),
        ("SYN and RST", with(0x06), left),
        ("SYN and PSH", with(0x0a), left),
        ("SYN and URG", with(0x22), left),
        ("XMAS", with(0x29), left),
        ("all flags", with(0xff), left),
        ("no flag", with(0x00), left),
        ("payload", Syn { payload: vec![1, 2, 3], ..Syn::v4() }.bytes(), left),
        ("IPv6 with payload", Syn { payload: vec![1], ..Syn::v6() }.bytes(), left),
        ("IPv4 options", ip_options, left),
        ("port 0", from("198.51.100.7", 0), left),
        ("from loopback", from("127.0.0.1", 9), left),
        ("from nobody", from("0.1.2.3", 9), left),
        ("from a group", from("224.0.0.1", 9), left),
        ("from everybody", from("255.255.255.255", 9), left),
        ("from ourselves", from("192.0.2.5", ANY), left),
        ("IPv6 from a group", from6("ff02::1"), left),
        ("IPv6 from loopback", from6("::1"), left),
        ("IPv6 from nobody", from6("::"), left),
        ("IPv4 in the form of IPv6", from6("::ffff:10.0.0.1"), left),
        ("wrong TCP checksum", patched(Syn::v4().of_linux(), 50, 1), (DROP, DropBadChecksum)),
        ("wrong in the last option", patched(Syn::v6().of_linux(), 93, 1), (DROP, DropBadChecksum)),
        ("wrong IP checksum", patched(Syn::v4(), 24, 1), (DROP, DropBadChecksum)),
        ("wrong TTL", patched(Syn::v4(), 22, 1), (DROP, DropBadChecksum)),
        ("data offset 4", patched(Syn::v4(), 46, 0x10), (DROP, DropBadTcpHeader)),
        ("first fragment", patched(Syn::v4(), 20, 0x20), (DROP, DropFragment)),
        ("later fragment", patched(Syn::v4(), 21, 1), (PASS, PassLaterFragment)),
        ("cut in the options", cut, (DROP, DropBadIpLength)),
        ("another port", patched(Syn::v4(), 37, 1), (PASS, PassNotAnEndpoint)),
    ];
    for (what, frame, (action, counter)) in rows {
        let got = run(&program.0, &frame);
        assert_eq!(got, (action, frame, vec![counter]), "{what}");
    }
    // In the end, and from others that are almost like those, it still answers.
    for syn in [Syn::v4(), Syn::v6(), Syn::new("::2", "2001:db8::5"), Syn::new("::fffe:a00:1", "2001:db8::5")] {
        assert_eq!(run(&program.0, &syn.bytes()).0, TX, "{syn:?}");
    }
}

#[test]
fn a_partial_checksum_counts_where_it_is_accepted() {
    if !root_or_skip("a_partial_checksum_counts_where_it_is_accepted") {
        return;
    }
    let (config, keys) = (TcpConfig::default(), keys(false));
    for syn in [Syn::v4().of_linux(), Syn::v6().of_linux()] {
        let mut frame = syn.bytes();
        let (tcp, addresses) = if syn.src.is_ipv4() { (34, 26..34) } else { (54, 22..54) };
        let len = u16::try_from(frame.len() - tcp).unwrap().to_be_bytes();
        let partial = sum(&[&frame[addresses], &[0, 6], &len]);
        frame[tcp + 16..tcp + 18].copy_from_slice(&partial.to_be_bytes());
        let accepting = answering(&config, &keys, PartialChecksums::Accept);
        same_answer(&accepting, &keys, &config, &frame).unwrap_or_else(|error| panic!("{syn:?}: {error}"));
        let refusing = answering(&config, &keys, PartialChecksums::Refuse);
        assert_eq!(run(&refusing.0, &frame), (DROP, frame, vec![DropBadChecksum]), "{syn:?}");
    }
}

#[test]
fn answers_change_whole_and_stop_when_told() {
    if !root_or_skip("answers_change_whole_and_stop_when_told") {
        return;
    }
    let (config, frame) = (TcpConfig::default(), Syn::v4().of_linux().bytes());
    let first = keys(false);
    let (mut steering, origin_ns) = answering(&config, &first, PartialChecksums::Refuse);
    let clock = TimestampClock { origin_ns, offset: OFFSET };
    for i in 0..5 {
        let keys = Keys { current: Key([i; 16]), previous: None, parity: i % 2 == 1 };
        let config = TcpConfig { mss_v4: 1_000 + u16::from(i), ..config.clone() };
        let answers = SynAnswers::new(&keys, &config, PartialChecksums::Refuse, clock);
        steering.set_answers(&answers).expect("the map is written");
        let program = (steering, origin_ns);
        same_answer(&program, &keys, &config, &frame).unwrap_or_else(|error| panic!("{i}: {error}"));
        steering = program.0;
    }
    steering.answer_syns(false).expect("the configuration is written");
    assert_eq!(run(&steering, &frame), (PASS, frame.clone(), vec![PassNoSocket]));
    steering.answer_syns(true).expect("the configuration is written");
    assert_eq!(run(&steering, &frame).0, TX);
}

#[test]
fn the_acknowledgment_of_an_answer_is_good_for_a_worker() {
    if !root_or_skip("the_acknowledgment_of_an_answer_is_good_for_a_worker") {
        return;
    }
    let (config, keys) = (TcpConfig::default(), keys(true));
    let program = answering(&config, &keys, PartialChecksums::Refuse);
    for syn in [Syn::v4(), Syn::v6().of_linux()] {
        let frame = syn.bytes();
        let segment = parse(&frame, PartialChecksums::Refuse).unwrap();
        let answer = parse(&run(&program.0, &frame).1, PartialChecksums::Refuse).unwrap();
        assert_eq!(answer.control, Control::SYN | Control::ACK);
        let timestamps = answer.options.timestamps.map(|(val, ecr)| (ecr + 1, val));
        let tsval = timestamps.map_or(OFFSET, |(_, ecr)| ecr);
        let options = handfast::wire::options::Options { timestamps, ..Default::default() };
        let ack = Segment { seq: segment.seq + 1, ack: answer.seq + 1, control: Control::ACK, options, ..segment };
        let env = Env { config: &config, now: Tick(tsval.wrapping_sub(OFFSET)), tsval };
        let recovered = cookie::check(&ack, &keys, env).expect("a good cookie");
        assert_eq!(recovered.syn.options.window_scale, segment.options.window_scale, "{syn:?}");
        assert!(cookie::check(&Segment { ack: ack.ack + 1, ..ack }, &keys, env).is_none());
    }
}

/// The table that every implementation of the cookie is held against.
const TABLE: &str = include_str!("../cookie/vectors.txt");

#[test]
fn the_numbers_are_those_of_the_table() {
    if !root_or_skip("the_numbers_are_those_of_the_table") {
        return;
    }
    let mut checked = 0;
    let mut steering = mixed();
    steering.answer_syns(true).expect("the configuration is written");
    let config = TcpConfig::default();
    for line in TABLE.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [key, peer, own, peer_port, own_port, peer_isn, mss, wscale, sack, parity, isn] = fields[..] else {
            panic!("{line}");
        };
        let mut current = [0; 16];
        for (i, byte) in current.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&key[2 * i..2 * i + 2], 16).unwrap();
        }
        let mut options = Vec::new();
        if let Ok(mss) = mss.parse::<u16>() {
            options.extend([&[2, 4][..], &mss.to_be_bytes()].concat());
        }
        if let Ok(shift) = wscale.parse::<u8>() {
            options.extend([3, 3, shift]);
        }
        if sack == "1" {
            options.extend([4, 2]);
        }
        let end = |addr: &str, port: &str| SocketAddr::new(addr.parse().unwrap(), port.parse().unwrap());
        let (src, dst) = (end(peer, peer_port), end(own, own_port));
        let seq = u32::from_str_radix(peer_isn, 16).unwrap();
        let frame = Syn { src, dst, seq, options, ..Syn::v4() }.bytes();
        // The table has numbers for addresses that no segment may come from, too; fuzz/src/cookie.rs asks for those.
        if parse(&frame, PartialChecksums::Refuse).is_err() {
            continue;
        }
        steering.set_endpoints(&[crate::any(dst.port())]).expect("the maps take the endpoint");
        let keys = Keys { current: Key(current), previous: None, parity: parity == "1" };
        let answers = SynAnswers::new(&keys, &config, PartialChecksums::Refuse, TimestampClock::default());
        steering.set_answers(&answers).expect("the map is written");
        let (action, answer, _) = run(&steering, &frame);
        assert_eq!(action, TX, "{line}");
        let answer = parse(&answer, PartialChecksums::Refuse).unwrap();
        assert_eq!(answer.seq.0, u32::from_str_radix(isn, 16).unwrap(), "{line}");
        checked += 1;
    }
    assert!(checked > 50, "{checked} lines");
}
