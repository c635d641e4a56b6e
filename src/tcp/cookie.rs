//! SYN cookies (RFC 4987 3.6): a SYN-ACK whose initial sequence number holds what SYN-RECEIVED would, so that nothing has to
//! be kept until the handshake is complete.
//!
//! ```text
//! word  = low 32 bits of SipHash-1-3 under the key of the period, over 17 bytes for IPv4, 41 for IPv6:
//!           address of the peer, 4 or 16 bytes
//!           our address, likewise
//!           u64, little-endian: the peer's initial sequence number << 32 | the peer's port << 16 | our port
//!           flags, one byte
//! flags = bit 7: the period's number is odd
//!         bits 6..5: index into the table of segment sizes of the family, rounded down
//!         bits 4..1: the peer's window shift, 0 to 14; 15 if windows are not scaled
//!         bit 0: SACK is permitted
//! isn   = word & 0xffff_ff00 | flags ^ word >> 24
//! ```
//!
//! SipHash-1-3 is what the Rust and Python libraries key their tables with against who chooses the keys of those: nothing is known
//! that tells it from random, and a key lives for two minutes and shows 24 of 64 bits. It costs the steering program a third less
//! than SipHash-2-4, a short message with nothing in it that is the same for all costs less again.
//!
//! So 24 bits are the MAC. The flags are mixed with its upper eight, so that the number looks random, and whoever checks it has these
//! eight to unmix them with. All options survive without the peer's timestamps (the idea is FreeBSD's): those that it
//! offers and our configuration takes. The third segment of the handshake tells the rest: timestamps were negotiated
//! if it has them. Then their echo must be a value that our clock had while the cookie could be good, which makes it
//! harder to guess by another 15 bits.
//!
//! [`syn_ack`] and [`open`] make the same TCB of what a cookie remembers as [`super::listen::open_passive`] makes of a SYN,
//! by calling it. tests/cookie/vectors.txt has numbers that every implementation of this layout is held against.
//!
//! What is deliberately not here: a clock, randomness, and when cookies are sent. Keys come in as arguments.

use core::fmt;
use core::hash::Hasher;

use siphasher::sip::SipHasher13;
use siphasher::sip128::{self, Hasher128};

use super::Env;
use super::config::TcpConfig;
use super::listen::open_passive;
use super::negotiate::peer_mss;
use super::tcb::Tcb;
use crate::time::Tick;
use crate::wire::options::{MAX_WINDOW_SHIFT, Options};
use crate::wire::reply::Reply;
use crate::wire::segment::{Control, Segment};
use crate::wire::seq::SeqNum;

/// How long a key is the current one, in milliseconds. A cookie is good while its key is the current one or the one
/// before: 64 to 128 s.
pub const PERIOD_MS: u32 = 64_000;

/// Segment sizes that a cookie can name over IPv4. The last is Ethernet's, the second what a host that names none takes (RFC 9293
/// 3.7.1). What tunnels and PPPoE leave lies between 1,300 and 1,459: rounded down to 1,300 it costs a tenth of a
/// segment at most. The first is for small devices, which must not be sent more than they ask for (RFC 9293 MUST-16).
pub const MSS_V4: [u16; 4] = [216, 536, 1300, 1460];

/// The same over IPv6, where every link carries 1,220 bytes (RFC 8200 5).
pub const MSS_V6: [u16; 4] = [536, 1220, 1360, 1440];

/// How far another responder's timestamp clock may be ahead of ours: several that share a secret complete each other's
/// handshakes, and their clocks agree as well as their hosts' do.
pub const CLOCK_SKEW_MS: u32 = 1_000;

const PARITY: u8 = 1 << 7;
const MSS_AT: u8 = 5;
const SHIFT_AT: u8 = 1;
const NO_SHIFT: u8 = 15;
const SACK_PERMITTED: u8 = 1;

/// Bytes of the message for IPv6: two addresses, the numbers and the flags.
const LONGEST_MESSAGE: usize = 41;

/// The key of one period.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Key(pub [u8; 16]);

impl Key {
    /// The key of period number `period` of all responders that share `secret`: SipHash-2-4-128 under the secret's first
    /// 16 bytes, over the rest of it and the number (little-endian).
    ///
    /// # Panics
    ///
    /// If the secret is shorter than 16 bytes: our own bug, the control path refuses such a one.
    pub fn of_period(secret: &[u8], period: u64) -> Self {
        let (key, rest) = secret.split_first_chunk::<16>().expect("a secret of 16 bytes at least");
        let mut hasher = sip128::SipHasher24::new_with_key(key);
        hasher.write(rest);
        hasher.write(&period.to_le_bytes());
        Self(hasher.finish128().as_bytes())
    }
}

/// A key does not print.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// The keys that cookies are made and judged with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keys {
    /// Of this period: new cookies are made with it.
    pub current: Key,
    /// Of the period before; `None` in the first one.
    pub previous: Option<Key>,
    /// True if the number of this period is odd.
    pub parity: bool,
}

impl Keys {
    /// The key of the youngest period whose number is odd, or is not.
    fn of_parity(&self, parity: bool) -> Option<&Key> {
        if parity == self.parity { Some(&self.current) } else { self.previous.as_ref() }
    }
}

/// What the third segment of a handshake gives back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// The SYN, as far as the cookie remembers it: the segment size rounded down, the window 0.
    pub syn: Segment,
    /// Our initial sequence number.
    pub iss: SeqNum,
    /// When our SYN-ACK was sent, if the peer echoes the time.
    pub sent: Option<Tick>,
}

