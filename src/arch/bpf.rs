//! The bpf(2) commands that libbpf-rs does not reach: BPF_LINK_CREATE for XDP with flags, BPF_LINK_DETACH for the
//! link made that way, and BPF_PROG_RUN with live frames.
//!
//! `libbpf_rs::Program::attach_xdp` makes a link with flags 0 and leaves the choice of mode to the kernel. The command
//! itself takes `XDP_FLAGS_SKB_MODE` and `XDP_FLAGS_DRV_MODE`, so a link can force either mode. Its `Link` can only be
//! made from a pointer of libbpf's own, hence the second command. Its `Program::test_run` has no field for the batch
//! size, which decides how many frames go out before the network's soft interrupts run.

use libbpf_rs::libbpf_sys::{
    BPF_F_TEST_XDP_LIVE_FRAMES, BPF_XDP, bpf_link_create, bpf_link_create_opts, bpf_link_detach,
    bpf_prog_test_run_opts, bpf_test_run_opts,
};
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

/// Runs an XDP program over `repeat` copies of `frame` as if each had arrived on the loopback interface of this thread's
/// network namespace; what the program decides is done with the copy. The kernel takes at most `batch` copies (1 to 256)
/// through the program before it sends what was redirected. A copy may hold what an earlier run of the same call wrote.
///
/// # Errors
///
/// What the kernel says: EINVAL before Linux 5.18, E2BIG if `batch` is above 256, EINTR if a signal came, when any number
/// of copies may have been sent.
pub fn xdp_run_live(program: BorrowedFd<'_>, frame: &[u8], repeat: u32, batch: u32) -> io::Result<()> {
    let too_much = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let mut options = bpf_test_run_opts {
        sz: size_of::<bpf_test_run_opts>() as libbpf_rs::libbpf_sys::size_t,
        data_in: frame.as_ptr().cast(),
        data_size_in: u32::try_from(frame.len()).map_err(too_much)?,
        repeat: i32::try_from(repeat).map_err(too_much)?,
        flags: BPF_F_TEST_XDP_LIVE_FRAMES,
        batch_size: batch,
        ..Default::default()
    };
    // SAFETY: the descriptor is borrowed, so it is open during the call; `options` lives until it returns and names its
    // own size; of the buffers it points to only `frame` is set, whose length goes with it and which the kernel reads.
    let result = unsafe { bpf_prog_test_run_opts(program.as_raw_fd(), &raw mut options) };
    if result < 0 { Err(io::Error::from_raw_os_error(-result)) } else { Ok(()) }
}
