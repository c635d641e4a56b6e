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

/// Words that the options written here take at most.
const MAX_WRITTEN_WORDS: usize = 5;

const END: u8 = 0;
const NOP: u8 = 1;
const MSS: u8 = 2;
const WINDOW_SCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;
const TIMESTAMPS: u8 = 8;

impl Options {
    /// Reads the option bytes of a TCP header. A repeated option counts as its last occurrence.
    #[inline]
    pub fn parse(mut bytes: &[u8]) -> Self {
        let mut options = Self::default();
        // Of the segments behind a SYN nearly all have none, or the timestamps in the layout of RFC 7323 appendix A.
        if let [NOP, NOP, TIMESTAMPS, 10, times @ ..] = bytes
            && times.len() == 8
        {
            options.timestamps = be32(times, 0).zip(be32(times, 4));
            return options;
        }
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

    /// The options as 32-bit words in host order, aligned as hosts usually do; the second value says how many words there are.
    #[inline]
    pub fn words(&self) -> ([u32; MAX_WRITTEN_WORDS], usize) {
        let mut words = [0; MAX_WRITTEN_WORDS];
        let mut count = 0;
        let mut put = |word: u32| {
            words[count] = word;
            count += 1;
        };
        if let Some(mss) = self.mss {
            put(word([MSS, 4, 0, 0]) | u32::from(mss));
        }
        match (self.sack_permitted, self.timestamps.is_some()) {
            (true, true) => put(word([SACK_PERMITTED, 2, TIMESTAMPS, 10])),
            (true, false) => put(word([NOP, NOP, SACK_PERMITTED, 2])),
            (false, true) => put(word([NOP, NOP, TIMESTAMPS, 10])),
            (false, false) => {}
        }
        if let Some((val, ecr)) = self.timestamps {
            put(val);
            put(ecr);
        }
        if let Some(shift) = self.window_scale {
            put(word([NOP, WINDOW_SCALE, 3, shift]));
        }
        (words, count)
    }

    /// How many bytes [`Options::write`] writes.
    pub fn written_len(&self) -> usize {
        self.words().1 * 4
    }

    /// Writes the options to `out` and returns how many bytes they take, a multiple of four.
    ///
    /// # Panics
    ///
    /// If `out` is shorter than that.
    pub fn write(&self, out: &mut [u8]) -> usize {
        let (words, count) = self.words();
        let (places, _) = out.as_chunks_mut::<4>();
        for (place, word) in places[..count].iter_mut().zip(words) {
            *place = word.to_be_bytes();
        }
        count * 4
    }
}

/// Four bytes of a header as a word.
const fn word(bytes: [u8; 4]) -> u32 {
    u32::from_be_bytes(bytes)
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
