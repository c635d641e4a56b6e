//! What `handfast blast` does from its options to its exit status: one run or a search, the result in the forms asked for, and
//! whether it was a success.

use super::args::{BlastArgs, EngineChoice};
use super::html;
use super::plan::{CloseBy, Hold, Plan};
use super::report::{
    BlastReport, Connections, GeneratorReport, Latencies, Packets, PlanReport, SearchReport, float, micros,
};
use super::run::{Outcome, RunError, run};
use super::search;
use super::setup::{Setup, SetupError};
use super::stateless;
use super::xdp::XdpError;
use crate::control::problem::Problems;
use crate::observe::json;
use signal_hook::consts::{SIGINT, SIGTERM};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// Least share of a rate that counts as having held it.
const HELD: f64 = 0.99;
/// A worker that had something to do for this share of its time is what holds a run back that has no schedule.
const BUSY: f64 = 0.95;

/// Why `handfast blast` failed. The result was written all the same where there is one.
#[derive(Debug, thiserror::Error)]
pub enum BlastError {
    /// It could not start.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// It failed on the way.
    #[error(transparent)]
    Run(#[from] RunError),
    /// It failed on the way, in the stateless engine.
    #[error(transparent)]
    Stateless(#[from] XdpError),
    /// SIGINT and SIGTERM cannot be waited for.
    #[error("waiting for SIGINT and SIGTERM: {0}")]
    Signals(io::Error),
    /// A result could not be written.
    #[error("writing the result to {}: {cause}", path.display())]
    Write {
        /// Where to.
        path: PathBuf,
        /// Why not.
        cause: io::Error,
    },
    /// Standard output took no result.
    #[error("standard output: cannot be written: {0}")]
    Output(#[from] io::Error),
    /// Connections failed.
    #[error("{failed} of {attempted} connections to {target} failed ({reasons}); the result says more")]
    Failed {
        /// How many.
        failed: u64,
        /// Of how many.
        attempted: u64,
        /// Where to.
        target: std::net::SocketAddr,
        /// The reasons, most frequent first.
        reasons: String,
    },
    /// The rate was not reached.
    #[error("{reached:.0} of {asked} connections a second were started: {cause}")]
    RateNotHeld {
        /// The rate asked for.
        asked: u64,
        /// The rate reached.
        reached: f64,
        /// What held it back.
        cause: String,
    },
    /// No rate was without loss.
    #[error("no rate was found at which {0} loses nothing; the result has the rates that were tried")]
    NothingFound(std::net::SocketAddr),
}

impl BlastError {
    /// The exit status: 2 for wrong usage, 1 for all else.
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Setup(SetupError::Options(Problems { .. })) => 2,
            _ => 1,
        }
    }
}

/// Does what `handfast blast` was asked for.
///
/// # Errors
///
/// [`BlastError`].
pub fn blast(args: &BlastArgs) -> Result<(), BlastError> {
    let setup = Setup::of(args)?;
    for note in &setup.notes {
        tracing::warn!("{note}");
    }
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).map_err(BlastError::Signals)?;
    }
    let tell = &mut |line: &str| eprintln!("{line}");
    let report = if args.search {
        search::search(args, &setup, &stop, tell)?
    } else {
        once(args, &setup, &setup.plan, &stop, tell)?
    };
    write(args, &report)?;
    judge(&report)
}

/// One run of `plan` with the engine asked for, reported.
///
/// # Errors
///
/// [`RunError`] or [`XdpError`].
pub(super) fn once(
    args: &BlastArgs,
    setup: &Setup,
    plan: &Plan,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(&str),
) -> Result<BlastReport, BlastError> {
    if args.engine == EngineChoice::Xdp {
        return Ok(stateless::once(args, setup, plan, stop, tell)?);
    }
    let outcome = run(setup, plan, stop, tell)?;
    Ok(report(args, plan, &outcome))
}

/// The result of a run over AF_XDP.
fn report(args: &BlastArgs, plan: &Plan, outcome: &Outcome) -> BlastReport {
    let Outcome { tally, report, .. } = outcome;
    let duration = Duration::from_nanos(tally.sending_ns).as_secs_f64();
    let per_second = |count: u64| if duration > 0.0 { float(count) / duration } else { 0.0 };
    BlastReport {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        target: plan.target,
        interface: args.interface.clone(),
        engine: "afxdp".to_owned(),
        plan: plan_report(plan),
        connections: Connections::of(tally),
        connections_per_second: per_second(tally.completed),
        packets_per_second: Packets { rx: per_second(report.port.rx_frames), tx: per_second(report.port.tx_frames) },
        latency_us: Latencies::of(tally),
        duration_s: duration,
        generator: generator(plan, outcome),
        series: outcome.series.clone(),
        search: None::<SearchReport>,
    }
}

/// What was asked for, as the report has it.
pub(super) fn plan_report(plan: &Plan) -> PlanReport {
    let seconds = |ns: u64| Duration::from_nanos(ns).as_secs_f64();
    PlanReport {
        rate: plan.rate,
        concurrency: plan.concurrency.map(u64::from),
        connections: plan.connections,
        duration_s: seconds(plan.duration_ns),
        ramp_s: seconds(plan.ramp_ns),
        hold_s: match plan.hold {
            Hold::Nanos(ns) => Some(seconds(ns)),
            Hold::UntilEnd | Hold::WhileWithin => None,
        },
        close: plan.close.to_string(),
        request_bytes: plan.request.len() as u64,
        source: plan.sources.to_string(),
        ports: [*plan.ports.start(), *plan.ports.end()],
    }
}

