//! One run of one contender: its server is started, the generator runs against it, and both are asked what they counted.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::BenchError;
use super::contender::{PORT, SERVER_ADDRESS};
use super::cpu::{CpuTime, of_core, of_ended_children, of_process};
use super::entrant::Entrant;
use super::machine::Machine;
use super::process::{Line, Running};
use super::report::{Run, agree, float};
use super::wire::{Wire, XdpModes};
use crate::bench::lab::CLIENT_POOL;
use crate::blast::report::BlastReport;
use crate::control::values::Millis;

/// How much longer than it sends a generator may take: its start, and the end of its last connections.
const PATIENCE: Duration = Duration::from_secs(30);
/// A search tries so many rates at most, each for its time and the answers' time-out.
const TRIALS: u64 = 40;
/// A server ends by itself after so many seconds, if nobody asks it to.
const SERVER_SECONDS: u64 = 60;

/// A generator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Engine {
    /// The whole TCP over AF_XDP, closed loop.
    Afxdp,
    /// The stateless one, which searches the highest rate without loss.
    Xdp,
}

impl Engine {
    /// Its name, as `blast --engine` has it.
    pub fn name(self) -> &'static str {
        match self {
            Engine::Afxdp => "afxdp",
            Engine::Xdp => "xdp",
        }
    }
}

/// What all runs have in common.
#[derive(Debug)]
pub(super) struct Bench<'a> {
    /// The program that is every child.
    pub program: String,
    /// The wire.
    pub wire: &'a Wire,
    /// The machine.
    pub machine: &'a Machine,
    /// Where steering runs.
    pub modes: XdpModes,
    /// How long a run sends; a search tries each rate for a fifth of it.
    pub duration: Millis,
    /// Set by SIGINT and SIGTERM.
    pub stop: &'a AtomicBool,
}

/// A run, and the commands that repeat it.
#[derive(Debug)]
pub(super) struct Ran {
    /// The run.
    pub run: Run,
    /// The server's command.
    pub server: String,
    /// The generator's command.
    pub generator: String,
}

