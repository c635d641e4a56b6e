//! What the program makes of what comes back, frame by frame.

use std::net::{IpAddr, SocketAddr};

use handfast::flood::contract::Count;
use handfast::flood::flooder::Flooder;
use handfast::flood::frames::write;
use handfast::flood::kind::Kind;
use handfast::flood::plan::FloodPlan;
use handfast::wire::ether::VlanTags;
use handfast::wire::options::Options;
use handfast::wire::reply::{Addressing, Reply, StreamPiece, write as write_reply};
use handfast::wire::segment::Control;
use handfast::wire::seq::SeqNum;
use handfast::wire::tuple::FourTuple;

use crate::program::{DROP, PASS, REDIRECT, run};
use crate::{CLIENT_MAC, ENDS, SERVER_MAC, at_client, client_ifindex, load, plan};

const NONE: Control = Control(0);

/// What the target heard. Read without the library's parser, which refuses control bits that no segment has.
#[derive(Clone, Copy)]
struct Segment {
    tuple: FourTuple,
    seq: SeqNum,
    ack: SeqNum,
    control: Control,
}

impl Segment {
    fn read(frame: &[u8], is_ipv4: bool) -> Self {
        let address = |at: usize| -> IpAddr {
            if is_ipv4 {
                <[u8; 4]>::try_from(&frame[at..at + 4]).unwrap().into()
            } else {
                <[u8; 16]>::try_from(&frame[at..at + 16]).unwrap().into()
            }
        };
        let [source, target, tcp] = if is_ipv4 { [26, 30, 34] } else { [22, 38, 54] };
        let port = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
        let number = |at: usize| SeqNum(u32::from_be_bytes(frame[at..at + 4].try_into().unwrap()));
        let ends = [(address(target), port(tcp + 2)), (address(source), port(tcp))].map(SocketAddr::from);
        let tuple = FourTuple::new(ends[0], ends[1]);
        Self { tuple, seq: number(tcp + 4), ack: number(tcp + 8), control: Control(frame[tcp + 13]) }
    }
}

/// A flood whose first frames were sent, and what the target heard.
struct Heard {
    flooder: Flooder,
    segments: Vec<Segment>,
}

impl Heard {
    fn new(plan: &FloodPlan) -> Self {
        let flooder = load(plan, 5);
        let bytes = flooder.config().frame_bytes as usize;
        let segments = (0..10).map(|number| {
            assert_eq!(run(&flooder.program(), &vec![0; bytes], 0).0, REDIRECT);
            let mut frame = vec![0; 128];
            let len = write(flooder.config(), number, &mut frame);
            Segment::read(&frame[..len], plan.target.is_ipv4())
        });
        let segments = segments.collect();
        Self { flooder, segments }
    }

    /// Gives the program an answer to a segment; the action.
    fn answer(&self, to: &Segment, control: Control, seq: SeqNum, ack: SeqNum) -> u32 {
        self.hear(to.tuple, control, seq, ack)
    }

    fn hear(&self, tuple: FourTuple, control: Control, seq: SeqNum, ack: SeqNum) -> u32 {
        let to = Addressing { dst_mac: CLIENT_MAC, src_mac: SERVER_MAC, tags: VlanTags::default(), tuple };
        let options = Options { mss: control.has(Control::SYN).then_some(1460), ..Options::default() };
        let reply = Reply { seq, ack, control, window: 1, options, payload: StreamPiece::default() };
        let mut frame = vec![0; 128];
        let len = write_reply(&mut frame, &to, &reply, |_| {});
        run(&self.flooder.program(), &frame[..len], client_ifindex()).0
    }

    /// SYN-ACK, RST, challenge ACK, other; answered, repeated.
    fn counts(&self) -> [u64; 6] {
        let tally = self.flooder.tally().unwrap();
        assert_eq!(tally.get(Count::Failed), 0);
        let kinds = [Count::SynAck, Count::Rst, Count::ChallengeAck, Count::Other, Count::Answered, Count::Repeated];
        kinds.map(|count| tally.get(count))
    }
}

const SYN_ACK: Control = Control(0x12);
const RST_ACK: Control = Control(0x14);

