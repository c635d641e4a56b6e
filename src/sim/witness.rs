//! A witness reads along at one of our engines, and holds what the engine sends against what was delivered to it.
//!
//! It is a second opinion and knows no TCB: from the frames alone it derives what the engine is entitled to say (RFC 9293 3.4):
//! acknowledge only what came, without a gap, and never take it back; send the stream in one piece, the same bytes at the same
//! number every time, within the peer's MSS and the furthest window that the peer ever announced; end it once.
//! Where the witness cannot know which of two segments the engine went by, it takes the one that allows more.
//!
//! What is deliberately not here: congestion control and timers; when something is sent is for the packet scripts to say.

use std::collections::{BTreeMap, HashMap};

use super::rules::Broken;
use crate::wire::ether::ETHER_LEN;
use crate::wire::ip::{IPV4_LEN, IPV6_LEN};
use crate::wire::options::MAX_WINDOW_SHIFT;
use crate::wire::parse::{PartialChecksums, TCP_LEN, parse};
use crate::wire::segment::{Control, Segment};
use crate::wire::seq::SeqNum;
use crate::wire::tuple::FourTuple;

/// Numbers further away than this belong to no stream of a simulation.
const FAR: u32 = 1 << 28;
/// What a peer announces at least that counts as its MSS.
const LEAST_MSS: u16 = 64;

/// What was delivered to the engine for one four-tuple since the start.
#[derive(Debug, Default)]
struct Delivered {
    /// Sequence numbers: the first, and how many.
    text: Vec<(SeqNum, u32)>,
    /// SYNs: their number, and the largest values that any of them offered.
    syns: Vec<SeqNum>,
    mss: u16,
    shift: u8,
    syn_window: u32,
}

/// One connection that the engine takes part in.
#[derive(Debug)]
struct Conversation {
    iss: SeqNum,
    irs: Option<SeqNum>,
    /// Delivered numbers as offsets from IRS: start to end, merged.
    covered: BTreeMap<u32, u32>,
    /// The highest acknowledgment that the engine sent, as an offset from IRS.
    acknowledged: u32,
    /// What the engine sent so far, from ISS + 1 on.
    stream: Vec<u8>,
    /// Offset in the stream at which the engine's FIN stands.
    fin: Option<usize>,
    /// End of the furthest window that the peer announced, as an offset from ISS.
    edge: u32,
    /// The engine's SYN offers to scale windows.
    scales: bool,
    /// The acknowledgment of the engine's SYN came, and may have made a connection out of a cookie, also once more.
    may_begin_again: bool,
}

/// Reads along at one engine.
#[derive(Debug, Default)]
pub struct Witness {
    /// The engine sends cookies: it cannot tell the first acknowledgment of one from a duplicate, when the connection is over.
    cookies: bool,
    delivered: HashMap<FourTuple, Delivered>,
    conversations: HashMap<FourTuple, Conversation>,
}

impl Witness {
    /// A witness of an engine that sends cookies, or not.
    pub fn new(cookies: bool) -> Self {
        Self { cookies, ..Self::default() }
    }

    /// A frame was put before the engine. Nothing can be wrong with it: the engine has to cope with what comes.
    pub fn delivered(&mut self, frame: &[u8]) {
        let Ok(segment) = parse(frame, PartialChecksums::Refuse) else { return };
        let all = self.delivered.entry(segment.tuple).or_default();
        all.note(&segment);
        if let Some(conversation) = self.conversations.get_mut(&segment.tuple) {
            conversation.delivered(&segment, all);
        }
    }

    /// A frame left the engine.
    ///
    /// # Errors
    ///
    /// The rule that it breaks.
    pub fn sent(&mut self, frame: &[u8]) -> Result<(), Broken> {
        let segment = parse(frame, PartialChecksums::Refuse)
            .map_err(|reason| Broken::new(format!("an illegal frame was sent: {}", reason.name())))?;
        let tuple = segment.tuple.reversed();
        if segment.control.has(Control::RST) {
            return if segment.payload_len == 0 { Ok(()) } else { Err(broken(&segment, "a RST carries text")) };
        }
        let all = self.delivered.entry(tuple).or_default();
        let repeats =
            |known: &Conversation| known.iss == segment.seq && known.irs.is_none_or(|irs| irs + 1 == segment.ack);
        let known = self.conversations.get(&tuple).is_some_and(repeats);
        if segment.control.has(Control::SYN) && !known {
            self.conversations.insert(tuple, Conversation::opened(&segment, all));
        }
        let Some(conversation) = self.conversations.get_mut(&tuple) else {
            return Err(broken(&segment, "a segment of a connection that was never opened"));
        };
        let payload = &frame[segment.payload()];
        let mut judged = conversation.sent(&segment, payload, all);
        if judged.is_err() && self.cookies && conversation.may_begin_again {
            let mut again = conversation.begun_again(all);
            if again.sent(&segment, payload, all).is_ok() {
                *conversation = again;
                judged = Ok(());
            }
        }
        judged.map_err(|text| broken(&segment, &text))
    }
}

