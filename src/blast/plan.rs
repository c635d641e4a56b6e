//! What a run is, after all checks; and what of it falls to each of several workers. Values only.

use super::pace::Pace;
use super::tuples::{Cidr, Tuples};
use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;

/// Connections in progress at once where nothing else limits them.
pub const DEFAULT_IN_PROGRESS: u32 = 512;

/// Who ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum CloseBy {
    /// We close first.
    Client,
    /// We wait until the target closes.
    Server,
    /// We send a RST.
    Reset,
}

impl fmt::Display for CloseBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Server => "server",
            Self::Reset => "reset",
        })
    }
}

/// How long a connection stays open once it is established, or its request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// So many nanoseconds.
    Nanos(u64),
    /// Until the run ends.
    UntilEnd,
    /// Until more than the concurrency are open: then the oldest is closed.
    WhileWithin,
}

/// A run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where connections are opened to.
    pub target: SocketAddr,
    /// From which addresses.
    pub sources: Cidr,
    /// From which ports.
    pub ports: RangeInclusive<u16>,
    /// Starts a second, by a schedule; `None` for as soon as the other limits allow.
    pub rate: Option<u64>,
    /// Connections at once.
    pub concurrency: Option<u32>,
    /// Connections in all.
    pub connections: Option<u64>,
    /// How long connections are started, in nanoseconds.
    pub duration_ns: u64,
    /// How long rate or concurrency rises, in nanoseconds.
    pub ramp_ns: u64,
    /// How long a connection is held.
    pub hold: Hold,
    /// Who ends it.
    pub close: CloseBy,
    /// What is sent on it; empty for nothing.
    pub request: Vec<u8>,
    /// How long an answer is waited for, in nanoseconds: to a SYN, to a request, to a FIN; and so what is in progress when the
    /// duration is over.
    pub timeout_ns: u64,
}

impl Plan {
    /// True if the client service closes by itself, with the last thing that it has to say.
    pub fn closes_at_once(&self) -> bool {
        self.close == CloseBy::Client && self.hold == Hold::Nanos(0)
    }

    /// What falls to worker number `worker` of `workers`.
    pub fn share(&self, worker: usize, workers: usize) -> Share {
        let (n, of) = (worker as u64, workers as u64);
        let part = |total: u64| total / of + u64::from(n < total % of);
        let pace = self.rate.map(|rate| {
            #[expect(clippy::cast_precision_loss, reason = "rates and workers are far below 2^53")]
            Pace::new(rate as f64 / of as f64, self.ramp_ns)
        });
        let at_once = self.concurrency.map(|total| u32::try_from(part(total.into())).expect("a part of 32 bits"));
        Share {
            tuples: Tuples::new(self.target, self.sources, &self.ports, worker, workers),
            pace,
            at_once: match (at_once, pace) {
                (None, None) => Some(DEFAULT_IN_PROGRESS),
                (at_once, _) => at_once,
            },
            connections: self.connections.map(part),
            duration_ns: self.duration_ns,
            ramp_ns: self.ramp_ns,
            hold: self.hold,
            close: self.close,
            has_request: !self.request.is_empty(),
            timeout_ns: self.timeout_ns,
        }
    }
}

/// One worker's part of a [`Plan`].
#[derive(Clone, Debug)]
pub struct Share {
    /// Its four-tuples; no other worker has any of them.
    pub tuples: Tuples,
    /// Its schedule, if there is one.
    pub pace: Option<Pace>,
    /// Connections in progress at once or, with [`Hold::WhileWithin`], open.
    pub at_once: Option<u32>,
    /// Connections in all.
    pub connections: Option<u64>,
    /// As in [`Plan::duration_ns`].
    pub duration_ns: u64,
    /// As in [`Plan::ramp_ns`].
    pub ramp_ns: u64,
    /// As in [`Plan::hold`].
    pub hold: Hold,
    /// As in [`Plan::close`].
    pub close: CloseBy,
    /// True if a request is sent on each connection.
    pub has_request: bool,
    /// As in [`Plan::timeout_ns`].
    pub timeout_ns: u64,
}

impl Share {
    /// True if the client service closes by itself: see [`Plan::closes_at_once`].
    pub fn closes_at_once(&self) -> bool {
        self.close == CloseBy::Client && self.hold == Hold::Nanos(0)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A plan for one connection after another for ten seconds.
    pub(crate) fn plan() -> Plan {
        Plan {
            target: "198.18.0.1:80".parse().unwrap(),
            sources: "198.18.1.0/24".parse().unwrap(),
            ports: 1024..=65535,
            rate: None,
            concurrency: None,
            connections: None,
            duration_ns: 10_000_000_000,
            ramp_ns: 0,
            hold: Hold::Nanos(0),
            close: CloseBy::Client,
            request: Vec::new(),
            timeout_ns: 1_000_000_000,
        }
    }

    #[test]
    fn the_shares_add_up_to_the_plan() {
        let plan = Plan { rate: Some(1_000), concurrency: Some(10), connections: Some(7), ..plan() };
        let shares: Vec<Share> = (0..3).map(|worker| plan.share(worker, 3)).collect();
        assert_eq!(shares.iter().map(|share| share.connections.unwrap()).sum::<u64>(), 7);
        assert_eq!(shares.iter().map(|share| share.at_once.unwrap()).sum::<u32>(), 10);
        let within: u64 = shares.iter().map(|share| share.pace.unwrap().within(3_000_000_000)).sum();
        assert_eq!(within, 3_000);
    }

    #[test]
    fn without_any_limit_there_is_one_of_those_in_progress() {
        assert_eq!(plan().share(0, 1).at_once, Some(DEFAULT_IN_PROGRESS));
        assert_eq!(Plan { rate: Some(5), ..plan() }.share(0, 1).at_once, None);
    }
}
