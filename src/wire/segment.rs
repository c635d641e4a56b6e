//! A TCP segment in the terms of RFC 9293 3.3.1 (SEG.SEQ, SEG.ACK, SEG.LEN, SEG.WND), after the frame was found legal.

use core::fmt;
use core::ops::{BitOr, Range};

use super::ether::{Mac, VlanTags};
use super::options::Options;
use super::seq::SeqNum;
use super::tuple::FourTuple;

/// The control bits of a segment (RFC 9293 3.1).
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Control(pub u8);

impl Control {
    /// No more data from the sender.
    pub const FIN: Self = Self(0x01);
    /// Synchronize sequence numbers.
    pub const SYN: Self = Self(0x02);
    /// Reset the connection.
    pub const RST: Self = Self(0x04);
    /// Push function.
    pub const PSH: Self = Self(0x08);
    /// The acknowledgment field is significant.
    pub const ACK: Self = Self(0x10);
    /// The urgent pointer is significant.
    pub const URG: Self = Self(0x20);

    /// True if all bits of `bits` are set.
    pub const fn has(self, bits: Control) -> bool {
        self.0 & bits.0 == bits.0
    }
}

impl BitOr for Control {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];
        let mut set = names.iter().enumerate().filter(|(i, _)| self.0 >> i & 1 == 1).map(|(_, name)| *name);
        f.write_str(set.next().unwrap_or("none"))?;
        set.try_for_each(|name| write!(f, ",{name}"))
    }
}

/// An arriving segment. Made by [`super::parse::parse`] only from a legal frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Local end = the segment's destination.
    pub tuple: FourTuple,
    /// SEG.SEQ.
    pub seq: SeqNum,
    /// SEG.ACK; means something only with [`Control::ACK`].
    pub ack: SeqNum,
    /// The control bits.
    pub control: Control,
    /// SEG.WND as it stands in the header, not scaled.
    pub window: u16,
    /// The options.
    pub options: Options,
    /// Offset of the payload from the start of the frame, in bytes.
    pub payload_at: u16,
    /// Length of the payload in bytes.
    pub payload_len: u16,
    /// Who sent the frame.
    pub src_mac: Mac,
    /// To whom the frame was sent.
    pub dst_mac: Mac,
    /// The frame's VLAN tags.
    pub tags: VlanTags,
    /// The checksum was only the pseudo-header's sum, accepted by policy.
    pub partial_checksum: bool,
}

impl Segment {
    /// SEG.LEN: payload plus one each for SYN and FIN.
    pub fn len(&self) -> u32 {
        u32::from(self.payload_len)
            + u32::from(self.control.has(Control::SYN))
            + u32::from(self.control.has(Control::FIN))
    }

    /// True if SEG.LEN is 0.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where the payload lies in the frame.
    pub fn payload(&self) -> Range<usize> {
        let start = usize::from(self.payload_at);
        start..start + usize::from(self.payload_len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_bits_print_by_name() {
        assert_eq!(format!("{:?}", Control::SYN | Control::ACK), "SYN,ACK");
        assert_eq!(format!("{:?}", Control::default()), "none");
    }
}
