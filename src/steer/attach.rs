//! Attaching to an interface: by a bpf link in native or generic mode, and saying who is there when it is taken.
//!
//! Always a link, never the netlink way: the kernel removes a link's program when its last descriptor is closed, so
//! after the end of the process, by kill -9 too, the interface is the kernel's again. Interfaces are those of the
//! calling thread's network namespace.

use super::error::SteerError;
use crate::arch::bpf::{link_detach, xdp_link_create};
use libbpf_rs::libbpf_sys::{XDP_FLAGS_DRV_MODE, XDP_FLAGS_SKB_MODE, bpf_xdp_query_opts};
use libbpf_rs::query::{LinkInfoIter, LinkTypeInfo};
use libbpf_rs::{Xdp, XdpFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, netdevice, socket};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Which mode to attach in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AttachMode {
    /// Native if the driver takes it, generic otherwise.
    #[default]
    Auto,
    /// In the driver, before a socket buffer exists.
    Native,
    /// In the network core, on socket buffers; works on every interface.
    Generic,
}

/// The mode that a program is attached in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpMode {
    /// In the driver.
    Native,
    /// In the network core, on socket buffers.
    Generic,
    /// In the NIC.
    Offloaded,
}

impl fmt::Display for XdpMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            XdpMode::Native => "native",
            XdpMode::Generic => "generic",
            XdpMode::Offloaded => "offloaded",
        })
    }
}

/// How attaching came out.
#[derive(Debug)]
pub struct Attached {
    /// The mode.
    pub mode: XdpMode,
    /// Why it is not native although [`AttachMode::Auto`] asked for that first.
    pub native_refused: Option<io::Error>,
}

/// An interface as errors name it: by number, and by name if it has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The interface index.
    pub index: u32,
    /// The name, if there is such an interface.
    pub name: Option<String>,
}

impl Interface {
    /// The interface with this index in the calling thread's network namespace.
    pub fn from_index(index: u32) -> Self {
        let name = any_socket().and_then(|fd| Ok(netdevice::index_to_name(&fd, index)?));
        Self { index, name: name.ok() }
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => f.write_str(name),
            None => write!(f, "number {}", self.index),
        }
    }
}

/// The XDP program that an interface has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occupant {
    /// The program's id.
    pub program_id: u32,
    /// The id of the link that holds it there; `None` if it was attached through netlink, or if links may not be
    /// listed.
    pub link_id: Option<u32>,
    /// The mode that it is attached in.
    pub mode: XdpMode,
}

impl Occupant {
    /// The command that removes it from the interface.
    pub fn removal(&self, interface: &Interface) -> String {
        match (self.link_id, self.mode) {
            (Some(link_id), _) => format!("bpftool link detach id {link_id}"),
            (None, XdpMode::Native) => format!("ip link set dev {interface} xdpdrv off"),
            (None, XdpMode::Generic) => format!("ip link set dev {interface} xdpgeneric off"),
            (None, XdpMode::Offloaded) => format!("ip link set dev {interface} xdpoffload off"),
        }
    }
}

impl fmt::Display for Occupant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "XDP program {} ({} mode)", self.program_id, self.mode)
    }
}

/// The XDP program of an interface in the calling thread's network namespace, if it has one.
///
/// # Errors
///
/// What the kernel says to the netlink query; there is no such interface, mostly.
pub fn occupant(ifindex: u32) -> io::Result<Option<Occupant>> {
    let found = query(ifindex)?;
    let modes = [
        (found.drv_prog_id, XdpMode::Native),
        (found.skb_prog_id, XdpMode::Generic),
        (found.hw_prog_id, XdpMode::Offloaded),
    ];
    let Some((program_id, mode)) = modes.into_iter().find(|(id, _)| *id != 0) else { return Ok(None) };
    let is_it = |link: &libbpf_rs::query::LinkInfo| {
        link.prog_id == program_id && matches!(&link.info, LinkTypeInfo::Xdp(xdp) if xdp.ifindex == ifindex)
    };
    let link_id = LinkInfoIter::default().find(is_it).map(|link| link.id);
    Ok(Some(Occupant { program_id, link_id, mode }))
}

