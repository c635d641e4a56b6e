//! From a configuration to a bound socket. What is here: UMEM, socket, bind with its retries, and the socket options.
//! What is not here: any XDP program; libxdp's own is not loaded, the steering program is `steer`'s.

use super::config::{BindMode, TX_BUDGET_LEAST, XskConfig};
use super::error::XskError;
use super::rings::{Parts, XskRings};
use super::umem::Frames;
use crate::port::{BURST_FRAMES, Frame};
use rustix::fd::{AsRawFd, BorrowedFd};
use rustix::io::Errno;
use rustix::net::sockopt::xdp_options;
use rustix::net::xdp::XdpOptionsFlags;
use rustix::process::{Resource, getrlimit};
use rustix::thread::{CapabilitySet, capabilities};
use std::error::Error;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};
use std::{io, thread};
use xsk_rs::config::{BindFlags, FrameSize, Interface, LibxdpFlags, QueueSize, SocketConfig, UmemConfig};
use xsk_rs::{CompQueue, FillQueue, FrameDesc, RxQueue, Socket, TxQueue, Umem};

/// How long EBUSY is retried: the kernel releases a closed socket's queue with a delay.
const BUSY_PATIENCE: Duration = Duration::from_secs(2);
/// The first pause between two tries; each is twice the one before.
const BUSY_PAUSE: Duration = Duration::from_millis(5);

/// Socket option of SOL_XDP: how many frames one call sends in copy mode. Since Linux 6.17 (include/uapi/linux/if_xdp.h).
const XDP_MAX_TX_SKB_BUDGET: libc::c_int = 9;
/// Socket options of SOL_SOCKET for busy polling (include/uapi/asm-generic/socket.h).
const SO_PREFER_BUSY_POLL: libc::c_int = 69;
const SO_BUSY_POLL_BUDGET: libc::c_int = 70;

/// ETHTOOL_GCHANNELS and its structure (include/uapi/linux/ethtool.h).
const ETHTOOL_GCHANNELS: u32 = 0x3c;
#[repr(C)]
#[derive(Default)]
struct EthtoolChannels {
    cmd: u32,
    max_rx: u32,
    max_tx: u32,
    max_other: u32,
    max_combined: u32,
    rx_count: u32,
    tx_count: u32,
    other_count: u32,
    combined_count: u32,
}
const _: () = assert!(size_of::<EthtoolChannels>() == 36);

/// The queues of a bound socket.
type Queues = (TxQueue, RxQueue, Option<(FillQueue, CompQueue)>);

/// Opens the socket that `config` asks for. Returns its rings, and a token for each frame.
pub(super) fn open(config: &XskConfig) -> Result<(XskRings, Vec<Frame>), XskError> {
    config.check()?;
    let interface: Interface = config.interface.parse().map_err(|_| unknown_interface(config))?;
    let (umem, descs) = umem(config)?;
    let (tx, rx, rest) = bind(config, &umem, &interface)?;
    // xsk-rs keeps the fill and completion ring back only for a second socket on the same UMEM and queue.
    let (fill, completion) = rest.expect("a UMEM's first socket comes with its fill and completion ring");
    let (frames, tokens) = Frames::new(umem, descs, config.frame_size);
    let parts = Parts { fill, rx, tx, completion, tx_size: config.tx_ring, need_wakeup: config.need_wakeup };
    let mut rings = XskRings::new(parts, frames);
    let options = xdp_options(rings.fd()).map_err(|e| other(config, "XDP_OPTIONS", e.into(), "it takes Linux 5.3"))?;
    rings.zero_copy = options.contains(XdpOptionsFlags::XDP_OPTIONS_ZEROCOPY);
    // A kernel without the option sends its 32 frames a call: slower, and nothing is wrong.
    let tx_budget = config.tx_budget.max(TX_BUDGET_LEAST).min(config.tx_ring);
    rings.tx_budget =
        set_option(rings.fd(), libc::SOL_XDP, XDP_MAX_TX_SKB_BUDGET, tx_budget).is_ok().then_some(tx_budget);
    if config.busy_poll_us > 0 {
        prefer_busy_polling(config, rings.fd())?;
    }
    rings.busy_poll = config.busy_poll_us > 0;
    Ok((rings, tokens))
}

