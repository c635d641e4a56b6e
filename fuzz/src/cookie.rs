//! The steering program's SYN cookies against the engine's: bpf/cookie.h, compiled for the host, and `tcp::cookie`.
//!
//! What steering answers, a worker would have opened a connection for, and would have answered with the same bytes; every plain
//! SYN is answered. A checksum that steering calls wrong, the engine calls wrong.

use handfast::tcp::Env;
use handfast::tcp::config::TcpConfig;
use handfast::tcp::cookie::{Key, Keys, syn_ack};
use handfast::time::Tick;
use handfast::verdict::DropReason;
use handfast::wire::parse::{PartialChecksums, TCP_LEN, parse};
use handfast::wire::reply::{Addressing, write};
use handfast::wire::segment::{Control, Segment};

/// `struct steer_cookies` in bpf/contract.h.
#[repr(C)]
struct Settings {
    key: [u64; 2],
    tick: u32,
    timestamp: u32,
    tick_ms: u32,
    window: u16,
    mss_v4: u16,
    mss_v6: u16,
    shift: u16,
    flags: u32,
}

const TIMESTAMPS: u32 = 1;
const WINDOW_SCALE: u32 = 2;
const SACK_PERMITTED: u32 = 4;
const ODD_PERIOD: u32 = 8;
const PARTIAL_CHECKSUMS: u32 = 16;

// SAFETY: the signatures are those in steering/glue.c.
unsafe extern "C" {
    fn handfast_fuzz_answer(frame: *const u8, bytes: usize, how: *const Settings, tick: u32, out: *mut u8) -> i32;
    fn handfast_fuzz_answer_usual(frame: *const u8, bytes: usize, how: *const Settings, tick: u32, out: *mut u8)
    -> i32;
    #[cfg(test)]
    fn handfast_fuzz_cookie_number(
        key: *const u64,
        peer: *const u8,
        own: *const u8,
        peer_port: u16,
        own_port: u16,
        peer_isn: u32,
        flags: u8,
    ) -> u32;
}

/// What steering makes of a frame.
#[derive(Debug, PartialEq, Eq)]
enum Made {
    LeftToTheWorker,
    BadChecksum,
    Answer(Vec<u8>),
}

const KEY: [u8; 16] = *b"fedcba9876543210";
/// Ticks of 4 ms: where the clock is known, and where it stands; it wraps in between.
const TICK: u32 = 0xffff_fff0;
const NOW_TICK: u32 = 1_000_000;
const TICK_MS: u32 = 4;
const OFFSET: u32 = 0xfff0_0000;

/// Checks what becomes of a frame, under settings that depend on its length.
pub fn check(frame: &[u8]) {
    let bit = |i: usize| frame.len() >> i & 1 == 1;
    let config = TcpConfig {
        timestamps: !bit(0),
        window_scaling: !bit(1),
        sack_permitted: !bit(2),
        window_bytes: if bit(3) { 1_000 } else { 1 << 20 },
        mss_v4: 1_400,
        mss_v6: 1_380,
        ..TcpConfig::default()
    };
    let keys = Keys { current: Key(KEY), previous: None, parity: bit(4) };
    let partial = if bit(5) { PartialChecksums::Refuse } else { PartialChecksums::Accept };
    let made = made_of(frame, &settings(&config, &keys, partial));
    match (parse(frame, partial), made) {
        (Ok(segment), made) if is_plain(&segment, frame) => {
            assert_eq!(made, Made::Answer(of_a_worker(&segment, &keys, &config)), "{segment:?}");
        }
        (Ok(_), made) => assert_eq!(made, Made::LeftToTheWorker, "the worker would not answer this with a cookie"),
        (Err(reason), Made::BadChecksum) => assert!(
            matches!(reason, DropReason::BadIpv4Checksum | DropReason::BadTcpChecksum),
            "steering sees a wrong checksum where the engine sees {reason:?}"
        ),
        (Err(reason), made) => assert_eq!(made, Made::LeftToTheWorker, "the engine drops it as {reason:?}"),
    }
}

fn settings(config: &TcpConfig, keys: &Keys, partial: PartialChecksums) -> Settings {
    let [low, high] = [0, 8].map(|at| u64::from_le_bytes(keys.current.0[at..at + 8].try_into().expect("eight bytes")));
    let flags = [
        (config.timestamps, TIMESTAMPS),
        (config.window_scaling, WINDOW_SCALE),
        (config.sack_permitted, SACK_PERMITTED),
        (keys.parity, ODD_PERIOD),
        (partial == PartialChecksums::Accept, PARTIAL_CHECKSUMS),
    ];
    Settings {
        key: [low, high],
        tick: TICK,
        timestamp: OFFSET,
        tick_ms: TICK_MS << 20,
        window: u16::try_from(config.window_bytes.min(65_535)).expect("within 16 bits"),
        mss_v4: config.mss_v4,
        mss_v6: config.mss_v6,
        // 1 << 20 bytes shifted by 5 are the first below 65,536.
        shift: if config.window_bytes == 1 << 20 { 5 } else { 0 },
        flags: flags.into_iter().filter(|(on, _)| *on).map(|(_, flag)| flag).sum(),
    }
}

