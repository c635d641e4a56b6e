//! Causes that show on the way in: at the interface, in the steering program, in the rings, in the parser.

use super::window::{Said, finding};
use super::{Finding, Window};
use crate::observe::balance::Imbalance;
use crate::observe::text::{grouped, ranges};

/// Connections on a queue that no worker serves.
pub fn queue_without_socket(window: &Window<'_>) -> Option<Finding> {
    let hit = window.steering("pass_no_socket");
    let among = hit + window.steering("redirected");
    finding("queue_without_socket", 95.0, (hit, among), || {
        let served: Vec<u32> = window.workers().map(|worker| worker.queue).collect();
        let all = window.after.setting.rx_queues;
        let missing: Vec<u32> = (0..all).filter(|queue| !served.contains(queue)).collect();
        let name = window.interface_name();
        let at = if missing.is_empty() { String::new() } else { format!(" ({})", ranges(&missing)) };
        Said {
            what: format!(
                "Segments for a listener arrive on a queue without a worker{at}: the kernel answers them with RST."
            ),
            evidence: Window::evidence(&[("pass_no_socket", hit), ("redirected", window.steering("redirected"))]),
            remedy: format!(
                "serve without --queues, or take the others away from the interface: ethtool -L {name} combined {}, or \
                 ethtool -X {name} equal {}",
                served.len(),
                served.len()
            ),
        }
    })
}

/// TCP for an address and port that nobody listens on.
pub fn not_listened_to(window: &Window<'_>) -> Option<Finding> {
    let hit = window.steering("pass_not_an_endpoint");
    let redirected = window.steering("redirected");
    // The kernel's own connections over the interface count here too, beside a server that works.
    let weight = if redirected == 0 { 80.0 } else { 40.0 };
    finding("not_listened_to", weight, (hit, hit + redirected), || {
        let listeners: Vec<_> = window.after.listeners.iter().map(crate::observe::text::address).collect();
        Said {
            what: "TCP segments arrive for an address or port that handfast does not listen on: they are the kernel's, which answers RST \
                   unless it listens there."
                .into(),
            evidence: Window::evidence(&[("pass_not_an_endpoint", hit), ("redirected", redirected)]),
            remedy: format!(
                "listen there, too: handfast reload -i {} --listen {} --listen [ADDR:]PORT=SERVICE",
                window.interface_name(),
                listeners.join(" --listen ")
            ),
        }
    })
}

/// Frames for another station.
pub fn wrong_mac_address(window: &Window<'_>) -> Option<Finding> {
    let hit = window.steering("pass_not_for_us") + window.drops("not_for_us");
    finding("wrong_mac_address", 80.0, (hit, hit + window.steering("redirected")), || Said {
        what: "TCP frames arrive with another destination MAC address than the interface's, and are not taken.".into(),
        evidence: Window::evidence(&[
            ("pass_not_for_us", window.steering("pass_not_for_us")),
            ("not_for_us", window.drops("not_for_us")),
        ]),
        remedy: format!(
            "give the sender the right one: compare `ip link show {name}` with `ip neigh` at the sender; a bridge, a macvlan or a \
             virtual router's address on {name} is not served",
            name = window.interface_name()
        ),
    })
}

/// Three or more VLAN tags.
pub fn too_many_vlan_tags(window: &Window<'_>) -> Option<Finding> {
    let hit = window.steering("pass_too_many_tags");
    finding("too_many_vlan_tags", 90.0, (hit, window.steering("seen")), || Said {
        what: "Frames arrive with three or more VLAN tags; two are read, the others are left to the kernel.".into(),
        evidence: Window::evidence(&[("pass_too_many_tags", hit), ("seen", window.steering("seen"))]),
        remedy: "send with at most two tags (802.1ad and 802.1Q): have the switch's port take the outer ones off"
            .into(),
    })
}

/// Fragments for an endpoint.
pub fn fragments(window: &Window<'_>) -> Option<Finding> {
    let hit = window.steering("drop_fragment");
    finding("fragments", 85.0, (hit, window.steering("seen")), || Said {
        what: "Segments arrive as IP fragments, which are not put together here: they are dropped.".into(),
        evidence: Window::evidence(&[
            ("drop_fragment", hit),
            ("pass_later_fragment", window.steering("pass_later_fragment")),
        ]),
        remedy: format!(
            "let no hop fragment: the same MTU on the whole path (here {} bytes), or path MTU discovery at the sender (sysctl \
             net.ipv4.ip_no_pmtu_disc=0)",
            window.after.setting.mtu
        ),
    })
}

