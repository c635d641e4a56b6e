//! The result for people: a table of every contender at every step, what came behind, the peaks, and what to know.

use std::fmt;

use super::report::{After, DefenceReport, DefenderReport, Peak, StepReport};
use crate::observe::number;
use crate::observe::text::grouped;

/// The head of the table; its columns are those of [`row`].
const HEAD: [&str; 2] = [
    "                         flood, SYNs/s            honest connections                    handshake            cores, % busy",
    "contender         step       sent   answered   started completed  failed         %        p50        p99   server  flood's",
];

/// One line of the table.
fn row(f: &mut fmt::Formatter<'_>, name: &str, step: &StepReport) -> fmt::Result {
    let honest = &step.honest;
    let [p50, p99] = honest.handshake_us.map(ascii_time);
    writeln!(
        f,
        "{name:<17} {:>4} {:>10} {:>10} {:>9} {:>9} {:>7} {:>9.2} {p50:>10} {p99:>10} {:>8.0} {:>8.0}",
        step.flood,
        number::fixed(step.flood_per_second, 0),
        number::fixed(step.answered_per_second, 0),
        honest.started,
        honest.completed,
        honest.failed,
        honest.completed_percent,
        step.server_core_percent,
        step.generator_core_percent,
    )
}

/// A time as a terminal of any kind shows it; none where nothing was measured.
fn ascii_time(us: f64) -> String {
    if us > 0.0 { number::time(us).replace('µ', "u") } else { "-".to_owned() }
}

/// What came behind the last step.
fn after(f: &mut fmt::Formatter<'_>, contender: &DefenderReport) -> fmt::Result {
    let After { ordinary_after_s, half_open_at_end, half_open_later, half_open_later_s, rss_kib: [before, after] } =
        &contender.after;
    let ordinary = ordinary_after_s.map_or_else(|| "did not come back".to_owned(), |s| format!("back after {s:.1} s"));
    let count = |count: &Option<u64>| count.map_or_else(|| "-".to_owned(), grouped);
    writeln!(
        f,
        "{:<17} ordinary service {ordinary}; half-open {} at the end, {} after {half_open_later_s:.0} s; memory {:.1} MiB before, {:.1} after",
        contender.name,
        count(half_open_at_end),
        count(half_open_later),
        mib(*before),
        mib(*after),
    )
}

fn mib(kib: u64) -> f64 {
    crate::blast::report::float(kib) / 1024.0
}

impl fmt::Display for DefenceReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { machine, wire, .. } = self;
        writeln!(f, "handfast {}, {}: Linux {}, {}", self.version, self.date, machine.kernel, machine.cpu)?;
        writeln!(
            f,
            "one veth pair; server on core {} ({}), flood and honest connections on core {} (native)",
            machine.server_core, wire.server_xdp_mode, machine.generator_core
        )?;
        writeln!(
            f,
            "{} honest connections/s for {} s a step, each given up after {} s\n",
            self.honest_rate, self.duration_s, self.honest_timeout_s
        )?;
        if self.runs > 1 {
            writeln!(
                f,
                "{} runs, contenders in turn: each step is its median run by SYNs answered, ratios are medians of each run's own, what \
                 came behind is the worst\n",
                self.runs
            )?;
        }
        HEAD.iter().try_for_each(|line| writeln!(f, "{line}"))?;
        for contender in &self.contenders {
            contender.steps.iter().try_for_each(|step| row(f, &contender.name, step))?;
        }
        writeln!(f)?;
        self.contenders.iter().try_for_each(|contender| after(f, contender))?;
        if !self.peaks.is_empty() {
            writeln!(
                f,
                "\nSYNs answered/s at full flood         of sent/s   over kernel cookies   over the reflector   least to most"
            )?;
        }
        for peak in &self.peaks {
            let Peak { name, sent_per_second, answered_per_second, over_kernel_cookies, over_reflector, .. } = peak;
            let spread = peak.over_reflector_spread.map(|[least, most]| format!("{least:.2} to {most:.2}"));
            let ratio = |ratio: &Option<f64>| ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
            writeln!(
                f,
                "{name:<17} {:>19} {:>11} {:>21} {:>20} {:>15}",
                number::fixed(*answered_per_second, 0),
                number::fixed(*sent_per_second, 0),
                ratio(over_kernel_cookies),
                ratio(over_reflector),
                spread.as_deref().unwrap_or("-")
            )?;
        }
        writeln!(f)?;
        self.notes.iter().try_for_each(|note| writeln!(f, "note: {note}"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::example;

    #[test]
    fn the_table_has_a_line_for_every_contender_and_step() {
        let text = example().to_string();
        let line = |start: &str| {
            let found = text.lines().find(|line| line.starts_with(start));
            found.unwrap_or_else(|| panic!("no line {start}:\n{text}")).split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            line("kernel cookies     10k"),
            "kernel cookies 10k 10,000 9,000 1000 990 10 99.00 334 ms 1 s 40 99"
        );
        assert!(line("handfast tables    max").contains("1000 0 1000 0.00"));
        assert!(text.contains("ordinary service back after 0.4 s; half-open 65,536 at the end, 0 after 9 s"), "{text}");
        assert_eq!(line("XDP_TX reflector"), "XDP_TX reflector 400,000 500,000 4.00 1.00 1.00 to 1.00");
        assert!(text.contains("\n3 runs, contenders in turn"), "{text}");
        assert!(text.contains("note: something to know"));
    }

    #[test]
    fn the_columns_stand_below_their_heads() {
        let text = example().to_string();
        let ends = |start: &str, word: &str| {
            let line = text.lines().find(|line| line.starts_with(start)).unwrap();
            line.find(word).map(|at| at + word.len())
        };
        assert_eq!(ends("contender", "sent"), ends("kernel cookies     10k", "10,000"));
        assert_eq!(ends("contender", "p50"), ends("kernel cookies     10k", "334 ms"));
        let length = |start: &str| text.lines().find(|line| line.starts_with(start)).map(str::len);
        assert_eq!(length("contender"), length("kernel cookies     10k"));
    }
}
