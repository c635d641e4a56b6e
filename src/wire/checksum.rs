//! The Internet checksum (RFC 1071): a ones' complement sum that does not care about the order of the words.
//!
//! The sum is taken in native byte order over eight bytes at a time and turned into network order once, at the end, which
//! RFC 1071 2(B) allows.

use super::tuple::FourTuple;

/// A running sum: words in native byte order, carries not yet folded in.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum(u64);

impl Sum {
    /// Adds bytes that start at an even offset of the summed data. An odd last byte is padded with zero.
    #[must_use]
    pub fn bytes(self, bytes: &[u8]) -> Sum {
        let mut sum = self.0;
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            let mut word = [0; 8];
            word.copy_from_slice(chunk);
            sum = add(sum, u64::from_ne_bytes(word));
        }
        let rest = chunks.remainder();
        let mut word = [0; 8];
        word[..rest.len()].copy_from_slice(rest);
        Sum(add(sum, u64::from_ne_bytes(word)))
    }

    /// Adds one 16-bit word given in host order.
    #[must_use]
    pub fn word(self, word: u16) -> Sum {
        Sum(add(self.0, u64::from(word.to_be())))
    }

    /// The folded sum in host order, not complemented.
    #[expect(clippy::cast_possible_truncation, reason = "the upper bits were folded in")]
    pub fn fold(self) -> u16 {
        let mut sum = self.0;
        sum = (sum >> 32) + (sum & 0xffff_ffff);
        sum = (sum >> 32) + (sum & 0xffff_ffff);
        sum = (sum >> 16) + (sum & 0xffff);
        sum = (sum >> 16) + (sum & 0xffff);
        sum = (sum >> 16) + (sum & 0xffff);
        u16::from_be(sum as u16)
    }

    /// The value for a checksum field.
    pub fn checksum(self) -> u16 {
        !self.fold()
    }
}

/// Ones' complement addition of 64-bit words: the carry goes round.
fn add(a: u64, b: u64) -> u64 {
    let (sum, carry) = a.overflowing_add(b);
    sum + u64::from(carry)
}

/// Sum of the pseudo-header (RFC 9293 3.1, RFC 8200 8.1) of a TCP segment of `tcp_len` bytes, header included.
///
/// Direction does not matter: the sum of both addresses is the same either way.
pub fn pseudo_header(tuple: &FourTuple, tcp_len: u16) -> Sum {
    const PROTOCOL_TCP: u16 = 6;
    let sum = Sum::default().word(PROTOCOL_TCP).word(tcp_len);
    if tuple.is_v4() {
        sum.bytes(&tuple.local_addr.0[12..]).bytes(&tuple.remote_addr.0[12..])
    } else {
        sum.bytes(&tuple.local_addr.0).bytes(&tuple.remote_addr.0)
    }
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
