//! What an AF_XDP port is asked to be. What is here: sizes and modes, and the check that they can be. What is not here:
//! anything that asks the kernel (`bind`).

use super::error::XskError;

/// Bytes that XDP keeps in front of each packet (XDP_PACKET_HEADROOM).
pub(super) const XDP_HEADROOM: u32 = 256;
/// Bytes of an Ethernet frame that the MTU does not count: the header and two VLAN tags, without the FCS.
const LINK_HEADER_MOST: u32 = 14 + 2 * 4;
/// The kernel refuses smaller chunks (XDP_UMEM_MIN_CHUNK_SIZE).
const CHUNK_LEAST: u32 = 2048;
/// The kernel refuses chunks larger than a page.
pub const CHUNK_MOST: u32 = 4096;
/// The kernel takes no smaller TX budget, and has it without the option (TX_BATCH_SIZE in net/xdp/xsk.c).
pub const TX_BUDGET_LEAST: u32 = 32;
/// As many frames as the largest ring has.
pub const TX_BUDGET_MOST: u32 = 1 << 20;
/// The TX budget unless another one is given.
pub const DEFAULT_TX_BUDGET: u32 = 512;
/// Longer than a millisecond at a time would keep a worker from its timers.
pub const BUSY_POLL_MOST_US: u32 = 1_000;
/// The largest MTU whose packets fit a chunk.
pub const MTU_MOST: u32 = CHUNK_MOST - LINK_HEADER_MOST - XDP_HEADROOM;

/// Bytes of the smallest chunk that holds a packet of `mtu` bytes with an Ethernet header and two VLAN tags; `None` if none does.
pub fn frame_size(mtu: u32) -> Option<u32> {
    let needed = mtu.saturating_add(LINK_HEADER_MOST + XDP_HEADROOM);
    [CHUNK_LEAST, CHUNK_MOST].into_iter().find(|size| needed <= *size)
}

/// How the socket is bound to its queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BindMode {
    /// Zero-copy if the driver can, otherwise copy.
    #[default]
    Auto,
    /// The kernel copies each packet.
    Copy,
    /// The NIC writes and reads the frames itself; it is an error if it cannot.
    ZeroCopy,
}

/// The measures of one AF_XDP port. Ring sizes are in frames; they and `frames` are powers of two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XskConfig {
    /// The interface's name, in the network namespace of the calling thread.
    pub interface: String,
    /// The queue, from 0.
    pub queue: u32,
    /// How many frames the UMEM has.
    pub frames: u32,
    /// Bytes in a frame: 2048 or 4096; 256 of them lie in front of the packet. See [`XskConfig::for_mtu`].
    pub frame_size: u32,
    /// Places in the RX ring.
    pub rx_ring: u32,
    /// Places in the TX ring.
    pub tx_ring: u32,
    /// Places in the fill ring.
    pub fill_ring: u32,
    /// Places in the completion ring.
    pub completion_ring: u32,
    /// Copy or zero-copy.
    pub bind: BindMode,
    /// Have the driver say when it wants to be called (XDP_USE_NEED_WAKEUP).
    pub need_wakeup: bool,
    /// How many frames the kernel sends in one call in copy mode (XDP_MAX_TX_SKB_BUDGET, since Linux 6.17; before, 32), at least
    /// [`TX_BUDGET_LEAST`]; more than `tx_ring` means as many. A veth's own ring holds 256 frames.
    pub tx_budget: u32,
    /// Preferred busy polling (SO_PREFER_BUSY_POLL, since Linux 5.11): the driver's poll runs when the worker calls the kernel, for so many
    /// microseconds, and interrupts stay off. 0 leaves it to interrupts. A veth has no NAPI that a socket could poll.
    pub busy_poll_us: u32,
    /// Lay the UMEM into huge pages, which have to be reserved (vm.nr_hugepages).
    pub huge_pages: bool,
}

impl XskConfig {
    /// The default port on one queue, for an MTU of 1500.
    pub fn new(interface: &str, queue: u32) -> Self {
        Self {
            interface: interface.to_owned(),
            queue,
            frames: 4096,
            frame_size: CHUNK_LEAST,
            rx_ring: 2048,
            tx_ring: 2048,
            fill_ring: 2048,
            completion_ring: 2048,
            bind: BindMode::Auto,
            need_wakeup: true,
            tx_budget: DEFAULT_TX_BUDGET,
            busy_poll_us: 0,
            huge_pages: false,
        }
    }

    /// Sets `frame_size` to the smallest that holds a packet of `mtu` bytes with an Ethernet header and two VLAN tags.
    ///
    /// # Errors
    ///
    /// [`XskError::MtuTooLarge`] if no frame does.
    pub fn for_mtu(mut self, mtu: u32) -> Result<Self, XskError> {
        match frame_size(mtu) {
            Some(size) => {
                self.frame_size = size;
                Ok(self)
            }
            None => Err(XskError::MtuTooLarge { interface: self.interface, mtu, most: MTU_MOST }),
        }
    }

    /// Checks what the kernel would refuse with a bare EINVAL.
    pub(super) fn check(&self) -> Result<(), XskError> {
        let wrong =
            |what, value| XskError::BadSize { interface: self.interface.clone(), queue: self.queue, what, value };
        let counts = [
            ("frames", self.frames),
            ("rx_ring", self.rx_ring),
            ("tx_ring", self.tx_ring),
            ("fill_ring", self.fill_ring),
            ("completion_ring", self.completion_ring),
        ];
        if let Some((what, value)) = counts.into_iter().find(|(_, value)| !value.is_power_of_two()) {
            return Err(wrong(what, value));
        }
        if self.frame_size != CHUNK_LEAST && self.frame_size != CHUNK_MOST {
            return Err(wrong("frame_size (2048 or 4096)", self.frame_size));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frame_size_follows_the_mtu() {
        let size = |mtu| XskConfig::new("eth0", 0).for_mtu(mtu).map(|config| config.frame_size);
        assert_eq!(size(1500).unwrap(), 2048);
        assert_eq!(size(1770).unwrap(), 2048);
        assert_eq!(size(1771).unwrap(), 4096);
        assert_eq!(size(3818).unwrap(), 4096);
        let text = size(9000).unwrap_err().to_string();
        assert!(text.contains("9000") && text.contains("3818"), "{text}");
        size(u32::MAX).unwrap_err();
    }

    #[test]
    fn sizes_that_the_kernel_would_refuse_are_named() {
        let config = XskConfig::new("eth0", 3);
        config.check().unwrap();
        let text = XskConfig { tx_ring: 100, ..config.clone() }.check().unwrap_err().to_string();
        assert!(text.contains("eth0 queue 3") && text.contains("tx_ring") && text.contains("100"), "{text}");
        XskConfig { frames: 0, ..config.clone() }.check().unwrap_err();
        XskConfig { frame_size: 1024, ..config }.check().unwrap_err();
    }
}
