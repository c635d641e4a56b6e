//! The classes of segments: every kind that RFC 9293 3.10.7, RFC 5961, RFC 7323, RFC 6191 and RFC 1337 tell apart, relative
//! to the numbers of the connection that it meets.

use crate::rules::Rule;
use crate::starts::{Anchors, IRS, PEER_STAMP, PEER_WINDOW, Setting, Start};
use crate::world::Arrival;
use handfast::wire::segment::Control;
use handfast::wire::seq::SeqNum;
use std::fmt;

/// A number relative to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// The peer's initial sequence number.
    Irs,
    RcvNxt(i32),
    /// RCV.NXT + RCV.WND: the first number beyond the window.
    WindowEnd(i32),
    SndUna(i32),
    SndNxt(i32),
    /// SND.UNA - MAX.SND.WND: the oldest acknowledgment that RFC 5961 5.2 accepts.
    Oldest(i32),
}

use Point::{Irs, Oldest, RcvNxt, SndNxt, SndUna, WindowEnd};

/// A class of segments.
#[derive(Clone, Debug)]
pub struct Class {
    /// What it is, as a heading.
    pub name: &'static str,
    pub control: Control,
    pub seq: Point,
    pub ack: Point,
    pub len: u16,
    pub window: u16,
    /// TSval relative to the newest one of the peer, if there is one.
    pub stamp: Option<i32>,
    pub setting: Setting,
    /// Where it can be met.
    pub starts: Vec<Start>,
    /// What decides in the states of 3.10.7.4.
    pub rule: Rule,
}

const NONE: Control = Control(0);
const SYN: Control = Control::SYN;
const ACK: Control = Control::ACK;
const FIN: Control = Control(Control::FIN.0 | Control::ACK.0);
const RST: Control = Control::RST;
const SYN_ACK: Control = Control(Control::SYN.0 | Control::ACK.0);
const RST_ACK: Control = Control(Control::RST.0 | Control::ACK.0);

/// Where text is outstanding; with our FIN behind it; where the peer's FIN is still to come; and all with a TCB but SYN-SENT.
const WITH_TEXT: [Start; 5] = [Start::Established, Start::FinWait1, Start::CloseWait, Start::Closing, Start::LastAck];
const WITH_FIN: [Start; 3] = [Start::FinWait1, Start::Closing, Start::LastAck];
const SYNCHRONIZING: [Start; 9] = [
    Start::SynReceivedPassive,
    Start::SynReceivedActive,
    Start::Established,
    Start::FinWait1,
    Start::FinWait2,
    Start::CloseWait,
    Start::Closing,
    Start::LastAck,
    Start::TimeWait,
];

fn class(name: &'static str, control: Control, seq: Point, rule: Rule) -> Class {
    Class {
        name,
        control,
        seq,
        ack: SndUna(0),
        len: 0,
        window: PEER_WINDOW,
        stamp: None,
        setting: Setting::Plain,
        starts: Start::ALL.to_vec(),
        rule,
    }
}

impl Class {
    fn ack(self, ack: Point) -> Self {
        Self { ack, ..self }
    }

    fn text(self, len: u16) -> Self {
        Self { len, ..self }
    }

    fn closes_window(self) -> Self {
        Self { window: 0, ..self }
    }

    fn only(self, starts: &[Start]) -> Self {
        Self { starts: starts.to_vec(), ..self }
    }

    /// On a connection with timestamps, with that TSval or without any.
    fn stamped(self, stamp: Option<i32>) -> Self {
        Self { stamp, setting: Setting::Timestamps, ..self }.only(&SYNCHRONIZING)
    }

    fn while_our_window_is_closed(self) -> Self {
        Self { setting: Setting::ClosedWindow, ..self }.only(&WITH_TEXT)
    }

    fn again_in_the_same_second(self) -> Self {
        Self { setting: Setting::Challenged, ..self }.only(&SYNCHRONIZING)
    }

    /// The segment for a connection with these numbers.
    pub fn arrival(&self, at: &Anchors) -> Arrival {
        let stamp = |offset: i32| PEER_STAMP.wrapping_add_signed(offset);
        Arrival {
            control: self.control,
            seq: self.seq.of(at),
            ack: self.ack.of(at),
            len: self.len,
            window: self.window,
            stamp: self.stamp.map(stamp),
        }
    }

    /// True if SEG.LEN is not 0.
    pub fn takes_space(&self) -> bool {
        self.len > 0 || self.control.has(SYN) || self.control.has(Control::FIN)
    }

