//! The kernel's side of the comparison: `handfast lab accept`, a listener on ordinary sockets that accepts, reads until
//! the peer closes, and closes.
//!
//! It is meant to be as fast as such a program can be: one pinned thread for each core with a listener of its own
//! (`SO_REUSEPORT`), the longest backlog, nonblocking `accept4` in a loop, and `epoll` only for connections that have
//! not closed yet when they are accepted. Nothing is allocated for a connection; the buffer is the thread's.
//!
//! What is not here: the settings of the namespace (the backlog's limits are [`super::compare`]'s to raise), and answers:
//! what a peer sends is read and forgotten.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use clap::Args;
use core_affinity::CoreId;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::clients::{ClientsError, allow_files};
use super::stop::{StopError, stop_on_signals, wait_for_the_end};
use crate::control::values::{Indexes, Millis};
use crate::observe::json;

/// How many connections may wait to be accepted; the namespace's net.core.somaxconn limits it further.
const BACKLOG: i32 = 65_535;
/// Connections accepted before the others are looked after again.
const ACCEPT_BUDGET: usize = 64;
/// Events taken from the kernel at once.
const EVENTS: usize = 256;
/// Bytes read at once.
const BUFFER_BYTES: usize = 16 * 1024;
/// Longest sleep: the stop flag is noticed after it at the latest.
const MAX_SLEEP_MS: u16 = 20;
/// Descriptors that may be open at once if the limit can be raised that far; connections beyond it wait in the backlog.
const FILES: u64 = 65_536;
/// Descriptors below which this is no listener to compare with.
const FILES_LEAST: u64 = 4_096;
/// The mark of the listener among the events; connections carry the number of their descriptor.
const LISTENER: u64 = u64::MAX;

/// `handfast lab accept`
#[derive(Clone, Debug, Args)]
pub struct AcceptArgs {
    /// Where to listen, `ADDR:PORT` or `[ADDR]:PORT`
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen: SocketAddr,
    /// A thread for each of these cores, pinned to it
    #[arg(long, value_name = "LIST", default_value = "0")]
    pub cores: Indexes,
    /// End after this time
    #[arg(long, value_name = "TIME")]
    pub duration: Option<Millis>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Why the listener failed.
#[derive(Debug, Error)]
pub enum AcceptError {
    /// A socket could not be made ready.
    #[error("cannot listen on {address}: {tried}: {source}; {remedy}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What was tried.
        tried: &'static str,
        /// Why not.
        source: io::Error,
        /// What to do about it.
        remedy: &'static str,
    },
    /// Too few descriptors.
    #[error(transparent)]
    Files(#[from] ClientsError),
    /// A thread could not be pinned.
    #[error(
        "cannot pin a thread to core {0}; give cores that this process may run on (taskset -p $$ shows them) with --cores"
    )]
    Pin(u32),
    /// No signals.
    #[error(transparent)]
    Stop(#[from] StopError),
    /// Standard output took no result.
    #[error("standard output: cannot be written: {0}")]
    Output(#[from] io::Error),
}

/// What one thread counted, or all together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// Connections accepted.
    pub accepted: u64,
    /// Connections closed after the peer had closed.
    pub closed: u64,
    /// Connections that ended with an error, a RST mostly.
    pub failed: u64,
    /// Connections that waited in epoll for their end.
    pub waited: u64,
    /// Calls of `accept4` that failed for want of something (descriptors, memory).
    pub accept_errors: u64,
    /// Bytes read.
    pub bytes: u64,
}

impl Accepted {
    fn add(&mut self, other: &Accepted) {
        let Accepted { accepted, closed, failed, waited, accept_errors, bytes } = other;
        self.accepted += accepted;
        self.closed += closed;
        self.failed += failed;
        self.waited += waited;
        self.accept_errors += accept_errors;
        self.bytes += bytes;
    }
}

/// The closing summary. Field names are the JSON's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AcceptSummary {
    /// Where it listened.
    pub listen: SocketAddr,
    /// The core of each thread.
    pub cores: Vec<u32>,
    /// What was counted.
    #[serde(flatten)]
    pub counts: Accepted,
    /// Connections that were open at the end.
    pub open: u64,
    /// How long it listened, in seconds.
    pub duration_s: f64,
}

