//! What the program sends, frame by frame: a SYN over a frame of no interface, an answer to a frame of its own interface.
//! Checksums are held against the parser of the engine, which takes no partial ones here.
//!
//! The interface is the client's of a lab, because BPF_PROG_RUN takes a frame for one of an interface only if that has a
//! program.

use crate::live::client_ifindex;
use crate::program::{self, DROP, PASS, REDIRECT};
use crate::world::World;
use handfast::blast::xdp::{Generator, XdpClose, XdpCore, XdpPlan, XdpTally};
use handfast::steer::AttachMode;
use handfast::wire::ether::VlanTags;
use handfast::wire::options::Options;
use handfast::wire::parse::{PartialChecksums, parse};
use handfast::wire::reply::{Addressing, Reply, StreamPiece, write};
use handfast::wire::segment::{Control, Segment};
use handfast::wire::seq::SeqNum;
use handfast::wire::tuple::FourTuple;
use std::net::SocketAddr;
use std::time::Duration;

const OUR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
const TARGET_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

const ACK: Control = Control::ACK;
const SYN: Control = Control::SYN;
const FIN: Control = Control::FIN;
const RST: Control = Control::RST;
const NONE: Control = Control(0);

/// The target's initial sequence number: the end of the sequence space is near.
const THEIRS: SeqNum = SeqNum(u32::MAX - 1);

fn plan(close: XdpClose) -> XdpPlan {
    XdpPlan {
        ifindex: client_ifindex(),
        src_mac: OUR_MAC,
        dst_mac: TARGET_MAC,
        target: "198.18.0.1:80".parse().unwrap(),
        first_source: "198.18.1.254".parse().unwrap(),
        sources: 4,
        ports: 1024..=1033,
        close,
        rate: 1,
        connections: None,
        duration: Duration::from_secs(1),
        grace: Duration::ZERO,
        mode: AttachMode::Native,
        core: XdpCore::Any,
    }
}

fn plan_v6(close: XdpClose) -> XdpPlan {
    let (target, first_source) = ("[2001:2::1]:80".parse().unwrap(), "2001:2::ffff".parse().unwrap());
    XdpPlan { target, first_source, ..plan(close) }
}

/// Runs the body of a test inside the client's namespace of a lab.
fn at_client(test: &str, body: impl FnOnce() + Send) {
    if let Some(world) = World::up(test) {
        world.in_client(body);
    }
}

/// The program, attached.
fn load(plan: &XdpPlan) -> Generator {
    let mut generator = Generator::load(plan).expect("the program loads");
    assert!(generator.attach().expect("veth takes it").is_some());
    generator
}

/// A connection as the program is spoken to about it.
struct Talk {
    generator: Generator,
    ifindex: u32,
    /// The SYN that the program made.
    syn: Segment,
}

impl Talk {
    /// Loads the program and has it make a SYN.
    fn new(plan: &XdpPlan) -> Self {
        let generator = load(plan);
        let syn = syn(&generator, plan.target.is_ipv4());
        Self { generator, ifindex: plan.ifindex, syn }
    }

    /// A frame from the target, with `ack` counted from our initial sequence number.
    fn frame(&self, control: Control, seq: SeqNum, ack: u32, text: u16) -> Vec<u8> {
        let tuple = FourTuple::new(self.syn.tuple.local(), self.syn.tuple.remote());
        frame(tuple, control, seq, self.syn.seq + ack, text)
    }

    /// Gives the program a segment from the target; what it sends, or the action otherwise.
    fn hear(&self, control: Control, seq: SeqNum, ack: u32) -> Result<Segment, u32> {
        self.hear_frame(&self.frame(control, seq, ack, 0))
    }

    fn hear_frame(&self, frame: &[u8]) -> Result<Segment, u32> {
        match self.run(frame) {
            (REDIRECT, answer) => {
                let segment = parse(&answer, PartialChecksums::Refuse).expect("a legal answer");
                let ether = (segment.src_mac, segment.dst_mac, segment.tags);
                assert_eq!(ether, (OUR_MAC, TARGET_MAC, VlanTags::default()));
                assert_eq!(segment.tuple, self.syn.tuple);
                let longest = if segment.tuple.is_v4() { 60 } else { 74 };
                assert!(answer.len() <= longest && segment.payload_len == 0, "{} bytes", answer.len());
                Ok(segment)
            }
            (action, _) => Err(action),
        }
    }

    /// Runs the program over a frame of its interface.
    fn run(&self, frame: &[u8]) -> (u32, Vec<u8>) {
        run(&self.generator, frame, self.ifindex)
    }

