//! Two servers behind one address that share a secret: one answers the SYN, the other gets the acknowledgment. They have a lab each, with
//! the same addresses, and the test is the switch between them: it takes down what the one says and goes on with the other.

use std::net::SocketAddr;

use handfast::observe::report::Stats;

use crate::wire::{ACK, Capture, Crafted, FROM_SERVER, Hand, PSH, RST, SYN};
use crate::world::{Serve, V4, World, server};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n";

/// What the client offers: segments of 1,300 bytes, SACK, timestamps, and windows in units of 128 bytes.
const OFFERED: [u8; 20] = [2, 4, 5, 0x14, 4, 2, 8, 10, 0, 1, 0, 0, 0, 0, 0, 0, 1, 3, 3, 7];
/// Its timestamps in the SYN and behind it.
const OUR_TIMES: [u32; 2] = [0x0001_0000, 0x0001_0001];
/// Its window behind the SYN: room for two segments, and not for three.
const WINDOW: u16 = 22;
const WINDOW_BYTES: u64 = 22 << 7;
/// A segment's text at most, beside the timestamps: 1,300 bytes is a size that a cookie can name over IPv4; over IPv6 1,220 is the next.
fn text_bytes(address: &str) -> u64 {
    if address == V4 { 1_300 - 12 } else { 1_220 - 12 }
}

/// A segment from an address that no kernel of the labs owns.
fn segment(address: &str, port: u16, flags: u8) -> Crafted {
    let source = if address == V4 { "198.18.9.9" } else { "2001:2::99" };
    Crafted::new(SocketAddr::new(source.parse().unwrap(), port), server(address, 80), flags)
}

/// What a SYN-ACK says: its number, and its timestamp.
struct SynAck {
    iss: u32,
    tsval: u32,
}

/// Sends a SYN to a server and takes down its answer, which has to offer everything.
fn syn_ack(world: &World, address: &str, port: u16) -> SynAck {
    let capture = Capture::start(world);
    Hand::new(world).send(&Crafted { options: OFFERED.to_vec(), ..segment(address, port, SYN) }.bytes());
    let fields = [
        "tcp.seq_raw",
        "tcp.ack_raw",
        "tcp.options.timestamp.tsval",
        "tcp.options.timestamp.tsecr",
        "tcp.options.mss_val",
        "tcp.options.wscale.shift",
        "tcp.options.sack_perm",
    ];
    let frames = capture.stop().frames(&format!("{FROM_SERVER} && tcp.flags.syn == 1"), &fields);
    let [frame] = &frames[..] else { panic!("one SYN-ACK: {frames:?}") };
    assert_eq!((&frame[1][..], &frame[3][..]), ("1001", &OUR_TIMES[0].to_string()[..]), "{frame:?}");
    assert!(frame[4..].iter().all(|option| !option.is_empty()), "{frame:?}");
    SynAck { iss: frame[0].parse().unwrap(), tsval: frame[2].parse().unwrap() }
}

/// The acknowledgment of a SYN-ACK, with a request.
fn acknowledgment(address: &str, port: u16, SynAck { iss, tsval }: &SynAck) -> Crafted {
    let options = [&[1, 1, 8, 10][..], &OUR_TIMES[1].to_be_bytes(), &tsval.to_be_bytes()].concat();
    Crafted {
        seq: 1001,
        ack: iss.wrapping_add(1),
        window: WINDOW,
        options,
        payload: REQUEST.to_vec(),
        ..segment(address, port, ACK | PSH)
    }
}

fn engine(serve: &Serve<'_>, names: [&str; 3]) -> [u64; 3] {
    let stats = serve.stats();
    names.map(|name| stats.total.engine.get(name).unwrap())
}

/// Goes on with the other server, and checks that what it sends is by what the client offered to the first. Ends the connection.
fn goes_on(world: &World, serve: &Serve<'_>, address: &str, port: u16, said: &SynAck) {
    let capture = Capture::start(world);
    let mut hand = Hand::new(world);
    let acknowledgment = acknowledgment(address, port, said);
    hand.send(&acknowledgment.bytes());
    serve.stats_when("an open connection", |stats| stats.total.states.get("ESTABLISHED") == Some(1));
    let fields =
        ["tcp.seq_raw", "tcp.len", "tcp.ack_raw", "tcp.options.timestamp.tsecr", "tcp.options.timestamp.tsval"];
    let frames = capture.stop().frames(&format!("{FROM_SERVER} && tcp.len > 0"), &fields);
    assert!(frames.len() >= 2, "{address}: {frames:?}");
    let acked = 1001 + u32::try_from(REQUEST.len()).unwrap();
    for frame in &frames {
        let number = |at: usize| frame[at].parse::<u32>().unwrap();
        let at = u64::from(number(0).wrapping_sub(said.iss.wrapping_add(1)));
        let len = u64::from(number(1));
        let most = text_bytes(address);
        assert!(len <= most && at + len <= WINDOW_BYTES, "the size or the window is another: {frame:?}");
        assert!(len == most || at + len > 2 * most, "shorter than need be: {frame:?}");
        assert_eq!((number(2), number(3)), (acked, OUR_TIMES[1]), "{frame:?}");
        // The two clocks are that of the day, up to a second apart.
        assert!(number(4).wrapping_sub(said.tsval).wrapping_add(1_000) < 21_000, "{frame:?}");
    }
    hand.send(&Crafted { seq: acked, payload: Vec::new(), flags: RST | ACK, ..acknowledgment }.bytes());
    serve.settled();
}

#[test]
fn servers_that_share_a_secret_complete_each_others_handshakes() {
    let Some(first) = World::up("servers_that_share_a_secret_complete_each_others_handshakes") else { return };
    let second = first.beside();
    let start = |world: &World, secret: u8, tier: &str| {
        let body = world.file("body.bin", &[b'x'; 100_000]);
        let secret = world.file("secret", &[secret; 32]);
        format!("--listen 80=http:{body} --syn-cookies always --cookie-secret {secret} --syn-xdp {tier}")
    };
    // Who answers the SYN does not matter: worker or steering program.
    for (tier, port) in [("never", 20_000), ("always", 21_000)] {
        let one = first.serve(&start(&first, 7, tier));
        let other = second.serve(&start(&second, 7, tier));
        for (address, port) in [(V4, port), (crate::world::V6, port + 1)] {
            let said = syn_ack(&first, address, port);
            goes_on(&second, &other, address, port, &said);
        }
        assert_eq!(engine(&other, ["cookies_accepted", "cookies_refused", "syns_received"]), [2, 0, 0], "{tier}");
        assert_eq!(engine(&one, ["cookies_accepted", "cookies_refused", "passive_opens"]), [0, 0, 0], "{tier}");
        let answered =
            |stats: &Stats| stats.steering.get("tx_cookie").unwrap() + stats.total.engine.get("cookies_sent").unwrap();
        assert_eq!((answered(&one.stats()), answered(&other.stats())), (2, 0), "{tier}");
        other.end();
        // One with another secret knows nothing of it.
        let stranger = second.serve(&start(&second, 8, tier));
        let said = syn_ack(&first, V4, port + 2);
        Hand::new(&second).send(&acknowledgment(V4, port + 2, &said).bytes());
        stranger.stats_when("a refused cookie", |stats| stats.total.engine.get("cookies_refused") == Some(1));
        assert_eq!(engine(&stranger, ["cookies_accepted", "passive_opens", "resets_sent"]), [0, 0, 1], "{tier}");
        stranger.end();
        one.end();
    }
}
