//! What a comparison comes to. Field names and their order are the JSON's, and stay. What is computed here is pure:
//! medians, spread, and ratios pair by pair.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::cpu::CpuTime;
use super::machine::Machine;
use super::wire::WireReport;

/// The whole result.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BenchReport {
    /// Version of handfast, server and generator alike.
    pub version: String,
    /// When it began, in UTC.
    pub date: String,
    /// The machine.
    pub machine: Machine,
    /// The wire.
    pub wire: WireReport,
    /// How long each run sent, in seconds.
    pub duration_s: f64,
    /// How many rounds there were; in each, every contender had its turn.
    pub rounds: u64,
    /// The contenders, in the order of a round.
    pub contenders: Vec<ContenderReport>,
    /// One contender over another.
    pub ratios: Vec<Ratio>,
    /// What the wire does without connections.
    pub packet_ceilings: Vec<PacketCeiling>,
    /// What went otherwise than planned.
    pub notes: Vec<String>,
}

/// A contender.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ContenderReport {
    /// Its name.
    pub name: String,
    /// What it is.
    pub about: String,
    /// Under the first engine that it was measured by.
    #[serde(flatten)]
    pub measured: Measured,
    /// Under the other one, if it was measured by both.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub second: Option<Measured>,
}

/// A contender under one engine of the generator.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// The generator: `afxdp` with so many connections in progress as it takes, or `xdp`, which searches the highest rate
    /// without loss.
    pub engine: String,
    /// Its server, to be repeated by hand in the lab.
    pub server_command: String,
    /// Its generator.
    pub generator_command: String,
    /// Each run.
    pub runs: Vec<Run>,
    /// The median over the runs: connections completed a second, or the highest rate without loss.
    pub connections_per_second: f64,
    /// The least of the runs.
    pub min: f64,
    /// The most of the runs.
    pub max: f64,
    /// What the server's core did for a connection, in microseconds, the median; `null` where it was not measured.
    pub server_cpu_us_per_connection: Option<f64>,
    /// The same in parts, each a median.
    pub server_cpu_us: Option<CpuTime>,
    /// What the generator's core did for a connection.
    pub generator_cpu_us_per_connection: Option<f64>,
    /// The same in parts.
    pub generator_cpu_us: Option<CpuTime>,
    /// What the server's process did for a connection, in parts; softirqs are nobody's.
    pub server_process_us: Option<CpuTime>,
    /// Median of the median handshakes, in microseconds.
    pub handshake_p50_us: f64,
    /// Connections that failed, over all runs.
    pub failed: u64,
    /// Runs in which server and generator counted differently.
    pub mismatches: u64,
}

/// One run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Its round, from 1.
    pub round: u64,
    /// Connections completed a second, or the highest rate without loss.
    pub connections_per_second: f64,
    /// Connections that the generator began.
    pub attempted: u64,
    /// Connections that it completed.
    pub completed: u64,
    /// Connections that failed, by reason.
    pub failed: BTreeMap<String, u64>,
    /// Connections that the server counted by itself.
    pub server_counted: Option<u64>,
    /// True if both agree; `null` where a search tried more than its report counts.
    pub counts_agree: Option<bool>,
    /// How long the generator sent, in seconds.
    pub duration_s: f64,
    /// The server's core while the generator ran.
    pub server_core_s: CpuTime,
    /// The generator's core.
    pub generator_core_s: CpuTime,
    /// The server's process.
    pub server_process_s: CpuTime,
    /// The generator's process, with its start.
    pub generator_process_s: CpuTime,
    /// Time in which both cores ran other programs than these two, as far as it was not in the kernel. In seconds.
    pub others_s: f64,
    /// Share of its time in which the generator's core did something, from 0 to 1.
    pub generator_busy: f64,
    /// Median and 99th percentile of the handshakes, in microseconds.
    pub handshake_us: [f64; 2],
    /// Where the generator's steering and sockets worked.
    pub generator_mode: String,
    /// True if a core worked for server and generator both; what it did for which cannot be told.
    #[serde(default)]
    pub cores_shared: bool,
    /// What held the generator back, in its own words.
    pub bottleneck: Option<String>,
}

impl Run {
    /// All failures.
    fn failed_total(&self) -> u64 {
        self.failed.values().sum()
    }

    /// CPU time for a connection of this run; `None` for a search, whose trials it does not count.
    fn per_connection(&self, time: &CpuTime) -> Option<CpuTime> {
        self.counts_agree.map(|_| time.micros_per(float(self.completed)))
    }
}