/// Maps and registers the UMEM.
fn umem(config: &XskConfig) -> Result<(Umem, Vec<FrameDesc>), XskError> {
    let size = |n: u32| QueueSize::new(n).expect("XskConfig::check let only powers of two through");
    let umem_config = UmemConfig::builder()
        .frame_size(FrameSize::new(config.frame_size).expect("XskConfig::check let only 2048 and 4096 through"))
        .fill_queue_size(size(config.fill_ring))
        .comp_queue_size(size(config.completion_ring))
        .build()
        .expect("2048 bytes have room for XDP's headroom");
    let frames = NonZeroU32::new(config.frames).expect("0 is not a power of two");
    Umem::new(umem_config, frames, config.huge_pages).map_err(|error| umem_error(config, errno_of(&error)))
}

/// Binds, and retries while the queue is still being released.
fn bind(config: &XskConfig, umem: &Umem, interface: &Interface) -> Result<Queues, XskError> {
    let mut flags = match config.bind {
        BindMode::Auto => BindFlags::empty(),
        BindMode::Copy => BindFlags::XDP_COPY,
        BindMode::ZeroCopy => BindFlags::XDP_ZEROCOPY,
    };
    flags.set(BindFlags::XDP_USE_NEED_WAKEUP, config.need_wakeup);
    let size = |n: u32| QueueSize::new(n).expect("XskConfig::check let only powers of two through");
    let socket_config = SocketConfig::builder()
        .rx_queue_size(size(config.rx_ring))
        .tx_queue_size(size(config.tx_ring))
        .bind_flags(flags)
        .libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD)
        .build();
    let start = Instant::now();
    let mut pause = BUSY_PAUSE;
    loop {
        // SAFETY: xsk-rs asks that libxdp's program is not loaded when a UMEM is shared; this one is not shared, and the
        // program is inhibited.
        let error = match unsafe { Socket::new(socket_config, umem, interface, config.queue) } {
            Ok(queues) => return Ok(queues),
            Err(error) => errno_of(&error),
        };
        if error != Some(Errno::BUSY) || start.elapsed() >= BUSY_PATIENCE {
            return Err(bind_error(config, error, start.elapsed()));
        }
        thread::sleep(pause.min(BUSY_PATIENCE.saturating_sub(start.elapsed())));
        pause *= 2;
    }
}

/// Has the socket's calls run the driver's poll, a burst of frames at a time.
fn prefer_busy_polling(config: &XskConfig, fd: BorrowedFd<'_>) -> Result<(), XskError> {
    let budget = u32::try_from(BURST_FRAMES).expect("a burst is small");
    let options = [
        ("SO_PREFER_BUSY_POLL", SO_PREFER_BUSY_POLL, 1),
        ("SO_BUSY_POLL", libc::SO_BUSY_POLL, config.busy_poll_us),
        ("SO_BUSY_POLL_BUDGET", SO_BUSY_POLL_BUDGET, budget),
    ];
    options.into_iter().try_for_each(|(name, option, value)| {
        let remedy = "preferred busy polling takes Linux 5.11 and CAP_NET_ADMIN; without --busy-poll interrupts do it";
        set_option(fd, libc::SOL_SOCKET, option, value).map_err(|error| other(config, name, error, remedy))
    })
}

/// Sets a socket option of 32 bits.
fn set_option(fd: BorrowedFd<'_>, level: libc::c_int, option: libc::c_int, value: u32) -> io::Result<()> {
    let len = libc::socklen_t::try_from(size_of::<u32>()).expect("4 bytes");
    // SAFETY: `fd` is open while borrowed, and the kernel reads `len` bytes of `value`, which outlives the call.
    let answer = unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, (&raw const value).cast(), len) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// How many queues the interface has: the larger of receive and transmit, as bind counts. `None` if its driver does not
/// tell.
fn queue_count(interface: &str) -> Option<u32> {
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None).ok()?;
    let mut channels = EthtoolChannels { cmd: ETHTOOL_GCHANNELS, ..EthtoolChannels::default() };
    let mut request = libc::ifreq {
        ifr_name: [0; libc::IFNAMSIZ],
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_data: (&raw mut channels).cast() },
    };
    for (to, from) in request.ifr_name[..libc::IFNAMSIZ - 1].iter_mut().zip(interface.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    // SAFETY: the socket is open, and the kernel writes at most an `ethtool_channels` through the pointer in `request`;
    // `channels` has that layout and outlives the call.
    let answer = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    (answer == 0).then(|| channels.combined_count + channels.rx_count.max(channels.tx_count))
}

/// The system's error behind one of xsk-rs's.
fn errno_of(error: &dyn Error) -> Option<Errno> {
    let source = error.source()?.downcast_ref::<io::Error>()?;
    Errno::from_io_error(source)
}

