//! Captures: what workers receive and send, in files that tshark reads.
//!
//! Each worker has a recorder (worker::capture) that hands frames over through a queue of its own; one thread here empties the queues and
//! writes the files ([`sink`]). It looks every few milliseconds and is woken by nobody, so that capturing costs a worker no system call.
//! What is not here: which frame is captured (worker::capture::filter; its language is [`expression`]).

pub mod expression;
pub mod sink;

use crate::observe::report::CaptureReport;
use crate::worker::capture::queue::{Consumer, pair};
use crate::worker::capture::{Book, Recorder, RecorderConfig};
use expression::Expression;
use sink::{CaptureError, Sink};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Frames that wait for the writer at most, for each queue of the interface; more are not captured, and counted.
pub const QUEUE_FRAMES: usize = 16_384;
/// How often the writer looks while nothing is there.
const LOOK: Duration = Duration::from_millis(2);
/// Frames of one queue that are written before the next has its turn.
const TURN_FRAMES: usize = 4_096;

/// Bytes of a frame that are kept if nothing is said: all headers, and some of what follows.
pub const DEFAULT_SNAPLEN: u32 = 256;
/// The size at which a file ends if nothing is said, in bytes.
pub const DEFAULT_LIMIT_BYTES: u64 = 1_000_000_000;
/// Frames of each worker that are remembered for connections that fail, if nothing is said.
pub const DEFAULT_REMEMBER: u32 = 65_536;

/// What to capture, and where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureSettings {
    /// The file for what `filter` lets through.
    pub file: Option<PathBuf>,
    /// What it lets through; `None` is everything.
    pub filter: Option<Expression>,
    /// The file for the connections that fail.
    pub failed: Option<PathBuf>,
    /// Bytes of a frame that are kept.
    pub snaplen: u32,
    /// The size in bytes at which a file ends.
    pub limit_bytes: u64,
    /// Frames that each worker remembers for connections that fail.
    pub remember: u32,
}

impl Default for CaptureSettings {
    fn default() -> Self {
        Self {
            file: None,
            filter: None,
            failed: None,
            snaplen: DEFAULT_SNAPLEN,
            limit_bytes: DEFAULT_LIMIT_BYTES,
            remember: DEFAULT_REMEMBER,
        }
    }
}

/// What is known of a running capture, for reports.
#[derive(Clone, Debug, Default)]
pub struct Books(Arc<Mutex<CaptureReport>>);

impl Books {
    /// The last state.
    pub fn report(&self) -> CaptureReport {
        // A report is replaced as a whole: no panic leaves it half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Files that are open and queues that nobody empties yet.
pub struct Capture {
    all: Option<Sink>,
    failed: Option<Sink>,
    queues: Vec<Consumer>,
}

/// A capture that is being written. Dropping it ends it.
#[derive(Debug)]
pub struct Writing {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    books: Books,
}

impl Capture {
    /// Makes the files, and a recorder for each of `queues` of `interface`, in their order; `None` if nothing is to be captured. `key`
    /// is what the recorders hash with.
    ///
    /// # Errors
    ///
    /// [`CaptureError`] for a file that cannot be made.
    pub fn open(
        settings: &CaptureSettings,
        interface: &str,
        queues: &[u32],
        key: [u64; 2],
    ) -> Result<Option<(Self, Vec<Recorder>)>, CaptureError> {
        let CaptureSettings { file, filter, failed, snaplen, limit_bytes, remember } = settings;
        if file.is_none() && failed.is_none() {
            return Ok(None);
        }
        let sink = |path: &Option<PathBuf>| {
            path.as_ref().map(|path| Sink::create(path, *limit_bytes, *snaplen, interface, queues)).transpose()
        };
        let mut capture = Self { all: sink(file)?, failed: sink(failed)?, queues: Vec::new() };
        let mut recorders = Vec::new();
        for _ in queues {
            let frame_bytes = usize::try_from(*snaplen).unwrap_or(usize::MAX);
            let (producer, consumer) = pair(QUEUE_FRAMES, frame_bytes);
            capture.queues.push(consumer);
            let everything = || filter.as_ref().map(|expression| expression.filter.clone()).unwrap_or_default();
            recorders.push(Recorder::new(RecorderConfig {
                filter: file.is_some().then(everything),
                remember: if failed.is_some() { usize::try_from(*remember).unwrap_or(usize::MAX) } else { 0 },
                frame_bytes,
                key,
                queue: producer,
            }));
        }
        Ok(Some((capture, recorders)))
    }

    /// Writes from now on; `since_1970` is when the workers' clock stood at 0.
    ///
    /// # Errors
    ///
    /// If the system makes no thread.
    pub fn start(mut self, since_1970: Duration) -> Result<Writing, CaptureError> {
        let (ended, books) = (Arc::new(AtomicBool::new(false)), Books::default());
        self.keep(&books);
        let path = [&self.all, &self.failed].into_iter().flatten().map(|sink| sink.report().path).next();
        let (flag, theirs) = (Arc::clone(&ended), books.clone());
        let body = move || self.write(&flag, &theirs, since_1970);
        let thread = thread::Builder::new().name("capture".into()).spawn(body).map_err(|cause: io::Error| {
            CaptureError::new(PathBuf::from(path.unwrap_or_default()).as_path(), "start a thread", cause)
        })?;
        Ok(Writing { ended, thread: Some(thread), books })
    }

    fn write(&mut self, ended: &AtomicBool, books: &Books, since_1970: Duration) {
        let mut bytes = Vec::new();
        loop {
            // Looked at ahead of the queues: whoever sets it has seen the workers end, so what they handed over is found behind it.
            let last = ended.load(Ordering::Acquire);
            let mut written = 0;
            for (interface, queue) in (0..).zip(&mut self.queues) {
                for _ in 0..TURN_FRAMES {
                    let Some(note) = queue.pop(&mut bytes) else { break };
                    let sink = match note.book {
                        Book::All => &mut self.all,
                        Book::Failed => &mut self.failed,
                    };
                    if let Some(sink) = sink {
                        sink.add(interface, &note, &bytes, since_1970);
                    }
                    written += 1;
                }
            }
            if written > 0 {
                continue;
            }
            [&mut self.all, &mut self.failed].into_iter().flatten().for_each(Sink::flush);
            self.keep(books);
            if last {
                return;
            }
            thread::sleep(LOOK);
        }
    }

    fn keep(&self, books: &Books) {
        let report =
            CaptureReport { all: self.all.as_ref().map(Sink::report), failed: self.failed.as_ref().map(Sink::report) };
        *books.0.lock().unwrap_or_else(PoisonError::into_inner) = report;
    }
}

impl Writing {
    /// What is known of it.
    pub fn books(&self) -> Books {
        self.books.clone()
    }
}

impl Drop for Writing {
    /// Waits until everything that the workers handed over is written; they must have ended.
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the writer of the capture ended with a panic");
        }
    }
}
