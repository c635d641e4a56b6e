//! The worker threads: started and pinned, asked, and stopped.

use super::office::Event;
use crate::engine::listeners::{ListenerFlows, Listeners};
use crate::engine::{Engine, EngineConfig, Secrets};
use crate::port::Port;
use crate::tcp::config::TcpConfig;
use crate::tcp::cookie::Keys;
use crate::tcp::state::State;
use crate::worker::capture::Tap;
use crate::worker::clock::{Clock, MonotonicClock};
use crate::worker::mailbox::{Answer, Command, FlowQuery, Mailbox};
use crate::worker::profile::Profile;
use crate::worker::report::Report;
use crate::worker::user::{Nobody, User};
use crate::worker::{Idle, Worker};
use core_affinity::CoreId;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long a worker may take to answer: many times its longest sleep.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a worker may take to answer where the answer can be done without.
const SHORT_ANSWER_TIMEOUT: Duration = Duration::from_millis(200);

/// How often an expected answer is looked for.
const ANSWER_POLL: Duration = Duration::from_millis(1);

/// Why a worker could not be started or asked.
#[derive(Debug, thiserror::Error)]
pub enum CrewError {
    /// No thread.
    #[error(
        "starting the worker of queue {queue}: the system made no thread: {cause}; look at the limits of processes (ulimit -u)"
    )]
    Spawn {
        /// Its queue.
        queue: u32,
        /// The cause.
        cause: std::io::Error,
    },
    /// Not pinned.
    #[error(
        "starting the worker of queue {queue}: it could not be pinned to core {core}; give cores that this process may run \
         on (taskset -p $$ shows them) with --cores"
    )]
    Pin {
        /// Its queue.
        queue: u32,
        /// The core.
        core: u32,
    },
    /// It ended before it was ready.
    #[error(
        "starting the worker of queue {queue}: it ended before it was ready; this is a bug, please report it with the message above"
    )]
    Ended {
        /// Its queue.
        queue: u32,
    },
    /// It does not answer.
    #[error(
        "asking the worker of queue {queue}: no answer within 2 s; it does not get its core (is another program running \
         there?), or it has ended"
    )]
    Silent {
        /// Its queue.
        queue: u32,
    },
}

/// What a worker is started with.
#[derive(Debug)]
pub struct Job<P, T> {
    /// The queue it serves.
    pub queue: u32,
    /// The core it runs on.
    pub core: u32,
    /// Its port.
    pub port: P,
    /// Its engine's configuration.
    pub engine: EngineConfig,
    /// Its listeners.
    pub listeners: Listeners,
    /// Who hears of its frames.
    pub tap: T,
}

/// What workers say about their flows.
#[derive(Debug, Default)]
pub struct FoundFlows {
    /// By queue, what was found.
    pub queries: Vec<(u32, FlowQuery)>,
    /// Flows of each listener over all workers, by id.
    pub of_listener: Vec<ListenerFlows>,
}

/// One worker, seen from outside.
#[derive(Debug)]
struct Member {
    queue: u32,
    core: u32,
    mailbox: Arc<Mailbox>,
    thread: Option<JoinHandle<Nobody>>,
}

/// All workers. Dropping it stops them.
#[derive(Debug, Default)]
pub struct Crew {
    members: Vec<Member>,
    /// Held by whoever has asked and waits for answers.
    asking: Mutex<()>,
}

/// Tells that the thread is over, also if it panics.
struct Farewell(Sender<Event>, u32);

impl Drop for Farewell {
    fn drop(&mut self) {
        // Nobody listens any more while the server ends.
        let _ = self.0.send(Event::WorkerEnded(self.1));
    }
}

