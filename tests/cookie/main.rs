//! SYN cookies as a pure function (`handfast::tcp::cookie`): the numbers against a table and a second computation, what they
//! bring back against what a connection with state has, and what is refused.
//!
//! What an engine does with them is in tests/scripts, what Linux thinks of them in tests/serve.

mod siphash;
mod vectors;

use handfast::tcp::Env;
use handfast::tcp::config::TcpConfig;
use handfast::tcp::cookie::{self, CLOCK_SKEW_MS, Key, Keys, MSS_V4, MSS_V6, PERIOD_MS};
use handfast::tcp::effects::Effects;
use handfast::tcp::input;
use handfast::tcp::listen::open_passive;
use handfast::tcp::tcb::Tcb;
use handfast::time::Tick;
use handfast::wire::ether::VlanTags;
use handfast::wire::options::Options;
use handfast::wire::segment::{Control, Segment};
use handfast::wire::seq::SeqNum;
use handfast::wire::tuple::FourTuple;
use proptest::prelude::*;

/// Our timestamp clock is this far ahead of the ticks.
const CLOCK_OFFSET: u32 = 5_000_000;

/// A SYN over IPv4 without options, to start from.
fn segment() -> Segment {
    Segment {
        tuple: tuple(false),
        seq: SeqNum(7),
        ack: SeqNum(0),
        control: Control::SYN,
        window: 64_000,
        options: Options::default(),
        payload_at: 54,
        payload_len: 0,
        src_mac: [2; 6],
        dst_mac: [3; 6],
        tags: VlanTags::default(),
        partial_checksum: false,
    }
}

fn tuple(ipv6: bool) -> FourTuple {
    let (own, peer) =
        if ipv6 { ("[2001:2::1]:80", "[2001:2::2]:40000") } else { ("198.18.0.1:80", "198.18.0.2:40000") };
    FourTuple::new(own.parse().unwrap(), peer.parse().unwrap())
}

fn env_at(config: &TcpConfig, now: u32) -> Env<'_> {
    Env { config, now: Tick(now), tsval: now.wrapping_add(CLOCK_OFFSET) }
}

fn env(config: &TcpConfig) -> Env<'_> {
    env_at(config, 1_000_000)
}

/// The acknowledgment of the SYN-ACK with the number `iss` that answered `syn`.
fn ack_of(syn: &Segment, iss: SeqNum, timestamps: Option<(u32, u32)>) -> Segment {
    let options = Options { timestamps, ..Options::default() };
    Segment { seq: syn.seq + 1, ack: iss + 1, control: Control::ACK, window: 500, options, ..*syn }
}

fn keys() -> Keys {
    Keys { current: Key([1; 16]), previous: Some(Key([2; 16])), parity: false }
}

/// The keys one period later.
fn turned(keys: &Keys) -> Keys {
    Keys { current: Key([3; 16]), previous: Some(keys.current), parity: !keys.parity }
}

/// What a cookie makes of sizes that are not in its table.
fn rounded(mss: Option<u16>, ipv6: bool) -> u16 {
    let (table, default) = if ipv6 { (MSS_V6, 1220) } else { (MSS_V4, 536) };
    let mss = mss.unwrap_or(default);
    table.into_iter().rev().find(|size| *size <= mss).unwrap_or(table[0])
}

#[test]
fn a_cookie_is_good_in_its_period_and_the_next_one_and_not_beyond() {
    let config = TcpConfig::default();
    let keys = keys();
    let ack = ack_of(&segment(), cookie::isn(&segment(), &keys, &config), None);
    let next = turned(&keys);
    let good = |keys: &Keys| cookie::check(&ack, keys, env(&config)).is_some();
    assert!(good(&keys) && good(&next));
    // Two periods later the parity is the cookie's again, and the key is another.
    assert!(!good(&turned(&Keys { current: Key([4; 16]), ..next })));
    assert!(!good(&Keys { current: Key([9; 16]), previous: Some(keys.current), parity: keys.parity }));
    assert!(!good(&Keys { previous: None, ..next }), "there is no key of that parity");
}

#[test]
fn the_syn_comes_back_from_its_acknowledgment_without_its_window() {
    let config = TcpConfig::default();
    let options = Options { mss: Some(1460), window_scale: Some(7), sack_permitted: true, timestamps: None };
    let syn = Segment { options, ..segment() };
    let ack = ack_of(&syn, cookie::isn(&syn, &keys(), &config), None);
    let ack = Segment { payload_len: 100, control: Control::ACK | Control::PSH, ..ack };
    let recovered = cookie::check(&ack, &keys(), env(&config)).unwrap();
    assert_eq!(recovered.syn, Segment { window: 0, ..syn });
}

