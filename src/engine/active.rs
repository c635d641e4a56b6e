//! The user's calls: OPEN (active), CLOSE and ABORT (RFC 9293 3.10.1, 3.10.4, 3.10.5).

use super::arrive::write;
use super::emit::addressing;
use super::{Engine, env};
use crate::flow::{FlowId, Full};
use crate::tcp::close;
use crate::tcp::effects::{End, Life};
use crate::tcp::state::State;
use crate::tcp::syn_sent::{ActiveOpen, open_active};
use crate::tcp::timeout::{deadline, is_waiting};
use crate::time::Now;

/// Why an OPEN was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// The flow table has no free slot.
    Full,
    /// The four-tuple has a connection, possibly one in TIME-WAIT.
    InUse,
}

/// The flow named by a user's call has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended;

impl Engine {
    /// OPEN: makes a flow in SYN-SENT and writes its SYN into `frame`. Returns its name and the frame's length in bytes.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; nothing is written then.
    pub fn open(&mut self, open: &ActiveOpen, now: Now, frame: &mut [u8]) -> Result<(FlowId, usize), OpenError> {
        let hash = self.flows.hash(&open.tuple);
        if self.flows.find(hash, &open.tuple).is_some() {
            return Err(OpenError::InUse);
        }
        let tcb = open_active(open, self.isn.isn(&open.tuple, now), self.env(now.tick()));
        let slot = self.flows.insert(hash, tcb).map_err(|Full| OpenError::Full)?;
        let id = self.flows.id(slot).expect("just inserted");
        self.counters.active_opens += 1;
        self.states[State::SynSent.index()] += 1;
        self.listeners.acquired(tcb.service, State::SynSent);
        self.wheel.start(slot, tcb.deadline);
        self.counters.emitted += 1;
        let syn = tcb.syn(self.env(now.tick()));
        let service = self.listeners.service(tcb.service);
        Ok((id, write(frame, &addressing(&tcb, self.config.mac), &syn, &tcb, service)))
    }

    /// CLOSE: a FIN follows what is queued. It goes out with the next [`Engine::emit`].
    ///
    /// # Errors
    ///
    /// [`Ended`] if there is no such flow any more.
    pub fn close(&mut self, id: FlowId, now: Now) -> Result<(), Ended> {
        let slot = self.flows.slot(id).ok_or(Ended)?;
        let env = env(&self.config, self.timestamp_offset, now.tick());
        let tcb = self.flows.get_mut(slot).ok_or(Ended)?;
        let (before, was_waiting) = (tcb.state, is_waiting(tcb));
        match close::close(tcb) {
            Life::Keep => {
                if !was_waiting && is_waiting(tcb) {
                    tcb.deadline = deadline(tcb, env);
                }
                self.ready.push(slot);
                self.settle(slot, before);
            }
            Life::Delete(end) => self.end_in_state(slot, before, end),
        }
        Ok(())
    }

    /// ABORT: ends the flow. Returns the length of the RST written into `frame`, if the RFC has one sent.
    ///
    /// # Errors
    ///
    /// [`Ended`] if there is no such flow any more.
    pub fn abort(&mut self, id: FlowId, frame: &mut [u8]) -> Result<Option<usize>, Ended> {
        let slot = self.flows.slot(id).ok_or(Ended)?;
        let tcb = *self.flows.get(slot).ok_or(Ended)?;
        self.end(slot, End::Aborted);
        let Some(reset) = close::abort(&tcb) else { return Ok(None) };
        self.counters.emitted += 1;
        let service = self.listeners.service(tcb.service);
        Ok(Some(write(frame, &addressing(&tcb, self.config.mac), &reset, &tcb, service)))
    }
}
