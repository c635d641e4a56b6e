//! The flood over an AF_XDP socket, for kernels without live frames: the same frames by the same schedule, made here.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{sleep, yield_now};
use std::time::{Duration, Instant};

use core_affinity::CoreId;

use super::contract::Config;
use super::error::FloodError;
use super::flooder::{Flooder, lasted};
use super::frames;
use crate::blast::xdp::contract::{INTERVAL_BITS, LATE_NS, Schedule};
use crate::blast::xdp::send::{LAST_CALL, now_ns};
use crate::blast::xdp::{Sent, XdpError};
use crate::port::Port;

/// Frames between two looks at the clock and two calls of the kernel.
const BATCH: u64 = 64;
/// How much earlier than needed a sleep ends; the rest of the time is waited awake.
const AWAKE_BEFORE: Duration = Duration::from_micros(100);
/// How long frames that the kernel has are waited for in the end.
const DRAIN: Duration = Duration::from_millis(100);

/// Sends over `port` what [`Flooder::send`] would send, from `core` and the calling thread.
///
/// # Errors
///
/// [`XdpError::Pin`], or the maps can not be written.
pub(super) fn send<P: Port>(
    flooder: &Flooder,
    port: &mut P,
    rate: Option<u64>,
    duration: Duration,
    core: Option<u16>,
    stop: &AtomicBool,
) -> Result<Sent, FloodError> {
    if let Some(core) = core
        && !core_affinity::set_for_current(CoreId { id: core.into() })
    {
        return Err(XdpError::Pin { core }.into());
    }
    let start = now_ns();
    let mut schedule = flooder.begin_elsewhere(start, rate, duration)?;
    let first = flooder.progress()?.before;
    let mut last_ns = 0;
    let last = if rate.is_some() { duration.saturating_add(LAST_CALL) } else { duration };
    let mut elapsed = Duration::ZERO;
    while !schedule.is_over() && elapsed < last && !stop.load(Ordering::Relaxed) {
        let now = now_ns();
        let due = due(&schedule, now);
        if due == 0 {
            match schedule.wait(now).checked_sub(AWAKE_BEFORE) {
                Some(asleep) if !asleep.is_zero() => sleep(asleep),
                _ => yield_now(),
            }
        } else {
            let next = first + schedule.sent;
            // Before an answer can come: that these frames were sent, and that nobody has answered them.
            flooder.note(Schedule { sent: schedule.sent + due, ..schedule }, next..next + due)?;
            let late = late(&schedule, now);
            let sent = put(port, flooder.config(), next, due);
            schedule.sent += sent;
            last_ns = now;
            schedule.late += late.min(sent);
        }
        elapsed = Duration::from_nanos(now_ns() - start);
    }
    drain(port);
    flooder.note(schedule, 0..0)?;
    let elapsed = lasted(&schedule, last_ns).unwrap_or(elapsed);
    Ok(Sent { late: schedule.late, unsent: schedule.limit - schedule.sent, elapsed })
}

/// How many frames are due at `now_ns` and not sent, at most a batch; none before a burst is full.
fn due(schedule: &Schedule, now_ns: u64) -> u64 {
    if !schedule.wait(now_ns).is_zero() {
        return 0;
    }
    let left = schedule.limit - schedule.sent;
    behind(schedule, now_ns).min(left).min(BATCH)
}

/// How many frames were due by `now_ns` and are not sent.
fn behind(schedule: &Schedule, now_ns: u64) -> u64 {
    if schedule.interval == 0 {
        return u64::MAX;
    }
    let elapsed = u128::from(now_ns.saturating_sub(schedule.start_ns)) << INTERVAL_BITS;
    let due = elapsed / u128::from(schedule.interval) + 1;
    u64::try_from(due).unwrap_or(u64::MAX).saturating_sub(schedule.sent)
}

/// How many of the next frames come later than they may. Without a rate none is late.
fn late(schedule: &Schedule, now_ns: u64) -> u64 {
    if schedule.interval == 0 { 0 } else { behind(schedule, now_ns.saturating_sub(LATE_NS)) }
}

/// Hands up to `count` frames from number `first` on to the kernel; how many it took.
fn put<P: Port>(port: &mut P, config: &Config, first: u64, count: u64) -> u64 {
    let mut number = first;
    while number < first + count {
        let Some(mut free) = port.take_free() else { break };
        let len = frames::write(config, number, port.bytes_mut(&mut free));
        port.transmit(free, len);
        number += 1;
    }
    port.flush();
    number - first
}

/// Waits until the kernel has sent what it has, for a little while.
fn drain<P: Port>(port: &mut P) {
    let start = Instant::now();
    while port.tx_outstanding() && start.elapsed() < DRAIN {
        port.flush();
        yield_now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blast::xdp::pace;
    use crate::flood::frames::tests::config;
    use crate::port::memory::{MemoryConfig, MemoryPort};
    use crate::wire::parse::{PartialChecksums, parse};

    #[test]
    fn frames_are_due_by_the_schedule_and_at_most_a_batch_at_once() {
        let slow = pace::schedule(1_000, 1_000, Duration::from_secs(1), None);
        assert_eq!([1_000, 2_000, 1_001_000, 9_001_000].map(|now| due(&slow, now)), [1, 1, 2, 10]);
        let fast = pace::schedule(0, 1_000_000, Duration::from_secs(1), None);
        assert_eq!([0, 14_999, 15_000, 1_000_000].map(|now| due(&fast, now)), [0, 0, 16, 64]);
        assert_eq!(due(&Schedule { sent: 999_999, ..fast }, u64::MAX), 1);
        assert_eq!(due(&pace::at_once(), 0), BATCH);
    }

    #[test]
    fn a_frame_is_late_a_millisecond_after_it_was_due() {
        let slow = pace::schedule(0, 1_000, Duration::from_secs(1), None);
        assert_eq!([0, 900_000, 2_500_000].map(|now| late(&slow, now)), [1, 1, 2]);
        assert_eq!(late(&Schedule { sent: 2, ..slow }, 2_500_000), 0);
        assert_eq!(late(&pace::at_once(), u64::MAX), 0);
    }

    #[test]
    fn frames_go_out_in_the_order_of_their_numbers() {
        let config = config("198.18.0.1:80", "198.19.0.0/16");
        let mut port = MemoryPort::new(&MemoryConfig { fill_ring: 64, ..MemoryConfig::default() });
        assert_eq!(put(&mut port, &config, 5, 3), 3);
        let mut number = 5;
        port.take_sent(usize::MAX, |bytes| {
            let mut expected = vec![0; 128];
            let len = frames::write(&config, number, &mut expected);
            assert_eq!(bytes, &expected[..len]);
            assert!(parse(bytes, PartialChecksums::Refuse).is_ok());
            number += 1;
        });
        assert_eq!(number, 8);
    }
}