#[test]
fn a_syn_ack_answers_the_syn_that_it_acknowledges_once() {
    at_client("a_syn_ack_answers_the_syn_that_it_acknowledges_once", || {
        for ends in ENDS {
            let heard = Heard::new(&plan(Kind::Syn, ends));
            for syn in &heard.segments {
                assert_eq!(heard.answer(syn, SYN_ACK, SeqNum(1), syn.seq + 1), DROP);
            }
            assert_eq!(heard.counts(), [10, 0, 0, 0, 10, 0]);
            let syn = &heard.segments[3];
            heard.answer(syn, SYN_ACK, SeqNum(1), syn.seq + 1);
            assert_eq!(heard.counts(), [11, 0, 0, 0, 10, 1], "it came again");
            heard.answer(syn, SYN_ACK, SeqNum(1), syn.seq);
            assert_eq!(heard.counts(), [12, 0, 0, 0, 10, 1], "it acknowledges no SYN of the last ones");
        }
    });
}

#[test]
fn a_reset_answers_the_segment_whose_numbers_it_has() {
    at_client("a_reset_answers_the_segment_whose_numbers_it_has", || {
        // What the kinds take of the sequence space, or that they have an ACK (RFC 9293 3.10.7.1).
        for (kind, numbers) in [(Kind::Syn, Some(1)), (Kind::Xmas, Some(1)), (Kind::Ack, None), (Kind::Fin, None)] {
            let heard = Heard::new(&plan(kind, ENDS[0]));
            for segment in &heard.segments {
                match numbers {
                    Some(numbers) => heard.answer(segment, RST_ACK, SeqNum(0), segment.seq + numbers),
                    None => heard.answer(segment, Control::RST, segment.ack, SeqNum(0)),
                };
            }
            assert_eq!(heard.counts(), [0, 10, 0, 0, 10, 0], "{kind}");
        }
        let heard = Heard::new(&plan(Kind::Random, ENDS[1]));
        for segment in &heard.segments {
            let (syn, fin) = (segment.control.has(Control::SYN), segment.control.has(Control::FIN));
            if segment.control.has(Control::ACK) {
                heard.answer(segment, Control::RST, segment.ack, SeqNum(0));
            } else {
                heard.answer(segment, RST_ACK, SeqNum(0), segment.seq + u32::from(syn) + u32::from(fin));
            }
        }
        assert_eq!(heard.counts(), [0, 10, 0, 0, 10, 0]);
    });
}

#[test]
fn other_answers_are_counted_by_what_they_are() {
    at_client("other_answers_are_counted_by_what_they_are", || {
        let heard = Heard::new(&plan(Kind::Syn, ENDS[0]));
        let syn = &heard.segments[0];
        assert_eq!(heard.answer(syn, Control::ACK, SeqNum(1), syn.seq + 1), DROP);
        assert_eq!(heard.answer(syn, Control::FIN | Control::ACK, SeqNum(1), syn.seq + 1), DROP);
        assert_eq!(heard.answer(syn, NONE, SeqNum(1), syn.seq + 1), DROP);
        assert_eq!(heard.counts(), [0, 0, 1, 2, 0, 0]);
    });
}

#[test]
fn what_is_for_others_is_passed_on_and_with_a_relay_sent_there() {
    at_client("what_is_for_others_is_passed_on_and_with_a_relay_sent_there", || {
        for (relay, action) in [(None, PASS), (Some(1_000_000), REDIRECT)] {
            let plan = FloodPlan { ports: 2000..=2999, ..plan(Kind::Syn, ENDS[0]) };
            let mut heard = Heard::new(&plan);
            let tuple = heard.segments[0].tuple;
            // The one with a relay is attached nowhere, since no interface has that number: the interface keeps the other.
            let with_relay = Flooder::load(&FloodPlan { relay, ..plan }, 5).unwrap();
            let _attached = std::mem::replace(&mut heard.flooder, with_relay);
            let others = [
                FourTuple { remote_addr: "198.18.0.2".parse::<std::net::IpAddr>().unwrap().into(), ..tuple },
                FourTuple { remote_port: 3000, ..tuple },
            ];
            for tuple in others {
                assert_eq!(heard.hear(tuple, SYN_ACK, SeqNum(1), SeqNum(2)), action, "{tuple:?}");
            }
            // Another service of the target's host is none of ours.
            let elsewhere = FourTuple { local_port: 22, ..tuple };
            assert_eq!(heard.hear(elsewhere, SYN_ACK, SeqNum(1), SeqNum(2)), PASS);
            assert_eq!(heard.counts(), [0; 6]);
        }
    });
}