/// One contender's rate over another's, under one engine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ratio {
    /// `handfast discard over kernel`.
    pub name: String,
    /// Who is above the line.
    pub of: String,
    /// Who is below it.
    pub over: String,
    /// The engine of both.
    pub engine: String,
    /// The median of the pairs.
    pub ratio: f64,
    /// The least of them.
    pub min: f64,
    /// The most of them.
    pub max: f64,
    /// One for each round: both had their turn in it one after another.
    pub pairs: Vec<f64>,
}

/// What the wire does with frames alone, in millions a second.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PacketCeiling {
    /// `tx`, `rx` or `turn_around`.
    pub name: String,
    /// Who sends and who receives.
    pub about: String,
    /// Median of what came through.
    pub mpps: f64,
    /// The least of it.
    pub min: f64,
    /// The most of it.
    pub max: f64,
    /// Median of what the sender handed to the link.
    pub offered_mpps: f64,
    /// The commands, receiver first.
    pub commands: Vec<String>,
    /// What came through in each round.
    pub runs: Vec<f64>,
}

/// A count as a float.
#[expect(clippy::cast_precision_loss, reason = "2^53 connections take thousands of years")]
pub(super) fn float(count: u64) -> f64 {
    count as f64
}

/// The median: of an even number the mean of the two in the middle; 0 of nothing.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

/// Median, least and most; 0 of nothing.
pub(super) fn spread(values: &[f64]) -> (f64, f64, f64) {
    let least = values.iter().copied().reduce(f64::min).unwrap_or(0.0);
    let most = values.iter().copied().reduce(f64::max).unwrap_or(0.0);
    (median(values), least, most)
}

/// The medians of each part; `None` of nothing.
fn median_time(times: &[CpuTime]) -> Option<CpuTime> {
    let part = |of: fn(&CpuTime) -> f64| median(&times.iter().map(of).collect::<Vec<_>>());
    (!times.is_empty()).then(|| CpuTime {
        user: part(|time| time.user),
        system: part(|time| time.system),
        softirq: part(|time| time.softirq),
        steal: part(|time| time.steal),
    })
}

impl Measured {
    /// What `runs` come to.
    pub fn of(engine: &str, server_command: String, generator_command: String, runs: Vec<Run>) -> Self {
        let rates: Vec<f64> = runs.iter().map(|run| run.connections_per_second).collect();
        let (connections_per_second, min, max) = spread(&rates);
        let times = |of: fn(&Run) -> &CpuTime| -> Vec<CpuTime> {
            runs.iter().filter_map(|run| run.per_connection(of(run))).collect()
        };
        let busy = |times: &[CpuTime]| {
            (!times.is_empty()).then(|| median(&times.iter().map(CpuTime::busy).collect::<Vec<_>>()))
        };
        let of_cores = |of: fn(&Run) -> &CpuTime| -> Vec<CpuTime> {
            if runs.iter().any(|run| run.cores_shared) { Vec::new() } else { times(of) }
        };
        let (server, generator) = (of_cores(|run| &run.server_core_s), of_cores(|run| &run.generator_core_s));
        Self {
            engine: engine.to_owned(),
            server_command,
            generator_command,
            connections_per_second,
            min,
            max,
            server_cpu_us_per_connection: busy(&server),
            server_cpu_us: median_time(&server),
            generator_cpu_us_per_connection: busy(&generator),
            generator_cpu_us: median_time(&generator),
            server_process_us: median_time(&times(|run| &run.server_process_s)),
            handshake_p50_us: median(&runs.iter().map(|run| run.handshake_us[0]).collect::<Vec<_>>()),
            failed: runs.iter().map(Run::failed_total).sum(),
            mismatches: runs.iter().filter(|run| run.counts_agree == Some(false)).count() as u64,
            runs,
        }
    }
}

impl ContenderReport {
    /// Under each engine that it was measured by.
    pub fn by_engine(&self) -> impl Iterator<Item = &Measured> {
        std::iter::once(&self.measured).chain(&self.second)
    }
}

/// Whether server and generator agree: the server saw every completed connection, and none that was not attempted. `again` is
/// how many segments were sent again, which a server without state answers and counts again.
pub(super) fn agree(counted: u64, completed: u64, attempted: u64, again: u64) -> bool {
    (completed..=attempted.saturating_add(again)).contains(&counted)
}

/// Share of a run that other programs may take before it says little.
const OTHERS: f64 = 0.05;
/// A generator whose core was busy for this share of its time is what limits the rate.
const BUSY: f64 = 0.95;

