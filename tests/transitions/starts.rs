//! Where a row of the table starts: the twelve states, each reached by the segments and calls that lead there, and the
//! numbers that segments are made relative to.

use crate::world::{self, Arrival, Connection, Step};
use handfast::tcp::close;
use handfast::tcp::listen::open_passive;
use handfast::tcp::state::State;
use handfast::tcp::syn_sent::{ActiveOpen, open_active};
use handfast::tcp::tcb::{Flags, Tcb};
use handfast::wire::ether::VlanTags;
use handfast::wire::segment::Control;
use handfast::wire::seq::SeqNum;

/// Our initial sequence number, and the peer's.
pub const ISS: SeqNum = SeqNum(50_000);
pub const IRS: SeqNum = SeqNum(10_000);
/// The peer's window and its newest timestamp.
pub const PEER_WINDOW: u16 = 2_000;
pub const PEER_STAMP: u32 = 7_000;
/// Bytes that we sent and that are not acknowledged, in every state that may have some.
pub const UNACKNOWLEDGED: u32 = 200;
/// Bytes that the peer sent before.
const RECEIVED: u16 = 500;

/// A state to start in. SYN-RECEIVED is two: where it came from decides what a RST or a SYN does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    Listen,
    Closed,
    SynSent,
    SynReceivedPassive,
    SynReceivedActive,
    Established,
    FinWait1,
    FinWait2,
    CloseWait,
    Closing,
    LastAck,
    TimeWait,
}

/// What is particular about the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// No options.
    Plain,
    /// Both ends send timestamps.
    Timestamps,
    /// Our receive window is closed.
    ClosedWindow,
    /// A challenge ACK was sent in this very second.
    Challenged,
}

/// The numbers of a connection before the segment arrives.
#[derive(Clone, Copy, Debug)]
pub struct Anchors {
    pub snd_una: SeqNum,
    pub snd_nxt: SeqNum,
    pub rcv_nxt: SeqNum,
    pub rcv_wnd: u32,
    pub max_snd_wnd: u32,
}

impl Start {
    pub const ALL: [Start; 12] = [
        Start::Listen,
        Start::Closed,
        Start::SynSent,
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

    /// The name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Start::Listen => "LISTEN",
            Start::Closed => "CLOSED",
            Start::SynSent => "SYN-SENT",
            Start::SynReceivedPassive => "SYN-RECEIVED (passive)",
            Start::SynReceivedActive => "SYN-RECEIVED (active)",
            Start::Established => "ESTABLISHED",
            Start::FinWait1 => "FIN-WAIT-1",
            Start::FinWait2 => "FIN-WAIT-2",
            Start::CloseWait => "CLOSE-WAIT",
            Start::Closing => "CLOSING",
            Start::LastAck => "LAST-ACK",
            Start::TimeWait => "TIME-WAIT",
        }
    }

    /// The TCB's state there; LISTEN and CLOSED have none.
    fn state(self) -> Option<State> {
        match self {
            Start::Listen | Start::Closed => None,
            Start::SynSent => Some(State::SynSent),
            Start::SynReceivedPassive | Start::SynReceivedActive => Some(State::SynReceived),
            Start::Established => Some(State::Established),
            Start::FinWait1 => Some(State::FinWait1),
            Start::FinWait2 => Some(State::FinWait2),
            Start::CloseWait => Some(State::CloseWait),
            Start::Closing => Some(State::Closing),
            Start::LastAck => Some(State::LastAck),
            Start::TimeWait => Some(State::TimeWait),
        }
    }

    /// A connection in this state.
    pub fn connection(self, setting: Setting) -> Connection {
        let mut connection = match self {
            Start::Listen | Start::Closed => return Connection::without_tcb(self == Start::Listen),
            Start::SynSent | Start::SynReceivedActive => self.opened_by_us(setting),
            _ => self.opened_by_peer(setting),
        };
        let now = connection.env().now;
        let tcb = connection.tcb.as_mut().expect("opened");
        assert_eq!(Some(tcb.state), self.state());
        tcb.flags.put(Flags::BACKLOGGED, setting == Setting::ClosedWindow);
        if setting == Setting::Challenged {
            tcb.challenged_at = now;
        }
        connection
    }

    fn opened_by_us(self, setting: Setting) -> Connection {
        let mut connection = Connection::without_tcb(false);
        let open =
            ActiveOpen { tuple: world::tuple(), peer_mac: world::PEER_MAC, tags: VlanTags::default(), service: 0 };
        connection.tcb = Some(open_active(&open, ISS, connection.env()));
        if self == Start::SynReceivedActive {
            connection.hear(setting, Control::SYN, IRS, SeqNum(0), 0);
        }
        connection
    }

    fn opened_by_peer(self, setting: Setting) -> Connection {
        let mut connection = Connection::without_tcb(true);
        connection.hear(setting, Control::SYN, IRS, SeqNum(0), 0);
        if self == Start::SynReceivedPassive {
            return connection;
        }
        connection.hear(setting, Control::ACK, IRS + 1, ISS + 1, RECEIVED);
        connection.send(UNACKNOWLEDGED);
        let here = IRS + 1 + u32::from(RECEIVED);
        let fin = Control::FIN | Control::ACK;
        match self {
            Start::FinWait1 => connection.close(),
            Start::FinWait2 => {
                connection.close();
                connection.hear(setting, Control::ACK, here, ISS + 2 + UNACKNOWLEDGED, 0);
            }
            Start::CloseWait => connection.hear(setting, fin, here, ISS + 1, 0),
            Start::Closing => {
                connection.close();
                connection.hear(setting, fin, here, ISS + 1, 0);
            }
            Start::LastAck => {
                connection.hear(setting, fin, here, ISS + 1, 0);
                connection.close();
            }
            Start::TimeWait => {
                connection.close();
                connection.hear(setting, fin, here, ISS + 2 + UNACKNOWLEDGED, 0);
            }
            Start::Listen
            | Start::Closed
            | Start::SynSent
            | Start::SynReceivedPassive
            | Start::SynReceivedActive
            | Start::Established => {}
        }
        connection
    }
}

