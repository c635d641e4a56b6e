//! `handfast blast`: the command line, and what is wrong with it before the machine is asked. What the machine adds (routes,
//! addresses, queues) is [`super::setup`]'s.

use super::next_hop::parse_mac;
use super::plan::{CloseBy, DEFAULT_IN_PROGRESS, Hold, Plan};
use super::request;
use super::tuples::{self, Cidr};
use crate::control::problem::{Problem, Problems};
use crate::control::values::{BindMode, Count, Indexes, Millis, XdpMode};
use crate::port::xsk::{BUSY_POLL_MOST_US, DEFAULT_TX_BUDGET, TX_BUDGET_LEAST, TX_BUDGET_MOST};
use crate::wire::ether::Mac;
use clap::{Args, ValueEnum};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

/// Flows that a generator has room for if nobody says otherwise.
pub const DEFAULT_FLOWS: u32 = 262_144;
/// Connections a second that may be asked for at most.
pub const MAX_RATE: u64 = 100_000_000;
/// How long connections are started if nobody says otherwise, and how long at each rate of a search.
const DURATION_MS: u64 = 10_000;
const SEARCH_STEP_MS: u64 = 2_000;
/// Nanoseconds in a millisecond.
const NANOS_PER_MILLI: u64 = 1_000_000;

/// Which generator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EngineChoice {
    /// afxdp
    Auto,
    /// The whole TCP over AF_XDP: retransmissions, requests, holds, every mode
    Afxdp,
    /// A stateless one inside eBPF, for capacity tests: --rate with at most --connections, --close
    Xdp,
}

/// `handfast blast`
#[derive(Clone, Debug, Args)]
pub struct BlastArgs {
    /// The interface that connections leave through
    #[arg(short, long, value_name = "IFACE", value_parser = crate::control::settings::interface_name)]
    pub interface: String,
    /// Where connections are opened to
    #[arg(long, value_name = "ADDR:PORT", value_parser = target)]
    pub target: SocketAddr,
    /// Open from these addresses, as in 198.18.1.0/24 [default: the interface's own address]
    #[arg(long, value_name = "CIDR")]
    pub source: Option<Cidr>,
    /// Open from these ports
    #[arg(long, value_name = "LO-HI", value_parser = port_range, default_value = "1024-65535")]
    pub ports: RangeInclusive<u16>,
    /// Start so many connections a second, whatever the target does; latencies count from the intended start
    #[arg(long, value_name = "N", help_heading = "Load")]
    pub rate: Option<Count>,
    /// Have so many connections at once; with --rate, each is closed when more than these are open. Alone, they are held until
    /// the end
    #[arg(long, value_name = "N", help_heading = "Load")]
    pub concurrency: Option<Count>,
    /// Make so many connections in all
    #[arg(long, value_name = "N", help_heading = "Load")]
    pub connections: Option<Count>,
    /// Start connections for so long; with --search, at each rate [default: 10s, or 2s]
    #[arg(long, value_name = "TIME", help_heading = "Load")]
    pub duration: Option<Millis>,
    /// Have the rate, or the concurrency, rise over this time
    #[arg(long, value_name = "TIME", default_value = "0", help_heading = "Load")]
    pub ramp: Millis,
    /// Find the highest rate at which nothing is lost, to within 1 %; --rate is the highest that is tried
    #[arg(long, help_heading = "Load", conflicts_with_all = ["concurrency", "connections", "hold", "ramp"])]
    pub search: bool,
    /// Loss that a search takes for none, in percent of the connections
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0, help_heading = "Load", requires = "search")]
    pub tolerance: f64,
    /// Keep each connection open for so long, once it is established or its request is answered [default: 0, or to
    /// the end with --concurrency alone]
    #[arg(long, value_name = "TIME", help_heading = "Connections")]
    pub hold: Option<Millis>,
    /// Who ends a connection
    #[arg(long, value_enum, default_value = "client", help_heading = "Connections")]
    pub close: CloseBy,
    /// Send this on each connection and check the HTTP answer: `GET /` is completed to a request; \r, \n and \\ are understood
    #[arg(long, value_name = "TEXT", help_heading = "Connections")]
    pub request: Option<String>,
    /// How long an answer is waited for: to a SYN, a request, a FIN
    #[arg(long, value_name = "TIME", default_value = "5s", help_heading = "Connections")]
    pub timeout: Millis,
    /// Which generator
    #[arg(long, value_enum, default_value = "auto", help_heading = "Machine")]
    pub engine: EngineChoice,
    /// Queues to use, one worker each [default: all of the interface's]
    #[arg(long, value_name = "LIST", help_heading = "Machine")]
    pub queues: Option<Indexes>,
    /// A core for each worker [default: the last that this process may run on]
    #[arg(long, value_name = "LIST", help_heading = "Machine")]
    pub cores: Option<Indexes>,
    /// Room for so many connections, TIME-WAIT not counted: it is left at once [default: 256k, or what --concurrency needs]
    #[arg(long, value_name = "N", help_heading = "Machine")]
    pub flows: Option<Count>,
    /// Frames of packet memory for each queue, a power of two
    #[arg(long, value_name = "N", default_value = "8192", help_heading = "Machine", value_parser = frames)]
    pub frames: u32,
    /// Where the steering program runs: auto, native, generic
    #[arg(long, value_name = "MODE", default_value = "auto", help_heading = "Machine")]
    pub xdp_mode: XdpMode,
    /// How the sockets share frames with the driver: auto, copy, zerocopy
    #[arg(long, value_name = "MODE", default_value = "auto", help_heading = "Machine")]
    pub bind: BindMode,
    /// Frames that the kernel sends in one call in copy mode, at most
    #[arg(long, value_name = "N", default_value_t = DEFAULT_TX_BUDGET, help_heading = "Machine",
          value_parser = clap::value_parser!(u32).range(TX_BUDGET_LEAST as i64..=TX_BUDGET_MOST as i64))]
    pub tx_budget: u32,
    /// Microseconds for which a call polls the driver, instead of waiting for its interrupts; 0 does not
    #[arg(long, value_name = "USEC", default_value_t = 0, help_heading = "Machine",
          value_parser = clap::value_parser!(u32).range(..=i64::from(BUSY_POLL_MOST_US)))]
    pub busy_poll: u32,
    /// Lay packet memory into huge pages, which have to be reserved
    #[arg(long, help_heading = "Machine")]
    pub huge_pages: bool,
    /// Workers spin instead of sleeping
    #[arg(long, help_heading = "Machine")]
    pub busy: bool,
    /// Send to this MAC address instead of asking the kernel for the next hop's
    #[arg(long, value_name = "MAC", value_parser = parse_mac, help_heading = "Machine")]
    pub dst_mac: Option<Mac>,
    /// Write the result as one JSON object; - for standard output, and nothing else there
    #[arg(long, value_name = "FILE|-", help_heading = "Output")]
    pub json: Option<PathBuf>,
    /// Write the result as a page to look at
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub html: Option<PathBuf>,
}

