//! What the kernel counts on the interface from the moment the program is attached to the moment it is detached.
//!
//! The kernel's counters began long before and go on afterwards, and no call reads them in the same instant in which a
//! program is attached. So the meter reads before and after both, and knows how many frames may have slipped through.

use super::link::Link;
use crate::observe::report::Values;

/// Counters by name.
type Reading = Vec<(&'static str, u64)>;

/// The counters of one interface, from its start on.
#[derive(Debug)]
pub struct Meter {
    interface: String,
    /// What stood there at the start.
    base: Reading,
    /// The last that was read.
    last: Reading,
    /// Frames that arrived while the program was being attached or detached.
    at_the_edges: u64,
    ended: bool,
}

impl Meter {
    /// Starts to count, just before the program is attached.
    pub fn start(interface: &str) -> Self {
        let base = read(interface).unwrap_or_default();
        Self { interface: interface.to_owned(), last: base.clone(), base, at_the_edges: 0, ended: false }
    }

    /// The program has just been attached.
    pub fn attached(&mut self) {
        self.note_edge(read(&self.interface));
    }

    /// Detaches the program by `detach`, and stops to count.
    pub fn end(&mut self, detach: impl FnOnce()) {
        if let Some(before) = read(&self.interface) {
            self.last = before;
        }
        detach();
        self.note_edge(read(&self.interface));
        self.ended = true;
    }

    /// What was counted since the start. An interface that is gone keeps its last counts.
    pub fn counters(&mut self) -> Values {
        if !self.ended
            && let Some(reading) = read(&self.interface)
        {
            self.last = reading;
        }
        since(&self.base, &self.last)
    }

    /// Frames that may have arrived before the program was attached, or after it was detached.
    pub fn at_the_edges(&self) -> u64 {
        self.at_the_edges
    }

    fn note_edge(&mut self, reading: Option<Reading>) {
        let Some(reading) = reading else { return };
        self.at_the_edges += since(&self.last, &reading).get("rx_packets").unwrap_or(0);
        self.last = reading;
    }
}

fn read(interface: &str) -> Option<Reading> {
    Some(Link::query(interface).ok()??.counters)
}

/// By how much each counter grew.
fn since(base: &Reading, last: &Reading) -> Values {
    let of_base = |name| base.iter().find(|(known, _)| *known == name).map_or(0, |(_, count)| *count);
    last.iter().map(|(name, count)| (*name, count.saturating_sub(of_base(*name)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    #[test]
    fn an_interface_is_counted_from_start_to_end() {
        let mut meter = Meter::start("lo");
        let packet = || UdpSocket::bind("127.0.0.1:0").unwrap().send_to(&[0; 8], "127.0.0.1:9").map(drop).unwrap();
        packet();
        meter.attached();
        assert!(meter.at_the_edges() >= 1);
        packet();
        let count = |meter: &mut Meter| meter.counters().get("rx_packets").unwrap();
        assert!(count(&mut meter) >= 2);
        let edges = meter.at_the_edges();
        meter.end(packet);
        assert!(meter.at_the_edges() > edges);
        let ended = count(&mut meter);
        packet();
        assert_eq!(count(&mut meter), ended);
    }

    #[test]
    fn an_interface_that_is_not_there_counts_nothing() {
        let mut meter = Meter::start("hfcf-none");
        meter.attached();
        assert_eq!(meter.counters(), Values::default());
    }
}
