//! Where a running server is asked and changed: the control socket's requests, put to workers, roster and steering.

use super::answers::{Answers, AnswersError, Wanted};
use super::capture::Books;
use super::config::Config;
use super::crew::{Crew, CrewError};
use super::history::History;
use super::meter::Meter;
use super::preflight::Preflight;
use super::protocol::{DrainRequest, ErrorCode, FlowsRequest, ProfileRequest, Refusal, ReloadRequest, WhyRequest};
use super::roster::Roster;
use super::socket::Handler;
use super::supervisor::per_worker;
use crate::engine::listeners::ListenerFlows;
use crate::engine::snapshot::FlowSnapshot;
use crate::observe::identity::{Readings, identities};
use crate::observe::profile::ProfileReport;
use crate::observe::report::{
    Drained, Figures, FlowRow, Flows, Ledgers, ListenerReport, Mode, Past, Reloaded, Setting, Stats, Values,
    WorkerReport,
};
use crate::observe::why::{Diagnosis, diagnose};
use crate::steer::{SteerError, Steering};
use crate::tcp::config::TcpConfig;
use crate::tcp::cookie::Keys;
use crate::tcp::state::State;
use crate::worker::clock::{Clock, MonotonicClock};
use crate::worker::report::Report;
use rustix::time::{ClockId, clock_gettime};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

/// Over how long a rate is estimated.
const RATE_S: f64 = 0.2;

/// A round of the control thread that begins later than this was kept from running.
const CONTROL_LATE: Duration = Duration::from_millis(50);

/// How often a drain looks whether it is done.
const DRAIN_POLL: Duration = Duration::from_millis(10);

/// How often a profile looks whether anybody still waits for it.
const PROFILE_POLL: Duration = Duration::from_millis(20);

/// How long a profile waits for another one to end: one whose client has just left ends by itself.
const PROFILE_PATIENCE: Duration = Duration::from_millis(500);

/// What a server is told from inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// SIGINT or SIGTERM.
    Signal,
    /// The worker of this queue has ended.
    WorkerEnded(u32),
}

/// What a reload changes.
#[derive(Debug)]
struct Rules {
    config: Config,
    /// The TCP's configuration with the segment sizes of the interface; limits over all workers.
    tcp: TcpConfig,
    roster: Roster,
    steering: Steering,
    answers: Answers,
    meter: Meter,
    /// The flows of each listener by id, as of the end.
    listener_flows: Option<Vec<ListenerFlows>>,
    /// How long it served, once it does not any more.
    served: Option<Duration>,
}

/// What an office is made of: workers and a program that are started already, and what they were started with.
#[derive(Debug)]
pub struct Furniture {
    /// What was asked for.
    pub config: Config,
    /// What was granted.
    pub mode: Mode,
    /// What the machine added.
    pub preflight: Preflight,
    /// The workers' clock.
    pub clock: MonotonicClock,
    /// The workers.
    pub crew: Crew,
    /// The program.
    pub steering: Steering,
    /// The listeners.
    pub roster: Roster,
    /// How the program answers SYNs.
    pub answers: Answers,
    /// The interface's counters.
    pub meter: Meter,
    /// What is captured.
    pub capture: Option<Books>,
}

/// A running server.
#[derive(Debug)]
pub struct Office {
    mode: Mode,
    setting: Setting,
    started: Instant,
    clock: MonotonicClock,
    capture: Option<Books>,
    history: Mutex<History>,
    /// Nanoseconds by which rounds of the control thread began late.
    control_late_ns: AtomicU64,
    /// Written once, when the workers are stopped.
    crew: RwLock<Crew>,
    rules: Mutex<Rules>,
    draining: AtomicBool,
    stopping: AtomicBool,
    /// Held while the workers' turns are timed.
    profiling: Mutex<()>,
}

/// Has the workers time no more turns, whatever ends the profile.
struct Timing<'a>(&'a Office);

impl Drop for Timing<'_> {
    fn drop(&mut self) {
        self.0.crew().give_up_profile();
    }
}