    fn tally(&self) -> XdpTally {
        self.generator.tally().expect("readable counters")
    }

    /// Attempted, established, completed, refused, reset, lost.
    fn fates(&self) -> [u64; 6] {
        let tally = self.tally();
        [tally.attempted, tally.established, tally.completed, tally.refused, tally.reset, tally.lost]
    }

    /// An answer's control bits, its sequence number from our initial one on, its acknowledgment from the target's on.
    fn view(&self, answer: Result<Segment, u32>) -> Result<(Control, u32, u32), u32> {
        let from = |seq: SeqNum, start| seq.distance_from(start);
        answer.map(|segment| (segment.control, from(segment.seq, self.syn.seq), from(segment.ack, THEIRS)))
    }
}

/// A frame from `tuple`'s local end to its remote one.
fn frame(tuple: FourTuple, control: Control, seq: SeqNum, ack: SeqNum, text: u16) -> Vec<u8> {
    let to = Addressing { dst_mac: OUR_MAC, src_mac: TARGET_MAC, tags: VlanTags::default(), tuple };
    let options = Options { mss: control.has(SYN).then_some(1460), ..Options::default() };
    let payload = StreamPiece { from_una: 0, len: text };
    let reply = Reply { seq, ack, control, window: 1000, options, payload };
    let mut frame = vec![0; 200];
    let length = write(&mut frame, &to, &reply, |text| text.fill(0x55));
    frame.truncate(length);
    frame
}

/// Runs the program once over a frame that arrives on an interface, 0 for none; the action, and the frame as the program
/// left it.
fn run(generator: &Generator, frame: &[u8], ifindex: u32) -> (u32, Vec<u8>) {
    program::run(&generator.program(), frame, ifindex)
}

fn syn(generator: &Generator, is_ipv4: bool) -> Segment {
    let blank = vec![0xaa; if is_ipv4 { 58 } else { 78 }];
    let (action, frame) = run(generator, &blank, 0);
    assert_eq!(action, REDIRECT);
    let segment = parse(&frame, PartialChecksums::Refuse).expect("a legal SYN");
    assert_eq!((segment.src_mac, segment.dst_mac), (OUR_MAC, TARGET_MAC));
    segment
}

#[test]
fn syns_are_legal_and_take_the_four_tuples_in_turn() {
    at_client("syns_are_legal_and_take_the_four_tuples_in_turn", || {
        for plan in [plan(XdpClose::Client), plan_v6(XdpClose::Client)] {
            let is_ipv4 = plan.target.is_ipv4();
            let generator = load(&plan);
            let syns: Vec<Segment> = (0..41).map(|_| syn(&generator, is_ipv4)).collect();
            let sources = if is_ipv4 {
                ["198.18.1.254", "198.18.1.255", "198.18.2.0", "198.18.2.1"]
            } else {
                ["2001:2::ffff", "2001:2::1:0", "2001:2::1:1", "2001:2::1:2"]
            };
            for (i, syn) in syns.iter().enumerate() {
                assert_eq!(syn.tuple.local(), plan.target);
                let port = 1024 + u16::try_from(i % 10).unwrap();
                assert_eq!(syn.tuple.remote(), SocketAddr::new(sources[i / 10 % 4].parse().unwrap(), port));
                assert_eq!((syn.control, syn.payload_len, syn.window), (SYN, 0, u16::MAX));
                let mss = if is_ipv4 { 1460 } else { 1440 };
                assert_eq!(syn.options, Options { mss: Some(mss), ..Options::default() });
            }
            let seqs: std::collections::BTreeSet<u32> = syns.iter().map(|syn| syn.seq.0).collect();
            assert_eq!(seqs.len(), 41);
            assert!(syns[40].seq.after(syns[0].seq), "the next use of a four-tuple starts beyond the last one");
            let tally = generator.tally().unwrap();
            assert_eq!((tally.attempted, tally.lost, tally.in_flight()), (41, 1, 40), "the first was overtaken");
        }
    });
}

