//! One engine, its clock and its peers, and what must hold after every step.

use handfast::engine::events::{EVENTS_PER_STEP, What};
use handfast::engine::listeners::{Endpoint, Listener, Listeners};
use handfast::engine::snapshot::FlowSnapshot;
use handfast::engine::{Engine, EngineConfig, Secrets, TIMER_BUDGET};
use handfast::flow::FlowId;
use handfast::service::{AnyService, Close, Discard, Http};
use handfast::stats::ledger::{flows_unaccounted, frames_unaccounted};
use handfast::tcp::config::{SynCookies, TcpConfig};
use handfast::tcp::cookie::{Key, Keys};
use handfast::tcp::state::State;
use handfast::tcp::syn_sent::ActiveOpen;
use handfast::time::Now;
use handfast::verdict::Verdict;
use handfast::wire::ether::{Ether, VlanTags};
use handfast::wire::parse::{PartialChecksums, parse};
use handfast::wire::reply::{Addressing, MAX_HEADER_LEN, Reply, StreamPiece, write};
use handfast::wire::segment::{Control, Segment};
use handfast::wire::seq::SeqNum;
use handfast::wire::tuple::FourTuple;
use std::net::SocketAddr;
use std::sync::LazyLock;

use super::peer;
use super::step::{FromPeer, Head, Step, offset};
use crate::alloc::allocations;

const OUR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const PEER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
const MTU: usize = 1_500;
/// Room of a frame: Ethernet, two tags, and the MTU.
const FRAME_ROOM: usize = 14 + 8 + MTU;
/// Frames that one turn emits at most, as a worker with few free frames would.
const EMITTED_PER_TURN: usize = 64;
/// Turns in one wait, at most; what was due meanwhile is then late, as after a stall.
const TURNS_PER_WAIT: usize = 64;
/// Where peers' sequence numbers start that the engine knows nothing of: a little before the wrap.
const PEER_ISN: SeqNum = SeqNum(u32::MAX - 500);
/// Every connection to a silent peer has ended after this long.
const SILENCE_MS: u64 = 24 * 3_600_000;

/// Ports with a listener, and what talks there: a response that fits a segment, one that takes 138, none, none.
static LISTENERS: LazyLock<Vec<Listener>> = LazyLock::new(|| {
    let http = |body: &[u8]| AnyService::Http(Http::new(body, "text/plain").expect("a small body"));
    let services =
        [http(b"0123456789"), http(&[b'x'; 200_000]), AnyService::Discard(Discard), AnyService::Close(Close)];
    let listen = |(port, service)| Listener { endpoint: Endpoint { addr: None, port }, service, open: true };
    (80..).zip(services).map(listen).collect()
});

/// The world.
pub struct World {
    engine: Engine,
    now: Now,
    burst: usize,
    /// Frames that were staged and not committed, with the segment if they hold one.
    staged: Vec<(Vec<u8>, Option<Segment>)>,
    /// Connections that the user opened, and what was heard of each last.
    opened: Vec<(FlowId, Option<What>)>,
    /// Four-tuples whose peer last offered timestamps.
    with_timestamps: Vec<FourTuple>,
    /// Four-tuples whose last SYN the engine answered, with the numbers of its SYN-ACK: all that is left of a cookie.
    syn_acks: Vec<(FourTuple, SeqNum, SeqNum)>,
    /// Room for all flows.
    flows: Vec<FlowSnapshot>,
}

