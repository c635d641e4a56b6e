//! Bytes to meaning and back, without state, clock or allocation.
//!
//! [`parse::parse`] turns a received frame into a [`segment::Segment`] or says why not; parsed means legal: lengths, checksums
//! and addresses hold. [`reply::write`] turns a [`reply::Reply`] into a frame. Byte order ends here: everything above
//! sees integers in host order.
//!
//! What is deliberately not here: IP reassembly (a fragment is a drop), IP options and extension headers beyond walking
//! over them, ICMP.
#![forbid(unsafe_code)]

pub mod checksum;
pub mod ether;
pub mod ip;
pub mod options;
pub mod parse;
pub mod plain;
pub mod reply;
pub mod segment;
pub mod seq;
pub mod tuple;

#[cfg(test)]
mod tests;

/// Reads two bytes in network order. `None` past the end.
fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// Reads four bytes in network order. `None` past the end.
fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// A field of a header, whose offset is known where this is compiled.
#[inline(always)]
fn word16<const N: usize>(header: &[u8; N], at: usize) -> u16 {
    u16::from_be_bytes([header[at], header[at + 1]])
}

/// [`word16`] for 32 bits.
#[inline(always)]
fn word32<const N: usize>(header: &[u8; N], at: usize) -> u32 {
    u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
}
