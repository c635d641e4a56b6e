//! Whether this machine can serve what is configured, judged before anything is touched; and what follows from the machine
//! for the configuration: queues, cores, segment sizes, checksum policy, memory.
//!
//! Everything that stands in the way is reported at once. Whether the driver takes an XDP program or a zero-copy socket is
//! not judged here: only trying tells, and the attempt reports it.

use super::check::Check;
use super::config::{Config, cores_for_queues};
use super::link::Link;
use super::machine::Facts;
use super::problem::{Problem, Problems};
use super::values::{BindMode, Indexes, PartialChecksums, XdpMode};
use crate::engine::Engine;
use crate::port::xsk::{CHUNK_MOST, MTU_MOST, frame_size};
use crate::tcp::config::TcpConfig;
use std::fmt;
use std::ops::RangeInclusive;

/// The smallest MTU with which hosts must be able to talk (RFC 1122 3.3.3: 576 bytes).
pub const MIN_MTU: u32 = 576;

/// Kernels that panic when AF_XDP sends in copy mode into the local stack (CVE-2025-40290).
pub(super) const BROKEN_COPY_MODE: RangeInclusive<(u32, u32, u32)> = (6, 17, 0)..=(6, 17, 10);

/// What the machine adds to the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preflight {
    /// The interface; its MAC address is known.
    pub link: Link,
    /// Its MAC address.
    pub mac: [u8; 6],
    /// The driver, or the kind of virtual interface.
    pub driver: String,
    /// Receive queues that the interface has, served or not.
    pub rx_queues: u32,
    /// The queues to serve, each with a worker.
    pub queues: Vec<u32>,
    /// The core of each worker, in the order of the queues.
    pub cores: Vec<u32>,
    /// Flows of each worker at most.
    pub flows_per_queue: u32,
    /// The TCP's configuration with segment sizes after the interface's MTU.
    pub tcp: TcpConfig,
    /// True if partial TCP checksums are accepted.
    pub accept_partial_checksums: bool,
    /// Memory that will be taken.
    pub memory: Memory,
    /// What is worth knowing, but no obstacle.
    pub notes: Vec<String>,
}

/// Memory that serving takes, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// For flows, over all queues.
    pub flows: u64,
    /// For packets, over all queues.
    pub umem: u64,
    /// What the machine can give; `None` if it does not say.
    pub available: Option<u64>,
}

impl Memory {
    /// Flows and packets together.
    pub fn total(&self) -> u64 {
        self.flows.saturating_add(self.umem)
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (flows, umem, total) = (mib(self.flows), mib(self.umem), mib(self.total()));
        write!(f, "{flows} for flows and {umem} for packets, together {total}")?;
        match self.available {
            Some(available) => write!(f, ", of {} available", mib(available)),
            None => Ok(()),
        }
    }
}

