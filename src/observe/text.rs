//! Reports for people: the stats page, the table of flows, the ready line, the closing summary.
//!
//! Everything that stands at zero and means nothing then is left out; what is there is aligned. Programs read the JSON.

use super::balance::Imbalance;
use super::identity::Identity;
use super::number::{share, time};
use super::report::{
    CaptureFile, CaptureReport, Drained, EndedBy, Figures, Flows, Ledgers, ListenerReport, Reloaded, Stats, Summary,
    Values,
};
use std::fmt::Write as _;
use std::net::IpAddr;

/// The line that says that a server serves.
pub fn ready(stats: &Stats) -> String {
    let queues = ranges(&stats.workers.iter().map(|worker| worker.queue).collect::<Vec<_>>());
    let cores = stats.workers.iter().map(|worker| core(worker.core)).collect::<Vec<_>>().join(",");
    let Stats { interface, mode, .. } = stats;
    let listeners = listeners(&stats.listeners);
    format!("handfast: ready: {interface} ({}, {}) queues {queues} cores {cores}: {listeners}", mode.xdp, mode.bind)
}

/// The stats page.
pub fn stats(stats: &Stats) -> String {
    let Stats { version, interface, mode, .. } = stats;
    let draining = if stats.draining { ", draining: no new connections" } else { "" };
    let answering = if stats.syn_xdp.on { ", the steering program answers SYNs" } else { "" };
    let mut page = format!(
        "handfast {version} on {interface} ({}, {}), up {}{draining}{answering}\nlistening  {}\n\n",
        mode.xdp,
        mode.bind,
        span(stats.uptime_s),
        listeners(&stats.listeners)
    );
    page.push_str(&workers(stats));
    page.push_str(&listener_table(&stats.listeners));
    let total = &stats.total;
    section(&mut page, "states", &total.states);
    section(&mut page, "engine", &total.engine);
    section(&mut page, "drops", &total.drops);
    section(&mut page, "port", &total.port);
    section(&mut page, "UMEM frames", &total.ledger);
    section(&mut page, "XDP statistics", &total.xdp_statistics);
    section(&mut page, "capture", &total.capture);
    page.push_str(&capture_files(stats));
    section(&mut page, "interface", &stats.interface_counters);
    section(&mut page, "steering", &stats.steering);
    page.push_str(&identities(stats));
    let _ = writeln!(page, "\nledgers    {}", ledgers(&stats.ledgers));
    page
}

/// The closing summary: the last stats page under a line that says what ended it.
pub fn summary(summary: &Summary) -> String {
    let end = match summary.ended_by {
        EndedBy::Signal => "stopped by a signal",
        EndedBy::Duration => "stopped at the end of its duration",
        EndedBy::Drain => "drained",
        EndedBy::Failure => "stopped because a worker failed",
    };
    format!("{end} after {}\n{}", span(summary.stats.uptime_s), stats(&summary.stats))
}

/// The table of flows, with a line that says how many there are.
pub fn flows(flows: &Flows) -> String {
    let head = [
        "queue", "state", "local", "remote", "timer", "srtt", "queued", "snd.una", "snd.nxt", "rcv.nxt", "retries",
        "service",
    ];
    let rows = flows.flows.iter().map(|flow| {
        vec![
            flow.queue.to_string(),
            flow.state.clone(),
            flow.local.clone(),
            flow.remote.clone(),
            format!("{}.{:03}s", flow.due_ms / 1_000, flow.due_ms % 1_000),
            format!("{}us", flow.srtt_us),
            flow.queued.to_string(),
            flow.snd_una.to_string(),
            flow.snd_nxt.to_string(),
            flow.rcv_nxt.to_string(),
            flow.retries.to_string(),
            flow.service.clone(),
        ]
    });
    let numbers = [true, false, false, false, true, true, true, true, true, true, true, false];
    let table = if flows.flows.is_empty() { String::new() } else { aligned(&head, rows.collect(), &numbers) };
    format!("{table}{} of {} flows\n", grouped(flows.flows.len() as u64), grouped(flows.matching))
}