#[test]
fn whatever_differs_from_the_syn_is_refused() {
    let config = TcpConfig::default();
    let syn = Segment { options: Options { mss: Some(1460), ..Options::default() }, ..segment() };
    let ack = ack_of(&syn, cookie::isn(&syn, &keys(), &config), None);
    let good = |ack: Segment| cookie::check(&ack, &keys(), env(&config)).is_some();
    assert!(good(ack));
    assert!(good(Segment { payload_len: 100, control: Control::ACK | Control::FIN | Control::PSH, ..ack }));
    for bit in 0..32 {
        assert!(!good(Segment { ack: SeqNum(ack.ack.0 ^ 1 << bit), ..ack }), "bit {bit} of the acknowledgment");
        assert!(!good(Segment { seq: SeqNum(ack.seq.0 ^ 1 << bit), ..ack }), "bit {bit} of the sequence number");
    }
    let moved = |change: fn(&mut FourTuple)| {
        let mut tuple = ack.tuple;
        change(&mut tuple);
        Segment { tuple, ..ack }
    };
    assert!(!good(moved(|tuple| tuple.local_port ^= 1)));
    assert!(!good(moved(|tuple| tuple.remote_port ^= 1)));
    assert!(!good(moved(|tuple| tuple.local_addr.0[15] ^= 1)));
    assert!(!good(moved(|tuple| tuple.remote_addr.0[15] ^= 2)));
    for control in [Control::SYN | Control::ACK, Control::RST | Control::ACK, Control::FIN, Control::default()] {
        assert!(!good(Segment { control, ..ack }), "{control:?}");
    }
}

#[test]
fn an_echo_must_be_of_our_clock_in_the_last_two_periods() {
    let config = TcpConfig::default();
    let iss = cookie::isn(&segment(), &keys(), &config);
    let env = env(&config);
    let sent = |age_ms: u32| {
        let ack = ack_of(&segment(), iss, Some((9, env.tsval.wrapping_sub(age_ms))));
        cookie::check(&ack, &keys(), env).map(|recovered| recovered.sent.unwrap())
    };
    assert_eq!(sent(0), Some(env.now));
    assert_eq!(sent(30), Some(Tick(env.now.0 - 30)));
    assert_eq!(sent(2 * PERIOD_MS), Some(Tick(env.now.0 - 2 * PERIOD_MS)));
    assert_eq!(sent(2 * PERIOD_MS + 1), None);
    assert_eq!(sent(CLOCK_SKEW_MS.wrapping_neg()), Some(env.now), "of a responder whose clock is ahead");
    assert_eq!(sent((CLOCK_SKEW_MS + 1).wrapping_neg()), None);
    assert_eq!(sent(1 << 31), None);
    // Where timestamps are switched off, nobody offered any: the option is nobody's and means nothing.
    let off = TcpConfig { timestamps: false, ..config.clone() };
    let ack = ack_of(&segment(), iss, Some((9, 0)));
    let recovered = cookie::check(&ack, &keys(), Env { config: &off, ..env }).unwrap();
    assert_eq!((recovered.sent, recovered.syn.options.timestamps), (None, None));
}

#[test]
fn options_that_are_switched_off_are_not_remembered() {
    let all = Options { mss: Some(1460), window_scale: Some(7), sack_permitted: true, timestamps: Some((1, 0)) };
    let syn = Segment { options: all, ..segment() };
    let off = TcpConfig { window_scaling: false, sack_permitted: false, timestamps: false, ..TcpConfig::default() };
    let iss = cookie::isn(&syn, &keys(), &off);
    let bare = Segment { options: Options { mss: Some(1460), ..Options::default() }, ..syn };
    assert_eq!(iss, cookie::isn(&bare, &keys(), &off));
    let answer = cookie::syn_ack(&syn, &keys(), env(&off));
    assert_eq!(answer.options, Options { mss: Some(1460), ..Options::default() });
    // Switched on meanwhile, they were not offered all the same.
    let on = TcpConfig::default();
    let recovered = cookie::check(&ack_of(&syn, iss, None), &keys(), env(&on)).unwrap();
    assert_eq!(recovered.syn.options, Options { mss: Some(1460), ..Options::default() });
}

#[test]
fn without_an_echo_there_is_no_round_trip_and_the_time_out_is_the_initial_one() {
    let config = TcpConfig::default();
    let iss = cookie::isn(&segment(), &keys(), &config);
    let opened = |timestamps| {
        let ack = ack_of(&segment(), iss, timestamps);
        let mut tcb = cookie::open(&ack, &keys(), 0, env(&config)).unwrap();
        input::segment_arrives(&mut tcb, &ack, env(&config));
        tcb
    };
    assert_eq!((opened(None).srtt, opened(None).rttvar), (0, 0));
    let echo = Some((9, env(&config).tsval - 40));
    assert_eq!((opened(echo).srtt, opened(echo).rttvar), (320, 80));
}

