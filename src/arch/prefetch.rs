//! Hints to the processor that memory will be read soon, so that several misses of the cache run side by side instead of one
//! after another. They change nothing but time; where the architecture is not known here they are nothing.

/// Bytes in a cache line.
const LINE: usize = 64;
/// Of a packet, as many bytes as its headers have at most, options of an ordinary segment included.
const HEADER_BYTES: usize = 2 * LINE;

/// Announces that all of `value` will be read.
#[inline(always)]
pub fn value<T>(value: &T) {
    let start = core::ptr::from_ref(value).cast::<u8>();
    for offset in (0..size_of::<T>()).step_by(LINE) {
        line(start.wrapping_add(offset));
    }
}

/// Announces that the headers of a packet will be read.
#[inline(always)]
pub fn headers(packet: &[u8]) {
    for offset in (0..packet.len().min(HEADER_BYTES)).step_by(LINE) {
        line(packet.as_ptr().wrapping_add(offset));
    }
}

/// Announces that the line around `address` will be read.
#[inline(always)]
fn line(address: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch reads nothing that can be seen and faults at no address; every x86-64 processor has it.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
    }
    #[cfg(any(not(target_arch = "x86_64"), miri))]
    let _ = address;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_value_and_any_packet_can_be_announced() {
        value(&[0_u8; 300]);
        value(&());
        headers(&[]);
        headers(&[1, 2, 3]);
        headers(&[0; 2_000]);
    }
}
