//! The sending thread: has the program keep its schedule, by BPF_PROG_RUN with live frames, for as long as it lasts.

use super::contract::Schedule;
use super::error::XdpError;
use super::plan::XdpCore;
use super::tally::Sent;
use crate::arch::bpf::xdp_run_live;
use core_affinity::CoreId;
use libbpf_rs::{MapCore, MapFlags, MapHandle};
use rustix::time::{ClockId, clock_gettime};
use std::io::ErrorKind;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{sleep, yield_now};
use std::time::Duration;

/// How much earlier than needed a sleep ends, since the scheduler may wake us that much later than asked; the rest of the
/// time the program waits awake.
const AWAKE_BEFORE: Duration = Duration::from_micros(100);

/// How long after the end of the plan connections that are behind schedule are still sent.
pub(crate) const LAST_CALL: Duration = Duration::from_millis(100);

/// How the kernel is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calls {
    /// Frames that the program is run for in one call.
    pub frames: u32,
    /// Frames after which the kernel sends what is to be sent, and lets the network's soft interrupts run.
    pub batch: u32,
}

impl Calls {
    /// Where a schedule is kept most frames come too early and are dropped, in about 0.1 us each, so that a call takes a good
    /// fraction of a millisecond, and what it takes to begin and end one is little. If a thread of the kernel answers on
    /// this core, calls are shorter: it gets the core between two of them.
    pub fn for_schedule(core: XdpCore) -> Self {
        Self { frames: if core.answering().is_some() { 512 } else { 4096 }, batch: 16 }
    }

    /// Where nothing is too early: so many frames in a batch as a veth takes at once without loss.
    pub fn as_fast_as_it_goes() -> Self {
        Self { frames: 16_384, batch: 64 }
    }
}

/// What the thread works with.
#[derive(Debug)]
pub struct Sender<'a> {
    /// The generating program, which makes a SYN of a frame if one is due.
    pub program: BorrowedFd<'a>,
    /// The length of its frames in bytes.
    pub frame_bytes: usize,
    /// The map that holds the schedule.
    pub schedule: &'a MapHandle,
    /// How long the schedule lasts.
    pub duration: Duration,
    /// The core to run on, and whether segments are answered there.
    pub core: XdpCore,
    /// How the kernel is called.
    pub calls: Calls,
    /// Set when sending has to end early.
    pub stop: &'a AtomicBool,
}

impl Sender<'_> {
    /// Sends until the schedule is at its end, its time has long been over, or the stop flag is set. `plan` makes the
    /// schedule of the present time in ns.
    ///
    /// # Errors
    ///
    /// [`XdpError::Pin`], [`XdpError::Send`], or [`XdpError::Counters`] if the schedule can not be written or read.
    pub fn send(&self, plan: impl FnOnce(u64) -> Schedule) -> Result<Sent, XdpError> {
        if let Some(core) = self.core.sending()
            && !core_affinity::set_for_current(CoreId { id: core.into() })
        {
            return Err(XdpError::Pin { core });
        }
        let frame = vec![0; self.frame_bytes];
        let start_ns = now_ns();
        let last_call = self.duration.saturating_add(LAST_CALL);
        let mut schedule = plan(start_ns);
        write(self.schedule, schedule)?;
        let mut elapsed = Duration::ZERO;
        while !schedule.is_over() && elapsed < last_call && !self.stop.load(Ordering::Relaxed) {
            match schedule.wait(now_ns()).checked_sub(AWAKE_BEFORE) {
                Some(asleep) if !asleep.is_zero() => sleep(asleep),
                _ => self.run(&frame)?,
            }
            schedule = read(self.schedule)?;
            elapsed = Duration::from_nanos(now_ns() - start_ns);
        }
        Ok(Sent { late: schedule.late, unsent: schedule.limit - schedule.sent, elapsed })
    }

    /// Runs the program for a while, then lets the kernel's thread run that answers on this core.
    fn run(&self, frame: &[u8]) -> Result<(), XdpError> {
        match xdp_run_live(self.program, frame, self.calls.frames, self.calls.batch) {
            // A signal ended it early; the schedule says how far it came.
            Err(cause) if cause.kind() != ErrorKind::Interrupted => return Err(XdpError::Send { cause }),
            _ => yield_now(),
        }
        Ok(())
    }
}

/// Writes a schedule for the program to keep.
///
/// # Errors
///
/// [`XdpError::Counters`].
pub fn write(map: &MapHandle, schedule: Schedule) -> Result<(), XdpError> {
    let written = map.update(&0_u32.to_ne_bytes(), &schedule.to_bytes(), MapFlags::ANY);
    written.map_err(|cause| XdpError::Counters { cause })
}

/// Reads the schedule as the program has it by now.
///
/// # Errors
///
/// [`XdpError::Counters`].
pub fn read(map: &MapHandle) -> Result<Schedule, XdpError> {
    let value = map.lookup(&0_u32.to_ne_bytes(), MapFlags::ANY).map_err(|cause| XdpError::Counters { cause })?;
    Ok(Schedule::from_bytes(&value.unwrap_or_default()))
}

/// The clock that the program reads, in ns.
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let parts = (u64::try_from(now.tv_sec), u64::try_from(now.tv_nsec));
    let (Ok(seconds), Ok(nanos)) = parts else { unreachable!("the monotonic clock is never negative") };
    seconds * 1_000_000_000 + nanos
}