impl Connection {
    /// LISTEN or CLOSED.
    fn without_tcb(listening: bool) -> Self {
        Connection { tcb: None, listening, config: world::config() }
    }

    /// A segment on the way to the state.
    fn hear(&mut self, setting: Setting, control: Control, seq: SeqNum, ack: SeqNum, len: u16) {
        let stamp = (setting == Setting::Timestamps).then_some(PEER_STAMP);
        let arrival = Arrival { control, seq, ack, len, window: PEER_WINDOW, stamp };
        let Step::Done(outcome) = self.segment_arrives(&arrival) else { panic!("an illegal segment") };
        assert_eq!(outcome.refused, None, "{arrival:?}");
    }

    /// The user queues `len` bytes, and they are sent.
    fn send(&mut self, len: u32) {
        let mut tcb = self.tcb.expect("open");
        tcb.queued += len;
        world::send_all(&mut tcb, self.env());
        assert!(!tcb.has_unsent());
        self.tcb = Some(tcb);
    }

    /// The user closes, and the FIN is sent.
    fn close(&mut self) {
        let mut tcb = self.tcb.expect("open");
        close::close(&mut tcb);
        world::send_all(&mut tcb, self.env());
        assert!(!tcb.has_unsent());
        self.tcb = Some(tcb);
    }

    /// The numbers that the next segment is made relative to. Without a TCB they are those of a connection that both
    /// ends would have just opened.
    pub fn anchors(&self) -> Anchors {
        let fresh = Tcb { snd_una: ISS + 1, snd_max: ISS + 1, ..Tcb::default() };
        let tcb = self.tcb.unwrap_or(fresh);
        let synchronized = tcb.state != State::SynSent && self.tcb.is_some();
        let max_snd_wnd = if synchronized { tcb.max_send_window() } else { u32::from(PEER_WINDOW) };
        Anchors {
            snd_una: tcb.snd_una,
            snd_nxt: tcb.snd_max,
            rcv_nxt: if synchronized { tcb.rcv_nxt } else { IRS + 1 },
            rcv_wnd: tcb.receive_window(&self.config),
            max_snd_wnd,
        }
    }
}

/// The TCB of a passive OPEN with a given ISS: what LISTEN makes of a SYN.
pub fn open(segment: &handfast::wire::segment::Segment, iss: SeqNum, connection: &Connection) -> Tcb {
    open_passive(segment, iss, 0, connection.env())
}