impl World {
    /// An engine as `head` wants it.
    pub fn new(head: Head) -> Self {
        let burst = usize::from(head.burst % 4) + 1;
        let flows = u32::from(head.flows % 8) + 1;
        let config = EngineConfig {
            tcp: tcp_config(head.config),
            flows,
            burst,
            mac: OUR_MAC,
            partial_checksums: PartialChecksums::Refuse,
            events: EVENTS_PER_STEP * (burst + EMITTED_PER_TURN + usize::try_from(TIMER_BUDGET).expect("few")),
        };
        let secrets = Secrets { flow_hash: [1, 2], isn: [3; 16], timestamp_offset: 0 };
        // The millisecond count wraps soon, or not.
        let start = if head.clock & 1 == 0 { 1_000_000 } else { (1 << 32) - 90_000 };
        let now = Now::from_millis(start);
        let mut engine = Engine::new(config, &secrets, Listeners::new(LISTENERS.clone()), now);
        engine.set_cookie_keys(keys(head.config));
        Self {
            engine,
            now,
            burst,
            staged: Vec::new(),
            opened: Vec::new(),
            with_timestamps: Vec::new(),
            syn_acks: Vec::new(),
            flows: Vec::with_capacity(usize::try_from(flows).expect("few")),
        }
    }

    /// Lets one thing happen. Segments gather into bursts; anything else comes behind the burst.
    pub fn take(&mut self, step: Step) {
        if let Step::Segment(segment, change) = step {
            self.stage(segment, change);
            if self.staged.len() == self.burst {
                self.commit();
            }
            return;
        }
        self.commit();
        match step {
            Step::Segment(..) => unreachable!("handled above"),
            Step::Wait(millis) => self.wait(millis),
            Step::Open(who, service) => self.open(who, service),
            Step::Close(number) => {
                if let Some((id, _)) = self.opened.get(usize::from(number)) {
                    let _ended = self.engine.close(*id, self.now);
                }
            }
            Step::Abort(number) => self.abort(number),
            Step::Drain => self.engine.drain(),
            Step::Configure(which) => {
                self.engine.set_tcp_config(tcp_config(which), self.now);
                self.engine.set_cookie_keys(keys(which));
            }
            Step::Listen(which) => self.listen(which),
        }
        self.turn();
    }

    /// A peer's segment, made from what the engine knows of the connection, is read by the engine.
    fn stage(&mut self, from: FromPeer, change: u8) {
        let frame = self.frame_of(from, change);
        let legal = parse(&frame, PartialChecksums::Refuse).ok();
        let before = allocations();
        self.engine.stage(&frame);
        assert_eq!(allocations(), before, "staging allocated");
        self.staged.push((frame, legal.filter(|segment| segment.dst_mac == OUR_MAC)));
    }

    fn frame_of(&mut self, from: FromPeer, change: u8) -> Vec<u8> {
        let tuple = tuple_of(from.who);
        let control = Control(from.control);
        let (una, max, rcv) = self.numbers(&tuple, control);
        let ack = if from.ack == FromPeer::ACK_UNA { una } else { max + offset(from.ack) };
        let tick = self.now.tick().0;
        let options = peer::options(from.with, control, self.with_timestamps.contains(&tuple), tick);
        if control.has(Control::SYN) {
            self.with_timestamps.retain(|known| *known != tuple);
            self.with_timestamps.extend(options.timestamps.map(|_| tuple));
        }
        let payload = peer::payload(from.with);
        let len = u16::try_from(payload.len()).expect("a segment's payload");
        let reply = Reply {
            seq: rcv + offset(from.seq),
            ack,
            control,
            window: from.window,
            options,
            payload: StreamPiece { from_una: 0, len },
        };
        let tags = tags_of(from.who);
        let to = Addressing { dst_mac: OUR_MAC, src_mac: PEER_MAC, tags, tuple: tuple.reversed() };
        let mut frame = vec![0; MAX_HEADER_LEN + payload.len()];
        let len = write(&mut frame, &to, &reply, |out| out.copy_from_slice(&payload));
        frame.truncate(len);
        // Not the source MAC address: answers would rightly go elsewhere.
        let at = usize::from(from.with) % (len - 6);
        frame[if at < 6 { at } else { at + 6 }] ^= change;
        frame
    }

