//! The ceiling: `handfast lab reflect`, a responder without a TCP on the port that `serve` uses.
//!
//! Steering, sockets, rings, batches and the order of the flush are those of [`crate::worker::Worker::turn`]; between
//! receiving and sending is as little as possible (`frame`). So what a server reaches beside it is what its TCP costs,
//! and what this reaches is what AF_XDP on this link can do.
//!
//! What is not here: connections. A lost frame is lost, an answer may be wrong, and nothing is remembered.

mod frame;

use std::io::{self, Write as _};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use clap::{Args, ValueEnum};
use core_affinity::CoreId;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::stop::{StopError, stop_on_signals, wait_for_the_end};
use crate::control::config::Config;
use crate::control::preflight::{self, Preflight};
use crate::control::problem::Problems;
use crate::control::supervisor::{attach_mode, xsk_config};
use crate::control::values::{Indexes, Millis, XdpMode};
use crate::observe::json;
use crate::port::xsk::{XskError, XskPort};
use crate::port::{Burst, Port, PortCounters};
use crate::steer::{Endpoint, MacFilter, SteerError, SteerOptions, Steering};
use crate::time::Now;
use crate::worker::clock::{Clock, MonotonicClock};
use frame::Kind;

/// It keeps no flows, but a configuration has at least one for each queue.
const FLOWS: u32 = 4_096;
/// How long a thread that found nothing to do goes on looking before it sleeps: as long as a worker of `serve`.
const SPIN_NANOS: u64 = 50_000;
/// The longest sleep.
const MAX_SLEEP: Duration = Duration::from_millis(20);
/// The longest sleep while frames wait to be sent.
const TX_RETRY_SLEEP: Duration = Duration::from_millis(1);

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReflectMode {
    /// A SYN is answered with a SYN-ACK, a FIN with a FIN that acknowledges it, anything else with nothing
    Tcp,
    /// Every frame is sent back with its addresses and ports swapped
    Frames,
    /// Every frame is received and dropped
    Sink,
}

/// `handfast lab reflect`
#[derive(Clone, Debug, Args)]
pub struct ReflectArgs {
    /// The interface
    #[arg(short, long, value_name = "IFACE", value_parser = crate::control::settings::interface_name)]
    pub interface: String,
    /// The TCP port whose frames are taken, at any address
    #[arg(long, value_name = "PORT", default_value_t = 7000, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: u16,
    /// Only at this address
    #[arg(long, value_name = "ADDR")]
    pub address: Option<IpAddr>,
    /// A core for each queue [default: the first that this process may run on]
    #[arg(long, value_name = "LIST")]
    pub cores: Option<Indexes>,
    /// What becomes of a frame
    #[arg(long, value_enum, default_value = "tcp")]
    pub mode: ReflectMode,
    /// Where the steering program runs: auto, native, generic
    #[arg(long, value_name = "MODE", default_value = "auto")]
    pub xdp_mode: XdpMode,
    /// End after this time
    #[arg(long, value_name = "TIME")]
    pub duration: Option<Millis>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Why it failed.
#[derive(Debug, Error)]
pub enum ReflectError {
    /// The machine cannot do it.
    #[error(transparent)]
    Machine(Problems),
    /// The steering program.
    #[error(transparent)]
    Steer(#[from] SteerError),
    /// An AF_XDP port.
    #[error(transparent)]
    Port(#[from] XskError),
    /// A thread could not be pinned.
    #[error(
        "cannot pin the thread of queue {queue} to core {core}; give cores that this process may run on (taskset -p $$ shows them) with --cores"
    )]
    Pin {
        /// Its queue.
        queue: u32,
        /// The core.
        core: u32,
    },
    /// A thread panicked.
    #[error("the thread of queue {0} ended by itself; this is a bug, please report it with the message above")]
    Ended(u32),
    /// No signals.
    #[error(transparent)]
    Stop(#[from] StopError),
    /// Standard output took no result.
    #[error("standard output: cannot be written: {0}")]
    Output(#[from] io::Error),
}

/// What was counted. Field names are the JSON's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reflected {
    /// Frames received.
    pub received: u64,
    /// Frames put into the TX ring.
    pub sent: u64,
    /// SYNs answered.
    pub syns: u64,
    /// FINs answered.
    pub fins: u64,
    /// Frames that were not answered.
    pub recycled: u64,
    /// Calls made to have the kernel send.
    pub tx_kicks: u64,
    /// Those after which it had work left.
    pub tx_kicks_again: u64,
    /// Times that no free frame was there to receive into.
    pub fill_starved: u64,
    /// Times that a thread went to sleep for want of frames.
    pub sleeps: u64,
    /// Frames that the kernel dropped on the way into the socket.
    pub dropped: u64,
}

impl Reflected {
    fn add(&mut self, other: &Reflected) {
        let Reflected { received, sent, syns, fins, recycled, tx_kicks, tx_kicks_again, fill_starved, sleeps, dropped } =
            other;
        self.received += received;
        self.sent += sent;
        self.syns += syns;
        self.fins += fins;
        self.recycled += recycled;
        self.tx_kicks += tx_kicks;
        self.tx_kicks_again += tx_kicks_again;
        self.fill_starved += fill_starved;
        self.sleeps += sleeps;
        self.dropped += dropped;
    }
}

/// The closing summary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReflectSummary {
    /// The interface.
    pub interface: String,
    /// What became of frames.
    pub mode: ReflectMode,
    /// Where the steering program ran.
    pub xdp: String,
    /// What was counted.
    #[serde(flatten)]
    pub counts: Reflected,
}

impl std::fmt::Display for ReflectSummary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Reflected { received, sent, syns, fins, recycled, tx_kicks, sleeps, dropped, .. } = self.counts;
        writeln!(f, "interface    {} ({})", self.interface, self.xdp)?;
        writeln!(f, "frames       {received} received, {sent} sent in {tx_kicks} calls, {recycled} not answered")?;
        writeln!(
            f,
            "             {syns} SYNs and {fins} FINs answered, {dropped} frames dropped by the kernel; slept {sleeps} times"
        )
    }
}

