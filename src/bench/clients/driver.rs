//! The epoll loop of one thread: opens its share of the connections, moves each on when its socket has news, gives up
//! those that take too long, and counts.
//!
//! Sockets are registered once, edge-triggered, and every event is followed until the socket has no more to give; that
//! is one `epoll_ctl` a connection. All connections have the same time-out, so the deadlines are a queue.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::ClientsArgs;
use super::connection::{Connection, Outcome, Reason, Script};
use super::report::Tally;

/// How many events are taken from the kernel at once.
const EVENTS: usize = 256;

/// How much is read from a socket at once, in bytes.
const SCRATCH_BYTES: usize = 16 * 1024;

/// Longest sleep, so that threads that wait for each other see it soon.
const NAP: Duration = Duration::from_millis(50);

/// What all threads do.
#[derive(Debug)]
pub(super) struct Plan {
    target: SocketAddr,
    sources: Vec<IpAddr>,
    script: Script,
    timeout: Duration,
    /// How long all connections are kept before the conversations, if they are.
    hold: Option<Duration>,
    threads: usize,
}

impl Plan {
    pub fn new(args: &ClientsArgs) -> Self {
        Self {
            target: args.target,
            sources: args.source.clone(),
            script: Script::new(args.service, args.bytes, args.target),
            timeout: args.timeout,
            hold: args.hold.map(|_| args.hold_time),
            threads: args.threads,
        }
    }
}

/// Where the threads are, for the line of progress; and the meeting point before the hold. All relaxed: nothing else is
/// published through these numbers.
#[derive(Debug, Default)]
pub(super) struct Progress {
    established: AtomicUsize,
    completed: AtomicUsize,
    failed: AtomicUsize,
    /// Threads that have opened all their connections.
    all_open: AtomicUsize,
}

impl Progress {
    pub fn line(&self, elapsed: Duration) -> String {
        let [established, completed, failed] =
            [&self.established, &self.completed, &self.failed].map(|n| n.load(Ordering::Relaxed));
        format!("{:>4} s  {established} established, {completed} completed, {failed} failed", elapsed.as_secs())
    }
}

/// When to give up on which connection.
#[derive(Debug)]
struct Deadline {
    at: Instant,
    slot: usize,
    /// The connection's [`Connection::deadline`] if this one still counts.
    serial: u64,
}

/// One thread's connections.
#[derive(Debug)]
pub(super) struct Driver<'a> {
    plan: &'a Plan,
    progress: &'a Progress,
    /// How many connections this thread makes.
    share: usize,
    /// How many of them it has in progress at once, held ones not counted.
    concurrency: usize,
    epoll: Epoll,
    events: Vec<EpollEvent>,
    scratch: Vec<u8>,
    slots: Vec<Option<Connection>>,
    free: Vec<usize>,
    /// Connections in a handshake or a conversation: neither held nor over.
    busy: usize,
    deadlines: VecDeque<Deadline>,
    next_deadline: u64,
    next_source: usize,
    tally: Tally,
}

impl<'a> Driver<'a> {
    /// The driver of the thread number `thread`.
    pub fn new(
        plan: &'a Plan,
        progress: &'a Progress,
        share: usize,
        concurrency: usize,
        thread: usize,
    ) -> Result<Self, Errno> {
        Ok(Self {
            plan,
            progress,
            share,
            concurrency,
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            events: vec![EpollEvent::empty(); EVENTS],
            scratch: vec![0; SCRATCH_BYTES],
            slots: Vec::new(),
            free: Vec::new(),
            busy: 0,
            deadlines: VecDeque::new(),
            next_deadline: 1,
            next_source: thread,
            tally: Tally::default(),
        })
    }

    /// Makes the connections and returns what came of them.
    pub fn run(mut self) -> Tally {
        let mut opened = 0;
        while opened < self.share || self.busy > 0 {
            while opened < self.share && self.busy < self.concurrency {
                self.open();
                opened += 1;
            }
            self.turn(NAP);
        }
        if let Some(time) = self.plan.hold {
            self.hold(time);
        }
        self.tally
    }