/// Starts the thread of a worker and waits until it is ready. Its engine is allocated on its own core; the thread returns the
/// engine's user, and drops `farewell` at its end, also if it panics.
///
/// # Errors
///
/// [`CrewError`]; the thread has then ended, or ends at once.
pub fn launch<P: Port + Send + 'static, U: User + Send + 'static, T: Tap + Send + 'static>(
    job: Job<P, T>,
    secrets: &Secrets,
    clock: MonotonicClock,
    idle: Idle,
    user: U,
    farewell: impl Send + 'static,
) -> Result<(Arc<Mailbox>, JoinHandle<U>), CrewError> {
    let Job { queue, core, port, engine, listeners, tap } = job;
    let mailbox = Arc::new(Mailbox::new());
    let (theirs, secrets) = (Arc::clone(&mailbox), secrets.clone());
    let (ready, is_ready) = channel();
    let body = move || {
        let _farewell = farewell;
        let pinned = core_affinity::set_for_current(CoreId { id: core as usize });
        let mut clock = clock;
        let engine = Engine::new(engine, &secrets, listeners, clock.now());
        let now = clock.now();
        let mut worker = Worker::with_tap(engine, port, clock, theirs, idle, user, tap);
        // It hands the kernel frames to receive into. Whoever is told that the worker is ready may send at once.
        worker.turn(now);
        if ready.send(pinned).is_ok() && pinned {
            worker.run();
        }
        worker.into_user()
    };
    let spawned = thread::Builder::new().name(format!("queue-{queue}")).spawn(body);
    let thread = spawned.map_err(|cause| CrewError::Spawn { queue, cause })?;
    match is_ready.recv() {
        Ok(true) => Ok((mailbox, thread)),
        Ok(false) => Err(CrewError::Pin { queue, core }),
        Err(_) => Err(CrewError::Ended { queue }),
    }
}

impl Crew {
    /// Starts another worker and waits until it is ready. Its engine is allocated on its own core. `ended` is told when
    /// the thread ends.
    ///
    /// # Errors
    ///
    /// [`CrewError`]; the worker is then not part of the crew.
    pub fn start<P: Port + Send + 'static, T: Tap + Send + 'static>(
        &mut self,
        job: Job<P, T>,
        secrets: &Secrets,
        clock: MonotonicClock,
        idle: Idle,
        ended: Sender<Event>,
    ) -> Result<(), CrewError> {
        let (queue, core) = (job.queue, job.core);
        let (mailbox, thread) = launch(job, secrets, clock, idle, Nobody, Farewell(ended, queue))?;
        self.members.push(Member { queue, core, mailbox, thread: Some(thread) });
        Ok(())
    }

