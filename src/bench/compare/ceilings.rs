//! What the wire does with frames alone: sending, receiving, turning round, in millions a second.

use std::time::Duration;

use serde_json::Value;

use super::BenchError;
use super::contender::PORT;
use super::measure::Bench;
use super::process::{Line, Running};
use super::report::{PacketCeiling, float, median, spread};
use crate::bench::lab::SERVER;

/// A run takes no longer than this: frames alone are steady.
const LONGEST_MS: u64 = 1_000;
/// How much longer a sender may take than it sends.
const PATIENCE: Duration = Duration::from_secs(20);
/// A receiver ends by itself after so long, if nobody asks it to.
const RECEIVER: &str = "--duration 60s --json";

/// A ceiling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Tx,
    Rx,
    TurnAround,
}

const KINDS: [Kind; 3] = [Kind::Tx, Kind::Rx, Kind::TurnAround];

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Tx => "tx",
            Kind::Rx => "rx",
            Kind::TurnAround => "turn_around",
        }
    }

    fn about(self) -> &'static str {
        match self {
            Kind::Tx => "an AF_XDP socket sends, an XDP program at the other end drops",
            Kind::Rx => "the kernel sends copies of a frame, an AF_XDP socket receives",
            Kind::TurnAround => {
                "the kernel sends copies of a frame, an AF_XDP socket sends them back, an XDP program drops"
            }
        }
    }

    fn sender(self) -> &'static str {
        match self {
            Kind::Tx => "afxdp",
            Kind::Rx | Kind::TurnAround => "live",
        }
    }
}

/// What the runs of one ceiling came to.
#[derive(Debug, Default)]
struct Runs {
    commands: Vec<String>,
    through: Vec<f64>,
    offered: Vec<f64>,
}

/// All ceilings, over the rounds.
#[derive(Debug, Default)]
pub(super) struct Ceilings {
    runs: [Runs; KINDS.len()],
}

impl Ceilings {
    /// Measures each of them once. `tell` hears of each.
    ///
    /// # Errors
    ///
    /// If a child fails; the kernel may be too old to send copies of a frame.
    pub fn round(&mut self, bench: &Bench<'_>, tell: &mut dyn FnMut(&str)) -> Result<(), BenchError> {
        for (kind, runs) in KINDS.into_iter().zip(&mut self.runs) {
            let (through, offered) = once(bench, kind, &mut runs.commands)?;
            tell(&format!("packets {:<18} {through:>9.3} Mpps of {offered:.3} offered", kind.name()));
            runs.through.push(through);
            runs.offered.push(offered);
        }
        Ok(())
    }

    /// What they came to; those that were never measured are left out.
    pub fn report(self) -> Vec<PacketCeiling> {
        let measured = KINDS.into_iter().zip(self.runs).filter(|(_, runs)| !runs.through.is_empty());
        let report = measured.map(|(kind, runs)| {
            let (mpps, min, max) = spread(&runs.through);
            PacketCeiling {
                name: kind.name().to_owned(),
                about: kind.about().to_owned(),
                mpps,
                min,
                max,
                offered_mpps: median(&runs.offered),
                commands: runs.commands,
                runs: runs.through,
            }
        });
        report.collect()
    }
}

/// Starts the receivers, and returns them when they are ready.
fn receivers(bench: &Bench<'_>, kind: Kind) -> Result<Vec<(Running, Line)>, BenchError> {
    let (core, server, client) = (bench.machine.server_core, bench.modes.server, bench.modes.client);
    let reflect = |mode: &str| {
        let arguments = format!("-i hf-server --port {PORT} --cores {core} --mode {mode} --xdp-mode {server}");
        bench.at_server(&format!("lab reflect {arguments} {RECEIVER}"))
    };
    let lines = match kind {
        Kind::Tx => vec![bench.at_server(&format!("lab packets drop -i hf-server --xdp-mode {server} {RECEIVER}"))],
        Kind::Rx => vec![reflect("sink")],
        Kind::TurnAround => {
            let back = bench.at_client(&format!("lab packets drop -i hf-client --xdp-mode {client} {RECEIVER}"));
            vec![reflect("frames"), back]
        }
    };
    let mut running = Vec::new();
    for line in lines {
        let mut receiver = Running::start(&line)?;
        receiver.wait_until_ready(bench.stop)?;
        running.push((receiver, line));
    }
    Ok(running)
}

/// One run of one ceiling: what came through, and what was offered. The last receiver is the one that counts.
fn once(bench: &Bench<'_>, kind: Kind, commands: &mut Vec<String>) -> Result<(f64, f64), BenchError> {
    let mut receivers = receivers(bench, kind)?;
    let (core, mac, sender) = (bench.machine.generator_core, SERVER.mac, kind.sender());
    let duration = bench.duration.0.min(LONGEST_MS);
    let line = bench.at_client(&format!(
        "lab packets send -i hf-client --dst-mac {mac} --core {core} --sender {sender} --duration {duration}ms --json"
    ));
    let mut running = Running::start(&line)?;
    let (status, said) = running.wait(PATIENCE, bench.stop)?;
    if !status.success() {
        return Err(running.failed(&format!("failed ({status})")).into());
    }
    *commands = receivers.iter().map(|(_, line)| line.to_string()).chain([line.to_string()]).collect();
    let sent = number(&said, &line, "sent")?;
    let seconds = number(&said, &line, "duration_s")?;
    let mut arrived = 0.0;
    while !receivers.is_empty() {
        let (receiver, line) = receivers.remove(0);
        arrived = number(&receiver.end()?, &line, "received")?;
    }
    Ok((arrived / seconds / 1e6, sent / seconds / 1e6))
}

/// A number in a child's result.
fn number(said: &str, line: &Line, name: &str) -> Result<f64, BenchError> {
    let summary = |source| BenchError::Summary { command: line.to_string(), source };
    let json: Value = serde_json::from_str(said).map_err(summary)?;
    let value = &json[name];
    value
        .as_u64()
        .map(float)
        .or_else(|| value.as_f64())
        .ok_or_else(|| BenchError::Missing { command: line.to_string(), name: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ceilings_that_were_not_measured_are_left_out() {
        let mut ceilings = Ceilings::default();
        ceilings.runs[1].through.extend([2.0, 3.0, 1.0]);
        ceilings.runs[1].offered.push(3.0);
        let report = ceilings.report();
        assert_eq!(report.len(), 1);
        assert_eq!((report[0].name.as_str(), report[0].mpps, report[0].min, report[0].max), ("rx", 2.0, 1.0, 3.0));
    }

    #[test]
    fn a_number_that_is_missing_names_the_command() {
        let line = Line::inside("lab", "handfast", "lab packets send");
        assert_eq!(number("{\"sent\": 7}", &line, "sent").unwrap().to_bits(), 7.0_f64.to_bits());
        let error = number("{}", &line, "sent").unwrap_err().to_string();
        assert!(error.contains("lab packets send") && error.contains("sent"), "{error}");
        assert!(number("", &line, "sent").is_err());
    }
}
