//! bpf/contract.h in Rust: layouts of map keys and values, and the list of counters.
//!
//! The tests below read the header and fail when the two differ in a constant, a field or a counter. What is not here:
//! anything that uses the contract.

use std::fmt;
use std::net::IpAddr;

use super::values;

/// Words of the port map.
pub const PORT_WORDS: usize = 2048;
/// Ports in one word of the port map.
pub const PORTS_PER_WORD: usize = 32;
/// Bits that each port has in its word.
pub const BITS_PER_PORT: usize = 2;
/// The port belongs to an endpoint of any address.
pub const PORT_ANY: u64 = 1;
/// The port belongs to at least one endpoint with a given address.
pub const PORT_EXACT: u64 = 2;
/// [`EndpointRow::family`] of an IPv4 address.
pub const FAMILY_IPV4: u16 = 4;
/// [`EndpointRow::family`] of an IPv6 address.
pub const FAMILY_IPV6: u16 = 6;
/// [`Config::flags`]: take frames whatever their destination MAC address is.
pub const ANY_MAC: u16 = 1;
/// [`Config::flags`]: at least one endpoint has any address.
pub const ANY_ADDRESS: u16 = 2;
/// [`Config::flags`]: take what matches [`Replies`], too.
pub const REPLIES: u16 = 4;
/// [`Config::flags`]: the prefix filter has entries.
pub const FILTER: u16 = 8;
/// [`Config::flags`]: SYNs are limited by the prefix of their source.
pub const SYN_RATE: u16 = 16;
/// [`Config::flags`]: plain SYNs to endpoints are answered by the program.
pub const ANSWER: u16 = 32;
/// [`Config::flags`]: the second element of the map of cookies is in force.
pub const SECOND_COOKIES: u16 = 64;
/// [`Config::flags`]: answers leave by a redirect and not by XDP_TX.
pub const REDIRECT_ANSWERS: u16 = 128;
/// [`Cookies::flags`]: timestamps may be offered.
pub const TIMESTAMPS: u32 = 1;
/// [`Cookies::flags`]: window scaling may be offered.
pub const WINDOW_SCALE: u32 = 2;
/// [`Cookies::flags`]: SACK may be permitted.
pub const SACK_PERMITTED: u32 = 4;
/// [`Cookies::flags`]: the number of the key's period is odd.
pub const ODD_PERIOD: u32 = 8;
/// [`Cookies::flags`]: a TCP checksum may cover the pseudo-header only.
pub const PARTIAL_CHECKSUMS: u32 = 16;
/// Bits behind the point of [`Cookies::tick_ms`].
pub const TICK_MS_BITS: u32 = 20;
/// Value of the prefix filter: take segments from there.
pub const ALLOW: u8 = 1;
/// Value of the prefix filter: drop them.
pub const DENY: u8 = 2;
/// [`Source::bits`] of a whole address with its family.
pub const SOURCE_BITS: u32 = 160;

/// `struct steer_endpoint`: a key of the endpoint map. Port 0 stands for "some endpoint has this address".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(C)]
pub struct EndpointRow {
    /// Sixteen bytes in network byte order, IPv4 as `::ffff:a.b.c.d`.
    pub addr: [u8; 16],
    /// Port, in host byte order as everywhere outside of frames.
    pub port: u16,
    /// [`FAMILY_IPV4`] or [`FAMILY_IPV6`].
    pub family: u16,
}

/// `struct steer_config`: the only value of the configuration map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct Config {
    /// The interface's MAC address.
    pub mac: [u8; 6],
    /// [`ANY_MAC`], [`ANY_ADDRESS`], [`REPLIES`], [`FILTER`], [`SYN_RATE`], [`ANSWER`], [`SECOND_COOKIES`] and
    /// [`REDIRECT_ANSWERS`], or-ed.
    pub flags: u16,
}

