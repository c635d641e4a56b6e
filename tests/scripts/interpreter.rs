//! Runs one script against an engine.

use handfast::engine::listeners::{Endpoint, Listener, Listeners};
use handfast::engine::{Engine, EngineConfig, Secrets, TIMER_BUDGET};
use handfast::flow::FlowId;
use handfast::service::{AnyService, Close, Discard, Http};
use handfast::stats::ledger::{flows_unaccounted, frames_unaccounted};
use handfast::tcp::Env;
use handfast::tcp::config::{HalfOpenFull, SynCookies, TcpConfig};
use handfast::tcp::cookie::{self, Key, Keys};
use handfast::tcp::syn_sent::ActiveOpen;
use handfast::time::{NANOS_PER_TICK, Now};
use handfast::verdict::Verdict;
use handfast::wire::ether::{Ether, VlanTags};
use handfast::wire::options::Options;
use handfast::wire::parse::{PartialChecksums, parse};
use handfast::wire::reply::{Addressing, Reply, StreamPiece, write};
use handfast::wire::segment::{Control, Segment};
use handfast::wire::seq::SeqNum;
use handfast::wire::tuple::FourTuple;
use std::collections::VecDeque;
use std::net::SocketAddr;

const ENGINE_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const PEER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// Room of a frame: an MTU of 1,500 and two VLAN tags.
const FRAME_ROOM: usize = 1522;
/// Room for what happens to connections that a script opens.
const EVENTS: usize = 1_000;
/// More frames than any script lets the engine send at one instant.
const MOST_FRAMES_AT_ONCE: usize = 10_000;
/// The body that http listeners serve.
const BODY: &[u8] = b"0123456789";

type Outcome<T> = Result<T, String>;

/// What a script sets before its first segment.
#[derive(Clone)]
struct Setup {
    tcp: TcpConfig,
    listeners: Vec<Listener>,
    flows: u32,
    ipv6: bool,
    tags: VlanTags,
    peer_isn: u32,
}

/// A frame that the engine sent.
struct Said {
    segment: Segment,
    payload: Vec<u8>,
}

/// A script under way.
struct World {
    engine: Engine,
    /// What it was made from.
    setup: Setup,
    ipv6: bool,
    /// All frames carry these.
    tags: VlanTags,
    now: Now,
    peer_isn: SeqNum,
    /// The engine's initial sequence number, once it has sent a SYN; per script, not per connection.
    iss: Option<SeqNum>,
    tuple: FourTuple,
    said: VecDeque<Said>,
    verdict: Option<Verdict>,
    /// The connection that the user opened last.
    flow: Option<FlowId>,
    /// The period whose keys the engine has.
    period: u64,
}

/// Runs a script; the error names the line.
pub fn run(text: &str) -> Outcome<()> {
    let mut setup = Setup {
        tcp: TcpConfig::default(),
        listeners: Vec::new(),
        flows: 16,
        ipv6: false,
        tags: VlanTags::default(),
        peer_isn: 1000,
    };
    let mut world: Option<World> = None;
    if !text.starts_with("# ") {
        return Err("a script starts with a sentence behind '# '".into());
    }
    for (number, line) in text.lines().enumerate().map(|(i, line)| (i + 1, line.trim())) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let done = match (word, &mut world) {
            ("config" | "listen" | "flows" | "ipv6" | "vlan" | "peer_isn", None) => setup.line(word, rest),
            ("config" | "listen" | "flows" | "ipv6" | "vlan" | "peer_isn", Some(_)) => {
                Err("too late for a setting".into())
            }
            (_, world) => world.get_or_insert_with(|| World::new(&setup)).line(word, rest),
        };
        done.map_err(|error| format!("line {number}: {line}\n  {error}"))?;
    }
    world.ok_or("the script says nothing")?.end()
}

impl Setup {
    fn line(&mut self, word: &str, rest: &str) -> Outcome<()> {
        match word {
            "config" => rest.split_whitespace().try_for_each(|setting| self.config(setting)),
            "listen" => rest.split_whitespace().try_for_each(|spec| self.listen(spec)),
            "flows" => parse_number(rest).map(|n| self.flows = n),
            "ipv6" => {
                self.ipv6 = true;
                Ok(())
            }
            "vlan" => parse_number(rest).map(|id| self.tags = tagged(id)),
            _ => parse_number(rest).map(|n| self.peer_isn = n),
        }
    }

