//! The steering program's parser against the engine's: bpf/parse.h, compiled for the host, and `wire::parse`.
//!
//! The contract, for an endpoint of any address on every port:
//! 1. what `wire::parse` accepts, steering takes, and both name the same addresses, ports and control bits;
//! 2. what steering takes, `wire::parse` accepts, or drops for what steering does not look at: a checksum, an address that
//!    nobody has, the source port, control bits.
//!
//! The second is more than `DropReason::breaks_steering_contract` asks: a frame that steering takes is not truncated either,
//! and its IP and TCP headers fit. The destination MAC address is compared byte by byte on both sides and not a part of this.

use handfast::verdict::DropReason;
use handfast::wire::parse::{PartialChecksums, parse};
use handfast::wire::segment::Control;
use handfast::wire::tuple::{Addr, FourTuple};

use crate::{cookie, repair};

// SAFETY: the signature is the one in steering/glue.c.
unsafe extern "C" {
    fn handfast_fuzz_steers(frame: *const u8, bytes: usize, out: *mut Steered) -> i32;
}

/// `struct handfast_fuzz_steered` in steering/glue.c.
#[derive(Default)]
#[repr(C)]
struct Steered {
    dst: [u8; 16],
    src: [u8; 16],
    dst_port: u16,
    src_port: u16,
    control: u8,
}

/// Checks the frame, and what it is with right checksums, and how both are answered.
pub fn check(data: &[u8]) {
    check_as_it_is(data);
    cookie::check(data);
    if let Some([whole, partial]) = repair::with_checksums(data) {
        check_as_it_is(&whole);
        cookie::check(&whole);
        cookie::check(&partial);
    }
}

/// Both ends of the frame and its control bits, if steering would take it.
fn steered(frame: &[u8]) -> Option<(FourTuple, Control)> {
    let mut found = Steered::default();
    // SAFETY: the frame is as long as is said, and the layout of what is found is the one in steering/glue.c.
    let taken = unsafe { handfast_fuzz_steers(frame.as_ptr(), frame.len(), &raw mut found) };
    let tuple = FourTuple {
        local_addr: Addr(found.dst),
        remote_addr: Addr(found.src),
        local_port: found.dst_port,
        remote_port: found.src_port,
    };
    (taken == 1).then_some((tuple, Control(found.control)))
}

fn check_as_it_is(frame: &[u8]) {
    let taken = steered(frame);
    match parse(frame, PartialChecksums::Accept) {
        Ok(segment) => {
            assert_eq!(
                taken,
                Some((segment.tuple, segment.control)),
                "the engine accepts what steering does not take, or reads otherwise"
            );
        }
        Err(reason) => assert!(
            taken.is_none() || is_not_for_steering(reason),
            "steering takes to {taken:?} what the engine drops as {reason:?}"
        ),
    }
}

/// What steering does not look at.
fn is_not_for_steering(reason: DropReason) -> bool {
    matches!(
        reason,
        DropReason::BadIpv4Checksum
            | DropReason::BadTcpChecksum
            | DropReason::BadAddress
            | DropReason::BadPort
            | DropReason::BadFlags
    )
}
