//! From the plan to the program's configuration: the frames with all that is the same in each of them, and the sums over
//! it, so that a checksum takes a few additions.
//!
//! The frames come from [`crate::wire`], as those of the engine do.

use super::contract::{
    ANSWER_BYTES_IPV4, ANSWER_BYTES_IPV6, CLOSE_CLIENT, CLOSE_RESET, CLOSE_SERVER, Config, FAMILY_IPV4, FAMILY_IPV6,
    FRAME_BYTES, SYN_BYTES_IPV4, SYN_BYTES_IPV6,
};
use super::error::XdpError;
use super::plan::{XdpClose, XdpPlan};
use crate::wire::checksum::{Sum, pseudo_header};
use crate::wire::ether::{ETHER_LEN, VlanTags};
use crate::wire::ip::{IPV4_LEN, IPV6_LEN};
use crate::wire::options::Options;
use crate::wire::reply::{Addressing, Reply, write};
use crate::wire::segment::Control;
use crate::wire::tuple::{Addr, FourTuple};
use std::net::IpAddr;

/// Most common MSS of an Ethernet, less the longer header of IPv6.
const MSS_IPV4: u16 = 1460;
const MSS_IPV6: u16 = 1440;

/// Our receive window, in bytes.
const WINDOW: u16 = u16::MAX;

/// Where the source port and the checksum stand in a TCP header.
const SOURCE_PORT: std::ops::Range<usize> = 0..2;
const CHECKSUM: std::ops::Range<usize> = 16..18;
/// Where the checksum stands in an IPv4 header.
const IPV4_CHECKSUM: std::ops::Range<usize> = 10..12;

/// A frame without what differs, and the sums over its headers.
struct Template {
    frame: [u8; FRAME_BYTES],
    bytes: usize,
    ip_sum: u32,
    tcp_sum: u32,
}

impl Template {
    /// The frame that `reply` makes, from the source address with its last four bytes zero, and from port 0.
    fn new(plan: &XdpPlan, reply: &Reply) -> Self {
        let mut local = Addr::from(plan.first_source);
        local.0[12..].fill(0);
        let remote = Addr::from(plan.target.ip());
        let tuple =
            FourTuple { local_addr: local, remote_addr: remote, local_port: 0, remote_port: plan.target.port() };
        let to = Addressing { dst_mac: plan.dst_mac, src_mac: plan.src_mac, tags: VlanTags::default(), tuple };
        let mut frame = [0; FRAME_BYTES];
        let bytes = write(&mut frame, &to, reply, |_| {});
        let ip_len = if plan.target.is_ipv4() { IPV4_LEN } else { IPV6_LEN };
        let (ip, tcp) = frame[ETHER_LEN..bytes].split_at_mut(ip_len);
        if plan.target.is_ipv4() {
            ip[IPV4_CHECKSUM].fill(0);
        }
        tcp[SOURCE_PORT].fill(0);
        tcp[CHECKSUM].fill(0);
        let tcp_len = u16::try_from(tcp.len()).expect("a header's length");
        // As the program reads words: in memory order.
        let in_memory = |sum: Sum| u32::from(sum.fold().to_be());
        let ip_sum = in_memory(Sum::default().bytes(ip));
        let tcp_sum = in_memory(pseudo_header(&tuple, tcp_len).bytes(tcp));
        Self { frame, bytes, ip_sum, tcp_sum }
    }
}

