//! What the fuzzers start from, made from frames of Linux 6.18 as they came over a veth pair (`ethtool -K ... tx off` but for one), and
//! from conversations written down as steps.
//!
//! The seeds are committed in fuzz/corpus/TARGET/NAME. To write them after a change here:
//! `HANDFAST_WRITE_SEEDS=1 cargo test --manifest-path fuzz/Cargo.toml --lib`. What else lies in those folders are inputs that
//! once broke something; they stay.

use std::fs;
use std::path::{Path, PathBuf};

use crate::engine::step::{FromPeer, Step};
use crate::repair;

/// curl's SYN over IPv4.
const SYN_V4: &str = "020000000001 020000000002 0800 4500003ca0bc400040060dd8c6120002c6120001 a2dc0050a08d266200000000\
    a002faf0853f0000 020405b40402080a65a26be6000000000103030a";
/// Its request.
const REQUEST_V4: &str = "020000000001 020000000002 0800 4500007ea0be400040060d94c6120002c6120001 a2dc0050a08d26632d1ccc58\
    8018003f4a5b0000 0101080a65a26be6f07d6905 474554202f20485454502f312e310d0a486f73743a203139382e31382e302e310d0a\
    557365722d4167656e743a206375726c2f372e38382e310d0a4163636570743a202a2f2a0d0a0d0a";
/// The acknowledgment of its SYN, by Linux, with the checksum left to hardware (that end had `tx on`).
const SYN_ACK_V4: &str = "020000000002 020000000001 0800 4500003c000040004006ae94c6120001c6120002 0050a2dc2d1ccc57a08d2663\
    a012fe888c560000 020405b40402080af07d690565a26be60103030a";
/// curl's SYN over IPv6.
const SYN_V6: &str = "020000000001 020000000002 86dd 6002d80f0028064020010002000000000000000000000002\
    20010002000000000000000000000001 93420050afa0b6c100000000a002fd20ce500000 020405a00402080a50b6f1eb000000000103030a";

/// Where IP starts in an untagged frame.
const IP_AT: usize = 14;
/// Where the options start in [`SYN_V4`] and [`REQUEST_V4`].
const OPTIONS_AT: usize = 54;
/// Where the payload starts in [`REQUEST_V4`].
const PAYLOAD_AT: usize = 66;

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(core::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn tagged(frame: &[u8], tags: &[u8]) -> Vec<u8> {
    [&frame[..12], tags, &frame[12..]].concat()
}

/// The IPv6 frame with extension headers, the first of type `first`.
fn extended(first: u8, headers: &[u8]) -> Vec<u8> {
    let frame = bytes(SYN_V6);
    let mut out = [&frame[..IP_AT + 40], headers, &frame[IP_AT + 40..]].concat();
    out[IP_AT + 5] += u8::try_from(headers.len()).unwrap();
    out[IP_AT + 6] = first;
    out
}

/// The IPv4 frame with a word of options, its checksum right.
fn with_ipv4_options() -> Vec<u8> {
    let frame = bytes(SYN_V4);
    let mut out = [&frame[..IP_AT + 20], &[1, 1, 1, 0], &frame[IP_AT + 20..]].concat();
    out[IP_AT] += 1;
    out[IP_AT + 3] += 4;
    repair::with_checksums(&out).unwrap()[0].clone()
}

/// A destination options header of 8 bytes in front of `next`.
fn destination_options(next: u8) -> [u8; 8] {
    [next, 0, 1, 4, 0, 0, 0, 0]
}

/// Hop-by-hop options in the second place, where RFC 8200 4.1 forbids them.
fn second_hop_by_hop() -> Vec<u8> {
    [destination_options(0), destination_options(6)].concat()
}

/// Eight headers, the most that are stepped over, in front of TCP.
fn eight_headers() -> Vec<u8> {
    [destination_options(60).repeat(7), destination_options(6).to_vec()].concat()
}

fn frames() -> Vec<(&'static str, Vec<u8>)> {
    let two_tags = [0x88, 0xa8, 0, 7, 0x81, 0, 0xe0, 9];
    vec![
        ("syn-of-linux-over-ipv4", bytes(SYN_V4)),
        ("syn-of-linux-over-ipv6", bytes(SYN_V6)),
        ("syn-ack-of-linux-with-a-partial-checksum", bytes(SYN_ACK_V4)),
        ("request-of-curl", bytes(REQUEST_V4)),
        ("syn-with-one-tag", tagged(&bytes(SYN_V4), &two_tags[4..])),
        ("syn-with-two-tags-over-ipv6", tagged(&bytes(SYN_V6), &two_tags)),
        ("syn-with-two-service-tags", tagged(&bytes(SYN_V4), &two_tags[..4].repeat(2))),
        ("syn-with-a-service-tag-inside", tagged(&bytes(SYN_V4), &[&two_tags[4..], &two_tags[..4]].concat())),
        ("syn-with-ipv4-options", with_ipv4_options()),
        ("syn-behind-hop-by-hop-options", extended(0, &destination_options(6))),
        ("syn-behind-a-routing-header", extended(43, &[6, 0, 4, 0, 0, 0, 0, 0])),
        ("syn-behind-eight-extension-headers", extended(60, &eight_headers())),
        ("syn-behind-hop-by-hop-options-in-the-second-place", extended(60, &second_hop_by_hop())),
        ("syn-in-an-atomic-fragment", extended(44, &[6, 0, 0, 0, 0, 0, 0, 1])),
    ]
}

fn options() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("syn-of-linux", bytes(SYN_V4)[OPTIONS_AT..].to_vec()),
        ("timestamps", bytes(REQUEST_V4)[OPTIONS_AT..PAYLOAD_AT].to_vec()),
        ("unknown-between-known", vec![254, 5, 1, 2, 3, 1, 1, 2, 4, 2, 0, 3, 3, 7, 4, 2]),
        ("length-past-the-end", vec![2, 4, 5, 180, 8, 10, 0, 0]),
    ]
}

