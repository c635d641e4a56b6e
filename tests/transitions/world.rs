//! One step of one connection: a segment, a call by the user or a time-out goes in, what follows from it comes out.
//!
//! This is the engine without its tables: the functions of `tcp`, called in the engine's order. The service says and does
//! nothing, so that CLOSE-WAIT is a state like the others.

use crate::starts::{ISS, open};
use handfast::tcp::config::TcpConfig;
use handfast::tcp::effects::{Answer, Effects, End, Life};
use handfast::tcp::listen::{self, Listen, isn_after};
use handfast::tcp::tcb::Tcb;
use handfast::tcp::timeout::deadline;
use handfast::tcp::{Env, closed, input, output};
use handfast::time::Tick;
use handfast::verdict::DropReason;
use handfast::wire::ether::{Mac, VlanTags};
use handfast::wire::options::Options;
use handfast::wire::parse::{PartialChecksums, parse};
use handfast::wire::reply::{Addressing, Reply, StreamPiece, write};
use handfast::wire::segment::{Control, Segment};
use handfast::wire::seq::SeqNum;
use handfast::wire::tuple::FourTuple;

pub const PEER_MAC: Mac = [2, 0, 0, 0, 0, 2];
const OUR_MAC: Mac = [2, 0, 0, 0, 0, 1];
/// What is generated for a connection that takes over a TIME-WAIT: below the old numbers, so that it must not be used.
const GENERATED_ISN: SeqNum = SeqNum(1);
/// More segments than one step may send.
const MOST_SEGMENTS: usize = 20;

/// A connection, or what stands in its place.
pub struct Connection {
    pub tcb: Option<Tcb>,
    /// Somebody listens.
    pub listening: bool,
    pub config: TcpConfig,
}

/// A segment to make.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    pub control: Control,
    pub seq: SeqNum,
    pub ack: SeqNum,
    pub len: u16,
    pub window: u16,
    /// TSval, if there is one.
    pub stamp: Option<u32>,
}

/// What a segment came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// It was no legal segment.
    Illegal(DropReason),
    /// It was processed.
    Done(Outcome),
}

/// What follows from a step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// What kind of answer it is, where that is more than the segment shows.
    pub kind: &'static str,
    /// The segments that were sent.
    pub said: Vec<Reply>,
    /// The state afterwards; `None` for LISTEN and CLOSED.
    pub next: Option<&'static str>,
    /// Why the connection ended, if it did.
    pub end: Option<End>,
    /// Why the segment was refused, if it was.
    pub refused: Option<DropReason>,
    /// What the segment did beside that.
    pub does: Vec<String>,
}

pub fn tuple() -> FourTuple {
    FourTuple::new("198.18.0.1:80".parse().expect("an address"), "198.18.0.2:40000".parse().expect("an address"))
}

/// A small window without scaling, so that its edges are near.
pub fn config() -> TcpConfig {
    TcpConfig { window_bytes: 1_000, window_scaling: false, ..TcpConfig::default() }
}

/// Everything that may be sent, sent.
pub fn send_all(tcb: &mut Tcb, env: Env<'_>) -> Vec<Reply> {
    let said: Vec<Reply> =
        (0..MOST_SEGMENTS).map_while(|_| output::next_segment(tcb, false, env)).map(|sent| sent.reply).collect();
    assert!(said.len() < MOST_SEGMENTS, "it does not stop sending");
    said
}

