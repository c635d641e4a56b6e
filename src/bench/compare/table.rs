//! The result for people: one table, the ratios, the packet ceilings, and what to know.

use std::fmt;

use super::report::{BenchReport, ContenderReport, Measured, PacketCeiling, Ratio};

/// The head of the table; its columns are those of [`row`].
const HEAD: [&str; 2] = [
    "                            conn/s                     handshake             server core, us/connection generator  server and",
    "contender         engine    median     least      most    p50 us      all   user    sys softirq   core us  generator",
];

/// A rate with separators: `131,234`.
pub(super) fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A time a connection with two decimals; `-` where there is none.
fn micros(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"))
}

/// One line of the table.
fn row(f: &mut fmt::Formatter<'_>, contender: &ContenderReport, measured: &Measured) -> fmt::Result {
    let part = |of: fn(&super::cpu::CpuTime) -> f64| micros(measured.server_cpu_us.as_ref().map(of));
    let counts = match (measured.mismatches, measured.failed) {
        (0, 0) if measured.runs.iter().all(|run| run.counts_agree.is_none()) => "-".to_owned(),
        (0, 0) => "agree".to_owned(),
        (0, failed) => format!("agree, {} failed", grouped(super::report::float(failed))),
        (runs, failed) => format!("DIFFER in {runs} run(s), {} failed", grouped(super::report::float(failed))),
    };
    writeln!(
        f,
        "{:<17} {:<6} {:>9} {:>9} {:>9} {:>9.0} {:>8} {:>6} {:>6} {:>7} {:>9}  {counts}",
        contender.name,
        measured.engine,
        grouped(measured.connections_per_second),
        grouped(measured.min),
        grouped(measured.max),
        measured.handshake_p50_us,
        micros(measured.server_cpu_us_per_connection),
        part(|time| time.user),
        part(|time| time.system),
        part(|time| time.softirq),
        micros(measured.generator_cpu_us_per_connection),
    )
}

impl fmt::Display for BenchReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { machine, wire, .. } = self;
        writeln!(f, "handfast {}, {}: Linux {}, {}", self.version, self.date, machine.kernel, machine.cpu)?;
        writeln!(
            f,
            "one veth pair, {} queue(s); server on core {} ({}), generator on core {} ({}); napi deferral {} x {} us",
            wire.queues,
            machine.server_core,
            wire.server_xdp_mode,
            machine.generator_core,
            wire.client_xdp_mode,
            wire.napi_defer_hard_irqs,
            wire.gro_flush_timeout_us
        )?;
        writeln!(f, "{} rounds, {} s a run, contenders in turn; medians\n", self.rounds, self.duration_s)?;
        HEAD.iter().try_for_each(|line| writeln!(f, "{line}"))?;
        for contender in &self.contenders {
            for measured in contender.by_engine() {
                row(f, contender, measured)?;
            }
        }
        writeln!(f)?;
        for Ratio { name, engine, ratio, min, max, .. } in &self.ratios {
            writeln!(f, "{name:<31} {engine:<6} {ratio:>6.2}  ({min:.2} to {max:.2})")?;
        }
        if !self.packet_ceilings.is_empty() {
            writeln!(f, "\npackets alone    Mpps  (least to most, offered)")?;
        }
        for PacketCeiling { name, about, mpps, min, max, offered_mpps, .. } in &self.packet_ceilings {
            writeln!(f, "{name:<13} {mpps:>7.3}  ({min:.3} to {max:.3}, {offered_mpps:.3})  {about}")?;
        }
        if !self.notes.is_empty() {
            writeln!(f)?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "note: {note}"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::example;
    use super::*;

    #[test]
    fn rates_have_separators() {
        assert_eq!(
            [0.0, 999.0, 1_000.0, 1_234_567.4].map(grouped),
            ["0", "999", "1,000", "1,234,567"].map(str::to_owned)
        );
    }

    #[test]
    fn the_table_has_a_line_for_every_contender_and_engine() {
        let text = example().to_string();
        let line = |start: &str| {
            let found = text.lines().find(|line| line.starts_with(start));
            found.unwrap_or_else(|| panic!("no line {start}:\n{text}")).split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(line("kernel            afxdp"), "kernel afxdp 100 90 110 50 6.00 1.00 2.00 3.00 6.00 agree");
        assert_eq!(line("kernel            xdp"), "kernel xdp 170 170 170 50 - - - - - -");
        assert!(line("handfast discard  afxdp").ends_with("DIFFER in 1 run(s), 2 failed"));
        assert_eq!(line("handfast discard over kernel"), "handfast discard over kernel afxdp 2.00 (1.50 to 3.00)");
        assert!(text.contains("note: something to know") && text.contains("tx "), "{text}");
    }

    #[test]
    fn the_columns_stand_below_their_heads() {
        let text = example().to_string();
        let ends = |start: &str, word: &str| {
            let line = text.lines().find(|line| line.starts_with(start)).unwrap();
            line.find(word).map(|at| at + word.len())
        };
        assert_eq!(ends("contender", "median"), ends("kernel            afxdp", "100"));
        assert_eq!(ends("contender", "softirq"), ends("kernel            afxdp", "3.00"));
        assert_eq!(ends("      ", "handshake"), ends("contender", "p50 us"));
    }
}