/// Sources that a rule keeps out.
pub fn source_denied(window: &Window<'_>) -> Option<Finding> {
    let hit = window.steering("drop_denied");
    finding("source_denied", 65.0, (hit, hit + window.steering("redirected")), || Said {
        what: "Segments come from sources that `deny` names: they are dropped, as they are meant to be.".into(),
        evidence: Window::evidence(&[("drop_denied", hit), ("redirected", window.steering("redirected"))]),
        remedy: format!(
            "if they are welcome, except them: handfast reload -i {} --allow PREFIX, or take them out of deny in the configuration",
            window.interface_name()
        ),
    })
}

/// More SYNs from a prefix than it may send.
pub fn syn_rate(window: &Window<'_>) -> Option<Finding> {
    let hit = window.steering("drop_syn_rate");
    finding("syn_rate", 90.0, (hit, hit + window.engine("syns_received")), || {
        Said {
        what: "A source prefix sends more SYNs than `syn-rate` lets it: the others are dropped.".into(),
        evidence: Window::evidence(&[("drop_syn_rate", hit), ("syns_received", window.engine("syns_received"))]),
        remedy: "if many clients share a prefix (behind one NAT, say), raise syn-rate, or make syn-rate-prefix-v4 and -v6 longer, and restart"
            .into(),
    }
    })
}

/// SYNs that the steering program answers: a state and no fault, as long as somebody acknowledges.
pub fn syns_answered_by_steering(window: &Window<'_>) -> Option<Finding> {
    let hit = window.steering("tx_cookie");
    finding("syns_answered_by_steering", 71.0, (hit, window.steering("seen")), || {
        Said {
        what: "The steering program answers SYNs with cookies, before any worker sees them: a lost SYN-ACK is not repeated, and                connections may be slower to open."
            .into(),
        evidence: Window::evidence(&[
            ("tx_cookie", hit),
            ("cookies_accepted", window.engine("cookies_accepted")),
            ("cookies_refused", window.engine("cookies_refused")),
        ]),
        remedy: format!(
            "under a SYN flood that is right: limit its sources (syn-rate, deny). If the peers are honest, raise syn-xdp-at and `handfast              reload`; if cookies_accepted stays at 0, the answers do not arrive: handfast doctor -i {} says why (syn-answers)",
            window.interface_name()
        ),
    }
    })
}

/// Headers that cannot be.
pub fn malformed_frames(window: &Window<'_>) -> Option<Finding> {
    let steering =
        ["pass_truncated", "pass_bad_ip_header", "drop_bad_ip_length", "drop_bad_tcp_header", "drop_extension_header"];
    let engine = [
        "truncated",
        "bad_ipv4_header",
        "bad_ipv4_checksum",
        "bad_ipv6_header",
        "bad_extension_header",
        "bad_address",
        "bad_tcp_header",
        "bad_port",
        "bad_flags",
    ];
    let counts: Vec<(&str, u64)> = steering
        .iter()
        .map(|name| (*name, window.steering(name)))
        .chain(engine.iter().map(|name| (*name, window.drops(name))))
        .collect();
    let hit = counts.iter().map(|(_, count)| count).sum();
    finding("malformed_frames", 85.0, (hit, window.steering("seen")), || Said {
        what: "Frames arrive whose headers cannot be: cut off, contradictory, or from addresses that nobody can have."
            .into(),
        evidence: Window::evidence(&counts),
        remedy: format!(
            "find their sender with tcpdump at the other end of the link (here it sees no steered frame), and look at `ethtool -S {}` for \
             errors of the link; a port scan looks like this, too, and does no harm",
            window.interface_name()
        ),
    })
}

/// What the driver reports.
pub fn interface_errors(window: &Window<'_>) -> Option<Finding> {
    let counts = ["rx_errors", "rx_dropped", "tx_errors", "tx_dropped"].map(|name| (name, window.interface(name)));
    let hit = counts.iter().map(|(_, count)| count).sum();
    finding("interface_errors", 70.0, (hit, window.interface("rx_packets")), || Said {
        what: "The interface itself loses frames.".into(),
        evidence: Window::evidence(&counts),
        remedy: format!(
            "see which counter of the driver grows: ethtool -S {0}; larger rings: ethtool -G {0} rx 4096",
            window.interface_name()
        ),
    })
}

/// Partial checksums where they are refused.
pub fn partial_checksums_refused(window: &Window<'_>) -> Option<Finding> {
    let setting = &window.after.setting;
    let hit = if setting.partial_checksums { 0 } else { window.drops("bad_tcp_checksum") };
    // A NIC's checksums go wrong for other reasons, a veth's hardly.
    let weight = if setting.veth { 95.0 } else { 60.0 };
    finding("partial_checksums_refused", weight, (hit, window.engine("received")), || {
        Said {
        what: "TCP checksums do not sum up, and partial ones are refused: a sender on this machine leaves them to hardware that is not there."
            .into(),
        evidence: Window::evidence(&[("bad_tcp_checksum", hit), ("received", window.engine("received"))]),
        remedy: "serve with --partial-checksums accept, or have the sender compute them: ethtool -K PEER tx off".into(),
    }
    })
}

