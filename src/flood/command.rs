//! What `handfast flood` does from its options to its exit status.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};

use super::afxdp;
use super::args::{Checked, EngineChoice, FloodArgs};
use super::contract::Count;
use super::error::FloodError;
use super::flooder::{Flooder, Tally};
use super::plan::FloodPlan;
use super::report::{FloodReport, Replies, Second};
use crate::bench::lab::Lab;
use crate::blast::next_hop;
use crate::blast::report::float;
use crate::blast::xdp::{Sent, tx_errors};
use crate::control::config::Config;
use crate::control::link::Link;
use crate::control::machine::Facts;
use crate::control::preflight;
use crate::control::problem::{Problem, Problems};
use crate::control::supervisor::{attach_mode, xsk_config};
use crate::observe::json;
use crate::port::xsk::{XskConfig, XskPort};
use crate::wire::ether::Mac;

/// Least share of a rate that counts as having held it.
const HELD: f64 = 0.99;
/// How often the sending thread is looked at.
const LOOK: Duration = Duration::from_millis(5);
/// How long answers are waited for in the end: until none comes for one of these, and no longer than ten.
const QUIET: Duration = Duration::from_millis(50);
const QUIETS: u32 = 10;

/// Does what `handfast flood` was asked for.
///
/// # Errors
///
/// [`FloodError`].
pub fn flood(args: &FloodArgs) -> Result<(), FloodError> {
    let checked = args.check().map_err(FloodError::Options)?;
    if !checked.really {
        Lab::of_interface(&args.interface).map_err(|cause| FloodError::Options(refusal(args, &cause)))?;
    }
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).map_err(FloodError::Signals)?;
    }
    let report = run(args, &checked, &stop, &mut |line| eprintln!("{line}"))?;
    let text = if args.json { json::line(&report) + "\n" } else { report.to_string() };
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    // Who ends it early has seen the rate.
    let seconds = Duration::from_millis(checked.duration.0).as_secs_f64();
    let is_short = |rate: &u64| float(report.frames_sent) < float(*rate) * seconds * HELD;
    match checked.rate.filter(|rate| is_short(rate) && !stop.load(Ordering::Relaxed)) {
        Some(asked) => {
            let engine = if report.engine == "xdp" { "xdp" } else { "afxdp" };
            Err(FloodError::RateNotHeld { asked, reached: report.frames_per_second, engine })
        }
        None => Ok(()),
    }
}

/// Why a target is not flooded.
fn refusal(args: &FloodArgs, cause: &str) -> Problems {
    let target = &args.target;
    let remedy = format!(
        "a flood of forged addresses reaches whoever is behind an interface, so it leaves through a lab's only: make one with \
         `handfast lab up` and run this with `ip netns exec handfast-client`; if {target} is yours to flood, name it twice: \
         --target {target} --really-target {target} --source CIDR"
    );
    let problem = Problem::new(format!("interface {}", args.interface), cause).remedy(remedy);
    Problems { subject: "the flood is refused".to_owned(), list: vec![problem] }
}

/// Who sends, ready to.
enum Engine {
    Xdp,
    Afxdp(Box<XskPort>),
}

impl Engine {
    fn name(&self) -> &'static str {
        match self {
            Engine::Xdp => EngineChoice::Xdp.name(),
            Engine::Afxdp(_) => EngineChoice::Afxdp.name(),
        }
    }
}

