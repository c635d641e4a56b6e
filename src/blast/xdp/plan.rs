//! What is to be generated, and the checks that need no kernel.

use super::error::XdpError;
use crate::steer::AttachMode;
use crate::wire::ether::Mac;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

/// Most four-tuples that a generator has: 8 bytes each in the kernel, 128 MiB.
pub const MAX_TUPLES: u32 = 1 << 24;

/// The loopback interface of every network namespace (LOOPBACK_IFINDEX in the kernel's include/net/flow.h). The frames that
/// become SYNs seem to arrive there.
const LOOPBACK_IFINDEX: u32 = 1;

/// How our side ends each connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpClose {
    /// We close first: our FIN goes with the ACK of the handshake, three frames a connection. Completed when the target's
    /// FIN came and it had acknowledged ours.
    Client,
    /// The target closes first, our FIN goes with the ACK of its FIN. Completed when it has acknowledged ours.
    Server,
    /// We answer the SYN-ACK with RST, and the connection counts as completed then.
    Reset,
}

/// Which core does the generator's work. A veth pair runs the receiver on the sender's core, so that without more ado the
/// target's core makes our answers and ours takes in the target's SYNs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpCore {
    /// SYNs are sent from any core, answers made where segments arrive.
    Any,
    /// SYNs are sent from this core, answers made where segments arrive.
    Sends(u16),
    /// SYNs are sent from this core, and segments handed over to it to be answered. On a veth pair it then does all that
    /// it can, the target's receiving included. In generic mode a target that has a generic XDP program does not see the
    /// answers: the kernel takes no frame through a second one that was handed over before the first.
    SendsAndAnswers(u16),
}

impl XdpCore {
    /// The core that sends.
    pub(super) fn sending(self) -> Option<u16> {
        match self {
            XdpCore::Any => None,
            XdpCore::Sends(core) | XdpCore::SendsAndAnswers(core) => Some(core),
        }
    }

    /// The core that segments are handed over to.
    pub(super) fn answering(self) -> Option<u16> {
        match self {
            XdpCore::Any | XdpCore::Sends(_) => None,
            XdpCore::SendsAndAnswers(core) => Some(core),
        }
    }
}

/// What is to be generated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XdpPlan {
    /// The interface that SYNs leave by and the program is attached to; not the loopback interface.
    pub ifindex: u32,
    /// MAC address of that interface.
    pub src_mac: Mac,
    /// MAC address of the target, or of the next hop to it.
    pub dst_mac: Mac,
    /// Where connections are opened to.
    pub target: SocketAddr,
    /// The first source address, of the target's family.
    pub first_source: IpAddr,
    /// How many consecutive source addresses there are, at least 1. The target has to find its way to each of them.
    pub sources: u32,
    /// The source ports of each address, from 1 on.
    pub ports: RangeInclusive<u16>,
    /// How our side ends each connection.
    pub close: XdpClose,
    /// Connections offered per second, at least 1: connection k goes out at k / rate, whatever became of the others.
    pub rate: u64,
    /// At most so many connections in all.
    pub connections: Option<u64>,
    /// How long connections are offered.
    pub duration: Duration,
    /// How long after the last SYN unfinished connections are waited for.
    pub grace: Duration,
    /// Which mode the program is attached in.
    pub mode: AttachMode,
    /// Which core does the work.
    pub core: XdpCore,
}

/// The numbers of four-tuples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tuples {
    /// Sources times ports.
    pub count: u32,
    /// Ports of each source.
    pub ports: u32,
    /// The last four bytes of the first source address, as a number.
    pub first_source: u32,
}

