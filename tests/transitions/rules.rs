//! Which sentence of which RFC decides each cell, and where handfast does otherwise: written down by hand, beside the RFCs and
//! not beside the code.

use crate::classes::{Class, Point};
use crate::starts::{Setting, Start};
use handfast::wire::segment::Control;

/// What decides about a class of segments in the states of RFC 9293 3.10.7.4. The other states have their own order,
/// which follows from the control bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// It never gets to the state machine.
    BeforeTcp,
    RepeatedSyn,
    Syn,
    SynOutside,
    SynAck,
    Sequence,
    Probe,
    Ack,
    Text,
    Urgent,
    Gap,
    Fin,
    RepeatedFin,
    Rst,
    RstOutside,
    NoAck,
    Paws,
    Stamp,
    StampedGap,
    NoStamp,
    StampedSyn,
    ClosedWindow,
    ClosedWindowFin,
    LimitedSyn,
    LimitedRst,
    LimitedAck,
    LimitedSequence,
}

/// A deliberate difference from the RFC. Each is a row of docs/rfc.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deviation {
    SynWithFin,
    RepeatedSynGetsSynAck,
    TextOfSyn,
    SimultaneousSynAck,
    RefusedSynInTimeWait,
    SmallerReopening,
    RstInTimeWait,
    TextInTimeWait,
    SecondFin,
    NothingOutOfOrder,
    NoUrgent,
    ClosedWindowFin,
    OnceASecond,
    SynWithoutTimestamp,
    CloseInSynReceived,
    CloseTwice,
    RstWithAck,
    GivesUpHalfOpen,
    FinWait2Ends,
    IdleEnds,
}

impl Deviation {
    pub const ALL: [Deviation; 20] = [
        Deviation::SynWithFin,
        Deviation::RepeatedSynGetsSynAck,
        Deviation::TextOfSyn,
        Deviation::SimultaneousSynAck,
        Deviation::RefusedSynInTimeWait,
        Deviation::SmallerReopening,
        Deviation::RstInTimeWait,
        Deviation::TextInTimeWait,
        Deviation::SecondFin,
        Deviation::NothingOutOfOrder,
        Deviation::NoUrgent,
        Deviation::ClosedWindowFin,
        Deviation::OnceASecond,
        Deviation::SynWithoutTimestamp,
        Deviation::CloseInSynReceived,
        Deviation::CloseTwice,
        Deviation::RstWithAck,
        Deviation::GivesUpHalfOpen,
        Deviation::FinWait2Ends,
        Deviation::IdleEnds,
    ];

    /// How the row in docs/rfc.md begins.
    pub fn row(self) -> &'static str {
        match self {
            Deviation::SynWithFin => "SYN with FIN opens a connection, the FIN counts later",
            Deviation::RepeatedSynGetsSynAck => "RFC 9293 3.10.7.4: a repeated SYN in SYN-RECEIVED gets an ACK",
            Deviation::TextOfSyn => "RFC 9293 3.10.7.2, 3.10.7.3: text of a SYN is queued",
            Deviation::SimultaneousSynAck => {
                "RFC 9293 3.10.7.4 first: the SYN,ACK of a simultaneous open lies before the window"
            }
            Deviation::RefusedSynInTimeWait => "RFC 6191 2: a SYN that may not reopen TIME-WAIT is dropped silently",
            Deviation::SmallerReopening => {
                "RFC 9293 3.6.1 MAY-2 (2): back to TIME-WAIT if the reopening SYN was an old duplicate"
            }
            Deviation::RstInTimeWait => "RFC 9293 3.10.7.4 second: a RST ends TIME-WAIT",
            Deviation::TextInTimeWait => {
                "RFC 9293 3.10.7.4: in LAST-ACK, CLOSING and TIME-WAIT text is ignored silently"
            }
            Deviation::SecondFin => "RFC 9293 3.10.7.4 eighth: a second FIN beyond the first is acknowledged",
            Deviation::NothingOutOfOrder => "SHLD-31 queue what is out of order",
            Deviation::NoUrgent => "MUST-30, MUST-31, MUST-62 support the urgent mechanism",
            Deviation::ClosedWindowFin => "RFC 9293 3.10.7.4 first: a closed window takes no FIN",
            Deviation::OnceASecond => "An unacceptable segment gets an ACK each time",
            Deviation::SynWithoutTimestamp => "RFC 7323 3.2: a segment without timestamps is dropped silently",
            Deviation::CloseInSynReceived => "RFC 9293 3.10.4: CLOSE in SYN-RECEIVED sends a FIN",
            Deviation::CloseTwice => "RFC 9293 3.10.4: a second CLOSE is an error",
            Deviation::RstWithAck => "RFC 9293 3.10.5: ABORT sends RST without ACK",
            Deviation::GivesUpHalfOpen => "RFC 9293 MUST-23",
            Deviation::FinWait2Ends => "FIN-WAIT-2 has no limit",
            Deviation::IdleEnds => "No idle time-out for an open connection",
        }
    }

    /// The number of its note in the table.
    pub fn number(self) -> usize {
        self as usize + 1
    }
}

