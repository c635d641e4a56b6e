//! The limits and times of the TCP, each named, with its default and what happens when it is reached.

/// What a TCP is configured with. Times are in milliseconds. Validated by the control path before it gets here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpConfig {
    /// Largest segment payload we announce over IPv4, in bytes: the interface's MTU less 40.
    pub mss_v4: u16,
    /// Largest segment payload we announce over IPv6, in bytes: the interface's MTU less 60.
    pub mss_v6: u16,
    /// Receive window in bytes; announced as far as the peer's window scaling allows.
    pub window_bytes: u32,
    /// Offer and accept window scaling (RFC 7323 2).
    pub window_scaling: bool,
    /// Accept SACK-permitted (RFC 2018). Blocks are not sent: nothing out of order is kept.
    pub sack_permitted: bool,
    /// Accept timestamps (RFC 7323 3).
    pub timestamps: bool,
    /// Initial congestion window in segments (RFC 6928).
    pub initial_window_segments: u16,
    /// Retransmission time-out before the first round-trip sample (RFC 6298 2.1).
    pub rto_initial_ms: u32,
    /// Lower bound of the retransmission time-out.
    pub rto_min_ms: u32,
    /// Upper bound of the retransmission time-out, after back-off too (RFC 6298 2.5).
    pub rto_max_ms: u32,
    /// How often a SYN or SYN-ACK is sent again before the half-open connection is given up.
    pub syn_retries: u8,
    /// A half-open connection is given up after this long, whatever the retries say.
    pub half_open_timeout_ms: u32,
    /// How often data or a FIN is sent again before the connection is given up.
    pub data_retries: u8,
    /// Length of TIME-WAIT, two maximum segment lifetimes (RFC 9293 3.4.2).
    pub time_wait_ms: u32,
    /// How long FIN-WAIT-2 waits for the peer's FIN.
    pub fin_wait_2_ms: u32,
    /// A connection whose peer sends nothing for this long is aborted; 0 switches it off.
    pub idle_timeout_ms: u32,
    /// Silence before the first keepalive probe (RFC 9293 3.8.4); 0, the default, switches keepalive off.
    pub keepalive_idle_ms: u32,
    /// Time between keepalive probes.
    pub keepalive_interval_ms: u32,
    /// Unanswered keepalive probes before the connection is aborted.
    pub keepalive_probes: u8,
    /// Least time between two challenge ACKs of one connection.
    pub challenge_interval_ms: u32,
    /// Challenge ACKs that one engine sends in a second at most (RFC 5961 7).
    pub challenges_per_second: u32,
    /// RST segments that one engine sends in a second at most for segments without a connection.
    pub resets_per_second: u32,
    /// Half-open connections that one engine holds at most.
    pub half_open_limit: u32,
    /// What becomes of a SYN at that limit, and of one for which there is no slot.
    pub half_open_full: HalfOpenFull,
    /// When SYN cookies take the place of half-open connections (RFC 4987 3.6).
    pub syn_cookies: SynCookies,
    /// Half-open connections from which on an engine is under pressure; `None` is half of the limit.
    pub syn_cookies_at: Option<u32>,
    /// [`TcpConfig::half_open_timeout_ms`] under pressure, if that is the longer one (RFC 4987 3.3).
    pub pressure_timeout_ms: u32,
    /// [`TcpConfig::syn_retries`] under pressure, if that is the larger one.
    pub pressure_syn_retries: u8,
}

/// When the peer's SYN is answered by a cookie and not by a connection in SYN-RECEIVED.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SynCookies {
    /// Under pressure.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl SynCookies {
    /// Every choice.
    pub const ALL: [Self; 3] = [Self::Auto, Self::Always, Self::Never];

    /// Its name in options and files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Always => "always",
            Self::Never => "never",
        }
    }
}

/// What becomes of a SYN for which there is no room, where it is not answered by a cookie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HalfOpenFull {
    /// It is dropped.
    Drop,
    /// The oldest half-open connection is given up for it.
    #[default]
    EvictOldest,
    /// A half-open connection drawn by lot is given up for it.
    EvictRandom,
}

impl HalfOpenFull {
    /// Every choice.
    pub const ALL: [Self; 3] = [Self::Drop, Self::EvictOldest, Self::EvictRandom];

    /// Its name in options and files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::EvictOldest => "evict-oldest",
            Self::EvictRandom => "evict-random",
        }
    }
}

impl TcpConfig {
    /// Half-open connections from which on an engine is under pressure: at least one, at most the limit.
    pub fn pressure_at(&self) -> u32 {
        self.syn_cookies_at.unwrap_or(self.half_open_limit / 2).min(self.half_open_limit).max(1)
    }

    /// The configuration that half-open connections have under pressure.
    #[must_use]
    pub fn under_pressure(&self) -> Self {
        Self {
            half_open_timeout_ms: self.half_open_timeout_ms.min(self.pressure_timeout_ms),
            syn_retries: self.syn_retries.min(self.pressure_syn_retries),
            ..*self
        }
    }

    /// The defaults for an interface with the given MTU in bytes.
    ///
    /// # Panics
    ///
    /// Never: an MTU below the headers counts as the least that IPv4 allows to assume (576 bytes).
    pub fn for_mtu(mtu: u16) -> Self {
        let mtu = mtu.max(576);
        Self { mss_v4: mtu - 40, mss_v6: mtu - 60, ..Self::default() }
    }
}

impl Default for TcpConfig {
    fn default() -> Self {
        Self {
            mss_v4: 1460,
            mss_v6: 1440,
            window_bytes: 256 * 1024,
            window_scaling: true,
            sack_permitted: true,
            timestamps: true,
            initial_window_segments: 10,
            rto_initial_ms: 1_000,
            rto_min_ms: 200,
            rto_max_ms: 60_000,
            syn_retries: 5,
            half_open_timeout_ms: 63_000,
            data_retries: 10,
            time_wait_ms: 60_000,
            fin_wait_2_ms: 60_000,
            idle_timeout_ms: 2 * 3_600_000,
            keepalive_idle_ms: 0,
            keepalive_interval_ms: 75_000,
            keepalive_probes: 9,
            challenge_interval_ms: 1_000,
            challenges_per_second: 1_000,
            resets_per_second: 10_000,
            half_open_limit: 65_536,
            half_open_full: HalfOpenFull::default(),
            syn_cookies: SynCookies::default(),
            syn_cookies_at: None,
            pressure_timeout_ms: 3_000,
            pressure_syn_retries: 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_segment_sizes_follow_from_the_mtu() {
        for (mtu, v4, v6) in [(1_500, 1_460, 1_440), (9_000, 8_960, 8_940), (576, 536, 516), (68, 536, 516)] {
            let config = TcpConfig::for_mtu(mtu);
            assert_eq!((config.mss_v4, config.mss_v6), (v4, v6), "MTU {mtu}");
        }
    }
}