/// `struct steer_replies`: the only value of the replies map. Addresses as in [`EndpointRow`], ports in host byte order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Replies {
    /// Address of the peer that answers.
    pub peer: [u8; 16],
    /// What our addresses have in common.
    pub prefix: [u8; 16],
    /// Which of their bits that are.
    pub mask: [u8; 16],
    /// Port of the peer.
    pub peer_port: u16,
    /// Our first port.
    pub first_port: u16,
    /// Our last port.
    pub last_port: u16,
    /// [`FAMILY_IPV4`] or [`FAMILY_IPV6`].
    pub family: u16,
}

/// `struct steer_source`: a source or a prefix of sources, the key of the prefix filter and of the buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Source {
    /// How many bits of family and address count.
    pub bits: u32,
    /// [`FAMILY_IPV4`] or [`FAMILY_IPV6`].
    pub family: u32,
    /// As in [`EndpointRow`].
    pub addr: [u8; 16],
}

/// `struct steer_rate`: the only value of the map of the SYN rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Rate {
    /// Time that one SYN takes out of a bucket.
    pub interval_ns: u64,
    /// Time that a bucket holds.
    pub depth_ns: u64,
    /// The bits of an IPv4 address, as `::ffff:a.b.c.d`, that make its prefix.
    pub mask_v4: [u8; 16],
    /// The bits of an IPv6 address that make its prefix.
    pub mask_v6: [u8; 16],
}

/// `struct steer_cookies`: one of the two values of the map of cookies.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Cookies {
    /// The 16 bytes of the key as little-endian words.
    pub key: [u64; 2],
    /// A tick of the kernel's clock (jiffies), modulo 2^32.
    pub tick: u32,
    /// Our timestamp at it.
    pub timestamp: u32,
    /// How many ms a tick is, times 2^[`TICK_MS_BITS`].
    pub tick_ms: u32,
    /// Window of a SYN-ACK.
    pub window: u16,
    /// Our MSS over IPv4.
    pub mss_v4: u16,
    /// Our MSS over IPv6.
    pub mss_v6: u16,
    /// Shift of our window.
    pub shift: u16,
    /// [`TIMESTAMPS`], [`WINDOW_SCALE`], [`SACK_PERMITTED`], [`ODD_PERIOD`] and [`PARTIAL_CHECKSUMS`], or-ed.
    pub flags: u32,
}

const _: () = assert!(PORT_WORDS * PORTS_PER_WORD == 1 << 16);
const _: () = assert!(PORTS_PER_WORD * BITS_PER_PORT == 64);
const _: () = assert!(size_of::<EndpointRow>() == 20);
const _: () = assert!(size_of::<Config>() == 8 && align_of::<Config>() == 8);
const _: () = assert!(size_of::<Replies>() == 56);
const _: () = assert!(size_of::<Source>() == 24);
const _: () = assert!(size_of::<Rate>() == 48);
const _: () = assert!(size_of::<Cookies>() == 40);

impl EndpointRow {
    /// The row of an address and port; an IPv4-mapped IPv6 address counts as the IPv4 address that it stands for.
    pub fn new(addr: IpAddr, port: u16) -> Self {
        match addr.to_canonical() {
            IpAddr::V4(v4) => Self { addr: v4.to_ipv6_mapped().octets(), port, family: FAMILY_IPV4 },
            IpAddr::V6(v6) => Self { addr: v6.octets(), port, family: FAMILY_IPV6 },
        }
    }

    /// The bytes that the kernel takes as the key.
    pub fn to_bytes(self) -> [u8; size_of::<Self>()] {
        let mut bytes = [0; size_of::<Self>()];
        bytes[..16].copy_from_slice(&self.addr);
        bytes[16..18].copy_from_slice(&self.port.to_ne_bytes());
        bytes[18..].copy_from_slice(&self.family.to_ne_bytes());
        bytes
    }
}

impl Config {
    /// The bytes that the kernel takes as the value.
    pub fn to_bytes(self) -> [u8; size_of::<Self>()] {
        let mut bytes = [0; size_of::<Self>()];
        bytes[..6].copy_from_slice(&self.mac);
        bytes[6..].copy_from_slice(&self.flags.to_ne_bytes());
        bytes
    }
}

