//! bpf/generate.h in Rust: the configuration, the counters and the latency buckets.
//!
//! The tests below read the header and fail when the two differ in a constant, a field, a state or a counter. What is
//! not here: what goes into the configuration (`frames`), and what the counters mean together (`tally`).

use crate::steer::values;

/// Length of a SYN over IPv4 in bytes.
pub const SYN_BYTES_IPV4: usize = 58;
/// Length of a SYN over IPv6 in bytes.
pub const SYN_BYTES_IPV6: usize = 78;
/// Length of an answer over IPv4 in bytes.
pub const ANSWER_BYTES_IPV4: usize = 54;
/// Length of an answer over IPv6 in bytes.
pub const ANSWER_BYTES_IPV6: usize = 74;
/// Room for the longest of them in bytes.
pub const FRAME_BYTES: usize = 80;
/// [`Config::family`] of an IPv4 target.
pub const FAMILY_IPV4: u32 = 4;
/// [`Config::family`] of an IPv6 target.
pub const FAMILY_IPV6: u32 = 6;
/// [`Config::close`]: FIN with the ACK of the handshake.
pub const CLOSE_CLIENT: u32 = 0;
/// [`Config::close`]: FIN after the peer's FIN.
pub const CLOSE_SERVER: u32 = 1;
/// [`Config::close`]: RST instead of the ACK of the handshake.
pub const CLOSE_RESET: u32 = 2;
/// The unit of [`Schedule::interval`] is two to minus this many ns.
pub const INTERVAL_BITS: u32 = 16;
/// A connection that is sent this many ns after it was due is late.
pub const LATE_NS: u64 = 1_000_000;
/// Buckets of one latency.
pub const LATENCY_BUCKETS: usize = 1056;
/// Each power of two has two to this many buckets.
pub const LATENCY_BITS: u32 = 5;

/// `struct generate_config`. Frames and addresses as they are in memory, which is network byte order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Key of the hash in the initial sequence numbers.
    pub key: u64,
    /// The interface that SYNs leave by.
    pub ifindex: u32,
    /// [`FAMILY_IPV4`] or [`FAMILY_IPV6`].
    pub family: u32,
    /// One of `CLOSE_*`.
    pub close: u32,
    /// Sources times ports.
    pub tuples: u32,
    /// Source addresses.
    pub sources: u32,
    /// Source ports.
    pub ports: u32,
    /// The last four bytes of the first source address, as a number.
    pub first_source: u32,
    /// The first source port.
    pub first_port: u32,
    /// The first source address, an IPv4 one in the last four bytes.
    pub source: [u8; 16],
    /// The target's address, an IPv4 one in the last four bytes.
    pub target: [u8; 16],
    /// The target's port in network byte order.
    pub target_port: u32,
    /// Sum over the words of a SYN's IP header that never change.
    pub syn_ip_sum: u32,
    /// The same over its TCP header and pseudo-header.
    pub syn_tcp_sum: u32,
    /// The same over an answer's IP header.
    pub answer_ip_sum: u32,
    /// The same over its TCP header and pseudo-header.
    pub answer_tcp_sum: u32,
    /// The core where answers are made, if frames are handed over to one.
    pub core: u16,
    /// 1 if they are.
    pub hand_over: u16,
    /// A SYN with zeros where frames differ.
    pub syn: [u8; FRAME_BYTES],
    /// An answer with zeros where frames differ.
    pub answer: [u8; FRAME_BYTES],
}

/// Size of `struct generate_config` in bytes.
pub const CONFIG_BYTES: usize = 256;

impl Config {
    /// The bytes that the kernel takes as the program's read-only data: the fields in the header's order, which leaves no
    /// padding between them.
    pub fn to_bytes(&self) -> [u8; CONFIG_BYTES] {
        values::joined(self.fields())
    }

    /// Every field in the header's order, with its name there.
    fn fields(&self) -> Vec<(&'static str, Vec<u8>)> {
        let word = |value: u32| value.to_ne_bytes().to_vec();
        vec![
            ("key", self.key.to_ne_bytes().to_vec()),
            ("ifindex", word(self.ifindex)),
            ("family", word(self.family)),
            ("close", word(self.close)),
            ("tuples", word(self.tuples)),
            ("sources", word(self.sources)),
            ("ports", word(self.ports)),
            ("first_source", word(self.first_source)),
            ("first_port", word(self.first_port)),
            ("source", self.source.to_vec()),
            ("target", self.target.to_vec()),
            ("target_port", word(self.target_port)),
            ("syn_ip_sum", word(self.syn_ip_sum)),
            ("syn_tcp_sum", word(self.syn_tcp_sum)),
            ("answer_ip_sum", word(self.answer_ip_sum)),
            ("answer_tcp_sum", word(self.answer_tcp_sum)),
            ("core", self.core.to_ne_bytes().to_vec()),
            ("hand_over", self.hand_over.to_ne_bytes().to_vec()),
            ("syn", self.syn.to_vec()),
            ("answer", self.answer.to_vec()),
        ]
    }
}