/// An address and a port.
fn target(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "must be an address and a port, as in 198.18.0.1:80 or [2001:2::1]:80".to_owned())
}

/// Two ports, the lower one first.
fn port_range(text: &str) -> Result<RangeInclusive<u16>, String> {
    let wrong = || "must be two ports from 1 to 65535, the lower one first, as in 1024-65535".to_owned();
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let (low, high): (u16, u16) = (low.parse().map_err(|_| wrong())?, high.parse().map_err(|_| wrong())?);
    if low == 0 || high < low { Err(wrong()) } else { Ok(low..=high) }
}

/// A count of frames.
fn frames(text: &str) -> Result<u32, String> {
    let Count(frames) = text.parse().map_err(|error| format!("{error}"))?;
    let frames = u32::try_from(frames).ok().filter(|n| n.is_power_of_two() && (64..=1 << 20).contains(n));
    frames.ok_or_else(|| "must be a power of two from 64 to 1048576".to_owned())
}

impl BlastArgs {
    /// Everything that is wrong with the options by themselves.
    ///
    /// # Errors
    ///
    /// [`Problems`], all of them.
    pub fn check(&self) -> Result<(), Problems> {
        let mut list = self.count_problems();
        list.extend(self.address_problems());
        list.extend(self.combination_problems());
        Problems::none_or("the options of blast", list, ())
    }

    fn count_problems(&self) -> Vec<Problem> {
        let mut list = Vec::new();
        let mut within = |name: &str, value: Option<Count>, most: u64| {
            if let Some(Count(value)) = value
                && !(1..=most).contains(&value)
            {
                list.push(Problem::new(format!("--{name} {value}"), format!("must be from 1 to {most}")));
            }
        };
        within("rate", self.rate, MAX_RATE);
        within("concurrency", self.concurrency, 1 << 26);
        within("connections", self.connections, u64::MAX);
        within("flows", self.flows, 1 << 26);
        let times = [("duration", self.duration()), ("timeout", self.timeout)];
        for (name, value) in times {
            if !(1..=7 * 86_400_000).contains(&value.0) {
                list.push(Problem::new(format!("--{name} {value}"), "must be from 1ms to 7d"));
            }
        }
        if self.ramp > self.duration() {
            let remedy = "make it shorter, or --duration longer";
            list.push(Problem::new(format!("--ramp {}", self.ramp), "is longer than the run").remedy(remedy));
        }
        if !(0.0..100.0).contains(&self.tolerance) {
            list.push(Problem::new(format!("--tolerance {}", self.tolerance), "must be from 0 to below 100"));
        }
        list
    }

