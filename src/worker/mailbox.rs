//! One of the places where threads meet: commands to a worker, its answers, its published report, and the stop flag.
//!
//! Orderings: the queues are crossbeam's and carry what they hold from thread to thread; the report is a
//! [`Published`] block; the stop flag stands alone, so relaxed is enough, and the join of the thread orders what follows.
//! A worker looks at the queue's emptiness once a turn and pops only if there is something in it, so without commands its
//! turn has no atomic read-modify-write.
//!
//! A worker neither allocates nor frees for a command. What is asked lies in the queue itself and not in boxes, what it
//! replaces goes back in the answer, and a command that could find no place for its answer stays in the queue.

use core::sync::atomic::{AtomicBool, Ordering};

use crossbeam::queue::ArrayQueue;
use crossbeam::utils::CachePadded;

use super::profile::Profile;
use super::report::{REPORT_WORDS, Report};
use crate::engine::Engine;
use crate::engine::listeners::{ListenerFlows, Listeners};
use crate::engine::snapshot::FlowSnapshot;
use crate::stats::publish::Published;
use crate::tcp::config::TcpConfig;
use crate::tcp::cookie::Keys;
use crate::tcp::state::State;
use crate::time::Tick;

/// Commands that wait at most.
const COMMANDS: usize = 8;
/// Answers that wait at most: those to all commands that wait, and to those of an earlier asker who gave up. An asker
/// takes old answers out before it asks, so this is never reached; a worker that reaches it takes no more commands.
const ANSWERS: usize = 2 * COMMANDS;

/// What a worker is asked. Its memory is allocated by who asks.
#[derive(Debug)]
pub enum Command {
    /// Open no more connections.
    Drain,
    /// Use these listeners from now on.
    Listeners(Listeners),
    /// Use these limits and times from now on.
    TcpConfig(TcpConfig),
    /// Make and judge SYN cookies with these keys from now on.
    CookieKeys(Keys),
    /// The steering program sends cookies made with these keys, or no more.
    CookiesElsewhere(bool),
    /// Copy out flows.
    Flows(FlowQuery),
    /// Time the turns on this from now on.
    Profile(Box<Profile>),
    /// Time no more turns, and hand back what they were timed on. Without a profile under way there is no answer.
    EndProfile,
}

/// What a worker answers. Its memory is freed by who asked.
#[derive(Debug)]
pub enum Answer {
    /// The listeners that were replaced.
    OldListeners(Listeners),
    /// The flows asked for.
    Flows(FlowQuery),
    /// What the turns were timed on.
    Profile(Box<Profile>),
}

/// Flows to copy out, and those copied.
#[derive(Debug)]
pub struct FlowQuery {
    /// Only flows in this state.
    pub state: Option<State>,
    /// The flows; as many as it had capacity for when it was sent.
    pub flows: Vec<FlowSnapshot>,
    /// Flows of each listener, by id; as many as it had room for when it was sent.
    pub flows_of_listener: Vec<ListenerFlows>,
    next: u32,
}

impl FlowQuery {
    /// A query for up to `limit` flows, and for the number of flows of each of `listeners` listeners.
    pub fn new(state: Option<State>, limit: usize, listeners: usize) -> Self {
        Self {
            state,
            flows: Vec::with_capacity(limit),
            flows_of_listener: vec![ListenerFlows::default(); listeners],
            next: 0,
        }
    }

    /// Copies some more. True if that was all.
    pub(super) fn advance(&mut self, engine: &Engine, now: Tick) -> bool {
        let full = self.flows.len() == self.flows.capacity();
        let next = if full { None } else { engine.snapshot_flows(self.next, self.state, &mut self.flows, now) };
        match next {
            Some(slot) if self.flows.len() < self.flows.capacity() => {
                self.next = slot;
                false
            }
            _ => {
                for (count, (_, flows)) in self.flows_of_listener.iter_mut().zip(engine.listeners().iter()) {
                    *count = flows;
                }
                true
            }
        }
    }
}

/// Both ends of the crossing; shared by the worker and the control path.
#[derive(Debug)]
pub struct Mailbox {
    commands: ArrayQueue<Command>,
    answers: ArrayQueue<Answer>,
    stop: CachePadded<AtomicBool>,
    report: Published<REPORT_WORDS>,
}

impl Default for Mailbox {
    fn default() -> Self {
        Self::new()
    }
}

impl Mailbox {
    /// An empty mailbox.
    pub fn new() -> Self {
        Self {
            commands: ArrayQueue::new(COMMANDS),
            answers: ArrayQueue::new(ANSWERS),
            stop: CachePadded::new(AtomicBool::new(false)),
            report: Published::new(),
        }
    }

    /// Control path: asks the worker.
    ///
    /// # Errors
    ///
    /// The command, if too many wait already: the worker does not turn.
    pub fn send(&self, command: Command) -> Result<(), Command> {
        self.commands.push(command)
    }

    /// Control path: takes the oldest answer.
    pub fn take_answer(&self) -> Option<Answer> {
        self.answers.pop()
    }

    /// Control path: the worker's last report, or `None` if it is stuck in the middle of one.
    pub fn report(&self) -> Option<Report> {
        self.report.read().map(|words| Report::from_words(&words))
    }

    /// Control path: has the worker end after its present turn.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Worker: true once it is to end.
    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Worker: the oldest command, if there is room for its answer. Nobody but the worker answers, so the room stays.
    pub(super) fn next_command(&self) -> Option<Command> {
        if self.commands.is_empty() || self.answers.is_full() { None } else { self.commands.pop() }
    }

    /// Worker: answers the command that it took last.
    ///
    /// # Panics
    ///
    /// If there is no room: our own bug, [`Mailbox::next_command`] looked for it.
    pub(super) fn answer(&self, answer: Answer) {
        assert!(self.answers.push(answer).is_ok(), "a command was taken without room for its answer");
    }

    /// Worker: publishes a report.
    pub(super) fn publish(&self, report: &Report) {
        self.report.publish(&report.to_words());
    }
}