fn unknown_interface(config: &XskConfig) -> XskError {
    XskError::UnknownInterface { interface: config.interface.clone(), queue: config.queue }
}

fn other(config: &XskConfig, tried: &'static str, source: io::Error, remedy: &'static str) -> XskError {
    XskError::Other { interface: config.interface.clone(), queue: config.queue, tried, source, remedy }
}

/// `errno` as an error with text.
fn io_error(errno: Option<Errno>) -> io::Error {
    errno.map_or_else(|| io::Error::other("libxdp gave no reason"), io::Error::from)
}

fn umem_error(config: &XskConfig, errno: Option<Errno>) -> XskError {
    let (interface, queue) = (config.interface.clone(), config.queue);
    match errno {
        Some(Errno::PERM | Errno::ACCESS) => XskError::NotPermitted { interface, queue },
        Some(Errno::AFNOSUPPORT) => XskError::NoAfXdp { interface, queue },
        Some(Errno::NOMEM | Errno::NOBUFS) => {
            let bytes = u64::from(config.frames) * u64::from(config.frame_size);
            XskError::NoMemory { interface, queue, bytes, remedy: memory_remedy(config.huge_pages) }
        }
        errno => other(config, "creating the UMEM", io_error(errno), "see: dmesg"),
    }
}

/// What to do when the UMEM's memory was refused.
fn memory_remedy(huge_pages: bool) -> String {
    if huge_pages {
        return "reserve huge pages: sysctl vm.nr_hugepages=N, or open the port without them".to_owned();
    }
    let exempt = capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::IPC_LOCK));
    match getrlimit(Resource::Memlock).current {
        Some(limit) if !exempt => format!(
            "locked memory is limited to {limit} bytes for this user, and the process has no CAP_IPC_LOCK: raise it \
             (ulimit -l unlimited, LimitMEMLOCK=infinity), or use fewer frames"
        ),
        _ => "free some memory, or use fewer frames".to_owned(),
    }
}

fn bind_error(config: &XskConfig, errno: Option<Errno>, waited: Duration) -> XskError {
    let (interface, queue) = (config.interface.clone(), config.queue);
    match errno {
        Some(Errno::NODEV | Errno::NXIO) => unknown_interface(config),
        Some(Errno::BUSY) => XskError::Busy { interface, queue, waited_ms: waited.as_millis() },
        Some(Errno::PERM | Errno::ACCESS) => XskError::NotPermitted { interface, queue },
        Some(Errno::OPNOTSUPP) if config.bind == BindMode::ZeroCopy => XskError::ZeroCopyRefused { interface, queue },
        Some(Errno::NOMEM | Errno::NOBUFS) => umem_error(config, errno),
        Some(Errno::INVAL) => match queue_count(&config.interface) {
            Some(queues) if queue >= queues => XskError::QueueOutOfRange { interface, queue, queues },
            _ => other(config, "bind", io_error(errno), "does the interface have that queue? see: ethtool -l"),
        },
        errno => {
            other(config, "bind", io_error(errno), "is the interface up, and its driver able to do XDP? see: ip link")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(error: &XskError) -> String {
        let text = error.to_string();
        assert!(text.contains("eth7 queue 2"), "names interface and queue: {text}");
        text
    }

    #[test]
    fn every_refusal_of_the_kernel_names_its_remedy() {
        let config = XskConfig::new("eth7", 2);
        let zero_copy = XskConfig { bind: BindMode::ZeroCopy, ..config.clone() };
        let huge = XskConfig { huge_pages: true, ..config.clone() };
        let bind = |config: &XskConfig, errno| text(&bind_error(config, Some(errno), BUSY_PATIENCE));
        assert!(bind(&config, Errno::BUSY).contains("2000 ms"));
        assert!(bind(&config, Errno::PERM).contains("CAP_NET_RAW"));
        assert!(bind(&config, Errno::NODEV).contains("ip link"));
        assert!(bind(&config, Errno::NOMEM).contains("8388608 bytes"));
        assert!(bind(&config, Errno::OPNOTSUPP).contains("XDP"));
        assert!(bind(&zero_copy, Errno::OPNOTSUPP).contains("bind with copy or auto"));
        assert!(text(&umem_error(&config, Some(Errno::AFNOSUPPORT))).contains("CONFIG_XDP_SOCKETS"));
        assert!(text(&umem_error(&huge, Some(Errno::NOMEM))).contains("vm.nr_hugepages"));
        assert!(text(&umem_error(&config, None)).contains("gave no reason"));
    }
}
