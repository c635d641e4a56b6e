//! Very many short connections from below the socket: a TCP client inside eBPF, so that the generator is not the
//! bottleneck of the veth lab.
//!
//! [`Generator`] owns the loaded program (bpf/generate.bpf.c, which says how connections are spoken). A thread has it
//! send SYNs on the schedule of the plan (`send`, `pace`); on the interface it answers what comes back, on whichever core that is.
//! [`contract`] mirrors bpf/generate.h, `frames` makes the configuration of the plan, `tally` the result of the counters.
//!
//! What is deliberately not here: requests, held connections, retransmission and anything else that needs memory beyond
//! 8 bytes a connection; and ACK and FIN in two segments, because one frame that arrives becomes one frame that is sent,
//! and XDP cannot make a second one with other content.

pub mod contract;
mod error;
mod frames;
pub(crate) mod pace;
mod plan;
pub(crate) mod send;
mod tally;

pub use error::XdpError;
pub use plan::{MAX_TUPLES, XdpClose, XdpCore, XdpPlan};
pub(crate) use tally::Sent;
pub use tally::XdpTally;

use crate::steer::Interface;
use crate::steer::attach::{self, Attached, XdpLink};
use contract::{Config, Counters};
use libbpf_rs::{MapCore, MapFlags, MapHandle, Object, ObjectBuilder, ProgramMut};
use send::{Calls, Sender};
use siphasher::sip::SipHasher13;
use std::fs;
use std::hash::Hasher as _;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

/// The compiled program (see bpf/build.rs).
static OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/generate.bpf.o"));

/// The program's name in the object, and in `bpftool prog`.
const PROGRAM: &str = "handfast_generate";

/// The name of the program that answers on the core which frames are handed over to.
const ANSWER: &str = "handfast_answer";

/// How many frames wait at most for that core; what is more is lost.
const HAND_OVER_FRAMES: u32 = 4096;

/// How often progress is reported.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// How often it is looked whether sending is over, and whether all connections have ended.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);

/// How long a program may still run that was detached.
const AFTER_DETACH: Duration = Duration::from_millis(5);

/// The loaded program.
#[derive(Debug)]
pub struct Generator {
    object: Object,
    counters: MapHandle,
    schedule: MapHandle,
    plan: XdpPlan,
    /// Holds the program on the interface.
    link: Option<XdpLink>,
}

impl Generator {
    /// Loads the program for a plan and makes its maps. It is attached nowhere, and nothing is sent yet.
    ///
    /// # Errors
    ///
    /// What is wrong with the plan, its core too ([`XdpError::Pin`]), or [`XdpError::Load`] if the kernel refuses; the
    /// verifier's log is then on standard error.
    pub fn load(plan: &XdpPlan) -> Result<Self, XdpError> {
        let config = frames::config(plan, key())?;
        let cores = core_affinity::get_core_ids().unwrap_or_default();
        if let Some(core) = plan.core.sending()
            && !cores.iter().any(|known| known.id == usize::from(core))
        {
            return Err(XdpError::Pin { core });
        }
        let (object, [counters, schedule]) = open(&config).map_err(|cause| XdpError::Load { cause })?;
        send::write(&schedule, pace::at_once())?;
        Ok(Self { object, counters, schedule, plan: plan.clone(), link: None })
    }

