//! `handfast bench`: the kernel's listener, handfast, and the raw AF_XDP ceiling on one wire, in turn, several rounds.
//!
//! Every server and every generator is this program again, as a child inside one of the lab's namespaces, so that a person can
//! repeat each run by hand with the commands that the result names. Rounds are interleaved (A B C A B C), so that what changes on
//! the machine meanwhile meets all of them; figures are medians, and ratios are taken within a round.
//!
//! | | |
//! |---|---|
//! | [`contender`] | who is compared |
//! | `wire`, `process` | the lab, and children in it |
//! | `measure`, `ceilings` | one run: of connections, of frames alone |
//! | [`cpu`], [`machine`] | where processor time went, and on what machine |
//! | [`report`], `table`, `page` | what comes out |
//!
//! What is not here: any way to serve or to generate load, and any judgement about what is fast enough.

mod ceilings;
pub mod contender;
pub mod cpu;
pub mod machine;
mod measure;
mod page;
pub(super) mod process;
pub mod report;
mod table;
pub mod wire;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{Args, ValueEnum};
use thiserror::Error;

use super::lab::LabError;
use super::stop::{StopError, stop_on_signals};
use crate::control::values::Millis;
use crate::flood::error::FloodError;
use crate::observe::json;
use ceilings::Ceilings;
use contender::Contender;
use machine::Machine;
use measure::{Bench, Engine, Ran};
use process::ProcessError;
use report::{BenchReport, ContenderReport, Measured, Run, ratios, remarks};
use wire::{Wire, WireReport, XdpModes};

/// Which generators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EngineChoice {
    /// The whole TCP over AF_XDP, so many connections in progress as it takes
    Afxdp,
    /// The stateless one: a search for the highest rate without loss
    Xdp,
    /// One after the other
    Both,
}

impl EngineChoice {
    fn engines(self) -> &'static [Engine] {
        match self {
            Self::Afxdp => &[Engine::Afxdp],
            Self::Xdp => &[Engine::Xdp],
            Self::Both => &[Engine::Afxdp, Engine::Xdp],
        }
    }
}

/// `handfast bench`
#[derive(Clone, Debug, Args)]
pub struct BenchArgs {
    /// How long each run sends
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    pub duration: Millis,
    /// How many rounds; in each, every contender has its turn
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub runs: u32,
    /// Only these
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["kernel", "discard", "close", "ceiling"])]
    pub contenders: Vec<Contender>,
    /// Which generators
    #[arg(long, value_enum, default_value = "both")]
    pub engine: EngineChoice,
    /// Leave the packet ceilings out
    #[arg(long)]
    pub no_packets: bool,
    /// Where steering programs run: auto, native, generic; or two of them, of the server and of the generator
    #[arg(long, value_name = "MODE[,MODE]", default_value = "generic,native", help_heading = "Wire")]
    pub xdp_mode: XdpModes,
    /// napi_defer_hard_irqs of both ends
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Wire")]
    pub napi_defer: u32,
    /// gro_flush_timeout of both ends, in microseconds
    #[arg(long, value_name = "USEC", default_value_t = 0, help_heading = "Wire")]
    pub gro_flush_timeout: u32,
    /// Name of the lab, which is made and removed
    #[arg(long, default_value = "handfast-bench", help_heading = "Wire")]
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
    if (100..=600_000).contains(&duration.0) { Ok(duration) } else { Err("must be from 100ms to 10m".to_owned()) }
}

/// Why there is no comparison.
#[derive(Debug, Error)]
pub enum BenchError {
    /// The lab.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// A child.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// No signals.
    #[error(transparent)]
    Stop(#[from] StopError),
    /// There is such a lab.
    #[error(
        "the lab {0} is there already: another comparison runs, or one was killed; `handfast lab down --name {0}` removes it, and --name takes another"
    )]
    Exists(String),
    /// A flood.
    #[error(transparent)]
    Flood(#[from] FloodError),
    /// A setting could not be made.
    #[error("cannot make the settings of the namespace {server}: {source}; is this root, and /proc/sys writable?")]
    Settings {
        /// The namespace.
        server: String,
        /// Why not.
        source: io::Error,
    },
    /// A generator of another kind answered.
    #[error("the generator is {found} where {wanted} was asked for: this build's blast does not have it")]
    Engine {
        /// What was asked for.
        wanted: &'static str,
        /// What its result says.
        found: String,
    },
    /// A child's result is no JSON.
    #[error("`{command}` gave a result that cannot be read: {source}")]
    Summary {
        /// The command line.
        command: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A child's result lacks something.
    #[error("`{command}` gave a result without `{name}`")]
    Missing {
        /// The command line.
        command: String,
        /// What is missing.
        name: String,
    },
    /// Processor time could not be read.
    #[error("reading processor times: {0}; is /proc mounted, and is the server still there?")]
    Cpu(io::Error),
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
}

impl BenchError {
    /// The exit status: 2 for wrong usage, 1 for all else.
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Lab(LabError::Name(_)) => 2,
            _ => 1,
        }
    }
}

