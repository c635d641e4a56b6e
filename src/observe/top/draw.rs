//! The picture of a [`Top`]: a pure function from its state to cells.
//!
//! Made for 80 columns and 24 lines; larger ones get more of everything, smaller ones less, down to one cell.

use super::{Rates, Tab, Top, real};
use crate::observe::number::{share, short, time};
use crate::observe::report::{ListenerReport, Stats, Values};
use crate::observe::text::{endpoint, grouped};
use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style, Stylize as _};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Clear, Paragraph, Row, Sparkline, Table, Tabs};
use std::collections::BTreeMap;

/// The keys, on the last line.
const KEYS: &str = " q quit  p pause  tab view  1-5 views  ? help";

/// What the keys do, at length.
const HELP: [&str; 9] = [
    "q, Esc, Ctrl-C   end",
    "p, space         pause: the picture stays as it is",
    "tab, right       next view (back: shift-tab, left)",
    "1 to 5           that view",
    "?, h             this text",
    "",
    "Rates are those of the last second. Queues: busy is the",
    "share of time in turns with work. Lost: frames dropped",
    "by steering, kernel and engine. Why? handfast why",
];

/// Least size at which more than one line is shown.
const LEAST: (u16, u16) = (20, 6);

/// Draws the whole view.
pub fn draw(top: &Top, frame: &mut Frame<'_>) {
    let area = frame.area();
    if area.width < LEAST.0 || area.height < LEAST.1 {
        frame.render_widget(Paragraph::new("handfast top: too small"), area);
        return;
    }
    let rows =
        Layout::vertical([Constraint::Length(1), Constraint::Length(1), Constraint::Fill(1), Constraint::Length(1)]);
    let [head, tabs, body, keys] = rows.areas(area);
    frame.render_widget(Paragraph::new(title(top)), head);
    let selected = Tab::ALL.iter().position(|tab| *tab == top.tab);
    let names = Tab::ALL.iter().map(|tab| tab.title());
    frame.render_widget(Tabs::new(names).select(selected).divider("|"), tabs);
    match &top.latest {
        None => frame.render_widget(Paragraph::new("waiting for the first report"), body),
        Some(stats) => match top.tab {
            Tab::Overview => overview(top, stats, frame, body),
            Tab::Queues => queues(top, stats, frame, body),
            Tab::Drops => drops(top, stats, frame, body),
            Tab::Listeners => listeners(top, stats, frame, body),
            Tab::Talkers => talkers(top, frame, body),
        },
    }
    frame.render_widget(Paragraph::new(KEYS).style(Style::new().add_modifier(Modifier::REVERSED)), keys);
    if top.help {
        help(frame, area);
    }
}

/// What is looked at, and whether it is still so.
fn title(top: &Top) -> Line<'static> {
    let mut spans = vec![Span::from("handfast top ").bold()];
    match &top.latest {
        None => spans.push(Span::from(top.server.clone())),
        Some(stats) => {
            let up = time(stats.uptime_s * 1e6);
            spans.push(Span::from(format!("{} ({}, {}) up {up}", stats.interface, stats.mode.xdp, stats.mode.bind)));
            if stats.draining {
                spans.push(Span::from("  draining").bold());
            }
        }
    }
    if top.paused {
        spans.push(Span::from("  PAUSED").reversed());
    }
    if let Some(why) = &top.trouble {
        // What matters comes first: the line may end behind it.
        spans.insert(0, Span::from(format!("NO ANSWER, trying again: {why}  ")).reversed());
    }
    Line::from(spans)
}

