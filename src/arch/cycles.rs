//! The processor's own clock, for taking the time of stretches of a few nanoseconds: reading it takes some twenty cycles, a third of
//! what the kernel's clock takes even without a system call.
//!
//! It counts evenly whatever frequency the core runs at; how fast, whoever reads it has to compare with a clock of known speed.
//! Two cores' readings are not compared here: a worker stays on its core. On processors other than x86-64 and AArch64 it
//! is the kernel's monotonic clock, in nanoseconds.

/// What is read.
#[cfg(all(target_arch = "x86_64", not(miri)))]
pub const SOURCE: &str = "tsc";
/// What is read.
#[cfg(all(target_arch = "aarch64", not(miri)))]
pub const SOURCE: &str = "cntvct";
/// What is read.
#[cfg(any(not(any(target_arch = "x86_64", target_arch = "aarch64")), miri))]
pub const SOURCE: &str = "monotonic";

/// The clock now. Not ordered with the instructions around it: a reading may be some nanoseconds early or late.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: RDTSC touches no memory and every x86-64 processor has it; Linux lets user space use it.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// The clock now. Not ordered with the instructions around it: a reading may be some nanoseconds early or late.
#[cfg(all(target_arch = "aarch64", not(miri)))]
#[inline(always)]
pub fn now() -> u64 {
    let count: u64;
    // SAFETY: reading CNTVCT_EL0 touches no memory; Linux lets user space read it.
    unsafe { core::arch::asm!("mrs {}, cntvct_el0", out(reg) count, options(nomem, nostack, preserves_flags)) };
    count
}

/// The clock now.
#[cfg(any(not(any(target_arch = "x86_64", target_arch = "aarch64")), miri))]
pub fn now() -> u64 {
    use std::sync::OnceLock;
    use std::time::Instant;
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    u64::try_from(ORIGIN.get_or_init(Instant::now).elapsed().as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_goes_on_and_not_back() {
        let mut last = now();
        let first = last;
        for _ in 0..10_000 {
            let next = now();
            assert!(next >= last, "{next} after {last}");
            last = next;
        }
        assert!(last > first);
        assert!(!SOURCE.is_empty());
    }
}