/// Answers until a signal or the end of the duration, and prints what was counted.
///
/// # Errors
///
/// [`ReflectError`].
pub fn run(args: &ReflectArgs) -> Result<(), ReflectError> {
    let stop = stop_on_signals()?;
    let summary = reflect(args, &stop)?;
    let text = if args.json { json::line(&summary) + "\n" } else { summary.to_string() };
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Answers until `stop` is set or the duration is over. The order of the start is that of `serve`: endpoints are
/// steered when everything else is ready.
fn reflect(args: &ReflectArgs, stop: &Arc<AtomicBool>) -> Result<ReflectSummary, ReflectError> {
    let config = Config {
        interface: args.interface.clone(),
        cores: args.cores.as_ref().map(|cores| cores.0.clone()),
        flows: FLOWS,
        xdp_mode: args.xdp_mode,
        ..Config::default()
    };
    let preflight = preflight::check(&config).map_err(ReflectError::Machine)?;
    let mut steering = Steering::load(SteerOptions {
        queues: preflight.rx_queues,
        max_endpoints: 1,
        mac: MacFilter::Own(preflight.mac),
    })?;
    let attached = steering.attach(preflight.link.index, attach_mode(config.xdp_mode))?;
    let threads = start(args, &config, &preflight, &steering, stop)?;
    steering.set_endpoints(&[Endpoint { addr: args.address, port: args.port }])?;
    let cores = Indexes(preflight.cores.clone());
    eprintln!("handfast: ready: {} ({}) port {} cores {cores}", args.interface, attached.mode, args.port);
    wait_for_the_end(stop, args.duration, || threads.iter().any(|(_, thread)| thread.is_finished()));
    steering.detach();
    stop.store(true, Ordering::Relaxed);
    let mut counts = Reflected::default();
    for (queue, thread) in threads {
        counts.add(&thread.join().map_err(|_| ReflectError::Ended(queue))?);
    }
    Ok(ReflectSummary { interface: args.interface.clone(), mode: args.mode, xdp: attached.mode.to_string(), counts })
}

/// Opens a port on each queue and starts its thread; each has given the kernel frames to receive into when this returns.
fn start(
    args: &ReflectArgs,
    config: &Config,
    preflight: &Preflight,
    steering: &Steering,
    stop: &Arc<AtomicBool>,
) -> Result<Vec<(u32, JoinHandle<Reflected>)>, ReflectError> {
    let mut threads = Vec::new();
    for (queue, core) in preflight.queues.iter().copied().zip(preflight.cores.iter().copied()) {
        let port = XskPort::open(&xsk_config(config, preflight, queue)?)?;
        steering.set_socket(queue, port.fd())?;
        let (ready, is_ready) = channel();
        let mut reflector = Reflector::new(port, args.mode);
        let stop = Arc::clone(stop);
        let thread = thread::spawn(move || {
            let pinned = core_affinity::set_for_current(CoreId { id: core as usize });
            reflector.turn();
            if ready.send(pinned).is_ok() && pinned {
                reflector.run(&stop, MonotonicClock::start());
            }
            reflector.counts()
        });
        match is_ready.recv() {
            Ok(true) => threads.push((queue, thread)),
            Ok(false) => return Err(ReflectError::Pin { queue, core }),
            Err(_) => return Err(ReflectError::Ended(queue)),
        }
    }
    Ok(threads)
}

/// One queue's loop.
#[derive(Debug)]
struct Reflector<P> {
    port: P,
    mode: ReflectMode,
    burst: Burst,
    counts: Reflected,
}

impl<P: Port> Reflector<P> {
    fn new(port: P, mode: ReflectMode) -> Self {
        Self { port, mode, burst: Burst::new(), counts: Reflected::default() }
    }

    /// Turns until `stop` is set, and sleeps when a worker of `serve` would.
    fn run(&mut self, stop: &AtomicBool, mut clock: MonotonicClock) {
        let mut last_work = clock.now();
        while !stop.load(Ordering::Relaxed) {
            let now: Now = clock.now();
            if self.turn() {
                last_work = now;
            } else if now.nanos_since(last_work) > SPIN_NANOS {
                self.counts.sleeps += 1;
                self.port.wait(if self.port.tx_outstanding() { TX_RETRY_SLEEP } else { MAX_SLEEP });
            }
        }
        self.port.flush();
    }

    /// A burst in, the answers out, one flush. True if anything arrived.
    fn turn(&mut self) -> bool {
        let Self { port, mode, burst, counts } = self;
        let received = port.receive(burst);
        for mut frame in burst.drain() {
            let len = frame.len();
            let bytes = port.bytes_mut(&mut frame);
            let answer = match mode {
                ReflectMode::Tcp => match frame::answer(bytes, len) {
                    Kind::Syn => {
                        counts.syns += 1;
                        Some(frame::BARE_LEN)
                    }
                    Kind::Fin => {
                        counts.fins += 1;
                        Some(frame::BARE_LEN)
                    }
                    Kind::Other => None,
                },
                ReflectMode::Frames => frame::swap(bytes, len).then_some(len),
                ReflectMode::Sink => None,
            };
            match answer {
                Some(len) => port.transmit(frame, len),
                None => {
                    counts.recycled += 1;
                    port.recycle(frame);
                }
            }
        }
        port.flush();
        received > 0
    }

    /// What was counted, with what the port and the kernel count.
    fn counts(&self) -> Reflected {
        let PortCounters { rx_frames, tx_frames, tx_kicks, tx_kicks_again, fill_starved, .. } = self.port.counters();
        let dropped = self.port.kernel_statistics().rx_drops();
        let (received, sent) = (rx_frames, tx_frames);
        Reflected { received, sent, tx_kicks, tx_kicks_again, fill_starved, dropped, ..self.counts }
    }
}

#[cfg(test)]
mod tests {
    use super::frame::tests::frame;
    use super::*;
    use crate::port::memory::{Injected, MemoryConfig, MemoryPort};
    use crate::wire::segment::Control;

    fn reflector(mode: ReflectMode) -> Reflector<MemoryPort> {
        let mut reflector = Reflector::new(MemoryPort::new(&MemoryConfig::default()), mode);
        reflector.turn();
        for control in [Control::SYN, Control::ACK, Control::FIN | Control::ACK, Control::ACK] {
            assert_eq!(reflector.port.inject(&frame(control, b"")), Injected::Received);
        }
        assert!(reflector.turn());
        assert!(reflector.port.ledger().balances());
        reflector
    }

    fn sent(reflector: &mut Reflector<MemoryPort>) -> usize {
        reflector.port.take_sent(usize::MAX, |_| {})
    }

    #[test]
    fn a_connection_gets_two_answers_and_no_state() {
        let mut reflector = reflector(ReflectMode::Tcp);
        assert_eq!(sent(&mut reflector), 2);
        let Reflected { received, sent, syns, fins, recycled, .. } = reflector.counts();
        assert_eq!((received, sent, syns, fins, recycled), (4, 2, 1, 1, 2));
    }

    #[test]
    fn frames_come_back_or_end_here() {
        let mut all = reflector(ReflectMode::Frames);
        assert_eq!((sent(&mut all), all.counts().recycled), (4, 0));
        let mut none = reflector(ReflectMode::Sink);
        assert_eq!((sent(&mut none), none.counts().recycled), (0, 4));
    }
}
