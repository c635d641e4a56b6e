//! The steering program's parser against the engine's: bpf/parse.h, compiled for the host, and `wire::parse`.
//!
//! The contract, for an endpoint of any address on every port:
//! 1. what `wire::parse` accepts, steering takes, and both name the same address and port;
//! 2. what steering takes, `wire::parse` accepts, or drops for what steering does not look at: a checksum, an address that
//!    nobody has, the source port, control bits.
//!
//! The second is more than `DropReason::breaks_steering_contract` asks: a frame that steering takes is not truncated either,
//! and its IP and TCP headers fit. The destination MAC address is compared byte by byte on both sides and not a part of this.

use handfast::verdict::DropReason;
use handfast::wire::parse::{PartialChecksums, parse};
use handfast::wire::tuple::Addr;

use crate::repair;

// SAFETY: the signature is the one in steering/glue.c.
unsafe extern "C" {
    fn handfast_fuzz_steers(frame: *const u8, bytes: usize, address: *mut u8, port: *mut u16) -> i32;
}

/// Checks the frame, and what it is with right checksums.
pub fn check(data: &[u8]) {
    check_as_it_is(data);
    if let Some([whole, _]) = repair::with_checksums(data) {
        check_as_it_is(&whole);
    }
}

/// Where steering would take the frame to: its destination address and port.
fn steered(frame: &[u8]) -> Option<(Addr, u16)> {
    let mut address = [0; 16];
    let mut port = 0;
    // SAFETY: the frame is as long as is said, and the address has its 16 bytes.
    let taken = unsafe { handfast_fuzz_steers(frame.as_ptr(), frame.len(), address.as_mut_ptr(), &raw mut port) };
    (taken == 1).then_some((Addr(address), port))
}

fn check_as_it_is(frame: &[u8]) {
    let taken = steered(frame);
    match parse(frame, PartialChecksums::Accept) {
        Ok(segment) => {
            let there = Some((segment.tuple.local_addr, segment.tuple.local_port));
            assert_eq!(taken, there, "the engine would accept what steering does not take there");
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