/// What a reload did.
pub fn reloaded(reloaded: &Reloaded) -> String {
    let mut page = String::new();
    let Reloaded { added, removed, changed, unchanged, limits, needs_restart } = reloaded;
    for (word, list) in [("added", added), ("removed", removed), ("changed", changed), ("unchanged", unchanged)] {
        for listener in list {
            let _ = writeln!(page, "{word:<10} {listener}");
        }
    }
    if !limits.is_empty() {
        let _ = writeln!(page, "{:<10} {}", "limits", limits.join(", "));
    }
    if !needs_restart.is_empty() {
        let _ = writeln!(page, "needs a restart to take effect: {}", needs_restart.join(", "));
    }
    page
}

/// How far draining came.
pub fn drained(drained: &Drained) -> String {
    match drained.remaining {
        0 => "drained: no flow is left\n".to_owned(),
        remaining => format!("not drained: {} flows are left\n", grouped(remaining)),
    }
}

/// The books along a frame's way: both sides, and a difference with what it can be.
fn identities(stats: &Stats) -> String {
    if stats.identities.is_empty() {
        return String::new();
    }
    let name = |identity: &Identity| match identity.queue {
        Some(queue) if stats.workers.len() > 1 => format!("{} {queue}", identity.name),
        _ => identity.name.clone(),
    };
    let width = stats.identities.iter().map(|identity| name(identity).len()).max().unwrap_or(0);
    let mut page = "\nbooks\n".to_owned();
    for identity in &stats.identities {
        let sides = format!("{} - {}", grouped(identity.left), grouped(identity.right));
        let sign = if identity.difference < 0 { "-" } else { "" };
        let verdict = match (identity.difference, identity.holds(), identity.tolerance) {
            (0, ..) => String::new(),
            (_, true, tolerance) => format!("  under way, at most {}", grouped(tolerance)),
            (_, false, 0) => "  UNEXPLAINED".to_owned(),
            (_, false, tolerance) => format!("  UNEXPLAINED: more than {} under way", grouped(tolerance)),
        };
        let difference = grouped(identity.difference.unsigned_abs());
        let _ = writeln!(page, "  {:<width$}  {sides} = {sign}{difference}{verdict}", name(identity));
    }
    page
}

fn ledgers(ledgers: &Ledgers) -> String {
    if ledgers.balanced() {
        return "balanced: every frame and flow is accounted for".to_owned();
    }
    let Ledgers { frames_unaccounted, flows_unaccounted, umem_frames_unaccounted } = ledgers;
    format!(
        "OUT OF BALANCE: {frames_unaccounted} received frames, {flows_unaccounted} flows and {umem_frames_unaccounted} \
         UMEM frames are unaccounted for"
    )
}

/// A line for each worker, and one for all of them if there are several.
fn workers(stats: &Stats) -> String {
    let row = |queue: String, core: String, figures: &Figures, count: f64| {
        let port = |name| grouped(figures.port.get(name).unwrap_or(0));
        vec![
            queue,
            core,
            format!("{}/{}", grouped(figures.flows), grouped(figures.flows_capacity)),
            format!("{}/{}", grouped(figures.half_open), grouped(figures.half_open_limit)),
            port("rx_frames"),
            port("tx_frames"),
            grouped(figures.drops.iter().map(|(_, count)| count).sum()),
            share(busy_seconds(figures), stats.uptime_s * count),
            time(microseconds(figures.longest_gap_ns)),
        ]
    };
    let each =
        stats.workers.iter().map(|worker| row(worker.queue.to_string(), core(worker.core), &worker.figures, 1.0));
    let mut rows: Vec<_> = each.collect();
    if rows.len() > 1 {
        #[expect(clippy::cast_precision_loss, reason = "a number of queues")]
        rows.push(row("all".into(), String::new(), &stats.total, rows.len() as f64));
    }
    let head = ["queue", "core", "flows", "half-open", "rx frames", "tx frames", "drops", "busy", "longest gap"];
    aligned(&head, rows, &[true; 9]) + &uneven(stats)
}

