//! bpf/flood.h in Rust: the configuration, and the counters.
//!
//! The tests below read the header and fail when the two differ in a constant, a field or a counter. What is not here: what
//! goes into the configuration and into a frame (`frames`), and what the counters mean together (`report`).

use crate::steer::values;

/// Room for the longest frame in bytes.
pub const FRAME_BYTES: usize = 112;
/// [`Config::family`] of an IPv4 target.
pub const FAMILY_IPV4: u32 = 4;
/// [`Config::family`] of an IPv6 target.
pub const FAMILY_IPV6: u32 = 6;
/// [`Config::checksum`]: the header is cut off before it.
pub const CHECKSUM_NONE: u32 = 0;
/// [`Config::checksum`]: the right sum.
pub const CHECKSUM_RIGHT: u32 = 1;
/// [`Config::checksum`]: a wrong one.
pub const CHECKSUM_WRONG: u32 = 2;
/// [`Config::control`]: all eight bits are random.
pub const CONTROL_RANDOM: u32 = 256;
/// Makes sequence numbers of frame numbers.
pub const SEQ_FACTOR: u32 = 2_654_435_769;
/// The bits in which an acknowledgment number differs from the sequence number of its frame.
pub const ACK_DIFFERS: u32 = 1_515_870_810;
/// Frames of which is known whether they were answered.
pub const WINDOW_FRAMES: u64 = 33_554_432;

/// `struct flood_config`. Frames and addresses as they are in memory, which is network byte order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Key of everything random.
    pub key: u64,
    /// The interface that frames leave by and answers arrive on.
    pub ifindex: u32,
    /// The interface that shares the wire with it; 0 if none does.
    pub relay: u32,
    /// [`FAMILY_IPV4`] or [`FAMILY_IPV6`].
    pub family: u32,
    /// The length of every frame in bytes, which is even.
    pub frame_bytes: u32,
    /// Where the IP header stands.
    pub ip_at: u32,
    /// Where the TCP header stands.
    pub tcp_at: u32,
    /// Where the identification of a fragment stands; 0 if frames are none.
    pub fragment_at: u32,
    /// Where the value of the timestamps option stands; 0 without one.
    pub timestamp_at: u32,
    /// The TCP control bits, or [`CONTROL_RANDOM`].
    pub control: u32,
    /// One of `CHECKSUM_*`.
    pub checksum: u32,
    /// The first source port.
    pub first_port: u32,
    /// Source ports.
    pub ports: u32,
    /// What all source addresses share, of an IPv4 one in the last four bytes.
    pub source: [u8; 16],
    /// The bits in which they differ.
    pub mask: [u8; 16],
    /// The target's address, an IPv4 one in the last four bytes.
    pub target: [u8; 16],
    /// The target's port in network byte order.
    pub target_port: u32,
    /// Sum over the words of an IPv4 header that never change.
    pub ip_sum: u32,
    /// The same over TCP header and pseudo-header.
    pub tcp_sum: u32,
    /// The same over the pseudo-header alone.
    pub pseudo_sum: u32,
    /// A frame with zeros where frames differ.
    pub frame: [u8; FRAME_BYTES],
}

/// Size of `struct flood_config` in bytes.
pub const CONFIG_BYTES: usize = 232;

impl Config {
    /// The bytes that the kernel takes as the program's read-only data: the fields in the header's order, without padding
    /// between them.
    pub fn to_bytes(&self) -> [u8; CONFIG_BYTES] {
        values::joined(self.fields())
    }

    /// Every field in the header's order, with its name there.
    fn fields(&self) -> Vec<(&'static str, Vec<u8>)> {
        let word = |value: u32| value.to_ne_bytes().to_vec();
        vec![
            ("key", self.key.to_ne_bytes().to_vec()),
            ("ifindex", word(self.ifindex)),
            ("relay", word(self.relay)),
            ("family", word(self.family)),
            ("frame_bytes", word(self.frame_bytes)),
            ("ip_at", word(self.ip_at)),
            ("tcp_at", word(self.tcp_at)),
            ("fragment_at", word(self.fragment_at)),
            ("timestamp_at", word(self.timestamp_at)),
            ("control", word(self.control)),
            ("checksum", word(self.checksum)),
            ("first_port", word(self.first_port)),
            ("ports", word(self.ports)),
            ("source", self.source.to_vec()),
            ("mask", self.mask.to_vec()),
            ("target", self.target.to_vec()),
            ("target_port", word(self.target_port)),
            ("ip_sum", word(self.ip_sum)),
            ("tcp_sum", word(self.tcp_sum)),
            ("pseudo_sum", word(self.pseudo_sum)),
            ("frame", self.frame.to_vec()),
        ]
    }
}

/// `struct flood_progress`: how far sending has come, beside its schedule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Frames that were sent before this schedule began.
    pub before: u64,
    /// When the last frame was sent that had its time, on CLOCK_MONOTONIC in ns.
    pub last_ns: u64,
}

impl Progress {
    /// The bytes that the kernel takes as the value.
    pub fn to_bytes(self) -> Vec<u8> {
        [self.before.to_ne_bytes(), self.last_ns.to_ne_bytes()].concat()
    }

    /// The value that the kernel gives; zeros for bytes that are missing.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut words = bytes.as_chunks().0.iter().map(|word| u64::from_ne_bytes(*word));
        let mut next = || words.next().unwrap_or(0);
        Self { before: next(), last_ns: next() }
    }
}

