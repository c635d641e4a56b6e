//! A run with the stateless engine ([`super::xdp`]): from a checked setup to the result that a run over AF_XDP has, too.
//!
//! What is not here: how connections are generated, and any of the modes that need state, which the options were checked for.

use super::args::BlastArgs;
use super::command::plan_report;
use super::plan::{CloseBy, Plan};
use super::report::{BlastReport, Connections, GeneratorReport, Latencies, Packets, Sample, float};
use super::setup::Setup;
use super::tally::{Phase, Reason, Tally};
use super::xdp::{Generator, XdpClose, XdpCore, XdpError, XdpPlan, XdpTally};
use crate::control::supervisor::attach_mode;
use crate::control::values::XdpMode;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// Connections later than a millisecond, as a share of all, from which on the generator is what held the run back.
const LATE: f64 = 0.01;

/// Runs `plan` with the stateless engine. Ends early when `stop` is set. `tell` hears every second where it stands.
///
/// # Errors
///
/// [`XdpError`]; what was started by then is taken back.
pub(super) fn once(
    args: &BlastArgs,
    setup: &Setup,
    plan: &Plan,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(&str),
) -> Result<BlastReport, XdpError> {
    let mut generator = Generator::load(&xdp_plan(setup, plan))?;
    let attached = generator.attach()?;
    let mode = attached.map_or_else(String::new, |attached| format!("{}, live frames", attached.mode));
    let mut series = Vec::new();
    let mut last = (0, 0);
    let tally = generator.run(stop, &mut |tally, elapsed| {
        if elapsed.as_secs() > series.len() as u64 {
            series.push(sample(tally, elapsed));
            tell(&format!(
                "{:5.1} s  {:>8}/s started  {:>8}/s completed  {:>8} in flight  {:>6} lost",
                elapsed.as_secs_f64(),
                tally.attempted - last.0,
                tally.completed - last.1,
                tally.in_flight(),
                tally.lost
            ));
            last = (tally.attempted, tally.completed);
        }
    })?;
    series.push(sample(&tally, tally.elapsed));
    Ok(report(args, plan, &tally, mode, series))
}

/// The plan in the engine's terms.
fn xdp_plan(setup: &Setup, plan: &Plan) -> XdpPlan {
    let Setup { config, preflight, peer_mac, .. } = setup;
    let core = preflight.cores.first().and_then(|core| u16::try_from(*core).ok());
    XdpPlan {
        ifindex: preflight.link.index,
        src_mac: preflight.mac,
        dst_mac: *peer_mac,
        target: plan.target,
        first_source: plan.sources.first,
        sources: plan.sources.len(),
        ports: plan.ports.clone(),
        close: match plan.close {
            CloseBy::Client => XdpClose::Client,
            CloseBy::Server => XdpClose::Server,
            CloseBy::Reset => XdpClose::Reset,
        },
        rate: plan.rate.unwrap_or(1),
        connections: plan.connections,
        duration: Duration::from_nanos(plan.duration_ns),
        grace: Duration::from_nanos(plan.timeout_ns).min(GRACE),
        mode: attach_mode(config.xdp_mode),
        core: match core {
            None => XdpCore::Any,
            // In generic mode the kernel takes no frame through a second program that was handed over before.
            Some(core) if config.xdp_mode == XdpMode::Generic => XdpCore::Sends(core),
            Some(core) => XdpCore::SendsAndAnswers(core),
        },
    }
}

/// Nothing is repeated, so what has no answer after this long has none.
const GRACE: Duration = Duration::from_secs(1);

fn sample(tally: &XdpTally, elapsed: Duration) -> Sample {
    Sample {
        t_s: elapsed.as_secs_f64(),
        attempted: tally.attempted,
        established: tally.established,
        completed: tally.completed,
        failed: tally.refused + tally.reset + tally.lost,
        open: 0,
    }
}

fn report(args: &BlastArgs, plan: &Plan, counted: &XdpTally, mode: String, series: Vec<Sample>) -> BlastReport {
    let tally = tally(counted);
    let duration = counted.elapsed.as_secs_f64();
    let per_second = |count: u64| if duration > 0.0 { float(count) / duration } else { 0.0 };
    let limits = [
        ("unexpected_frames", counted.wrong),
        ("target_retransmissions", counted.repeated),
        ("tx_errors", counted.tx_errors),
        ("never_sent", counted.unsent),
    ];
    let behind = counted.unsent > 0 || float(counted.late) > float(counted.attempted) * LATE;
    BlastReport {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        target: plan.target,
        interface: args.interface.clone(),
        engine: "xdp".to_owned(),
        plan: plan_report(plan),
        connections: Connections::of(&tally),
        connections_per_second: per_second(counted.completed),
        packets_per_second: Packets { rx: per_second(counted.rx_frames), tx: per_second(counted.tx_frames) },
        latency_us: Latencies::of(&tally),
        duration_s: duration,
        generator: GeneratorReport {
            workers: 1,
            mode,
            late: counted.late,
            limits: limits.into_iter().filter(|(_, n)| *n > 0).map(|(name, n)| (name.to_owned(), n)).collect(),
            bottleneck: behind.then(|| {
                format!(
                    "the generator: {} starts came more than 1 ms late, and {} never; its core sends no more",
                    counted.late, counted.unsent
                )
            }),
            ..GeneratorReport::default()
        },
        series,
        search: None,
    }
}

/// The counts in the terms that both engines have.
fn tally(counted: &XdpTally) -> Tally {
    let mut tally = Tally {
        attempted: counted.attempted,
        established: counted.established,
        completed: counted.completed,
        late: counted.late,
        ..Tally::default()
    };
    for (reason, count) in
        [(Reason::Refused, counted.refused), (Reason::Reset, counted.reset), (Reason::Lost, counted.lost)]
    {
        tally.failed[reason.index()] = count;
    }
    for (phase, histogram) in [(Phase::Handshake, &counted.handshake), (Phase::Total, &counted.total)] {
        tally.latency[phase.index()].add(histogram).expect("the engine's latencies are shorter than an hour");
    }
    tally
}
