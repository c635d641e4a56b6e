//! What the relay's frames say about both ends. The server is held to the sequence space by the simulation's
//! [`Witness`]: what it acknowledges has come, what it repeats is the same, and so on. Resets of either end are held to the
//! rule that there is nothing left to reset: only an end whose connection is over may answer a late segment with one.

use std::collections::HashMap;
use std::net::IpAddr;

use handfast::sim::witness::Witness;
use handfast::wire::parse::{PartialChecksums, parse};
use handfast::wire::segment::{Control, Segment};
use handfast::wire::seq::SeqNum;
use handfast::wire::tuple::FourTuple;

use crate::relay::Way;

/// Findings beyond these say nothing new.
const MOST_FINDINGS: usize = 20;

/// The connection of a frame as its receiver names it; `None` if this is not a segment of TCP. Read without the library's
/// parser: that one refuses malformed segments, which are to be judged.
pub fn tuple_of(frame: &[u8]) -> Option<FourTuple> {
    let address = |at: usize, len: usize| frame.get(at..at + len);
    let port = |at: usize| frame.get(at..at + 2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]));
    let (src, dst, tcp): (IpAddr, IpAddr, usize) = match (port(12)?, frame.get(14)? >> 4) {
        (0x0800, 4) if frame.get(23) == Some(&6) => {
            let [src, dst] = [26, 30].map(|at| <[u8; 4]>::try_from(address(at, 4)?).ok());
            (src?.into(), dst?.into(), 14 + 4 * usize::from(frame[14] & 15))
        }
        (0x86dd, 6) if frame.get(20) == Some(&6) => {
            let [src, dst] = [22, 38].map(|at| <[u8; 16]>::try_from(address(at, 16)?).ok());
            (src?.into(), dst?.into(), 54)
        }
        _ => return None,
    };
    Some(FourTuple::new((dst, port(tcp + 2)?).into(), (src, port(tcp)?).into()))
}

/// How far one end of a connection has got with closing it.
#[derive(Clone, Copy, Debug, Default)]
struct End {
    /// The number of its SYN.
    iss: Option<SeqNum>,
    /// The number behind the FIN that it sent.
    fin: Option<SeqNum>,
    /// The other end's acknowledgment of that was delivered.
    fin_acknowledged: bool,
    /// The other end's FIN was delivered.
    heard_fin: bool,
}

/// What is to be said in the end.
#[derive(Debug, Default)]
pub struct Verdict {
    /// RST segments sent by an end whose connection was over.
    pub late_resets: u64,
    /// What must not happen.
    pub findings: Vec<String>,
}

/// Reads along.
#[derive(Default)]
pub struct Judge {
    witness: Witness,
    /// By the connection as the receiver of an end's segments names it.
    ends: HashMap<FourTuple, End>,
    pub verdict: Verdict,
}

impl Judge {
    /// An end has sent a frame.
    pub fn sent(&mut self, way: Way, frame: &[u8]) {
        if way == Way::ToClient
            && let Err(broken) = self.witness.sent(frame)
        {
            self.find(format!("the server: {broken}"));
        }
        let segment = match parse(frame, PartialChecksums::Refuse) {
            Ok(segment) => segment,
            Err(reason) => return self.find(format!("{way:?}: {}", reason.name())),
        };
        if segment.control.has(Control::SYN) {
            self.begin(&segment);
        }
        let end = self.ends.entry(segment.tuple).or_default();
        if segment.control.has(Control::FIN) {
            end.fin = Some(segment.seq + segment.len());
        }
        if segment.control.has(Control::RST) {
            if end.fin_acknowledged && end.heard_fin {
                self.verdict.late_resets += 1;
            } else {
                let end = *end;
                self.find(format!("{way:?}: a reset of a connection that is not over: {segment:?}, {end:?}"));
            }
        }
    }

    /// An end has sent a SYN. If it is another than before, nothing that is known of its last connection holds for the new one.
    fn begin(&mut self, syn: &Segment) {
        let known = self.ends.get(&syn.tuple).is_some_and(|end| end.iss == Some(syn.seq));
        if !known {
            self.ends.insert(syn.tuple, End { iss: Some(syn.seq), ..End::default() });
        }
    }