/// Bytes in MiB with a decimal.
pub(super) fn mib(bytes: u64) -> String {
    let tenths = bytes.saturating_mul(10) / (1024 * 1024);
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

/// Asks the machine, and judges.
///
/// # Errors
///
/// Everything that stands in the way, each with its cause and remedy.
pub fn check(config: &Config) -> Result<Preflight, Problems> {
    judge(config, &Facts::gather(&config.interface))
}

/// Judges whether what is configured can be served on a machine of which these facts hold. Pure.
///
/// # Errors
///
/// Everything that stands in the way, each with its cause and remedy.
pub fn judge(config: &Config, facts: &Facts) -> Result<Preflight, Problems> {
    let subject = format!("interface {} cannot be served", config.interface);
    let mut problems = system_problems(facts);
    let link = match &facts.link {
        Ok(Some(link)) => link,
        Ok(None) => {
            let there = format!("there are: {}", facts.interfaces.join(", "));
            let missing = interface(config, "does not exist in this network namespace");
            problems.insert(0, missing.remedy(there).of(Check::Interface));
            return Err(Problems { subject, list: problems });
        }
        Err(error) => {
            problems.insert(0, interface(config, &format!("cannot be asked about: {error}")).of(Check::Interface));
            return Err(Problems { subject, list: problems });
        }
    };
    problems.extend(link_problems(config, facts, link));
    let queues = config.queues.clone().unwrap_or_else(|| (0..facts.rx_queues).collect());
    problems.extend(queue_problems(config, facts, &queues));
    let cores =
        config.cores.clone().unwrap_or_else(|| facts.cores.iter().copied().cycle().take(queues.len()).collect());
    problems.extend(core_problems(config, facts, &queues));
    let memory = memory(config, facts, link, &queues);
    problems.extend(memory_problems(config, facts, &memory));
    let preflight = Preflight {
        mac: link.mac.unwrap_or_default(),
        link: link.clone(),
        driver: facts.driver.clone().or_else(|| link.kind.clone()).unwrap_or_else(|| "unknown".into()),
        rx_queues: facts.rx_queues,
        notes: notes(config, facts, link, &queues),
        flows_per_queue: flows_per_queue(config, &queues),
        tcp: tcp_for(config, link.mtu),
        accept_partial_checksums: match config.partial_checksums {
            PartialChecksums::Auto => link.is_veth(),
            PartialChecksums::Accept => true,
            PartialChecksums::Refuse => false,
        },
        queues,
        cores,
        memory,
    };
    Problems::none_or(subject, problems, preflight)
}

fn interface(config: &Config, cause: &str) -> Problem {
    Problem::new(format!("interface {}", config.interface), cause)
}

/// The configured TCP with the segment sizes of that MTU.
fn tcp_for(config: &Config, mtu: u32) -> TcpConfig {
    let TcpConfig { mss_v4, mss_v6, .. } = TcpConfig::for_mtu(u16::try_from(mtu).unwrap_or(u16::MAX));
    TcpConfig { mss_v4, mss_v6, ..config.tcp.clone() }
}

/// What the system lacks, whatever the interface.
pub(super) fn system_problems(facts: &Facts) -> Vec<Problem> {
    let mut problems = Vec::new();
    if !facts.missing_capabilities.is_empty() {
        let missing = facts.missing_capabilities.join(", ");
        let remedy = "run as root, or with setcap cap_net_admin,cap_net_raw,cap_bpf,cap_perfmon+ep on the program";
        problems.push(Problem::new("privilege", format!("{missing} missing")).remedy(remedy).of(Check::Privileges));
    }
    if let Some(error) = &facts.af_xdp_error {
        let cause = format!("this kernel makes no AF_XDP socket: {error}");
        problems.push(Problem::new("AF_XDP", cause).remedy("use a kernel with CONFIG_XDP_SOCKETS").of(Check::AfXdp));
    }
    if release(&facts.kernel).is_some_and(|release| release < (5, 9, 0)) {
        let cause = "has no BPF links for XDP, which come with 5.9";
        problems.push(
            Problem::new(format!("kernel {}", facts.kernel), cause).remedy("use a newer kernel").of(Check::Kernel),
        );
    }
    problems
}

/// The three numbers of a kernel release: `6.17.3-1-cloud` is (6, 17, 3). `None` if it does not look like one.
pub(super) fn release(text: &str) -> Option<(u32, u32, u32)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let mut numbers = text[..end].split('.').map(str::parse::<u32>);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next().and_then(Result::ok).unwrap_or(0)))
}