#[test]
fn when_we_close_first_a_connection_is_syn_then_ack_with_fin_then_ack() {
    at_client("when_we_close_first_a_connection_is_syn_then_ack_with_fin_then_ack", || {
        for plan in [plan(XdpClose::Client), plan_v6(XdpClose::Client)] {
            let talk = Talk::new(&plan);
            let hear = |control, seq, ack| talk.view(talk.hear(control, seq, ack));
            assert_eq!(hear(SYN | ACK, THEIRS, 1), Ok((ACK | FIN, 1, 1)));
            assert_eq!(talk.fates(), [1, 1, 0, 0, 0, 0]);
            assert_eq!(hear(SYN | ACK, THEIRS, 1), Ok((ACK | FIN, 1, 1)), "a retransmission is answered again");
            assert_eq!(hear(ACK, THEIRS + 1, 2), Err(DROP), "our FIN is acknowledged");
            assert_eq!(hear(ACK | FIN, THEIRS + 1, 2), Ok((ACK, 2, 2)));
            assert_eq!(talk.fates(), [1, 1, 1, 0, 0, 0]);
            assert_eq!(hear(ACK | FIN, THEIRS + 1, 2), Ok((ACK, 2, 2)), "a retransmission is answered again");
            assert_eq!(hear(RST, THEIRS + 2, 0), Err(DROP), "and may meet a connection that has ended");
            assert_eq!(talk.fates(), [1, 1, 1, 0, 0, 0]);
            let tally = talk.tally();
            assert_eq!((tally.repeated, tally.wrong, tally.rx_frames, tally.tx_frames), (2, 0, 6, 5));
            assert_eq!((tally.handshake.len(), tally.total.len()), (1, 1));
            assert!(tally.total.max() >= tally.handshake.max());
        }
    });
}

#[test]
fn when_both_close_at_once_each_fin_is_acknowledged() {
    at_client("when_both_close_at_once_each_fin_is_acknowledged", || {
        let talk = Talk::new(&plan(XdpClose::Client));
        let hear = |control, seq, ack| talk.view(talk.hear(control, seq, ack));
        hear(SYN | ACK, THEIRS, 1).expect("an answer");
        assert_eq!(
            hear(ACK | FIN, THEIRS + 1, 1),
            Ok((ACK | FIN, 1, 2)),
            "ours may have been lost, so it is said again"
        );
        assert_eq!(talk.fates(), [1, 1, 0, 0, 0, 0]);
        assert_eq!(hear(ACK, THEIRS + 2, 2), Err(DROP));
        assert_eq!(talk.fates(), [1, 1, 1, 0, 0, 0]);
    });
}

#[test]
fn when_the_target_closes_first_our_fin_goes_with_the_ack_of_its_fin() {
    at_client("when_the_target_closes_first_our_fin_goes_with_the_ack_of_its_fin", || {
        for plan in [plan(XdpClose::Server), plan_v6(XdpClose::Server)] {
            let talk = Talk::new(&plan);
            let hear = |control, seq, ack| talk.view(talk.hear(control, seq, ack));
            assert_eq!(hear(SYN | ACK, THEIRS, 1), Ok((ACK, 1, 1)));
            assert_eq!(hear(ACK, THEIRS + 1, 1), Err(DROP), "nothing to say to an ACK");
            assert_eq!(hear(ACK | FIN, THEIRS + 1, 2), Err(DROP), "it acknowledges a FIN that we have not sent");
            assert_eq!(hear(ACK | FIN, THEIRS + 1, 1), Ok((ACK | FIN, 1, 2)));
            assert_eq!(hear(ACK | FIN, THEIRS + 1, 1), Ok((ACK | FIN, 1, 2)), "a retransmission is answered again");
            assert_eq!(talk.fates(), [1, 1, 0, 0, 0, 0]);
            assert_eq!(hear(ACK, THEIRS + 2, 2), Err(DROP));
            assert_eq!(talk.fates(), [1, 1, 1, 0, 0, 0]);
            let tally = talk.tally();
            assert_eq!((tally.repeated, tally.wrong), (1, 1));
        }
    });
}

#[test]
fn text_is_acknowledged_and_a_fin_behind_it_too() {
    at_client("text_is_acknowledged_and_a_fin_behind_it_too", || {
        let talk = Talk::new(&plan(XdpClose::Server));
        let hear = |control, seq, ack, text| talk.view(talk.hear_frame(&talk.frame(control, seq, ack, text)));
        talk.hear(SYN | ACK, THEIRS, 1).expect("an answer");
        assert_eq!(hear(ACK, THEIRS + 1, 1, 100), Ok((ACK, 1, 101)));
        assert_eq!(hear(ACK | FIN, THEIRS + 101, 1, 7), Ok((ACK | FIN, 1, 109)));
        drop(talk);
        let talk = Talk::new(&plan(XdpClose::Client));
        let hear = |control, seq, ack, text| talk.view(talk.hear_frame(&talk.frame(control, seq, ack, text)));
        talk.hear(SYN | ACK, THEIRS, 1).expect("an answer");
        assert_eq!(hear(ACK, THEIRS + 1, 1, 100), Ok((ACK, 2, 101)), "SND.NXT lies behind our FIN");
        assert_eq!(hear(ACK, THEIRS + 101, 2, 100), Ok((ACK, 2, 201)));
        assert_eq!(hear(ACK | FIN, THEIRS + 201, 2, 1), Ok((ACK, 2, 203)));
        assert_eq!(talk.fates(), [1, 1, 1, 0, 0, 0]);
    });
}

