//! One contender under all steps: its server is started, the flood's program attached, and at each step honest connections are
//! made while the flood runs; then what comes behind.
//!
//! The flood runs in this process, on a thread inside the client's namespace: its program stays attached from the first step
//! to the last, as the relay of the honest connections.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::contender::Definition;
use super::half_open;
use super::honest::{self, RELAY, TIMEOUT};
use super::report::{After, DefenderReport, Honest, Peak, REFLECTOR, StepReport};
use super::step::Step;
use crate::bench::compare::BenchError;
use crate::bench::compare::contender::{PORT, SERVER_ADDRESS};
use crate::bench::compare::cpu::{CpuTime, of_core};
use crate::bench::compare::machine::Machine;
use crate::bench::compare::process::{Line, ProcessError, Running};
use crate::bench::compare::wire::{Wire, XdpModes};
use crate::bench::lab::{CLIENT, FLOOD_POOLS, LabError, SERVER};
use crate::bench::netns::inside;
use crate::blast::next_hop::parse_mac;
use crate::blast::report::{BlastReport, float};
use crate::control::link::Link;
use crate::control::values::Millis;
use crate::flood::contract::Count;
use crate::flood::error::FloodError;
use crate::flood::flooder::{Flooder, Tally};
use crate::flood::kind::Kind;
use crate::flood::plan::FloodPlan;
use crate::steer::AttachMode;

/// How long `blast` takes until its first connection: what is counted before says nothing.
const STARTS_WITHIN: Duration = Duration::from_millis(400);
/// How much longer than it sends and waits `blast` may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// A server ends by itself after so many seconds more than all of it should take.
const SERVER_SECONDS: u64 = 300;
/// How long the flood of a step may last: it is stopped before.
const LONGEST_STEP: Duration = Duration::from_secs(3_600);
/// Honest connections for each look whether service is ordinary again.
const LOOK: Millis = Millis(1_000);
/// Ordinary is a 99th percentile of at most so many times the one without a flood, or so much more.
const ORDINARY_TIMES: f64 = 2.0;
const ORDINARY_MORE_US: f64 = 5_000.0;
/// Half-open connections have timed out by then: SYN-ACKs at 0 and 1 s, the end at 3 s, and a second.
const TIMED_OUT: Duration = Duration::from_secs(4);
/// How long the reflector is flooded at most: it keeps nothing, so it is after an hour what it is after a second.
const LONGEST_REFLECTION: Duration = Duration::from_secs(10);
/// How often it is looked whether it is to end.
const ROUND: Duration = Duration::from_millis(50);
/// The least priority: where the flood runs the honest connections have their turn first.
const NICE: i32 = 19;

/// What all contenders have in common.
#[derive(Debug)]
pub(super) struct Bench<'a> {
    /// The program that is every child.
    pub program: String,
    /// The wire.
    pub wire: &'a Wire,
    /// The machine.
    pub machine: &'a Machine,
    /// Where XDP programs run.
    pub modes: XdpModes,
    /// How long honest connections are started at each step.
    pub duration: Millis,
    /// Honest connections a second.
    pub rate: u64,
    /// The steps.
    pub steps: &'a [Step],
    /// How long ordinary service is waited for.
    pub recovery: Duration,
    /// Set by SIGINT and SIGTERM.
    pub stop: &'a AtomicBool,
}

/// A contender while it is measured.
struct Turn<'a> {
    bench: &'a Bench<'a>,
    definition: Definition,
    server: Running,
    control: PathBuf,
    flooder: Flooder,
    /// Runs of honest connections so far.
    runs: u32,
}