/// The sentence that decides what `class` does in `start`.
pub fn citation(class: &Class, start: Start) -> &'static str {
    match start {
        _ if class.rule == Rule::BeforeTcp => "before 3.10.7",
        Start::Closed => "RFC 9293 3.10.7.1",
        Start::Listen => in_listen(class.control),
        Start::SynSent => in_syn_sent(class),
        Start::SynReceivedPassive | Start::SynReceivedActive if refused_by_fifth(class) => "RFC 9293 3.10.7.4 fifth",
        _ => elsewhere(class, start),
    }
}

fn in_listen(control: Control) -> &'static str {
    match control {
        _ if control.has(Control::RST) => "RFC 9293 3.10.7.2 first",
        _ if control.has(Control::ACK) => "RFC 9293 3.10.7.2 second",
        _ if control.has(Control::SYN) => "RFC 9293 3.10.7.2 third",
        _ => "RFC 9293 3.10.7.2 fourth",
    }
}

fn in_syn_sent(class: &Class) -> &'static str {
    let control = class.control;
    match control {
        _ if control.has(Control::ACK) && class.ack != Point::SndNxt(0) => "RFC 9293 3.10.7.3 first",
        _ if control.has(Control::RST) => "RFC 9293 3.10.7.3 second",
        _ if control.has(Control::SYN) => "RFC 9293 3.10.7.3 fourth",
        _ => "RFC 9293 3.10.7.3 fifth",
    }
}

/// In SYN-RECEIVED only an acknowledgment of our SYN leads beyond the fifth step.
fn refused_by_fifth(class: &Class) -> bool {
    let reaches_fifth = matches!(class.rule, Rule::Ack | Rule::Text | Rule::Fin);
    reaches_fifth && class.ack != Point::SndNxt(0)
}