#[test]
fn when_we_reset_the_syn_ack_is_the_last_segment() {
    at_client("when_we_reset_the_syn_ack_is_the_last_segment", || {
        let talk = Talk::new(&plan(XdpClose::Reset));
        let hear = |control, seq, ack| talk.view(talk.hear(control, seq, ack));
        assert_eq!(hear(SYN | ACK, THEIRS, 1), Ok((RST | ACK, 1, 1)));
        assert_eq!(talk.fates(), [1, 1, 1, 0, 0, 0]);
        assert_eq!(hear(SYN | ACK, THEIRS, 1), Ok((RST | ACK, 1, 1)));
        assert_eq!(hear(ACK | FIN, THEIRS + 1, 1), Err(DROP));
        assert_eq!(talk.fates(), [1, 1, 1, 0, 0, 0]);
        assert_eq!((talk.tally().repeated, talk.tally().wrong), (1, 1));
    });
}

#[test]
fn a_reset_refuses_or_ends_a_connection_once() {
    at_client("a_reset_refuses_or_ends_a_connection_once", || {
        let talk = Talk::new(&plan(XdpClose::Client));
        assert_eq!(talk.hear(RST, THEIRS, 1), Err(DROP), "acknowledges nothing, so anyone may have sent it");
        assert_eq!(talk.hear(RST | ACK, SeqNum(0), 2), Err(DROP), "acknowledges what was never sent");
        assert_eq!(talk.fates(), [1, 0, 0, 0, 0, 0]);
        assert_eq!(talk.hear(RST | ACK, SeqNum(0), 1), Err(DROP));
        assert_eq!(talk.hear(RST | ACK, SeqNum(0), 1), Err(DROP));
        assert_eq!(talk.hear(SYN | ACK, THEIRS, 1), Err(DROP), "it is over");
        assert_eq!(talk.fates(), [1, 0, 0, 1, 0, 0]);
        assert_eq!(talk.tally().wrong, 4);
        drop(talk);

        for close in [XdpClose::Client, XdpClose::Server] {
            let talk = Talk::new(&plan(close));
            talk.hear(SYN | ACK, THEIRS, 1).expect("an answer");
            assert_eq!(talk.hear(RST, THEIRS + 1, 0), Err(DROP));
            assert_eq!(talk.hear(RST, THEIRS + 1, 0), Err(DROP));
            assert_eq!(talk.fates(), [1, 1, 0, 0, 1, 0]);
        }
    });
}

#[test]
fn what_no_connection_expects_is_counted_and_dropped() {
    at_client("what_no_connection_expects_is_counted_and_dropped", || {
        let talk = Talk::new(&plan(XdpClose::Client));
        let patched = |at: usize, byte: u8| {
            let mut frame = talk.frame(SYN | ACK, THEIRS, 1, 0);
            frame[at] = byte;
            frame
        };
        let unused = FourTuple { remote_port: 1033, ..talk.syn.tuple };
        let to_unused = frame(FourTuple::new(unused.local(), unused.remote()), ACK, THEIRS, SeqNum(1), 0);
        let frames = [
            ("SYN", talk.frame(SYN, THEIRS, 1, 0)),
            ("no control bit", talk.frame(NONE, THEIRS, 1, 0)),
            ("ACK of our SYN without SYN", talk.frame(ACK, THEIRS, 1, 0)),
            ("a four-tuple that was not used yet", to_unused),
            ("a data offset below 5", patched(46, 0x40)),
            ("a data offset past the segment", patched(46, 0xf0)),
        ];
        for (i, (name, frame)) in (1..).zip(&frames) {
            assert_eq!(talk.hear_frame(frame), Err(DROP), "{name}");
            assert_eq!((talk.tally().wrong, talk.tally().rx_frames), (i, i), "{name}");
        }
        assert_eq!(talk.fates(), [1, 0, 0, 0, 0, 0]);
        // RFC 9293 3.10.7.3: the target has an older connection, which a RST that it must take ends.
        let answer = talk.hear(ACK, THEIRS, 77).expect("an answer");
        assert_eq!((answer.control, answer.seq, answer.ack), (RST, talk.syn.seq + 77, SeqNum(0)));
        assert_eq!(talk.view(talk.hear(SYN | ACK, THEIRS, 1)), Ok((ACK | FIN, 1, 1)), "and the new one goes on");
        for (ack, name) in [(0, "an older ACK"), (3, "an ACK of what was never sent")] {
            assert_eq!(talk.hear(ACK | FIN, THEIRS + 1, ack), Err(DROP), "{name}");
        }
        assert_eq!(talk.fates(), [1, 1, 0, 0, 0, 0]);
    });
}