/// An address as the program compares it: IPv4 in the last four bytes, and nothing before them.
fn plain(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => {
            let mut bytes = [0; 16];
            bytes[12..].copy_from_slice(&v4.octets());
            bytes
        }
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// The configuration of the program; `key` sets the initial sequence numbers apart.
///
/// # Errors
///
/// What is wrong with the plan.
pub fn config(plan: &XdpPlan, key: u64) -> Result<Config, XdpError> {
    let tuples = plan.tuples()?;
    let is_ipv4 = plan.target.is_ipv4();
    let mss = Some(if is_ipv4 { MSS_IPV4 } else { MSS_IPV6 });
    let options = Options { mss, ..Options::default() };
    let answer = Reply { window: WINDOW, ..Reply::default() };
    let syn = Template::new(plan, &Reply { control: Control::SYN, options, ..answer });
    let answer = Template::new(plan, &answer);
    debug_assert_eq!(
        (syn.bytes, answer.bytes),
        if is_ipv4 { (SYN_BYTES_IPV4, ANSWER_BYTES_IPV4) } else { (SYN_BYTES_IPV6, ANSWER_BYTES_IPV6) }
    );
    Ok(Config {
        key,
        ifindex: plan.ifindex,
        family: if is_ipv4 { FAMILY_IPV4 } else { FAMILY_IPV6 },
        close: match plan.close {
            XdpClose::Client => CLOSE_CLIENT,
            XdpClose::Server => CLOSE_SERVER,
            XdpClose::Reset => CLOSE_RESET,
        },
        tuples: tuples.count,
        sources: plan.sources,
        ports: tuples.ports,
        first_source: tuples.first_source,
        first_port: u32::from(*plan.ports.start()),
        source: plain(plan.first_source),
        target: plain(plan.target.ip()),
        target_port: u32::from(plan.target.port().to_be()),
        syn_ip_sum: syn.ip_sum,
        syn_tcp_sum: syn.tcp_sum,
        answer_ip_sum: answer.ip_sum,
        answer_tcp_sum: answer.tcp_sum,
        core: plan.core.answering().unwrap_or(0),
        hand_over: plan.core.answering().is_some().into(),
        syn: syn.frame,
        answer: answer.frame,
    })
}

/// How long the plan's SYNs are, in bytes.
pub fn syn_bytes(plan: &XdpPlan) -> usize {
    if plan.target.is_ipv4() { SYN_BYTES_IPV4 } else { SYN_BYTES_IPV6 }
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::plan;
    use super::*;
    use crate::wire::parse::{PartialChecksums, parse};

    /// What the program does with a SYN's template over IPv4, word by word.
    fn finished(config: &Config, source: [u8; 4], port: u16, seq: u32) -> Vec<u8> {
        let mut frame = config.syn[..SYN_BYTES_IPV4].to_vec();
        let words =
            |bytes: &[u8]| -> u64 { bytes.as_chunks().0.iter().map(|word| u64::from(u16::from_ne_bytes(*word))).sum() };
        let fold = |mut sum: u64| {
            while sum >> 16 != 0 {
                sum = (sum >> 16) + (sum & 0xffff);
            }
            (!u16::try_from(sum).unwrap()).to_ne_bytes()
        };
        let ip_sum = u64::from(config.syn_ip_sum) + words(&source);
        let tcp_sum =
            u64::from(config.syn_tcp_sum) + words(&source) + words(&port.to_be_bytes()) + words(&seq.to_be_bytes());
        frame[26..30].copy_from_slice(&source);
        frame[24..26].copy_from_slice(&fold(ip_sum));
        frame[34..36].copy_from_slice(&port.to_be_bytes());
        frame[38..42].copy_from_slice(&seq.to_be_bytes());
        frame[50..52].copy_from_slice(&fold(tcp_sum));
        frame
    }

    #[test]
    fn a_template_with_its_sums_becomes_a_legal_syn() {
        let config = config(&plan("198.18.0.1:80", "198.18.1.0"), 7).unwrap();
        for (source, port, seq) in [([198, 18, 1, 3], 1024, 1), ([198, 18, 255, 255], 65_535, u32::MAX)] {
            let frame = finished(&config, source, port, seq);
            let segment = parse(&frame, PartialChecksums::Refuse).unwrap();
            assert_eq!(segment.tuple.remote().to_string(), format!("{}:{port}", std::net::Ipv4Addr::from(source)));
            assert_eq!(segment.tuple.local().to_string(), "198.18.0.1:80");
            assert_eq!((segment.control, segment.seq.0), (Control::SYN, seq));
            assert_eq!(segment.options, Options { mss: Some(MSS_IPV4), ..Options::default() });
            assert_eq!(usize::from(segment.payload_at), SYN_BYTES_IPV4);
        }
    }

    #[test]
    fn both_families_have_the_lengths_of_the_contract() {
        let frames = |target, source| {
            let plan = plan(target, source);
            let config = config(&plan, 0).unwrap();
            let last = |frame: &[u8; FRAME_BYTES]| frame.iter().rposition(|byte| *byte != 0).unwrap();
            (syn_bytes(&plan), last(&config.syn), last(&config.answer), config.family)
        };
        // The last byte that is not zero: of the MSS, or of the window, four bytes before the end.
        assert_eq!(frames("198.18.0.1:80", "198.18.1.0"), (58, 57, 49, FAMILY_IPV4));
        assert_eq!(frames("[2001:2::1]:80", "2001:2::2"), (78, 77, 69, FAMILY_IPV6));
    }
}
