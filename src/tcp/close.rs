//! CLOSE and ABORT by the user (RFC 9293 3.10.4, 3.10.5). The user is the connection's service, or whoever opened it.

use super::effects::{End, Life};
use super::state::State;
use super::tcb::{Flags, Tcb};
use crate::wire::reply::Reply;

/// CLOSE: nothing more will be queued; a FIN follows what is. The state changes at once, the FIN goes out with the
/// next [`super::output`]. A second CLOSE changes nothing. Before the connection is established, SYN-RECEIVED keeps the CLOSE
/// for later, and SYN-SENT has nothing to lose.
pub fn close(tcb: &mut Tcb) -> Life {
    match tcb.state {
        State::SynSent => return Life::Delete(End::Aborted),
        State::SynReceived => {}
        State::Established => tcb.state = State::FinWait1,
        State::CloseWait => tcb.state = State::LastAck,
        State::FinWait1 | State::FinWait2 | State::Closing | State::LastAck | State::TimeWait => return Life::Keep,
    }
    tcb.flags.put(Flags::FIN_QUEUED, true);
    Life::Keep
}

/// ABORT: the RST that tells the peer, or `None` where the RFC sends none, because the peer knows of no connection or both
/// sides have closed already. The TCB is to be deleted.
pub fn abort(tcb: &Tcb) -> Option<Reply> {
    match tcb.state {
        State::SynReceived | State::Established | State::FinWait1 | State::FinWait2 | State::CloseWait => {
            Some(tcb.reset())
        }
        State::SynSent | State::Closing | State::LastAck | State::TimeWait => None,
    }
}