fn overview(top: &Top, stats: &Stats, frame: &mut Frame<'_>, area: Rect) {
    let rows = Layout::vertical([Constraint::Length(2), Constraint::Fill(1), Constraint::Length(4)]);
    let [numbers, graphs, states] = rows.areas(area);
    let Rates { established, opened, rx_frames, tx_frames, lost } = top.rates();
    let total = &stats.total;
    let table = full(total.flows, total.flows_capacity);
    let half_open = full(total.half_open, total.half_open_limit);
    let lines = vec![
        Line::from(format!(
            "connections/s {}  opened/s {}  flows {table}  half-open {half_open}",
            short(established.round()),
            short(opened.round())
        )),
        Line::from(format!(
            "packets/s in {}  out {}  lost/s {}  busy {}",
            short(rx_frames.round()),
            short(tx_frames.round()),
            short(lost.round()),
            busiest(top)
        )),
    ];
    frame.render_widget(Paragraph::new(lines), numbers);
    type Take = fn(&Rates) -> f64;
    let graphs_of: [(&str, Take); 3] = [
        ("connections/s", |rates| rates.established),
        ("packets/s in", |rates| rates.rx_frames),
        ("lost/s", |rates| rates.lost),
    ];
    let areas = Layout::vertical([Constraint::Fill(2), Constraint::Fill(2), Constraint::Fill(1)]).split(graphs);
    for ((name, take), area) in graphs_of.iter().zip(areas.iter()) {
        graph(top, name, *take, frame, *area);
    }
    let each = stats.total.states.iter().filter(|(_, flows)| *flows > 0);
    let each: Vec<String> = each.map(|(state, flows)| format!("{state} {}", grouped(flows))).collect();
    let text = if each.is_empty() { "no connection".to_owned() } else { each.join("  ") };
    let block = Block::new().title("states");
    frame.render_widget(Paragraph::new(text).wrap(ratatui::widgets::Wrap { trim: true }).block(block), states);
}

/// A rate over the last minutes, newest to the right, with its greatest value.
fn graph(top: &Top, name: &str, take: fn(&Rates) -> f64, frame: &mut Frame<'_>, area: Rect) {
    let width = usize::from(area.width);
    let samples = top.samples.iter().rev().take(width).map(|rates| whole(take(rates)));
    let mut bars: Vec<u64> = samples.collect();
    bars.resize(width, 0);
    bars.reverse();
    let most = bars.iter().copied().max().unwrap_or(0);
    let block = Block::new().title(format!("{name}, most {} in {} s", short(real(most)), top.samples.len()));
    frame.render_widget(Sparkline::default().data(&bars).block(block), area);
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate is positive; a bar needs no fractions"
)]
fn whole(value: f64) -> u64 {
    value.round() as u64
}

/// How full something is.
fn full(count: u64, most: u64) -> String {
    format!("{}/{}", short(real(count)), short(real(most)))
}

/// The share of time that a figure over `seconds` is.
fn load(nanos: u64, seconds: f64) -> String {
    if seconds > 0.0 { share(real(nanos) / 1e9, seconds) } else { "–".to_owned() }
}

/// How busy the busiest worker is.
fn busiest(top: &Top) -> String {
    let Some(grown) = &top.grown else { return "–".to_owned() };
    let most = grown.workers.iter().map(|worker| worker.figures.busy_ns).max().unwrap_or(0);
    load(most, grown.uptime_s)
}

/// A table with a heading, columns as wide as they are told.
fn table<'a>(head: &[&'static str], rows: Vec<Vec<String>>, widths: &[u16]) -> Table<'a> {
    let head = Row::new(head.iter().map(|name| Cell::from(*name))).add_modifier(Modifier::BOLD);
    let widths = widths.iter().map(|width| Constraint::Length(*width));
    Table::new(rows.into_iter().map(Row::new), widths).header(head)
}

fn queues(top: &Top, stats: &Stats, frame: &mut Frame<'_>, area: Rect) {
    let seconds = top.grown.as_ref().map_or(0.0, |grown| grown.uptime_s);
    let grown = |queue| top.grown.iter().flat_map(|grown| &grown.workers).find(move |worker| worker.queue == queue);
    let rows = stats.workers.iter().map(|worker| {
        let figures = &worker.figures;
        let per_second = |name| {
            let count = grown(worker.queue).and_then(|worker| worker.figures.port.get(name)).unwrap_or(0);
            if seconds > 0.0 { short((real(count) / seconds).round()) } else { "–".to_owned() }
        };
        let (busy, late) =
            grown(worker.queue).map_or((0, 0), |worker| (worker.figures.busy_ns, worker.figures.late_ns));
        vec![
            worker.queue.to_string(),
            worker.core.map_or_else(|| "-".to_owned(), |core| core.to_string()),
            load(busy, seconds),
            load(late, seconds),
            per_second("rx_frames"),
            per_second("tx_frames"),
            full(figures.flows, figures.flows_capacity),
            full(figures.half_open, figures.half_open_limit),
        ]
    });
    let head = ["queue", "core", "busy", "late", "in/s", "out/s", "flows", "half-open"];
    frame.render_widget(table(&head, rows.collect(), &[5, 4, 9, 9, 8, 8, 15, 13]), area);
}

