//! SEGMENT ARRIVES, state CLOSED: nobody listens and no connection is known (RFC 9293 3.10.7.1).

use crate::wire::reply::Reply;
use crate::wire::segment::{Control, Segment};
use crate::wire::seq::SeqNum;

/// The RST that answers `segment`, or `None` for a RST, which nothing answers.
pub fn segment_arrives(segment: &Segment) -> Option<Reply> {
    if segment.control.has(Control::RST) {
        return None;
    }
    Some(reset_for(segment))
}

/// A RST in the form that makes it acceptable to the sender of `segment` (RFC 9293 3.5.2, group 1).
pub fn reset_for(segment: &Segment) -> Reply {
    if segment.control.has(Control::ACK) {
        Reply { seq: segment.ack, control: Control::RST, ..Reply::default() }
    } else {
        let ack = segment.seq + segment.len();
        Reply { seq: SeqNum(0), ack, control: Control::RST | Control::ACK, ..Reply::default() }
    }
}
