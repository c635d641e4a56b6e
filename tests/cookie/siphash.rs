//! SipHash once more, word by word as its authors' paper has it (Aumasson and Bernstein, 2012), so that the table of
//! cookies does not rest on the crate that makes them.

/// The 64 bits for `message` under `key`, with so many rounds a word and at the end: SipHash-2-4 is (2, 4).
pub fn siphash((each, last): (u32, u32), key: &[u8; 16], message: &[u8]) -> u64 {
    let (k0, k1) = (word(&key[..8]), word(&key[8..]));
    let mut v = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    let mut compress = |m: u64| {
        v[3] ^= m;
        (0..each).for_each(|_| round(&mut v));
        v[0] ^= m;
    };
    let whole = message.chunks_exact(8);
    let rest = whole.remainder();
    whole.for_each(|bytes| compress(word(bytes)));
    compress(word(rest) | (message.len() as u64) << 56);
    v[2] ^= 0xff;
    (0..last).for_each(|_| round(&mut v));
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

/// Up to eight bytes, little-endian.
fn word(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

fn round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[2] = v[2].rotate_left(32);
}

#[test]
fn the_hash_is_the_one_of_the_paper() {
    let bytes: Vec<u8> = (0..16).collect();
    let key: [u8; 16] = bytes[..].try_into().unwrap();
    // Appendix A of the paper, and the first of its authors' test vectors.
    assert_eq!(siphash((2, 4), &key, &bytes[..15]), 0xa129_ca61_49be_45e5);
    assert_eq!(siphash((2, 4), &key, &[]), 0x726f_db47_dd0e_0e31);
    // The first vector of 1-3 in the Rust library's tests.
    assert_eq!(siphash((1, 3), &key, &[]), 0xabac_0158_050f_c4dc);
}
