//! `serve`, from a validated configuration to the closing summary: program, ports, workers, control socket, and their end.
//!
//! The order of the start is what keeps it safe: the program is attached while it steers nothing, sockets and workers come
//! next, and only when all of them are ready the endpoints are steered. The end goes the other way round. What is not here:
//! what a request means ([`super::office`]), and everything on the data path.

use super::answers::Answers;
use super::capture::sink::CaptureError;
use super::capture::{Capture, Writing};
use super::config::Config;
use super::cookies::KeyKeeper;
use super::crew::{Crew, CrewError, Job};
use super::meter::Meter;
use super::metrics::{MetricsError, MetricsListener, MetricsServer};
use super::notify;
use super::office::{Event, Furniture, Office};
use super::preflight::{self, Preflight};
use super::roster::{OutOfIds, Roster};
use super::socket::{Server, SocketError};
use super::values;
use crate::engine::{EngineConfig, Secrets};
use crate::observe::report::{EndedBy, Mode, Summary};
use crate::observe::text;
use crate::port::BURST_FRAMES;
use crate::port::xsk::{self, XskConfig, XskError, XskPort};
use crate::steer::{AttachMode, DEFAULT_MAX_ENDPOINTS, MacFilter, SteerError, SteerOptions, Steering};
use crate::tcp::config::TcpConfig;
use crate::tcp::cookie::Keys;
use crate::wire::parse::PartialChecksums;
use crate::worker::Idle;
use crate::worker::capture::{Recorder, Untapped};
use crate::worker::clock::{Clock as _, MonotonicClock};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// How often a running server looks after what nobody tells it: closed listeners, the end of a drain, who answers SYNs.
const ROUND: Duration = Duration::from_millis(100);

