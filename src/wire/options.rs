//! TCP options (RFC 9293 3.2, RFC 7323, RFC 2018): the four that matter here, read tolerantly and written aligned.
//!
//! Unknown options are skipped by their length; an option that cannot be (length 0 or 1, or past the end) ends the walk,
//! and what was read before it counts. So no list of options makes a segment illegal by itself.

use super::{be16, be32};

/// Options of a segment, received or to be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Maximum segment size in bytes (RFC 9293 3.7.1). Only in a SYN.
    pub mss: Option<u16>,
    /// Shift count of the window (RFC 7323 2), as sent; whoever uses it caps it at [`MAX_WINDOW_SHIFT`]. Only in a SYN.
    pub window_scale: Option<u8>,
    /// SACK permitted (RFC 2018 2). Only in a SYN.
    pub sack_permitted: bool,
    /// TSval and TSecr (RFC 7323 3).
    pub timestamps: Option<(u32, u32)>,
}

/// Largest window shift (RFC 7323 2.3).
pub const MAX_WINDOW_SHIFT: u8 = 14;

/// Most bytes that options take in a TCP header.
pub const MAX_OPTIONS_LEN: usize = 40;

const END: u8 = 0;
const NOP: u8 = 1;
const MSS: u8 = 2;
const WINDOW_SCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;
const TIMESTAMPS: u8 = 8;

impl Options {
    /// Reads the option bytes of a TCP header. A repeated option counts as its last occurrence.
    pub fn parse(mut bytes: &[u8]) -> Self {
        let mut options = Self::default();
        // A NOP is one byte, everything else at least two: the walk is bounded by the 40 bytes that there can be.
        while let [kind, rest @ ..] = bytes {
            match *kind {
                END => break,
                NOP => bytes = rest,
                kind => {
                    let Some(len) = rest.first().map(|len| usize::from(*len)).filter(|len| *len >= 2) else { break };
                    let Some(option) = bytes.get(..len) else { break };
                    options.take(kind, option);
                    bytes = &bytes[len..];
                }
            }
        }
        options
    }

    /// Takes over one option if it is known and of the right length.
    fn take(&mut self, kind: u8, option: &[u8]) {
        match (kind, option.len()) {
            (MSS, 4) => self.mss = be16(option, 2),
            (WINDOW_SCALE, 3) => self.window_scale = Some(option[2]),
            (SACK_PERMITTED, 2) => self.sack_permitted = true,
            (TIMESTAMPS, 10) => self.timestamps = be32(option, 2).zip(be32(option, 6)),
            _ => {}
        }
    }

    /// Writes the options into `out`, padded to whole words, and returns the length in bytes: a multiple of 4, at most 24.
    ///
    /// # Panics
    ///
    /// If `out` is shorter than [`Options::written_len`].
    pub fn write(&self, out: &mut [u8]) -> usize {
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            out[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        if let Some(mss) = self.mss {
            let [hi, lo] = mss.to_be_bytes();
            put(&[MSS, 4, hi, lo]);
        }
        match (self.sack_permitted, self.timestamps.is_some()) {
            (true, true) => put(&[SACK_PERMITTED, 2]),
            (true, false) => put(&[NOP, NOP, SACK_PERMITTED, 2]),
            (false, true) => put(&[NOP, NOP]),
            (false, false) => {}
        }
        if let Some((val, ecr)) = self.timestamps {
            put(&[TIMESTAMPS, 10]);
            put(&val.to_be_bytes());
            put(&ecr.to_be_bytes());
        }
        if let Some(shift) = self.window_scale {
            put(&[NOP, WINDOW_SCALE, 3, shift]);
        }
        at
    }

    /// How many bytes [`Options::write`] writes.
    pub fn written_len(&self) -> usize {
        let mss = if self.mss.is_some() { 4 } else { 0 };
        let sack_and_timestamps = match (self.sack_permitted, self.timestamps.is_some()) {
            (_, true) => 12,
            (true, false) => 4,
            (false, false) => 0,
        };
        let scale = if self.window_scale.is_some() { 4 } else { 0 };
        mss + sack_and_timestamps + scale
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_syn_of_a_linux_host_is_understood() {
        let bytes = [2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 9, 0, 0, 0, 0, 1, 3, 3, 7];
        let options = Options::parse(&bytes);
        assert_eq!(
            options,
            Options { mss: Some(1460), window_scale: Some(7), sack_permitted: true, timestamps: Some((9, 0)) }
        );
        let mut out = [0; MAX_OPTIONS_LEN];
        assert_eq!(options.write(&mut out), 20);
        assert_eq!(out[..20], bytes);
    }

    #[test]
    fn unknown_options_are_stepped_over() {
        let options = Options::parse(&[254, 5, 1, 2, 3, 1, 1, 2, 4, 2, 0, 0, 2, 4, 9, 9]);
        assert_eq!(options, Options { mss: Some(512), ..Options::default() });
    }

    #[test]
    fn a_malformed_option_ends_the_walk_and_keeps_what_was_read() {
        for bad in [&[2_u8, 4, 2, 0, 8, 0][..], &[2, 4, 2, 0, 8, 1, 0], &[2, 4, 2, 0, 8, 10, 1], &[2, 4, 2, 0, 8]] {
            assert_eq!(Options::parse(bad), Options { mss: Some(512), ..Options::default() }, "{bad:?}");
        }
    }

    #[test]
    fn a_known_option_of_a_wrong_length_is_ignored() {
        assert_eq!(Options::parse(&[2, 3, 5, 3, 4, 1, 1, 4, 3, 0, 8, 9, 0, 0, 0, 0, 0, 0, 0]), Options::default());
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..=MAX_OPTIONS_LEN)) {
            let _ = Options::parse(&bytes);
        }

        #[test]
        fn what_is_written_is_read_back(
            mss in any::<Option<u16>>(), window_scale in any::<Option<u8>>(), sack_permitted: bool,
            timestamps in any::<Option<(u32, u32)>>(),
        ) {
            let options = Options { mss, window_scale, sack_permitted, timestamps };
            let mut out = [0xaa; MAX_OPTIONS_LEN];
            let len = options.write(&mut out);
            prop_assert_eq!(len, options.written_len());
            prop_assert_eq!(len % 4, 0);
            prop_assert_eq!(Options::parse(&out[..len]), options);
        }
    }
}