impl Bench<'_> {
    fn at_server(&self, arguments: &str) -> Line {
        Line::inside(&self.wire.server(), &self.program, arguments)
    }

    fn at_client(&self, arguments: &str) -> Line {
        Line::inside(&self.wire.client(), &self.program, arguments)
    }

    /// Measures a contender. `tell` hears of each step.
    ///
    /// # Errors
    ///
    /// If a child cannot be started, does not end, or says what is no result; if the flood cannot be sent.
    pub fn contender(
        &self,
        definition: Definition,
        tell: &mut (dyn FnMut(&str) + Send),
    ) -> Result<DefenderReport, BenchError> {
        self.wire.set_at_server(definition.settings)?;
        let control = std::env::temp_dir().join(format!("handfast-flood-{}.sock", std::process::id()));
        let steps = self.steps.len() as u64 * (self.duration.0 + TIMEOUT.0).div_ceil(1_000);
        let seconds = steps + self.recovery.as_secs() + SERVER_SECONDS;
        let core = self.machine.server_core;
        let line = self.at_server(&definition.server(core, self.modes.server, &control.to_string_lossy(), seconds));
        let mut server = Running::start(&line)?;
        server.wait_until_ready(self.stop)?;
        let settings = definition.settings.iter();
        let report = DefenderReport {
            name: definition.name.to_owned(),
            about: definition.about.to_owned(),
            settings: settings.map(|(name, value)| format!("net.{}={value}", name.replace('/', "."))).collect(),
            server_command: line.to_string(),
            ..DefenderReport::default()
        };
        // Programs and sockets belong to the network namespace of the thread that makes them.
        inside(&self.wire.client(), || {
            let flooder = self.flooder(true)?;
            let turn = Turn { bench: self, definition, server, control, flooder, runs: 0 };
            turn.all(report, tell)
        })
        .map_err(LabError::from)?
    }

    /// SYNs answered by a program that knows nothing, without honest connections.
    ///
    /// # Errors
    ///
    /// See [`Bench::contender`].
    pub fn reflector(&self) -> Result<Peak, BenchError> {
        let time = LONGEST_REFLECTION.min(Duration::from_millis(self.duration.0));
        let seconds = time.as_secs() + SERVER_SECONDS;
        let mode = self.modes.server;
        let arguments =
            format!("lab packets answer -i hf-server --port {PORT} --xdp-mode {mode} --duration {seconds}s --json");
        let mut server = Running::start(&self.at_server(&arguments))?;
        server.wait_until_ready(self.stop)?;
        let tally = inside(&self.wire.client(), || -> Result<(Tally, f64), BenchError> {
            let flooder = self.flooder(false)?;
            let core = u16::try_from(self.machine.generator_core).ok();
            let sent = flooder.send(None, time, core, self.stop)?;
            Ok((flooder.tally()?, sent.elapsed.as_secs_f64()))
        });
        let (tally, seconds) = tally.map_err(LabError::from)??;
        server.end()?;
        Ok(Peak {
            name: REFLECTOR.to_owned(),
            sent_per_second: float(tally.sent) / seconds,
            answered_per_second: float(tally.get(Count::Answered)) / seconds,
            ..Peak::default()
        })
    }

    /// The flood's program, attached to the client's interface, and to the relay if there is one. Inside the client's namespace.
    fn flooder(&self, with_relay: bool) -> Result<Flooder, BenchError> {
        let index = |name: &str| -> Result<u32, FloodError> {
            let failed = |cause: String| FloodError::Interface { interface: name.to_owned(), cause };
            let link = Link::query(name).map_err(|cause| failed(format!("cannot be asked about: {cause}")))?;
            Ok(link.ok_or_else(|| failed("does not exist in the lab's client".to_owned()))?.index)
        };
        let mac = |text: &str| parse_mac(text).expect("a lab's MAC address");
        let plan = FloodPlan {
            ifindex: index(CLIENT.interface)?,
            relay: with_relay.then(|| index(RELAY)).transpose()?,
            src_mac: mac(CLIENT.mac),
            dst_mac: mac(SERVER.mac),
            vlan: None,
            target: format!("{SERVER_ADDRESS}:{PORT}").parse().expect("an address and a port"),
            kind: Kind::Syn,
            sources: FLOOD_POOLS[0].parse().expect("a prefix"),
            ports: 1_024..=65_535,
            options: true,
        };
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).map_err(FloodError::Random)?;
        let mut flooder = Flooder::load(&plan, u64::from_ne_bytes(bytes))?;
        flooder.attach(AttachMode::Native)?;
        Ok(flooder)
    }

    /// Waits, unless it is asked to end.
    fn pause(&self, time: Duration) -> Result<(), BenchError> {
        let start = Instant::now();
        while start.elapsed() < time {
            if self.stop.load(Ordering::Relaxed) {
                return Err(ProcessError::Interrupted.into());
            }
            thread::sleep(ROUND.min(time.saturating_sub(start.elapsed())));
        }
        Ok(())
    }

    /// The flood of a step as a person would type it.
    fn flood_line(&self, step: Step) -> String {
        let rate = step.rate().map_or_else(String::new, |rate| format!(" --rate {rate}"));
        let (core, duration) = (self.machine.generator_core, self.duration);
        let arguments = format!(
            "flood -i hf-client --target {SERVER_ADDRESS}:{PORT} --options --core {core} --duration {duration}{rate}"
        );
        self.at_client(&arguments).to_string()
    }
}

