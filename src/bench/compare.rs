//! `handfast bench`: the kernel's listener, handfast, and the raw AF_XDP ceiling on one wire, in turn, several rounds.
//!
//! Every server and every generator is this program again, as a child inside one of the lab's namespaces, so that a person can
//! repeat each run by hand with the commands that the result names. Rounds are interleaved (A B C A B C), so that what changes on
//! the machine meanwhile meets all of them; figures are medians, and ratios are taken within a round.
//!
//! | | |
//! |---|---|
//! | [`contender`], `entrant` | who is compared, and with what difference |
//! | `wire`, `process` | the lab, and children in it |
//! | `measure`, `ceilings` | one run: of connections, of frames alone |
//! | [`cpu`], [`machine`] | where processor time went, and on what machine |
//! | [`report`], `table`, `page` | what comes out |
//!
//! What is not here: any way to serve or to generate load, and any judgement about what is fast enough.

mod ceilings;
pub mod contender;
pub mod cpu;
mod entrant;
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
use crate::control::problem::{Problem, Problems};
use crate::control::values::{Millis, XdpMode};
use crate::flood::error::FloodError;
use crate::observe::json;
use ceilings::Ceilings;
use contender::Contender;
use entrant::{Entrant, Trial, entrants};
use machine::Machine;
use measure::{Bench, Engine, Ran};
use process::ProcessError;
use report::{BenchReport, ContenderReport, Measured, PAIRS, Run, ratios, remarks};
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
    /// Only these [default: all; on several queues all but the kernel]
    #[arg(long, value_enum, value_delimiter = ',')]
    pub contenders: Option<Vec<Contender>>,
    /// Which generators [default: both, on several queues afxdp]
    #[arg(long, value_enum)]
    pub engine: Option<EngineChoice>,
    /// Another build of handfast: its server takes part, too, and is what this one's is compared with
    #[arg(long, value_name = "PROGRAM")]
    pub against: Option<PathBuf>,
    /// Handfast takes part once more with these flags at both ends; `NAME=FLAGS / FLAGS` has those of server and generator apart. May be
    /// repeated
    #[arg(long, value_name = "NAME=FLAGS", allow_hyphen_values = true)]
    pub with: Vec<Trial>,
    /// Leave the packet ceilings out
    #[arg(long)]
    pub no_packets: bool,
    /// Where steering programs run: auto, native, generic; or two of them, of the server and of the generator [default: generic,native; on
    /// several queues native]
    #[arg(long, value_name = "MODE[,MODE]", help_heading = "Wire")]
    pub xdp_mode: Option<XdpModes>,
    /// napi_defer_hard_irqs of both ends
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Wire")]
    pub napi_defer: u32,
    /// gro_flush_timeout of both ends, in microseconds
    #[arg(long, value_name = "USEC", default_value_t = 0, help_heading = "Wire")]
    pub gro_flush_timeout: u32,
    /// Queues of each end, with a worker each; they are compared with one of them
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Wire", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub queues: u32,
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

impl BenchArgs {
    /// The generators: on several queues only the one that has a worker for each.
    fn engine(&self) -> EngineChoice {
        let default = if self.queues == 1 { EngineChoice::Both } else { EngineChoice::Afxdp };
        self.engine.unwrap_or(default)
    }

    /// Who takes part: on several queues not the kernel, which answers on whatever queue it likes.
    fn contenders(&self) -> Vec<Contender> {
        let all = || Contender::ALL.into_iter().filter(|contender| self.queues == 1 || *contender != Contender::Kernel);
        self.contenders.clone().unwrap_or_else(|| all().collect())
    }

    /// Where the steering programs run: the faster way on one queue; on several the only one that tells them apart.
    fn xdp_mode(&self) -> XdpModes {
        let (generic, native) = (XdpMode::Generic, XdpMode::Native);
        let server = if self.queues == 1 { generic } else { native };
        self.xdp_mode.unwrap_or(XdpModes { server, client: native })
    }