    /// The program itself, for BPF_PROG_RUN: of a frame of no interface it makes a SYN.
    ///
    /// # Panics
    ///
    /// Never: the object is embedded and has it.
    pub fn program(&self) -> ProgramMut<'_> {
        self.object.progs_mut().find(|program| program.name() == PROGRAM).expect("generate.bpf.c defines the program")
    }

    /// Attaches the program to the plan's interface, one of the calling thread's network namespace, unless that was done
    /// before; `None` then. From now on the target's segments are answered.
    ///
    /// # Errors
    ///
    /// [`XdpError::Attach`].
    pub fn attach(&mut self) -> Result<Option<Attached>, XdpError> {
        if self.link.is_some() {
            return Ok(None);
        }
        let (link, attached) = attach::attach(self.program().as_fd(), self.plan.ifindex, self.plan.mode)?;
        self.link = Some(link);
        Ok(Some(attached))
    }

    /// What was counted so far, without what the sending thread and the interface know.
    ///
    /// # Errors
    ///
    /// [`XdpError::Counters`].
    pub fn tally(&self) -> Result<XdpTally, XdpError> {
        Ok(XdpTally::new(&self.counters()?, Sent::default(), 0))
    }

    /// Generates the plan's connections: attaches the program, sends from a thread of its own, waits for stragglers, and
    /// detaches. `progress` is called every 200 ms with what is so far and the time since the start. `stop` ends the
    /// sending early.
    ///
    /// # Errors
    ///
    /// [`XdpError::Attach`], and what sending or reading the counters may end with.
    pub fn run(
        mut self,
        stop: &AtomicBool,
        progress: &mut dyn FnMut(&XdpTally, Duration),
    ) -> Result<XdpTally, XdpError> {
        self.attach()?;
        let errors_before = self.tx_errors();
        let sent = self.send(stop, progress)?;
        self.wait_for_stragglers()?;
        self.link = None;
        // In generic mode a program that was detached may still be running for a frame.
        thread::sleep(AFTER_DETACH);
        let tx_errors = self.tx_errors().saturating_sub(errors_before);
        Ok(XdpTally::new(&self.counters()?, sent, tx_errors).close())
    }

    /// Sends from a thread of its own while this one reports.
    fn send(&self, stop: &AtomicBool, progress: &mut dyn FnMut(&XdpTally, Duration)) -> Result<Sent, XdpError> {
        let plan = &self.plan;
        let program = self.program();
        let sender = Sender {
            program: program.as_fd(),
            frame_bytes: frames::syn_bytes(plan),
            schedule: &self.schedule,
            duration: plan.duration,
            core: plan.core,
            calls: Calls::for_schedule(plan.core),
            stop,
        };
        let start = Instant::now();
        thread::scope(|scope| {
            let builder = thread::Builder::new().name("blast-xdp".to_owned());
            let work = || sender.send(|now_ns| pace::schedule(now_ns, plan.rate, plan.duration, plan.connections));
            let thread = builder.spawn_scoped(scope, work).map_err(|cause| XdpError::Spawn { cause })?;
            let mut reported = start;
            while !thread.is_finished() {
                thread::sleep(LOOK_INTERVAL);
                if reported.elapsed() >= PROGRESS_INTERVAL {
                    reported = Instant::now();
                    progress(&self.tally()?, start.elapsed());
                }
            }
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Returns when every connection has ended, or the grace is over.
    fn wait_for_stragglers(&self) -> Result<(), XdpError> {
        let start = Instant::now();
        while start.elapsed() < self.plan.grace && self.tally()?.in_flight() > 0 {
            thread::sleep(LOOK_INTERVAL);
        }
        Ok(())
    }

    fn counters(&self) -> Result<Counters, XdpError> {
        read(&self.counters)
    }

    fn tx_errors(&self) -> u64 {
        tx_errors(self.plan.ifindex)
    }
}

/// What an interface says that it did not send since it was made; 0 if it says nothing. Of /proc the file of this thread
/// is read, because network namespaces belong to threads.
pub(crate) fn tx_errors(ifindex: u32) -> u64 {
    let Some(name) = Interface::from_index(ifindex).name else { return 0 };
    let text = fs::read_to_string("/proc/thread-self/net/dev").unwrap_or_default();
    text.lines().find_map(|line| tx_errors_in(line, &name)).unwrap_or(0)
}

/// Loads the embedded object with this configuration; the object, its counters and its schedule.
fn open(config: &Config) -> libbpf_rs::Result<(Object, [MapHandle; 2])> {
    let mut object = ObjectBuilder::default().name("generate")?.open_memory(OBJECT)?;
    for mut map in object.maps_mut() {
        // The object's only read-only data is the configuration; libbpf puts the object's name before ".rodata".
        if map.name().to_string_lossy().ends_with(".rodata") {
            map.set_initial_value(&config.to_bytes())?;
        } else if map.name() == "connections" {
            map.set_max_entries(config.tuples)?;
        } else if map.name() == "cores" {
            map.set_max_entries(u32::from(config.core) + 1)?;
        }
    }
    let object = object.load()?;
    if config.hand_over != 0 {
        hand_over(&object, config.core)?;
    }
    let map = |name: &str| {
        let found = object.maps().find(|map| map.name() == name);
        MapHandle::try_from(&found.expect("generate.bpf.c defines the map"))
    };
    let maps = [map("counters")?, map("schedule")?];
    Ok((object, maps))
}

/// Has a core answer what is handed over to it.
fn hand_over(object: &Object, core: u16) -> libbpf_rs::Result<()> {
    let program = object.progs_mut().find(|program| program.name() == ANSWER);
    let cores = object.maps().find(|map| map.name() == "cores");
    let (program, cores) = program.zip(cores).expect("generate.bpf.c defines program and map");
    // struct bpf_cpumap_val: the length of the core's queue, and its program.
    let value = [HAND_OVER_FRAMES.to_ne_bytes(), program.as_fd().as_raw_fd().to_ne_bytes()].concat();
    cores.update(&u32::from(core).to_ne_bytes(), &value, MapFlags::ANY)
}

/// Reads the counters of all CPUs.
fn read(counters: &MapHandle) -> Result<Counters, XdpError> {
    let blocks = counters.lookup_percpu(&0_u32.to_ne_bytes(), MapFlags::ANY);
    let blocks = blocks.map_err(|cause| XdpError::Counters { cause })?;
    Ok(Counters::sum(blocks.iter().flatten().map(Vec::as_slice)))
}

/// Errors and drops of sending, if this line of /proc/net/dev is the interface's: the eleventh and the twelfth number.
fn tx_errors_in(line: &str, interface: &str) -> Option<u64> {
    let numbers = line.trim_start().strip_prefix(interface)?.strip_prefix(':')?;
    let numbers: Vec<u64> = numbers.split_whitespace().map_while(|word| word.parse().ok()).collect();
    Some(numbers.get(10)? + numbers.get(11)?)
}

/// The key of the initial sequence numbers: the same until the machine boots, so that the numbers of a four-tuple keep
/// growing from one run to the next, and a target's TIME-WAIT of the last run takes the SYN of this one (RFC 9293
/// 3.10.7.4, RFC 6528). It is no secret from users of this machine.
fn key() -> u64 {
    let boot = fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let mut hasher = SipHasher13::new();
    hasher.write(&boot);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_sending_are_read_from_the_interfaces_line() {
        let line = "  hf-client: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16";
        assert_eq!(tx_errors_in(line, "hf-client"), Some(23));
        assert_eq!(tx_errors_in(line, "hf"), None);
        assert_eq!(tx_errors_in(" face |bytes    packets errs", "hf-client"), None);
    }

    #[test]
    fn the_key_stays_the_same() {
        assert_eq!(key(), key());
    }
}
