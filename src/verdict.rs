//! The closed list of what can happen to a received frame.
//!
//! Every frame that a worker receives ends in exactly one [`Verdict`], and every drop names exactly one [`DropReason`].
//! Each variant has one counter, so that received = transmitted + accepted + sum of drops holds to the frame.

/// What becomes of a received frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// The frame was rewritten in place into the answer; its first `len` bytes go out.
    Transmit {
        /// Length of the answer in bytes, from the destination MAC on, without FCS.
        len: usize,
    },
    /// The frame was taken in and needs no answer now.
    Accept,
    /// The frame changed nothing, for the reason named.
    Drop(DropReason),
}

macro_rules! drop_reasons {
    ($( $(#[$doc:meta])* $name:ident => $text:literal ),+ $(,)?) => {
        /// Why a frame was dropped. Fieldless on purpose: it is an index into an array of counters.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum DropReason { $( $(#[$doc])* $name ),+ }

        impl DropReason {
            /// Every reason, in the order of their discriminants.
            pub const ALL: &'static [DropReason] = &[ $( DropReason::$name ),+ ];

            /// The name used in reports and JSON: lower case, words joined by `_`.
            pub const fn name(self) -> &'static str {
                match self { $( DropReason::$name => $text ),+ }
            }
        }
    };
}

drop_reasons! {
    /// The frame ends before the header that should be there.
    Truncated => "truncated",
    /// Neither IPv4 nor IPv6 behind at most two VLAN tags: steering let through what it should not have.
    NotIp => "not_ip",
    /// The destination MAC address is not this interface's.
    NotForUs => "not_for_us",
    /// An IPv4 header whose version, header length or total length cannot be.
    BadIpv4Header => "bad_ipv4_header",
    /// The IPv4 header checksum does not sum up.
    BadIpv4Checksum => "bad_ipv4_checksum",
    /// An IPv6 header whose version or payload length cannot be.
    BadIpv6Header => "bad_ipv6_header",
    /// An IPv6 extension header that is not understood, or more of them than are looked through.
    BadExtensionHeader => "bad_extension_header",
    /// A fragment; this stack does not reassemble.
    Fragment => "fragment",
    /// The payload is not TCP.
    NotTcp => "not_tcp",
    /// A source or destination address that no connection can have (RFC 1122 3.2.1.3, RFC 4291 2.7).
    BadAddress => "bad_address",
    /// A TCP data offset below 5 words or past the end of the segment.
    BadTcpHeader => "bad_tcp_header",
    /// The TCP checksum does not sum up, and the partial form is not allowed or not met either.
    BadTcpChecksum => "bad_tcp_checksum",
    /// Source or destination port 0.
    BadPort => "bad_port",
    /// Control bits that contradict each other or the state: SYN with FIN, a SYN within an open connection.
    BadFlags => "bad_flags",
    /// A RST to a connection that does not exist (RFC 9293 3.10.7.1: no answer to a RST).
    RstToClosed => "rst_to_closed",
    /// A RST outside the window (RFC 5961 3.2).
    RstOutOfWindow => "rst_out_of_window",
    /// A RST that TIME-WAIT ignores (RFC 1337).
    RstInTimeWait => "rst_in_time_wait",
    /// A segment for LISTEN that is neither SYN, ACK nor RST (RFC 9293 3.10.7.2).
    NotASyn => "not_a_syn",
    /// A SYN for which the flow table has no free slot.
    FlowTableFull => "flow_table_full",
    /// A SYN for which the half-open limit is reached.
    HalfOpenFull => "half_open_full",
    /// A challenge ACK was due but its rate limit is reached (RFC 5961 7).
    ChallengeLimited => "challenge_limited",
    /// A RST answer was due but its rate limit is reached.
    ResetLimited => "reset_limited",
    /// No ACK bit where every segment must carry one (RFC 9293 3.10.7.4, fifth).
    NoAck => "no_ack",
    /// Nothing in it that was not known already, and no answer is due.
    OldDuplicate => "old_duplicate",
    /// In SYN-SENT, a segment that neither opens the connection nor refuses it.
    UnexpectedInSynSent => "unexpected_in_syn_sent",
    /// Payload or FIN beyond a gap: not kept, the acknowledgment says what is missing.
    OutOfOrder => "out_of_order",
    /// Payload beyond the receive window.
    BeyondWindow => "beyond_window",
    /// An acknowledgment of what was never sent, or from further back than the peer's window (RFC 5961 5.2).
    AckOutOfWindow => "ack_out_of_window",
    /// No timestamp on a connection that negotiated them (RFC 7323 3.2).
    MissingTimestamp => "missing_timestamp",
}

/// How many drop reasons there are.
pub const DROP_REASONS: usize = DropReason::ALL.len();

impl DropReason {
    /// True if the steering program promises that no such frame gets here (see its rules in bpf/steer.bpf.c).
    pub const fn breaks_steering_contract(self) -> bool {
        matches!(self, Self::NotIp | Self::NotTcp | Self::NotForUs | Self::Fragment | Self::BadExtensionHeader)
    }

    /// Position in [`DropReason::ALL`] and in an array of counters.
    pub const fn index(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_own_index_and_name() {
        for (i, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), i);
            assert!(reason.name().bytes().all(|b| b.is_ascii_lowercase() || b == b'_' || b.is_ascii_digit()));
            assert_eq!(DropReason::ALL.iter().filter(|r| r.name() == reason.name()).count(), 1);
        }
    }
}