    /// The segment in the RFC's way of writing, and what else is to be known.
    pub fn segment(&self) -> String {
        let mut text = format!("<SEQ={}>", self.seq);
        if self.control.has(ACK) {
            text += &format!("<ACK={}>", self.ack);
        }
        if self.len > 0 {
            text += &format!("<LEN={}>", self.len);
        }
        text += &format!("<CTL={:?}>", self.control);
        if self.window == 0 {
            text += "<WND=0>";
        }
        match self.stamp {
            Some(0) => text += "<TSval=TS.Recent>",
            Some(offset) => text += &format!("<TSval=TS.Recent{offset:+}>"),
            None => {}
        }
        text
    }
}

impl Point {
    fn of(self, at: &Anchors) -> SeqNum {
        let (base, offset) = match self {
            Irs => (IRS, 0),
            RcvNxt(offset) => (at.rcv_nxt, offset),
            WindowEnd(offset) => (at.rcv_nxt + at.rcv_wnd, offset),
            SndUna(offset) => (at.snd_una, offset),
            SndNxt(offset) => (at.snd_nxt, offset),
            Oldest(offset) => (at.snd_una.minus(at.max_snd_wnd), offset),
        };
        SeqNum(base.0.wrapping_add_signed(offset))
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, offset) = match *self {
            Irs => ("IRS", 0),
            RcvNxt(offset) => ("RCV.NXT", offset),
            WindowEnd(offset) => ("RCV.NXT+RCV.WND", offset),
            SndUna(offset) => ("SND.UNA", offset),
            SndNxt(offset) => ("SND.NXT", offset),
            Oldest(offset) => ("SND.UNA-MAX.SND.WND", offset),
        };
        if offset == 0 { f.write_str(name) } else { write!(f, "{name}{offset:+}") }
    }
}

/// Every class, in groups.
pub fn groups() -> Vec<(&'static str, Vec<Class>)> {
    vec![
        ("SYN", syns()),
        ("SYN,ACK", syn_acks()),
        ("ACK without text", acks()),
        ("Text", texts()),
        ("FIN", fins()),
        ("RST", rsts()),
        ("No ACK bit", without_ack()),
        ("Timestamps", timestamps()),
        ("Closed receive window", closed_window()),
        ("A second challenge within a second", challenged()),
    ]
}

fn syns() -> Vec<Class> {
    vec![
        class("the connection's SYN once more", SYN, Irs, Rule::RepeatedSyn),
        class("the connection's SYN once more, with text", SYN, Irs, Rule::RepeatedSyn).text(10),
        class("SYN at RCV.NXT", SYN, RcvNxt(0), Rule::Syn),
        class("SYN in the window", SYN, RcvNxt(10), Rule::Syn),
        class("SYN beyond the window", SYN, WindowEnd(0), Rule::SynOutside),
        class("SYN from far back", SYN, RcvNxt(-100_000), Rule::SynOutside),
        class("SYN with text", SYN, RcvNxt(10), Rule::Syn).text(10),
        class("SYN with FIN", SYN | Control::FIN, RcvNxt(10), Rule::BeforeTcp),
        class("SYN with RST", SYN | RST, RcvNxt(0), Rule::Rst),
    ]
}

fn syn_acks() -> Vec<Class> {
    vec![
        class("the SYN,ACK of this connection", SYN_ACK, Irs, Rule::SynAck).ack(SndNxt(0)),
        class("the SYN,ACK of this connection, with text", SYN_ACK, Irs, Rule::SynAck).ack(SndNxt(0)).text(10),
        class("SYN,ACK that acknowledges too much", SYN_ACK, Irs, Rule::SynAck).ack(SndNxt(1)),
        class("SYN,ACK that acknowledges nothing", SYN_ACK, Irs, Rule::SynAck).ack(SndUna(0)),
        class("SYN,ACK in the window", SYN_ACK, RcvNxt(10), Rule::Syn).ack(SndNxt(0)),
        class("SYN,ACK beyond the window", SYN_ACK, WindowEnd(0), Rule::SynOutside).ack(SndNxt(0)),
    ]
}

