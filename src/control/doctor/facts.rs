//! What doctor asks of the machine and of an interface beyond the facts that decide whether serving starts
//! ([`Facts`]): all that makes it slower or loses frames. The facts, not the judgement.

use super::ethtool::{Offloads, Rss};
use super::holder::{Holder, holders};
use super::peer::Peer;
use crate::bench::netns::inside;
use crate::control::config::default_control;
use crate::control::link::Link;
use crate::control::machine::Facts;
use crate::control::socket::{self, SocketError};
use crate::control::values::Indexes;
use crate::steer::{DEFAULT_MAX_ENDPOINTS, DriverFeatures, MacFilter, SteerOptions, Steering, driver_features};
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::{Path, PathBuf};

/// What is asked of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct System {
    /// Why the kernel does not take the steering program; `None` if that was not tried for want of privilege.
    pub program: Option<Result<(), String>>,
    /// True if the kernel compiled the program; `None` if it did not take it, or does not say.
    pub compiled: Option<bool>,
    /// True if the kernel tells its types (/sys/kernel/btf/vmlinux).
    pub btf: bool,
    /// net.core.bpf_jit_enable; why it cannot be read.
    pub jit: Result<u32, String>,
    /// Huge pages that are reserved and free, in bytes; `None` if the kernel does not say.
    pub huge_bytes: Option<u64>,
    /// The frequency governor of each core that this process may run on; none where the kernel sets no frequencies.
    pub governors: Vec<(u32, String)>,
}

/// What is asked of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// What its driver can do for XDP; why that cannot be told.
    pub features: Result<DriverFeatures, String>,
    /// Its offloads; why they cannot be told.
    pub offloads: Result<Offloads, String>,
    /// How received frames are spread over its queues; why that cannot be told.
    pub rss: Result<Rss, String>,
    /// Its interrupts; `None` if it is virtual.
    pub irqs: Option<Vec<Irq>>,
    /// The other end of a veth, or why nothing can be said about it; `None` if it is no veth.
    pub peer: Option<Result<Peer, String>>,
    /// The VLAN interfaces that stand on it.
    pub vlans: Vec<String>,
    /// The processes that hold its XDP program.
    pub holders: Vec<Holder>,
    /// AF_XDP sockets in its network namespace, on whatever interface; `None` if the kernel does not say.
    pub sockets: Option<u64>,
    /// What stands at the default path of the control socket.
    pub control: Control,
}

/// An interrupt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Irq {
    /// Its number.
    pub number: u32,
    /// The cores that handle it.
    pub cores: Vec<u32>,
}

/// What stands at the path of a control socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// Nothing that would be in the way.
    Free(PathBuf),
    /// A running server.
    Live(PathBuf, String),
    /// Something that keeps the socket from being made: what.
    Blocked(String),
}

impl System {
    /// Asks the machine. The steering program is loaded, attached nowhere, and forgotten.
    pub fn gather(facts: &Facts) -> Self {
        let options = SteerOptions { queues: 1, max_endpoints: DEFAULT_MAX_ENDPOINTS, mac: MacFilter::Any };
        let loaded = facts.missing_capabilities.is_empty().then(|| Steering::load(options));
        let descriptor = |steering: &Steering| steering.program().as_fd().as_raw_fd();
        Self {
            compiled: loaded
                .as_ref()
                .and_then(|loaded| loaded.as_ref().ok())
                .and_then(|steering| compiled(&read(format!("/proc/self/fdinfo/{}", descriptor(steering))))),
            program: loaded.map(|loaded| loaded.map(drop).map_err(|error| error.to_string())),
            btf: Path::new("/sys/kernel/btf/vmlinux").exists(),
            jit: jit().map_err(|error| error.to_string()),
            huge_bytes: huge_bytes(&read("/proc/meminfo")),
            governors: facts.cores.iter().filter_map(|core| Some((*core, governor(*core)?))).collect(),
        }
    }
}