/// The initial sequence number that answers `syn` under the current key.
pub fn isn(syn: &Segment, keys: &Keys, config: &TcpConfig) -> SeqNum {
    let parity = if keys.parity { PARITY } else { 0 };
    number(syn, syn.seq, parity | flags_of(syn, config), &keys.current)
}

/// The SYN-ACK that answers `syn`: what [`open_passive`] would have sent. What the cookie rounds of the SYN, its segment size, is not
/// told to the peer.
pub fn syn_ack(syn: &Segment, keys: &Keys, env: Env<'_>) -> Reply {
    open_passive(syn, isn(syn, keys, env.config), 0, env).syn(env)
}

/// Judges an acknowledgment for a listener: `None` if it answers no SYN-ACK that was made with one of the keys.
///
/// The payload and a FIN of the segment do not matter: they begin behind the SYN, as an empty acknowledgment does.
pub fn check(ack: &Segment, keys: &Keys, env: Env<'_>) -> Option<Recovered> {
    let (iss, peer_isn) = (ack.ack.minus(1), ack.seq.minus(1));
    let [high, _, _, low] = iss.0.to_be_bytes();
    let flags = low ^ high;
    let key = keys.of_parity(flags & PARITY != 0)?;
    let third = ack.control.has(Control::ACK) && !ack.control.has(Control::SYN) && !ack.control.has(Control::RST);
    if !third || number(ack, peer_isn, flags, key) != iss {
        return None;
    }
    let timestamps = ack.options.timestamps.filter(|_| env.config.timestamps);
    let sent = match timestamps {
        Some((_, tsecr)) => Some(time_of_echo(tsecr, env)?),
        None => None,
    };
    let options = Options { timestamps, ..options_of(ack, flags) };
    let syn =
        Segment { seq: peer_isn, ack: SeqNum(0), control: Control::SYN, window: 0, options, payload_len: 0, ..*ack };
    Some(Recovered { syn, iss, sent })
}

/// The connection that the acknowledgment `ack` completes, still in SYN-RECEIVED and waiting for it; `None` where
/// [`check`] says so.
pub fn open(ack: &Segment, keys: &Keys, service: u16, env: Env<'_>) -> Option<Tcb> {
    let Recovered { syn, iss, sent } = check(ack, keys, env)?;
    let mut tcb = open_passive(&syn, iss, service, env);
    // Without an echo nobody knows how long the round trip took. A sample this large counts as none, so the time-out is
    // the initial one (RFC 6298 2.1).
    tcb.rtt_sent = sent.unwrap_or(env.now + (env.config.rto_max_ms + 1).wrapping_neg());
    Some(tcb)
}

/// When our clock had the value `tsecr`, if that was in the last two periods.
fn time_of_echo(tsecr: u32, env: Env<'_>) -> Option<Tick> {
    let age_ms = env.tsval.wrapping_sub(tsecr);
    if age_ms <= 2 * PERIOD_MS {
        Some(env.now + age_ms.wrapping_neg())
    } else if age_ms.wrapping_neg() <= CLOCK_SKEW_MS {
        Some(env.now)
    } else {
        None
    }
}

/// The flags of a SYN, without the parity: what it offers, as far as the configuration takes it.
fn flags_of(syn: &Segment, config: &TcpConfig) -> u8 {
    let options = &syn.options;
    let shift = options.window_scale.filter(|_| config.window_scaling).map_or(NO_SHIFT, |s| s.min(MAX_WINDOW_SHIFT));
    let sack = if options.sack_permitted && config.sack_permitted { SACK_PERMITTED } else { 0 };
    mss_index(syn) << MSS_AT | shift << SHIFT_AT | sack
}

/// The options that flags stand for.
fn options_of(segment: &Segment, flags: u8) -> Options {
    let shift = flags >> SHIFT_AT & 0x0f;
    Options {
        mss: Some(mss_table(segment)[usize::from(flags >> MSS_AT & 0x03)]),
        window_scale: (shift != NO_SHIFT).then_some(shift),
        sack_permitted: flags & SACK_PERMITTED != 0,
        timestamps: None,
    }
}

/// The largest size of the table that the peer takes; the least one, if that is too large still.
fn mss_index(syn: &Segment) -> u8 {
    let mss = peer_mss(&syn.tuple, syn.options.mss);
    let [_, second, third, fourth] = *mss_table(syn);
    u8::from(mss >= second) + u8::from(mss >= third) + u8::from(mss >= fourth)
}

fn mss_table(segment: &Segment) -> &'static [u16; 4] {
    if segment.tuple.is_v4() { &MSS_V4 } else { &MSS_V6 }
}

/// The number for a connection of the segment's ends.
fn number(segment: &Segment, peer_isn: SeqNum, flags: u8, key: &Key) -> SeqNum {
    let tuple = &segment.tuple;
    let ports = u64::from(tuple.remote_port) << 16 | u64::from(tuple.local_port);
    let numbers = (u64::from(peer_isn.0) << 32 | ports).to_le_bytes();
    // Of an IPv4 address the last four bytes.
    let at = if tuple.is_v4() { 12 } else { 0 };
    let mut message = [0; LONGEST_MESSAGE];
    let mut len = 0;
    for piece in [&tuple.remote_addr.0[at..], &tuple.local_addr.0[at..], &numbers, &[flags]] {
        message[len..len + piece.len()].copy_from_slice(piece);
        len += piece.len();
    }
    let [_, middle, upper, top, ..] = SipHasher13::new_with_key(&key.0).hash(&message[..len]).to_le_bytes();
    SeqNum(u32::from_le_bytes([flags ^ top, middle, upper, top]))
}
