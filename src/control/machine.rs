//! What is asked of the machine before anything is touched: the facts, not the judgement (preflight).

use super::link::Link;
use crate::steer::{Interface, occupant};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::process::{Resource, getrlimit};
use rustix::thread::{CapabilitySet, CpuSet, capabilities, sched_getaffinity};
use std::fs;
use std::path::{Path, PathBuf};

/// The facts that decide whether an interface can be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The interfaces of this network namespace.
    pub interfaces: Vec<String>,
    /// The interface asked for: `Ok(None)` if there is none, or why it could not be asked about.
    pub link: Result<Option<Link>, String>,
    /// The command that takes the XDP program off the interface; `None` if there is none, or if that cannot be told.
    pub xdp_removal: Option<String>,
    /// Driver of the interface's device; `None` for virtual interfaces.
    pub driver: Option<String>,
    /// Receive queues in use, as /sys shows them; 0 if it does not.
    pub rx_queues: u32,
    /// Transmit queues in use.
    pub tx_queues: u32,
    /// The kernel's release, as `uname -r` prints it.
    pub kernel: String,
    /// The capabilities that are missing of those that serving needs.
    pub missing_capabilities: Vec<&'static str>,
    /// True if locked memory is not limited (CAP_IPC_LOCK).
    pub may_lock_memory: bool,
    /// RLIMIT_MEMLOCK in bytes; `None` is unlimited.
    pub memlock_bytes: Option<u64>,
    /// Why no AF_XDP socket could be made; `None` if one could.
    pub af_xdp_error: Option<String>,
    /// MemAvailable in bytes; `None` if the kernel does not say.
    pub available_bytes: Option<u64>,
    /// The cores that this process may run on, in order.
    pub cores: Vec<u32>,
}

/// The capabilities that serving needs, and their names.
const NEEDED: [(CapabilitySet, &str); 4] = [
    (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN"),
    (CapabilitySet::NET_RAW, "CAP_NET_RAW"),
    (CapabilitySet::BPF, "CAP_BPF"),
    (CapabilitySet::PERFMON, "CAP_PERFMON"),
];

impl Facts {
    /// Asks the machine, and the network namespace of the calling thread, about `interface`.
    pub fn gather(interface: &str) -> Facts {
        let class = Path::new("/sys/class/net").join(interface);
        let granted = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
        let link = Link::query(interface).map_err(|error| error.to_string());
        let taken = link.as_ref().ok().and_then(Option::as_ref).filter(|link| link.xdp.is_some());
        let missing = NEEDED.iter().filter(|(capability, _)| !granted.contains(*capability));
        Facts {
            interfaces: interfaces(&fs::read_to_string("/proc/net/dev").unwrap_or_default()),
            xdp_removal: taken.and_then(|link| removal(link.index)),
            link,
            driver: driver(&class),
            rx_queues: queues(&class, "rx-"),
            tx_queues: queues(&class, "tx-"),
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            missing_capabilities: missing.map(|(_, name)| *name).collect(),
            may_lock_memory: granted.contains(CapabilitySet::IPC_LOCK),
            memlock_bytes: getrlimit(Resource::Memlock).current,
            af_xdp_error: af_xdp_error(),
            available_bytes: available(&fs::read_to_string("/proc/meminfo").unwrap_or_default()),
            cores: cores(),
        }
    }

    /// The last `workers` of the cores that this process may run on; if there are fewer, some of them several times.
    pub fn last_cores(&self, workers: usize) -> Vec<u32> {
        let mut cores: Vec<u32> = self.cores.iter().rev().copied().cycle().take(workers).collect();
        cores.reverse();
        cores
    }
}

/// The command that takes the XDP program off the interface with this index.
fn removal(index: u32) -> Option<String> {
    Some(occupant(index).ok()??.removal(&Interface::from_index(index)))
}

/// The names in /proc/net/dev.
fn interfaces(table: &str) -> Vec<String> {
    let names = table.lines().skip(2).filter_map(|line| line.split_once(':'));
    names.map(|(name, _)| name.trim().to_owned()).collect()
}

/// The name of the device's driver, in the interface's folder of /sys.
fn driver(class: &Path) -> Option<String> {
    let link: PathBuf = fs::read_link(class.join("device/driver")).ok()?;
    link.file_name().map(|name| name.to_string_lossy().into_owned())
}

/// How many queues are in use, by the beginning of their names.
fn queues(class: &Path, prefix: &str) -> u32 {
    let Ok(entries) = fs::read_dir(class.join("queues")) else { return 0 };
    let count = entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix)).count();
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// MemAvailable in /proc/meminfo, in bytes.
fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

/// Tries what a worker will do first.
fn af_xdp_error() -> Option<String> {
    match socket_with(AddressFamily::XDP, SocketType::RAW, SocketFlags::CLOEXEC, None) {
        Ok(_) => None,
        // The missing capabilities are reported by themselves.
        Err(Errno::PERM) => None,
        Err(error) => Some(error.to_string()),
    }
}

/// The cores that this process may run on.
fn cores() -> Vec<u32> {
    let Ok(set) = sched_getaffinity(None) else { return Vec::new() };
    let allowed = (0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core));
    allowed.filter_map(|core| u32::try_from(core).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_interfaces_are_read_from_the_kernels_table() {
        let table = "Inter-|   Receive  |  Transmit\n face |bytes packets|bytes\n    lo: 1 2 3\nveth-a:0 0\n";
        assert_eq!(interfaces(table), ["lo", "veth-a"]);
        assert_eq!(interfaces(""), [""; 0]);
    }

    #[test]
    fn available_memory_is_read_in_bytes() {
        let text = "MemTotal:       24000000 kB\nMemAvailable:        1000 kB\n";
        assert_eq!(available(text), Some(1_024_000));
        assert_eq!(available("MemAvailable: lots\n"), None);
    }

    #[test]
    fn this_machine_answers() {
        let facts = Facts::gather("lo");
        assert!(facts.interfaces.contains(&"lo".to_owned()), "{facts:?}");
        assert!(!facts.cores.is_empty() && facts.kernel.contains('.'), "{facts:?}");
        assert!(facts.link.unwrap().unwrap().loopback);
        assert_eq!(facts.rx_queues, 1);
    }
}