fn elsewhere(class: &Class, start: Start) -> &'static str {
    let time_wait = start == Start::TimeWait;
    match class.rule {
        _ if ended_by_ack(class, start) => "RFC 9293 3.10.7.4 fifth",
        Rule::BeforeTcp => "before 3.10.7",
        Rule::RepeatedSyn if is_opening(start) => "RFC 9293 3.10.7.4 first",
        Rule::RepeatedSyn | Rule::SynOutside if !may_reopen(class, start) => "RFC 9293 3.10.7.4 first, RFC 5961 4.2",
        Rule::Syn | Rule::RepeatedSyn | Rule::SynOutside => syn_in_window(class, start),
        Rule::SynAck if simultaneous(class, start) => "RFC 9293 3.5 figure 8, 3.10.7.4 fifth",
        Rule::SynAck => "RFC 9293 3.10.7.4 first, RFC 5961 4.2",
        Rule::Sequence => "RFC 9293 3.10.7.4 first",
        Rule::Probe => "RFC 9293 3.10.7.4 first, 3.8.4",
        Rule::Ack | Rule::Text | Rule::Fin if class.ack == Point::SndNxt(1) || class.ack == Point::Oldest(-1) => {
            "RFC 9293 3.10.7.4 fifth, RFC 5961 5.2"
        }
        Rule::Ack => "RFC 9293 3.10.7.4 fifth",
        Rule::Text | Rule::Gap => "RFC 9293 3.10.7.4 seventh",
        Rule::Urgent => "RFC 9293 3.10.7.4 sixth, seventh",
        Rule::Fin => "RFC 9293 3.10.7.4 eighth",
        Rule::RepeatedFin if time_wait => "RFC 9293 3.10.7.4 fifth (TIME-WAIT)",
        Rule::RepeatedFin => "RFC 9293 3.10.7.4 first",
        Rule::Rst | Rule::LimitedRst if time_wait => "RFC 1337 3",
        Rule::Rst => "RFC 9293 3.10.7.4 second, RFC 5961 3.2",
        Rule::RstOutside => "RFC 9293 3.10.7.4 first, RFC 5961 3.2",
        Rule::NoAck => "RFC 9293 3.10.7.4 fifth",
        Rule::Paws => "RFC 7323 5.3 R1",
        Rule::Stamp => "RFC 7323 5.3 R3",
        Rule::StampedGap => "RFC 7323 4.3 (2)",
        Rule::NoStamp => "RFC 7323 3.2",
        Rule::StampedSyn => stamped_syn(class, start),
        Rule::ClosedWindow => "RFC 9293 3.10.7.4 first MUST-66",
        Rule::ClosedWindowFin => "RFC 9293 3.10.7.4 eighth",
        Rule::LimitedSyn if time_wait || start == Start::SynReceivedPassive => syn_in_window(class, start),
        Rule::LimitedAck if is_opening(start) => "RFC 9293 3.10.7.4 fifth",
        Rule::LimitedSyn | Rule::LimitedRst | Rule::LimitedAck => "RFC 5961 7",
        Rule::LimitedSequence => "RFC 9293 3.10.7.4 first, RFC 5961 7",
    }
}

fn syn_in_window(class: &Class, start: Start) -> &'static str {
    match start {
        _ if may_reopen(class, start) => "RFC 9293 3.6.1 MAY-2",
        Start::SynReceivedPassive => "RFC 9293 3.10.7.4 fourth",
        _ => "RFC 9293 3.10.7.4 fourth, RFC 5961 4.2",
    }
}

/// A SYN where timestamps come into play.
fn stamped_syn(class: &Class, start: Start) -> &'static str {
    let older = class.stamp.is_some_and(|stamp| stamp < 0);
    let repeated = matches!(class.seq, Point::Irs | Point::RcvNxt(-1));
    match start {
        Start::TimeWait => "RFC 6191 2",
        _ if older => "RFC 7323 5.3 R1, RFC 5961 4.2",
        _ if repeated && is_opening(start) => "RFC 9293 3.10.7.4 first",
        _ if matches!(class.seq, Point::RcvNxt(0..)) => syn_in_window(class, start),
        _ => "RFC 9293 3.10.7.4 first, RFC 5961 4.2",
    }
}

/// LAST-ACK ends with the acknowledgment of our FIN, whatever else is in the segment.
fn ended_by_ack(class: &Class, start: Start) -> bool {
    let plain = matches!(class.rule, Rule::Ack | Rule::Text | Rule::Urgent | Rule::Gap | Rule::Fin);
    let stamped = matches!(class.rule, Rule::Stamp | Rule::StampedGap);
    let to_closed_window = matches!(class.rule, Rule::ClosedWindow | Rule::ClosedWindowFin);
    start == Start::LastAck && (plain || stamped || to_closed_window) && class.ack == Point::SndNxt(0)
}

fn is_opening(start: Start) -> bool {
    matches!(start, Start::SynReceivedPassive | Start::SynReceivedActive)
}

/// A SYN alone from beyond the old numbers.
fn may_reopen(class: &Class, start: Start) -> bool {
    let beyond = matches!(class.seq, Point::RcvNxt(0..) | Point::WindowEnd(_));
    start == Start::TimeWait && class.control == Control::SYN && beyond
}

fn simultaneous(class: &Class, start: Start) -> bool {
    start == Start::SynReceivedActive && class.rule == Rule::SynAck && class.ack == Point::SndNxt(0)
}