/// `struct generate_schedule`: when connections are due, and how many were sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    /// When the first one is due, on CLOCK_MONOTONIC in ns.
    pub start_ns: u64,
    /// From one to the next, in 2^-16 ns.
    pub interval: u64,
    /// Connections in all.
    pub limit: u64,
    /// Connections that are sent one right after the other, when the last of them is due; at least 1.
    pub burst: u64,
    /// Those of the present burst that are not sent yet.
    pub burst_left: u64,
    /// Those sent.
    pub sent: u64,
    /// Those sent more than 1 ms after they were due.
    pub late: u64,
}

/// Size of `struct generate_schedule` in words.
const SCHEDULE_WORDS: usize = 7;

impl Schedule {
    /// The bytes that the kernel takes as the value.
    pub fn to_bytes(self) -> Vec<u8> {
        let words = [self.start_ns, self.interval, self.limit, self.burst, self.burst_left, self.sent, self.late];
        words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    /// The value that the kernel gives; zeros for bytes that are missing.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut words = [0; SCHEDULE_WORDS];
        for (to, word) in words.iter_mut().zip(bytes.as_chunks().0) {
            *to = u64::from_ne_bytes(*word);
        }
        let [start_ns, interval, limit, burst, burst_left, sent, late] = words;
        Self { start_ns, interval, limit, burst, burst_left, sent, late }
    }
}

/// `enum generate_counter`: what the program counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Count {
    /// SYNs handed to the interface.
    Attempted,
    /// SYN-ACKs that acknowledged one of them, each once.
    Established,
    /// Connections that ended as planned.
    Completed,
    /// RST instead of a SYN-ACK.
    Refused,
    /// RST later.
    Reset,
    /// Not finished when it was the four-tuple's turn again.
    Overtaken,
    /// Frames from the target to one of our four-tuples.
    Received,
    /// Frames sent in answer.
    Answered,
    /// The peer's retransmissions, which were answered again.
    Repeated,
    /// Frames that no connection of ours expects.
    Wrong,
}

impl Count {
    /// Every counter, in the order of the header.
    pub const ALL: [Count; 10] = [
        Count::Attempted,
        Count::Established,
        Count::Completed,
        Count::Refused,
        Count::Reset,
        Count::Overtaken,
        Count::Received,
        Count::Answered,
        Count::Repeated,
        Count::Wrong,
    ];
}

/// `struct generate_counters`, summed over the CPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counters {
    words: Vec<u64>,
}

/// Words in `struct generate_counters`.
const COUNTERS_WORDS: usize = Count::ALL.len() + 2 * LATENCY_BUCKETS;