impl Office {
    /// An office for workers and a program that are started already.
    pub fn new(furniture: Furniture) -> Self {
        let Furniture { config, mode, preflight, clock, crew, steering, roster, answers, meter, capture } = furniture;
        let setting = Setting {
            rx_queues: preflight.rx_queues,
            mtu: preflight.link.mtu,
            partial_checksums: preflight.accept_partial_checksums,
            veth: preflight.link.is_veth(),
            ..Setting::default()
        };
        let (listener_flows, served) = (None, None);
        let rules = Rules { config, tcp: preflight.tcp, roster, steering, answers, meter, listener_flows, served };
        Self {
            mode,
            setting,
            started: Instant::now(),
            clock,
            capture,
            history: Mutex::default(),
            control_late_ns: AtomicU64::new(0),
            crew: RwLock::new(crew),
            rules: Mutex::new(rules),
            draining: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            profiling: Mutex::new(()),
        }
    }

    fn rules(&self) -> MutexGuard<'_, Rules> {
        // A panic while they were held would have left them between two rules; what is steered is still one of them.
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn crew(&self) -> RwLockReadGuard<'_, Crew> {
        self.crew.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn history(&self) -> MutexGuard<'_, History> {
        // It is a list that is pushed to: no panic leaves it half done.
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A round of the control thread began so much later than it was to.
    pub fn note_late(&self, late: Duration) {
        if late > CONTROL_LATE {
            // Relaxed: a count with one writer, it guards no other memory.
            self.control_late_ns.fetch_add(u64::try_from(late.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }

    /// Keeps a report if one is due.
    pub fn keep_history(&self) {
        if self.history().is_due(self.started.elapsed().as_secs_f64()) {
            let report = self.report();
            self.history().keep(report);
        }
    }

    /// The whole report, as of the workers' last publications. Against a frame's way: what is downstream is read first, so that
    /// what is under way counts upstream.
    pub fn report(&self) -> Stats {
        let mut rules = self.rules();
        let running = !self.stopping.load(Ordering::Relaxed);
        let listener_flows =
            if running { self.crew().listener_flows(rules.roster.ids()) } else { rules.listener_flows.clone() };
        let half_open_limit = u64::from(rules.tcp.half_open_limit);
        let mut total = Figures::default();
        let mut ledgers = Ledgers::default();
        let mut workers = Vec::new();
        let now = self.clock.clone().now();
        for (queue, core, report) in self.crew().reports() {
            let age_ns = if running { now.0.saturating_sub(report.published_nanos) } else { 0 };
            let capture = if self.capture.is_some() { report.capture.named().collect() } else { Values::default() };
            let figures = Figures { age_ns, capture, ..figures(&report, half_open_limit) };
            total.add(&figures);
            ledgers.add(&Ledgers::of(&report.counters, &report.ledger, report.flows));
            workers.push(WorkerReport { queue, core: Some(core), figures });
        }
        let steering = match rules.steering.counters() {
            Ok(counters) => counters.iter().map(|(counter, count)| (counter.name(), count)).collect(),
            Err(error) => {
                tracing::warn!("{error}");
                Values::default()
            }
        };
        let listener = |(id, listen): (usize, &super::listen::Listen)| {
            let flows = listener_flows.as_ref().and_then(|flows| flows.get(id));
            ListenerReport {
                addr: listen.addr,
                port: listen.port,
                service: listen.service.to_string(),
                connections: flows.map(|flows| flows.live().into()),
                opened: flows.map(|flows| flows.opened),
                half_open: flows.map(|flows| flows.states[State::SynReceived.index()].into()),
                states: flows.map(|flows| named(flows.states.map(u64::from))),
            }
        };
        let listeners = rules.roster.open().map(listener).collect();
        let mut stats = Stats {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            interface: rules.config.interface.clone(),
            uptime_s: rules.served.unwrap_or_else(|| self.started.elapsed()).as_secs_f64(),
            mode: self.mode.clone(),
            listeners,
            workers,
            total,
            interface_counters: rules.meter.counters(),
            steering,
            syn_xdp: rules.answers.report(),
            capture: self.capture.as_ref().map(Books::report),
            ledgers,
            identities: Vec::new(),
            setting: Setting {
                since_boot_s: seconds(ClockId::Boottime),
                time_of_day_s: seconds(ClockId::Realtime),
                control_late_ns: self.control_late_ns.load(Ordering::Relaxed),
                ..self.setting
            },
            draining: self.draining.load(Ordering::Relaxed),
        };
        let readings = self.readings(&stats, running, rules.meter.at_the_edges());
        stats.identities = identities(&stats, &readings);
        stats
    }

    /// What is known about how the parts of a report were read.
    fn readings(&self, stats: &Stats, running: bool, at_the_edges: u64) -> Readings {
        let redirected = |stats: &Stats| stats.steering.get("redirected").unwrap_or(0);
        let history = self.history();
        let (earlier, since_s) = match history.before(stats.uptime_s, RATE_S) {
            Some(earlier) => (redirected(earlier), stats.uptime_s - earlier.uptime_s),
            None => (0, stats.uptime_s),
        };
        #[expect(clippy::cast_precision_loss, reason = "an estimate of a rate")]
        let redirected_per_second = (redirected(stats) - earlier) as f64 / since_s.max(f64::EPSILON);
        let processors = thread::available_parallelism().map_or(1, usize::from);
        Readings {
            running,
            redirected_per_second,
            at_the_edges,
            processors: u64::try_from(processors).unwrap_or(u64::MAX),
            rx_queues: self.setting.rx_queues.into(),
        }
    }

    /// True once a drain has left no open connection.
    pub fn is_drained(&self) -> bool {
        self.draining.load(Ordering::Relaxed) && self.crew().open_connections() == 0
    }

    /// Has everybody who makes or judges SYN cookies use these keys. False if somebody did not get them.
    pub fn set_cookie_keys(&self, keys: &Keys) -> bool {
        let mut rules = self.rules();
        let Rules { answers, steering, tcp, .. } = &mut *rules;
        let delivered = self.crew().set_cookie_keys(keys).map_err(AnswersError::from);
        match delivered.and_then(|()| Ok(answers.set_keys(keys, tcp, steering)?)) {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!("keys of SYN cookies: {error}");
                false
            }
        }
    }

    /// Has the steering program answer SYNs, or the workers again, if it is time to.
    pub fn look_after_answers(&self) {
        let mut rules = self.rules();
        let Rules { answers, steering, tcp, config, .. } = &mut *rules;
        let draining = self.draining.load(Ordering::Relaxed);
        let wanted = Wanted { mode: config.syn_xdp, at: config.syn_xdp_at, draining };
        if let Err(error) = answers.look(self.started.elapsed(), wanted, tcp, (&self.crew(), steering)) {
            tracing::warn!("switching who answers SYNs: {error}");
        }
    }

    /// Stops steering to listeners that were closed and whose last connection has ended.
    pub fn look_after_closed_listeners(&self) {
        let mut rules = self.rules();
        if !rules.roster.has_closed() {
            return;
        }
        let counted = self.crew().flows(None, 0, rules.roster.ids());
        match counted {
            Ok(found) => {
                if rules.roster.note_flows(&found.of_listener) {
                    let endpoints = rules.roster.endpoints();
                    if let Err(error) = rules.steering.set_endpoints(&endpoints) {
                        tracing::error!("{error}");
                    }
                }
            }
            Err(error) => tracing::warn!("{error}"),
        }
    }

    /// The right to have turns timed, which one has at a time.
    fn only_profile(&self) -> Result<MutexGuard<'_, ()>, Refusal> {
        let asked = Instant::now();
        loop {
            match self.profiling.try_lock() {
                Ok(only) => return Ok(only),
                // Whoever panicked with it had the workers time no more turns on its way out.
                Err(TryLockError::Poisoned(poisoned)) => return Ok(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) if asked.elapsed() < PROFILE_PATIENCE => thread::sleep(PROFILE_POLL),
                Err(TryLockError::WouldBlock) => {
                    let message = "somebody else is profiling this server now; ask again when that has ended";
                    return Err(Refusal::new(ErrorCode::Refused, message));
                }
            }
        }
    }

    /// Fails if a profile that was begun at `asked` is to end early.
    fn is_profiled_to_the_end(
        &self,
        asked: Instant,
        duration: Duration,
        has_left: &dyn Fn() -> bool,
    ) -> Result<(), Refusal> {
        let gone = |who: &str| {
            let (after, of) = (asked.elapsed().as_secs_f64(), duration.as_secs_f64());
            let message = format!("{who} {after:.1} s into the {of} s that were to be profiled; there is no profile");
            Err(Refusal::new(ErrorCode::Stopping, message))
        };
        if self.stopping.load(Ordering::Relaxed) {
            return gone("it ended");
        }
        if has_left() { gone("the client left") } else { Ok(()) }
    }

    /// Gives the interface back to the kernel and ends the workers. What they counted can still be asked.
    pub fn stop_serving(&self) {
        let mut rules = self.rules();
        let Rules { steering, meter, roster, listener_flows, served, .. } = &mut *rules;
        *served = Some(self.started.elapsed());
        meter.end(|| steering.detach());
        *listener_flows = self.crew().listener_flows(roster.ids());
        self.stopping.store(true, Ordering::Relaxed);
        drop(rules);
        self.crew.write().unwrap_or_else(PoisonError::into_inner).stop();
    }
}

/// The kernel's clock, in seconds.
#[expect(clippy::cast_precision_loss, reason = "seconds with fractions of a microsecond, for centuries")]
fn seconds(clock: ClockId) -> f64 {
    let time = clock_gettime(clock);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Flows by state, under the states' names.
fn named(states: [u64; State::ALL.len()]) -> Values {
    State::ALL.iter().map(|state| (state.name(), states[state.index()])).collect()
}

/// One worker's figures.
fn figures(report: &Report, half_open_limit: u64) -> Figures {
    let mut figures = Figures {
        port: report.port.named().collect(),
        ledger: report.ledger.named().collect(),
        xdp_statistics: report.kernel.named().collect(),
        states: named(report.states),
        flows: report.flows,
        flows_capacity: report.capacity,
        half_open: report.half_open(),
        half_open_limit,
        timers: report.timers,
        turns: report.turns,
        sleeps: report.sleeps,
        emit_budget_exhausted: report.emit_budget_exhausted,
        busy_ns: report.busy_nanos,
        late_ns: report.late_nanos,
        late_turns: report.late_turns,
        longest_gap_ns: report.longest_gap_nanos,
        ..Figures::default()
    };
    figures.set_counters(&report.counters);
    figures
}

fn row(queue: u32, flow: &FlowSnapshot, roster: &Roster) -> FlowRow {
    FlowRow {
        queue,
        state: flow.state.name().to_owned(),
        local: flow.tuple.local().to_string(),
        remote: flow.tuple.remote().to_string(),
        due_ms: u64::from(flow.due_in_ms),
        srtt_us: u64::from(flow.srtt_us),
        queued: u64::from(flow.queued),
        snd_una: flow.snd_una.0,
        snd_nxt: flow.snd_nxt.0,
        rcv_nxt: flow.rcv_nxt.0,
        retries: u32::from(flow.retries),
        service: roster.service(flow.listener),
    }
}

/// A worker that does not answer.
fn silent(error: CrewError) -> Refusal {
    Refusal::new(ErrorCode::Refused, error.to_string())
}

/// Maps that could not be written.
fn unsteered(error: SteerError) -> Refusal {
    Refusal::new(ErrorCode::Refused, error.to_string())
}

impl Handler for Office {
    fn stats(&self) -> Result<Stats, Refusal> {
        Ok(self.report())
    }

    fn history(&self) -> Result<Past, Refusal> {
        Ok(self.history().past())
    }

    fn flows(&self, request: &FlowsRequest) -> Result<Flows, Refusal> {
        let state = request.state.as_deref().map(|name| {
            State::ALL.into_iter().find(|state| state.name() == name).ok_or_else(|| {
                Refusal::new(ErrorCode::Refused, format!("no flow of this server is ever in state {name}"))
            })
        });
        let state = state.transpose()?;
        let crew = self.crew();
        let matching = crew.reports().map(|(_, _, report)| match state {
            Some(state) => report.states[state.index()],
            None => report.flows,
        });
        let matching = matching.sum();
        let limit = usize::try_from(request.limit).unwrap_or(usize::MAX);
        let queries = crew.flows(state, limit, 0).map_err(silent)?.queries;
        let roster = &self.rules().roster;
        let rows = queries.iter().flat_map(|(queue, query)| query.flows.iter().map(|flow| row(*queue, flow, roster)));
        Ok(Flows { matching, flows: rows.collect() })
    }

    /// The workers know new listeners before segments are steered to them, and segments are steered to closed ones until their
    /// last connection has ended: no frame meets a kernel without a listener.
    fn reload(&self, request: &ReloadRequest) -> Result<Reloaded, Refusal> {
        let refused = |error: &dyn ToString| Refusal::new(ErrorCode::Refused, error.to_string());
        let mut rules = self.rules();
        let (config, changes) = rules.config.reload(request).map_err(|problems| refused(&problems))?;
        let mut roster = rules.roster.clone();
        roster.set(&config.listens, &config.http_files).map_err(|error| refused(&error))?;
        let crew = self.crew();
        crew.set_listeners(|| roster.table()).map_err(silent)?;
        rules.roster = roster;
        let endpoints = rules.roster.endpoints();
        rules.steering.set_endpoints(&endpoints).map_err(unsteered)?;
        rules.steering.set_filter(&config.filter()).map_err(unsteered)?;
        rules.steering.set_syn_rate(config.syn_rate).map_err(unsteered)?;
        let TcpConfig { mss_v4, mss_v6, .. } = rules.tcp;
        rules.tcp = TcpConfig { mss_v4, mss_v6, ..config.tcp.clone() };
        crew.set_tcp_config(&per_worker(&rules.tcp, crew.reports().count())).map_err(silent)?;
        let Rules { answers, steering, tcp, .. } = &mut *rules;
        answers.set_config(tcp, steering).map_err(unsteered)?;
        rules.config = config;
        let text = |listens: &[super::listen::Listen]| listens.iter().map(ToString::to_string).collect();
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        Ok(Reloaded {
            added: text(&changes.listens.added),
            removed: text(&changes.listens.removed),
            changed: text(&changes.listens.changed),
            unchanged: text(&changes.listens.unchanged),
            limits: names(&changes.limits),
            needs_restart: names(&changes.needs_restart),
        })
    }

    fn why(&self, request: &WhyRequest) -> Result<Diagnosis, Refusal> {
        let after = self.report();
        #[expect(clippy::cast_precision_loss, reason = "at most a minute")]
        let before = self.history().before(after.uptime_s, request.seconds as f64).cloned();
        Ok(diagnose(before.as_ref(), &after))
    }

    /// The crew is let go of while turns are timed, so that a server can end meanwhile.
    fn profile(&self, request: &ProfileRequest, has_left: &dyn Fn() -> bool) -> Result<ProfileReport, Refusal> {
        let _only = self.only_profile()?;
        let (duration, asked) = (Duration::from_millis(request.duration_ms), Instant::now());
        let _timing = Timing(self);
        self.crew().begin_profile(request.every).map_err(silent)?;
        while asked.elapsed() < duration {
            self.is_profiled_to_the_end(asked, duration, has_left)?;
            thread::sleep(PROFILE_POLL.min(duration.saturating_sub(asked.elapsed())));
        }
        let crew = self.crew();
        // Workers are stopped behind this flag and not while somebody reads the crew: from here on they answer.
        self.is_profiled_to_the_end(asked, duration, has_left)?;
        let profiles = crew.end_profile().map_err(silent)?;
        drop(crew);
        let interface = self.rules().config.interface.clone();
        Ok(ProfileReport::of(&interface, duration.as_secs_f64(), request.every, &profiles))
    }

    /// Connections that only wait out their TIME-WAIT are not waited for: nothing can be lost with them.
    fn drain(&self, request: &DrainRequest) -> Result<Drained, Refusal> {
        self.crew().drain().map_err(silent)?;
        self.draining.store(true, Ordering::Relaxed);
        let asked = Instant::now();
        let timeout = Duration::from_millis(request.timeout_ms);
        loop {
            let remaining = self.crew().open_connections();
            if remaining == 0 || asked.elapsed() >= timeout || self.stopping.load(Ordering::Relaxed) {
                return Ok(Drained { remaining });
            }
            thread::sleep(DRAIN_POLL);
        }
    }
}
