//! Instructions that the parts of the data path take, counted by callgrind: a change of a few per cent shows on a machine on which
//! times do not. `cargo bench --no-default-features --bench instructions` compares with the figures kept in `benches/instructions.txt`, and fails if one has
//! grown by more than 5 % under the same compiler; with `-- --keep` it writes them anew.
//!
//! What is not counted: what the peers do, and what happens before the first measured turn. What instructions do not show: misses of the
//! cache and of the branch predictor, which `cargo bench --bench lifecycle` is for.
#![allow(missing_docs, reason = "a program without a public part")]

mod world;

use handfast::flow::Slot;
use handfast::flow::hash::FlowHasher;
use handfast::tcp::isn::IsnGenerator;
use handfast::time::{Now, Tick};
use handfast::timer::Wheel;
use handfast::wire::parse::{PartialChecksums, parse};
use handfast::wire::reply::{Addressing, write};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hint::black_box;
use std::process::{Command, ExitCode, Stdio};
use world::samples::{NONE, SYN_OPTIONS, TIMESTAMPS, Table, frame, reply, tuple};
use world::{Family, Order, Population, Setup, measured};

/// A part of the data path: does it some times under [`measured`], and returns how many times.
type Case = (&'static str, fn() -> u64);

const CASES: [Case; 16] = [
    ("parse_v4", || parse_case(Family::V4, NONE)),
    ("parse_v4_timestamps", || parse_case(Family::V4, TIMESTAMPS)),
    ("parse_v4_syn", || parse_case(Family::V4, SYN_OPTIONS)),
    ("parse_v6", || parse_case(Family::V6, NONE)),
    ("write_ack_v4", || write_case(Family::V4, NONE)),
    ("write_syn_ack_v4", || write_case(Family::V4, SYN_OPTIONS)),
    ("write_syn_ack_v6", || write_case(Family::V6, SYN_OPTIONS)),
    ("flow_hash_v4", flow_hash_case),
    ("initial_sequence_number_v4", isn_case),
    ("find_hit_load_50", || find_case(0.5, true)),
    ("find_hit_load_90", || find_case(0.9, true)),
    ("find_miss_load_90", || find_case(0.9, false)),
    ("timer_armed_and_expired", timer_case),
    ("segment_v4", || lifecycle_case(&Setup::new(1_024, Order::Random))),
    ("segment_v4_all_options", || lifecycle_case(&Setup { options: true, ..Setup::new(1_024, Order::Random) })),
    ("segment_v6", || lifecycle_case(&Setup { family: Family::V6, ..Setup::new(1_024, Order::Random) })),
];

const REPEATS: u64 = 1_000;
/// A figure may be so much larger than the kept one, as a share.
const TOLERANCE: f64 = 0.05;
const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions.txt");

fn parse_case(family: Family, options: handfast::wire::options::Options) -> u64 {
    let frame = frame(family, 1, options);
    measured(|| {
        for _ in 0..REPEATS {
            black_box(parse(black_box(&frame), PartialChecksums::Refuse)).expect("a legal frame");
        }
    });
    REPEATS
}

fn write_case(family: Family, options: handfast::wire::options::Options) -> u64 {
    let received = parse(&frame(family, 1, options), PartialChecksums::Refuse).expect("a legal frame");
    let (to, reply, mut out) = (Addressing::answering(&received), reply(options), [0; 160]);
    measured(|| {
        for _ in 0..REPEATS {
            black_box(write(black_box(&mut out), black_box(&to), black_box(&reply), |_| {}));
        }
    });
    REPEATS
}

fn flow_hash_case() -> u64 {
    let (hasher, tuple) = (FlowHasher::new([1, 2]), tuple(Family::V4, 7));
    measured(|| {
        for _ in 0..REPEATS {
            black_box(hasher.hash(black_box(&tuple)));
        }
    });
    REPEATS
}

fn isn_case() -> u64 {
    let (isn, tuple) = (IsnGenerator::new([3; 16]), tuple(Family::V4, 7));
    measured(|| {
        for _ in 0..REPEATS {
            black_box(isn.isn(black_box(&tuple), Now(5)));
        }
    });
    REPEATS
}

fn find_case(load: f64, there: bool) -> u64 {
    let mut table = Table::new(1 << 14, load, Family::V4);
    let bursts: Vec<_> = (0..16).map(|_| table.burst(there)).collect();
    let found: usize = measured(|| bursts.iter().map(|burst| table.find(black_box(burst))).sum());
    let looked_for = bursts.len() * bursts[0].len();
    assert_eq!(found, if there { looked_for } else { 0 });
    looked_for as u64
}

fn timer_case() -> u64 {
    let mut wheel = Wheel::new(1 << 14, Tick(0));
    measured(|| {
        for slot in 0..1_000 {
            wheel.start(Slot(slot), Tick(5));
        }
        while black_box(wheel.expired(Tick(5))).is_some() {}
    });
    REPEATS
}

fn lifecycle_case(setup: &Setup) -> u64 {
    let mut population = Population::new(setup);
    let before = population.segments;
    population.run(200);
    population.segments - before
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(name) = arguments.iter().position(|argument| argument == "--case").and_then(|at| arguments.get(at + 1))
    {
        let (_, case) = CASES.iter().find(|(known, _)| known == name).expect("a case by that name");
        println!("{}", case());
        return ExitCode::SUCCESS;
    }
    let counted: BTreeMap<&str, f64> = match CASES.iter().map(|(name, _)| count(name).map(|n| (*name, n))).collect() {
        Ok(counted) => counted,
        Err(why) => {
            eprintln!("instructions: {why}");
            return ExitCode::FAILURE;
        }
    };
    if arguments.iter().any(|argument| argument == "--keep") {
        let mut text = format!("# Instructions of each part of the data path, as compiled by {}\n", compiler());
        for (name, count) in &counted {
            writeln!(text, "{name} {count:.1}").expect("a String takes everything");
        }
        std::fs::write(KEPT, text).expect("the file can be written");
    }
    judge(&counted)
}

/// Runs one case under callgrind. Returns its instructions for one time.
fn count(name: &str) -> Result<f64, String> {
    let this = std::env::current_exe().map_err(|error| format!("where am I: {error}"))?;
    let output = Command::new("valgrind")
        .args([
            "--tool=callgrind",
            "--callgrind-out-file=/dev/null",
            "--collect-atstart=no",
            "--toggle-collect=*measured*",
        ])
        .arg(this)
        .args(["--case", name])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("valgrind cannot be run ({error}); install it: apt-get install valgrind"))?;
    let (out, talk) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let times: f64 = out.trim().parse().map_err(|_| format!("{name} failed under valgrind:\n{talk}"))?;
    let collected = talk.lines().find_map(|line| line.split_once("Collected : ")).map(|(_, count)| count.trim());
    let collected: f64 = collected
        .and_then(|count| count.parse().ok())
        .ok_or_else(|| format!("callgrind counted nothing for {name}:\n{talk}"))?;
    if collected <= 0.0 {
        return Err(format!("callgrind counted nothing for {name}: `measured` was not found"));
    }
    Ok(collected / times)
}

