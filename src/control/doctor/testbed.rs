//! Machines and interfaces in order, for the tests of the judgements: each test changes one thing.

use super::case::Case;
use super::ethtool::{Offloads, Rss};
use super::facts::{Control, Device, Irq, System};
use super::peer::Peer;
use crate::control::link::{Joined, Link};
use crate::control::machine::Facts;
use crate::steer::DriverFeatures;

/// An interface and its machine, to be changed.
pub struct Bench {
    pub facts: Facts,
    pub link: Link,
    pub device: Device,
}

impl Bench {
    pub fn case(&self) -> Case<'_> {
        Case { name: "hf0", facts: &self.facts, link: &self.link, device: &self.device }
    }

    pub fn peer(&mut self) -> &mut Peer {
        self.device.peer.as_mut().unwrap().as_mut().unwrap()
    }

    pub fn offloads(&mut self) -> &mut Offloads {
        self.device.offloads.as_mut().unwrap()
    }
}

/// Facts of a machine that can serve, with an interface `hf0` of two queues.
pub fn facts() -> Facts {
    Facts {
        interfaces: vec!["lo".into(), "hf0".into()],
        link: Ok(Some(link())),
        xdp_removal: None,
        driver: None,
        rx_queues: 2,
        tx_queues: 2,
        kernel: "6.18.4".into(),
        missing_capabilities: Vec::new(),
        may_lock_memory: true,
        memlock_bytes: Some(8 << 20),
        af_xdp_error: None,
        available_bytes: Some(1 << 30),
        cores: vec![0, 1, 2, 3],
    }
}

fn link() -> Link {
    Link {
        index: 3,
        mac: Some([2, 0, 0, 0, 0, 1]),
        mtu: 1500,
        up: true,
        carrier: true,
        kind: Some("veth".into()),
        joined: Some(Joined { index: 4, namespace: Some(0) }),
        ..Link::default()
    }
}

/// A machine in order.
pub fn system() -> System {
    System {
        program: Some(Ok(())),
        compiled: Some(true),
        btf: true,
        jit: Ok(1),
        huge_bytes: Some(0),
        governors: Vec::new(),
    }
}

/// One end of a veth whose other end `hf1` is in the namespace `lab`.
pub fn veth() -> Bench {
    let offloads = Offloads { tx_checksum: true, tso: true, gso: true, gro: true, lro: false, rx_vlan: true };
    let peer = Peer {
        name: "hf1".into(),
        namespace: Some("/var/run/netns/lab".into()),
        mtu: 1500,
        xdp: false,
        tx_queues: Ok(2),
        offloads: Ok(offloads),
    };
    let device = Device {
        features: Ok(DriverFeatures { native: true, zero_copy: false }),
        offloads: Ok(offloads),
        rss: Err("Operation not supported".into()),
        irqs: None,
        peer: Some(Ok(peer)),
        vlans: Vec::new(),
        holders: Vec::new(),
        sockets: Some(0),
        control: Control::Free("/run/handfast/hf0.sock".into()),
    };
    Bench { facts: facts(), link: link(), device }
}

/// A NIC whose driver can do everything.
pub fn nic() -> Bench {
    let Bench { facts, link, device } = veth();
    let facts = Facts { driver: Some("ixgbe".into()), ..facts };
    let link = Link { kind: None, joined: None, ..link };
    let device = Device {
        features: Ok(DriverFeatures { native: true, zero_copy: true }),
        rss: Ok(Rss { queues: vec![0, 1], ports: [("tcp4", Ok(true)), ("tcp6", Ok(true))] }),
        irqs: Some(vec![Irq { number: 30, cores: vec![0] }, Irq { number: 31, cores: vec![1] }]),
        peer: None,
        ..device
    };
    Bench { facts, link, device }
}
