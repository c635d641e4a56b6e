//! smoltcp as an independent end of connections. It speaks IP here; this node puts its packets behind Ethernet headers, because
//! neighbour discovery is the kernel's business where handfast runs.

use handfast::engine::Engine;
use handfast::sim::adversary::Malice;
use handfast::sim::link::Faults;
use handfast::sim::node::{Exchanged, Node};
use handfast::sim::rules::Broken;
use handfast::sim::scenario::{Cast, Dialogue, Independent, Role, Scenario};
use handfast::tcp::config::TcpConfig;
use handfast::time::Now;
use handfast::wire::ether::{ETHER_LEN, Ether, Mac, VlanTags};
use libtest_mimic::Failed;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, Device, DeviceCapabilities, Medium};
use smoltcp::socket::tcp::{RecvError, Socket, SocketBuffer, State};
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr, IpEndpoint, IpListenEndpoint};
use std::cell::Cell;
use std::collections::VecDeque;
use std::net::SocketAddr;

/// The MTU of a node that uses timestamps. smoltcp does not take that option off the segments that it sends (as RFC 9293 3.7.1
/// would have it), and silently drops what becomes longer than the MTU for it; so here the other end's MSS is what limits them.
const MTU_WITH_TIMESTAMPS: usize = 1_500 + 12;

thread_local! {
    /// smoltcp asks a plain function for timestamps; this is what it says.
    static TSVAL: Cell<u32> = const { Cell::new(0) };
}

/// Packets in and out.
struct Wire {
    mtu: usize,
    rx: VecDeque<Vec<u8>>,
    tx: VecDeque<Vec<u8>>,
}

struct Received(Vec<u8>);

struct Sending<'a>(&'a mut VecDeque<Vec<u8>>);

impl phy::RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl phy::TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut packet = vec![0; len];
        let result = f(&mut packet);
        self.0.push_back(packet);
        result
    }
}

impl Device for Wire {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _now: Instant) -> Option<(Received, Sending<'_>)> {
        self.rx.pop_front().map(|packet| (Received(packet), Sending(&mut self.tx)))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Sending<'_>> {
        Some(Sending(&mut self.tx))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = self.mtu;
        capabilities
    }
}

/// Where a user is in its dialogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// To be connected later.
    Ahead,
    /// Listening or connected.
    Open,
    /// Over, because the connection is.
    Over,
    /// Over, because the user gave up.
    GivenUp,
}

/// A user, its socket and its dialogue.
struct User {
    dialogue: Dialogue,
    socket: SocketHandle,
    stage: Stage,
    /// When it looks at its socket again.
    looks_at: Now,
    /// A wrong byte was heard and told; what follows is wrong, too.
    spoiled: bool,
}

/// The node.
pub struct Smol {
    mac: Mac,
    peer_mac: Mac,
    interface: Interface,
    wire: Wire,
    sockets: SocketSet<'static>,
    users: Vec<User>,
    /// When smoltcp's next timer is due.
    polls_at: Option<Now>,
    patience_ns: u64,
    gives_up_at: Option<Now>,
}

impl Smol {
    /// A node as the scenario wants it.
    pub fn boxed(plan: Independent) -> Box<dyn Node> {
        let mtu = if plan.timestamps { MTU_WITH_TIMESTAMPS } else { plan.mtu };
        let mut wire = Wire { mtu, rx: VecDeque::new(), tx: VecDeque::new() };
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = plan.seed;
        let mut interface = Interface::new(config, &mut wire, Instant::ZERO);
        interface.update_ip_addrs(|addrs| {
            for (addr, prefix) in plan.addrs.into_iter().zip([24, 64]) {
                addrs.push(IpCidr::new(addr.into(), prefix)).expect("smoltcp holds two addresses");
            }
        });
        let mut sockets = SocketSet::new(Vec::new());
        let users =
            plan.dialogues.into_iter().map(|dialogue| User::new(dialogue, plan.timestamps, &mut sockets)).collect();
        Box::new(Self {
            mac: plan.mac,
            peer_mac: plan.peer_mac,
            interface,
            wire,
            sockets,
            users,
            polls_at: None,
            patience_ns: plan.patience_ns,
            gives_up_at: None,
        })
    }

    /// Connects who is due, unless an earlier user of the same end is still there.
    fn connect_due(&mut self, now: Now) {
        for i in 0..self.users.len() {
            let Role::Connect(at) = self.users[i].dialogue.role else { continue };
            if self.users[i].stage != Stage::Ahead || at > now {
                continue;
            }
            let tuple = self.users[i].dialogue.tuple;
            let is_same = |user: &User| user.dialogue.tuple.local() == tuple.local() && user.stage != Stage::Ahead;
            let mut same = self.users.iter().filter(|user| is_same(user));
            if same.any(|user| self.sockets.get::<Socket<'_>>(user.socket).state() != State::Closed) {
                self.users[i].dialogue.role = Role::Connect(Now(now.0 + 100_000_000));
                continue;
            }
            let socket = self.sockets.get_mut::<Socket<'_>>(self.users[i].socket);
            let context = self.interface.context();
            socket.connect(context, endpoint(tuple.remote()), endpoint(tuple.local())).expect("a fresh socket");
            self.users[i].stage = Stage::Open;
            self.users[i].looks_at = now;
        }
    }