fn acks() -> Vec<Class> {
    let ack = |name, point| class(name, ACK, RcvNxt(0), Rule::Ack).ack(point);
    vec![
        ack("ACK of everything", SndNxt(0)),
        ack("ACK of everything, with a closed window", SndNxt(0)).closes_window(),
        ack("ACK of a part of the text", SndUna(100)).only(&WITH_TEXT),
        ack("ACK of the text but not of our FIN", SndNxt(-1)).only(&WITH_FIN),
        ack("ACK of nothing new", SndUna(0)),
        ack("ACK of nothing new, with a closed window", SndUna(0)).closes_window(),
        ack("old ACK", SndUna(-1)),
        ack("the oldest ACK that is accepted", Oldest(0)),
        ack("ACK from further back", Oldest(-1)),
        ack("ACK of what was never sent", SndNxt(1)),
        class("ACK elsewhere in the window", ACK, RcvNxt(10), Rule::Ack).ack(SndNxt(0)),
        class("ACK at the last number of the window", ACK, WindowEnd(-1), Rule::Ack).ack(SndNxt(0)),
        class("ACK beyond the window", ACK, WindowEnd(0), Rule::Sequence).ack(SndNxt(0)),
        class("ACK from before the window", ACK, RcvNxt(-10), Rule::Sequence).ack(SndNxt(0)),
        class("keepalive probe", ACK, RcvNxt(-1), Rule::Probe).ack(SndNxt(0)),
        class("keepalive probe with an old byte", ACK, RcvNxt(-1), Rule::Probe).ack(SndNxt(0)).text(1),
    ]
}

fn texts() -> Vec<Class> {
    let text = |name, seq, len| class(name, ACK, seq, Rule::Text).text(len);
    vec![
        text("text in order", RcvNxt(0), 10),
        text("text in order that acknowledges everything", RcvNxt(0), 10).ack(SndNxt(0)),
        text("text in order that acknowledges what was never sent", RcvNxt(0), 10).ack(SndNxt(1)),
        text("urgent text in order", RcvNxt(0), 10)
            .ack(SndNxt(0))
            .with(Control(ACK.0 | Control::URG.0 | Control::PSH.0))
            .by(Rule::Urgent),
        text("text behind a gap", RcvNxt(10), 10).ack(SndNxt(0)).by(Rule::Gap),
        text("old text", RcvNxt(-10), 10).ack(SndNxt(0)).by(Rule::Sequence),
        text("old text with new text behind it", RcvNxt(-10), 20).ack(SndNxt(0)),
        text("text that reaches beyond the window", RcvNxt(0), 1_010).ack(SndNxt(0)),
        text("text beyond the window", WindowEnd(0), 10).ack(SndNxt(0)).by(Rule::Sequence),
        text("text that fills the window from before it", RcvNxt(-10), 1_020).ack(SndNxt(0)).by(Rule::Sequence),
    ]
}

fn fins() -> Vec<Class> {
    let fin = |name, seq| class(name, FIN, seq, Rule::Fin);
    vec![
        fin("FIN in order", RcvNxt(0)),
        fin("FIN in order that acknowledges everything", RcvNxt(0)).ack(SndNxt(0)),
        fin("FIN behind text in order", RcvNxt(0)).ack(SndNxt(0)).text(10),
        fin("FIN behind a gap", RcvNxt(10)).ack(SndNxt(0)).by(Rule::Gap),
        fin("FIN behind text of which a part is beyond the window", RcvNxt(0)).ack(SndNxt(0)).text(1_010),
        fin("the FIN just before RCV.NXT", RcvNxt(-1)).ack(SndNxt(0)).by(Rule::RepeatedFin),
        fin("the FIN just before RCV.NXT, with its text", RcvNxt(-11)).ack(SndNxt(0)).text(10).by(Rule::RepeatedFin),
        fin("FIN beyond the window", WindowEnd(0)).ack(SndNxt(0)).by(Rule::Sequence),
        fin("FIN that acknowledges what was never sent", RcvNxt(0)).ack(SndNxt(1)),
    ]
}

fn rsts() -> Vec<Class> {
    let rst = |name, seq| class(name, RST, seq, Rule::Rst);
    vec![
        rst("RST at RCV.NXT", RcvNxt(0)),
        rst("RST,ACK at RCV.NXT", RcvNxt(0)).with(RST_ACK).ack(SndNxt(0)),
        rst("RST,ACK at RCV.NXT with a wrong ACK", RcvNxt(0)).with(RST_ACK).ack(SndNxt(1)),
        rst("RST at RCV.NXT with text", RcvNxt(0)).text(10),
        rst("RST elsewhere in the window", RcvNxt(10)),
        rst("RST beyond the window", WindowEnd(0)).by(Rule::RstOutside),
        rst("RST just before the window", RcvNxt(-1)).by(Rule::RstOutside),
    ]
}

fn without_ack() -> Vec<Class> {
    vec![
        class("text without ACK", NONE, RcvNxt(0), Rule::NoAck).text(10),
        class("FIN without ACK", Control::FIN, RcvNxt(0), Rule::NoAck),
        class("PSH and URG alone", Control::PSH | Control::URG, RcvNxt(0), Rule::NoAck),
        class("no control bit at all", NONE, RcvNxt(0), Rule::NoAck),
        class("no control bit, beyond the window", NONE, WindowEnd(0), Rule::Sequence),
    ]
}