    fn listen(&mut self, spec: &str) -> Outcome<()> {
        let (port, service) = spec.split_once('=').ok_or("listen PORT=SERVICE")?;
        let service = match service {
            "discard" => AnyService::Discard(Discard),
            "close" => AnyService::Close(Close),
            "http" => AnyService::Http(Http::new(BODY, "text/plain").expect("a small body")),
            big if big.starts_with("http:") => {
                let len: usize = parse_number(&big[5..])?;
                AnyService::Http(Http::new(&vec![b'x'; len], "text/plain").map_err(|n| format!("{n} bytes"))?)
            }
            other => return Err(format!("no service {other}")),
        };
        let endpoint = Endpoint { addr: None, port: parse_number(port)? };
        self.listeners.push(Listener { endpoint, service, open: true });
        Ok(())
    }

    fn config(&mut self, setting: &str) -> Outcome<()> {
        let (name, value) = setting.split_once('=').ok_or("config NAME=VALUE")?;
        let tcp = &mut self.tcp;
        match name {
            "window_bytes" => tcp.window_bytes = parse_number(value)?,
            "window_scaling" => tcp.window_scaling = value == "true",
            "sack_permitted" => tcp.sack_permitted = value == "true",
            "timestamps" => tcp.timestamps = value == "true",
            "initial_window_segments" => tcp.initial_window_segments = parse_number(value)?,
            "rto_initial_ms" => tcp.rto_initial_ms = parse_number(value)?,
            "rto_min_ms" => tcp.rto_min_ms = parse_number(value)?,
            "rto_max_ms" => tcp.rto_max_ms = parse_number(value)?,
            "syn_retries" => tcp.syn_retries = parse_number(value)?,
            "half_open_timeout_ms" => tcp.half_open_timeout_ms = parse_number(value)?,
            "data_retries" => tcp.data_retries = parse_number(value)?,
            "time_wait_ms" => tcp.time_wait_ms = parse_number(value)?,
            "fin_wait_2_ms" => tcp.fin_wait_2_ms = parse_number(value)?,
            "idle_timeout_ms" => tcp.idle_timeout_ms = parse_number(value)?,
            "keepalive_idle_ms" => tcp.keepalive_idle_ms = parse_number(value)?,
            "keepalive_interval_ms" => tcp.keepalive_interval_ms = parse_number(value)?,
            "keepalive_probes" => tcp.keepalive_probes = parse_number(value)?,
            "challenge_interval_ms" => tcp.challenge_interval_ms = parse_number(value)?,
            "challenges_per_second" => tcp.challenges_per_second = parse_number(value)?,
            "resets_per_second" => tcp.resets_per_second = parse_number(value)?,
            "half_open_limit" => tcp.half_open_limit = parse_number(value)?,
            "half_open_full" => tcp.half_open_full = named(value, &HalfOpenFull::ALL, HalfOpenFull::name)?,
            "syn_cookies" => tcp.syn_cookies = named(value, &SynCookies::ALL, SynCookies::name)?,
            "syn_cookies_at" => tcp.syn_cookies_at = Some(parse_number(value)?),
            "pressure_timeout_ms" => tcp.pressure_timeout_ms = parse_number(value)?,
            "pressure_syn_retries" => tcp.pressure_syn_retries = parse_number(value)?,
            _ => return Err(format!("no setting {name}")),
        }
        Ok(())
    }
}