fn made_of(frame: &[u8], settings: &Settings) -> Made {
    let answer = |short: bool| {
        let mut out = vec![0x5a; frame.len() + 128];
        let (at, to) = (frame.as_ptr(), out.as_mut_ptr());
        let way = if short { handfast_fuzz_answer_usual } else { handfast_fuzz_answer };
        // SAFETY: the frame is as long as is said, the layout of the settings is the one in bpf/contract.h, and there is room.
        let made = unsafe { way(at, frame.len(), &raw const *settings, NOW_TICK, to) };
        match made {
            0 => Made::LeftToTheWorker,
            1 => Made::BadChecksum,
            len => {
                out.truncate(usize::try_from(len).expect("a length"));
                Made::Answer(out)
            }
        }
    };
    let made = answer(false);
    // The short way makes the same of a frame or nothing, and it makes something of what a flood is made of.
    let short = answer(true);
    assert!(short == made || short == Made::LeftToTheWorker, "{short:?} is not {made:?}");
    made
}

/// A SYN that opens a connection, without payload, right behind a plain IP header.
fn is_plain(segment: &Segment, frame: &[u8]) -> bool {
    let ip_at = 14 + segment.tags.len_bytes();
    let ip_len = if segment.tuple.is_v4() { 20 } else { 40 };
    let header_len = usize::from(frame.get(ip_at + ip_len + 12).map_or(0, |byte| byte >> 4)) * 4;
    let behind_plain_headers = header_len >= TCP_LEN && usize::from(segment.payload_at) == ip_at + ip_len + header_len;
    segment.control.0 & 0x3f == Control::SYN.0
        && segment.payload_len == 0
        && behind_plain_headers
        && has_plain_ip(frame, ip_at)
}

/// No IPv4 options and no IPv6 extension headers.
fn has_plain_ip(frame: &[u8], ip_at: usize) -> bool {
    match frame[ip_at] >> 4 {
        4 => frame[ip_at] == 0x45,
        _ => frame[ip_at + 6] == 6,
    }
}

fn of_a_worker(segment: &Segment, keys: &Keys, config: &TcpConfig) -> Vec<u8> {
    let now = Tick(NOW_TICK.wrapping_sub(TICK) * TICK_MS);
    let env = Env { config, now, tsval: now.0.wrapping_add(OFFSET) };
    let mut answer = vec![0; 128];
    let len = write(&mut answer, &Addressing::answering(segment), &syn_ack(segment, keys, env), |_| {});
    answer.truncate(len);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{IpAddr, Ipv6Addr};

    /// The table that every implementation of the cookie is held against.
    const TABLE: &str = include_str!("../../tests/cookie/vectors.txt");

    fn bytes_of(text: &str) -> [u8; 16] {
        match text.parse().unwrap() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            IpAddr::V6(v6) => Ipv6Addr::octets(&v6),
        }
    }

    #[test]
    fn the_numbers_are_those_of_the_table() {
        let lines = TABLE.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
        let mut checked = 0;
        for line in lines {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [key, peer, own, peer_port, own_port, peer_isn, _, _, _, _, isn] = fields[..] else { panic!("{line}") };
            let word = |at: usize| u64::from_str_radix(&key[at..at + 16], 16).unwrap().swap_bytes();
            let key = [word(0), word(16)];
            let (peer, own) = (bytes_of(peer), bytes_of(own));
            let ports = (peer_port.parse().unwrap(), own_port.parse().unwrap());
            let hex = |text: &str| u32::from_str_radix(text, 16).unwrap();
            let isn = hex(isn);
            // The flags are mixed with the upper eight bits.
            let [high, _, _, low] = isn.to_be_bytes();
            // SAFETY: the key has two words and the addresses have 16 bytes each.
            let number = unsafe {
                handfast_fuzz_cookie_number(
                    key.as_ptr(),
                    peer.as_ptr(),
                    own.as_ptr(),
                    ports.0,
                    ports.1,
                    hex(peer_isn),
                    low ^ high,
                )
            };
            assert_eq!(number, isn, "{line}");
            checked += 1;
        }
        assert!(checked > 50, "{checked} lines");
    }
}
