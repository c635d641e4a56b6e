//! Requirements of docs/rfc.md that a packet script cannot show: a script speaks of TCP fields, and these stand in the IP
//! header, in bits that a script has no name for, or in the Ethernet header. The engine is asked over whole frames.

use handfast::engine::listeners::{Endpoint, Listener, Listeners};
use handfast::engine::{Engine, EngineConfig, Secrets};
use handfast::service::{AnyService, Discard};
use handfast::tcp::config::TcpConfig;
use handfast::time::Now;
use handfast::verdict::{DropReason, Verdict};
use handfast::wire::checksum::{Sum, pseudo_header};
use handfast::wire::ether::VlanTags;
use handfast::wire::options::Options;
use handfast::wire::parse::{PartialChecksums, parse};
use handfast::wire::reply::{Addressing, Reply, write};
use handfast::wire::segment::Control;
use handfast::wire::seq::SeqNum;
use handfast::wire::tuple::FourTuple;

const ENGINE_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const PEER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
const FRAME_ROOM: usize = 1522;
/// Where an untagged frame's IPv4 and TCP headers start.
const IP: usize = 14;
const TCP: usize = IP + 20;

fn engine() -> Engine {
    let config = EngineConfig {
        tcp: TcpConfig::default(),
        flows: 4,
        burst: 1,
        mac: ENGINE_MAC,
        partial_checksums: PartialChecksums::Refuse,
        events: 0,
    };
    let listener =
        Listener { endpoint: Endpoint { addr: None, port: 80 }, service: AnyService::Discard(Discard), open: true };
    let secrets = Secrets { flow_hash: [1, 2], isn: [3; 16], timestamp_offset: 0 };
    Engine::new(config, &secrets, Listeners::new(vec![listener]), Now::from_millis(1))
}

/// From the engine's end to the peer's.
fn tuple() -> FourTuple {
    FourTuple::new("198.18.0.1:80".parse().unwrap(), "198.18.0.2:40000".parse().unwrap())
}

/// A SYN of the peer.
fn syn() -> Vec<u8> {
    let to =
        Addressing { dst_mac: ENGINE_MAC, src_mac: PEER_MAC, tags: VlanTags::default(), tuple: tuple().reversed() };
    let options = Options { mss: Some(1460), ..Options::default() };
    let reply = Reply { seq: SeqNum(1000), control: Control::SYN, window: 64_000, options, ..Reply::default() };
    let mut frame = vec![0; FRAME_ROOM];
    let len = write(&mut frame, &to, &reply, |_| {});
    frame.truncate(len);
    frame
}

/// Sums the changed headers of a frame without payload up again.
fn sealed(mut frame: Vec<u8>) -> Vec<u8> {
    let tcp = IP + usize::from(frame[IP] & 15) * 4;
    frame[IP + 10..IP + 12].fill(0);
    let ip_sum = Sum::default().bytes(&frame[IP..tcp]).checksum();
    frame[IP + 10..IP + 12].copy_from_slice(&ip_sum.to_be_bytes());
    frame[tcp + 16..tcp + 18].fill(0);
    let tcp_len = u16::try_from(frame.len() - tcp).unwrap();
    let tcp_sum = pseudo_header(&tuple(), tcp_len).bytes(&frame[tcp..]).checksum();
    frame[tcp + 16..tcp + 18].copy_from_slice(&tcp_sum.to_be_bytes());
    frame
}

/// What a fresh engine makes of a frame: the verdict, and the answer if there is one.
fn answer(frame: &[u8]) -> (Verdict, Vec<u8>) {
    let mut engine = engine();
    let mut room = frame.to_vec();
    room.resize(FRAME_ROOM, 0xee);
    engine.stage(frame);
    let verdict = engine.commit(0, &mut room, Now::from_millis(2));
    room.truncate(if let Verdict::Transmit { len } = verdict { len } else { 0 });
    (verdict, room)
}

fn is_syn_ack(frame: &[u8]) -> bool {
    let control = parse(frame, PartialChecksums::Refuse).map(|segment| segment.control);
    control == Ok(Control::SYN | Control::ACK)
}

#[test]
fn an_answer_is_an_atomic_datagram_with_a_ttl_of_64() {
    let (_, frame) = answer(&syn());
    assert!(is_syn_ack(&frame));
    assert_eq!(frame[IP + 1], 0, "DSCP and ECN");
    assert_eq!(frame[IP + 4..IP + 6], [0, 0], "identification");
    assert_eq!(frame[IP + 6..IP + 8], [0x40, 0], "DF, not MF, offset 0");
    assert_eq!(frame[IP + 8], 64, "TTL");
}

#[test]
fn a_syn_that_offers_ecn_is_answered_without_it() {
    let mut frame = syn();
    frame[TCP + 13] |= 0xc0;
    let (_, frame) = answer(&sealed(frame));
    assert!(is_syn_ack(&frame), "neither ECE nor CWR");
}

#[test]
fn reserved_bits_are_ignored_and_sent_as_zero() {
    let mut frame = syn();
    frame[TCP + 12] |= 0x0f;
    let (_, frame) = answer(&sealed(frame));
    assert!(is_syn_ack(&frame));
    assert_eq!(frame[TCP + 12] & 0x0f, 0);
}

#[test]
fn a_source_routed_segment_is_answered_straight_and_without_ip_options() {
    // Loose source and record route (RFC 791 3.1) by one router, fully used up, and an end of list.
    let route = [131, 7, 8, 198, 18, 0, 9, 0];
    let mut frame = syn();
    frame.splice(TCP..TCP, route);
    frame[IP] = 0x47;
    let total_len = u16::try_from(frame.len() - IP).unwrap();
    frame[IP + 2..IP + 4].copy_from_slice(&total_len.to_be_bytes());
    let (_, frame) = answer(&sealed(frame));
    assert!(is_syn_ack(&frame));
    assert_eq!(frame[IP], 0x45);
    assert_eq!(frame[IP + 16..IP + 20], [198, 18, 0, 2]);
}

#[test]
fn a_segment_to_a_group_or_from_one_is_dropped_without_an_answer() {
    for (what, at, octets) in [
        ("to a multicast group", IP + 16, [224, 0, 0, 1]),
        ("to everybody", IP + 16, [255; 4]),
        ("from a multicast group", IP + 12, [239, 1, 1, 1]),
        ("from everybody", IP + 12, [255; 4]),
        ("from nobody", IP + 12, [0; 4]),
        ("from the loopback network", IP + 12, [127, 0, 0, 1]),
    ] {
        let mut frame = syn();
        frame[at..at + 4].copy_from_slice(&octets);
        let (verdict, _) = answer(&sealed(frame));
        assert_eq!(verdict, Verdict::Drop(DropReason::BadAddress), "{what}");
    }
}

#[test]
fn a_frame_for_another_mac_address_is_dropped() {
    let mut frame = syn();
    frame[5] ^= 1;
    assert_eq!(answer(&frame).0, Verdict::Drop(DropReason::NotForUs));
}
