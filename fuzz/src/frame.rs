//! `wire::parse` on any frame, as it is and with repaired checksums: what parses is a segment that keeps its promises, and
//! `wire::reply::write` writes a frame that reads the same.

use handfast::verdict::DropReason;
use handfast::wire::ether::ETHER_LEN;
use handfast::wire::parse::{PartialChecksums, parse, parse_stepwise};
use handfast::wire::plain;
use handfast::wire::reply::{Addressing, MAX_HEADER_LEN, Reply, StreamPiece, write};
use handfast::wire::segment::{Control, Segment};
use handfast::wire::seq::SeqNum;

use crate::repair;

/// What is put behind a frame: padding of the link layer, which no answer may depend on.
const PADDING: [u8; 7] = [0x5a; 7];

/// Checks the frame, and what it is with right checksums.
pub fn check(data: &[u8]) {
    check_as_it_is(data);
    let Some([whole, partial]) = repair::with_checksums(data) else { return };
    check_as_it_is(&whole);
    check_as_it_is(&partial);
    // A checksum sums up, or is found to be only partial; both are the same segment.
    let (whole, partial) = (parse(&whole, PartialChecksums::Accept), parse(&partial, PartialChecksums::Accept));
    match (whole, partial) {
        (Ok(whole), Ok(partial)) => assert_eq!(Segment { partial_checksum: false, ..partial }, whole),
        (whole, partial) => assert_eq!(whole, partial),
    }
    assert!(
        !matches!(whole, Err(DropReason::BadTcpChecksum | DropReason::BadIpv4Checksum)),
        "a right checksum is refused"
    );
}

fn check_as_it_is(frame: &[u8]) {
    if let Some(segment) = plain::parse(frame) {
        assert_eq!(parse_stepwise(frame, PartialChecksums::Refuse), Ok(segment), "read at once, and step by step");
    }
    let strict = parse(frame, PartialChecksums::Refuse);
    let lenient = parse(frame, PartialChecksums::Accept);
    match (strict, lenient) {
        (Err(DropReason::BadTcpChecksum), Ok(segment)) => {
            assert!(segment.partial_checksum, "a policy about partial checksums let something else pass");
            check_segment(&segment, frame);
        }
        (Err(DropReason::BadTcpChecksum), Err(_)) => {}
        (strict, lenient) => {
            assert_eq!(strict, lenient, "the policy decided about a frame that it is not about");
            strict.iter().for_each(|segment| {
                assert!(!segment.partial_checksum);
                check_segment(segment, frame);
                check_padding(segment, frame);
            });
        }
    }
}

/// What a `Segment` promises.
fn check_segment(segment: &Segment, frame: &[u8]) {
    let tuple = &segment.tuple;
    assert!(frame.get(segment.payload()).is_some(), "the payload lies outside the frame");
    assert!(tuple.local_port != 0 && tuple.remote_port != 0, "port 0");
    assert_ne!(tuple.local(), tuple.remote(), "from an end to itself");
    assert_eq!(tuple.local_addr.is_v4(), tuple.remote_addr.is_v4(), "two families");
    for addr in [tuple.local().ip(), tuple.remote().ip()] {
        assert!(!addr.is_multicast() && !addr.is_unspecified() && !addr.is_loopback(), "{addr} in a connection");
    }
    let contradicts = segment.control.has(Control::SYN | Control::FIN) && !segment.control.has(Control::RST);
    assert!(!contradicts, "SYN with FIN");
    assert_eq!((&segment.dst_mac[..], &segment.src_mac[..]), (&frame[..6], &frame[6..12]));
    let bits = [Control::SYN, Control::FIN].map(|bit| u32::from(segment.control.has(bit)));
    assert_eq!(segment.len(), u32::from(segment.payload_len) + bits[0] + bits[1]);
    check_round_trip(segment, frame);
}

/// Padding behind the packet changes nothing; nor does its absence.
fn check_padding(segment: &Segment, frame: &[u8]) {
    let read = |frame: &[u8]| parse(frame, PartialChecksums::Refuse);
    assert_eq!(read(&[frame, &PADDING].concat()), Ok(*segment), "padding was read");
    let end = segment.payload().end;
    assert_eq!(read(&frame[..end]), Ok(*segment), "something behind the packet was read");
    assert_eq!(read(&frame[..end - 1]), Err(DropReason::Truncated), "a frame that lacks its last byte is read");
}

/// Written from what was read, the frame reads the same, and has the same link layer byte by byte.
fn check_round_trip(segment: &Segment, original: &[u8]) {
    let payload = &original[segment.payload()];
    let reply = Reply {
        seq: segment.seq,
        ack: segment.ack,
        control: segment.control,
        window: segment.window,
        options: segment.options,
        payload: StreamPiece { from_una: 0, len: segment.payload_len },
    };
    let to = Addressing {
        dst_mac: segment.dst_mac,
        src_mac: segment.src_mac,
        tags: segment.tags,
        tuple: segment.tuple.reversed(),
    };
    let mut frame = vec![0xee; MAX_HEADER_LEN + payload.len()];
    let len = write(&mut frame, &to, &reply, |out| out.copy_from_slice(payload));
    let again = parse(&frame[..len], PartialChecksums::Refuse).expect("what is written is legal");
    assert_eq!(&frame[again.payload()], payload);
    let link = ETHER_LEN + segment.tags.len_bytes();
    assert_eq!(frame[..link], original[..link]);
    assert!(again.payload_at <= segment.payload_at, "a written header is longer than the one that was read");
    let ack = if segment.control.has(Control::ACK) { segment.ack } else { SeqNum(0) };
    let expected = Segment { ack, payload_at: again.payload_at, partial_checksum: false, ..*segment };
    assert_eq!(again, expected);
    let answer = Addressing::answering(segment);
    assert_eq!((answer.dst_mac, answer.src_mac), (segment.src_mac, segment.dst_mac));
    assert_eq!((answer.tuple, answer.tags), (segment.tuple, segment.tags));
}
