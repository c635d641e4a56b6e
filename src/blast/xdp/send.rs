//! The sending thread: bursts of SYNs at the times that [`Pace`] says, by BPF_PROG_RUN with live frames.

use super::error::XdpError;
use super::pace::Pace;
use super::tally::Sent;
use crate::arch::bpf::xdp_run_live;
use core_affinity::CoreId;
use std::io::ErrorKind;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{sleep, yield_now};
use std::time::{Duration, Instant};

/// How much earlier than needed a sleep ends, since the scheduler may wake us that much later than asked; the rest is
/// waited for awake.
const AWAKE_BEFORE: Duration = Duration::from_micros(100);

/// How long after the end of the plan connections that are behind schedule are still sent.
const LAST_CALL: Duration = Duration::from_millis(100);

/// What the thread works with.
#[derive(Debug)]
pub struct Sender<'a> {
    /// The generating program, which makes a SYN of a frame.
    pub program: BorrowedFd<'a>,
    /// The length of its frames in bytes.
    pub frame_bytes: usize,
    /// The schedule.
    pub pace: Pace,
    /// How long the schedule lasts.
    pub duration: Duration,
    /// The core to run on.
    pub core: Option<u16>,
    /// Set when sending has to end early.
    pub stop: &'a AtomicBool,
}

impl Sender<'_> {
    /// Sends until the schedule is at its end, its time has long been over, or the stop flag is set. `attempted` says how
    /// many SYNs the program has made.
    ///
    /// # Errors
    ///
    /// [`XdpError::Pin`], [`XdpError::Send`], or what `attempted` says.
    pub fn send(&self, attempted: impl Fn() -> Result<u64, XdpError>) -> Result<Sent, XdpError> {
        if let Some(core) = self.core
            && !core_affinity::set_for_current(CoreId { id: core.into() })
        {
            return Err(XdpError::Pin { core });
        }
        let frame = vec![0; self.frame_bytes];
        let (mut sent, mut late) = (0, 0);
        let start = Instant::now();
        let (mut elapsed, last_call) = (Duration::ZERO, self.duration.saturating_add(LAST_CALL));
        while sent < self.pace.limit() && elapsed < last_call && !self.stop.load(Ordering::Relaxed) {
            let burst = self.pace.burst(elapsed, sent);
            if burst == 0 {
                pause(self.pace.wait(elapsed, sent));
            } else {
                late += self.pace.late(elapsed, sent, burst);
                let repeat = u32::try_from(burst).expect("bursts are short");
                sent = match xdp_run_live(self.program, &frame, repeat, repeat) {
                    Ok(()) => sent + burst,
                    // A signal came, and some frames have been sent.
                    Err(cause) if cause.kind() == ErrorKind::Interrupted => attempted()?,
                    Err(cause) => return Err(XdpError::Send { cause }),
                };
            }
            elapsed = start.elapsed();
        }
        Ok(Sent { late, unsent: self.pace.limit().saturating_sub(sent), elapsed })
    }
}

/// Waits, asleep for the most part if that is worth it; what is left is waited for awake, but so that the kernel's thread
/// that answers on the same core gets it at once.
fn pause(time: Duration) {
    match time.checked_sub(AWAKE_BEFORE) {
        Some(asleep) if !asleep.is_zero() => sleep(asleep),
        _ => yield_now(),
    }
}
