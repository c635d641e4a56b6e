//! Initial sequence numbers (RFC 6528): ISN = M + F(local address, local port, remote address, remote port, secret).
//!
//! M is a clock of 4 microseconds, F is SipHash-2-4 with a secret drawn at start. So the numbers of one four-tuple grow with
//! time, which TIME-WAIT relies on, and those of another tell nothing about them.

use siphasher::sip::SipHasher24;

use crate::time::Now;
use crate::wire::seq::SeqNum;
use crate::wire::tuple::FourTuple;

/// Nanoseconds of one step of the clock M.
const CLOCK_NANOS: u64 = 4_000;

/// The generator; one per engine, all with one secret, so that a flow's numbers do not depend on its queue.
#[derive(Clone, Debug)]
pub struct IsnGenerator {
    hasher: SipHasher24,
}

impl IsnGenerator {
    /// A generator with a secret key.
    pub fn new(secret: [u8; 16]) -> Self {
        Self { hasher: SipHasher24::new_with_key(&secret) }
    }

    /// The initial sequence number of a connection `tuple` that opens `now`.
    #[expect(clippy::cast_possible_truncation, reason = "sequence numbers and the clock are modulo 2^32")]
    pub fn isn(&self, tuple: &FourTuple, now: Now) -> SeqNum {
        // At once: fed piece by piece, the hasher takes three times as long. An IPv4 address is its last four bytes, and the
        // length of what is hashed keeps the families apart.
        let ports = (u32::from(tuple.local_port) << 16 | u32::from(tuple.remote_port)).to_ne_bytes();
        let hash = if tuple.is_v4() {
            let mut bytes = [0; 12];
            bytes[..4].copy_from_slice(&tuple.local_addr.v4_octets());
            bytes[4..8].copy_from_slice(&tuple.remote_addr.v4_octets());
            bytes[8..].copy_from_slice(&ports);
            self.hasher.hash(&bytes)
        } else {
            let mut bytes = [0; 36];
            bytes[..16].copy_from_slice(&tuple.local_addr.0);
            bytes[16..32].copy_from_slice(&tuple.remote_addr.0);
            bytes[32..].copy_from_slice(&ports);
            self.hasher.hash(&bytes)
        };
        SeqNum((now.0 / CLOCK_NANOS) as u32) + hash as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tuple(port: u16) -> FourTuple {
        FourTuple::new("198.18.0.1:80".parse().unwrap(), format!("198.18.0.2:{port}").parse().unwrap())
    }

    #[test]
    fn numbers_of_one_tuple_grow_by_one_every_4_microseconds() {
        let isn = IsnGenerator::new([7; 16]);
        let start = isn.isn(&tuple(1), Now(40_000));
        assert_eq!(isn.isn(&tuple(1), Now(43_999)), start);
        assert_eq!(isn.isn(&tuple(1), Now(44_000)), start + 1);
        assert_eq!(isn.isn(&tuple(1), Now(40_000 + 1_000_000_000)), start + 250_000);
    }

    #[test]
    fn numbers_of_other_tuples_and_secrets_are_unrelated() {
        let isn = IsnGenerator::new([7; 16]);
        let distances: Vec<u32> =
            (1..100).map(|p| isn.isn(&tuple(p + 1), Now(0)).distance_from(isn.isn(&tuple(p), Now(0)))).collect();
        let mut distinct = distances.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), distances.len());
        assert_ne!(isn.isn(&tuple(1), Now(0)), IsnGenerator::new([8; 16]).isn(&tuple(1), Now(0)));
    }
}
