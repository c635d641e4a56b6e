//! `handfast bench flood`: how honest connections fare while forged SYNs arrive, contender by contender and step by step.
//!
//! | | |
//! |---|---|
//! | [`contender`], [`step`] | who is compared, as data, and how hard the flood is |
//! | `honest`, `half_open`, `measure` | the honest connections, what a server keeps, and one contender's turn |
//! | `runs` | several runs as one result |
//! | [`report`], `table`, [`page`] | what comes out |
//!
//! Contenders have their turns one after the other on the same wire, each with a server of its own. The lab, the children and
//! the processor times are those of [`super::compare`].
//!
//! What is not here: any way to serve, to flood or to make connections, and any judgement about what is good enough.

pub mod contender;
mod half_open;
mod honest;
mod measure;
pub mod page;
pub mod report;
mod runs;
pub mod step;
mod table;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;

use super::compare::BenchError;
use super::compare::machine::{self, Machine};
use super::compare::process::ProcessError;
use super::compare::wire::{self, Wire, WireReport, XdpModes};
use super::lab::LabError;
use super::stop::stop_on_signals;
use crate::control::values::{Count, Millis};
use crate::observe::json;
use contender::Defender;
use honest::TIMEOUT;
use measure::{Bench, peak};
use report::{DefenceReport, DefenderReport, Peak, peaks, remarks};
use step::Step;

/// Honest connections a second at most: the generator is to have time to spare beside a flood.
const MAX_HONEST_RATE: u64 = 100_000;

/// Who pays for what, which is part of every result.
const WHO_PAYS: &str = "On a veth pair the receiver's part is done on the sender's core: the server's XDP program, and the kernel's \
    TCP up to the listener, run on the flood's core for each SYN, and the count of answers runs on the server's core. So at \
    full flood `sent` falls with what the server's kernel or program does for a SYN, and rates are to be compared within this run only";
const HONEST_PATH: &str = "Honest connections come from the flood's core, too, before the flood (which is nice 19), over a veth \
    pair of their own that the flood's program joins to the wire";

/// `handfast bench flood`
#[derive(Clone, Debug, Args)]
pub struct DefenceArgs {
    /// How long honest connections are started at each step
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    pub duration: Millis,
    /// How often each contender has its turn; they take them in turn
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=99))]
    pub runs: u32,
    /// Honest connections a second
    #[arg(long, value_name = "N", default_value = "1k", value_parser = rate)]
    pub rate: Count,
    /// The flood of each step: frames a second, or max
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "0,10k,50k,100k,200k,400k,max")]
    pub steps: Vec<Step>,
    /// Only these
    #[arg(long, value_enum, value_delimiter = ',', default_values = Defender::NAMES)]
    pub contenders: Vec<Defender>,
    /// Wait so long at most for ordinary service to come back
    #[arg(long, value_name = "TIME", default_value = "30s")]
    pub recovery: Millis,
    /// Where the servers' XDP programs run: auto, native, generic
    #[arg(long, value_name = "MODE", default_value = "generic", help_heading = "Wire")]
    pub xdp_mode: crate::control::values::XdpMode,
    /// Name of the lab, which is made and removed
    #[arg(long, default_value = "handfast-flood", help_heading = "Wire")]
    pub name: String,
    /// Write the result as one JSON object; - for standard output, and nothing else there
    #[arg(long, value_name = "FILE|-", help_heading = "Output")]
    pub json: Option<PathBuf>,
    /// Write the result as a page to look at
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub html: Option<PathBuf>,
}

fn duration(text: &str) -> Result<Millis, String> {
    let duration: Millis = text.parse().map_err(|error| format!("{error}"))?;
    if (500..=600_000).contains(&duration.0) { Ok(duration) } else { Err("must be from 500ms to 10m".to_owned()) }
}

fn rate(text: &str) -> Result<Count, String> {
    let rate: Count = text.parse().map_err(|error| format!("{error}"))?;
    if (1..=MAX_HONEST_RATE).contains(&rate.0) { Ok(rate) } else { Err(format!("must be from 1 to {MAX_HONEST_RATE}")) }
}

/// Does what `handfast bench flood` was asked for. The lab is gone when it returns, whatever it returns.
///
/// # Errors
///
/// [`BenchError`].
pub fn bench(args: &DefenceArgs) -> Result<(), BenchError> {
    let stop = stop_on_signals()?;
    let report = defend(args, &stop, &mut |line| eprintln!("{line}"))?;
    let to_stdout = args.json.as_deref() == Some(Path::new("-"));
    let text = if to_stdout { json::line(&report) + "\n" } else { report.to_string() };
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    // The files last: where one of them cannot be written, the result is to be seen all the same.
    let write = |path: &Path, text: String| {
        std::fs::write(path, text).map_err(|cause| BenchError::Write { path: path.to_owned(), cause })
    };
    if let Some(path) = args.json.as_deref().filter(|_| !to_stdout) {
        write(path, json::line(&report) + "\n")?;
    }
    args.html.as_deref().map_or(Ok(()), |path| write(path, page::page(&report)))
}