impl Replies {
    /// The bytes that the kernel takes as the value.
    pub fn to_bytes(self) -> [u8; size_of::<Self>()] {
        let mut bytes = [0; size_of::<Self>()];
        for (place, addr) in bytes.chunks_exact_mut(16).zip([self.peer, self.prefix, self.mask]) {
            place.copy_from_slice(&addr);
        }
        let numbers = [self.peer_port, self.first_port, self.last_port, self.family];
        for (place, number) in bytes[48..].chunks_exact_mut(2).zip(numbers) {
            place.copy_from_slice(&number.to_ne_bytes());
        }
        bytes
    }
}

impl Source {
    /// The bytes that the kernel takes as the key.
    pub fn to_bytes(self) -> [u8; size_of::<Self>()] {
        let mut bytes = [0; size_of::<Self>()];
        bytes[..4].copy_from_slice(&self.bits.to_ne_bytes());
        bytes[4..8].copy_from_slice(&self.family.to_ne_bytes());
        bytes[8..].copy_from_slice(&self.addr);
        bytes
    }
}

impl Rate {
    /// The bytes that the kernel takes as the value.
    pub fn to_bytes(self) -> [u8; size_of::<Self>()] {
        let mut bytes = [0; size_of::<Self>()];
        bytes[..8].copy_from_slice(&self.interval_ns.to_ne_bytes());
        bytes[8..16].copy_from_slice(&self.depth_ns.to_ne_bytes());
        bytes[16..32].copy_from_slice(&self.mask_v4);
        bytes[32..].copy_from_slice(&self.mask_v6);
        bytes
    }
}

impl Cookies {
    /// The bytes that the kernel takes as the value.
    pub fn to_bytes(self) -> [u8; size_of::<Self>()] {
        let mut bytes = [0; size_of::<Self>()];
        bytes[..8].copy_from_slice(&self.key[0].to_ne_bytes());
        bytes[8..16].copy_from_slice(&self.key[1].to_ne_bytes());
        for (place, word) in bytes[16..28].chunks_exact_mut(4).zip([self.tick, self.timestamp, self.tick_ms]) {
            place.copy_from_slice(&word.to_ne_bytes());
        }
        let numbers = [self.window, self.mss_v4, self.mss_v6, self.shift];
        for (place, number) in bytes[28..36].chunks_exact_mut(2).zip(numbers) {
            place.copy_from_slice(&number.to_ne_bytes());
        }
        bytes[36..].copy_from_slice(&self.flags.to_ne_bytes());
        bytes
    }
}

/// A key does not print.
impl fmt::Debug for Cookies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cookies(..)")
    }
}