    /// A frame is about to be delivered to the end that it is for.
    pub fn delivered(&mut self, way: Way, frame: &[u8]) {
        if way == Way::ToServer {
            self.witness.delivered(frame);
        }
        let Ok(Segment { tuple, control, ack, .. }) = parse(frame, PartialChecksums::Refuse) else { return };
        let receiver = self.ends.entry(tuple.reversed()).or_default();
        receiver.heard_fin |= control.has(Control::FIN);
        receiver.fin_acknowledged |= control.has(Control::ACK) && receiver.fin == Some(ack);
    }

    fn find(&mut self, finding: String) {
        if self.verdict.findings.len() < MOST_FINDINGS {
            self.verdict.findings.push(finding);
        }
    }
}

#[test]
fn a_reset_is_a_finding_until_both_ends_have_closed() {
    use crate::wire::{ACK, Crafted, FIN, RST, SYN};
    type Sent = (Way, u8, u32, u32);
    const SYN_ACK: Sent = (Way::ToClient, SYN | ACK, 500, 101);
    // Findings and late resets of a connection with these frames and a reset by `resets` behind them.
    let judged = |frames: &[Sent], resets: Way| {
        let (client, server) = ("198.18.0.2:4000".parse().unwrap(), "198.18.0.1:80".parse().unwrap());
        let mut judge = Judge::default();
        for (way, flags, seq, ack) in frames.iter().copied().chain([(resets, RST, 502, 0)]) {
            let (src, dst) = if way == Way::ToServer { (client, server) } else { (server, client) };
            let frame = Crafted { seq, ack, ..Crafted::new(src, dst, flags) }.bytes();
            judge.sent(way, &frame);
            judge.delivered(way, &frame);
        }
        (judge.verdict.findings.len(), judge.verdict.late_resets)
    };
    let the_server_closes_first = [
        (Way::ToServer, SYN, 100, 0),
        SYN_ACK,
        (Way::ToServer, ACK, 101, 501),
        (Way::ToClient, FIN | ACK, 501, 101),
        (Way::ToServer, FIN | ACK, 101, 502),
        (Way::ToClient, ACK, 502, 102),
    ];
    let behind = |frames: usize, resets| judged(&the_server_closes_first[..frames], resets);
    assert!((1..6).all(|frames| behind(frames, Way::ToServer) == (1, 0)));
    assert!((1..5).all(|frames| behind(frames, Way::ToClient) == (1, 0)));
    assert_eq!(behind(5, Way::ToClient), (0, 1), "the server has heard all");
    assert_eq!((behind(6, Way::ToServer), behind(6, Way::ToClient)), ((0, 1), (0, 1)));
    let the_syn_ack_again_while_a_fin_is_under_way = [
        (Way::ToServer, SYN, 100, 0),
        SYN_ACK,
        (Way::ToServer, FIN | ACK, 101, 501),
        SYN_ACK,
        (Way::ToClient, FIN | ACK, 501, 102),
        (Way::ToServer, ACK, 102, 502),
    ];
    assert_eq!(judged(&the_syn_ack_again_while_a_fin_is_under_way, Way::ToClient), (0, 1));
    let a_new_connection = [&the_server_closes_first[..], &[(Way::ToServer, SYN, 9_000, 0)]].concat();
    assert_eq!(judged(&a_new_connection, Way::ToServer), (1, 0));
}

#[test]
fn only_segments_of_tcp_have_a_tuple() {
    use crate::wire::{Crafted, SYN};
    for (client, server) in [("198.18.0.2:4000", "198.18.0.1:80"), ("[2001:2::2]:4000", "[2001:2::1]:80")] {
        let (client, server) = (client.parse().unwrap(), server.parse().unwrap());
        let frame = Crafted::new(client, server, SYN).bytes();
        assert_eq!(tuple_of(&frame), Some(FourTuple::new(server, client)));
        let protocol = if client.is_ipv4() { 23 } else { 20 };
        let mut datagram = frame.clone();
        datagram[protocol] = 17;
        assert_eq!(tuple_of(&datagram), None);
        assert_eq!(tuple_of(&frame[..protocol]), None);
    }
    assert_eq!(tuple_of(&[0; 60]), None);
}