/// What a driver says that it can do for XDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DriverFeatures {
    /// It runs programs itself (native mode), those that redirect too.
    pub native: bool,
    /// It shares frames with AF_XDP sockets (zero-copy).
    pub zero_copy: bool,
}

/// What the driver of an interface in the calling thread's network namespace says that it can do. Kernels before 6.3 do
/// not ask their drivers and answer that it can do nothing.
///
/// # Errors
///
/// What the kernel says to the netlink query.
pub fn driver_features(ifindex: u32) -> io::Result<DriverFeatures> {
    let flags = query(ifindex)?.feature_flags;
    let has = |wanted: u64| flags & wanted == wanted;
    Ok(DriverFeatures {
        native: has(NETDEV_XDP_ACT_BASIC | NETDEV_XDP_ACT_REDIRECT),
        zero_copy: has(NETDEV_XDP_ACT_XSK_ZEROCOPY),
    })
}

/// Bits of enum netdev_xdp_act in linux/netdev.h.
const NETDEV_XDP_ACT_BASIC: u64 = 1;
const NETDEV_XDP_ACT_REDIRECT: u64 = 2;
const NETDEV_XDP_ACT_XSK_ZEROCOPY: u64 = 8;

/// All that the kernel says about XDP on an interface.
fn query(ifindex: u32) -> io::Result<bpf_xdp_query_opts> {
    let target = i32::try_from(ifindex).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // The query is about an interface; the descriptor that the wrapper asks for plays no part in it.
    let unused = any_socket()?;
    Xdp::new(unused.as_fd()).query(target, XdpFlags::NONE).map_err(io::Error::other)
}

/// Holds a program on an interface, until it is dropped or the process ends.
#[derive(Debug)]
pub struct XdpLink(OwnedFd);

impl Drop for XdpLink {
    fn drop(&mut self) {
        // Closing alone is not enough for "now": a child process that another thread is starting has a copy of the
        // descriptor between fork and exec. If the kernel cannot detach, it does so at the last close, as it always
        // would.
        let _ = link_detach(self.0.as_fd());
    }
}

/// Attaches `program` to an interface of the calling thread's network namespace.
///
/// # Errors
///
/// [`SteerError::Occupied`] if the interface has an XDP program, [`SteerError::Attach`] if the kernel or the driver
/// refuses the mode.
pub fn attach(program: BorrowedFd<'_>, ifindex: u32, mode: AttachMode) -> Result<(XdpLink, Attached), SteerError> {
    let native = || xdp_link_create(program, ifindex, XDP_FLAGS_DRV_MODE);
    let generic = || xdp_link_create(program, ifindex, XDP_FLAGS_SKB_MODE);
    let (result, mode, native_refused) = match mode {
        AttachMode::Native => (native(), XdpMode::Native, None),
        AttachMode::Generic => (generic(), XdpMode::Generic, None),
        AttachMode::Auto => match native() {
            Err(refusal) if is_drivers(&refusal) => (generic(), XdpMode::Generic, Some(refusal)),
            result => (result, XdpMode::Native, None),
        },
    };
    match result {
        Ok(link) => Ok((XdpLink(link), Attached { mode, native_refused })),
        Err(cause) => Err(explain(ifindex, mode, cause, native_refused)),
    }
}

/// True if native mode was refused for a reason that generic mode may not have.
fn is_drivers(refusal: &io::Error) -> bool {
    !matches!(Errno::from_io_error(refusal), Some(Errno::BUSY | Errno::EXIST | Errno::PERM))
}

/// Names the program that is in the way, if that is what the kernel's answer means.
fn explain(ifindex: u32, mode: XdpMode, cause: io::Error, native_refused: Option<io::Error>) -> SteerError {
    let interface = Interface::from_index(ifindex);
    let taken = matches!(Errno::from_io_error(&cause), Some(Errno::BUSY | Errno::EXIST));
    match occupant(ifindex) {
        Ok(Some(occupant)) if taken => SteerError::Occupied { interface, occupant },
        _ => SteerError::Attach { interface, mode, cause, native_refused },
    }
}

/// A socket of the thread's network namespace, to ask about its interfaces.
fn any_socket() -> io::Result<OwnedFd> {
    Ok(socket(AddressFamily::INET, SocketType::DGRAM, None)?)
}