/// `enum flood_counter`: what the program counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Count {
    /// SYN-ACKs.
    SynAck,
    /// RSTs.
    Rst,
    /// ACKs alone.
    ChallengeAck,
    /// Any other segment, and what is not TCP.
    Other,
    /// Frames of the flood that a SYN-ACK or RST came for.
    Answered,
    /// SYN-ACKs and RSTs for a frame that had been answered before.
    Repeated,
    /// Frames that could not be made.
    Failed,
}

impl Count {
    /// Every counter, in the order of the header.
    pub const ALL: [Count; 7] =
        [Count::SynAck, Count::Rst, Count::ChallengeAck, Count::Other, Count::Answered, Count::Repeated, Count::Failed];
}

/// `struct flood_counters`, summed over the CPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters([u64; Count::ALL.len()]);

impl Counters {
    /// Sums the blocks that the kernel gives for each CPU, native-endian words.
    pub fn sum<'a>(blocks: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut words = [0; Count::ALL.len()];
        values::add_cpus(&mut words, blocks);
        Self(words)
    }

    /// One counter.
    pub fn get(&self, count: Count) -> u64 {
        self.0[count as usize]
    }

    /// What was counted since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i].wrapping_sub(earlier.0[i])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steer::header::Header;

    const HEADER: Header = Header(include_str!("../../bpf/flood.h"));

    #[test]
    fn the_constants_are_those_of_the_header() {
        let mine = [
            ("FLOOD_FRAME_BYTES", FRAME_BYTES as u64),
            ("FLOOD_FAMILY_IPV4", u64::from(FAMILY_IPV4)),
            ("FLOOD_FAMILY_IPV6", u64::from(FAMILY_IPV6)),
            ("FLOOD_CHECKSUM_NONE", u64::from(CHECKSUM_NONE)),
            ("FLOOD_CHECKSUM_RIGHT", u64::from(CHECKSUM_RIGHT)),
            ("FLOOD_CHECKSUM_WRONG", u64::from(CHECKSUM_WRONG)),
            ("FLOOD_CONTROL_RANDOM", u64::from(CONTROL_RANDOM)),
            ("FLOOD_SEQ_FACTOR", u64::from(SEQ_FACTOR)),
            ("FLOOD_ACK_DIFFERS", u64::from(ACK_DIFFERS)),
            ("FLOOD_WINDOW_FRAMES", WINDOW_FRAMES),
            // Of the program alone.
            ("FLOOD_SEQ_INVERSE", 340_573_321),
            ("FLOOD_WINDOW_WORDS", WINDOW_FRAMES / 64),
        ];
        assert_eq!(HEADER.defines(), mine.map(|(name, value)| (name.to_owned(), value)).into());
        assert_eq!(SEQ_FACTOR.wrapping_mul(340_573_321), 1);
    }

    #[test]
    fn the_counters_are_those_of_the_header_in_its_order() {
        let screaming = |count: &Count| {
            let words = format!("{count:?}").chars().fold(String::new(), |text, c| {
                let gap = if c.is_uppercase() && !text.is_empty() { "_" } else { "" };
                text + gap + &c.to_uppercase().to_string()
            });
            format!("FLOOD_COUNT_{words}")
        };
        let mine = Count::ALL.iter().map(screaming).chain(["FLOOD_COUNTERS".to_owned()]);
        assert_eq!(HEADER.names("enum flood_counter"), mine.collect::<Vec<_>>());
        assert!(Count::ALL.iter().enumerate().all(|(i, count)| *count as usize == i));
        assert_eq!(HEADER.fields("flood_counters"), [("count".to_owned(), Count::ALL.len() * 8)]);
    }

    #[test]
    fn the_configuration_is_laid_out_as_in_the_header() {
        let config = crate::flood::frames::tests::config("198.18.0.1:80", "198.19.0.0/16");
        let mine = config.fields();
        let mine: Vec<_> = mine.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.len())).collect();
        assert_eq!(HEADER.fields("flood_config"), mine);
        assert_eq!(mine.iter().map(|(_, size)| size).sum::<usize>(), CONFIG_BYTES);
        assert_eq!(config.to_bytes()[CONFIG_BYTES - FRAME_BYTES..], config.frame);
    }

    #[test]
    fn progress_is_laid_out_as_in_the_header() {
        assert_eq!(HEADER.fields("flood_progress"), ["before", "last_ns"].map(|name| (name.to_owned(), 8)));
        let progress = Progress { before: 1, last_ns: 2 };
        assert_eq!(progress.to_bytes(), [1_u64.to_ne_bytes(), 2_u64.to_ne_bytes()].concat());
        assert_eq!(Progress::from_bytes(&progress.to_bytes()), progress);
    }

    #[test]
    fn the_counters_of_all_cpus_are_summed() {
        let mut block = [0_u64; Count::ALL.len()];
        block[Count::Rst as usize] = 3;
        let bytes: Vec<u8> = block.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let counters = Counters::sum([&bytes[..], &bytes].into_iter());
        assert_eq!((counters.get(Count::Rst), counters.get(Count::SynAck)), (6, 0));
        assert_eq!(counters.since(&counters), Counters::default());
    }
}