impl World {
    fn new(setup: &Setup) -> Self {
        let mut listeners = setup.listeners.clone();
        if listeners.is_empty() {
            let endpoint = Endpoint { addr: None, port: 80 };
            listeners.push(Listener { endpoint, service: AnyService::Discard(Discard), open: true });
        }
        let config = EngineConfig {
            tcp: setup.tcp.clone(),
            flows: setup.flows,
            burst: 1,
            mac: ENGINE_MAC,
            partial_checksums: PartialChecksums::Refuse,
            events: EVENTS,
        };
        let secrets = Secrets { flow_hash: [1, 2], isn: [3; 16], timestamp_offset: 0 };
        let now = Now::from_millis(1_000_000);
        Self {
            engine: Engine::new(config, &secrets, Listeners::new(listeners), now),
            setup: setup.clone(),
            ipv6: setup.ipv6,
            tags: setup.tags,
            now,
            peer_isn: SeqNum(setup.peer_isn),
            iss: None,
            tuple: tuple(setup.ipv6, 40_000, 80),
            said: VecDeque::new(),
            verdict: None,
            flow: None,
            period: 0,
        }
    }

    fn line(&mut self, word: &str, rest: &str) -> Outcome<()> {
        match word {
            "->" => self.peer_says(rest),
            "<-" => self.engine_says(rest),
            "wait" => self.wait(parse_number(rest)?),
            "state" => self.is_in_state(rest),
            "count" => rest.split_whitespace().try_for_each(|counter| self.counted(counter)),
            "drain" => {
                self.engine.drain();
                Ok(())
            }
            "keys" => {
                self.period = parse_number(rest)?;
                self.engine.set_cookie_keys(keys(self.period));
                Ok(())
            }
            "xdp" => self.steering_program(rest),
            "reload" => self.reload(rest),
            "event" => self.user_hears(rest),
            "open" => self.user_opens(rest),
            "close" => self.user_closes(),
            "abort" => self.user_aborts(),
            other => Err(format!("no such word: {other}")),
        }
    }

    /// The operator changes limits; what is not named is what the script began with.
    fn reload(&mut self, rest: &str) -> Outcome<()> {
        rest.split_whitespace().try_for_each(|setting| self.setup.config(setting))?;
        self.engine.set_tcp_config(self.setup.tcp.clone(), self.now);
        Ok(())
    }

    /// Nothing that the engine said is left unheard.
    fn silence(&self) -> Outcome<()> {
        match self.said.front() {
            Some(said) => Err(format!("the engine also said: {}", self.describe(said))),
            None => Ok(()),
        }
    }

    /// The steering program answers SYNs, does so no more, or answers one.
    fn steering_program(&mut self, rest: &str) -> Outcome<()> {
        match rest {
            "on" => self.engine.set_cookies_elsewhere(true, self.now),
            "off" => self.engine.set_cookies_elsewhere(false, self.now),
            syn => {
                let (frame, len) = self.frame_of_peer(syn)?;
                let syn = parse(&frame[..len], PartialChecksums::Refuse).map_err(|e| format!("{e:?}"))?;
                let env = Env { config: &self.setup.tcp, now: self.now.tick(), tsval: self.now.tick().0 };
                self.iss = Some(cookie::syn_ack(&syn, &keys(self.period), env).seq);
            }
        }
        Ok(())
    }

    fn peer_says(&mut self, rest: &str) -> Outcome<()> {
        self.silence()?;
        let (mut frame, len) = self.frame_of_peer(rest)?;
        self.engine.stage(&frame[..len]);
        let verdict = self.engine.commit(0, &mut frame, self.now);
        self.engine.end_burst();
        self.verdict = Some(verdict);
        if let Verdict::Transmit { len } = verdict {
            self.hear(&frame[..len])?;
        }
        self.emit()
    }

    /// A frame of the peer's in a buffer with room for an answer, and its length.
    fn frame_of_peer(&mut self, rest: &str) -> Outcome<(Vec<u8>, usize)> {
        let line = Line::read(rest)?;
        let port = line.number("port")?.unwrap_or(80);
        let peer = line.number("peer")?.unwrap_or(40_000);
        self.tuple = tuple(self.ipv6, peer, port);
        let payload = line.payload()?;
        let reply = Reply {
            seq: self.peer_isn + line.number("seq")?.ok_or("no seq=")?,
            ack: self.iss.unwrap_or_default() + line.number("ack")?.unwrap_or(0),
            control: line.control,
            window: line.number("win")?.unwrap_or(64_000),
            options: line.options()?,
            payload: StreamPiece { from_una: 0, len: u16::try_from(payload.len()).map_err(|e| e.to_string())? },
        };
        let to = Addressing { dst_mac: ENGINE_MAC, src_mac: PEER_MAC, tags: self.tags, tuple: self.tuple.reversed() };
        let mut frame = vec![0; FRAME_ROOM];
        let len = write(&mut frame, &to, &reply, |out| out.copy_from_slice(&payload));
        Ok((frame, len))
    }