/// Where the cell is otherwise than the RFC says.
pub fn deviation(class: &Class, start: Start) -> Option<Deviation> {
    match start {
        _ if class.rule == Rule::BeforeTcp => Some(Deviation::SynWithFin),
        Start::Closed => None,
        Start::Listen => (class.rule == Rule::Syn && class.len > 0).then_some(Deviation::TextOfSyn),
        Start::SynSent => opens_with_text(class).then_some(Deviation::TextOfSyn),
        _ if ended_by_ack(class, start) => (class.rule == Rule::Urgent).then_some(Deviation::NoUrgent),
        Start::TimeWait => in_time_wait(class),
        _ => before_time_wait(class, start),
    }
}

/// A SYN or SYN,ACK that SYN-SENT accepts, with text.
fn opens_with_text(class: &Class) -> bool {
    let accepted = class.rule == Rule::Syn && !class.control.has(Control::ACK)
        || class.rule == Rule::SynAck && class.ack == Point::SndNxt(0);
    accepted && class.len > 0
}

fn in_time_wait(class: &Class) -> Option<Deviation> {
    let legal_ack = matches!(class.ack, Point::SndNxt(0) | Point::SndUna(0));
    match class.rule {
        Rule::Syn | Rule::SynOutside | Rule::LimitedSyn if may_reopen(class, Start::TimeWait) => {
            Some(Deviation::SmallerReopening)
        }
        Rule::RepeatedSyn | Rule::SynOutside if class.control == Control::SYN => Some(Deviation::RefusedSynInTimeWait),
        Rule::StampedSyn if !reopens_by_rfc_6191(class) => Some(Deviation::RefusedSynInTimeWait),
        Rule::StampedSyn => Some(Deviation::SmallerReopening),
        Rule::Rst | Rule::LimitedRst => Some(Deviation::RstInTimeWait),
        Rule::Text | Rule::Urgent | Rule::Gap | Rule::Stamp | Rule::StampedGap if class.takes_space() && legal_ack => {
            Some(Deviation::TextInTimeWait)
        }
        Rule::Fin if legal_ack => Some(Deviation::SecondFin),
        Rule::LimitedSequence => Some(Deviation::OnceASecond),
        _ => None,
    }
}

/// What RFC 6191 2 says to a SYN on a connection with timestamps, and to one with them on a connection without.
fn reopens_by_rfc_6191(class: &Class) -> bool {
    let beyond = matches!(class.seq, Point::RcvNxt(0..));
    match (class.setting, class.stamp) {
        (Setting::Timestamps, Some(0) | None) => beyond,
        (Setting::Timestamps, Some(stamp)) => stamp > 0,
        (_, stamp) => stamp.is_some() || beyond,
    }
}

fn before_time_wait(class: &Class, start: Start) -> Option<Deviation> {
    let beyond_peers_fin = matches!(start, Start::CloseWait | Start::Closing | Start::LastAck);
    let refused_by_fifth = is_opening(start) && refused_by_fifth(class);
    match class.rule {
        _ if refused_by_fifth => None,
        Rule::RepeatedSyn if is_opening(start) => Some(Deviation::RepeatedSynGetsSynAck),
        Rule::StampedSyn if is_opening(start) && matches!(class.seq, Point::Irs | Point::RcvNxt(-1)) => {
            Some(Deviation::RepeatedSynGetsSynAck)
        }
        Rule::StampedSyn if class.stamp.is_none() => Some(Deviation::SynWithoutTimestamp),
        Rule::SynAck if simultaneous(class, start) => Some(Deviation::SimultaneousSynAck),
        Rule::Fin if beyond_peers_fin && class.ack != Point::SndNxt(1) => Some(Deviation::SecondFin),
        Rule::ClosedWindowFin if beyond_peers_fin => Some(Deviation::SecondFin),
        Rule::ClosedWindowFin => Some(Deviation::ClosedWindowFin),
        Rule::Gap | Rule::StampedGap if !beyond_peers_fin => Some(Deviation::NothingOutOfOrder),
        Rule::Urgent => Some(Deviation::NoUrgent),
        Rule::LimitedSequence => Some(Deviation::OnceASecond),
        _ => None,
    }
}
