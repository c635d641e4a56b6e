//! The bpf(2) commands that libbpf-rs does not reach: BPF_LINK_CREATE for XDP with flags, and BPF_LINK_DETACH for the
//! link made that way.
//!
//! `libbpf_rs::Program::attach_xdp` makes a link with flags 0 and leaves the choice of mode to the kernel. The command
//! itself takes `XDP_FLAGS_SKB_MODE` and `XDP_FLAGS_DRV_MODE`, so a link can force either mode. Its `Link` can only be
//! made from a pointer of libbpf's own, hence the second command.

use libbpf_rs::libbpf_sys::{BPF_XDP, bpf_link_create, bpf_link_create_opts, bpf_link_detach};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Attaches an XDP program to an interface of this thread's network namespace, as a link: when the last copy of the
/// returned descriptor is closed, by whatever end of the process, the kernel detaches the program.
///
/// `flags` are the `XDP_FLAGS_*` of linux/if_link.h.
///
/// # Errors
///
/// What the kernel says: EBUSY or EEXIST if a program is attached already, EOPNOTSUPP or the driver's own error if it
/// refuses native mode, EINVAL if there is no such interface, EPERM without CAP_NET_ADMIN.
pub fn xdp_link_create(program: BorrowedFd<'_>, ifindex: u32, flags: u32) -> io::Result<OwnedFd> {
    let target = i32::try_from(ifindex).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let options = bpf_link_create_opts {
        sz: size_of::<bpf_link_create_opts>() as libbpf_rs::libbpf_sys::size_t,
        flags,
        ..Default::default()
    };
    // SAFETY: the descriptor is borrowed, so it is open during the call; `options` lives until it returns, is
    // initialised as a whole and names its own size, as libbpf asks.
    let result = unsafe { bpf_link_create(program.as_raw_fd(), target, BPF_XDP, &raw const options) };
    if result < 0 {
        return Err(io::Error::from_raw_os_error(-result));
    }
    // SAFETY: a result that is not negative is a descriptor which the kernel made for this call; nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(result) })
}

/// Takes the program of a link off its interface now, even if other copies of the descriptor are open.
///
/// # Errors
///
/// What the kernel says: EINVAL or EOPNOTSUPP before Linux 5.10, where only closing the last copy detaches.
pub fn link_detach(link: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the descriptor is borrowed, so it is open during the call, which touches no memory of ours.
    let result = unsafe { bpf_link_detach(link.as_raw_fd()) };
    if result < 0 { Err(io::Error::from_raw_os_error(-result)) } else { Ok(()) }
}