fn http() -> Vec<(&'static str, Vec<u8>)> {
    let cut = |text: &str| [&[6, 16, 99, 30], text.as_bytes()].concat();
    let request = bytes(REQUEST_V4)[PAYLOAD_AT..].to_vec();
    vec![
        ("request-of-curl", [&[6, 16, 99, 30][..], &request].concat()),
        (
            "three-pipelined",
            cut("GET / HTTP/1.1\r\n\r\nGET /a HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\nConnection: foo, close\r\n\r\n"),
        ),
        (
            "a-body-between",
            cut(
                "POST / HTTP/1.1\r\nContent-Length: 12\r\n\r\n\r\nGET / HTTP\r\nGET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
            ),
        ),
        ("a-head", cut("\r\nHEAD / HTTP/1.1\nHost: a\n\nGET / HTTP/1.1\r\n\r\n")),
        ("chunked", cut("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")),
        ("too-large", cut("PUT / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n")),
    ]
}

/// The SYN of a peer that offers what Linux offers.
const OFFER: u8 = 1 << 3;
/// Payloads, as the engine's peers number them.
const REQUEST: u8 = 1;
const BYTE: u8 = 3;
const MANY_REQUESTS: u8 = 5;
/// Which connection: port 80 answers http, 81 with many segments, 82 discards, 83 closes, 84 is the user's own.
const HTTP: u8 = 0;
const LONG: u8 = 1 << 2;
const DISCARD: u8 = 2 << 2;
const CLOSE: u8 = 3 << 2;
const OURS: u8 = 4 << 2;
const V6: u8 = 0x20;

fn says(who: u8, control: u8, with: u8) -> Step {
    Step::Segment(FromPeer { who, control, seq: 0, ack: 0, with, window: 64_000 }, 0)
}

fn acknowledges(who: u8, ack: i8, window: u16) -> Step {
    Step::Segment(FromPeer { who, control: ACK, seq: 0, ack, with: 0, window }, 0)
}

/// A segment that starts `seq` beside what is expected.
fn beside(who: u8, control: u8, seq: i8, with: u8) -> Step {
    Step::Segment(FromPeer { who, control, seq, ack: 0, with, window: 64_000 }, 0)
}