    fn address_problems(&self) -> Vec<Problem> {
        let mut list = Vec::new();
        let target = self.target;
        if target.port() == 0 || target.ip().is_unspecified() || target.ip().is_multicast() {
            list.push(Problem::new(format!("--target {target}"), "is no address and port of one host"));
        }
        let Some(source) = &self.source else { return list };
        let what = format!("--source {source}");
        if source.first.is_ipv4() != target.is_ipv4() {
            let cause = format!("is of another family than the target {target}");
            list.push(Problem::new(what.clone(), cause));
        } else if source.contains(target.ip()) {
            let remedy = "leave the target's address out of the range";
            list.push(Problem::new(what.clone(), format!("contains the target {}", target.ip())).remedy(remedy));
        }
        let (first, last) = (source.nth(0), source.nth(source.len() - 1));
        let odd =
            [first, last].into_iter().find(|addr| addr.is_unspecified() || addr.is_multicast() || addr.is_loopback());
        if let Some(odd) = odd {
            list.push(Problem::new(what, format!("has {odd}, which no connection comes from")));
        }
        list.extend(self.tuple_problem(source));
        list
    }

    /// Fewer four-tuples than connections at once.
    pub(super) fn tuple_problem(&self, source: &Cidr) -> Option<Problem> {
        let wanted = self.concurrency.map_or(1, |Count(n)| n);
        let there = tuples::count(source, &self.ports);
        let (low, high) = (self.ports.start(), self.ports.end());
        (wanted > there).then(|| {
            let cause = format!(
                "needs as many source addresses and ports, but {} address(es) with ports {low}-{high} make {there}",
                source.len()
            );
            Problem::new(format!("--concurrency {wanted}"), cause)
                .remedy("widen --ports, or give more with --source CIDR")
        })
    }

    fn combination_problems(&self) -> Vec<Problem> {
        let mut list = Vec::new();
        if self.hold.is_some_and(|hold| hold.0 > 0) && self.close == CloseBy::Server {
            let cause = "with --close server the target decides how long a connection is held";
            list.push(Problem::new("--hold", cause).remedy("leave one of the two out"));
        }
        if let Some(text) = &self.request
            && let Err(cause) = request::complete(text, self.target)
        {
            list.push(Problem::new("--request", cause));
        }
        if let (Some(Count(concurrency)), Some(Count(flows))) = (self.concurrency, self.flows)
            && flows < concurrency
        {
            let cause = format!("is less than --concurrency {concurrency}");
            list.push(Problem::new(format!("--flows {flows}"), cause));
        }
        if self.engine == EngineChoice::Xdp {
            let stateful = [
                ("--concurrency", self.concurrency.is_some()),
                ("--hold", self.hold.is_some_and(|hold| hold.0 > 0)),
                ("--request", self.request.is_some()),
                ("--ramp", self.ramp.0 > 0),
            ];
            for (name, _) in stateful.into_iter().filter(|(_, given)| *given) {
                let cause = "needs state, which the engine xdp has none of";
                list.push(Problem::new(name, cause).remedy("leave it out, or use --engine afxdp"));
            }
            if self.rate.is_none() && !self.search {
                list.push(Problem::new("--engine xdp", "needs --rate or --search").remedy("give one of them"));
            }
        }
        list
    }

    /// How long connections are started.
    fn duration(&self) -> Millis {
        self.duration.unwrap_or(Millis(if self.search { SEARCH_STEP_MS } else { DURATION_MS }))
    }

    /// How long each connection is held.
    fn hold(&self) -> Hold {
        match (self.hold, self.concurrency, self.rate) {
            (Some(Millis(ms)), ..) => Hold::Nanos(ms * NANOS_PER_MILLI),
            (None, Some(_), Some(_)) if self.request.is_none() => Hold::WhileWithin,
            (None, Some(_), None) if self.request.is_none() && self.connections.is_none() => Hold::UntilEnd,
            (None, ..) => Hold::Nanos(0),
        }
    }