#[test]
fn checksums_that_a_kernel_left_partial_do_not_matter() {
    at_client("checksums_that_a_kernel_left_partial_do_not_matter", || {
        for (plan, checksum_at) in [(plan(XdpClose::Client), 50), (plan_v6(XdpClose::Client), 70)] {
            let talk = Talk::new(&plan);
            let mut frame = talk.frame(SYN | ACK, THEIRS, 1, 0);
            frame[checksum_at..checksum_at + 2].copy_from_slice(&[0x12, 0x34]);
            assert_eq!(talk.view(talk.hear_frame(&frame)), Ok((ACK | FIN, 1, 1)));
        }
    });
}

#[test]
fn what_is_not_from_the_target_to_one_of_our_four_tuples_is_passed() {
    at_client("what_is_not_from_the_target_to_one_of_our_four_tuples_is_passed", || {
        let between = |target: &str, source: &str| {
            frame(FourTuple::new(target.parse().unwrap(), source.parse().unwrap()), SYN | ACK, THEIRS, SeqNum(1), 0)
        };
        let v4 = || between("198.18.0.1:80", "198.18.1.254:1024");
        let v6 = || between("[2001:2::1]:80", "[2001:2::ffff]:1024");
        let patched = |mut frame: Vec<u8>, at: usize, bytes: &[u8]| {
            frame[at..at + bytes.len()].copy_from_slice(bytes);
            frame
        };
        let four = [
            ("another target", between("198.18.0.2:80", "198.18.1.254:1024")),
            ("another port of the target", between("198.18.0.1:81", "198.18.1.254:1024")),
            ("the address before the first", between("198.18.0.1:80", "198.18.1.253:1024")),
            ("the address behind the last", between("198.18.0.1:80", "198.18.2.2:1024")),
            ("the port before the first", between("198.18.0.1:80", "198.18.1.254:1023")),
            ("the port behind the last", between("198.18.0.1:80", "198.18.1.254:1034")),
            ("IPv6", v6()),
            ("ARP", patched(v4(), 12, &[8, 6])),
            ("a VLAN tag", patched(v4(), 12, &[0x81, 0])),
            ("UDP", patched(v4(), 23, &[17])),
            ("IPv4 options", patched(v4(), 14, &[0x46])),
            ("a first fragment", patched(v4(), 20, &[0x20, 0])),
            ("a later fragment", patched(v4(), 20, &[0, 1])),
            ("a total length below the header's", patched(v4(), 16, &[0, 19])),
            ("the shortest frame", v4()[..14].to_vec()),
            ("one byte too short", v4()[..53].to_vec()),
        ];
        let six = [
            ("another target", between("[2001:2::2]:80", "[2001:2::ffff]:1024")),
            ("another network of ours", between("[2001:2::1]:80", "[2001:2:0:1::ffff]:1024")),
            ("the address before the first", between("[2001:2::1]:80", "[2001:2::fffe]:1024")),
            ("the address behind the last", between("[2001:2::1]:80", "[2001:2::1:3]:1024")),
            ("IPv4", v4()),
            ("hop-by-hop options", patched(v6(), 20, &[0])),
            ("ICMPv6", patched(v6(), 20, &[58])),
            ("one byte too short", v6()[..73].to_vec()),
        ];
        for (plan, frames) in [(plan(XdpClose::Client), &four[..]), (plan_v6(XdpClose::Client), &six)] {
            let talk = Talk::new(&plan);
            for (name, frame) in frames {
                assert_eq!(talk.hear_frame(frame), Err(PASS), "{name}");
                let (_, left) = talk.run(frame);
                assert_eq!(left, *frame, "{name}: not touched");
            }
            assert_eq!(talk.tally().rx_frames, 0);
            assert!(talk.hear(SYN | ACK, THEIRS, 1).is_ok(), "and what is is not");
        }
    });
}
