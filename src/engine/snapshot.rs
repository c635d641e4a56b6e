//! Flows, copied out to be looked at elsewhere.

use super::Engine;
use crate::flow::Slot;
use crate::tcp::state::State;
use crate::time::Tick;
use crate::wire::seq::SeqNum;
use crate::wire::tuple::FourTuple;

/// What is shown of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowSnapshot {
    /// Both ends.
    pub tuple: FourTuple,
    /// The state.
    pub state: State,
    /// SND.UNA.
    pub snd_una: SeqNum,
    /// SND.NXT.
    pub snd_nxt: SeqNum,
    /// RCV.NXT.
    pub rcv_nxt: SeqNum,
    /// SND.WND in bytes.
    pub snd_wnd: u32,
    /// Bytes queued and not acknowledged.
    pub queued: u32,
    /// Retransmissions or probes in a row.
    pub retries: u8,
    /// Smoothed round-trip time in microseconds, 0 before the first sample.
    pub srtt_us: u32,
    /// Milliseconds until the timer is due.
    pub due_in_ms: u32,
    /// The listener's id.
    pub listener: u16,
}

/// Slots that one call looks at, at most.
const SCAN_SLOTS: u32 = 4_096;

impl Engine {
    /// Copies flows from slot `from` on, in `state` if one is given, as far as `out` has room: it does not grow. Returns where
    /// to go on, or `None` after the last slot. One call looks at a bounded number of slots.
    pub fn snapshot_flows(
        &self,
        from: u32,
        state: Option<State>,
        out: &mut Vec<FlowSnapshot>,
        now: Tick,
    ) -> Option<u32> {
        let end = self.capacity().min(from.saturating_add(SCAN_SLOTS));
        for slot in from..end {
            if out.len() == out.capacity() {
                return Some(slot);
            }
            let flow = self.flows.get(Slot(slot)).filter(|tcb| state.is_none_or(|state| state == tcb.state));
            if let Some(tcb) = flow {
                let due_in_ms = if now.before(tcb.deadline) { tcb.deadline.millis_since(now) } else { 0 };
                out.push(FlowSnapshot {
                    tuple: tcb.tuple,
                    state: tcb.state,
                    snd_una: tcb.snd_una,
                    snd_nxt: tcb.snd_max,
                    rcv_nxt: tcb.rcv_nxt,
                    snd_wnd: tcb.send_window(),
                    queued: tcb.queued,
                    retries: tcb.retries,
                    srtt_us: u32::from(tcb.srtt) * 125,
                    due_in_ms,
                    listener: tcb.service,
                });
            }
        }
        (end < self.capacity()).then_some(end)
    }
}
