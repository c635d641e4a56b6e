//! Kernel clients: `handfast lab clients` drives a responder with many ordinary sockets of the kernel's TCP stack.
//!
//! Here are the command line ([`ClientsArgs`]), the checks before the start, and the threads. `connection` is one
//! connection's conversation, `driver` the epoll loop of one thread, `report` what comes out.
//!
//! This is a tool for correctness and for people, not the load generator: the kernel's stack is the bottleneck, and
//! the loop is closed (a slow responder slows the clients down). `handfast blast` is the open-loop one.

mod connection;
mod driver;
mod report;

use std::io::{self, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde::Serialize;
use thiserror::Error;

pub use connection::Reason;
pub use report::{ClientsReport, Connections, Hold, Latencies, Latency};

use super::lab::RunError;
use driver::{Driver, Plan, Progress};
use report::Tally;

/// What the responder does, and therefore what a client says and expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Service {
    /// Send some bytes, close, wait for the responder's FIN; not a byte may come back
    Discard,
    /// Wait until the responder closes, then close
    Close,
    /// One GET; the answer must be 200 and as long as its Content-Length
    Http,
}

/// `handfast lab clients`
#[derive(Clone, Debug, Args)]
pub struct ClientsArgs {
    /// Where the responder listens, `ADDR:PORT` or `[ADDR]:PORT`
    #[arg(long, value_name = "ADDR:PORT")]
    pub target: SocketAddr,
    /// How many connections to make, one conversation each
    #[arg(long, value_name = "N", default_value = "1000", value_parser = count, conflicts_with = "hold")]
    pub connections: usize,
    /// How many connections are in progress at once
    #[arg(long, value_name = "N", default_value = "64", value_parser = count)]
    pub concurrency: usize,
    /// Open N connections, keep all of them, then have one conversation on each
    #[arg(long, value_name = "N", value_parser = count)]
    pub hold: Option<usize>,
    /// How long to keep the connections that --hold opened
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    pub hold_time: Duration,
    /// Connect from this address; several are used in turn
    #[arg(long, value_name = "ADDR")]
    pub source: Vec<IpAddr>,
    /// What the responder does
    #[arg(long, value_enum, default_value = "discard")]
    pub service: Service,
    /// How many bytes to send to a discard service
    #[arg(long, value_name = "N", default_value = "64", value_parser = count_or_zero)]
    pub bytes: usize,
    /// How many threads share the connections
    #[arg(long, value_name = "N", default_value = "1", value_parser = count)]
    pub threads: usize,
    /// How long a handshake may take, and then a conversation
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    pub timeout: Duration,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

impl ClientsArgs {
    /// The defaults of the command line.
    pub fn new(target: SocketAddr) -> Self {
        Self {
            target,
            connections: 1000,
            concurrency: 64,
            hold: None,
            hold_time: Duration::from_secs(10),
            source: Vec::new(),
            service: Service::Discard,
            bytes: 64,
            threads: 1,
            timeout: Duration::from_secs(10),
            json: false,
        }
    }

    /// How many connections are made in all.
    fn total(&self) -> usize {
        self.hold.unwrap_or(self.connections)
    }
}

/// Why the clients did not run, or what is wrong with how they ended.
#[derive(Debug, Error)]
pub enum ClientsError {
    /// Options that contradict each other.
    #[error("{0}")]
    Usage(String),
    /// The process may not open enough files.
    #[error(
        "cannot open {wanted} sockets at once: the limit of open files is {limit}, and raising it failed ({source}); raise the hard limit with `ulimit -n {wanted}` before (root needs CAP_SYS_RESOURCE for that), or share the connections among several processes"
    )]
    Files {
        /// How many descriptors are needed.
        wanted: u64,
        /// How many are allowed.
        limit: u64,
        /// Why that cannot be changed.
        source: Errno,
    },
    /// There is no epoll instance to be had.
    #[error("cannot make an epoll instance: {0}; is the limit of open files reached?")]
    Epoll(Errno),
    /// Connections failed; the report says why.
    #[error("{failed} of {attempted} connections to {target} failed; the reasons are in the result")]
    Failed {
        /// How many failed.
        failed: u64,
        /// Of how many.
        attempted: u64,
        /// The responder's address.
        target: SocketAddr,
    },
}

/// A count like `500`, `20k` or `2M`, at least 1.
fn count(text: &str) -> Result<usize, String> {
    match count_or_zero(text)? {
        0 => Err("must be at least 1".to_owned()),
        count => Ok(count),
    }
}

/// A count like `0`, `500`, `20k` or `2M`.
fn count_or_zero(text: &str) -> Result<usize, String> {
    let (digits, unit) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 1_000),
        Some(b'm' | b'M') => (&text[..text.len() - 1], 1_000_000),
        _ => (text, 1),
    };
    let number: usize = digits.parse().map_err(|_| "not a count; write it like 500, 20k or 2M".to_owned())?;
    number.checked_mul(unit).ok_or_else(|| "too large".to_owned())
}

/// Runs the clients and prints the result.
///
/// # Errors
///
/// If they cannot run, and also if a connection failed: the result is printed then too.
pub fn run(args: &ClientsArgs) -> Result<(), RunError> {
    let report = drive(args, &mut |line| eprintln!("{line}"))?;
    let mut out = io::stdout().lock();
    if args.json {
        serde_json::to_writer(&mut out, &report).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        write!(out, "{report}")?;
    }
    let (failed, attempted) = (report.failed_total(), report.connections.attempted);
    if failed > 0 {
        return Err(ClientsError::Failed { failed, attempted, target: args.target }.into());
    }
    Ok(())
}

