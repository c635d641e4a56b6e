//! Where processor time went: of a core (/proc/stat) and of a process (/proc/PID/stat), as the kernel accounts for it.
//!
//! The kernel counts in ticks of 10 ms and decides by sampling what a tick was spent on, so a difference means something
//! over seconds, not over milliseconds. On a veth pair much of what one end receives is done in a softirq on the core of
//! the other end, which sent it: only both cores together are the whole truth.

use std::io;

use nix::sys::resource::{UsageWho, getrusage};
use serde::{Deserialize, Serialize};

/// Ticks in a second, as the kernel shows them to programs (USER_HZ) on every architecture that this runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// Processor time of a core or a process, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CpuTime {
    /// In programs.
    pub user: f64,
    /// In the kernel on behalf of programs.
    pub system: f64,
    /// In the kernel for interrupts, softirqs first of all.
    pub softirq: f64,
    /// Taken by the hypervisor: more than a trace of it makes a run worthless.
    pub steal: f64,
}

impl CpuTime {
    /// What was spent since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &CpuTime) -> CpuTime {
        CpuTime {
            user: self.user - earlier.user,
            system: self.system - earlier.system,
            softirq: self.softirq - earlier.softirq,
            steal: self.steal - earlier.steal,
        }
    }

    /// Both together.
    #[must_use]
    pub fn plus(&self, other: &CpuTime) -> CpuTime {
        CpuTime {
            user: self.user + other.user,
            system: self.system + other.system,
            softirq: self.softirq + other.softirq,
            steal: self.steal + other.steal,
        }
    }

    /// Each part divided by `by` (connections), in microseconds.
    #[must_use]
    pub fn micros_per(&self, by: f64) -> CpuTime {
        let micros = |seconds: f64| if by > 0.0 { seconds * 1e6 / by } else { 0.0 };
        CpuTime {
            user: micros(self.user),
            system: micros(self.system),
            softirq: micros(self.softirq),
            steal: micros(self.steal),
        }
    }

    /// All that was done, without what the hypervisor took.
    pub fn busy(&self) -> f64 {
        self.user + self.system + self.softirq
    }
}

/// Ticks as seconds.
#[expect(clippy::cast_precision_loss, reason = "a machine does not run for 2^53 ticks")]
fn seconds(ticks: u64) -> f64 {
    ticks as f64 / TICKS_PER_SECOND
}

/// The line of a core in /proc/stat.
fn core_in(stat: &str, core: u32) -> Option<CpuTime> {
    let name = format!("cpu{core}");
    let mut words = stat.lines().map(str::split_whitespace).find_map(|mut words| {
        let first = words.next()?;
        (first == name).then_some(words)
    })?;
    let mut next = || words.next()?.parse().ok().map(seconds);
    let (user, nice, system) = (next()?, next()?, next()?);
    let (_idle, _iowait, irq, softirq) = (next()?, next()?, next()?, next()?);
    Some(CpuTime { user: user + nice, system, softirq: irq + softirq, steal: next().unwrap_or(0.0) })
}

/// The times of a process in /proc/PID/stat, all its threads together. Its name may hold spaces and parentheses.
fn process_in(stat: &str) -> Option<CpuTime> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    // Behind the name stands field 3; utime is field 14, stime field 15 (proc_pid_stat(5)).
    let mut words = behind_name.split_whitespace().skip(11);
    let mut next = || words.next()?.parse().ok().map(seconds);
    Some(CpuTime { user: next()?, system: next()?, ..CpuTime::default() })
}

fn unreadable(path: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{path} does not look as expected"))
}

/// What a core has spent since the machine started.
///
/// # Errors
///
/// If /proc/stat cannot be read, or does not have the core.
pub fn of_core(core: u32) -> io::Result<CpuTime> {
    core_in(&std::fs::read_to_string("/proc/stat")?, core).ok_or_else(|| unreadable("/proc/stat"))
}

/// What a running process has spent.
///
/// # Errors
///
/// If it has ended.
pub fn of_process(pid: u32) -> io::Result<CpuTime> {
    let path = format!("/proc/{pid}/stat");
    process_in(&std::fs::read_to_string(&path)?).ok_or_else(|| unreadable(&path))
}

/// What all children have spent that were waited for.
pub fn of_ended_children() -> CpuTime {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_CHILDREN) else { return CpuTime::default() };
    #[expect(clippy::cast_precision_loss, reason = "seconds and microseconds are small")]
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    CpuTime { user: seconds(usage.user_time()), system: seconds(usage.system_time()), ..CpuTime::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str =
        "cpu  300 0 30 9 0 0 3 0 0 0\ncpu0 100 10 20 3 1 2 4 5 0 0\ncpu1 200 0 10 6 0 0 1 0 0 0\nintr 1\n";

    #[test]
    fn a_core_is_read_with_its_nice_and_interrupt_time() {
        let core = core_in(STAT, 0).unwrap();
        assert_eq!(core, CpuTime { user: 1.1, system: 0.2, softirq: 0.06, steal: 0.05 });
        assert_eq!(core_in(STAT, 1).unwrap().user.to_bits(), 2.0_f64.to_bits());
        assert_eq!(core_in(STAT, 7), None);
    }

    #[test]
    fn a_process_is_read_behind_its_name() {
        let stat = "77 (a b) c) S 1 77 77 0 -1 4194560 5 0 0 0 150 250 7 8 20 0 3 0 99";
        let process = process_in(stat).unwrap();
        assert_eq!(process, CpuTime { user: 1.5, system: 2.5, ..CpuTime::default() });
        assert_eq!(process_in("77 (a"), None);
    }

    #[test]
    fn this_machine_answers() {
        assert!(of_process(std::process::id()).is_ok());
        assert!(of_core(0).unwrap().busy() > 0.0);
    }

    #[test]
    fn time_is_divided_by_connections() {
        let spent = CpuTime { user: 3.0, system: 2.0, softirq: 1.0, steal: 0.0 }
            .since(&CpuTime { user: 1.0, ..CpuTime::default() });
        let each = spent.micros_per(1e6);
        assert_eq!((each.user, each.busy()), (2.0, 5.0));
        assert_eq!(spent.micros_per(0.0), CpuTime::default());
    }
}