    /// The plan, from addresses that the machine has confirmed.
    ///
    /// # Panics
    ///
    /// If [`BlastArgs::check`] has not been asked: our own bug.
    pub(super) fn plan(&self, sources: Cidr) -> Plan {
        let complete = |text: &String| request::complete(text, self.target).expect("checked");
        Plan {
            target: self.target,
            sources,
            ports: self.ports.clone(),
            rate: self.rate.map(|Count(rate)| rate),
            concurrency: self.concurrency.map(|Count(n)| u32::try_from(n).expect("checked")),
            connections: self.connections.map(|Count(n)| n),
            duration_ns: self.duration().0 * NANOS_PER_MILLI,
            ramp_ns: self.ramp.0 * NANOS_PER_MILLI,
            hold: self.hold(),
            close: self.close,
            request: self.request.as_ref().map(complete).unwrap_or_default(),
            timeout_ns: self.timeout.0 * NANOS_PER_MILLI,
        }
    }

    /// Flows that the engines together have room for.
    pub(super) fn flows(&self) -> u32 {
        let at_once = self.concurrency.map_or(u64::from(DEFAULT_IN_PROGRESS), |Count(n)| n);
        // Room beside those that are held: for the handshakes under way, and for what is closing.
        let least = at_once.saturating_add(at_once / 4).saturating_add(16_384);
        let flows = self.flows.map_or(u64::from(DEFAULT_FLOWS).max(least), |Count(flows)| flows);
        u32::try_from(flows).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: BlastArgs,
    }

    pub(crate) fn parse(line: &str) -> Result<BlastArgs, String> {
        let words = ["blast", "-i", "hf0", "--target", "198.18.0.1:80"].into_iter().chain(line.split_whitespace());
        Line::try_parse_from(words).map(|line| line.args).map_err(|error| error.to_string())
    }

    fn problems(line: &str) -> Vec<String> {
        let found = parse(line).unwrap().check();
        found.map_or_else(|problems| problems.list.iter().map(ToString::to_string).collect(), |()| Vec::new())
    }

    #[test]
    fn what_contradicts_itself_is_listed_all_at_once() {
        assert_eq!(problems(""), [""; 0]);
        assert_eq!(problems("--rate 0")[0], "--rate 0: must be from 1 to 100000000");
        let found = problems("--source 198.18.0.0/24 --concurrency 1M --ports 5000-5001 --ramp 20s");
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found.iter().any(|problem| problem.contains("contains the target 198.18.0.1")), "{found:?}");
        assert!(
            found.iter().any(|problem| problem.contains("256 address(es) with ports 5000-5001 make 512")),
            "{found:?}"
        );
        assert!(problems("--source 2001:2::5")[0].contains("another family"));
        assert!(problems("--hold 1s --close server")[0].contains("the target decides"));
        assert!(problems("--engine xdp --rate 5 --request x").iter().any(|problem| problem.contains("needs state")));
        assert!(problems("--engine xdp")[0].contains("needs --rate or --search"));
        assert!(problems("--source 127.0.0.1")[0].contains("127.0.0.1"));
        assert!(problems("--request hello")[0].contains("GET /"));
    }

    #[test]
    fn values_that_cannot_be_read_say_what_they_should_look_like() {
        for (line, hint) in [
            ("--ports 9-5", "the lower one first"),
            ("--ports 0-5", "from 1 to 65535"),
            ("--rate many", "must be a count"),
            ("--source 1.2.3.4/24", "bits set behind its prefix"),
            ("--dst-mac x", "hexadecimal"),
            ("--duration 5", "must be a duration"),
            ("--frames 100", "power of two"),
            ("--search --concurrency 5", "cannot be used with"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(hint), "{line}: {error}");
        }
    }

    #[test]
    fn how_long_connections_are_held_follows_from_what_limits_them() {
        let hold = |line: &str| parse(line).unwrap().hold();
        assert_eq!(hold(""), Hold::Nanos(0));
        assert_eq!(hold("--rate 5"), Hold::Nanos(0));
        assert_eq!(hold("--concurrency 5"), Hold::UntilEnd);
        assert_eq!(hold("--concurrency 5 --connections 50"), Hold::Nanos(0));
        assert_eq!(hold("--concurrency 5 --rate 5"), Hold::WhileWithin);
        assert_eq!(hold("--concurrency 5 --hold 2s"), Hold::Nanos(2_000_000_000));
        assert_eq!(parse("--concurrency 300k").unwrap().flows(), 391_384);
    }
}