/// What the runs say about themselves: that the machine was not theirs, that the generator was the limit.
pub(super) fn remarks(contenders: &[ContenderReport]) -> Vec<String> {
    let runs = |contender: &ContenderReport| -> Vec<(String, Run)> {
        let of = |measured: &Measured| -> Vec<(String, Run)> {
            measured.runs.iter().map(|run| (measured.engine.clone(), run.clone())).collect()
        };
        contender.by_engine().flat_map(of).collect()
    };
    let mut remarks = Vec::new();
    let disturbed: Vec<String> = contenders
        .iter()
        .flat_map(|contender| runs(contender).into_iter().map(|(_, run)| (contender.name.clone(), run)))
        .filter(|(_, run)| {
            run.others_s + run.server_core_s.steal + run.generator_core_s.steal > run.duration_s * OTHERS
        })
        .map(|(name, run)| format!("{name} in round {}", run.round))
        .collect();
    if !disturbed.is_empty() {
        let list = disturbed.join(", ");
        remarks.push(format!("other programs, or the hypervisor, took more than 5 % of a core meanwhile: {list}"));
    }
    let limited = |contender: &&ContenderReport| {
        let measured = contender.by_engine().find(|measured| measured.engine == "afxdp");
        measured.is_some_and(|measured| {
            let shared = measured.runs.iter().any(|run| run.cores_shared);
            !shared && median(&measured.runs.iter().map(|run| run.generator_busy).collect::<Vec<_>>()) >= BUSY
        })
    };
    let limited: Vec<&str> = contenders.iter().filter(limited).map(|contender| contender.name.as_str()).collect();
    if !limited.is_empty() {
        remarks.push(format!(
            "the core of the afxdp generator, which also does in softirqs what the server receives, was busy all the time against {}: these servers may do more",
            limited.join(", ")
        ));
    }
    remarks
}

/// Who is compared with whom, above and below the line: handfast with the kernel and with the ceiling, and the kernel with the ceiling.
pub(super) const PAIRS: [(&str, &str); 5] = [
    ("handfast discard", "kernel"),
    ("handfast close", "kernel"),
    ("handfast discard", "ceiling"),
    ("handfast close", "ceiling"),
    ("kernel", "ceiling"),
];

/// The ratios of `contenders` in these `pairs`.
pub(super) fn ratios<'a>(
    contenders: &[ContenderReport],
    pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Vec<Ratio> {
    let mut ratios = Vec::new();
    for (of, over) in pairs {
        let named = |name: &str| contenders.iter().find(|contender| contender.name == name);
        let (Some(upper), Some(lower)) = (named(of), named(over)) else { continue };
        for above in upper.by_engine() {
            let below = lower.by_engine().find(|below| below.engine == above.engine);
            ratios.extend(below.and_then(|below| ratio(of, over, above, below)));
        }
    }
    ratios
}