    /// SND.UNA, the highest SND.NXT and RCV.NXT of a connection, or what its peer takes them for: by the last SYN-ACK, or
    /// what a SYN starts with.
    fn numbers(&mut self, tuple: &FourTuple, control: Control) -> (SeqNum, SeqNum, SeqNum) {
        self.look();
        let flow = self.flows.iter().find(|flow| flow.tuple == *tuple);
        let syn_ack = self.syn_acks.iter().find(|(known, ..)| known == tuple && !control.has(Control::SYN));
        match (flow, syn_ack) {
            (Some(flow), _) => (flow.snd_una, flow.snd_nxt, flow.rcv_nxt),
            (None, Some((_, seq, ack))) => (*seq, *seq + 1, *ack),
            (None, None) => (SeqNum(0), SeqNum(1), PEER_ISN),
        }
    }

    fn look(&mut self) {
        self.flows.clear();
        self.engine.snapshot_flows(0, None, &mut self.flows, self.now.tick());
        assert_eq!(self.flows.len(), usize::try_from(self.engine.flows()).expect("few"), "flows that do not show");
    }

    /// The burst is processed, and what is due goes out.
    pub fn commit(&mut self) {
        let staged = core::mem::take(&mut self.staged);
        for (index, (frame, segment)) in staged.iter().enumerate() {
            self.look();
            let known = segment.is_some_and(|segment| self.flows.iter().any(|flow| flow.tuple == segment.tuple));
            let challenges = self.engine.counters().challenge_acks;
            let mut room = [0; FRAME_ROOM];
            room[..frame.len()].copy_from_slice(frame);
            let before = allocations();
            let verdict = self.engine.commit(index, &mut room, self.now);
            assert_eq!(allocations(), before, "committing allocated");
            let Verdict::Transmit { len } = verdict else { continue };
            let segment = segment.expect("an illegal frame was answered");
            let answer = legal(&room[..len]);
            assert_eq!((answer.tuple, answer.tags), (segment.tuple.reversed(), segment.tags), "an answer went astray");
            if answer.control == Control::SYN | Control::ACK {
                self.syn_acks.retain(|(known, ..)| *known != segment.tuple);
                self.syn_acks.push((segment.tuple, answer.seq, answer.ack));
            }
            if segment.control.has(Control::RST) {
                assert!(known, "a RST without a connection was answered: {answer:?}");
                // The challenge of RFC 5961 3.2 is the only answer that there is.
                let is_challenge = answer.control == Control::ACK && answer.payload_len == 0;
                assert!(
                    is_challenge && self.engine.counters().challenge_acks == challenges + 1,
                    "to a RST: {answer:?}"
                );
            }
        }
        self.engine.end_burst();
        self.turn();
    }

    /// What a worker's turn does beside receiving: everything that is due is sent, up to the limits of a turn.
    fn turn(&mut self) {
        let mut budget = TIMER_BUDGET;
        for _ in 0..EMITTED_PER_TURN {
            let mut room = [0; FRAME_ROOM];
            let before = allocations();
            let emitted = self.engine.emit(self.now, &mut budget, &mut room);
            assert_eq!(allocations(), before, "emitting allocated");
            let Some(len) = emitted else {
                assert!(budget == 0 || !self.engine.has_due(self.now), "something due was left, and so was budget");
                break;
            };
            legal(&room[..len]);
        }
        self.hear();
        self.check();
    }

    /// What the engine tells the user: of connections that were opened, in an order that makes sense, and nothing of one
    /// that has ended.
    fn hear(&mut self) {
        while let Some(event) = self.engine.next_event() {
            let opened = self.opened.iter_mut().find(|(id, _)| *id == event.id);
            let (_, last) = opened.expect("an event of a connection that nobody opened");
            let fits = match event.what {
                What::Established => last.is_none(),
                What::Received(_) | What::Answered => {
                    matches!(last, Some(What::Established | What::Received(_) | What::Answered))
                }
                What::PeerClosed => matches!(last, Some(What::Established | What::Received(_) | What::Answered)),
                What::Finished => !matches!(last, None | Some(What::Finished | What::Ended(_))),
                What::Ended(_) => !matches!(last, Some(What::Ended(_))),
            };
            assert!(fits, "{:?} after {last:?}", event.what);
            *last = Some(event.what);
        }
    }