/// What the interface itself lacks.
fn link_problems(config: &Config, facts: &Facts, link: &Link) -> Vec<Problem> {
    let name = &config.interface;
    let mut problems = Vec::new();
    if link.loopback {
        let found = interface(config, "is the loopback interface, which has no Ethernet frames");
        problems.push(found.remedy("use a veth").of(Check::Address));
    } else if link.mac.is_none() {
        let found = interface(config, "has no Ethernet address").remedy("use an Ethernet interface");
        problems.push(found.of(Check::Address));
    }
    if !link.up {
        problems.push(interface(config, "is down").remedy(format!("ip link set {name} up")).of(Check::State));
    }
    if !link.loopback && !(MIN_MTU..=MTU_MOST).contains(&link.mtu) {
        let cause = format!("has an MTU of {}, and a packet must have {MIN_MTU} to {MTU_MOST} bytes", link.mtu);
        problems.push(interface(config, &cause).remedy(format!("ip link set {name} mtu 1500")).of(Check::Mtu));
    }
    if let Some(program) = link.xdp {
        let cause = format!("has an XDP program attached already ({}, id {})", program.mode, program.id);
        let look = format!("stop its owner (bpftool net show dev {name})");
        let remedy = facts.xdp_removal.as_ref().map_or(look.clone(), |command| format!("{look}, or {command}"));
        problems.push(interface(config, &cause).remedy(remedy).of(Check::XdpProgram));
    }
    if link.is_veth() && config.bind == BindMode::ZeroCopy {
        let found = interface(config, "is a veth, which has no zero-copy").remedy("use --bind copy");
        problems.push(found.of(Check::Driver));
    }
    if link.kind.is_some() && release(&facts.kernel).is_some_and(|release| BROKEN_COPY_MODE.contains(&release)) {
        let what = format!("kernel {}", facts.kernel);
        let cause = "6.17.0 to 6.17.10 panic when AF_XDP sends in copy mode into the local stack (CVE-2025-40290), as it \
                     does on a virtual interface";
        problems.push(Problem::new(what, cause).remedy("use 6.17.11 or later, or 6.16 or earlier").of(Check::Kernel));
    }
    problems
}

/// Queues that the interface does not have.
fn queue_problems(config: &Config, facts: &Facts, queues: &[u32]) -> Vec<Problem> {
    let Facts { rx_queues: rx, tx_queues: tx, .. } = *facts;
    if rx == 0 {
        let remedy = "enter the network namespace with ip netns exec, which mounts its /sys";
        return vec![interface(config, "shows no queues in /sys/class/net").remedy(remedy).of(Check::Queues)];
    }
    let mut problems = Vec::new();
    let beyond = |count: u32| queues.iter().copied().filter(|queue| *queue >= count).collect::<Vec<_>>();
    let (no_rx, no_tx) = (beyond(rx), beyond(tx));
    if !no_rx.is_empty() {
        let cause = format!("interface {} has {rx} receive queues, from 0", config.interface);
        let remedy = format!("name queues from 0 to {}, or none for all", rx - 1);
        problems.push(Problem::new(format!("queues {}", Indexes(no_rx)), cause).remedy(remedy).of(Check::Queues));
    } else if !no_tx.is_empty() {
        let cause = format!("interface {} sends on {tx} queues only, and drops silently beyond", config.interface);
        let remedy = "give it as many transmit as receive queues (ethtool -L, or numtxqueues of a veth)";
        problems.push(Problem::new(format!("queues {}", Indexes(no_tx)), cause).remedy(remedy).of(Check::Queues));
    }
    if config.queues.is_none() && (config.flows as usize) < queues.len() {
        let what = format!("flows {} for {} queues", config.flows, queues.len());
        let found = Problem::new(what, "each queue needs at least one").remedy("raise flows, or name fewer queues");
        problems.push(found.of(Check::Queues));
    }
    problems
}

/// Cores that do not fit.
fn core_problems(config: &Config, facts: &Facts, queues: &[u32]) -> Vec<Problem> {
    let mut problems = Vec::new();
    let Some(cores) = &config.cores else { return problems };
    let forbidden: Vec<u32> = cores.iter().copied().filter(|core| !facts.cores.contains(core)).collect();
    if !forbidden.is_empty() {
        let cause = "this process may not run there";
        let remedy = format!("it may on {}", Indexes(facts.cores.clone()));
        problems.push(Problem::new(format!("cores {}", Indexes(forbidden)), cause).remedy(remedy).of(Check::Cores));
    }
    // With queues configured, too, their numbers were compared before.
    if config.queues.is_none() && cores.len() != queues.len() && !queues.is_empty() {
        problems.push(cores_for_queues(queues, cores).of(Check::Cores));
    }
    problems
}

/// Each worker's share of the flows, rounded up.
fn flows_per_queue(config: &Config, queues: &[u32]) -> u32 {
    config.flows.div_ceil(u32::try_from(queues.len().max(1)).unwrap_or(u32::MAX))
}