    /// OPEN by the user: actively, with the service of the first listener.
    fn user_opens(&mut self, rest: &str) -> Outcome<()> {
        self.silence()?;
        let fields = format!("none {rest}");
        let line = Line::read(&fields)?;
        let (port, peer) = (line.number("port")?.unwrap_or(5_000), line.number("peer")?.unwrap_or(40_000));
        self.tuple = tuple(self.ipv6, peer, port);
        let open = ActiveOpen { tuple: self.tuple, peer_mac: PEER_MAC, tags: self.tags, service: 0 };
        let mut frame = vec![0; FRAME_ROOM];
        let opened = self.engine.open(&open, self.now, &mut frame);
        let (id, len) = opened.map_err(|error| format!("{error:?}"))?;
        self.flow = Some(id);
        self.hear(&frame[..len])
    }

    /// The next event of the connection that the user opened.
    fn user_hears(&mut self, expected: &str) -> Outcome<()> {
        let event = self.engine.next_event();
        let found = event.map_or_else(|| "none".to_owned(), |event| format!("{:?}", event.what));
        if event.is_some_and(|event| Some(event.id) != self.flow) {
            return Err(format!("{found} of another connection"));
        }
        if found == expected { Ok(()) } else { Err(format!("the event is {found}")) }
    }

    fn user_closes(&mut self) -> Outcome<()> {
        self.silence()?;
        let id = self.flow.ok_or("only a connection that was opened here has a user")?;
        self.engine.close(id, self.now).map_err(|error| format!("{error:?}"))?;
        self.emit()
    }

    fn user_aborts(&mut self) -> Outcome<()> {
        self.silence()?;
        let id = self.flow.ok_or("only a connection that was opened here has a user")?;
        let mut frame = vec![0; FRAME_ROOM];
        match self.engine.abort(id, &mut frame).map_err(|error| format!("{error:?}"))? {
            Some(len) => self.hear(&frame[..len]),
            None => Ok(()),
        }
    }

    /// Takes what the engine has to send by itself.
    fn emit(&mut self) -> Outcome<()> {
        let mut budget = TIMER_BUDGET;
        for _ in 0..MOST_FRAMES_AT_ONCE {
            let mut frame = vec![0; FRAME_ROOM];
            let Some(len) = self.engine.emit(self.now, &mut budget, &mut frame) else { return Ok(()) };
            self.hear(&frame[..len])?;
        }
        Err(format!("the engine does not stop: {MOST_FRAMES_AT_ONCE} frames at one instant"))
    }

    fn hear(&mut self, frame: &[u8]) -> Outcome<()> {
        let segment =
            parse(frame, PartialChecksums::Refuse).map_err(|e| format!("an illegal frame was sent: {e:?}"))?;
        if (segment.src_mac, segment.dst_mac, segment.tags) != (ENGINE_MAC, PEER_MAC, self.tags) {
            return Err("a frame went astray".into());
        }
        if segment.control.has(Control::SYN) {
            self.iss = Some(segment.seq);
        }
        self.said.push_back(Said { segment, payload: frame[segment.payload()].to_vec() });
        Ok(())
    }

