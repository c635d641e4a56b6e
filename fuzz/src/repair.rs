//! Right checksums for a frame that libFuzzer made: by chance none has them, and everything behind them would stay unseen.
//!
//! The sums are taken here by their definition (RFC 1071 1), so that handfast's arithmetic does not vouch for itself.

use handfast::wire::ether::{Ether, TYPE_IPV4, TYPE_IPV6};
use handfast::wire::ip::{IPV4_LEN, Packet, parse_ipv4, parse_ipv6};

const PROTOCOL_TCP: u8 = 6;
/// Offset of the checksum in an IPv4 header.
const IPV4_CHECKSUM: usize = 10;
/// Offset of the checksum in a TCP header.
const TCP_CHECKSUM: usize = 16;

/// The frame in two more forms: with right checksums, and with the partial TCP checksum of a local sender. `None` if
/// there is no whole TCP header to be found.
pub fn with_checksums(frame: &[u8]) -> Option<[Vec<u8>; 2]> {
    let mut frame = frame.to_vec();
    let ether = Ether::parse(&frame).ok()?;
    let network = &mut frame[ether.header_len()..];
    let packet = match ether.ethertype {
        TYPE_IPV4 => {
            repair_ipv4(network)?;
            parse_ipv4(network).ok()?
        }
        TYPE_IPV6 => parse_ipv6(network).ok()?,
        _ => return None,
    };
    let pseudo = pseudo_header(&packet);
    let tcp = &mut network[packet.tcp];
    let field = TCP_CHECKSUM..TCP_CHECKSUM + 2;
    tcp.get_mut(field.clone())?.fill(0);
    let whole = !fold(&[&pseudo, tcp]);
    tcp[field.clone()].copy_from_slice(&fold(&[&pseudo]).to_be_bytes());
    let at = tcp.as_ptr().addr() - frame.as_ptr().addr();
    let partial = frame.clone();
    frame[at..][field].copy_from_slice(&whole.to_be_bytes());
    Some([frame, partial])
}

fn repair_ipv4(network: &mut [u8]) -> Option<()> {
    let header_len = usize::from(network.first()? & 0x0f) * 4;
    let header = network.get_mut(..header_len.max(IPV4_LEN))?;
    header[IPV4_CHECKSUM..][..2].fill(0);
    let checksum = !fold(&[header]);
    header[IPV4_CHECKSUM..][..2].copy_from_slice(&checksum.to_be_bytes());
    Some(())
}

/// The pseudo-header (RFC 9293 3.1, RFC 8200 8.1); IPv4 in IPv6's form, which sums up to the same.
fn pseudo_header(packet: &Packet) -> Vec<u8> {
    let address = |addr: &handfast::wire::tuple::Addr| match addr.is_v4() {
        true => addr.v4_octets().to_vec(),
        false => addr.0.to_vec(),
    };
    let len = u32::try_from(packet.tcp.len()).expect("a frame is short");
    [&address(&packet.src)[..], &address(&packet.dst), &len.to_be_bytes(), &[0, 0, 0, PROTOCOL_TCP]].concat()
}

/// The ones' complement sum of all 16-bit words; only the last piece may have an odd length.
fn fold(pieces: &[&[u8]]) -> u16 {
    let words = pieces.iter().flat_map(|piece| piece.chunks(2));
    let sum: u64 = words.map(|word| u64::from(word[0]) << 8 | word.get(1).map_or(0, |low| u64::from(*low))).sum();
    let once = (sum >> 16) + (sum & 0xffff);
    let twice = (once >> 16) + (once & 0xffff);
    u16::try_from((twice >> 16) + (twice & 0xffff)).expect("folded")
}
