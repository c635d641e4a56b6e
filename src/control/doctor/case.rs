//! One interface with all that is known of it, and the mode that the steering program would run in there. Pure.

use super::facts::Device;
use super::peer::Peer;
use crate::control::link::Link;
use crate::control::machine::Facts;
use crate::control::preflight::release;

/// The largest MTU of a veth's peer with which the kernel takes a native program whose frames are one piece: a page of
/// 4 KiB less the headroom (256), the kernel's own end of it (320) and the Ethernet header (14).
pub const VETH_NATIVE_MTU: u32 = 4096 - 256 - 320 - 14;

/// One interface that is there.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// Its name.
    pub name: &'a str,
    /// What preflight knows.
    pub facts: &'a Facts,
    /// What the kernel says of it.
    pub link: &'a Link,
    /// What else was asked.
    pub device: &'a Device,
}

/// Where the steering program would run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In the driver.
    Native,
    /// Behind the driver: why, and what would change that.
    Generic(String, Option<String>),
    /// That cannot be told: why.
    Untold(String),
}

impl Case<'_> {
    /// True for an interface whose peers are on this machine.
    pub fn is_virtual(&self) -> bool {
        self.link.kind.is_some()
    }

    /// Where the steering program would run with `xdp-mode` auto.
    pub fn mode(&self) -> Mode {
        match &self.device.peer {
            Some(Ok(peer)) => self.mode_beside(peer),
            Some(Err(reason)) => Mode::Untold(reason.clone()),
            None => self.mode_of_driver(),
        }
    }

    /// The conditions of a veth: the peer hands over what has to fit a page and a queue of ours.
    fn mode_beside(&self, peer: &Peer) -> Mode {
        let Peer { name, mtu, .. } = peer;
        if *mtu > VETH_NATIVE_MTU {
            let remedy = peer.there(&format!("ip link set {name} mtu {VETH_NATIVE_MTU}"));
            return Mode::Generic(
                format!("the peer {name} has an MTU of {mtu}, above {VETH_NATIVE_MTU}"),
                Some(remedy),
            );
        }
        let rx = self.facts.rx_queues;
        match &peer.tx_queues {
            Err(reason) => Mode::Untold(reason.clone()),
            Ok(tx) if *tx > rx => {
                let remedy = peer.there(&format!("ethtool -L {name} tx {rx}"));
                Mode::Generic(format!("the peer {name} sends on {tx} queues, and {rx} receive"), Some(remedy))
            }
            Ok(_) => Mode::Native,
        }
    }

    fn mode_of_driver(&self) -> Mode {
        let driver = self.driver();
        match &self.device.features {
            Err(reason) => Mode::Untold(reason.clone()),
            Ok(features) if features.native => Mode::Native,
            Ok(_) if self.drivers_say() => Mode::Generic(format!("{driver} has no native mode"), None),
            Ok(_) => Mode::Untold(format!("kernels before 6.3 do not say what {driver} can do: only trying tells")),
        }
    }

    /// True if this kernel knows what its drivers can do.
    pub fn drivers_say(&self) -> bool {
        release(&self.facts.kernel).is_some_and(|release| release >= (6, 3, 0))
    }

    /// The driver, or the kind of a virtual interface.
    pub fn driver(&self) -> &str {
        let unnamed = if self.link.loopback { "loopback" } else { "an unnamed driver" };
        self.facts.driver.as_deref().or(self.link.kind.as_deref()).unwrap_or(unnamed)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testbed::{Bench, nic, veth};
    use super::*;
    use crate::steer::DriverFeatures;

    #[test]
    fn a_veth_is_native_beside_a_peer_that_fits() {
        let mode = |change: fn(&mut Peer)| {
            let mut bench = veth();
            change(bench.peer());
            bench.case().mode()
        };
        assert_eq!(mode(|_| {}), Mode::Native);
        assert_eq!(mode(|peer| peer.mtu = VETH_NATIVE_MTU), Mode::Native);
        let Mode::Generic(reason, remedy) = mode(|peer| peer.mtu = 3507) else { panic!("the MTU is too large") };
        assert!(reason.contains("MTU of 3507, above 3506"), "{reason}");
        assert_eq!(remedy.unwrap(), "ip netns exec lab ip link set hf1 mtu 3506");
        let Mode::Generic(reason, remedy) = mode(|peer| peer.tx_queues = Ok(3)) else { panic!("too many queues") };
        assert_eq!(reason, "the peer hf1 sends on 3 queues, and 2 receive");
        assert_eq!(remedy.unwrap(), "ip netns exec lab ethtool -L hf1 tx 2");
        assert_eq!(mode(|peer| peer.tx_queues = Err("no".into())), Mode::Untold("no".into()));
    }

    #[test]
    fn a_driver_says_what_it_can_do_since_6_3() {
        let mode = |change: fn(&mut Bench)| {
            let mut bench = nic();
            change(&mut bench);
            bench.case().mode()
        };
        let nothing = DriverFeatures { native: false, zero_copy: false };
        assert_eq!(mode(|_| {}), Mode::Native);
        assert!(matches!(mode(|bench| bench.device.features = Err("no".into())), Mode::Untold(_)));
        let silent = mode(|bench| {
            bench.device.features = Ok(DriverFeatures { native: false, zero_copy: false });
            bench.facts.kernel = "6.1.0".into();
        });
        assert!(matches!(silent, Mode::Untold(_)));
        let mut bench = nic();
        bench.device.features = Ok(nothing);
        assert_eq!(bench.case().mode(), Mode::Generic("ixgbe has no native mode".into(), None));
    }
}