/// Floods. `tell` hears every second where it stands.
///
/// # Errors
///
/// [`FloodError`]; what was started by then is taken back.
pub fn run(
    args: &FloodArgs,
    checked: &Checked,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(&str),
) -> Result<FloodReport, FloodError> {
    let plan = plan(args, checked)?;
    let core = args.core.or_else(|| last_core(&args.interface));
    let mut flooder = Flooder::load(&plan, key()?)?;
    let mut engine = match args.engine {
        EngineChoice::Xdp => Engine::Xdp,
        EngineChoice::Auto if flooder.has_live_frames()? => Engine::Xdp,
        EngineChoice::Auto | EngineChoice::Afxdp => Engine::Afxdp(Box::new(port(args)?)),
    };
    let attached = flooder.attach(attach_mode(args.xdp_mode))?;
    let errors_before = tx_errors(plan.ifindex);
    let name = engine.name();
    let duration = Duration::from_millis(checked.duration.0);
    let mut series = Vec::new();
    let sent = thread::scope(|scope| {
        let (flooder, rate, engine) = (&flooder, checked.rate, &mut engine);
        let builder = thread::Builder::new().name("flood".to_owned());
        let work = move || match engine {
            Engine::Xdp => flooder.send(rate, duration, core, stop),
            Engine::Afxdp(port) => afxdp::send(flooder, port.as_mut(), rate, duration, core, stop),
        };
        let thread = builder.spawn_scoped(scope, work).map_err(FloodError::Spawn)?;
        // Without a look at the counters there is no result to wait for.
        watch(flooder, || thread.is_finished(), &mut series, tell)
            .inspect_err(|_| stop.store(true, Ordering::Relaxed))?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    let tally = quiet(&flooder)?;
    let tx_errors = tx_errors(plan.ifindex).saturating_sub(errors_before);
    let report = blank(args, checked, &flooder, name, attached.mode.to_string());
    let Sent { late, elapsed, .. } = sent;
    let late = if checked.rate.is_some() { late } else { 0 };
    Ok(FloodReport { late, tx_errors, series, ..report.with(&tally, elapsed.as_secs_f64()) })
}

/// What is asked for with what the machine adds.
fn plan(args: &FloodArgs, checked: &Checked) -> Result<FloodPlan, FloodError> {
    let failed = |cause: String| FloodError::Interface { interface: args.interface.clone(), cause };
    let link = Link::query(&args.interface).map_err(|cause| failed(format!("cannot be asked about: {cause}")))?;
    let link = link.ok_or_else(|| failed("does not exist in this network namespace; see: ip link".to_owned()))?;
    let mac = link.mac.ok_or_else(|| failed("is no Ethernet; frames can not be made for it".to_owned()))?;
    Ok(FloodPlan {
        ifindex: link.index,
        relay: None,
        src_mac: mac,
        dst_mac: next_hop(args, checked)?,
        vlan: checked.vlan,
        target: checked.target,
        kind: checked.kind,
        sources: checked.sources,
        ports: checked.ports.clone(),
        options: args.options,
    })
}

/// Where frames go.
fn next_hop(args: &FloodArgs, checked: &Checked) -> Result<Mac, FloodError> {
    if let Some(mac) = checked.dst_mac {
        return Ok(mac);
    }
    let target = checked.target.ip();
    let route = next_hop::route(target, &args.interface)?;
    Ok(next_hop::resolve(target, &route, &args.interface)?)
}

/// The core that a generator takes if nobody says otherwise, so that a server on this machine keeps the first.
fn last_core(interface: &str) -> Option<u16> {
    let cores = Facts::gather(interface).last_cores(1);
    cores.first().and_then(|core| u16::try_from(*core).ok())
}

/// A key that makes this flood another than any before it.
fn key() -> Result<u64, FloodError> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(FloodError::Random)?;
    Ok(u64::from_ne_bytes(bytes))
}

/// An AF_XDP port that only sends.
fn port(args: &FloodArgs) -> Result<XskPort, FloodError> {
    let config = Config { interface: args.interface.clone(), flows: 1, queues: Some(vec![0]), ..Config::default() };
    let preflight = preflight::check(&config).map_err(|problems| {
        let subject = format!("interface {} cannot be used", args.interface);
        FloodError::Machine(Problems { subject, ..problems })
    })?;
    Ok(XskPort::open(&XskConfig { fill_ring: 64, ..xsk_config(&config, &preflight, 0)? })?)
}

/// Tells every second where it stands, until it is over.
fn watch(
    flooder: &Flooder,
    is_over: impl Fn() -> bool,
    series: &mut Vec<Second>,
    tell: &mut dyn FnMut(&str),
) -> Result<(), FloodError> {
    let start = Instant::now();
    let mut last = Second { t_s: 0.0, sent: 0, answered: 0 };
    while !is_over() {
        thread::sleep(LOOK);
        if start.elapsed().as_secs() <= series.len() as u64 {
            continue;
        }
        let tally = flooder.tally()?;
        let (t_s, sent, answered) = (start.elapsed().as_secs_f64(), tally.sent, tally.get(Count::Answered));
        tell(&format!(
            "{t_s:5.1} s  {:>9}/s sent  {:>9}/s answered  {:>10} lost",
            sent - last.sent,
            answered - last.answered,
            sent.saturating_sub(answered)
        ));
        last = Second { t_s, sent, answered };
        series.push(last);
    }
    Ok(())
}

/// What was counted when answers have stopped coming.
fn quiet(flooder: &Flooder) -> Result<Tally, FloodError> {
    let mut tally = flooder.tally()?;
    for _ in 0..QUIETS {
        thread::sleep(QUIET);
        let later = flooder.tally()?;
        if later == tally {
            break;
        }
        tally = later;
    }
    Ok(tally)
}

/// The result without its counts.
fn blank(args: &FloodArgs, checked: &Checked, flooder: &Flooder, engine: &str, xdp_mode: String) -> FloodReport {
    FloodReport {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        interface: args.interface.clone(),
        target: checked.target,
        kind: checked.kind.to_string(),
        engine: engine.to_owned(),
        xdp_mode,
        source: checked.sources.to_string(),
        ports: [*checked.ports.start(), *checked.ports.end()],
        vlan: checked.vlan,
        options: args.options,
        rate: checked.rate,
        frame_bytes: flooder.config().frame_bytes,
        duration_s: 0.0,
        frames_sent: 0,
        frames_per_second: 0.0,
        replies: Replies::default(),
        answered: 0,
        answered_per_second: 0.0,
        repeated: 0,
        lost: 0,
        late: 0,
        tx_errors: 0,
        series: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flood::args::tests::parse;

    #[test]
    fn a_refusal_says_why_and_what_to_do() {
        let text = refusal(&parse("--target 10.0.0.1:80"), "is in no network namespace of a lab").to_string();
        for part in ["interface hf-client: is in no network", "handfast lab up", "--really-target 10.0.0.1:80"] {
            assert!(text.contains(part), "{text}");
        }
    }
}