impl Device {
    /// Asks about an interface of this thread's network namespace.
    pub fn gather(interface: &str, link: &Link, facts: &Facts) -> Self {
        let peer = link.is_veth().then(|| match link.joined {
            Some(joined) => Peer::find(joined),
            None => Err("the kernel does not say which is the other end".to_owned()),
        });
        Self {
            features: driver_features(link.index).map_err(|error| error.to_string()),
            offloads: Offloads::ask(interface),
            rss: Rss::ask(interface),
            irqs: irqs(interface),
            peer,
            vlans: vlans(link.index, &facts.interfaces),
            holders: link.xdp.map_or_else(Vec::new, |program| holders(program.id)),
            sockets: sockets(&read("/proc/net/protocols")),
            control: control(interface),
        }
    }
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// net.core.bpf_jit_enable, which shows in the first network namespace only.
fn jit() -> io::Result<u32> {
    let ask = || fs::read_to_string("/proc/sys/net/core/bpf_jit_enable");
    let text = ask().or_else(|error| inside("/proc/1/ns/net", ask).unwrap_or(Err(error)))?;
    text.trim().parse().map_err(|_| io::Error::other("net.core.bpf_jit_enable is no number"))
}

/// Whether a program was compiled, from what /proc shows of its descriptor.
fn compiled(info: &str) -> Option<bool> {
    let flag = info.lines().find_map(|line| line.strip_prefix("prog_jited:"))?;
    Some(flag.trim() != "0")
}

/// HugePages_Free times Hugepagesize in /proc/meminfo, in bytes.
fn huge_bytes(meminfo: &str) -> Option<u64> {
    let value = |name: &str| -> Option<u64> {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.split_whitespace().next()?.parse().ok()
    };
    value("HugePages_Free")?.checked_mul(value("Hugepagesize")?)?.checked_mul(1024)
}

fn governor(core: u32) -> Option<String> {
    let path = format!("/sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor");
    fs::read_to_string(path).ok().map(|name| name.trim().to_owned())
}

/// The interrupts of the interface's device; those of a virtio device belong to the device that it is plugged into.
fn irqs(interface: &str) -> Option<Vec<Irq>> {
    let device = fs::canonicalize(Path::new("/sys/class/net").join(interface).join("device")).ok()?;
    let is_virtio = fs::read_link(device.join("subsystem")).is_ok_and(|bus| bus.ends_with("virtio"));
    let owner = if is_virtio { device.parent()? } else { &device };
    let entries = fs::read_dir(owner.join("msi_irqs")).into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let mut irqs: Vec<Irq> = numbers.filter_map(|number| Some(Irq { number, cores: cores(number)? })).collect();
    irqs.sort_by_key(|irq| irq.number);
    Some(irqs)
}

/// The cores that handle an interrupt, or may, where the kernel does not say which one does.
fn cores(irq: u32) -> Option<Vec<u32>> {
    let lists = ["effective_affinity_list", "smp_affinity_list"].map(|list| format!("/proc/irq/{irq}/{list}"));
    lists.iter().find_map(|list| read(list).trim().parse::<Indexes>().ok()).map(|Indexes(cores)| cores)
}

/// The VLAN interfaces among `names` that stand on the interface with this index.
fn vlans(index: u32, names: &[String]) -> Vec<String> {
    let stands_on_it = |name: &&String| {
        let Ok(Some(link)) = Link::query(name) else { return false };
        let here = link.joined.is_some_and(|joined| joined.index == index && joined.namespace.is_none());
        here && link.kind.as_deref() == Some("vlan")
    };
    names.iter().filter(stands_on_it).cloned().collect()
}

/// The sockets of the protocol XDP in /proc/net/protocols, which are those of this network namespace.
fn sockets(protocols: &str) -> Option<u64> {
    let line = protocols.lines().find(|line| line.split_whitespace().next() == Some("XDP"))?;
    line.split_whitespace().nth(2)?.parse().ok()
}

fn control(interface: &str) -> Control {
    let path = default_control(interface);
    match socket::check(&path) {
        Ok(()) => Control::Free(path),
        Err(SocketError::Live { path, pid }) => Control::Live(path, pid),
        Err(other) => Control::Blocked(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_huge_pages_are_counted_in_bytes() {
        let text = "HugePages_Total:      9\nHugePages_Free:       3\nHugepagesize:       2048 kB\n";
        assert_eq!(huge_bytes(text), Some(3 * 2048 * 1024));
        assert_eq!(huge_bytes("MemTotal: 1 kB\n"), None);
    }

    #[test]
    fn a_compiled_program_is_told_from_an_interpreted_one() {
        let info = |flag: &str| format!("pos:\t0\nprog_type:\t6\nprog_jited:\t{flag}\nprog_id:\t9\n");
        assert_eq!(compiled(&info("1")), Some(true));
        assert_eq!(compiled(&info("0")), Some(false));
        assert_eq!(compiled("pos:\t0\n"), None);
    }

    #[test]
    fn af_xdp_sockets_are_counted() {
        let table = "protocol  size sockets  memory\nXDP       1088      2      -1   NI\nTCP 2 7 1\n";
        assert_eq!(sockets(table), Some(2));
        assert_eq!(sockets("protocol size sockets\n"), None);
    }

    #[test]
    fn this_machine_answers() {
        let facts = Facts::gather("lo");
        let link = facts.link.clone().unwrap().unwrap();
        let device = Device::gather("lo", &link, &facts);
        assert_eq!((device.irqs, device.peer, device.vlans, device.holders), (None, None, Vec::new(), Vec::new()));
        assert!(device.features.is_ok(), "{:?}", device.features);
        assert!(System::gather(&facts).huge_bytes.is_some());
    }
}
