//! What a flood is to be: its frames and the machine's part in them, checked.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use super::kind::Kind;
use super::sources::Sources;
use crate::wire::ether::Mac;

/// The largest VLAN number; 0 and 4095 are reserved (IEEE 802.1Q 9.6).
pub const MAX_VLAN: u16 = 4094;

/// A flood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FloodPlan {
    /// The interface that frames leave by.
    pub ifindex: u32,
    /// An interface that shares the wire: what the target sends to others than the flood's addresses goes out there, and what
    /// arrives there leaves by the flood's interface.
    pub relay: Option<u32>,
    /// MAC address of the interface.
    pub src_mac: Mac,
    /// MAC address of the target, or of the next hop to it.
    pub dst_mac: Mac,
    /// The VLAN that frames are tagged for.
    pub vlan: Option<u16>,
    /// What is flooded.
    pub target: SocketAddr,
    /// With what.
    pub kind: Kind,
    /// From where, of the target's family.
    pub sources: Sources,
    /// From which ports.
    pub ports: RangeInclusive<u16>,
    /// True if SYNs have the options of a Linux host instead of the MSS alone.
    pub options: bool,
}

/// What addresses have in common that no segment comes from or goes to.
pub(super) fn is_one_host(address: IpAddr) -> bool {
    !address.is_unspecified() && !address.is_multicast() && !address.is_loopback()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A plan that nothing is wrong with.
    pub fn plan(kind: Kind, target: &str, sources: &str) -> FloodPlan {
        FloodPlan {
            ifindex: 2,
            relay: None,
            src_mac: [2, 0, 0, 0, 0, 2],
            dst_mac: [2, 0, 0, 0, 0, 1],
            vlan: None,
            target: target.parse().unwrap(),
            kind,
            sources: sources.parse().unwrap(),
            ports: 1024..=65_535,
            options: false,
        }
    }

    #[test]
    fn an_address_of_one_host_is_told_from_others() {
        assert!(is_one_host("198.18.0.1".parse().unwrap()));
        assert!(
            ["0.0.0.0", "224.0.0.1", "127.0.0.1", "::", "ff02::1", "::1"]
                .iter()
                .all(|text| !is_one_host(text.parse().unwrap()))
        );
    }
}