/// Where everything stood at one moment.
struct Moment {
    at: Instant,
    tally: Tally,
    server_core: CpuTime,
    generator_core: CpuTime,
}

impl Turn<'_> {
    fn all(
        mut self,
        mut report: DefenderReport,
        tell: &mut (dyn FnMut(&str) + Send),
    ) -> Result<DefenderReport, BenchError> {
        let before = half_open::rss_kib(self.server.pid()).map_err(BenchError::Cpu)?;
        for step in self.bench.steps {
            let (of_step, line) = self.step(*step)?;
            tell(&progress(&report.name, &of_step));
            report.steps.push(of_step);
            report.honest_command = line.to_string();
            report.flood_command = self.bench.flood_line(*step);
        }
        let ended = Instant::now();
        let half_open_at_end = self.half_open();
        let after = half_open::rss_kib(self.server.pid()).map_err(BenchError::Cpu)?;
        let ordinary_after_s = self.wait_for_ordinary(ended, &report.steps)?;
        self.bench.pause(TIMED_OUT.saturating_sub(ended.elapsed()))?;
        report.after = After {
            ordinary_after_s,
            half_open_at_end,
            half_open_later: self.half_open(),
            half_open_later_s: ended.elapsed().as_secs_f64(),
            rss_kib: [before, after],
        };
        self.server.end()?;
        Ok(report)
    }

    fn half_open(&self) -> Option<u64> {
        half_open::count(self.definition.keeper, &self.bench.wire.server(), &self.control)
    }

    /// One step: the flood runs from before the first honest connection until the last one has ended.
    fn step(&mut self, step: Step) -> Result<(StepReport, Line), BenchError> {
        let before = self.flooder.tally()?;
        let (over, bench) = (AtomicBool::new(false), self.bench);
        let core = u16::try_from(bench.machine.generator_core).ok();
        self.runs += 1;
        let (flooder, runs) = (&self.flooder, self.runs);
        let (moments, said, line) = thread::scope(|scope| {
            let over = &over;
            let flood = (!step.is_quiet()).then(|| {
                scope.spawn(move || {
                    // Without the right to be nicer there is no lab either.
                    let _ = rustix::process::nice(NICE);
                    flooder.send(step.rate(), LONGEST_STEP, core, over)
                })
            });
            let measured = honest_run(bench, flooder, runs);
            over.store(true, Ordering::Relaxed);
            if let Some(flood) = flood {
                flood.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            }
            measured
        })?;
        let all = self.flooder.tally()?.since(&before);
        let [from, to] = moments;
        let seconds = to.at.duration_since(from.at).as_secs_f64();
        let tally = to.tally.since(&from.tally);
        let percent = |time: CpuTime| time.busy() / seconds * 100.0;
        let report = StepReport {
            flood: step.to_string(),
            flood_sent: all.sent,
            flood_answered: all.get(Count::Answered),
            flood_per_second: float(tally.sent) / seconds,
            answered_per_second: float(tally.get(Count::Answered)) / seconds,
            honest: honest::honest(&said),
            answered_spread: [0.0; 2],
            completed_percent_spread: [0.0; 2],
            server_core_percent: percent(to.server_core.since(&from.server_core)),
            generator_core_percent: percent(to.generator_core.since(&from.generator_core)),
        };
        Ok((report, line))
    }

    /// Looks second by second until service is ordinary; when that second began, from the end of the flood.
    fn wait_for_ordinary(&mut self, ended: Instant, steps: &[StepReport]) -> Result<Option<f64>, BenchError> {
        let without = steps.iter().find(|step| step.flood == Step::Rate(0).to_string());
        let usual = without.map_or(f64::INFINITY, |step| step.honest.handshake_us[1]);
        while ended.elapsed() < self.bench.recovery {
            self.runs += 1;
            let began = ended.elapsed();
            let (said, _) = blast(self.bench, LOOK, self.runs, || Ok(()))?;
            if is_ordinary(&honest::honest(&said), usual) {
                return Ok(Some(began.as_secs_f64()));
            }
        }
        Ok(None)
    }
}

