//! Causes that lie with the server itself: its time, its tables, its limits, and its way out.

use super::window::{Said, finding};
use super::{Finding, Window};
use crate::observe::number::{share, time};
use crate::observe::text::grouped;

/// A worker that is late by less than this in a window was merely interrupted.
const LATE_NS: u64 = 20_000_000;
/// The control thread wakes five times a second; late by this it did not run at all.
const STOPPED_NS: u64 = 100_000_000;
/// A share of time above which a worker has no reserve.
const BUSY_SHARE: f64 = 0.95;
/// By how much a clock has to be off to count as stepped.
const STEP_S: f64 = 0.5;

#[expect(clippy::cast_precision_loss, reason = "times for people, and shares")]
fn real(count: u64) -> f64 {
    count as f64
}

/// A span in nanoseconds for people.
fn span(nanos: u64) -> String {
    time(real(nanos) / 1e3)
}

/// The nanoseconds of a window.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a positive span of at most some minutes")]
fn nanos(window: &Window<'_>) -> u64 {
    (window.seconds() * 1e9) as u64
}

/// Something else runs on a worker's core.
pub fn worker_without_its_core(window: &Window<'_>) -> Option<Finding> {
    let worst = window.workers().max_by_key(|worker| worker.grew(|figures| figures.late_ns))?;
    let late = worst.grew(|figures| figures.late_ns);
    // If nothing at all ran, the core is not to blame.
    let hit = if late < LATE_NS || window.control_late_ns() > late / 2 { 0 } else { late };
    finding("worker_without_its_core", 85.0, (hit, nanos(window)), || {
        let core = worst.core.map_or_else(|| "?".to_owned(), |core| core.to_string());
        Said {
            what: format!(
                "The worker of queue {} did not have its core ({core}): something else ran there.",
                worst.queue
            ),
            evidence: vec![
                format!("late by {} in {} turns", span(late), grouped(worst.grew(|figures| figures.late_turns))),
                format!("longest gap since the start {}", span(window.after.total.longest_gap_ns)),
            ],
            remedy: format!(
                "see what runs there: ps -eLo psr,pcpu,comm --sort -pcpu | awk '$1 == {core}'; give the worker a core of its own with --cores \
                 and isolcpus, and move the interrupts away"
            ),
        }
    })
}

/// The whole process stood still.
pub fn server_stopped(window: &Window<'_>) -> Option<Finding> {
    let late = window.control_late_ns();
    let hit = if late < STOPPED_NS { 0 } else { late };
    finding("server_stopped", 88.0, (hit, nanos(window)), || {
        Said {
        what: "The whole server stood still for a while: it was stopped, or the machine (or its hypervisor) ran something else.".into(),
        evidence: vec![
            format!("control thread late by {}", span(late)),
            format!("workers late by {}", span(window.total(|figures| figures.late_ns))),
        ],
        remedy: "look at the steal time of the machine (column st of `vmstat 1`), at its load, and for whoever sends SIGSTOP or freezes its \
                 control group"
            .into(),
    }
    })
}

/// The machine slept.
pub fn machine_suspended(window: &Window<'_>) -> Option<Finding> {
    let ahead = window.ahead_s(|stats| stats.setting.since_boot_s);
    finding("machine_suspended", 90.0, (u64::from(ahead > STEP_S), 1), || Said {
        what: "The machine was suspended: the connections of that time had to wait.".into(),
        evidence: vec![format!("the clock since boot went ahead by {ahead:.1} s")],
        remedy: "keep a server from sleeping: systemctl mask sleep.target suspend.target".into(),
    })
}

/// The time of day jumped.
pub fn clock_stepped(window: &Window<'_>) -> Option<Finding> {
    let ahead = window.ahead_s(|stats| stats.setting.time_of_day_s);
    let asleep = window.ahead_s(|stats| stats.setting.since_boot_s);
    let step = ahead - asleep;
    finding("clock_stepped", 15.0, (u64::from(step.abs() > STEP_S), 1), || {
        Said {
        what: "The time of day was set. Connections do not notice, they run by another clock; logs and graphs have a jump.".into(),
        evidence: vec![format!("by {step:+.1} s")],
        remedy: "let the clock be slewed and not stepped (chronyc tracking shows it)".into(),
    }
    })
}