impl Bench<'_> {
    /// A command of the program inside the server's namespace.
    pub fn at_server(&self, arguments: &str) -> Line {
        Line::inside(&self.wire.server(), &self.program, arguments)
    }

    /// A command of the program inside the client's namespace.
    pub fn at_client(&self, arguments: &str) -> Line {
        Line::inside(&self.wire.client(), &self.program, arguments)
    }

    /// The time of each trial of a search.
    fn trial(&self) -> Millis {
        Millis((self.duration.0 / 5).max(200))
    }

    /// How long a generator may take.
    fn patience(&self, engine: Engine) -> Duration {
        match engine {
            Engine::Afxdp => Duration::from_millis(self.duration.0) + PATIENCE,
            Engine::Xdp => Duration::from_millis(TRIALS * (self.trial().0 + 1_000)) + PATIENCE,
        }
    }

    /// The generator's arguments, on `cores`.
    fn blast(&self, entrant: &Entrant, engine: Engine, cores: &str) -> String {
        let Entrant { contender, generator: flags, .. } = entrant;
        let (mode, closed_by) = (self.modes.client, contender.closed_by());
        let load = match engine {
            Engine::Afxdp => format!("--engine afxdp --duration {}", self.duration),
            Engine::Xdp => format!("--engine xdp --search --duration {}", self.trial()),
        };
        format!(
            "blast -i hf-client --target {SERVER_ADDRESS}:{PORT} --source {CLIENT_POOL} --close {closed_by}{} --cores {cores} --xdp-mode {mode} {load} {flags} --json -",
            self.queues(entrant)
        )
    }

    /// The flag for an entrant that does not use all queues of the wire.
    fn queues(&self, entrant: &Entrant) -> &'static str {
        if entrant.queues == self.wire.queues() { "" } else { " --queues 0" }
    }

    /// Runs `entrant` once.
    ///
    /// # Errors
    ///
    /// If a child cannot be started, does not end, or says what is no result.
    pub fn run(&self, entrant: &Entrant, engine: Engine, round: u64) -> Result<Ran, BenchError> {
        let control: PathBuf = std::env::temp_dir().join(format!("handfast-bench-{}.sock", std::process::id()));
        let seconds = self.patience(engine).as_secs() + SERVER_SECONDS;
        let (server_cores, generator_cores) = self.machine.cores_for(entrant.queues);
        let mode = self.modes.server.to_string();
        let contender = entrant.contender;
        let arguments = contender.server(&list(&server_cores), &mode, &control.to_string_lossy(), seconds);
        let program = entrant.program.as_ref().map_or_else(|| self.program.clone(), |path| path.display().to_string());
        let arguments = format!("{arguments}{} {}", self.queues(entrant), entrant.server);
        let server_line = Line::inside(&self.wire.server(), &program, &arguments);
        let generator_line = self.at_client(&self.blast(entrant, engine, &list(&generator_cores)));
        let mut server = Running::start(&server_line)?;
        server.wait_until_ready(self.stop)?;

        let cores = Cores { server: server_cores, generator: generator_cores };
        let before = Spent::now(&cores, server.pid())?;
        let (ended_before, start) = (of_ended_children(), Instant::now());
        let mut generator = Running::start(&generator_line)?;
        let (_, said) = generator.wait(self.patience(engine), self.stop)?;
        let elapsed = start.elapsed().as_secs_f64();
        let spent = Spent::now(&cores, server.pid())?.since(&before);
        let generator_process_s = of_ended_children().since(&ended_before);

        // A generator whose connections failed has a result all the same; one that failed itself has none.
        let report: BlastReport =
            serde_json::from_str(&said).map_err(|_| BenchError::from(generator.failed("gave no result")))?;
        if report.engine != engine.name() {
            return Err(BenchError::Engine { wanted: engine.name(), found: report.engine });
        }
        let summary: Value = serde_json::from_str(&server.end()?)
            .map_err(|source| BenchError::Summary { command: server_line.to_string(), source })?;
        let counted = contender.counted(&summary);
        let run = Run {
            round,
            server_core_s: spent.server_core,
            generator_core_s: spent.generator_core,
            server_process_s: spent.server_process,
            generator_process_s,
            others_s: spent.of_others(&generator_process_s),
            generator_busy: spent.generator_core.busy() / elapsed / float(cores.generator.len() as u64),
            cores_shared: cores.are_shared(),
            ..judged(report, engine, counted)
        };
        Ok(Ran { run, server: server_line.to_string(), generator: generator_line.to_string() })
    }
}

/// What the generator and the server counted, as a run.
fn judged(report: BlastReport, engine: Engine, counted: Option<u64>) -> Run {
    let again = |name: &str| report.generator.limits.get(name).copied().unwrap_or(0);
    let again = again("syn_retransmissions") + again("fin_retransmissions");
    let (attempted, completed) = (report.connections.attempted, report.connections.completed);
    let handshake = &report.latency_us.handshake;
    let searched = report.search.as_ref().map(|search| search.rate);
    Run {
        connections_per_second: searched.unwrap_or(report.connections_per_second),
        attempted,
        completed,
        server_counted: counted,
        counts_agree: match engine {
            Engine::Afxdp => Some(counted.is_some_and(|counted| agree(counted, completed, attempted, again))),
            Engine::Xdp => None,
        },
        duration_s: report.duration_s,
        handshake_us: [handshake.p50, handshake.p99],
        generator_mode: report.generator.mode,
        bottleneck: report.generator.bottleneck,
        failed: report.connections.failed,
        ..Run::default()
    }
}

/// Cores as a flag has them.
fn list(cores: &[u32]) -> String {
    cores.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}

/// The cores of both ends.
#[derive(Debug)]
struct Cores {
    server: Vec<u32>,
    generator: Vec<u32>,
}

impl Cores {
    /// True if some core works for both: what was done on it for which cannot be told.
    fn are_shared(&self) -> bool {
        self.server.iter().any(|core| self.generator.contains(core))
    }

    /// What these cores have spent, each counted once.
    fn spent(cores: &[u32]) -> Result<CpuTime, BenchError> {
        let each: BTreeSet<u32> = cores.iter().copied().collect();
        each.into_iter()
            .try_fold(CpuTime::default(), |sum, core| Ok(sum.plus(&of_core(core).map_err(BenchError::Cpu)?)))
    }
}