fn broken(segment: &Segment, text: &str) -> Broken {
    Broken::new(format!("{text}: {segment:?}"))
}

impl Delivered {
    fn note(&mut self, segment: &Segment) {
        if !segment.is_empty() {
            self.text.push((segment.seq, segment.len()));
        }
        if segment.control.has(Control::SYN) {
            let default = if segment.tuple.is_v4() { 536 } else { 1_220 };
            self.syns.push(segment.seq);
            self.mss = self.mss.max(segment.options.mss.unwrap_or(default)).max(LEAST_MSS);
            self.shift = self.shift.max(segment.options.window_scale.unwrap_or(0).min(MAX_WINDOW_SHIFT));
            self.syn_window = self.syn_window.max(segment.window.into());
        }
    }
}

impl Conversation {
    /// The engine's SYN or SYN-ACK opens it.
    fn opened(syn: &Segment, all: &Delivered) -> Self {
        Self {
            iss: syn.seq,
            irs: None,
            covered: BTreeMap::new(),
            acknowledged: 0,
            stream: Vec::new(),
            fin: None,
            edge: 1 + all.syn_window,
            scales: syn.options.window_scale.is_some(),
            may_begin_again: false,
        }
    }

    /// The same connection from its SYN on.
    fn begun_again(&self, all: &Delivered) -> Self {
        let Self { iss, irs, edge, scales, .. } = *self;
        let mut again = Self {
            iss,
            irs,
            covered: BTreeMap::new(),
            acknowledged: 0,
            stream: Vec::new(),
            fin: None,
            edge,
            scales,
            may_begin_again: false,
        };
        if let Some(irs) = irs {
            all.text.iter().for_each(|(seq, len)| again.cover(*seq, *len, irs));
        }
        again
    }

    fn delivered(&mut self, segment: &Segment, all: &Delivered) {
        if let Some(irs) = self.irs {
            self.cover(segment.seq, segment.len(), irs);
            self.may_begin_again |= segment.seq == irs + 1 && segment.ack == self.iss + 1;
        }
        let ack = segment.ack.distance_from(self.iss);
        if segment.control.has(Control::ACK) && ack < FAR {
            let is_syn = segment.control.has(Control::SYN);
            let shift = if self.scales && !is_syn { all.shift } else { 0 };
            self.edge = self.edge.max(ack + (u32::from(segment.window) << shift));
        } else if segment.control.has(Control::SYN) {
            self.edge = self.edge.max(1 + u32::from(segment.window));
        }
    }

    /// Offset from ISS right behind the last number that the engine used.
    fn sent_end(&self) -> u32 {
        let text = u32::try_from(self.stream.len()).expect("a simulation's streams are short");
        1 + text + u32::from(self.fin.is_some())
    }

    /// The `len` numbers from `seq` on were delivered; what lies before IRS is cut off.
    fn cover(&mut self, seq: SeqNum, len: u32, irs: SeqNum) {
        let before = if seq.before(irs) { irs.distance_from(seq) } else { 0 };
        let mut start = (seq + before).distance_from(irs);
        if start >= FAR || len <= before {
            return;
        }
        let mut end = start + (len - before);
        while let Some((s, e)) =
            self.covered.range(..=end).next_back().map(|(s, e)| (*s, *e)).filter(|(_, e)| *e >= start)
        {
            self.covered.remove(&s);
            (start, end) = (start.min(s), end.max(e));
        }
        self.covered.insert(start, end);
    }

    fn sent(&mut self, segment: &Segment, payload: &[u8], all: &Delivered) -> Result<(), String> {
        if segment.control.has(Control::ACK) {
            self.check_ack(segment.ack, all)?;
        }
        if segment.control.has(Control::SYN) {
            return if payload.is_empty() { Ok(()) } else { Err("a SYN carries text".into()) };
        }
        if segment.is_empty() {
            return self.check_empty(segment);
        }
        self.check_size(segment, all)?;
        self.check_text(segment, payload)
    }

