//! What a worker receives and sends, copied for whoever wants to look at it later.
//!
//! A worker has a [`Tap`]. [`Untapped`] is none, and costs nothing: what it would be told is not even computed. [`Recorder`] copies each
//! frame into a slot of its own ([`recall`]), waits for its verdict, and hands what a [`filter`] lets through to a writer's thread
//! ([`queue`]). When a connection fails, the frames of it that are still there are handed over, too.
//!
//! What is deliberately not here: files and their format (control::capture). Nothing here allocates after the start, waits or locks: a frame
//! that finds the queue full is not captured, and counted.

pub mod filter;
pub mod queue;
pub mod recall;

use crate::engine::failures::Failure;
use crate::flow::hash::FlowHasher;
use crate::stats::words::word_struct;
use crate::tcp::effects::End;
use crate::time::Now;
use crate::verdict::{DropReason, Verdict};
use crate::wire::ether::{Ether, TYPE_IPV4, TYPE_IPV6};
use crate::wire::ip::{parse_ipv4, parse_ipv6};
use crate::wire::plain;
use crate::wire::segment::Control;
use crate::wire::tuple::FourTuple;
use filter::Filter;
use queue::Producer;
use recall::Recall;

word_struct! {
    /// What a capture counted at the worker. Units: frames where nothing is said.
    pub struct CaptureCounters {
        /// Handed to the writer because the filter lets them through.
        captured,
        /// Handed to the writer because their connection failed.
        captured_of_failed,
        /// Not captured because the queue to the writer was full.
        missed,
        /// Connections that failed and of which frames were still there.
        failures_captured,
        /// Connections that failed and of which no frame was left.
        failures_forgotten,
    }
}

/// Which way a frame went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Way {
    /// Received.
    #[default]
    In,
    /// Sent.
    Out,
}

/// For which file a frame is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Book {
    /// That of all frames which the filter lets through.
    #[default]
    All,
    /// That of the connections that failed.
    Failed,
}

/// What is known of a captured frame beside its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Note {
    /// When the turn began that received or sent it, by the worker's clock.
    pub nanos: u64,
    /// Its whole length in bytes.
    pub len: u32,
    /// Which way it went.
    pub way: Way,
    /// Which file it is for.
    pub book: Book,
    /// What became of it; `None` if it was sent. The length of an answer is not kept.
    pub verdict: Option<Verdict>,
    /// How its connection failed, on the last of that connection's frames.
    pub end: Option<End>,
}

/// Codes of the verdicts that are no drops; those of drops follow.
const NO_VERDICT: u64 = 0;
const ACCEPTED: u64 = 1;
const ANSWERED: u64 = 2;
const DROPPED: u64 = 3;

impl Note {
    /// Words that a note takes.
    pub const WORDS: usize = 3;

    /// The note and the number of bytes that were kept, as words.
    fn to_words(self, kept: usize) -> [u64; Self::WORDS] {
        let verdict = match self.verdict {
            None => NO_VERDICT,
            Some(Verdict::Accept) => ACCEPTED,
            Some(Verdict::Transmit { .. }) => ANSWERED,
            Some(Verdict::Drop(reason)) => DROPPED + reason.index() as u64,
        };
        let end = self.end.map_or(0, |end| end.index() as u64 + 1);
        let [out, failed] = [self.way == Way::Out, self.book == Book::Failed].map(u64::from);
        [self.nanos, kept as u64 | u64::from(self.len) << 32, verdict | end << 16 | out << 32 | failed << 33]
    }

    /// The inverse of [`Note::to_words`].
    #[expect(clippy::cast_possible_truncation, reason = "each part is masked to what was put in")]
    fn from_words([nanos, lengths, codes]: [u64; Self::WORDS]) -> (Self, usize) {
        let verdict = match codes & 0xffff {
            NO_VERDICT => None,
            ACCEPTED => Some(Verdict::Accept),
            ANSWERED => Some(Verdict::Transmit { len: 0 }),
            dropped => DropReason::ALL.get((dropped - DROPPED) as usize).copied().map(Verdict::Drop),
        };
        let end = (codes >> 16 & 0xffff).checked_sub(1).and_then(|index| End::ALL.get(index as usize).copied());
        let way = if codes >> 32 & 1 == 1 { Way::Out } else { Way::In };
        let book = if codes >> 33 & 1 == 1 { Book::Failed } else { Book::All };
        (Self { nanos, len: (lengths >> 32) as u32, way, book, verdict, end }, lengths as u32 as usize)
    }
}

/// What the headers of a frame say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Glance {
    /// Both ends, ours as local.
    pub tuple: FourTuple,
    /// Its control bits.
    pub control: Control,
}

impl Glance {
    /// Reads a frame that went this way; `None` if it is no TCP segment, or does not say between whom.
    pub fn at(frame: &[u8], way: Way) -> Option<Self> {
        let (tuple, control) = plain::tuple(frame).or_else(|| stepwise(frame))?;
        Some(Self { tuple: if way == Way::In { tuple } else { tuple.reversed() }, control })
    }
}