    fn engine_says(&mut self, rest: &str) -> Outcome<()> {
        if let Some(reason) = rest.strip_prefix("nothing") {
            self.silence()?;
            return self.dropped_for(reason.trim());
        }
        let said =
            self.said.pop_front().ok_or_else(|| format!("the engine says nothing; verdict {:?}", self.verdict))?;
        let line = Line::read(rest)?;
        let segment = &said.segment;
        let iss = self.iss.unwrap_or_default();
        let mut wrong = Vec::new();
        let mut compare = |what: &str, expected: Option<u32>, found: u32| {
            if expected.is_some_and(|expected| expected != found) {
                wrong.push(what.to_owned());
            }
        };
        compare("control", Some(u32::from(line.control.0)), u32::from(segment.control.0));
        compare("seq", line.number("seq")?, segment.seq.distance_from(iss));
        compare("ack", line.number("ack")?, segment.ack.distance_from(self.peer_isn));
        compare("win", line.number("win")?, u32::from(segment.window));
        if said.payload != line.payload_like(&said.payload)? {
            wrong.push("payload".into());
        }
        wrong.extend(line.other_options(&segment.options)?);
        if segment.tuple != self.tuple.reversed() {
            wrong.push("addresses".into());
        }
        if wrong.is_empty() { Ok(()) } else { Err(format!("{}: {}", wrong.join(", "), self.describe(&said))) }
    }

    /// The last segment of the peer was dropped for `reason`, or accepted if that is empty.
    fn dropped_for(&self, reason: &str) -> Outcome<()> {
        let found = match self.verdict {
            Some(Verdict::Drop(reason)) => reason.name(),
            Some(Verdict::Accept) | None => "",
            Some(Verdict::Transmit { .. }) if reason.is_empty() => return Ok(()),
            Some(Verdict::Transmit { .. }) => "transmitted",
        };
        if found == reason { Ok(()) } else { Err(format!("verdict {:?}", self.verdict)) }
    }

    /// Time passes, and stands still wherever the engine has something to do.
    fn wait(&mut self, millis: u64) -> Outcome<()> {
        self.silence()?;
        self.verdict = None;
        let mut left = millis;
        while left > 0 {
            let tick = self.now.tick();
            let due = self.engine.next_due(tick).filter(|due| due.at_or_after(tick));
            let step = due.map_or(left, |due| u64::from(due.millis_since(tick))).clamp(1, left);
            left -= step;
            self.now = Now(self.now.0 + step * NANOS_PER_TICK);
            self.engine.follow(self.now);
            if self.engine.has_due(self.now) {
                self.emit()?;
            }
        }
        Ok(())
    }

    fn is_in_state(&self, name: &str) -> Outcome<()> {
        let mut flows = Vec::with_capacity(16);
        self.engine.snapshot_flows(0, None, &mut flows, self.now.tick());
        let state = flows.iter().find(|flow| flow.tuple == self.tuple).map_or("CLOSED", |flow| flow.state.name());
        if state == name { Ok(()) } else { Err(format!("it is in {state}")) }
    }

    fn counted(&self, counter: &str) -> Outcome<()> {
        let (name, expected) = counter.split_once('=').ok_or("count NAME=VALUE")?;
        let counters = self.engine.counters();
        let drops = counters.drops().map(|(reason, count)| (reason.name(), count));
        let found = counters.scalars().chain(drops).find(|(known, _)| *known == name);
        let (_, found) = found.ok_or_else(|| format!("no counter {name}"))?;
        if found == parse_number::<u64>(expected)? { Ok(()) } else { Err(format!("{name} is {found}")) }
    }

    /// Nothing is left to be said, and the ledgers balance.
    fn end(self) -> Outcome<()> {
        self.silence().map_err(|error| format!("at the end: {error}"))?;
        let counters = self.engine.counters();
        let (frames, flows) = (frames_unaccounted(counters), flows_unaccounted(counters, self.engine.flows().into()));
        let by_state: u32 = self.engine.states().iter().sum();
        if frames != 0 || flows != 0 || by_state != self.engine.flows() || self.engine.timers() != self.engine.flows() {
            return Err(format!(
                "ledgers: {frames} frames and {flows} flows unaccounted for, {} flows, {by_state} by state, {} timers",
                self.engine.flows(),
                self.engine.timers()
            ));
        }
        Ok(())
    }

    fn describe(&self, said: &Said) -> String {
        let Segment { seq, ack, control, window, options, .. } = said.segment;
        let seq = seq.distance_from(self.iss.unwrap_or_default());
        let ack = ack.distance_from(self.peer_isn);
        let payload = String::from_utf8_lossy(&said.payload).into_owned();
        format!("{control:?} seq={seq} ack={ack} win={window} len={} {options:?} {payload:?}", said.payload.len())
    }
}