fn timestamps() -> Vec<Class> {
    let ack = |name, seq| class(name, ACK, seq, Rule::Paws).ack(SndNxt(0));
    let syn = |name, seq| class(name, SYN, seq, Rule::StampedSyn);
    vec![
        ack("text with a newer timestamp", RcvNxt(0)).text(10).stamped(Some(1)).by(Rule::Stamp),
        ack("text with the same timestamp", RcvNxt(0)).text(10).stamped(Some(0)).by(Rule::Stamp),
        ack("text behind a gap with a newer timestamp", RcvNxt(10)).text(10).stamped(Some(1)).by(Rule::StampedGap),
        ack("text with an older timestamp", RcvNxt(0)).text(10).stamped(Some(-1)),
        ack("ACK with an older timestamp", RcvNxt(0)).stamped(Some(-1)),
        ack("ACK with a timestamp from half the circle away", RcvNxt(0)).stamped(Some(i32::MIN)).by(Rule::Stamp),
        ack("keepalive probe with an older timestamp", RcvNxt(-1)).stamped(Some(-1)),
        class("the FIN just before RCV.NXT with an older timestamp", FIN, RcvNxt(-1), Rule::Paws)
            .ack(SndNxt(0))
            .stamped(Some(-1)),
        class("RST at RCV.NXT with an older timestamp", RST, RcvNxt(0), Rule::Rst).stamped(Some(-1)),
        ack("text without timestamp", RcvNxt(0)).text(10).stamped(None).by(Rule::NoStamp),
        ack("ACK without timestamp", RcvNxt(0)).stamped(None).by(Rule::NoStamp),
        class("RST at RCV.NXT without timestamp", RST, RcvNxt(0), Rule::Rst).stamped(None),
        syn("the connection's SYN once more, with its timestamp", Irs).stamped(Some(0)),
        syn("SYN with a newer timestamp", RcvNxt(-100_000)).stamped(Some(1)),
        syn("SYN with the same timestamp, at RCV.NXT", RcvNxt(0)).stamped(Some(0)),
        syn("SYN with the same timestamp, from before the window", RcvNxt(-1)).stamped(Some(0)),
        syn("SYN with an older timestamp, in the window", RcvNxt(10)).stamped(Some(-1)),
        syn("SYN without timestamp, in the window", RcvNxt(10)).stamped(None),
        syn("SYN without timestamp, from before the window", RcvNxt(-1)).stamped(None),
        Class { stamp: Some(1), ..syn("SYN with a timestamp, on a connection without", RcvNxt(-1)) }
            .only(&SYNCHRONIZING),
    ]
}

fn closed_window() -> Vec<Class> {
    let classes = vec![
        class("ACK at RCV.NXT", ACK, RcvNxt(0), Rule::Ack).ack(SndNxt(0)),
        class("ACK just beyond RCV.NXT", ACK, RcvNxt(1), Rule::Sequence).ack(SndNxt(0)),
        class("text at RCV.NXT", ACK, RcvNxt(0), Rule::ClosedWindow).ack(SndNxt(0)).text(10),
        class("one byte at RCV.NXT: a window probe", ACK, RcvNxt(0), Rule::ClosedWindow).text(1),
        class("FIN at RCV.NXT", FIN, RcvNxt(0), Rule::ClosedWindowFin).ack(SndNxt(0)),
        class("FIN behind text at RCV.NXT", FIN, RcvNxt(0), Rule::ClosedWindow).ack(SndNxt(0)).text(10),
        class("RST at RCV.NXT", RST, RcvNxt(0), Rule::Rst),
        class("RST just beyond RCV.NXT", RST, RcvNxt(1), Rule::RstOutside),
    ];
    classes.into_iter().map(Class::while_our_window_is_closed).collect()
}

fn challenged() -> Vec<Class> {
    let classes = vec![
        class("SYN in the window", SYN, RcvNxt(10), Rule::LimitedSyn),
        class("RST elsewhere in the window", RST, RcvNxt(10), Rule::LimitedRst),
        class("ACK of what was never sent", ACK, RcvNxt(0), Rule::LimitedAck).ack(SndNxt(1)),
        class("ACK from before the window", ACK, RcvNxt(-10), Rule::LimitedSequence).ack(SndNxt(0)),
        class("keepalive probe", ACK, RcvNxt(-1), Rule::Probe).ack(SndNxt(0)),
        class("old text", ACK, RcvNxt(-10), Rule::Sequence).ack(SndNxt(0)).text(10),
    ];
    classes.into_iter().map(Class::again_in_the_same_second).collect()
}

impl Class {
    fn with(self, control: Control) -> Self {
        Self { control, ..self }
    }

    fn by(self, rule: Rule) -> Self {
        Self { rule, ..self }
    }
}