/// Listens until a signal or the end of the duration, and prints what was counted.
///
/// # Errors
///
/// [`AcceptError`].
pub fn run(args: &AcceptArgs) -> Result<(), AcceptError> {
    let stop = stop_on_signals()?;
    let summary = accept(args, &stop, &mut |line| eprintln!("{line}"))?;
    let text = if args.json { json::line(&summary) + "\n" } else { summary.to_string() };
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Listens until `stop` is set or the duration is over. `tell` hears when every thread listens.
///
/// # Errors
///
/// [`AcceptError`].
pub fn accept(
    args: &AcceptArgs,
    stop: &Arc<AtomicBool>,
    tell: &mut dyn FnMut(&str),
) -> Result<AcceptSummary, AcceptError> {
    // Where the hard limit is lower and may not be raised, what there is has to do.
    allow_files(FILES).or_else(|_| allow_files(FILES_LEAST))?;
    // The listeners come first, all of them: the kernel spreads connections over those that are there.
    let acceptors = args.cores.0.iter().map(|core| Acceptor::new(args.listen, *core, Arc::clone(stop)));
    let acceptors = acceptors.collect::<Result<Vec<_>, _>>()?;
    let start = Instant::now();
    let threads: Vec<_> = acceptors.into_iter().map(|acceptor| thread::spawn(|| acceptor.run())).collect();
    tell(&format!("handfast: ready: {} accept, read, close; cores {}", args.listen, args.cores));
    let unpinned = || threads.iter().any(thread::JoinHandle::is_finished);
    wait_for_the_end(stop, args.duration, unpinned);
    stop.store(true, Ordering::Relaxed);
    let mut counts = Accepted::default();
    for thread in threads {
        match thread.join() {
            Ok(counted) => counts.add(&counted?),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
    let open = counts.accepted - counts.closed - counts.failed;
    let (listen, cores, duration_s) = (args.listen, args.cores.0.clone(), start.elapsed().as_secs_f64());
    Ok(AcceptSummary { listen, cores, counts, open, duration_s })
}

/// One thread with its listener.
#[derive(Debug)]
struct Acceptor {
    core: u32,
    listener: OwnedFd,
    epoll: Epoll,
    /// The connections that have not closed yet, by the number of their descriptor.
    open: Vec<Option<OwnedFd>>,
    /// How many there are.
    opened: usize,
    buffer: Vec<u8>,
    counts: Accepted,
    stop: Arc<AtomicBool>,
}

/// What reading came to.
enum Heard {
    /// Nothing yet, or not all.
    Waits,
    /// The peer has closed.
    Closed,
    /// The connection broke.
    Broken,
}

impl Acceptor {
    fn new(address: SocketAddr, core: u32, stop: Arc<AtomicBool>) -> Result<Self, AcceptError> {
        let failed = |tried| move |errno: rustix::io::Errno| listen_error(address, tried, errno.into());
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let listener =
            rustix::net::socket_with(family, SocketType::STREAM, flags, None).map_err(failed("making a socket"))?;
        sockopt::set_socket_reuseaddr(&listener, true).map_err(failed("SO_REUSEADDR"))?;
        sockopt::set_socket_reuseport(&listener, true).map_err(failed("SO_REUSEPORT"))?;
        rustix::net::bind(&listener, &address).map_err(failed("bind"))?;
        rustix::net::listen(&listener, BACKLOG).map_err(failed("listen"))?;
        let nix_failed = |errno: Errno| listen_error(address, "making an epoll instance", errno.into());
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(nix_failed)?;
        epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER)).map_err(nix_failed)?;
        let open = std::iter::repeat_with(|| None).take(usize::try_from(FILES).expect("a count of files")).collect();
        let (buffer, counts) = (vec![0; BUFFER_BYTES], Accepted::default());
        Ok(Self { core, listener, epoll, open, opened: 0, buffer, counts, stop })
    }

    fn run(mut self) -> Result<Accepted, AcceptError> {
        if !core_affinity::set_for_current(CoreId { id: self.core as usize }) {
            return Err(AcceptError::Pin(self.core));
        }
        let mut events = [EpollEvent::empty(); EVENTS];
        while !self.stop.load(Ordering::Relaxed) {
            let more = self.accept_some();
            if more && self.opened == 0 {
                continue;
            }
            let timeout = EpollTimeout::from(if more { 0 } else { MAX_SLEEP_MS });
            // A signal ends the wait early, and nothing else can go wrong with descriptors of our own.
            let ready = self.epoll.wait(&mut events, timeout).unwrap_or(0);
            for event in &events[..ready] {
                if event.data() != LISTENER {
                    self.hear(event.data());
                }
            }
        }
        Ok(self.counts)
    }

    /// Accepts up to the budget. True if there may be more.
    fn accept_some(&mut self) -> bool {
        for _ in 0..ACCEPT_BUDGET {
            match rustix::net::accept_with(&self.listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                Ok(connection) => {
                    self.counts.accepted += 1;
                    self.begin(connection);
                }
                Err(rustix::io::Errno::AGAIN) => return false,
                // The peer was gone again before it was accepted.
                Err(rustix::io::Errno::CONNABORTED | rustix::io::Errno::INTR) => {}
                Err(_) => {
                    self.counts.accept_errors += 1;
                    return false;
                }
            }
        }
        true
    }

    /// A new connection: most have closed by the time they are accepted, the others wait in epoll.
    fn begin(&mut self, connection: OwnedFd) {
        if self.ended(&connection) {
            return;
        }
        let at = connection.as_raw_fd();
        let (Ok(place), Ok(mark)) = (usize::try_from(at), u64::try_from(at)) else { return };
        let event = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP, mark);
        match self.open.get_mut(place) {
            Some(slot) if self.epoll.add(connection.as_fd(), event).is_ok() => {
                *slot = Some(connection);
                self.opened += 1;
                self.counts.waited += 1;
            }
            _ => self.counts.failed += 1,
        }
    }

    /// A connection has news.
    fn hear(&mut self, mark: u64) {
        let Some(connection) = usize::try_from(mark).ok().and_then(|place| self.open.get_mut(place)?.take()) else {
            return;
        };
        if self.ended(&connection) {
            self.opened -= 1;
        } else if let Ok(place) = usize::try_from(mark) {
            self.open[place] = Some(connection);
        }
    }

    /// Reads what is there, and counts the connection if that was its end; the caller drops it, which closes it.
    fn ended(&mut self, connection: &OwnedFd) -> bool {
        match self.read_all(connection) {
            Heard::Waits => return false,
            Heard::Closed => self.counts.closed += 1,
            Heard::Broken => self.counts.failed += 1,
        }
        true
    }

    fn read_all(&mut self, connection: &OwnedFd) -> Heard {
        loop {
            match rustix::io::read(connection, &mut self.buffer[..]) {
                Ok(0) => return Heard::Closed,
                Ok(count) => self.counts.bytes += count as u64,
                Err(rustix::io::Errno::AGAIN) => return Heard::Waits,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return Heard::Broken,
            }
        }
    }
}