/// A worker is at its limit.
pub fn worker_busy(window: &Window<'_>) -> Option<Finding> {
    let busiest = window.workers().max_by_key(|worker| worker.grew(|figures| figures.busy_ns))?;
    let busy = busiest.grew(|figures| figures.busy_ns);
    let hit = if real(busy) < BUSY_SHARE * real(nanos(window)) || busy == 0 { 0 } else { busy };
    finding("worker_busy", 65.0, (hit, nanos(window)), || Said {
        what: format!("The worker of queue {} is busy all the time: its core is the limit.", busiest.queue),
        evidence: vec![
            format!("busy {} of the time", share(real(busy), real(nanos(window)))),
            format!("{} frames received", grouped(busiest.rx_frames())),
        ],
        remedy: format!(
            "spread the load over more queues and cores: ethtool -L {} combined N, and serve with as many --cores",
            window.interface_name()
        ),
    })
}

/// The kernel does not take what is to be sent.
pub fn sending_fails(window: &Window<'_>) -> Option<Finding> {
    let (failed, invalid) = (window.port("tx_kicks_failed"), window.socket("tx_invalid_descs"));
    finding("sending_fails", 97.0, (failed + invalid, window.port("tx_kicks")), || Said {
        what: "The kernel refuses to send: the interface is down, or lost its queue.".into(),
        evidence: Window::evidence(&[
            ("tx_kicks_failed", failed),
            ("tx_kicks", window.port("tx_kicks")),
            ("tx_invalid_descs", invalid),
        ]),
        remedy: format!(
            "ip link set {0} up; if it is up (ip link show {0}), restart the server",
            window.interface_name()
        ),
    })
}

/// No frame for what has to be sent.
pub fn frames_short(window: &Window<'_>) -> Option<Finding> {
    let counts = [
        ("frame_shortage", window.engine("frame_shortage")),
        ("no_free_frame", window.port("no_free_frame")),
        ("tx_ring_full", window.port("tx_ring_full")),
        ("tx_kicks_again", window.port("tx_kicks_again")),
    ];
    // That a kick has to be repeated is normal; that frames run out is not.
    let hit = counts[..3].iter().map(|(_, count)| count).sum();
    finding("frames_short", 70.0, (hit, window.total(|figures| figures.turns)), || Said {
        what: "There was more to send than frames to send it in: the link does not take them as fast as they are made."
            .into(),
        evidence: Window::evidence(&counts),
        remedy: "serve with more packet memory: --frames 16384; a link that is full stays full, whatever the memory"
            .into(),
    })
}

/// No room for another connection.
pub fn flow_table_full(window: &Window<'_>) -> Option<Finding> {
    let hit = window.drops("flow_table_full");
    finding("flow_table_full", 98.0, (hit, window.engine("syns_received")), || {
        let total = &window.after.total;
        let waiting = total.states.get("TIME-WAIT").unwrap_or(0);
        let remedy = match waiting > total.flows_capacity / 2 {
            true => format!(
                "most of them wait out TIME-WAIT: shorten it (handfast reload -i {} with time-wait = \"1s\" under [tcp]), let clients close \
                 first, or restart with more --flows",
                window.interface_name()
            ),
            false => format!("restart with more: --flows {}", total.flows_capacity.saturating_mul(4)),
        };
        Said {
            what: "The flow table is full: new connections get no answer.".into(),
            evidence: [
                Window::evidence(&[("flow_table_full", hit)]),
                vec![
                    format!("{} of {} flows", grouped(total.flows), grouped(total.flows_capacity)),
                    format!("{} in TIME-WAIT", grouped(waiting)),
                ],
            ]
            .concat(),
            remedy,
        }
    })
}

