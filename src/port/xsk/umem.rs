//! The UMEM: the memory of a port's frames, seen chunk by chunk. What is here: the crossing between a [`Frame`] and the
//! descriptor that the rings carry, and the bytes of a frame. What is not here: the rings (`rings`), and any knowledge of
//! what waits where ([`crate::port::rings`]).

use super::config::XDP_HEADROOM;
use crate::port::Frame;
use crate::port::chunks::Chunks;
use xsk_rs::{FrameDesc, Umem};

/// The frames of one UMEM. It is never shared with a second socket.
#[derive(Debug)]
pub(super) struct Frames {
    umem: Umem,
    chunks: Chunks,
    /// For each chunk that is ours, where its packet starts and how many bytes of it are valid.
    descs: Box<[FrameDesc]>,
    /// Each chunk's descriptor as it was made, with the packet start where the kernel puts it.
    home: Box<[FrameDesc]>,
    frame_size: usize,
}

/// An index or length of a mapping that this process made.
fn to_usize(n: u32) -> usize {
    usize::try_from(n).expect("xsk-rs needs pointers of 64 bits")
}

/// An address in a UMEM as the kernel writes it.
fn to_addr(addr: usize) -> u64 {
    u64::try_from(addr).expect("a UMEM's address fits 64 bits")
}

impl Frames {
    /// The frames of `umem`, whose descriptors are `descs`, and a token for each.
    pub(super) fn new(umem: Umem, descs: Vec<FrameDesc>, frame_size: u32) -> (Self, Vec<Frame>) {
        let chunks = Chunks::new(descs.len(), frame_size);
        let tokens = descs.iter().map(|desc| Frame { addr: to_addr(desc.addr()), len: 0 }).collect();
        let home = descs.clone().into_boxed_slice();
        let frames = Self { umem, chunks, descs: descs.into_boxed_slice(), home, frame_size: to_usize(frame_size) };
        (frames, tokens)
    }

    /// Makes the token for a frame that the kernel returned.
    ///
    /// # Panics
    ///
    /// If the kernel did not have it, or if less room than [`Frames::max_packet_len`] is behind the packet's start:
    /// then a program in front of us moved the start (`bpf_xdp_adjust_head`), and no reply is sure to fit.
    #[inline]
    pub(super) fn take_over(&mut self, desc: FrameDesc) -> Frame {
        let index = self.chunks.take_over(to_addr(desc.addr()));
        assert!(desc.addr() <= self.home[index].addr(), "packet start behind XDP's headroom: {desc:?}");
        self.descs[index] = desc;
        let len = u32::try_from(desc.lengths().data()).expect("the kernel's length has 32 bits");
        Frame { addr: to_addr(desc.addr()), len }
    }

    /// Ends the token of a frame that goes to the kernel, and returns what its ring carries.
    #[inline]
    pub(super) fn hand_over(&mut self, frame: Frame) -> FrameDesc {
        let len = frame.len();
        self.set_len(&frame, len);
        let index = self.chunks.hand_over(frame);
        self.descs[index]
    }

    /// Makes `frame` empty, with the packet start where the kernel puts it.
    pub(super) fn reset(&mut self, frame: Frame) -> Frame {
        let index = self.chunks.ours(&frame);
        self.descs[index] = self.home[index];
        Frame { addr: to_addr(self.home[index].addr()), len: 0 }
    }

    /// Sets how many bytes of `frame`, from the packet's start on, its descriptor covers; never more than its room.
    #[inline]
    fn set_len(&mut self, frame: &Frame, len: usize) -> usize {
        let index = self.chunks.ours(frame);
        // SAFETY: the descriptor came from this UMEM (`Frames::new` or its rings), and `Chunks::ours` found that the
        // kernel does not have its chunk. `&mut self` excludes every other reference into it.
        let mut data = unsafe { self.umem.data_mut(&mut self.descs[index]) };
        data.cursor().set_pos(len);
        index
    }

    /// As [`crate::port::Port::bytes`].
    #[inline]
    pub(super) fn bytes(&self, frame: &Frame) -> &[u8] {
        let index = self.chunks.ours(frame);
        // SAFETY: the descriptor came from this UMEM and covers at most its chunk (`set_len`, or the kernel, which checks
        // received lengths against the chunk). `Chunks::ours` found that the kernel does not have the chunk, and `&self`
        // excludes every mutable reference into it.
        let data = unsafe { self.umem.data(&self.descs[index]) };
        &data.contents()[..frame.len()]
    }

    /// As [`crate::port::Port::bytes_mut`].
    #[inline]
    pub(super) fn bytes_mut(&mut self, frame: &mut Frame) -> &mut [u8] {
        let room = self.room(frame);
        let index = self.set_len(frame, room);
        // SAFETY: as in `set_len`.
        let mut data = unsafe { self.umem.data_mut(&mut self.descs[index]) };
        let contents = data.contents_mut();
        let (start, len) = (contents.as_mut_ptr(), contents.len());
        // SAFETY: `start` and `len` were taken from the unique slice just made. xsk-rs ties that slice to its short-lived
        // `DataMut`; the bytes live as long as the mapping, which `self.umem` keeps, and the borrow of `self` in the
        // result excludes every other reference into the chunk, also by `hand_over`, for as long as the result lives.
        unsafe { core::slice::from_raw_parts_mut(start, len) }
    }

    /// Bytes from the packet's start to the end of its chunk.
    #[inline]
    pub(super) fn room(&self, frame: &Frame) -> usize {
        let start = self.descs[self.chunks.ours(frame)].addr();
        self.frame_size - start % self.frame_size
    }

    /// The least [`Frames::room`] of any frame, see [`Frames::take_over`].
    pub(super) fn max_packet_len(&self) -> usize {
        self.frame_size - to_usize(XDP_HEADROOM)
    }
}
