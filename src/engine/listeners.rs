//! Who listens: address and port to service.
//!
//! The table is made by the control path and handed over whole; a reload hands over another. A listener keeps its id
//! across reloads, so that connections keep their service, also when their listener was closed meanwhile.

use std::collections::HashMap;

use crate::service::AnyService;
use crate::tcp::state::State;
use crate::wire::tuple::{Addr, FourTuple};

/// An address and port to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// `None` for any address, IPv4 or IPv6.
    pub addr: Option<Addr>,
    /// The port.
    pub port: u16,
}

/// One listener. Its position in the table is its id.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Where it listens.
    pub endpoint: Endpoint,
    /// What talks to its connections.
    pub service: AnyService,
    /// False once it was closed by a reload: its connections go on, new ones are refused.
    pub open: bool,
}

/// The connections of one listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListenerFlows {
    /// Those that live, by state, at [`State::index`].
    pub states: [u32; State::ALL.len()],
    /// Those that were ever opened.
    pub opened: u64,
}

impl ListenerFlows {
    /// Those that live.
    pub fn live(&self) -> u32 {
        self.states.iter().sum()
    }

    /// Adds what another worker counted.
    pub fn add(&mut self, other: &ListenerFlows) {
        self.states.iter_mut().zip(other.states).for_each(|(sum, flows)| *sum += flows);
        self.opened += other.opened;
    }
}

/// Listeners in a table at most: a TCB names its own in 16 bits.
pub const MAX_LISTENERS: usize = 65_536;

/// What the table of ports says of a port that nobody listens on.
const NOBODY: u32 = u32::MAX >> 1;
/// Set for a port that has listeners with an address: they are looked for first.
const EXACT: u32 = 1 << 31;
/// Ports there are.
const PORTS: usize = 1 << 16;

/// The table. A SYN is looked up by its port alone, without a hash, unless some listener there has an address.
#[derive(Debug)]
pub struct Listeners {
    listeners: Vec<Listener>,
    /// For each port, the id of the listener for any address or [`NOBODY`], and [`EXACT`].
    by_port: Box<[u32]>,
    by_endpoint: HashMap<Endpoint, u16>,
    flows: Vec<ListenerFlows>,
}

impl Default for Listeners {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl Listeners {
    /// A table of listeners; ids are the positions. Of two open listeners on one endpoint the later one counts: the
    /// configuration has ruled that out.
    ///
    /// # Panics
    ///
    /// If there are more than [`MAX_LISTENERS`].
    pub fn new(listeners: Vec<Listener>) -> Self {
        assert!(listeners.len() <= MAX_LISTENERS, "{} listeners", listeners.len());
        let mut by_port = vec![NOBODY; PORTS].into_boxed_slice();
        let mut by_endpoint = HashMap::new();
        for (id, listener) in listeners.iter().enumerate().filter(|(_, listener)| listener.open) {
            let id = u16::try_from(id).expect("limited above");
            let of_port = &mut by_port[usize::from(listener.endpoint.port)];
            if listener.endpoint.addr.is_some() {
                *of_port |= EXACT;
                by_endpoint.insert(listener.endpoint, id);
            } else {
                *of_port = *of_port & EXACT | u32::from(id);
            }
        }
        Self { flows: vec![ListenerFlows::default(); listeners.len()], by_port, by_endpoint, listeners }
    }

    /// The id of the open listener for a connection to `tuple`'s local end: one for that address before one for any.
    pub fn find(&self, tuple: &FourTuple) -> Option<u16> {
        let of_port = self.by_port[usize::from(tuple.local_port)];
        if of_port & EXACT != 0 {
            let exact = Endpoint { addr: Some(tuple.local_addr), port: tuple.local_port };
            if let Some(id) = self.by_endpoint.get(&exact) {
                return Some(*id);
            }
        }
        // NOBODY is no id.
        u16::try_from(of_port & !EXACT).ok()
    }

    /// The service of listener `id`.
    ///
    /// # Panics
    ///
    /// If there is no such listener: our own bug, ids come from [`Listeners::find`] and outlive their flows.
    pub fn service(&self, id: u16) -> &AnyService {
        &self.listeners[usize::from(id)].service
    }

    /// All listeners with their flows.
    pub fn iter(&self) -> impl Iterator<Item = (&Listener, ListenerFlows)> + '_ {
        self.listeners.iter().zip(self.flows.iter().copied())
    }

    /// Counts a flow of listener `id` that is new in this state.
    pub(super) fn acquired(&mut self, id: u16, state: State) {
        let flows = &mut self.flows[usize::from(id)];
        flows.states[state.index()] += 1;
        flows.opened += 1;
    }

    /// Counts a change of state of a flow of listener `id`.
    pub(super) fn moved(&mut self, id: u16, before: State, after: State) {
        let flows = &mut self.flows[usize::from(id)];
        flows.states[before.index()] -= 1;
        flows.states[after.index()] += 1;
    }

    /// Counts the end of a flow of listener `id` that was in this state.
    pub(super) fn released(&mut self, id: u16, before: State) {
        self.flows[usize::from(id)].states[before.index()] -= 1;
    }

    /// Takes over the flow counts of the table that this one replaces.
    ///
    /// # Panics
    ///
    /// If this table lacks a listener that has flows: reload only ever adds listeners or closes them.
    pub(super) fn take_over(&mut self, old: &Listeners) {
        assert!(self.listeners.len() >= old.listeners.len(), "a reload dropped listeners");
        self.flows[..old.flows.len()].copy_from_slice(&old.flows);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::{Close, Discard};

    fn listener(addr: Option<[u8; 4]>, port: u16, open: bool) -> Listener {
        let service = if addr.is_some() { AnyService::Close(Close) } else { AnyService::Discard(Discard) };
        Listener { endpoint: Endpoint { addr: addr.map(Addr::v4), port }, service, open }
    }

    #[test]
    fn a_listener_for_the_address_comes_before_one_for_any() {
        let table = Listeners::new(vec![
            listener(None, 80, true),
            listener(Some([198, 18, 0, 1]), 80, true),
            listener(None, 81, false),
        ]);
        let find = |local: &str| {
            table.find(&FourTuple::new(local.parse().unwrap(), local.replace(":8", ":9").parse().unwrap()))
        };
        assert_eq!(find("198.18.0.1:80"), Some(1));
        assert_eq!(find("198.18.0.2:80"), Some(0));
        assert_eq!(find("[2001:2::1]:80"), Some(0));
        assert_eq!(find("198.18.0.1:81"), None, "closed");
        assert_eq!(find("198.18.0.1:82"), None);
    }
}