    fn wait(&mut self, millis: u32) {
        let target = Now(self.now.0 + Now::from_millis(millis.into()).0);
        for _ in 0..TURNS_PER_WAIT {
            let Some(due) = self.due_in_ms() else { break };
            let next = Now(self.now.0 + Now::from_millis(due.into()).0);
            if next > target {
                break;
            }
            self.now = next;
            self.turn();
        }
        self.now = target;
    }

    /// Milliseconds until the engine has something to do.
    fn due_in_ms(&self) -> Option<u32> {
        let (now, due) = (self.now.tick(), self.engine.next_due(self.now.tick())?);
        Some(if due.before(now) { 0 } else { due.millis_since(now) })
    }

    fn open(&mut self, who: u8, service: u8) {
        let service = u16::from(service) % u16::try_from(LISTENERS.len()).expect("few");
        let open = ActiveOpen { tuple: tuple_of(who), peer_mac: PEER_MAC, tags: tags_of(who), service };
        let mut room = [0; FRAME_ROOM];
        if let Ok((id, len)) = self.engine.open(&open, self.now, &mut room) {
            self.opened.push((id, None));
            assert_eq!(legal(&room[..len]).control, Control::SYN);
        }
    }

    fn abort(&mut self, number: u8) {
        let Some((id, _)) = self.opened.get(usize::from(number)) else { return };
        let mut room = [0; FRAME_ROOM];
        if let Ok(Some(len)) = self.engine.abort(*id, &mut room) {
            assert!(legal(&room[..len]).control.has(Control::RST));
        }
        assert!(self.engine.abort(*id, &mut room).is_err(), "aborted twice");
    }

    /// A reload: all listeners, or all but one.
    fn listen(&mut self, which: u8) {
        let mut listeners = LISTENERS.clone();
        if let Some(listener) = listeners.get_mut(usize::from(which)) {
            listener.open = false;
        }
        drop(self.engine.replace_listeners(Listeners::new(listeners)));
    }

    /// Nobody says anything any more: every connection ends by its own timers.
    pub fn silence(mut self) {
        self.engine.set_tcp_config(tcp_config(0), self.now);
        let end = Now(self.now.0 + Now::from_millis(SILENCE_MS).0);
        while let Some(due) = self.due_in_ms() {
            self.now = Now(self.now.0 + Now::from_millis(due.into()).0);
            assert!(self.now < end, "a connection outlives its peer: {:?}", self.left());
            self.turn();
        }
        assert!(self.left().is_empty(), "connections without a timer: {:?}", self.left());
        assert!(
            self.opened.iter().all(|(_, last)| matches!(last, Some(What::Ended(_)))),
            "an end that was not heard of"
        );
    }

    fn left(&mut self) -> &[FlowSnapshot] {
        self.look();
        &self.flows
    }

    /// The invariants.
    fn check(&mut self) {
        self.look();
        self.flows.iter().for_each(numbers_fit_the_state);
        let (engine, flows) = (&self.engine, self.engine.flows());
        assert_eq!(frames_unaccounted(engine.counters()), 0, "frames unaccounted for");
        assert_eq!(flows_unaccounted(engine.counters(), flows.into()), 0, "flows unaccounted for");
        assert_eq!(engine.timers(), flows, "timers");
        assert_eq!(engine.states().iter().sum::<u32>(), flows, "flows by state");
        assert_eq!(engine.listeners().iter().map(|(_, flows)| flows.live()).sum::<u32>(), flows, "flows by listener");
        assert!(flows <= engine.capacity());
    }
}

/// What a state says about the numbers of its connection.
fn numbers_fit_the_state(flow: &FlowSnapshot) {
    let outstanding = flow.snd_nxt.distance_from(flow.snd_una);
    let fits = match flow.state {
        // The SYN, and nothing else.
        State::SynSent | State::SynReceived => outstanding == 1 && flow.queued == 0,
        State::Established | State::CloseWait => outstanding <= flow.queued,
        // The FIN may be out, too.
        State::FinWait1 | State::Closing | State::LastAck => outstanding <= flow.queued + 1,
        // All that we said, FIN and all, is acknowledged.
        State::FinWait2 | State::TimeWait => outstanding == 0 && flow.queued == 0,
    };
    assert!(fits, "{flow:?}");
}