/// Frames from which on it matters how they are spread.
const WORTH_SPREADING: u64 = 10_000;

/// The warning below the table of the workers, if one of them had much more to do than its share.
fn uneven(stats: &Stats) -> String {
    let received = |figures: &Figures| figures.port.get("rx_frames").unwrap_or(0);
    let frames: Vec<_> = stats.workers.iter().map(|worker| (worker.queue, received(&worker.figures))).collect();
    match Imbalance::of(&frames) {
        Some(uneven) if uneven.total >= WORTH_SPREADING => format!(
            "UNEVEN: queue {} received {} of {} frames; {}\n",
            uneven.queue,
            grouped(uneven.most),
            grouped(uneven.total),
            uneven.remedy(&stats.interface)
        ),
        _ => String::new(),
    }
}

/// A line for each listener with its connections.
fn listener_table(listeners: &[ListenerReport]) -> String {
    let count = |count: Option<u64>| count.map_or_else(|| "-".to_owned(), grouped);
    let states = |states: &Values| {
        let some =
            states.iter().filter(|(_, flows)| *flows != 0).map(|(state, flows)| format!("{state} {}", grouped(flows)));
        some.collect::<Vec<_>>().join(", ")
    };
    let row = |listener: &ListenerReport| {
        let ListenerReport { connections, half_open, opened, .. } = *listener;
        let states = listener.states.as_ref().map(states).unwrap_or_default();
        vec![address(listener), count(connections), count(half_open), count(opened), states]
    };
    let head = ["listener", "flows", "half-open", "opened", "states"];
    let table = aligned(&head, listeners.iter().map(row).collect(), &[false, true, true, true, false]);
    format!("\n{table}")
}

#[expect(clippy::cast_precision_loss, reason = "a span of time, to be read by people")]
fn busy_seconds(figures: &Figures) -> f64 {
    figures.busy_ns as f64 / 1e9
}

#[expect(clippy::cast_precision_loss, reason = "a span of time, to be read by people")]
fn microseconds(nanos: u64) -> f64 {
    nanos as f64 / 1e3
}

/// A line for each file of the capture.
fn capture_files(stats: &Stats) -> String {
    let files = stats.capture.iter().flat_map(|CaptureReport { all, failed }| [all, failed].into_iter().flatten());
    let line = |CaptureFile { path, frames, bytes, unwritten, ended }: &CaptureFile| {
        let unwritten = if *unwritten > 0 { format!(", {} not written", grouped(*unwritten)) } else { String::new() };
        let ended = ended.as_ref().map(|why| format!("; ended: {why}")).unwrap_or_default();
        format!("  {path}: {} frames, {} bytes{unwritten}{ended}\n", grouped(*frames), grouped(*bytes))
    };
    let lines: String = files.map(line).collect();
    if lines.is_empty() { lines } else { format!("\ncapture files\n{lines}") }
}

/// The values that are not zero, one a line under a title; nothing if all are.
fn section(page: &mut String, title: &str, values: &Values) {
    let rows: Vec<_> = values.iter().filter(|(_, value)| *value != 0).collect();
    let Some(width) = rows.iter().map(|(name, _)| name.len()).max() else { return };
    let digits = rows.iter().map(|(_, value)| grouped(*value).len()).max().unwrap_or(0);
    let _ = writeln!(page, "\n{title}");
    for (name, value) in rows {
        let _ = writeln!(page, "  {name:<width$}  {:>digits$}", grouped(value));
    }
}

/// A table with a heading; columns marked in `numbers` stand to the right.
fn aligned(head: &[&str], rows: Vec<Vec<String>>, numbers: &[bool]) -> String {
    let heading = head.iter().map(ToString::to_string).collect();
    let rows: Vec<Vec<String>> = std::iter::once(heading).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let mut table = String::new();
    for row in &rows {
        let mut line = String::new();
        for ((cell, width), number) in row.iter().zip(&widths).zip(numbers) {
            let _ = if *number { write!(line, "{cell:>width$}  ") } else { write!(line, "{cell:<width$}  ") };
        }
        let _ = writeln!(table, "{}", line.trim_end());
    }
    table
}