/// The 802.1Q tag of a VLAN, as it stands in a frame.
fn tagged(id: u16) -> VlanTags {
    let [high, low] = id.to_be_bytes();
    let frame = [&[0; 12][..], &[0x81, 0x00, high, low, 0x08, 0x00]].concat();
    Ether::parse(&frame).expect("a tagged header").tags
}

fn tuple(ipv6: bool, peer: u16, port: u16) -> FourTuple {
    let (local, remote) = if ipv6 { ("[2001:2::1]", "[2001:2::2]") } else { ("198.18.0.1", "198.18.0.2") };
    let addr = |host: &str, port: u16| -> SocketAddr { format!("{host}:{port}").parse().expect("an address") };
    FourTuple::new(addr(local, port), addr(remote, peer))
}

/// The choice of that name.
fn named<T: Copy>(name: &str, all: &[T], name_of: fn(T) -> &'static str) -> Outcome<T> {
    all.iter().copied().find(|choice| name_of(*choice) == name).ok_or_else(|| format!("no choice {name}"))
}

/// The keys of SYN cookies in a period.
fn keys(period: u64) -> Keys {
    let key = |period: u64| Key::of_period(b"the secret of the scripts", period);
    Keys { current: key(period), previous: Some(key(period - 1)), parity: period % 2 == 1 }
}

fn parse_number<T: std::str::FromStr>(text: &str) -> Outcome<T> {
    text.parse().map_err(|_| format!("not a number that fits: {text:?}"))
}

/// A segment as written in a script.
struct Line<'a> {
    control: Control,
    fields: Vec<(&'a str, &'a str)>,
}

impl<'a> Line<'a> {
    fn read(text: &'a str) -> Outcome<Self> {
        let (bits, mut rest) = text.split_once(' ').unwrap_or((text, ""));
        let mut control = Control::default();
        for bit in bits.split(',').filter(|bit| *bit != "none") {
            control = control
                | match bit {
                    "FIN" => Control::FIN,
                    "SYN" => Control::SYN,
                    "RST" => Control::RST,
                    "PSH" => Control::PSH,
                    "ACK" => Control::ACK,
                    "URG" => Control::URG,
                    other => return Err(format!("no control bit {other}")),
                };
        }
        let mut fields = Vec::new();
        while !rest.trim_start().is_empty() {
            rest = rest.trim_start();
            let quoted = rest.strip_prefix("data=\"").and_then(|data| data.find('"').map(|end| (data, end)));
            if let Some((data, end)) = quoted {
                fields.push(("data", &data[..end]));
                rest = &data[end + 1..];
                continue;
            }
            let (field, behind) = rest.split_once(' ').unwrap_or((rest, ""));
            fields.push(field.split_once('=').unwrap_or((field, "")));
            rest = behind;
        }
        let known = ["seq", "ack", "win", "len", "data", "mss", "ws", "sack", "ts", "port", "peer", "no", "times"];
        match fields.iter().find(|(name, _)| !known.contains(name)) {
            Some((name, _)) => Err(format!("no field {name}")),
            None => Ok(Self { control, fields }),
        }
    }

    fn get(&self, name: &str) -> Option<&'a str> {
        self.fields.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> Outcome<Option<T>> {
        self.get(name).map(parse_number).transpose()
    }

    /// What the peer's segment carries: `data="..."` with \r\n, `times=` so often, or `len=` bytes of it.
    fn payload(&self) -> Outcome<Vec<u8>> {
        let times = self.number("times")?.unwrap_or(1);
        match (self.get("data"), self.number::<usize>("len")?) {
            (Some(data), _) => Ok(data.replace("\\r", "\r").replace("\\n", "\n").repeat(times).into_bytes()),
            (None, len) => Ok(vec![b'x'; len.unwrap_or(0)]),
        }
    }

    /// What the engine's segment must carry: with `len=` alone any bytes of that length, with `data=` those bytes.
    fn payload_like(&self, found: &[u8]) -> Outcome<Vec<u8>> {
        match (self.get("data"), self.number::<usize>("len")?) {
            (None, Some(len)) if len == found.len() => Ok(found.to_vec()),
            _ => self.payload(),
        }
    }

