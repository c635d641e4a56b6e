//! `handfast top`: what a running server does, live. What is here: the state of the view ([`Top`]), what keys do to it, and how a
//! report becomes rates. [`draw`] makes a picture of it.
//!
//! What is not here: the terminal, time, and the control socket (control::top). The state is a value, so that tests take it
//! anywhere and look at the picture.

pub mod draw;

use super::report::{Figures, Flows, Moment, Past, Stats, Values};
use std::collections::VecDeque;

/// How many samples are kept, one a second: three minutes.
pub const SAMPLES: usize = 180;

/// What happened in a second, per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    /// Connections that reached ESTABLISHED.
    pub established: f64,
    /// Connections that peers opened.
    pub opened: f64,
    /// Frames received by the workers.
    pub rx_frames: f64,
    /// Frames put into the TX rings.
    pub tx_frames: f64,
    /// Frames that were dropped: by the engine, by steering, by the kernel on the sockets.
    pub lost: f64,
}

/// What is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tab {
    /// Rates and states.
    #[default]
    Overview,
    /// Each queue.
    Queues,
    /// Drops by reason, and what steering did.
    Drops,
    /// Each listener.
    Listeners,
    /// Which addresses have the most connections.
    Talkers,
}

impl Tab {
    /// All of them, in order.
    pub const ALL: [Tab; 5] = [Tab::Overview, Tab::Queues, Tab::Drops, Tab::Listeners, Tab::Talkers];

    /// What stands on it.
    pub fn title(self) -> &'static str {
        match self {
            Tab::Overview => "Overview",
            Tab::Queues => "Queues",
            Tab::Drops => "Drops",
            Tab::Listeners => "Listeners",
            Tab::Talkers => "Talkers",
        }
    }

    fn position(self) -> usize {
        Self::ALL.iter().position(|tab| *tab == self).unwrap_or(0)
    }
}

/// A key, as far as one means anything here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// A letter, digit or sign.
    Char(char),
    /// Tab, or the right arrow.
    Next,
    /// Tab backwards, or the left arrow.
    Previous,
    /// Escape.
    Escape,
}

/// What a key leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The view goes on.
    Stay,
    /// It is to end.
    Quit,
}

/// The state of the view.
#[derive(Clone, Debug, Default)]
pub struct Top {
    /// Whom it asks, as people name it: an interface or a path.
    pub server: String,
    /// What is shown.
    pub tab: Tab,
    /// True while new reports are not taken.
    pub paused: bool,
    /// True while the keys are explained.
    pub help: bool,
    /// The last report.
    pub latest: Option<Stats>,
    /// The moment that the last sample ends at.
    pub moment: Option<Moment>,
    /// What grew in the last second.
    pub grown: Option<Stats>,
    /// The rates of the last minutes, oldest first.
    pub samples: VecDeque<Rates>,
    /// Some connections, if they were asked for.
    pub flows: Option<Flows>,
    /// Why the server does not answer, if it does not.
    pub trouble: Option<String>,
}

impl Top {
    /// A view of `server` that has seen nothing yet.
    pub fn of(server: impl Into<String>) -> Self {
        Self { server: server.into(), ..Self::default() }
    }

    /// Takes in a report, unless the view is paused.
    pub fn take(&mut self, stats: Stats) {
        self.trouble = None;
        if self.paused {
            return;
        }
        let moment = Moment::of(&stats);
        match self.moment.filter(|before| before.uptime_s <= moment.uptime_s) {
            Some(before) => self.sample(&before, &moment),
            // The first report, or that of another server: there is nothing to compare it with.
            None => self.samples.clear(),
        }
        self.moment = Some(moment);
        let before = self.latest.take().filter(|before| before.uptime_s < stats.uptime_s);
        self.grown =
            before.map(|before| Stats { uptime_s: stats.uptime_s - before.uptime_s, ..growth(&before, &stats) });
        self.latest = Some(stats);
    }

    /// Takes in what the server knows of the time before the first report.
    pub fn take_past(&mut self, past: &Past) {
        self.samples.clear();
        for pair in past.moments.windows(2) {
            self.sample(&pair[0], &pair[1]);
        }
        self.moment = past.moments.last().copied();
    }

