//! The identities that hold whenever a worker has finished a turn.

use super::counters::Counters;

/// The frame ledger of an engine: received = transmitted in place + accepted + sum of drops.
///
/// Returns the difference, left side minus right side; 0 means that every received frame is accounted for.
pub fn frames_unaccounted(counters: &Counters) -> i128 {
    i128::from(counters.received)
        - i128::from(counters.transmitted_in_place)
        - i128::from(counters.accepted)
        - i128::from(counters.dropped_total())
}

/// The flow ledger of an engine: flows created = flows ended + flows that live now.
///
/// Every flow ends in exactly one way, and each way has a counter. Returns created minus ended minus `live`.
pub fn flows_unaccounted(counters: &Counters, live: u64) -> i128 {
    let created = i128::from(counters.passive_opens) + i128::from(counters.active_opens);
    let ended = [
        counters.closed,
        counters.reset_by_peer,
        counters.aborted,
        counters.half_open_timeouts,
        counters.half_open_resets,
        counters.half_open_evicted,
        counters.refused,
        counters.open_timeouts,
        counters.retransmission_timeouts,
        counters.idle_timeouts,
        counters.fin_wait_2_timeouts,
        counters.time_wait_expired,
        counters.time_wait_reused,
    ];
    created - ended.iter().map(|n| i128::from(*n)).sum::<i128>() - i128::from(live)
}