    fn poll(&mut self, now: Now) {
        TSVAL.set(u32::try_from(now.0 / 1_000_000 % (1 << 32)).expect("32 bits"));
        self.interface.poll(instant(now), &mut self.wire, &mut self.sockets);
        let due = self.interface.poll_at(instant(now), &self.sockets);
        // What is due at once is due in a millisecond: smoltcp has done for now what it does.
        self.polls_at =
            due.map(|at| Now(u64::try_from(at.total_micros()).unwrap_or(0).max(now.0 / 1_000 + 1_000) * 1_000));
    }

    /// What waits to be sent, as frames.
    fn drain(&mut self, sent: &mut Vec<Vec<u8>>) {
        for packet in self.wire.tx.drain(..) {
            let ethertype = if packet[0] >> 4 == 4 { 0x0800 } else { 0x86dd };
            let ether = Ether { dst: self.peer_mac, src: self.mac, tags: VlanTags::default(), ethertype };
            let mut frame = vec![0; ETHER_LEN];
            ether.write(&mut frame);
            frame.extend(packet);
            sent.push(frame);
        }
    }
}

impl Node for Smol {
    fn name(&self) -> &'static str {
        "smoltcp"
    }

    fn mac(&self) -> Mac {
        self.mac
    }

    fn deliver(&mut self, frame: &[u8], _now: Now) -> Result<bool, Broken> {
        self.wire.rx.extend(frame.get(ETHER_LEN..).filter(|packet| !packet.is_empty()).map(<[u8]>::to_vec));
        Ok(true)
    }

    fn turn(&mut self, now: Now, sent: &mut Vec<Vec<u8>>) -> Result<(), Broken> {
        self.connect_due(now);
        self.poll(now);
        let gives_up = self.gives_up_at.is_some_and(|at| at <= now);
        let mut result = Ok(());
        for user in self.users.iter_mut().filter(|user| user.stage == Stage::Open) {
            let looked = user.look(self.sockets.get_mut(user.socket), gives_up, now);
            result = result.and(looked);
        }
        self.poll(now);
        self.drain(sent);
        result
    }

    fn next_due(&self, now: Now) -> Option<Now> {
        let users = self.users.iter().filter_map(|user| match (user.stage, user.dialogue.role) {
            (Stage::Ahead, Role::Connect(at)) => Some(at),
            (Stage::Open, _) => user.next_look(self.sockets.get(user.socket), self.gives_up_at),
            _ => None,
        });
        users.chain(self.polls_at).min().map(|at| at.max(now))
    }

    fn engine(&self) -> Option<&Engine> {
        None
    }

    fn wind_down(&mut self, now: Now) {
        self.gives_up_at = Some(Now(now.0 + self.patience_ns));
    }

    fn is_finished(&self) -> bool {
        let is_over = |user: &User| {
            let state = self.sockets.get::<Socket<'_>>(user.socket).state();
            matches!(user.stage, Stage::Over | Stage::GivenUp) || user.stage == Stage::Open && state == State::Listen
        };
        self.users.iter().all(is_over)
    }

    fn unfinished(&self) -> Vec<String> {
        let is_unfinished = |user: &&User| {
            user.stage != Stage::GivenUp && !user.dialogue.cut_short && !user.dialogue.talk.is_complete()
        };
        let unfinished = self.users.iter().filter(is_unfinished);
        unfinished.map(|user| format!("{:?}: {}", user.dialogue.tuple, user.dialogue.talk.progress())).collect()
    }

    fn exchanged(&self) -> Option<Exchanged> {
        let count = |bytes: usize| u64::try_from(bytes).expect("64 bits");
        let mut sum = Exchanged::default();
        for (said, heard) in self.users.iter().map(|user| user.dialogue.talk.bytes()) {
            sum.said += count(said);
            sum.heard += count(heard);
        }
        Some(sum)
    }
}

impl User {
    fn new(dialogue: Dialogue, timestamps: bool, sockets: &mut SocketSet<'static>) -> Self {
        let buffer = |len: usize| SocketBuffer::new(vec![0; len]);
        let mut socket = Socket::new(buffer(dialogue.rx_buffer), buffer(dialogue.tx_buffer));
        socket.set_nagle_enabled(dialogue.nagle);
        socket.set_ack_delay((dialogue.ack_delay_ms > 0).then(|| Duration::from_millis(dialogue.ack_delay_ms)));
        socket.set_keep_alive((dialogue.keep_alive_ms > 0).then(|| Duration::from_millis(dialogue.keep_alive_ms)));
        if timestamps {
            socket.set_tsval_generator(Some(|| TSVAL.get()));
        }
        let stage = match dialogue.role {
            Role::Connect(_) => Stage::Ahead,
            Role::Listen => {
                let local = dialogue.tuple.local();
                let endpoint = IpListenEndpoint { addr: Some(local.ip().into()), port: local.port() };
                socket.listen(endpoint).expect("a fresh socket");
                Stage::Open
            }
        };
        Self { dialogue, socket: sockets.add(socket), stage, looks_at: Now(0), spoiled: false }
    }