/// True if nothing failed and handshakes were about as fast as without a flood.
fn is_ordinary(honest: &Honest, usual_us: f64) -> bool {
    let most = (usual_us * ORDINARY_TIMES).max(usual_us + ORDINARY_MORE_US);
    honest.failed == 0 && honest.started > 0 && honest.handshake_us[1] <= most
}

/// Honest connections for a step, and where everything stood at the start and the end of their sending.
fn honest_run(
    bench: &Bench<'_>,
    flooder: &Flooder,
    number: u32,
) -> Result<([Moment; 2], BlastReport, Line), BenchError> {
    let moment = || -> Result<Moment, BenchError> {
        Ok(Moment {
            at: Instant::now(),
            tally: flooder.tally()?,
            server_core: of_core(bench.machine.server_core).map_err(BenchError::Cpu)?,
            generator_core: of_core(bench.machine.generator_core).map_err(BenchError::Cpu)?,
        })
    };
    let mut moments = None;
    let (said, line) = blast(bench, bench.duration, number, || {
        bench.pause(STARTS_WITHIN)?;
        let from = moment()?;
        bench.pause(Duration::from_millis(bench.duration.0))?;
        moments = Some([from, moment()?]);
        Ok(())
    })?;
    Ok((moments.expect("it was made meanwhile"), said, line))
}

/// Runs `blast`, does something `meanwhile`, and returns its result.
fn blast(
    bench: &Bench<'_>,
    duration: Millis,
    number: u32,
    meanwhile: impl FnOnce() -> Result<(), BenchError>,
) -> Result<(BlastReport, Line), BenchError> {
    let line = bench.at_client(&honest::arguments(bench.machine.generator_core, bench.rate, duration, number));
    let mut running = Running::start(&line)?;
    meanwhile()?;
    let patience = Duration::from_millis(duration.0 + TIMEOUT.0) + PATIENCE;
    let (_, said) = running.wait(patience, bench.stop)?;
    // A generator whose connections failed has a result all the same; one that failed itself has none.
    let report = serde_json::from_str(&said).map_err(|_| BenchError::from(running.failed("gave no result")))?;
    Ok((report, line))
}

/// A line of progress.
fn progress(name: &str, step: &StepReport) -> String {
    let Honest { completed_percent, handshake_us: [p50, p99], .. } = step.honest;
    format!(
        "{name:<16} flood {:>5}: {:>9.0}/s, {:>9.0}/s answered; honest {completed_percent:6.2} % completed, handshake {p50:.0} us, {p99:.0} us",
        step.flood, step.flood_per_second, step.answered_per_second
    )
}

/// What the peaks are called by: the contender's own name, with what its last step `max` came to.
pub(super) fn peak(report: &DefenderReport) -> Option<Peak> {
    let step = report.steps.iter().rfind(|step| step.flood == Step::Max.to_string())?;
    Some(Peak {
        name: report.name.clone(),
        sent_per_second: step.flood_per_second,
        answered_per_second: step.answered_per_second,
        ..Peak::default()
    })
}
