//! TCP options: any bytes are read without inventing anything, and what is written reads the same.

use handfast::wire::options::{MAX_OPTIONS_LEN, Options};

const NOP: u8 = 1;

/// Checks the bytes as the option field of a header; what exceeds its 40 bytes is left out.
pub fn check(data: &[u8]) {
    let bytes = &data[..data.len().min(MAX_OPTIONS_LEN)];
    let options = Options::parse(bytes);
    nothing_is_invented(&options, bytes);
    let written = write(&options);
    assert_eq!(Options::parse(&written), options, "written and read back");
    assert!(written.len() <= bytes.len().next_multiple_of(4), "written longer than it was read");

    // A field that starts with a NOP says the same, and of a repeated option the last occurrence counts.
    let mut shifted = vec![NOP];
    shifted.extend(bytes);
    assert_eq!(Options::parse(&shifted), options, "behind a NOP");
    let (head, tail) = bytes.split_at(bytes.len() / 2);
    let (first, last) = (Options::parse(head), Options::parse(tail));
    let mut both = write(&first);
    both.extend(tail);
    let joined = Options {
        mss: last.mss.or(first.mss),
        window_scale: last.window_scale.or(first.window_scale),
        sack_permitted: last.sack_permitted || first.sack_permitted,
        timestamps: last.timestamps.or(first.timestamps),
    };
    assert_eq!(Options::parse(&both), joined, "two lists, one behind the other");
}

/// Every option that was read stands in the bytes, in the RFCs' encoding.
fn nothing_is_invented(options: &Options, bytes: &[u8]) {
    let stands = |option: &[u8]| assert!(bytes.windows(option.len()).any(|at| at == option), "{option:?} in {bytes:?}");
    if let Some(mss) = options.mss {
        stands(&[&[2, 4][..], &mss.to_be_bytes()].concat());
    }
    if let Some(shift) = options.window_scale {
        stands(&[3, 3, shift]);
    }
    if options.sack_permitted {
        stands(&[4, 2]);
    }
    if let Some((val, ecr)) = options.timestamps {
        stands(&[&[8, 10][..], &val.to_be_bytes(), &ecr.to_be_bytes()].concat());
    }
}

/// Writes into a field that is full of something else.
fn write(options: &Options) -> Vec<u8> {
    let mut out = vec![0xee; MAX_OPTIONS_LEN];
    let len = options.write(&mut out);
    assert_eq!(len, options.written_len());
    assert!(len.is_multiple_of(4) && len <= 24, "{len} bytes");
    assert!(out[len..].iter().all(|byte| *byte == 0xee), "written beyond its end");
    out.truncate(len);
    out
}