/// Makes the lab, measures, and removes it. `tell` hears of each step.
///
/// # Errors
///
/// [`BenchError`]; the lab is gone then, too.
pub fn defend(
    args: &DefenceArgs,
    stop: &AtomicBool,
    tell: &mut (dyn FnMut(&str) + Send),
) -> Result<DefenceReport, BenchError> {
    let (date, machine) = (machine::now(), Machine::ask());
    let modes = XdpModes { server: args.xdp_mode, client: crate::control::values::XdpMode::Native };
    let wire_report = WireReport {
        queues: 1,
        mtu: 1500,
        server_xdp_mode: modes.server.to_string(),
        client_xdp_mode: modes.client.to_string(),
        server_settings: wire::server_settings(),
        ..WireReport::default()
    };
    let program = std::env::current_exe()?.to_string_lossy().into_owned();
    let wire = Wire::up(&args.name, &wire_report)?;
    honest::join(&wire.client()).map_err(LabError::from)?;
    let bench = Bench {
        program,
        wire: &wire,
        machine: &machine,
        modes,
        duration: args.duration,
        rate: args.rate.0,
        steps: &args.steps,
        recovery: Duration::from_millis(args.recovery.0),
        stop,
    };
    let defenders: Vec<_> = Defender::ALL.into_iter().filter(|defender| args.contenders.contains(defender)).collect();
    let (mut turns, mut at_full) = (vec![Vec::new(); defenders.len()], Vec::new());
    for _ in 0..args.runs {
        at_full.push(run(&bench, &defenders, &mut turns, tell)?);
    }
    let contenders: Vec<_> = turns.into_iter().map(runs::contender).collect();
    wire.down()?;
    let notes = [WHO_PAYS, HONEST_PATH].map(str::to_owned).into_iter().chain(remarks(&contenders)).collect();
    Ok(DefenceReport {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        date,
        machine,
        wire: wire_report,
        runs: args.runs,
        duration_s: Duration::from_millis(args.duration.0).as_secs_f64(),
        honest_rate: args.rate.0,
        honest_timeout_s: Duration::from_millis(TIMEOUT.0).as_secs_f64(),
        peaks: runs::peaks(&at_full),
        contenders,
        notes,
    })
}

/// A turn for each contender, and for the reflector if there is a full flood. Adds to `turns`, and returns the peaks of this run.
fn run(
    bench: &Bench<'_>,
    defenders: &[Defender],
    turns: &mut [Vec<DefenderReport>],
    tell: &mut (dyn FnMut(&str) + Send),
) -> Result<Vec<Peak>, BenchError> {
    let mut at_full = Vec::new();
    for (defender, turns) in defenders.iter().zip(turns) {
        if bench.stop.load(Ordering::Relaxed) {
            return Err(ProcessError::Interrupted.into());
        }
        let turn = bench.contender(defender.definition(), tell)?;
        at_full.extend(peak(&turn));
        turns.push(turn);
    }
    if !at_full.is_empty() {
        at_full.push(bench.reflector()?);
    }
    Ok(peaks(at_full, Defender::KernelCookies.definition().name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: DefenceArgs,
    }

    fn parse(line: &str) -> Result<DefenceArgs, String> {
        let words = std::iter::once("flood").chain(line.split_whitespace());
        Line::try_parse_from(words).map(|line| line.args).map_err(|error| error.to_string())
    }

    #[test]
    fn the_defaults_are_all_contenders_and_seven_steps() {
        let args = parse("").unwrap();
        assert_eq!((args.duration, args.rate, args.steps.len()), (Millis(5_000), Count(1_000), 7));
        assert_eq!(args.contenders, Defender::ALL);
        assert_eq!((args.steps[0], args.steps[6]), (Step::Rate(0), Step::Max));
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        for (line, hint) in [
            ("--duration 5", "must be a duration"),
            ("--duration 50ms", "from 500ms to 10m"),
            ("--runs 0", "1..=99"),
            ("--rate 0", "from 1 to 100000"),
            ("--steps 1,many", "or `max`"),
            ("--contenders dperf", "possible values"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(hint), "{line}: {error}");
        }
    }
}
