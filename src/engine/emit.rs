//! What goes out without a segment that asks for it: the rest of a send stream, and what timers are for.

use super::arrive::{count_sent, write};
use super::{Engine, env};
use crate::flow::Slot;
use crate::tcp::output;
use crate::tcp::state::State;
use crate::tcp::tcb::Tcb;
use crate::tcp::timeout::{self, Expired, deadline, is_waiting};
use crate::time::{Now, Tick};
use crate::wire::ether::Mac;
use crate::wire::reply::{Addressing, Reply};

impl Engine {
    /// Writes the next frame that is due into `frame` and returns its length; `None` when nothing is due any more, or `budget`
    /// timers were looked at. `frame` has room for a whole frame of the interface's MTU.
    ///
    /// Flows that have more to send take turns, one segment each.
    pub fn emit(&mut self, now: Now, budget: &mut u32, frame: &mut [u8]) -> Option<usize> {
        let tick = now.tick();
        let len = loop {
            if let Some(slot) = self.ready.pop() {
                match self.continue_stream(slot, frame, tick) {
                    Some(len) => break len,
                    None => continue,
                }
            }
            if *budget == 0 {
                self.counters.timer_budget_exhausted += u64::from(self.has_due(now));
                return None;
            }
            let slot = self.wheel.expired(tick)?;
            *budget -= 1;
            if let Some(len) = self.expire(slot, frame, tick) {
                break len;
            }
        };
        self.counters.emitted += 1;
        Some(len)
    }

    /// The next segment of a flow that had more to send.
    fn continue_stream(&mut self, slot: Slot, frame: &mut [u8], now: Tick) -> Option<usize> {
        let env = env(&self.config, self.timestamp_offset, now);
        // The flow may have ended, and another may have its slot: that one has nothing to send or is glad to.
        let tcb = self.flows.get_mut(slot)?;
        let before = tcb.state;
        let was_waiting = is_waiting(tcb);
        let sent = output::next_segment(tcb, false, env)?;
        if !was_waiting {
            tcb.deadline = deadline(tcb, env);
        }
        if output::has_more(tcb) {
            self.ready.push(slot);
        }
        let reply = count_sent(&sent, &mut self.counters);
        let len = write(frame, &addressing(tcb, self.config.mac), &reply, tcb, self.listeners.service(tcb.service));
        self.settle(slot, before);
        Some(len)
    }

    /// A timer that came due.
    fn expire(&mut self, slot: Slot, frame: &mut [u8], now: Tick) -> Option<usize> {
        let env = env(&self.config, self.timestamp_offset, now);
        let tcb = self.flows.get_mut(slot)?;
        let before = tcb.state;
        let expired = timeout::expire(tcb, env);
        let to = addressing(tcb, self.config.mac);
        let tcb = *tcb;
        self.counters.timers_fired += u64::from(expired != Expired::NotYet);
        let reply: Option<Reply> = match expired {
            Expired::NotYet => None,
            Expired::SynAgain(reply) => {
                match before {
                    State::SynSent => self.counters.syn_retransmissions += 1,
                    _ => self.counters.syn_ack_retransmissions += 1,
                }
                Some(reply)
            }
            Expired::Retransmit(sent) => Some(count_sent(&sent, &mut self.counters)),
            Expired::WindowProbe(sent) => {
                self.counters.window_probes += 1;
                self.counters.bytes_sent += u64::from(sent.fresh);
                Some(sent.reply)
            }
            Expired::KeepaliveProbe(reply) => {
                self.counters.keepalive_probes += 1;
                Some(reply)
            }
            Expired::End(end, reset) => {
                self.end_in_state(slot, before, end);
                reset
            }
        };
        self.settle(slot, before);
        let service = self.listeners.service(tcb.service);
        reply.map(|reply| write(frame, &to, &reply, &tcb, service))
    }
}

/// Where a frame of the connection goes that answers none.
pub(super) fn addressing(tcb: &Tcb, mac: Mac) -> Addressing {
    Addressing { dst_mac: tcb.peer_mac, src_mac: mac, tags: tcb.tags, tuple: tcb.tuple }
}