    /// Adds the rates between two moments, if there is time between them.
    fn sample(&mut self, before: &Moment, after: &Moment) {
        if after.uptime_s <= before.uptime_s {
            return;
        }
        if self.samples.len() == SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(rates(before, after));
    }

    /// Takes in connections, unless the view is paused.
    pub fn take_flows(&mut self, flows: Flows) {
        if !self.paused {
            self.flows = Some(flows);
        }
    }

    /// The server did not answer, and why.
    pub fn lose(&mut self, why: impl Into<String>) {
        self.trouble = Some(why.into());
    }

    /// What a key does.
    pub fn press(&mut self, key: Key) -> Then {
        let count = Tab::ALL.len();
        match key {
            Key::Char('q' | 'Q') => return Then::Quit,
            Key::Escape if !self.help => return Then::Quit,
            Key::Escape => self.help = false,
            Key::Char('p' | 'P' | ' ') => self.paused = !self.paused,
            Key::Char('?' | 'h') => self.help = !self.help,
            Key::Next => self.tab = Tab::ALL[(self.tab.position() + 1) % count],
            Key::Previous => self.tab = Tab::ALL[(self.tab.position() + count - 1) % count],
            Key::Char(digit) => {
                let chosen = digit.to_digit(10).and_then(|digit| usize::try_from(digit).ok()?.checked_sub(1));
                if let Some(tab) = chosen.and_then(|position| Tab::ALL.get(position)) {
                    self.tab = *tab;
                }
            }
        }
        Then::Stay
    }

    /// The rates of the last second.
    pub fn rates(&self) -> Rates {
        self.samples.back().copied().unwrap_or_default()
    }
}

/// What grew between two reports. Gauges and texts are the later one's.
fn growth(before: &Stats, after: &Stats) -> Stats {
    let values = |before: &Values, after: &Values| -> Values {
        let grew = |(name, value): (&str, u64)| (name.to_owned(), value.saturating_sub(before.get(name).unwrap_or(0)));
        after.iter().map(grew).collect()
    };
    let figures = |before: &Figures, after: &Figures| Figures {
        engine: values(&before.engine, &after.engine),
        drops: values(&before.drops, &after.drops),
        port: values(&before.port, &after.port),
        xdp_statistics: values(&before.xdp_statistics, &after.xdp_statistics),
        turns: after.turns.saturating_sub(before.turns),
        busy_ns: after.busy_ns.saturating_sub(before.busy_ns),
        late_ns: after.late_ns.saturating_sub(before.late_ns),
        ..after.clone()
    };
    let mut grown = Stats {
        total: figures(&before.total, &after.total),
        steering: values(&before.steering, &after.steering),
        interface_counters: values(&before.interface_counters, &after.interface_counters),
        ..after.clone()
    };
    for worker in &mut grown.workers {
        if let Some(before) = before.workers.iter().find(|before| before.queue == worker.queue) {
            worker.figures = figures(&before.figures, &worker.figures);
        }
    }
    for listener in &mut grown.listeners {
        let same = before.listeners.iter().find(|before| (before.addr, before.port) == (listener.addr, listener.port));
        let opened = same.and_then(|before| before.opened).unwrap_or(0);
        listener.opened = listener.opened.map(|now| now.saturating_sub(opened));
    }
    grown
}

/// The rates between two moments.
fn rates(before: &Moment, after: &Moment) -> Rates {
    let per_second = |count: fn(&Moment) -> u64| {
        real(count(after).saturating_sub(count(before))) / (after.uptime_s - before.uptime_s)
    };
    Rates {
        established: per_second(|moment| moment.established),
        opened: per_second(|moment| moment.opened),
        rx_frames: per_second(|moment| moment.rx_frames),
        tx_frames: per_second(|moment| moment.tx_frames),
        lost: per_second(|moment| moment.lost),
    }
}

#[expect(clippy::cast_precision_loss, reason = "numbers for people")]
fn real(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests;