fn listen_error(address: SocketAddr, tried: &'static str, source: io::Error) -> AcceptError {
    let remedy = match source.kind() {
        io::ErrorKind::AddrInUse => "another program listens there; end it, or take another port",
        io::ErrorKind::AddrNotAvailable => "give the interface this address (ip address add), or take one that it has",
        io::ErrorKind::PermissionDenied => "take a port from 1024 on, or run it as root",
        _ => "is the limit of open files reached (ulimit -n)?",
    };
    AcceptError::Listen { address, tried, source, remedy }
}

impl std::fmt::Display for AcceptSummary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Accepted { accepted, closed, failed, waited, accept_errors, bytes } = self.counts;
        writeln!(f, "listened     {} for {:.2} s", self.listen, self.duration_s)?;
        writeln!(
            f,
            "connections  {accepted} accepted, {closed} closed, {failed} failed, {} open at the end",
            self.open
        )?;
        writeln!(
            f,
            "             {waited} had not closed when they were accepted, {accept_errors} calls of accept failed"
        )?;
        writeln!(f, "read         {bytes} bytes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::net::TcpStream;
    use std::time::Duration;

    #[test]
    fn what_it_counts_adds_up() {
        let listen: SocketAddr = "127.0.0.1:0".parse().unwrap();
        // A port that was free a moment ago.
        let port = std::net::TcpListener::bind(listen).unwrap().local_addr().unwrap();
        let args = AcceptArgs { listen: port, cores: "0".parse().unwrap(), duration: Some(Millis(5_000)), json: false };
        let stop = Arc::new(AtomicBool::new(false));
        let theirs = Arc::clone(&stop);
        let server = thread::spawn(move || accept(&args, &theirs, &mut |_| {}).unwrap());
        let connect = || {
            for _ in 0..500 {
                match TcpStream::connect(port) {
                    Ok(stream) => return stream,
                    Err(_) => thread::sleep(Duration::from_millis(10)),
                }
            }
            panic!("nobody listens");
        };
        for text in ["", "hello"] {
            let mut stream = connect();
            stream.write_all(text.as_bytes()).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            assert_eq!(stream.read(&mut [0; 9]).unwrap(), 0, "it closes when we did, and says nothing");
        }
        let _left_open = connect();
        thread::sleep(Duration::from_millis(100));
        stop.store(true, Ordering::Relaxed);
        let summary = server.join().unwrap();
        let Accepted { accepted, closed, failed, bytes, .. } = summary.counts;
        assert_eq!((accepted, closed, failed, bytes, summary.open), (3, 2, 0, 5, 1), "{summary}");
    }

    #[test]
    fn an_address_that_nobody_has_is_an_error_with_a_remedy() {
        let args = AcceptArgs {
            listen: "192.0.2.1:7000".parse().unwrap(),
            cores: "0".parse().unwrap(),
            duration: None,
            json: false,
        };
        let error = accept(&args, &Arc::new(AtomicBool::new(false)), &mut |_| {}).unwrap_err().to_string();
        assert!(error.contains("192.0.2.1:7000: bind") && error.contains("ip address add"), "{error}");
    }
}
