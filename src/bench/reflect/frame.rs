//! Turning a frame round in place, knowing nothing but the frame: the least that a responder can do.
//!
//! Untagged Ethernet with an IPv4 header without options and TCP behind it; anything else is left alone. What arrives is
//! not checked: checksums, sequence numbers and the rest of TCP are what this is to be compared with.

use crate::wire::checksum::Sum;

/// Bytes of an Ethernet, an IPv4 and a TCP header without options.
pub(super) const BARE_LEN: usize = 54;

/// Where the IPv4 header starts.
const IP: usize = 14;
/// Where the TCP header starts.
const TCP: usize = 34;
/// First bytes of an IPv4 packet: version 4, a header of 20 bytes.
const IPV4_WITHOUT_OPTIONS: u8 = 0x45;
const PROTOCOL_TCP: u8 = 6;
/// IP length of a segment without options and text.
const BARE_IP_LEN: u16 = 40;
/// Length of the TCP header in such a segment.
const BARE_TCP_LEN: u16 = 20;

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// What a frame was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A SYN, turned into its SYN-ACK.
    Syn,
    /// A FIN, turned into a FIN that acknowledges it.
    Fin,
    /// Anything else, left alone.
    Other,
}

/// The headers of a frame of `len` bytes that are TCP over IPv4, if they are.
fn headers(frame: &mut [u8], len: usize) -> Option<&mut [u8; BARE_LEN]> {
    let head = frame.first_chunk_mut::<BARE_LEN>()?;
    let is_tcp = head[12..14] == [8, 0] && head[IP] == IPV4_WITHOUT_OPTIONS && head[IP + 9] == PROTOCOL_TCP;
    (len >= BARE_LEN && is_tcp).then_some(head)
}

/// Both MAC addresses, IP addresses and ports change places. No checksum changes with that.
fn swap_ends(head: &mut [u8; BARE_LEN]) {
    fn swap<const N: usize>(head: &mut [u8; BARE_LEN], at: usize) {
        let (left, right) = head[at..].split_at_mut(N);
        left.swap_with_slice(&mut right[..N]);
    }
    swap::<6>(head, 0);
    swap::<4>(head, IP + 12);
    swap::<2>(head, TCP);
}

/// Sends a frame of `len` bytes back to where it came from. False, and nothing changed, if it is not TCP over IPv4.
pub(super) fn swap(frame: &mut [u8], len: usize) -> bool {
    let head = headers(frame, len);
    head.map(swap_ends).is_some()
}