fn conversations() -> Vec<(&'static str, Vec<Step>)> {
    vec![
        (
            "a-request-and-the-peer-closes",
            vec![
                says(HTTP, SYN, OFFER),
                says(HTTP, ACK, 0),
                says(HTTP, ACK, REQUEST),
                says(HTTP, ACK, 0),
                says(HTTP, ACK | FIN, 0),
                says(HTTP, ACK, 0),
            ],
        ),
        (
            "a-long-response-through-a-closing-window",
            vec![
                says(LONG, SYN, OFFER),
                says(LONG, ACK, 0),
                says(LONG, ACK, MANY_REQUESTS),
                acknowledges(LONG, FromPeer::ACK_UNA, 64_000),
                acknowledges(LONG, FromPeer::ACK_UNA, 64_000),
                acknowledges(LONG, FromPeer::ACK_UNA, 64_000),
                acknowledges(LONG, 0, 0),
                Step::Wait(5_000),
                acknowledges(LONG, 0, 1_000),
                Step::Wait(100_000),
                says(LONG, ACK | FIN, 0),
            ],
        ),
        (
            "we-close-first-and-a-new-syn-takes-over",
            vec![
                says(CLOSE | V6, SYN, OFFER),
                says(CLOSE | V6, ACK, 0),
                says(CLOSE | V6, ACK, 0),
                says(CLOSE | V6, ACK | FIN, 0),
                Step::Wait(1_000),
                beside(CLOSE | V6, SYN, 40, OFFER),
                says(CLOSE | V6, ACK, 0),
            ],
        ),
        (
            "the-user-opens-closes-and-aborts",
            vec![
                Step::Open(OURS, 2),
                says(OURS, SYN | ACK, OFFER),
                says(OURS, ACK, BYTE),
                Step::Close(0),
                says(OURS, ACK, 0),
                Step::Open(OURS | 1, 0),
                says(OURS | 1, SYN, OFFER),
                says(OURS | 1, SYN | ACK, OFFER),
                Step::Abort(1),
                Step::Open(OURS | 2, 1),
                Step::Wait(70_000),
            ],
        ),
        (
            "a-blind-attacker",
            vec![
                says(DISCARD, SYN, 0),
                says(DISCARD, ACK, 0),
                beside(DISCARD, RST, 3, 0),
                beside(DISCARD, RST, -3, 0),
                beside(DISCARD, SYN, 9, 0),
                beside(DISCARD, ACK, 80, BYTE),
                acknowledges(DISCARD, 50, 1),
                says(HTTP, RST, 0),
                says(HTTP, ACK, 0),
                says(DISCARD, RST, 0),
                says(HTTP, SYN | FIN, 0),
            ],
        ),
        (
            "cookies-of-this-period-and-the-last",
            vec![
                Step::Configure(4),
                says(HTTP, SYN, OFFER),
                says(HTTP, ACK, REQUEST),
                says(HTTP, ACK | FIN, 0),
                says(HTTP, ACK, 0),
                says(DISCARD, SYN, 0),
                Step::Configure(8 | 4),
                says(DISCARD, ACK | FIN, BYTE),
                says(LONG | V6, SYN, OFFER),
                Step::Configure(24 | 4),
                says(LONG | V6, ACK, REQUEST),
            ],
        ),
        (
            "a-reload-and-a-drain",
            vec![
                says(DISCARD, SYN, OFFER),
                says(DISCARD, ACK, BYTE),
                Step::Listen(2),
                Step::Configure(2),
                says(DISCARD, ACK, BYTE),
                says(DISCARD | 1, SYN, OFFER),
                Step::Drain,
                says(HTTP, SYN, OFFER),
                Step::Wait(30_000),
                says(DISCARD, ACK | FIN, 0),
            ],
        ),
    ]
}

fn seeds() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let head = [0, 7, 0, 0];
    let engine = conversations().into_iter().map(|(name, steps)| {
        let steps: Vec<u8> = steps.into_iter().flat_map(Step::bytes).collect();
        ("engine", name, [&head[..], &steps].concat())
    });
    let of = |target: &'static str, named: Vec<(&'static str, Vec<u8>)>| {
        named.into_iter().map(move |(name, bytes)| (target, name, bytes))
    };
    of("frame", frames())
        .chain(of("steering", frames()))
        .chain(of("options", options()))
        .chain(of("http", http()))
        .chain(engine)
        .collect()
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

#[test]
fn the_committed_seeds_are_those_made_here() {
    let write = std::env::var_os("HANDFAST_WRITE_SEEDS").is_some();
    for (target, name, bytes) in seeds() {
        let path = corpus().join(target).join(name);
        if write {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &bytes).unwrap();
        }
        let there = fs::read(&path).unwrap_or_else(|cause| panic!("{}: {cause}; see this file's head", path.display()));
        assert_eq!(there, bytes, "{} is not what is made here; see this file's head", path.display());
    }
}

#[test]
fn every_committed_input_passes_its_target() {
    type Check = fn(&[u8]);
    let targets: [(&str, Check); 5] = [
        ("frame", crate::frame::check),
        ("options", crate::options::check),
        ("engine", crate::engine::check),
        ("http", crate::http::check),
        ("steering", crate::steering::check),
    ];
    for (target, check) in targets {
        let files: Vec<PathBuf> =
            fs::read_dir(corpus().join(target)).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(files.len() >= 4, "{target} has {} seeds", files.len());
        for file in files {
            println!("{}", file.display());
            check(&fs::read(&file).unwrap());
        }
    }
}

#[test]
fn the_frames_are_what_linux_sent() {
    for (name, frame) in frames().iter().take(4) {
        let parsed = handfast::wire::parse::parse(frame, handfast::wire::parse::PartialChecksums::Accept);
        assert!(parsed.is_ok(), "{name}: {parsed:?}");
    }
}

#[test]
fn a_step_reads_as_it_was_written() {
    for (_, steps) in conversations() {
        for step in steps {
            let bytes = step.bytes();
            assert_eq!(arbitrary::Unstructured::new(&bytes).arbitrary::<Step>(), Ok(step));
        }
    }
}