    /// When there is something to do: at the next look, or not before the user loses its patience.
    fn next_look(&self, socket: &Socket<'_>, gives_up_at: Option<Now>) -> Option<Now> {
        let talk = &self.dialogue.talk;
        let state = socket.state();
        let has_more = socket.can_recv() || socket.can_send() && !talk.to_say().is_empty();
        let can_close = matches!(state, State::Established | State::CloseWait) && talk.wants_to_close();
        let partner_closed = matches!(state, State::CloseWait | State::LastAck | State::Closing);
        let news = partner_closed && !talk.has_partner_closed() || matches!(state, State::Closed | State::TimeWait);
        let now = (has_more || can_close || news).then_some(self.looks_at);
        now.into_iter().chain(self.dialogue.abort_at).chain(gives_up_at).map(|at| at.max(self.looks_at)).min()
    }

    /// Reads, writes, closes, gives up: whatever is due.
    fn look(&mut self, socket: &mut Socket<'_>, gives_up: bool, now: Now) -> Result<(), Broken> {
        if now < self.looks_at {
            return Ok(());
        }
        self.looks_at = Now(now.0 + self.dialogue.every_ns);
        let may_hear_more = socket.can_recv();
        let heard = self.read(socket);
        if socket.can_send() {
            let to_say = self.dialogue.talk.to_say();
            let len = to_say.len().min(self.dialogue.sip);
            let taken = socket.send_slice(&to_say[..len]).expect("it can send");
            self.dialogue.talk.said(taken);
        }
        if matches!(socket.state(), State::Established | State::CloseWait) && self.dialogue.talk.wants_to_close() {
            socket.close();
        }
        let is_open = !matches!(socket.state(), State::Closed | State::TimeWait);
        if is_open && (gives_up || self.dialogue.abort_at.is_some_and(|at| at <= now)) {
            socket.abort();
            self.stage = if gives_up { Stage::Over } else { Stage::GivenUp };
        } else if matches!(socket.state(), State::Closed | State::TimeWait) && !may_hear_more {
            self.stage = Stage::Over;
        }
        heard
    }

    fn read(&mut self, socket: &mut Socket<'_>) -> Result<(), Broken> {
        // TIME-WAIT of smoltcp ends with what was not read.
        let in_time_wait = socket.state() == State::TimeWait;
        let mut buffer = vec![0; if in_time_wait { self.dialogue.rx_buffer } else { self.dialogue.sip }];
        match socket.recv_slice(&mut buffer) {
            Ok(0) => {}
            Ok(len) if !self.spoiled => {
                if let Err(wrong) = self.dialogue.talk.hear(&buffer[..len]) {
                    self.spoiled = true;
                    return Err(Broken::stream(self.dialogue.tuple, wrong));
                }
            }
            Err(RecvError::Finished) => self.dialogue.talk.partner_closed(),
            Ok(_) | Err(RecvError::InvalidState) => {}
        }
        Ok(())
    }
}

fn instant(now: Now) -> Instant {
    Instant::from_micros(i64::try_from(now.0 / 1_000).expect("292,000 years"))
}

fn endpoint(addr: SocketAddr) -> IpEndpoint {
    IpEndpoint { addr: IpAddress::from(addr.ip()), port: addr.port() }
}

/// The first thing to see: over a link that does nothing wrong, smoltcp and our own engine each open a connection to our server,
/// use it, and close.
pub fn perfect_handshake() -> Result<(), Failed> {
    let mut scenario = Scenario::from_seed(1, true);
    scenario.cast = Cast::Serve;
    scenario.malice = Malice::Absent;
    scenario.faults = Faults::none(1_000_000);
    scenario.tcp = TcpConfig::default();
    scenario.connections = 1;
    scenario.impatience = 0;
    let summary = scenario.run(Some(&Smol::boxed), || 0).map_err(|failure| failure.to_string())?;
    let counters = &summary.counters;
    // The opener's one is counted at both of its ends.
    let opened = (counters.passive_opens, counters.active_opens, counters.established);
    let sent_again = counters.data_retransmissions + counters.syn_ack_retransmissions + counters.fin_retransmissions;
    if summary.complete && opened == (2, 1, 3) && sent_again == 0 {
        Ok(())
    } else {
        Err(format!("{summary:#?}").into())
    }
}