impl XdpPlan {
    /// The numbers of the plan's four-tuples.
    ///
    /// # Errors
    ///
    /// What is wrong with the plan.
    pub(super) fn tuples(&self) -> Result<Tuples, XdpError> {
        if self.ifindex == LOOPBACK_IFINDEX {
            return Err(XdpError::Loopback);
        }
        let (first, last) = (*self.ports.start(), *self.ports.end());
        if self.target.is_ipv4() != self.first_source.is_ipv4() {
            return Err(XdpError::Family { target: self.target, from: self.first_source });
        }
        if self.target.port() == 0 || self.sources == 0 || first == 0 || first > last || self.rate == 0 {
            return Err(XdpError::Nothing);
        }
        let ports = u32::from(last - first) + 1;
        let wanted = u64::from(self.sources) * u64::from(ports);
        let count = u32::try_from(wanted).ok().filter(|count| *count <= MAX_TUPLES);
        let count = count.ok_or(XdpError::TooManyTuples { wanted })?;
        let first_source = match self.first_source {
            IpAddr::V4(address) => u32::from(address),
            IpAddr::V6(address) => {
                let [.., a, b, c, d] = address.octets();
                u32::from_be_bytes([a, b, c, d])
            }
        };
        if first_source.checked_add(self.sources - 1).is_none() {
            return Err(XdpError::SourceRange { first: self.first_source, sources: self.sources });
        }
        Ok(Tuples { count, ports, first_source })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A plan that nothing is wrong with.
    pub fn plan(target: &str, first_source: &str) -> XdpPlan {
        XdpPlan {
            ifindex: 2,
            src_mac: [2, 0, 0, 0, 0, 2],
            dst_mac: [2, 0, 0, 0, 0, 1],
            target: target.parse().unwrap(),
            first_source: first_source.parse().unwrap(),
            sources: 4,
            ports: 1024..=65_535,
            close: XdpClose::Client,
            rate: 1_000,
            connections: None,
            duration: Duration::from_secs(1),
            grace: Duration::from_secs(1),
            mode: AttachMode::Auto,
            core: XdpCore::Any,
        }
    }

    fn v4() -> XdpPlan {
        plan("198.18.0.1:80", "198.18.1.0")
    }

    #[test]
    fn four_tuples_are_sources_times_ports() {
        let tuples = v4().tuples().unwrap();
        assert_eq!((tuples.count, tuples.ports, tuples.first_source), (4 * 64_512, 64_512, 0xc612_0100));
        let six = XdpPlan { ports: 1..=65_535, sources: 1, ..plan("[2001:2::1]:80", "2001:2::ff00:2") };
        let tuples = six.tuples().unwrap();
        assert_eq!((tuples.count, tuples.ports, tuples.first_source), (65_535, 65_535, 0xff00_0002));
    }

    #[test]
    fn a_plan_without_a_connection_is_refused() {
        let empty = RangeInclusive::new(2, 1);
        let bad = [
            XdpPlan { sources: 0, ..v4() },
            XdpPlan { ports: empty, ..v4() },
            XdpPlan { ports: 0..=9, ..v4() },
            XdpPlan { rate: 0, ..v4() },
            plan("198.18.0.1:0", "198.18.1.0"),
        ];
        assert!(bad.iter().all(|plan| matches!(plan.tuples(), Err(XdpError::Nothing))));
    }

    #[test]
    fn the_loopback_interface_is_refused() {
        assert!(matches!(XdpPlan { ifindex: 1, ..v4() }.tuples(), Err(XdpError::Loopback)));
    }

    #[test]
    fn too_many_four_tuples_are_refused_by_number() {
        let error = XdpPlan { sources: 300, ..v4() }.tuples().unwrap_err();
        assert!(matches!(error, XdpError::TooManyTuples { wanted: 19_353_600 }));
        assert!(error.to_string().contains("19353600") && error.to_string().contains("16777216"), "{error}");
        assert!(XdpPlan { sources: u32::MAX, ..v4() }.tuples().is_err());
    }

    #[test]
    fn sources_of_another_family_or_past_the_last_address_are_refused() {
        assert!(matches!(plan("198.18.0.1:80", "2001:2::2").tuples(), Err(XdpError::Family { .. })));
        assert!(matches!(plan("198.18.0.1:80", "255.255.255.253").tuples(), Err(XdpError::SourceRange { .. })));
        assert!(plan("198.18.0.1:80", "255.255.255.252").tuples().is_ok());
    }
}