/// Answers a frame of `len` bytes in place, with [`BARE_LEN`] bytes: a SYN with a SYN-ACK, a FIN with a FIN that
/// acknowledges it. Our sequence number is the peer's, the window is the largest, and there are no options.
pub(super) fn answer(frame: &mut [u8], len: usize) -> Kind {
    let Some(head) = headers(frame, len) else { return Kind::Other };
    let u32_at = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let (seq, ack) = (u32_at(TCP + 4), u32_at(TCP + 8));
    let (kind, control, our_seq, our_ack) = match head[TCP + 13] & (FIN | SYN | RST | ACK) {
        SYN => (Kind::Syn, SYN | ACK, seq, seq.wrapping_add(1)),
        control if control & (FIN | SYN | RST) == FIN => {
            let headers = u32::from(head[IP] & 0xf) * 4 + u32::from(head[TCP + 12] >> 4) * 4;
            let text = u32::from(u16::from_be_bytes([head[IP + 2], head[IP + 3]])).wrapping_sub(headers);
            (Kind::Fin, FIN | ACK, ack, seq.wrapping_add(text).wrapping_add(1))
        }
        _ => return Kind::Other,
    };
    swap_ends(head);
    head[IP + 2..IP + 4].copy_from_slice(&BARE_IP_LEN.to_be_bytes());
    head[IP + 10..IP + 12].copy_from_slice(&[0, 0]);
    let checksum = Sum::default().bytes(&head[IP..TCP]).checksum();
    head[IP + 10..IP + 12].copy_from_slice(&checksum.to_be_bytes());
    head[TCP + 4..TCP + 8].copy_from_slice(&our_seq.to_be_bytes());
    head[TCP + 8..TCP + 12].copy_from_slice(&our_ack.to_be_bytes());
    // Header length, control bits, window; then checksum and urgent pointer.
    head[TCP + 12..TCP + 16].copy_from_slice(&[0x50, control, 0xff, 0xff]);
    head[TCP + 16..TCP + 20].copy_from_slice(&[0; 4]);
    let pseudo = Sum::default().word(u16::from(PROTOCOL_TCP)).word(BARE_TCP_LEN);
    // The addresses lie before the TCP header, so one run over both is the rest of the sum.
    let checksum = pseudo.bytes(&head[IP + 12..]).checksum();
    head[TCP + 16..TCP + 18].copy_from_slice(&checksum.to_be_bytes());
    kind
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::wire::ether::VlanTags;
    use crate::wire::options::Options;
    use crate::wire::parse::{PartialChecksums, parse};
    use crate::wire::reply::{Addressing, Reply, StreamPiece, write};
    use crate::wire::segment::{Control, Segment};
    use crate::wire::seq::SeqNum;
    use crate::wire::tuple::FourTuple;

    const SERVER: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const CLIENT: [u8; 6] = [2, 0, 0, 0, 0, 2];

    /// A frame of a client's, and its length.
    pub(crate) fn frame(control: Control, text: &[u8]) -> Vec<u8> {
        let tuple = FourTuple::new("198.18.1.9:5000".parse().unwrap(), "198.18.0.1:7000".parse().unwrap());
        let options = Options { mss: control.has(Control::SYN).then_some(1460), ..Options::default() };
        let reply = Reply {
            seq: SeqNum(1000),
            ack: SeqNum(if control.has(Control::ACK) { 77 } else { 0 }),
            control,
            window: 1234,
            options,
            payload: StreamPiece { from_una: 0, len: u16::try_from(text.len()).unwrap() },
        };
        let to = Addressing { dst_mac: SERVER, src_mac: CLIENT, tags: VlanTags::default(), tuple };
        let mut frame = vec![0; 200];
        let len = write(&mut frame, &to, &reply, |out| out.copy_from_slice(text));
        frame.truncate(len);
        frame
    }

    /// What an answer says to our own parser, which checks both checksums.
    fn parsed(frame: &[u8]) -> Segment {
        parse(frame, PartialChecksums::Refuse).expect("a legal frame")
    }

    #[test]
    fn a_syn_becomes_a_syn_ack() {
        let mut syn = frame(Control::SYN, b"");
        let len = syn.len();
        assert_eq!(answer(&mut syn, len), Kind::Syn);
        let segment = parsed(&syn[..BARE_LEN]);
        assert_eq!(segment.control, Control::SYN | Control::ACK);
        assert_eq!((segment.seq, segment.ack), (SeqNum(1000), SeqNum(1001)));
        assert_eq!(segment.tuple.remote_port, 7000);
        assert_eq!(segment.tuple.local_port, 5000);
        assert_eq!((&syn[..6], &syn[6..12]), (&CLIENT[..], &SERVER[..]));
    }

    #[test]
    fn a_fin_is_acknowledged_behind_its_text_by_a_fin() {
        for (text, ack) in [(&b""[..], 1001), (b"bye", 1004)] {
            let mut fin = frame(Control::FIN | Control::ACK, text);
            let len = fin.len();
            assert_eq!(answer(&mut fin, len), Kind::Fin);
            let segment = parsed(&fin[..BARE_LEN]);
            assert_eq!(
                (segment.control, segment.seq, segment.ack),
                (Control::FIN | Control::ACK, SeqNum(77), SeqNum(ack))
            );
        }
    }

    #[test]
    fn anything_else_is_left_alone() {
        for control in [Control::ACK, Control::RST, Control::SYN | Control::ACK, Control::RST | Control::ACK] {
            let before = frame(control, b"");
            let mut after = before.clone();
            assert_eq!(answer(&mut after, before.len()), Kind::Other, "{control:?}");
            assert_eq!(after, before);
        }
        let mut arp = frame(Control::SYN, b"");
        arp[12..14].copy_from_slice(&[8, 6]);
        let len = arp.len();
        assert_eq!(answer(&mut arp, len), Kind::Other);
        assert!(!swap(&mut arp, len));
        assert_eq!(answer(&mut [0; 20], 20), Kind::Other, "a short frame");
    }

    #[test]
    fn a_swapped_frame_goes_back_with_whole_checksums() {
        let mut ack = frame(Control::ACK, b"text");
        let len = ack.len();
        assert!(swap(&mut ack, len));
        let segment = parsed(&ack);
        assert_eq!((segment.tuple.remote_port, segment.tuple.local_port), (7000, 5000));
        assert_eq!((&ack[..6], &ack[6..12]), (&CLIENT[..], &SERVER[..]));
    }
}