/// Does what `handfast bench` was asked for. The lab is gone when it returns, whatever it returns.
///
/// # Errors
///
/// [`BenchError`].
pub fn bench(args: &BenchArgs) -> Result<(), BenchError> {
    let stop = stop_on_signals()?;
    let report = compare(args, &stop, &mut |line| eprintln!("{line}"))?;
    let write = |path: &Path, text: String| {
        std::fs::write(path, text).map_err(|cause| BenchError::Write { path: path.to_owned(), cause })
    };
    if let Some(path) = &args.html {
        write(path, page::page(&report))?;
    }
    let to_stdout = args.json.as_deref() == Some(Path::new("-"));
    if let Some(path) = args.json.as_deref().filter(|_| !to_stdout) {
        write(path, json::line(&report) + "\n")?;
    }
    let text = if to_stdout { json::line(&report) + "\n" } else { report.to_string() };
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Makes the lab, measures, and removes it. `tell` hears of each run.
///
/// # Errors
///
/// [`BenchError`]; the lab is gone then, too.
pub fn compare(args: &BenchArgs, stop: &AtomicBool, tell: &mut dyn FnMut(&str)) -> Result<BenchReport, BenchError> {
    let (date, machine) = (machine::now(), Machine::ask());
    let wire_report = WireReport {
        queues: 1,
        mtu: 1500,
        server_xdp_mode: args.xdp_mode.server.to_string(),
        client_xdp_mode: args.xdp_mode.client.to_string(),
        napi_defer_hard_irqs: args.napi_defer,
        gro_flush_timeout_us: args.gro_flush_timeout,
        server_settings: wire::server_settings(),
    };
    let program = std::env::current_exe()?.to_string_lossy().into_owned();
    let wire = Wire::up(&args.name, &wire_report)?;
    let (modes, duration) = (args.xdp_mode, args.duration);
    let bench = Bench { program, wire: &wire, machine: &machine, modes, duration, stop };
    let mut measurement = Measurement::new(args);
    for round in 1..=u64::from(args.runs) {
        measurement.round(&bench, round, tell)?;
    }
    wire.down()?;
    let Measurement { rows, ceilings, mut notes, .. } = measurement;
    let contenders: Vec<ContenderReport> = rows.into_iter().filter_map(Row::report).collect();
    notes.extend(remarks(&contenders));
    Ok(BenchReport {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        date,
        machine,
        wire: wire_report,
        duration_s: std::time::Duration::from_millis(args.duration.0).as_secs_f64(),
        rounds: args.runs.into(),
        ratios: ratios(&contenders),
        contenders,
        packet_ceilings: ceilings.map(Ceilings::report).unwrap_or_default(),
        notes,
    })
}

/// What was measured so far.
#[derive(Debug)]
struct Measurement {
    rounds: u32,
    /// Whether the stateless generator is one of several, and may be missing.
    may_lack_xdp: bool,
    rows: Vec<Row>,
    /// `None` if they are left out.
    ceilings: Option<Ceilings>,
    notes: Vec<String>,
}

/// A contender and its runs under each engine.
#[derive(Debug)]
struct Row {
    contender: Contender,
    engines: Vec<(Engine, Vec<Ran>)>,
}

impl Row {
    fn report(self) -> Option<ContenderReport> {
        let mut measured = self.engines.into_iter().filter(|(_, ran)| !ran.is_empty()).map(|(engine, ran)| {
            let last = ran.last().expect("it is not empty");
            let (server, generator) = (last.server.clone(), last.generator.clone());
            Measured::of(engine.name(), server, generator, ran.into_iter().map(|ran| ran.run).collect())
        });
        let first = measured.next()?;
        Some(ContenderReport {
            name: self.contender.name().to_owned(),
            about: self.contender.about().to_owned(),
            measured: first,
            second: measured.next(),
        })
    }
}

impl Measurement {
    fn new(args: &BenchArgs) -> Self {
        let engines = || args.engine.engines().iter().map(|engine| (*engine, Vec::new())).collect();
        // Each once, in the order of a round.
        let asked = Contender::ALL.into_iter().filter(|contender| args.contenders.contains(contender));
        Self {
            rounds: args.runs,
            may_lack_xdp: args.engine == EngineChoice::Both,
            rows: asked.map(|contender| Row { contender, engines: engines() }).collect(),
            ceilings: (!args.no_packets).then(Ceilings::default),
            notes: Vec::new(),
        }
    }

    /// Every contender under every engine once, and the packet ceilings.
    fn round(&mut self, bench: &Bench<'_>, round: u64, tell: &mut dyn FnMut(&str)) -> Result<(), BenchError> {
        let tell = &mut |line: &str| tell(&format!("{round}/{}  {line}", self.rounds));
        for row in &mut self.rows {
            for (engine, ran) in &mut row.engines {
                if bench.stop.load(Ordering::Relaxed) {
                    return Err(ProcessError::Interrupted.into());
                }
                match bench.run(row.contender, *engine, round) {
                    Ok(one) => {
                        tell(&line(row.contender, *engine, &one.run));
                        ran.push(one);
                    }
                    Err(error @ BenchError::Engine { .. }) if self.may_lack_xdp => note(&mut self.notes, &error),
                    Err(error) => return Err(error),
                }
            }
        }
        let Some(ceilings) = &mut self.ceilings else { return Ok(()) };
        match ceilings.round(bench, tell) {
            // The kernel may be too old for one of them; connections are measured all the same.
            Err(error @ BenchError::Process(ProcessError::Failed { .. })) => {
                note(&mut self.notes, &error);
                Ok(())
            }
            result => result,
        }
    }
}

/// Adds a note once.
fn note(notes: &mut Vec<String>, error: &BenchError) {
    let text = error.to_string();
    if !notes.contains(&text) {
        tracing::warn!("{text}");
        notes.push(text);
    }
}

/// A line of progress.
fn line(contender: Contender, engine: Engine, run: &Run) -> String {
    let failed: u64 = run.failed.values().sum();
    let counts = match run.counts_agree {
        Some(false) => format!(", and the server counted {:?}", run.server_counted),
        Some(true) | None => String::new(),
    };
    format!(
        "{:<17} {:<6} {:>11} connections/s, {failed} failed{counts}",
        contender.name(),
        engine.name(),
        table::grouped(run.connections_per_second)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: BenchArgs,
    }

    fn parse(line: &str) -> Result<BenchArgs, String> {
        let words = std::iter::once("bench").chain(line.split_whitespace());
        Line::try_parse_from(words).map(|line| line.args).map_err(|error| error.to_string())
    }

    #[test]
    fn the_defaults_are_the_contracts() {
        let args = parse("").unwrap();
        assert_eq!((args.duration, args.runs, args.engine), (Millis(5_000), 3, EngineChoice::Both));
        assert_eq!(args.contenders, Contender::ALL);
    }

    #[test]
    fn contenders_have_their_turns_in_one_order_and_once() {
        let args = parse("--contenders ceiling,kernel,ceiling --engine xdp --no-packets").unwrap();
        let measurement = Measurement::new(&args);
        let order: Vec<_> = measurement.rows.iter().map(|row| row.contender).collect();
        assert_eq!(order, [Contender::Kernel, Contender::Ceiling]);
        assert!(measurement.rows.iter().all(|row| row.engines.len() == 1) && measurement.ceilings.is_none());
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        for (line, hint) in [
            ("--duration 5", "must be a duration"),
            ("--duration 50ms", "from 100ms to 10m"),
            ("--runs 0", "0 is not in"),
            ("--contenders dperf", "possible values"),
            ("--xdp-mode never", "native"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(hint), "{line}: {error}");
        }
    }
}