/// Too many handshakes at once.
pub fn half_open_limit(window: &Window<'_>) -> Option<Finding> {
    let (dropped, evicted) = (window.drops("half_open_full"), window.engine("half_open_evicted"));
    let hit = dropped + evicted;
    finding("half_open_limit", 96.0, (hit, window.engine("syns_received")), || {
        let total = &window.after.total;
        Said {
            what: "The half-open limit is reached: SYNs get no answer, or have handshakes under way given up. Either a SYN flood, or \
                   peers that do not hear our SYN-ACKs."
                .into(),
            evidence: [
                Window::evidence(&[
                    ("half_open_full", dropped),
                    ("half_open_evicted", evicted),
                    ("half_open_timeouts", window.engine("half_open_timeouts")),
                ]),
                vec![format!("{} of {} half-open", grouped(total.half_open), grouped(total.half_open_limit))],
            ]
            .concat(),
            remedy: "set syn-cookies to auto, raise half-open-limit, or shorten half-open-timeout, and `handfast reload`; if the peers are \
                     honest, look for the way back of our SYN-ACKs"
                .into(),
        }
    })
}

/// SYNs are answered with cookies.
pub fn cookies_on(window: &Window<'_>) -> Option<Finding> {
    let hit = window.engine("cookies_sent");
    finding("cookies_on", 72.0, (hit, window.engine("syns_received")), || {
        Said {
        what: "SYNs are answered with cookies: nothing is kept for them, so a lost SYN-ACK is not repeated, and connections may be slower \
               to open."
            .into(),
        evidence: [
            Window::evidence(&[
                ("cookies_sent", hit),
                ("cookies_accepted", window.engine("cookies_accepted")),
                ("cookies_refused", window.engine("cookies_refused")),
                ("cookies_switched_on", window.engine("cookies_switched_on")),
            ]),
            vec![format!("{} half-open", grouped(window.after.total.half_open))],
        ]
        .concat(),
        remedy: "under a SYN flood that is right: limit its sources (syn-rate, deny). If the peers are honest, raise syn-cookies-at and \
                 half-open-limit, and `handfast reload`"
            .into(),
    }
    })
}

/// RST answers beyond their rate.
pub fn reset_limit(window: &Window<'_>) -> Option<Finding> {
    let hit = window.drops("reset_limited");
    finding("reset_limit", 82.0, (hit, hit + window.engine("resets_sent")), || {
        Said {
        what: "More segments without a connection arrive than are answered with RST: their peers wait until they give up.".into(),
        evidence: Window::evidence(&[("reset_limited", hit), ("resets_sent", window.engine("resets_sent"))]),
        remedy: "find out who sends them (a restart of the server, or a scan); raise resets-per-second under [tcp] and `handfast reload`".into(),
    }
    })
}

/// Challenge ACKs beyond their rate.
pub fn challenge_limit(window: &Window<'_>) -> Option<Finding> {
    let hit = window.drops("challenge_limited");
    finding("challenge_limit", 82.0, (hit, hit + window.engine("challenge_acks")), || {
        Said {
        what: "More segments arrive that do not fit their connection (a RST or SYN beside the window) than are challenged: an attack, or a peer \
               that lost its state."
            .into(),
        evidence: Window::evidence(&[("challenge_limited", hit), ("challenge_acks", window.engine("challenge_acks"))]),
        remedy: "see who sends them with tcpdump at the other end; if they are honest, raise challenges-per-second under [tcp] and `handfast \
                 reload`"
            .into(),
    }
    })
}

/// Nothing new is accepted.
pub fn draining(window: &Window<'_>) -> Option<Finding> {
    let refused = window.engine("resets_sent");
    finding("draining", 99.0, (u64::from(window.after.draining) * refused.max(1), refused.max(1)), || Said {
        what: "The server drains: it refuses new connections with RST and ends with its last one.".into(),
        evidence: [
            Window::evidence(&[("resets_sent", refused)]),
            vec![format!("{} flows left", grouped(window.after.total.flows))],
        ]
        .concat(),
        remedy: "a drain cannot be taken back: start the next server when this one has ended".into(),
    })
}