macro_rules! steer_counters {
    ($( $(#[$doc:meta])* $name:ident => $text:literal ),+ $(,)?) => {
        /// `enum steer_counter`: what the steering program counts. Every frame is [`SteerCounter::Seen`] and exactly
        /// one of the outcomes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum SteerCounter { $( $(#[$doc])* $name ),+ }

        impl SteerCounter {
            /// Every counter, in the order of the contract.
            pub const ALL: &'static [SteerCounter] = &[ $( SteerCounter::$name ),+ ];

            /// The name used in reports and JSON: the one in contract.h without prefix, in lower case.
            pub const fn name(self) -> &'static str {
                match self { $( SteerCounter::$name => $text ),+ }
            }
        }
    };
}

steer_counters! {
    /// Frames that the program ran for.
    Seen => "seen",
    /// Passed: neither IPv4 nor IPv6 behind at most two VLAN tags.
    PassNotIp => "pass_not_ip",
    /// Passed: three or more VLAN tags.
    PassTooManyTags => "pass_too_many_tags",
    /// Passed: ends before the TCP ports.
    PassTruncated => "pass_truncated",
    /// Passed: IP version or IPv4 header length that cannot be.
    PassBadIpHeader => "pass_bad_ip_header",
    /// Passed: another protocol than TCP.
    PassNotTcp => "pass_not_tcp",
    /// Passed: a fragment other than the first, which has no ports.
    PassLaterFragment => "pass_later_fragment",
    /// Passed: an IPv6 routing header with segments left.
    PassInTransit => "pass_in_transit",
    /// Passed: TCP with another destination MAC address than the interface's.
    PassNotForUs => "pass_not_for_us",
    /// Passed: TCP for an address and port that is no endpoint, and no reply that is waited for.
    PassNotAnEndpoint => "pass_not_an_endpoint",
    /// Passed: TCP for an endpoint, on a queue without a socket. The kernel answers it with RST.
    PassNoSocket => "pass_no_socket",
    /// Dropped: the first fragment of a datagram for an endpoint, or an IPv6 atomic fragment.
    DropFragment => "drop_fragment",
    /// Dropped: IPv6 extension headers that cannot be followed, to an address that an endpoint may have.
    DropExtensionHeader => "drop_extension_header",
    /// Dropped: for an endpoint, with an IP length field that cannot be.
    DropBadIpLength => "drop_bad_ip_length",
    /// Dropped: for an endpoint, with a TCP header that does not fit its segment.
    DropBadTcpHeader => "drop_bad_tcp_header",
    /// Dropped: for an endpoint, from a source that the prefix filter denies.
    DropDenied => "drop_denied",
    /// Dropped: a SYN for an endpoint, beyond the rate of its source's prefix.
    DropSynRate => "drop_syn_rate",
    /// Dropped: a SYN for an endpoint with a wrong checksum, while SYNs are answered by the program.
    DropBadChecksum => "drop_bad_checksum",
    /// Redirected to the AF_XDP socket of the receive queue.
    Redirected => "redirected",
    /// Transmitted: a SYN for an endpoint, turned into a SYN-ACK with a cookie.
    TxCookie => "tx_cookie",
    /// Not frames: buckets made for source prefixes. Beyond those that there is room for, each took another's place.
    SynBuckets => "syn_buckets",
    /// Not an outcome: SYNs that got through because no bucket could be made for their prefix.
    SynUnlimited => "syn_unlimited",
}

impl SteerCounter {
    /// True if it counts frames that ended in one way, of which every frame has one.
    pub const fn is_outcome(self) -> bool {
        !matches!(self, Self::Seen | Self::SynBuckets | Self::SynUnlimited)
    }
}

/// How many counters there are.
pub const STEER_COUNTERS: usize = SteerCounter::ALL.len();

/// `struct steer_counters`, summed over the CPUs. Unit: frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SteerCounters {
    count: [u64; STEER_COUNTERS],
}