/// A frame that the engine sent is legal, comes from us, goes to the peer, and fits the MTU.
fn legal(frame: &[u8]) -> Segment {
    let segment = parse(frame, PartialChecksums::Refuse).expect("an illegal frame was sent");
    assert_eq!((segment.src_mac, segment.dst_mac), (OUR_MAC, PEER_MAC), "a frame went astray");
    assert!(frame.len() <= 14 + segment.tags.len_bytes() + MTU, "{} bytes", frame.len());
    assert_eq!(segment.payload().end, frame.len(), "bytes behind the packet");
    let bare = segment.control.has(Control::SYN) || segment.control.has(Control::RST);
    assert!(!bare || segment.payload_len == 0 && !segment.control.has(Control::FIN), "{segment:?}");
    let needs_ack = !segment.control.has(Control::RST) && segment.control != Control::SYN;
    assert!(!needs_ack || segment.control.has(Control::ACK), "{segment:?}");
    segment
}

/// The four-tuple of a byte: two bits for the peer's port, three for ours (four listeners, three for OPENs, one closed),
/// one for the family.
pub fn tuple_of(who: u8) -> FourTuple {
    let (local, remote) = if who & 0x20 == 0 { ("198.18.0.1", "198.18.0.2") } else { ("2001:2::1", "2001:2::2") };
    let addr = |host: &str, port: u16| SocketAddr::new(host.parse().expect("an address"), port);
    FourTuple::new(addr(local, 80 + u16::from(who >> 2 & 7)), addr(remote, 40_000 + u16::from(who & 3)))
}

/// The tags that the highest bits choose.
fn tags_of(who: u8) -> VlanTags {
    let tags: &[u8] = match who >> 6 {
        0 | 1 => &[],
        2 => &[0x81, 0, 0, 7],
        _ => &[0x88, 0xa8, 0, 7, 0x81, 0, 0xe0, 9],
    };
    Ether::parse(&[&[0; 12][..], tags, &[8, 0]].concat()).expect("a header").tags
}

/// The keys of SYN cookies in one of 32 periods.
fn keys(which: u8) -> Keys {
    let key = |period: u8| Key([period; 16]);
    let period = which >> 3;
    Keys { current: key(period), previous: period.checked_sub(1).map(key), parity: period % 2 == 1 }
}

/// One of the configurations, all of which end a connection whose peer is silent; half of them send cookies always, the
/// others under pressure.
fn tcp_config(which: u8) -> TcpConfig {
    let syn_cookies = if which & 4 == 0 { SynCookies::Auto } else { SynCookies::Always };
    let usual = TcpConfig { idle_timeout_ms: 600_000, syn_cookies, ..TcpConfig::default() };
    match which % 4 {
        0 => usual,
        // Everything at its least.
        1 => TcpConfig {
            window_bytes: 1,
            initial_window_segments: 1,
            syn_retries: 0,
            data_retries: 0,
            half_open_limit: 1,
            challenges_per_second: 1,
            resets_per_second: 1,
            challenge_interval_ms: 0,
            time_wait_ms: 1,
            fin_wait_2_ms: 1,
            rto_initial_ms: 1,
            rto_min_ms: 1,
            rto_max_ms: 1,
            half_open_timeout_ms: 1,
            ..usual
        },
        // Without options, with keepalive.
        2 => TcpConfig {
            window_scaling: false,
            sack_permitted: false,
            timestamps: false,
            keepalive_idle_ms: 1_000,
            keepalive_interval_ms: 1_000,
            ..usual
        },
        // A window as large as it gets.
        _ => TcpConfig { window_bytes: 1 << 30, half_open_timeout_ms: 500, keepalive_idle_ms: 5_000, ..usual },
    }
}