impl Connection {
    pub fn env(&self) -> Env<'_> {
        Env { config: &self.config, now: Tick(1_000_000), tsval: 1_000_000 }
    }

    /// SEGMENT ARRIVES (RFC 9293 3.10.7).
    pub fn segment_arrives(&mut self, arrival: &Arrival) -> Step {
        let segment = match arrival.segment() {
            Ok(segment) => segment,
            Err(reason) => return Step::Illegal(reason),
        };
        let Some(tcb) = self.tcb else { return Step::Done(self.arrives_without_tcb(&segment)) };
        if input::may_reuse_time_wait(&tcb, &segment, &self.config) {
            let iss = isn_after(&tcb, GENERATED_ISN);
            assert!(iss.after(tcb.snd_max), "MAY-2 (1): a larger ISN");
            return Step::Done(self.opens(&segment, iss, vec!["takes over the four-tuple".into()]));
        }
        Step::Done(self.arrives_for_tcb(&segment))
    }

    fn arrives_without_tcb(&mut self, segment: &Segment) -> Outcome {
        let said = |reply: Option<Reply>| Outcome { said: reply.into_iter().collect(), ..Outcome::default() };
        if !self.listening {
            let reset = closed::segment_arrives(segment);
            let refused = reset.is_none().then_some(DropReason::RstToClosed);
            return Outcome { refused, ..said(reset) };
        }
        match listen::segment_arrives(segment) {
            Listen::Open => self.opens(segment, ISS, Vec::new()),
            Listen::Reset(reply) => said(Some(reply)),
            Listen::Drop(reason) => Outcome { refused: Some(reason), ..Outcome::default() },
        }
    }

    fn opens(&mut self, segment: &Segment, iss: SeqNum, does: Vec<String>) -> Outcome {
        let tcb = open(segment, iss, self);
        self.tcb = Some(tcb);
        let said = vec![tcb.syn(self.env())];
        Outcome { said, next: Some(tcb.state.name()), does, ..Outcome::default() }
    }

    fn arrives_for_tcb(&mut self, segment: &Segment) -> Outcome {
        let mut tcb = self.tcb.expect("asked before");
        let before = tcb;
        let env = self.env();
        let effects = input::segment_arrives(&mut tcb, segment, env);
        let mut outcome =
            Outcome { refused: effects.refused, does: deeds(&before, &tcb, &effects), ..Outcome::default() };
        if let Life::Delete(end) = effects.life {
            outcome.end = Some(end);
            self.tcb = None;
            return outcome;
        }
        (outcome.kind, outcome.said) = answer(&mut tcb, &effects, env);
        outcome.said.extend(send_all(&mut tcb, env));
        if effects.restart_timer {
            tcb.deadline = deadline(&tcb, env);
        }
        outcome.next = Some(tcb.state.name());
        self.tcb = Some(tcb);
        outcome
    }
}

/// The segments that answer at once.
fn answer(tcb: &mut Tcb, effects: &Effects, env: Env<'_>) -> (&'static str, Vec<Reply>) {
    let next = |tcb: &mut Tcb, owed| output::next_segment(tcb, owed, env).into_iter().map(|sent| sent.reply).collect();
    match effects.answer {
        Answer::Nothing => ("", next(tcb, false)),
        Answer::Ack => ("", next(tcb, true)),
        Answer::DuplicateAck => ("", vec![tcb.ack(env)]),
        Answer::ChallengeAck => ("challenge ", vec![tcb.ack(env)]),
        Answer::SynAck => ("", vec![tcb.syn(env)]),
        Answer::Reset(reply) => ("", vec![reply]),
    }
}

/// What a segment did, beside its answer and the state.
fn deeds(before: &Tcb, after: &Tcb, effects: &Effects) -> Vec<String> {
    let mut does = Vec::new();
    let mut note = |happened: bool, what: String| does.extend(happened.then_some(what));
    note(effects.established, "the handshake is complete".into());
    note(effects.acked > 0, format!("{} bytes acknowledged", effects.acked));
    note(effects.delivery.len > 0, format!("{} bytes taken behind {}", effects.delivery.len, effects.delivery.skip));
    note(effects.peer_closed, "FIN taken".into());
    note(effects.retransmit_first, "sends the first segment again".into());
    note(before.ts_recent != after.ts_recent, "TS.Recent moves".into());
    note(effects.paws, "PAWS".into());
    note(effects.restart_timer, "timer anew".into());
    does
}

impl Arrival {
    /// The segment, through a frame: what is illegal there never gets further.
    fn segment(&self) -> Result<Segment, DropReason> {
        let to =
            Addressing { dst_mac: OUR_MAC, src_mac: PEER_MAC, tags: VlanTags::default(), tuple: tuple().reversed() };
        let reply = Reply {
            seq: self.seq,
            ack: self.ack,
            control: self.control,
            window: self.window,
            options: Options { timestamps: self.stamp.map(|val| (val, 1_000_000)), ..Options::default() },
            payload: StreamPiece { from_una: 0, len: self.len },
        };
        let mut frame = vec![0; 2_000];
        let len = write(&mut frame, &to, &reply, |out| out.fill(b'x'));
        parse(&frame[..len], PartialChecksums::Refuse)
    }
}