    /// Keeps the established connections for `time` after the last thread has opened its last, then has the
    /// conversations.
    fn hold(&mut self, time: Duration) {
        self.progress.all_open.fetch_add(1, Ordering::Relaxed);
        while self.progress.all_open.load(Ordering::Relaxed) < self.plan.threads {
            self.turn(NAP);
        }
        self.tally.held += self.held();
        let end = Instant::now() + time;
        while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            self.turn(left.min(NAP));
        }
        // Losses that the kernel knows of already are counted as such before the first conversation.
        self.turn(Duration::ZERO);
        self.tally.alive += self.held();
        for slot in 0..self.slots.len() {
            while self.busy >= self.concurrency {
                self.turn(NAP);
            }
            if self.slots[slot].as_ref().is_some_and(Connection::is_held) {
                self.converse(slot);
            }
        }
        while self.busy > 0 {
            self.turn(NAP);
        }
    }

    fn held(&self) -> u64 {
        self.slots.iter().flatten().filter(|connection| connection.is_held()).count() as u64
    }

    /// Opens one connection from the next source address.
    fn open(&mut self) {
        let source = match self.plan.sources.len() {
            0 => None,
            sources => Some(self.plan.sources[self.next_source % sources]),
        };
        self.next_source += 1;
        self.tally.attempted += 1;
        let slot = self.free.pop().unwrap_or(self.slots.len());
        let interest = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET;
        let registered = Connection::open(self.plan.target, source, Instant::now()).and_then(|connection| {
            let event = EpollEvent::new(interest, slot as u64);
            self.epoll.add(&connection.stream, event).map_err(Reason::Os)?;
            Ok(connection)
        });
        if slot == self.slots.len() {
            self.slots.push(None);
        }
        match registered {
            Ok(connection) => {
                self.slots[slot] = Some(connection);
                self.busy += 1;
                self.set_deadline(slot);
            }
            Err(reason) => {
                self.free.push(slot);
                self.count_failure(reason);
            }
        }
    }

    /// One wait for events of at most `longest`, and what follows from them and from the time that passed.
    fn turn(&mut self, longest: Duration) {
        let next = self.deadlines.front().map(|deadline| deadline.at.saturating_duration_since(Instant::now()));
        let wait = next.map_or(longest, |next| next.min(longest));
        // Rounded up to whole milliseconds; a wait of zero stays one.
        let millis = u16::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(u16::MAX);
        let mut events = std::mem::take(&mut self.events);
        let count = match self.epoll.wait(&mut events, EpollTimeout::from(millis)) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(errno) => panic!("epoll_wait failed on our own descriptor and buffer: {errno}"),
        };
        for event in &events[..count] {
            let slot = usize::try_from(event.data()).expect("a slot number is a usize");
            self.follow(slot, event.events());
        }
        self.events = events;
        self.expire(Instant::now());
    }

    /// Follows the news of one socket until there is nothing more to do.
    fn follow(&mut self, slot: usize, news: EpollFlags) {
        let Some(connection) = &mut self.slots[slot] else { return };
        if connection.is_connecting() {
            if !news.intersects(EpollFlags::EPOLLOUT | EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP) {
                return;
            }
            if let Err(reason) = connection.finish_connect() {
                return self.fail(slot, reason);
            }
            connection.connect_ns = nanos(connection.since.elapsed());
            self.tally.connected(connection.connect_ns);
            self.progress.established.fetch_add(1, Ordering::Relaxed);
            self.busy -= 1;
            if self.plan.hold.is_none() {
                return self.converse(slot);
            }
        }
        self.advance(slot);
    }

    /// Starts the conversation on an established connection.
    fn converse(&mut self, slot: usize) {
        let Some(connection) = &mut self.slots[slot] else { return };
        connection.start_conversation(Instant::now());
        self.busy += 1;
        self.set_deadline(slot);
        self.advance(slot);
    }

    fn advance(&mut self, slot: usize) {
        let Some(connection) = &mut self.slots[slot] else { return };
        match connection.advance(&self.plan.script, &mut self.scratch) {
            Outcome::Pending => {}
            Outcome::Failed(reason) => self.fail(slot, reason),
            Outcome::Completed => {
                self.tally.completed(connection.connect_ns + nanos(connection.since.elapsed()));
                self.progress.completed.fetch_add(1, Ordering::Relaxed);
                self.forget(slot);
            }
        }
    }

    fn fail(&mut self, slot: usize, reason: Reason) {
        self.count_failure(reason);
        self.forget(slot);
    }

    fn count_failure(&mut self, reason: Reason) {
        self.tally.failed(reason);
        self.progress.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Closes the socket, which takes it out of the epoll set too, and frees its slot.
    fn forget(&mut self, slot: usize) {
        if let Some(connection) = self.slots[slot].take() {
            self.busy -= usize::from(!connection.is_held());
            self.free.push(slot);
        }
    }

    fn set_deadline(&mut self, slot: usize) {
        let Some(connection) = &mut self.slots[slot] else { return };
        let serial = self.next_deadline;
        self.next_deadline += 1;
        connection.deadline = serial;
        self.deadlines.push_back(Deadline { at: connection.since + self.plan.timeout, slot, serial });
    }

    /// Gives up the busy connections whose time is over.
    fn expire(&mut self, now: Instant) {
        while self.deadlines.front().is_some_and(|deadline| deadline.at <= now) {
            let Some(deadline) = self.deadlines.pop_front() else { return };
            let Some(connection) = &self.slots[deadline.slot] else { continue };
            if connection.deadline != deadline.serial || connection.is_held() {
                continue;
            }
            let reason = if connection.is_connecting() { Reason::ConnectTimeout } else { Reason::ConversationTimeout };
            self.fail(deadline.slot, reason);
        }
    }
}

/// A duration in nanoseconds; 584 years and more are one value.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