/// The compiler, by its version: another one makes other instructions.
fn compiler() -> String {
    let version = Command::new("rustc").arg("--version").output().ok().filter(|output| output.status.success());
    version
        .map_or_else(|| "an unknown rustc".into(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Prints what was counted beside what is kept.
fn judge(counted: &BTreeMap<&str, f64>) -> ExitCode {
    let text = std::fs::read_to_string(KEPT).unwrap_or_default();
    let kept: BTreeMap<&str, f64> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(name, count)| Some((name, count.trim().parse().ok()?)))
        .collect();
    println!("{:<30} {:>10} {:>10} {:>8}", "instructions for one", "kept", "now", "change");
    let same_compiler = text.lines().next().is_some_and(|line| line.ends_with(&compiler()));
    let mut grown = Vec::new();
    for (name, now) in counted {
        let Some(before) = kept.get(name) else {
            println!("{name:<30} {:>10} {now:>10.1}", "none");
            grown.push(*name);
            continue;
        };
        let change = now / before - 1.0;
        println!("{name:<30} {before:>10.1} {now:>10.1} {:>+7.1}%", change * 100.0);
        if change > TOLERANCE {
            grown.push(*name);
        }
    }
    if grown.is_empty() {
        return ExitCode::SUCCESS;
    }
    if !same_compiler && grown.iter().all(|name| kept.contains_key(name)) {
        println!("not judged: the kept figures are another compiler's; this is {}", compiler());
        return ExitCode::SUCCESS;
    }
    println!("more than {:.0} % above what is kept, or not kept: {}", TOLERANCE * 100.0, grown.join(", "));
    println!(
        "find out why; if it is worth it, keep the new figures: cargo bench --no-default-features --bench instructions -- --keep"
    );
    ExitCode::FAILURE
}