    fn options(&self) -> Outcome<Options> {
        let timestamps = match self.get("ts").map(|ts| ts.split_once(',')) {
            Some(Some((val, ecr))) => Some((parse_number(val)?, parse_number(ecr)?)),
            Some(None) => return Err("ts=VAL,ECR".into()),
            None => None,
        };
        Ok(Options {
            mss: self.number("mss")?,
            window_scale: self.number("ws")?,
            sack_permitted: self.get("sack").is_some(),
            timestamps,
        })
    }

    /// Options named here that `found` has otherwise. `ts=*,ECR` leaves our clock open; `no=ts` says there must be none.
    fn other_options(&self, found: &Options) -> Outcome<Vec<String>> {
        let mut wrong = Vec::new();
        let mut check = |name: &str, right: bool| wrong.extend((!right).then(|| name.to_owned()));
        if let Some(mss) = self.number("mss")? {
            check("mss", found.mss == Some(mss));
        }
        if let Some(ws) = self.number("ws")? {
            check("ws", found.window_scale == Some(ws));
        }
        if self.get("sack").is_some() {
            check("sack", found.sack_permitted);
        }
        if let Some((val, ecr)) = self.get("ts").and_then(|ts| ts.split_once(',')) {
            let val_fits = val == "*" || found.timestamps.map(|(v, _)| v) == Some(parse_number(val)?);
            check("ts", val_fits && found.timestamps.map(|(_, e)| e) == Some(parse_number(ecr)?));
        }
        for absent in self.get("no").into_iter().flat_map(|names| names.split(',')) {
            let is_absent = match absent {
                "mss" => found.mss.is_none(),
                "ws" => found.window_scale.is_none(),
                "sack" => !found.sack_permitted,
                "ts" => found.timestamps.is_none(),
                other => return Err(format!("no option {other}")),
            };
            check(absent, is_absent);
        }
        Ok(wrong)
    }
}

/// Scripts that are wrong must fail, each for its reason: a checker that finds nothing wrong checks nothing.
pub fn self_test() -> Outcome<()> {
    let cases = [
        ("-> SYN seq=0", "a script starts with a sentence"),
        ("# x", "says nothing"),
        ("# x\n-> SYN seq=0", "the engine also said: SYN,ACK"),
        ("# x\n-> SYN seq=0\n<- SYN,ACK seq=1", "seq"),
        ("# x\n-> SYN seq=0\n<- SYN,ACK ack=2", "ack"),
        ("# x\n-> SYN seq=0\n<- ACK", "control"),
        ("# x\n-> SYN seq=0\n<- SYN,ACK len=1", "payload"),
        ("# x\n-> SYN seq=0\n<- SYN,ACK mss=1", "mss"),
        ("# x\n-> SYN seq=0 ts=1,0\n<- SYN,ACK no=ts", "ts"),
        ("# x\n-> SYN seq=0\n<- nothing", "the engine also said"),
        ("# x\n-> RST seq=0\n<- nothing", "verdict"),
        ("# x\n-> RST seq=0\n<- nothing no_ack", "verdict"),
        ("# x\n-> RST seq=0\n<- RST", "the engine says nothing"),
        ("# x\n-> SYN seq=0\n<- SYN,ACK\nstate ESTABLISHED", "it is in SYN-RECEIVED"),
        ("# x\n-> SYN seq=0\n<- SYN,ACK\ncount established=1", "established is 0"),
        ("# x\n-> SYN seq=0\n<- SYN,ACK\nflows 2", "too late"),
        ("# x\n-> SYN seq=0\n<- SYN,ACK foo=1", "no field foo"),
        ("# x\n-> SIN seq=0", "no control bit SIN"),
    ];
    for (script, expected) in cases {
        match run(script) {
            Ok(()) => return Err(format!("passes, but must fail with {expected:?}: {script}")),
            Err(error) if !error.contains(expected) => {
                return Err(format!("fails with {error:?} instead of {expected:?}: {script}"));
            }
            Err(_) => {}
        }
    }
    Ok(())
}