impl Counters {
    /// Sums the blocks that the kernel gives for each CPU, native-endian words.
    pub fn sum<'a>(blocks: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut words = vec![0; COUNTERS_WORDS];
        values::add_cpus(&mut words, blocks);
        Self { words }
    }

    /// One counter.
    pub fn get(&self, count: Count) -> u64 {
        self.words[count as usize]
    }

    /// The buckets of the time from the SYN to the SYN-ACK.
    pub fn handshake(&self) -> &[u64] {
        &self.words[Count::ALL.len()..][..LATENCY_BUCKETS]
    }

    /// The buckets of the time from the SYN to the segment that completed the connection.
    pub fn total(&self) -> &[u64] {
        &self.words[Count::ALL.len() + LATENCY_BUCKETS..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steer::header::Header;

    const HEADER: Header = Header(include_str!("../../../bpf/generate.h"));

    #[test]
    fn the_constants_are_those_of_the_header() {
        let mine = [
            ("GENERATE_SYN_BYTES_IPV4", SYN_BYTES_IPV4 as u64),
            ("GENERATE_SYN_BYTES_IPV6", SYN_BYTES_IPV6 as u64),
            ("GENERATE_ANSWER_BYTES_IPV4", ANSWER_BYTES_IPV4 as u64),
            ("GENERATE_ANSWER_BYTES_IPV6", ANSWER_BYTES_IPV6 as u64),
            ("GENERATE_FRAME_BYTES", FRAME_BYTES as u64),
            ("GENERATE_FAMILY_IPV4", u64::from(FAMILY_IPV4)),
            ("GENERATE_FAMILY_IPV6", u64::from(FAMILY_IPV6)),
            ("GENERATE_CLOSE_CLIENT", u64::from(CLOSE_CLIENT)),
            ("GENERATE_CLOSE_SERVER", u64::from(CLOSE_SERVER)),
            ("GENERATE_CLOSE_RESET", u64::from(CLOSE_RESET)),
            ("GENERATE_INTERVAL_BITS", u64::from(INTERVAL_BITS)),
            ("GENERATE_LATE_NS", LATE_NS),
            ("GENERATE_LATENCY_BITS", u64::from(LATENCY_BITS)),
            ("GENERATE_LATENCY_BUCKETS", LATENCY_BUCKETS as u64),
            // Of the program alone.
            ("GENERATE_STATE_BITS", 3),
            ("GENERATE_ISN_CLOCK_BITS", 12),
        ];
        assert_eq!(HEADER.defines(), mine.map(|(name, value)| (name.to_owned(), value)).into());
    }

    #[test]
    fn the_counters_are_those_of_the_header_in_its_order() {
        let mine = Count::ALL.iter().map(|count| format!("GENERATE_COUNT_{count:?}").to_uppercase());
        assert_eq!(
            HEADER.names("enum generate_counter"),
            mine.chain(["GENERATE_COUNTERS".to_owned()]).collect::<Vec<_>>()
        );
        assert!(Count::ALL.iter().enumerate().all(|(i, count)| *count as usize == i));
        let (count, buckets) = (Count::ALL.len() * 8, LATENCY_BUCKETS * 8);
        let layout = [("count", count), ("handshake", buckets), ("total", buckets)];
        assert_eq!(HEADER.fields("generate_counters"), layout.map(|(name, size)| (name.to_owned(), size)));
    }

    #[test]
    fn the_configuration_is_laid_out_as_in_the_header() {
        let config = Config {
            key: 1,
            ifindex: 2,
            family: 0,
            close: 0,
            tuples: 0,
            sources: 0,
            ports: 0,
            first_source: 0,
            first_port: 0,
            source: [0; 16],
            target: [0; 16],
            target_port: 0,
            syn_ip_sum: 0,
            syn_tcp_sum: 0,
            answer_ip_sum: 0,
            answer_tcp_sum: 0,
            core: 0,
            hand_over: 0,
            syn: [0; FRAME_BYTES],
            answer: [3; FRAME_BYTES],
        };
        let mine = config.fields();
        let mine: Vec<_> = mine.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.len())).collect();
        assert_eq!(HEADER.fields("generate_config"), mine);
        assert_eq!(mine.iter().map(|(_, size)| size).sum::<usize>(), CONFIG_BYTES);
        let config = config.to_bytes();
        assert_eq!(config[..12], [&1_u64.to_ne_bytes()[..], &2_u32.to_ne_bytes()].concat());
        assert_eq!(config[CONFIG_BYTES - FRAME_BYTES..], [3; FRAME_BYTES]);
    }

    #[test]
    fn the_schedule_is_laid_out_as_in_the_header() {
        let names = ["start_ns", "interval", "limit", "burst", "burst_left", "sent", "late"];
        assert_eq!(HEADER.fields("generate_schedule"), names.map(|name| (name.to_owned(), 8)));
        let schedule = Schedule { start_ns: 1, interval: 2, limit: 3, burst: 4, burst_left: 5, sent: 6, late: 7 };
        assert_eq!(schedule.to_bytes(), (1..=7_u64).flat_map(u64::to_ne_bytes).collect::<Vec<_>>());
        assert_eq!(Schedule::from_bytes(&schedule.to_bytes()), schedule);
    }

    #[test]
    fn the_counters_of_all_cpus_are_summed() {
        let mut block = vec![0_u64; COUNTERS_WORDS];
        block[Count::Wrong as usize] = 3;
        block[Count::ALL.len()] = 4;
        block[COUNTERS_WORDS - 1] = 5;
        let bytes: Vec<u8> = block.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let counters = Counters::sum([&bytes[..], &bytes].into_iter());
        assert_eq!((counters.get(Count::Wrong), counters.get(Count::Attempted)), (6, 0));
        assert_eq!((counters.handshake()[0], counters.total()[LATENCY_BUCKETS - 1]), (8, 10));
    }
}
