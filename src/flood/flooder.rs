//! The loaded program: attached, run, asked.
//!
//! Frames are numbered from the first that a [`Flooder`] sends on, over all its runs: none is like another, and an answer
//! names the frame that it is for.

use std::os::fd::AsFd as _;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use libbpf_rs::{MapCore as _, MapFlags, MapHandle, Object, ObjectBuilder, ProgramMut};

use super::contract::{Config, Count, Counters, Progress, WINDOW_FRAMES};
use super::error::FloodError;
use super::frames;
use super::plan::FloodPlan;
use crate::arch::bpf::xdp_run_live;
use crate::blast::xdp::contract::{INTERVAL_BITS, Schedule};
use crate::blast::xdp::send::{self, Calls, LAST_CALL, Sender};
use crate::blast::xdp::{Sent, XdpCore, XdpError, pace};
use crate::steer::AttachMode;
use crate::steer::attach::{self, Attached, XdpLink};

/// The compiled program (see bpf/build.rs).
static OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/flood.bpf.o"));

/// The program's name in the object, and in `bpftool prog`.
const PROGRAM: &str = "handfast_flood";

/// Frames of one burst where there is no rate: what goes out between two looks at the clock.
const BURST: u64 = 64;

/// The only key of the maps that hold one value.
const FIRST: [u8; 4] = 0_u32.to_ne_bytes();

/// The loaded program.
#[derive(Debug)]
pub struct Flooder {
    object: Object,
    config: Config,
    counters: MapHandle,
    schedule: MapHandle,
    progress: MapHandle,
    window: MapHandle,
    reach: MapHandle,
    /// Hold the program on its interfaces.
    links: Vec<XdpLink>,
}

/// What was sent, and what came back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Frames handed to the interface.
    pub sent: u64,
    /// What came back.
    pub counters: Counters,
}

impl Tally {
    /// One counter.
    pub fn get(&self, count: Count) -> u64 {
        self.counters.get(count)
    }

    /// What was counted since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self { sent: self.sent - earlier.sent, counters: self.counters.since(&earlier.counters) }
    }
}

impl Flooder {
    /// Loads the program for a plan. It is attached nowhere, and nothing is sent yet; whoever runs it before the first
    /// [`Flooder::send`] gets a frame each time. `key` makes it a flood of its own.
    ///
    /// # Errors
    ///
    /// [`FloodError::Load`] if the kernel refuses; the verifier's log is then on standard error.
    pub fn load(plan: &FloodPlan, key: u64) -> Result<Self, FloodError> {
        let config = frames::config(plan, key);
        let load = || -> libbpf_rs::Result<(Object, [MapHandle; 5])> {
            let mut object = ObjectBuilder::default().name("flood")?.open_memory(OBJECT)?;
            for mut map in object.maps_mut() {
                // The object's only read-only data is the configuration; libbpf puts the object's name before ".rodata".
                if map.name().to_string_lossy().ends_with(".rodata") {
                    map.set_initial_value(&config.to_bytes())?;
                }
            }
            let object = object.load()?;
            let map = |name: &str| {
                let found = object.maps().find(|map| map.name() == name);
                MapHandle::try_from(&found.expect("flood.bpf.c defines the map"))
            };
            let maps = [map("counters")?, map("schedule")?, map("progress")?, map("window")?, map("reach")?];
            Ok((object, maps))
        };
        let (object, [counters, schedule, progress, window, reach]) =
            load().map_err(|cause| FloodError::Load { cause })?;
        send::write(&schedule, pace::at_once())?;
        Ok(Self { object, config, counters, schedule, progress, window, reach, links: Vec::new() })
    }

