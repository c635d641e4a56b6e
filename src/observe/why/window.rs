//! Two reports of one server, and what grew between them.

use super::Finding;
use crate::observe::report::{Figures, Stats, Values};
use crate::observe::text::grouped;

/// Two reports; of two servers or of the wrong order, nothing grew.
#[derive(Clone, Copy, Debug)]
pub struct Window<'a> {
    before: &'a Stats,
    /// The later report: gauges are its.
    pub after: &'a Stats,
}

/// By how much the value of that name grew.
fn growth(before: &Values, after: &Values, name: &str) -> u64 {
    after.get(name).unwrap_or(0).saturating_sub(before.get(name).unwrap_or(0))
}

/// The figures of one worker, twice.
#[derive(Clone, Copy, Debug)]
pub struct Worker<'a> {
    /// Its queue.
    pub queue: u32,
    /// Its core.
    pub core: Option<u32>,
    before: Option<&'a Figures>,
    after: &'a Figures,
}

impl Worker<'_> {
    /// By how much a figure grew.
    pub fn grew(&self, figure: fn(&Figures) -> u64) -> u64 {
        figure(self.after).saturating_sub(self.before.map_or(0, figure))
    }

    /// Frames received.
    pub fn rx_frames(&self) -> u64 {
        self.grew(|figures| figures.port.get("rx_frames").unwrap_or(0))
    }
}

impl<'a> Window<'a> {
    /// What lies between `before` and `after`.
    pub fn new(before: &'a Stats, after: &'a Stats) -> Self {
        Self { before, after }
    }

    /// How long it is.
    pub fn seconds(&self) -> f64 {
        (self.after.uptime_s - self.before.uptime_s).max(0.0)
    }

    /// Growth of a counter of the engine, over all queues.
    pub fn engine(&self, name: &str) -> u64 {
        growth(&self.before.total.engine, &self.after.total.engine, name)
    }

    /// Frames dropped for that reason.
    pub fn drops(&self, reason: &str) -> u64 {
        growth(&self.before.total.drops, &self.after.total.drops, reason)
    }

    /// Growth of a counter of the ports.
    pub fn port(&self, name: &str) -> u64 {
        growth(&self.before.total.port, &self.after.total.port, name)
    }

    /// Growth of a counter of the kernel on the sockets.
    pub fn socket(&self, name: &str) -> u64 {
        growth(&self.before.total.xdp_statistics, &self.after.total.xdp_statistics, name)
    }

    /// Frames with that outcome of steering.
    pub fn steering(&self, name: &str) -> u64 {
        growth(&self.before.steering, &self.after.steering, name)
    }

    /// Growth of a counter of the interface.
    pub fn interface(&self, name: &str) -> u64 {
        growth(&self.before.interface_counters, &self.after.interface_counters, name)
    }

    /// Growth of a figure, over all queues.
    pub fn total(&self, figure: fn(&Figures) -> u64) -> u64 {
        figure(&self.after.total).saturating_sub(figure(&self.before.total))
    }

    /// Nanoseconds by which the control thread's rounds were late.
    pub fn control_late_ns(&self) -> u64 {
        self.after.setting.control_late_ns.saturating_sub(self.before.setting.control_late_ns)
    }

    /// Each worker.
    pub fn workers(&self) -> impl Iterator<Item = Worker<'_>> {
        self.after.workers.iter().map(|worker| {
            let before = self.before.workers.iter().find(|before| before.queue == worker.queue);
            let before = before.map(|worker| &worker.figures);
            Worker { queue: worker.queue, core: worker.core, before, after: &worker.figures }
        })
    }

    /// By how much a clock went ahead of the server's own, in seconds; 0 without an earlier report.
    pub fn ahead_s(&self, clock: fn(&Stats) -> f64) -> f64 {
        if clock(self.before) == 0.0 { 0.0 } else { clock(self.after) - clock(self.before) - self.seconds() }
    }

    /// The numbers of counters that grew, as evidence: `name +12`.
    pub fn evidence(counts: &[(&str, u64)]) -> Vec<String> {
        let grown = counts.iter().filter(|(_, count)| *count > 0);
        grown.map(|(name, count)| format!("{name} +{}", grouped(*count))).collect()
    }

    /// The name of the interface.
    pub fn interface_name(&self) -> &str {
        &self.after.interface
    }
}

/// A finding if anything was `hit`. Its score is from half of `weight`, if a small part of `among` was, to the whole of it.
pub fn finding(cause: &str, weight: f64, (hit, among): (u64, u64), say: impl FnOnce() -> Said) -> Option<Finding> {
    if hit == 0 {
        return None;
    }
    #[expect(clippy::cast_precision_loss, reason = "a share, to be compared with others")]
    let share = (hit as f64 / among.max(1) as f64).min(1.0);
    let Said { what, evidence, remedy } = say();
    let score = (weight * (0.5 + 0.5 * share) * 10.0).round() / 10.0;
    Some(Finding { cause: cause.to_owned(), score, what, evidence, remedy })
}

/// What a finding says.
pub struct Said {
    /// What is wrong.
    pub what: String,
    /// The numbers.
    pub evidence: Vec<String>,
    /// What to do.
    pub remedy: String,
}