/// The values above 0, most in the last second first, then most at all.
fn ranked(now: Option<&Values>, ever: &Values, seconds: f64) -> Vec<Vec<String>> {
    let mut rows: Vec<(f64, u64, &str)> = ever
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| {
            let lately = now.and_then(|now| now.get(name)).unwrap_or(0);
            (if seconds > 0.0 { real(lately) / seconds } else { 0.0 }, count, name)
        })
        .collect();
    rows.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)));
    rows.iter().map(|(rate, count, name)| vec![(*name).to_owned(), short(rate.round()), grouped(*count)]).collect()
}

fn drops(top: &Top, stats: &Stats, frame: &mut Frame<'_>, area: Rect) {
    let seconds = top.grown.as_ref().map_or(0.0, |grown| grown.uptime_s);
    let [left, right] = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).areas(area);
    let rows = ranked(top.grown.as_ref().map(|grown| &grown.total.drops), &stats.total.drops, seconds);
    if rows.is_empty() {
        frame.render_widget(Paragraph::new("no frame was dropped by the engine"), left);
    } else {
        frame.render_widget(table(&["drop", "per s", "ever"], rows, &[22, 6, 11]), left);
    }
    let kernel: Values = stats
        .total
        .xdp_statistics
        .iter()
        .filter(|(name, _)| name.starts_with("rx_"))
        .map(|(name, count)| (name.to_owned(), count))
        .collect();
    let mut way_in = stats.steering.clone();
    way_in.add(&kernel);
    let lately = top.grown.as_ref().map(|grown| {
        let mut values = grown.steering.clone();
        values.add(&grown.total.xdp_statistics);
        values
    });
    let rows = ranked(lately.as_ref(), &way_in, seconds);
    frame.render_widget(table(&["steering, socket", "per s", "ever"], rows, &[22, 6, 11]), right);
}

fn listeners(top: &Top, stats: &Stats, frame: &mut Frame<'_>, area: Rect) {
    let seconds = top.grown.as_ref().map_or(0.0, |grown| grown.uptime_s);
    let count = |count: Option<u64>| count.map_or_else(|| "–".to_owned(), grouped);
    let rows = stats.listeners.iter().enumerate().map(|(i, listener)| {
        let lately = top.grown.as_ref().and_then(|grown| grown.listeners.get(i)?.opened);
        let rate =
            lately.filter(|_| seconds > 0.0).map_or_else(|| "–".to_owned(), |n| short((real(n) / seconds).round()));
        let ListenerReport { connections, half_open, opened, .. } = *listener;
        vec![endpoint(listener), listener.service.clone(), count(connections), count(half_open), rate, count(opened)]
    });
    let head = ["listener", "service", "flows", "half-open", "opened/s", "opened"];
    frame.render_widget(table(&head, rows.collect(), &[26, 14, 10, 10, 9, 11]), area);
}

/// The address of a remote end without its port.
fn address(remote: &str) -> &str {
    remote.rsplit_once(':').map_or(remote, |(address, _)| address)
}

fn talkers(top: &Top, frame: &mut Frame<'_>, area: Rect) {
    let Some(flows) = &top.flows else {
        frame.render_widget(Paragraph::new("waiting for the connections"), area);
        return;
    };
    let mut by_address: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for flow in &flows.flows {
        let (count, queued) = by_address.entry(address(&flow.remote)).or_default();
        *count += 1;
        *queued += flow.queued;
    }
    let mut ranked: Vec<_> = by_address.into_iter().collect();
    ranked.sort_by_key(|(_, (count, queued))| std::cmp::Reverse((*count, *queued)));
    let rows = ranked
        .iter()
        .map(|(address, (count, queued))| vec![(*address).to_owned(), grouped(*count), grouped(*queued)])
        .collect();
    let [note, list] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
    let text = format!("of {} connections, {} were looked at", grouped(flows.matching), flows.flows.len());
    frame.render_widget(Paragraph::new(text), note);
    frame.render_widget(table(&["address", "flows", "queued bytes"], rows, &[42, 10, 16]), list);
}

/// The keys at length, over everything else.
fn help(frame: &mut Frame<'_>, area: Rect) {
    let (width, height) = (60.min(area.width), 11.min(area.height));
    let place = Rect::new((area.width - width) / 2, (area.height - height) / 2, width, height);
    frame.render_widget(Clear, place);
    let text: Vec<Line<'_>> = HELP.iter().map(|line| Line::from(*line)).collect();
    let block = Block::bordered().title(" keys ").title_alignment(Alignment::Center);
    frame.render_widget(Paragraph::new(text).block(block), place);
}