    /// Queue, core and last report of each worker, in the order in which they were started.
    pub fn reports(&self) -> impl Iterator<Item = (u32, u32, Report)> + '_ {
        self.members.iter().map(|member| (member.queue, member.core, member.mailbox.report().unwrap_or_default()))
    }

    /// Connections that are not merely waiting out their TIME-WAIT, as of the last reports.
    pub fn open_connections(&self) -> u64 {
        let time_wait = State::TimeWait.index();
        self.reports().map(|(_, _, report)| report.flows - report.states[time_wait]).sum()
    }

    /// Has every worker open no more connections.
    ///
    /// # Errors
    ///
    /// [`CrewError::Silent`] for a worker that takes no command.
    pub fn drain(&self) -> Result<(), CrewError> {
        self.members.iter().try_for_each(|member| member.send(Command::Drain))
    }

    /// Has every worker use these limits and times.
    ///
    /// # Errors
    ///
    /// [`CrewError::Silent`] for a worker that takes no command.
    pub fn set_tcp_config(&self, tcp: &TcpConfig) -> Result<(), CrewError> {
        self.members.iter().try_for_each(|member| member.send(Command::TcpConfig(tcp.clone())))
    }

    /// Has every worker make and judge SYN cookies with these keys.
    ///
    /// # Errors
    ///
    /// [`CrewError::Silent`] for a worker that takes no command.
    pub fn set_cookie_keys(&self, keys: &Keys) -> Result<(), CrewError> {
        self.members.iter().try_for_each(|member| member.send(Command::CookieKeys(*keys)))
    }

    /// Has every worker judge cookies that the steering program sends, or for as long only as its last ones may be good.
    ///
    /// # Errors
    ///
    /// [`CrewError::Silent`] for a worker that takes no command.
    pub fn set_cookies_elsewhere(&self, elsewhere: bool) -> Result<(), CrewError> {
        self.members.iter().try_for_each(|member| member.send(Command::CookiesElsewhere(elsewhere)))
    }

    /// Has every worker use these listeners, and waits until they do.
    ///
    /// # Errors
    ///
    /// [`CrewError::Silent`] for a worker that does not say so.
    pub fn set_listeners(&self, table: impl Fn() -> Listeners) -> Result<(), CrewError> {
        let _asking = self.asking();
        for member in &self.members {
            let is_it = |answer| matches!(answer, Answer::OldListeners(_)).then_some(());
            member.ask(Command::Listeners(table()), ANSWER_TIMEOUT, is_it)?;
        }
        Ok(())
    }

    /// The flows of each of so many listeners over all workers, by id; `None` if a worker does not say in time.
    pub fn listener_flows(&self, listeners: usize) -> Option<Vec<ListenerFlows>> {
        self.flows_within(None, 0, listeners, SHORT_ANSWER_TIMEOUT).ok().map(|found| found.of_listener)
    }

    /// Flows of each worker, as many as `limit` allows in all, and for each listener id the number of its flows.
    ///
    /// # Errors
    ///
    /// [`CrewError::Silent`] for a worker that does not answer.
    pub fn flows(&self, state: Option<State>, limit: usize, listeners: usize) -> Result<FoundFlows, CrewError> {
        self.flows_within(state, limit, listeners, ANSWER_TIMEOUT)
    }

    fn flows_within(
        &self,
        state: Option<State>,
        limit: usize,
        listeners: usize,
        timeout: Duration,
    ) -> Result<FoundFlows, CrewError> {
        let _asking = self.asking();
        let mut queries = Vec::new();
        let mut of_listener = vec![ListenerFlows::default(); listeners];
        let mut room = limit;
        for member in &self.members {
            let query = FlowQuery::new(state, room, listeners);
            let query = member.ask(Command::Flows(query), timeout, |answer| match answer {
                Answer::Flows(query) => Some(query),
                Answer::OldListeners(_) | Answer::Profile(_) => None,
            })?;
            room -= query.flows.len();
            for (sum, flows) in of_listener.iter_mut().zip(&query.flows_of_listener) {
                sum.add(flows);
            }
            queries.push((member.queue, query));
        }
        Ok(FoundFlows { queries, of_listener })
    }

    /// Has every worker time its turns, one of `every` stage by stage, until [`Crew::end_profile`].
    ///
    /// # Errors
    ///
    /// [`CrewError::Silent`] for a worker that takes no command; some may time their turns then.
    pub fn begin_profile(&self, every: u32) -> Result<(), CrewError> {
        self.members.iter().try_for_each(|member| member.send(Command::Profile(Box::new(Profile::new(every)))))
    }

    /// Has every worker time no more turns. Queue, core and profile of each.
    ///
    /// # Errors
    ///
    /// [`CrewError::Silent`] for a worker that does not hand its profile back.
    pub fn end_profile(&self) -> Result<Vec<(u32, u32, Box<Profile>)>, CrewError> {
        let _asking = self.asking();
        let ended = self.members.iter().map(|member| {
            let profile = member.ask(Command::EndProfile, ANSWER_TIMEOUT, |answer| match answer {
                Answer::Profile(profile) => Some(profile),
                Answer::OldListeners(_) | Answer::Flows(_) => None,
            })?;
            Ok((member.queue, member.core, profile))
        });
        ended.collect()
    }

    /// Has every worker time no more turns, and waits for nobody: what they hand back is dropped by who asks them next.
    pub fn give_up_profile(&self) {
        for member in &self.members {
            // A worker that takes no command has ended, or will be asked again by who profiles next.
            let _ = member.send(Command::EndProfile);
        }
    }

    fn asking(&self) -> std::sync::MutexGuard<'_, ()> {
        // What the lock guards is the order of questions; a panic in between leaves nothing half done.
        self.asking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops all workers and waits for them. Their last reports stay readable.
    pub fn stop(&mut self) {
        for member in &self.members {
            member.mailbox.stop();
        }
        for member in &mut self.members {
            if let Some(thread) = member.thread.take()
                && thread.join().is_err()
            {
                tracing::error!(queue = member.queue, "the worker ended with a panic");
            }
        }
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Member {
    fn send(&self, command: Command) -> Result<(), CrewError> {
        self.mailbox.send(command).map_err(|_| CrewError::Silent { queue: self.queue })
    }

    /// Sends a command and waits for the answer that `pick` takes; others are of questions that were given up.
    fn ask<T>(&self, command: Command, timeout: Duration, pick: impl Fn(Answer) -> Option<T>) -> Result<T, CrewError> {
        while self.mailbox.take_answer().is_some() {}
        self.send(command)?;
        let asked = Instant::now();
        while asked.elapsed() < timeout {
            if let Some(answer) = self.mailbox.take_answer().and_then(&pick) {
                return Ok(answer);
            }
            thread::sleep(ANSWER_POLL);
        }
        Err(CrewError::Silent { queue: self.queue })
    }
}
