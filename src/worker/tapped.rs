//! A port whose sent frames somebody hears of: what a worker with a tap sends through, and gives to its user.

use super::capture::Tap;
use crate::port::{Burst, Frame, FrameLedger, KernelStatistics, Port, PortCounters};
use crate::time::Now;
use std::time::Duration;

/// The port and who listens in, for one turn.
#[derive(Debug)]
pub(super) struct Tapped<'a, P, T> {
    pub(super) port: &'a mut P,
    pub(super) tap: &'a mut T,
    pub(super) now: Now,
}

impl<P: Port, T: Tap> Port for Tapped<'_, P, T> {
    fn receive(&mut self, burst: &mut Burst) -> usize {
        self.port.receive(burst)
    }

    fn bytes(&self, frame: &Frame) -> &[u8] {
        self.port.bytes(frame)
    }

    fn bytes_mut(&mut self, frame: &mut Frame) -> &mut [u8] {
        self.port.bytes_mut(frame)
    }

    fn max_packet_len(&self) -> usize {
        self.port.max_packet_len()
    }

    fn transmit(&mut self, mut frame: Frame, len: usize) {
        self.tap.sent(&self.port.bytes_mut(&mut frame)[..len], self.now);
        self.port.transmit(frame, len);
    }

    fn recycle(&mut self, frame: Frame) {
        self.port.recycle(frame);
    }

    fn take_free(&mut self) -> Option<Frame> {
        self.port.take_free()
    }

    fn submit(&mut self) {
        self.port.submit();
    }

    fn kick(&mut self) {
        self.port.kick();
    }

    fn tx_outstanding(&self) -> bool {
        self.port.tx_outstanding()
    }

    fn ledger(&self) -> FrameLedger {
        self.port.ledger()
    }

    fn counters(&self) -> PortCounters {
        self.port.counters()
    }

    fn kernel_statistics(&self) -> KernelStatistics {
        self.port.kernel_statistics()
    }

    fn wait(&mut self, timeout: Duration) {
        self.port.wait(timeout);
    }
}
