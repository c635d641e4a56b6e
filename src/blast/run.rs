//! A run over AF_XDP, from a checked setup to what was counted: steering, ports, workers, and their end.
//!
//! The order of the start is that of `serve`: the program is attached while it steers nothing, sockets and workers come next.
//! What is not here: what a run is ([`super::plan`]), and what its result looks like ([`super::report`]).

use super::plan::Plan;
use super::report::Sample;
use super::setup::Setup;
use super::tally::Tally;
use super::user::Blaster;
use super::watch::{Progress, Watch};
use crate::control::crew::{CrewError, Job, launch};
use crate::control::supervisor::{ServeError, attach_mode, secrets, xsk_config};
use crate::engine::events::EVENTS_PER_STEP;
use crate::engine::listeners::{Endpoint, Listener, Listeners};
use crate::engine::{EngineConfig, TIMER_BUDGET};
use crate::port::BURST_FRAMES;
use crate::port::xsk::{XskConfig, XskError, XskPort};
use crate::service::{AnyService, Client};
use crate::steer::{MacFilter, ReplyFilter, SteerCounter, SteerError, SteerOptions, Steering};
use crate::tcp::config::TcpConfig;
use crate::wire::parse::PartialChecksums;
use crate::worker::Idle;
use crate::worker::capture::Untapped;
use crate::worker::clock::MonotonicClock;
use crate::worker::mailbox::Mailbox;
use crate::worker::report::Report;
use crate::worker::user::CALL_BUDGET;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How often a running generator is looked at.
const ROUND: Duration = Duration::from_millis(20);
/// How often its watcher is told.
const TELL: Duration = Duration::from_secs(1);
/// A run in which this many connections failed and none was ever established is given up.
const HOPELESS: u64 = 1_000;
/// Events that one turn of an engine leaves at most: those of a burst, of its timers, of its user's calls.
const EVENTS: usize = EVENTS_PER_STEP * (BURST_FRAMES + TIMER_BUDGET as usize + CALL_BUDGET);

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The steering program.
    #[error(transparent)]
    Steer(#[from] SteerError),
    /// An AF_XDP port.
    #[error(transparent)]
    Port(#[from] XskError),
    /// A worker.
    #[error(transparent)]
    Crew(#[from] CrewError),
    /// The system.
    #[error(transparent)]
    System(#[from] ServeError),
    /// A worker panicked.
    #[error("the worker of queue {0} ended by itself; this is a bug, please report it with the message above")]
    Worker(u32),
}

/// What a run left.
#[derive(Debug)]
pub struct Outcome {
    /// What the workers counted together.
    pub tally: Tally,
    /// Their engines and ports, together.
    pub report: Report,
    /// Share of its time that the busiest worker had something to do, from 0 to 1.
    pub busy: f64,
    /// How many workers there were.
    pub workers: usize,
    /// How steering and sockets worked: `native, copy`.
    pub mode: String,
    /// Where the run stood, once a second and at the end.
    pub series: Vec<Sample>,
    /// Replies that arrived on a queue without a worker.
    pub on_wrong_queue: u64,
    /// True if it was given up because nothing worked.
    pub hopeless: bool,
}

/// One worker, seen from outside.
struct Member {
    queue: u32,
    watch: Arc<Watch>,
    mailbox: Arc<Mailbox>,
    thread: JoinHandle<Blaster>,
}

/// Runs `plan` on what `setup` found. Ends early when `stop` is set. `tell` hears every second where it stands.
///
/// # Errors
///
/// [`RunError`]; what was started by then is taken back.
pub fn run(setup: &Setup, plan: &Plan, stop: &AtomicBool, tell: &mut dyn FnMut(&str)) -> Result<Outcome, RunError> {
    let Setup { config, preflight, .. } = setup;
    let mut steering = Steering::load(SteerOptions {
        queues: preflight.rx_queues,
        max_endpoints: 1,
        mac: MacFilter::Own(preflight.mac),
    })?;
    let attached = steering.attach(preflight.link.index, attach_mode(config.xdp_mode))?;
    let mut ports = Vec::new();
    for queue in &preflight.queues {
        // Half of the frames are to receive into; the other half is what a turn opens with.
        let port = XskConfig { fill_ring: config.frames / 2, ..xsk_config(config, preflight, *queue)? };
        let port = XskPort::open(&port)?;
        steering.set_socket(*queue, port.fd())?;
        ports.push(port);
    }
    let zero_copy = ports.iter().all(XskPort::zero_copy);
    let sources = plan.sources;
    steering.set_replies(&ReplyFilter {
        peer: plan.target,
        source: sources.first,
        prefix_len: sources.prefix_len,
        ports: plan.ports.clone(),
    })?;
    let crew = start(setup, plan, ports)?;
    let start = Instant::now();
    let mut series = Vec::new();
    let hopeless = watch(&crew, plan, stop, start, &mut series, tell);
    let mut outcome = collect(crew, series, start)?;
    outcome.mode = format!("{}, {}", attached.mode, if zero_copy { "zero-copy" } else { "copy" });
    outcome.on_wrong_queue = steering.counters()?.get(SteerCounter::PassNoSocket);
    outcome.hopeless = hopeless;
    Ok(outcome)
}

/// Starts a worker on each port.
fn start(setup: &Setup, plan: &Plan, ports: Vec<XskPort>) -> Result<Vec<Member>, RunError> {
    let Setup { config, preflight, peer_mac, .. } = setup;
    let secrets = secrets()?;
    let clock = MonotonicClock::start();
    let idle = if config.busy { Idle::Spin } else { Idle::Sleep };
    let workers = ports.len();
    let client = Client::new(&plan.request, plan.closes_at_once()).expect("the request's length was checked");
    let mut members = Vec::new();
    for (index, port) in ports.into_iter().enumerate() {
        let watch = Arc::new(Watch::default());
        let user = Blaster::new(plan.share(index, workers), *peer_mac, preflight.flows_per_queue, Arc::clone(&watch));
        // It is closed: nobody may connect to the generator. Its service is what the connections that it opens have.
        let listener = Listener {
            endpoint: Endpoint { addr: None, port: 0 },
            service: AnyService::Client(client.clone()),
            open: false,
        };
        let engine = EngineConfig {
            tcp: tcp(&preflight.tcp, plan),
            flows: preflight.flows_per_queue,
            burst: BURST_FRAMES,
            mac: preflight.mac,
            partial_checksums: match preflight.accept_partial_checksums {
                true => PartialChecksums::Accept,
                false => PartialChecksums::Refuse,
            },
            events: EVENTS,
        };
        let (queue, core) = (preflight.queues[index], preflight.cores[index]);
        let job = Job { queue, core, port, engine, listeners: Listeners::new(vec![listener]), tap: Untapped };
        let (mailbox, thread) = launch(job, &secrets, clock, idle, user, ())?;
        members.push(Member { queue, watch, mailbox, thread });
    }
    Ok(members)
}

/// The limits and times of a generator's TCP.
fn tcp(of_interface: &TcpConfig, plan: &Plan) -> TcpConfig {
    let timeout_ms = u32::try_from(plan.timeout_ns / 1_000_000).unwrap_or(u32::MAX);
    TcpConfig {
        // The four-tuple is free as soon as the last ACK is sent. What TIME-WAIT is for, the order of the tuples does: they go
        // in a circle, and RFC 6528 gives a later connection a later sequence number.
        time_wait_ms: 0,
        half_open_timeout_ms: timeout_ms,
        fin_wait_2_ms: timeout_ms,
        // Silence ends a connection that waits for an answer or a FIN, not one that is held.
        idle_timeout_ms: if plan.hold == super::plan::Hold::Nanos(0) { timeout_ms } else { 0 },
        ..of_interface.clone()
    }
}

/// Watches until all workers have ended. True if the run was given up because nothing worked.
fn watch(
    crew: &[Member],
    plan: &Plan,
    stop: &AtomicBool,
    start: Instant,
    series: &mut Vec<Sample>,
    tell: &mut dyn FnMut(&str),
) -> bool {
    let mut hopeless = false;
    let mut next = TELL;
    let mut last = Progress::default();
    while crew.iter().any(|member| !member.thread.is_finished()) {
        thread::sleep(ROUND);
        let elapsed = start.elapsed();
        let now = progress(crew);
        if now.established == 0 && now.failed >= HOPELESS && plan.connections.is_none_or(|most| most > now.failed) {
            hopeless = true;
        }
        if hopeless || stop.load(Ordering::Relaxed) {
            crew.iter().for_each(|member| member.watch.stop());
        }
        if elapsed >= next {
            series.push(sample(&now, elapsed));
            tell(&line(&now, &last, elapsed));
            last = now;
            next += TELL;
        }
    }
    series.push(sample(&progress(crew), start.elapsed()));
    hopeless
}

/// Where all workers together stand.
fn progress(crew: &[Member]) -> Progress {
    crew.iter().fold(Progress::default(), |mut sum, member| {
        sum.add(member.watch.progress());
        sum
    })
}

fn sample(progress: &Progress, elapsed: Duration) -> Sample {
    let Progress { attempted, established, completed, failed, open, .. } = *progress;
    Sample { t_s: elapsed.as_secs_f64(), attempted, established, completed, failed, open }
}

/// A line of progress.
fn line(now: &Progress, last: &Progress, elapsed: Duration) -> String {
    let (started, completed) = (now.attempted - last.attempted, now.completed - last.completed);
    format!(
        "{:5.1} s  {started:>8}/s started  {completed:>8}/s completed  {:>8} open  {:>6} failed",
        elapsed.as_secs_f64(),
        now.open,
        now.failed
    )
}

/// What all workers leave.
fn collect(crew: Vec<Member>, series: Vec<Sample>, start: Instant) -> Result<Outcome, RunError> {
    let workers = crew.len();
    let whole = start.elapsed().as_secs_f64();
    let (mut tally, mut report, mut busy) = (Tally::default(), Report::default(), 0.0_f64);
    for Member { queue, mailbox, thread, .. } in crew {
        let one = thread.join().map_err(|_| RunError::Worker(queue))?.into_tally();
        busy = busy.max(Duration::from_nanos(one.busy_ns).as_secs_f64() / whole);
        tally.add(&one);
        report.add(&mailbox.report().unwrap_or_default());
    }
    Ok(Outcome { tally, report, busy, workers, mode: String::new(), series, on_wrong_queue: 0, hopeless: false })
}