/// Wrong checksums where partial ones are taken.
pub fn corrupted_segments(window: &Window<'_>) -> Option<Finding> {
    let hit = if window.after.setting.partial_checksums { window.drops("bad_tcp_checksum") } else { 0 };
    finding("corrupted_segments", 80.0, (hit, window.engine("received")), || Said {
        what: "TCP checksums do not sum up: segments are damaged on the way, or by a sender's offload.".into(),
        evidence: Window::evidence(&[("bad_tcp_checksum", hit), ("received", window.engine("received"))]),
        remedy: format!(
            "look for errors of the link with ethtool -S {}, and try the sender without offload: ethtool -K DEV tx off",
            window.interface_name()
        ),
    })
}

/// Frames longer than a chunk of packet memory.
pub fn frames_too_long(window: &Window<'_>) -> Option<Finding> {
    let empty = window.socket("rx_fill_ring_empty_descs");
    let hit = if empty == 0 { window.socket("rx_dropped") } else { 0 };
    finding("frames_too_long", 90.0, (hit, window.steering("redirected")), || {
        Said {
        what: "Frames arrive that are longer than a frame of packet memory, which was sized by the interface's MTU at the start.".into(),
        evidence: [
            Window::evidence(&[("rx_dropped", hit)]),
            vec!["rx_fill_ring_empty_descs +0".into(), format!("MTU {} at the start", window.after.setting.mtu)],
        ]
        .concat(),
        remedy: format!(
            "restart the server if the MTU was raised since (ip link show {}); lower the sender's MTU; on a veth switch off super-frames there: \
             ethtool -K PEER tso off gso off",
            window.interface_name()
        ),
    }
    })
}

/// No free frame to receive into, or no place in the RX ring.
pub fn fill_ring_starved(window: &Window<'_>) -> Option<Finding> {
    let empty = window.socket("rx_fill_ring_empty_descs");
    let dropped = if empty > 0 { window.socket("rx_dropped") } else { 0 };
    let full = window.socket("rx_ring_full");
    let hit = dropped + full;
    finding("fill_ring_starved", 92.0, (hit, window.steering("redirected")), || {
        Said {
        what: "The kernel found no free frame of packet memory to receive into, and dropped what arrived: the worker is slower than the link, \
               or did not have its core."
            .into(),
        evidence: Window::evidence(&[
            ("rx_dropped", dropped),
            ("rx_ring_full", full),
            ("rx_fill_ring_empty_descs", empty),
            ("fill_starved", window.port("fill_starved")),
            ("late_turns", window.total(|figures| figures.late_turns)),
        ]),
        remedy: "serve with more packet memory (--frames 16384), more queues, or a core that nothing else uses (--cores)".into(),
    }
    })
}

/// Frames in a second above which a queue is worth looking at.
const IMBALANCE_FRAMES_PER_SECOND: f64 = 200.0;

/// One queue does nearly everything.
pub fn queue_imbalance(window: &Window<'_>) -> Option<Finding> {
    let frames: Vec<(u32, u64)> = window.workers().map(|worker| (worker.queue, worker.rx_frames())).collect();
    let imbalance = Imbalance::of(&frames)?;
    #[expect(clippy::cast_precision_loss, reason = "a rate, compared with a coarse limit")]
    let rate = imbalance.total as f64 / window.seconds().max(f64::EPSILON);
    let hit = if rate > IMBALANCE_FRAMES_PER_SECOND { imbalance.beyond_share() } else { 0 };
    let queue = imbalance.queue;
    finding("queue_imbalance", 60.0, (hit, imbalance.total), || Said {
        what: format!(
            "The queues are loaded unevenly: queue {queue} receives most of the frames, and its core most of the work."
        ),
        evidence: frames.iter().map(|(queue, frames)| format!("queue {queue}: {} frames", grouped(*frames))).collect(),
        remedy: imbalance.remedy(window.interface_name()),
    })
}

/// An equation that does not hold.
pub fn books_out_of_balance(window: &Window<'_>) -> Option<Finding> {
    // What the driver counts is its own affair: only our own places have to agree.
    let ours = window.after.identities.iter().filter(|identity| identity.name != "interface_to_program");
    let broken: Vec<_> = ours.filter(|identity| !identity.holds()).collect();
    let hit = u64::try_from(broken.len()).unwrap_or(u64::MAX);
    finding("books_out_of_balance", 75.0, (hit, 1), || {
        Said {
        what: "Frames are lost between two places that count them, or counted twice: a defect of handfast or of the kernel.".into(),
        evidence: broken
            .iter()
            .map(|identity| format!("{}: {} unaccounted for", identity.name, identity.difference))
            .collect(),
        remedy: format!("please report it with the output of: handfast stats -i {} --json", window.interface_name()),
    }
    })
}
