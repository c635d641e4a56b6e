//! The peers: what a segment of theirs carries beside its numbers.

use handfast::wire::options::Options;
use handfast::wire::segment::Control;

/// What a SYN may offer.
const OFFERS: [Options; 4] = [
    Options { mss: None, window_scale: None, sack_permitted: false, timestamps: None },
    Options { mss: Some(1460), window_scale: Some(7), sack_permitted: true, timestamps: Some((0, 0)) },
    Options { mss: Some(0), window_scale: Some(255), sack_permitted: false, timestamps: None },
    Options { mss: Some(u16::MAX), window_scale: Some(14), sack_permitted: true, timestamps: Some((0, 0)) },
];

/// A request in its shortest form.
pub const REQUEST: &[u8] = b"GET / HTTP/1.1\r\n\r\n";
/// Bits of `with` that choose the payload; the next two choose timestamps and offer.
pub const PAYLOAD_BITS: u8 = 3;
/// How many requests fit a segment.
const PIPELINED: usize = 70;

/// The payload that the lowest bits of `with` choose.
pub fn payload(with: u8) -> Vec<u8> {
    match with & ((1 << PAYLOAD_BITS) - 1) {
        0 => Vec::new(),
        1 => REQUEST.to_vec(),
        2 => b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n".to_vec(),
        3 => b"x".to_vec(),
        4 => vec![b'x'; 1_000],
        5 => REQUEST.repeat(PIPELINED),
        6 => b"HEAD / HTTP/1.1\r\n\r\n".to_vec(),
        _ => b"POST / HTTP/1.1\r\nContent-Length: 1000\r\n\r\n".to_vec(),
    }
}

/// The options: an offer for a SYN, timestamps for the rest if they were offered. Both ends' timestamp clocks show `tick`.
pub fn options(with: u8, control: Control, offered_timestamps: bool, tick: u32) -> Options {
    const OLDER_MS: u32 = 100_000;
    const ROUND_TRIP_MS: u32 = 20;
    let choice = with >> PAYLOAD_BITS & 3;
    if control.has(Control::SYN) {
        let offer = OFFERS[usize::from(choice)];
        return Options { timestamps: offer.timestamps.map(|_| (tick, 0)), ..offer };
    }
    let timestamps = match choice {
        0 => offered_timestamps.then_some((tick, tick.wrapping_sub(ROUND_TRIP_MS))),
        1 => None,
        2 => Some((tick.wrapping_sub(OLDER_MS), tick)),
        // Anything that is far from both clocks.
        _ => Some((tick.wrapping_mul(0x9e37_79b9), tick.wrapping_mul(0x85eb_ca6b))),
    };
    Options { timestamps, ..Options::default() }
}