/// What memory will be taken.
fn memory(config: &Config, facts: &Facts, link: &Link, queues: &[u32]) -> Memory {
    let workers = queues.len().max(1) as u64;
    // A larger MTU is a problem of its own; its figure is that of the largest frames.
    let frame = frame_size(link.mtu).unwrap_or(CHUNK_MOST);
    Memory {
        flows: Engine::memory_bytes(flows_per_queue(config, queues)) * workers,
        umem: u64::from(config.frames) * u64::from(frame) * workers,
        available: facts.available_bytes,
    }
}

/// Memory that is not there, or may not be locked.
fn memory_problems(config: &Config, facts: &Facts, memory: &Memory) -> Vec<Problem> {
    let mut problems = Vec::new();
    if memory.available.is_some_and(|available| memory.total() > available) {
        let what = format!("flows {} and frames {}", config.flows, config.frames);
        problems.push(Problem::new(what, format!("need {memory}")).remedy("lower flows or frames").of(Check::Memory));
    }
    if let Some(limit) = facts.memlock_bytes
        && !facts.may_lock_memory
        && memory.umem > limit
    {
        let cause = format!("{} of packet memory are more than may be locked ({})", mib(memory.umem), mib(limit));
        let found = Problem::new("memory lock", cause).remedy("raise ulimit -l, add CAP_IPC_LOCK, or lower frames");
        problems.push(found.of(Check::MemoryLock));
    }
    problems
}

/// What is worth knowing.
fn notes(config: &Config, facts: &Facts, link: &Link, queues: &[u32]) -> Vec<String> {
    let name = &config.interface;
    let mut notes = Vec::new();
    let left: Vec<u32> = (0..facts.rx_queues).filter(|queue| !queues.contains(queue)).collect();
    if !left.is_empty() {
        let left = Indexes(left);
        notes.push(format!("queues {left} of {name} have no worker: the kernel refuses connections that arrive there"));
    }
    if config.cores.is_none() && queues.len() > facts.cores.len() {
        notes.push(format!(
            "{} workers share {} cores: name fewer queues, or expect less",
            queues.len(),
            facts.cores.len()
        ));
    }
    if config.xdp_mode == XdpMode::Generic && link.kind.is_some() {
        notes.push(unsplit_segments(name));
    }
    if !link.carrier {
        notes.push(format!("interface {name} has no carrier: nothing arrives until the other end is up"));
    }
    notes
}

