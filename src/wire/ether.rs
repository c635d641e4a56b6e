//! Ethernet II with up to two VLAN tags (IEEE 802.1Q, 802.1ad).

use super::be16;
use crate::verdict::DropReason;

/// Length of an untagged Ethernet header in bytes.
pub const ETHER_LEN: usize = 14;
/// Length of one VLAN tag in bytes.
pub const TAG_LEN: usize = 4;
/// EtherType of IPv4.
pub const TYPE_IPV4: u16 = 0x0800;
/// EtherType of IPv6.
pub const TYPE_IPV6: u16 = 0x86dd;

const TYPE_8021Q: u16 = 0x8100;
const TYPE_8021AD: u16 = 0x88a8;

/// An Ethernet address.
pub type Mac = [u8; 6];

/// Zero, one or two VLAN tags, in the form a TCB keeps them: 6 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VlanTags {
    /// Tag control information (priority, drop eligibility, VLAN id), outer tag first.
    tci: [u16; 2],
    /// How many tags there are.
    count: u8,
    /// Bit i set: tag i is an 802.1ad service tag, else an 802.1Q one.
    service: u8,
}

impl VlanTags {
    /// How many bytes the tags take in a frame.
    pub fn len_bytes(&self) -> usize {
        usize::from(self.count) * TAG_LEN
    }

    /// Adds a tag inside the present ones. False, and nothing added, if it is no VLAN type or there are two already.
    fn push(&mut self, ethertype: u16, tci: u16) -> bool {
        let service = match ethertype {
            TYPE_8021Q => 0,
            TYPE_8021AD => 1,
            _ => return false,
        };
        let Some(place) = self.tci.get_mut(usize::from(self.count)) else { return false };
        *place = tci;
        self.service |= service << self.count;
        self.count += 1;
        true
    }
}

/// The link layer of a received frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ether {
    /// Destination address.
    pub dst: Mac,
    /// Source address.
    pub src: Mac,
    /// VLAN tags.
    pub tags: VlanTags,
    /// EtherType behind the tags.
    pub ethertype: u16,
}

impl Ether {
    /// Reads the header. The network layer starts at [`Ether::header_len`].
    ///
    /// # Errors
    ///
    /// [`DropReason::Truncated`] if the frame ends within it.
    #[inline]
    pub fn parse(frame: &[u8]) -> Result<Self, DropReason> {
        let header: &[u8; ETHER_LEN] = frame.first_chunk().ok_or(DropReason::Truncated)?;
        let [dst, src] = macs(header);
        let mut tags = VlanTags::default();
        let mut ethertype = u16::from_be_bytes([header[12], header[13]]);
        let mut at = ETHER_LEN;
        while ethertype == TYPE_8021Q || ethertype == TYPE_8021AD {
            let tci = be16(frame, at).ok_or(DropReason::Truncated)?;
            if !tags.push(ethertype, tci) {
                return Err(DropReason::NotIp);
            }
            ethertype = be16(frame, at + 2).ok_or(DropReason::Truncated)?;
            at += TAG_LEN;
        }
        Ok(Self { dst, src, tags, ethertype })
    }

    /// Length of the header with its tags in bytes.
    pub fn header_len(&self) -> usize {
        ETHER_LEN + self.tags.len_bytes()
    }

    /// Writes the header into the start of `frame` and returns its length.
    ///
    /// # Panics
    ///
    /// If `frame` is shorter than that: frames have room for the largest header.
    #[inline]
    pub fn write(&self, frame: &mut [u8]) -> usize {
        let header: &mut [u8; ETHER_LEN] = frame.first_chunk_mut().expect("a frame has room for its header");
        header[..6].copy_from_slice(&self.dst);
        header[6..12].copy_from_slice(&self.src);
        if self.tags.count == 0 {
            header[12..].copy_from_slice(&self.ethertype.to_be_bytes());
            return ETHER_LEN;
        }
        let mut at = 12;
        for i in 0..usize::from(self.tags.count) {
            let tpid = if self.tags.service >> i & 1 == 1 { TYPE_8021AD } else { TYPE_8021Q };
            frame[at..at + 2].copy_from_slice(&tpid.to_be_bytes());
            frame[at + 2..at + 4].copy_from_slice(&self.tags.tci[i].to_be_bytes());
            at += TAG_LEN;
        }
        frame[at..at + 2].copy_from_slice(&self.ethertype.to_be_bytes());
        at + 2
    }
}

/// Destination and source.
#[inline(always)]
fn macs(header: &[u8; ETHER_LEN]) -> [Mac; 2] {
    let (macs, _) = header.as_chunks::<6>();
    [macs[0], macs[1]]
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNTAGGED: [u8; 14] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];

    fn tagged(tags: &[[u8; 4]]) -> Vec<u8> {
        let mut frame = UNTAGGED[..12].to_vec();
        frame.extend(tags.concat());
        frame.extend([8, 0]);
        frame
    }

    #[test]
    fn no_one_and_two_tags_are_read_and_written_back() {
        for tags in [&[][..], &[[0x81, 0, 0x20, 5]], &[[0x88, 0xa8, 0, 7], [0x81, 0, 0xef, 0xff]]] {
            let frame = tagged(tags);
            let ether = Ether::parse(&frame).unwrap();
            assert_eq!(ether.ethertype, TYPE_IPV4);
            assert_eq!(ether.header_len(), frame.len());
            let mut out = vec![0; frame.len()];
            assert_eq!(ether.write(&mut out), frame.len());
            assert_eq!(out, frame);
        }
    }

    #[test]
    fn a_third_tag_is_not_ip() {
        let frame = tagged(&[[0x81, 0, 0, 1], [0x81, 0, 0, 2], [0x81, 0, 0, 3]]);
        assert_eq!(Ether::parse(&frame), Err(DropReason::NotIp));
    }

    #[test]
    fn every_truncation_is_named() {
        let frame = tagged(&[[0x81, 0, 0, 1], [0x81, 0, 0, 2]]);
        for len in 0..frame.len() {
            assert_eq!(Ether::parse(&frame[..len]), Err(DropReason::Truncated), "{len} bytes");
        }
    }
}