/// Why serving failed.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The steering program.
    #[error(transparent)]
    Steer(#[from] SteerError),
    /// An AF_XDP port.
    #[error(transparent)]
    Port(#[from] XskError),
    /// A worker.
    #[error(transparent)]
    Crew(#[from] CrewError),
    /// The control socket.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The metrics' address.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// A file of the capture.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// Listeners.
    #[error(transparent)]
    Listeners(#[from] OutOfIds),
    /// No random numbers.
    #[error("drawing keys: the system gives no random numbers: {0}")]
    Random(getrandom::Error),
    /// No signals.
    #[error("waiting for SIGINT and SIGTERM: {0}")]
    Signals(std::io::Error),
}

/// Serves until a signal, the end of the duration, or the end of a drain, and says what was done.
///
/// # Errors
///
/// Whatever stands in the way of starting. What was started by then is taken back.
pub fn run(config: &Config, preflight: &Preflight) -> Result<Summary, ServeError> {
    let (events, happened) = channel();
    let signals = watch_signals(events.clone())?;
    let metrics = config.metrics.map(MetricsListener::bind).transpose()?;
    let secrets = secrets_of(config)?;
    let capture = Capture::open(&config.capture, &config.interface, &preflight.queues, secrets.flow_hash)?;
    let mut steering = Steering::load(SteerOptions {
        queues: preflight.rx_queues,
        max_endpoints: DEFAULT_MAX_ENDPOINTS,
        mac: MacFilter::Own(preflight.mac),
    })?;
    let mut meter = Meter::start(&config.interface);
    let attached = steering.attach(preflight.link.index, attach_mode(config.xdp_mode))?;
    meter.attached();
    if let Some(cause) = attached.native_refused {
        let on_veth = " (on a veth, native mode needs a peer whose MTU fits a page, and as many receive queues as the peer \
                       has transmit queues)";
        let remedy = if preflight.link.is_veth() { on_veth } else { "" };
        tracing::warn!(
            "{}: the driver takes no XDP program: {cause}; it runs in generic mode, which is slower{remedy}",
            config.interface
        );
        if preflight.link.kind.is_some() {
            tracing::warn!("{}", preflight::unsplit_segments(&config.interface));
        }
    }
    let mut keeper = key_keeper(config)?;
    let mut roster = Roster::default();
    roster.set(&config.listens, &config.http_files)?;
    let mut clock = MonotonicClock::start();
    let since_1970 = wall_clock().saturating_sub(Duration::from_nanos(clock.now().0));
    let (capture, recorders) = capture.unzip();
    let (crew, bind) = start_crew(config, preflight, (&secrets, clock), (&steering, &roster), (&events, recorders))?;
    let capture = capture.map(|capture| capture.start(since_1970)).transpose()?;
    deliver_first_keys(&mut keeper, &crew)?;
    let mut answers = Answers::new(*keeper.keys(), partial_checksums(preflight), clock, secrets.timestamp_offset);
    answers.set_config(&preflight.tcp, &mut steering)?;
    if preflight.link.is_veth() {
        answers.on_veth(attached.mode, &preflight.link, &mut steering)?;
    }
    if let (Some(doubt), values::SynXdp::Auto) = (answers.doubt(), config.syn_xdp) {
        tracing::warn!("{}: the steering program will not answer SYNs in a flood: {doubt}", config.interface);
    }
    steering.set_filter(&config.filter())?;
    steering.set_syn_rate(config.syn_rate)?;
    steering.set_endpoints(&roster.endpoints())?;
    let mode = Mode { xdp: attached.mode.to_string(), bind: bind.to_owned() };
    let office = Arc::new(Office::new(Furniture {
        config: config.clone(),
        mode,
        preflight: preflight.clone(),
        clock,
        crew,
        steering,
        roster,
        answers,
        meter,
        capture: capture.as_ref().map(Writing::books),
    }));
    office.look_after_answers();
    let server = Server::start(&config.control, Arc::clone(&office) as Arc<_>)?;
    let metrics = metrics.map(|listener| MetricsServer::start(listener, Arc::clone(&office) as Arc<_>));
    let metrics = metrics.transpose()?;

    let line = text::ready(&office.report());
    eprintln!("{line}");
    notify::ready(&line);
    let ended_by = wait(&office, &happened, config.duration, &mut keeper);
    notify::stopping();

    office.stop_serving();
    drop(capture);
    drop(metrics);
    server.stop();
    signals.close();
    Ok(Summary { ended_by, stats: office.report() })
}

/// Who keeps the keys of SYN cookies.
fn key_keeper(config: &Config) -> Result<KeyKeeper, ServeError> {
    if let (Some(secret), Some(path)) = (&config.cookie_secret, &config.cookie_secret_file)
        && secret.exposed
    {
        let path = path.display();
        tracing::warn!("{path}: everybody may read the secret of the SYN cookies; chmod o= takes that away");
    }
    KeyKeeper::new(config.cookie_secret.clone(), wall_clock()).map_err(ServeError::Random)
}

/// Gives the workers the keys of SYN cookies before anything is steered to them.
fn deliver_first_keys(keeper: &mut KeyKeeper, crew: &Crew) -> Result<(), ServeError> {
    let mut delivered = Ok(());
    let deliver = |keys: &Keys| {
        delivered = crew.set_cookie_keys(keys);
        delivered.is_ok()
    };
    keeper.turn(wall_clock(), deliver).map_err(ServeError::Random)?;
    Ok(delivered?)
}

/// The secrets of this server's engines.
fn secrets_of(config: &Config) -> Result<Secrets, ServeError> {
    let mut secrets = secrets()?;
    if let Some(secret) = &config.cookie_secret {
        // Timestamps that one responder sent are echoed to another: their clocks are to be one.
        secrets.timestamp_offset = secret.timestamp(wall_clock());
    }
    Ok(secrets)
}

/// What becomes of partial TCP checksums.
fn partial_checksums(preflight: &Preflight) -> PartialChecksums {
    if preflight.accept_partial_checksums { PartialChecksums::Accept } else { PartialChecksums::Refuse }
}

/// Opens a port on each queue and starts its worker. Returns how the ports are bound, too.
fn start_crew(
    config: &Config,
    preflight: &Preflight,
    (secrets, clock): (&Secrets, MonotonicClock),
    (steering, roster): (&Steering, &Roster),
    (events, recorders): (&Sender<Event>, Option<Vec<Recorder>>),
) -> Result<(Crew, &'static str), ServeError> {
    let idle = if config.busy { Idle::Spin } else { Idle::Sleep };
    let tcp = per_worker(&preflight.tcp, preflight.queues.len());
    let mut crew = Crew::default();
    let mut zero_copy = true;
    let mut recorders = recorders.unwrap_or_default().into_iter();
    for (queue, core) in preflight.queues.iter().zip(&preflight.cores) {
        let port = XskPort::open(&xsk_config(config, preflight, *queue)?)?;
        steering.set_socket(*queue, port.fd())?;
        zero_copy &= port.zero_copy();
        let engine = EngineConfig {
            tcp: tcp.clone(),
            flows: preflight.flows_per_queue,
            burst: BURST_FRAMES,
            mac: preflight.mac,
            partial_checksums: partial_checksums(preflight),
            events: 0,
        };
        let listeners = roster.table();
        let ((queue, core), ended) = ((*queue, *core), events.clone());
        match recorders.next() {
            Some(tap) => crew.start(Job { queue, core, port, engine, listeners, tap }, secrets, clock, idle, ended)?,
            None => {
                let job = Job { queue, core, port, engine, listeners, tap: Untapped };
                crew.start(job, secrets, clock, idle, ended)?;
            }
        }
    }
    Ok((crew, if zero_copy { "zero-copy" } else { "copy" }))
}

/// The port of one queue. If nothing else is asked for, every ring has room for all frames, so that none of them is ever full; the port
/// itself keeps a reserve from the fill ring for what nobody asked for.
pub(crate) fn xsk_config(config: &Config, preflight: &Preflight, queue: u32) -> Result<XskConfig, XskError> {
    let rings = config.frames;
    let default = XskConfig::new(&config.interface, queue).for_mtu(preflight.link.mtu)?;
    Ok(XskConfig {
        frames: config.frames,
        rx_ring: config.rx_ring.unwrap_or(rings),
        tx_ring: config.tx_ring.unwrap_or(rings),
        fill_ring: rings,
        completion_ring: rings,
        bind: match config.bind {
            values::BindMode::Auto => xsk::BindMode::Auto,
            values::BindMode::Copy => xsk::BindMode::Copy,
            values::BindMode::ZeroCopy => xsk::BindMode::ZeroCopy,
        },
        tx_budget: config.tx_budget,
        busy_poll_us: config.busy_poll_us,
        huge_pages: config.huge_pages,
        ..default
    })
}

pub(crate) fn attach_mode(mode: values::XdpMode) -> AttachMode {
    match mode {
        values::XdpMode::Auto => AttachMode::Auto,
        values::XdpMode::Native => AttachMode::Native,
        values::XdpMode::Generic => AttachMode::Generic,
    }
}

/// Limits that hold over all workers, as one worker's share, rounded up.
pub(super) fn per_worker(tcp: &TcpConfig, workers: usize) -> TcpConfig {
    let share = |limit: u32| limit.div_ceil(u32::try_from(workers.max(1)).unwrap_or(u32::MAX));
    TcpConfig {
        challenges_per_second: share(tcp.challenges_per_second),
        resets_per_second: share(tcp.resets_per_second),
        ..tcp.clone()
    }
}

/// Draws the keys of the engines.
pub(crate) fn secrets() -> Result<Secrets, ServeError> {
    let mut bytes = [0; 36];
    getrandom::fill(&mut bytes).map_err(ServeError::Random)?;
    let word = |at: usize| {
        let mut word = [0; 8];
        word.copy_from_slice(&bytes[at..at + 8]);
        u64::from_ne_bytes(word)
    };
    let mut isn = [0; 16];
    isn.copy_from_slice(&bytes[16..32]);
    let mut offset = [0; 4];
    offset.copy_from_slice(&bytes[32..]);
    Ok(Secrets { flow_hash: [word(0), word(8)], isn, timestamp_offset: u32::from_ne_bytes(offset) })
}

/// Makes an event of SIGINT and SIGTERM, until the handle is closed.
fn watch_signals(events: Sender<Event>) -> Result<Handle, ServeError> {
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(ServeError::Signals)?;
    let handle = signals.handle();
    let forward = move || {
        for _ in signals.forever() {
            if events.send(Event::Signal).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("signals".into()).spawn(forward).map_err(ServeError::Signals)?;
    Ok(handle)
}

/// Waits for the end, and looks after the office meanwhile.
fn wait(office: &Office, happened: &Receiver<Event>, duration: Option<Duration>, keeper: &mut KeyKeeper) -> EndedBy {
    let started = Instant::now();
    loop {
        let round = ROUND.min(keeper.until_next(wall_clock()));
        let left = duration.map_or(round, |duration| duration.saturating_sub(started.elapsed()).min(round));
        let asleep = Instant::now();
        let event = happened.recv_timeout(left);
        office.note_late(asleep.elapsed().saturating_sub(left));
        match event {
            Ok(Event::Signal) => return EndedBy::Signal,
            Ok(Event::WorkerEnded(queue)) => {
                tracing::error!(queue, "the worker has ended; serving stops");
                return EndedBy::Failure;
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
        if duration.is_some_and(|duration| started.elapsed() >= duration) {
            return EndedBy::Duration;
        }
        if office.is_drained() {
            return EndedBy::Drain;
        }
        office.look_after_closed_listeners();
        office.look_after_answers();
        office.keep_history();
        if let Err(error) = keeper.turn(wall_clock(), |keys| office.set_cookie_keys(keys)) {
            tracing::error!("drawing the next key of SYN cookies: the system gives no random numbers: {error}");
        }
    }
}

/// The wall clock since 1970; one that stands before that counts as 1970.
fn wall_clock() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
