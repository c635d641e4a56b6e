//! Causes that lie with the other ends of connections, or on the path to them.

use super::window::{Said, finding};
use super::{Finding, Window};

/// A share in percent of segments sent again that is worth a word.
const LOSS_PERCENT: u64 = 1;

/// Segments for connections that the engine does not know.
pub fn unknown_connections(window: &Window<'_>) -> Option<Finding> {
    let (sent, ignored) = (window.engine("resets_sent"), window.drops("rst_to_closed") + window.drops("not_a_syn"));
    // While it drains that is what it does.
    let hit = if window.after.draining { 0 } else { sent };
    finding("unknown_connections", 60.0, (hit, window.engine("received")), || {
        Said {
        what: "Segments arrive for connections that the server does not know, or at a listener that was closed: it answers RST.".into(),
        evidence: Window::evidence(&[("resets_sent", sent), ("rst_to_closed, not_a_syn", ignored)]),
        remedy: format!(
            "after a restart of the server that is to be expected, and ends. If it goes on, connections change their queue: keep RSS still \
             (ethtool -x {} shows its table), or the listener is gone: handfast stats -i {0}",
            window.interface_name()
        ),
    }
    })
}

/// SYN-ACKs that nobody acknowledges.
pub fn syn_acks_unanswered(window: &Window<'_>) -> Option<Finding> {
    let again = window.engine("syn_ack_retransmissions");
    let given_up = window.engine("half_open_timeouts");
    let among = again + window.engine("established");
    finding("syn_acks_unanswered", 84.0, (again + given_up, among), || {
        Said {
        what: "Peers do not acknowledge our SYN-ACKs: the way back does not reach them, or the SYNs come from addresses that are not theirs."
            .into(),
        evidence: Window::evidence(&[
            ("syn_ack_retransmissions", again),
            ("half_open_timeouts", given_up),
            ("established", window.engine("established")),
        ]),
        remedy: "answers go to the MAC address that the SYN came from: see with tcpdump at the peer whether they arrive; a router with two \
                 ways, a firewall that saw no SYN, or a SYN flood look like this"
            .into(),
    }
    })
}

/// Segments sent again.
pub fn path_loses(window: &Window<'_>) -> Option<Finding> {
    let names = ["data_retransmissions", "fin_retransmissions", "fast_retransmissions", "duplicate_acks"];
    let counts = names.map(|name| (name, window.engine(name)));
    let hit: u64 = counts.iter().map(|(_, count)| count).sum();
    let sent = window.port("tx_frames");
    let hit = if hit * 100 < sent * LOSS_PERCENT { 0 } else { hit };
    finding("path_loses", 80.0, (hit, sent), || Said {
        what: "Segments are lost or delayed on the path: they are sent again, or arrive beyond a gap.".into(),
        evidence: Window::evidence(&[counts[0], counts[1], counts[2], counts[3], ("tx_frames", sent)]),
        remedy: format!(
            "look for drops on the way (ethtool -S {} and at the switch; a veth's ring holds 256 frames), and for a policer or a full link",
            window.interface_name()
        ),
    })
}

/// Open connections whose peers fell silent.
pub fn peers_vanish(window: &Window<'_>) -> Option<Finding> {
    let names = ["retransmission_timeouts", "idle_timeouts", "fin_wait_2_timeouts"];
    let counts = names.map(|name| (name, window.engine(name)));
    let hit: u64 = counts.iter().map(|(_, count)| count).sum();
    finding("peers_vanish", 55.0, (hit, hit + window.engine("closed")), || {
        Said {
        what: "Connections were given up because their peers fell silent.".into(),
        evidence: Window::evidence(&counts),
        remedy: "look whether a firewall or NAT on the way forgets connections earlier than they end; `keepalive` under [tcp] keeps them known"
            .into(),
    }
    })
}

/// Peers whose window is closed.
pub fn peers_do_not_read(window: &Window<'_>) -> Option<Finding> {
    let hit = window.engine("window_probes");
    finding("peers_do_not_read", 75.0, (hit, window.port("tx_frames")), || Said {
        what: "Peers do not read what they asked for: their receive window is closed, and the rest has to wait.".into(),
        evidence: Window::evidence(&[("window_probes", hit)]),
        remedy: format!(
            "the slow end is the peer's program; which ones: handfast flows -i {} (column queued)",
            window.interface_name()
        ),
    })
}

/// Peers that end connections with RST.
pub fn peers_reset(window: &Window<'_>) -> Option<Finding> {
    let counts =
        [("reset_by_peer", window.engine("reset_by_peer")), ("half_open_resets", window.engine("half_open_resets"))];
    let hit: u64 = counts.iter().map(|(_, count)| count).sum();
    finding("peers_reset", 50.0, (hit, hit + window.engine("closed")), || {
        Said {
        what: "Peers end connections with RST.".into(),
        evidence: Window::evidence(&counts),
        remedy: "clients that time out, that close with unread data or SO_LINGER 0, and load balancers' health checks do that; the reason is \
                 in their logs"
            .into(),
    }
    })
}

/// Segments from the past.
pub fn old_segments(window: &Window<'_>) -> Option<Finding> {
    let counts =
        [("paws_rejected", window.engine("paws_rejected")), ("missing_timestamp", window.drops("missing_timestamp"))];
    let hit: u64 = counts.iter().map(|(_, count)| count).sum();
    finding("old_segments", 60.0, (hit, window.engine("received")), || {
        Said {
        what: "Segments are refused for their timestamps: they are old, or several machines behind one address answer for each other.".into(),
        evidence: Window::evidence(&counts),
        remedy: "look for a NAT or load balancer that mixes the timestamps of several machines; timestamps = false under [tcp] does without \
                 them, for new connections"
            .into(),
    }
    })
}