    /// The program itself, for BPF_PROG_RUN: a frame of no interface becomes one of the flood.
    ///
    /// # Panics
    ///
    /// Never: the object is embedded and has it.
    pub fn program(&self) -> ProgramMut<'_> {
        self.object.progs_mut().find(|program| program.name() == PROGRAM).expect("flood.bpf.c defines the program")
    }

    /// The configuration that the program was loaded with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Attaches the program to the plan's interface, and to the relay if there is one. From now on answers are counted.
    ///
    /// # Errors
    ///
    /// [`FloodError::Attach`].
    pub fn attach(&mut self, mode: AttachMode) -> Result<Attached, FloodError> {
        let (link, attached) = attach::attach(self.program().as_fd(), self.config.ifindex, mode)?;
        self.links.push(link);
        if self.config.relay != 0 {
            let (link, _) = attach::attach(self.program().as_fd(), self.config.relay, mode)?;
            self.links.push(link);
        }
        Ok(attached)
    }

    /// True if the kernel runs the program with live frames (since Linux 5.18). Nothing is sent.
    ///
    /// # Errors
    ///
    /// If the schedule can not be written.
    pub fn has_live_frames(&self) -> Result<bool, FloodError> {
        send::write(&self.schedule, Schedule { burst: 1, ..Schedule::default() })?;
        let frame = vec![0; self.config.frame_bytes as usize];
        Ok(xdp_run_live(self.program().as_fd(), &frame, 1, 1).is_ok())
    }

    /// What was sent and counted so far.
    ///
    /// # Errors
    ///
    /// If the maps can not be read.
    pub fn tally(&self) -> Result<Tally, FloodError> {
        let blocks = self.counters.lookup_percpu(&FIRST, MapFlags::ANY);
        let blocks = blocks.map_err(|cause| XdpError::Counters { cause })?;
        let counters = Counters::sum(blocks.iter().flatten().map(Vec::as_slice));
        Ok(Tally { sent: self.progress()?.before + send::read(&self.schedule)?.sent, counters })
    }

    /// Sends frames by BPF_PROG_RUN: `rate` a second, or as many as it takes, for `duration` or until `stop` is set. The
    /// calling thread does it, on `core` from now on.
    ///
    /// # Errors
    ///
    /// [`FloodError::Send`].
    pub fn send(
        &self,
        rate: Option<u64>,
        duration: Duration,
        core: Option<u16>,
        stop: &AtomicBool,
    ) -> Result<Sent, FloodError> {
        self.begin()?;
        let core = core.map_or(XdpCore::Any, XdpCore::Sends);
        let program = self.program();
        let most = Calls::as_fast_as_it_goes();
        // The schedule keeps bursts short; a rate that is too high must not be slower than none.
        let calls = if rate.is_some() { Calls { batch: most.batch, ..Calls::for_schedule(core) } } else { most };
        let sender = Sender {
            program: program.as_fd(),
            frame_bytes: self.config.frame_bytes as usize,
            schedule: &self.schedule,
            // A schedule that ends by itself has a last call for what is late.
            duration: if rate.is_some() { duration } else { duration.saturating_sub(LAST_CALL) },
            core,
            calls,
            stop,
        };
        let sent = sender.send(|now_ns| schedule(now_ns, rate, duration))?;
        let lasted = lasted(&send::read(&self.schedule)?, self.progress()?.last_ns);
        Ok(Sent { elapsed: lasted.unwrap_or(sent.elapsed), ..sent })
    }

    /// Starts a schedule that another sender keeps.
    pub(super) fn begin_elsewhere(
        &self,
        now_ns: u64,
        rate: Option<u64>,
        duration: Duration,
    ) -> Result<Schedule, FloodError> {
        self.begin()?;
        let schedule = schedule(now_ns, rate, duration);
        send::write(&self.schedule, schedule)?;
        Ok(schedule)
    }

    /// How far sending has come.
    pub(super) fn progress(&self) -> Result<Progress, FloodError> {
        let value = self.progress.lookup(&FIRST, MapFlags::ANY).map_err(|cause| XdpError::Counters { cause })?;
        Ok(Progress::from_bytes(&value.unwrap_or_default()))
    }

    /// Notes what another sender is about to send: its schedule, with `sent` those that were sent, and `next` the numbers of
    /// frames that nobody has answered yet.
    pub(super) fn note(&self, schedule: Schedule, next: std::ops::Range<u64>) -> Result<(), FloodError> {
        let counters = |cause| XdpError::Counters { cause };
        for first in next.filter(|number| number % 64 == 0) {
            let place = u32::try_from(first % WINDOW_FRAMES / 64).expect("within the window");
            self.window.update(&place.to_ne_bytes(), &[0; 8], MapFlags::ANY).map_err(counters)?;
            self.reach.update(&FIRST, &(first + 64).to_ne_bytes(), MapFlags::ANY).map_err(counters)?;
        }
        Ok(send::write(&self.schedule, schedule)?)
    }

    /// Ends the last schedule: its frames count as sent before the next one.
    fn begin(&self) -> Result<(), FloodError> {
        let before = self.progress()?.before + send::read(&self.schedule)?.sent;
        send::write(&self.schedule, Schedule { burst: 1, ..Schedule::default() })?;
        let written = self.progress.update(&FIRST, &Progress { before, last_ns: 0 }.to_bytes(), MapFlags::ANY);
        Ok(written.map_err(|cause| XdpError::Counters { cause })?)
    }
}

/// How long a schedule lasted whose last frame went out at `last_ns`: up to when the next one would have been due. `None`
/// without a rate, and if nothing was sent.
pub(super) fn lasted(schedule: &Schedule, last_ns: u64) -> Option<Duration> {
    let sent_ns = last_ns.checked_sub(schedule.start_ns)?;
    let interval_ns = schedule.interval >> INTERVAL_BITS;
    (schedule.interval > 0 && schedule.sent > 0).then(|| Duration::from_nanos(sent_ns + interval_ns))
}

/// The schedule of a rate; without one, all is due.
fn schedule(now_ns: u64, rate: Option<u64>, duration: Duration) -> Schedule {
    match rate {
        Some(rate) => pace::schedule(now_ns, rate, duration, None),
        None => Schedule { burst: BURST, start_ns: now_ns, ..pace::at_once() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_rate_everything_is_due_and_nothing_late() {
        let schedule = schedule(5, None, Duration::from_secs(1));
        assert_eq!((schedule.limit, schedule.burst, schedule.interval), (u64::MAX, BURST, 0));
        assert_eq!(super::schedule(5, Some(10), Duration::from_secs(3)).limit, 30);
    }

    #[test]
    fn a_schedule_lasts_until_another_frame_would_be_due() {
        let ten = Schedule { sent: 10, ..schedule(500, Some(10), Duration::from_secs(1)) };
        assert_eq!(lasted(&ten, 900_000_500), Some(Duration::from_secs(1)));
        assert_eq!(lasted(&Schedule { sent: 0, ..ten }, 0), None);
        assert_eq!(lasted(&Schedule { sent: 9, ..schedule(5, None, Duration::from_secs(1)) }, 900), None);
    }
}