fn listeners(listeners: &[ListenerReport]) -> String {
    listeners.iter().map(address).collect::<Vec<_>>().join(", ")
}

/// A listener as it is configured.
pub fn address(listener: &ListenerReport) -> String {
    format!("{}={}", endpoint(listener), listener.service)
}

/// Where a listener listens; without an address, on every one.
pub fn endpoint(ListenerReport { addr, port, .. }: &ListenerReport) -> String {
    match addr {
        None => port.to_string(),
        Some(IpAddr::V4(addr)) => format!("{addr}:{port}"),
        Some(IpAddr::V6(addr)) => format!("[{addr}]:{port}"),
    }
}

/// Numbers in their order, runs of successors drawn together: `0-3,7`.
pub fn ranges(numbers: &[u32]) -> String {
    let runs = numbers.chunk_by(|a, b| a.checked_add(1) == Some(*b));
    let each = runs.map(|run| match run {
        [first, .., last] => format!("{first}-{last}"),
        _ => run[0].to_string(),
    });
    each.collect::<Vec<_>>().join(",")
}

fn core(core: Option<u32>) -> String {
    core.map_or_else(|| "-".to_owned(), |core| core.to_string())
}

/// A number with its thousands apart: `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i != 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A span of time in its two largest units: `1m 23s`. Below a minute with tenths of a second.
fn span(seconds: f64) -> String {
    let whole = std::time::Duration::try_from_secs_f64(seconds).unwrap_or_default();
    let s = whole.as_secs();
    match s {
        0..60 => format!("{s}.{}s", whole.subsec_millis() / 100),
        60..3_600 => format!("{}m {}s", s / 60, s % 60),
        3_600..86_400 => format!("{}h {}m", s / 3_600, s / 60 % 60),
        _ => format!("{}d {}h", s / 86_400, s / 3_600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::report::{FlowRow, tests::example};

    #[test]
    fn the_ready_line_names_interface_modes_queues_cores_and_listeners() {
        let line = ready(&example());
        assert_eq!(line, "handfast: ready: hf-server (native, copy) queues 0-1 cores 0,1: 80=http, [::1]:7000=discard");
    }

    #[test]
    fn a_queue_that_has_most_of_the_work_is_warned_about() {
        let mut stats = example();
        let mut receive = |frames: [u64; 2]| {
            for (worker, frames) in stats.workers.iter_mut().zip(frames) {
                worker.figures.port = [("rx_frames", frames)].into_iter().collect();
            }
            workers(&stats)
        };
        let page = receive([20_000, 5_000]);
        assert!(
            page.contains("UNEVEN: queue 0 received 20,000 of 25,000 frames; have the ports in the hash"),
            "{page}"
        );
        assert!(!receive([15_000, 10_000]).contains("UNEVEN"), "within one and a half of its share");
        assert!(!receive([90, 10]).contains("UNEVEN"), "so few say nothing");
    }

    #[test]
    fn the_page_is_aligned_and_leaves_out_what_is_zero() {
        let page = stats(&example());
        let expected = "\
handfast 0.1.0 on hf-server (native, copy), up 1m 23s
listening  80=http, [::1]:7000=discard

queue  core  flows  half-open  rx frames  tx frames  drops  busy  longest gap
    0     0  2/100       1/10          3          0      1  50 %       1.5 ms
    1     1  2/100       1/10          3          0      1  50 %       1.5 ms
  all        4/200       2/20          6          0      2  50 %       1.5 ms

listener            flows  half-open  opened  states
80=http                 2          1       3  SYN-RECEIVED 1, ESTABLISHED 1
[::1]:7000=discard      2          1       3  SYN-RECEIVED 1, ESTABLISHED 1

states
  SYN-RECEIVED  2
  ESTABLISHED   2

engine
  received              6
  transmitted_in_place  2
  accepted              2
  passive_opens         4

drops
  bad_tcp_checksum  2

port
  rx_frames    6
  rx_bytes   360

UMEM frames
  total       16
  fill         8
  tx_pending   2
  tx           2
  free         4

capture
  captured  1,200

capture files
  /tmp/all.pcapng: 1,200 frames, 90,000 bytes

interface
  rx_packets  10

steering
  redirected  6
  passed      4

books
  interface_to_program  10 - 8 = 2  under way, at most 4
  program_to_rings      10 - 8 = 2  UNEXPLAINED
  flows 1               10 - 10 = 0

ledgers    OUT OF BALANCE: 0 received frames, 0 flows and 1 UMEM frames are unaccounted for
";
        assert_eq!(page, expected);
    }

    #[test]
    fn balanced_books_are_called_balanced() {
        let mut report = example();
        report.ledgers = Ledgers::default();
        report.draining = true;
        let page = stats(&report);
        assert!(page.ends_with("ledgers    balanced: every frame and flow is accounted for\n"));
        assert!(page.lines().next().unwrap().ends_with("draining: no new connections"));
        let closing = summary(&Summary { ended_by: EndedBy::Signal, stats: report });
        assert!(closing.starts_with("stopped by a signal after 1m 23s\nhandfast 0.1.0"), "{closing}");
    }

    #[test]
    fn flows_stand_in_a_table() {
        let flow = FlowRow {
            queue: 1,
            state: "FIN-WAIT-2".into(),
            local: "10.0.0.1:80".into(),
            remote: "[2001:db8::2]:40000".into(),
            due_ms: 1_005,
            srtt_us: 250,
            queued: 0,
            snd_una: 7,
            snd_nxt: 4_294_967_295,
            rcv_nxt: 9,
            retries: 0,
            service: "close".into(),
        };
        let short = FlowRow { remote: "10.0.0.2:1".into(), ..flow.clone() };
        let table = flows(&Flows { matching: 1_200, flows: vec![flow, short] });
        let expected = "\
queue  state       local        remote                timer   srtt  queued  snd.una     snd.nxt  rcv.nxt  retries  service
    1  FIN-WAIT-2  10.0.0.1:80  [2001:db8::2]:40000  1.005s  250us       0        7  4294967295        9        0  close
    1  FIN-WAIT-2  10.0.0.1:80  10.0.0.2:1           1.005s  250us       0        7  4294967295        9        0  close
2 of 1,200 flows
";
        assert_eq!(table, expected);
        assert_eq!(flows(&Flows::default()), "0 of 0 flows\n");
    }

    #[test]
    fn reload_and_drain_say_what_they_did() {
        let answer = Reloaded {
            added: vec!["81=http".into()],
            unchanged: vec!["80=http".into()],
            limits: vec!["time-wait".into()],
            needs_restart: vec!["flows".into()],
            ..Reloaded::default()
        };
        let text =
            "added      81=http\nunchanged  80=http\nlimits     time-wait\nneeds a restart to take effect: flows\n";
        assert_eq!(reloaded(&answer), text);
        assert_eq!(drained(&Drained { remaining: 1_000 }), "not drained: 1,000 flows are left\n");
        assert_eq!(drained(&Drained { remaining: 0 }), "drained: no flow is left\n");
    }

    #[test]
    fn successors_are_drawn_together() {
        assert_eq!(ranges(&[0, 1, 2, 5, 8, 7]), "0-2,5,8,7");
        assert_eq!(ranges(&[u32::MAX, 0]), "4294967295,0");
        assert_eq!(ranges(&[]), "");
    }

    #[test]
    fn numbers_and_spans_are_grouped_for_reading() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
        for (seconds, text) in
            [(0.25, "0.2s"), (59.99, "59.9s"), (60.0, "1m 0s"), (7_384.0, "2h 3m"), (180_000.0, "2d 2h")]
        {
            assert_eq!(span(seconds), text);
        }
        assert_eq!(span(f64::NAN), "0.0s");
    }
}
