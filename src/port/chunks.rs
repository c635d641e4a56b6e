//! Which chunks of a port's memory the kernel has, and which are ours. What is here: one flag per chunk, turned when a
//! [`Frame`] crosses. What is not here: where a frame of ours waits (that is [`super::rings`]), and any memory.
//!
//! The flags are checked in release builds too. They are what makes the unsafe room sound whatever safe code does with
//! its tokens: a token of another port, or one made by mistake, meets a flag and stops the worker; it never reaches bytes
//! that the kernel may be writing.

#![forbid(unsafe_code)]

use super::Frame;

/// The flags of one port.
#[derive(Debug)]
pub(super) struct Chunks {
    with_kernel: Box<[bool]>,
    /// Base-2 logarithm of the chunk size in bytes.
    shift: u32,
}

impl Chunks {
    /// `count` chunks of `size` bytes, all ours.
    ///
    /// # Panics
    ///
    /// If `size` is not a power of two: configurations are checked before they come here.
    pub(super) fn new(count: usize, size: u32) -> Self {
        assert!(size.is_power_of_two(), "chunks of {size} bytes cannot be found by a shift");
        Self { with_kernel: vec![false; count].into_boxed_slice(), shift: size.trailing_zeros() }
    }

    /// The chunk that an address lies in.
    #[inline]
    fn index(&self, addr: u64) -> usize {
        usize::try_from(addr >> self.shift).expect("an address in memory that this process has mapped")
    }

    /// The chunk of `frame`, which has to be ours.
    #[inline]
    pub(super) fn ours(&self, frame: &Frame) -> usize {
        let index = self.index(frame.addr);
        assert!(!self.with_kernel[index], "frame token for chunk {index}, which the kernel has");
        index
    }

    /// Ends a token: its chunk is the kernel's from now on. Returns the chunk.
    #[inline]
    pub(super) fn hand_over(&mut self, frame: Frame) -> usize {
        let index = self.ours(&frame);
        self.with_kernel[index] = true;
        index
    }

    /// Takes over the chunk that the kernel returned at `addr`; the caller makes the token. Returns the chunk.
    #[inline]
    pub(super) fn take_over(&mut self, addr: u64) -> usize {
        let index = self.index(addr);
        assert!(self.with_kernel[index], "the kernel returned chunk {index}, which it did not have");
        self.with_kernel[index] = false;
        index
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(addr: u64) -> Frame {
        Frame { addr, len: 0 }
    }

    #[test]
    fn a_chunk_goes_to_the_kernel_and_comes_back() {
        let mut chunks = Chunks::new(4, 2048);
        assert_eq!(chunks.hand_over(frame(2048 + 256)), 1);
        assert_eq!(chunks.take_over(2048 + 300), 1);
        assert_eq!(chunks.ours(&frame(2048)), 1);
    }

    #[test]
    #[should_panic(expected = "which the kernel has")]
    fn a_second_token_for_a_chunk_of_the_kernel_is_refused() {
        let mut chunks = Chunks::new(4, 2048);
        chunks.hand_over(frame(0));
        chunks.hand_over(frame(256));
    }

    #[test]
    #[should_panic(expected = "which it did not have")]
    fn a_chunk_that_comes_back_twice_is_refused() {
        let mut chunks = Chunks::new(4, 2048);
        chunks.hand_over(frame(0));
        chunks.take_over(0);
        chunks.take_over(0);
    }

    #[test]
    #[should_panic(expected = "index out of bounds")]
    fn a_token_of_a_larger_port_is_refused() {
        Chunks::new(4, 2048).ours(&frame(4 * 2048));
    }
}