/// How the generator did.
fn generator(plan: &Plan, outcome: &Outcome) -> GeneratorReport {
    let Outcome { tally, report, .. } = outcome;
    let limits = [
        ("no_frame", tally.no_frame),
        ("no_flow", tally.no_flow),
        ("no_tuple", tally.no_tuple),
        ("tx_ring_full", report.port.tx_ring_full),
        ("tx_kicks_failed", report.port.tx_kicks_failed),
        ("rx_dropped", report.kernel.rx_dropped),
        ("rx_ring_full", report.kernel.rx_ring_full),
        ("fill_starved", report.port.fill_starved),
        ("reply_on_queue_without_worker", outcome.on_wrong_queue),
        ("syn_retransmissions", report.counters.syn_retransmissions),
        ("fin_retransmissions", report.counters.fin_retransmissions),
        ("data_retransmissions", report.counters.data_retransmissions),
    ];
    GeneratorReport {
        workers: outcome.workers as u64,
        mode: outcome.mode.clone(),
        busy_percent: outcome.busy * 100.0,
        late: tally.late,
        most_late_us: micros(tally.most_late_ns),
        most_in_progress: tally.most_in_progress,
        limits: limits.into_iter().filter(|(_, n)| *n > 0).map(|(name, n)| (name.to_owned(), n)).collect(),
        bottleneck: bottleneck(plan, outcome),
    }
}

/// What held the run back, if it was not the target.
fn bottleneck(plan: &Plan, outcome: &Outcome) -> Option<String> {
    let Outcome { tally, workers, .. } = outcome;
    if outcome.hopeless {
        return Some("given up early: every connection so far had failed".to_owned());
    }
    let busy = outcome.busy * 100.0;
    let Some(share) = plan.rate.map(|_| plan.share(0, *workers)) else {
        let held = plan.hold != Hold::Nanos(0) || plan.close == CloseBy::Server;
        return (outcome.busy >= BUSY && !held).then(|| {
            format!("the generator: its busiest core had work for {busy:.0} % of the time; more --queues, each with a core, do more")
        });
    };
    let within = share.pace.map_or(0, |pace| pace.within(tally.sending_ns.min(plan.duration_ns)));
    let wanted = plan.connections.unwrap_or(u64::MAX).min(within.saturating_mul(*workers as u64));
    if float(tally.attempted) >= float(wanted) * HELD && float(tally.late) <= float(tally.attempted) * (1.0 - HELD) {
        return None;
    }
    let limit = match (tally.no_flow, tally.no_tuple, tally.no_frame) {
        (0, 0, 0) if plan.concurrency.is_some() && plan.hold != Hold::WhileWithin => {
            "so many were in progress as --concurrency allows: the target is slower than the rate".to_owned()
        }
        (0, 0, 0) => format!("its core was busy for {busy:.0} % of the time"),
        (0, 0, _) => format!("no frame was free for a SYN (core busy for {busy:.0} %): the link takes no more"),
        (0, _, _) => "no four-tuple was free: give more with --source or --ports".to_owned(),
        (_, _, _) => "no flow was free: give more with --flows, or the target leaves connections unanswered".to_owned(),
    };
    Some(format!(
        "the generator: {} starts came more than 1 ms late, at most {:.1} ms; {limit}",
        tally.late,
        micros(tally.most_late_ns) / 1e3
    ))
}

/// Writes the result where it was asked for.
fn write(args: &BlastArgs, report: &BlastReport) -> Result<(), BlastError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |cause| BlastError::Write { path, cause }
    };
    let to_stdout = args.json.as_deref() == Some(Path::new("-"));
    let text = if to_stdout { json::line(report) + "\n" } else { report.to_string() };
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    // The files last: where one of them cannot be written, the result is to be seen all the same.
    if let Some(path) = args.json.as_deref().filter(|_| !to_stdout) {
        std::fs::write(path, json::line(report) + "\n").map_err(failed(path))?;
    }
    if let Some(path) = &args.html {
        std::fs::write(path, html::page(report)).map_err(failed(path))?;
    }
    Ok(())
}

/// Whether the run was a success.
fn judge(report: &BlastReport) -> Result<(), BlastError> {
    if let Some(search) = &report.search {
        return if search.rate > 0.0 { Ok(()) } else { Err(BlastError::NothingFound(report.target)) };
    }
    let failed = report.connections.failed_total();
    if failed > 0 {
        let mut reasons: Vec<_> = report.connections.failed.iter().collect();
        reasons.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let reasons = reasons.iter().map(|(reason, count)| format!("{reason} {count}")).collect::<Vec<_>>().join(", ");
        let Connections { attempted, .. } = report.connections;
        return Err(BlastError::Failed { failed, attempted, target: report.target, reasons });
    }
    let reached = float(report.connections.attempted) / report.duration_s;
    match (report.plan.rate, &report.generator.bottleneck) {
        // What came late and still came is said in the result; here it counts whether the rate was reached. A ramp is below it.
        (Some(asked), Some(cause)) if reached < float(asked) * HELD && report.plan.ramp_s == 0.0 => {
            Err(BlastError::RateNotHeld { asked, reached, cause: cause.clone() })
        }
        _ => Ok(()),
    }
}