/// What was spent until now, or between two moments.
#[derive(Clone, Copy, Debug)]
struct Spent {
    server_core: CpuTime,
    generator_core: CpuTime,
    both: CpuTime,
    server_process: CpuTime,
}

impl Spent {
    fn now(cores: &Cores, server: u32) -> Result<Self, BenchError> {
        Ok(Self {
            server_core: Cores::spent(&cores.server)?,
            generator_core: Cores::spent(&cores.generator)?,
            both: Cores::spent(&[cores.server.as_slice(), &cores.generator].concat())?,
            server_process: of_process(server).map_err(BenchError::Cpu)?,
        })
    }

    /// Time in user space of both cores that neither server nor generator had. What others do in the kernel cannot be told
    /// from softirqs that the kernel's own threads work off for these two.
    fn of_others(&self, generator: &CpuTime) -> f64 {
        (self.both.user - self.server_process.user - generator.user).max(0.0)
    }

    fn since(&self, earlier: &Self) -> Self {
        Self {
            server_core: self.server_core.since(&earlier.server_core),
            generator_core: self.generator_core.since(&earlier.generator_core),
            both: self.both.since(&earlier.both),
            server_process: self.server_process.since(&earlier.server_process),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A generator's report of 1,000 of 1,003 connections, as its JSON form has it.
    fn report(search: Value) -> BlastReport {
        let latency = serde_json::json!({"count": 1, "p50": 40.0, "p90": 0.0, "p99": 80.0, "p999": 0.0, "max": 0.0, "percentiles": []});
        let mut json = serde_json::json!({
            "version": "0.1.0", "target": "198.18.0.1:7000", "interface": "hf-client", "engine": "afxdp",
            "plan": {"rate": null, "concurrency": null, "connections": null, "duration_s": 2.0, "ramp_s": 0.0, "hold_s": 0.0,
                "close": "client", "request_bytes": 0, "source": "198.18.1.0/24", "ports": [1024, 65535]},
            "connections": {"attempted": 1003, "established": 1001, "completed": 1000, "failed": {"reset": 3}},
            "connections_per_second": 500.0, "packets_per_second": {"rx": 1.0, "tx": 1.0},
            "latency_us": {"handshake": latency, "teardown": latency, "total": latency}, "duration_s": 2.0,
            "generator": {"workers": 1, "mode": "native, copy", "busy_percent": 99.0, "late": 0, "most_late_us": 0.0,
                "most_in_progress": 9, "limits": {"fin_retransmissions": 2}, "bottleneck": null},
            "series": []
        });
        if !search.is_null() {
            json["search"] = search;
        }
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_run_is_what_generator_and_server_say() {
        let run = judged(report(Value::Null), Engine::Afxdp, Some(1_001));
        assert_eq!(
            (run.attempted, run.completed, run.failed["reset"], run.counts_agree),
            (1_003, 1_000, 3, Some(true))
        );
        assert_eq!((run.connections_per_second, run.handshake_us), (500.0, [40.0, 80.0]));
        let differs = |counted| judged(report(Value::Null), Engine::Afxdp, counted).counts_agree == Some(false);
        assert!(differs(Some(999)) && differs(Some(1_006)) && differs(None) && !differs(Some(1_005)));
    }

    #[test]
    fn what_neither_end_spent_was_spent_by_others() {
        let user = |user| CpuTime { user, ..CpuTime::default() };
        let spent =
            Spent { server_core: user(1.0), generator_core: user(2.0), both: user(3.0), server_process: user(0.5) };
        assert!((spent.of_others(&user(1.5)) - 1.0).abs() < 1e-9);
        assert_eq!(spent.of_others(&user(9.0)).to_bits(), 0.0_f64.to_bits(), "ticks are sampled");
    }

    #[test]
    fn a_search_is_its_rate() {
        let search = serde_json::json!({"rate": 12_345.0, "steps": []});
        let run = judged(report(search), Engine::Xdp, Some(99_999));
        assert_eq!((run.connections_per_second, run.counts_agree), (12_345.0, None));
    }
}
