//! The Internet checksum (RFC 1071): a ones' complement sum that does not care about the order of the words.
//!
//! The sum is taken in native byte order over eight bytes at a time and turned into network order once, at the end, which
//! RFC 1071 2(B) allows.

use super::ip::PROTOCOL_TCP;
use super::tuple::FourTuple;

/// A running sum: words in native byte order, carries not yet folded in.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum(u64);

impl Sum {
    /// The sum of three words given in host order, made where this is compiled.
    pub const fn of_words(words: [u16; 3]) -> Self {
        let [a, b, c] = words;
        Self(a.to_be() as u64 + b.to_be() as u64 + c.to_be() as u64)
    }

    /// Adds bytes that start at an even offset of the summed data. An odd last byte is padded with zero.
    #[must_use]
    pub fn bytes(self, bytes: &[u8]) -> Sum {
        let (words, rest) = bytes.as_chunks::<8>();
        let sum = words.iter().fold(self.0, |sum, word| add(sum, u64::from_ne_bytes(*word)));
        Sum(sum).short(rest)
    }

    /// Adds fewer than eight bytes: a header ends in four, a payload anywhere.
    #[inline(always)]
    fn short(self, bytes: &[u8]) -> Sum {
        let (mut sum, mut rest) = (self.0, bytes);
        if let Some((word, after)) = rest.split_first_chunk::<4>() {
            (sum, rest) = (add(sum, u64::from(u32::from_ne_bytes(*word))), after);
        }
        if let Some((word, after)) = rest.split_first_chunk::<2>() {
            (sum, rest) = (add(sum, u64::from(u16::from_ne_bytes(*word))), after);
        }
        if let [last] = rest {
            sum = add(sum, u64::from(u16::from_ne_bytes([*last, 0])));
        }
        Sum(sum)
    }

    /// Adds bytes whose number is known where this is compiled, as those of a header.
    #[must_use]
    #[inline(always)]
    pub fn array<const N: usize>(self, bytes: &[u8; N]) -> Sum {
        self.bytes(bytes)
    }

    /// Adds one 16-bit word given in host order.
    #[must_use]
    pub fn word(self, word: u16) -> Sum {
        Sum(add(self.0, u64::from(word.to_be())))
    }

    /// Adds one 32-bit word given in host order.
    #[must_use]
    pub fn double_word(self, word: u32) -> Sum {
        Sum(add(self.0, u64::from(word.to_be())))
    }

    /// Adds what another sum holds.
    #[must_use]
    pub fn sum(self, other: Sum) -> Sum {
        Sum(add(self.0, other.0))
    }

    /// The folded sum in host order, not complemented.
    pub fn fold(self) -> u16 {
        // Added to itself with its halves exchanged, a number has in its upper half the sum of both, the carry gone round.
        let half = (self.0.wrapping_add(self.0.rotate_left(32)) >> 32) as u32;
        let quarter = (half.wrapping_add(half.rotate_left(16)) >> 16) as u16;
        u16::from_be(quarter)
    }

    /// The value for a checksum field.
    pub fn checksum(self) -> u16 {
        !self.fold()
    }
}

/// Ones' complement addition of 64-bit words: the carry goes round.
#[inline(always)]
fn add(a: u64, b: u64) -> u64 {
    let (sum, carry) = a.overflowing_add(b);
    sum + u64::from(carry)
}

/// Sum of the pseudo-header (RFC 9293 3.1, RFC 8200 8.1) of a TCP segment of `tcp_len` bytes, header included.
///
/// Direction does not matter: the sum of both addresses is the same either way.
pub fn pseudo_header(tuple: &FourTuple, tcp_len: u16) -> Sum {
    pseudo_header_over(addresses(tuple), tcp_len)
}

/// [`pseudo_header`] where the sum of the addresses is known.
#[inline(always)]
pub fn pseudo_header_over(addresses: Sum, tcp_len: u16) -> Sum {
    addresses.word(u16::from(PROTOCOL_TCP)).word(tcp_len)
}

/// Sum of both addresses. Of an IPv4 address all sixteen bytes are added: what precedes the four adds up to 0xffff, which is
/// zero in ones' complement.
pub fn addresses(tuple: &FourTuple) -> Sum {
    Sum::default().array(&tuple.local_addr.0).array(&tuple.remote_addr.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The checksum as RFC 1071 1 defines it: 16-bit words in network order, one after another.
    fn by_definition(bytes: &[u8]) -> u16 {
        let mut sum = 0_u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !u16::try_from(sum).unwrap()
    }

    #[test]
    fn the_example_of_rfc_1071_comes_out() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::default().bytes(&bytes).fold(), 0xddf2);
    }

    proptest! {
        #[test]
        fn any_bytes_sum_as_defined(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(Sum::default().bytes(&bytes).checksum(), by_definition(&bytes));
        }

        #[test]
        fn a_sum_may_be_taken_in_even_pieces(bytes in proptest::collection::vec(any::<u8>(), 40..80), cut in 0_usize..20) {
            let (head, tail) = bytes.split_at(cut * 2);
            prop_assert_eq!(Sum::default().bytes(head).bytes(tail).checksum(), by_definition(&bytes));
        }
    }
}
