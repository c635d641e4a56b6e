//! The states of a connection (RFC 9293 3.3.2).

/// The state of a TCB. LISTEN has no TCB (it is an entry in the table of listeners), and CLOSED is a free slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum State {
    /// We sent a SYN; the peer's is awaited.
    SynSent,
    /// Both SYNs are sent; the acknowledgment of ours is awaited.
    #[default]
    SynReceived,
    /// Open in both directions.
    Established,
    /// We closed; our FIN is not acknowledged yet.
    FinWait1,
    /// Our FIN is acknowledged; the peer has not closed.
    FinWait2,
    /// The peer closed; we have not.
    CloseWait,
    /// Both closed at once; our FIN is not acknowledged yet.
    Closing,
    /// The peer closed, then we did; our FIN is not acknowledged yet.
    LastAck,
    /// Both FINs are acknowledged, old duplicates are waited out.
    TimeWait,
}

impl State {
    /// Every state, in the order of their discriminants.
    pub const ALL: [State; 9] = [
        State::SynSent,
        State::SynReceived,
        State::Established,
        State::FinWait1,
        State::FinWait2,
        State::CloseWait,
        State::Closing,
        State::LastAck,
        State::TimeWait,
    ];

    /// The RFC's name.
    pub const fn name(self) -> &'static str {
        match self {
            State::SynSent => "SYN-SENT",
            State::SynReceived => "SYN-RECEIVED",
            State::Established => "ESTABLISHED",
            State::FinWait1 => "FIN-WAIT-1",
            State::FinWait2 => "FIN-WAIT-2",
            State::CloseWait => "CLOSE-WAIT",
            State::Closing => "CLOSING",
            State::LastAck => "LAST-ACK",
            State::TimeWait => "TIME-WAIT",
        }
    }

    /// Position in [`State::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// True if our own FIN was asked for and is not acknowledged yet.
    pub const fn awaits_ack_of_fin(self) -> bool {
        match self {
            State::FinWait1 | State::Closing | State::LastAck => true,
            State::SynSent
            | State::SynReceived
            | State::Established
            | State::FinWait2
            | State::CloseWait
            | State::TimeWait => false,
        }
    }

    /// True if queued text may be sent.
    pub const fn may_send(self) -> bool {
        match self {
            State::Established | State::CloseWait | State::FinWait1 | State::Closing | State::LastAck => true,
            State::SynSent | State::SynReceived | State::FinWait2 | State::TimeWait => false,
        }
    }

    /// True if text and FIN of the peer may still come in sequence: it has not closed.
    pub const fn peer_may_send(self) -> bool {
        match self {
            State::SynReceived | State::Established | State::FinWait1 | State::FinWait2 => true,
            State::SynSent | State::CloseWait | State::Closing | State::LastAck | State::TimeWait => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_has_its_own_index() {
        for (i, state) in State::ALL.iter().enumerate() {
            assert_eq!(state.index(), i);
        }
    }

    /// The states in which the RFC has SEND, RECEIVE and an outstanding FIN (RFC 9293 3.10.2, 3.10.3, 3.10.7.4).
    #[test]
    fn what_a_state_allows_is_what_the_rfc_says() {
        use State::*;
        let where_true = |property: fn(State) -> bool| -> Vec<State> {
            State::ALL.into_iter().filter(|state| property(*state)).collect()
        };
        assert_eq!(where_true(State::may_send), [Established, FinWait1, CloseWait, Closing, LastAck]);
        assert_eq!(where_true(State::peer_may_send), [SynReceived, Established, FinWait1, FinWait2]);
        assert_eq!(where_true(State::awaits_ack_of_fin), [FinWait1, Closing, LastAck]);
    }
}