/// One ratio, from the rounds in which both have a rate; `None` if there is none.
fn ratio(of: &str, over: &str, above: &Measured, below: &Measured) -> Option<Ratio> {
    let pair = |run: &Run| {
        let other = below.runs.iter().find(|other| other.round == run.round && other.connections_per_second > 0.0)?;
        Some(run.connections_per_second / other.connections_per_second)
    };
    let pairs: Vec<f64> = above.runs.iter().filter_map(pair).collect();
    let (ratio, min, max) = spread(&pairs);
    let (name, engine) = (format!("{of} over {over}"), above.engine.clone());
    (!pairs.is_empty()).then(|| Ratio { name, of: of.into(), over: over.into(), engine, ratio, min, max, pairs })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn run(round: u64, rate: f64) -> Run {
        let core = CpuTime { user: 0.1, system: 0.2, softirq: 0.3, steal: 0.0 };
        Run {
            round,
            connections_per_second: rate,
            attempted: 100_000,
            completed: 100_000,
            server_counted: Some(100_000),
            counts_agree: Some(true),
            duration_s: 1.0,
            server_core_s: core,
            generator_core_s: core,
            handshake_us: [50.0, 90.0],
            ..Run::default()
        }
    }

    fn contender(name: &str, rates: [f64; 3]) -> ContenderReport {
        let runs = (1..).zip(rates).map(|(round, rate)| run(round, rate)).collect();
        let measured = Measured::of("afxdp", format!("{name} server"), "handfast blast".into(), runs);
        ContenderReport { name: name.into(), about: "a contender".into(), measured, second: None }
    }

    /// Three contenders, one of them under both engines.
    pub(crate) fn example() -> BenchReport {
        let mut kernel = contender("kernel", [100.0, 110.0, 90.0]);
        let search = Run { counts_agree: None, server_counted: None, ..run(1, 170.0) };
        kernel.second = Some(Measured::of("xdp", "server".into(), "blast --search".into(), vec![search]));
        let mut discard = contender("handfast discard", [200.0, 165.0, 270.0]);
        discard.measured.failed = 2;
        discard.measured.mismatches = 1;
        let contenders = vec![kernel, discard, contender("ceiling", [400.0, 330.0, 300.0])];
        let ceiling = PacketCeiling { name: "tx".into(), mpps: 1.5, offered_mpps: 1.5, ..PacketCeiling::default() };
        BenchReport {
            version: "0.1.0".into(),
            date: "2026-01-01T00:00:00Z".into(),
            duration_s: 1.0,
            rounds: 3,
            ratios: ratios(&contenders, PAIRS),
            contenders,
            packet_ceilings: vec![ceiling],
            notes: vec!["something to know".into()],
            ..BenchReport::default()
        }
    }

    #[test]
    fn medians_take_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]).to_bits(), 2.0_f64.to_bits());
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]).to_bits(), 2.5_f64.to_bits());
        assert_eq!(spread(&[3.0, 1.0, 2.0]), (2.0, 1.0, 3.0));
        assert_eq!(spread(&[]), (0.0, 0.0, 0.0));
    }

    #[test]
    fn a_contender_has_its_spread_and_its_processor_time_a_connection() {
        let measured = contender("kernel", [100.0, 110.0, 90.0]).measured;
        assert_eq!((measured.connections_per_second, measured.min, measured.max), (100.0, 90.0, 110.0));
        let each = measured.server_cpu_us_per_connection.unwrap();
        assert!((each - 6.0).abs() < 1e-9, "0.6 s over 100,000 connections: {each}");
        assert!((measured.server_cpu_us.unwrap().softirq - 3.0).abs() < 1e-9);
    }

    #[test]
    fn a_search_has_no_processor_time_a_connection() {
        let example = example();
        let search = example.contenders[0].second.as_ref().unwrap();
        assert_eq!((search.server_cpu_us_per_connection, search.mismatches), (None, 0));
        assert_eq!(search.connections_per_second.to_bits(), 170.0_f64.to_bits());
    }

    #[test]
    fn ratios_are_made_round_by_round_and_engine_by_engine() {
        let ratios = example().ratios;
        let names: Vec<_> = ratios.iter().map(|ratio| (ratio.name.as_str(), ratio.engine.as_str())).collect();
        assert_eq!(
            names,
            [
                ("handfast discard over kernel", "afxdp"),
                ("handfast discard over ceiling", "afxdp"),
                ("kernel over ceiling", "afxdp")
            ]
        );
        assert_eq!(ratios[0].pairs, [2.0, 1.5, 3.0]);
        assert_eq!((ratios[0].ratio, ratios[0].min, ratios[0].max), (2.0, 1.5, 3.0));
    }

    #[test]
    fn a_disturbed_run_and_a_busy_generator_are_remarked() {
        assert_eq!(remarks(&example().contenders), [""; 0]);
        let mut contenders = example().contenders;
        contenders[1].measured.runs[2].others_s = 0.06;
        contenders[2].measured.runs.iter_mut().for_each(|run| run.generator_busy = 0.99);
        let remarks = remarks(&contenders);
        assert!(remarks[0].ends_with("meanwhile: handfast discard in round 3"), "{remarks:?}");
        assert!(remarks[1].contains("busy all the time against ceiling"), "{remarks:?}");
    }

    #[test]
    fn a_server_that_counts_otherwise_is_noticed() {
        assert!(agree(100, 100, 100, 0) && agree(101, 100, 103, 0) && agree(105, 100, 103, 2));
        assert!(!agree(99, 100, 100, 0) && !agree(104, 100, 103, 0));
    }

    #[test]
    fn the_json_has_the_contracts_fields_and_reads_back_the_same() {
        let report = example();
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<BenchReport>(&text).unwrap(), report);
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        for pointer in [
            "/machine/kernel",
            "/wire/queues",
            "/contenders/0/name",
            "/contenders/0/runs/0/connections_per_second",
            "/contenders/0/connections_per_second",
            "/contenders/0/min",
            "/contenders/0/max",
            "/contenders/0/server_cpu_us_per_connection",
            "/contenders/0/server_cpu_us/softirq",
            "/contenders/0/second/engine",
            "/ratios/0/ratio",
            "/packet_ceilings/0/mpps",
        ] {
            assert!(json.pointer(pointer).is_some(), "{pointer}");
        }
    }
}
