//! CLOSE and ABORT by the user (RFC 9293 3.10.4, 3.10.5). The user is the connection's service, or an operator.

use super::state::State;
use super::tcb::{Flags, Tcb};
use crate::wire::reply::Reply;

/// CLOSE: nothing more will be queued; a FIN follows what is. The state changes at once, the FIN goes out with the
/// next [`super::output`]. A second CLOSE changes nothing.
pub fn close(tcb: &mut Tcb) {
    let next = match tcb.state {
        State::Established => State::FinWait1,
        State::CloseWait => State::LastAck,
        // A service hears of a connection only once it is established, so it cannot close an earlier one.
        State::SynReceived | State::FinWait1 | State::FinWait2 | State::Closing | State::LastAck | State::TimeWait => {
            return;
        }
    };
    tcb.state = next;
    tcb.flags.put(Flags::FIN_QUEUED, true);
}

/// ABORT: the RST that tells the peer, or `None` where the RFC sends none because both sides have closed already. The
/// TCB is to be deleted.
pub fn abort(tcb: &Tcb) -> Option<Reply> {
    match tcb.state {
        State::SynReceived | State::Established | State::FinWait1 | State::FinWait2 | State::CloseWait => {
            Some(tcb.reset())
        }
        State::Closing | State::LastAck | State::TimeWait => None,
    }
}