impl SteerCounters {
    /// Sums the blocks that the kernel gives for each CPU, native-endian words in the order of the contract.
    pub(super) fn sum<'a>(blocks: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut count = [0; STEER_COUNTERS];
        values::add_cpus(&mut count, blocks);
        Self { count }
    }

    /// One counter.
    pub fn get(&self, counter: SteerCounter) -> u64 {
        self.count[counter as usize]
    }

    /// Every counter with its value, those at zero too.
    pub fn iter(&self) -> impl Iterator<Item = (SteerCounter, u64)> + '_ {
        SteerCounter::ALL.iter().map(|counter| (*counter, self.get(*counter)))
    }

    /// Frames seen minus the sum of their outcomes: 0 when no frame was under way while the counters were read.
    pub fn unaccounted(&self) -> i128 {
        let seen = i128::from(self.get(SteerCounter::Seen));
        self.iter().filter(|(counter, _)| counter.is_outcome()).fold(seen, |left, (_, n)| left - i128::from(n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steer::header::Header;
    use std::mem::offset_of;

    const HEADER: Header = Header(include_str!("../../bpf/contract.h"));

    #[test]
    fn the_constants_are_those_of_the_header() {
        let mine = [
            ("STEER_PORT_WORDS", PORT_WORDS as u64),
            ("STEER_PORTS_PER_WORD", PORTS_PER_WORD as u64),
            ("STEER_BITS_PER_PORT", BITS_PER_PORT as u64),
            ("STEER_PORT_ANY", PORT_ANY),
            ("STEER_PORT_EXACT", PORT_EXACT),
            ("STEER_FAMILY_IPV4", u64::from(FAMILY_IPV4)),
            ("STEER_FAMILY_IPV6", u64::from(FAMILY_IPV6)),
            ("STEER_ANY_MAC", u64::from(ANY_MAC)),
            ("STEER_ANY_ADDRESS", u64::from(ANY_ADDRESS)),
            ("STEER_REPLIES", u64::from(REPLIES)),
            ("STEER_FILTER", u64::from(FILTER)),
            ("STEER_SYN_RATE", u64::from(SYN_RATE)),
            ("STEER_ALLOW", u64::from(ALLOW)),
            ("STEER_DENY", u64::from(DENY)),
            ("STEER_SOURCE_BITS", u64::from(SOURCE_BITS)),
            ("STEER_ANSWER", u64::from(ANSWER)),
            ("STEER_SECOND_COOKIES", u64::from(SECOND_COOKIES)),
            ("STEER_REDIRECT_ANSWERS", u64::from(REDIRECT_ANSWERS)),
            ("STEER_TIMESTAMPS", u64::from(TIMESTAMPS)),
            ("STEER_WINDOW_SCALE", u64::from(WINDOW_SCALE)),
            ("STEER_SACK_PERMITTED", u64::from(SACK_PERMITTED)),
            ("STEER_ODD_PERIOD", u64::from(ODD_PERIOD)),
            ("STEER_PARTIAL_CHECKSUMS", u64::from(PARTIAL_CHECKSUMS)),
            ("STEER_TICK_MS_BITS", u64::from(TICK_MS_BITS)),
        ];
        assert_eq!(HEADER.defines(), mine.map(|(name, value)| (name.to_owned(), value)).into());
    }

    #[test]
    fn the_counters_are_those_of_the_header_in_its_order() {
        let mine = SteerCounter::ALL.iter().map(|counter| format!("STEER_{}", counter.name().to_uppercase()));
        assert_eq!(HEADER.names("enum steer_counter"), mine.chain(["STEER_COUNTERS".to_owned()]).collect::<Vec<_>>());
    }

    #[test]
    fn the_layouts_are_those_of_the_header() {
        let endpoint = [
            ("addr".to_owned(), offset_of!(EndpointRow, addr), 16),
            ("port".to_owned(), offset_of!(EndpointRow, port), 2),
            ("family".to_owned(), offset_of!(EndpointRow, family), 2),
        ];
        assert_eq!(HEADER.layout("steer_endpoint"), endpoint);
        let config =
            [("mac".to_owned(), offset_of!(Config, mac), 6), ("flags".to_owned(), offset_of!(Config, flags), 2)];
        assert_eq!(HEADER.layout("steer_config"), config);
        let replies = [
            ("peer".to_owned(), offset_of!(Replies, peer), 16),
            ("prefix".to_owned(), offset_of!(Replies, prefix), 16),
            ("mask".to_owned(), offset_of!(Replies, mask), 16),
            ("peer_port".to_owned(), offset_of!(Replies, peer_port), 2),
            ("first_port".to_owned(), offset_of!(Replies, first_port), 2),
            ("last_port".to_owned(), offset_of!(Replies, last_port), 2),
            ("family".to_owned(), offset_of!(Replies, family), 2),
        ];
        assert_eq!(HEADER.layout("steer_replies"), replies);
        let bytes =
            Replies { peer_port: 1, first_port: 2, last_port: 3, family: 4, mask: [7; 16], ..Replies::default() };
        let numbers = bytes.to_bytes();
        assert_eq!((numbers[32], u16::from_ne_bytes([numbers[54], numbers[55]])), (7, 4));
    }

    #[test]
    fn the_layouts_of_sources_are_those_of_the_header() {
        let source = [
            ("bits".to_owned(), offset_of!(Source, bits), 4),
            ("family".to_owned(), offset_of!(Source, family), 4),
            ("addr".to_owned(), offset_of!(Source, addr), 16),
        ];
        assert_eq!(HEADER.layout("steer_source"), source);
        let rate = [
            ("interval_ns".to_owned(), offset_of!(Rate, interval_ns), 8),
            ("depth_ns".to_owned(), offset_of!(Rate, depth_ns), 8),
            ("mask_v4".to_owned(), offset_of!(Rate, mask_v4), 16),
            ("mask_v6".to_owned(), offset_of!(Rate, mask_v6), 16),
        ];
        assert_eq!(HEADER.layout("steer_rate"), rate);
        let source = Source { bits: 1, family: 4, addr: [7; 16] }.to_bytes();
        assert_eq!(
            (source[..4].to_vec(), source[4..8].to_vec(), source[23]),
            (1_u32.to_ne_bytes().to_vec(), 4_u32.to_ne_bytes().to_vec(), 7)
        );
        let rate = Rate { interval_ns: 1, depth_ns: 2, mask_v4: [3; 16], mask_v6: [4; 16] }.to_bytes();
        assert_eq!((rate[8..16].to_vec(), rate[16], rate[47]), (2_u64.to_ne_bytes().to_vec(), 3, 4));
    }

    #[test]
    fn the_layout_of_cookies_is_that_of_the_header() {
        let cookies = [
            ("key".to_owned(), offset_of!(Cookies, key), 16),
            ("tick".to_owned(), offset_of!(Cookies, tick), 4),
            ("timestamp".to_owned(), offset_of!(Cookies, timestamp), 4),
            ("tick_ms".to_owned(), offset_of!(Cookies, tick_ms), 4),
            ("window".to_owned(), offset_of!(Cookies, window), 2),
            ("mss_v4".to_owned(), offset_of!(Cookies, mss_v4), 2),
            ("mss_v6".to_owned(), offset_of!(Cookies, mss_v6), 2),
            ("shift".to_owned(), offset_of!(Cookies, shift), 2),
            ("flags".to_owned(), offset_of!(Cookies, flags), 4),
        ];
        assert_eq!(HEADER.layout("steer_cookies"), cookies);
        let clock = Cookies { tick: 3, timestamp: 4, tick_ms: 10, ..Cookies::default() };
        let bytes = Cookies { key: [1, 2], window: 5, mss_v4: 6, mss_v6: 9, shift: 7, flags: 8, ..clock }.to_bytes();
        let half = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        assert_eq!([28, 30, 32, 34].map(half), [5, 6, 9, 7]);
        let word = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        assert_eq!([16, 20, 24, 36].map(word), [3, 4, 10, 8]);
        assert_eq!(bytes[8..16], 2_u64.to_ne_bytes());
    }

    #[test]
    fn outcomes_stand_together_between_seen_and_the_rest() {
        let kinds: Vec<bool> = SteerCounter::ALL.iter().map(|counter| counter.is_outcome()).collect();
        let (first, last) = (SteerCounter::PassNotIp as usize, SteerCounter::TxCookie as usize);
        assert!(kinds.iter().enumerate().all(|(i, outcome)| *outcome == (first..=last).contains(&i)), "{kinds:?}");
    }

    #[test]
    fn the_counters_of_all_cpus_are_summed_and_balance() {
        let block = |seen: u64, passed: u64| {
            let mut words = [0; STEER_COUNTERS];
            words[SteerCounter::Seen as usize] = seen;
            words[SteerCounter::PassNotTcp as usize] = passed;
            words[SteerCounter::SynBuckets as usize] = 1;
            words.iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<u8>>()
        };
        let cpus = [block(5, 5), block(3, 2)];
        let counters = SteerCounters::sum(cpus.iter().map(Vec::as_slice));
        assert_eq!(counters.get(SteerCounter::Seen), 8);
        assert_eq!(counters.get(SteerCounter::PassNotTcp), 7);
        assert_eq!(counters.unaccounted(), 1);
        assert_eq!(counters.iter().map(|(_, n)| n).sum::<u64>(), 17);
    }
}