    /// The acknowledgment covers only what came, and never less than one before.
    fn check_ack(&mut self, ack: SeqNum, all: &Delivered) -> Result<(), String> {
        let irs = match self.irs {
            Some(irs) => irs,
            None => {
                // Of several SYNs it is the one right before the acknowledgment, else the last.
                let right_before = all.syns.iter().find(|syn| **syn + 1 == ack);
                let last = all.syns.iter().rfind(|syn| (1..FAR).contains(&ack.distance_from(**syn)));
                let irs = *right_before.or(last).ok_or("acknowledges a SYN that never came")?;
                self.irs = Some(irs);
                all.text.iter().for_each(|(seq, len)| self.cover(*seq, *len, irs));
                irs
            }
        };
        let acknowledged = ack.distance_from(irs);
        let came = self.covered.get(&0).copied().unwrap_or(0);
        if acknowledged > came {
            return Err(format!(
                "acknowledges {acknowledged} numbers from the peer's SYN on; {came} came without a gap"
            ));
        }
        if acknowledged < self.acknowledged {
            return Err(format!("acknowledges {acknowledged} numbers, after {} already", self.acknowledged));
        }
        self.acknowledged = acknowledged;
        Ok(())
    }

    /// <SEQ=SND.NXT>, or the number before it: a keepalive probe.
    fn check_empty(&self, segment: &Segment) -> Result<(), String> {
        let (seq, end) = (segment.seq.distance_from(self.iss), self.sent_end());
        if seq == end || seq + 1 == end { Ok(()) } else { Err(format!("stands at {seq}, SND.NXT is {end}")) }
    }

    /// Within the MSS, options counted, and within the window, but for the one byte or FIN of a probe.
    fn check_size(&self, segment: &Segment, all: &Delivered) -> Result<(), String> {
        let ip_len = if segment.tuple.is_v4() { IPV4_LEN } else { IPV6_LEN };
        let size = usize::from(segment.payload_at + segment.payload_len) - ETHER_LEN - ip_len - TCP_LEN;
        if segment.payload_len > 0 && size > usize::from(all.mss) {
            return Err(format!("options and payload are {size} bytes, the peer's MSS is {}", all.mss));
        }
        let end = segment.seq.distance_from(self.iss).wrapping_add(segment.len());
        if end > self.edge + 1 { Err(format!("ends at {end}, the window at {}", self.edge)) } else { Ok(()) }
    }