/// What generic mode means for senders on the same machine. A driver that takes the program (native mode) has them split
/// their segments; in generic mode the peer of a veth goes on handing over up to 64 KiB at once.
pub fn unsplit_segments(interface: &str) -> String {
    format!(
        "in generic mode, segments that a sender on this machine leaves unsplit are longer than a frame and dropped \
         (rx_dropped): on the other end of {interface}, run ethtool -K PEER tso off gso off"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::link::XdpProgram;

    fn config() -> Config {
        let listens = vec!["80=http".parse().unwrap()];
        Config { interface: "hf0".into(), listens, ..Config::default() }
    }

    fn link() -> Link {
        Link {
            index: 3,
            mac: Some([2, 0, 0, 0, 0, 1]),
            mtu: 1500,
            up: true,
            carrier: true,
            loopback: false,
            kind: Some("veth".into()),
            ..Link::default()
        }
    }

    fn facts() -> Facts {
        Facts {
            interfaces: vec!["lo".into(), "hf0".into()],
            link: Ok(Some(link())),
            xdp_removal: None,
            driver: None,
            rx_queues: 2,
            tx_queues: 2,
            kernel: "6.18.4".into(),
            missing_capabilities: Vec::new(),
            may_lock_memory: true,
            memlock_bytes: Some(8 << 20),
            af_xdp_error: None,
            available_bytes: Some(1 << 30),
            cores: vec![0, 1, 2, 3],
        }
    }

    fn problems(config: &Config, facts: &Facts) -> Vec<String> {
        let Err(found) = judge(config, facts) else { return Vec::new() };
        assert!(
            found.list.iter().all(|problem| problem.check.is_some()),
            "doctor could not say where it belongs: {found}"
        );
        found.list.iter().map(ToString::to_string).collect()
    }

    /// The one problem that a change to the facts makes.
    fn problem(change: impl FnOnce(&mut Facts, &mut Link)) -> String {
        let (mut facts, mut link) = (facts(), link());
        change(&mut facts, &mut link);
        facts.link = facts.link.map(|there| there.map(|_| link));
        let found = problems(&config(), &facts);
        assert_eq!(found.len(), 1, "{found:#?}");
        found.into_iter().next().unwrap()
    }

    #[test]
    fn a_fit_machine_completes_the_configuration() {
        let preflight = judge(&config(), &facts()).unwrap();
        assert_eq!((preflight.queues.as_slice(), preflight.cores.as_slice()), (&[0, 1][..], &[0, 1][..]));
        assert_eq!((preflight.flows_per_queue, preflight.rx_queues), (131_072, 2));
        assert_eq!((preflight.tcp.mss_v4, preflight.tcp.mss_v6), (1460, 1440));
        assert_eq!((preflight.driver.as_str(), preflight.mac), ("veth", [2, 0, 0, 0, 0, 1]));
        assert!(preflight.accept_partial_checksums);
        let text = "41.7 MiB for flows and 16.0 MiB for packets, together 57.7 MiB, of 1024.0 MiB available";
        assert_eq!(preflight.memory.to_string(), text);
        assert_eq!(preflight.notes, [""; 0]);
    }

    #[test]
    fn segment_sizes_frames_and_checksum_policy_follow_the_interface() {
        let mut config = config();
        config.tcp.time_wait_ms = 5;
        let mut physical = facts();
        physical.link = Ok(Some(Link { kind: None, mtu: 3000, ..link() }));
        physical.driver = Some("ixgbe".into());
        let preflight = judge(&config, &physical).unwrap();
        assert_eq!((preflight.tcp.mss_v4, preflight.tcp.mss_v6, preflight.tcp.time_wait_ms), (2960, 2940, 5));
        assert_eq!(preflight.memory.umem, 2 * 4096 * 4096);
        assert!(!preflight.accept_partial_checksums);
        config.partial_checksums = PartialChecksums::Accept;
        assert!(judge(&config, &physical).unwrap().accept_partial_checksums);
        config.partial_checksums = PartialChecksums::Refuse;
        assert!(!judge(&config, &facts()).unwrap().accept_partial_checksums);
    }

    #[test]
    fn each_obstacle_is_named_with_its_remedy() {
        let found = problem(|facts, _| facts.missing_capabilities = vec!["CAP_BPF"]);
        assert!(found.starts_with("privilege: CAP_BPF missing; run as root"), "{found}");
        let found = problem(|facts, _| facts.af_xdp_error = Some("Address family not supported".into()));
        assert!(found.contains("CONFIG_XDP_SOCKETS"), "{found}");
        let found = problem(|facts, _| facts.kernel = "5.4.0-200-generic".into());
        assert!(found.starts_with("kernel 5.4.0-200-generic: has no BPF links"), "{found}");
        let found = problem(|_, link| link.up = false);
        assert_eq!(found, "interface hf0: is down; ip link set hf0 up");
        let found = problem(|_, link| link.mtu = 9000);
        assert!(found.contains("MTU of 9000") && found.contains("576 to 3818"), "{found}");
        let found = problem(|_, link| link.mtu = 500);
        assert!(found.contains("MTU of 500"), "{found}");
        let found = problem(|_, link| link.mac = None);
        assert!(found.contains("no Ethernet address"), "{found}");
        let found = problem(|_, link| link.loopback = true);
        assert!(found.contains("loopback"), "{found}");
        let found = problem(|facts, link| {
            link.xdp = Some(XdpProgram { mode: "native", id: 12 });
            facts.xdp_removal = Some("bpftool link detach id 5".into());
        });
        assert!(found.contains("(native, id 12)") && found.ends_with("hf0), or bpftool link detach id 5"), "{found}");
        let found = problem(|_, link| link.xdp = Some(XdpProgram { mode: "several", id: 0 }));
        assert!(found.ends_with("stop its owner (bpftool net show dev hf0)"), "{found}");
        let found = problem(|facts, _| facts.available_bytes = Some(1 << 20));
        assert!(found.starts_with("flows 262144 and frames 4096: need 41.7 MiB for flows"), "{found}");
        let found = problem(|facts, _| facts.may_lock_memory = false);
        assert!(found.contains("16.0 MiB of packet memory") && found.contains("8.0 MiB"), "{found}");
        let found = problem(|facts, _| facts.tx_queues = 1);
        assert!(found.starts_with("queues 1: interface hf0 sends on 1 queues only"), "{found}");
        let found = problem(|facts, _| facts.rx_queues = 0);
        assert!(found.contains("ip netns exec"), "{found}");
    }

    #[test]
    fn kernels_that_panic_in_copy_mode_are_refused_on_virtual_interfaces_only() {
        for broken in ["6.17.0", "6.17.10", "6.17", "6.17.3-1-cloud-amd64"] {
            let found = problem(|facts, _| facts.kernel = broken.into());
            assert!(found.contains("CVE-2025-40290"), "{broken}: {found}");
        }
        for sound in ["6.16.12", "6.17.11", "6.18.0", "mainline"] {
            assert_eq!(problems(&config(), &Facts { kernel: sound.into(), ..facts() }), [""; 0], "{sound}");
        }
        let physical = Facts { link: Ok(Some(Link { kind: None, ..link() })), kernel: "6.17.3".into(), ..facts() };
        assert_eq!(problems(&config(), &physical), [""; 0]);
    }

    #[test]
    fn without_such_an_interface_those_there_are_named_beside_other_obstacles() {
        let facts = Facts { link: Ok(None), missing_capabilities: vec!["CAP_BPF"], ..facts() };
        let found = problems(&config(), &facts);
        assert_eq!(found[0], "interface hf0: does not exist in this network namespace; there are: lo, hf0");
        assert_eq!(found.len(), 2);
        let found = problems(&config(), &Facts { link: Err("Permission denied".into()), ..facts });
        assert!(found[0].contains("cannot be asked about: Permission denied"));
    }

    #[test]
    fn queues_and_cores_that_are_not_there_are_named() {
        let named = Config { queues: Some(vec![1, 2, 3]), cores: Some(vec![1, 8, 9]), ..config() };
        let found = problems(&named, &facts());
        let expected = [
            "queues 2-3: interface hf0 has 2 receive queues, from 0; name queues from 0 to 1, or none for all",
            "cores 8-9: this process may not run there; it may on 0-3",
        ];
        assert_eq!(found, expected);
        let found = problems(&Config { cores: Some(vec![1]), ..config() }, &facts());
        assert!(found[0].starts_with("cores 1 (1) for queues 0-1 (2): "), "{found:?}");
        let found = problems(&Config { flows: 1, ..config() }, &facts());
        assert!(found[0].starts_with("flows 1 for 2 queues: "), "{found:?}");
        let zero_copy = Config { bind: BindMode::ZeroCopy, ..config() };
        assert!(problems(&zero_copy, &facts())[0].contains("no zero-copy"));
    }

    #[test]
    fn what_is_no_obstacle_is_noted() {
        let mut machine = Facts { rx_queues: 8, tx_queues: 8, ..facts() };
        machine.link = Ok(Some(Link { carrier: false, ..link() }));
        let preflight = judge(&Config { queues: Some(vec![0]), ..config() }, &machine).unwrap();
        assert_eq!(preflight.notes.len(), 2, "{:?}", preflight.notes);
        assert!(preflight.notes[0].starts_with("queues 1-7 of hf0 have no worker"));
        assert!(preflight.notes[1].contains("no carrier"));
        let preflight = judge(&config(), &machine).unwrap();
        assert_eq!(preflight.cores, [0, 1, 2, 3, 0, 1, 2, 3]);
        assert!(preflight.notes[0].starts_with("8 workers share 4 cores"));
        let generic = Config { xdp_mode: XdpMode::Generic, ..config() };
        let preflight = judge(&generic, &facts()).unwrap();
        assert!(preflight.notes[0].contains("on the other end of hf0, run ethtool"), "{:?}", preflight.notes);
        let physical = Facts { link: Ok(Some(Link { kind: None, ..link() })), ..facts() };
        assert_eq!(judge(&generic, &physical).unwrap().notes, [""; 0]);
    }
}