    /// What does not go together.
    fn check(&self) -> Result<(), Problems> {
        let mut problems = Vec::new();
        let queues = format!("--queues {}", self.queues);
        if self.queues > 1 && self.engine() != EngineChoice::Afxdp {
            let problem = Problem::new(queues.as_str(), "the engine xdp has one queue");
            problems.push(problem.remedy("leave --engine out, or take afxdp"));
        }
        if self.queues > 1 && self.contenders().contains(&Contender::Kernel) {
            let cause = "the kernel answers on whatever queue it likes, and the generator's workers know only their own connections";
            let problem = Problem::new(queues.as_str(), cause);
            problems.push(problem.remedy("leave it out of --contenders"));
        }
        let modes = self.xdp_mode();
        if self.queues > 1 && [modes.server, modes.client].contains(&XdpMode::Generic) {
            let problem = Problem::new(queues.as_str(), "in generic mode a veth puts every frame into queue 0");
            problems.push(problem.remedy("leave --xdp-mode out, or take native"));
        }
        let ours = self.contenders().iter().any(|contender| contender.is_ours());
        for (flag, given) in [("--with", !self.with.is_empty()), ("--against", self.against.is_some())] {
            if given && !ours {
                let problem = Problem::new(flag, "no contender of handfast's takes part");
                problems.push(problem.remedy("add discard or close to --contenders"));
            }
        }
        for (i, trial) in self.with.iter().enumerate() {
            if self.with[..i].iter().any(|other| other.name == trial.name) {
                problems.push(
                    Problem::new(format!("--with {}", trial.name), "is there twice")
                        .remedy("give each a name of its own"),
                );
            }
        }
        if let Some(program) = self.against.as_ref().filter(|path| !path.is_file()) {
            let problem = Problem::new(format!("--against {}", program.display()), "is no file");
            problems.push(problem.remedy("name the program of another build, as in target/release/handfast"));
        }
        Problems::none_or("the comparison", problems, ())
    }
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
    /// What was asked for does not go together.
    #[error(transparent)]
    Usage(#[from] Problems),
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
            Self::Lab(LabError::Name(_)) | Self::Usage(_) => 2,
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
    args.check()?;
    let (modes, duration) = (args.xdp_mode(), args.duration);
    let (date, machine) = (machine::now(), Machine::ask());
    let wire_report = WireReport {
        queues: args.queues,
        mtu: 1500,
        server_xdp_mode: modes.server.to_string(),
        client_xdp_mode: modes.client.to_string(),
        napi_defer_hard_irqs: args.napi_defer,
        gro_flush_timeout_us: args.gro_flush_timeout,
        server_settings: wire::server_settings(),
    };
    let program = std::env::current_exe()?.to_string_lossy().into_owned();
    let wire = Wire::up(&args.name, &wire_report)?;
    let bench = Bench { program, wire: &wire, machine: &machine, modes, duration, stop };
    let mut measurement = Measurement::new(args);
    for round in 1..=u64::from(args.runs) {
        measurement.round(&bench, round, tell)?;
    }
    wire.down()?;
    let Measurement { rows, ceilings, mut notes, .. } = measurement;
    let special: Vec<(String, String)> = rows.iter().filter_map(|row| row.entrant.pair()).collect();
    let contenders: Vec<ContenderReport> = rows.into_iter().filter_map(Row::report).collect();
    notes.extend(remarks(&contenders));
    Ok(BenchReport {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        date,
        machine,
        wire: wire_report,
        duration_s: std::time::Duration::from_millis(args.duration.0).as_secs_f64(),
        rounds: args.runs.into(),
        ratios: ratios(
            &contenders,
            PAIRS.into_iter().chain(special.iter().map(|(of, over)| (of.as_str(), over.as_str()))),
        ),
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

/// An entrant and its runs under each engine.
#[derive(Debug)]
struct Row {
    entrant: Entrant,
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
            name: self.entrant.name,
            about: self.entrant.about,
            measured: first,
            second: measured.next(),
        })
    }
}

impl Measurement {
    fn new(args: &BenchArgs) -> Self {
        let engines = || args.engine().engines().iter().map(|engine| (*engine, Vec::new())).collect();
        let all = entrants(&args.contenders(), &args.with, args.against.as_deref(), args.queues);
        Self {
            rounds: args.runs,
            may_lack_xdp: args.engine() == EngineChoice::Both,
            rows: all.into_iter().map(|entrant| Row { entrant, engines: engines() }).collect(),
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
                match bench.run(&row.entrant, *engine, round) {
                    Ok(one) => {
                        tell(&line(&row.entrant.name, *engine, &one.run));
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
fn line(name: &str, engine: Engine, run: &Run) -> String {
    let failed: u64 = run.failed.values().sum();
    let counts = match run.counts_agree {
        Some(false) => format!(", and the server counted {:?}", run.server_counted),
        Some(true) | None => String::new(),
    };
    format!(
        "{name:<17} {:<6} {:>11} connections/s, {failed} failed{counts}",
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
        assert_eq!((args.duration, args.runs, args.engine()), (Millis(5_000), 3, EngineChoice::Both));
        assert_eq!(args.contenders(), Contender::ALL);
        let two = parse("--queues 2").unwrap();
        assert!(two.check().is_ok() && !two.contenders().contains(&Contender::Kernel), "{two:?}");
    }

    #[test]
    fn what_does_not_go_together_is_said_at_once() {
        let args =
            parse("--queues 2 --engine xdp --xdp-mode generic --contenders kernel --against /no/such --with a=--busy --with a=--busy")
                .unwrap();
        let told = args.check().unwrap_err().to_string();
        for hint in [
            "the engine xdp has one queue",
            "whatever queue",
            "puts every frame into queue 0",
            "no contender of handfast's",
            "is no file",
            "is there twice",
        ] {
            assert!(told.contains(hint), "{hint}: {told}");
        }
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