/// Runs the clients in the caller's network namespace and returns what they saw. `tell` gets a line of progress every
/// second.
///
/// # Errors
///
/// If the options contradict each other, or if descriptors are lacking. Failed connections are part of the report.
pub fn drive(args: &ClientsArgs, tell: &mut dyn FnMut(&str)) -> Result<ClientsReport, ClientsError> {
    check(args)?;
    let open_at_once = args.hold.unwrap_or(args.concurrency.min(args.connections));
    allow_files(open_at_once as u64 + args.threads as u64 + 64)?;
    let plan = Plan::new(args);
    let progress = Progress::default();
    let drivers = (0..args.threads).map(|thread| {
        let share = share_of(args.total(), args.threads, thread);
        let concurrency = share_of(args.concurrency, args.threads, thread).max(1);
        Driver::new(&plan, &progress, share, concurrency, thread)
    });
    let drivers = drivers.collect::<Result<Vec<_>, _>>().map_err(ClientsError::Epoll)?;
    let start = Instant::now();
    let tally = thread::scope(|scope| {
        let (done, finished) = channel();
        for driver in drivers {
            let done = done.clone();
            // The receiver outlives every sender: it is dropped at the end of this scope.
            scope.spawn(move || done.send(driver.run()).is_ok());
        }
        drop(done);
        let mut tally = Tally::default();
        loop {
            match finished.recv_timeout(Duration::from_secs(1)) {
                Ok(of_one) => tally.add(&of_one),
                Err(RecvTimeoutError::Timeout) => tell(&progress.line(start.elapsed())),
                Err(RecvTimeoutError::Disconnected) => return tally,
            }
        }
    });
    Ok(ClientsReport::new(args, tally, start.elapsed()))
}

/// The part of `total` that is for `thread` of `threads`; the parts add up to `total`.
fn share_of(total: usize, threads: usize, thread: usize) -> usize {
    total / threads + usize::from(thread < total % threads)
}

/// Refuses options that cannot work together before anything is opened.
fn check(args: &ClientsArgs) -> Result<(), ClientsError> {
    if let Some(other) = args.source.iter().find(|source| source.is_ipv4() != args.target.is_ipv4()) {
        let message = format!("cannot connect from {other} to {}: one is IPv4, the other IPv6", args.target);
        return Err(ClientsError::Usage(message));
    }
    let Some(hold) = args.hold else { return Ok(()) };
    if args.service == Service::Close {
        let message =
            "cannot hold connections to a close service: it closes them at once; use --service discard or http";
        return Err(ClientsError::Usage(message.to_owned()));
    }
    let ports = local_ports().saturating_mul(args.source.len().max(1));
    if hold > ports {
        let message = format!(
            "cannot hold {hold} connections to one target: {} source address(es) have {ports} ports; add --source addresses, or widen net.ipv4.ip_local_port_range",
            args.source.len().max(1)
        );
        return Err(ClientsError::Usage(message));
    }
    Ok(())
}

/// How many local ports one address has for connections to one target; all 64,512 if the kernel does not tell.
fn local_ports() -> usize {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let bounds: Vec<usize> = range.unwrap_or_default().split_whitespace().filter_map(|n| n.parse().ok()).collect();
    match bounds[..] {
        [low, high] if low <= high => high - low + 1,
        _ => 65_536 - 1_024,
    }
}

/// Raises the limit of open files to `wanted` if it is lower.
pub(super) fn allow_files(wanted: u64) -> Result<(), ClientsError> {
    let (soft, hard) =
        getrlimit(Resource::RLIMIT_NOFILE).map_err(|source| ClientsError::Files { wanted, limit: 0, source })?;
    if soft >= wanted {
        return Ok(());
    }
    setrlimit(Resource::RLIMIT_NOFILE, wanted, hard.max(wanted)).map_err(|source| ClientsError::Files {
        wanted,
        limit: hard,
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> ClientsArgs {
        ClientsArgs::new("198.18.0.1:7000".parse().unwrap())
    }

    #[test]
    fn counts_have_units() {
        assert_eq!(count("500"), Ok(500));
        assert_eq!(count("20k"), Ok(20_000));
        assert_eq!(count("2M"), Ok(2_000_000));
        assert_eq!(count_or_zero("0"), Ok(0));
        for bad in ["0", "", "k", "-1", "1.5k", "99999999999999999999", "18446744073709551615k"] {
            assert!(count(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_shares_of_the_threads_add_up() {
        for (total, threads) in [(10, 3), (2, 4), (64, 1)] {
            let shares: Vec<usize> = (0..threads).map(|thread| share_of(total, threads, thread)).collect();
            assert_eq!(shares.iter().sum::<usize>(), total);
            assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1);
        }
    }

    #[test]
    fn options_that_cannot_work_together_are_refused() {
        let cases = [
            ClientsArgs { source: vec!["2001:2::2".parse().unwrap()], ..args() },
            ClientsArgs { hold: Some(10), service: Service::Close, ..args() },
            ClientsArgs { hold: Some(70_000), ..args() },
        ];
        for case in cases {
            assert!(matches!(check(&case), Err(ClientsError::Usage(_))), "{case:?}");
        }
        assert!(check(&args()).is_ok());
    }

    #[test]
    fn more_files_than_the_kernel_allows_is_an_error_with_a_remedy() {
        let error = allow_files(1 << 40).unwrap_err().to_string();
        assert!(error.contains("ulimit -n"), "{error}");
    }
}
