//! What happened in a run: a hash over all of it, which tells whether two runs are the same, and its last events, for whoever
//! looks into a failure.

use core::fmt;
use core::hash::Hasher;
use std::collections::VecDeque;

use siphasher::sip::SipHasher13;

use super::link::Fate;
use crate::time::Now;
use crate::verdict::DropReason;
use crate::wire::options::Options;
use crate::wire::parse::{PartialChecksums, parse};
use crate::wire::segment::Segment;

/// Events that are kept.
const TAIL: usize = 80;

/// What happened to a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// It left a node, and this is what the link does to it.
    Sent(Fate),
    /// It reached a node.
    Delivered,
    /// It reached a node that had no room for it.
    Refused,
    /// An adversary made it and put it into a node.
    Forged,
}

/// One event.
#[derive(Clone, Copy, Debug)]
struct Event {
    at: Now,
    node: &'static str,
    what: What,
    len: usize,
    frame: Result<Segment, DropReason>,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.at.0 / 1_000;
        write!(f, "{:>12}.{:03} ms  {:<8} ", micros / 1_000, micros % 1_000, self.node)?;
        match self.what {
            What::Sent(Fate::Whole) => write!(f, "{:<17}", "sends")?,
            What::Sent(fate) => write!(f, "{:<17}", format!("sends, {fate:?}").to_lowercase())?,
            what => write!(f, "{:<17}", format!("{what:?}").to_lowercase())?,
        }
        match &self.frame {
            Ok(Segment { tuple, seq, ack, control, window, payload_len, options, .. }) => {
                let (from, to) = (tuple.remote(), tuple.local());
                write!(f, "{from} > {to} {control:?} seq={} ack={} win={window} len={payload_len}", seq.0, ack.0)?;
                let Options { mss, window_scale, sack_permitted, timestamps } = options;
                mss.map_or(Ok(()), |mss| write!(f, " mss={mss}"))?;
                window_scale.map_or(Ok(()), |shift| write!(f, " ws={shift}"))?;
                f.write_str(if *sack_permitted { " sack" } else { "" })?;
                timestamps.map_or(Ok(()), |(val, ecr)| write!(f, " ts={val},{ecr}"))
            }
            Err(reason) => write!(f, "{} bytes, {}", self.len, reason.name()),
        }
    }
}

/// The trace of one run.
#[derive(Clone, Debug)]
pub struct Trace {
    hasher: SipHasher13,
    tail: VecDeque<Event>,
    events: u64,
}

impl Default for Trace {
    fn default() -> Self {
        Self { hasher: SipHasher13::new(), tail: VecDeque::with_capacity(TAIL), events: 0 }
    }
}

impl Trace {
    /// Adds an event.
    pub fn add(&mut self, at: Now, node: &'static str, what: What, frame: &[u8]) {
        self.hasher.write_u64(at.0);
        self.hasher.write(node.as_bytes());
        self.hasher.write(format!("{what:?}").as_bytes());
        self.hasher.write(frame);
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        let event = Event { at, node, what, len: frame.len(), frame: parse(frame, PartialChecksums::Refuse) };
        self.tail.push_back(event);
        self.events += 1;
    }

    /// The hash over everything until now.
    pub fn hash(&self) -> u64 {
        self.hasher.finish()
    }

    /// How many events there were.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The last events, one a line, the latest last.
    pub fn tail(&self) -> String {
        self.tail.iter().map(|event| format!("{event}\n")).collect()
    }
}