#[test]
fn the_keys_of_periods_follow_from_the_secret() {
    let secret = b"sixteen bytes are enough, more are welcome";
    let key = Key::of_period(secret, 7);
    assert_eq!(key, Key::of_period(secret, 7));
    let others = [
        Key::of_period(secret, 8),
        Key::of_period(&secret[..16], 7),
        Key::of_period(&secret[1..], 7),
        Key::of_period(&secret[..secret.len() - 1], 7),
    ];
    assert!(others.iter().all(|other| *other != key));
    assert_eq!(format!("{key:?}"), "Key(..)");
}

/// An offer of a peer.
fn options() -> impl Strategy<Value = Options> {
    (any::<Option<u16>>(), proptest::option::of(0_u8..20), any::<bool>(), any::<Option<u32>>()).prop_map(
        |(mss, window_scale, sack_permitted, tsval)| Options {
            mss,
            window_scale,
            sack_permitted,
            timestamps: tsval.map(|tsval| (tsval, 0)),
        },
    )
}

fn configs() -> impl Strategy<Value = TcpConfig> {
    (any::<bool>(), any::<bool>(), any::<bool>(), 1_u32..1 << 30, 576_u16..9_000).prop_map(
        |(window_scaling, sack_permitted, timestamps, window_bytes, mtu)| TcpConfig {
            window_scaling,
            sack_permitted,
            timestamps,
            window_bytes,
            ..TcpConfig::for_mtu(mtu)
        },
    )
}

/// Everything of a connection that a cookie promises to bring back.
fn promised(tcb: &Tcb) -> String {
    // The window of the SYN is forgotten; it only widened RFC 5961's bound on old acknowledgments. The round trip is
    // measured by another clock, and only with timestamps; the state's own deadline follows from it.
    format!("{:?}", Tcb { max_snd_wnd: 0, rtt_sent: Tick(0), challenged_at: Tick(0), srtt: 0, rttvar: 0, ..*tcb })
}

proptest! {
    #[test]
    fn a_connection_by_cookie_is_the_one_by_state(
        config in configs(),
        offered in options(),
        ipv6: bool,
        parity: bool,
        seq: u32,
        round_trip_ms in 0_u32..10_000,
        data in 0_u16..1_000,
        fin: bool,
        window: u16,
        tsval: u32,
    ) {
        let syn = Segment { tuple: tuple(ipv6), seq: SeqNum(seq), options: offered, ..segment() };
        let keys = Keys { parity, ..keys() };
        let sent = env_at(&config, 77_000);
        let answer = cookie::syn_ack(&syn, &keys, sent);

        // By state, for the SYN with the size that the cookie remembers.
        let mss = Some(rounded(offered.mss, ipv6));
        let remembered = Segment { options: Options { mss, ..offered }, ..syn };
        let mut by_state = open_passive(&remembered, answer.seq, 3, sent);
        prop_assert_eq!(by_state.syn(sent), answer);
        prop_assert!(by_state.snd_mss <= open_passive(&syn, answer.seq, 3, sent).snd_mss || offered.mss < mss);

        let timestamps = answer.options.timestamps.map(|(ours, _)| (tsval, ours));
        let control = if fin { Control::ACK | Control::FIN } else { Control::ACK };
        let ack = Segment { control, payload_len: data, window, ..ack_of(&syn, answer.seq, timestamps) };
        let now = env_at(&config, 77_000 + round_trip_ms);
        // The peer's clock may have been set back meanwhile; then the one with state refuses, for want of a newer TS.Recent.
        by_state.ts_recent = timestamps.map_or(0, |(tsval, _)| tsval);
        let mut by_cookie = cookie::open(&ack, &keys, 3, now).expect("it is our cookie");
        by_cookie.deadline = by_state.deadline;
        prop_assert_eq!(promised(&by_cookie), promised(&Tcb { snd_wnd: 0, ..by_state }));

        let effects: [Effects; 2] =
            [&mut by_state, &mut by_cookie].map(|tcb| input::segment_arrives(tcb, &ack, now));
        prop_assert_eq!(effects[0], effects[1]);
        prop_assert!(effects[1].established);
        prop_assert_eq!(promised(&by_cookie), promised(&by_state));
        if timestamps.is_some() {
            prop_assert_eq!((by_cookie.srtt, by_cookie.rttvar), (by_state.srtt, by_state.rttvar));
        }
    }

    #[test]
    fn a_guess_is_refused(seq: u32, ack: u32, parity: bool) {
        let config = TcpConfig::default();
        let segment = Segment { seq: SeqNum(seq), ack: SeqNum(ack), control: Control::ACK, ..segment() };
        let (keys, env) = (Keys { parity, ..keys() }, env(&config));
        // One of 2^24 guesses is good; that this one is, would be found by making the cookie that it names.
        if let Some(recovered) = cookie::check(&segment, &keys, env) {
            let keys_then = Keys { current: keys.previous.unwrap(), previous: None, parity: !parity };
            let made = [keys, keys_then].map(|keys| cookie::isn(&recovered.syn, &keys, &config));
            prop_assert!(made.contains(&recovered.iss));
        }
    }
}