/// Receiver's four-tuple and control bits of a frame with VLAN tags, IP options or extension headers.
fn stepwise(frame: &[u8]) -> Option<(FourTuple, Control)> {
    let ether = Ether::parse(frame).ok()?;
    let network = &frame[ether.header_len()..];
    let packet = match ether.ethertype {
        TYPE_IPV4 => parse_ipv4(network).ok()?,
        TYPE_IPV6 => parse_ipv6(network).ok()?,
        _ => return None,
    };
    let header: &[u8; 14] = network.get(packet.tcp)?.first_chunk()?;
    let [s0, s1, d0, d1, .., control] = *header;
    let tuple = FourTuple {
        local_addr: packet.dst,
        remote_addr: packet.src,
        local_port: u16::from_be_bytes([d0, d1]),
        remote_port: u16::from_be_bytes([s0, s1]),
    };
    Some((tuple, Control(control)))
}

/// Who is told of each frame of a worker.
pub trait Tap {
    /// False if it wants to hear nothing at all.
    const ON: bool;

    /// A frame was received; its verdict follows. The answer will be written over it.
    fn received(&mut self, frame: &[u8], now: Now);

    /// The verdict on the frame that was received last.
    fn judged(&mut self, verdict: Verdict);

    /// A frame is handed to the port to be sent.
    fn sent(&mut self, frame: &[u8], now: Now);

    /// A connection failed.
    fn failed(&mut self, failure: &Failure);

    /// What it counted.
    fn counters(&self) -> CaptureCounters;
}

/// Nobody is told anything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Untapped;

impl Tap for Untapped {
    const ON: bool = false;

    #[inline]
    fn received(&mut self, _frame: &[u8], _now: Now) {}

    #[inline]
    fn judged(&mut self, _verdict: Verdict) {}

    #[inline]
    fn sent(&mut self, _frame: &[u8], _now: Now) {}

    #[inline]
    fn failed(&mut self, _failure: &Failure) {}

    #[inline]
    fn counters(&self) -> CaptureCounters {
        CaptureCounters::default()
    }
}

/// What a recorder is made from.
#[derive(Debug)]
pub struct RecorderConfig {
    /// The frames to capture; `None` is no frame, but those of connections that failed.
    pub filter: Option<Filter>,
    /// Frames to remember for the connections that fail; 0 is not to care for these.
    pub remember: usize,
    /// Bytes of a frame that are kept.
    pub frame_bytes: usize,
    /// Key of the hash by which frames are remembered.
    pub key: [u64; 2],
    /// Where captured frames go.
    pub queue: Producer,
}

/// Copies frames.
#[derive(Debug)]
pub struct Recorder {
    filter: Option<Filter>,
    remembers: bool,
    recall: Recall,
    queue: Producer,
    counters: CaptureCounters,
    /// What the headers of the last frame said.
    glance: Option<Glance>,
}

impl Recorder {
    /// A recorder. Allocates everything that it will ever use.
    pub fn new(config: RecorderConfig) -> Self {
        let RecorderConfig { filter, remember, frame_bytes, key, queue } = config;
        // A received frame waits here for its verdict, also where none is remembered for longer.
        let recall = Recall::new(remember.max(1), frame_bytes, FlowHasher::new(key));
        Self { filter, remembers: remember > 0, recall, queue, counters: CaptureCounters::default(), glance: None }
    }

    fn copy(&mut self, frame: &[u8], way: Way, now: Now) {
        self.glance = Glance::at(frame, way);
        let len = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        self.recall.push(Note { nanos: now.0, len, way, ..Note::default() }, self.glance.as_ref(), frame);
    }

    /// Hands the last frame over, if the filter lets it through.
    fn offer(&mut self) {
        let (note, bytes) = self.recall.last();
        let fits = |filter: &Filter| filter.fits(self.glance.as_ref(), note.way, note.verdict);
        if self.filter.as_ref().is_some_and(fits) {
            let taken = self.queue.push(note, bytes);
            self.counters.captured += u64::from(taken);
            self.counters.missed += u64::from(!taken);
        }
    }
}

impl Tap for Recorder {
    const ON: bool = true;

    fn received(&mut self, frame: &[u8], now: Now) {
        self.copy(frame, Way::In, now);
    }

    fn judged(&mut self, verdict: Verdict) {
        self.recall.last_note().verdict = Some(verdict);
        self.offer();
    }

    fn sent(&mut self, frame: &[u8], now: Now) {
        self.copy(frame, Way::Out, now);
        self.offer();
    }

    fn failed(&mut self, failure: &Failure) {
        if !self.remembers {
            return;
        }
        let (queue, counters) = (&mut self.queue, &mut self.counters);
        let found = self.recall.take(&failure.tuple, |note, bytes, is_last| {
            let note = Note { book: Book::Failed, end: is_last.then_some(failure.end), ..*note };
            let taken = queue.push(&note, bytes);
            counters.captured_of_failed += u64::from(taken);
            counters.missed += u64::from(!taken);
        });
        let counter = if found > 0 { &mut counters.failures_captured } else { &mut counters.failures_forgotten };
        *counter += 1;
    }

    fn counters(&self) -> CaptureCounters {
        self.counters
    }
}