    /// The same bytes at the same place, no gap, nothing behind the FIN.
    fn check_text(&mut self, segment: &Segment, payload: &[u8]) -> Result<(), String> {
        let at = segment.seq.distance_from(self.iss).wrapping_sub(1) as usize;
        if at > self.stream.len() {
            return Err(format!("starts at byte {at} of the stream, only {} were sent", self.stream.len()));
        }
        let known = &self.stream[at..self.stream.len().min(at + payload.len())];
        if known != &payload[..known.len()] {
            return Err(format!("other bytes than before from byte {at} of the stream on"));
        }
        let end = at + payload.len();
        if self.fin.is_some_and(|fin| end > fin) {
            return Err("text behind the FIN".into());
        }
        self.stream.extend_from_slice(&payload[known.len()..]);
        if segment.control.has(Control::FIN) {
            if end != self.stream.len() || self.fin.is_some_and(|fin| fin != end) {
                return Err(format!("a FIN at byte {end} of the stream, it ends at {}", self.stream.len()));
            }
            self.fin = Some(end);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ether::VlanTags;
    use crate::wire::options::Options;
    use crate::wire::reply::{Addressing, Reply, StreamPiece, write};

    const SYN_ACK: Control = Control(0x12);
    const FIN_ACK: Control = Control(0x11);

    fn tuple() -> FourTuple {
        FourTuple::new("198.18.0.1:80".parse().unwrap(), "198.18.0.2:4000".parse().unwrap())
    }

    fn frame(tuple: FourTuple, seq: u32, ack: u32, control: Control, window: u16, text: &[u8]) -> Vec<u8> {
        let to = Addressing { dst_mac: [2; 6], src_mac: [2; 6], tags: VlanTags::default(), tuple };
        let mss = control.has(Control::SYN).then_some(100);
        let payload = StreamPiece { from_una: 0, len: u16::try_from(text.len()).unwrap() };
        let options = Options { mss, ..Options::default() };
        let reply = Reply { seq: SeqNum(seq), ack: SeqNum(ack), control, window, options, payload };
        let mut frame = vec![0; 1_514];
        let len = write(&mut frame, &to, &reply, |out| out.copy_from_slice(text));
        frame.truncate(len);
        frame
    }

    /// From the peer, whose SYN is at 1,000.
    fn peer(seq: u32, ack: u32, control: Control, window: u16, text: &[u8]) -> Vec<u8> {
        frame(tuple().reversed(), seq, ack, control, window, text)
    }

    /// From the engine, whose SYN-ACK is at 5,000.
    fn ours(seq: u32, ack: u32, control: Control, text: &[u8]) -> Vec<u8> {
        frame(tuple(), seq, ack, control, 8_000, text)
    }

    /// A witness of a handshake, and of a window of 150 bytes.
    fn established() -> Witness {
        let mut witness = Witness::default();
        witness.delivered(&peer(1_000, 0, Control::SYN, 120, &[]));
        witness.sent(&ours(5_000, 1_001, SYN_ACK, &[])).unwrap();
        witness.delivered(&peer(1_001, 5_001, Control::ACK, 150, &[]));
        witness
    }

    fn says(witness: &mut Witness, frame: &[u8]) -> String {
        witness.sent(frame).map_or_else(|broken| broken.text, |()| "fine".to_owned())
    }

    #[test]
    fn what_the_protocol_allows_is_fine() {
        let mut witness = established();
        witness.delivered(&peer(1_001, 5_001, Control::ACK, 150, &[7; 10]));
        assert_eq!(says(&mut witness, &ours(5_001, 1_011, Control::ACK, &[1; 100])), "fine");
        assert_eq!(says(&mut witness, &ours(5_101, 1_011, Control::ACK, &[2; 50])), "fine");
        assert_eq!(says(&mut witness, &ours(5_001, 1_011, Control::ACK, &[1; 100])), "fine", "sent again");
        assert_eq!(says(&mut witness, &ours(5_151, 1_011, Control::ACK, &[])), "fine");
        assert_eq!(says(&mut witness, &ours(5_150, 1_011, Control::ACK, &[])), "fine", "a keepalive probe");
        assert_eq!(says(&mut witness, &ours(5_151, 1_011, FIN_ACK, &[])), "fine", "a probe with the FIN");
    }

    #[test]
    fn an_acknowledgment_of_what_never_came_is_noticed() {
        let mut witness = established();
        assert!(
            says(&mut witness, &ours(5_001, 1_002, Control::ACK, &[]))
                .contains("2 numbers from the peer's SYN on; 1 came")
        );
        witness.delivered(&peer(1_011, 5_001, Control::ACK, 150, &[7; 10]));
        assert!(says(&mut witness, &ours(5_001, 1_021, Control::ACK, &[])).contains("1 came"), "behind a gap");
        witness.delivered(&peer(990, 5_001, Control::ACK, 150, &[7; 21]));
        assert_eq!(
            says(&mut witness, &ours(5_001, 1_021, Control::ACK, &[])),
            "fine",
            "the gap is filled from before the SYN"
        );
        assert!(says(&mut witness, &ours(5_001, 1_020, Control::ACK, &[])).contains("after 21 already"), "taken back");
    }

    #[test]
    fn text_in_the_wrong_place_size_or_wording_is_noticed() {
        let noticed = |frames: &[Vec<u8>]| {
            let mut witness = established();
            frames.iter().map(|frame| says(&mut witness, frame)).last().unwrap()
        };
        let text = |seq, text: &[u8]| ours(seq, 1_001, Control::ACK, text);
        assert!(noticed(&[text(5_002, &[1])]).contains("starts at byte 1"), "a gap");
        assert!(noticed(&[text(5_001, &[1; 101])]).contains("MSS is 100"));
        assert!(noticed(&[text(5_001, &[1; 100]), text(5_101, &[1; 52])]).contains("ends at 153, the window at 151"));
        assert!(noticed(&[text(5_001, b"abc"), text(5_002, b"x")]).contains("other bytes than before from byte 1"));
        assert!(noticed(&[text(5_001, b"abc"), text(5_001, &[])]).contains("stands at 1, SND.NXT is 4"));
    }

    #[test]
    fn a_fin_that_moves_is_noticed() {
        let mut witness = established();
        assert_eq!(says(&mut witness, &ours(5_001, 1_001, FIN_ACK, b"ab")), "fine");
        assert!(says(&mut witness, &ours(5_003, 1_001, Control::ACK, b"c")).contains("text behind the FIN"));
        assert!(says(&mut witness, &ours(5_001, 1_001, FIN_ACK, b"a")).contains("a FIN at byte 1"));
    }

    #[test]
    fn with_cookies_a_duplicate_of_the_acknowledgment_may_begin_it_again() {
        for cookies in [false, true] {
            let mut witness = Witness { cookies, ..established() };
            witness.delivered(&peer(1_001, 5_001, Control::ACK, 150, &[7; 10]));
            assert_eq!(says(&mut witness, &ours(5_001, 1_011, FIN_ACK, b"ab")), "fine");
            let begins_again = says(&mut witness, &ours(5_001, 1_001, Control::ACK, &[])) == "fine";
            assert_eq!(begins_again, cookies);
            assert!(says(&mut witness, &ours(5_001, 1_021, Control::ACK, &[])).contains("11 came"));
        }
    }

    #[test]
    fn a_segment_without_a_connection_is_noticed() {
        assert!(says(&mut Witness::default(), &ours(1, 1, Control::ACK, &[])).contains("never opened"));
        assert_eq!(says(&mut Witness::default(), &ours(0, 1, Control(0x14), &[])), "fine", "a RST has none");
    }
}
